/*
 * The first minutes of a new cluster: its roles and the operator's script, over one connection of our own.
 *
 * Passwords leave this process hashed, so that neither the server's log nor statistics of statements ever hold one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "backup/fill.h"
#include "backup/roles.h"
#include "base/clock.h"
#include "base/text.h"
#include "base/words.h"
#include "io/child.h"
#include "pg/leader.h"
#include "pg/link.h"
#include "pg/tool.h"

#define SQL_TIMEOUT_US (60 * USEC_PER_SEC)

/* No standby is there yet that could confirm a commit; and nothing of this belongs into the log. */
#define OPTIONS                                                                                                        \
    "-c synchronous_commit=local -c statement_timeout=0 -c log_statement=none -c log_min_duration_statement=-1 "       \
    "-c log_min_error_statement=panic"

enum step { STEP_SUPERUSER, STEP_SCRIPT, STEP_REPLICATION, STEP_REWIND, STEP_END };

struct post_bootstrap {
    sd_event *loop;
    const struct config *config;
    char *cgroup_procs;
    char host[HOST_SIZE];
    enum step step;
    struct pg_link *link;
    struct child *child;
    fill_done_fn done;
    void *userdata;
};

static void begin_step(struct post_bootstrap *p);

static bool has_text(const char *s)
{
    return s && *s;
}

/* The last thing that happens: the callback may free us. */
static void finish(struct post_bootstrap *p, const struct err *failure)
{
    struct err err = *failure;

    p->done(p->userdata, err.code, &err);
}

static void next_step(struct post_bootstrap *p)
{
    p->step++;
    begin_step(p);
}

/* --- roles ----------------------------------------------------------------------------------------------------------
 */

/* Whose role this step makes; NULL: nobody's, or one that an earlier step has made. */
static const struct credentials *role_of(const struct post_bootstrap *p, enum role_kind *ret_kind)
{
    const struct credentials *superuser = &p->config->postgresql.superuser;
    const struct credentials *replication = &p->config->postgresql.replication;
    const struct credentials *rewind = &p->config->postgresql.rewind;

    switch (p->step) {
    case STEP_SUPERUSER:
        *ret_kind = ROLE_SUPERUSER;
        return has_text(superuser->username) && has_text(superuser->password) ? superuser : NULL;
    case STEP_REPLICATION:
        *ret_kind = ROLE_REPLICATION;
        return has_text(replication->username) ? replication : NULL;
    case STEP_REWIND:
        *ret_kind = ROLE_REWIND;
        if (!has_text(rewind->username) || text_equal(rewind->username, superuser->username))
            return NULL;
        return rewind;
    case STEP_SCRIPT:
    case STEP_END:
        break;
    }
    return NULL;
}

static void on_role_made(void *userdata, const struct link_answer *a)
{
    struct post_bootstrap *p = userdata;
    enum role_kind kind = ROLE_SUPERUSER;
    const struct credentials *who = role_of(p, &kind);
    struct err err = {0};

    if (!a->error) {
        next_step(p);
        return;
    }
    err = *a->err;
    (void)err_prefix(&err, "could not create role \"%s\"", who ? who->username : "");
    finish(p, &err);
}

/* What is stored: the password hashed as the server is configured to. NULL, with err, if that is not possible. */
static char *hash_password(const struct post_bootstrap *p, const struct credentials *who, const char *method,
                           struct err *err)
{
    char *hashed = PQencryptPasswordConn(link_connection(p->link), who->password, who->username, method);

    if (!hashed)
        (void)err_set(err, -EIO, "could not hash the password of role \"%s\" by method \"%s\"", who->username, method);
    return hashed;
}

static int make_role(struct post_bootstrap *p, const struct credentials *who, enum role_kind kind, bool exists,
                     const char *method, struct err *err)
{
    char *sql = NULL, *hashed = has_text(who->password) ? hash_password(p, who, method, err) : NULL;
    int r = has_text(who->password) && !hashed ? err->code : 0;

    if (r == 0)
        r = role_statement(kind, who->username, exists, hashed, &sql, err);
    if (r == 0)
        r = link_run(p->link, sql, SQL_TIMEOUT_US, on_role_made, p, err);
    PQfreemem(hashed);
    free(sql);
    return r;
}

static void on_role_known(void *userdata, const struct link_answer *a)
{
    struct post_bootstrap *p = userdata;
    enum role_kind kind = ROLE_SUPERUSER;
    const struct credentials *who = role_of(p, &kind);
    struct err err = {0};

    if (a->error) {
        err = *a->err;
        (void)err_prefix(&err, "could not connect to the new cluster at \"%s\"", p->host);
    } else if (!who || a->n_results != 1 || PQntuples(a->result[0]) != 1 || PQnfields(a->result[0]) != 2) {
        (void)err_set(&err, -EPROTO, "unrecognized answer to the question for a role");
    } else if (make_role(p, who, kind, strcmp(PQgetvalue(a->result[0], 0, 0), "0") != 0, PQgetvalue(a->result[0], 0, 1),
                         &err) == 0) {
        return;
    }
    finish(p, &err);
}

static int begin_role(struct post_bootstrap *p, const struct credentials *who, struct err *err)
{
    CLEANUP(freep) char *sql = NULL;
    int r = role_question(who->username, &sql, err);

    return r < 0 ? r : link_run(p->link, sql, SQL_TIMEOUT_US, on_role_known, p, err);
}

/* --- the script -----------------------------------------------------------------------------------------------------
 */

static void on_script(void *userdata, const struct child_result *result)
{
    struct post_bootstrap *p = userdata;
    struct err err = {0};

    if (result->exit_code != 0)
        (void)tool_failure("bootstrap.post_bootstrap", result, &err);
    p->child = child_free(p->child);
    if (err.code)
        finish(p, &err);
    else
        next_step(p);
}

static int add_words(struct tool_args *args, const char *command, struct err *err)
{
    CLEANUP(words_freep) char **words = words_split(command);

    if (!words || !words[0])
        return err_set(err, -EINVAL, "cannot split bootstrap.post_bootstrap into words: %s", command);
    for (size_t i = 0; words[i]; i++)
        tool_args_add(args, "%s", words[i]);
    return 0;
}

static int run_script(struct post_bootstrap *p, const char *passfile, struct tool_args *args, struct err *err)
{
    char dsn[2048];
    const char *env[] = {passfile, "PGOPTIONS=-c synchronous_commit=local -c statement_timeout=0", NULL};
    struct child_spec spec = {.env = env, .env_unset = tool_env_unset, .cgroup_procs = p->cgroup_procs};
    int r = add_words(args, p->config->bootstrap.post_bootstrap, err);

    if (r < 0)
        return r;
    r = tool_dsn(p->config, &p->config->postgresql.superuser, p->host, p->config->postgresql.listen_port, NULL, NULL,
                 dsn, sizeof(dsn), err);
    if (r < 0)
        return r;
    tool_args_add(args, "%s", dsn);
    spec.argv = tool_args_list(args);
    if (!spec.argv)
        return err_set(err, -ENOMEM, "out of memory");
    return child_start(p->loop, &spec, on_script, p, &p->child, err);
}

static int begin_script(struct post_bootstrap *p, struct err *err)
{
    const struct pg_upstream self = {p->config->name, p->host, p->config->postgresql.listen_port};
    const char *path = p->config->postgresql.pgpass;
    struct tool_args args = {0};
    struct textbuf passfile = {0};
    int r = pg_files_passfile(p->config, &self, err);

    if (r < 0)
        return r;
    textbuf_printf(&passfile, "PGPASSFILE=%s", path ? path : "");
    r = passfile.failed ? err_set(err, -ENOMEM, "out of memory") : run_script(p, passfile.data, &args, err);
    textbuf_done(&passfile);
    tool_args_done(&args);
    return r;
}

/* --- one after the other --------------------------------------------------------------------------------------------
 */

static void begin_step(struct post_bootstrap *p)
{
    struct err err = {0};

    for (; p->step < STEP_END; p->step++) {
        enum role_kind kind;
        const struct credentials *who = role_of(p, &kind);

        if (p->step == STEP_SCRIPT && has_text(p->config->bootstrap.post_bootstrap)) {
            if (begin_script(p, &err) == 0)
                return;
            break;
        }
        if (!who)
            continue;
        if (begin_role(p, who, &err) == 0)
            return;
        break;
    }
    finish(p, &err);
}

/* The first question also makes the connection; where there is nothing to do, it at least proves that we get in. */
static void on_connected(void *userdata, const struct link_answer *a)
{
    struct post_bootstrap *p = userdata;
    struct err err = {0};

    if (!a->error) {
        begin_step(p);
        return;
    }
    err = *a->err;
    (void)err_prefix(&err, "could not connect to the new cluster at \"%s\"", p->host);
    finish(p, &err);
}

static int open_link(struct post_bootstrap *p, struct err *err)
{
    const struct credentials *who = &p->config->postgresql.superuser;
    const char *database = p->config->postgresql.database;
    const struct pg_probe_settings settings = {
        .host = p->host,
        .port = p->config->postgresql.listen_port,
        .user = has_text(who->username) ? who->username : NULL,
        .password = who->password,
        .database = has_text(database) ? database : "postgres",
    };
    int r = link_new(p->loop, &settings, "pgtether", OPTIONS, &p->link, err);

    if (r >= 0)
        r = pg_leader_set_credentials(p->link, who, err);
    return r < 0 ? r : link_run(p->link, "SELECT 1", SQL_TIMEOUT_US, on_connected, p, err);
}

int post_bootstrap_start(sd_event *loop, const struct config *config, const char *cgroup_procs, fill_done_fn done,
                         void *userdata, struct post_bootstrap **ret, struct err *err)
{
    struct post_bootstrap *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return err_set(err, -ENOMEM, "out of memory");
    *p = (struct post_bootstrap){.loop = loop, .config = config, .done = done, .userdata = userdata};
    if (!config->postgresql.use_unix_socket || !tool_socket_dir(config, p->host, sizeof(p->host)))
        tool_local_host(config, p->host, sizeof(p->host));
    p->cgroup_procs = cgroup_procs ? strdup(cgroup_procs) : NULL;
    r = cgroup_procs && !p->cgroup_procs ? err_set(err, -ENOMEM, "out of memory") : open_link(p, err);
    if (r < 0) {
        (void)post_bootstrap_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

struct post_bootstrap *post_bootstrap_free(struct post_bootstrap *p)
{
    if (!p)
        return NULL;
    (void)link_free(p->link);
    (void)child_free(p->child);
    free(p->cgroup_procs);
    free(p);
    return NULL;
}
