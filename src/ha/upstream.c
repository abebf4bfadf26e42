/* Whom a standby follows: the leader, or with the tag replicatefrom another member (facts sheet 11.4). */
#include <string.h>
#include "ha/ha.h"

/*
 * Its PostgreSQL is down and nobody is just starting it. The reference goes on waiting for such an upstream as long as
 * its member key is there; but its agent may live on for days while its disk is full, and the leader keeps a slot for
 * everybody.
 */
static bool is_down(const struct member *m)
{
    static const bool down[PG_STATE_UNKNOWN + 1] = {
        [PG_STATE_INITDB] = true,           [PG_STATE_INITDB_FAILED] = true,
        [PG_STATE_CUSTOM_BOOTSTRAP] = true, [PG_STATE_CUSTOM_BOOTSTRAP_FAILED] = true,
        [PG_STATE_CREATING_REPLICA] = true, [PG_STATE_START_FAILED] = true,
        [PG_STATE_RESTART_FAILED] = true,   [PG_STATE_STOPPED] = true,
        [PG_STATE_STOP_FAILED] = true,      [PG_STATE_CRASHED] = true,
    };

    return down[m->state];
}

/* The member that is named by replicatefrom, if it is one that can be followed. */
static const struct member *wanted_upstream(const struct cluster *c, const char *name, const struct tags *tags)
{
    const struct member *m;

    if (!tags->replicatefrom[0] || strcmp(tags->replicatefrom, name) == 0)
        return NULL;
    m = cluster_member(c, tags->replicatefrom);
    return m && m->conn_url[0] && !is_down(m) ? m : NULL;
}

/* Whether the way up from `from` comes by `name`: a ring of standbys would get no WAL at all. */
static bool leads_back(const struct cluster *c, const struct member *from, const char *name)
{
    for (size_t steps = 0; from && steps <= c->n_members; steps++) {
        if (strcmp(from->name, name) == 0)
            return true;
        if (c->leader.exists && strcmp(from->name, c->leader.name) == 0)
            return false;
        from = wanted_upstream(c, from->name, &from->tags);
    }
    return false;
}

const struct member *ha_upstream_of(const struct cluster *c, const char *name, const struct tags *tags)
{
    const struct member *m;

    if (tags->nostream)
        return NULL;
    m = wanted_upstream(c, name, tags);
    if (m && !leads_back(c, m, name))
        return m;
    m = cluster_leader_member(c);
    return m && m->conn_url[0] && strcmp(m->name, name) != 0 ? m : NULL;
}

const struct member *ha_upstream(const struct ha_view *v)
{
    return v->cluster ? ha_upstream_of(v->cluster, v->name, &v->tags) : NULL;
}
