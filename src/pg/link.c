#include "pg/link.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/loop.h"
#include "base/text.h"
#include "config/config.h"

enum link_state {
    LINK_IDLE,       /* nothing under way; conn may be kept */
    LINK_CONNECTING, /* PQconnectPoll() */
    LINK_QUERYING,   /* sent or being sent, results come in */
    LINK_FAILED,     /* only the report is outstanding */
};

struct pg_link {
    sd_event *loop;
    char *host, *user, *password, *database, *application_name, *options;
    char port[8];
    struct setting more[LINK_KEYWORDS_MAX]; /* owned */
    size_t n_more;
    PGconn *conn;
    sd_event_source *io, *timer;
    enum link_state state;
    bool reused; /* the query runs on a kept connection, which may have died meanwhile */

    char *sql;
    uint64_t deadline_us;
    link_done_fn done;
    void *userdata;
    struct link_answer answer;
    struct err err;
    PGresult *results[LINK_RESULTS_MAX];
    bool too_many; /* more results than we keep */
};

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata);
static int on_timer(sd_event_source *source, uint64_t at_us, void *userdata);

static void clear_results(struct pg_link *l)
{
    for (size_t i = 0; i < l->answer.n_results; i++)
        PQclear(l->results[i]);
    l->answer.n_results = 0;
    l->too_many = false;
}

static void drop_connection(struct pg_link *l)
{
    l->io = loop_source_free(l->io);
    if (l->conn)
        PQfinish(l->conn);
    l->conn = NULL;
}

/*
 * libpq closes its socket when it likes. What epoll watches is therefore a duplicate of our own: a closed descriptor of
 * which some child between fork and exec has a copy stays registered, cannot be removed any more, and its events would
 * come in for a source that is gone.
 */
static int watch_duplicate(struct pg_link *l, int fd, uint32_t events)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), r;

    if (copy < 0)
        return -errno;
    r = sd_event_add_io(l->loop, &l->io, copy, events, on_io, l);
    if (r >= 0)
        r = sd_event_source_set_io_fd_own(l->io, true);
    if (r < 0) {
        l->io = loop_source_free(l->io);
        (void)close(copy);
    }
    return r;
}

/* While connecting libpq may have changed to another socket since the last call, even one of the same number. */
static int watch(struct pg_link *l, uint32_t events)
{
    int fd = PQsocket(l->conn), r;

    if (fd < 0)
        return -EBADF;
    if (l->state == LINK_CONNECTING)
        l->io = loop_source_free(l->io);
    if (!l->io)
        return watch_duplicate(l, fd, events);
    r = sd_event_source_set_io_events(l->io, events);
    return r < 0 ? r : sd_event_source_set_enabled(l->io, SD_EVENT_ON);
}

/* Reports; the callback may start the next query or free the link, so nothing is touched after it. */
static void report(struct pg_link *l)
{
    PGresult *results[LINK_RESULTS_MAX];
    struct link_answer answer = l->answer;
    struct err err = l->err;
    link_done_fn done = l->done;
    void *userdata = l->userdata;

    loop_timer_off(l->timer);
    if (l->io)
        (void)sd_event_source_set_enabled(l->io, SD_EVENT_OFF);
    if (answer.error)
        drop_connection(l);
    memcpy(results, l->results, sizeof(results));
    answer.result = results;
    answer.err = &err;
    l->answer = (struct link_answer){0};
    l->state = LINK_IDLE;
    l->done = NULL;
    if (l->sql)
        explicit_bzero(l->sql, strlen(l->sql)); /* may hold a password */
    free(STEAL(l->sql));

    done(userdata, &answer);
    for (size_t i = 0; i < answer.n_results; i++)
        PQclear(results[i]);
}

/* "XXXXX: " behind a severity; NULL if there is none. */
static const char *find_sqlstate(const char *message)
{
    for (const char *s = strstr(message, ":  "); s; s = strstr(s + 1, ":  ")) {
        const char *code = s + 3;

        if (strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && text_starts_with(code + 5, ": "))
            return code;
    }
    return NULL;
}

void link_parse_message(const char *message, char *sqlstate, char *buf, size_t size)
{
    const char *code = find_sqlstate(message);
    const char *text = code ? code + 7 : message;
    size_t len = strcspn(text, "\n");

    (void)text_print(sqlstate, 6, "%.5s", code ? code : "");
    (void)text_print(buf, size, "%.*s", (int)len, text);
}

static void set_failure(struct pg_link *l, int error)
{
    char text[sizeof(l->err.msg)];

    link_parse_message(PQerrorMessage(l->conn), l->answer.sqlstate, text, sizeof(text));
    l->answer.error = error;
    (void)err_set(&l->err, error, "%s", *text ? text : "the connection was lost");
}

/* What a failed connection means: who refused, and why. */
static int connect_error(const char *sqlstate, const char *message)
{
    if (text_starts_with(sqlstate, "28"))
        return -EACCES; /* password, pg_hba.conf */
    if (text_equal(sqlstate, "53300"))
        return -EUSERS; /* too many connections */
    if (*sqlstate)
        return -EPROTO;
    /* Without SQLSTATE the text is libpq's own. */
    return strstr(message, "password") ? -EACCES : -ECONNREFUSED;
}

static void fail_connect(struct pg_link *l)
{
    set_failure(l, -ECONNREFUSED);
    l->answer.error = connect_error(l->answer.sqlstate, l->err.msg);
    l->err.code = l->answer.error;
    report(l);
}

static const char *numeric_address(const char *host)
{
    struct in6_addr buf;
    char address[64];

    /* A scope ("fe80::1%eth0") is no part of what inet_pton() knows. */
    if (!text_print(address, sizeof(address), "%.*s", (int)strcspn(host, "%"), host))
        return NULL;
    return inet_pton(AF_INET, host, &buf) == 1 || inet_pton(AF_INET6, address, &buf) == 1 ? host : NULL;
}

static void ignore_notice(void *userdata, const PGresult *result)
{
    (void)userdata;
    (void)result;
}

static int begin_connect(struct pg_link *l)
{
    const char *address = text_equal(l->host, "localhost") ? "127.0.0.1" : numeric_address(l->host);
    /* GSS would look for credentials on disk and in the network before the first byte. */
    enum { N_FIXED = 10 };
    const char *names[N_FIXED + LINK_KEYWORDS_MAX + 1] = {
        "host",   "hostaddr",         "port",    "user",       "password",
        "dbname", "application_name", "options", "gssencmode", "client_encoding"};
    const char *values[N_FIXED + LINK_KEYWORDS_MAX + 1] = {
        l->host,    address,   l->port, l->user, l->password, l->database, l->application_name,
        l->options, "disable", "UTF8"};

    /* Of two equal keywords the later one counts. */
    for (size_t i = 0; i < l->n_more; i++) {
        names[N_FIXED + i] = l->more[i].name;
        values[N_FIXED + i] = l->more[i].value;
    }
    l->conn = PQconnectStartParams(names, values, 0);
    if (!l->conn)
        return err_set(&l->err, -ENOMEM, "out of memory");
    (void)PQsetErrorVerbosity(l->conn, PQERRORS_VERBOSE); /* the only way to see the SQLSTATE of a refusal */
    (void)PQsetNoticeReceiver(l->conn, ignore_notice, NULL);
    l->state = LINK_CONNECTING;
    if (PQstatus(l->conn) == CONNECTION_BAD || watch(l, EPOLLOUT) < 0) {
        set_failure(l, -ECONNREFUSED);
        return l->err.code;
    }
    return 0;
}

static int flush(struct pg_link *l)
{
    int r = PQflush(l->conn);

    if (r < 0)
        return -EPIPE;
    return watch(l, r > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static int send_query(struct pg_link *l)
{
    l->state = LINK_QUERYING;
    l->answer.asked_at_us = clock_now_us();
    l->answer.connected = true;
    l->answer.server_version = PQserverVersion(l->conn);
    if (PQsetnonblocking(l->conn, 1) < 0 || !PQsendQuery(l->conn, l->sql))
        return -EPIPE;
    return flush(l);
}

static void connect_again(struct pg_link *l)
{
    clear_results(l);
    drop_connection(l);
    l->answer.connected = false;
    l->reused = false;
    if (begin_connect(l) < 0)
        fail_connect(l);
}

/* The connection broke while a query was under way. */
static void broke(struct pg_link *l)
{
    if (l->reused && l->answer.n_results == 0) {
        connect_again(l);
        return;
    }
    set_failure(l, -ECONNRESET);
    report(l);
}

static void go_on_connecting(struct pg_link *l)
{
    int r;

    switch (PQconnectPoll(l->conn)) {
    case PGRES_POLLING_READING:
        r = watch(l, EPOLLIN);
        break;
    case PGRES_POLLING_WRITING:
        r = watch(l, EPOLLOUT);
        break;
    case PGRES_POLLING_OK:
        l->io = loop_source_free(l->io);
        r = send_query(l);
        break;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE:
    default: /* not our enum: a newer libpq may have more */
        r = -ECONNREFUSED;
        break;
    }
    if (r >= 0)
        return;
    if (l->state == LINK_QUERYING)
        broke(l);
    else
        fail_connect(l);
}

/* Adds a result; true when it says that the statement failed or that the protocol went elsewhere. */
static bool keep_result(struct pg_link *l, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    bool bad = status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY;

    if (bad && !l->answer.error) {
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

        l->answer.error = -EPROTO;
        (void)text_copy(l->answer.sqlstate, sizeof(l->answer.sqlstate), state ? state : "");
        (void)err_set(&l->err, -EPROTO, "%s", text ? text : "unexpected answer from the server");
    }
    if (l->answer.n_results < LINK_RESULTS_MAX)
        l->results[l->answer.n_results++] = result;
    else
        PQclear(result);
    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* The last word of a server that closed the kept connection before it saw our query. */
static bool is_farewell(const struct pg_link *l, const PGresult *result)
{
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    return PQstatus(l->conn) != CONNECTION_OK || text_equal(severity, "FATAL");
}

static void go_on_querying(struct pg_link *l)
{
    if (!PQconsumeInput(l->conn)) {
        broke(l);
        return;
    }
    while (!PQisBusy(l->conn)) {
        PGresult *result = PQgetResult(l->conn);

        if (!result) {
            report(l);
            return;
        }
        if (l->reused && l->answer.n_results == 0 && is_farewell(l, result)) {
            PQclear(result);
            connect_again(l);
            return;
        }
        if (keep_result(l, result)) {
            report(l);
            return;
        }
    }
    if (flush(l) < 0)
        broke(l);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct pg_link *l = userdata;

    (void)source;
    (void)fd;
    (void)events;
    if (l->state == LINK_CONNECTING)
        go_on_connecting(l);
    else if (l->state == LINK_QUERYING)
        go_on_querying(l);
    return 0;
}

/* The deadline, or at once the report of a failure inside link_run() or link_disconnect(). */
static int on_timer(sd_event_source *source, uint64_t at_us, void *userdata)
{
    struct pg_link *l = userdata;

    (void)source;
    (void)at_us;
    if (l->state != LINK_FAILED) {
        l->answer.error = err_set(&l->err, -ETIMEDOUT, "the server did not answer in time");
        l->answer.sqlstate[0] = '\0';
    }
    report(l);
    return 0;
}

static bool copy_string(char **ret, const char *text)
{
    *ret = text ? strdup(text) : NULL;
    return !text || *ret;
}

int link_new(sd_event *loop, const struct pg_probe_settings *settings, const char *application_name,
             const char *options, struct pg_link **ret, struct err *err)
{
    CLEANUP(link_freep) struct pg_link *l = calloc(1, sizeof(*l));

    if (!l)
        return err_set(err, -ENOMEM, "out of memory");
    l->loop = sd_event_ref(loop);
    if (!copy_string(&l->host, settings->host) || !copy_string(&l->user, settings->user) ||
        !copy_string(&l->password, settings->password) || !copy_string(&l->database, settings->database) ||
        !copy_string(&l->application_name, application_name) || !copy_string(&l->options, options))
        return err_set(err, -ENOMEM, "out of memory");
    if (!l->host || !*l->host)
        return err_set(err, -EINVAL, "cannot connect to PostgreSQL: no address given");
    (void)text_print(l->port, sizeof(l->port), "%u", (unsigned)settings->port);
    *ret = STEAL(l);
    return 0;
}

int link_set_keyword(struct pg_link *l, const char *keyword, const char *value, struct err *err)
{
    struct setting *more = &l->more[l->n_more];

    if (!value || !*value)
        return 0;
    if (l->n_more == LINK_KEYWORDS_MAX)
        return err_set(err, -E2BIG, "cannot take another connection setting");
    l->n_more++; /* freed as it is */
    if (!copy_string(&more->name, keyword) || !copy_string(&more->value, value))
        return err_set(err, -ENOMEM, "out of memory");
    return 0;
}

PGconn *link_connection(const struct pg_link *l)
{
    return l->conn;
}

struct pg_link *link_free(struct pg_link *l)
{
    if (!l)
        return NULL;
    l->timer = loop_source_free(l->timer);
    drop_connection(l);
    clear_results(l);
    free(l->host);
    free(l->user);
    if (l->password)
        explicit_bzero(l->password, strlen(l->password));
    free(l->password);
    free(l->database);
    free(l->application_name);
    free(l->options);
    for (size_t i = 0; i < l->n_more; i++) {
        free(l->more[i].name);
        if (l->more[i].value)
            explicit_bzero(l->more[i].value, strlen(l->more[i].value)); /* sslpassword */
        free(l->more[i].value);
    }
    if (l->sql)
        explicit_bzero(l->sql, strlen(l->sql));
    free(l->sql);
    (void)sd_event_unref(l->loop);
    free(l);
    return NULL;
}

/* The report comes from the loop, as that of any other failure. */
static void fail_later(struct pg_link *l)
{
    l->state = LINK_FAILED;
    if (l->io)
        (void)sd_event_source_set_enabled(l->io, SD_EVENT_OFF);
    (void)loop_timer_at(l->loop, &l->timer, clock_now_us(), on_timer, l);
}

int link_run(struct pg_link *l, const char *sql, uint64_t timeout_us, link_done_fn done, void *userdata,
             struct err *err)
{
    uint64_t deadline_us = clock_now_us() + timeout_us;
    int r;

    if (l->state != LINK_IDLE)
        return err_set(err, -EBUSY, "a query is under way");
    l->sql = strdup(sql);
    if (!l->sql)
        return err_set(err, -ENOMEM, "out of memory");
    r = loop_timer_at(l->loop, &l->timer, deadline_us, on_timer, l);
    if (r < 0) {
        free(STEAL(l->sql));
        return err_sys(err, r, "could not set a timer");
    }
    l->done = done;
    l->userdata = userdata;
    l->answer = (struct link_answer){0};
    l->err = (struct err){0};
    if (l->conn && PQstatus(l->conn) != CONNECTION_OK)
        drop_connection(l);
    l->reused = l->conn != NULL;
    if (l->reused && send_query(l) >= 0)
        return 0;
    drop_connection(l);
    l->reused = false;
    l->answer.connected = false;
    r = begin_connect(l);
    if (r < 0) {
        l->answer.error = r;
        fail_later(l);
    }
    return 0;
}

void link_disconnect(struct pg_link *l)
{
    bool busy = l->state == LINK_CONNECTING || l->state == LINK_QUERYING;

    drop_connection(l);
    if (!busy)
        return;
    clear_results(l);
    l->answer.error = err_set(&l->err, -ECONNABORTED, "the connection was closed");
    fail_later(l);
}
