#include "backup/fill.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "backup/plan.h"
#include "base/text.h"

static const char *const refused[] = {"pgdata", "nosync", "pwfile", "sync-only", "version", NULL};

static bool has_text(const char *s)
{
    return s && *s;
}

int initdb_args(const struct config *config, struct tool_args *ret, struct err *err)
{
    const struct credentials *superuser = &config->postgresql.superuser;
    int r;

    tool_args_program(ret, config, "initdb");
    r = fill_add_options(ret, &config->bootstrap.initdb, refused, true, "initdb", err);
    if (r < 0)
        return r;
    if (has_text(superuser->username))
        tool_args_add(ret, "--username=%s", superuser->username);
    /* The password comes through standard input: no file to forget, nothing on the command line. */
    if (has_text(superuser->password))
        tool_args_add(ret, "--pwfile=/dev/stdin");
    tool_args_add(ret, "--pgdata=%s", config->postgresql.data_dir);
    return ret->failed ? err_set(err, -ENOMEM, "out of memory") : 0;
}

/* bootstrap.pg_hba is for clusters whose pg_hba.conf nobody else writes: neither this file nor the initial dynamic
 * configuration may have lines of their own. */
static bool wants_hba_lines(const struct config *config)
{
    CLEANUP(dynamic_freep) struct dynamic *dynamic = NULL;
    struct config_problems problems = {0};
    bool others_do = config->postgresql.pg_hba.n > 0;

    if (config->bootstrap.pg_hba.n == 0)
        return false;
    if (config->bootstrap.dcs_json) {
        if (dynamic_parse(config->bootstrap.dcs_json, config, &dynamic, &problems, NULL) == 0)
            others_do = others_do || dynamic->pg_hba.n > 0;
        config_problems_done(&problems);
    }
    return !others_do;
}

static char *hba_lines(const struct config *config)
{
    struct textbuf b = {0};

    for (size_t i = 0; i < config->bootstrap.pg_hba.n; i++)
        textbuf_printf(&b, "%s\n", config->bootstrap.pg_hba.items[i]);
    return textbuf_take(&b);
}

static char *password_input(const char *password)
{
    struct textbuf b = {0};

    textbuf_printf(&b, "%s\n", password);
    return textbuf_take(&b);
}

int fill_initdb(sd_event *loop, const struct config *config, const char *cgroup_procs, fill_done_fn done,
                void *userdata, struct fill **ret, struct err *err)
{
    CLEANUP(fill_plan_done) struct fill_plan plan = {.tool = "initdb", .what = "initdb", .attempts = 1};
    const char *wal_dir = fill_option(&config->bootstrap.initdb, "waldir");
    bool has_password = has_text(config->postgresql.superuser.password), wants_hba = wants_hba_lines(config);
    int r = initdb_args(config, &plan.args, err);

    if (r < 0)
        return r;
    plan.data_dir = strdup(config->postgresql.data_dir);
    plan.wal_dir = wal_dir ? strdup(wal_dir) : NULL;
    plan.cgroup_procs = cgroup_procs ? strdup(cgroup_procs) : NULL;
    /* No locale is forced on it: the new cluster takes over that of the environment. */
    plan.input = has_password ? password_input(config->postgresql.superuser.password) : NULL;
    plan.hba_lines = wants_hba ? hba_lines(config) : NULL;
    if (!plan.data_dir || (wal_dir && !plan.wal_dir) || (cgroup_procs && !plan.cgroup_procs) ||
        (has_password && !plan.input) || (wants_hba && !plan.hba_lines))
        return err_set(err, -ENOMEM, "out of memory");
    return fill_start(loop, &plan, done, userdata, ret, err);
}
