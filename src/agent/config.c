/*
 * The dynamic configuration: from the store, merged, applied to PostgreSQL's files. The last one accepted is also kept
 * in the data directory, under the reference's name, for a start without the store (facts sheet 1.3).
 */
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "config/change.h"
#include "io/file.h"

enum { CACHE_MAX_BYTES = 1024 * 1024 };
/* How long PostgreSQL may take to read its files after the signal; asking earlier only means to be told less. */
#define RELOAD_TAKES_US (300 * USEC_PER_MSEC)

static void log_problems(const struct config_problems *problems)
{
    for (size_t i = 0; i < problems->n; i++)
        log_warning("dynamic configuration: %s: %s", problems->items[i].path, problems->items[i].message);
}

static bool cache_path(const struct config *c, char *buf, size_t size)
{
    return text_print(buf, size, "%s/patroni.dynamic.json", c->postgresql.data_dir);
}

static int parse(const char *json, const struct config *config, struct dynamic **ret, struct err *err)
{
    struct config_problems problems = {0};
    int r = dynamic_parse(json, config, ret, &problems, err);

    log_problems(&problems);
    config_problems_done(&problems);
    return r;
}

int agent_load_config(struct agent *a, struct err *err)
{
    CLEANUP(freep) char *cached = NULL;
    char path[512];

    if (cache_path(a->config, path, sizeof(path)) && file_read(path, CACHE_MAX_BYTES, &cached, NULL, NULL) >= 0 &&
        parse(cached, a->config, &a->dynamic, NULL) >= 0) {
        a->config_accepted = true;
        return 0;
    }
    return parse(a->config->bootstrap.dcs_json, a->config, &a->dynamic, err);
}

/* Who changed something, and when, the store does not know: the log of every member says what. */
static void note_changes(struct agent *a, const struct dynamic *before, const struct dynamic *after)
{
    json_t *old = json_loads(before->json, 0, NULL), *new = json_loads(after->json, 0, NULL);
    struct textbuf text = {0};
    char *rest, *line;

    change_describe(old, new, &text);
    if (text.data)
        config_history_note(a, text.data);
    rest = text.data;
    while (rest && (line = strsep(&rest, "\n")))
        if (*line)
            log_info("dynamic configuration: %s", line);
    textbuf_done(&text);
    json_decref(old);
    json_decref(new);
}

/* Under the same leader key, the same leader may be on another way now, and the one that counts is another's. */
static void note_standby_cluster(struct agent *a, const struct dynamic *now)
{
    if (a->dynamic->policy.standby_cluster == now->policy.standby_cluster)
        return;
    a->memory.divergence = DIVERGENCE_UNKNOWN;
    a->memory.rewind_failed = false;
    a->memory.retry_check_at_us = 0;
    a->memory.left_remote_at_us = now->policy.standby_cluster ? 0 : clock_now_us();
    gather_pg(a);
}

void agent_apply_config(struct agent *a)
{
    struct dynamic *dynamic = NULL;
    struct storage_times times;
    struct err err = {0};

    if (!a->cluster->config.exists)
        a->config_refused = false;
    if (!a->cluster->config.exists || a->cluster->config.revision == a->config_revision)
        return;
    a->config_revision = a->cluster->config.revision;
    if (parse(a->cluster->config.text, a->config, &dynamic, &err) < 0) {
        a->config_refused = !a->config_accepted;
        log_error("the dynamic configuration in the store cannot be used, keeping the old one: %s", err.msg);
        return;
    }
    if (a->config_accepted)
        note_changes(a, a->dynamic, dynamic);
    else
        log_info("using the dynamic configuration of the store");
    note_standby_cluster(a, dynamic);
    dynamic_free(a->dynamic);
    a->dynamic = dynamic;
    a->config_unsettled = true;
    a->parameters.changed_at_us = clock_now_us();
    a->config_accepted = true;
    a->config_refused = false;
    times = agent_storage_times(a);
    storage_set_times(a->storage, &times);
    promise_prepare(a);
}

static void write_cache(struct agent *a)
{
    struct err err = {0};
    char path[512];

    if (!cache_path(a->config, path, sizeof(path)) ||
        file_write_atomic(path, a->dynamic->json, strlen(a->dynamic->json), 0600, &err) < 0)
        log_warning("could not keep a copy of the dynamic configuration: %s", err.msg);
}

static void reload(struct agent *a)
{
    a->config_reload = false;
    log_info("reloading PostgreSQL");
    if (pg_server_reload(a->server) == 0)
        hooks_reloaded(a);
    a->parameters.verify_at_us = clock_now_us() + RELOAD_TAKES_US;
    agent_wake_at(a, a->parameters.verify_at_us);
}

void agent_settle_config(struct agent *a)
{
    struct err err = {0};
    bool changed = false;

    if (!a->config_unsettled || a->op.kind != OP_NONE || !pg_server_pid(a->server) || !a->pg.valid)
        return;
    a->config_unsettled = false;
    write_cache(a);
    if (write_files(a, a->pg.facts.in_recovery, a->follows, &changed, &err) < 0)
        log_error("could not write PostgreSQL's configuration: %s", err.msg);
    else if (changed || a->config_reload)
        reload(a);
}
