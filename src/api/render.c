#include "api/render.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include "api/health.h"
#include "base/clock.h"
#include "base/text.h"

/* jansson writes ", " and ": " by itself, which is what Python writes by default. */
enum { DUMP_FLAGS = JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII };

/* null for nothing, and for foreign text that is not UTF-8, which jansson refuses. */
static json_t *text_or_null(const char *s)
{
    json_t *text = s[0] ? json_string(s) : NULL;

    return text ? text : json_null();
}

static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value);
}

/* JSON text of ours or of the store as a value; nothing is set for what is missing, broken or empty. */
static void set_json_text(json_t *object, const char *key, const char *text)
{
    json_t *value = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;

    if (value && json_object_size(value) + json_array_size(value) > 0)
        set(object, key, value);
    else
        json_decref(value);
}

static json_t *xlog(const struct node_status *n, enum pg_role role)
{
    json_t *x = json_object();

    if (role == PG_ROLE_PRIMARY || role == PG_ROLE_PROMOTED) {
        set(x, "location", json_integer((json_int_t)n->current_lsn));
        return x;
    }
    set(x, "received_location", json_integer((json_int_t)(n->receive_lsn ? n->receive_lsn : n->replay_lsn)));
    set(x, "replayed_location", json_integer((json_int_t)n->replay_lsn));
    set(x, "replayed_timestamp", text_or_null(n->replayed_timestamp));
    set(x, "paused", json_boolean(n->replay_paused));
    return x;
}

static json_t *walsender(const struct node_walsender *w)
{
    json_t *o = json_object();

    set(o, "usename", text_or_null(w->usename));
    set(o, "application_name", text_or_null(w->application_name));
    set(o, "client_addr", text_or_null(w->client_addr));
    set(o, "state", text_or_null(w->state));
    set(o, "sync_state", text_or_null(w->sync_state));
    set(o, "sync_priority", json_integer(w->sync_priority));
    return o;
}

/* Ours: where votes or the positions of all are needed, one counts only if it is known how old it is. */
static json_t *position_age(const struct node_status *n, uint64_t now_us)
{
    if (!n->position_asked_at_us)
        return json_null();
    return json_integer((json_int_t)(clock_rest_us(n->position_asked_at_us, now_us) / USEC_PER_MSEC) + 1);
}

/* The fields between "role" and "pause": only from a fresh answer of the server. */
static void set_sql_facts(json_t *o, const struct node_status *n, uint64_t now_us)
{
    enum pg_role role = health_role(n, now_us);

    set(o, "server_version", json_integer(n->server_version_num));
    set(o, "xlog", xlog(n, role));
    if (health_is_sync_standby(n, now_us))
        set(o, n->policy.sync_mode == SYNC_MODE_QUORUM ? "quorum_standby" : "sync_standby", json_true());
    set(o, "timeline", json_integer(n->timeline));
    if (n->replication_state[0] && role != PG_ROLE_PRIMARY)
        set(o, "replication_state", text_or_null(n->replication_state));
    if (n->n_walsenders) {
        json_t *list = json_array();

        for (size_t i = 0; i < n->n_walsenders; i++)
            (void)json_array_append_new(list, walsender(&n->walsenders[i]));
        set(o, "replication", list);
    }
}

static json_t *identity(const struct node_status *n)
{
    json_t *o = json_object();

    set(o, "version", json_string(n->version));
    set(o, "scope", json_string(n->scope));
    set(o, "name", json_string(n->name));
    return o;
}

static void set_disk(json_t *object, const char *name, const struct storage_track *t, uint64_t now_us)
{
    json_t *o;

    if (!t)
        return;
    o = json_object();
    set(o, "state", json_string(storage_state_text(t->state)));
    set(o, "answered_ms_ago", json_integer((json_int_t)(clock_rest_us(t->answered_at_us, now_us) / USEC_PER_MSEC)));
    if (t->last.outcome == STORAGE_GOOD && t->answers)
        set(o, "latency_us", json_integer((json_int_t)t->last.latency_us));
    if (t->error[0] && t->state != STORAGE_OK)
        set(o, "error", text_or_null(t->error));
    set(object, name, o);
}

static bool disk_failed(const struct storage_track *t)
{
    return t && storage_has_failed(t);
}

static void set_storage(json_t *object, const struct node_status *n, uint64_t now_us)
{
    json_t *o = json_object();

    set_disk(o, "data", n->storage_data, now_us);
    set_disk(o, "wal", n->storage_wal, now_us);
    if (json_object_size(o) > 0)
        set(object, "storage", o);
    else
        json_decref(o);
}

static json_t *seconds(uint64_t us)
{
    return json_real((double)(us / 1000) / 1000);
}

/* Ours: the reference shows nothing but watchdog_failed. */
static void set_fencing(json_t *o, const struct node_status *n, uint64_t now_us)
{
    json_t *w;

    if (n->watchdog_mode) {
        w = json_object();
        set(w, "mode", json_string(n->watchdog_mode));
        set(w, "state", json_string(n->watchdog_state ? n->watchdog_state : "unknown"));
        if (n->watchdog_why[0])
            set(w, "why", text_or_null(n->watchdog_why));
        if (n->watchdog_identity[0])
            set(w, "driver", text_or_null(n->watchdog_identity));
        if (n->watchdog_resets_at_us) {
            set(w, "timeout", seconds(n->watchdog_timeout_us));
            set(w, "reset_time", seconds(n->watchdog_reset_us));
            set(w, "seconds_left", seconds(clock_rest_us(now_us, n->watchdog_resets_at_us)));
            set(w, "last_pet_ago", seconds(clock_rest_us(n->watchdog_last_pet_us, now_us)));
        }
        set(w, "late_pets", json_integer(n->watchdog_late_pets));
        set(o, "watchdog", w);
    }
    set_json_text(o, "fence_report", n->fence_report_json);
    if (n->fence_guard)
        set(o, "fence_guard", json_true());
}

static void set_kernel_leases(json_t *object, const struct node_status *n)
{
    json_t *o;

    if (!n->gate_state)
        return;
    o = json_object();
    set(o, "serves", json_string(n->serves));
    set(o, "gate", json_string(n->gate_state));
    set(o, "addresses", json_integer(n->addresses));
    set(o, "addresses_held", json_integer(n->addresses_held));
    set(o, "address_conflicts", json_integer(n->address_conflicts));
    set(o, "restarts", json_integer(n->net_restarts));
    if (n->kernel_leases_note && n->kernel_leases_note[0])
        set(o, "problem", json_string(n->kernel_leases_note));
    set(object, "kernel_leases", o);
}

static json_t *slot(const struct slot *s, uint64_t position_lsn)
{
    uint64_t retained = s->restart_lsn && position_lsn > s->restart_lsn ? position_lsn - s->restart_lsn : 0;
    json_t *o = json_object();

    set(o, "name", text_or_null(s->name));
    set(o, "type", json_string(s->physical ? "physical" : "logical"));
    if (!s->physical) {
        set(o, "database", text_or_null(s->database));
        set(o, "plugin", text_or_null(s->plugin));
        set(o, "confirmed_flush_location", json_integer((json_int_t)s->confirmed_lsn));
    }
    set(o, "active", json_boolean(s->active));
    set(o, "restart_location", json_integer((json_int_t)s->restart_lsn));
    set(o, "retained_bytes", json_integer((json_int_t)retained));
    set(o, "wal_status", text_or_null(s->wal_status));
    if (s->safe_wal_bytes >= 0)
        set(o, "safe_wal_size", json_integer((json_int_t)s->safe_wal_bytes));
    return o;
}

/* Ours: the reference shows no slots. */
static void set_slots(json_t *o, const struct node_status *n, uint64_t now_us)
{
    json_t *list;

    if (!health_sql_ok(n, now_us) || !n->n_slots)
        return;
    list = json_array();
    for (size_t i = 0; i < n->n_slots; i++)
        (void)json_array_append_new(list, slot(&n->slots[i], n->slots_position_lsn));
    set(o, "slots", list);
    if (n->max_slot_wal_keep_bytes >= 0)
        set(o, "max_slot_wal_keep_size", json_integer((json_int_t)n->max_slot_wal_keep_bytes));
    if (n->slots_note && n->slots_note[0])
        set(o, "slots_problem", text_or_null(n->slots_note));
}

/* Exactly what an operator types who does not wait any longer. */
static void set_command(json_t *o, const struct node_status *n)
{
    char command[COLD_START_COMMAND_SIZE];

    cold_start_command(n->cold_start, n->scope, command, sizeof(command));
    set(o, "command", text_or_null(command));
}

/* Ours: after an outage of all members the election waits for those that have not come back. */
static void set_cold_start(json_t *object, const struct node_status *n, uint64_t now_us)
{
    const struct cold_start *s = n->cold_start;
    json_t *o;

    if (n->leader_seen)
        set(object, "leader_seen", json_true());
    if (n->has_nothing)
        set(object, "has_nothing", json_true());
    if (!s)
        return;
    o = json_object();
    set(o, "waiting_for", text_or_null(s->missing));
    set(o, "waiting_seconds", json_integer((json_int_t)(clock_rest_us(s->since_us, now_us) / USEC_PER_SEC)));
    set(o, "waits_at_most_seconds",
        s->until_us ? json_integer((json_int_t)(clock_rest_us(now_us, s->until_us) / USEC_PER_SEC)) : json_null());
    set(o, "candidate", text_or_null(s->candidate));
    set(o, "bytes_behind", s->cost_known ? json_integer((json_int_t)s->cost_bytes) : json_null());
    set_command(o, n);
    set(object, "cold_start", o);
}

static bool somebody_leads(const struct node_status *n, uint64_t now_us)
{
    return health_view_is_valid(n, now_us) && n->cluster->leader.exists;
}

static void set_node_facts(json_t *o, const struct node_status *n, uint64_t now_us)
{
    char sysid[24];

    if (n->impostor_note && n->impostor_note[0])
        set(o, "impostor", json_string(n->impostor_note));
    if (n->policy.pause)
        set(o, "pause", json_true());
    if (!somebody_leads(n, now_us))
        set(o, "cluster_unlocked", json_true());
    set_cold_start(o, n, now_us);
    if (node_failsafe_is_active(n, now_us))
        set(o, "failsafe_mode_is_active", json_true());
    set(o, "dcs_last_seen", json_integer(n->dcs_last_seen_s));
    set_json_text(o, "tags", n->tags_json);
    if (n->sysid) {
        (void)text_print(sysid, sizeof(sysid), "%llu", (unsigned long long)n->sysid);
        set(o, "database_system_identifier", json_string(sysid));
    }
    if (n->pending_restart) {
        set(o, "pending_restart", json_true());
        set_json_text(o, "pending_restart_reason", n->pending_restart_reason_json);
    }
    if (n->parameters_note && n->parameters_note[0])
        set(o, "parameters_problem", json_string(n->parameters_note));
    set(o, "patroni", identity(n));
    if (n->scheduled_restart_json)
        set_json_text(o, "scheduled_restart", n->scheduled_restart_json);
    /* To members of both kinds it means: this one will not lead, so do not wait for it although it has more WAL. */
    if (n->watchdog_failed || n->gate_failed ||
        (n->storage_fences && (disk_failed(n->storage_data) || disk_failed(n->storage_wal))))
        set(o, "watchdog_failed", json_true());
    set_storage(o, n, now_us);
    set_fencing(o, n, now_us);
    set_kernel_leases(o, n);
    set_slots(o, n, now_us);
}

/* Also that of a server that has not replayed all: without the field it would count as one of the reference. */
static bool position_age_matters(const struct node_status *n, uint64_t now_us)
{
    return n->policy.sync_mode != SYNC_MODE_OFF || !somebody_leads(n, now_us) || !n->position_asked_at_us;
}

static char *dump(json_t *value)
{
    char *text = value ? json_dumps(value, DUMP_FLAGS) : NULL;

    json_decref(value);
    return text;
}

char *render_status(const struct node_status *n, uint64_t now_us)
{
    bool sql_ok = health_sql_ok(n, now_us);
    enum pg_role role = health_role(n, now_us);
    json_t *o = json_object();

    set(o, "state", json_string(pg_state_text(health_state(n, now_us))));
    if (sql_ok && n->postmaster_start_time[0])
        set(o, "postmaster_start_time", text_or_null(n->postmaster_start_time));
    /* On the wire a server that was just told to promote is already what it is about to be. */
    set(o, "role", json_string(pg_role_text(role == PG_ROLE_PROMOTED && sql_ok ? PG_ROLE_PRIMARY : role)));
    if (sql_ok)
        set_sql_facts(o, n, now_us);
    set_node_facts(o, n, now_us);
    if (sql_ok && role != PG_ROLE_PRIMARY && position_age_matters(n, now_us))
        set(o, "position_age_ms", position_age(n, now_us));
    return dump(o);
}

char *render_failsafe(const struct node_status *n)
{
    const struct failsafe_list *l = n->failsafe_list;
    json_t *o;

    if (!l || !l->n)
        return NULL;
    o = json_object();
    for (size_t i = 0; i < l->n; i++)
        set(o, l->items[i].name, json_string(l->items[i].api_url));
    return dump(o);
}

char *render_json_text(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);

    if (!value) {
        errno = EINVAL;
        return NULL;
    }
    return dump(value);
}
