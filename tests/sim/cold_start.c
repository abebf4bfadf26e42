/* After an outage of all members: who is known, and whether somebody has led since; as src/agent/cold_start.c. */
#include <string.h>
#include "sim.h"

enum { ASKED_US = 5000000 };

void cold_start_adopt(struct node *n)
{
    n->agent.memory.leader_seen = n->agent.server_up && n->run_dir.seen_by == n->pg.gen + 1;
}

void cold_start_fill_cluster(struct node *n, const struct stored *s)
{
    struct agent *a = &n->agent;

    if (s->known_revision)
        n->known_kept = s->known;
    a->known_list.n = 0;
    for (int i = 0; i < NODES; i++)
        if (n->known_kept & 1U << i)
            (void)failsafe_list_add(&a->known_list, node_name(i), "http://h");
    a->cluster.known_text.revision = s->known_revision;
}

static bool key_is_alive(const struct world *w, const struct node *n)
{
    const struct leader_key *leader = &n->agent.cluster.leader;

    return w->mutant == MUTANT_KEY_IS_A_LEADER || leader->session != n->agent.cold.first_session ||
           n->agent.cluster.read_sent_at_us > n->agent.cold.first_look_at_us + 2 * w->policy.ttl_us;
}

/* What it would say over its REST API, without the time that takes. */
static bool says_it_leads(struct world *w, const struct node *n)
{
    int id = node_of_name(n->agent.cluster.leader.name);
    const struct agent *leader = &w->nodes[id].agent;

    return link_open(w, n->id, id) && link_open(w, id, n->id) && leader->alive && leader->pg.valid &&
           leader->server_up && !leader->pg.in_recovery;
}

static bool somebody_leads(struct world *w, const struct node *n)
{
    const struct agent *a = &n->agent;
    const struct member *leader = cluster_leader_member(&a->cluster);

    if (a->lease.held && a->server_up && a->pg.valid && (!a->pg.in_recovery || a->standby_cluster))
        return true;
    return leader && (leader->role == PG_ROLE_PRIMARY || leader->role == PG_ROLE_STANDBY_LEADER) &&
           (key_is_alive(w, n) || says_it_leads(w, n));
}

void cold_start_look(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    if (!a->cluster_known)
        return;
    if (!a->cold.has_looked) {
        a->cold.has_looked = true;
        a->cold.first_session = a->cluster.leader.session;
        a->cold.first_look_at_us = local_us(w, n);
    }
    a->memory.leader_seen |= somebody_leads(w, n);
    if (a->memory.leader_seen && a->server_up)
        n->run_dir.seen_by = n->pg.gen + 1;
}

static bool is_member(const struct agent *a, int id)
{
    return cluster_member(&a->cluster, node_name(id)) != NULL;
}

/* What the leader writes: each until a ttl after its key has gone. */
uint8_t cold_start_members(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    uint8_t known = (uint8_t)(1U << n->id);

    for (int i = 0; i < NODES; i++) {
        const struct member *m = cluster_member(&a->cluster, node_name(i));
        bool was_known = failsafe_list_find(&a->known_list, node_name(i)) != NULL;

        if (is_member(a, i))
            a->cold.missing_since_us[i] = 0;
        else if (!a->cold.missing_since_us[i])
            a->cold.missing_since_us[i] = local_us(w, n);
        if (m ? m->xlog_lsn || was_known
              : was_known && (local_us(w, n) - a->cold.missing_since_us[i] < w->policy.ttl_us ||
                              (w->nodes[i].pg.follows == n->id && pg_streams(w, &w->nodes[i]))))
            known |= (uint8_t)(1U << i);
    }
    return known;
}

/* In truth: some host has been up since somebody led last, or was when the others asked it. */
static bool somebody_was_up(const struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        const struct node *n = &w->nodes[i];

        if ((n->up || w->now_us - n->crashed_at_us < ASKED_US) && n->base_real_us <= w->primary_seen_us)
            return true;
    }
    return false;
}

/*
 * An election after an outage of all: no disk holds more than the winner's, on the same timeline or a later one, of
 * those who may lead. Who had diverged before was given up before.
 */
void check_cold_start(struct world *w, const struct node *n)
{
    const struct agent *a = &n->agent;

    if (n->agent.standby_cluster)
        return; /* what it lacks it gets from the other cluster */
    if (w->unfollowed_us > w->primary_seen_us)
        return; /* what it lacks is of the other cluster, and was coming still when the others were asked */
    if (w->policy.sync_mode != SYNC_MODE_OFF || somebody_was_up(w) || w->store.data.life > 1 ||
        a->cluster.failover.exists)
        return;
    for (int i = 0; i < NODES; i++) {
        const struct node *other = &w->nodes[i];
        bool fit = other->pg.dir_there && !other->pg.half_copy && !other->pg.half_rewound && !other->pg.rewind_note &&
                   !other->pg.copy_note && (!other->pg.marker || other->pg.made) &&
                   !storage_has_failed(&other->agent.disk) && other->pg.disk_bad_until_us + 5 * SEC < w->now_us &&
                   (!w->store.data.failsafe || w->store.data.failsafe & 1U << i);
        bool more = other->pg.way == n->pg.way ? other->pg.lsn > n->pg.lsn
                                               : w->timelines[other->pg.way].number > w->timelines[n->pg.way].number;

        /* What came from a cluster that was followed for a while has nothing of ours; some may be coming still. */
        if (w->timelines[other->pg.way].of_remote)
            continue;
        if (i != n->id && fit && more && w->store.data.known & 1U << i)
            check_fail(w, "cold start", "%s takes the key after an outage of all although %s has more",
                       node_name(n->id), node_name(i));
    }
}
