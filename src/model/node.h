/*
 * Everything this node says about itself, at one instant: the source of REST answers, metrics and the member key.
 * Role and health derive from the lease deadline, never from a cached role (S5): is_leader below is computed from
 * lease_deadline_us at the moment of asking, by node_is_leader().
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "model/cluster.h"
#include "model/pgstate.h"
#include "model/policy.h"
#include "model/storage.h"
#include "model/tags.h"
#include "model/view.h"

/* What somebody else has done to our PostgreSQL or in our name. */
enum impostor {
    IMPOSTOR_PROMOTED, /* a standby was promoted by hand */
    IMPOSTOR_SERVER,   /* a server was started in our data directory */
    IMPOSTOR_PORT,     /* another server has our port */
    IMPOSTOR_NAME,     /* another node has our name */
    IMPOSTOR_CLUSTER,  /* another cluster has our scope */
    IMPOSTORS,
};

struct node_walsender {
    char usename[64], application_name[128], client_addr[64], state[24], sync_state[16];
    int sync_priority;
};

struct node_status {
    const char *scope, *name, *version; /* version: the Patroni level we emulate, "4.1.4" */
    const char *own_version;            /* pgtether's */
    enum pg_state state;
    enum pg_role role;
    bool sql_ok; /* the SQL facts below are from a fresh probe */
    char postmaster_start_time[48];
    int64_t postmaster_start_epoch_us;
    int server_version_num;
    uint64_t current_lsn, receive_lsn, replay_lsn;
    char replayed_timestamp[48];
    bool replay_paused;
    uint64_t
        position_asked_at_us; /* a standby that has replayed what it has: it has at least this since then; else 0 */
    char replication_state[32];
    uint32_t timeline;
    uint64_t latest_end_lsn;
    const struct node_walsender *walsenders;
    size_t n_walsenders;
    uint64_t sysid;
    const char *tags_json;
    struct tags tags;
    bool pending_restart;
    const char *pending_restart_reason_json; /* NULL = none */
    const char *parameters_note;        /* what PostgreSQL does not accept of its configuration; NULL, "" = nothing */
    const char *scheduled_restart_json; /* NULL = none */

    uint64_t lease_deadline_us; /* of the leader key, 0 = not held */
    const char *reason;         /* of the last decision */
    const char *progress;       /* of the operation in flight, "" = none */

    const struct cluster *cluster; /* last view of the store, NULL = never read */
    const char *config_json;       /* dynamic configuration in effect */
    struct policy policy;
    int64_t dcs_last_seen_s; /* Unix time of the last good read, 0 = never */
    uint64_t cluster_valid_until_us;
    uint64_t loop_ran_at_us; /* last completed cycle */

    const struct failsafe_list *failsafe_list; /* whom the leader asks, or the store names; NULL = nobody */
    uint64_t failsafe_heard_us; /* the last POST /failsafe, sent by a leader or received by another; 0 = never */

    bool keeper_connected, watchdog_failed;
    const char *keeper_state, *watchdog_state;
    const struct storage_track *storage_data, *storage_wal; /* NULL = not probed */
    bool storage_fences;                                    /* a failed disk costs the leader key */
    uint64_t keeper_deadline_us, keeper_fence_at_us, watchdog_timeout_us;
    char watchdog_identity[40];     /* as the driver names itself, "" = not known */
    const char *watchdog_mode;      /* "off", "automatic", "required" */
    char watchdog_why[96];          /* why it is off or failed, "" = it is not */
    uint64_t watchdog_reset_us;     /* R, 0 while it does not tick */
    uint64_t watchdog_last_pet_us;  /* 0 = never */
    uint64_t watchdog_resets_at_us; /* if nobody pets it any more; 0 = it does not tick */
    uint64_t watchdog_longest_gap_us;
    unsigned watchdog_late_pets;

    const char *serves, *gate_state; /* as the keeper says, NULL = not known */
    bool gate_failed;                /* it is required and not in force */
    unsigned addresses, addresses_held;
    unsigned address_conflicts, net_restarts;
    const char *kernel_leases_note; /* what is wrong with gate and addresses; NULL, "" = nothing */

    bool leader_seen;                    /* somebody has led while this node was up */
    bool has_nothing;                    /* no data directory, or an unfinished copy or rewind */
    const struct cold_start *cold_start; /* what the election waits for after an outage of all; NULL = nothing */
    const char *impostor_note;           /* what somebody else did lately; NULL, "" = nothing */
    unsigned impostors[IMPOSTORS];       /* how often since this agent was started */
    const struct slot *slots;            /* with sql_ok */
    size_t n_slots;
    uint64_t slots_position_lsn;     /* where WAL is here, to say how much a slot holds back */
    int64_t max_slot_wal_keep_bytes; /* -1 = no limit */
    const char *slots_note;          /* what is wrong with them; NULL, "" = nothing */

    const char *fence_report_json; /* of the last reset under a lease, NULL = none */
    unsigned fence_reports;        /* how many are kept */
    int64_t last_fence_s;          /* Unix time, 0 = never */
    bool fence_guard;              /* reset again and again: no candidate */
};

/* A leader goes on without the store, and this node has asked, or was asked, to let it (failsafe mode). */
static inline bool node_failsafe_is_active(const struct node_status *n, uint64_t now_us)
{
    return n->failsafe_heard_us && now_us - n->failsafe_heard_us < n->policy.ttl_us;
}

static inline bool node_is_leader(const struct node_status *n, uint64_t now_us)
{
    return n->lease_deadline_us > now_us;
}
