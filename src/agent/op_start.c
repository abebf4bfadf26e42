/* Starting PostgreSQL: as a standby, as a standby of somebody else, or as the primary it was before a crash. */
#include <errno.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"

enum { PROBE_AGAIN_US = 100000, RETRY_MIN_US = 1000000, RETRY_MAX_US = 30000000, CONTROL_FRESH_US = 1000000 };

static int on_probe_again(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    gather_pg(a);
    return 0;
}

static void probe_soon(struct agent *a)
{
    (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + PROBE_AGAIN_US, on_probe_again, a);
}

static void note_failed_start(struct agent *a)
{
    uint64_t pause_us = (uint64_t)RETRY_MIN_US << (a->memory.failed_starts < 5 ? a->memory.failed_starts : 5);

    request_restarted(a, false);
    a->memory.failed_starts++;
    a->memory.retry_start_at_us = clock_now_us() + (pause_us < RETRY_MAX_US ? pause_us : RETRY_MAX_US);
    agent_wake_at(a, a->memory.retry_start_at_us);
}

void op_start_failed(struct agent *a)
{
    char why[512];

    pg_server_diagnose(a->server, why, sizeof(why));
    log_error("PostgreSQL did not start: %s", why);
    if (strstr(why, "in use"))
        impostor_found(a, IMPOSTOR_PORT, "%.*s", (int)strcspn(why, "\n"), why);
    note_failed_start(a);
    op_end(a);
    gather_control(a);
}

static void start(struct agent *a, bool standby)
{
    struct err err = {0};

    request_starting(a);
    if (start_server(a, standby, a->op.target, &err) < 0) {
        log_error("could not start PostgreSQL: %s", err.msg);
        note_failed_start(a);
        op_end(a);
        return;
    }
    probe_soon(a);
}

static void start_standby_when_dead(struct agent *a)
{
    start(a, true);
}

/*
 * While backends of an earlier postmaster work, another cannot start, and their WAL is not at its end. Nor on what the
 * control file said a while ago: somebody else may have started a server meanwhile, and stopped it. A restart has just
 * stopped it.
 */
void op_start_standby(struct agent *a, const struct ha_decision *d)
{
    if (a->op.kind == OP_NONE && clock_now_us() - a->control_at_us > CONTROL_FRESH_US) {
        gather_forget_control(a);
        gather_control(a);
        return;
    }
    op_begin(a, OP_START_STANDBY, d);
    sync_forget(a);
    op_prove_dead(a, start_standby_when_dead);
}

static void start_when_armed(struct agent *a, bool armed)
{
    if (armed)
        start(a, false);
    else
        op_end(a);
}

static void arm_when_dead(struct agent *a)
{
    op_arm(a, start_when_armed);
}

/*
 * After a crash under our lease. Backends of the dead postmaster may still run and commit: the keeper proves them gone
 * before the next postmaster is started, and arms anew for it.
 */
void op_start_primary(struct agent *a, const struct ha_decision *d)
{
    op_begin(a, OP_START_PRIMARY, d);
    op_prove_dead(a, arm_when_dead);
}

void op_start_pg_changed(struct agent *a)
{
    if (!a->pg.valid) {
        if (pg_server_pid(a->server))
            probe_soon(a);
        return;
    }
    log_info("PostgreSQL answers as a %s on timeline %u", a->pg.facts.in_recovery ? "standby" : "primary",
             a->pg.facts.timeline);
    request_restarted(a, true);
    a->memory.stopped_here = false;
    a->memory.failed_starts = 0;
    a->memory.is_new_copy = false;
    if (a->memory.divergence == DIVERGENCE_NONE)
        a->memory.divergence = DIVERGENCE_UNKNOWN; /* of what its control file knew; its WAL may go further */
    a->memory.retry_start_at_us = 0;
    a->memory.crashed = false;
    a->memory.crashed_at_us = 0;
    op_end(a);
    hooks_started(a);
}

void op_follow(struct agent *a, const struct ha_decision *d)
{
    struct err err = {0};
    bool changed = false;

    op_begin(a, OP_FOLLOW, d);
    sync_forget(a);
    if (write_files(a, true, d->target, &changed, &err) < 0)
        log_error("could not change the upstream: %s", err.msg);
    else if (pg_server_reload(a->server) == 0)
        /* Since PostgreSQL 13 a reload restarts the WAL receiver with the new primary_conninfo. */
        hooks_reloaded(a);
    a->memory.not_streaming_since_us = 0;
    op_end(a);
}
