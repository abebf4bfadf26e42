/*
 * One call of the JSON gateway: POST of a JSON object to <endpoint><prefix><method>, and all that it takes to get a
 * usable answer within the deadline.
 *
 * Retried is what may be executed twice, and what certainly was not executed. Everything else that goes wrong is
 * ETCD3_FAILED, and the operation makes an "unknown" of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/loop.h"
#include "dcs/etcd3_internal.h"

#define RETRY_FIRST_US (100 * USEC_PER_MSEC)
#define RETRY_MAX_US (1000 * USEC_PER_MSEC)
#define DISCOVERY_EVERY_US (UINT64_C(300) * USEC_PER_SEC)
#define DISCOVERY_AFTER_FAILURE_US (UINT64_C(10) * USEC_PER_SEC)
#define DISCOVERY_TIMEOUT_US (UINT64_C(5) * USEC_PER_SEC)
/* A wrong password is not tried more often: checking one takes etcd a tenth of a second of its processor, each time. */
#define AUTH_AGAIN_US (UINT64_C(1) * USEC_PER_SEC)
#define TOKEN_WAIT_US (20 * USEC_PER_MSEC)
enum { AUTH_ROUNDS_MAX = 3 };

static void next_step(struct etcd3_call *c);

static void free_secret(char **s)
{
    if (*s)
        explicit_bzero(*s, strlen(*s));
    free(*s);
    *s = NULL;
}

/* The end of a call; the callback may free it. */
static void finish(struct etcd3_call *c, enum etcd3_kind kind, json_t *json)
{
    struct etcd3_reply reply = {
        .kind = kind, .json = json, .sent_at_us = c->sent_at_us, .first_sent_at_us = c->first_sent_at_us};

    /* What is left in c->err after a success is why an earlier attempt failed. */
    if (kind != ETCD3_OK)
        reply.err = c->err;
    if (json)
        etcd3_read_header(json, &reply.header);
    c->done(c, &reply);
    json_decref(json);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct etcd3_call *c = userdata;

    (void)source;
    (void)usec;
    if (c->giving_up)
        finish(c, ETCD3_FAILED, NULL);
    else
        next_step(c);
    return 0;
}

static void set_timer(struct etcd3_call *c, uint64_t at_us)
{
    (void)loop_timer_at(c->e->loop, &c->timer, at_us, on_timer, c);
}

/* Fails with c->err, from the loop. */
static void give_up(struct etcd3_call *c)
{
    c->giving_up = true;
    set_timer(c, clock_now_us());
}

/*
 * Tries again if that is allowed and there is time: at once as long as there are others to ask, then with pauses.
 * `others` is false when all of them have been asked already.
 */
static void retry(struct etcd3_call *c, bool allowed, bool others)
{
    uint64_t now_us = clock_now_us(), pause_us = 0;

    c->failures++;
    if (!others || c->failures >= c->e->endpoints.n) {
        pause_us = RETRY_FIRST_US << (c->pauses < 4 ? c->pauses : 4);
        c->pauses++;
    }
    if (pause_us > RETRY_MAX_US)
        pause_us = RETRY_MAX_US;
    if (!allowed || clock_rest_us(now_us, c->deadline_us) <= pause_us)
        finish(c, ETCD3_FAILED, NULL);
    else
        set_timer(c, now_us + pause_us);
}

static void endpoint_failed(struct etcd3 *e, const char *url, const struct err *err)
{
    if (!url)
        return;
    etcd3_endpoints_failed(&e->endpoints, url, err->msg, clock_now_us());
    e->discovery_wanted = true;
    if (e->watch)
        etcd3_watch_endpoint_failed(e->watch, url);
}

void etcd3_forget_token(struct etcd3 *e)
{
    free_secret(&e->token);
    e->auth_off = false;
}

/* --- discovery of members: a call of its own beside the others ------------------------------------------------------
 */

static void on_members(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    if (reply->kind == ETCD3_OK)
        etcd3_endpoints_discovered(&c->e->endpoints, json_object_get(reply->json, "members"));
    etcd3_call_done(c);
}

static void maybe_discover(struct etcd3 *e)
{
    uint64_t now_us = clock_now_us();
    uint64_t age_us = clock_rest_us(e->discovered_at_us, now_us);

    if (!e->discover || e->discovery.e)
        return;
    if (e->discovered_at_us && age_us < (e->discovery_wanted ? DISCOVERY_AFTER_FAILURE_US : DISCOVERY_EVERY_US))
        return;
    e->discovered_at_us = now_us;
    e->discovery_wanted = false;
    e->discovery = (struct etcd3_call){.e = e,
                                       .method = "/cluster/member/list",
                                       .body = strdup("{}"),
                                       .idempotent = true,
                                       .deadline_us = now_us + DISCOVERY_TIMEOUT_US,
                                       .done = on_members};
    etcd3_call_start(&e->discovery);
}

/* --- the steps of a call --------------------------------------------------------------------------------------------
 */

static void got_version(struct etcd3_call *c, json_t *json)
{
    int r = etcd3_read_version(json, &c->e->prefix, &c->err);

    if (r == 0)
        next_step(c);
    else
        retry(c, r == -EAGAIN, false);
}

static void got_token(struct etcd3_call *c, const json_t *json)
{
    const char *token = json_string_value(json_object_get(json, "token"));
    struct etcd3 *e = c->e;

    free_secret(&e->token);
    if (token)
        e->token = strdup(token);
    if (!e->token) {
        (void)err_set(&c->err, -EBADMSG, "the store gave no token");
        retry(c, true, true);
        return;
    }
    e->token_generation++;
    next_step(c);
}

/*
 * Tokens end by themselves, with a restart of etcd and with every change of users. "Permission denied" is among the
 * answers that a new token may cure, because that is what some versions say to an outdated one.
 */
static void need_token(struct etcd3_call *c)
{
    struct etcd3 *e = c->e;

    if (!e->username || c->auth_rounds++ >= AUTH_ROUNDS_MAX) {
        if (!e->username)
            (void)err_set(&c->err, -EACCES,
                          "the store wants a user name\nHINT:  Set username and password in the section etcd3.");
        finish(c, ETCD3_FAILED, NULL);
        return;
    }
    /* Another call may have fetched a new one meanwhile. */
    if (c->token_generation == e->token_generation)
        etcd3_forget_token(e);
    next_step(c);
}

static void got_answer(struct etcd3_call *c, json_t *json)
{
    switch (c->step) {
    case ETCD3_STEP_VERSION:
        got_version(c, json);
        break;
    case ETCD3_STEP_TOKEN:
        got_token(c, json);
        break;
    case ETCD3_STEP_REQUEST:
        maybe_discover(c->e);
        finish(c, ETCD3_OK, json_incref(json));
        break;
    }
}

/* The others that wait for a token may ask for it. */
static void leave_token(struct etcd3_call *c)
{
    if (c->e && c->e->token_call == c)
        c->e->token_call = NULL;
}

/* It began with a store that has been replaced since: what the new one says is no answer to it. */
static bool is_outlived(struct etcd3_call *c)
{
    if (!c->life || c->life == c->e->life)
        return false;
    (void)err_set(&c->err, -ESTALE, "the store was built anew or restored meanwhile");
    return true;
}

static bool may_repeat(const struct etcd3_call *c)
{
    return c->step != ETCD3_STEP_REQUEST || c->idempotent;
}

static void sort_answer(struct etcd3_call *c, enum etcd3_kind kind, json_t *json, const struct http_answer *answer)
{
    struct etcd3 *e = c->e;

    switch (kind) {
    case ETCD3_OK:
        if (etcd3_guard(e, json, answer->endpoint, &c->err) < 0) {
            endpoint_failed(e, answer->endpoint, &c->err);
            retry(c, may_repeat(c), true);
            return;
        }
        etcd3_endpoints_answered(&e->endpoints, answer->endpoint, clock_now_us());
        got_answer(c, json);
        return;
    case ETCD3_NO_LEASE:
    case ETCD3_LEASE_EXISTS:
        finish(c, kind, NULL);
        return;
    case ETCD3_AUTH_NEEDED:
        need_token(c);
        return;
    case ETCD3_AUTH_OFF:
        e->auth_off = true;
        if (c->step == ETCD3_STEP_TOKEN)
            next_step(c);
        else
            finish(c, ETCD3_FAILED, NULL);
        return;
    case ETCD3_AUTH_WRONG:
        e->auth_refused_at_us = clock_now_us();
        finish(c, ETCD3_FAILED, NULL);
        return;
    case ETCD3_WRONG_PATH:
        e->prefix = NULL;
        endpoint_failed(e, answer->endpoint, &c->err);
        retry(c, true, true);
        return;
    case ETCD3_FAILED:
        endpoint_failed(e, answer->endpoint, &c->err);
        retry(c, may_repeat(c), true);
        return;
    }
}

static void on_http(void *userdata, const struct http_answer *answer)
{
    struct etcd3_call *c = userdata;
    json_t *json = NULL;
    enum etcd3_kind kind;

    c->request = NULL;
    leave_token(c);
    if (is_outlived(c)) {
        give_up(c);
        return;
    }
    if (answer->error) {
        (void)err_set(&c->err, answer->error, "%s", answer->message ? answer->message : "the store did not answer");
        endpoint_failed(c->e, answer->endpoint, &c->err);
        /* Whoever could be asked has been asked by the HTTP client. */
        retry(c, may_repeat(c) || !answer->maybe_executed, false);
        return;
    }
    if (c->on_data && c->step == ETCD3_STEP_REQUEST && answer->status == 200) {
        (void)err_set(&c->err, -ECONNRESET, "\"%s\" closed the stream", answer->endpoint);
        finish(c, ETCD3_FAILED, NULL);
        return;
    }
    kind = etcd3_decode(answer->status, answer->body, answer->body_len, &json, &c->err);
    sort_answer(c, kind, json, answer);
    json_decref(json);
}

/* Name and password need escaping, and nothing else that we send does. */
static char *token_body(const struct etcd3 *e)
{
    json_t *json = json_pack("{s:s,s:s}", "name", e->username, "password", e->password ? e->password : "");
    char *body = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return body;
}

static int send_request(struct etcd3_call *c, const char *method, const char *path, const char *body)
{
    struct etcd3 *e = c->e;
    const char *endpoints[ETCD3_ENDPOINTS_MAX + 1] = {c->endpoint, NULL};
    bool stream = c->on_data && c->step == ETCD3_STEP_REQUEST;
    const char *headers[] = {"Content-Type: application/json", NULL, NULL, NULL};
    char token[1024];
    struct http_call call = {.method = method,
                             .endpoints = endpoints,
                             .path = path,
                             .headers = headers,
                             .body = body,
                             .body_len = body ? strlen(body) : 0,
                             .deadline_us = stream ? 0 : c->deadline_us,
                             .idempotent = may_repeat(c) && !stream,
                             .stream = stream,
                             .keepalive_idle_us = 10 * USEC_PER_SEC};
    int r;

    /* A member without a leader then ends the stream instead of keeping silent (etcd, rpctypes/md.go). */
    if (stream)
        headers[1] = "Grpc-Metadata-hasleader: true";
    if (e->token && c->step == ETCD3_STEP_REQUEST) {
        if (!text_print(token, sizeof(token), "Authorization: %s", e->token))
            return err_set(&c->err, -E2BIG, "the token of the store is too long");
        headers[stream ? 2 : 1] = token;
    }
    if (!c->endpoint)
        etcd3_endpoints_order(&e->endpoints, clock_now_us(), endpoints);
    c->token_generation = e->token_generation;
    c->sent_at_us = clock_now_us();
    if (!c->first_sent_at_us)
        c->first_sent_at_us = c->sent_at_us;
    r = http_start(e->http, &call, stream ? c->on_data : NULL, on_http, c, &c->request, &c->err);
    explicit_bzero(token, sizeof(token));
    return r;
}

static bool needs_token(const struct etcd3 *e)
{
    return e->username && !e->token && !e->auth_off;
}

static bool was_refused_lately(const struct etcd3 *e)
{
    return e->auth_refused_at_us && clock_now_us() - e->auth_refused_at_us < AUTH_AGAIN_US;
}

static void next_step(struct etcd3_call *c)
{
    struct etcd3 *e = c->e;
    char path[128];
    int r = 0;

    if (is_outlived(c)) {
        give_up(c);
        return;
    }
    if (clock_rest_us(clock_now_us(), c->deadline_us) == 0) {
        (void)err_set(&c->err, c->err.code ? c->err.code : -ETIMEDOUT, "%s",
                      *c->err.msg ? c->err.msg : "the time was over before the store was asked");
        give_up(c);
        return;
    }
    if (!e->prefix) {
        c->step = ETCD3_STEP_VERSION;
        r = send_request(c, "GET", "/version", NULL);
    } else if (needs_token(e) && was_refused_lately(e)) {
        r = err_set(&c->err, -EACCES, "the store refused our user name or password a moment ago");
    } else if (needs_token(e) && e->token_call) {
        set_timer(c, clock_now_us() + TOKEN_WAIT_US); /* one password check is work enough for all */
    } else if (needs_token(e)) {
        char *body = token_body(e);

        c->step = ETCD3_STEP_TOKEN;
        e->token_call = c;
        (void)text_print(path, sizeof(path), "%s/auth/authenticate", e->prefix);
        r = body ? send_request(c, "POST", path, body) : err_set(&c->err, -ENOMEM, "out of memory");
        free_secret(&body);
    } else {
        c->step = ETCD3_STEP_REQUEST;
        (void)text_print(path, sizeof(path), "%s%s", e->prefix, c->method);
        r = c->body ? send_request(c, "POST", path, c->body)
                    : err_set(&c->err, -ENOMEM, "nothing to send: out of memory, or no lease of this node to use yet");
    }
    if (r < 0) {
        leave_token(c);
        give_up(c);
    }
}

void etcd3_call_start(struct etcd3_call *c)
{
    next_step(c);
}

void etcd3_call_done(struct etcd3_call *c)
{
    leave_token(c);
    c->request = http_cancel(c->request);
    c->timer = loop_source_free(c->timer);
    free(c->body);
    *c = (struct etcd3_call){0};
}
