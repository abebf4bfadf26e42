/* What this node writes into the store: its member key always; as the leader also status, history and repairs. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "dcs/codec.h"

static uint64_t store_deadline_us(const struct agent *a)
{
    return clock_now_us() + a->dynamic->policy.retry_timeout_us;
}

/* What only a primary has to say. */
static bool leads_as_primary(const struct agent *a)
{
    return agent_leads(a) && agent_is_primary(a);
}

/* --- member key ----------------------------------------------------------------------------------------------------
 */

static enum pg_state operation_state(const struct agent *a)
{
    switch (a->op.kind) {
    case OP_BOOTSTRAP:
        return PG_STATE_INITDB;
    case OP_CLONE:
        return PG_STATE_CREATING_REPLICA;
    case OP_START_STANDBY:
    case OP_START_PRIMARY:
        return PG_STATE_STARTING;
    case OP_COPY_SLOTS:
        return PG_STATE_RESTARTING;
    case OP_DEMOTE:
        return pg_server_pid(a->server) ? PG_STATE_STOPPING : PG_STATE_STOPPED;
    case OP_RESTART:
        return PG_STATE_RESTARTING;
    case OP_NONE:
    case OP_PROMOTE:
    case OP_FOLLOW:
    case OP_CHECK_REWIND:
    case OP_REWIND:
    case OP_SET_ASIDE:
    case OP_ACQUIRE:
    case OP_RELEASE:
    case OP_ASK_PEERS:
        break;
    }
    return PG_STATE_UNKNOWN;
}

void publish_state(struct agent *a, enum pg_state *ret_state, enum pg_role *ret_role)
{
    enum pg_state state = operation_state(a);
    bool up = pg_server_pid(a->server) != 0;

    if (state == PG_STATE_UNKNOWN) {
        if (up)
            state = a->pg.valid ? PG_STATE_RUNNING : PG_STATE_STARTING;
        else if (a->memory.crashed)
            state = PG_STATE_CRASHED;
        else
            state = a->memory.failed_starts ? PG_STATE_START_FAILED : PG_STATE_STOPPED;
    }
    *ret_state = state;
    if (up && a->pg.valid)
        *ret_role = !agent_leads(a) ? PG_ROLE_REPLICA : agent_is_primary(a) ? PG_ROLE_PRIMARY : PG_ROLE_STANDBY_LEADER;
    else if (a->control.data_dir_known && a->control.data_dir_empty)
        *ret_role = PG_ROLE_UNINITIALIZED;
    else
        *ret_role = PG_ROLE_REPLICA;
}

void agent_api_url(const struct agent *a, char *buf, size_t size)
{
    const struct config *c = a->config;
    bool v6 = strchr(c->restapi.connect_host, ':') != NULL;

    (void)text_print(buf, size, v6 ? "%s://[%s]:%u/patroni" : "%s://%s:%u/patroni",
                     c->restapi.tls.certfile ? "https" : "http", c->restapi.connect_host, c->restapi.connect_port);
}

/* The worse one, where there are two. */
static const char *agent_note(const struct agent *a)
{
    const char *const notes[] = {cold_start_note(a), impostor_note(a), kernel_leases_note(a), slots_note(a),
                                 parameters_summary(a)};

    for (size_t i = 0; i < ARRAY_LEN(notes); i++)
        if (notes[i][0])
            return notes[i];
    return "";
}

static char *print_member(struct agent *a)
{
    const struct pg_facts *f = &a->pg.facts;
    const struct config *c = a->config;
    char conn_url[URL_SIZE], api_url[URL_SIZE], fence_note[FENCE_NOTE_SIZE] = "";
    bool v6 = strchr(c->postgresql.connect_host, ':') != NULL;
    struct member_report r = {.conn_url = conn_url, .api_url = api_url, .version = PATRONI_VERSION};

    (void)text_print(conn_url, sizeof(conn_url), v6 ? "postgres://[%s]:%u/%s" : "postgres://%s:%u/%s",
                     c->postgresql.connect_host, c->postgresql.connect_port, c->postgresql.database);
    agent_api_url(a, api_url, sizeof(api_url));
    publish_state(a, &r.state, &r.role);
    r.checkpoint_pending = a->checkpoint_pending && leads_as_primary(a);
    r.tags_json = sync_tags_json(a);
    r.fence_at_s = status_fence_news_s(a);
    if (r.fence_at_s)
        fence_report_text(&a->fence_history.reports[0], fence_note, sizeof(fence_note));
    r.fence_note = fence_note;
    r.note = agent_note(a);
    r.node = a->identity.node;
    r.pause = a->dynamic->policy.pause;
    r.scheduled_restart_json = a->requests.schedule_json;
    r.positions_known = a->pg.valid && (r.state == PG_STATE_RUNNING || r.state == PG_STATE_STARTING);
    if (r.positions_known) {
        r.pending_restart_reason_json = pending_restart_reason(a);
        r.pending_restart = r.pending_restart_reason_json != NULL;
        r.is_primary = !f->in_recovery;
        r.xlog_lsn = agent_position_lsn(a);
        r.replay_lsn = f->replay_lsn;
        r.receive_lsn = f->receive_lsn;
        r.replication_state = f->replication_state[0] ? f->replication_state : NULL;
        r.timeline = f->timeline;
    }
    return codec_print_member(&r);
}

static void on_member(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    a->member_busy = false;
    if (answer->outcome != DCS_DONE) {
        log_debug("could not write the member key: %s", answer->err.msg);
        a->member_face[0] = '\0';
    } else {
        a->member = (struct member_lease){.session = answer->session,
                                          .ttl_us = a->member_ttl_us,
                                          .granted_us = answer->ttl_us,
                                          .confirmed_at_us = answer->sent_at_us};
    }
    if (a->member_again) {
        a->member_again = false;
        publish(a);
    }
}

/* Positions move all the time and may wait for the next loop_wait; what others decide by is written at once. */
static bool member_is_due(struct agent *a)
{
    uint64_t now_us = clock_now_us();
    char face[192];
    enum pg_state state;
    enum pg_role role;

    publish_state(a, &state, &role);
    (void)text_print(face, sizeof(face), "%d %d %d %d %u %s %d %d %u %c %lld", a->fence_guard, sync_is_leaving(a),
                     (int)state, (int)role, a->pg.facts.timeline, a->pg.facts.replication_state,
                     a->dynamic->policy.pause, a->checkpoint_pending, a->parameters.pending_generation,
                     *agent_note(a) ? *agent_note(a) : '-',
                     (long long)(a->requests.schedule_json ? a->requests.schedule_at_s : 0));
    if (strcmp(face, a->member_face) == 0 && now_us - a->member_written_at_us < a->dynamic->policy.loop_wait_us)
        return false;
    (void)text_copy(a->member_face, sizeof(a->member_face), face);
    a->member_written_at_us = now_us;
    return true;
}

static void publish_member(struct agent *a)
{
    char *json;

    if (a->member_busy) {
        a->member_again = true;
        return;
    }
    if (!a->identity.is_clear || !member_is_due(a))
        return;
    json = print_member(a);
    if (!json)
        return;
    a->member_busy = true;
    a->member_ttl_us = replica_address_member_ttl_us(a);
    a->dcs->ops->touch_member(a->dcs, a->config->name, json, a->member_ttl_us, store_deadline_us(a), on_member, a);
    free(json);
}

enum { LAST_WORD_US = 1000000 };

static void on_last_member(void *userdata, struct dcs_answer *answer)
{
    (void)answer;
    agent_exit(userdata, AGENT_EXIT_OK);
}

void publish_last(struct agent *a)
{
    char *json;

    if (a->leaving)
        return;
    a->leaving = true;
    json = a->identity.is_clear ? print_member(a) : NULL;
    if (!json) {
        agent_exit(a, AGENT_EXIT_OK);
        return;
    }
    a->dcs->ops->touch_member(a->dcs, a->config->name, json, a->dynamic->policy.ttl_us, clock_now_us() + LAST_WORD_US,
                              on_last_member, a);
    free(json);
}

/* --- status --------------------------------------------------------------------------------------------------------
 */

static void on_status(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    a->status_busy = false;
    if (answer->outcome == DCS_DONE) {
        a->status_revision = answer->revision;
        return;
    }
    free(a->status_published);
    a->status_published = NULL;
}

static void publish_status(struct agent *a)
{
    bool is_gone = !a->cluster->status_text.exists && a->cluster->read_sent_at_us > a->status_written_at_us;
    CLEANUP(freep) char *json = NULL;

    if (a->status_busy || !agent_position_lsn(a))
        return;
    json = slots_print_status(a);
    if (!json || (text_equal(json, a->status_published) && !is_gone))
        return;
    free(a->status_published);
    a->status_published = STEAL(json);
    a->status_busy = true;
    a->status_written_at_us = clock_now_us();
    a->dcs->ops->put(a->dcs, "status", a->status_published, DCS_ANY, 0, store_deadline_us(a), on_status, a);
}

/* --- history -------------------------------------------------------------------------------------------------------
 */

static void on_history(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    a->history_busy = false;
    a->history_written_at_us = clock_now_us();
    if (answer->outcome != DCS_DONE)
        a->history_done_timeline = 0;
}

/* Times and names of older lines are carried over from the store; only the newest line is ours (facts sheet 1.7). */
static void complete_history(struct agent *a, struct history_line *lines, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < a->cluster->n_history; k++) {
            const struct history_line *old = &a->cluster->history[k];

            if (old->timeline != lines[i].timeline || old->switch_lsn != lines[i].switch_lsn)
                continue;
            (void)text_copy(lines[i].timestamp, sizeof(lines[i].timestamp), old->timestamp);
            (void)text_copy(lines[i].new_leader, sizeof(lines[i].new_leader), old->new_leader);
        }
    }
    if (n && !lines[n - 1].timestamp[0]) {
        time_t now = time(NULL);
        struct tm tm;

        (void)gmtime_r(&now, &tm);
        (void)strftime(lines[n - 1].timestamp, sizeof(lines[n - 1].timestamp), "%Y-%m-%dT%H:%M:%S.000000+00:00", &tm);
    }
    /* The time comes with the file that was read, the name does not. */
    if (n && !lines[n - 1].new_leader[0])
        (void)text_copy(lines[n - 1].new_leader, sizeof(lines[n - 1].new_leader), a->config->name);
}

/* The store has lost what we wrote: it was restored, or somebody deleted the key. */
static bool history_is_short(const struct agent *a, uint32_t timeline)
{
    return timeline > 1 && cluster_timeline(a->cluster) < timeline &&
           a->cluster->read_sent_at_us > a->history_written_at_us;
}

static void publish_history(struct agent *a)
{
    uint32_t timeline = a->pg.facts.timeline;
    struct history_line *lines = NULL;
    unsigned max = a->dynamic->policy.max_timelines_history;
    struct err err = {0};
    size_t n = 0, first;
    char *json;

    if (a->history_busy || !a->cluster || (a->history_done_timeline == timeline && !history_is_short(a, timeline)))
        return;
    if (timeline <= 1 && !a->cluster->n_history) {
        a->history_done_timeline = timeline;
        return;
    }
    if (timeline > 1 && pg_files_read_history(a->config, timeline, &lines, &n, &err) < 0) {
        log_warning("could not read the timeline history: %s", err.msg);
        return;
    }
    complete_history(a, lines, n);
    first = max && n > max ? n - max : 0;
    json = codec_print_history(lines + first, n - first);
    free(lines);
    if (!json)
        return;
    a->history_busy = true;
    a->history_done_timeline = timeline;
    a->dcs->ops->put(a->dcs, "history", json, DCS_ANY, 0, store_deadline_us(a), on_history, a);
    free(json);
}

/* --- repairs: keys that must exist while somebody leads -------------------------------------------------------------
 */

static void on_initialize(void *userdata, struct dcs_answer *answer)
{
    (void)answer;
    ((struct agent *)userdata)->initialize_busy = false;
}

static void on_config(void *userdata, struct dcs_answer *answer)
{
    (void)answer;
    ((struct agent *)userdata)->config_busy = false;
}

/* The last act of a bootstrap: after the configuration, which the others are to find. */
static void repair_initialize(struct agent *a)
{
    const struct text_key *key = &a->cluster->initialize;
    char sysid[24];

    if (a->initialize_busy || (key->exists && cluster_sysid_is_valid(key->text)) ||
        (a->bootstrap_incomplete && !(a->bootstrap_made && a->cluster->config.exists)))
        return;
    /* The first leader of a standby cluster takes over the mark of its own copy. */
    if (!a->bootstrap_incomplete && (agent_is_primary(a) || !key->exists))
        log_warning("the initialize key is missing or invalid: writing this cluster's system identifier");
    else if (!a->bootstrap_incomplete)
        log_info("initialized a new standby cluster");
    (void)text_print(sysid, sizeof(sysid), "%" PRIu64, a->pg.facts.system_identifier);
    a->initialize_busy = true;
    a->dcs->ops->put(a->dcs, "initialize", sysid, key->exists ? DCS_REVISION : DCS_ABSENT, key->revision,
                     store_deadline_us(a), on_initialize, a);
}

static void repair_config(struct agent *a)
{
    if (a->config_busy || a->cluster->config.exists)
        return;
    if (!a->bootstrap_incomplete)
        log_warning("the config key is missing: writing the configuration in effect");
    a->config_busy = true;
    a->dcs->ops->put(a->dcs, "config", a->dynamic->json, DCS_ABSENT, 0, store_deadline_us(a), on_config, a);
}

static void repair_keys(struct agent *a)
{
    /* Only on a view from our own time as the leader: an older one may lack what we have written since. */
    if (a->store_busy || !a->cluster->leader.exists || a->cluster->leader.session != a->lease.session ||
        a->cluster->read_sent_at_us < a->op_ended_at_us)
        return;
    repair_initialize(a);
    repair_config(a);
}

void publish(struct agent *a)
{
    if (a->leaving)
        return;
    publish_member(a);
    if (a->op.kind != OP_NONE || !a->pg.valid || !pg_server_pid(a->server))
        return;
    slots_maintain(a, agent_leads(a));
    if (!agent_leads(a) || !a->cluster || a->store_failed)
        return;
    publish_status(a);
    failsafe_publish(a);
    cold_start_publish(a);
    if (leads_as_primary(a)) {
        publish_history(a);
        timeline_publish(a);
    }
    config_history_publish(a);
    repair_keys(a);
}
