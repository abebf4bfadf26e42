#include <string.h>
#include "ha/parts.h"

enum { CRASH_STARTS_MAX = 3 };

/* Can crash recovery bring it back as the primary it was, on the same timeline? */
static bool was_primary_here(const struct ha_view *v)
{
    static const bool of_a_primary[] = {
        [PG_CONTROL_SHUT_DOWN] = true,
        [PG_CONTROL_SHUTTING_DOWN] = true,
        [PG_CONTROL_IN_CRASH_RECOVERY] = true,
        [PG_CONTROL_IN_PRODUCTION] = true,
    };

    return v->memory.was_primary && of_a_primary[v->pg.control_state];
}

/* Whoever has what was there by then takes over without a question: nothing may be written after it. */
static bool may_have_handed_over(const struct ha_view *v)
{
    return v->memory.may_have_said_end && v->pg.control_state == PG_CONTROL_SHUT_DOWN;
}

/* In pause what people have stopped stays down; what this agent has stopped it starts again. */
static bool is_left_alone(const struct ha_view *v)
{
    return v->policy.pause && !v->memory.stopped_here && !v->request.restart;
}

/* PostgreSQL is down under a lease that is still ours: start it again here, or let another take over. */
static struct ha_decision decide_crashed_leader(const struct ha_view *v)
{
    if (is_left_alone(v))
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "paused: PostgreSQL is down: giving the leader key up, and not starting it");
    if (v->policy.primary_start_timeout_us == 0 && ha_somebody_could_lead(v))
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "the primary died and primary_start_timeout is 0: failing over");
    if (ha_disk_is_unfit(v))
        return ha_disk_demote(v); /* the reason it died, most likely: it would not come up */
    if (!v->pg.control_known)
        return ha_say(HA_NOTHING, "the primary died: reading its control file");
    if (!was_primary_here(v))
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "PostgreSQL is down and was not a primary: giving the leader key up");
    if (may_have_handed_over(v))
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "an earlier agent shut the primary down, and may have told a successor: giving the leader "
                           "key up");
    if (v->policy.primary_start_timeout_us && ha_somebody_could_lead(v) &&
        v->now_us - v->memory.crashed_at_us >= v->policy.primary_start_timeout_us)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true, "the primary did not come back within primary_start_timeout");
    if (v->memory.failed_starts >= CRASH_STARTS_MAX)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "the primary failed to start %u times: giving the leader key up", v->memory.failed_starts);
    if (v->now_us < v->memory.retry_start_at_us)
        return ha_say(HA_NOTHING, "the start failed: waiting before the next try");
    return ha_say(HA_START_PRIMARY, "the primary died: starting it again, the leader key is still ours");
}

static bool divergence_is(const struct ha_view *v, enum divergence what, const char *origin)
{
    return v->memory.divergence == what && strcmp(v->memory.divergence_from, origin) == 0;
}

bool ha_may_start_over(const struct ha_view *v)
{
    if (ha_is_last_copy(v))
        return false;
    /* A store that has forgotten the cluster: nobody copies anything before somebody who leads has said again which
     * it is, and that takes somebody who has it. What was half rewound is of no use to anybody. */
    if (v->cluster && !ha_stored_sysid(v) && !v->rewind_incomplete)
        return false;
    return (v->memory.rewind_failed && v->policy.remove_data_directory_on_rewind_failure) ||
           v->policy.remove_data_directory_on_diverged_timelines;
}

static struct ha_decision start_following(const struct ha_view *v, const char *starting);

static struct ha_decision decide_diverged(const struct ha_view *v, const char *origin)
{
    if (v->policy.use_pg_rewind && v->rewind_possible && !v->memory.rewind_failed) {
        if (v->now_us < v->memory.retry_check_at_us)
            return ha_say(HA_NOTHING, "waiting until %s can be rewound to", ha_origin_text(origin));
        return ha_say_target(HA_REWIND, origin, "this node's WAL went another way than that of %s: rewinding",
                             ha_origin_text(origin));
    }
    if (ha_may_start_over(v)) {
        if (v->policy.standby_cluster && !v->cluster_is_fresh)
            return ha_say(HA_READ_STORE, "reading the store again, for who has a copy, before this one is set aside");
        return ha_say(HA_SET_ASIDE,
                      "this node's WAL went another way than that of %s: setting the data directory aside for a new "
                      "copy",
                      ha_origin_text(origin));
    }
    if (v->rewind_incomplete)
        return ha_say(HA_NOTHING, "pg_rewind failed half-way: only a new copy helps, which "
                                  "remove_data_directory_on_rewind_failure would allow");
    return start_following(v, "this node's WAL went another way, but neither pg_rewind nor a new copy is allowed: "
                              "starting as it is,");
}

/* From whom the tags say, at once: started from the leader it would have to change over a moment later. */
static struct ha_decision start_following(const struct ha_view *v, const char *starting)
{
    const struct member *upstream = ha_upstream(v);

    if (ha_follows_remote(v))
        return ha_say_target(HA_START_STANDBY, REMOTE_CLUSTER, "%s as a standby of the cluster that is followed",
                             starting);
    if (!upstream)
        return ha_say_target(HA_START_STANDBY, "", "%s as a standby that streams from nobody", starting);
    return ha_say_target(HA_START_STANDBY, upstream->name, "%s as a standby of \"%s\"", starting, upstream->name);
}

/*
 * The other cluster may be out of reach for days, and what is here can be read all the same: whoever has been a standby
 * before, or could not ask it, is started. Whether it has diverged shows when it does not stream.
 */
static bool can_wait_for_remote(const struct ha_view *v, const char *origin)
{
    return strcmp(origin, REMOTE_CLUSTER) == 0 &&
           (v->memory.retry_check_at_us || v->pg.control_state == PG_CONTROL_SHUT_DOWN_IN_RECOVERY ||
            v->pg.control_state == PG_CONTROL_IN_ARCHIVE_RECOVERY);
}

/* A server that stood still while another led may have WAL that the new leader never saw. */
static struct ha_decision decide_rejoin(const struct ha_view *v, const char *origin)
{
    bool can_repair = v->policy.use_pg_rewind || v->policy.remove_data_directory_on_diverged_timelines;

    if (v->rewind_incomplete || divergence_is(v, DIVERGENCE_FOUND, origin))
        return decide_diverged(v, origin);
    /* How far its WAL goes shows when it has run; the comparison of a standby that does not stream comes then. */
    if (v->memory.is_new_copy)
        return start_following(v, "starting the new copy");
    if (can_repair && !divergence_is(v, DIVERGENCE_NONE, origin) && !can_wait_for_remote(v, origin)) {
        if (v->now_us < v->memory.retry_check_at_us)
            return ha_say(HA_NOTHING, "waiting until %s can say whether this node diverged", ha_origin_text(origin));
        return ha_say_target(HA_CHECK_REWIND, origin, "comparing timelines with %s", ha_origin_text(origin));
    }
    return start_following(v, "starting");
}

/*
 * Its last act is to write the identifier to the store: if that is there, only our note about it is out of date. If
 * nothing else is missing, whoever leads writes it.
 */
static bool is_unfinished(const struct ha_view *v)
{
    uint64_t stored = ha_stored_sysid(v);

    if (!v->bootstrap_incomplete || (v->bootstrap_made && !stored))
        return false;
    return !v->pg.control_known || stored != v->pg.sysid;
}

static struct ha_decision decide_unfinished(const struct ha_view *v)
{
    /* Set aside without the store, our mark would stay on the initialize key, and nobody could ever bootstrap. */
    if (!v->cluster)
        return ha_say(HA_NOTHING, "an earlier bootstrap of this node never finished: waiting for the store to take our "
                                  "mark off the initialize key");
    if (!v->cluster_is_fresh)
        return ha_say(HA_READ_STORE, "an earlier bootstrap of this node may have finished: reading the store again");
    if (ha_stored_sysid(v) && !v->pg.control_known)
        return ha_say(HA_NOTHING, "an earlier bootstrap of this node may have finished: reading the control file");
    /* A backend of its postmaster may still work in the directory. */
    if (v->lease.held || v->keeper.armed || !v->keeper.dead_proven)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "an earlier bootstrap of this node never finished: proving that no process of it is left");
    return ha_say(HA_ABANDON_BOOTSTRAP, "an earlier bootstrap of this node never finished: setting it aside");
}

struct ha_decision ha_decide_down(const struct ha_view *v)
{
    const struct member *leader = ha_running_leader(v);
    const char *origin = leader || ha_follows_remote(v) ? ha_origin(v, leader) : NULL;
    struct ha_decision d;

    if (is_unfinished(v))
        return decide_unfinished(v);
    if (v->lease.held && !v->policy.standby_cluster)
        return decide_crashed_leader(v);
    if (v->keeper.armed || !v->keeper.dead_proven) {
        d = ha_say_stop(HA_DEMOTE, HA_AT_ONCE, false, "proving that no process of the old primary is left");
        d.keep = v->lease.held;
        return d;
    }
    if (v->lease.held && ha_standby_leader_gives_up(v, &d))
        return d;
    if (!v->pg.control_known)
        return ha_say(HA_NOTHING, "reading the control file");
    if (is_left_alone(v))
        return ha_say(HA_NOTHING, "paused: PostgreSQL stays down");
    if (v->now_us < v->memory.retry_start_at_us)
        return ha_say(HA_NOTHING, "the start failed: waiting before the next try");
    if (ha_is_tainted(v))
        return ha_decide_tainted(v);
    if (v->store_unread)
        return ha_say(HA_NOTHING, "waiting for the first answer of the store");
    if (origin)
        return decide_rejoin(v, origin);
    if (v->rewind_incomplete)
        return ha_say(HA_NOTHING, "an earlier pg_rewind never finished: waiting for a leader to rewind to");
    return start_following(v, leader ? "starting" : "starting until elected,");
}

struct ha_decision ha_decide_reinitialize(const struct ha_view *v)
{
    if (v->keeper.armed || !v->keeper.dead_proven)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, false, "proving that no process of PostgreSQL is left");
    if (v->now_us < v->memory.retry_start_at_us)
        return ha_say(HA_NOTHING, "the data directory could not be set aside: waiting before the next try");
    return ha_say(HA_SET_ASIDE, "reinitializing, as asked for: setting the data directory aside");
}
