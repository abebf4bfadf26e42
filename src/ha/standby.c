#include <string.h>
#include "ha/parts.h"

/* A standby that cannot stream although its leader is well has perhaps gone another way: ask, after two loop_waits. */
bool ha_should_check_divergence(const struct ha_view *v, const char *origin)
{
    uint64_t since_us = v->memory.not_streaming_since_us;

    if (v->pg.replaying)
        return false; /* where it will have come to shows later */
    if (!origin || (!v->policy.use_pg_rewind && !v->policy.remove_data_directory_on_diverged_timelines))
        return false;
    return since_us && v->now_us - since_us >= 2 * v->policy.loop_wait_us && v->now_us >= v->memory.retry_check_at_us;
}

/* A comparison that was made is made again only when its leader's timeline says that it cannot be true any more. */
static bool should_check(const struct ha_view *v, const struct member *leader, const char *origin)
{
    if (!ha_should_check_divergence(v, origin))
        return false;
    if (v->policy.standby_cluster)
        return ha_should_check_remote(v, origin);
    /* Ahead of the leader's timeline it can never stream, whatever its control file had said before it ran. */
    if (leader->timeline && v->pg.timeline > leader->timeline)
        return true;
    return v->memory.divergence == DIVERGENCE_UNKNOWN || strcmp(v->memory.divergence_from, origin) != 0;
}

/* Its WAL went another way: rewind, or stop it, so that what is down can be set aside for a new copy; else let it be.
 */
bool ha_must_repair(const struct ha_view *v, const char *origin, struct ha_decision *ret)
{
    if (!origin || v->policy.pause || v->memory.divergence != DIVERGENCE_FOUND ||
        strcmp(v->memory.divergence_from, origin) != 0)
        return false;
    if (v->policy.use_pg_rewind && v->rewind_possible && !v->memory.rewind_failed) {
        if (v->now_us < v->memory.retry_check_at_us)
            return false;
        *ret = ha_say_target(HA_REWIND, origin, "this standby's WAL went another way than that of %s: rewinding",
                             ha_origin_text(origin));
        return true;
    }
    if (!ha_may_start_over(v))
        return false;
    *ret = ha_say_stop(HA_STOP, HA_SWIFT, false,
                       "this standby's WAL went another way than that of %s: stopping it for a new copy",
                       ha_origin_text(origin));
    return true;
}

static struct ha_decision decide_follow(const struct ha_view *v)
{
    const struct member *leader = ha_running_leader(v);
    const struct member *upstream = ha_upstream(v);
    const char *leader_name = v->cluster->leader.name, *origin;
    struct ha_decision d;
    char text[HA_DISK_TEXT_SIZE];

    /* A leader that is not running yet (promoting, crashed) is no reason to drop the upstream we have. */
    if (!leader)
        return ha_say(HA_NOTHING, "waiting for the leader \"%s\" to be ready", leader_name);
    origin = ha_origin(v, leader);
    if (ha_must_repair(v, origin, &d))
        return d;
    if (upstream && strcmp(v->pg.follows, upstream->name) != 0)
        return ha_say_target(HA_FOLLOW, upstream->name, "following \"%s\"", upstream->name);
    if (!upstream && v->pg.follows[0])
        return ha_say_target(HA_FOLLOW, "", "following nobody: the tag nostream is set");
    if (should_check(v, leader, origin))
        return ha_say_target(HA_CHECK_REWIND, origin, "not streaming: comparing timelines with %s",
                             ha_origin_text(origin));
    /* In pause nobody would start the server again. */
    if (v->slots_to_copy && v->pg.streaming && !v->policy.pause && !v->storage.failed)
        return ha_say_target(HA_COPY_SLOTS, leader->name, "copying logical slots from \"%s\"", leader->name);
    if (v->storage.failed)
        return ha_say(HA_NOTHING, "no action. I am (%s), a secondary, and following a leader (%s), but %s", v->name,
                      leader_name, ha_disk_text(v, text, sizeof(text)));
    return ha_say(HA_NOTHING, "no action. I am (%s), a secondary, and following a leader (%s)", v->name, leader_name);
}

/* The store shows the very key we hold: our name, on our lease (S9). */
static bool our_key_is_shown(const struct ha_view *v)
{
    const struct leader_key *key = &v->cluster->leader;

    return key->exists && strcmp(key->name, v->name) == 0 && key->session == v->lease.session;
}

/* We hold the leader key and PostgreSQL is in recovery. */
static struct ha_decision decide_elected(const struct ha_view *v)
{
    if (v->now_us >= v->lease.deadline_us)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, false, "the lease ran out before the promotion");
    if (v->keeper.refused)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true, "the keeper refused to arm: giving the leader key up");
    if (ha_disk_is_unfit(v))
        return ha_disk_demote(v);
    if (!v->pg.accepting) {
        if (v->now_us - v->pg.starting_since_us >= v->policy.primary_start_timeout_us)
            return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true, "PostgreSQL did not answer within primary_start_timeout");
        return ha_say(HA_NOTHING, "holding the leader key, waiting for PostgreSQL to answer");
    }
    if (v->was_frozen || !v->cluster || !v->cluster_is_fresh)
        return ha_say(HA_READ_STORE, "reading the store again before promoting");
    if (!our_key_is_shown(v))
        return ha_say(HA_READ_STORE, "not promoting: the store does not show our leader key");
    /* A write of the old leader that came after the election: what it says now counts. */
    if (v->cluster->sync.revision != v->memory.sync_seen_revision && !ha_sync_may_lead(v, v->name))
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "/sync was changed and does not name this node any more: giving the leader key up");
    /* Should this node die before it has said where its WAL is, nobody may go before the others because of it. */
    if (v->cluster->failover.exists)
        return ha_say(HA_CLEAR_FAILOVER, "elected leader: the request for a %s has had its effect",
                      ha_request_text(&v->cluster->failover));
    /* PostgreSQL counts its new timeline from the one it is on, which may be one that came from there since then. */
    if (v->pg.answered_at_us < v->memory.left_remote_at_us)
        return ha_say(HA_NOTHING, "elected leader: asking PostgreSQL where it has left the cluster that was followed");
    return ha_say(HA_PROMOTE, "elected leader: promoting");
}

/*
 * The primary was restarted with more of what a standby must have as much of. PostgreSQL stops to replay and waits (13
 * and older: ends) until it is started anew; then it gets what its WAL needs. The reference resumes the replay, which
 * ends the server, and also what people have paused.
 */
static struct ha_decision decide_starved(const struct ha_view *v)
{
    struct ha_decision d;

    if (ha_sync_must_leave(v, "replay stands still", v->pg.starved_since_us, &d))
        return d;
    return ha_say(HA_RESTART, "replay stands still, since the primary runs with higher parameters than this standby: "
                              "restarting PostgreSQL");
}

struct ha_decision ha_decide_standby(const struct ha_view *v)
{
    struct ha_decision d;

    if (v->lease.held)
        return v->policy.standby_cluster ? ha_decide_standby_leader(v) : decide_elected(v);
    if (v->keeper.armed)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, false,
                           "armed without the leader key: proving that no primary is left");
    if (ha_decide_standby_request(v, &d))
        return d;
    if (v->pg.data_dir_known && v->pg.data_dir_empty && !v->policy.pause)
        return ha_say_stop(HA_STOP, HA_AT_ONCE, false, "the data directory is gone: stopping PostgreSQL");
    if (!v->pg.accepting)
        return ha_say(HA_NOTHING, "%s", v->pg.hung ? "PostgreSQL does not answer" : "PostgreSQL is starting up");
    if (v->pg.starved_since_us && !v->policy.pause)
        return decide_starved(v);
    if (!v->cluster)
        return ha_say(HA_NOTHING, "the store cannot be read: staying a standby");
    if (!v->cluster->leader.exists) {
        d = ha_decide_race(v);
        return ha_may_follow_remote_meanwhile(v, &d)
                   ? ha_say_target(HA_FOLLOW, REMOTE_CLUSTER, "%s; following the other cluster meanwhile", d.reason)
                   : d;
    }
    if (strcmp(v->cluster->leader.name, v->name) == 0)
        return ha_say(HA_NOTHING,
                      "the leader key has our name but hangs on a lease that is not ours (an earlier life of "
                      "this node, or another of its name): waiting for its end");
    return decide_follow(v);
}
