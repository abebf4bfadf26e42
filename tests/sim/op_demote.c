/* Giving up being primary: the ladder of stops, the proof, then the key; as src/agent/op_demote.c. */
#include "sim.h"

enum { STAGE_FAST = 1, STAGE_IMMEDIATE, STAGE_PROVE, STAGE_RELEASE };
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

    a->op.stage = STAGE_RELEASE;
    if (a->lease.held)
        tether_release(w, n);
    if (!wait)
        demoted(w, n);
}

static void prove(struct world *w, struct node *n)
{
    n->agent.op.stage = STAGE_PROVE;
    pg_kill(w, n);
    if (w->mutant == MUTANT_RELEASE_BEFORE_PROOF && n->agent.lease.held)
        tether_release(w, n);
    op_prove_dead(w, n);
}

static void stop_by(struct world *w, struct node *n, bool fast, unsigned stage, uint64_t budget_us)
{
    n->agent.op.stage = stage;
    pg_stop(w, n, fast);
    op_timer(w, n, budget_us);
}

void op_demote_timer(struct world *w, struct node *n)
{
    if (n->agent.op.stage == STAGE_FAST) {
        stop_by(w, n, false, STAGE_IMMEDIATE, IMMEDIATE_BUDGET_US);
        return;
    }
    if (n->agent.op.stage != STAGE_IMMEDIATE)
        return;
    prove(w, n);
}

void op_demote(struct world *w, struct node *n, const struct ha_decision *d)
{
    uint64_t fast_us = w->policy.primary_stop_timeout_us;

    op_begin(w, n, OP_DEMOTE, d);
    sync_forget(n);
    serve_update(w, n);
    if (!n->agent.server_up) {
        prove(w, n);
        return;
    }
    if (d->urgency == HA_SWIFT)
        fast_us = ha_swift_stop_budget_us(&w->policy) / 2;
    if (d->urgency == HA_AT_ONCE)
        stop_by(w, n, false, STAGE_IMMEDIATE, IMMEDIATE_BUDGET_US);
    else
        stop_by(w, n, true, STAGE_FAST, fast_us ? fast_us : GRACEFUL_BUDGET_US);
}

void op_demote_server_exited(struct world *w, struct node *n)
{
    if (n->agent.op.stage < STAGE_PROVE)
        prove(w, n);
}
