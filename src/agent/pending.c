/*
 * Which parameters wait for a restart of PostgreSQL, and why. Of those in the files the server itself knows it
 * (pg_settings.pending_restart); the protected ones are given on its command line, which hides the files, so they are
 * compared here.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "config/value.h"
#include "pg/params.h"

enum { LOOK_AGAIN_US = 1000000, CONTROL_TIMEOUT_US = 10000000, MEMBERS_SAY_US = 2000000, VALUE_SIZE = 256 };

/* What a standby must not have less of than its WAL's source. */
static uint32_t wal_value(const struct local_pg *control, const char *name, bool *must_not_fall)
{
    const struct {
        const char *name;
        uint32_t value;
    } rows[] = {
        {"max_connections", control->control_max_connections},
        {"max_worker_processes", control->control_max_worker_processes},
        {"max_wal_senders", control->control_max_wal_senders},
        {"max_prepared_transactions", control->control_max_prepared_xacts},
        {"max_locks_per_transaction", control->control_max_locks_per_xact},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].name, name) == 0) {
            *must_not_fall = true;
            return control->control_known ? rows[i].value : 0;
        }
    }
    *must_not_fall = false;
    return 0;
}

/* --- the other members -------------------------------------------------------------------------------------------- */

/* Whether this member says that it still runs with less than wanted. */
static bool runs_with_less(const struct member *m, const char *name, int64_t wanted)
{
    json_t *json = m->data ? json_loads(m->data, 0, NULL) : NULL;
    const json_t *reason = json_object_get(json_object_get(json, "pending_restart_reason"), name);
    const char *old_value = json_string_value(json_object_get(reason, "old_value"));
    int64_t old;
    bool less = old_value && value_to_int(old_value, VALUE_PLAIN, &old) && old < wanted;

    json_decref(json);
    return less;
}

static unsigned members_below(const struct agent *a, const char *name, int64_t wanted)
{
    /* Right after a change nobody has said anything about it. */
    bool too_early = clock_now_us() - a->parameters.changed_at_us < a->dynamic->policy.loop_wait_us + MEMBERS_SAY_US;
    unsigned n = 0;

    for (size_t i = 0; a->cluster && i < a->cluster->n_members; i++) {
        const struct member *m = &a->cluster->members[i];

        if (strcmp(m->name, a->config->name) == 0 || m->role != PG_ROLE_REPLICA)
            continue;
        n += too_early || (m->pending_restart && runs_with_less(m, name, wanted));
    }
    return n;
}

/* --- the control file of a running standby ------------------------------------------------------------------------ */

static void on_control(void *userdata, int outcome, const struct local_pg *found, const struct err *err)
{
    struct agent *a = userdata;

    a->parameters.control_run = pg_controldata_free(a->parameters.control_run);
    if (outcome < 0)
        log_debug("could not read the control file: %s", err->msg);
    else if (found->control_known)
        a->parameters.control = *found;
    a->parameters.pending_at_us = 0;
    agent_wake(a);
}

/* Its WAL says when the primary was restarted with less: only then a restart of the standby is not in vain. */
static void look_at_control(struct agent *a)
{
    uint64_t now_us = clock_now_us();
    struct err err = {0};

    if (a->parameters.control_run || now_us - a->parameters.control_at_us < a->dynamic->policy.loop_wait_us)
        return;
    a->parameters.control_at_us = now_us;
    if (pg_controldata_start(a->loop, a->config, CONTROL_TIMEOUT_US, on_control, a, &a->parameters.control_run, &err) <
        0)
        log_warning("could not read the control file: %s", err.msg);
}

/* --- replay that stands still ----------------------------------------------------------------------------------------
 */

/* The control file has what the WAL says as soon as that is replayed, before PostgreSQL looks whether it has as much.
 */
static bool has_less_than_its_wal(const struct agent *a)
{
    for (size_t i = 0; params_protected_name(i); i++) {
        const struct guc *g = guc_find(a->parameters.catalog, params_protected_name(i));
        bool must_not_fall;
        uint32_t wal = wal_value(&a->parameters.control, params_protected_name(i), &must_not_fall);
        int64_t running;

        if (g && wal && value_to_int(g->setting, VALUE_PLAIN, &running) && running < wal)
            return true;
    }
    return false;
}

static void note_replay(struct agent *a)
{
    if (!a->pg.facts.in_recovery || !a->pg.facts.replay_paused) {
        a->parameters.starved_since_us = 0;
        return;
    }
    if (!a->parameters.starved_since_us && has_less_than_its_wal(a)) {
        log_warning("replay stands still: this standby was started with less than the primary has by now");
        a->parameters.starved_since_us = clock_now_us();
    }
    look_at_control(a);
}

/* --- what waits --------------------------------------------------------------------------------------------------- */

struct findings {
    json_t *due;
    struct textbuf later;
    bool wants_control;
};

static void add_reason(struct findings *f, const char *name, const char *old_value, const char *new_value)
{
    json_t *reason = json_pack("{s:s, s:s}", "old_value", old_value, "new_value", new_value);

    if (reason)
        (void)json_object_set_new(f->due, name, reason);
}

static void add_protected(const struct agent *a, const char *name, const struct params *wanted, struct findings *f)
{
    const struct guc *g = guc_find(a->parameters.catalog, name);
    const char *value = params_get(wanted, name);
    char old_value[VALUE_SIZE], new_value[VALUE_SIZE];
    struct pending_view v = {.is_standby = a->pg.facts.in_recovery};

    if (!g || !value || strcmp(name, "hot_standby") == 0 || guc_equal(g, g->setting, value))
        return;
    v.differs = true;
    v.wal = wal_value(&a->parameters.control, name, &v.must_not_fall);
    (void)value_to_int(g->setting, VALUE_PLAIN, &v.running);
    (void)value_to_int(value, VALUE_PLAIN, &v.wanted);
    if (v.must_not_fall && !v.is_standby)
        v.members_below = members_below(a, name, v.wanted);
    guc_print(g, g->setting, old_value, sizeof(old_value));
    guc_print(g, value, new_value, sizeof(new_value));
    f->wants_control |= v.is_standby && v.must_not_fall && v.wanted < v.running;
    if (ha_pending(&v) == PENDING_LATER)
        textbuf_printf(&f->later, "%s%s from %s to %s, which %s first", f->later.len ? "; " : "", name, old_value,
                       new_value,
                       v.is_standby ? "the primary must be restarted for" : "all standbys must be restarted for");
    else
        add_reason(f, name, old_value, new_value);
}

static bool is_protected(const char *name)
{
    for (size_t i = 0; params_protected_name(i); i++)
        if (strcmp(params_protected_name(i), name) == 0)
            return true;
    return false;
}

/* A parameter that the server itself says waits for a restart. Its new value may be from a file that is not ours. */
static void add_known(const struct agent *a, const struct pg_pending_setting *p, const struct params *wanted,
                      struct findings *f)
{
    const struct guc *g = guc_find(a->parameters.catalog, p->name);
    const struct setting *in_file = settings_find(&a->parameters.file_values, p->name);
    const char *value = params_get(wanted, p->name);
    char new_value[VALUE_SIZE];

    /* Of the protected ones the server says so, too, but not whether it is time for it. */
    if (params_is_recovery_name(p->name) || is_protected(p->name))
        return;
    if (!value && in_file)
        value = in_file->value;
    if (!value && g)
        value = g->boot;
    if (g && value)
        guc_print(g, value, new_value, sizeof(new_value));
    else
        (void)text_copy(new_value, sizeof(new_value), value ? value : "?");
    add_reason(f, p->name, p->old_value, new_value);
}

static void find_all(const struct agent *a, struct findings *f)
{
    CLEANUP(params_done) struct params wanted = {0};
    CLEANUP(params_done) struct params recovery = {0};
    struct pg_files_spec spec = files_spec(a, false, NULL);

    if (params_merge(&spec, &wanted, &recovery, NULL) < 0)
        return;
    for (size_t i = 0; params_protected_name(i); i++)
        add_protected(a, params_protected_name(i), &wanted, f);
    for (size_t i = 0; i < a->pg.facts.n_pending; i++)
        add_known(a, &a->pg.facts.pending[i], &wanted, f);
}

static void keep_due(struct agent *a, char *json)
{
    if (!text_equal(json, a->parameters.pending_json)) {
        a->parameters.pending_generation++;
        if (json)
            log_info("PostgreSQL must be restarted for changed parameters: %s", json);
        else
            log_info("no restart of PostgreSQL is due any more");
    }
    free(a->parameters.pending_json);
    a->parameters.pending_json = json;
}

static void keep_later(struct agent *a, char *later)
{
    if (later && !*later) {
        free(later);
        later = NULL;
    }
    if (later && !text_equal(later, a->parameters.later))
        log_info("a restart of PostgreSQL waits for other members: %s", later);
    free(a->parameters.later);
    a->parameters.later = later;
}

void pending_update(struct agent *a)
{
    struct findings f = {0};
    uint64_t now_us = clock_now_us();

    if (!a->pg.valid || !pg_server_pid(a->server) ||
        a->parameters.catalog_epoch_us != a->pg.facts.postmaster_start_epoch_us ||
        (a->parameters.pending_at_us && now_us - a->parameters.pending_at_us < LOOK_AGAIN_US))
        return;
    a->parameters.pending_at_us = now_us;
    f.due = json_object();
    find_all(a, &f);
    keep_due(a, json_object_size(f.due) ? json_dumps(f.due, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL);
    keep_later(a, textbuf_take(&f.later));
    json_decref(f.due);
    if (f.wants_control)
        look_at_control(a);
    note_replay(a);
}

const char *pending_restart_reason(const struct agent *a)
{
    bool current = a->pg.valid && a->parameters.catalog_epoch_us == a->pg.facts.postmaster_start_epoch_us;

    return current ? a->parameters.pending_json : NULL;
}
