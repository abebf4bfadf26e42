/* The dynamic configuration: from the store, merged, applied to PostgreSQL's files. */
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/log.h"

static void log_problems(const struct config_problems *problems)
{
    for (size_t i = 0; i < problems->n; i++)
        log_warning("dynamic configuration: %s: %s", problems->items[i].path, problems->items[i].message);
}

void agent_apply_config(struct agent *a)
{
    struct config_problems problems = {0};
    struct dynamic *dynamic = NULL;
    struct err err = {0};
    bool changed = false;

    if (!a->cluster->config.exists || a->cluster->config.revision == a->config_revision)
        return;
    a->config_revision = a->cluster->config.revision;
    if (dynamic_parse(a->cluster->config.text, a->config, &dynamic, &problems, &err) < 0) {
        log_error("the dynamic configuration in the store cannot be used, keeping the old one: %s", err.msg);
        log_problems(&problems);
        config_problems_done(&problems);
        return;
    }
    log_problems(&problems);
    config_problems_done(&problems);
    dynamic_free(a->dynamic);
    a->dynamic = dynamic;
    log_info("using the dynamic configuration of the store");
    if (a->op.kind != OP_NONE || !pg_server_pid(a->server) || !a->pg.valid)
        return;
    if (write_files(a, a->pg.facts.in_recovery, a->follows, &changed, &err) < 0)
        log_error("could not write PostgreSQL's configuration: %s", err.msg);
    else if (changed)
        (void)pg_server_reload(a->server);
}
