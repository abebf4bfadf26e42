/* What the agent is, knows and is about: shared by its parts; only src/agent includes this, through parts.h. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "agent/agent.h"
#include "agent/fence_report.h"
#include "agent/hook_run.h"
#include "agent/keeper_link.h"
#include "agent/storage.h"
#include "backup/fill.h"
#include "config/lists.h"
#include "dcs/dcs.h"
#include "ha/ha.h"
#include "io/http.h"
#include "model/view.h"
#include "pg/controldata.h"
#include "pg/guc.h"
#include "pg/ping.h"
#include "pg/probe.h"
#include "pg/rewind.h"
#include "pg/server.h"

enum { PEERS_MAX = 32, WALSENDERS_MAX = 64 };
#define BOOTSTRAP_MARKER "pgtether.bootstrap" /* in a data directory whose bootstrap has not finished */

/* The long action in flight; which handles are set depends on its kind and stage. */
struct operation {
    enum op_kind kind;
    uint64_t since_us;
    enum ha_urgency urgency;
    bool release, keep;
    bool standby_leader; /* OP_DEMOTE: there was no primary to stop, but a key, and perhaps the addresses that go with
                            it */
    char target[MEMBER_NAME_SIZE];
    unsigned stage;
    bool rewind_begun;            /* pg_rewind was started on a directory that was whole */
    bool stopped_server;          /* demotion: a server ran when it began */
    uint64_t stop_until_us;       /* demotion: the budget of the shutdown under way ends */
    uint64_t initialize_revision; /* bootstrap: our mark on the initialize key */
    sd_event_source *timer;
    void (*on_acquired)(struct agent *a, struct dcs_answer *answer);
    void (*on_armed)(struct agent *a, bool armed);
    void (*on_dead)(struct agent *a);
    void (*on_reserved)(struct agent *a, bool reserved);
    bool is_armed, is_reserved; /* promotion */
    void (*on_sealed)(struct agent *a, bool sealed);
    bool disarm_sent;
    struct pg_controldata *last_control; /* demotion: what the shutdown has left */
    bool word_pending;                   /* it is not known yet, or not yet in the store */
    void (*on_said)(struct agent *a);
    sd_event_source *word_timer;
    struct pg_controldata *stop_control; /* demotion: how far the shutdown is */
    bool checkpoint_seen;
    pid_t walsender_pids[WALSENDERS_MAX];
    size_t n_walsender_pids;
    sd_event_source *walsender_timer;
    bool was_primary;    /* restart */
    uint64_t timeout_us; /* a start that belongs to a restart: what it was given; 0 = primary_start_timeout */
    struct fill *fill;
    struct post_bootstrap *post_bootstrap;
    struct pg_command *command;
    struct rewind_check *rewind_check;
    struct rewind_run *rewind_run;
    struct child *child; /* set aside: removes what was */
};

/* The last good probe of the local PostgreSQL, copied. */
struct probe_result {
    bool valid;
    uint64_t answered_at_us, failing_since_us;
    uint64_t silent_since_us;    /* nobody has said anything since then, not even no; 0 = somebody has, or never did */
    uint64_t rejecting_since_us; /* it says that it is starting, or recovers from the crash of a backend; 0 = no */
    enum pg_probe_outcome outcome;
    struct pg_facts facts;             /* walsenders, slots and pending are owned copies */
    struct node_walsender *walsenders; /* for the status, same number as facts.n_walsenders */
};

/* What operators ask of this node: until it is done. */
struct requests {
    struct request of_node;          /* what has not begun yet */
    bool restart_runs;               /* it has begun and not ended */
    uint64_t restart_timeout_us;     /* for its start; 0 = primary_start_timeout */
    bool remove_old;                 /* reinitialize: the old data is not kept */
    struct command *restart_command; /* to be answered; NULL = nobody waits */
    sd_event_source *restart_timer;  /* who waits is told that it is not over */
    char *schedule_json;             /* of a restart for later, as in the member key; NULL = none */
    char *schedule_status_json;      /* the same as REST shows it */
    int64_t schedule_at_s;           /* Unix time */
    char schedule_postmaster[48];    /* the start time of the postmaster that is meant */
};

/* The record in the state directory that a lease is armed here: what it shall say, what it says. */
enum record_state { RECORD_NOTHING, RECORD_ARMED, RECORD_ENDED };
struct fence_record {
    enum record_state wanted, writing, written;
    uint64_t wanted_session;
    pid_t pid; /* of the child */
    sd_event_source *child, *timer;
    void (*then)(struct agent *a); /* goes on when it is written, or after a second */
};

/* What PostgreSQL makes of the parameters it is given: parameters.c, pending.c. */
struct parameters {
    struct guc_catalog *catalog; /* what it says of them; NULL = not known yet */
    int64_t catalog_epoch_us;    /* start of the postmaster whose settings the catalog has; 0 = it is from a file */
    struct pg_command *command;  /* asks for the catalog, or whether a reload went well */
    uint64_t ask_again_at_us;
    uint64_t verify_at_us;       /* when to ask what it says of the files it has read; 0 = nothing to ask */
    struct settings refused;     /* values that it did not take, which nobody could tell before */
    struct settings file_values; /* those of its files that take effect with the next start */
    char *notes;                 /* what is left out and why, a line each; NULL = nothing */
    char *file_note;             /* what is wrong with its files; NULL = nothing */
    struct pg_controldata *control_run;
    struct local_pg control; /* of a running standby: what its WAL was written with, as last known */
    uint64_t control_at_us;
    uint64_t starved_since_us;   /* struct local_pg */
    char *pending_json;          /* restarts that are due and why; NULL = none */
    char *later;                 /* what waits for the restart of others; NULL = nothing */
    unsigned pending_generation; /* counts changes of pending_json */
    uint64_t changed_at_us;      /* when another configuration was accepted */
    uint64_t pending_at_us;      /* when that was last looked at */
};

struct agent {
    sd_event *loop;
    const struct config *config;
    struct config *own_config; /* the same: its address stays, what is in it may change with a reload */
    agent_reloaded_fn on_reloaded;
    void *on_reloaded_userdata;
    struct dynamic *dynamic;
    uint64_t config_revision;
    bool config_unsettled; /* accepted, but not yet in PostgreSQL's files */
    bool config_reload;    /* and PostgreSQL is to be reloaded even if they do not change */
    struct parameters parameters;
    struct {
        char *unsaved, *sent; /* lines of changes that are not in the store yet; those of the write under way */
        uint64_t revision, after_read_us;
        int64_t noticed_at_s;
        bool busy;
    } changes;
    struct config_change *config_changes; /* asked for over the REST API and not answered yet */
    bool config_accepted, config_refused; /* one of the store's, ever; and none but a refused one was seen so far */
    struct dcs *dcs;
    struct http *http; /* to the other members */
    struct keeper_link *link;
    struct pg_server *server;
    struct pg_probe *probe;
    struct storage *storage; /* NULL: storage_probe is off */
    char cgroup_procs[256], pg_host[HOST_SIZE], version_dir[64];
    int server_major;

    sd_event_source *tick, *decide_soon, *renew_timer, *sigterm, *sighup;
    uint64_t frozen_at_us; /* when we last noticed to have stood still */
    uint64_t loop_ran_at_us;
    bool begun; /* the keeper has said what an earlier agent left behind; nothing is decided before */
    bool stopping;
    uint64_t stopping_since_us;
    bool leaving; /* the last member key is being written */
    bool ending;  /* sd_event_exit() was called */

    /* what was gathered */
    struct cluster *cluster; /* last good read */
    bool store_failed;       /* the last read failed */
    bool store_busy, probe_busy, store_again;
    int64_t dcs_last_seen_s;
    struct err store_err;
    struct probe_result pg;
    struct local_pg control; /* the data_dir_* and control_* parts */
    struct pg_controldata *control_run;
    uint64_t control_at_us;
    uint64_t pg_started_at_us; /* when we started or adopted the postmaster */
    bool was_standby_started;
    char follows[MEMBER_NAME_SIZE];
    bool bootstrap_incomplete, bootstrap_made, copy_incomplete, rewind_incomplete; /* as the markers say */
    uint64_t bootstrap_revision; /* of that bootstrap's mark on the initialize key; 0 = not known */
    bool rewind_possible;
    struct peer peers[PEERS_MAX];
    size_t n_peers, peers_waiting;
    uint64_t peers_asked_at_us, peers_answered_at_us;

    struct leader_lease lease;
    bool renewing;  /* a renewal of lease.session is under way */
    bool acquiring; /* the store is being asked for the leader key, whether an operation still waits for it or not */
    bool lease_unknown_logged;
    bool keeper_refused;
    struct {
        enum keeper_serve whom;
        uint64_t until_us, session, again_at_us;
        bool told, busy;
    } serve; /* what the keeper was told last of whom clients find here */
    struct member_lease member;
    struct {
        uint64_t until_us;      /* the addresses for replicas are ours until then; 0 = they are not */
        uint64_t told_until_us; /* the keeper was told so at most this far */
        uint64_t asked_at_us;   /* when the store last answered about the key: an older view of it says nothing */
        uint64_t again_at_us, linger_until_us;
        uint64_t given_up; /* the revision of the key whose deletion was asked for: never held again */
        const char *said;  /* the reason that was logged */
        bool busy;
    } replica;
    struct {
        bool names_known; /* as a primary we have written, or found, the names below; else the mode decides */
        char names[SYNC_NAMES_TEXT_SIZE]; /* what the files say */
        uint64_t written_at_us;           /* the reload after that was sent */
        bool files_failed;                /* the last writing failed: what they say is not known */
        bool settled;                     /* in effect for every commit behind since_lsn */
        uint64_t since_lsn;
        bool waits; /* the checkpointer has taken it that there are names */
        uint64_t nonempty_since_us;
        uint64_t sure_revision; /* of /sync, written by us and confirmed: nothing older can come any more; 0 = none */
        bool restored;          /* the store has another past by now: what /sync said then may be long untrue */
        uint64_t foreign_revision; /* that key's, until somebody writes it anew */
        bool busy;
        uint64_t asked_at_us; /* when the store last answered about the key: an older view of it says nothing */
        uint64_t again_at_us, await_until_us;
        uint64_t sealing_since_us; /* of the promotion whose write is under way */
        struct sync_names sealed_names;
        char *leaving_tags_json; /* what is published instead of our tags while nobody is to wait for us; NULL = not
                                    made */
    } sync;
    struct {
        const char *trouble; /* static text; NULL = none */
        uint64_t since_us, conflict_at_us;
        uint32_t conflicts;
    } kernel_leases;              /* what was wrong with gate and addresses when it was last looked at */
    uint64_t store_life;          /* of the store as last read, struct cluster; 0 = not read yet */
    uint64_t store_settles_at_us; /* it is another one, and leases of the old one may last until then */
    char store_identity[128];     /* as kept for a successor */
    struct failsafe *failsafe;    /* the leader's side of it */
    uint64_t longest_promise_us;  /* no promise is longer, and the disk knows it */
    struct {
        uint64_t at_us;              /* when a leader without store last asked us, and we promised; 0 = never */
        struct slot_position *slots; /* where its slots were, as it said then; owned */
        size_t n_slots;
    } failsafe_heard;
    struct memory memory;
    struct operation op;
    uint64_t op_ended_at_us; /* when the last operation ended */
    struct ha_decision decision;
    char last_reason[192];

    /* what was published */
    bool member_busy, member_again, status_busy;
    char member_face[192]; /* what the member key said last, less its positions */
    uint64_t member_written_at_us, member_ttl_us;
    uint64_t status_revision;
    char *status_published; /* as last written, NULL = not by us */
    uint64_t status_written_at_us;
    uint64_t history_done_timeline, history_written_at_us;
    bool history_busy, config_busy, initialize_busy, checkpoint_busy;
    struct agent_slots *slots; /* NULL before the first look at them */
    struct pg_command *checkpoint_command;
    struct pg_command *stop_checkpoint;           /* the one before a stop that was asked for */
    bool failover_busy;                           /* the failover key is being emptied */
    uint64_t failover_clearing, failover_cleared; /* its revision that is; and that was, though a view may show it */
    struct requests requests;
    struct switchover *switchovers; /* requests over REST that wait for the outcome */
    bool restart_taken_up;          /* the schedule of an earlier agent was looked for */
    bool checkpoint_pending;
    struct pg_ping *ping;
    uint64_t pinged_at_us, connect_failing_since_us;
    struct {
        char node[NODE_ID_SIZE];   /* as published */
        bool is_clear;             /* nobody else has our name: it may be written */
        bool asking;               /* whoever is at the address of the other key is being asked whether he lives */
        uint64_t waiting_since_us; /* for a member key of our name to vanish; 0 = not */
    } identity;
    struct {
        char note[192];
        uint64_t at_us;
        unsigned n[IMPOSTORS], looks;
        sd_event_source *watch, *timer;
    } impostors;
    bool foreign_server; /* runs in our data directory, and is not ours */
    struct {
        uint32_t timeline; /* as noted beside the data directory; 0 = nothing known to be */
        bool failed, is_primary, is_tainted;
    } standby_mark;

    struct {
        struct hook_runs *runs;
        const char *told;        /* the role that the last callback was told, static; NULL = none yet */
        bool restarts;           /* the stop and start under way are a restart: only its end is told */
        uint64_t agreed_session; /* pre_promote has agreed to a promotion under this lease */
        uint64_t linger_until_us;
    } hooks;

    struct {
        uint32_t reserved, asked;          /* the number of our next timeline; what the store was asked for */
        uint32_t skipped_from, skipped_to; /* numbers that the promotion under way leaves out; 0 = none */
        uint32_t seen;                     /* the highest one that the store has ever shown */
        uint64_t session, asked_session;   /* under which lease */
        bool busy;
    } timeline;

    struct {
        struct failsafe_list kept; /* the known members as on our disk, for a store that has lost them */
        struct {
            char name[MEMBER_NAME_SIZE];
            uint64_t since_us;
        } missing[FAILSAFE_MEMBERS_MAX]; /* as the leader: known members without a key */
        size_t n_missing;
        bool busy, has_looked;
        uint64_t first_session, first_look_at_us; /* the leader key that this agent found when it came up */
        bool asking;                              /* whoever has the key, whether it is a primary */
        uint64_t asked_at_us;
        pid_t seen_by;         /* the postmaster for which the runtime directory says that a leader was seen */
        struct cold_start now; /* what an election waits for */
        bool waits;
        char note[NOTE_SIZE], said[NOTE_SIZE];
        uint64_t said_at_us;
    } cold;

    struct why_round *whys; /* questions of others that wait for the members */

    struct fence_record record;
    struct fence_history fence_history;
    char *guard_tags_json; /* what is published instead of our tags while that is so; NULL = not made */
    bool fence_guard;      /* reset again and again: no candidate before an operator says so */
};
