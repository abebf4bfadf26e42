#include "io/http_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/loop.h"

/* A stream has no deadline that could tell how long connecting may take. */
#define STREAM_CONNECT_TIMEOUT_US (5 * USEC_PER_SEC)
/* What an attempt may use of the rest of the budget before the next endpoint gets its chance. */
enum { BUDGET_SHARE = 3 };

const char *http_endpoint_text(const char *endpoint, char *buf, size_t size)
{
    const char *host = strstr(endpoint, "://");
    size_t authority_len;
    const char *at;

    host = host ? host + 3 : endpoint;
    authority_len = strcspn(host, "/?#");
    at = memrchr(host, '@', authority_len);
    if (!at)
        return endpoint;
    (void)text_print(buf, size, "%.*s%s", (int)(host - endpoint), endpoint, at + 1);
    return buf;
}

/* --- deciding --------------------------------------------------------------------------------------------------- */

static bool is_hedged(const struct http_request *r)
{
    return r->idempotent && !r->stream && r->deadline_us;
}

static void stop_attempts(struct http_request *r)
{
    while (r->attempts) {
        r->maybe_executed |= http_attempt_has_sent(r->attempts);
        http_attempt_free(r->attempts);
    }
}

/* The answer is final: nothing of this request is sent or taken up from here on. */
static void decide(struct http_request *r)
{
    r->decided = true;
    stop_attempts(r);
    loop_timer_off(r->timer);
    http_request_wake(r);
}

/* Remembers a failure; the messages of several endpoints are joined, the code is that of the last. */
static void note_failure(struct http_request *r, size_t endpoint, const struct err *err)
{
    size_t len = strlen(r->message);

    (void)text_print(r->message + len, sizeof(r->message) - len, "%s%s", len ? "; " : "", err->msg);
    if (r->status)
        return; /* an answer, if only a 5xx, says more than an error */
    r->error = err->code;
    r->answered_by = endpoint;
}

static void note_answer(struct http_request *r, struct http_attempt *a, int status)
{
    textbuf_done(&r->answer);
    r->answer = a->body;
    a->body = (struct textbuf){0};
    r->error = 0;
    r->status = status;
    r->answered_by = a->endpoint;
}

static int on_request_timer(sd_event_source *source, uint64_t at_us, void *userdata);

static int arm_timer(struct http_request *r)
{
    uint64_t at_us = r->deadline_us;

    if (r->hedge_at_us && r->hedge_at_us < at_us)
        at_us = r->hedge_at_us;
    return at_us ? loop_timer_at(r->h->loop, &r->timer, at_us, on_request_timer, r) : 0;
}

/* How long the next endpoint may take to connect. A hedged request needs no such limit: others are asked meanwhile. */
static uint64_t connect_timeout_us(const struct http_request *r, uint64_t rest_us)
{
    if (!r->deadline_us)
        return STREAM_CONNECT_TIMEOUT_US;
    if (is_hedged(r) || r->next_endpoint + 1 == r->endpoint_count)
        return rest_us;
    return rest_us / BUDGET_SHARE;
}

/* Asks the next endpoint that can be asked. When none is left and none is being asked, the request has failed. */
static void ask_next(struct http_request *r)
{
    uint64_t now_us = clock_now_us();
    uint64_t rest_us = clock_rest_us(now_us, r->deadline_us);
    bool asked = false;

    while (!asked && r->next_endpoint < r->endpoint_count) {
        struct err err = {0};

        asked = http_attempt_start(r, r->next_endpoint, connect_timeout_us(r, rest_us), &err) == 0;
        if (!asked)
            note_failure(r, r->next_endpoint, &err);
        r->next_endpoint++;
    }
    r->hedge_at_us = 0;
    if (is_hedged(r) && r->next_endpoint < r->endpoint_count)
        r->hedge_at_us = now_us + rest_us / BUDGET_SHARE;
    if (!r->attempts)
        decide(r);
    else
        (void)arm_timer(r); /* the source exists since the start: moving it cannot fail */
}

static void time_out(struct http_request *r)
{
    char buf[200];
    struct err err = {0};
    size_t asked = r->attempts ? r->attempts->endpoint : 0;

    (void)err_set(&err, -ETIMEDOUT, "no answer from \"%s\" in time",
                  http_endpoint_text(r->endpoints[asked], buf, sizeof(buf)));
    note_failure(r, asked, &err);
    decide(r);
}

/* When the loop comes late, deadline and answer may wait in it together: an answer that is there is not thrown away. */
static void read_last_chance(struct http_request *r)
{
    for (struct http_attempt *a = r->attempts; a; a = a->next)
        http_attempt_read(a);
    http_collect(r->h);
}

static int on_request_timer(sd_event_source *source, uint64_t at_us, void *userdata)
{
    struct http_request *r = userdata;
    uint64_t now_us;

    (void)source;
    (void)at_us;
    read_last_chance(r);
    if (r->decided)
        return 0;
    now_us = clock_now_us();
    if (clock_rest_us(now_us, r->deadline_us) == 0)
        time_out(r);
    else if (r->hedge_at_us && r->hedge_at_us <= now_us)
        ask_next(r);
    else
        (void)arm_timer(r); /* what was read just now has moved the request on to another endpoint */
    return 0;
}

/* After a failure. `may_repeat`: the request may be sent to another endpoint. */
static void go_on(struct http_request *r, bool may_repeat)
{
    if (may_repeat && r->next_endpoint < r->endpoint_count)
        ask_next(r);
    else if (!r->attempts)
        decide(r);
}

void http_request_attempt_ended(struct http_attempt *a, CURLcode code)
{
    struct http_request *r = a->request;
    bool sent = http_attempt_has_sent(a);
    bool streaming = a->streaming;
    bool hopeless = a->too_large; /* would be the same elsewhere */
    struct err err = {0};
    long status = 0;

    r->maybe_executed |= sent;
    (void)curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK)
        note_answer(r, a, (int)status);
    else
        note_failure(r, a->endpoint, (http_attempt_error(a, code, &err), &err));
    http_attempt_free(a);

    if (hopeless || (code == CURLE_OK && status < 500))
        decide(r);
    else
        go_on(r, !streaming && (r->idempotent || !sent));
}

/* --- delivering ------------------------------------------------------------------------------------------------- */

void http_request_wake(struct http_request *r)
{
    (void)sd_event_source_set_enabled(r->deliver, SD_EVENT_ONESHOT);
}

/* Leaves only memory behind; http_free() does not find the request any more. */
static void take_off(struct http_request *r)
{
    stop_attempts(r);
    r->timer = loop_source_free(r->timer);
    r->deliver = loop_source_free(r->deliver);
    if (r->prev)
        r->prev->next = r->next;
    else
        r->h->requests = r->next;
    if (r->next)
        r->next->prev = r->prev;
    r->h = NULL;
}

static void free_secret(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

static void free_memory(struct http_request *r)
{
    for (size_t i = 0; i < r->endpoint_count; i++)
        free_secret(r->endpoints[i]);
    free(r->endpoints);
    for (struct curl_slist *s = r->headers; s; s = s->next)
        explicit_bzero(s->data, strlen(s->data)); /* tokens */
    curl_slist_free_all(r->headers);
    if (r->body)
        explicit_bzero(r->body, r->body_len);
    free(r->body);
    free_secret(r->user_password);
    free(r->method);
    free(r->path);
    textbuf_done(&r->arrived);
    textbuf_done(&r->answer);
    free(r);
}

static void finish(struct http_request *r)
{
    struct http_answer answer = {
        .error = r->error,
        .message = r->error ? r->message : "",
        .maybe_executed = r->maybe_executed,
        .status = r->error ? 0 : r->status,
        .body = !r->error && r->answer.data ? r->answer.data : "",
        .body_len = r->error ? 0 : r->answer.len,
        .endpoint = r->endpoints[r->answered_by],
        .endpoint_index = r->answered_by,
    };

    take_off(r);
    r->done(r->userdata, &answer);
    free_memory(r);
}

/* Calls one callback, as the last thing it does with the request: the callback may have cancelled it. */
static int on_deliver(sd_event_source *source, void *userdata)
{
    struct http_request *r = userdata;
    struct textbuf arrived = r->arrived;

    (void)source;
    if (arrived.len == 0) {
        if (r->decided)
            finish(r);
        return 0;
    }
    r->arrived = (struct textbuf){0};
    if (r->decided)
        http_request_wake(r);
    r->on_data(r->userdata, arrived.data, arrived.len);
    textbuf_done(&arrived);
    return 0;
}

/* --- starting and cancelling ------------------------------------------------------------------------------------ */

static int copy_headers(struct http_request *r, const char *const *headers)
{
    /* Without this, curl waits up to a second for the server's consent before it sends a body larger than 1 MB. */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");

    for (r->headers = list; list && headers && *headers; headers++) {
        list = curl_slist_append(r->headers, *headers);
        if (list)
            r->headers = list;
    }
    return list ? 0 : -ENOMEM;
}

static int copy_endpoints(struct http_request *r, const char *const *endpoints)
{
    size_t n = 0;

    while (endpoints[n])
        n++;
    r->endpoints = calloc(n, sizeof(*r->endpoints));
    if (!r->endpoints)
        return -ENOMEM;
    for (; r->endpoint_count < n; r->endpoint_count++) {
        r->endpoints[r->endpoint_count] = strdup(endpoints[r->endpoint_count]);
        if (!r->endpoints[r->endpoint_count])
            return -ENOMEM;
    }
    return 0;
}

static int copy_call(struct http_request *r, const struct http_call *call)
{
    r->method = strdup(call->method);
    r->path = strdup(call->path);
    if (!r->method || !r->path || copy_endpoints(r, call->endpoints) < 0 || copy_headers(r, call->headers) < 0)
        return -ENOMEM;
    if (call->user_password) {
        r->user_password = strdup(call->user_password);
        if (!r->user_password)
            return -ENOMEM;
    }
    if (call->body) {
        r->body = malloc(call->body_len + 1);
        if (!r->body)
            return -ENOMEM;
        memcpy(r->body, call->body, call->body_len);
        r->body_len = call->body_len;
    }
    r->deadline_us = call->deadline_us;
    r->keepalive_idle_us = call->keepalive_idle_us;
    r->idempotent = call->idempotent;
    r->stream = call->stream;
    return 0;
}

static int make_sources(struct http_request *r)
{
    int e = sd_event_add_defer(r->h->loop, &r->deliver, on_deliver, r);

    if (e >= 0)
        e = sd_event_source_set_enabled(r->deliver, SD_EVENT_OFF);
    return e < 0 ? e : arm_timer(r);
}

int http_start(struct http *h, const struct http_call *call, http_data_fn on_data, http_done_fn done, void *userdata,
               struct http_request **ret, struct err *err)
{
    struct http_request *r;
    int e;

    if (!call->endpoints || !call->endpoints[0])
        return err_set(err, -EINVAL, "cannot send a request: no endpoint is given");
    r = calloc(1, sizeof(*r));
    if (!r)
        return err_set(err, -ENOMEM, "out of memory");
    r->on_data = on_data;
    r->done = done;
    r->userdata = userdata;
    r->h = h;
    r->next = h->requests;
    if (r->next)
        r->next->prev = r;
    h->requests = r;

    e = copy_call(r, call);
    if (e >= 0)
        e = make_sources(r);
    if (e < 0) {
        http_request_free(r);
        return err_sys(err, e, "could not set up a request");
    }
    if (r->deadline_us && clock_rest_us(clock_now_us(), r->deadline_us) == 0)
        time_out(r); /* too late already: nothing is sent */
    else
        ask_next(r);
    if (ret)
        *ret = r;
    return 0;
}

void http_request_free(struct http_request *r)
{
    take_off(r);
    free_memory(r);
}

struct http_request *http_cancel(struct http_request *r)
{
    /* Over already: we are inside its done(). */
    if (r && r->h)
        http_request_free(r);
    return NULL;
}
