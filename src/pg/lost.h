/*
 * The transactions a rewind removes: found with pg_waldump in the local WAL behind the fork, written into a file beside
 * the log (S8). What could not be found out is said in that file, for it is read by people after a bad day.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "config/config.h"
#include "pg/rewind.h"

struct lost_report {
    char path[512];    /* "" if there was nothing to write */
    uint64_t n_lost;   /* committed transactions */
    bool is_complete;  /* the WAL could be read to its end */
    bool is_written;   /* the file is there */
    char problem[200]; /* of the reading or writing */
};
typedef void (*lost_fn)(void *userdata, const struct lost_report *report);

struct lost;
/* At least one span; they are copied. Returns 0, and then always reports, or -errno when nothing could be started. */
int lost_start(sd_event *loop, const struct config *config, const char *leader, const struct rewind_span *spans,
               size_t n_spans, lost_fn done, void *userdata, struct lost **ret, struct err *err);
struct lost *lost_free(struct lost *l); /* cancels; NULL is fine */

/* Pure: a commit of pg_waldump's output as "lsn\txid\ttime"; false for any other line. */
bool lost_parse_commit(const char *line, char *buf, size_t size);
/* Pure: whether pg_waldump's output says that it came to the end of the WAL, as opposed to a part that is missing. */
bool lost_is_end_of_wal(const char *output);
