#include "ha/parts.h"

/* An agent died while it bootstrapped, and the server it had started was adopted: nobody will finish what is missing.
 */
static bool bootstrap_was_interrupted(const struct ha_view *v)
{
    return v->bootstrap_incomplete && v->cluster_is_fresh && !ha_stored_sysid(v);
}

struct ha_decision ha_decide_primary(const struct ha_view *v)
{
    struct ha_decision d;
    char text[HA_DISK_TEXT_SIZE];

    /* S2: whoever made it a primary, without a lease and an armed keeper it must not be one. */
    if (!v->lease.held)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, false,
                           "PostgreSQL runs as a primary without the leader key: stopping it");
    if (!v->keeper.armed)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "PostgreSQL runs as a primary, but the keeper is not armed: stopping it");
    /* Before the rule about time: the keeper will not wait for the end of the lease. */
    if (v->keeper.watchdog_unusable)
        return ha_say_stop(HA_DEMOTE, HA_SWIFT, true,
                           "the watchdog is required and has failed: handing leadership over");
    if (v->now_us >= ha_demote_at_us(v))
        return ha_say_stop(
            HA_DEMOTE, HA_SWIFT, false, "the lease was not renewed in time: demoting before it runs out%s%s",
            v->failsafe.obstacle ? "; failsafe mode: " : "", v->failsafe.obstacle ? v->failsafe.obstacle : "");
    if (bootstrap_was_interrupted(v))
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true, "the bootstrap of this cluster was interrupted: starting over");
    if (v->pg.data_dir_known && v->pg.data_dir_empty)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true, "the data directory is gone: giving the leader key up");
    if (v->pg.hung)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "PostgreSQL does not answer any more: giving the leader key up");
    if (ha_disk_is_unfit(v) && !v->policy.pause)
        return ha_disk_demote(v);
    if (v->storage.failed)
        d = ha_say(HA_NOTHING, "no action. I am (%s), the leader with the lock, but %s", v->name,
                   ha_disk_text(v, text, sizeof(text)));
    else if (v->failsafe.holds)
        d = ha_say(HA_NOTHING, "continue to run as a leader because failsafe mode is enabled and all members are "
                               "accessible");
    else
        d = ha_say(HA_NOTHING, "no action. I am (%s), the leader with the lock", v->name);
    d.wake_at_us = ha_demote_at_us(v);
    return d;
}
