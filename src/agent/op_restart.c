/*
 * A restart that was asked for: stop, then start as what it was. A primary is restarted under its lease, which is
 * renewed all the while; between its two postmasters the keeper proves the first one dead and is armed anew, as after
 * a crash. Who asked is told how it ended (manual.c).
 */
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"

enum { STAGE_FAST = 1, STAGE_IMMEDIATE, STAGE_KILL };
enum { FAST_BUDGET_US = 30000000, IMMEDIATE_BUDGET_US = 5000000 };

static int on_stop_budget(sd_event_source *source, uint64_t planned_us, void *userdata);

static void stop_by(struct agent *a, enum pg_stop_mode mode, unsigned stage, uint64_t budget_us)
{
    a->op.stage = stage;
    (void)pg_server_stop(a->server, mode);
    (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + budget_us, on_stop_budget, a);
}

static int on_stop_budget(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    if (a->op.stage == STAGE_FAST) {
        log_warning("PostgreSQL did not stop in time for its restart: immediate shutdown");
        stop_by(a, PG_STOP_IMMEDIATE, STAGE_IMMEDIATE, IMMEDIATE_BUDGET_US);
        return 0;
    }
    log_warning("PostgreSQL did not stop: killing its processes");
    a->op.stage = STAGE_KILL;
    pg_server_kill(a->server);
    (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + IMMEDIATE_BUDGET_US, on_stop_budget, a);
    return 0;
}

void op_restart(struct agent *a, const struct ha_decision *d)
{
    uint64_t budget_us = a->dynamic->policy.primary_stop_timeout_us;

    op_begin(a, OP_RESTART, d);
    request_begun(a);
    a->op.was_primary = agent_is_primary(a);
    (void)text_copy(a->op.target, sizeof(a->op.target), a->follows);
    pg_probe_disconnect(a->probe);
    stop_by(a, PG_STOP_FAST, STAGE_FAST, budget_us ? budget_us : FAST_BUDGET_US);
}

void op_restart_server_exited(struct agent *a)
{
    struct ha_decision d = {.action = a->op.was_primary ? HA_START_PRIMARY : HA_START_STANDBY};

    (void)text_copy(d.target, sizeof(d.target), a->op.target);
    a->memory.stopped_here = true;
    a->memory.crashed_at_us = clock_now_us(); /* should the start fail, it has primary_start_timeout from here */
    if (a->op.was_primary)
        op_start_primary(a, &d);
    else
        op_start_standby(a, &d);
    a->op.timeout_us = request_restart_timeout_us(a);
}
