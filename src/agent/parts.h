/* The parts of the agent and the state they share; only src/agent includes this. */
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
    bool bootstrap_incomplete, copy_incomplete, rewind_incomplete; /* as the markers say */
    bool rewind_possible;
    struct peer peers[PEERS_MAX];
    size_t n_peers, peers_waiting;
    uint64_t peers_asked_at_us;

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

/* agent.c */
void agent_wake(struct agent *a);                    /* decide again, from the loop */
void agent_wake_at(struct agent *a, uint64_t at_us); /* at the latest then */
void agent_exit(struct agent *a, enum agent_exit code);
void agent_note_lateness(struct agent *a, uint64_t planned_us);

/* gather.c */
void gather_store(struct agent *a);
void gather_pg(struct agent *a);
void gather_control(struct agent *a);
void gather_forget_control(struct agent *a); /* somebody else may have changed it; a look that is under way, too */
void gather_forget_pg(struct agent *a);      /* the server went down: what SQL said is void */
void gather_view(struct agent *a, struct ha_view *ret);
void gather_done(struct agent *a);
int64_t agent_realtime_us(void);              /* Unix time in microseconds, for nothing but schedules */
bool agent_is_primary(const struct agent *a); /* SQL said so, and the server still runs */
/* It holds the leader key of a standby cluster and its server is a standby, as it should be. */
bool agent_is_standby_leader(const struct agent *a);
bool agent_leads(const struct agent *a); /* as the primary or the standby leader, under a lease that is valid now */
uint64_t agent_position_lsn(const struct agent *a); /* how far its WAL goes, as far as it counts; 0 = not known */
const struct pg_probe_settings *agent_pg_login(struct agent *a);
int agent_probe_new(struct agent *a, struct pg_probe **ret, struct err *err); /* with that login */

struct storage_times agent_storage_times(const struct agent *a);
/* fence_record.c */
#define FENCE_GUARD_FILE "fence-guard" /* in the state directory; pgtetherctl removes it */
/* Calls `then` when the lease is recorded as armed; at the latest in a second. */
void fence_record_arm(struct agent *a, void (*then)(struct agent *a));
void fence_record_end(struct agent *a); /* it has ended in order */
/* Once at start, with the keeper's first answer: makes a report of what an earlier boot has left. Waits for the disk.
 */
void fence_record_look_back(struct agent *a, const struct keeper_answer *answer);
void fence_record_look_for_guard(struct agent *a);
void fence_record_finish(struct agent *a); /* before the process ends: waits for the child, a second at most */
void fence_record_done(struct agent *a);
const char *fence_tags_json(const struct agent *a);
void fence_tags_changed(struct agent *a); /* those of the configuration have */

/* connect_check.c: does the server let new clients in? */
void connect_check(struct agent *a);
void connect_check_forget(struct agent *a);

/* identity.c */
void identity_open(struct agent *a);  /* once at start; waits for the disk */
void identity_check(struct agent *a); /* after each read of the store */
/* duplicate.c: "http://host:8008/patroni" -> "http://host:8008"; false if it is no URL, or too long */
bool agent_base_url(const char *api_url, char *buf, size_t size);
/* duplicate.c: asks at the address in a member key of our name whether its node lives; if so, this process ends */
void duplicate_check(struct agent *a, const struct member *m);

/* impostor.c */
void impostor_found(struct agent *a, enum impostor what, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const char *impostor_note(const struct agent *a);                      /* "" = none lately */
void impostor_note_facts(struct agent *a, const struct pg_facts *now); /* before they replace those of before */
void impostor_watch(struct agent *a);                                  /* a server was started or adopted */
void impostor_look_for_server(struct agent *a);                        /* now and then while ours is down */
void impostor_check_cluster(struct agent *a);                          /* after each read of the store */
void impostor_done(struct agent *a);

/* config.c */
int agent_load_config(struct agent *a, struct err *err); /* before the store was read: the copy, else bootstrap.dcs */
void agent_apply_config(struct agent *a);                /* after each read of the store */
void agent_settle_config(struct agent *a);               /* into PostgreSQL's files, as soon as that can be done */

/* config_change.c: PATCH and PUT */
void config_change(struct agent *a, struct command *command);
void config_change_done(struct agent *a); /* answers those that wait */

/* config_history.c: `changes` as change_describe() has them, of the configuration that was just read */
void config_history_note(struct agent *a, const char *changes);
void config_history_publish(struct agent *a); /* as the leader */
void config_history_done(struct agent *a);

/* reload.c: the local file anew, and PostgreSQL's files from it */
void agent_reload(struct agent *a, const char *who);

/* parameters.c */
void parameters_load_catalog(struct agent *a);         /* from the data directory, if none is known yet */
void parameters_update(struct agent *a);               /* after each decision: asks PostgreSQL what it thinks */
void parameters_note(struct agent *a, char *notes);    /* what pg_files_write() left out; taken over */
const char *parameters_summary(const struct agent *a); /* for people, "" = all is well */
void parameters_done(struct agent *a);

/* pending.c */
void pending_update(struct agent *a);                      /* before anything is published */
const char *pending_restart_reason(const struct agent *a); /* JSON; NULL = no restart is due */

/* tether.c: lease and keeper */
/* Asks for the leader key; done is called unless the operation ends before: a key that comes later is given back. */
void tether_acquire(struct agent *a, void (*done)(struct agent *a, struct dcs_answer *answer));
/* Keeps what a confirmed acquire says and starts renewing. */
void tether_keep(struct agent *a, const struct dcs_answer *answer);
void tether_lost(struct agent *a, const char *why);
void tether_renew_soon(struct agent *a);
void tether_release(struct agent *a, dcs_done_fn done);
void tether_tell_postmaster(struct agent *a);
void tether_adopt(struct agent *a, const struct keeper_answer *answer);

/* More time from the promises of all others (failsafe.c); a deadline that is no later changes nothing. */
void tether_prolong(struct agent *a, uint64_t deadline_us);

/* store_change.c */
void store_recall(struct agent *a);      /* once, before the store is asked for anything */
void store_note_change(struct agent *a); /* after each good read, before the configuration is looked at */

/* failsafe.c: the leader's side */
int failsafe_new(struct agent *a, struct err *err);
void failsafe_free(struct agent *a);
void failsafe_adopt(struct agent *a);                              /* after tether_adopt() */
void failsafe_note_cluster(struct agent *a);                       /* after each good read of the store */
void failsafe_publish(struct agent *a);                            /* as the leader: the list in the store */
void failsafe_store_is_silent(struct agent *a);                    /* a renewal brought no answer */
void failsafe_store_answers(struct agent *a, uint64_t store_life); /* a renewal was confirmed, by that store */
void failsafe_view(const struct agent *a, struct failsafe_view *ret);
const struct failsafe_list *failsafe_known(const struct agent *a); /* NULL = none */
uint64_t failsafe_asked_at_us(const struct agent *a);              /* when we last asked the others; 0 = never */

/* promise.c: the others' side */
void promise_load(struct agent *a);    /* once, at start */
void promise_prepare(struct agent *a); /* after a configuration was accepted */
/* POST /failsafe: a leader that cannot reach the store asks this node not to lead. */
void promise_command(struct agent *a, struct command *command);

/* cold_start.c: after an outage of all members */
void cold_start_open(struct agent *a);         /* once, when the postmaster was adopted or not; waits for the disk */
void cold_start_note_cluster(struct agent *a); /* after each good read of the store */
void cold_start_update(struct agent *a, const struct ha_view *v); /* after each decision: says what is waited for */
void cold_start_publish(struct agent *a);                         /* as the leader: who is a member now */
const struct failsafe_list *cold_start_known(const struct agent *a);
const char *cold_start_note(const struct agent *a); /* for people, "" = nothing is waited for */

/* why.c: GET /why */
void why_command(struct agent *a, struct command *command);
void why_done(struct agent *a);

/* serve.c */
void serve_update(struct agent *a); /* after each decision, and as the first thing of a demotion */
void serve_forget(struct agent *a); /* the keeper has fenced: it knows nothing any more */

/* kernel_leases.c */
void kernel_leases_update(struct agent *a);            /* before anything is published */
const char *kernel_leases_note(const struct agent *a); /* for people, "" = all is well */
void kernel_leases_status(const struct agent *a, struct node_status *ret);

/* replica_address.c */
void replica_address_update(struct agent *a, const struct ha_view *v); /* after each decision, before serve_update() */
/* The process is to end and the key is still ours: true for a second at most, so that others need not wait for its
 * lease. */
bool replica_address_lingers(struct agent *a);
/* With which ttl the member key is written: a new one would end the lease that the key of the address hangs on. */
uint64_t replica_address_member_ttl_us(const struct agent *a);

/* sync.c: synchronous replication */
bool sync_is_on(const struct agent *a);
void sync_update(struct agent *a, const struct ha_view *v); /* after each decision, before the files are settled */
/* The position of this standby that a commit waits for, by synchronous_commit. */
uint64_t sync_waited_for_lsn(const struct pg_facts *f, const struct pg_walsender *w);
bool sync_is_foreign(const struct agent *a); /* /sync as read last is of a restored store */
void sync_note_pg(struct agent *a);          /* SQL has answered */
void sync_forget(struct agent *a);           /* no primary any more: the next one begins with names that block */
void sync_forget_pg(struct agent *a);        /* the server went down; what the files say stays true */
void sync_begin_reign(struct agent *a);
/* What belongs into the files; NULL = the user's own. */
const char *sync_names_for_files(const struct agent *a);
/* Writes /sync with our name; compares with the view's revision. sync.busy stays false if memory ran out. */
void sync_write_key(struct agent *a, const struct sync_promise *promise, dcs_done_fn done);
int sync_write_names(struct agent *a, bool standby, const struct sync_names *names); /* and reloads */
/* A standby that stops or is restarted, and its tags as published: such that nobody waits for it then. */
bool sync_is_leaving(const struct agent *a);
const char *sync_tags_json(struct agent *a);
/* sync_promote.c: calls done(true) when PostgreSQL may be promoted, done(false) when the view was out of date */
void sync_seal(struct agent *a, void (*done)(struct agent *a, bool sealed));
void sync_seal_pg_changed(struct agent *a);

/* act.c and the operations */
void act(struct agent *a, const struct ha_decision *d);
void op_begin(struct agent *a, enum op_kind kind, const struct ha_decision *d);
void op_end(struct agent *a);
void op_start_standby(struct agent *a, const struct ha_decision *d);
void op_start_primary(struct agent *a, const struct ha_decision *d);
void op_follow(struct agent *a, const struct ha_decision *d);
void op_promote(struct agent *a, const struct ha_decision *d);
enum { OP_RELEASE_AGAIN_US = 20000 };
void op_release(struct agent *a, const struct ha_decision *d);
bool op_release_waits(
    struct agent *a); /* for the end of a standby leader's addresses: look again in OP_RELEASE_AGAIN_US */
void op_demote(struct agent *a, const struct ha_decision *d);
void op_demote_server_exited(struct agent *a);
void op_bootstrap(struct agent *a, const struct ha_decision *d);
void op_abandon_bootstrap(struct agent *a, const struct ha_decision *d);
void op_clone(struct agent *a, const struct ha_decision *d);
void op_check_rewind(struct agent *a, const struct ha_decision *d);
void op_rewind(struct agent *a, const struct ha_decision *d);
void op_set_aside(struct agent *a, const struct ha_decision *d);
void op_ask_peers(struct agent *a);
/* What a member said of itself; one that makes no sense counts as no answer. */
void peer_read(struct peer *p, const char *body, size_t len, uint64_t asked_at_us);
/* The postmaster ended while an operation was in flight (or none). */
void op_server_exited(struct agent *a, int wait_status);
void op_restart(struct agent *a, const struct ha_decision *d);
void op_restart_server_exited(struct agent *a);
/* A primary being demoted that still answers its clients: its addresses stay until it has ended. */
bool op_demote_keeps_addresses(const struct agent *a);
/* A probe answered: start, promote and the like wait for that. */
void op_pg_changed(struct agent *a);
void op_start_pg_changed(struct agent *a);
void op_start_failed(struct agent *a);
void op_promote_pg_changed(struct agent *a);
void op_bootstrap_pg_changed(struct agent *a);
void op_bootstrap_stop(struct agent *a); /* the node stops: undoes what was done */
void op_bootstrap_failed(struct agent *a, const char *why);
/* Removes the marker once the store has our system identifier, the last thing a bootstrap writes. */
void bootstrap_note_finished(struct agent *a);
void op_rewind_server_exited(struct agent *a);
void op_rewind_run(struct agent *a); /* once its server is proven dead */
/* Asks the keeper to arm our lease and calls done(true) once it is ARMED; done(false) after a refusal. */
void op_arm(struct agent *a, void (*done)(struct agent *a, bool armed));
/* Asks the keeper to prove the old primary dead, again and again, then calls done. */
void op_prove_dead(struct agent *a, void (*done)(struct agent *a));

/* hand_over.c */
void hand_over_begin(struct agent *a); /* PostgreSQL has ended in time */
/* `then` comes at once when all is said, else later, a second after the beginning at the latest. */
void hand_over_wait(struct agent *a, void (*then)(struct agent *a));

/* walsenders.c: in an orderly stop of a primary, which standbys that stand still must not hold up */
void walsenders_watch(struct agent *a);

/* request.c: what was asked for */
void request_checkpoint(struct agent *a);
void request_forget_checkpoint(struct agent *a); /* the server ended */
void request_clear_failover(struct agent *a);
void request_note_failover(struct agent *a, const struct cluster *before);

/* switchover.c, restart.c, reinitialize.c, schedule.c: changing requests over REST */
void switchover_command(struct agent *a, struct command *command);
void switchover_cancel_command(struct agent *a, struct command *command);
void switchover_look(struct agent *a); /* after each read of the store: is one over? */
void switchover_done(struct agent *a);
void restart_command(struct agent *a, struct command *command);
void restart_cancel_command(struct agent *a, struct command *command);
void restart_take_up(struct agent *a); /* once, after the first read of the store */
void restart_look(struct agent *a);    /* before each decision: is a scheduled one due? */
void restart_done(struct agent *a);
void request_begun(struct agent *a);    /* the restart that was asked for stops PostgreSQL now */
void request_starting(struct agent *a); /* PostgreSQL is being started, perhaps for a restart */
void request_restarted(struct agent *a, bool is_up);
uint64_t request_restart_timeout_us(const struct agent *a);
void reinitialize_command(struct agent *a, struct command *command);
void reinitialize_finished(struct agent *a);
/* 0, or the HTTP status and the sentence why this time cannot be used. `action`: "restart", "switchover". */
unsigned schedule_read(const char *text, const char *action, int64_t *ret_s, char *why, size_t size);

/* server_start.c: used by several operations */
struct pg_files_spec files_spec(const struct agent *a, bool standby, const struct pg_upstream *upstream);
int start_server(struct agent *a, bool standby, const char *upstream_member, struct err *err);
int write_files(struct agent *a, bool standby, const char *upstream_member, bool *ret_changed, struct err *err);
/* `member` may be REMOTE_CLUSTER. False: it is not known how to connect to it. */
bool fill_upstream(const struct agent *a, const char *member, struct pg_upstream *ret);

/* timeline.c: a number of its own for each promotion */
void timeline_note(struct agent *a);                                                  /* after each read of the store */
void timeline_reserve(struct agent *a, void (*done)(struct agent *a, bool reserved)); /* done may be called at once */
void timeline_promotion_ended(struct agent *a);                                       /* however it did */
void timeline_before_standby(struct agent *a); /* the server is down and will be started as a standby */
void timeline_publish(struct agent *a);        /* as the leader: the key says at least our timeline */

/* hooks.c */
void hooks_started(struct agent *a); /* SQL answers for the first time: of a server started, adopted, or bootstrapped */
void hooks_promoted(struct agent *a); /* it was told to promote */
void hooks_stopped(struct agent *a);  /* we stopped it, and it is proven dead */
void hooks_lost(struct agent *a);     /* it died as a primary and will not lead any more */
void hooks_reloaded(struct agent *a); /* it was told to read its files again */
void hooks_note_role(
    struct agent *a); /* after each cycle: a standby became the leader of a standby cluster, or no more */
/* The process is to end and a callback still runs: true for some seconds at most. */
bool hooks_linger(struct agent *a);
/* Runs pre_promote, once for each lease; false if there is nothing to wait for. The promotion is decided again then. */
bool hooks_pre_promote(struct agent *a);

/* marker.c: "copy", "rewind" */
void marker_set(struct agent *a, const char *what);
void marker_clear(struct agent *a, const char *what);
bool marker_is_set(const struct agent *a, const char *what);

/* standby_mark.c */
void standby_mark_note(struct agent *a, const struct pg_facts *now); /* whenever SQL has answered */
void standby_mark_report(struct agent *a, const struct ha_view *v);  /* with each decision */
void standby_mark_clear(struct agent *a);                            /* waits for no disk */
uint32_t standby_mark_read(const struct agent *a);                   /* 0 = none about this data directory */

/* publish.c */
void publish(struct agent *a);
/* Writes the member key for the last time, state "stopped", then ends the process; also when the store is out of reach.
 */
void publish_last(struct agent *a);
void agent_api_url(const struct agent *a, char *buf, size_t size);
void publish_state(struct agent *a, enum pg_state *ret_state, enum pg_role *ret_role);
#define PATRONI_VERSION "4.1.4" /* the level whose formats we speak; peers parse it as numbers */
/* slots.c: replication slots; slots.h has what is remembered about them */
struct slots_view;
struct slot_want;
struct agent_slots;
void slots_maintain(struct agent *a, bool leads); /* after each cycle, while the server answers and nothing else runs */
void slots_fill_view(const struct agent *a, bool leads, struct slots_view *ret);
size_t slots_wanted(const struct slots_view *v,
                    struct slot_want **ret); /* *ret is freed by the caller, NULL: no memory */
void slots_complain(struct agent_slots *s, const char *name, const char *text); /* said once, as long as it stays so */
bool slots_need_feedback(const struct agent *a);
void slots_done(struct agent *a);
/* slot_copies.c: logical slots on standbys */
bool slots_to_copy(const struct agent *a);
void slot_copies_review(struct agent *a, bool leads);
void slot_copies_forget(struct agent_slots *s);
void slot_copies_note_new(struct agent_slots *s, const char *name); /* that slot is no copy, but was made here */
void op_copy_slots(struct agent *a, const struct ha_decision *d);
void op_copy_slots_server_exited(struct agent *a);
/* slots_publish.c */
char *slots_print_status(struct agent *a); /* the status key; the caller frees, NULL: no memory */
const char *slots_note(const struct agent *a);
void slots_status(const struct agent *a, struct node_status *ret); /* after the facts of SQL */

/* status.c */
void status_progress(struct agent *a, char *buf, size_t size);
/* Unix time of a fence report that is still news, 0 = there is none. */
int64_t status_fence_news_s(const struct agent *a);
