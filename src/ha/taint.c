/*
 * Somebody else ran the server of this node as a primary, while the leader was another's. On a timeline that the node
 * was on as a standby both have written WAL at the same positions: pg_rewind takes it for the same, a standby would be
 * started over it, and in an election it would pass for more than the leader had acknowledged.
 */
#include "ha/parts.h"

#define SOMEBODY_RAN_IT "somebody else ran PostgreSQL here as a primary on the leader's timeline: "

static bool is_of_a_primary(enum pg_control_state state)
{
    return state == PG_CONTROL_SHUT_DOWN || state == PG_CONTROL_SHUTTING_DOWN ||
           state == PG_CONTROL_IN_CRASH_RECOVERY || state == PG_CONTROL_IN_PRODUCTION;
}

bool ha_is_tainted(const struct ha_view *v)
{
    const struct local_pg *pg = &v->pg;
    const struct member *leader = ha_running_leader(v);
    uint32_t timeline = pg->control_timeline;

    if (pg->running || !pg->control_known || !pg->standby_timeline || !is_of_a_primary(pg->control_state))
        return false;
    if (pg->control_min_recovery_timeline > timeline)
        timeline = pg->control_min_recovery_timeline;
    /* On a later one it was promoted, by hand or by us: that is told apart, unless the leader's has the same number. */
    return timeline <= pg->standby_timeline || (leader && leader->timeline == timeline);
}

struct ha_decision ha_decide_tainted(const struct ha_view *v)
{
    bool may_copy = v->policy.remove_data_directory_on_diverged_timelines ||
                    (v->policy.use_pg_rewind && v->policy.remove_data_directory_on_rewind_failure);

    if (!may_copy)
        return ha_say(HA_NOTHING, SOMEBODY_RAN_IT "not starting it; pgtetherctl reinit makes a new copy, or "
                                                  "remove_data_directory_on_diverged_timelines");
    if (!ha_running_leader(v))
        return ha_say(HA_NOTHING, SOMEBODY_RAN_IT "waiting for a leader to make a new copy from");
    return ha_say(HA_SET_ASIDE, SOMEBODY_RAN_IT "setting the data directory aside for a new copy");
}
