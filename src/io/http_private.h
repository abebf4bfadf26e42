/*
 * The parts of the HTTP client: http.c has the pool and connects curl to the event loop, http_request.c decides which
 * endpoint is asked when and what the answer is, http_attempt.c is one exchange with one endpoint. Private to src/io.
 *
 * Callbacks of the user run only in sources of their own (on_deliver): so they may do anything, and neither curl nor
 * the code here is surprised by a request that vanishes half-way.
 */
#pragma once
#include <curl/curl.h>
#include "base/text.h"
#include "io/http.h"

struct http {
    sd_event *loop;
    CURLM *multi;
    sd_event_source *timer; /* curl's */
    char *ca_file, *cert_file, *key_file, *key_password;
    bool insecure;
    struct http_request *requests;
};

struct http_attempt {
    struct http_request *request;
    struct http_attempt *next;
    CURL *easy;
    size_t endpoint;
    int fd; /* where its answer is awaited, -1: nowhere yet. Only a hint: it may be closed, or another's */
    struct textbuf body;
    bool too_large;
    bool streaming; /* a 2xx answer has begun and on_data got it, or will */
    char curl_error[CURL_ERROR_SIZE];
};

struct http_request {
    struct http *h; /* NULL once it is over */
    struct http_request *prev, *next;

    char *method, *path, *user_password, *body;
    char **endpoints;
    size_t endpoint_count, body_len;
    struct curl_slist *headers;
    uint64_t deadline_us, keepalive_idle_us;
    bool idempotent, stream;

    http_data_fn on_data;
    http_done_fn done;
    void *userdata;

    struct http_attempt *attempts; /* under way */
    size_t next_endpoint;          /* not asked yet */
    uint64_t hedge_at_us;          /* 0: not */
    sd_event_source *timer;        /* deadline and hedging */
    sd_event_source *deliver;      /* a deferred source for the callbacks */
    struct textbuf arrived;        /* for on_data */
    bool decided;                  /* the answer below is final */

    int error, status;
    bool maybe_executed;
    char message[512];
    struct textbuf answer;
    size_t answered_by;
};

/* http.c */

/* Takes up what curl has finished, which ends attempts of any request. Calls nothing of the user. */
void http_collect(struct http *h);

/* http_attempt.c */

/* Starts to ask an endpoint and links the attempt into the request. Returns 0 or -errno. */
int http_attempt_start(struct http_request *r, size_t endpoint, uint64_t connect_timeout_us, struct err *err);
/* Takes up what its server has sent already, without waiting; http_collect() then tells the request. */
void http_attempt_read(struct http_attempt *a);
/* Unlinks and frees, under way or not. */
void http_attempt_free(struct http_attempt *a);
/* Whether the first byte of the request has left. */
bool http_attempt_has_sent(const struct http_attempt *a);
/* What a CURLcode means: -errno, and the sentence for the operator in *err. */
int http_attempt_error(const struct http_attempt *a, CURLcode code, struct err *err);

/* http_request.c */

/* An attempt has come to its end; frees it. */
void http_request_attempt_ended(struct http_attempt *a, CURLcode code);
/* There is something for on_data or done: they are called from the loop. */
void http_request_wake(struct http_request *r);
/* Frees without callbacks. */
void http_request_free(struct http_request *r);
/* The endpoint for messages: without user and password, if it has them. */
const char *http_endpoint_text(const char *endpoint, char *buf, size_t size);
