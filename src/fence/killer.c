#include "fence/killer.h"

static struct tree_scope scope_of(const struct killer *k, enum lease_kill what)
{
    return (struct tree_scope){
        .keeper = k->keeper,
        .spared = {k->pump, k->net, k->scribe, what == LEASE_KILL_PRIMARY ? k->agent : 0},
        .postmaster = k->postmaster,
        .data_dir = k->data_dir,
    };
}

static enum cgroup_which group_of(enum lease_kill what)
{
    return what == LEASE_KILL_NODE ? CGROUP_NODE : CGROUP_PG;
}

/* Returns whether nothing was found. */
static bool look_and_kill(struct killer *k, enum lease_kill what, struct killer_result *result)
{
    struct tree_scope scope = scope_of(k, what);
    bool populated;
    int left;

    scope.kill_on_sight = true;
    left = tree_scan(&k->tree, &scope, &result->err);
    /* Signals one by one first: they take no lock. Writing to a control group may wait for another writer. */
    (void)tree_kill(&k->tree);
    populated = cgroups_populated(&k->cgroups, group_of(what));
    if (populated)
        (void)cgroups_kill(&k->cgroups, group_of(what), &result->err);
    if (result->left == 0)
        result->left = left < 0 ? -1 : left;
    return left == 0 && !populated;
}

struct killer_result killer_round(struct killer *k, enum lease_kill what)
{
    struct killer_result result = {0};

    result.proven = look_and_kill(k, what, &result) && look_and_kill(k, what, &result);
    return result;
}

bool killer_primary_lives(struct killer *k)
{
    struct tree_scope scope = scope_of(k, LEASE_KILL_PRIMARY);

    return tree_scan(&k->tree, &scope, NULL) != 0 || cgroups_populated(&k->cgroups, CGROUP_PG);
}
