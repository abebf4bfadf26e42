#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/loop.h"
#include "base/text.h"
#include "io/http.h"

/* Memory runs out on demand (linker option --wrap): at the n-th allocation from now on, 0 is never. */
static int fail_alloc;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);

static bool must_fail(void)
{
    return fail_alloc > 0 && --fail_alloc == 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return must_fail() ? NULL : __real_calloc(n, size);
}

void *__wrap_malloc(size_t size)
{
    return must_fail() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return must_fail() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
    return must_fail() ? NULL : __real_strdup(s);
}

/* --- a server on the same loop ---------------------------------------------------------------------------------- */

enum { CONNECTIONS_MAX = 16 };

struct server;
struct connection {
    struct server *server;
    int fd;
    sd_event_source *source, *timer;
    struct textbuf in, out;
    size_t sent; /* of out */
    bool close_when_sent;
    unsigned requests; /* on this connection */
};

struct server {
    sd_event *loop;
    int fd;
    sd_event_source *source;
    char url[64];
    /* Called for every complete request, which is the terminated text at `request`. */
    void (*handle)(struct connection *c, const char *request);
    unsigned accepted, requests;
    char last_request[8192];
    struct connection connections[CONNECTIONS_MAX];
};

static void connection_close(struct connection *c)
{
    c->source = loop_source_free(c->source);
    c->timer = loop_source_free(c->timer);
    closep(&c->fd);
    textbuf_done(&c->in);
    textbuf_done(&c->out);
}

/* The peer sees a reset instead of an orderly end. */
static void connection_reset(struct connection *c)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    connection_close(c);
}

static void connection_flush(struct connection *c)
{
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            connection_close(c);
            return;
        }
        c->sent += (size_t)n;
    }
    if (c->sent == c->out.len && c->close_when_sent) {
        connection_close(c);
        return;
    }
    (void)sd_event_source_set_io_events(c->source, c->sent < c->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void send_text(struct connection *c, const char *text)
{
    textbuf_puts(&c->out, text);
    connection_flush(c);
}

static void send_answer(struct connection *c, int status, const char *body)
{
    textbuf_printf(&c->out, "HTTP/1.1 %d Text\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body), body);
    connection_flush(c);
}

static size_t request_length(const struct textbuf *in)
{
    const char *end = in->data ? strstr(in->data, "\r\n\r\n") : NULL;
    const char *length;

    if (!end)
        return 0;
    length = strcasestr(in->data, "\r\nContent-Length:");
    return (size_t)(end - in->data) + 4 + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct connection *c = userdata;
    char data[65536];
    ssize_t n;
    size_t len;

    (void)source;
    if (events & EPOLLOUT) {
        connection_flush(c);
        return 0;
    }
    n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
    if (n <= 0) {
        connection_close(c);
        return 0;
    }
    textbuf_append(&c->in, data, (size_t)n);
    len = request_length(&c->in);
    if (len > 0 && c->in.len >= len) {
        (void)text_copy(c->server->last_request, sizeof(c->server->last_request), c->in.data);
        textbuf_done(&c->in);
        c->server->requests++;
        c->requests++;
        c->server->handle(c, c->server->last_request);
    }
    return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct server *s = userdata;

    (void)source;
    (void)events;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &s->connections[i];

        if (c->source)
            continue;
        *c = (struct connection){.server = s, .fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC)};
        assert_true(c->fd >= 0);
        assert_true(sd_event_add_io(s->loop, &c->source, c->fd, EPOLLIN, on_connection, c) >= 0);
        s->accepted++;
        return 0;
    }
    fail_msg("too many connections");
    return 0;
}

/* Binds a port of 127.0.0.1 that the kernel chooses. */
static int bind_socket(char *url, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    assert_true(text_print(url, size, "http://127.0.0.1:%u", ntohs(address.sin_port)));
    return fd;
}

static void server_open(struct server *s, sd_event *loop, void (*handle)(struct connection *, const char *))
{
    *s = (struct server){.loop = loop, .handle = handle};
    s->fd = bind_socket(s->url, sizeof(s->url));
    assert_int_equal(listen(s->fd, 8), 0);
    assert_true(sd_event_add_io(loop, &s->source, s->fd, EPOLLIN, on_accept, s) >= 0);
}

static void server_close(struct server *s)
{
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (s->connections[i].source)
            connection_close(&s->connections[i]);
    }
    s->source = loop_source_free(s->source);
    if (s->fd > 0)
        (void)close(s->fd);
    s->fd = -1;
}

static size_t server_open_connections(const struct server *s)
{
    size_t n = 0;

    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        n += s->connections[i].source != NULL;
    return n;
}

/* What servers do. */

static void answer_ok(struct connection *c, const char *request)
{
    (void)request;
    send_answer(c, 200, "ok");
}

static void answer_other(struct connection *c, const char *request)
{
    (void)request;
    send_answer(c, 200, "other");
}

static void answer_unavailable(struct connection *c, const char *request)
{
    (void)request;
    send_answer(c, 503, "not now");
}

static void answer_not_found(struct connection *c, const char *request)
{
    (void)request;
    send_answer(c, 404, "no such key");
}

static void answer_never(struct connection *c, const char *request)
{
    (void)c;
    (void)request;
}

static void answer_reset(struct connection *c, const char *request)
{
    (void)request;
    connection_reset(c);
}

static void answer_cut_off(struct connection *c, const char *request)
{
    (void)request;
    c->close_when_sent = true;
    send_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
}

static void answer_nonsense(struct connection *c, const char *request)
{
    (void)request;
    c->close_when_sent = true;
    send_text(c, "+PONG, this is some other protocol\r\n");
}

/* Keeps the connection after its first request, and breaks it in the second. */
static void answer_once_per_connection(struct connection *c, const char *request)
{
    (void)request;
    if (c->requests == 1)
        send_answer(c, 200, "first");
    else
        connection_close(c);
}

/* --- a client with one call ------------------------------------------------------------------------------------- */

struct world {
    sd_event *loop;
    struct http *h;
    struct server a, b;
};

struct call {
    struct world *world;
    struct http_request *request;
    int done;
    struct http_answer answer;
    char message[512];
    struct textbuf body, data;
    unsigned chunks;
    uint64_t done_at_us;
    bool cancel_in_data, cancel_in_done, free_all, start_another;
    struct call *another;
};

static void world_open(struct world *w)
{
    struct err err = {0};

    *w = (struct world){0};
    assert_true(sd_event_new(&w->loop) >= 0);
    if (http_new(w->loop, NULL, &w->h, &err) < 0)
        fail_msg("%s", err.msg);
}

static void world_close(struct world *w)
{
    w->h = http_free(w->h);
    server_close(&w->a);
    server_close(&w->b);
    w->loop = sd_event_unref(w->loop);
}

static void call_done(struct call *c)
{
    textbuf_done(&c->body);
    textbuf_done(&c->data);
}

static void start(struct call *c, struct world *w, struct http_call what, const char *const *endpoints);

static void on_done(void *userdata, const struct http_answer *answer)
{
    struct call *c = userdata;

    c->done++;
    c->done_at_us = clock_now_us();
    c->answer = *answer;
    (void)text_copy(c->message, sizeof(c->message), answer->message);
    textbuf_append(&c->body, answer->body, answer->body_len);
    assert_int_equal(answer->body[answer->body_len], '\0');
    if (c->cancel_in_done)
        c->request = http_cancel(c->request);
    if (c->start_another)
        start(c->another, c->world, (struct http_call){.idempotent = true},
              (const char *const[]){c->world->a.url, NULL});
    if (c->free_all)
        c->world->h = http_free(c->world->h);
    c->request = NULL;
}

static void on_data(void *userdata, const char *data, size_t len)
{
    struct call *c = userdata;

    c->chunks++;
    textbuf_append(&c->data, data, len);
    if (c->cancel_in_data)
        c->request = http_cancel(c->request);
    if (c->free_all)
        c->world->h = http_free(c->world->h);
}

static uint64_t in_ms(uint64_t ms)
{
    return clock_now_us() + ms * USEC_PER_MSEC;
}

static void start_with(struct call *c, struct world *w, struct http_call what, const char *const *endpoints,
                       http_data_fn data_fn)
{
    struct err err = {0};

    c->world = w;
    what.endpoints = endpoints;
    if (!what.method)
        what.method = "GET";
    if (!what.path)
        what.path = "/path";
    if (!what.deadline_us && !what.stream)
        what.deadline_us = in_ms(20000);
    if (http_start(w->h, &what, data_fn, on_done, c, &c->request, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(c->done, 0); /* never from inside http_start() */
}

static void start(struct call *c, struct world *w, struct http_call what, const char *const *endpoints)
{
    start_with(c, w, what, endpoints, on_data);
}

static void turn(struct world *w)
{
    assert_true(sd_event_run(w->loop, 50 * USEC_PER_MSEC) >= 0);
}

static void wait_until_done(struct call *c)
{
    uint64_t give_up_us = in_ms(30000);

    while (!c->done && clock_now_us() < give_up_us)
        turn(c->world);
    assert_int_equal(c->done, 1);
}

static void wait_for(struct world *w, const unsigned *counter, unsigned want)
{
    uint64_t give_up_us = in_ms(30000);

    while (*counter < want && clock_now_us() < give_up_us)
        turn(w);
    assert_int_equal(*counter, want);
}

#define ENDPOINTS(...)                                                                                                 \
    (const char *const[])                                                                                              \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }

/* The address of a port nobody listens on: bound, so that nobody else gets it meanwhile. */
struct refused {
    int fd;
    char url[64];
};

static void refused_open(struct refused *r)
{
    r->fd = bind_socket(r->url, sizeof(r->url));
}

static void refused_close(struct refused *r)
{
    closep(&r->fd);
}

/* --- one endpoint ----------------------------------------------------------------------------------------------- */

static void test_http_get_delivers_status_body_and_endpoint(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_not_found);
    start(&c, &w, (struct http_call){.path = "/v2/keys?x=1", .headers = (const char *const[]){"X-Token: t", NULL}},
          ENDPOINTS(w.a.url));
    wait_until_done(&c);
    assert_int_equal(c.answer.error, 0);
    assert_string_equal(c.message, "");
    assert_true(c.answer.maybe_executed);
    assert_int_equal(c.answer.status, 404);
    assert_string_equal(c.body.data, "no such key");
    assert_int_equal(c.answer.endpoint_index, 0);
    assert_int_equal(c.chunks, 0);
    assert_non_null(strstr(w.a.last_request, "GET /v2/keys?x=1 HTTP/1.1\r\n"));
    assert_non_null(strstr(w.a.last_request, "\r\nX-Token: t\r\n"));
    assert_null(strcasestr(w.a.last_request, "\r\nExpect"));
}

static void test_http_sends_method_body_and_credentials(void **state)
{
    static const struct {
        const char *method, *body, *want;
    } rows[] = {
        {"POST", "{\"a\":1}", "\r\n\r\n{\"a\":1}"},
        {"PUT", "x", "\r\n\r\nx"},
        {"DELETE", "gone", "\r\n\r\ngone"},
        {"PATCH", "{}", "\r\n\r\n{}"},
        {"POST", NULL, "\r\nContent-Length: 0\r\n"},
        {"PUT", NULL, "\r\nContent-Length: 0\r\n"},
        {"DELETE", NULL, "\r\n\r\n"},
        {"OPTIONS", NULL, "\r\n\r\n"},
    };
    CLEANUP(world_close) struct world w;

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_ok);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(call_done) struct call c = {0};

        start(&c, &w,
              (struct http_call){.method = rows[i].method,
                                 .body = rows[i].body,
                                 .body_len = rows[i].body ? strlen(rows[i].body) : 0,
                                 .user_password = "root:secret",
                                 .idempotent = true},
              ENDPOINTS(w.a.url));
        wait_until_done(&c);
        if (c.answer.status != 200 || !text_starts_with(w.a.last_request, rows[i].method) ||
            !strstr(w.a.last_request, rows[i].want) ||
            !strstr(w.a.last_request, "Authorization: Basic cm9vdDpzZWNyZXQ=\r\n"))
            fail_msg("row %zu: status %d, request:\n%s", i, c.answer.status, w.a.last_request);
    }
}

static void test_http_head_does_not_wait_for_a_body(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_unavailable);
    start(&c, &w, (struct http_call){.method = "HEAD"}, ENDPOINTS(w.a.url));
    wait_until_done(&c);
    assert_int_equal(c.answer.error, 0);
    assert_int_equal(c.answer.status, 503);
    assert_int_equal(c.answer.body_len, 0);
}

static void test_http_strings_of_the_call_are_copied(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};
    char method[] = "POST", path[] = "/copied", header[] = "X-A: copied", body[] = "copied", url[64];
    const char *endpoints[] = {url, NULL}, *headers[] = {header, NULL};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_ok);
    assert_true(text_copy(url, sizeof(url), w.a.url));
    start(&c, &w, (struct http_call){.method = method, .path = path, .headers = headers, .body = body, .body_len = 6},
          endpoints);
    memset(method, 'x', 4);
    memset(path, 'x', 7);
    memset(header, 'x', 11);
    memset(body, 'x', 6);
    memset(url, 'x', 20);
    wait_until_done(&c);
    assert_int_equal(c.answer.status, 200);
    assert_non_null(strstr(w.a.last_request, "POST /copied HTTP/1.1\r\n"));
    assert_non_null(strstr(w.a.last_request, "\r\nX-A: copied\r\n"));
    assert_non_null(strstr(w.a.last_request, "\r\n\r\ncopied"));
}

static void test_http_reuses_the_connection_for_idempotent_requests_only(void **state)
{
    CLEANUP(world_close) struct world w;

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_ok);
    for (unsigned i = 0; i < 3; i++) {
        CLEANUP(call_done) struct call c = {0};

        start(&c, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.a.url));
        wait_until_done(&c);
    }
    assert_int_equal(w.a.accepted, 1);
    CLEANUP(call_done) struct call c = {0};
    start(&c, &w, (struct http_call){.method = "POST"}, ENDPOINTS(w.a.url));
    wait_until_done(&c);
    assert_int_equal(w.a.accepted, 2);
}

static void test_http_answer_in_chunks_is_put_together(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    start(&c, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.a.url));
    wait_for(&w, &w.a.requests, 1);
    send_text(&w.a.connections[0], "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    turn(&w);
    send_text(&w.a.connections[0], "2\r\nde\r\n0\r\n\r\n");
    wait_until_done(&c);
    assert_string_equal(c.body.data, "abcde");
    assert_int_equal(c.chunks, 0);
}

static void test_http_failures_are_told_apart(void **state)
{
    static const struct {
        const char *name;
        void (*handle)(struct connection *, const char *);
        int want;
        const char *text;
    } rows[] = {
        {"reset", answer_reset, -ECONNRESET, "request to \"http://127.0.0.1:"},
        {"cut off", answer_cut_off, -ECONNRESET, "request to \"http://127.0.0.1:"},
        {"not http", answer_nonsense, -EPROTO, "request to \"http://127.0.0.1:"},
        {"closed", answer_once_per_connection, 0, ""},
    };
    CLEANUP(world_close) struct world w;

    (void)state;
    world_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(call_done) struct call c = {0};

        server_open(&w.a, w.loop, rows[i].handle);
        start(&c, &w, (struct http_call){.method = "POST"}, ENDPOINTS(w.a.url));
        wait_until_done(&c);
        if (c.answer.error != rows[i].want || !text_starts_with(c.message, rows[i].text) || !c.answer.maybe_executed)
            fail_msg("%s: error %d, \"%s\"", rows[i].name, c.answer.error, c.message);
        server_close(&w.a);
    }
}

static void test_http_url_that_is_none_fails_without_being_sent(void **state)
{
    static const char *const urls[] = {"ftp://127.0.0.1", "http://", "file:///etc/passwd", "http://[::1"};
    CLEANUP(world_close) struct world w;

    (void)state;
    world_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        CLEANUP(call_done) struct call c = {0};

        start(&c, &w, (struct http_call){.path = ""}, ENDPOINTS(urls[i]));
        wait_until_done(&c);
        if (c.answer.error != -EINVAL || c.answer.maybe_executed || !strstr(c.message, urls[i]))
            fail_msg("%s: error %d, \"%s\"", urls[i], c.answer.error, c.message);
    }
}

static void test_http_start_without_endpoints_is_refused(void **state)
{
    CLEANUP(world_close) struct world w;
    struct http_call call = {.method = "GET", .path = "/", .endpoints = (const char *const[]){NULL}};
    struct err err = {0};

    (void)state;
    world_open(&w);
    assert_int_equal(http_start(w.h, &call, NULL, on_done, NULL, NULL, &err), -EINVAL);
    call.endpoints = NULL;
    assert_int_equal(http_start(w.h, &call, NULL, on_done, NULL, NULL, &err), -EINVAL);
}

static void test_http_messages_do_not_show_the_password_of_the_url(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};
    CLEANUP(refused_close) struct refused refused;
    char url[128];

    (void)state;
    world_open(&w);
    refused_open(&refused);
    assert_true(text_print(url, sizeof(url), "http://root:geheim@%s", refused.url + strlen("http://")));
    start(&c, &w, (struct http_call){0}, ENDPOINTS(url));
    wait_until_done(&c);
    assert_null(strstr(c.message, "geheim"));
    assert_non_null(strstr(c.message, refused.url));
}

static void test_http_ignores_proxies_of_the_environment(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_ok);
    assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
    start(&c, &w, (struct http_call){0}, ENDPOINTS(w.a.url));
    wait_until_done(&c);
    assert_int_equal(unsetenv("http_proxy"), 0);
    assert_int_equal(c.answer.status, 200);
}

static void answer_redirect(struct connection *c, const char *request)
{
    (void)request;
    send_text(c, "HTTP/1.1 307 Elsewhere\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
}

static void test_http_does_not_follow_redirects(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_redirect);
    start(&c, &w, (struct http_call){0}, ENDPOINTS(w.a.url));
    wait_until_done(&c);
    assert_int_equal(c.answer.status, 307);
    assert_int_equal(w.a.requests, 1);
}

static void answer_of_size(struct connection *c, size_t size)
{
    CLEANUP(freep) char *body = malloc(size);

    assert_non_null(body);
    memset(body, 'x', size);
    c->close_when_sent = true;
    textbuf_puts(&c->out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    textbuf_append(&c->out, body, size);
    connection_flush(c);
}

static void answer_largest(struct connection *c, const char *request)
{
    (void)request;
    answer_of_size(c, HTTP_BODY_MAX);
}

static void answer_too_large(struct connection *c, const char *request)
{
    (void)request;
    answer_of_size(c, HTTP_BODY_MAX + 1);
}

static void test_http_body_of_the_largest_size_passes_and_one_more_byte_does_not(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call fits = {0};
    CLEANUP(call_done) struct call too_large = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_largest);
    server_open(&w.b, w.loop, answer_too_large);
    start(&fits, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.a.url));
    wait_until_done(&fits);
    assert_int_equal(fits.answer.error, 0);
    assert_int_equal(fits.body.len, HTTP_BODY_MAX);

    start(&too_large, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.b.url, w.a.url));
    wait_until_done(&too_large);
    assert_int_equal(too_large.answer.error, -EMSGSIZE);
    assert_true(too_large.answer.maybe_executed);
    assert_int_equal(too_large.answer.body_len, 0);
    assert_int_equal(w.a.requests, 1); /* another endpoint would say the same */
}

/* --- time ------------------------------------------------------------------------------------------------------- */

static void test_http_times_out_at_the_deadline_and_may_have_been_executed(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};
    uint64_t deadline_us = in_ms(300);

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    start(&c, &w, (struct http_call){.method = "POST", .deadline_us = deadline_us}, ENDPOINTS(w.a.url));
    wait_until_done(&c);
    assert_int_equal(c.answer.error, -ETIMEDOUT);
    assert_true(c.answer.maybe_executed);
    assert_non_null(strstr(c.message, w.a.url));
    assert_true(c.done_at_us >= deadline_us);
    assert_true(c.done_at_us < deadline_us + 5 * USEC_PER_SEC);
}

static void test_http_answers_that_came_in_time_count_when_the_loop_comes_late(void **state)
{
    CLEANUP(world_close) struct world w;
    struct call calls[8] = {0};
    uint64_t deadline_us = in_ms(300);

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        start(&calls[i], &w, (struct http_call){.idempotent = i % 2, .deadline_us = deadline_us}, ENDPOINTS(w.a.url));
    wait_for(&w, &w.a.requests, ARRAY_LEN(calls));
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        send_answer(&w.a.connections[i], 200, "in time");
    while (clock_now_us() <= deadline_us)
        ; /* the loop stands still: now all answers and all deadlines wait in it */
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        wait_until_done(&calls[i]);
        assert_int_equal(calls[i].answer.error, 0);
        call_done(&calls[i]);
    }
}

static void test_http_deadline_in_the_past_sends_nothing(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_ok);
    start(&c, &w, (struct http_call){.deadline_us = clock_now_us() - 1}, ENDPOINTS(w.a.url));
    wait_until_done(&c);
    assert_int_equal(c.answer.error, -ETIMEDOUT);
    assert_false(c.answer.maybe_executed);
    assert_int_equal(w.a.accepted, 0);
}

static void test_http_when_the_server_never_accepts_tls_nothing_was_executed(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};
    char url[64];

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    assert_true(text_print(url, sizeof(url), "https%s", w.a.url + 4));
    start(&c, &w, (struct http_call){.method = "POST", .deadline_us = in_ms(300)}, ENDPOINTS(url));
    wait_until_done(&c);
    assert_int_equal(w.a.accepted, 1);
    assert_int_equal(c.answer.error, -ETIMEDOUT);
    assert_false(c.answer.maybe_executed);
}

/* --- several endpoints ------------------------------------------------------------------------------------------ */

static void test_http_when_the_first_is_slow_the_second_is_asked_after_a_third_and_wins(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};
    uint64_t started_at_us;

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    server_open(&w.b, w.loop, answer_other);
    started_at_us = clock_now_us();
    start(&c, &w, (struct http_call){.idempotent = true, .deadline_us = started_at_us + 900 * USEC_PER_MSEC},
          ENDPOINTS(w.a.url, w.b.url));
    wait_until_done(&c);
    assert_int_equal(c.answer.error, 0);
    assert_string_equal(c.body.data, "other");
    assert_int_equal(c.answer.endpoint_index, 1);
    assert_int_equal(w.a.requests, 1);
    assert_true(c.done_at_us >= started_at_us + 299 * USEC_PER_MSEC);
    assert_true(c.done_at_us < started_at_us + 900 * USEC_PER_MSEC);
    /* The loser was cancelled: its server sees the end of the connection. */
    for (int i = 0; i < 100 && server_open_connections(&w.a) > 0; i++)
        turn(&w);
    assert_int_equal(server_open_connections(&w.a), 0);
}

static void test_http_when_the_first_answers_late_it_may_still_win(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    server_open(&w.b, w.loop, answer_never);
    start(&c, &w, (struct http_call){.idempotent = true, .deadline_us = in_ms(3000)}, ENDPOINTS(w.a.url, w.b.url));
    wait_for(&w, &w.b.requests, 1);
    send_answer(&w.a.connections[0], 200, "late");
    wait_until_done(&c);
    assert_string_equal(c.body.data, "late");
    assert_int_equal(c.answer.endpoint_index, 0);
}

static void test_http_request_that_may_not_be_repeated_is_not_hedged(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    server_open(&w.b, w.loop, answer_ok);
    start(&c, &w, (struct http_call){.method = "POST", .deadline_us = in_ms(400)}, ENDPOINTS(w.a.url, w.b.url));
    wait_until_done(&c);
    assert_int_equal(c.answer.error, -ETIMEDOUT);
    assert_true(c.answer.maybe_executed);
    assert_int_equal(w.b.accepted, 0);
}

static void test_http_when_the_first_refuses_the_next_is_asked_at_once(void **state)
{
    static const bool idempotent[] = {false, true};
    CLEANUP(world_close) struct world w;
    CLEANUP(refused_close) struct refused refused;

    (void)state;
    world_open(&w);
    refused_open(&refused);
    server_open(&w.a, w.loop, answer_ok);
    for (size_t i = 0; i < ARRAY_LEN(idempotent); i++) {
        CLEANUP(call_done) struct call c = {0};
        uint64_t started_at_us = clock_now_us();

        start(&c, &w, (struct http_call){.method = "POST", .idempotent = idempotent[i]},
              ENDPOINTS(refused.url, w.a.url));
        wait_until_done(&c);
        assert_int_equal(c.answer.status, 200);
        assert_int_equal(c.answer.endpoint_index, 1);
        assert_true(c.done_at_us - started_at_us < 5 * USEC_PER_SEC); /* a third of the budget would be more */
    }
}

static void test_http_when_all_refuse_nothing_was_executed_and_all_are_named(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};
    CLEANUP(refused_close) struct refused one;
    CLEANUP(refused_close) struct refused two;

    (void)state;
    world_open(&w);
    refused_open(&one);
    refused_open(&two);
    start(&c, &w, (struct http_call){.idempotent = true}, ENDPOINTS(one.url, two.url));
    wait_until_done(&c);
    assert_int_equal(c.answer.error, -ECONNREFUSED);
    assert_false(c.answer.maybe_executed);
    assert_int_equal(c.answer.status, 0);
    assert_string_equal(c.answer.body, "");
    assert_int_equal(c.answer.endpoint_index, 1);
    assert_non_null(strstr(c.message, one.url));
    assert_non_null(strstr(c.message, two.url));
    assert_non_null(strstr(c.message, "Connection refused"));
}

static void test_http_when_tls_fails_the_next_is_asked_even_if_not_idempotent(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};
    char url[64];

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    server_open(&w.b, w.loop, answer_ok);
    assert_true(text_print(url, sizeof(url), "https%s", w.a.url + 4));
    /* Connecting to the first takes its share of the budget and no more. */
    start(&c, &w, (struct http_call){.method = "POST", .deadline_us = in_ms(1500)}, ENDPOINTS(url, w.b.url));
    wait_until_done(&c);
    assert_int_equal(c.answer.status, 200);
    assert_int_equal(c.answer.endpoint_index, 1);
    assert_int_equal(w.a.requests, 0);
}

static void test_http_after_a_reset_only_what_is_idempotent_is_sent_to_the_next(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call twice = {0};
    CLEANUP(call_done) struct call once = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_reset);
    server_open(&w.b, w.loop, answer_ok);
    start(&once, &w, (struct http_call){.method = "POST"}, ENDPOINTS(w.a.url, w.b.url));
    wait_until_done(&once);
    assert_int_equal(once.answer.error, -ECONNRESET);
    assert_true(once.answer.maybe_executed);
    assert_int_equal(w.b.requests, 0);

    start(&twice, &w, (struct http_call){.method = "POST", .idempotent = true}, ENDPOINTS(w.a.url, w.b.url));
    wait_until_done(&twice);
    assert_int_equal(twice.answer.error, 0);
    assert_int_equal(w.b.requests, 1);
}

static void test_http_when_a_kept_connection_breaks_what_is_not_idempotent_is_not_repeated(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call first = {0};
    CLEANUP(call_done) struct call second = {0};
    CLEANUP(call_done) struct call third = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_once_per_connection);
    start(&first, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.a.url));
    wait_until_done(&first);
    assert_int_equal(w.a.accepted, 1);
    /* Would break on the kept connection, and curl would then send it again: hence it gets a connection of its own. */
    start(&second, &w, (struct http_call){.method = "POST"}, ENDPOINTS(w.a.url));
    wait_until_done(&second);
    assert_int_equal(second.answer.error, 0);
    assert_int_equal(w.a.requests, 2);
    /* The idempotent one uses the kept connection, fails there, and is repeated. */
    start(&third, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.a.url));
    wait_until_done(&third);
    assert_int_equal(third.answer.error, 0);
    assert_true(w.a.requests >= 4);
}

static void test_http_5xx_is_the_answer_only_if_no_endpoint_does_better(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(refused_close) struct refused refused;
    CLEANUP(call_done) struct call better = {0};
    CLEANUP(call_done) struct call worse = {0};
    CLEANUP(call_done) struct call once = {0};

    (void)state;
    world_open(&w);
    refused_open(&refused);
    server_open(&w.a, w.loop, answer_unavailable);
    server_open(&w.b, w.loop, answer_ok);
    start(&better, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.a.url, w.b.url));
    wait_until_done(&better);
    assert_int_equal(better.answer.status, 200);
    assert_string_equal(better.body.data, "ok");

    start(&worse, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.a.url, refused.url));
    wait_until_done(&worse);
    assert_int_equal(worse.answer.error, 0);
    assert_int_equal(worse.answer.status, 503);
    assert_int_equal(worse.answer.endpoint_index, 0);
    assert_string_equal(worse.body.data, "not now");

    start(&once, &w, (struct http_call){.method = "POST"}, ENDPOINTS(w.a.url, w.b.url));
    wait_until_done(&once);
    assert_int_equal(once.answer.status, 503);
}

static void test_http_5xx_waits_for_an_endpoint_that_is_being_asked(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    server_open(&w.b, w.loop, answer_unavailable);
    start(&c, &w, (struct http_call){.idempotent = true, .deadline_us = in_ms(1500)}, ENDPOINTS(w.a.url, w.b.url));
    wait_for(&w, &w.b.requests, 1);
    turn(&w);
    assert_int_equal(c.done, 0);
    send_answer(&w.a.connections[0], 200, "after all");
    wait_until_done(&c);
    assert_string_equal(c.body.data, "after all");
}

/* --- streams ---------------------------------------------------------------------------------------------------- */

static void test_http_stream_delivers_as_it_comes_and_ends(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    start(&c, &w, (struct http_call){.stream = true}, ENDPOINTS(w.a.url));
    wait_for(&w, &w.a.requests, 1);
    send_text(&w.a.connections[0], "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n");
    wait_for(&w, &c.chunks, 1);
    assert_string_equal(c.data.data, "one\n");
    send_text(&w.a.connections[0], "4\r\ntwo\n\r\n");
    wait_for(&w, &c.chunks, 2);
    assert_int_equal(c.done, 0);
    send_text(&w.a.connections[0], "2\r\nxy\r\n0\r\n\r\n"); /* data and end at once: the data comes first */
    wait_until_done(&c);
    assert_string_equal(c.data.data, "one\ntwo\nxy");
    assert_int_equal(c.answer.error, 0);
    assert_int_equal(c.answer.status, 200);
    assert_int_equal(c.answer.body_len, 0);
}

static void test_http_stream_that_breaks_delivers_what_came_and_is_not_repeated(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_cut_off);
    server_open(&w.b, w.loop, answer_ok);
    start(&c, &w, (struct http_call){.stream = true, .idempotent = true}, ENDPOINTS(w.a.url, w.b.url));
    wait_until_done(&c);
    assert_string_equal(c.data.data, "only this");
    assert_int_equal(c.answer.error, -ECONNRESET);
    assert_int_equal(w.b.accepted, 0);
}

static void test_http_stream_moves_on_while_nothing_was_delivered(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};
    CLEANUP(refused_close) struct refused refused;

    (void)state;
    world_open(&w);
    refused_open(&refused);
    server_open(&w.a, w.loop, answer_unavailable);
    server_open(&w.b, w.loop, answer_other);
    start(&c, &w, (struct http_call){.stream = true, .idempotent = true}, ENDPOINTS(refused.url, w.a.url, w.b.url));
    wait_until_done(&c);
    assert_string_equal(c.data.data, "other");
    assert_int_equal(c.answer.endpoint_index, 2);
}

static void test_http_stream_refused_by_the_server_has_its_text_in_the_answer(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_not_found);
    start(&c, &w, (struct http_call){.stream = true}, ENDPOINTS(w.a.url));
    wait_until_done(&c);
    assert_int_equal(c.chunks, 0);
    assert_int_equal(c.answer.status, 404);
    assert_string_equal(c.body.data, "no such key");
}

static void test_http_long_poll_has_its_body_in_the_answer_and_is_not_hedged(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};
    uint64_t until_us = in_ms(250);

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    server_open(&w.b, w.loop, answer_ok);
    start_with(&c, &w, (struct http_call){.stream = true, .idempotent = true, .deadline_us = in_ms(600)},
               ENDPOINTS(w.a.url, w.b.url), NULL);
    while (clock_now_us() < until_us)
        turn(&w);
    send_answer(&w.a.connections[0], 200, "an event");
    wait_until_done(&c);
    assert_string_equal(c.body.data, "an event");
    assert_int_equal(w.b.accepted, 0);
}

/* The socket of this process that is connected to the server's first connection. */
static int socket_of_client(const struct server *s)
{
    struct sockaddr_in want, got;
    socklen_t len = sizeof(want);

    assert_int_equal(getpeername(s->connections[0].fd, (struct sockaddr *)&want, &len), 0);
    for (int fd = 3; fd < 256; fd++) {
        len = sizeof(got);
        if (getsockname(fd, (struct sockaddr *)&got, &len) == 0 && len == sizeof(got) && got.sin_port == want.sin_port)
            return fd;
    }
    return -1;
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void test_http_stream_has_a_connection_of_its_own_that_notices_a_dead_peer(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call plain = {0};
    CLEANUP(call_done) struct call stream = {0};
    int fd;

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_ok);
    start(&plain, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.a.url));
    wait_until_done(&plain);
    assert_int_equal(w.a.accepted, 1);

    server_open(&w.b, w.loop, answer_never);
    start(&stream, &w, (struct http_call){.stream = true, .keepalive_idle_us = 6 * USEC_PER_SEC}, ENDPOINTS(w.b.url));
    wait_for(&w, &w.b.requests, 1);
    fd = socket_of_client(&w.b);
    assert_true(fd >= 0);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 6);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), 2);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 12000);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    stream.request = http_cancel(stream.request);
}

/* --- cancelling, and callbacks that do things ------------------------------------------------------------------- */

static void test_http_cancel_ends_without_a_callback(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};
    CLEANUP(call_done) struct call decided = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    start(&c, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.a.url));
    wait_for(&w, &w.a.requests, 1);
    assert_null(http_cancel(c.request));
    assert_null(http_cancel(NULL));
    /* Also when the answer is there and only the callback is still to come. */
    start(&decided, &w, (struct http_call){.deadline_us = 1}, ENDPOINTS(w.a.url));
    decided.request = http_cancel(decided.request);
    for (int i = 0; i < 100 && server_open_connections(&w.a) > 0; i++)
        turn(&w);
    assert_int_equal(server_open_connections(&w.a), 0);
    assert_int_equal(c.done + decided.done, 0);
}

static void test_http_free_cancels_everything_without_callbacks(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call one = {0};
    CLEANUP(call_done) struct call two = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_never);
    start(&one, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.a.url));
    start(&two, &w, (struct http_call){.stream = true}, ENDPOINTS(w.a.url));
    wait_for(&w, &w.a.requests, 2);
    w.h = http_free(w.h);
    for (int i = 0; i < 100 && server_open_connections(&w.a) > 0; i++)
        turn(&w);
    assert_int_equal(one.done + two.done, 0);
}

static void test_http_callbacks_may_cancel_start_and_free(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call in_data = {.cancel_in_data = true};
    CLEANUP(call_done) struct call another = {0};
    CLEANUP(call_done) struct call in_done = {.cancel_in_done = true, .start_another = true, .another = &another};
    CLEANUP(call_done) struct call all_in_done = {.free_all = true};
    CLEANUP(call_done) struct call all_in_data = {.free_all = true};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_ok);
    start(&in_data, &w, (struct http_call){.stream = true}, ENDPOINTS(w.a.url));
    wait_for(&w, &in_data.chunks, 1);

    start(&in_done, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.a.url));
    wait_until_done(&in_done);
    wait_until_done(&another);
    assert_int_equal(in_data.done, 0);

    start(&all_in_data, &w, (struct http_call){.stream = true}, ENDPOINTS(w.a.url));
    wait_for(&w, &all_in_data.chunks, 1);
    assert_null(w.h);
    assert_int_equal(http_new(w.loop, NULL, &w.h, NULL), 0);
    start(&all_in_done, &w, (struct http_call){.idempotent = true}, ENDPOINTS(w.a.url));
    wait_until_done(&all_in_done);
    turn(&w);
    assert_null(w.h);
    assert_int_equal(all_in_data.done, 0);
}

/* --- memory ----------------------------------------------------------------------------------------------------- */

static void test_http_new_without_memory_fails_cleanly(void **state)
{
    const struct http_tls tls = {.ca_file = "a", .cert_file = "b", .key_file = "c", .key_password = "d"};
    sd_event *loop = NULL;
    struct http *h = NULL;
    int n = 0, r;

    (void)state;
    assert_true(sd_event_new(&loop) >= 0);
    do {
        fail_alloc = ++n;
        r = http_new(loop, &tls, &h, NULL);
        assert_true(r == 0 || (r == -ENOMEM && !h));
    } while (r < 0);
    assert_int_equal(n, 5 + 1); /* all five allocations of ours have failed once */
    fail_alloc = 0;
    h = http_free(h);
    (void)sd_event_unref(loop);
}

static void test_http_start_without_memory_fails_cleanly_or_says_so_later(void **state)
{
    CLEANUP(world_close) struct world w;
    int failed = 0, said_so_later = 0;

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_ok);
    for (int n = 1;; n++) {
        CLEANUP(call_done) struct call c = {.world = &w};
        struct http_call what = {.method = "POST",
                                 .path = "/",
                                 .endpoints = ENDPOINTS(w.a.url),
                                 .headers = ENDPOINTS("X-A: b"),
                                 .user_password = "u:p",
                                 .body = "body",
                                 .body_len = 4,
                                 .deadline_us = in_ms(20000)};
        int r;

        fail_alloc = n;
        r = http_start(w.h, &what, on_data, on_done, &c, &c.request, NULL);
        if (r == 0 && fail_alloc > 0) {
            c.request = http_cancel(c.request);
            break;
        }
        fail_alloc = 0;
        assert_true(r == 0 || r == -ENOMEM);
        if (r < 0) {
            failed++;
            continue;
        }
        wait_until_done(&c);
        assert_int_equal(c.answer.error, -ENOMEM);
        assert_false(c.answer.maybe_executed);
        said_so_later++;
    }
    fail_alloc = 0;
    assert_true(failed >= 6);
    assert_true(said_so_later >= 2);
    assert_int_equal(w.a.requests, 0);
}

static void test_http_large_body_is_sent_without_asking_first(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};
    CLEANUP(freep) char *body = malloc(2 << 20);

    (void)state;
    assert_non_null(body);
    memset(body, 'x', 2 << 20);
    world_open(&w);
    server_open(&w.a, w.loop, answer_ok);
    start(&c, &w, (struct http_call){.method = "PUT", .body = body, .body_len = 2 << 20}, ENDPOINTS(w.a.url));
    wait_until_done(&c);
    assert_int_equal(c.answer.status, 200);
    assert_null(strcasestr(w.a.last_request, "\r\nExpect"));
}

/* --- names ------------------------------------------------------------------------------------------------------ */

/*
 * Takes the place of the C library's function also for libcurl, whose resolver thread calls it: "silent.test" is a name
 * about which the name server says nothing until the test lets it.
 */
static int silence[2] = {-1, -1};

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
    char byte;

    (void)service;
    (void)hints;
    (void)res;
    if (text_equal(node, "silent.test"))
        (void)!read(silence[0], &byte, 1);
    return EAI_NONAME;
}

static void test_http_name_that_does_not_exist_moves_on_to_the_next(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call fails = {0};
    CLEANUP(call_done) struct call moves_on = {0};

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_ok);
    start(&fails, &w, (struct http_call){.method = "POST"}, ENDPOINTS("http://no.such.test"));
    wait_until_done(&fails);
    assert_int_equal(fails.answer.error, -EHOSTUNREACH);
    assert_false(fails.answer.maybe_executed);
    start(&moves_on, &w, (struct http_call){.method = "POST"}, ENDPOINTS("http://no.such.test", w.a.url));
    wait_until_done(&moves_on);
    assert_int_equal(moves_on.answer.status, 200);
}

static void test_http_silent_name_server_does_not_stop_the_loop(void **state)
{
    CLEANUP(world_close) struct world w;
    CLEANUP(call_done) struct call c = {0};
    CLEANUP(call_done) struct call moves_on = {0};
    uint64_t started_at_us = clock_now_us();

    (void)state;
    world_open(&w);
    server_open(&w.a, w.loop, answer_ok);
    assert_int_equal(pipe2(silence, O_CLOEXEC), 0);
    start(&c, &w, (struct http_call){.deadline_us = in_ms(200)}, ENDPOINTS("http://silent.test"));
    wait_until_done(&c);
    assert_int_equal(c.answer.error, -ETIMEDOUT);
    assert_false(c.answer.maybe_executed);
    start(&moves_on, &w, (struct http_call){.method = "POST", .deadline_us = in_ms(1500)},
          ENDPOINTS("http://silent.test", w.a.url));
    wait_until_done(&moves_on);
    assert_int_equal(moves_on.answer.status, 200);
    w.h = http_free(w.h);
    assert_true(clock_now_us() - started_at_us < 10 * USEC_PER_SEC);
    closep(&silence[1]); /* the threads come to their end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_get_delivers_status_body_and_endpoint),
        cmocka_unit_test(test_http_sends_method_body_and_credentials),
        cmocka_unit_test(test_http_head_does_not_wait_for_a_body),
        cmocka_unit_test(test_http_strings_of_the_call_are_copied),
        cmocka_unit_test(test_http_reuses_the_connection_for_idempotent_requests_only),
        cmocka_unit_test(test_http_answer_in_chunks_is_put_together),
        cmocka_unit_test(test_http_failures_are_told_apart),
        cmocka_unit_test(test_http_url_that_is_none_fails_without_being_sent),
        cmocka_unit_test(test_http_start_without_endpoints_is_refused),
        cmocka_unit_test(test_http_messages_do_not_show_the_password_of_the_url),
        cmocka_unit_test(test_http_ignores_proxies_of_the_environment),
        cmocka_unit_test(test_http_does_not_follow_redirects),
        cmocka_unit_test(test_http_body_of_the_largest_size_passes_and_one_more_byte_does_not),
        cmocka_unit_test(test_http_times_out_at_the_deadline_and_may_have_been_executed),
        cmocka_unit_test(test_http_answers_that_came_in_time_count_when_the_loop_comes_late),
        cmocka_unit_test(test_http_deadline_in_the_past_sends_nothing),
        cmocka_unit_test(test_http_when_the_server_never_accepts_tls_nothing_was_executed),
        cmocka_unit_test(test_http_when_the_first_is_slow_the_second_is_asked_after_a_third_and_wins),
        cmocka_unit_test(test_http_when_the_first_answers_late_it_may_still_win),
        cmocka_unit_test(test_http_request_that_may_not_be_repeated_is_not_hedged),
        cmocka_unit_test(test_http_when_the_first_refuses_the_next_is_asked_at_once),
        cmocka_unit_test(test_http_when_all_refuse_nothing_was_executed_and_all_are_named),
        cmocka_unit_test(test_http_when_tls_fails_the_next_is_asked_even_if_not_idempotent),
        cmocka_unit_test(test_http_after_a_reset_only_what_is_idempotent_is_sent_to_the_next),
        cmocka_unit_test(test_http_when_a_kept_connection_breaks_what_is_not_idempotent_is_not_repeated),
        cmocka_unit_test(test_http_5xx_is_the_answer_only_if_no_endpoint_does_better),
        cmocka_unit_test(test_http_5xx_waits_for_an_endpoint_that_is_being_asked),
        cmocka_unit_test(test_http_stream_delivers_as_it_comes_and_ends),
        cmocka_unit_test(test_http_stream_that_breaks_delivers_what_came_and_is_not_repeated),
        cmocka_unit_test(test_http_stream_moves_on_while_nothing_was_delivered),
        cmocka_unit_test(test_http_stream_refused_by_the_server_has_its_text_in_the_answer),
        cmocka_unit_test(test_http_long_poll_has_its_body_in_the_answer_and_is_not_hedged),
        cmocka_unit_test(test_http_stream_has_a_connection_of_its_own_that_notices_a_dead_peer),
        cmocka_unit_test(test_http_cancel_ends_without_a_callback),
        cmocka_unit_test(test_http_free_cancels_everything_without_callbacks),
        cmocka_unit_test(test_http_callbacks_may_cancel_start_and_free),
        cmocka_unit_test(test_http_new_without_memory_fails_cleanly),
        cmocka_unit_test(test_http_start_without_memory_fails_cleanly_or_says_so_later),
        cmocka_unit_test(test_http_large_body_is_sent_without_asking_first),
        cmocka_unit_test(test_http_name_that_does_not_exist_moves_on_to_the_next),
        cmocka_unit_test(test_http_silent_name_server_does_not_stop_the_loop),
    };

    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
