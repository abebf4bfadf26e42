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

enum { STAGE_BEFORE_STOP = 1, STAGE_FAST, STAGE_IMMEDIATE, STAGE_PROVE, STAGE_RELEASE };
enum { GRACEFUL_BUDGET_US = 30000000, IMMEDIATE_BUDGET_US = 500000 };

static void demoted(struct agent *a)
{
    /* The next lease would be refused as well: others go first. */
    if (a->keeper_refused)
        a->memory.no_race_until_us = clock_now_us() + a->dynamic->policy.ttl_us;
    serve_forget(a);
    a->foreign_server = false; /* if there was one it is dead, too */
    a->memory.was_primary = false;
    a->memory.crashed = false;
    a->memory.failed_starts = 0;
    a->keeper_refused = false;
    op_end(a);
    gather_forget_control(a); /* of before: an impostor's state is known only now that it is dead */
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

/* Behind the release: others need not wait for the fork. */
static void tell_hooks(struct agent *a)
{
    if (a->op.stopped_server)
        hooks_stopped(a);
    else
        hooks_lost(a);
}

static void release(struct agent *a);

static int on_release_again(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    (void)source;
    (void)planned_us;
    release(userdata);
    return 0;
}

static void release(struct agent *a)
{
    a->op.stage = STAGE_RELEASE;
    if (!a->lease.held) {
        tell_hooks(a);
        demoted(a);
        return;
    }
    /* What a primary had, the keeper has taken away before it said that there is none. */
    if (a->op.standby_leader && op_release_waits(a)) {
        (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + OP_RELEASE_AGAIN_US, on_release_again, a);
        return;
    }
    tether_release(a, on_released);
    tell_hooks(a);
}

/* The primary is proven dead: others may lead now. */
static void proven(struct agent *a)
{
    if (a->lease.held && a->op.release) {
        hand_over_wait(a, release);
        return;
    }
    a->op.stage = STAGE_RELEASE;
    if (a->lease.held && a->op.keep) {
        a->timeline.session = 0; /* the next promotion under this lease needs another number */
        tell_hooks(a);
        demoted(a);
        return;
    }
    /* A standby leader that was only stopped decides about its key afterwards. Else:
     * The lease could not be renewed in time; if the store can be reached after all, others need not wait for its end.
     */
    if (a->lease.held && !a->op.standby_leader)
        tether_release(a, on_released_late);
    tell_hooks(a);
    demoted(a);
}

/*
 * Backends outlive a killed postmaster. The keeper kills them before it proves anything, but it may stand still, and
 * without a watchdog nobody else would end them before the lease does.
 */
static void prove(struct agent *a)
{
    a->op.stage = STAGE_PROVE;
    hook_wait_no_more(a->hooks.runs);
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
        serve_update(a);
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

/* What before_stop has taken is not there any more for PostgreSQL. */
static void stop_fast(struct agent *a)
{
    uint64_t budget_us = fast_budget_us(a), spent_us = clock_now_us() - a->op.since_us;

    pg_probe_disconnect(a->probe);
    stop_by(a, PG_STOP_FAST, STAGE_FAST, spent_us < budget_us ? budget_us - spent_us : 0);
    if (op_demote_keeps_addresses(a))
        walsenders_watch(a);
}

static void on_before_stop(void *userdata, bool good)
{
    struct agent *a = userdata;

    (void)good; /* as the reference: it cannot keep PostgreSQL from being stopped */
    if (a->op.kind == OP_DEMOTE && a->op.stage == STAGE_BEFORE_STOP)
        stop_fast(a);
}

/*
 * before_stop is for planned stops: half of their budget, and it ends early enough before a lease does that PostgreSQL
 * can be stopped in order. Whoever must be dead soon, or is too sick to wait for, is not asked.
 */
static uint64_t before_stop_budget_us(struct agent *a)
{
    uint64_t now_us = clock_now_us(), budget_us = fast_budget_us(a) / 2, ends_at_us;
    struct ha_view v;

    gather_view(a, &v);
    ends_at_us = ha_demote_at_us(&v);
    if (!ends_at_us)
        return budget_us;
    ends_at_us -= ends_at_us > 1 ? ha_swift_stop_budget_us(&a->dynamic->policy) : 0;
    if (ends_at_us <= now_us)
        return 0;
    return ends_at_us - now_us < budget_us ? ends_at_us - now_us : budget_us;
}

void op_demote(struct agent *a, const struct ha_decision *d)
{
    uint64_t budget_us;

    op_begin(a, OP_DEMOTE, d);
    a->op.standby_leader = a->lease.held && keeper_link_last(a->link)->state == KEEPER_DISARMED;
    sync_forget(a);
    request_restarted(a, false); /* something else is needed than what was asked for */
    a->hooks.restarts = false;
    if (!pg_server_pid(a->server)) {
        serve_update(a);
        prove(a);
        return;
    }
    a->memory.stopped_here = true;
    a->op.stopped_server = true;
    budget_us = d->urgency == HA_GRACEFUL ? before_stop_budget_us(a) : 0;
    a->op.stage = STAGE_BEFORE_STOP;
    if (!budget_us || !hook_wait(a->hooks.runs, HOOK_BEFORE_STOP, budget_us, on_before_stop, a)) {
        if (d->urgency == HA_AT_ONCE) {
            pg_probe_disconnect(a->probe);
            stop_by(a, PG_STOP_IMMEDIATE, STAGE_IMMEDIATE, IMMEDIATE_BUDGET_US);
        } else {
            stop_fast(a);
        }
    }
    serve_update(a);
}

/*
 * Where somebody takes over at once the addresses stay until PostgreSQL has ended: it tells its clients that it shuts
 * down, which is news, and an address without a host is not. Whoever must stop in a hurry gives them up first.
 */
bool op_demote_keeps_addresses(const struct agent *a)
{
    return a->op.kind == OP_DEMOTE && a->op.urgency == HA_GRACEFUL && (a->op.release || a->op.keep) &&
           a->op.stage <= STAGE_FAST;
}

void op_demote_server_exited(struct agent *a)
{
    if (a->op.stage >= STAGE_PROVE)
        return;
    if (a->op.stage == STAGE_FAST && a->op.release && a->lease.held)
        hand_over_begin(a); /* beside the proof: both are needed before the key goes */
    prove(a);
}
