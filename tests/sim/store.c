/*
 * The store: a linearizable map with leases that end by its own clock. A request or an answer may be late or lost, a
 * request may come twice; what the client does not hear in time is UNKNOWN to it, and may be executed all the same.
 * Acquire and renew are two requests each, as the product sends them (grant + create-if-absent, keepalive + check).
 */
#include <assert.h>
#include <string.h>
#include "sim.h"

void store_init(struct world *w)
{
    w->store.ppm = (int)rng_between(&w->rng, RNG_SETUP, 0, 1000) - 500;
    w->store.data.leader = NOBODY;
    w->store.data.failover.leader = w->store.data.failover.candidate = NOBODY;
    w->store.data.revision = 1;
    w->store.data.life = 1;
}

void store_take_snapshot(struct world *w)
{
    const struct stored *d = &w->store.data;

    if (w->store.down || !d->initialize_exists || d->initialize_empty)
        return;
    w->store.snapshot = *d;
    w->store.has_snapshot = true;
}

uint64_t store_now_us(const struct world *w)
{
    return w->now_us + (uint64_t)((int64_t)w->now_us * w->store.ppm / 1000000);
}

/* --- the client's side ----------------------------------------------------------------------------------------------
 */

struct call *store_call(struct world *w, struct node *n, enum call_kind kind, uint64_t budget_us)
{
    struct call *c = w->store.calls;

    while (c < w->store.calls + CALLS_MAX && c->refs)
        c++;
    if (c == w->store.calls + CALLS_MAX) {
        check_fail(w, "calm", "the agents ask the store in circles");
        c--;
    }
    memset(c, 0, offsetof(struct call, view));
    c->kind = kind;
    c->node = n->id;
    c->refs = 1;
    c->agent_gen = n->agent.gen;
    c->store_life = n->agent.store_life ? n->agent.store_life : n->store_life;
    c->sent_at_us = local_us(w, n);
    c->deadline_us = c->sent_at_us + budget_us;
    queue_push(&w->queue, (struct event){.at_us = real_of_local(n, c->deadline_us),
                                         .planned_us = c->deadline_us,
                                         .kind = EV_AGENT_STORE_TIMEOUT,
                                         .node = n->id,
                                         .gen = n->agent.gen,
                                         .slot = (uint16_t)(c - w->store.calls)});
    return c;
}

void store_unref(struct call *c)
{
    c->refs--;
}

static void push_request(struct world *w, struct call *c, uint64_t in_us)
{
    c->refs++;
    queue_push(&w->queue, (struct event){.at_us = w->now_us + in_us,
                                         .kind = EV_STORE_ASKED,
                                         .node = c->node,
                                         .a = c->stage,
                                         .slot = (uint16_t)(c - w->store.calls)});
}

void store_send(struct world *w, struct call *c)
{
    /* One that lies about somewhere until its client has given it up. */
    bool late = c->kind == CALL_SYNC && !w->healed && rng_chance(&w->rng, RNG_SYNC, 4);

    if (link_open(w, c->node, STORE))
        push_request(w, c,
                     message_delay_us(w) +
                         (late ? c->deadline_us - c->sent_at_us + rng_between(&w->rng, RNG_SYNC, 0, 3 * SEC) : 0));
    /* A client that retries, or asks a second endpoint. */
    if (c->kind != CALL_READ && rng_chance(&w->rng, RNG_NET, 2) && link_open(w, c->node, STORE))
        push_request(w, c, message_delay_us(w) + rng_between(&w->rng, RNG_NET, 0, 2 * SEC));
}

static void answer(struct world *w, struct call *c, uint64_t stage, enum outcome outcome, unsigned flags)
{
    const struct node *n = &w->nodes[c->node];

    if (!link_open(w, STORE, c->node))
        return;
    c->refs++;
    queue_push(&w->queue, (struct event){.at_us = w->now_us + message_delay_us(w),
                                         .planned_us = NEVER,
                                         .kind = EV_AGENT_STORE_ANSWERS,
                                         .node = n->id,
                                         .gen = c->agent_gen,
                                         .a = stage,
                                         .b = (uint64_t)outcome | flags,
                                         .slot = (uint16_t)(c - w->store.calls)});
}

/* --- leases ---------------------------------------------------------------------------------------------------------
 */

static struct store_lease *find_lease(struct world *w, uint64_t id)
{
    for (int i = 0; i < LEASES_MAX; i++)
        if (w->store.leases[i].id == id)
            return &w->store.leases[i];
    return NULL;
}

static void plan_lease_check(struct world *w, const struct store_lease *l)
{
    uint64_t rest_us = l->expires_us > store_now_us(w) ? l->expires_us - store_now_us(w) : 0;

    /* Late by up to half a second, as etcd looks for expired leases. */
    queue_push(&w->queue, (struct event){.at_us = w->now_us + rest_us + rng_between(&w->rng, RNG_STORE, 1, 500 * MS),
                                         .kind = EV_STORE_LEASE_CHECK,
                                         .a = l->id});
}

static void grant(struct world *w, uint64_t id, uint64_t ttl_us)
{
    struct store_lease *l = find_lease(w, id);

    if (l)
        return;
    l = find_lease(w, 0);
    assert(l);
    *l = (struct store_lease){.id = id, .ttl_us = ttl_us, .expires_us = store_now_us(w) + ttl_us};
    plan_lease_check(w, l);
}

static void notify(struct world *w, bool leader)
{
    for (int i = 0; i < NODES; i++) {
        struct node *n = &w->nodes[i];

        if (n->agent.alive && link_open(w, STORE, i) && link_open(w, i, STORE))
            push_in(w, n, EV_AGENT_WATCH, message_delay_us(w), n->agent.gen, leader, 0);
    }
}

static void delete_leader(struct world *w, const char *why)
{
    struct stored *d = &w->store.data;

    TRACE(w, STORE, "leader key of %s is gone: %s", node_name(d->leader), why);
    d->leader = NOBODY;
    d->leader_session = 0;
    d->revision++;
    notify(w, true);
}

static void end_lease(struct world *w, struct store_lease *l, const char *why)
{
    if (w->store.data.leader != NOBODY && w->store.data.leader_session == l->id)
        delete_leader(w, why);
    *l = (struct store_lease){0};
}

static void check_lease(struct world *w, uint64_t id)
{
    struct store_lease *l = find_lease(w, id);

    if (!l)
        return;
    if (!w->store.down && store_now_us(w) >= l->expires_us)
        end_lease(w, l, "its lease has expired");
    else
        plan_lease_check(w, l);
}

/* --- requests -------------------------------------------------------------------------------------------------------
 */

static bool key_is(const struct stored *d, const struct call *c)
{
    return d->leader == c->node && d->leader_session == c->session;
}

/* Somebody may have led since the client read the store. */
static bool guard_holds(const struct stored *d, const struct call *c)
{
    if (c->kind != CALL_ACQUIRE)
        return true;
    return c->of_bootstrap ? d->initialize_exists && d->initialize_revision == c->revision
                           : d->timeline_revision == c->revision;
}

static enum outcome create_leader(struct world *w, struct call *c)
{
    struct stored *d = &w->store.data;

    if (key_is(d, c))
        return OUTCOME_DONE; /* by the first copy of this request */
    if (d->leader != NOBODY || !guard_holds(d, c))
        return OUTCOME_REFUSED;
    if (!find_lease(w, c->session))
        return OUTCOME_UNKNOWN;
    d->leader = c->node;
    d->leader_session = c->session;
    d->leader_revision = ++d->revision;
    TRACE(w, STORE, "leader key goes to %s, session %llx", node_name(c->node), (unsigned long long)c->session);
    notify(w, true);
    return OUTCOME_DONE;
}

static void revoke(struct world *w, uint64_t session)
{
    struct store_lease *l = session ? find_lease(w, session) : NULL;

    if (!l)
        return;
    if (w->store.data.leader_session == session)
        check_deletion(w, w->store.data.leader, session);
    end_lease(w, l, "revoked");
}

static enum outcome release(struct world *w, struct call *c)
{
    bool ours = key_is(&w->store.data, c), nobody = w->store.data.leader == NOBODY;

    if (ours) {
        check_deletion(w, c->node, c->session);
        delete_leader(w, "released");
    }
    revoke(w, c->session);
    return ours || nobody ? OUTCOME_DONE : OUTCOME_REFUSED;
}

static void touch(struct world *w, const struct call *c)
{
    struct stored *d = &w->store.data;
    struct stored_member *m = &d->members[c->node];
    bool changed = !m->exists || m->state != c->member.state || m->role != c->member.role ||
                   m->timeline != c->member.timeline || m->streaming != c->member.streaming;

    if (!m->exists || m->expires_us <= store_now_us(w)) {
        w->member_gone_us[c->node] = m->exists ? w->now_us - (store_now_us(w) - m->expires_us) : 0;
        w->member_back_us[c->node] = w->now_us;
    }
    *m = c->member;
    m->exists = true;
    m->expires_us = store_now_us(w) + c->ttl_us;
    m->agent = c->agent_gen;
    if (d->initialize_owner == c->node && d->initialize_agent == c->agent_gen)
        d->initialize_expires_us = m->expires_us;
    if (c->known && c->known_revision == d->known_revision + 1 && c->known != d->known) {
        d->known = c->known;
        d->known_revision = ++d->revision;
    }
    if (c->status_lsn) {
        d->status_lsn = c->status_lsn;
        for (int i = 0; i < NODES; i++)
            if (c->status_retain & ~d->status_retain & 1 << i)
                w->retained_us[i] = w->now_us;
        d->status_retain = c->status_retain;
        d->status_logical = c->status_logical;
        d->shutdown_lsn = 0;
    }
    if (changed)
        notify(w, false);
}

/* The mark of a bootstrap hangs on the lease of its maker, whose successor has another one. */
static void expire_initialize(struct world *w)
{
    struct stored *d = &w->store.data;

    if (!d->initialize_exists || !d->initialize_empty || d->initialize_expires_us > store_now_us(w))
        return;
    d->initialize_exists = false;
    d->revision++;
}

static enum outcome initialize(struct world *w, struct call *c)
{
    struct stored *d = &w->store.data;
    const struct stored_member *m = &d->members[c->node];

    if (!c->delete) {
        if (d->initialize_exists && d->initialize_empty && d->initialize_owner == c->node &&
            d->initialize_agent == c->agent_gen) {
            c->revision = d->initialize_revision;
            return OUTCOME_DONE; /* by an earlier request whose answer was lost */
        }
        if (d->initialize_exists)
            return OUTCOME_REFUSED;
        if (m->expires_us <= store_now_us(w) || m->agent != c->agent_gen)
            return OUTCOME_UNKNOWN;
        d->initialize_exists = d->initialize_empty = true;
        d->initialize_owner = c->node;
        d->initialize_agent = c->agent_gen;
        d->initialize_expires_us = m->expires_us;
    } else {
        if (!d->initialize_exists || d->initialize_revision != c->revision)
            return OUTCOME_REFUSED;
        if (d->initialize_empty && d->initialize_owner != c->node)
            check_fail(w, "mark", "%s takes the mark of a bootstrap away that %s has made", node_name(c->node),
                       node_name(d->initialize_owner));
        d->initialize_exists = d->initialize_empty = false;
    }
    c->revision = d->initialize_revision = ++d->revision;
    notify(w, false);
    return OUTCOME_DONE;
}

static enum outcome write_timeline(struct world *w, const struct call *c)
{
    struct stored *d = &w->store.data;

    if (d->timeline_revision != c->revision)
        return OUTCOME_REFUSED;
    d->timeline = c->timeline;
    d->timeline_revision = ++d->revision;
    return OUTCOME_DONE;
}

static enum outcome write_sync(struct world *w, struct call *c)
{
    struct stored *d = &w->store.data;

    if (d->sync_revision != c->revision)
        return OUTCOME_REFUSED;
    d->sync_exists = true;
    d->sync_leader = c->node;
    d->sync_voters = c->voters;
    d->sync_quorum = c->quorum;
    c->revision = d->sync_revision = ++d->revision;
    TRACE(w, STORE, "/sync: leader %s, voters %x, quorum %u", node_name(c->node), c->voters, c->quorum);
    notify(w, false);
    return OUTCOME_DONE;
}

static enum outcome repair(struct world *w, const struct call *c)
{
    struct stored *d = &w->store.data;

    if (d->initialize_exists ? d->initialize_revision != c->revision : c->revision != 0)
        return OUTCOME_REFUSED;
    d->initialize_exists = true;
    d->initialize_empty = false;
    d->sysid = c->sysid_number;
    d->initialize_revision = ++d->revision;
    notify(w, false);
    return OUTCOME_DONE;
}

static enum outcome write_failsafe(struct world *w, const struct call *c)
{
    struct stored *d = &w->store.data;

    if (d->failsafe_revision != c->revision)
        return OUTCOME_REFUSED;
    d->failsafe = c->failsafe;
    d->failsafe_revision = ++d->revision;
    d->failsafe_life = d->life;
    TRACE(w, STORE, "the failsafe list is %x", d->failsafe);
    notify(w, false);
    return OUTCOME_DONE;
}

static void read_all(struct world *w, struct call *c)
{
    c->view = w->store.data;
    for (int i = 0; i < NODES; i++)
        if (c->view.members[i].expires_us <= store_now_us(w))
            c->view.members[i].exists = false;
}

void store_set_failover(struct world *w, const struct stored_failover *f)
{
    w->store.data.failover = *f;
    w->store.data.failover.revision = ++w->store.data.revision;
    notify(w, false);
}

void store_set_pause(struct world *w, bool paused)
{
    w->store.data.paused = paused;
    w->store.data.revision++;
    notify(w, false);
}

void store_set_standby_cluster(struct world *w, bool there)
{
    w->store.data.standby_cluster = there;
    w->store.data.revision++;
    notify(w, false);
}

static void execute(struct world *w, struct call *c, uint64_t stage)
{
    enum outcome outcome = OUTCOME_DONE;
    struct store_lease *l;
    bool lease_is_in = false, key_is_gone = false;

    /* Connections end with their server, and what answers then is not believed before it is known to be another. */
    if (c->kind != CALL_READ && c->store_life && c->store_life != w->store.data.life)
        return;
    c->answered_life = w->store.data.life;
    expire_initialize(w);
    switch (c->kind) {
    case CALL_READ:
        read_all(w, c);
        break;
    case CALL_ACQUIRE:
        if (stage == 0)
            grant(w, c->session, c->ttl_us);
        else
            outcome = create_leader(w, c);
        break;
    case CALL_RENEW:
        l = find_lease(w, c->session);
        lease_is_in = l != NULL;
        if (stage == 0 && l)
            l->expires_us = store_now_us(w) + l->ttl_us;
        if (stage == 1)
            outcome = key_is(&w->store.data, c) ? OUTCOME_DONE : OUTCOME_REFUSED;
        key_is_gone = w->store.data.leader == NOBODY;
        break;
    case CALL_RECLAIM:
        if (stage == 0)
            grant(w, c->session, c->ttl_us);
        else
            outcome = create_leader(w, c);
        break;
    case CALL_REPAIR:
        outcome = repair(w, c);
        break;
    case CALL_FAILSAFE:
        outcome = write_failsafe(w, c);
        break;
    case CALL_RELEASE:
        outcome = release(w, c);
        break;
    case CALL_REVOKE:
        revoke(w, c->session);
        break;
    case CALL_TOUCH:
        touch(w, c);
        break;
    case CALL_INITIALIZE:
        outcome = initialize(w, c);
        break;
    case CALL_TIMELINE:
        outcome = write_timeline(w, c);
        break;
    case CALL_CLEAR_FAILOVER:
        if (w->store.data.failover.revision != c->revision)
            outcome = OUTCOME_REFUSED;
        else
            store_set_failover(w, &(struct stored_failover){.leader = NOBODY, .candidate = NOBODY});
        break;
    case CALL_SAY:
        w->store.data.status_lsn = w->store.data.shutdown_lsn = c->status_lsn;
        w->store.data.shutdown_session = c->session;
        w->store.data.shutdown_timeline = c->timeline;
        w->store.data.revision++;
        w->handed_lsn = w->nodes[c->node].pg.lsn;
        break;
    case CALL_SYNC:
        outcome = write_sync(w, c);
        break;
    }
    answer(w, c, stage, outcome, (lease_is_in ? 256U : 0U) | (key_is_gone ? 512U : 0U));
}

/* What was restored has its leases for their whole time again. */
static void replace(struct world *w)
{
    struct store *s = &w->store;
    uint64_t revision = s->data.revision;
    uint32_t life = s->data.life;
    bool standby_cluster =
        s->data.standby_cluster; /* the leader has the configuration in effect, and writes it again */

    memset(s->leases, 0, sizeof(s->leases));
    if (s->fate == STORE_IS_RESTORED)
        s->data = s->snapshot;
    else
        s->data = (struct stored){.leader = NOBODY};
    s->data.life = life + 1;
    s->data.standby_cluster = standby_cluster;
    if (w->healed)
        s->data.paused = false; /* nor is it by what was restored */
    s->data.revision = revision + 1;
    for (int i = 0; i < NODES; i++)
        if (s->data.members[i].exists) {
            s->data.members[i].expires_us = store_now_us(w) + w->policy.ttl_us;
            w->member_back_us[i] = w->now_us; /* that of one that had gone, perhaps */
        }
    TRACE(w, STORE, "%s", s->fate == STORE_IS_RESTORED ? "the store was restored" : "the store has lost everything");
    s->fate = STORE_COMES_BACK;
    if (s->data.leader != NOBODY)
        grant(w, s->data.leader_session, w->policy.ttl_us);
}

static void back(struct world *w)
{
    /* After an election some stores give every lease its whole time again, others go on counting. */
    bool prolong = rng_chance(&w->rng, RNG_STORE, 50);

    w->store.down = false;
    TRACE(w, STORE, "the store is back");
    /* An empty node and an empty store make another cluster, as they should. */
    for (int i = 0; i < NODES; i++)
        if (!w->nodes[i].pg.dir_there || w->nodes[i].pg.marker)
            w->store.fate = STORE_COMES_BACK;
    if (w->store.fate != STORE_COMES_BACK)
        replace(w);
    for (int i = 0; i < LEASES_MAX && prolong; i++)
        if (w->store.leases[i].id)
            w->store.leases[i].expires_us = store_now_us(w) + w->store.leases[i].ttl_us;
    notify(w, false);
}

void store_event(struct world *w, const struct event *e)
{
    struct call *c = &w->store.calls[e->slot];

    if (e->kind == EV_STORE_LEASE_CHECK) {
        check_lease(w, e->a);
    } else if (e->kind == EV_STORE_BACK) {
        back(w);
    } else {
        if (!w->store.down)
            execute(w, c, e->a);
        else if (rng_chance(&w->rng, RNG_STORE, 50))
            answer(w, c, e->a, OUTCOME_UNKNOWN, 0);
        store_unref(c);
    }
}
