#include "pg/leader.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "pg/link.h"
#include "pg/resolve.h"
#include "pg/tool.h"

#define QUESTION "SELECT pg_catalog.pg_is_in_recovery(), timeline_id FROM pg_catalog.pg_control_checkpoint()"

struct pg_leader {
    struct pg_link *sql, *replication;
    struct resolve *resolve;
    char name[MEMBER_NAME_SIZE];
    uint64_t deadline_us;
    struct pg_leader_facts facts;
    struct history_line *history;
    pg_leader_fn done;
    void *userdata;
};

/* The last thing that happens: the callback may free us. */
static void finish(struct pg_leader *l, const struct err *failure)
{
    struct err err = *failure;

    if (err.code)
        (void)err_prefix(&err, "could not ask \"%s\"", l->name);
    l->facts.history = l->history;
    l->done(l->userdata, err.code, &l->facts, &err);
}

static void fail(struct pg_leader *l, const char *question)
{
    struct err err = {0};

    (void)err_set(&err, -EPROTO, "unrecognized answer to %s", question);
    finish(l, &err);
}

static int run(struct pg_leader *l, struct pg_link *link, const char *sql, link_done_fn done, struct err *err)
{
    uint64_t rest_us = clock_rest_us(clock_now_us(), l->deadline_us);

    return link_run(link, sql, rest_us ? rest_us : 1, done, l, err);
}

/* One row with a non-null text in each of n columns. */
static bool is_row(const struct link_answer *a, int n)
{
    if (a->n_results != 1 || PQntuples(a->result[0]) != 1 || PQnfields(a->result[0]) < n)
        return false;
    for (int i = 0; i < n; i++)
        if (PQgetisnull(a->result[0], 0, i))
            return false;
    return true;
}

static void on_history(void *userdata, const struct link_answer *a)
{
    struct pg_leader *l = userdata;
    struct err err = {0};

    if (a->error) {
        finish(l, a->err);
    } else if (!is_row(a, 2)) {
        fail(l, "TIMELINE_HISTORY");
    } else {
        (void)pg_history_parse(PQgetvalue(a->result[0], 0, 1), PQgetvalue(a->result[0], 0, 0), &l->history,
                               &l->facts.n_history, &err);
        finish(l, &err);
    }
}

static void on_system(void *userdata, const struct link_answer *a)
{
    struct pg_leader *l = userdata;
    struct err err = {0};
    char sql[40];

    if (a->error) {
        finish(l, a->err);
        return;
    }
    if (!is_row(a, 2) || !text_to_u64(PQgetvalue(a->result[0], 0, 0), &l->facts.sysid) ||
        !text_to_u32(PQgetvalue(a->result[0], 0, 1), &l->facts.timeline) || l->facts.timeline == 0) {
        fail(l, "IDENTIFY_SYSTEM");
        return;
    }
    if (l->facts.timeline == 1) { /* the first one has no history */
        finish(l, &err);
        return;
    }
    (void)text_print(sql, sizeof(sql), "TIMELINE_HISTORY %" PRIu32, l->facts.timeline);
    if (run(l, l->replication, sql, on_history, &err) < 0)
        finish(l, &err);
}

static void on_sql(void *userdata, const struct link_answer *a)
{
    struct pg_leader *l = userdata;
    struct err err = {0};

    if (a->error) {
        finish(l, a->err);
        return;
    }
    if (!is_row(a, 2) || !text_to_u32(PQgetvalue(a->result[0], 0, 1), &l->facts.control_timeline)) {
        fail(l, "the question for its state");
        return;
    }
    l->facts.in_recovery = text_equal(PQgetvalue(a->result[0], 0, 0), "t");
    if (l->facts.in_recovery || run(l, l->replication, "IDENTIFY_SYSTEM", on_system, &err) < 0)
        finish(l, &err);
}

int pg_leader_set_credentials(struct pg_link *link, const struct credentials *who, struct err *err)
{
    const struct setting keywords[] = {
        {"sslmode", who->sslmode},         {"sslcert", who->sslcert},         {"sslkey", who->sslkey},
        {"sslpassword", who->sslpassword}, {"sslrootcert", who->sslrootcert}, {"sslcrl", who->sslcrl},
        {"sslcrldir", who->sslcrldir},     {"gssencmode", who->gssencmode},   {"channel_binding", who->channel_binding},
    };

    for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
        int r = link_set_keyword(link, keywords[i].name, keywords[i].value, err);

        if (r < 0)
            return r;
    }
    return 0;
}

static int open_link(sd_event *loop, const struct config *config, const struct pg_upstream *upstream,
                     const struct credentials *who, struct pg_link **ret, struct err *err)
{
    const char *database = config->postgresql.database;
    const struct pg_probe_settings settings = {
        .host = upstream->host,
        .port = upstream->port,
        .user = who->username,
        .password = who->password,
        .database = database && *database ? database : "postgres",
    };
    int r = link_new(loop, &settings, config->name, NULL, ret, err);

    return r < 0 ? r : pg_leader_set_credentials(*ret, who, err);
}

static int begin(struct pg_leader *l, struct err *err)
{
    return run(l, l->sql, QUESTION, on_sql, err);
}

static int set_hosts(struct pg_link *link, const char *hosts, const char *addresses, struct err *err)
{
    int r = link_set_keyword(link, "host", hosts, err);

    return r < 0 ? r : link_set_keyword(link, "hostaddr", addresses, err);
}

static void on_resolved(void *userdata, const char *hosts, const char *addresses, const struct err *failure)
{
    struct pg_leader *l = userdata;
    struct err err = *failure;

    if (!err.code && set_hosts(l->sql, hosts, addresses, &err) >= 0 &&
        set_hosts(l->replication, hosts, addresses, &err) >= 0)
        (void)begin(l, &err);
    l->resolve = resolve_free(l->resolve);
    if (err.code)
        finish(l, &err);
}

/* Of several hosts the one that is a primary is meant. */
static int begin_resolved(sd_event *loop, struct pg_leader *l, const char *hosts, uint64_t timeout_us, struct err *err)
{
    const char *attrs = strchr(hosts, ',') ? "read-write" : NULL;
    int r = link_set_keyword(l->sql, "target_session_attrs", attrs, err);

    if (r >= 0)
        r = link_set_keyword(l->replication, "target_session_attrs", attrs, err);
    if (r < 0)
        return r;
    return resolve_is_needed(hosts) ? resolve_start(loop, hosts, timeout_us, on_resolved, l, &l->resolve, err)
                                    : begin(l, err);
}

int pg_leader_ask(sd_event *loop, const struct config *config, const struct pg_upstream *upstream, uint64_t timeout_us,
                  pg_leader_fn done, void *userdata, struct pg_leader **ret, struct err *err)
{
    struct pg_leader *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return err_set(err, -ENOMEM, "out of memory");
    l->deadline_us = clock_now_us() + timeout_us;
    l->done = done;
    l->userdata = userdata;
    (void)text_copy(l->name, sizeof(l->name), upstream->member ? upstream->member : upstream->host);
    r = open_link(loop, config, upstream, tool_rewind_credentials(config), &l->sql, err);
    if (r >= 0)
        r = open_link(loop, config, upstream, &config->postgresql.replication, &l->replication, err);
    if (r >= 0)
        r = link_set_keyword(l->replication, "replication", "true", err);
    if (r >= 0)
        r = begin_resolved(loop, l, upstream->host, timeout_us, err);
    if (r < 0) {
        (void)pg_leader_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

struct pg_leader *pg_leader_free(struct pg_leader *l)
{
    if (!l)
        return NULL;
    (void)resolve_free(l->resolve);
    (void)link_free(l->sql);
    (void)link_free(l->replication);
    free(l->history);
    free(l);
    return NULL;
}
