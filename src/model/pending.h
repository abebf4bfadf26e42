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

/* How a server is started. */
enum pending_start {
    START_AS_CONFIGURED, /* a primary, because somebody wants it */
    START_AS_STANDBY,    /* not with less than its WAL was written with */
    START_AFTER_A_CRASH, /* a primary again; nobody has decided to raise what standbys must have first */
};

/* What it is started with; wal 0 = not known. */
static inline uint32_t pending_start_value(enum pending_start how, uint32_t wanted, uint32_t wal)
{
    switch (how) {
    case START_AS_CONFIGURED:
        break;
    case START_AS_STANDBY:
        return wal > wanted ? wal : wanted;
    case START_AFTER_A_CRASH:
        return wal && wal < wanted ? wal : wanted;
    }
    return wanted;
}
