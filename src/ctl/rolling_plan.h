/*
 * In which order the members of a cluster are restarted so that it is served all the time: the replicas, then the
 * member that leads, after another one took over from it. Pure.
 */
#pragma once
#include "base/core.h"
#include "ctl/pick.h"

enum rolling_kind {
    ROLLING_RESTART,    /* of its PostgreSQL */
    ROLLING_SWITCHOVER, /* the leader hands over, which restarts it */
};

struct rolling_step {
    const struct member *member;
    enum rolling_kind kind;
    const struct member *candidate; /* who takes over */
};

struct rolling_plan {
    struct rolling_step steps[CODEC_MEMBERS_MAX];
    size_t n;
};

struct rolling_wish {
    char **names;          /* NULL-terminated; empty = all */
    const char *candidate; /* NULL = the best */
    bool pending;          /* only those that wait for a restart */
    bool in_place;         /* no switchover */
};

/*
 * Returns 0 and fills *ret, which may have no steps; -errno when the cluster is in no state for it, or the wish cannot
 * be fulfilled; the message says what to do. Members are borrowed from the view.
 */
int rolling_plan_make(const struct ctl_view *v, const struct rolling_wish *w, struct rolling_plan *ret,
                      struct err *err);

/*
 * Who should take over: a synchronous standby where there are such, then by failover_priority, by what it has replayed,
 * by name. NULL if nobody may.
 */
const struct member *rolling_candidate(const struct ctl_view *v);

/*
 * NULL when `m` can take over as far as the store tells, else what it is waited for: that it runs on the leader's
 * timeline, is a synchronous standby where there are such, and that the leader has made the checkpoint after its own
 * promotion, without which it could not follow afterwards.
 */
const char *rolling_not_yet(const struct ctl_view *v, const struct member *m);
