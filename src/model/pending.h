/*
 * Parameters that have another value in the configuration than in the running server, and when a restart may mend that.
 * Five of them a standby must have at least as high as the server its WAL comes from, or it cannot replay:
 * max_connections, max_worker_processes, max_wal_senders, max_prepared_transactions, max_locks_per_transaction.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum pending_verdict {
    PENDING_NONE,    /* nothing to do */
    PENDING_RESTART, /* a restart applies it */
    PENDING_LATER,   /* a restart now would not apply it, or would do harm: other members come first */
};

struct pending_view {
    bool is_standby;
    bool must_not_fall; /* one of the five; of the others only `differs` counts */
    bool differs;       /* in meaning: 1GB is 1024MB */
    int64_t running, wanted;
    int64_t wal;            /* standby: what its WAL so far was written with; 0 = not known */
    unsigned members_below; /* primary: standbys that still run with less than wanted */
};

/* What a server is started with; wal as above. */
static inline uint32_t pending_start_value(bool is_standby, uint32_t wanted, uint32_t wal)
{
    return is_standby && wal > wanted ? wal : wanted;
}
