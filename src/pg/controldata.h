/* Reads a data directory while its server is down: pg_controldata in a child, never by touching the disk ourselves. */
#pragma once
#include <stdbool.h>
#include <systemd/sd-event.h>
#include "config/config.h"
#include "model/local.h"

/*
 * Fills only the data_dir_* and control_* fields of the struct given to the callback. outcome 0, or -errno with err
 * when the check itself failed (timeout: frozen disk). At most timeout_us.
 */
typedef void (*pg_controldata_fn)(void *userdata, int outcome, const struct local_pg *found, const struct err *err);
struct pg_controldata;
int pg_controldata_start(sd_event *loop, const struct config *config, uint64_t timeout_us, pg_controldata_fn done,
                         void *userdata, struct pg_controldata **ret, struct err *err);
/*
 * The same for a server that has just been stopped here, and in a hurry: one child instead of three. That the directory
 * is there and ours is not looked at, and where the last checkpoint's record ends is left unknown.
 */
int pg_controldata_after_stop(sd_event *loop, const struct config *config, uint64_t timeout_us, pg_controldata_fn done,
                              void *userdata, struct pg_controldata **ret, struct err *err);
struct pg_controldata *pg_controldata_free(struct pg_controldata *c); /* cancels; NULL is fine */

/* What else the control file knows: the settings its WAL was written with, which a standby must not fall below. */
struct pg_control_settings {
    unsigned data_checksum_version; /* 0: no checksums */
    bool wal_log_hints, track_commit_timestamp;
    unsigned max_connections, max_worker_processes, max_wal_senders, max_prepared_transactions,
        max_locks_per_transaction;
    char wal_level[16]; /* "replica" */
};
/* pg_rewind can only find what changed where hint bits are in the WAL. */
static inline bool pg_control_allows_rewind(const struct pg_control_settings *s)
{
    return s->wal_log_hints || s->data_checksum_version != 0;
}
/* Valid in the callback, when control_known is; borrowed until the check is freed. */
const struct pg_control_settings *pg_controldata_settings(const struct pg_controldata *c);

/* Pure: parses pg_controldata's output (LC_ALL=C) into the control_* fields. -EBADMSG if essential lines are missing.
 */
int pg_controldata_parse(const char *output, struct local_pg *ret, struct err *err);
/* Pure: the settings of the same output; lines of other versions that are missing leave zero. */
void pg_controldata_parse_settings(const char *output, struct pg_control_settings *ret);
/*
 * Pure: where the record at `checkpoint_lsn` ends, from the output of "pg_waldump --start=<it> --limit=2". 0 unless it
 * is a shutdown checkpoint and the last record of the WAL.
 */
uint64_t pg_waldump_parse_end(const char *output, uint64_t checkpoint_lsn);
