/* Single SQL commands on connections of their own: roles, slots, CHECKPOINT, pg_promote(). */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/text.h"
#include "pg/leader.h"
#include "pg/link.h"
#include "pg/probe.h"
#include "pg/tool.h"

struct pg_command {
    struct pg_link *link;
    pg_command_fn done;
    void *userdata;
};

/* The last result that has columns, as text. The values stay the PGresult's; the array is the caller's to free. */
static int rows_of(const struct link_answer *a, struct pg_rows *ret, const char ***ret_values)
{
    const char **values;
    const PGresult *res = NULL;
    size_t n_rows, n_columns;

    for (size_t i = 0; i < a->n_results; i++)
        if (PQresultStatus(a->result[i]) == PGRES_TUPLES_OK)
            res = a->result[i];
    n_rows = res ? (size_t)PQntuples(res) : 0;
    n_columns = res ? (size_t)PQnfields(res) : 0;
    values = calloc(n_rows * n_columns + 1, sizeof(*values));
    if (!values)
        return -ENOMEM;
    for (size_t i = 0; i < n_rows * n_columns; i++) {
        int row = (int)(i / n_columns), column = (int)(i % n_columns);

        values[i] = PQgetisnull(res, row, column) ? NULL : PQgetvalue(res, row, column);
    }
    *ret = (struct pg_rows){n_rows, n_columns, values};
    *ret_values = values;
    return 0;
}

static void on_answer(void *userdata, const struct link_answer *a)
{
    struct pg_command *c = userdata;
    CLEANUP(freep) const char **values = NULL;
    struct pg_rows rows = {0};
    struct err err = {0};

    if (a->error)
        err = *a->err;
    else if (rows_of(a, &rows, &values) < 0)
        (void)err_set(&err, -ENOMEM, "out of memory");
    c->done(c->userdata, &rows, &err, a->sqlstate); /* may free c */
}

/* Takes the link over, also when it fails. */
static int start(struct pg_link *link, const char *sql, uint64_t timeout_us, pg_command_fn done, void *userdata,
                 struct pg_command **ret, struct err *err)
{
    struct pg_command *c = calloc(1, sizeof(*c));
    int r;

    if (!c) {
        (void)link_free(link);
        return err_set(err, -ENOMEM, "out of memory");
    }
    c->link = link;
    c->done = done;
    c->userdata = userdata;
    r = link_run(c->link, sql, timeout_us, on_answer, c, err);
    if (r < 0) {
        (void)pg_command_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

static void options_text(uint64_t timeout_us, char *buf, size_t size)
{
    /* Local commit only: a role or slot must not wait for a synchronous standby that does not exist yet. */
    (void)text_print(buf, size,
                     "-c statement_timeout=%" PRIu64 " -c synchronous_commit=local -c search_path=pg_catalog",
                     timeout_us / USEC_PER_MSEC + 1);
}

int pg_command_start(sd_event *loop, const struct pg_probe_settings *settings, const char *sql, uint64_t timeout_us,
                     pg_command_fn done, void *userdata, struct pg_command **ret, struct err *err)
{
    struct pg_link *link;
    char options[160];
    int r;

    options_text(timeout_us, options, sizeof(options));
    r = link_new(loop, settings, "pgtether", options, &link, err);
    return r < 0 ? r : start(link, sql, timeout_us, done, userdata, ret, err);
}

int pg_leader_command_start(sd_event *loop, const struct config *config, const struct pg_upstream *leader,
                            const char *sql, uint64_t timeout_us, pg_command_fn done, void *userdata,
                            struct pg_command **ret, struct err *err)
{
    const struct credentials *who = tool_rewind_credentials(config);
    const char *database = config->postgresql.database;
    const struct pg_probe_settings settings = {
        .host = leader->host,
        .port = leader->port,
        .user = who->username,
        .password = who->password,
        .database = database && *database ? database : "postgres",
    };
    struct pg_link *link;
    char options[160];
    int r;

    options_text(timeout_us, options, sizeof(options));
    r = link_new(loop, &settings, config->name, options, &link, err);
    if (r < 0)
        return r;
    r = pg_leader_set_credentials(link, who, err);
    if (r < 0) {
        (void)link_free(link);
        return r;
    }
    return start(link, sql, timeout_us, done, userdata, ret, err);
}

struct pg_command *pg_command_free(struct pg_command *c)
{
    if (!c)
        return NULL;
    c->link = link_free(c->link);
    free(c);
    return NULL;
}
