#include "ha/parts.h"

/*
 * An agent died while it bootstrapped, and the server it had started was adopted: nobody will finish what is missing.
 * Another node may even have made the cluster meanwhile, when this one stood still. Whatever the store is told after
 * it was read, should the identifier be on its way: PostgreSQL is started again then, and nothing is lost.
 */
static bool bootstrap_was_interrupted(const struct ha_view *v)
{
    uint64_t stored = ha_stored_sysid(v);

    if (!v->bootstrap_incomplete || !v->cluster)
        return false;
    return stored ? v->pg.sysid && v->pg.sysid != stored : !v->bootstrap_made;
}

/* A backend died and the postmaster starts over, as a primary that lets nobody in. */
static bool recovers_for_too_long(const struct ha_view *v)
{
    return v->pg.rejecting_since_us && v->now_us - v->pg.rejecting_since_us >= v->policy.primary_start_timeout_us &&
           ha_somebody_could_lead(v);
}

/* Somebody promoted it by hand while nobody leads. In pause that is his right; the lease makes it safe. */
static bool may_take_free_key(const struct ha_view *v)
{
    return v->policy.pause && !v->policy.standby_cluster && !v->keeper.armed && v->cluster &&
           !v->cluster->leader.exists && (!ha_stored_sysid(v) || ha_stored_sysid(v) == v->pg.sysid);
}

static struct ha_decision decide_without_key(const struct ha_view *v)
{
    if (!may_take_free_key(v))
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, false,
                           "PostgreSQL runs as a primary without the leader key: stopping it");
    if (v->was_frozen || !v->cluster_is_fresh)
        return ha_say(HA_READ_STORE, "paused: PostgreSQL was promoted by hand: reading the store again");
    return ha_say(HA_ACQUIRE, "paused: PostgreSQL was promoted by hand and nobody leads: taking the leader key");
}

/* True if it must stop, or must not go on as it is: what no pause and no request changes. */
static bool must_not_go_on(const struct ha_view *v, struct ha_decision *ret)
{
    /* S2: whoever made it a primary, without a lease and an armed keeper it must not be one. */
    if (!v->lease.held)
        *ret = decide_without_key(v);
    else if (!v->keeper.armed && v->policy.pause && !v->policy.standby_cluster && !v->keeper.refused)
        *ret = ha_say(HA_PROMOTE, "paused: PostgreSQL was promoted by hand: arming the keeper for it");
    else if (!v->keeper.armed)
        *ret = ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "PostgreSQL runs as a primary, but the keeper is not armed: stopping it");
    /* Before the rule about time: the keeper will not wait for the end of the lease. */
    else if (v->keeper.watchdog_unusable)
        *ret =
            ha_say_stop(HA_DEMOTE, HA_SWIFT, true, "the watchdog is required and has failed: handing leadership over");
    else if (v->now_us >= ha_demote_at_us(v))
        *ret = ha_say_stop(
            HA_DEMOTE, HA_SWIFT, false, "the lease was not renewed in time: demoting before it runs out%s%s",
            v->failsafe.obstacle ? "; failsafe mode: " : "", v->failsafe.obstacle ? v->failsafe.obstacle : "");
    /* In pause, too: what clients wrote into it would be set aside with it. */
    else if (bootstrap_was_interrupted(v))
        *ret = ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true, "the bootstrap of this cluster was interrupted: starting over");
    else
        return false;
    return true;
}

/* What costs the leader key, unless a pause says that people see to it. */
static bool is_unfit(const struct ha_view *v, struct ha_decision *ret)
{
    if (v->policy.pause)
        return false;
    if (v->pg.data_dir_known && v->pg.data_dir_empty)
        *ret = ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true, "the data directory is gone: giving the leader key up");
    else if (v->pg.hung)
        *ret =
            ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true, "PostgreSQL does not answer any more: giving the leader key up");
    else if (ha_disk_is_unfit(v))
        *ret = ha_disk_demote(v);
    else if (recovers_for_too_long(v))
        *ret = ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "PostgreSQL has not recovered from a crash within primary_start_timeout: giving the leader "
                           "key up");
    else
        return false;
    return true;
}

bool ha_primary_must_stop(const struct ha_view *v, struct ha_decision *ret)
{
    return must_not_go_on(v, ret) || is_unfit(v, ret);
}

struct ha_decision ha_decide_primary(const struct ha_view *v)
{
    struct ha_decision d;
    char text[HA_DISK_TEXT_SIZE];
    uint64_t due_us = ha_request_due_us(v);

    if (ha_primary_must_stop(v, &d))
        return d;
    if (v->policy.standby_cluster && !v->policy.pause)
        return ha_decide_demote_cluster(v);
    if (ha_decide_leader_request(v, &d))
        due_us = 0;
    else if (v->storage.failed)
        d = ha_say(HA_NOTHING, "no action. I am (%s), the leader with the lock, but %s", v->name,
                   ha_disk_text(v, text, sizeof(text)));
    else if (v->failsafe.holds)
        d = ha_say(HA_NOTHING, "continue to run as a leader because failsafe mode is enabled and all members are "
                               "accessible");
    else
        d = ha_say(HA_NOTHING, "no action. I am (%s), the leader with the lock", v->name);
    if (due_us)
        d.wake_at_us = due_us;
    if (!d.wake_at_us || ha_demote_at_us(v) < d.wake_at_us)
        d.wake_at_us = ha_demote_at_us(v);
    return d;
}
