/*
 * A standby cluster: in some worlds there is another cluster, and now and then somebody has ours follow it, or stand
 * for itself again. The other cluster is one primary that nothing here touches: it writes, fails over to a standby that
 * lacks the last of its WAL, and is out of reach for a while. It began as a copy of ours, so that who follows it has to
 * be rewound. What is checked: no agent promotes that has read that its cluster follows another one, nobody leaves
 * recovery long after that was written, and in the end all follow it, or one of ours is the primary, as it was wanted.
 */
#include "sim.h"

enum { STRIKES_MAX = 8, UNSENT_MAX_BYTES = 30000 };

/* A cluster that was the same until then: its WAL goes another way from the last of somebody's here on. */
static void part(struct world *w, uint16_t way, uint64_t lsn)
{
    struct pg *p = &w->remote.pg;
    uint64_t back = rng_between(&w->rng, RNG_STANDBY, 0, UNSENT_MAX_BYTES);

    if (w->n_timelines == TIMELINES_MAX)
        return;
    lsn = lsn > back ? lsn - back : 0;
    if (lsn < w->timelines[way].switch_lsn)
        lsn = w->timelines[way].switch_lsn;
    w->timelines[w->n_timelines] =
        (struct timeline){.number = w->timelines[way].number + 1, .parent = way, .switch_lsn = lsn, .of_remote = true};
    p->way = (uint16_t)w->n_timelines++;
    p->lsn = lsn;
    TRACE(w, STORE, "the other cluster is on timeline %u from %llu on", w->timelines[p->way].number,
          (unsigned long long)lsn);
}

void standby_flow(struct world *w)
{
    struct pg *p = &w->remote.pg;

    p->lsn += (w->now_us - p->lsn_at_us) / MS * 10;
    p->lsn_at_us += (w->now_us - p->lsn_at_us) / MS * MS;
}

const struct pg *standby_upstream(const struct world *w)
{
    return w->has_remote && !w->remote_cut ? &w->remote.pg : NULL;
}

/* Made by initdb it is another cluster for ever; and while it is being made nobody changes his mind. */
static bool is_related(const struct world *w)
{
    const struct stored *d = &w->store.data;

    return d->initialize_exists && !d->initialize_empty && d->sysid == pg_sysid(w, &w->remote);
}

static void set_section(struct world *w, bool there)
{
    const struct node *n = &w->nodes[rng_between(&w->rng, RNG_STANDBY, 0, NODES - 1)];

    if (w->store.down || w->store.data.standby_cluster == there || !is_related(w))
        return;
    /* The first time: what is followed must have been this cluster once. */
    if (there && w->remote.pg.way == 0 && n->pg.dir_there)
        part(w, n->pg.way, n->pg.lsn);
    TRACE(w, STORE, "the cluster is to %s", there ? "follow the other one" : "stand for itself");
    w->standby_since_us = there ? w->now_us : 0;
    w->unfollowed_us = w->now_us;
    store_set_standby_cluster(w, there);
}

void standby_strike(struct world *w)
{
    uint64_t roll = rng_between(&w->rng, RNG_STANDBY, 0, 99);

    if (roll < 60) {
        set_section(w, !w->store.data.standby_cluster);
    } else if (roll < 80) {
        if (w->remote.pg.way)
            part(w, w->remote.pg.way, w->remote.pg.lsn);
    } else {
        w->remote_cut = !w->remote_cut;
        TRACE(w, STORE, "the other cluster is %s", w->remote_cut ? "out of reach" : "reached again");
    }
}

void standby_heal(struct world *w)
{
    w->remote_cut = false;
    if (w->has_remote && rng_chance(&w->rng, RNG_STANDBY, 50))
        set_section(w, rng_chance(&w->rng, RNG_STANDBY, 50));
}

void standby_plan(struct world *w, bool empty)
{
    uint64_t n = rng_between(&w->rng, RNG_STANDBY, 1, STRIKES_MAX);

    w->remote_cut = false;
    w->standby_since_us = 0;
    w->remote = (struct node){.id = REMOTE, .up = true};
    w->remote.pg = (struct pg){.dir_there = true, .phase = PG_PRIMARY, .lsn = 1000000, .follows = NOBODY};
    w->has_remote = w->policy.sync_mode == SYNC_MODE_OFF && rng_chance(&w->rng, RNG_STANDBY, 40);
    if (!w->has_remote)
        return;
    /* Made as a cluster of its own it would be another one for ever. */
    if (empty) {
        w->store.data.standby_cluster = true;
        w->standby_since_us = 1;
    }
    for (uint64_t i = 0; i < n; i++)
        queue_push(&w->queue, (struct event){.at_us = rng_between(&w->rng, RNG_STANDBY, 5 * SEC, w->heal_at_us - SEC),
                                             .kind = EV_STANDBY_CLUSTER});
}

/* --- the first member: src/agent/op_bootstrap.c ----------------------------------------------------------------------
 */

void standby_copy(struct world *w, struct node *n)
{
    n->agent.op.copies = n->pg.copy_note = n->pg.half_copy = true;
    op_in(w, n, rng_between(&w->rng, RNG_STANDBY, 500 * MS, 6 * SEC), 0);
}

void standby_copied(struct world *w, struct node *n)
{
    const struct pg *from = standby_upstream(w);
    struct agent *a = &n->agent;

    n->pg.copy_note = n->pg.half_copy = false;
    if (!from) {
        op_bootstrap_failed(w, n);
        return;
    }
    TRACE(w, n->id, "is a copy of the other cluster now");
    n->pg.dir_there = true;
    op_become_copy(n, &w->remote);
    a->memory.divergence = DIVERGENCE_UNKNOWN;
    a->memory.is_new_copy = a->memory.stopped_here = true;
    a->control = (struct local_pg){0};
    op_end(w, n);
    gather_control(w, n);
}

/* --- the rules ------------------------------------------------------------------------------------------------------
 */

void standby_check_promotion(struct world *w, const struct node *n)
{
    if (n->agent.standby_cluster)
        check_fail(w, "standby cluster", "%s is told to promote, and knows that its cluster follows another one",
                   node_name(n->id));
}

/* The section may have come when the decision had been made already. */
void standby_check_promoted(struct world *w, const struct node *n)
{
    uint64_t bound_us = w->policy.ttl_us + 2 * w->policy.retry_timeout_us + 2 * SEC;

    if (w->standby_since_us && w->now_us - w->standby_since_us > bound_us)
        check_fail(w, "standby cluster", "%s leaves recovery %llu ms after its cluster was told to follow another one",
                   node_name(n->id), (unsigned long long)((w->now_us - w->standby_since_us) / MS));
}

bool standby_is_whole(const struct world *w)
{
    int leader = w->store.data.leader;
    const struct node *l = leader == NOBODY ? NULL : &w->nodes[leader];

    if (!l || !l->agent.lease.held || l->pg.phase != PG_STANDBY || l->pg.follows != REMOTE || !pg_streams(w, l))
        return false;
    for (int i = 0; i < NODES; i++)
        if (i != leader && (w->nodes[i].pg.follows != leader || !pg_streams(w, &w->nodes[i])))
            return false;
    return true;
}
