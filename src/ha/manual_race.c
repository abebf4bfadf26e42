/*
 * The leader key is free and the failover key names somebody: he goes first. Where the leader before has left word of
 * the end of its WAL (it is proven dead then), a candidate that has all of it goes straight: no settling time, nobody
 * is asked. The others wait for it a bounded time; then the key is for all, and who wins empties the request.
 */
#include <string.h>
#include "ha/parts.h"

enum { CANDIDATE_WAIT_MAX_US = 5000000, WAIT_AGAIN_US = 200000 };

/*
 * Somebody may have led since, and have said nothing: but his timeline's number he had to reserve. Both may be older
 * than that in a store that was restored.
 */
bool ha_word_stands(const struct ha_view *v)
{
    const struct cluster *c = v->cluster;

    return c->shutdown_lsn && c->shutdown_session != v->memory.foreign_word_session &&
           c->timeline.timeline <= c->shutdown_timeline;
}

static bool word_is_good(const struct ha_view *v)
{
    return ha_word_stands(v) && v->cluster->shutdown_session == v->memory.last_leader_session;
}

bool ha_has_all_wal(const struct ha_view *v)
{
    /* On an older timeline it has not, however far it goes. */
    return word_is_good(v) && v->pg.timeline >= cluster_timeline(v->cluster) &&
           local_pg_lsn(&v->pg) > v->cluster->shutdown_lsn;
}

/* Until when the others leave the key to the candidate: from when both were true, no leader and the request. */
static uint64_t wait_ends_at_us(const struct ha_view *v)
{
    uint64_t since_us = v->memory.leaderless_since_us, wait_us = v->policy.ttl_us / 2;

    if (v->memory.request_seen_at_us > since_us)
        since_us = v->memory.request_seen_at_us;
    return since_us + (wait_us < CANDIDATE_WAIT_MAX_US ? wait_us : CANDIDATE_WAIT_MAX_US);
}

enum request_rank ha_request_rank(const struct ha_view *v)
{
    const struct failover_key *key = ha_request(v);

    if (!key || (v->policy.pause && key->scheduled_at_s))
        return REQUEST_NONE;
    if (ha_candidate_is(key, v->name))
        return key->leader[0] ? REQUEST_SWITCHOVER_TO_US : REQUEST_FAILOVER_TO_US;
    if (key->leader[0] && strcmp(key->leader, v->name) == 0)
        return REQUEST_AWAY_FROM_US;
    return REQUEST_TO_ANOTHER;
}

/* May it take the key, as far as it says? */
static bool peer_can(const struct ha_view *v, const struct failover_key *key, const struct peer *p)
{
    if (!p->answered || p->nofailover || p->watchdog_failed || p->is_primary ||
        !ha_request_allows(&v->policy, v->cluster, key->leader[0] != '\0', p->name))
        return false;
    /* Without a proof that nothing is missing, a switchover is no reason to lose what we have. */
    return !key->leader[0] || v->policy.standby_cluster || word_is_good(v) || p->lsn >= local_pg_lsn(&v->pg);
}

bool ha_race_is_for_another(const struct ha_view *v, struct ha_decision *ret)
{
    const struct failover_key *key = ha_request(v);
    enum request_rank rank = ha_request_rank(v);

    if ((rank != REQUEST_TO_ANOTHER && rank != REQUEST_AWAY_FROM_US) || v->now_us >= wait_ends_at_us(v))
        return false;
    if (!key->candidate[0] && rank == REQUEST_TO_ANOTHER)
        return false; /* to any member: this is one */
    for (size_t i = 0; i < v->n_peers; i++) {
        /* Who stepped down leaves it to whoever can: the operator wants anybody but this node. */
        bool is_meant = rank == REQUEST_AWAY_FROM_US || ha_candidate_is(key, v->peers[i].name);

        if (!is_meant || !peer_can(v, key, &v->peers[i]))
            continue;
        *ret = ha_say(HA_NOTHING, "no leader; leaving the key to \"%s\", as the %s says", v->peers[i].name,
                      ha_request_text(key));
        ret->wake_at_us = v->now_us + WAIT_AGAIN_US;
        return true;
    }
    return false;
}

/* In pause nobody is elected, but whom the operator has named; and who stepped down for one that did not come. */
bool ha_pause_forbids_race(const struct ha_view *v)
{
    enum request_rank rank = ha_request_rank(v);

    return v->policy.pause && rank != REQUEST_SWITCHOVER_TO_US && rank != REQUEST_FAILOVER_TO_US &&
           rank != REQUEST_AWAY_FROM_US;
}
