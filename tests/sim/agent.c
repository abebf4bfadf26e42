/* The agent of a node: its life and its events, as src/agent/agent.c. */
#include "sim.h"
#include <string.h>

enum { LATE_US = 500000, TICK_MAX_US = 2000000, CONTROL_AGAIN_US = 10000000, READ_AGAIN_US = 200000 };

/* --- deciding -------------------------------------------------------------------------------------------------------
 */

static void read_store(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    uint64_t now_us = local_us(w, n), sent_us = a->cluster_known ? a->cluster.read_sent_at_us : 0;

    if (a->store_busy)
        return;
    if (now_us - sent_us < READ_AGAIN_US && sent_us > a->frozen_at_us)
        agent_wake_at(w, n, sent_us + READ_AGAIN_US);
    else
        gather_store(w, n);
}

void act(struct world *w, struct node *n, const struct ha_decision *d)
{
    switch (d->action) {
    case HA_NOTHING:
        break;
    case HA_READ_STORE:
        read_store(w, n);
        break;
    case HA_ASK_PEERS:
        op_ask_peers(w, n);
        break;
    case HA_BOOTSTRAP:
        op_bootstrap(w, n, d);
        break;
    case HA_ABANDON_BOOTSTRAP:
        op_abandon_bootstrap(w, n, d);
        break;
    case HA_CLONE:
    case HA_CHECK_REWIND:
    case HA_REWIND:
    case HA_SET_ASIDE:
        op_fill(w, n, d);
        break;
    case HA_COPY_SLOTS:
        op_copy_slots(w, n, d);
        break;
    case HA_START_STANDBY:
    case HA_START_PRIMARY:
    case HA_FOLLOW:
    case HA_ACQUIRE:
    case HA_PROMOTE:
        if (d->action == HA_ACQUIRE)
            n->agent.memory.sync_seen_revision = n->agent.cluster.sync.revision;
        if (d->action == HA_START_STANDBY || d->action == HA_FOLLOW)
            sync_forget(n);
        op_begin(w, n,
                 d->action == HA_START_STANDBY   ? OP_START_STANDBY
                 : d->action == HA_START_PRIMARY ? OP_START_PRIMARY
                 : d->action == HA_FOLLOW        ? OP_FOLLOW
                 : d->action == HA_ACQUIRE       ? OP_ACQUIRE
                                                 : OP_PROMOTE,
                 d);
        op_run(w, n);
        break;
    case HA_DEMOTE:
    case HA_STOP:
        op_demote(w, n, d);
        break;
    case HA_RELEASE:
        op_release(w, n, d);
        break;
    case HA_CHECKPOINT:
        manual_checkpoint(w, n);
        break;
    case HA_CLEAR_FAILOVER:
        manual_clear_failover(w, n);
        break;
    case HA_RESTART:
        op_restart(w, n, d);
        break;
    case HA_EXIT:
        agent_die(w, n, n->agent.stopping ? 0 : 78);
        break;
    }
}

static void trace_decision(struct world *w, struct node *n, const struct ha_decision *d)
{
    size_t len = strlen(d->reason);

    if (d->action == HA_NOTHING && n->agent.op.kind != OP_NONE)
        return;
    if (len == n->agent.reason_len && d->action == n->agent.action)
        return; /* good enough: the same again */
    n->agent.reason_len = len;
    n->agent.action = d->action;
    trace_line(w, n->id, "agent: %s", d->reason);
}

static void decide(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    enum sync_mode mode;
    struct ha_decision d;
    struct ha_view view;

    a->decide_planned = false;
    if (!a->started)
        return; /* nothing is decided before the keeper has said what was left behind */
    bootstrap_note_finished(w, n);
    if (a->lease.held)
        a->request.reinitialize = false;
    gather_view(w, n, &view);
    if (!view.pg.running && !a->control.data_dir_known && a->op.kind == OP_NONE)
        gather_control(w, n);
    mode = view.policy.sync_mode;
    if (w->mutant == MUTANT_SYNC_ANYBODY)
        view.policy.sync_mode = SYNC_MODE_OFF;
    cold_start_look(w, n);
    d = ha_decide(&view);
    view.policy.sync_mode = mode;
    if (w->tracing)
        trace_decision(w, n, &d);
    check_acts(w, n, &d);
    act(w, n, &d);
    if (!a->alive)
        return;
    serve_update(w, n);
    sync_update(w, n, &view);
    if (!a->alive)
        return;
    if (d.wake_at_us)
        agent_wake_at(w, n, d.wake_at_us);
    publish(w, n);
    if (a->op.kind == OP_NONE && a->lease.held && a->pg.valid && !a->pg.in_recovery)
        timeline_publish(w, n);
}

void agent_wake(struct world *w, struct node *n)
{
    if (n->agent.decide_planned)
        return;
    n->agent.decide_planned = true;
    push_in(w, n, EV_AGENT_DECIDE, rng_between(&w->rng, RNG_PROCESS, 10, 200), n->agent.gen, 0, 0);
}

/* --- time -----------------------------------------------------------------------------------------------------------
 */

void agent_note_lateness(struct world *w, struct node *n, uint64_t planned_us)
{
    uint64_t now_us = local_us(w, n);

    if (now_us < planned_us + LATE_US || w->mutant == MUTANT_THAWED_ACTS)
        return;
    TRACE(w, n->id, "agent: stood still for %llu ms", (unsigned long long)((now_us - planned_us) / MS));
    n->agent.frozen_at_us = now_us;
}

static void tick_at(struct world *w, struct node *n, uint64_t at_us)
{
    n->agent.tick_at_us = at_us;
    queue_push(&w->queue, (struct event){.at_us = real_of_local(n, at_us),
                                         .planned_us = at_us,
                                         .kind = EV_AGENT_TICK,
                                         .node = n->id,
                                         .gen = n->agent.gen,
                                         .a = ++n->agent.tick_gen});
}

void agent_wake_at(struct world *w, struct node *n, uint64_t at_us)
{
    uint64_t now_us = local_us(w, n);

    if (at_us <= now_us)
        at_us = now_us + 1000;
    if (n->agent.tick_at_us > at_us)
        tick_at(w, n, at_us);
}

static uint64_t tick_interval_us(const struct world *w)
{
    return w->policy.loop_wait_us < TICK_MAX_US ? w->policy.loop_wait_us : TICK_MAX_US;
}

static void tick(struct world *w, struct node *n, uint64_t planned_us)
{
    struct agent *a = &n->agent;
    uint64_t now_us = local_us(w, n), read_us = a->cluster_known ? a->cluster.read_sent_at_us : 0;

    if (!a->started) {
        (void)keeper_ask_model(w, n, KEEPER_STATUS, ASK_STATUS, 0, 0);
        return;
    }
    agent_note_lateness(w, n, planned_us);
    gather_disk(w, n, now_us >= planned_us + LATE_US);
    if (a->store_failed || now_us - read_us >= w->policy.loop_wait_us - MS || read_us < a->frozen_at_us)
        gather_store(w, n);
    if (a->op.kind == OP_NONE || a->op.kind == OP_ASK_PEERS)
        gather_pg(w, n);
    if (!a->server_up && now_us - a->control_at_us > CONTROL_AGAIN_US && a->op.kind == OP_NONE)
        gather_control(w, n);
    tick_at(w, n, now_us + tick_interval_us(w));
    agent_wake(w, n);
}

/* --- events ---------------------------------------------------------------------------------------------------------
 */

static void note_crash(struct world *w, struct node *n)
{
    n->agent.memory.crashed = true;
    if (!n->agent.memory.crashed_at_us)
        n->agent.memory.crashed_at_us = local_us(w, n);
}

static void server_exited(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    if (!a->server_up)
        return;
    a->server_up = false;
    gather_forget_pg(n);
    if (a->op.kind == OP_DEMOTE) {
        op_demote_server_exited(w, n);
        return;
    }
    if (a->op.kind == OP_REWIND) {
        op_rewind_server_exited(w, n);
        return;
    }
    if (a->op.kind == OP_COPY_SLOTS) {
        op_copy_slots_server_exited(w, n);
        return;
    }
    if (a->op.kind == OP_RESTART) {
        op_restart_server_exited(w, n);
        return;
    }
    note_crash(w, n);
    if (a->op.kind == OP_START_STANDBY || a->op.kind == OP_START_PRIMARY || a->op.kind == OP_BOOTSTRAP) {
        op_server_exited(w, n);
        return;
    }
    a->memory.divergence = DIVERGENCE_UNKNOWN;
    op_end(w, n);
    gather_control(w, n);
}

static void store_changed(struct world *w, struct node *n, bool leader)
{
    if (leader) {
        gather_pg(w, n);
        if (n->agent.lease.held)
            tether_renew_soon(w, n);
    }
    gather_store(w, n);
}

static void first_status(struct world *w, struct node *n, const struct keeper_said *s)
{
    struct agent *a = &n->agent;

    a->started = true;
    tether_adopt(w, n, s);
    a->bootstrap_incomplete = n->pg.dir_there && n->pg.marker;
    a->bootstrap_made = a->bootstrap_incomplete && n->pg.made;
    a->copy_incomplete = n->pg.copy_note;
    a->rewind_incomplete = n->pg.rewind_note;
    if (n->pg.phase != PG_DOWN) {
        a->server_up = true;
        a->pg_started_at_us = local_us(w, n);
        if (w->mutant != MUTANT_WAIT_FOR_ADOPTED)
            a->pg.silent_since_us = a->pg_started_at_us;
        a->was_standby_started = s->state != KEEPER_ARMED;
        a->op.kind = s->state == KEEPER_ARMED ? OP_START_PRIMARY : OP_START_STANDBY;
        a->op.since_us = local_us(w, n);
        gather_pg(w, n);
    } else if (s->state == KEEPER_ARMED) {
        a->memory.was_primary = a->memory.may_have_said_end = true;
        note_crash(w, n);
    }
    cold_start_adopt(n);
    gather_control(w, n);
    gather_store(w, n);
    tick_at(w, n, local_us(w, n) + tick_interval_us(w));
}

static void keeper_answered(struct world *w, struct node *n, const struct event *e)
{
    const struct keeper_said *s = &n->keeper.said[e->a];

    if (!n->agent.connected)
        return;
    n->agent.asked--;
    n->agent.last = *s;
    if (e->b == ASK_STATUS)
        first_status(w, n, s);
    else if (e->b >= ASK_SERVE)
        serve_answered(n, s);
    else
        op_keeper_answered(w, n, (enum ask_for)e->b, s);
}

static void keeper_gone(struct world *w, struct node *n)
{
    TRACE(w, n->id, "agent: the keeper is gone");
    n->agent.connected = false;
    n->agent.renew_gen++;
    op_keeper_answered(w, n, ASK_ARM, NULL);
    op_keeper_answered(w, n, ASK_DEATH, NULL);
    if (n->agent.alive)
        agent_wake(w, n);
}

void agent_stop(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    if (a->stopping)
        return;
    a->stopping = true;
    if (a->op.kind == OP_CLONE || a->op.kind == OP_CHECK_REWIND || a->op.kind == OP_ASK_PEERS)
        op_end(w, n);
    agent_wake(w, n);
}

/* --- store ----------------------------------------------------------------------------------------------------------
 */

static void call_ends(struct world *w, struct node *n, struct call *c, enum outcome outcome)
{
    struct call *revoke;

    c->answered = true;
    c->outcome = outcome;
    switch (c->kind) {
    case CALL_READ:
        gather_read(w, n, c);
        break;
    case CALL_ACQUIRE:
        if (outcome != OUTCOME_DONE) {
            revoke = store_call(w, n, CALL_REVOKE, w->policy.ttl_us);
            revoke->session = c->session;
            store_send(w, revoke);
        }
        tether_answered(w, n, c);
        break;
    case CALL_RENEW:
    case CALL_RECLAIM:
        tether_answered(w, n, c);
        break;
    case CALL_REPAIR:
        n->agent.repair_busy = false;
        gather_store(w, n);
        break;
    case CALL_FAILSAFE:
        failsafe_written(w, n, c);
        break;
    case CALL_RELEASE:
        if (!c->revision) {
            op_demote_released(w, n);
            hooks_released(w, n);
        }
        break;
    case CALL_REVOKE:
        break;
    case CALL_TOUCH:
        n->agent.member_busy = false;
        if (outcome != OUTCOME_DONE)
            n->agent.member_face = 0;
        break;
    case CALL_INITIALIZE:
        op_bootstrap_answered(w, n, c);
        break;
    case CALL_TIMELINE:
        timeline_answered(w, n, c);
        break;
    case CALL_CLEAR_FAILOVER:
        manual_failover_cleared(w, n);
        break;
    case CALL_SAY:
        op_demote_said(w, n);
        break;
    case CALL_SYNC:
        sync_answered(w, n, c);
        break;
    }
}

static void store_answered(struct world *w, struct node *n, const struct event *e)
{
    struct call *c = &w->store.calls[e->slot];
    enum outcome outcome = (enum outcome)(e->b & 255);

    if (c->answered || c->stage != e->a)
        return;
    if (outcome != OUTCOME_UNKNOWN && c->stage == 0 &&
        (c->kind == CALL_ACQUIRE || c->kind == CALL_RENEW || c->kind == CALL_RECLAIM)) {
        c->lease_is_in = e->b & 256;
        c->stage = 1;
        if (local_us(w, n) < c->deadline_us) {
            store_send(w, c);
            return;
        }
        outcome = OUTCOME_UNKNOWN;
    }
    c->key_is_gone = e->b & 512;
    if (c->kind == CALL_RENEW && outcome == OUTCOME_DONE && !c->lease_is_in)
        outcome = OUTCOME_UNKNOWN;
    if ((c->kind == CALL_RENEW || c->kind == CALL_ACQUIRE) && outcome == OUTCOME_DONE)
        check_confirmed(w, n, c);
    call_ends(w, n, c, outcome);
}

void agent_event(struct world *w, struct node *n, const struct event *e)
{
    struct agent *a = &n->agent;

    switch (e->kind) {
    case EV_AGENT_TICK:
        if (e->a == a->tick_gen)
            tick(w, n, e->planned_us);
        break;
    case EV_AGENT_RENEW:
        if (e->a == a->renew_gen)
            tether_renew_due(w, n, e->planned_us);
        break;
    case EV_AGENT_DECIDE:
        decide(w, n);
        break;
    case EV_AGENT_OP_TIMER:
        if (e->a == a->op_timer_gen)
            op_timer_due(w, n);
        break;
    case EV_AGENT_OP_DONE:
        if (e->a == a->op.gen)
            op_done(w, n, e);
        break;
    case EV_AGENT_PROBED:
        if (e->a == a->probe_gen)
            gather_probed(w, n);
        break;
    case EV_AGENT_CONTROL:
        gather_controlled(w, n);
        break;
    case EV_AGENT_PEER_ASKS:
    case EV_AGENT_PEER_ANSWERS:
        op_peer_answered(w, n, e);
        break;
    case EV_AGENT_SERVER_EXIT:
        server_exited(w, n);
        break;
    case EV_AGENT_KEEPER_ANSWERS:
        keeper_answered(w, n, e);
        break;
    case EV_AGENT_KEEPER_GONE:
        keeper_gone(w, n);
        break;
    case EV_AGENT_STORE_ANSWERS:
        store_answered(w, n, e);
        break;
    case EV_AGENT_STORE_TIMEOUT:
        if (!w->store.calls[e->slot].answered)
            call_ends(w, n, &w->store.calls[e->slot], OUTCOME_UNKNOWN);
        break;
    case EV_AGENT_CHECKPOINTED:
        if (e->a == a->checkpoint_gen)
            manual_checkpointed(w, n);
        break;
    case EV_AGENT_FAILSAFE_DUE:
    case EV_AGENT_FAILSAFE_ASKED:
    case EV_AGENT_FAILSAFE_ANSWERED:
    case EV_AGENT_FAILSAFE_SILENT:
        failsafe_event(w, n, e);
        break;
    case EV_AGENT_WATCH:
        store_changed(w, n, e->a);
        break;
    default:
        break;
    }
}

/* --- life -----------------------------------------------------------------------------------------------------------
 */

void agent_boot(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    TRACE(w, n->id, "an agent starts");
    memset(a, 0, offsetof(struct agent, members));
    memset((char *)a + offsetof(struct agent, cluster_known), 0, sizeof(*a) - offsetof(struct agent, cluster_known));
    a->gen = ++n->agent_lives;
    a->alive = a->connected = true;
    a->well_since_us = w->now_us;
    a->follows = NOBODY;
    failsafe_boot(w, n);
    push_in(w, n, EV_AGENT_TICK, rng_between(&w->rng, RNG_PROCESS, 20 * MS, 150 * MS), a->gen, 0, 0);
    push_in(w, n, EV_AGENT_WATCH, rng_between(&w->rng, RNG_PROCESS, 30 * MS, 200 * MS), a->gen, 0, 0);
}

void agent_die(struct world *w, struct node *n, int status)
{
    if (!n->agent.alive)
        return;
    TRACE(w, n->id, "the agent ends, status %d", status);
    n->agent.alive = false;
    n->agent.gen = ++n->agent_lives;
    n->agent.thaw_at_us = 0;
    if (n->keeper.alive)
        push_in(w, n, EV_KEEPER_AGENT_EXIT, rng_between(&w->rng, RNG_PROCESS, 50, 2 * MS), n->keeper.gen,
                (uint64_t)(int64_t)status, 0);
}
