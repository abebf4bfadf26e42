/* The rules S1 to S9, looked at from outside: what is true in the model, not what anybody believes. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "sim.h"

/* As gather.c has it, and what two probes without an answer and a tick take. */
enum { HUNG_AFTER_US = 15000000, HUNG_SLACK_US = 12000000 };

void check_fail(struct world *w, const char *rule, const char *fmt, ...)
{
    va_list ap;

    if (w->broken)
        return;
    w->broken = rule;
    va_start(ap, fmt);
    (void)vsnprintf(w->detail, sizeof(w->detail), fmt, ap);
    va_end(ap);
}

/* What the keeper of this node, or its last will, says about the right to be primary. */
static bool is_armed(const struct node *n)
{
    return n->keeper.alive ? n->keeper.lease.armed : n->keeper.will.armed;
}

/* --- S1: what the store has really confirmed ------------------------------------------------------------------------
 */

void check_confirmed(struct world *w, struct node *n, const struct call *c)
{
    uint64_t deadline_us = c->sent_at_us + w->policy.ttl_us - w->policy.ttl_us / 1000;

    /* A late word about a session that is over, as its successor was acquired since, prolongs nothing any more. */
    if (c->session < n->truth_session)
        return;
    if (c->session != n->truth_session) {
        n->truth_deadline_us = 0;
        memset(n->truth_promise_us, 0, sizeof(n->truth_promise_us));
    }
    n->truth_session = c->session;
    n->truth_life = w->store.data.life;
    if (deadline_us > n->truth_deadline_us)
        n->truth_deadline_us = deadline_us;
}

/* --- promises (failsafe mode) ---------------------------------------------------------------------------------------
 */

/* One of them was given to a question sent at sent_at_us (by NOBODY: the list has no others). */
void check_promised(struct world *w, struct node *n, int by, uint64_t sent_at_us)
{
    uint64_t deadline_us = sent_at_us + w->policy.ttl_us - w->policy.ttl_us / 1000, all_us = NEVER;
    uint8_t list = n->truth_list;

    if (by != NOBODY && deadline_us > n->truth_promise_us[by])
        n->truth_promise_us[by] = deadline_us;
    /* Whoever is in the list may lead, whatever the one who asks believes about it. */
    if (!(list & 1U << n->id) || n->agent.lease.session != n->truth_session)
        return;
    for (int i = 0; i < NODES; i++)
        if (i != n->id && list & 1U << i && n->truth_promise_us[i] < all_us)
            all_us = n->truth_promise_us[i];
    if (all_us == NEVER)
        all_us = deadline_us; /* there is nobody else who may lead */
    if (all_us > n->truth_deadline_us)
        n->truth_deadline_us = all_us;
}

void check_promise_kept(struct world *w, struct node *n)
{
    if (w->now_us < n->truth_promised_real_us)
        check_fail(w, "promise", "%s leads %llu ms before the end of its promise not to", node_name(n->id),
                   (unsigned long long)((n->truth_promised_real_us - w->now_us) / MS));
}

/* --- S3: dead by the deadline ---------------------------------------------------------------------------------------
 */

void check_before(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        const struct node *n = &w->nodes[i];

        if (pg_can_acknowledge(w, n) && local_us(w, n) > n->truth_deadline_us)
            check_fail(w, "S3", "a process of the primary on %s can answer %llu ms after its lease", node_name(i),
                       (unsigned long long)((local_us(w, n) - n->truth_deadline_us) / MS));
    }
}

/* --- after each event -----------------------------------------------------------------------------------------------
 */

static void check_one_primary(struct world *w)
{
    int first = NOBODY;

    for (int i = 0; i < NODES; i++) {
        if (!pg_can_acknowledge(w, &w->nodes[i]))
            continue;
        if (first != NOBODY)
            check_fail(w, "one primary", "both %s and %s acknowledge commits", node_name(first), node_name(i));
        first = i;
    }
}

static void check_one_address(struct world *w)
{
    int first = NOBODY;

    for (int i = 0; i < NODES; i++) {
        const struct node *n = &w->nodes[i];

        if (!n->up || n->address_until_us <= local_us(w, n))
            continue;
        if (first != NOBODY)
            check_fail(w, "one address", "both %s and %s have the primary's address", node_name(first), node_name(i));
        first = i;
    }
}

static void check_leases(struct world *w, const struct node *n)
{
    const struct leader_lease *l = &n->agent.lease;

    if (n->agent.alive && l->held && l->session >> 32 != ((uint64_t)(n->id + 1) << 16 | n->boot))
        check_fail(w, "S9", "%s holds a lease that another life of it acquired", node_name(n->id));
    if (n->agent.alive && l->held && l->session != n->truth_session)
        check_fail(w, "S1", "the agent of %s counts on a session that has been succeeded", node_name(n->id));
    if (n->keeper.alive && n->keeper.lease.armed && n->keeper.lease.lease_id != n->truth_session)
        check_fail(w, "S1", "the keeper of %s counts on a session that has been succeeded", node_name(n->id));
    if (n->agent.alive && l->held && l->deadline_us > n->truth_deadline_us)
        check_fail(w, "S1", "the agent of %s counts on %llu us more than was confirmed", node_name(n->id),
                   (unsigned long long)(l->deadline_us - n->truth_deadline_us));
    if (n->keeper.alive && n->keeper.lease.armed && n->keeper.lease.deadline_us > n->truth_deadline_us)
        check_fail(w, "S1", "the keeper of %s counts on more than was confirmed", node_name(n->id));
}

void check_after(struct world *w)
{
    const struct stored *d = &w->store.data;

    /* The list of a store that was restored may name somebody who was taken off since: two faults, but if it is new. */
    if (d->leader != NOBODY && w->nodes[d->leader].truth_session == d->leader_session &&
        (w->nodes[d->leader].truth_life == d->life || d->failsafe_life == d->life) && d->failsafe & 1U << d->leader)
        w->nodes[d->leader].truth_list = d->failsafe;
    check_one_primary(w);
    check_one_address(w);
    for (int i = 0; i < NODES; i++) {
        const struct node *n = &w->nodes[i];

        if (!n->up)
            continue;
        if (n->pg.phase == PG_PRIMARY || (n->agent.standby_cluster && n->agent.lease.held))
            w->primary_seen_us = w->now_us;
        check_leases(w, n);
        if ((pg_can_commit(n) || n->pg.phase == PG_PROMOTING) && !is_armed(n))
            check_fail(w, "S2", "a primary on %s without an armed keeper", node_name(i));
    }
}

/* --- single acts ----------------------------------------------------------------------------------------------------
 */

void check_pet(struct world *w, struct node *n)
{
    uint64_t reset_us = n->device.timeout_us * w->reset_factor;

    if ((pg_can_commit(n) || n->pg.phase == PG_PROMOTING) && local_us(w, n) + reset_us > n->truth_deadline_us)
        check_fail(w, "S4", "the watchdog of %s is petted although that would outlive the lease", node_name(n->id));
}

void check_deletion(struct world *w, int node, uint64_t session)
{
    const struct node *n = &w->nodes[node];

    if (!w->timelines[n->pg.way].of_remote) /* what came from a cluster that was followed is none of this leadership */
        w->handed_lsn = n->pg.lsn;
    if (pg_can_commit(n) && n->truth_session == session)
        check_fail(w, "S3", "the leader key is given up while a process of the primary on %s lives", node_name(node));
}

/*
 * A primary that answers nobody must not keep the leader key, whichever agent has known it first. One that was only
 * started has primary_start_timeout, and in pause people see to it.
 */
static void check_hung(struct world *w, const struct node *n, const struct ha_decision *d)
{
    const struct agent *a = &n->agent;
    uint64_t since_us = n->pg.hung_since_us > a->well_since_us ? n->pg.hung_since_us : a->well_since_us;
    uint64_t bound_us = (w->policy.ttl_us / 2 > HUNG_AFTER_US ? w->policy.ttl_us / 2 : HUNG_AFTER_US) + HUNG_SLACK_US;

    if (n->pg.phase == PG_PRIMARY && n->pg.hung_gen == n->pg.gen && n->pg.hung_until_us > w->now_us &&
        w->now_us - since_us > bound_us && a->lease.held && a->op.kind != OP_DEMOTE && d->action == HA_NOTHING &&
        !a->paused && a->op.kind != OP_RESTART && (a->pg.valid || n->pg.started_by != a->gen))
        check_fail(w, "hung", "the agent of %s keeps the leader key for a PostgreSQL that has been silent for %llu ms",
                   node_name(n->id), (unsigned long long)((w->now_us - since_us) / MS));
}

void check_acts(struct world *w, struct node *n, const struct ha_decision *d)
{
    const struct agent *a = &n->agent;

    check_hung(w, n, d);
    if (d->action != HA_ACQUIRE && d->action != HA_PROMOTE && d->action != HA_BOOTSTRAP)
        return;
    if (d->action == HA_ACQUIRE)
        check_cold_start(w, n);
    /* A failover is what the operator says it is; a switchover promises that nothing is lost. */
    if (d->action == HA_ACQUIRE && a->cluster.failover.leader[0] && a->cluster.shutdown_lsn &&
        n->pg.lsn < w->handed_lsn && strstr(d->reason, "handed over"))
        check_fail(w, "S7", "%s takes over with %llu bytes less than the leader had when it was shut down",
                   node_name(n->id), (unsigned long long)(w->handed_lsn - n->pg.lsn));
    /* One that runs is only put under the keeper's guard, for the lease it has. */
    if (d->action == HA_PROMOTE && n->pg.phase == PG_PRIMARY)
        return;
    if (a->cluster.read_sent_at_us < a->stood_still_until_us)
        check_fail(w, "thaw", "the agent of %s acts on what it read before it stood still", node_name(n->id));
}

static uint16_t root_of(const struct world *w, uint16_t way)
{
    while (w->timelines[way].number != 1)
        way = w->timelines[way].parent;
    return way;
}

/* pg_rewind and PostgreSQL tell timelines by their numbers: two of one number in one cluster are one to them. */
void check_timeline(struct world *w, const struct node *n, const struct timeline *t)
{
    uint16_t root = root_of(w, t->parent);

    /* A store that has lost everything no longer knows it, nor does a node that could not read it before. */
    if (w->store.data.life > 1)
        return;
    for (uint16_t i = 0; i < w->n_timelines; i++)
        if (!w->timelines[i].of_remote && w->timelines[i].number == t->number && root_of(w, i) == root)
            check_fail(w, "timeline", "%s makes a second timeline %u", node_name(n->id), t->number);
}

void check_promotion(struct world *w, const struct node *n)
{
    if (w->hooks && n->pg.phase != PG_PRIMARY && n->truth_agreed_session != n->agent.lease.session)
        check_fail(w, "pre_promote", "%s is promoted although nobody has agreed to it", node_name(n->id));
}

/* --- liveness -------------------------------------------------------------------------------------------------------
 */

bool check_liveness(const struct world *w)
{
    int leader = w->store.data.leader;

    if (w->store.data.standby_cluster)
        return standby_is_whole(w) && slots_are_whole(w);
    if (leader == NOBODY || w->nodes[leader].pg.phase != PG_PRIMARY || !w->nodes[leader].agent.lease.held)
        return false;
    for (int i = 0; i < NODES; i++)
        if (i != leader && !pg_streams(w, &w->nodes[i]))
            return false;
    return slots_are_whole(w);
}
