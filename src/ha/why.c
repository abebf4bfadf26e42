/*
 * Why a member cannot lead, asked before it matters: the decision of a view in which the leader key is free. So every
 * rule of the election speaks, in its order, and those that come before it: a server that is down, or an operation.
 */
#include <stdio.h>
#include <string.h>
#include "ha/parts.h"

/* Election and promotion; seen to take a few tenths of it. */
enum { ELECTION_US = 1000000 };

const char *ha_rule_text(enum ha_rule rule)
{
    static const char *const texts[] = {
        [RULE_NONE] = "",
        [RULE_STATE] = "state",
        [RULE_PAUSE] = "pause",
        [RULE_NOFAILOVER] = "nofailover",
        [RULE_CONFIG] = "config",
        [RULE_FENCE_GUARD] = "fence_guard",
        [RULE_WATCHDOG] = "watchdog",
        [RULE_GATE] = "gate",
        [RULE_DISK] = "disk",
        [RULE_BACKOFF] = "backoff",
        [RULE_FAILSAFE] = "failsafe",
        [RULE_SYNC] = "sync",
        [RULE_VOTES] = "votes",
        [RULE_LAG] = "lag",
        [RULE_TIMELINE] = "timeline",
        [RULE_PEER] = "peer",
        [RULE_COLD_START] = "cold_start",
    };

    return texts[rule];
}

/* The key is free, all is read and asked, and the settling time over. Of others only what they have said is there. */
static void suppose(struct ha_view *v, struct cluster *c)
{
    v->was_frozen = false;
    v->cluster_is_fresh = true;
    v->peers_asked_at_us = v->peers_answered_at_us = v->now_us;
    if (v->op == OP_ASK_PEERS)
        v->op = OP_NONE;
    c->failover.exists = false;
    c->read_sent_at_us = v->now_us;
    if (!c->leader.exists)
        return;
    /* What they say while somebody leads, and how they would vote then, is not what they would say later. */
    c->leader.exists = false;
    c->sync.quorum = 0;
    v->n_peers = 0;
    v->memory.leader_seen = true;
    v->memory.leaderless_since_us = 0;
}

static const char *note(const struct ha_view *v)
{
    if (v->memory.divergence == DIVERGENCE_FOUND)
        return "its WAL went another way than the leader's";
    if (v->cluster && v->cluster->leader.exists && v->pg.accepting && v->pg.in_recovery && !v->pg.streaming)
        return "it does not stream";
    return "";
}

static void explain(const struct ha_decision *d, struct ha_why *ret)
{
    size_t skip = strncmp(d->reason, HA_NO_LEADER, sizeof(HA_NO_LEADER) - 1) == 0 ? sizeof(HA_NO_LEADER) - 1 : 0;

    ret->rule = d->rule ? d->rule : RULE_STATE;
    (void)snprintf(ret->obstacle, sizeof(ret->obstacle), "%s", d->reason + skip);
}

void ha_why(const struct ha_view *v, struct ha_why *ret)
{
    struct ha_view if_free = *v;
    struct ha_decision d;
    struct cluster c;

    *ret = (struct ha_why){.leads = v->lease.held,
                           .note = note(v),
                           .timeline = v->pg.timeline,
                           .lsn = v->pg.in_recovery ? local_pg_lsn(&v->pg) : v->pg.current_lsn,
                           .replay_lsn = v->pg.replay_lsn};
    if (ret->leads)
        return;
    if (v->cluster) {
        c = *v->cluster;
        suppose(&if_free, &c);
        if_free.cluster = &c;
    }
    d = ha_decide(&if_free);
    ret->could_lead = d.action == HA_ACQUIRE;
    if (ret->could_lead)
        ret->failover_us = ELECTION_US + (v->cluster->leader.exists ? v->policy.ttl_us : 0);
    else
        explain(&d, ret);
}
