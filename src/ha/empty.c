#include <string.h>
#include "ha/parts.h"

/* Where to copy from: a running member that offers itself (tag clonefrom), else the leader. */
static const struct member *clone_source(const struct ha_view *v, const struct member *leader)
{
    for (size_t i = 0; i < v->cluster->n_members; i++) {
        const struct member *m = &v->cluster->members[i];

        if (m->tags.clonefrom && m != leader && m->state == PG_STATE_RUNNING && m->timeline == leader->timeline &&
            strcmp(m->name, v->name) != 0)
            return m;
    }
    return leader;
}

/*
 * A mark of ours whose answer was lost keeps everybody waiting, and stays as long as we live. So does one that came in
 * after it had been taken back, which only its lease tells.
 */
static bool mark_may_be_ours(const struct ha_view *v)
{
    uint64_t session = v->cluster->initialize.session;

    return v->memory.mark_may_be_ours || (session && session == v->member.session);
}

/* Nobody leads and there is nothing here: may this node make the cluster? */
static struct ha_decision decide_bootstrap(const struct ha_view *v)
{
    char text[HA_DISK_TEXT_SIZE];
    const struct text_key *initialize = &v->cluster->initialize;
    struct ha_decision d;

    if (initialize->exists && cluster_sysid_is_valid(initialize->text))
        return ha_say(HA_NOTHING, "waiting for a leader: the store knows this cluster already");
    if (initialize->exists && !mark_may_be_ours(v))
        return ha_say(HA_NOTHING, "waiting for a leader: another node is bootstrapping");
    if (v->memory.seen_initialized)
        return ha_say(HA_NOTHING, "the store has forgotten the cluster it knew: not making another one; restart this "
                                  "agent if that is wanted");
    if (v->tags.nofailover)
        return ha_say(HA_NOTHING, "waiting for a leader: the tag nofailover forbids this node to bootstrap");
    if (v->config_refused)
        return ha_say(HA_NOTHING, "not bootstrapping: the configuration in the store cannot be used");
    if (v->fence_guard)
        return ha_say(HA_NOTHING, "not bootstrapping: this host was reset three times within an hour");
    if (v->keeper.watchdog_unusable)
        return ha_say(HA_NOTHING, "not bootstrapping: the watchdog is required and cannot be used");
    if (v->keeper.gate_unusable)
        return ha_say(HA_NOTHING, "not bootstrapping: the port gate is required and not in force");
    if (ha_disk_is_unfit(v))
        return ha_say(HA_NOTHING, "not bootstrapping: %s", ha_disk_text(v, text, sizeof(text)));
    if (ha_failsafe_bars(v, &d))
        return d;
    if (v->now_us < v->memory.no_race_until_us)
        return ha_say(HA_NOTHING, "the last bootstrap failed: waiting before the next");
    if (!v->cluster_is_fresh || v->was_frozen)
        return ha_say(HA_READ_STORE, "reading the store again before bootstrapping");
    if (v->policy.standby_cluster && !v->policy.standby_cluster_streams)
        return ha_say(HA_NOTHING, "not bootstrapping: standby_cluster has no host to copy from");
    if (v->policy.standby_cluster)
        return ha_say(HA_BOOTSTRAP, "nobody has initialized this standby cluster: copying the cluster it follows");
    return ha_say(HA_BOOTSTRAP, "nobody has initialized this cluster: bootstrapping it");
}

static struct ha_decision copy_from(const struct ha_view *v, const char *source)
{
    const char *text = strcmp(source, REMOTE_CLUSTER) == 0 ? "the cluster that is followed" : source;

    if (v->now_us < v->memory.retry_clone_at_us)
        return ha_say(HA_NOTHING, "the last copy failed: waiting before the next from \"%s\"", text);
    return ha_say_target(HA_CLONE, source, "creating a replica from \"%s\"", text);
}

struct ha_decision ha_decide_empty(const struct ha_view *v)
{
    const struct member *leader, *source;

    if (v->lease.held || v->keeper.armed)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true, "the data directory is empty: giving the leader key up");
    if (!v->cluster)
        return ha_say(HA_NOTHING, "the data directory is empty and the store cannot be read");
    if (v->policy.pause && !v->request.reinitialize)
        return ha_say(HA_NOTHING, "paused, with an empty data directory");
    leader = ha_running_leader(v);
    if (!leader && v->cluster->leader.exists)
        return ha_say(HA_NOTHING, "waiting for the leader \"%s\" to be ready", v->cluster->leader.name);
    if (ha_should_copy_remote(v, leader))
        return copy_from(v, REMOTE_CLUSTER);
    if (!leader)
        return decide_bootstrap(v);
    source = v->request.from_leader ? leader : clone_source(v, leader);
    return copy_from(v, source->name);
}
