/*
 * Operations: one at a time, with what only the keeper can say (ARMED, DISARMED), as src/agent/act.c, arm.c,
 * op_start.c and op_promote.c.
 */
#include <string.h>
#include "sim.h"

enum { ASK_AGAIN_US = 20000, ARM_AGAIN_US = 100000, PROBE_AGAIN_US = 100000, RENEWED_LATELY_US = 500000 };
enum { RETRY_MIN_US = 1000000, RETRY_MAX_US = 30000000 };

void op_begin(struct world *w, struct node *n, enum op_kind kind, const struct ha_decision *d)
{
    struct agent_op *op = &n->agent.op;

    op_end(w, n);
    op->kind = kind;
    op->since_us = local_us(w, n);
    if (d) {
        op->urgency = d->urgency;
        op->release = d->release;
        op->keep = d->keep;
        memcpy(op->target, d->target, sizeof(op->target));
    }
}

void op_end(struct world *w, struct node *n)
{
    struct agent_op *op = &n->agent.op;

    if (op->kind == OP_CLONE)
        n->pg.half_copy = false; /* a cancelled copy takes its files away */
    *op = (struct agent_op){.gen = op->gen + 1};
    n->agent.op_timer_gen++;
    agent_wake(w, n);
}

void op_timer(struct world *w, struct node *n, uint64_t in_us)
{
    push_in(w, n, EV_AGENT_OP_TIMER, in_us, n->agent.gen, ++n->agent.op_timer_gen, 0);
}

void op_timer_off(struct node *n)
{
    n->agent.op_timer_gen++;
}

/* A child of this operation ends then. */
void op_in(struct world *w, struct node *n, uint64_t in_us, uint64_t result)
{
    push_in(w, n, EV_AGENT_OP_DONE, in_us, n->agent.gen, n->agent.op.gen, result);
}

/* --- the keeper -----------------------------------------------------------------------------------------------------
 */

static void start(struct world *w, struct node *n, bool standby);

static void armed(struct world *w, struct node *n, bool yes)
{
    struct agent *a = &n->agent;

    a->op.waits_armed = false;
    op_timer_off(n);
    a->keeper_refused = !yes && a->lease.held;
    if (a->op.kind == OP_BOOTSTRAP) {
        op_bootstrap_armed(w, n, yes);
    } else if (!yes) {
        op_end(w, n);
    } else if (a->op.kind == OP_START_PRIMARY) {
        start(w, n, false);
    } else if (a->standby_cluster && w->mutant != MUTANT_STANDBY_PROMOTES) {
        op_end(w, n);
    } else if (!a->op.is_reserved) {
        a->op.is_armed = true;
    } else {
        standby_check_promotion(w, n);
        /* The command goes to PostgreSQL; what comes of it shows the next probe. */
        check_promotion(w, n);
        a->op.stage = 1;
        pg_promote(w, n);
        gather_pg(w, n);
    }
}

static void ask_arm(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    if (!a->lease.held || !a->connected)
        armed(w, n, false);
    else if (!keeper_ask_model(w, n, KEEPER_ARM, ASK_ARM, a->lease.session, a->lease.deadline_us))
        op_timer(w, n, ARM_AGAIN_US);
}

static bool permits(const struct world *w, const struct node *n, const struct keeper_said *s)
{
    return s->state == KEEPER_ARMED && s->lease_id == n->agent.lease.session && local_us(w, n) < s->fence_at_us;
}

static bool never_long_enough(const struct world *w, const struct node *n)
{
    const struct agent *a = &n->agent;

    return a->lease.confirmed_at_us > a->op.since_us && local_us(w, n) - a->lease.confirmed_at_us < RENEWED_LATELY_US;
}

void op_arm(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    a->op.waits_armed = true;
    if ((permits(w, n, &a->last) && a->connected) || w->mutant == MUTANT_PROMOTE_WITHOUT_ARM)
        armed(w, n, true);
    else
        ask_arm(w, n);
}

/* The keeper is gone: what is left of the primary dies by the agent's hand. */
static void leave_without_keeper(struct world *w, struct node *n)
{
    pg_kill(w, n);
    agent_die(w, n, 1);
}

static void ask_death(struct world *w, struct node *n)
{
    if (!n->agent.connected)
        leave_without_keeper(w, n);
    else if (!keeper_ask_model(w, n, KEEPER_DISARM, ASK_DEATH, n->agent.lease.session, 0))
        op_timer(w, n, ASK_AGAIN_US);
}

void op_prove_dead(struct world *w, struct node *n)
{
    op_timer_off(n);
    n->agent.op.waits_dead = true;
    ask_death(w, n);
}

static void arm_answered(struct world *w, struct node *n, const struct keeper_said *s)
{
    if (s && s->result == KEEPER_OK && permits(w, n, s)) {
        armed(w, n, true);
    } else if (s && (s->result == KEEPER_OK || (s->result == KEEPER_REFUSED_LATE && !never_long_enough(w, n)))) {
        tether_renew_soon(w, n);
        op_timer(w, n, ARM_AGAIN_US);
    } else {
        armed(w, n, false);
    }
}

static void death_answered(struct world *w, struct node *n, const struct keeper_said *s)
{
    struct agent *a = &n->agent;

    if (!s) {
        leave_without_keeper(w, n);
        return;
    }
    if (s->state != KEEPER_DISARMED) {
        op_timer(w, n, ASK_AGAIN_US);
        return;
    }
    a->op.waits_dead = false;
    op_timer_off(n);
    if (a->op.kind == OP_START_PRIMARY)
        op_arm(w, n);
    else if (a->op.kind == OP_START_STANDBY)
        start(w, n, true);
    else if (a->op.kind == OP_REWIND)
        op_rewind_proven(w, n);
    else if (a->op.kind == OP_COPY_SLOTS)
        op_copy_slots_proven(w, n);
    else
        op_demote_proven(w, n);
}

void op_keeper_answered(struct world *w, struct node *n, enum ask_for what, const struct keeper_said *s)
{
    if (what == ASK_ARM && n->agent.op.waits_armed)
        arm_answered(w, n, s);
    else if (what == ASK_DEATH && n->agent.op.waits_dead)
        death_answered(w, n, s);
}

/* --- starting and promoting -----------------------------------------------------------------------------------------
 */

static void failed_start(struct world *w, struct node *n)
{
    struct memory *m = &n->agent.memory;
    uint64_t pause_us = (uint64_t)RETRY_MIN_US << (m->failed_starts < 5 ? m->failed_starts : 5);

    m->failed_starts++;
    m->retry_start_at_us = local_us(w, n) + (pause_us < RETRY_MAX_US ? pause_us : RETRY_MAX_US);
    agent_wake_at(w, n, m->retry_start_at_us);
    op_end(w, n);
}

static void start(struct world *w, struct node *n, bool standby)
{
    struct agent *a = &n->agent;

    sync_write_files(w, n);
    if (!pg_start(w, n, !standby)) {
        failed_start(w, n);
        return;
    }
    n->pg.follows = a->follows = standby ? node_of_name(a->op.target) : NOBODY;
    a->server_up = true;
    a->pg_started_at_us = local_us(w, n);
    a->was_standby_started = standby;
    gather_forget_pg(n);
    op_timer(w, n, PROBE_AGAIN_US);
}

void op_server_exited(struct world *w, struct node *n)
{
    if (n->agent.op.kind == OP_BOOTSTRAP) {
        op_bootstrap_failed(w, n);
        return;
    }
    failed_start(w, n);
    gather_control(w, n);
}

static void follow(struct world *w, struct node *n)
{
    n->pg.follows = n->agent.follows = node_of_name(n->agent.op.target);
    sync_write_files(w, n);
    n->agent.memory.not_streaming_since_us = 0;
    op_end(w, n);
}

/* /sync is as it must be: the timeline and the keeper beside each other. */
void op_promote_sealed(struct world *w, struct node *n)
{
    timeline_reserve(w, n);
    if (n->agent.op.kind == OP_PROMOTE)
        op_arm(w, n);
}

void op_run(struct world *w, struct node *n)
{
    enum op_kind kind = n->agent.op.kind;

    if (kind == OP_START_STANDBY || kind == OP_START_PRIMARY)
        op_prove_dead(w, n);
    else if (kind == OP_FOLLOW)
        follow(w, n);
    else if (kind == OP_ACQUIRE)
        tether_acquire(w, n);
    else if (!hooks_pre_promote(w, n))
        sync_seal(w, n);
}

static void start_answered(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    if (!a->pg.valid) {
        if (a->server_up)
            op_timer(w, n, PROBE_AGAIN_US);
        return;
    }
    a->memory.stopped_here = a->request.restart = false;
    a->memory.failed_starts = 0;
    a->memory.is_new_copy = false;
    if (a->memory.divergence == DIVERGENCE_NONE && w->mutant != MUTANT_OLD_VERDICT)
        a->memory.divergence = DIVERGENCE_UNKNOWN;
    a->memory.retry_start_at_us = 0;
    a->memory.crashed = false;
    a->memory.crashed_at_us = 0;
    op_end(w, n);
}

static void promote_answered(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    if (sync_seal_pg_changed(w, n))
        return;
    if (!a->pg.valid || a->op.waits_armed || a->op.stage == 0)
        return;
    if (a->pg.in_recovery) {
        op_timer(w, n, PROBE_AGAIN_US / 2);
        return;
    }
    a->memory.crashed = false;
    a->memory.failed_starts = 0;
    sync_begin_reign(w, n);
    op_end(w, n);
}

void op_pg_changed(struct world *w, struct node *n)
{
    enum op_kind kind = n->agent.op.kind;

    if (kind == OP_START_STANDBY || kind == OP_START_PRIMARY)
        start_answered(w, n);
    else if (kind == OP_PROMOTE)
        promote_answered(w, n);
    else if (kind == OP_BOOTSTRAP)
        op_bootstrap_pg_changed(w, n);
}

/* --- dispatch -------------------------------------------------------------------------------------------------------
 */

void op_timer_due(struct world *w, struct node *n)
{
    struct agent_op *op = &n->agent.op;

    if (op->waits_armed)
        ask_arm(w, n);
    else if (op->waits_dead)
        ask_death(w, n);
    else if (op->kind == OP_DEMOTE)
        op_demote_timer(w, n);
    else if (op->kind == OP_REWIND)
        op_rewind_timer(w, n);
    else if (op->kind == OP_COPY_SLOTS)
        op_copy_slots_timer(w, n);
    else if (op->kind == OP_RESTART)
        op_restart_timer(w, n);
    else if (op->kind == OP_RELEASE)
        op_release_timer(w, n);
    else if (op->kind == OP_ASK_PEERS)
        op_peer_answered(w, n, NULL);
    else
        gather_pg(w, n);
}

void op_done(struct world *w, struct node *n, const struct event *e)
{
    if (n->agent.op.kind == OP_PROMOTE && n->agent.op.asks) {
        hooks_agreed(w, n, e->b == 0);
    } else if (n->agent.op.kind == OP_BOOTSTRAP) {
        op_bootstrap_done(w, n);
    } else if (n->agent.op.kind == OP_COPY_SLOTS) {
        op_copy_slots_asked(w, n);
    } else {
        op_fill_done(w, n, e->b == 0);
    }
}
