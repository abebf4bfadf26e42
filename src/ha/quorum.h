/*
 * The arithmetic of synchronous replication; only src/ha includes this. /sync promises that any `quorum` + 1 of its
 * voters have, together, every acknowledged commit. The priority mode is the case of quorum 0.
 */
#pragma once
#include "model/sync.h"

/*
 * The least quorum with which these voters may stand in /sync while commits are acknowledged under these names: how
 * many of them may lack a commit. As many as there are voters: nobody of them may be elected.
 */
unsigned quorum_needed(const struct sync_set *voters, const struct sync_names *names);

struct quorum_state {
    bool is_priority;          /* quorum must be 0 */
    struct sync_promise now;   /* what /sync says */
    struct sync_names names;   /* in effect */
    struct sync_names wanted;  /* where to */
    struct sync_set streaming; /* standbys that could be waited for */
    struct sync_set has_all;   /* those that have every commit that was acknowledged before `names` took effect */
};

/*
 * The names to set next: `wanted`, or a larger number of more standbys, under which what /sync promises stays true and
 * the next promise becomes true. False: there are none, the promise has to be reduced first.
 */
bool quorum_next_names(const struct quorum_state *q, struct sync_names *ret);
/* A lesser promise than now, true under the names in effect and under `wanted`. */
void quorum_reduce(const struct quorum_state *q, struct sync_promise *ret);
/* The best promise that is true under the names in effect, on the way to `wanted`. */
void quorum_grow(const struct quorum_state *q, struct sync_promise *ret);
