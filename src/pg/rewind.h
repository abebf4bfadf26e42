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
 * of the divergent WAL into "<log dir>/lost-transactions-<timestamp>.txt"), then rewinds. done gets 0 or -errno with
 * err.
 */
typedef void (*rewind_done_fn)(void *userdata, int outcome, const struct err *err);
struct rewind_run;
int rewind_run_start(sd_event *loop, const struct config *config, const struct pg_upstream *leader,
                     const char *cgroup_procs, rewind_done_fn done, void *userdata, struct rewind_run **ret,
                     struct err *err);
struct rewind_run *rewind_run_free(struct rewind_run *r); /* cancels */
