/*
 * SIGHUP and POST /reload: the local file is read anew, then the store, then PostgreSQL's files are written and
 * PostgreSQL reloaded, even if nothing has changed. A file with mistakes changes nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "agent/parts.h"
#include "base/log.h"
#include "base/text.h"

static void log_each(enum log_level level, const char *what, char *text)
{
    char *rest = text, *line;

    while (rest && (line = strsep(&rest, "\n")))
        if (*line)
            log_write(level, "%s%s", what, line);
    free(text);
}

static struct config *read_file(const struct agent *a)
{
    struct config *fresh = NULL;
    struct config_problems problems;
    struct err err = {0};
    int r = config_load(a->config->path, &fresh, &problems, &err);

    if (r < 0)
        log_error("the configuration file cannot be used, keeping what was read before: %s", err.msg);
    if (problems.n)
        log_each(r < 0 ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "", config_problems_text(&problems));
    config_problems_done(&problems);
    return fresh;
}

/* Local settings that win over the store's have a part in what the dynamic configuration means. */
static void read_dynamic_again(struct agent *a)
{
    struct dynamic *dynamic = NULL;
    struct config_problems problems;

    if (dynamic_parse(a->dynamic->json, a->config, &dynamic, &problems, NULL) >= 0) {
        dynamic_free(a->dynamic);
        a->dynamic = dynamic;
    }
    config_problems_done(&problems);
}

static void log_in_anew(struct agent *a)
{
    struct pg_probe *probe = NULL;
    struct err err = {0};

    if (agent_probe_new(a, &probe, &err) < 0) {
        log_error("could not log in with the new credentials: %s", err.msg);
        return;
    }
    a->probe = pg_probe_free(a->probe);
    a->probe = probe;
    a->probe_busy = false;
}

static void renew(struct agent *a, struct config *fresh)
{
    struct textbuf applied = {0}, needs_restart = {0};
    bool new_login;
    int level;

    new_login = !text_equal(a->config->postgresql.superuser.username, fresh->postgresql.superuser.username) ||
                !text_equal(a->config->postgresql.superuser.password, fresh->postgresql.superuser.password) ||
                !text_equal(a->config->postgresql.replication.username, fresh->postgresql.replication.username) ||
                !text_equal(a->config->postgresql.replication.password, fresh->postgresql.replication.password) ||
                !text_equal(a->config->postgresql.database, fresh->postgresql.database);
    config_renew(a->own_config, fresh, &applied, &needs_restart);
    level = log_level_from_name(a->config->log.level);
    if (level >= 0)
        log_set_level((enum log_level)level);
    log_each(LOG_LEVEL_INFO, "configuration: ", textbuf_take(&applied));
    log_each(LOG_LEVEL_WARNING,
             "configuration: takes effect with the next start of pgtether: ", textbuf_take(&needs_restart));
    if (new_login)
        log_in_anew(a);
    read_dynamic_again(a);
    fence_tags_changed(a);
    a->member_face[0] = '\0'; /* tags and addresses are published at once */
}

void agent_reload(struct agent *a, const char *who)
{
    struct config *fresh;

    log_info("%s asks for a reload: reading \"%s\" again", who, a->config->path);
    fresh = read_file(a);
    if (fresh)
        renew(a, fresh);
    if (a->on_reloaded)
        a->on_reloaded(a->on_reloaded_userdata);
    settings_done(&a->parameters.refused); /* what was not accepted may be now: a library was installed, say */
    a->config_unsettled = true;
    a->config_reload = true;
    a->config_revision = 0;
    gather_store(a);
    gather_pg(a);
    agent_wake(a);
}
