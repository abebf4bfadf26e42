/*
 * The operator: switchovers, failovers, restarts, new copies and pauses at random moments, and what agent and store do
 * about them; as src/agent/request.c, hand_over.c, op_restart.c and the requests over REST. The operator's own writes
 * reach the store as if another client made them.
 */
#include <stdio.h>
#include "sim.h"

enum { STAGE_FAST = 1, STAGE_IMMEDIATE, STAGE_KILL };
enum { FAST_BUDGET_US = 30000000, IMMEDIATE_BUDGET_US = 5000000, LAST_WORD_US = 1000000 };

enum wish {
    WISH_SWITCHOVER,
    WISH_SWITCHOVER_TO_ANY,
    WISH_SWITCHOVER_LATER,
    WISH_FAILOVER,
    WISH_NONSENSE, /* for a leader of long ago */
    WISH_CANCEL,
    WISH_RESTART,
    WISH_REINITIALIZE,
    WISH_PAUSE,
    WISH_RESUME,
    WISH_STOP_BY_HAND, /* in pause */
    WISHES,
};

int64_t manual_realtime_us(const struct world *w)
{
    return (int64_t)(w->now_us + UINT64_C(1800000000) * SEC);
}

/* --- requests -------------------------------------------------------------------------------------------------------
 */

static void ask_for(struct world *w, int leader, int candidate, uint64_t in_s)
{
    struct stored_failover f = {.exists = leader != NOBODY || candidate != NOBODY, .leader = leader};

    if (w->store.down)
        return;
    f.candidate = candidate;
    if (in_s)
        f.scheduled_s = manual_realtime_us(w) / (int64_t)SEC + (int64_t)in_s;
    TRACE(w, STORE, "the operator wants a %s from %s to %s, in %llu s", leader == NOBODY ? "failover" : "switchover",
          node_name(leader), node_name(candidate), (unsigned long long)in_s);
    store_set_failover(w, &f);
}

static int another(struct world *w, int than)
{
    int id = (int)rng_between(&w->rng, RNG_MANUAL, 0, NODES - 1);

    return id == than ? (id + 1) % NODES : id;
}

static void set_pause(struct world *w, bool paused)
{
    if (w->store.down || w->store.data.paused == paused)
        return;
    TRACE(w, STORE, "%s", paused ? "the operator pauses the cluster" : "the operator resumes");
    store_set_pause(w, paused);
}

/* As a command over REST: an agent that does not listen does not hear it. */
static void ask_node(struct world *w, struct node *n, bool restart)
{
    struct agent *a = &n->agent;
    bool is_idle = a->op.kind == OP_NONE || a->op.kind == OP_ASK_PEERS;

    if (!a->alive || !a->started || a->thaw_at_us || !is_idle || (!restart && a->lease.held))
        return;
    /* With nothing in the store, either, it would make another cluster, as it should. */
    if (!restart && !w->store.data.initialize_exists)
        return;
    TRACE(w, n->id, "the operator wants PostgreSQL %s", restart ? "restarted" : "copied anew");
    if (restart)
        a->request.restart = true;
    else
        a->request.reinitialize = true;
    agent_wake(w, n);
}

bool manual_restart(struct world *w, struct node *n)
{
    ask_node(w, n, true);
    return n->agent.request.restart;
}

void manual_strike(struct world *w)
{
    int leader = w->store.data.leader, to = another(w, leader);
    struct node *n = &w->nodes[rng_between(&w->rng, RNG_MANUAL, 0, NODES - 1)];

    /* What has most to go wrong is wanted most often. */
    switch (rng_chance(&w->rng, RNG_MANUAL, 40) ? WISH_SWITCHOVER
                                                : (enum wish)rng_between(&w->rng, RNG_MANUAL, 0, WISHES - 1)) {
    case WISH_SWITCHOVER:
        if (leader != NOBODY)
            ask_for(w, leader, to, 0);
        break;
    case WISH_SWITCHOVER_TO_ANY:
        if (leader != NOBODY)
            ask_for(w, leader, NOBODY, 0);
        break;
    case WISH_SWITCHOVER_LATER:
        if (leader != NOBODY)
            ask_for(w, leader, to, rng_between(&w->rng, RNG_MANUAL, 1, 30));
        break;
    case WISH_FAILOVER:
        /* It may be to a standby that lacks what was acknowledged: that is what the operator has decided then. */
        if (w->policy.sync_mode == SYNC_MODE_OFF)
            ask_for(w, NOBODY, to, 0);
        break;
    case WISH_NONSENSE:
        ask_for(w, to, another(w, to), 0);
        break;
    case WISH_CANCEL:
        ask_for(w, NOBODY, NOBODY, 0);
        break;
    case WISH_RESTART:
        ask_node(w, n, true);
        break;
    case WISH_REINITIALIZE:
        ask_node(w, n, false);
        break;
    case WISH_PAUSE:
        set_pause(w, true);
        break;
    case WISH_RESUME:
        set_pause(w, false);
        break;
    case WISH_STOP_BY_HAND:
        if (w->store.data.paused && n->up)
            pg_stop(w, n, true);
        break;
    case WISHES:
        break;
    }
}

void manual_heal(struct world *w)
{
    TRACE(w, STORE, "nothing is paused any more");
    store_set_pause(w, false);
}

void manual_plan(struct world *w)
{
    uint64_t n = rng_chance(&w->rng, RNG_MANUAL, 70) ? rng_between(&w->rng, RNG_MANUAL, 1, 8) : 0;

    for (uint64_t i = 0; i < n; i++)
        queue_push(&w->queue, (struct event){.at_us = rng_between(&w->rng, RNG_MANUAL, 3 * SEC, w->heal_at_us - SEC),
                                             .kind = EV_OPERATOR});
}

/* --- the agent: src/agent/request.c ---------------------------------------------------------------------------------
 */

void manual_note_failover(struct world *w, struct node *n, const struct failover_key *before)
{
    const struct failover_key *now = &n->agent.cluster.failover;

    if (!now->exists)
        n->agent.memory.request_seen_at_us = 0;
    else if (!before->exists || before->revision != now->revision)
        n->agent.memory.request_seen_at_us = local_us(w, n);
}

void manual_checkpoint(struct world *w, struct node *n)
{
    n->agent.memory.checkpoint_running = true;
    push_in(w, n, EV_AGENT_CHECKPOINTED, rng_between(&w->rng, RNG_MANUAL, MS, SEC), n->agent.gen,
            ++n->agent.checkpoint_gen, 0);
}

void manual_checkpointed(struct world *w, struct node *n)
{
    n->agent.memory.checkpoint_running = false;
    n->agent.memory.checkpoint_at_us = local_us(w, n);
    gather_pg(w, n);
    agent_wake(w, n);
}

void manual_forget_checkpoint(struct node *n)
{
    n->agent.checkpoint_gen++;
    n->agent.memory.checkpoint_running = false;
    n->agent.memory.checkpoint_at_us = 0;
}

void manual_clear_failover(struct world *w, struct node *n)
{
    struct call *c;

    if (n->agent.failover_busy)
        return;
    n->agent.failover_busy = true;
    c = store_call(w, n, CALL_CLEAR_FAILOVER, w->policy.retry_timeout_us);
    c->revision = n->agent.cluster.failover.revision;
    store_send(w, c);
}

void manual_failover_cleared(struct world *w, struct node *n)
{
    n->agent.failover_busy = false;
    gather_store(w, n);
}

/* --- the last word: src/agent/hand_over.c ---------------------------------------------------------------------------
 */

void manual_say(struct world *w, struct node *n)
{
    struct call *c = store_call(w, n, CALL_SAY, LAST_WORD_US);

    c->status_lsn = n->pg.lsn - 1; /* the checkpoint begins there */
    c->session = n->agent.lease.session;
    n->agent.op.word_pending = true;
    c->timeline = w->timelines[n->pg.way].number;
    store_send(w, c);
}

/* --- src/agent/op_restart.c -----------------------------------------------------------------------------------------
 */

void op_restart(struct world *w, struct node *n, const struct ha_decision *d)
{
    struct agent *a = &n->agent;

    op_begin(w, n, OP_RESTART, d);
    a->request.restart = false;
    a->op.was_primary = a->pg.valid && !a->pg.in_recovery;
    (void)snprintf(a->op.target, sizeof(a->op.target), "%s", node_name(a->follows));
    a->op.stage = STAGE_FAST;
    pg_stop(w, n, true);
    op_timer(w, n, FAST_BUDGET_US);
}

void op_restart_timer(struct world *w, struct node *n)
{
    struct agent_op *op = &n->agent.op;

    if (op->stage == STAGE_FAST) {
        op->stage = STAGE_IMMEDIATE;
        pg_stop(w, n, false);
    } else {
        op->stage = STAGE_KILL;
        pg_kill(w, n);
    }
    op_timer(w, n, IMMEDIATE_BUDGET_US);
}

void op_restart_server_exited(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    struct ha_decision d = {.action = HA_START_STANDBY};
    bool was_primary = a->op.was_primary;

    memcpy(d.target, a->op.target, sizeof(d.target));
    a->memory.stopped_here = true;
    a->memory.crashed_at_us = local_us(w, n);
    op_begin(w, n, was_primary ? OP_START_PRIMARY : OP_START_STANDBY, &d);
    op_run(w, n);
}
