/*
 * What a person wants to see of a cluster: one row per member with its role, state and lag. Pure; shared by the REST
 * API's /cluster, the status page and pgtetherctl list, so that they cannot disagree. The rules are Patroni's.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "model/cluster.h"
#include "model/policy.h"

enum overview_role {
    OVERVIEW_LEADER,
    OVERVIEW_STANDBY_LEADER,
    OVERVIEW_SYNC_STANDBY,
    OVERVIEW_QUORUM_STANDBY,
    OVERVIEW_REPLICA
};

/* A position and how far it is behind the leader's last published one. */
struct overview_lsn {
    bool known;
    uint64_t lsn, lag_bytes; /* 0 while not known */
};

struct overview_row {
    const struct member *member; /* borrowed from the cluster */
    enum overview_role role;
    const char *state; /* "running", "streaming", …; borrowed from the cluster or static */
    bool holds_leader_key;
    struct overview_lsn receive, replay, any; /* of the leader: not known, there is nothing to compare with */
};

/* Row of c->members[i]; the members are sorted by name already. */
struct overview_row overview_row(const struct cluster *c, enum sync_mode sync_mode, size_t i);

const char *overview_role_text(enum overview_role role);  /* "sync_standby" */
const char *overview_role_title(enum overview_role role); /* "Sync Standby" */

/* True if /sync lists this member as a synchronous standby or quorum voter; names compare without case. */
bool overview_is_sync_standby(const struct cluster *c, const char *name);
