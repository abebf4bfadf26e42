/* The agent's lease and what the keeper is told of it, as src/agent/tether.c. */
#include "sim.h"

enum { RENEW_RETRY_US = 100000 };

static void renew_at(struct world *w, struct node *n, uint64_t at_us)
{
    uint64_t now_us = local_us(w, n);

    queue_push(&w->queue, (struct event){.at_us = at_us > now_us ? real_of_local(n, at_us) : w->now_us,
                                         .planned_us = at_us,
                                         .kind = EV_AGENT_RENEW,
                                         .node = n->id,
                                         .gen = n->agent.gen,
                                         .a = ++n->agent.renew_gen});
}

void tether_renew_soon(struct world *w, struct node *n)
{
    if (n->agent.lease.held && !n->agent.renewing)
        renew_at(w, n, local_us(w, n));
}

static void keep_confirmation(struct world *w, struct node *n, const struct call *c)
{
    struct leader_lease *l = &n->agent.lease;
    uint64_t from_us = w->mutant == MUTANT_DEADLINE_FROM_ANSWER ? local_us(w, n) : c->sent_at_us;
    uint64_t deadline_us = ha_lease_deadline_us(from_us, w->policy.ttl_us);

    l->held = true;
    l->session = c->session;
    l->confirmed_at_us = c->sent_at_us;
    if (deadline_us > l->deadline_us)
        l->deadline_us = deadline_us;
}

static void lost(struct world *w, struct node *n, const char *why)
{
    if (!n->agent.lease.held)
        return;
    TRACE(w, n->id, "agent: lost the leader key: %s", why);
    n->agent.lease.held = false;
    n->agent.renew_gen++;
}

void tether_prolong(struct world *w, struct node *n, uint64_t deadline_us)
{
    struct agent *a = &n->agent;

    if (!a->lease.held || deadline_us <= a->lease.deadline_us)
        return;
    a->lease.deadline_us = deadline_us;
    if (a->last.state == KEEPER_ARMED && a->last.lease_id == a->lease.session)
        (void)keeper_ask_model(w, n, KEEPER_RENEW, ASK_NOTHING, a->lease.session, a->lease.deadline_us);
    agent_wake(w, n);
}

static bool may_reclaim(const struct world *w, const struct node *n)
{
    const struct agent *a = &n->agent;

    return local_us(w, n) < a->lease.deadline_us && a->op.kind != OP_DEMOTE && !a->stopping &&
           a->last.state == KEEPER_ARMED && a->last.lease_id == a->lease.session;
}

static uint64_t renew_budget_us(const struct world *w, const struct node *n)
{
    uint64_t budget_us = w->policy.retry_timeout_us, rest_us = n->agent.lease.deadline_us - local_us(w, n);

    if (budget_us > w->policy.ttl_us / 3)
        budget_us = w->policy.ttl_us / 3;
    return budget_us > rest_us ? rest_us : budget_us;
}

static void reclaim(struct world *w, struct node *n)
{
    struct call *c = store_call(w, n, CALL_RECLAIM, renew_budget_us(w, n));

    n->agent.renewing = true;
    c->session = n->agent.lease.session;
    c->ttl_us = w->policy.ttl_us;
    store_send(w, c);
}

static void reclaimed(struct world *w, struct node *n, const struct call *c)
{
    struct agent *a = &n->agent;

    if (!a->lease.held || c->session != a->lease.session)
        return;
    a->renewing = false;
    switch (c->outcome) {
    case OUTCOME_DONE:
        renew_at(w, n, local_us(w, n));
        gather_store(w, n);
        return;
    case OUTCOME_REFUSED:
        lost(w, n, "somebody else took the key");
        break;
    case OUTCOME_UNKNOWN:
        renew_at(w, n, local_us(w, n) + RENEW_RETRY_US);
        break;
    }
    agent_wake(w, n);
}

static void renewed(struct world *w, struct node *n, const struct call *c)
{
    struct agent *a = &n->agent;
    enum outcome outcome = c->outcome;

    if (!a->lease.held || c->session != a->lease.session)
        return;
    a->renewing = false;
    if (outcome == OUTCOME_UNKNOWN && w->mutant == MUTANT_UNKNOWN_IS_CONFIRMATION)
        outcome = OUTCOME_DONE;
    switch (outcome) {
    case OUTCOME_DONE:
        keep_confirmation(w, n, c);
        failsafe_store_answers(n, c->answered_life);
        if (a->last.state == KEEPER_ARMED && a->last.lease_id == a->lease.session)
            (void)keeper_ask_model(w, n, KEEPER_RENEW, ASK_NOTHING, a->lease.session, a->lease.deadline_us);
        renew_at(w, n, c->sent_at_us + ha_renew_interval_us(&w->policy));
        return;
    case OUTCOME_REFUSED:
        if (c->key_is_gone && may_reclaim(w, n)) {
            reclaim(w, n);
            return;
        }
        lost(w, n, "the store says so");
        agent_wake(w, n);
        return;
    case OUTCOME_UNKNOWN:
        break;
    }
    failsafe_store_is_silent(w, n);
    renew_at(w, n, local_us(w, n) + RENEW_RETRY_US);
    agent_wake(w, n);
}

void tether_renew_due(struct world *w, struct node *n, uint64_t planned_us)
{
    struct agent *a = &n->agent;
    uint64_t now_us = local_us(w, n);
    struct call *c;

    agent_note_lateness(w, n, planned_us);
    if (!a->lease.held || a->renewing || !a->connected)
        return;
    if (now_us >= a->lease.deadline_us) {
        lost(w, n, "it ran out before it could be renewed");
        agent_wake(w, n);
        return;
    }
    a->renewing = true;
    c = store_call(w, n, CALL_RENEW, renew_budget_us(w, n));
    c->session = a->lease.session;
    store_send(w, c);
}

void tether_keep(struct world *w, struct node *n, const struct call *c)
{
    check_promise_kept(w, n);
    n->agent.lease = (struct leader_lease){0};
    n->agent.renewing = false;
    keep_confirmation(w, n, c);
    n->agent.keeper_refused = false;
    renew_at(w, n, c->sent_at_us + ha_renew_interval_us(&w->policy));
}

static void acquired(struct world *w, struct node *n, struct call *c)
{
    struct agent *a = &n->agent;
    bool wanted = a->op.waits_key;
    struct call *back;

    a->acquiring = a->op.waits_key = false;
    if (wanted && a->op.kind == OP_BOOTSTRAP) {
        op_bootstrap_answered(w, n, c);
    } else if (wanted) {
        if (c->outcome == OUTCOME_DONE)
            tether_keep(w, n, c);
        op_end(w, n);
        gather_store(w, n);
    } else if (c->outcome == OUTCOME_DONE) {
        back = store_call(w, n, CALL_RELEASE, w->policy.retry_timeout_us);
        back->session = c->session;
        back->revision = 1; /* nobody waits for the answer */
        store_send(w, back);
    }
}

void tether_answered(struct world *w, struct node *n, struct call *c)
{
    if (c->kind == CALL_RENEW)
        renewed(w, n, c);
    else if (c->kind == CALL_RECLAIM)
        reclaimed(w, n, c);
    else
        acquired(w, n, c);
}

void tether_acquire(struct world *w, struct node *n)
{
    struct call *c;

    n->agent.op.waits_key = true;
    if (n->agent.acquiring)
        return;
    n->agent.acquiring = true;
    c = store_call(w, n, CALL_ACQUIRE, w->policy.retry_timeout_us);
    /* Says whose it is: a session of this node and this boot (S9). */
    c->session = (uint64_t)(n->id + 1) << 48 | (uint64_t)n->boot << 32 | ++n->sessions;
    c->ttl_us = w->policy.ttl_us;
    c->of_bootstrap = n->agent.op.kind == OP_BOOTSTRAP;
    c->revision = c->of_bootstrap ? n->agent.initialize_revision : n->agent.cluster.timeline.revision;
    store_send(w, c);
}

void tether_release(struct world *w, struct node *n)
{
    struct call *c = store_call(w, n, CALL_RELEASE, w->policy.retry_timeout_us);

    c->session = n->agent.lease.session;
    n->agent.lease.held = false;
    n->agent.renew_gen++;
    store_send(w, c);
}

void tether_adopt(struct world *w, struct node *n, const struct keeper_said *s)
{
    if (s->state != KEEPER_ARMED)
        return;
    n->agent.lease = (struct leader_lease){.held = true, .session = s->lease_id, .deadline_us = s->deadline_us};
    failsafe_adopt(n);
    renew_at(w, n, local_us(w, n));
}

/* --- src/agent/serve.c ----------------------------------------------------------------------------------------------
 */

static enum keeper_serve what_is_here(const struct agent *a, uint64_t now_us)
{
    if (!a->server_up || !a->pg.valid || a->op.kind == OP_REWIND || a->op.kind == OP_COPY_SLOTS)
        return KEEPER_SERVE_NONE;
    if (a->op.kind == OP_DEMOTE && !op_demote_keeps_addresses(a))
        return KEEPER_SERVE_NONE;
    if (!a->pg.in_recovery)
        return a->last.state == KEEPER_ARMED && a->lease.held && a->op.kind != OP_BOOTSTRAP ? KEEPER_SERVE_PRIMARY
                                                                                            : KEEPER_SERVE_NONE;
    if (a->last.state != KEEPER_DISARMED)
        return KEEPER_SERVE_NONE;
    return a->standby_cluster && a->lease.held && a->lease.deadline_us > now_us && a->op.kind != OP_RELEASE
               ? KEEPER_SERVE_STANDBY_LEADER
               : KEEPER_SERVE_STANDBY;
}

void serve_update(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    uint64_t now_us = local_us(w, n), half_ttl_us = w->policy.ttl_us / 2, until_us = 0;
    enum keeper_serve whom = what_is_here(a, now_us);
    bool is_same = a->serve.told && a->serve.whom == whom &&
                   (whom != KEEPER_SERVE_PRIMARY || a->serve.session == a->lease.session);

    if (!a->connected || (a->serve.busy && whom))
        return;
    if (whom == KEEPER_SERVE_NONE && !a->serve.told && a->op.kind != OP_DEMOTE && a->op.kind != OP_REWIND &&
        a->op.kind != OP_COPY_SLOTS)
        return;
    if (keeper_serve_is_standby(whom))
        until_us = a->pg.answered_at_us + half_ttl_us;
    if (whom == KEEPER_SERVE_STANDBY_LEADER && until_us > a->lease.deadline_us)
        until_us = a->lease.deadline_us;
    if (keeper_serve_is_standby(whom) && until_us <= now_us)
        return;
    if (is_same && (!keeper_serve_is_standby(whom) || a->serve.until_us > now_us + half_ttl_us / 2 ||
                    a->serve.until_us == until_us))
        return;
    if (!keeper_ask_model(w, n, KEEPER_SERVE, (enum ask_for)(ASK_SERVE + whom),
                          whom == KEEPER_SERVE_PRIMARY ? a->lease.session : 0, until_us))
        return;
    a->serve.whom = whom;
    a->serve.until_us = until_us;
    a->serve.session = a->lease.session;
    a->serve.told = a->serve.busy = true;
}

void serve_answered(struct node *n, const struct keeper_said *s)
{
    n->agent.serve.busy = false;
    if (s->result != KEEPER_OK)
        n->agent.serve.told = false;
}
