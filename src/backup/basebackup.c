#include "backup/fill.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "backup/plan.h"
#include "base/text.h"
#include "pg/files.h"

/* What decides where the copy comes from, where it goes and that it can be started: not the user's business. */
static const char *const refused[] = {"pgdata", "format", "wal-method", "xlog-method", "gzip",     "version",  "dbname",
                                      "host",   "port",   "username",   "password",    "compress", "progress", NULL};

int basebackup_args(const struct config *config, const char *dsn, struct tool_args *ret, struct err *err)
{
    const struct settings *options = &config->postgresql.basebackup;
    const char *compress = fill_option(options, "compress");
    int r;

    tool_args_program(ret, config, "pg_basebackup");
    tool_args_add(ret, "--pgdata=%s", config->postgresql.data_dir);
    tool_args_add(ret, "-X");
    tool_args_add(ret, "stream");
    tool_args_add(ret, "--dbname=%s", dsn);
    tool_args_add(ret, "--progress");
    /* Waiting for the next scheduled checkpoint would delay the copy by minutes. */
    if (!fill_has_option(options, "checkpoint"))
        tool_args_add(ret, "--checkpoint=fast");
    r = fill_add_options(ret, options, refused, false, "pg_basebackup", err);
    if (r < 0)
        return r;
    /* Only what the server packs is unpacked again; a packed copy could not be started. */
    if (compress && text_starts_with(compress, "server"))
        tool_args_add(ret, "--compress=%s", compress);
    return ret->failed ? err_set(err, -ENOMEM, "out of memory") : 0;
}

static int check_methods(const struct config *config, struct err *err)
{
    const struct string_list *methods = &config->postgresql.create_replica_methods;

    for (size_t i = 0; i < methods->n; i++)
        if (text_equal(methods->items[i], "basebackup"))
            return 0;
    if (methods->n == 0)
        return 0;
    return err_set(err, -EOPNOTSUPP,
                   "cannot create a replica by method \"%s\"\nHINT:  add \"basebackup\" to "
                   "postgresql.create_replica_methods",
                   methods->items[0]);
}

int fill_replica(sd_event *loop, const struct config *config, const struct pg_upstream *source,
                 const char *cgroup_procs, fill_done_fn done, void *userdata, struct fill **ret, struct err *err)
{
    CLEANUP(fill_plan_done) struct fill_plan plan = {.tool = "pg_basebackup", .attempts = 2};
    const char *wal_dir = fill_option(&config->postgresql.basebackup, "waldir");
    struct textbuf passfile = {0};
    char dsn[2048];
    int r = check_methods(config, err);

    if (r < 0)
        return r;
    r = tool_dsn(config, &config->postgresql.replication, source->host, source->port, config->name,
                 config->postgresql.pgpass, dsn, sizeof(dsn), err);
    if (r < 0)
        return r;
    r = basebackup_args(config, dsn, &plan.args, err);
    if (r < 0)
        return r;
    r = pg_files_passfile(config, source, err);
    if (r < 0)
        return r;
    (void)text_print(plan.what, sizeof(plan.what), "pg_basebackup from %s",
                     source->member ? source->member : source->host);
    textbuf_printf(&passfile, "PGPASSFILE=%s", config->postgresql.pgpass ? config->postgresql.pgpass : "");
    plan.parse_progress = tool_parse_progress;
    plan.data_dir = strdup(config->postgresql.data_dir);
    plan.wal_dir = wal_dir ? strdup(wal_dir) : NULL;
    plan.cgroup_procs = cgroup_procs ? strdup(cgroup_procs) : NULL;
    plan.env[0] = strdup("LC_ALL=C");
    plan.env[1] = textbuf_take(&passfile);
    if (!plan.data_dir || (wal_dir && !plan.wal_dir) || (cgroup_procs && !plan.cgroup_procs) || !plan.env[0] ||
        !plan.env[1])
        return err_set(err, -ENOMEM, "out of memory");
    return fill_start(loop, &plan, done, userdata, ret, err);
}
