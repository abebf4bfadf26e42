/*
 * Failsafe mode, both sides of it: what a leader may count on while the store is out of reach, and what a member
 * promises to it. The promise is bounded in time, so that the watchdog is petted, and PostgreSQL lives, only as long as
 * nobody who could lead will (S1, S4):
 *
 *  - The leader asks every member of the list that the store holds. One that agrees promises not to take the leader
 *    key, nor to make a new cluster, before `duration` has passed since it got the question. The leader counts from the
 *    instant before it asked, less the drift of both clocks, and its lease reaches to the earliest of all these ends.
 *  - Who is not in the list cannot lead at all, whatever it sees in the store: it was not asked.
 *  - Who leads, or may be about to, promises nothing.
 *
 * The reference asks whether all others are reachable now; that says nothing about the next second.
 */
#include <string.h>
#include "ha/parts.h"

static struct failsafe_answer answer(enum failsafe_word word, const char *reason)
{
    return (struct failsafe_answer){.word = word, .reason = reason};
}

/* An operation that has the leader key in view, or is about to. */
static bool op_may_lead(enum op_kind op)
{
    return op == OP_ACQUIRE || op == OP_BOOTSTRAP || op == OP_PROMOTE || op == OP_START_PRIMARY;
}

/* The store can be read, and says that another than the one who asks leads: what it has is not ours to prolong. */
static bool another_leads(const struct ha_view *v, const char *asker)
{
    return v->cluster && v->cluster->leader.exists && strcmp(v->cluster->leader.name, asker) != 0;
}

struct failsafe_answer ha_failsafe_answer(const struct ha_view *v, const char *asker, uint64_t wanted_us)
{
    struct failsafe_answer r;

    if (!v->policy.failsafe_mode)
        return answer(FAILSAFE_IS_OFF, "failsafe_mode is off here");
    if (strcmp(asker, v->name) == 0)
        return answer(FAILSAFE_NOT_NOW, "the question comes from another member of the same name");
    if (v->lease.held || v->keeper.armed || (v->pg.running && !v->pg.in_recovery))
        return answer(FAILSAFE_IS_LEADER, "this node leads");
    if (v->acquiring || op_may_lead(v->op))
        return answer(FAILSAFE_NOT_NOW, "this node may be about to lead");
    if (another_leads(v, asker))
        return answer(FAILSAFE_NOT_NOW, "the store says that another member leads");
    r = answer(FAILSAFE_PROMISE, "this node will not lead for a while");
    r.duration_us = wanted_us && wanted_us < v->policy.ttl_us ? wanted_us : v->policy.ttl_us;
    r.until_us = v->now_us + r.duration_us;
    return r;
}

bool ha_failsafe_asks(const struct ha_view *v)
{
    /* A demotion under way needs no more time than it has: its budget is part of the lease. */
    return v->policy.failsafe_mode && v->lease.held && v->keeper.connected && v->keeper.armed && !v->stopping &&
           v->op != OP_DEMOTE && v->now_us < v->lease.deadline_us;
}

uint64_t ha_failsafe_deadline_us(const struct failsafe_promise *promises, size_t n, uint64_t asked_at_us,
                                 const struct policy *p)
{
    uint64_t deadline_us = UINT64_MAX;

    if (n == 0) /* nobody else is in the list, and only who is may lead */
        return ha_lease_deadline_us(asked_at_us, p->ttl_us);
    for (size_t i = 0; i < n; i++)
        if (promises[i].until_us < deadline_us)
            deadline_us = promises[i].until_us;
    return deadline_us;
}

bool ha_failsafe_bars(const struct ha_view *v, struct ha_decision *ret)
{
    const struct failsafe_list *list = v->cluster->failsafe_list;

    if (v->now_us < v->memory.promised_until_us) {
        *ret = v->memory.promised_to[0]
                   ? ha_bar(RULE_FAILSAFE,
                            "this node has promised not to lead for a while, so that \"%s\" could "
                            "go on without the store (failsafe_mode)",
                            v->memory.promised_to)
                   : ha_bar(RULE_FAILSAFE, "before this host was started it may have promised not to lead for a "
                                           "while (failsafe_mode)");
        ret->wake_at_us = v->memory.promised_until_us;
        return true;
    }
    if (list && list->n && !failsafe_list_find(list, v->name)) {
        *ret = ha_bar(RULE_FAILSAFE, "this node is not in the failsafe list, so its leader would not ask it before "
                                     "going on without the store");
        return true;
    }
    return false;
}
