#include "agent/agent.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "pg/tool.h"

enum { LATE_US = 500000, TICK_MAX_US = 3000000, CONTROL_AGAIN_US = 10000000 };

/* --- deciding ------------------------------------------------------------------------------------------------------
 */

static void log_decision(struct agent *a)
{
    /* What an operation does was said when it began. */
    if (a->op.kind != OP_NONE && a->decision.action == HA_NOTHING)
        return;
    if (strcmp(a->last_reason, a->decision.reason) == 0)
        return;
    /* An election that waits for somebody asks again and again, perhaps for days. */
    if (a->cold.waits && (a->decision.action == HA_ASK_PEERS || a->decision.action == HA_READ_STORE))
        return;
    (void)text_copy(a->last_reason, sizeof(a->last_reason), a->decision.reason);
    log_info("%s", a->decision.reason);
}

static int on_decide(sd_event_source *source, void *userdata)
{
    struct agent *a = userdata;
    struct ha_view view;

    (void)source;
    if (a->ending || !a->begun)
        return 0;
    bootstrap_note_finished(a);
    restart_look(a);
    if (a->lease.held)
        reinitialize_finished(a); /* it was asked of a standby */
    gather_view(a, &view);
    /* No decision about a server that is down without a look at its directory. */
    if (!view.pg.running && !a->control.data_dir_known && a->op.kind == OP_NONE)
        gather_control(a);
    a->decision = ha_decide(&view);
    standby_mark_report(a, &view);
    log_decision(a);
    act(a, &a->decision);
    replica_address_update(a, &view);
    serve_update(a);
    cold_start_update(a, &view);
    sync_update(a, &view);
    if (a->decision.wake_at_us)
        agent_wake_at(a, a->decision.wake_at_us);
    agent_settle_config(a);
    parameters_update(a);
    pending_update(a);
    kernel_leases_update(a);
    publish(a);
    hooks_note_role(a);
    a->loop_ran_at_us = clock_now_us();
    return 0;
}

void agent_wake(struct agent *a)
{
    if (a->decide_soon)
        (void)sd_event_source_set_enabled(a->decide_soon, SD_EVENT_ONESHOT);
}

/* --- time ----------------------------------------------------------------------------------------------------------
 */

void agent_note_lateness(struct agent *a, uint64_t planned_us)
{
    uint64_t now_us = clock_now_us();

    if (now_us < planned_us + LATE_US)
        return;
    log_warning("this process stood still for %llu ms: nothing is done before the store is read again",
                (unsigned long long)((now_us - planned_us) / 1000));
    a->frozen_at_us = now_us;
}

static int on_tick(sd_event_source *source, uint64_t planned_us, void *userdata);

void agent_wake_at(struct agent *a, uint64_t at_us)
{
    uint64_t now_us = clock_now_us(), planned_us;

    if (at_us <= now_us) {
        at_us = now_us + 1000;
    }
    if (!a->tick || (sd_event_source_get_time(a->tick, &planned_us) >= 0 && planned_us > at_us))
        (void)loop_timer_at(a->loop, &a->tick, at_us, on_tick, a);
}

static uint64_t tick_interval_us(const struct agent *a)
{
    return a->dynamic->policy.loop_wait_us < TICK_MAX_US ? a->dynamic->policy.loop_wait_us : TICK_MAX_US;
}

/* Nothing but its own news makes a keeper talk: what REST and metrics show of it is asked for. */
static void ask_keeper(struct agent *a)
{
    if (keeper_link_connected(a->link))
        (void)keeper_link_ask(a->link, KEEPER_STATUS, 0, 0, 0, -1, NULL, NULL, NULL);
}

/* The store is read once per loop_wait; PostgreSQL is looked at more often, so that peers who ask us get fresh
 * positions. */
static int on_tick(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;
    uint64_t now_us = clock_now_us();
    uint64_t read_us = a->cluster ? a->cluster->read_sent_at_us : 0;

    (void)source;
    agent_note_lateness(a, planned_us);
    if (a->store_failed || now_us - read_us >= a->dynamic->policy.loop_wait_us - USEC_PER_MSEC ||
        read_us < a->frozen_at_us)
        gather_store(a);
    if (a->op.kind == OP_NONE || a->op.kind == OP_ASK_PEERS)
        gather_pg(a);
    connect_check(a);
    ask_keeper(a);
    if (a->fence_guard)
        fence_record_look_for_guard(a); /* a node that leads is not guarded: its lease waits for no disk here */
    impostor_look_for_server(a);
    if (!pg_server_pid(a->server) && now_us - a->control_at_us > CONTROL_AGAIN_US && a->op.kind == OP_NONE)
        gather_control(a);
    (void)loop_timer_at(a->loop, &a->tick, now_us + tick_interval_us(a), on_tick, a);
    agent_wake(a);
    return 0;
}

/* --- events --------------------------------------------------------------------------------------------------------
 */

static void on_store_change(void *userdata, const char *key)
{
    struct agent *a = userdata;

    if (key && strcmp(key, "leader") == 0) {
        /* An election is near: peers will ask for our position, so know it. */
        gather_pg(a);
        if (a->lease.held)
            tether_renew_soon(a);
    }
    gather_store(a);
}

static void note_crash(struct agent *a)
{
    a->memory.crashed = true;
    if (!a->memory.crashed_at_us)
        a->memory.crashed_at_us = clock_now_us();
}

void op_server_exited(struct agent *a, int wait_status)
{
    tether_tell_postmaster(a);
    gather_forget_pg(a);
    if (a->op.kind == OP_DEMOTE) {
        op_demote_server_exited(a);
        return;
    }
    if (a->op.kind == OP_REWIND) {
        op_rewind_server_exited(a);
        return;
    }
    if (a->op.kind == OP_COPY_SLOTS) {
        op_copy_slots_server_exited(a);
        return;
    }
    if (a->op.kind == OP_RESTART) {
        op_restart_server_exited(a);
        return;
    }
    note_crash(a);
    if (a->op.kind == OP_START_STANDBY || a->op.kind == OP_START_PRIMARY) {
        op_start_failed(a);
        return;
    }
    if (a->op.kind == OP_BOOTSTRAP) {
        char why[512];

        pg_server_diagnose(a->server, why, sizeof(why));
        op_bootstrap_failed(a, why);
        return;
    }
    log_error("the postmaster ended unexpectedly (wait status %d)", wait_status);
    a->memory.divergence = DIVERGENCE_UNKNOWN; /* somebody may have promoted it before */
    op_end(a);
    gather_control(a);
}

static void on_server_exit(void *userdata, int wait_status)
{
    op_server_exited(userdata, wait_status);
}

void op_pg_changed(struct agent *a)
{
    if (a->op.kind == OP_START_STANDBY || a->op.kind == OP_START_PRIMARY)
        op_start_pg_changed(a);
    else if (a->op.kind == OP_PROMOTE)
        op_promote_pg_changed(a);
    else if (a->op.kind == OP_BOOTSTRAP)
        op_bootstrap_pg_changed(a);
}

static void on_keeper_gone(void *userdata)
{
    struct agent *a = userdata;

    log_error("the keeper is gone");
    loop_timer_off(a->renew_timer);
    agent_wake(a);
}

static void on_keeper_news(void *userdata)
{
    agent_wake(userdata);
}

static int on_stop_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
    (void)source;
    (void)si;
    agent_stop(userdata);
    return 0;
}

static int on_reload_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
    (void)source;
    (void)si;
    agent_reload(userdata, "SIGHUP");
    return 0;
}

void agent_on_reloaded(struct agent *a, agent_reloaded_fn fn, void *userdata)
{
    a->on_reloaded = fn;
    a->on_reloaded_userdata = userdata;
}

void agent_stop(struct agent *a)
{
    if (a->stopping)
        return;
    log_info("stopping");
    a->stopping = true;
    a->stopping_since_us = clock_now_us();
    /* What else is in flight the decision ends; markers tell the next start of a copy or rewind that was cut off. */
    if (a->op.kind == OP_BOOTSTRAP)
        op_bootstrap_stop(a);
    agent_wake(a);
}

void agent_exit(struct agent *a, enum agent_exit code)
{
    a->ending = true;
    fence_record_finish(a);
    (void)sd_event_exit(a->loop, (int)code);
}

/* --- start ---------------------------------------------------------------------------------------------------------
 */

const struct pg_probe_settings *agent_pg_login(struct agent *a)
{
    static struct pg_probe_settings settings; /* one agent per process; the strings are the configuration's */

    settings = (struct pg_probe_settings){
        .host = a->pg_host,
        .port = a->config->postgresql.listen_port,
        .user = a->config->postgresql.superuser.username,
        .password = a->config->postgresql.superuser.password,
        .database = a->config->postgresql.database,
    };
    return &settings;
}

int agent_probe_new(struct agent *a, struct pg_probe **ret, struct err *err)
{
    CLEANUP(pg_probe_freep) struct pg_probe *probe = NULL;
    const struct credentials *who = &a->config->postgresql.replication;
    struct pg_probe_settings settings = *agent_pg_login(a);
    char host[HOST_SIZE];
    int r = pg_probe_new(a->loop, &settings, &probe, err);

    if (r < 0)
        return r;
    tool_own_replication_host(a->config, host, sizeof(host));
    settings.host = host;
    settings.user = who->username;
    settings.password = who->password;
    r = pg_probe_set_replication(probe, &settings, who, err);
    if (r < 0)
        return r;
    *ret = STEAL(probe);
    return 0;
}

static void on_storage_changed(void *userdata)
{
    agent_wake(userdata);
}

static int open_storage(struct agent *a, struct err *err)
{
    struct storage_settings settings = {.data_dir = a->config->postgresql.data_dir};
    int r;

    if (a->config->storage_probe.mode == STORAGE_PROBE_OFF)
        return 0;
    settings.times = agent_storage_times(a);
    r = storage_new(a->loop, &settings, on_storage_changed, a, &a->storage, err);
    if (r >= 0 || a->config->storage_probe.mode == STORAGE_PROBE_FENCE)
        return r;
    log_warning("the disks are not watched: %s", err->msg);
    return 0;
}

static int open_parts(struct agent *a, int keeper_fd, struct err *err)
{
    const char *cgroup_procs = getenv("PGTETHER_CGROUP_PROCS");
    struct http_tls tls = {.insecure =
                               true}; /* as the reference: a peer's answer decides nothing that is not compared */
    int r;

    if (cgroup_procs)
        (void)text_copy(a->cgroup_procs, sizeof(a->cgroup_procs), cgroup_procs);
    tool_own_host(a->config, a->pg_host, sizeof(a->pg_host));
    r = pg_server_check_binaries(a->config, &a->server_major, err);
    if (r >= 0)
        r = keeper_link_new(a->loop, keeper_fd, on_keeper_gone, a, &a->link, err);
    if (r >= 0) {
        keeper_link_on_news(a->link, on_keeper_news);
        r = dcs_open(a->loop, &a->config->dcs, &a->dcs, err);
    }
    if (r >= 0)
        r = http_new(a->loop, &tls, &a->http, err);
    if (r >= 0)
        r = pg_server_new(a->loop, a->config, a->cgroup_procs[0] ? a->cgroup_procs : NULL, on_server_exit, a,
                          &a->server, err);
    if (r >= 0)
        r = agent_probe_new(a, &a->probe, err);
    if (r >= 0)
        r = open_storage(a, err);
    if (r >= 0)
        r = hook_runs_new(a->loop, a->config, &a->hooks.runs, err);
    return r;
}

static int open_sources(struct agent *a, struct err *err)
{
    int r = sd_event_add_defer(a->loop, &a->decide_soon, on_decide, a);

    if (r >= 0)
        r = sd_event_source_set_enabled(a->decide_soon, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_signal(a->loop, &a->sigterm, SIGTERM, on_stop_signal, a);
    if (r >= 0)
        r = sd_event_add_signal(a->loop, &a->sighup, SIGHUP, on_reload_signal, a);
    if (r < 0)
        return err_sys(err, r, "could not set up the event loop");
    return a->dcs->ops->watch(a->dcs, on_store_change, a, err);
}

/* The keeper knows whether an earlier agent left a primary and a lease behind; only then we know how to begin. */
static void on_first_status(void *userdata, const struct keeper_answer *answer)
{
    struct agent *a = userdata;
    struct err err = {0};
    int r;

    if (!answer)
        return;
    identity_open(a);
    promise_load(a);
    promise_prepare(a);
    tether_adopt(a, answer);
    fence_record_look_back(a, answer);
    bootstrap_mark_load(a);
    a->copy_incomplete = marker_is_set(a, "copy");
    a->rewind_incomplete = marker_is_set(a, "rewind");
    r = pg_server_adopt(a->server, &err);
    if (r < 0) {
        log_error("%s", err.msg);
        agent_exit(a, AGENT_EXIT_CONFIG);
        return;
    }
    if (r > 0) {
        log_info("adopted the running postmaster, pid %d", (int)pg_server_pid(a->server));
        a->pg_started_at_us = clock_now_us();
        /* It was up before: should it be frozen, that counts from now on, for it may never answer. */
        a->pg.silent_since_us = a->pg_started_at_us;
        /* Until SQL says otherwise: what the keeper guards may be a primary. */
        a->was_standby_started = answer->state != KEEPER_ARMED;
        tether_tell_postmaster(a);
        impostor_watch(a);
        /* Under a lease it is bound by it, and by primary_start_timeout should it never answer. */
        a->op.kind = answer->state == KEEPER_ARMED ? OP_START_PRIMARY : OP_START_STANDBY;
        a->op.since_us = clock_now_us();
        gather_pg(a);
    } else if (answer->state == KEEPER_ARMED) {
        a->memory.was_primary = a->memory.may_have_said_end = true;
        note_crash(a);
    }
    cold_start_open(a);
    impostor_look_for_server(a);
    a->begun = true;
    gather_control(a);
    gather_store(a);
    agent_wake_at(a, clock_now_us() + tick_interval_us(a));
}

int agent_new(sd_event *loop, struct config *config, int keeper_fd, struct agent **ret, struct err *err)
{
    CLEANUP(agent_freep) struct agent *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return err_set(err, -ENOMEM, "out of memory");
    a->loop = sd_event_ref(loop);
    a->config = a->own_config = config;
    r = failsafe_new(a, err);
    if (r >= 0)
        r = agent_load_config(a, err);
    if (r >= 0)
        r = open_parts(a, keeper_fd, err);
    if (r >= 0)
        store_recall(a);
    if (r >= 0)
        r = open_sources(a, err);
    if (r >= 0)
        r = keeper_link_ask(a->link, KEEPER_STATUS, 0, 0, 0, -1, on_first_status, a, err);
    if (r < 0)
        return r;
    *ret = STEAL(a);
    return 0;
}

struct agent *agent_free(struct agent *a)
{
    if (!a)
        return NULL;
    if (a->decide_soon) {
        op_end(a);
        a->decide_soon = loop_source_free(a->decide_soon);
    }
    fence_record_done(a);
    impostor_done(a);
    freep(&a->sync.leaving_tags_json);
    switchover_done(a);
    restart_done(a);
    a->tick = loop_source_free(a->tick);
    a->renew_timer = loop_source_free(a->renew_timer);
    a->sigterm = loop_source_free(a->sigterm);
    a->sighup = loop_source_free(a->sighup);
    slots_done(a);
    free(a->status_published);
    a->checkpoint_command = pg_command_free(a->checkpoint_command);
    config_change_done(a);
    config_history_done(a);
    parameters_done(a);
    a->stop_checkpoint = pg_command_free(a->stop_checkpoint);
    a->dcs = dcs_free(a->dcs);
    a->http = http_free(a->http);
    why_done(a);
    failsafe_free(a);
    free(a->failsafe_heard.slots);
    a->storage = storage_free(a->storage);
    a->hooks.runs = hook_runs_free(a->hooks.runs);
    gather_done(a);
    a->probe = pg_probe_free(a->probe);
    a->server = pg_server_free(a->server);
    a->link = keeper_link_free(a->link);
    a->dynamic = dynamic_free(a->dynamic);
    a->loop = sd_event_unref(a->loop);
    free(a);
    return NULL;
}
