/*
 * Giving up being primary, or just being up: stop by a ladder, have the keeper prove that nothing is left, then give
 * the leader key back. The stop waits for nobody: a walsender to a dead standby or a slow archiver cannot hold it up
 * beyond its budget. The key is never released before the proof (S3).
 */
#include <errno.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"

enum { STAGE_FAST = 1, STAGE_IMMEDIATE, STAGE_PROVE, STAGE_RELEASE };
enum { GRACEFUL_BUDGET_US = 30000000, IMMEDIATE_BUDGET_US = 500000 };

static void demoted(struct agent *a)
{
    /* The next lease would be refused as well: others go first. */
    if (a->keeper_refused)
        a->memory.no_race_until_us = clock_now_us() + a->dynamic->policy.ttl_us;
    serve_forget(a);
    a->memory.was_primary = false;
    a->memory.crashed = false;
    a->memory.failed_starts = 0;
    a->keeper_refused = false;
    op_end(a);
    gather_control(a);
    gather_store(a);
}

static void on_released(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    if (answer->outcome == DCS_DONE)
        log_info("released the leader key");
    else
        log_warning("could not release the leader key, it will run out: %s", answer->err.msg);
    if (a->op.kind == OP_DEMOTE && a->op.stage == STAGE_RELEASE)
        demoted(a);
}

static void on_released_late(void *userdata, struct dcs_answer *answer)
{
    (void)userdata;
    (void)answer;
}

/* The primary is proven dead: others may lead now. */
static void proven(struct agent *a)
{
    a->op.stage = STAGE_RELEASE;
    if (a->lease.held && a->op.release) {
        tether_release(a, on_released);
        return;
    }
    /* The lease could not be renewed in time; if the store can be reached after all, others need not wait for its end.
     */
    if (a->lease.held)
        tether_release(a, on_released_late);
    demoted(a);
}

/*
 * Backends outlive a killed postmaster. The keeper kills them before it proves anything, but it may stand still, and
 * without a watchdog nobody else would end them before the lease does.
 */
static void prove(struct agent *a)
{
    a->op.stage = STAGE_PROVE;
    pg_server_kill(a->server);
    op_prove_dead(a, proven);
}

static int on_stop_budget(sd_event_source *source, uint64_t planned_us, void *userdata);

/*
 * A graceful stop has a long budget, which may be longer than the lease, should it not be renewed any more: then it is
 * cut short in time, before the keeper kills the whole node.
 */
static uint64_t stop_ends_at_us(struct agent *a)
{
    struct ha_view v;
    uint64_t demote_at_us;

    gather_view(a, &v);
    demote_at_us = ha_demote_at_us(&v);
    return a->op.urgency == HA_GRACEFUL && a->op.stage == STAGE_FAST && demote_at_us &&
                   demote_at_us < a->op.stop_until_us
               ? demote_at_us
               : a->op.stop_until_us;
}

static void stop_by(struct agent *a, enum pg_stop_mode mode, unsigned stage, uint64_t budget_us)
{
    a->op.stage = stage;
    a->op.stop_until_us = clock_now_us() + budget_us;
    (void)pg_server_stop(a->server, mode);
    (void)loop_timer_at(a->loop, &a->op.timer, stop_ends_at_us(a), on_stop_budget, a);
}

static int on_stop_budget(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    if (clock_now_us() < stop_ends_at_us(a)) {
        (void)loop_timer_at(a->loop, &a->op.timer, stop_ends_at_us(a), on_stop_budget, a); /* renewed meanwhile */
        return 0;
    }
    if (a->op.stage == STAGE_FAST) {
        log_warning("PostgreSQL did not stop in time: immediate shutdown");
        stop_by(a, PG_STOP_IMMEDIATE, STAGE_IMMEDIATE, IMMEDIATE_BUDGET_US);
        return 0;
    }
    log_warning("PostgreSQL did not stop: killing its processes");
    prove(a);
    return 0;
}

static uint64_t fast_budget_us(const struct agent *a)
{
    uint64_t budget_us = a->dynamic->policy.primary_stop_timeout_us;

    if (a->op.urgency == HA_SWIFT)
        return ha_swift_stop_budget_us(&a->dynamic->policy) / 2;
    return budget_us ? budget_us : GRACEFUL_BUDGET_US;
}

void op_demote(struct agent *a, const struct ha_decision *d)
{
    op_begin(a, OP_DEMOTE, d);
    sync_forget(a);
    serve_update(a); /* the addresses go first */
    if (!pg_server_pid(a->server)) {
        prove(a);
        return;
    }
    pg_probe_disconnect(a->probe);
    if (d->urgency == HA_AT_ONCE)
        stop_by(a, PG_STOP_IMMEDIATE, STAGE_IMMEDIATE, IMMEDIATE_BUDGET_US);
    else
        stop_by(a, PG_STOP_FAST, STAGE_FAST, fast_budget_us(a));
}

void op_demote_server_exited(struct agent *a)
{
    if (a->op.stage < STAGE_PROVE)
        prove(a);
}
