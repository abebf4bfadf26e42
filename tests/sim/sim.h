/*
 * The deterministic simulator: clusters of three nodes in virtual time, with the decision core (ha/), the keeper's
 * lease (fence/lease.h) and its watchdog driver (fence/watchdog.h) as the product has them, and models of everything
 * else: clocks, agent, keeper, store, network, PostgreSQL, the watchdog device.
 *
 * One seed is one history: nothing reads a clock or the address of anything. `now_us` is real time; a node's own clock
 * (local_us) has an offset and a rate of its own, and what the product is shown is only ever that. After each event
 * check.c looks for two primaries and for broken rules S1 to S9.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fence/lease.h"
#include "fence/watchdog.h"
#include "ha/ha.h"
#include "ha/slots.h"

enum { NODES = 3, QUEUE_MAX = 2048, CALLS_MAX = 512, TIMELINES_MAX = 256, LEASES_MAX = 64, TRACE_LINES = 60 };
enum { NOBODY = -1, STORE = NODES /* as an end of a link */, REMOTE /* whom a standby cluster follows */ };

#define MS UINT64_C(1000)
#define SEC UINT64_C(1000000)
#define NEVER UINT64_MAX

/* --- what may be broken on purpose ----------------------------------------------------------------------------------
 */

enum mutant {
    MUTANT_NONE,
    MUTANT_DEADLINE_FROM_ANSWER,
    MUTANT_UNKNOWN_IS_CONFIRMATION,
    MUTANT_RELEASE_BEFORE_PROOF,
    MUTANT_PROMOTE_WITHOUT_ARM,
    MUTANT_THAWED_ACTS,
    MUTANT_PET_ALWAYS,
    MUTANT_RETAKE_BY_NAME,
    MUTANT_FORGET_ON_RESTART,
    MUTANT_POSTMASTER_IS_PRIMARY,
    MUTANT_FENCE_IGNORES_R,
    MUTANT_GATE_FOR_EVER,
    MUTANT_FORGET_ADDRESS,
    MUTANT_SYNC_ORDER,
    MUTANT_SYNC_UNSETTLED,
    MUTANT_SYNC_CHECKPOINTER,
    MUTANT_SYNC_ANYBODY,
    MUTANT_SYNC_OLD_VOTES,
    MUTANT_SYNC_UNSEALED,
    MUTANT_FORGET_ABSENT,
    MUTANT_KEEP_ABSENT,
    MUTANT_COPY_BELOW_SERVER,
    MUTANT_SAY_TOO_EARLY,
    MUTANT_TRUST_ANY_STATUS,
    MUTANT_START_AS_CONFIGURED,
    MUTANT_OFFER_AT_ONCE,
    MUTANT_CRASH_RAISES,
    MUTANT_WAIT_FOR_ADOPTED,
    MUTANT_PROMOTE_UNASKED,
    MUTANT_UNMARK_ANY,
    MUTANT_ANY_TIMELINE,
    MUTANT_PROMISE_FROM_ANSWER,
    MUTANT_PROMISE_ONE_MISSING,
    MUTANT_PROMISE_FORGOTTEN,
    MUTANT_STRANGER_LEADS,
    MUTANT_NEW_STORE_AT_ONCE,
    MUTANT_CONTROL_TIMELINE,
    MUTANT_OLD_VERDICT,
    MUTANT_LEAD_WHO_IS_THERE,
    MUTANT_KEY_IS_A_LEADER,
    MUTANT_STANDBY_PROMOTES,
    MUTANT_KEY_BEFORE_ADDRESS,
    MUTANTS,
};
extern const char *const mutant_names[MUTANTS];

/* --- chance (rng.c) -------------------------------------------------------------------------------------------------
 */

/* One stream per concern: a change in one model does not shuffle all the others. */
enum stream {
    RNG_SETUP,
    RNG_FAULT,
    RNG_NET,
    RNG_STORE,
    RNG_PG,
    RNG_PROCESS,
    RNG_MANUAL,
    RNG_CONFIG,
    RNG_SYNC,
    RNG_STANDBY,
    RNG_STREAMS
};

struct rng {
    uint64_t state[RNG_STREAMS];
};

void rng_init(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r, enum stream s);
uint64_t rng_between(struct rng *r, enum stream s, uint64_t from, uint64_t to); /* both included */
bool rng_chance(struct rng *r, enum stream s, unsigned percent);

/* --- events (queue.c) -----------------------------------------------------------------------------------------------
 */

enum event_kind {
    /* to an agent: dropped when it is dead, delayed while it is frozen */
    EV_AGENT_TICK,
    EV_AGENT_RENEW,
    EV_AGENT_DECIDE,
    EV_AGENT_OP_TIMER,
    EV_AGENT_OP_DONE,
    EV_AGENT_PROBED,
    EV_AGENT_CONTROL,
    EV_AGENT_PEER_ASKS,
    EV_AGENT_PEER_ANSWERS,
    EV_AGENT_SERVER_EXIT,
    EV_AGENT_KEEPER_ANSWERS,
    EV_AGENT_KEEPER_GONE,
    EV_AGENT_STORE_ANSWERS,
    EV_AGENT_STORE_TIMEOUT,
    EV_AGENT_CHECKPOINTED,
    EV_AGENT_FAILSAFE_DUE,
    EV_AGENT_FAILSAFE_ASKED,
    EV_AGENT_FAILSAFE_ANSWERED,
    EV_AGENT_FAILSAFE_SILENT,
    EV_AGENT_WATCH, /* the last of these */
    /* to a keeper: likewise */
    EV_KEEPER_TURN,
    EV_KEEPER_ASKED,
    EV_KEEPER_AGENT_EXIT,
    /* to a host */
    EV_KEEPER_START,
    EV_AGENT_DIES,
    EV_HOST_BOOT,
    EV_WATCHDOG_RESET,
    EV_PG_STARTED,
    EV_PG_PROMOTED,
    EV_PG_STOPPED,
    EV_PG_KILLED,
    EV_PG_ORPHAN_ENDS,
    /* to the store and the world */
    EV_STORE_ASKED,
    EV_STORE_LEASE_CHECK,
    EV_STORE_BACK,
    EV_FAULT,
    EV_OPERATOR,
    EV_CONFIG,
    EV_STANDBY_CLUSTER,
    EV_LINK_HEALS,
    EV_NET_HEALS,
    EV_HEAL_ALL,
    EV_LOOK,
};

struct event {
    uint64_t at_us;
    uint64_t planned_us; /* local clock: when it should have come, had its process not been frozen */
    uint64_t a, b;
    uint32_t tie, gen;
    uint8_t kind, node;
    uint16_t slot;
};

struct queue {
    struct event heap[QUEUE_MAX];
    size_t n;
    uint32_t next_tie;
};

void queue_push(struct queue *q, struct event e); /* tie 0: after what was pushed before for the same instant */
bool queue_pop(struct queue *q, struct event *ret);

/* --- the store (store.c) --------------------------------------------------------------------------------------------
 */

enum call_kind {
    CALL_READ,
    CALL_ACQUIRE,
    CALL_RENEW,
    CALL_RECLAIM,
    CALL_RELEASE,
    CALL_REVOKE,
    CALL_TOUCH,
    CALL_INITIALIZE,
    CALL_TIMELINE,
    CALL_REPAIR,
    CALL_CLEAR_FAILOVER,
    CALL_SAY, /* the end of the WAL of a leader that was shut down */
    CALL_FAILSAFE,
    CALL_SYNC,
};
enum outcome { OUTCOME_UNKNOWN, OUTCOME_DONE, OUTCOME_REFUSED };

struct stored_member {
    bool exists;
    enum pg_state state;
    enum pg_role role;
    uint64_t lsn;
    uint32_t timeline;
    bool streaming;
    uint64_t expires_us; /* the store's clock */
    uint32_t agent;      /* each agent of a node has a lease of its own for this key */
};

struct stored_failover {
    bool exists;
    int leader, candidate; /* NOBODY = none is named */
    int64_t scheduled_s;
    uint64_t revision;
};

struct stored {
    uint32_t life; /* another one when the store was replaced */
    uint64_t revision;
    int leader; /* NOBODY, or the node whose name it holds */
    uint64_t leader_session, leader_revision;
    bool initialize_exists;
    bool initialize_empty; /* until then, on the lease that its maker's agent has for the member key */
    uint64_t initialize_expires_us;
    uint32_t initialize_agent;
    int initialize_owner;
    uint64_t sysid; /* else this */
    uint64_t initialize_revision;
    uint32_t timeline; /* the highest one reserved */
    uint64_t timeline_revision;
    bool sync_exists;
    uint8_t sync_leader;
    uint16_t sync_voters, sync_quorum; /* voters: a bit per node */
    uint64_t sync_revision;
    uint64_t status_lsn, shutdown_lsn, shutdown_session;
    uint32_t shutdown_timeline;
    struct stored_failover failover;
    bool paused, standby_cluster;
    uint8_t failsafe; /* who is in the failsafe list, a bit each */
    uint64_t failsafe_revision;
    uint32_t failsafe_life; /* of the store in which it was written */
    uint8_t known;          /* who was a member when somebody led last, a bit each */
    uint64_t known_revision;
    uint8_t status_retain; /* a bit for each node: its slot is kept */
    bool status_logical;   /* the leader has the logical slot */
    struct stored_member members[NODES];
};

/* One call of a client; lives until its last event has come. */
struct call {
    enum call_kind kind;
    uint8_t node, refs, stage;
    bool answered; /* the client has its outcome */
    bool lease_is_in, key_is_gone;
    enum outcome outcome;
    uint32_t agent_gen, store_life, answered_life; /* the store it was for; the one that answered */
    uint64_t session, revision, ttl_us, granted_us;
    uint64_t sent_at_us, deadline_us; /* local clock of the client */
    struct stored_member member;
    uint64_t status_lsn, known_revision;
    uint8_t known;
    uint32_t timeline; /* TIMELINE */
    uint8_t status_retain;
    bool status_logical;
    uint64_t sysid_number;
    uint8_t failsafe;        /* FAILSAFE: the list to be written over the one of `revision` */
    bool of_bootstrap;       /* ACQUIRE: `revision` is of the initialize key, else of the timeline key */
    bool delete;             /* INITIALIZE: take the empty mark back instead of writing it */
    uint16_t voters, quorum; /* SYNC: the node writes its name with these */
    struct stored view;      /* READ */
};

/* The lease of the member key that an agent of a node has. */
static inline uint64_t mark_session(int node, uint32_t agent)
{
    return (uint64_t)(node + 1) << 32 | agent;
}

struct store_lease {
    uint64_t id, expires_us, ttl_us;
};

struct store {
    bool down;
    int ppm;
    struct stored data, snapshot; /* snapshot: what it may be restored from */
    bool has_snapshot;
    enum { STORE_COMES_BACK, STORE_IS_WIPED, STORE_IS_RESTORED } fate;
    struct store_lease leases[LEASES_MAX];
    struct call calls[CALLS_MAX];
};

/* --- a node ---------------------------------------------------------------------------------------------------------
 */

enum pg_phase { PG_DOWN, PG_STARTING, PG_STANDBY, PG_PROMOTING, PG_PRIMARY };

struct pg {
    bool dir_there, marker;      /* the data directory holds a cluster; its bootstrap has not finished… */
    bool made;                   /* …but only its identifier in the store is missing */
    uint64_t marker_revision;    /* of its mark in the store */
    bool half_copy;              /* it holds a part of a copy */
    bool half_rewound;           /* pg_rewind was at work and has not finished */
    bool copy_note, rewind_note; /* the markers beside it */
    enum pg_control_state control;
    unsigned aside;          /* directories set aside */
    uint16_t way;            /* identity of the timeline its WAL is on: an index into world.timelines */
    uint32_t known_timeline; /* the highest history file in its WAL beyond its own history */
    uint8_t slots;           /* a bit for each node: there is a physical slot for it */
    bool logical;            /* the permanent logical slot is there */
    uint64_t lsn, lsn_at_us;
    /* What its control file knows: the last checkpoint or restartpoint, behind what its WAL has after a crash. */
    uint16_t control_way;
    uint64_t control_lsn, restartpoint_at_us;
    uint64_t
        replaying_until_us; /* a standby that was started after a crash is still on its way to the end of its WAL */
    enum pg_phase phase;    /* of the running postmaster */
    bool orphan;            /* a backend of a dead postmaster of a primary goes on committing */
    bool as_primary;        /* how it was started */
    bool killed;            /* SIGKILL was sent */
    bool cannot_die;        /* disk sleep: kills are never proven */
    bool asked_start;       /* an agent had stopped it before: no crash */
    uint32_t started_by;    /* the gen of the agent that has started it */
    bool stopping;
    int follows;
    uint32_t gen;
    /* synchronous_standby_names: in the files; what some process may still go by; until when (real time) */
    struct sync_names names, old_names;
    uint64_t names_read_at_us, waits_from_us;
    uint64_t hung_since_us, hung_until_us;
    uint32_t hung_gen;             /* which postmaster it was that hung first */
    uint64_t disk_frozen_until_us; /* nothing of it starts, ends, dies or commits before */
    uint64_t disk_bad_until_us;    /* the probe gets errors */
    uint32_t max, wal_max;         /* max_connections: what it runs with; what its WAL was written with */
};

struct agent_op {
    enum op_kind kind;
    uint64_t since_us;
    enum ha_urgency urgency;
    bool standby_leader; /* as src/agent/parts.h */
    bool release, keep;
    char target[MEMBER_NAME_SIZE];
    unsigned stage;
    bool waits_armed, waits_dead, waits_key, waits_sealed;
    bool was_primary;             /* restart */
    bool word_pending, is_proven; /* demotion */
    uint64_t stop_until_us;
    bool asks;   /* pre_promote runs */
    bool copies; /* bootstrap: the other cluster */
    bool waits_reserved, is_reserved, is_armed;
    uint32_t gen;
};

struct probe {
    bool valid, in_recovery, streaming, replaying;
    uint64_t answered_at_us, silent_since_us, rejecting_since_us, lsn;
    uint32_t timeline;
    struct sync_names names;
    bool checkpointer_idle, streams[NODES];
    uint64_t standby_lsns[NODES];
};

struct agent_sync { /* as in src/agent/parts.h */
    bool names_known, settled, waits, busy, sealing, restored;
    struct sync_names names, sealed_names;
    uint64_t written_at_us, since_lsn, nonempty_since_us, sure_revision, foreign_revision, asked_at_us, again_at_us,
        await_until_us;
    uint32_t sealing_gen;
};

struct keeper_said {
    enum keeper_state state;
    enum keeper_result result;
    enum keeper_watchdog watchdog;
    uint64_t lease_id, deadline_us, fence_at_us;
};

enum ask_for {
    ASK_NOTHING,
    ASK_ARM,
    ASK_DEATH,
    ASK_STATUS,
    ASK_SERVE, /* plus enum keeper_serve: the last of these */
};

struct agent {
    bool alive, started, connected, stopping;
    uint64_t thaw_at_us, freeze_at_us; /* real time; thaw_at 0 = not frozen */
    uint64_t stood_still_until_us;     /* local clock: truth about its last long freeze, for check.c */
    uint64_t well_since_us;            /* the same about its start and its last thaw; real time */
    uint32_t gen, tick_gen, renew_gen, probe_gen, op_timer_gen;
    uint64_t tick_at_us;
    uint64_t frozen_at_us;
    bool decide_planned;
    bool server_up; /* as far as it knows */
    unsigned asked; /* questions to the keeper without an answer */
    struct {
        enum keeper_serve whom;
        uint64_t until_us, session;
        bool told, busy;
    } serve;
    struct keeper_said last;

    struct slot_seen seen[NODES];
    size_t n_seen;
    bool led, slots_to_copy;
    uint64_t led_since_us;                      /* real time; again when it found members' keys lost */
    uint64_t slots_settled_us, slots_looked_us; /* local clock */
    uint64_t copy_again_at_us;
    struct slot_name retain[NODES];
    struct slot_position status_slots[1];

    struct cluster cluster;
    char initialize[24];
    struct member members[NODES];
    bool cluster_known, store_failed, store_busy, store_again;
    struct probe pg;
    bool probe_busy, control_busy;
    struct local_pg control;
    uint64_t control_at_us, pg_started_at_us;
    struct storage_track disk;
    bool was_standby_started;
    int follows;
    bool bootstrap_incomplete, bootstrap_made, copy_incomplete, rewind_incomplete;
    struct peer peers[NODES];
    size_t n_peers, peers_waiting;
    uint64_t peers_asked_at_us, peers_answered_at_us;

    struct leader_lease lease;
    bool renewing, acquiring, keeper_refused;
    struct failsafe_list failsafe_list; /* of the store, as the decision core sees it */
    struct failsafe_list known_list;
    struct { /* as in src/agent/parts.h */
        bool has_looked;
        uint64_t first_session, first_look_at_us, missing_since_us[NODES];
    } cold;
    struct failsafe_model {
        uint8_t list, pending; /* a bit for each node */
        uint64_t session, pending_over, missing_since_us, held_until_us;
        bool in_store, is_pending, write_busy, asking, holds;
        uint32_t timer_gen;
        struct failsafe_promise promises[NODES];
        struct {
            bool busy;
            uint32_t question;
            uint64_t sent_at_us, again_at_us;
        } peers[NODES];
    } failsafe;
    struct memory memory;
    struct agent_sync sync;
    char sync_standbys[16];
    struct agent_op op;
    uint64_t initialize_revision;
    struct {
        uint32_t reserved, asked, seen;
        uint64_t session, asked_session;
        bool busy;
    } timeline;
    struct request request;
    uint32_t checkpoint_gen;
    bool failover_busy, paused, standby_cluster;
    uint64_t agreed_session; /* pre_promote has agreed under this lease */

    uint32_t store_life; /* as last read; 0 = not read yet */
    uint64_t store_settles_at_us;
    bool member_busy, repair_busy;
    uint32_t member_face;
    uint64_t member_written_at_us;
    size_t reason_len; /* of the last decision that was traced */
    enum ha_action action;
};

struct will_model {
    uint64_t serve, serve_until_us, promised_until_us;
    bool armed;
    uint64_t lease_id, deadline_us, reset_us, timeout_us;
};

struct keeper {
    bool alive, stopping, finished;
    uint64_t thaw_at_us; /* real time; 0 = not frozen */
    uint32_t gen, turn_gen;
    struct lease lease;
    struct watchdog watchdog;
    uint64_t restart_agent_at_us, agent_backoff_us, agent_started_us;
    uint64_t next_round_us, killing_since_us;
    struct will_model will;      /* survives the keeper, not the host */
    struct keeper_said said[64]; /* on their way to the agent */
    unsigned n_said;
    uint64_t heard_us, said_us; /* a socket keeps the order: the last question and answer under way */
};

struct device {
    bool ticks, magic;
    uint64_t timeout_us, last_pet_us; /* local clock */
    uint32_t gen;
    bool planned;
};

struct node {
    uint8_t id;
    bool up;
    uint32_t boot;
    int ppm;
    uint64_t base_real_us, base_local_us, crashed_at_us;
    struct agent agent;
    uint32_t agent_lives;
    struct keeper keeper;
    struct pg pg;
    struct device device;
    /* The kernel's leases, on the local clock: PostgreSQL's port, the addresses; and what tells the kernel stands still
     */
    uint64_t gate_until_us, address_until_us, net_stuck_until_us;
    uint64_t service_back_us; /* the keeper is started again by its service manager then */
    uint32_t sessions;
    uint64_t truth_deadline_us; /* S1, kept by check.c: the only deadline that is true; local clock */
    uint64_t truth_session;
    uint32_t wanted_max; /* of the configuration as this node read it last */
    struct {             /* what was promised when the operator was told that a restart is due */
        uint32_t wanted, wal, ran, at_start;
        uint32_t gen[NODES];
        bool open, is_standby;
    } offer;
    uint64_t truth_agreed_session;    /* for which pre_promote has agreed */
    uint64_t truth_promise_us[NODES]; /* what the others have promised to it under that session; local clock */
    uint32_t truth_life;              /* of the store that confirmed it last */
    uint8_t truth_list;               /* the failsafe list of the store while it held the key there */
    uint64_t truth_promised_real_us;  /* until then it has promised not to lead; real time */
    /* Files: of this boot; the longest promise ever, of all */
    struct {
        uint64_t promised_until_us, session;
        uint8_t list;
        bool in_store;
        uint32_t seen_by; /* the postmaster that was up while somebody led */
    } run_dir;
    uint8_t known_kept; /* on its disk */
    uint64_t longest_promise_us;
    uint32_t store_life; /* which store its next agent recalls; survives a start of the host only here */
};

struct timeline {
    uint32_t number;
    uint16_t parent;
    uint64_t switch_lsn;
    bool of_remote;
};

struct world {
    uint64_t seed, now_us, end_us, steps;
    enum mutant mutant;
    struct rng rng;
    struct queue queue;
    struct store store;
    struct node nodes[NODES];
    struct timeline timelines[TIMELINES_MAX];
    unsigned n_timelines;
    uint16_t acked_way; /* how far commits were acknowledged in a synchronous mode */
    uint64_t acked_lsn;
    bool cluster_made;              /* the store has known one */
    bool cut[NODES + 1][NODES + 1]; /* cut[from][to]: messages are lost */
    unsigned loss_percent;
    uint64_t slow_us; /* added to the delay of messages */
    struct policy policy;
    enum watchdog_mode watchdog_mode;
    uint64_t member_gone_us[NODES], member_back_us[NODES]; /* when its key went and came, real time, 0 = never */
    uint64_t retained_us[NODES];                           /* since when the status says that its slot is kept */
    bool hooks;                                            /* there is a pre_promote and a before_stop */
    bool gate;                                             /* clients come over the network, through the port gate */
    unsigned reset_factor; /* the device resets only after so many times its timeout; the setting knows */
    bool healed, done;
    struct node remote; /* of the other cluster, if there is one; nothing happens to it */
    bool has_remote, remote_cut;
    uint64_t standby_since_us; /* since when the store says that the cluster follows it; real time, 0 = it does not */
    uint64_t unfollowed_us;    /* when it said so no more */
    uint32_t n_delayed;
    uint64_t primary_seen_us; /* when there was one last, real time */
    uint64_t handed_lsn;      /* where the WAL of the leader ended that gave the key up last */
    uint32_t wanted_max;      /* max_connections of the dynamic configuration */
    uint64_t heal_at_us;
    const char *broken; /* the rule, NULL while all is well */
    char detail[256];
    bool tracing, verbose;
    char trace[TRACE_LINES][240];
    unsigned n_trace;
};

/* --- what the files offer each other --------------------------------------------------------------------------------
 */

/* config.c */
bool manual_restart(struct world *w, struct node *n); /* manual.c; true if the agent has taken the request */
void config_plan(struct world *w);
void config_event(struct world *w);
void config_read(struct world *w, struct node *n); /* the agent has read the store */
uint32_t config_start_value(const struct world *w, struct node *n, bool as_primary);
void config_started(struct world *w, struct node *n); /* PostgreSQL runs: what its parameters do to the others */
void config_copied(struct node *to, const struct node *from);

/* cold_start.c */
void cold_start_adopt(struct node *n);
void cold_start_fill_cluster(struct node *n, const struct stored *s);
void cold_start_look(struct world *w, struct node *n);
uint8_t cold_start_members(struct world *w, struct node *n);
void check_cold_start(struct world *w, const struct node *n);

/* standby_cluster.c */
void standby_plan(struct world *w, bool empty);
void standby_strike(struct world *w);
void standby_heal(struct world *w);
void standby_flow(struct world *w);
const struct pg *standby_upstream(const struct world *w); /* NULL: out of reach */
void standby_copy(struct world *w, struct node *n);
void standby_copied(struct world *w, struct node *n);
void standby_check_promotion(struct world *w, const struct node *n);
void standby_check_promoted(struct world *w, const struct node *n);
bool standby_is_whole(const struct world *w);
void store_set_standby_cluster(struct world *w, bool there);
void op_become_copy(struct node *n, const struct node *from);
void op_release(struct world *w, struct node *n, const struct ha_decision *d);
void op_release_timer(struct world *w, struct node *n);
enum { OP_RELEASE_AGAIN_US = 20000 };
bool op_release_has_addresses(const struct world *w, const struct node *n);

/* host.c */
uint64_t local_us(const struct world *w, const struct node *n);
uint64_t real_of_local(const struct node *n, uint64_t at_us);
void host_boot(struct world *w, struct node *n);
void host_crash(struct world *w, struct node *n, const char *why);
bool link_open(struct world *w, int from, int to); /* also rolls the dice for loss */
uint64_t message_delay_us(struct world *w);
const char *node_name(int node);
int node_of_name(const char *name);
void push_in(struct world *w, struct node *n, enum event_kind kind, uint64_t in_us, uint32_t gen, uint64_t a,
             uint64_t b);
extern const struct watchdog_ops device_ops;
void device_enter(struct world *w, struct node *n); /* the driver reads the clock of this node from now on */
void device_due(struct world *w, struct node *n);

/* store.c */
void store_init(struct world *w);
struct call *store_call(struct world *w, struct node *n, enum call_kind kind, uint64_t budget_us);
void store_send(struct world *w, struct call *c);
void store_unref(struct call *c);
void store_event(struct world *w, const struct event *e);
uint64_t store_now_us(const struct world *w);
void store_take_snapshot(struct world *w);

/* pg.c */
bool pg_start(struct world *w, struct node *n, bool as_primary);
void pg_stop(struct world *w, struct node *n, bool fast);
void pg_kill(struct world *w, struct node *n);
void pg_promote(struct world *w, struct node *n);
void pg_postmaster_crash(struct world *w, struct node *n);
void pg_power_off(struct world *w, struct node *n);
void pg_event(struct world *w, struct node *n, const struct event *e);
void pg_flow(struct world *w);        /* brings all positions up to now */
void pg_checkpointed(struct node *n); /* its control file knows all of its WAL */
bool pg_alive(const struct node *n);  /* any process is left */
bool pg_can_commit(const struct node *n);
uint64_t pg_sysid(const struct world *w, const struct node *n);       /* each initdb gives another */
bool pg_gate_is_open(const struct world *w, const struct node *n);    /* PostgreSQL's port: for clients and standbys */
bool pg_can_acknowledge(const struct world *w, const struct node *n); /* and a client hears of it */
bool pg_streams(const struct world *w, const struct node *n);
bool pg_is_behind(const struct world *w, uint16_t way, uint64_t lsn, const struct pg *leader); /* no divergence */

/* keeper.c */
void keeper_boot(struct world *w, struct node *n);
void keeper_die(struct world *w, struct node *n);
void keeper_event(struct world *w, struct node *n, const struct event *e);
void keeper_terminate(struct world *w, struct node *n); /* SIGTERM */
bool keeper_ask_model(struct world *w, struct node *n, enum keeper_op op, enum ask_for what, uint64_t lease_id,
                      uint64_t deadline_us);

/* agent.c, gather.c, tether.c, op_*.c: as in src/agent */
void agent_boot(struct world *w, struct node *n);
void agent_die(struct world *w, struct node *n, int status); /* -1: by a signal */
void agent_event(struct world *w, struct node *n, const struct event *e);
void agent_wake(struct world *w, struct node *n);
void agent_wake_at(struct world *w, struct node *n, uint64_t at_us);
void agent_note_lateness(struct world *w, struct node *n, uint64_t planned_us);
void agent_stop(struct world *w, struct node *n);
void serve_update(struct world *w, struct node *n);
void serve_answered(struct node *n, const struct keeper_said *s);
void slots_maintain(struct world *w, struct node *n, bool leads);
uint8_t slots_retained(const struct agent *a);
void slots_fill_cluster(struct agent *a, const struct stored *s);
void slots_forget(struct node *n); /* the data directory is another one */
bool slots_are_whole(const struct world *w);
void op_copy_slots(struct world *w, struct node *n, const struct ha_decision *d);
void op_copy_slots_asked(struct world *w, struct node *n);
void op_copy_slots_server_exited(struct world *w, struct node *n);
void op_copy_slots_timer(struct world *w, struct node *n);
void op_copy_slots_proven(struct world *w, struct node *n);
void gather_store(struct world *w, struct node *n);
void gather_pg(struct world *w, struct node *n);
void gather_control(struct world *w, struct node *n);
void gather_disk(struct world *w, struct node *n, bool stood_still);
void gather_forget_pg(struct node *n);
void gather_view(struct world *w, struct node *n, struct ha_view *ret);
void gather_read(struct world *w, struct node *n, struct call *c);
void gather_probed(struct world *w, struct node *n);
void gather_controlled(struct world *w, struct node *n);
void publish(struct world *w, struct node *n);
void tether_acquire(struct world *w, struct node *n);
void tether_answered(struct world *w, struct node *n, struct call *c);
void tether_renew_due(struct world *w, struct node *n, uint64_t planned_us);
void tether_keep(struct world *w, struct node *n, const struct call *c);
void tether_release(struct world *w, struct node *n);
void tether_adopt(struct world *w, struct node *n, const struct keeper_said *s);
void tether_renew_soon(struct world *w, struct node *n);
void act(struct world *w, struct node *n, const struct ha_decision *d);
void op_run(struct world *w, struct node *n); /* start, follow, acquire, promote */
void op_begin(struct world *w, struct node *n, enum op_kind kind, const struct ha_decision *d);
void op_end(struct world *w, struct node *n);
void op_timer_off(struct node *n);
void op_timer(struct world *w, struct node *n, uint64_t in_us);
void op_timer_due(struct world *w, struct node *n);
void op_done(struct world *w, struct node *n, const struct event *e);
void op_in(struct world *w, struct node *n, uint64_t in_us, uint64_t result);
void op_keeper_answered(struct world *w, struct node *n, enum ask_for what, const struct keeper_said *s);
void op_server_exited(struct world *w, struct node *n);
void op_pg_changed(struct world *w, struct node *n);
void op_demote(struct world *w, struct node *n, const struct ha_decision *d);
void op_demote_server_exited(struct world *w, struct node *n);
void op_demote_timer(struct world *w, struct node *n);
void op_demote_proven(struct world *w, struct node *n);
void op_demote_released(struct world *w, struct node *n);
void timeline_note(struct agent *a);
void timeline_reserve(struct world *w, struct node *n);
void timeline_answered(struct world *w, struct node *n, const struct call *c);
void timeline_publish(struct world *w, struct node *n);
bool hooks_pre_promote(struct world *w, struct node *n); /* false: nothing to wait for */
void hooks_agreed(struct world *w, struct node *n, bool good);
void hooks_released(struct world *w, struct node *n);
uint64_t hooks_before_stop_us(struct world *w, struct node *n, uint64_t budget_us);
void op_prove_dead(struct world *w, struct node *n);
void op_arm(struct world *w, struct node *n);
void bootstrap_note_finished(struct world *w, struct node *n);
void op_bootstrap(struct world *w, struct node *n, const struct ha_decision *d);
void op_bootstrap_armed(struct world *w, struct node *n, bool armed);
void op_bootstrap_answered(struct world *w, struct node *n, struct call *c);
void op_bootstrap_done(struct world *w, struct node *n);
void op_bootstrap_pg_changed(struct world *w, struct node *n);
void op_bootstrap_failed(struct world *w, struct node *n);
void op_ask_peers(struct world *w, struct node *n);
void op_peer_answered(struct world *w, struct node *n, const struct event *e);
void op_fill(struct world *w, struct node *n, const struct ha_decision *d); /* clone, compare, rewind, set aside */
void op_fill_done(struct world *w, struct node *n, bool good);
void op_rewind_server_exited(struct world *w, struct node *n);
void op_rewind_timer(struct world *w, struct node *n);
void op_rewind_proven(struct world *w, struct node *n);
void op_abandon_bootstrap(struct world *w, struct node *n, const struct ha_decision *d);

/* sync.c */
void sync_flow(struct world *w); /* after pg_flow(): what is acknowledged by now */
void sync_check_primary(struct world *w, const struct node *n);
void sync_server_started(struct world *w, struct node *n);
void sync_write_files(struct world *w, struct node *n);
void sync_probe(struct world *w, struct node *n);
void sync_note_pg(struct world *w, struct node *n);
void sync_forget(struct node *n);
void sync_forget_pg(struct node *n);
void sync_update(struct world *w, struct node *n, const struct ha_view *v);
void sync_answered(struct world *w, struct node *n, const struct call *c);
void op_promote_sealed(struct world *w, struct node *n); /* goes on when /sync is as it must be */
bool sync_is_foreign(const struct agent *a);
void sync_seal(struct world *w, struct node *n);
bool sync_seal_pg_changed(struct world *w, struct node *n); /* true: the promotion waits for it */
void sync_begin_reign(struct world *w, struct node *n);
void sync_change_policy(struct world *w);

/* failsafe.c */
void failsafe_boot(struct world *w, struct node *n);
void failsafe_adopt(struct node *n);
void failsafe_note_cluster(struct world *w, struct node *n);
void failsafe_publish(struct world *w, struct node *n);
void failsafe_written(struct world *w, struct node *n, const struct call *c);
void failsafe_store_is_silent(struct world *w, struct node *n);
void failsafe_store_answers(struct node *n, uint32_t store_life);
void failsafe_event(struct world *w, struct node *n, const struct event *e);
void tether_prolong(struct world *w, struct node *n, uint64_t deadline_us);

/* faults.c */
void faults_plan(struct world *w);
void faults_event(struct world *w, const struct event *e);

/* manual.c */
int64_t manual_realtime_us(const struct world *w);
void manual_plan(struct world *w);
void manual_strike(struct world *w);
void manual_heal(struct world *w);
void manual_note_failover(struct world *w, struct node *n, const struct failover_key *before);
void manual_checkpoint(struct world *w, struct node *n);
void manual_checkpointed(struct world *w, struct node *n);
void manual_forget_checkpoint(struct node *n);
void manual_clear_failover(struct world *w, struct node *n);
void manual_failover_cleared(struct world *w, struct node *n);
void manual_say(struct world *w, struct node *n);
void op_restart(struct world *w, struct node *n, const struct ha_decision *d);
void op_restart_timer(struct world *w, struct node *n);
void op_restart_server_exited(struct world *w, struct node *n);
void op_demote_said(struct world *w, struct node *n);
bool op_demote_keeps_addresses(const struct agent *a);
void store_set_failover(struct world *w, const struct stored_failover *f);
void store_set_pause(struct world *w, bool paused);

/* check.c */
void check_before(struct world *w); /* time has passed, nothing else has happened yet */
void check_after(struct world *w);
bool check_liveness(const struct world *w);
void check_confirmed(struct world *w, struct node *n, const struct call *c);
void check_promised(struct world *w, struct node *n, int by, uint64_t sent_at_us);
void check_promise_kept(struct world *w, struct node *n);
void check_pet(struct world *w, struct node *n);
void check_deletion(struct world *w, int node, uint64_t session);
void check_acts(struct world *w, struct node *n, const struct ha_decision *d);
void check_timeline(struct world *w, const struct node *n, const struct timeline *t);
void check_promotion(struct world *w, const struct node *n);
void check_fail(struct world *w, const char *rule, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* world.c */
void world_run(struct world *w, uint64_t seed, uint64_t seconds, enum mutant mutant);
void world_print_trace(const struct world *w);
void trace_line(struct world *w, int node, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define TRACE(w, node, ...)                                                                                            \
    do {                                                                                                               \
        if ((w)->tracing)                                                                                              \
            trace_line(w, node, __VA_ARGS__);                                                                          \
    } while (0)
