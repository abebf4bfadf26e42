/*
 * Asks the local PostgreSQL what it is, over one kept asynchronous libpq connection: one round trip for role, LSNs,
 * timeline, replication state and settings that matter. The result is a fact with an age; nothing here waits.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "model/sync.h"
#include "model/slots.h"

struct pg_probe;

struct pg_probe_settings {
    const char *host; /* address or socket directory to connect to; looking a name up would wait, except "localhost" */
    uint16_t port;
    const char *user, *password, *database;
};

struct pg_walsender { /* a row of pg_stat_replication */
    char application_name[128], usename[64], client_addr[64], state[24], sync_state[16];
    int sync_priority;
    int pid;
    uint64_t sent_lsn, write_lsn, flush_lsn, replay_lsn;
};

struct pg_pending_setting { /* changed in the file, needs a restart */
    char name[64];
    char old_value[128];
};

struct pg_facts {
    uint64_t asked_at_us; /* instant before the query was sent */
    bool in_recovery;
    uint32_t timeline; /* a primary's own; of a standby: of the last WAL that it has received or, without a receiver,
                          replayed */
    /*
     * standby without a WAL receiver: why `timeline` is only what the control file says, which is an old one after a
     * crash; "" = it is exact. Then its positions cannot be compared, and replayed_all is false.
     */
    char timeline_doubt[160];
    uint64_t current_lsn;             /* primary: flush position */
    uint64_t receive_lsn, replay_lsn; /* standby; receive = max(written, received) */
    char replayed_timestamp[48];      /* text of pg_last_xact_replay_timestamp(), "" = null */
    bool replay_paused;
    /* standby: it has been at the end of the WAL it has since it was started; before, its positions say too little */
    bool replayed_all;
    bool has_receiver;                                  /* standby: a WAL receiver knows the timeline */
    char replication_state[32];                         /* standby: "streaming", "in archive recovery" or "" */
    char receiver_host[128];                            /* what the WAL receiver is connected to */
    uint64_t latest_end_lsn;                            /* pg_stat_wal_receiver */
    char primary_conninfo[1024], primary_slot_name[64]; /* in effect, from pg_settings */
    uint64_t system_identifier;
    char postmaster_start_time[48];
    int64_t postmaster_start_epoch_us;
    int server_version_num;
    char synchronous_standby_names[SYNC_NAMES_TEXT_SIZE]; /* in effect, from pg_settings */
    char synchronous_commit[16];                          /* of new sessions */
    bool checkpointer_idle; /* it waits, so it has read every change of the configuration that it was told of before */
    uint32_t control_timeline; /* pg_control_checkpoint(): timeline of the latest checkpoint */
    bool wal_level_logical;
    int64_t max_slot_wal_keep_bytes; /* -1 = no limit */
    uint64_t max_wal_size_bytes;
    struct pg_walsender *walsenders;
    size_t n_walsenders;
    struct slot *slots;
    size_t n_slots;
    struct pg_pending_setting *pending;
    size_t n_pending;
};

enum pg_probe_outcome {
    PG_PROBE_OK,
    PG_PROBE_STARTING, /* the server answers 57P03: starting up, shutting down or not yet consistent */
    /*
     * Nobody listens or it does not let us in, see err: code -ECONNREFUSED, -EACCES (password, pg_hba.conf), -EUSERS
     * (too many connections: it is alive), -ECONNRESET (broke off), -EPROTO (the query failed).
     */
    PG_PROBE_REFUSED,
    PG_PROBE_TIMEOUT, /* no answer within the budget */
};

/* facts is borrowed until the callback returns, NULL unless PG_PROBE_OK. Called once per start, from the loop. */
typedef void (*pg_probe_fn)(void *userdata, enum pg_probe_outcome outcome, const struct pg_facts *facts,
                            const struct err *err);

int pg_probe_new(sd_event *loop, const struct pg_probe_settings *settings, struct pg_probe **ret, struct err *err);
struct pg_probe *pg_probe_free(struct pg_probe *p);
DEFINE_CLEANUP(struct pg_probe, pg_probe_free)

/*
 * Where and as whom a standby without a WAL receiver is asked, over a replication connection, which timeline it has
 * replayed: SQL has no function for it, and the control file knows it only after the next restartpoint (PostgreSQL
 * docs, streaming replication protocol, IDENTIFY_SYSTEM). The rest of `settings` is as above; `tls` is borrowed for
 * the call.
 */
struct credentials;
int pg_probe_set_replication(struct pg_probe *p, const struct pg_probe_settings *settings,
                             const struct credentials *tls, struct err *err);

/* One probe at a time: -EBUSY while one is under way. The kept connection is re-made when it broke. */
int pg_probe_start(struct pg_probe *p, uint64_t timeout_us, pg_probe_fn done, void *userdata, struct err *err);
/* Drops the kept connection, e.g. before stopping the server; a probe under way answers PG_PROBE_REFUSED from the loop.
 */
void pg_probe_disconnect(struct pg_probe *p);

/*
 * Promotes over the kept connection: opening one takes longer than all the rest. Returns at once, err->code 0 in the
 * callback says that PostgreSQL was told. -EBUSY while a probe is under way.
 */
typedef void (*pg_probe_promoted_fn)(void *userdata, const struct err *err);
int pg_probe_promote(struct pg_probe *p, uint64_t timeout_us, pg_probe_promoted_fn done, void *userdata,
                     struct err *err);

/*
 * Runs one SQL command on a connection of its own (CREATE ROLE, CHECKPOINT, pg_promote, slots …). The callback gets
 * rows as text (of the last statement that has any); err->code 0 on success. At most `timeout_us`. The search_path is
 * pg_catalog and synchronous_commit is local: nothing here waits for a standby. Several statements in one text are one
 * transaction. The owner frees the command, at the latest after the callback, at the earliest in it.
 */
struct pg_rows {
    size_t n_rows, n_columns;
    const char *const *values; /* row-major, NULL for SQL null */
};
typedef void (*pg_command_fn)(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate);
struct pg_command;
int pg_command_start(sd_event *loop, const struct pg_probe_settings *settings, const char *sql, uint64_t timeout_us,
                     pg_command_fn done, void *userdata, struct pg_command **ret, struct err *err);
struct pg_command *pg_command_free(struct pg_command *c); /* cancels; no callback. NULL is fine */
