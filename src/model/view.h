/*
 * What the decision core is shown and what it answers. A view is complete: the core reads no clock and remembers
 * nothing, so that the same view always gives the same decision. Instants are microseconds of CLOCK_BOOTTIME, 0 =
 * never.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "model/cluster.h"
#include "model/failsafe.h"
#include "model/local.h"
#include "model/policy.h"
#include "model/storage.h"
#include "model/tags.h"

/* Our hold on the leader key, as last confirmed by the store (S1). */
struct leader_lease {
    bool held;                /* acquired, and no renewal was refused since; says nothing about time */
    uint64_t session;         /* the store's lease the key hangs on */
    uint64_t deadline_us;     /* valid until then, drift allowance already taken off */
    uint64_t confirmed_at_us; /* instant before the confirming request was sent */
};

/* The store's lease our member key hangs on, as last confirmed; also the key for the replica address does (S1). */
struct member_lease {
    uint64_t session;            /* 0 = none yet */
    uint64_t ttl_us, granted_us; /* asked for; and what the store grants of it */
    uint64_t confirmed_at_us;    /* instant before the confirming request was sent */
};

/* The keeper as it last answered. */
struct keeper_view {
    bool connected;
    bool armed;             /* for lease.session */
    bool dead_proven;       /* disarmed: it has proven that no process of a primary is left */
    bool refused;           /* it refused to arm the lease we hold (late, or the watchdog is required and unusable) */
    bool watchdog_unusable; /* required and not usable: no candidate */
    bool gate_unusable;     /* the port gate is required and not in force: no candidate */
    uint64_t fence_at_us;   /* it will kill from then on; 0 while disarmed */
};

/* The long action in flight beside the loop; only one at a time. */
enum op_kind {
    OP_NONE,
    OP_BOOTSTRAP,     /* initialize race, initdb, first start, roles */
    OP_CLONE,         /* copy from a member */
    OP_START_STANDBY, /* write files, start, until the first answer of SQL or the death of the postmaster */
    OP_START_PRIMARY, /* the same, after a crash under our lease */
    OP_PROMOTE,       /* arm, promote, until SQL says it is a primary */
    OP_DEMOTE,        /* stop, prove dead, give the key back when asked to */
    OP_FOLLOW,        /* write files, reload or restart */
    OP_CHECK_REWIND,
    OP_REWIND,
    OP_COPY_SLOTS, /* ask the leader, stop, put its logical slots in place */
    OP_SET_ASIDE,  /* rename the data directory */
    OP_ACQUIRE,    /* the store is being asked for the leader key */
    OP_RELEASE,
    OP_ASK_PEERS,
    OP_RESTART, /* stop for a restart that was asked for; what follows is one of the starts */
};

/* What a peer said of itself when asked over its REST API in the leader race. */
struct peer {
    char name[MEMBER_NAME_SIZE];
    bool answered;    /* false: not reachable, or nonsense */
    bool is_primary;  /* its PostgreSQL runs out of recovery */
    bool is_starting; /* its PostgreSQL is being started, and does not know its position yet */
    bool
        has_nothing; /* no data directory, or one that cannot be started and is no loss: an unfinished copy or rewind */
    bool leader_seen; /* somebody has led while it was up: it has not come back from an outage of all */
    uint64_t lsn;     /* max(received, replayed) */
    uint32_t timeline;
    uint64_t as_of_us; /* it had that not earlier than then, on our clock; 0 = not known, or it may have more */
    bool nofailover;
    int failover_priority;
    bool watchdog_failed;
    bool failsafe_active; /* a leader without store goes on, and this peer has promised not to lead */
};

enum divergence { DIVERGENCE_UNKNOWN, DIVERGENCE_NONE, DIVERGENCE_FOUND };

/* What the agent remembers for the core between two cycles. */
struct memory {
    bool crashed;           /* the postmaster ended although nobody here stopped it */
    uint64_t crashed_at_us; /* first crash of a row that no good start has ended */
    bool was_primary;       /* what it was when it ended */
    bool may_have_said_end; /* our predecessor may have told the others that its WAL ends there */
    unsigned failed_starts; /* in a row */
    uint64_t retry_start_at_us;
    uint64_t no_race_until_us;       /* after a failed promotion, or until an earlier life's lease is surely over */
    uint64_t leaderless_since_us;    /* first read without a leader key; 0 = there is one */
    uint64_t last_leader_session;    /* of the leader key when it was seen last */
    uint64_t foreign_word_session;   /* of the word of a WAL's end that a restored store has brought back; 0 = none */
    uint64_t not_streaming_since_us; /* a standby with a leader to follow that does not stream; 0 = it does */
    enum divergence divergence;      /* from the leader named below */
    char divergence_from[MEMBER_NAME_SIZE];
    bool is_new_copy;   /* never started since it was copied: what its control file says is the source's */
    bool rewind_failed; /* pg_rewind said no; only a new copy helps */
    uint64_t retry_check_at_us;
    uint64_t left_remote_at_us; /* since then this cluster follows no other one any more; 0 = it never did */
    uint64_t retry_clone_at_us;
    uint64_t sync_seen_revision; /* of /sync when we last asked for the leader key */
    bool seen_initialized;       /* this process has seen the store to know a cluster: it is not to make another one */
    uint64_t promised_until_us;  /* failsafe mode: this node has promised not to lead before */
    char promised_to[MEMBER_NAME_SIZE]; /* "" = by an earlier boot, perhaps */
    bool mark_may_be_ours; /* we wrote the mark of a bootstrap, or do not know whether; it may be there still */
    bool stopped_here;     /* PostgreSQL is down because this agent stopped it: it may start it again, also in pause */
    uint64_t request_seen_at_us; /* since when the failover key says what it says; 0 = it is empty */
    uint64_t checkpoint_at_us;   /* when the last CHECKPOINT ended that was to make a stop short; 0 = never */
    bool checkpoint_running;
    bool leader_seen; /* somebody was seen to lead while this node was up: see src/agent/cold_start.c */
};

enum { MISSING_TEXT_SIZE = 192 };

/* After an outage of all members: for whom the election waits, and what an operator who does not wait may lose. */
struct cold_start {
    unsigned n_missing;               /* known members that have not said what they have */
    char missing[MISSING_TEXT_SIZE];  /* "n1, n2", with what is known of them */
    bool behind;                      /* nobody is missing, but whoever has most has too little to lead by the rules */
    char candidate[MEMBER_NAME_SIZE]; /* has most of those that have answered; "" = none of them may lead */
    bool cost_known;                  /* the leader before had published a position */
    uint64_t cost_bytes;              /* from the candidate's position to that one */
    uint64_t since_us, until_us;      /* until_us 0 = for ever */
};

/* What was asked of this very node over REST, until it has begun. */
struct request {
    bool restart;
    uint64_t restart_since_us;
    bool reinitialize;
    bool from_leader; /* reinitialize: the copy comes from the leader and nobody else */
};

struct ha_view {
    uint64_t now_us;
    bool was_frozen; /* this cycle began far later than planned: what was read before may be long untrue */
    bool stopping;   /* the operator stops this node */
    uint64_t stopping_since_us;
    const char *name;
    struct tags tags;
    struct policy policy;
    bool bootstrap_incomplete; /* our data directory is from a bootstrap that never finished… */
    bool bootstrap_made;       /* …but all that is missing is its identifier in the store */
    bool copy_incomplete;      /* a copy into our data directory was begun and never finished */
    bool rewind_incomplete;    /* the same with pg_rewind: what is there cannot be started */
    bool config_refused;  /* the store's configuration cannot be used, and none was ever accepted: do not compete */
    bool fence_guard;     /* this host was reset again and again: do not compete until an operator says so */
    bool rewind_possible; /* data checksums or wal_log_hints, programs there */
    bool slots_to_copy;   /* the leader has logical slots that this standby should have, too */

    const struct cluster *cluster; /* NULL: the store could not be read */
    bool store_unread;             /* and this process has no answer of it yet, not even that it failed */
    bool cluster_is_fresh;         /* read, linearizable, after the event that started this cycle */
    struct leader_lease lease;
    struct member_lease member;
    struct keeper_view keeper;
    struct local_pg pg;
    struct storage_view storage; /* the disks under it; never failed where no probe runs */
    enum op_kind op;
    uint64_t op_since_us;
    uint64_t op_timeout_us; /* what a restart was given for its start; 0 = primary_start_timeout */
    int64_t realtime_us;    /* Unix time, which may jump: for nothing but schedules */
    struct request request;
    const struct peer *peers; /* answers to the last question */
    size_t n_peers;
    uint64_t peers_asked_at_us, peers_answered_at_us; /* sent; the last of them came or was too late */
    const struct failsafe_list *known;                /* who was a member when somebody led last; NULL = not known */
    bool sync_is_foreign; /* /sync is of a store that was restored since: what it promises may be long untrue */
    bool acquiring;       /* the store is being asked for the leader key, whatever operation wanted it */
    struct failsafe_view failsafe;
    struct memory memory;
};

/* Which rule keeps a member from leading. */
enum ha_rule {
    RULE_NONE,
    RULE_STATE, /* its PostgreSQL is not a standby that answers, or it is busy; the reason says what */
    RULE_PAUSE,
    RULE_NOFAILOVER,
    RULE_CONFIG,
    RULE_FENCE_GUARD,
    RULE_WATCHDOG,
    RULE_GATE,
    RULE_DISK,
    RULE_BACKOFF,
    RULE_FAILSAFE,
    RULE_SYNC,
    RULE_VOTES,
    RULE_LAG,
    RULE_TIMELINE,
    RULE_PEER,       /* another member goes first */
    RULE_COLD_START, /* members that may have more have not come back */
};

/* What a member would do if the leader key were free now. */
struct ha_why {
    bool leads, could_lead;
    enum ha_rule rule;  /* neither: what stops it */
    char obstacle[192]; /* the same for a person */
    const char *note;   /* static: what is wrong although it is no obstacle, "" = nothing */
    uint32_t timeline;
    uint64_t lsn, replay_lsn;
    uint64_t failover_us; /* could_lead: for how long nobody would accept writes, replay not counted */
};

enum { COLD_START_COMMAND_SIZE = 192 };
/* "pgtetherctl failover SCOPE --candidate NAME --force"; "" if nobody can be named. */
void cold_start_command(const struct cold_start *s, const char *scope, char *buf, size_t size);

enum ha_action {
    HA_NOTHING,
    HA_READ_STORE,        /* a fresh linearizable read, then decide again */
    HA_ASK_PEERS,         /* ask all members over REST, then decide again */
    HA_BOOTSTRAP,         /* race for the initialize key, then make a new cluster */
    HA_ABANDON_BOOTSTRAP, /* set the half-made directory aside, take our mark off the initialize key */
    HA_CLONE,             /* from `target` */
    HA_START_STANDBY,     /* following `target`, "" = nobody */
    HA_START_PRIMARY,     /* after proof of death and ARMED: crash recovery on the same timeline */
    HA_CHECK_REWIND,      /* against `target` */
    HA_REWIND,            /* from `target`; stops a running standby first */
    HA_SET_ASIDE,         /* rename the data directory, so that it can be cloned anew */
    HA_FOLLOW,            /* point the running standby to `target` */
    HA_COPY_SLOTS,        /* logical slots from `target`: stops the standby, which is then started again */
    HA_ACQUIRE,           /* take the leader key, if it is free */
    HA_PROMOTE,           /* arm, then promote */
    HA_DEMOTE,            /* stop (or just prove dead), disarm; then release the key if `release` */
    HA_RELEASE,           /* give the leader key up; nothing is armed, and what runs goes on */
    HA_STOP,              /* stop a standby, because the node stops or its data directory went away */
    HA_EXIT,              /* cannot go on: the process ends with the reason */
    HA_CHECKPOINT,        /* so that the stop that is to come is short */
    HA_CLEAR_FAILOVER,    /* empty the failover key, if it still says what this view shows */
    HA_RESTART,           /* stop PostgreSQL and start it again as what it is */
};

enum ha_urgency {
    HA_GRACEFUL, /* checkpoint, fast stop, budget of the operator's stop */
    HA_SWIFT,    /* fast, then immediate, all before the keeper's fence point */
    HA_AT_ONCE,  /* immediate */
};

/* What a member answers when a leader without store asks it not to lead. */
enum failsafe_word { FAILSAFE_PROMISE, FAILSAFE_IS_LEADER, FAILSAFE_IS_OFF, FAILSAFE_NOT_NOW };

struct failsafe_answer {
    enum failsafe_word word;
    uint64_t duration_us, until_us; /* FAILSAFE_PROMISE: from the question on; its end on our clock */
    const char *reason;             /* static text */
};

/* What to do about the addresses for replicas and the key that says who has them. */
enum replica_address_step {
    REPLICA_ADDRESS_LEAVE,   /* somebody else's, or not for us: nothing */
    REPLICA_ADDRESS_TAKE,    /* create the key */
    REPLICA_ADDRESS_HOLD,    /* the key is ours: have the addresses until until_us */
    REPLICA_ADDRESS_GIVE_UP, /* drop the addresses, and when they are gone delete the key */
};

struct replica_address {
    enum replica_address_step step;
    uint64_t until_us;  /* HOLD */
    const char *reason; /* static text */
};

struct ha_decision {
    enum ha_action action;
    enum ha_rule rule;             /* if it is one of these that says so */
    enum ha_urgency urgency;       /* HA_DEMOTE, HA_STOP */
    bool release;                  /* HA_DEMOTE */
    bool keep;                     /* HA_DEMOTE: the leader key stays ours, for a standby leader */
    char target[MEMBER_NAME_SIZE]; /* a member, REMOTE_CLUSTER, or "" */
    uint64_t wake_at_us;           /* decide again at the latest then; 0 = the usual loop_wait */
    char reason[192];              /* for a DBA; shown in the log and in list */
};
