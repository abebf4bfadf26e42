/* The parts of the agent, each a file of its own; only src/agent includes this. */
#pragma once
#include "agent/state.h"

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
void tether_acquire(struct agent *a, struct dcs_guard guard, void (*done)(struct agent *a, struct dcs_answer *answer));
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
/* What an earlier life has left in the data directory of a bootstrap that has not finished. */
void bootstrap_mark_load(struct agent *a);
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
