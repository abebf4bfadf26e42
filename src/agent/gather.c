/*
 * What is known, each piece with its age: the store's view, SQL's answer, the control file. Each is asked for on its
 * own and wakes the decision when it arrives; nothing waits for the slowest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

enum {
    PROBE_TIMEOUT_US = 3000000,
    PROBE_STALE_US = 15000000,
    CONTROL_TIMEOUT_US = 10000000,
    FRESH_US = 3000000, /* how old a read may be on which we acquire or promote */
};

/* --- the store -----------------------------------------------------------------------------------------------------
 */

/* A leader that came and went unseen: in a synchronous mode it has written /sync first, and before it promoted its
 * timeline. */
static void note_leaderless(struct agent *a, const struct cluster *before)
{
    bool unseen = before && (before->sync.revision != a->cluster->sync.revision ||
                             before->timeline.revision != a->cluster->timeline.revision);

    if (a->cluster->leader.exists)
        a->memory.last_leader_session = a->cluster->leader.session;
    if (a->cluster->leader.exists)
        a->memory.leaderless_since_us = 0;
    else if (!a->memory.leaderless_since_us || unseen)
        a->memory.leaderless_since_us = clock_now_us();
}

/*
 * A divergence verdict is about one leader; with another one it is void. Another session of the same member may be a
 * new timeline: somebody else can have led in between. One about the cluster that is followed has nothing to do with
 * it.
 */
static void note_leader_change(struct agent *a, const struct cluster *before)
{
    const struct leader_key *now = &a->cluster->leader;

    if (strcmp(a->memory.divergence_from, REMOTE_CLUSTER) == 0)
        return;
    if (before && (strcmp(before->leader.name, now->name) != 0 || before->leader.session != now->session)) {
        a->memory.divergence = DIVERGENCE_UNKNOWN;
        a->memory.rewind_failed = false;
        a->memory.retry_check_at_us = 0;
    }
}

static void on_cluster(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    a->store_busy = false;
    a->store_failed = answer->outcome != DCS_DONE;
    if (a->store_failed) {
        if (!a->store_err.code)
            log_warning("could not read the store: %s", answer->err.msg);
        a->store_err = answer->err;
    } else {
        struct cluster *before = a->cluster;

        if (a->store_err.code)
            log_info("the store can be read again");
        a->store_err = (struct err){0};
        a->cluster = answer->cluster;
        a->cluster->read_sent_at_us = answer->sent_at_us;
        a->dcs_last_seen_s = (int64_t)time(NULL);
        note_leaderless(a, before);
        note_leader_change(a, before);
        request_note_failover(a, before);
        switchover_look(a);
        if (!a->restart_taken_up)
            restart_take_up(a);
        a->restart_taken_up = true;
        store_note_change(a);
        timeline_note(a);
        cold_start_note_cluster(a);
        a->memory.seen_initialized |= cluster_sysid_is_known(a->cluster);
        cluster_free(before);
        agent_apply_config(a);
        identity_check(a);
        impostor_check_cluster(a);
        failsafe_note_cluster(a);
    }
    if (a->store_again) {
        a->store_again = false;
        gather_store(a);
    }
    agent_wake(a);
}

void gather_store(struct agent *a)
{
    uint64_t now_us = clock_now_us();

    if (a->store_busy) {
        a->store_again = true;
        return;
    }
    a->store_busy = true;
    a->dcs->ops->get_cluster(a->dcs, true, now_us + a->dynamic->policy.retry_timeout_us, on_cluster, a);
}

/* --- SQL -----------------------------------------------------------------------------------------------------------
 */

static void *copy_array(const void *items, size_t n, size_t size)
{
    void *copy = n ? malloc(n * size) : NULL;

    if (copy)
        memcpy(copy, items, n * size);
    return copy;
}

static void probe_result_done(struct probe_result *r)
{
    free(r->facts.walsenders);
    free(r->facts.slots);
    free(r->facts.pending);
    free(r->walsenders);
    r->facts = (struct pg_facts){0};
    r->walsenders = NULL;
    r->valid = false;
}

static void keep_facts(struct probe_result *r, const struct pg_facts *facts)
{
    probe_result_done(r);
    r->facts = *facts;
    r->facts.walsenders = copy_array(facts->walsenders, facts->n_walsenders, sizeof(*facts->walsenders));
    r->facts.slots = copy_array(facts->slots, facts->n_slots, sizeof(*facts->slots));
    r->facts.pending = copy_array(facts->pending, facts->n_pending, sizeof(*facts->pending));
    r->walsenders = calloc(facts->n_walsenders + 1, sizeof(*r->walsenders));
    if (!r->facts.walsenders)
        r->facts.n_walsenders = 0;
    if (!r->facts.slots)
        r->facts.n_slots = 0;
    if (!r->facts.pending)
        r->facts.n_pending = 0;
    for (size_t i = 0; r->walsenders && i < r->facts.n_walsenders; i++) {
        const struct pg_walsender *from = &r->facts.walsenders[i];
        struct node_walsender *to = &r->walsenders[i];

        (void)text_copy(to->usename, sizeof(to->usename), from->usename);
        (void)text_copy(to->application_name, sizeof(to->application_name), from->application_name);
        (void)text_copy(to->client_addr, sizeof(to->client_addr), from->client_addr);
        (void)text_copy(to->state, sizeof(to->state), from->state);
        (void)text_copy(to->sync_state, sizeof(to->sync_state), from->sync_state);
        to->sync_priority = from->sync_priority;
    }
    r->valid = true;
}

static void note_streaming(struct agent *a, uint64_t now_us)
{
    const struct pg_facts *f = &a->pg.facts;

    if (!f->in_recovery || strcmp(f->replication_state, "streaming") == 0 || !a->follows[0])
        a->memory.not_streaming_since_us = 0;
    else if (!a->memory.not_streaming_since_us)
        a->memory.not_streaming_since_us = now_us;
}

/*
 * A server that lets nobody in (full, wrong password, a statement that fails) is alive; one that recovers says so. One
 * we started is silent until it listens, which primary_start_timeout bounds; one we adopted has long been listening.
 */
static void note_voice(struct agent *a, enum pg_probe_outcome outcome, int code, uint64_t now_us)
{
    bool refuses = outcome == PG_PROBE_REFUSED && (code == -EACCES || code == -EUSERS || code == -EPROTO);

    if (outcome != PG_PROBE_STARTING)
        a->pg.rejecting_since_us = 0;
    else if (!a->pg.rejecting_since_us)
        a->pg.rejecting_since_us = now_us;
    if (outcome == PG_PROBE_OK || outcome == PG_PROBE_STARTING || refuses)
        a->pg.silent_since_us = 0;
    else if (!a->pg.silent_since_us && a->pg.valid)
        a->pg.silent_since_us = now_us;
}

/* Once for each reason. */
static void note_doubt(struct agent *a, const char *doubt)
{
    if (*doubt && !text_equal(doubt, a->pg.facts.timeline_doubt))
        log_warning("could not ask this standby which timeline it has replayed, so its position counts for nothing in "
                    "a synchronous mode, or after an outage of all members: %s; pg_hba.conf must let \"%s\" in for "
                    "replication from this node itself",
                    doubt, a->config->postgresql.replication.username);
}

static void on_probe(void *userdata, enum pg_probe_outcome outcome, const struct pg_facts *facts, const struct err *err)
{
    struct agent *a = userdata;
    uint64_t now_us = clock_now_us();

    a->probe_busy = false;
    if (!pg_server_pid(a->server))
        return;
    if (outcome != PG_PROBE_OK && (outcome != a->pg.outcome || a->pg.valid) && outcome != PG_PROBE_STARTING &&
        !a->op.kind)
        log_warning("PostgreSQL does not answer: %s", err ? err->msg : "");
    a->pg.outcome = outcome;
    note_voice(a, outcome, err ? err->code : 0, now_us);
    if (outcome == PG_PROBE_OK) {
        impostor_note_facts(a, facts);
        standby_mark_note(a, facts);
        note_doubt(a, facts->timeline_doubt);
        keep_facts(&a->pg, facts);
        a->pg.answered_at_us = now_us;
        a->pg.failing_since_us = 0;
        note_streaming(a, now_us);
        sync_note_pg(a);
        if (!facts->in_recovery) {
            a->memory.was_primary = true;
            a->memory.may_have_said_end = false;
            a->memory.divergence = DIVERGENCE_UNKNOWN; /* what was compared was a standby */
        }
    } else if (!a->pg.failing_since_us) {
        a->pg.failing_since_us = now_us;
    }
    op_pg_changed(a);
    agent_wake(a);
}

void gather_pg(struct agent *a)
{
    struct err err = {0};

    if (a->probe_busy || !pg_server_pid(a->server))
        return;
    if (pg_probe_start(a->probe, PROBE_TIMEOUT_US, on_probe, a, &err) < 0)
        log_error("could not probe PostgreSQL: %s", err.msg);
    else
        a->probe_busy = true;
}

void gather_forget_pg(struct agent *a)
{
    pg_probe_disconnect(a->probe);
    connect_check_forget(a);
    probe_result_done(&a->pg);
    sync_forget_pg(a);
    a->pg.failing_since_us = a->pg.silent_since_us = a->pg.rejecting_since_us = 0;
    a->pg.answered_at_us = 0;
    a->control.control_known = false;
    a->control.data_dir_known = false;
    a->memory.not_streaming_since_us = 0;
    a->parameters.starved_since_us = 0;
    request_forget_checkpoint(a);
}

bool agent_is_primary(const struct agent *a)
{
    return pg_server_pid(a->server) && a->pg.valid && !a->pg.facts.in_recovery;
}

bool agent_is_standby_leader(const struct agent *a)
{
    return a->dynamic->policy.standby_cluster && a->lease.held && pg_server_pid(a->server) && a->pg.valid &&
           a->pg.facts.in_recovery;
}

bool agent_leads(const struct agent *a)
{
    return a->lease.held && a->lease.deadline_us > clock_now_us() &&
           (agent_is_primary(a) || agent_is_standby_leader(a));
}

uint64_t agent_position_lsn(const struct agent *a)
{
    const struct pg_facts *f = &a->pg.facts;

    if (!f->in_recovery)
        return f->current_lsn;
    return f->receive_lsn > f->replay_lsn ? f->receive_lsn : f->replay_lsn;
}

/* --- the data directory --------------------------------------------------------------------------------------------
 */

static void on_control(void *userdata, int outcome, const struct local_pg *found, const struct err *err)
{
    struct agent *a = userdata;

    if (outcome >= 0 && found->control_known)
        a->rewind_possible = pg_control_allows_rewind(pg_controldata_settings(a->control_run));
    a->control_run = pg_controldata_free(a->control_run);
    a->control_at_us = clock_now_us();
    if (outcome < 0) {
        log_warning("could not check the data directory: %s", err->msg);
        a->control = (struct local_pg){0};
    } else {
        a->control = *found;
        a->control.standby_timeline = a->standby_mark.timeline = standby_mark_read(a);
    }
    agent_wake(a);
}

void gather_forget_control(struct agent *a)
{
    a->control_run = pg_controldata_free(a->control_run);
    a->control = (struct local_pg){0};
}

void gather_control(struct agent *a)
{
    struct err err = {0};

    if (a->control_run)
        return;
    if (pg_controldata_start(a->loop, a->config, CONTROL_TIMEOUT_US, on_control, a, &a->control_run, &err) < 0)
        log_error("could not check the data directory: %s", err.msg);
}

/* --- the view ------------------------------------------------------------------------------------------------------
 */

static void view_keeper(const struct agent *a, struct keeper_view *k)
{
    const struct keeper_answer *last = keeper_link_last(a->link);

    k->connected = keeper_link_connected(a->link);
    /* FENCING without a deadline is a proof asked for while nothing was armed: there is no lease to run out. */
    k->armed = last->state != KEEPER_DISARMED && last->deadline_us != 0;
    k->dead_proven = last->state == KEEPER_DISARMED;
    k->refused = a->keeper_refused;
    k->watchdog_unusable = last->watchdog == KEEPER_WATCHDOG_FAILED && a->config->watchdog.mode == WATCHDOG_REQUIRED;
    k->gate_unusable = last->gate == KEEPER_GATE_FAILED && a->config->gate.mode == GATE_MODE_NFTABLES;
    k->fence_at_us = last->fence_at_us;
}

static void view_pg(const struct agent *a, uint64_t now_us, struct local_pg *pg)
{
    const struct pg_facts *f = &a->pg.facts;
    uint64_t hung_after_us = a->dynamic->policy.ttl_us / 2;

    if (hung_after_us < PROBE_STALE_US)
        hung_after_us = PROBE_STALE_US;
    *pg = a->control;
    pg->running = pg_server_pid(a->server) != 0;
    pg->foreign_server = !pg->running && a->foreign_server;
    if (!pg->running)
        return;
    pg->running_since_us = a->pg_started_at_us;
    pg->starting_since_us = a->pg_started_at_us;
    pg->rejecting_since_us = a->pg.rejecting_since_us;
    (void)text_copy(pg->follows, sizeof(pg->follows), a->follows);
    /* Before SQL has answered it is what we started it as. */
    pg->in_recovery = a->pg.valid ? f->in_recovery : a->was_standby_started;
    pg->accepting = a->pg.valid && now_us - a->pg.answered_at_us < PROBE_STALE_US;
    pg->answered_at_us = a->pg.answered_at_us;
    pg->hung = (a->pg.silent_since_us && now_us - a->pg.silent_since_us > hung_after_us) ||
               (a->connect_failing_since_us && now_us - a->connect_failing_since_us > hung_after_us);
    if (!a->pg.valid)
        return;
    pg->sysid = f->system_identifier;
    pg->timeline = f->timeline;
    pg->current_lsn = f->current_lsn;
    pg->receive_lsn = f->receive_lsn;
    pg->replay_lsn = f->replay_lsn;
    pg->streaming = strcmp(f->replication_state, "streaming") == 0;
    pg->replay_paused = f->replay_paused;
    pg->starved_since_us = a->parameters.starved_since_us;
    pg->replaying = f->in_recovery && !f->replayed_all && !*f->timeline_doubt;
}

struct storage_times agent_storage_times(const struct agent *a)
{
    return storage_times_for(a->config->storage_probe.interval_us, a->config->storage_probe.timeout_us,
                             a->dynamic->policy.loop_wait_us, a->dynamic->policy.ttl_us);
}

static void view_storage(const struct agent *a, struct storage_view *s)
{
    static const struct storage_track nothing;
    const struct storage_track *data = storage_track_of(a->storage, false);

    storage_view_of(data ? data : &nothing, storage_track_of(a->storage, true),
                    a->config->storage_probe.mode == STORAGE_PROBE_FENCE, s);
}

int64_t agent_realtime_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void gather_view(struct agent *a, struct ha_view *ret)
{
    uint64_t now_us = clock_now_us();
    uint64_t read_at_us = a->cluster ? a->cluster->read_sent_at_us : 0;

    *ret = (struct ha_view){
        .now_us = now_us,
        .was_frozen = read_at_us < a->frozen_at_us,
        .stopping = a->stopping,
        .stopping_since_us = a->stopping_since_us,
        .name = a->config->name,
        .tags = a->config->tags,
        .policy = a->dynamic->policy,
        .bootstrap_incomplete = a->bootstrap_incomplete,
        .bootstrap_made = a->bootstrap_made,
        .copy_incomplete = a->copy_incomplete,
        .rewind_incomplete = a->rewind_incomplete,
        .config_refused = a->config_refused,
        .fence_guard = a->fence_guard,
        .rewind_possible = a->rewind_possible,
        .slots_to_copy = slots_to_copy(a),
        .cluster = a->store_failed ? NULL : a->cluster,
        .store_unread = !a->cluster && !a->store_failed,
        .cluster_is_fresh = !a->store_failed && read_at_us && now_us - read_at_us < FRESH_US && !a->store_busy,
        .lease = a->lease,
        .member = a->member,
        .op = a->op.kind,
        .op_since_us = a->op.since_us,
        .op_timeout_us = a->op.timeout_us,
        .realtime_us = agent_realtime_us(),
        .request = a->requests.of_node,
        .peers = a->peers,
        .n_peers = a->n_peers,
        .peers_asked_at_us = a->peers_asked_at_us,
        .peers_answered_at_us = a->peers_answered_at_us,
        .known = cold_start_known(a),
        .sync_is_foreign = sync_is_foreign(a),
        .acquiring = a->acquiring,
        .memory = a->memory,
    };
    failsafe_view(a, &ret->failsafe);
    view_keeper(a, &ret->keeper);
    view_pg(a, now_us, &ret->pg);
    view_storage(a, &ret->storage);
}

void gather_done(struct agent *a)
{
    a->control_run = pg_controldata_free(a->control_run);
    connect_check_forget(a);
    probe_result_done(&a->pg);
    a->cluster = cluster_free(a->cluster);
}
