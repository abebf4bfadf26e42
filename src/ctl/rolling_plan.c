#include "ctl/rolling_plan.h"
#include <errno.h>
#include <string.h>
#include "model/overview.h"

static bool leads(const struct cluster *c, const struct member *m)
{
    return c->leader.exists && strcmp(c->leader.name, m->name) == 0;
}

static bool may_lead(const struct member *m)
{
    return !m->tags.nofailover && m->tags.failover_priority > 0;
}

/* Is `a` the better one to take over? */
static bool is_better(const struct ctl_view *v, const struct member *a, const struct member *b)
{
    bool a_sync = overview_is_sync_standby(v->cluster, a->name), b_sync = overview_is_sync_standby(v->cluster, b->name);

    if (v->sync_mode != SYNC_MODE_OFF && a_sync != b_sync)
        return a_sync;
    if (a->tags.failover_priority != b->tags.failover_priority)
        return a->tags.failover_priority > b->tags.failover_priority;
    return a->replay_lsn > b->replay_lsn;
}

const struct member *rolling_candidate(const struct ctl_view *v)
{
    const struct cluster *c = v->cluster;
    const struct member *best = NULL;

    for (size_t i = 0; i < c->n_members; i++) {
        const struct member *m = &c->members[i];

        if (!leads(c, m) && may_lead(m) && m->state == PG_STATE_RUNNING && (!best || is_better(v, m, best)))
            best = m;
    }
    return best;
}

static bool on_timeline_of(const struct member *m, const struct member *leader)
{
    return !m->timeline || !leader->timeline || m->timeline == leader->timeline;
}

const char *rolling_not_yet(const struct ctl_view *v, const struct member *m)
{
    const struct member *leader = cluster_leader_member(v->cluster);

    if (!leader)
        return "the leader has no member key";
    if (leader->checkpoint_pending)
        return "the leader has not finished the checkpoint after its promotion";
    if (m->state != PG_STATE_RUNNING)
        return "it does not run";
    if (!on_timeline_of(m, leader))
        return "it is not on the leader's timeline";
    if (v->sync_mode != SYNC_MODE_OFF && !overview_is_sync_standby(v->cluster, m->name))
        return "it is no synchronous standby";
    return NULL;
}

/* Nothing is begun that the first step could turn into an outage. */
static int check_cluster(const struct ctl_view *v, const struct rolling_wish *w, struct err *err)
{
    const struct cluster *c = v->cluster;

    if (!c->leader.exists)
        return err_set(err, -EINVAL, "the cluster has no leader");
    if (!cluster_leader_member(c))
        return err_set(err, -EINVAL, "%s leads but has no member key; is its agent running?", c->leader.name);
    if (v->paused && !w->in_place)
        return err_set(err, -EINVAL, "the cluster is paused; \"resume\" it first, or restart with --in-place");
    if (c->failover.exists)
        return err_set(err, -EINVAL, "a switchover is pending; wait for it or \"flush\" it first");
    for (size_t i = 0; i < c->n_members; i++) {
        const struct member *m = &c->members[i];

        if (m->state != PG_STATE_RUNNING)
            return err_set(err, -EINVAL, "member %s is \"%s\"; mend it first, for each restart relies on the others",
                           m->name, pg_state_text(m->state));
        if (!on_timeline_of(m, cluster_leader_member(c)))
            return err_set(err, -EINVAL, "member %s is on timeline %u and the leader on %u; try again when it follows",
                           m->name, m->timeline, cluster_leader_member(c)->timeline);
    }
    return 0;
}

static int find_candidate(const struct ctl_view *v, const struct rolling_wish *w, const struct member **ret,
                          struct err *err)
{
    const struct cluster *c = v->cluster;

    *ret = w->candidate ? cluster_member(c, w->candidate) : rolling_candidate(v);
    if (w->candidate && (!*ret || leads(c, *ret) || !may_lead(*ret)))
        return err_set(err, -EINVAL,
                       "\"%s\" cannot take over: it is no replica of this cluster, or tagged as nofailover",
                       w->candidate);
    if (!*ret)
        return err_set(err, -EINVAL,
                       "no member can take over from %s; --in-place restarts it where it is, with an "
                       "outage as long as that takes",
                       c->leader.name);
    return 0;
}

static bool is_wanted(const struct rolling_wish *w, const struct member *m)
{
    if (w->pending && !m->pending_restart)
        return false;
    for (char **name = w->names; *name; name++)
        if (strcmp(*name, m->name) == 0)
            return true;
    return !*w->names;
}

static void add(struct rolling_plan *plan, const struct member *m)
{
    plan->steps[plan->n++] = (struct rolling_step){m, ROLLING_RESTART, NULL};
}

int rolling_plan_make(const struct ctl_view *v, const struct rolling_wish *w, struct rolling_plan *ret, struct err *err)
{
    const struct cluster *c = v->cluster;
    const struct member *leader = cluster_leader_member(c), *candidate = NULL;
    int r = check_cluster(v, w, err);

    ret->n = 0;
    for (char **name = w->names; r == 0 && *name; name++)
        if (!cluster_member(c, *name))
            return err_set(err, -EINVAL, "%s is not a member of cluster", *name);
    if (r == 0 && !w->in_place && is_wanted(w, leader))
        r = find_candidate(v, w, &candidate, err);
    if (r < 0)
        return r;
    /* The candidate first: until it takes over it has the longest time to fill its cache again. */
    if (candidate && is_wanted(w, candidate))
        add(ret, candidate);
    for (size_t i = 0; i < c->n_members && i < CODEC_MEMBERS_MAX; i++)
        if (!leads(c, &c->members[i]) && &c->members[i] != candidate && is_wanted(w, &c->members[i]))
            add(ret, &c->members[i]);
    if (is_wanted(w, leader)) {
        add(ret, leader);
        if (!w->in_place)
            ret->steps[ret->n - 1] = (struct rolling_step){leader, ROLLING_SWITCHOVER, candidate};
    }
    return 0;
}
