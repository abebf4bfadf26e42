#include "pg/controldata.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "io/child.h"
#include "pg/datadir.h"
#include "pg/tool.h"

struct pg_controldata {
    sd_event *loop;
    const struct config *config;
    uint64_t deadline_us;
    struct datadir *look;
    struct child *child;
    bool is_hurried; /* after_stop */
    struct local_pg found;
    struct pg_control_settings settings;
    pg_controldata_fn done;
    void *userdata;
};

static void finish(struct pg_controldata *c, const struct err *err)
{
    struct local_pg found = c->found; /* the callback may free us */

    if (!err->code)
        found.data_dir_known = true;
    c->done(c->userdata, err->code, &found, err);
}

static int run(struct pg_controldata *c, struct tool_args *args, child_done_fn done, struct err *err)
{
    static const char *const env[] = {"LC_ALL=C", "LANG=C", NULL};
    uint64_t rest_us = clock_rest_us(clock_now_us(), c->deadline_us);
    struct child_spec spec = {
        .argv = tool_args_list(args),
        .env = env,
        .env_unset = tool_env_unset,
        .timeout_us = rest_us ? rest_us : 1, /* 0 would mean none */
    };

    if (!spec.argv)
        return err_set(err, -ENOMEM, "out of memory");
    return child_start(c->loop, &spec, done, c, &c->child, err);
}

/* A WAL that cannot be read is no failure of the check, the end of the record just stays unknown; a frozen disk is. */
static void on_waldump(void *userdata, const struct child_result *result)
{
    struct pg_controldata *c = userdata;
    struct err err = {0};

    if (result->timed_out)
        (void)tool_failure("pg_waldump", result, &err);
    else
        c->found.control_checkpoint_end_lsn = pg_waldump_parse_end(result->output, c->found.control_checkpoint_lsn);
    c->child = child_free(c->child);
    finish(c, &err);
}

static int find_checkpoint_end(struct pg_controldata *c, struct err *err)
{
    struct tool_args args = {0};
    char lsn[TEXT_LSN_SIZE];
    int r;

    tool_args_program(&args, c->config, "pg_waldump");
    tool_args_add(&args, "--path=%s/pg_wal", c->config->postgresql.data_dir);
    tool_args_add(&args, "--timeline=%u", c->found.control_timeline);
    tool_args_add(&args, "--start=%s", text_print_lsn(c->found.control_checkpoint_lsn, lsn, sizeof(lsn)));
    tool_args_add(&args, "--limit=2");
    r = run(c, &args, on_waldump, err);
    tool_args_done(&args);
    return r;
}

static void on_controldata(void *userdata, const struct child_result *result)
{
    struct pg_controldata *c = userdata;
    struct err err = {0};

    if (result->exit_code == 0) {
        if (pg_controldata_parse(result->output, &c->found, &err) == 0)
            pg_controldata_parse_settings(result->output, &c->settings);
    } else if (strstr(result->output, "pg_control\"") && strstr(result->output, "No such file or directory")) {
        c->found.data_dir_foreign = true;
    } else {
        (void)tool_failure("pg_controldata", result, &err);
    }
    c->child = child_free(c->child);
    if (!err.code && !c->is_hurried && c->found.control_known && c->found.control_state == PG_CONTROL_SHUT_DOWN &&
        find_checkpoint_end(c, NULL) == 0)
        return;
    finish(c, &err);
}

static int run_controldata(struct pg_controldata *c, struct err *err)
{
    struct tool_args args = {0};
    int r;

    tool_args_program(&args, c->config, "pg_controldata");
    tool_args_add(&args, "--pgdata=%s", c->config->postgresql.data_dir);
    r = run(c, &args, on_controldata, err);
    tool_args_done(&args);
    return r;
}

static void on_look(void *userdata, int outcome, const struct datadir_look *look, const struct err *look_err)
{
    struct pg_controldata *c = userdata;
    struct err err = *look_err;
    bool is_unused = look->is_unused, is_ours = !look->exists || look->owner == geteuid();

    c->look = datadir_free(c->look);
    if (outcome < 0 || is_unused || !is_ours) {
        c->found.data_dir_empty = outcome == 0 && is_unused;
        c->found.data_dir_foreign = outcome == 0 && !is_unused;
        finish(c, &err);
        return;
    }
    if (run_controldata(c, &err) < 0)
        finish(c, &err);
}

static struct pg_controldata *make(sd_event *loop, const struct config *config, uint64_t timeout_us,
                                   pg_controldata_fn done, void *userdata)
{
    struct pg_controldata *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    *c = (struct pg_controldata){.loop = loop, .config = config, .done = done, .userdata = userdata};
    c->deadline_us = clock_now_us() + timeout_us;
    return c;
}

int pg_controldata_after_stop(sd_event *loop, const struct config *config, uint64_t timeout_us, pg_controldata_fn done,
                              void *userdata, struct pg_controldata **ret, struct err *err)
{
    struct pg_controldata *c = make(loop, config, timeout_us, done, userdata);
    int r;

    if (!c)
        return err_set(err, -ENOMEM, "out of memory");
    c->is_hurried = true;
    r = run_controldata(c, err);
    if (r < 0) {
        free(c);
        return r;
    }
    *ret = c;
    return 0;
}

int pg_controldata_start(sd_event *loop, const struct config *config, uint64_t timeout_us, pg_controldata_fn done,
                         void *userdata, struct pg_controldata **ret, struct err *err)
{
    struct pg_controldata *c = make(loop, config, timeout_us, done, userdata);
    int r;

    if (!c)
        return err_set(err, -ENOMEM, "out of memory");
    r = datadir_look_start(loop, config->postgresql.data_dir, timeout_us, on_look, c, &c->look, err);
    if (r < 0) {
        free(c);
        return r;
    }
    *ret = c;
    return 0;
}

const struct pg_control_settings *pg_controldata_settings(const struct pg_controldata *c)
{
    return &c->settings;
}

struct pg_controldata *pg_controldata_free(struct pg_controldata *c)
{
    if (!c)
        return NULL;
    (void)datadir_free(c->look);
    (void)child_free(c->child);
    free(c);
    return NULL;
}
