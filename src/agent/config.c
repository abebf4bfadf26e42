/*
 * The dynamic configuration: from the store, merged, applied to PostgreSQL's files. The last one accepted is also kept
 * in the data directory, under the reference's name, for a start without the store (facts sheet 1.3).
 */
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"

enum { CACHE_MAX_BYTES = 1024 * 1024 };

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
    dynamic_free(a->dynamic);
    a->dynamic = dynamic;
    a->config_unsettled = true;
    a->config_accepted = true;
    a->config_refused = false;
    log_info("using the dynamic configuration of the store");
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
    else if (changed && pg_server_reload(a->server) == 0)
        hooks_reloaded(a);
}
