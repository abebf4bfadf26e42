/*
 * Who may take a free leader key. The reference's rules in its order; whom an operator has named goes first
 * (manual_race.c).
 */
#include <string.h>
#include "ha/parts.h"

/*
 * The settling time: when the leader key vanishes every member looks at its own position anew, and WAL receivers of a
 * dead leader hand on their last bytes. Asked sooner, a peer would answer with less than it has.
 */
enum { RACE_RETRY_US = 500000, RACE_SETTLE_US = 100000, RACE_STARTING_MAX_US = 5000000, RACE_VOTES_AGAIN_US = 150000 };

bool ha_is_behind(const struct ha_view *v, struct ha_decision *ret)
{
    uint64_t lsn = local_pg_lsn(&v->pg);
    uint64_t lag_bytes = v->cluster->status_lsn > lsn ? v->cluster->status_lsn - lsn : 0;
    uint32_t cluster_tl = cluster_timeline(v->cluster);

    if (lag_bytes > v->policy.maximum_lag_on_failover_bytes && !ha_streams_from_remote(v))
        *ret = ha_bar(RULE_LAG,
                      "this node is %llu bytes behind the last known position, more than "
                      "maximum_lag_on_failover",
                      (unsigned long long)lag_bytes);
    else if (v->policy.check_timeline && !v->policy.standby_cluster && v->pg.timeline < cluster_tl)
        *ret = ha_bar(RULE_TIMELINE, "this node is on timeline %u, the cluster on %u", v->pg.timeline, cluster_tl);
    else
        return false;
    return true;
}

/* The first rule about this node itself that keeps it out of the election; false if there is none. */
static bool we_are_barred(const struct ha_view *v, struct ha_decision *ret)
{
    char text[HA_DISK_TEXT_SIZE];

    if (ha_pause_forbids_race(v)) {
        *ret = ha_bar(RULE_PAUSE, "paused: nobody is elected");
    } else if (v->tags.nofailover || v->tags.failover_priority <= 0) {
        *ret = ha_bar(RULE_NOFAILOVER, "the tag nofailover keeps this node out of the election");
    } else if (v->config_refused) {
        *ret = ha_bar(RULE_CONFIG, "the configuration in the store cannot be used here, so this node would "
                                   "lead by rules that are not the cluster's");
    } else if (v->fence_guard) {
        *ret = ha_bar(RULE_FENCE_GUARD, "this host was reset three times within an hour and stays out of the "
                                        "election: pgtetherctl clear-fence-guard lets it in again");
    } else if (v->keeper.watchdog_unusable) {
        *ret = ha_bar(RULE_WATCHDOG, "the watchdog is required and cannot be used here");
    } else if (v->keeper.gate_unusable) {
        *ret = ha_bar(RULE_GATE, "the port gate is required and not in force here");
    } else if (ha_disk_is_unfit(v)) {
        *ret = ha_bar(RULE_DISK, "%s, so this node stays out of the election", ha_disk_text(v, text, sizeof(text)));
    } else if (v->now_us < v->memory.no_race_until_us) {
        *ret = ha_bar(RULE_BACKOFF, "staying out of the election for a while after a failed promotion or a "
                                    "start of this host");
        ret->wake_at_us = v->memory.no_race_until_us;
    } else if (ha_failsafe_bars(v, ret)) {
        return true;
    } else if (ha_request_rank(v) == REQUEST_FAILOVER_TO_US) {
        return false; /* the rules about what is lost are the operator's now */
    } else if (!ha_sync_may_lead(v, v->name)) {
        *ret = ha_bar(RULE_SYNC, "this node is not among those in /sync and may lack acknowledged commits");
    } else {
        /* After an outage of all the others are asked first: whoever has what is missing here is named then. */
        return !ha_cold_start_is_on(v) && ha_is_behind(v, ret);
    }
    return true;
}

/*
 * Not in the failsafe list: it waits for a leader, and waiting for it in turn would be for ever. So it would be for one
 * that the store does not know, but for an outage from which it comes back.
 */
static bool peer_is_no_candidate(const struct ha_view *v, const struct peer *p)
{
    const struct failsafe_list *list = v->cluster->failsafe_list;

    if (!cluster_member(v->cluster, p->name) && !ha_cold_start_is_on(v))
        return true;
    return p->nofailover || p->watchdog_failed || (list && list->n && !failsafe_list_find(list, p->name));
}

/* Why this peer should lead rather than we; false if it is no obstacle. */
static bool peer_goes_first(const struct ha_view *v, const struct peer *p, struct ha_decision *ret)
{
    uint64_t lsn = local_pg_lsn(&v->pg);

    if (!p->answered || strcmp(p->name, v->name) == 0)
        return false;
    /* A primary that still answers is alive; its key is gone, but only its own fencing may end it. */
    if (p->is_primary) {
        *ret = ha_say(HA_NOTHING, "no leader key, but \"%s\" still runs as a primary", p->name);
        return true;
    }
    /* Its promise is about a leader that this node may never have heard of. */
    if (p->failsafe_active) {
        *ret = ha_say(HA_NOTHING, "no leader key, but \"%s\" says that a leader goes on without the store", p->name);
        return true;
    }
    if (peer_is_no_candidate(v, p))
        return false;
    if (ha_cold_start_is_on(v))
        return ha_cold_start_goes_first(v, p, ret);
    if (ha_sync_chooses(v) && !ha_sync_counts(v, p))
        return false;
    if (ha_sync_chooses(v) && ha_sync_is_ahead(v, p)) {
        *ret = ha_say(HA_NOTHING, "no leader; \"%s\", which is in /sync, too, has more", p->name);
        return true;
    }
    if (!ha_sync_chooses(v) && p->lsn > lsn && !ha_position_is_no_matter(v, p)) {
        *ret = ha_say(HA_NOTHING, "no leader; \"%s\" has %llu bytes more", p->name, (unsigned long long)(p->lsn - lsn));
        return true;
    }
    if (p->lsn == lsn && p->failover_priority > v->tags.failover_priority) {
        *ret = ha_say(HA_NOTHING, "no leader; \"%s\" has the same position and a higher failover_priority", p->name);
        return true;
    }
    return false;
}

/*
 * A leader that was fenced comes back as a standby, and has what nobody else may have. It is given the time of a start,
 * half a ttl at most: it might never come up.
 */
static bool peer_is_awaited(const struct ha_view *v, const struct peer *p, struct ha_decision *ret)
{
    uint64_t wait_us = v->policy.ttl_us / 2;

    if (wait_us > RACE_STARTING_MAX_US)
        wait_us = RACE_STARTING_MAX_US;
    /* What a synchronous cluster has acknowledged, those who may lead have. */
    if (ha_sync_chooses(v) || !p->is_starting || peer_is_no_candidate(v, p) ||
        v->now_us - v->memory.leaderless_since_us >= wait_us)
        return false;
    *ret = ha_say(HA_NOTHING, "no leader; waiting for \"%s\", which is starting, to know its position", p->name);
    return true;
}

/* Somebody with the same right, or a better one, to take the key. */
static bool peer_is_in_the_way(const struct ha_view *v, const struct peer *p, struct ha_decision *ret)
{
    if (ha_request_rank(v) == REQUEST_FAILOVER_TO_US && !p->is_primary)
        return false;
    return peer_goes_first(v, p, ret) || peer_is_awaited(v, p, ret);
}

/*
 * They count as soon as all are there, however long one that is frozen has kept us waiting: what was read of the store
 * meanwhile is no reason to wait for it again.
 */
static bool answers_are_old(const struct ha_view *v)
{
    return v->peers_asked_at_us < v->memory.leaderless_since_us || v->now_us - v->peers_answered_at_us >= RACE_RETRY_US;
}

struct ha_decision ha_decide_race(const struct ha_view *v)
{
    enum request_rank rank = ha_request_rank(v);
    struct ha_decision d;

    if (we_are_barred(v, &d))
        return d;
    if (v->was_frozen || !v->cluster_is_fresh)
        return ha_say(HA_READ_STORE, "no leader: reading the store again before the election");
    if ((rank == REQUEST_SWITCHOVER_TO_US || rank == REQUEST_FAILOVER_TO_US) && v->policy.standby_cluster)
        return ha_say(HA_ACQUIRE, "the leader key of this standby cluster is for this node: taking it");
    if ((rank == REQUEST_SWITCHOVER_TO_US || rank == REQUEST_FAILOVER_TO_US) && ha_has_all_wal(v))
        return ha_say(HA_ACQUIRE, "the leader has handed over to this node, which has all of its WAL: taking the "
                                  "leader key");
    if (!ha_has_all_wal(v) && v->now_us - v->memory.leaderless_since_us < RACE_SETTLE_US) {
        d = ha_say(HA_NOTHING, "no leader: waiting for the members to know their positions");
        d.wake_at_us = v->memory.leaderless_since_us + RACE_SETTLE_US;
        return d;
    }
    if (answers_are_old(v))
        return ha_say(HA_ASK_PEERS, "no leader: asking the other members for their positions");
    if (ha_race_is_for_another(v, &d))
        return d;
    for (size_t i = 0; i < v->n_peers; i++) {
        if (peer_is_in_the_way(v, &v->peers[i], &d)) {
            d.rule = RULE_PEER;
            /* It may fail to take the key; look again sooner than at the next loop_wait. */
            d.wake_at_us = v->now_us + RACE_RETRY_US;
            return d;
        }
    }
    /* Where the old leader's WAL ends is known, or the operator has decided what may be lost: nobody need be asked. */
    if (rank != REQUEST_FAILOVER_TO_US && !ha_has_all_wal(v) && ha_sync_lacks_votes(v, &d)) {
        d.rule = RULE_VOTES;
        if (v->now_us - v->peers_asked_at_us >= RACE_VOTES_AGAIN_US)
            d.action = HA_ASK_PEERS;
        d.wake_at_us = v->now_us + RACE_VOTES_AGAIN_US;
        return d;
    }
    if (rank != REQUEST_FAILOVER_TO_US && ha_cold_start_waits(v, &d))
        return d;
    return ha_say(HA_ACQUIRE, "no leader and nobody goes before this node: taking the leader key");
}
