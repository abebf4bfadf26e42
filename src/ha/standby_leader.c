/*
 * A standby cluster (facts sheet 3.14): who holds the leader key follows another cluster, the others follow him, and
 * nobody leaves recovery. The lease says who that is and nothing more: no keeper is armed for it, since no client can
 * write anything here, and without it a server goes on as the standby that it is.
 *
 * The section that makes a cluster one may come and go while it runs. A primary then stops in order, and comes back
 * under the lease it has; a standby leader is promoted as anybody who has been elected (S2). Where WAL has parted it is
 * the other cluster's that counts, for all members: whoever diverged is rewound to it and not to the leader here.
 */
#include <string.h>
#include "ha/parts.h"

const char *ha_origin(const struct ha_view *v, const struct member *leader)
{
    if (!v->policy.standby_cluster)
        return leader->name;
    return v->policy.standby_cluster_streams ? REMOTE_CLUSTER : NULL;
}

const char *ha_origin_text(const char *origin)
{
    return strcmp(origin, REMOTE_CLUSTER) == 0 ? "the cluster that is followed" : "the leader";
}

/* A key of ours without its lease is one that was given up or is running out. */
static bool nobody_else_leads(const struct ha_view *v)
{
    const struct leader_key *leader = &v->cluster->leader;

    return !leader->exists || strcmp(leader->name, v->name) == 0;
}

bool ha_follows_remote(const struct ha_view *v)
{
    if (!v->policy.standby_cluster || v->tags.nostream)
        return false;
    return v->lease.held || (v->cluster && nobody_else_leads(v) && !v->policy.pause);
}

bool ha_streams_from_remote(const struct ha_view *v)
{
    return v->policy.standby_cluster && v->pg.streaming && strcmp(v->pg.follows, REMOTE_CLUSTER) == 0;
}

bool ha_position_is_no_matter(const struct ha_view *v, const struct peer *p)
{
    const struct failover_key *key = ha_request(v);

    return ha_streams_from_remote(v) || (v->policy.standby_cluster && key && strcmp(key->leader, p->name) == 0);
}

bool ha_may_follow_remote_meanwhile(const struct ha_view *v, const struct ha_decision *race)
{
    return race->action == HA_NOTHING && ha_follows_remote(v) && strcmp(v->pg.follows, REMOTE_CLUSTER) != 0 &&
           v->memory.leaderless_since_us && v->now_us - v->memory.leaderless_since_us >= 2 * v->policy.loop_wait_us;
}

/* It runs and could be elected: what it has is of use, whatever that is. */
static bool is_another_copy(const struct ha_view *v, const struct member *m)
{
    const struct failsafe_list *list = v->cluster->failsafe_list;

    return strcmp(m->name, v->name) != 0 && m->state == PG_STATE_RUNNING && !m->tags.nofailover &&
           (!list || !list->n || failsafe_list_find(list, m->name));
}

static bool there_is_another_copy(const struct ha_view *v)
{
    for (size_t i = 0; i < v->cluster->n_members; i++)
        if (is_another_copy(v, &v->cluster->members[i]))
            return true;
    return false;
}

bool ha_is_last_copy(const struct ha_view *v)
{
    if (!v->policy.standby_cluster || v->rewind_incomplete || !v->cluster || v->cluster->n_members < 2)
        return false;
    return (v->lease.held || nobody_else_leads(v)) && !there_is_another_copy(v);
}

static struct ha_decision stop_and_keep(enum ha_urgency urgency, const char *why)
{
    struct ha_decision d = ha_say_stop(HA_DEMOTE, urgency, false, "%s", why);

    d.keep = true;
    return d;
}

/* Not yet told to promote, or told just now: what came of it is seen when it is started again, and rewound. */
bool ha_standby_cluster_forbids(const struct ha_view *v, struct ha_decision *ret)
{
    if (!v->policy.standby_cluster || v->op != OP_PROMOTE || !v->pg.in_recovery)
        return false;
    *ret = stop_and_keep(HA_AT_ONCE, "this cluster follows another one now: not promoting");
    return true;
}

struct ha_decision ha_decide_demote_cluster(const struct ha_view *v)
{
    struct ha_decision d;

    if (ha_needs_checkpoint(v, "demoting the cluster", &d))
        return d;
    return stop_and_keep(HA_GRACEFUL, "this cluster follows another one now: demoting this node to its standby leader");
}

static struct ha_decision give_up(const char *why)
{
    return ha_say(HA_RELEASE, "%s: giving the leader key of this standby cluster up", why);
}

/* A leader whom the others cannot follow is none; but the key is no use to anybody who cannot do better. */
static bool is_unfit(const struct ha_view *v, struct ha_decision *ret)
{
    char text[HA_DISK_TEXT_SIZE];
    bool is_late = !v->pg.accepting && v->now_us - v->pg.starting_since_us >= v->policy.primary_start_timeout_us;

    if (v->policy.pause || !ha_somebody_could_lead(v))
        return false;
    if (ha_disk_is_unfit(v))
        *ret = give_up(ha_disk_text(v, text, sizeof(text)));
    else if (v->pg.hung)
        *ret = give_up("PostgreSQL does not answer any more");
    else if (is_late)
        *ret = give_up("PostgreSQL did not answer within primary_start_timeout");
    else
        return false;
    return true;
}

/* The other cluster may fail over unseen: what was true a moment ago is asked again, but that there is nothing to do.
 */
bool ha_should_check_remote(const struct ha_view *v, const char *origin)
{
    return v->memory.divergence != DIVERGENCE_FOUND || strcmp(v->memory.divergence_from, origin) != 0;
}

static struct ha_decision decide_follow(const struct ha_view *v)
{
    const char *upstream = v->tags.nostream ? "" : REMOTE_CLUSTER, *origin = ha_origin(v, NULL);
    struct ha_decision d;
    char text[HA_DISK_TEXT_SIZE];

    if (ha_must_repair(v, origin, &d))
        return d;
    if (strcmp(v->pg.follows, upstream) != 0)
        return ha_say_target(HA_FOLLOW, upstream, "%s",
                             *upstream ? "leading this standby cluster: following the other cluster"
                                       : "following nobody: the tag nostream is set");
    if (ha_should_check_divergence(v, origin) && ha_should_check_remote(v, REMOTE_CLUSTER))
        return ha_say_target(HA_CHECK_REWIND, REMOTE_CLUSTER,
                             "not streaming: comparing timelines with the cluster "
                             "that is followed");
    if (v->storage.failed)
        return ha_say(HA_NOTHING, "no action. I am (%s), the standby leader with the lock, but %s", v->name,
                      ha_disk_text(v, text, sizeof(text)));
    return ha_say(HA_NOTHING, "no action. I am (%s), the standby leader with the lock", v->name);
}

struct ha_decision ha_decide_standby_leader(const struct ha_view *v)
{
    uint64_t due_us = ha_request_due_us(v);
    struct ha_decision d;

    if (v->keeper.armed)
        return stop_and_keep(HA_AT_ONCE, "this cluster follows another one now: proving that no primary is left");
    if (v->pg.data_dir_known && v->pg.data_dir_empty && !v->policy.pause)
        return ha_say_stop(HA_STOP, HA_AT_ONCE, false, "the data directory is gone: stopping PostgreSQL");
    if (is_unfit(v, &d))
        return d;
    if (!v->pg.accepting)
        return ha_say(HA_NOTHING, "the standby leader: %s",
                      v->pg.hung ? "PostgreSQL does not answer" : "PostgreSQL is starting up");
    if (ha_decide_leader_request(v, &d))
        return d;
    d = decide_follow(v);
    d.wake_at_us = due_us;
    return d;
}

bool ha_standby_leader_gives_up(const struct ha_view *v, struct ha_decision *ret)
{
    char text[HA_DISK_TEXT_SIZE];

    if (v->policy.pause && !v->memory.stopped_here && !v->request.restart)
        *ret = give_up("paused: PostgreSQL is down");
    else if (!ha_somebody_could_lead(v))
        return false;
    else if (ha_disk_is_unfit(v))
        *ret = give_up(ha_disk_text(v, text, sizeof(text)));
    else if (v->memory.failed_starts)
        *ret = give_up("PostgreSQL does not start");
    else if (v->memory.rewind_failed)
        *ret = give_up("this node cannot be rewound");
    else
        return false;
    return true;
}

bool ha_should_copy_remote(const struct ha_view *v, const struct member *leader)
{
    /* Unless it streams it may have gone another way. When the other cluster cannot be had, it is better than nothing.
     */
    if (!v->policy.standby_cluster_streams || v->request.from_leader)
        return false;
    if (leader)
        return !leader->streaming && !v->memory.retry_clone_at_us;
    /* A leader who is only being started has the better copy, near by. */
    return ha_stored_sysid(v) && v->memory.leaderless_since_us &&
           v->now_us - v->memory.leaderless_since_us >= v->policy.ttl_us;
}
