/* pg_rewind: whether the local data directory must be rewound to follow a new leader, and doing it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "config/config.h"
#include "model/local.h"
#include "pg/files.h"

enum rewind_need { REWIND_UNKNOWN, REWIND_NOT_NEEDED, REWIND_NEEDED };

/*
 * Pure rule of the facts sheet 6.3. history[] are the leader's finished timelines (parent timeline, switch LSN); local
 * position from a stopped server's control data or a running standby.
 */
enum rewind_need rewind_decide(uint32_t local_timeline, uint64_t local_lsn, bool in_recovery,
                               uint64_t shutdown_checkpoint_end_lsn, uint32_t leader_timeline,
                               const struct history_line *history, size_t n_history);

/* The local position those arguments are made of. */
struct rewind_position {
    uint32_t timeline;
    uint64_t lsn;
    bool in_recovery;
    uint64_t shutdown_checkpoint_end_lsn;
    bool is_alone; /* killed right after its own promotion: nobody else can be on its timeline, whatever the number */
};
/*
 * Pure: the timeline that a stopped server's WAL is on. Between a promotion and the checkpoint after it the control
 * file has it as that of the minimum recovery point only (PostgreSQL, CreateEndOfRecoveryRecord()).
 */
uint32_t rewind_local_timeline(const struct local_pg *local);
/*
 * Pure: 0, or -EAGAIN with err when it cannot be told now (no control data, server running but not as a standby that
 * answers). A primary that was killed has written WAL of unknown length: its position is UINT64_MAX.
 */
int rewind_local_position(const struct local_pg *local, struct rewind_position *ret, struct err *err);

/* A piece of one timeline's WAL; end_lsn 0: to the end. */
struct rewind_span {
    uint32_t timeline;
    uint64_t start_lsn, end_lsn;
};
/*
 * Pure: the local WAL that is not in the leader's history, oldest first. Returns the number of spans, at most
 * n_local + 1 (the room `ret` must have); 0 when everything is, or when the histories have nothing in common.
 */
size_t rewind_lost_spans(uint32_t local_timeline, const struct history_line *local_history, size_t n_local,
                         uint32_t leader_timeline, const struct history_line *leader_history, size_t n_leader,
                         struct rewind_span *ret);

/*
 * Asks the leader (replication connection: IDENTIFY_SYSTEM, TIMELINE_HISTORY) and the local control data, then decides.
 * outcome REWIND_UNKNOWN with err when somebody could not be asked: try again later. The callback also gets the
 * leader's timeline.
 */
typedef void (*rewind_check_fn)(void *userdata, enum rewind_need need, uint32_t leader_timeline, const struct err *err);
struct rewind_check;
int rewind_check_start(sd_event *loop, const struct config *config, const struct pg_upstream *leader,
                       const struct local_pg *local, uint64_t timeout_us, rewind_check_fn done, void *userdata,
                       struct rewind_check **ret, struct err *err);
struct rewind_check *rewind_check_free(struct rewind_check *c);

/*
 * Runs pg_rewind against the leader (server must be down): lists the transactions that will be lost first (pg_waldump
 * of the divergent WAL into "<log dir>/lost-transactions-<scope>-<name>-<timestamp>.txt"), then rewinds. done gets 0 or
 * -errno with err; with 0, err->msg says how many transactions were lost and where they are listed, "" if none.
 *
 * A rewind that was cancelled or failed half-way leaves a directory that cannot be started, only rewound or copied
 * anew. After a good one, the files in it that are not PostgreSQL's are the leader's: configuration must be written
 * again before the start.
 */
typedef void (*rewind_done_fn)(void *userdata, int outcome, const struct err *err);
/* The next thing is pg_rewind itself: nothing was changed before. NULL is fine. */
typedef void (*rewind_begins_fn)(void *userdata);
struct rewind_run;
int rewind_run_start(sd_event *loop, const struct config *config, int server_major, const struct pg_upstream *leader,
                     const char *cgroup_procs, rewind_begins_fn begins, rewind_done_fn done, void *userdata,
                     struct rewind_run **ret, struct err *err);
/* Both 0 until pg_rewind knows. */
void rewind_run_get_progress(const struct rewind_run *r, uint64_t *ret_done_bytes, uint64_t *ret_total_bytes);
/*
 * pg_rewind has come so far that it writes: what is there cannot be started any more before a rewind has succeeded.
 * Most failures (WAL that is gone, a leader that does not let it in) come before. Also valid in the callback.
 */
bool rewind_run_has_written(const struct rewind_run *r);
struct rewind_run *rewind_run_free(struct rewind_run *r); /* cancels */
