/* The dynamic settings that decide behaviour, in one struct; from the store's /config key. Durations in microseconds.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum sync_mode { SYNC_MODE_OFF, SYNC_MODE_PRIORITY, SYNC_MODE_QUORUM };

struct policy {
    uint64_t ttl_us, loop_wait_us, retry_timeout_us;
    uint64_t maximum_lag_on_failover_bytes;
    uint64_t primary_start_timeout_us; /* 0: fail over at once after a crash */
    uint64_t primary_stop_timeout_us;  /* 0: derived from ttl */
    uint64_t cold_start_wait_us;       /* POLICY_FOR_EVER: until all known members are back */
    unsigned max_timelines_history;    /* 0: keep all */
    bool check_timeline;
    bool failsafe_mode;
    bool pause;
    bool use_slots;
    uint64_t member_slots_ttl_us; /* 0: slots of absent members are dropped at once */
    bool use_pg_rewind;
    bool remove_data_directory_on_rewind_failure;
    bool remove_data_directory_on_diverged_timelines;
    enum sync_mode sync_mode;
    bool sync_strict;
    unsigned sync_node_count;
    uint64_t maximum_lag_on_syncnode_bytes; /* 0: no limit */
    bool standby_cluster; /* the cluster follows another one: nobody leaves recovery, and no synchronous mode is on */
    bool standby_cluster_streams; /* and there is a host to stream, copy and rewind from */
};

#define POLICY_FOR_EVER UINT64_MAX
#define POLICY_DEFAULT                                                                                                 \
    ((struct policy){.ttl_us = 30000000,                                                                               \
                     .loop_wait_us = 10000000,                                                                         \
                     .retry_timeout_us = 10000000,                                                                     \
                     .maximum_lag_on_failover_bytes = 1048576,                                                         \
                     .primary_start_timeout_us = 300000000,                                                            \
                     .cold_start_wait_us = POLICY_FOR_EVER,                                                            \
                     .use_slots = true,                                                                                \
                     .member_slots_ttl_us = 1800000000,                                                                \
                     .sync_node_count = 1})
