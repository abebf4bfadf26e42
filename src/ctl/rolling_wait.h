/* Whether a member is back after its restart, as it and the leader say themselves through their REST APIs. */
#pragma once
#include "ctl/ctl.h"

struct rolling_limits {
    uint64_t lag_bytes;  /* a standby must have replayed to within this of the leader's position */
    uint64_t timeout_us; /* for each member */
};

/*
 * Waits until `name` runs and, unless it leads, streams and has replayed to within the lag, with a line for each change
 * on the way. `leader` is who must lead meanwhile. Returns 0, or -errno: what the member still lacks when time was up,
 * or who leads instead.
 */
int rolling_wait(struct ctl *ctl, const char *scope, const char *name, const char *leader,
                 const struct rolling_limits *limits, struct err *err);
