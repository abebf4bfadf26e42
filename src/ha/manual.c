/*
 * What an operator asks of the leader: a switchover, a failover to a member of his choice, a restart. Nothing stops
 * before it is known that somebody can take over, and before a checkpoint has made the stop short.
 *
 * The failover key is the reference's (facts sheet 1.9): with `leader` a switchover, without one a failover to a named
 * candidate. It stays until the successor has promoted, which empties it.
 */
#include <string.h>
#include "ha/parts.h"

enum { PEERS_FRESH_US = 2000000, CHECKPOINT_FRESH_US = 15000000 };
/* A candidate that is just coming back, or changing its timeline, is waited for: nothing has stopped yet. */
enum { PATIENCE_US = 10000000, ASK_AGAIN_US = 300000 };

const struct failover_key *ha_request(const struct ha_view *v)
{
    const struct failover_key *key = &v->cluster->failover;

    if (!key->exists || (key->scheduled_at_s && v->realtime_us < key->scheduled_at_s * 1000000))
        return NULL;
    return key;
}

const char *ha_request_text(const struct failover_key *key)
{
    return key->leader[0] ? "switchover" : "failover";
}

bool ha_candidate_is(const struct failover_key *key, const char *name)
{
    return key->candidate[0] && strcmp(key->candidate, name) == 0;
}

bool ha_request_allows(const struct policy *p, const struct cluster *c, bool is_switchover, const char *name)
{
    struct sync_set voters;

    if (p->sync_mode == SYNC_MODE_OFF || !is_switchover || !c->sync.exists)
        return true;
    (void)sync_set_read(&voters, c->sync.standbys);
    return sync_set_has(&voters, name);
}

/* Why this member cannot take over from us now; NULL if it can. */
static const char *why_not(const struct ha_view *v, const struct failover_key *key, const struct peer *p)
{
    uint64_t lsn = v->pg.in_recovery ? local_pg_lsn(&v->pg) : v->pg.current_lsn;
    uint64_t lag_bytes = lsn > p->lsn ? lsn - p->lsn : 0;

    if (!p->answered)
        return "does not answer";
    if (p->is_primary)
        return "runs as a primary";
    if (p->nofailover)
        return "has the tag nofailover";
    if (p->watchdog_failed)
        return "cannot use its watchdog, which is required";
    if (p->failsafe_active)
        return "has promised not to lead for a while, as the store was out of reach a moment ago";
    if (!ha_request_allows(&v->policy, v->cluster, key->leader[0] != '\0', p->name))
        return "is no synchronous standby";
    if (!p->lsn)
        return "has no position yet: it is empty, or starting";
    if (p->timeline && p->timeline != v->pg.timeline)
        return "is on another timeline";
    return lag_bytes > v->policy.maximum_lag_on_failover_bytes ? "lags by more than maximum_lag_on_failover" : NULL;
}

/* NULL if the named candidate, or without one any member, can take over; else the reason for people. */
static const char *why_nobody_can(const struct ha_view *v, const struct failover_key *key)
{
    const char *why = key->candidate[0] ? "is no member of this cluster" : "nobody could take over";

    for (size_t i = 0; i < v->n_peers; i++) {
        const struct peer *p = &v->peers[i];
        const char *of_this = why_not(v, key, p);

        if (key->candidate[0] && !ha_candidate_is(key, p->name))
            continue;
        if (!of_this)
            return NULL;
        if (key->candidate[0])
            why = of_this;
    }
    return why;
}

static bool peers_are_fresh(const struct ha_view *v, uint64_t after_us)
{
    return v->peers_asked_at_us && v->peers_asked_at_us >= after_us &&
           v->now_us - v->peers_asked_at_us < PEERS_FRESH_US;
}

static bool checkpoint_is_fresh(const struct ha_view *v)
{
    return v->memory.checkpoint_at_us && v->now_us - v->memory.checkpoint_at_us < CHECKPOINT_FRESH_US;
}

/* A stop writes what a checkpoint has not written yet, while clients wait. It may take minutes. */
bool ha_needs_checkpoint(const struct ha_view *v, const char *what, struct ha_decision *ret)
{
    if (v->memory.checkpoint_running)
        *ret = ha_say(HA_NOTHING, "%s: the checkpoint before it is under way", what);
    else if (!checkpoint_is_fresh(v))
        *ret = ha_say(HA_CHECKPOINT, "%s: a checkpoint first, so that the stop is short", what);
    else
        return false;
    return true;
}

/* The request cannot be for this leader, now or ever; NULL if it can. */
static const char *why_obsolete(const struct ha_view *v, const struct failover_key *key)
{
    int64_t late_us = v->realtime_us - key->scheduled_at_s * 1000000;

    if (key->leader[0] && strcmp(key->leader, v->name) != 0)
        return "it is not for the leader of today";
    if (ha_candidate_is(key, v->name))
        return "this node leads";
    if (v->policy.pause && !key->candidate[0] && !key->scheduled_at_s)
        return "in pause a switchover needs a candidate";
    if (key->scheduled_at_s && late_us > (int64_t)(v->policy.loop_wait_us + v->policy.loop_wait_us / 2))
        return "its time has passed";
    return NULL;
}

static struct ha_decision wait_for_candidate(const struct ha_view *v, const char *what, const char *why)
{
    struct ha_decision d;

    if (v->now_us - v->peers_asked_at_us >= ASK_AGAIN_US)
        return ha_say(HA_ASK_PEERS, "%s: asking the members again, for %s %s", what,
                      v->cluster->failover.candidate[0] ? "the candidate" : "so far", why);
    d = ha_say(HA_NOTHING, "%s: waiting a moment, for %s %s", what,
               v->cluster->failover.candidate[0] ? "the candidate" : "so far", why);
    d.wake_at_us = v->peers_asked_at_us + ASK_AGAIN_US;
    return d;
}

static struct ha_decision decide_request(const struct ha_view *v, const struct failover_key *key)
{
    const char *what = ha_request_text(key), *to = key->candidate[0] ? key->candidate : "any member";
    const char *why;
    struct ha_decision d;

    /* Answers are compared with our position: both have to be of the same time. */
    if (v->memory.checkpoint_running)
        return ha_say(HA_NOTHING, "%s: the checkpoint before it is under way", what);
    if (!peers_are_fresh(v, checkpoint_is_fresh(v) ? v->memory.checkpoint_at_us : 0))
        return ha_say(HA_ASK_PEERS, "%s to %s: asking the members whether they can take over", what, to);
    why = why_nobody_can(v, key);
    if (why && v->now_us - v->memory.request_seen_at_us < PATIENCE_US)
        return wait_for_candidate(v, what, why);
    if (why && key->candidate[0])
        return ha_say(HA_CLEAR_FAILOVER, "%s to \"%s\" is not possible, it %s: forgetting the request", what, to, why);
    if (why)
        return ha_say(HA_CLEAR_FAILOVER, "%s is not possible, %s: forgetting the request", what, why);
    /* Nobody has been told that what it has is acknowledged: it goes on as a standby of its successor. */
    if (v->pg.in_recovery)
        return ha_say(HA_RELEASE, "%s to %s: giving the leader key of this standby cluster up", what, to);
    if (ha_needs_checkpoint(v, what, &d))
        return d;
    return ha_say_stop(HA_DEMOTE, HA_GRACEFUL, true, "%s to %s: demoting this node", what, to);
}

static struct ha_decision decide_restart(const struct ha_view *v)
{
    struct ha_decision d;

    return ha_needs_checkpoint(v, "restart", &d) ? d : ha_say(HA_RESTART, "restarting PostgreSQL, as asked for");
}

bool ha_decide_leader_request(const struct ha_view *v, struct ha_decision *ret)
{
    const struct failover_key *key = v->cluster ? &v->cluster->failover : NULL;
    const char *why;

    if (v->request.restart) {
        *ret = decide_restart(v);
        return true;
    }
    if (!key || !key->exists)
        return false;
    why = why_obsolete(v, key);
    /* In pause what is scheduled waits for its end, or for the end of its time. */
    if (!why && key->scheduled_at_s && (v->policy.pause || !ha_request(v)))
        return false;
    *ret = why ? ha_say(HA_CLEAR_FAILOVER, "forgetting the request for a %s: %s", ha_request_text(key), why)
               : decide_request(v, key);
    return true;
}

bool ha_decide_standby_request(const struct ha_view *v, struct ha_decision *ret)
{
    if (v->request.reinitialize && v->cluster && ha_running_leader(v)) {
        *ret = ha_say_stop(HA_STOP, HA_AT_ONCE, false, "reinitializing, as asked for: stopping PostgreSQL");
        return true;
    }
    if (!v->request.restart || !v->pg.accepting)
        return false;
    if (!ha_sync_must_leave(v, "restart", v->request.restart_since_us, ret))
        *ret = decide_restart(v);
    return true;
}

/* When a request on schedule is due on this clock; 0 = there is none, or it is not for later. */
uint64_t ha_request_due_us(const struct ha_view *v)
{
    int64_t due_us = v->cluster && v->cluster->failover.exists ? v->cluster->failover.scheduled_at_s * 1000000 : 0;

    return due_us > v->realtime_us ? v->now_us + (uint64_t)(due_us - v->realtime_us) : 0;
}
