/*
 * After an outage of all members, a loss of power say, they come back one by one, and the leader key has run out. In an
 * election whoever is there would lead; but the one with most WAL may be booting yet, and asynchronous replication
 * has no other copy of what it alone has. So the election waits for everybody who was a member when somebody led last:
 * until all of them have said what they have, or the operator names the one that is to lead (a failover), or
 * cold_start_wait is over, which is never unless somebody has set it.
 *
 * It must not cost an ordinary failover anything. It is one if anybody who can be asked was up while somebody led: the
 * standbys that the leader has left behind do not wait for it. And where a synchronous mode says who may lead, those
 * have every acknowledged commit: nobody else is waited for. In a standby cluster the WAL comes from elsewhere.
 *
 * Who had left before the outage is not waited for, since the leader had gone on without him: the leader takes a member
 * off the list of the known ones a ttl after its key has gone (src/agent/cold_start.c).
 */
#include <stdio.h>
#include <string.h>
#include "ha/parts.h"

enum { COLD_AGAIN_US = 1000000 };

bool ha_cold_start_is_on(const struct ha_view *v)
{
    if (v->memory.leader_seen || ha_sync_chooses(v) || v->policy.standby_cluster)
        return false;
    for (size_t i = 0; i < v->n_peers; i++)
        if (v->peers[i].answered && v->peers[i].leader_seen)
            return false;
    return true;
}

static bool is_on_another_timeline(const struct ha_view *v, const struct peer *p)
{
    return p->timeline && v->pg.timeline && p->timeline != v->pg.timeline;
}

bool ha_cold_start_goes_first(const struct ha_view *v, const struct peer *p, struct ha_decision *ret)
{
    if (ha_sync_is_ahead(v, p)) {
        *ret = ha_bar(RULE_PEER, "\"%s\" has more WAL, or a later timeline", p->name);
        return true;
    }
    if (is_on_another_timeline(v, p) || p->lsn != local_pg_lsn(&v->pg) ||
        p->failover_priority <= v->tags.failover_priority)
        return false;
    *ret = ha_bar(RULE_PEER, "\"%s\" has the same position and a higher failover_priority", p->name);
    return true;
}

static const struct peer *peer_of(const struct ha_view *v, const char *name)
{
    for (size_t i = 0; i < v->n_peers; i++)
        if (v->peers[i].answered && strcmp(v->peers[i].name, name) == 0)
            return &v->peers[i];
    return NULL;
}

/* It has replayed what is on its disk, or there is nothing on it; one that never leads is no help. */
static bool has_said_all(const struct peer *p)
{
    return p->has_nothing || p->nofailover || (p->lsn && p->as_of_us);
}

/* This node goes as far as the word says, on that timeline: nothing can be missing. */
static bool has_the_last_word(const struct ha_view *v)
{
    return ha_word_stands(v) && local_pg_lsn(&v->pg) > v->cluster->shutdown_lsn &&
           v->pg.timeline == v->cluster->shutdown_timeline;
}

static void add_missing(struct cold_start *s, const char *name, const struct peer *p)
{
    size_t len = strlen(s->missing);
    const char *state = !p ? "" : p->is_starting ? " (is starting)" : " (does not know its position)";

    (void)snprintf(s->missing + len, sizeof(s->missing) - len, "%s%s%s", len ? ", " : "", name, state);
    s->n_missing++;
}

static void find_missing(const struct ha_view *v, struct cold_start *s)
{
    for (size_t i = 0; v->known && i < v->known->n; i++) {
        const char *name = v->known->items[i].name;
        const struct peer *p = peer_of(v, name);

        if (strcmp(name, v->name) != 0 && !(p && has_said_all(p)))
            add_missing(s, name, p);
    }
}

struct offer {
    const char *name;
    uint32_t timeline;
    uint64_t lsn;
};

static void compare(struct offer *best, const char *name, uint32_t timeline, uint64_t lsn)
{
    if (!best->name || timeline > best->timeline || (timeline == best->timeline && lsn > best->lsn))
        *best = (struct offer){name, timeline, lsn};
}

static void find_candidate(const struct ha_view *v, struct cold_start *s)
{
    struct offer best = {0};

    if (!v->tags.nofailover && v->tags.failover_priority > 0)
        compare(&best, v->name, v->pg.timeline, local_pg_lsn(&v->pg));
    for (size_t i = 0; i < v->n_peers; i++) {
        const struct peer *p = &v->peers[i];

        if (p->answered && p->lsn && !p->nofailover)
            compare(&best, p->name, p->timeline, p->lsn);
    }
    if (!best.name)
        return;
    (void)snprintf(s->candidate, sizeof(s->candidate), "%s", best.name);
    s->cost_known = v->cluster->status_lsn != 0;
    s->cost_bytes = v->cluster->status_lsn > best.lsn ? v->cluster->status_lsn - best.lsn : 0;
}

bool ha_cold_start(const struct ha_view *v, struct cold_start *ret)
{
    uint64_t since_us = v->memory.leaderless_since_us, wait_us = v->policy.cold_start_wait_us;
    struct ha_decision d;

    *ret = (struct cold_start){.since_us = since_us};
    if (!v->cluster || v->cluster->leader.exists || v->lease.held || !v->pg.accepting || !v->pg.in_recovery ||
        v->peers_asked_at_us < since_us || ha_pause_forbids_race(v) || !ha_cold_start_is_on(v))
        return false;
    if (!has_the_last_word(v) && (wait_us == POLICY_FOR_EVER || v->now_us - since_us < wait_us))
        find_missing(v, ret);
    ret->until_us = wait_us == POLICY_FOR_EVER ? 0 : since_us + wait_us;
    ret->behind = !v->pg.replaying && ha_is_behind(v, &d);
    find_candidate(v, ret);
    return ret->n_missing || ret->behind;
}

bool ha_cold_start_waits(const struct ha_view *v, struct ha_decision *ret)
{
    struct cold_start s;

    /* A promotion would replay it first, but the lease would be held all the while, for a position nobody knows. */
    if (v->pg.replaying && ha_cold_start_is_on(v)) {
        *ret = ha_bar(RULE_COLD_START, "this node has not yet replayed all that is on its disk");
        ret->wake_at_us = v->now_us + COLD_AGAIN_US;
        return true;
    }
    if (!ha_cold_start(v, &s))
        return false;
    if (!s.n_missing)
        return ha_is_behind(v, ret);
    *ret = ha_bar(RULE_COLD_START, "all members were down; waiting for %s, which may have WAL that nobody else has",
                  s.missing);
    /* One that has answered may know its position at any time; the others will show in the store. */
    if (strchr(s.missing, '(') && v->now_us - v->peers_asked_at_us >= COLD_AGAIN_US)
        ret->action = HA_ASK_PEERS;
    ret->wake_at_us = v->now_us + COLD_AGAIN_US;
    return true;
}
