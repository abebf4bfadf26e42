/*
 * Who may be elected in a synchronous mode: the leader that /sync names, which has everything, and its voters, if
 * enough of the others can be asked (facts sheet 3.8, 4.5). The quorum in the key counts, whatever mode is on: while
 * the mode is being changed the key still speaks of the old one.
 */
#include <string.h>
#include <strings.h>
#include "ha/parts.h"

bool ha_sync_speaks(const struct ha_view *v)
{
    return v->policy.sync_mode != SYNC_MODE_OFF && v->cluster->sync.exists;
}

bool ha_sync_chooses(const struct ha_view *v)
{
    return ha_sync_speaks(v) && !v->sync_is_foreign;
}

static bool is_leader(const struct ha_view *v, const char *name)
{
    return strcasecmp(v->cluster->sync.leader, name) == 0;
}

static bool is_voter(const struct ha_view *v, const char *name)
{
    struct sync_set voters;

    (void)sync_set_read(&voters, v->cluster->sync.standbys);
    return sync_set_has(&voters, name);
}

bool ha_sync_may_lead(const struct ha_view *v, const char *name)
{
    return !ha_sync_chooses(v) || is_leader(v, name) || is_voter(v, name);
}

bool ha_sync_counts(const struct ha_view *v, const struct peer *p)
{
    /* The old leader may well be ahead, of what it had not acknowledged. */
    return !is_leader(v, p->name) && is_voter(v, p->name);
}

bool ha_sync_is_ahead(const struct ha_view *v, const struct peer *p)
{
    if (p->timeline && v->pg.timeline && p->timeline != v->pg.timeline)
        return p->timeline > v->pg.timeline;
    return p->lsn > local_pg_lsn(&v->pg);
}

bool ha_sync_must_leave(const struct ha_view *v, const char *what, uint64_t since_us, struct ha_decision *ret)
{
    uint64_t until_us = since_us + 2 * v->policy.loop_wait_us;

    if (!v->cluster || !v->cluster->leader.exists || v->now_us >= until_us || !ha_sync_speaks(v) ||
        !is_voter(v, v->name))
        return false;
    *ret = ha_say(HA_NOTHING, "%s: waiting until no commit waits for this standby any more", what);
    ret->wake_at_us = until_us;
    return true;
}

/* With promises the old leader may have outlived its key, until the end of ours at the latest. */
static uint64_t old_leader_ended_us(const struct ha_view *v)
{
    uint64_t since_us = v->memory.leaderless_since_us, promised_us = v->memory.promised_until_us;

    return since_us > promised_us ? since_us : promised_us;
}

/* What it had while the old leader may have lived says nothing: it may have got, and acknowledged, more since. */
static bool is_witness(const struct ha_view *v, const struct peer *p)
{
    return p->answered && p->lsn && p->timeline && p->as_of_us && p->as_of_us >= old_leader_ended_us(v) &&
           strcmp(p->name, v->name) != 0 && ha_sync_counts(v, p);
}

bool ha_sync_lacks_votes(const struct ha_view *v, struct ha_decision *ret)
{
    unsigned votes = 0;

    if (!ha_sync_speaks(v) || (is_leader(v, v->name) && ha_sync_chooses(v)))
        return false;
    for (size_t i = 0; i < v->n_peers; i++) {
        const struct peer *p = &v->peers[i];

        votes += is_witness(v, p) && !ha_sync_is_ahead(v, p);
    }
    if (votes >= v->cluster->sync.quorum)
        return false;
    *ret =
        ha_say(HA_NOTHING,
               "no leader; of the other members in /sync %u can be asked and have no more, but %u are needed to know "
               "that this node has every acknowledged commit",
               votes, v->cluster->sync.quorum);
    return true;
}
