/* Tags of a member: what its operator allows it to be used for. */
#pragma once
#include <stdbool.h>

enum { MEMBER_NAME_SIZE = 128 }; /* with terminating NUL; longer names are refused by the configuration */

/*
 * In the place of a member's name: the cluster that a standby cluster follows. No member can have it, since names are
 * parts of the store's keys.
 */
#define REMOTE_CLUSTER "/remote"

struct tags {
    bool nofailover;                      /* never leader */
    int failover_priority;                /* default 1; 0 or less means nofailover; higher wins at equal LSN */
    bool noloadbalance;                   /* /replica answers 503 */
    bool clonefrom;                       /* preferred source of copies */
    bool nosync;                          /* never a synchronous standby */
    int sync_priority;                    /* default 1 */
    bool nostream;                        /* no streaming, no slot: follows the archive only */
    char replicatefrom[MEMBER_NAME_SIZE]; /* cascade from this member; "" = none */
};

#define TAGS_DEFAULT ((struct tags){.failover_priority = 1, .sync_priority = 1})
