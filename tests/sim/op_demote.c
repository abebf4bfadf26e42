/* Giving up being primary: the ladder of stops, the proof, then the key; as src/agent/op_demote.c. */
#include "sim.h"

enum { STAGE_BEFORE_STOP = 1, STAGE_FAST, STAGE_IMMEDIATE, STAGE_PROVE, STAGE_RELEASE };
enum { GRACEFUL_BUDGET_US = 30000000, IMMEDIATE_BUDGET_US = 500000 };

static void demoted(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    a->serve.told = false;
    a->memory.was_primary = false;
    a->memory.crashed = false;
    a->memory.failed_starts = 0;
    if (a->keeper_refused)
        a->memory.no_race_until_us = local_us(w, n) + w->policy.ttl_us;
    a->keeper_refused = false;
    op_end(w, n);
    a->control = (struct local_pg){0};
    gather_control(w, n);
    gather_store(w, n);
}

void op_demote_released(struct world *w, struct node *n)
{
    if (n->agent.op.kind == OP_DEMOTE && n->agent.op.stage == STAGE_RELEASE)
        demoted(w, n);
}

void op_demote_proven(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    bool wait = a->lease.held && a->op.release;

    a->op.is_proven = true;
    if (wait && a->op.word_pending)
        return;
    a->op.stage = STAGE_RELEASE;
    if (wait && a->op.standby_leader && op_release_has_addresses(w, n)) {
        op_timer(w, n, OP_RELEASE_AGAIN_US);
        return;
    }
    if (a->op.keep)
        a->timeline.session = 0;
    else if (wait || (a->lease.held && !a->op.standby_leader))
        tether_release(w, n);
    if (!wait)
        demoted(w, n);
}

void op_demote_said(struct world *w, struct node *n)
{
    struct agent_op *op = &n->agent.op;

    op->word_pending = false;
    if (op->kind == OP_DEMOTE && op->is_proven && op->stage == STAGE_PROVE)
        op_demote_proven(w, n);
}

static void prove(struct world *w, struct node *n)
{
    n->agent.op.stage = STAGE_PROVE;
    pg_kill(w, n);
    if (w->mutant == MUTANT_RELEASE_BEFORE_PROOF && n->agent.lease.held)
        tether_release(w, n);
    op_prove_dead(w, n);
}

/* A graceful stop is cut short before the keeper would kill, or before a lease that nobody renews runs out. */
static uint64_t stop_ends_at_us(struct world *w, struct node *n)
{
    struct agent_op *op = &n->agent.op;
    struct ha_view v;
    uint64_t demote_at_us;

    gather_view(w, n, &v);
    demote_at_us = ha_demote_at_us(&v);
    return op->urgency == HA_GRACEFUL && op->stage == STAGE_FAST && demote_at_us && demote_at_us < op->stop_until_us
               ? demote_at_us
               : op->stop_until_us;
}

static void wait_for_stop(struct world *w, struct node *n)
{
    uint64_t now_us = local_us(w, n), at_us = stop_ends_at_us(w, n);

    op_timer(w, n, at_us > now_us ? at_us - now_us : 0);
}

static void stop_by(struct world *w, struct node *n, bool fast, unsigned stage, uint64_t budget_us)
{
    n->agent.op.stage = stage;
    n->agent.op.stop_until_us = local_us(w, n) + budget_us;
    pg_stop(w, n, fast);
    wait_for_stop(w, n);
}

static uint64_t fast_budget_us(const struct world *w, const struct node *n)
{
    if (n->agent.op.urgency == HA_SWIFT)
        return ha_swift_stop_budget_us(&w->policy) / 2;
    return w->policy.primary_stop_timeout_us ? w->policy.primary_stop_timeout_us : GRACEFUL_BUDGET_US;
}

static void stop_fast(struct world *w, struct node *n)
{
    uint64_t budget_us = fast_budget_us(w, n), spent_us = local_us(w, n) - n->agent.op.since_us;

    stop_by(w, n, true, STAGE_FAST, spent_us < budget_us ? budget_us - spent_us : 0);
}

void op_demote_timer(struct world *w, struct node *n)
{
    if (n->agent.op.stage == STAGE_BEFORE_STOP) {
        stop_fast(w, n);
        return;
    }
    if (n->agent.op.stage == STAGE_RELEASE) {
        op_demote_proven(w, n);
        return;
    }
    if (n->agent.op.stage < STAGE_PROVE && local_us(w, n) < stop_ends_at_us(w, n)) {
        wait_for_stop(w, n);
        return;
    }
    if (n->agent.op.stage == STAGE_FAST) {
        stop_by(w, n, false, STAGE_IMMEDIATE, IMMEDIATE_BUDGET_US);
        serve_update(w, n);
        return;
    }
    if (n->agent.op.stage != STAGE_IMMEDIATE)
        return;
    prove(w, n);
}

void op_demote(struct world *w, struct node *n, const struct ha_decision *d)
{
    uint64_t asks_us;

    op_begin(w, n, OP_DEMOTE, d);
    n->agent.op.standby_leader = n->agent.lease.held && n->agent.last.state == KEEPER_DISARMED;
    sync_forget(n);
    n->agent.request.restart = false;
    if (!n->agent.server_up) {
        serve_update(w, n);
        prove(w, n);
        return;
    }
    n->agent.memory.stopped_here = true;
    if (w->mutant == MUTANT_SAY_TOO_EARLY && d->release)
        manual_say(w, n);
    asks_us = d->urgency == HA_GRACEFUL ? hooks_before_stop_us(w, n, fast_budget_us(w, n)) : 0;
    if (asks_us) {
        n->agent.op.stage = STAGE_BEFORE_STOP;
        op_timer(w, n, asks_us);
    } else if (d->urgency == HA_AT_ONCE) {
        stop_by(w, n, false, STAGE_IMMEDIATE, IMMEDIATE_BUDGET_US);
    } else {
        stop_fast(w, n);
    }
    serve_update(w, n);
}

bool op_demote_keeps_addresses(const struct agent *a)
{
    return a->op.kind == OP_DEMOTE && a->op.urgency == HA_GRACEFUL && (a->op.release || a->op.keep) &&
           a->op.stage <= STAGE_FAST;
}

void op_demote_server_exited(struct world *w, struct node *n)
{
    if (n->agent.op.stage >= STAGE_PROVE)
        return;
    if (n->agent.op.stage == STAGE_FAST && n->agent.op.release && n->agent.lease.held &&
        n->pg.control == PG_CONTROL_SHUT_DOWN)
        manual_say(w, n);
    prove(w, n);
}
