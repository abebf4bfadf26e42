/*
 * HTTP client on curl's multi interface and sd-event: many requests at once, none of them waits.
 *
 * A request names several endpoints; when the first has not answered after a third of the budget the next is asked as
 * well
 * ("hedged") and the first usable answer wins, because a late answer from the store costs a demotion. Only requests
 * that may be executed twice are hedged or retried on another endpoint after bytes were sent (`idempotent`); the others
 * move on only while it is certain that nothing reached the server (name resolution or connect failed).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"

struct http;         /* connection pool, TLS settings */
struct http_request; /* one call under way */

struct http_tls {
    const char *ca_file;   /* NULL: the system's */
    const char *cert_file; /* client certificate and key; NULL: none */
    const char *key_file;
    const char *key_password;
    bool insecure; /* no verification of the server's certificate */
};

/* The strings of *tls are copied; files are read anew for every connection, so a renewed certificate is picked up. */
int http_new(sd_event *loop, const struct http_tls *tls, struct http **ret, struct err *err);
/* Cancels what is under way (no callbacks) and frees. NULL is fine. */
struct http *http_free(struct http *h);
DEFINE_CLEANUP(struct http, http_free)

enum { HTTP_BODY_MAX = 16 * 1024 * 1024 }; /* a larger answer is an error */

struct http_call {
    const char *method;           /* "GET", "POST", … */
    const char *const *endpoints; /* base URLs "http://10.0.0.1:2379", tried in this order, NULL-terminated */
    const char *path;             /* appended to the base URL */
    const char *const *headers;   /* "Name: value", NULL-terminated; may be NULL */
    const char *user_password;    /* "user:password" for basic authentication; may be NULL */
    const char *body;             /* may be NULL */
    size_t body_len;
    uint64_t deadline_us; /* instant of CLOCK_BOOTTIME at which we give up; 0: never (streams) */
    bool idempotent;
    bool stream;                /* deliver the body through on_data as it comes; never hedged */
    uint64_t keepalive_idle_us; /* streams: TCP keepalive after this idle time, to notice a dead peer; 0: 30 s */
};

struct http_answer {
    int error;           /* 0, or negative errno when no HTTP answer was had: -ETIMEDOUT, -ECONNREFUSED, -EIO … */
    const char *message; /* with error: what went wrong, with the endpoint */
    bool maybe_executed; /* with error: the request may have reached a server */
    int status;          /* HTTP status code */
    const char *body;    /* terminated; empty for streams */
    size_t body_len;
    const char *endpoint;  /* the base URL that answered (or failed last) */
    size_t endpoint_index; /* its place in endpoints[] */
};

typedef void (*http_done_fn)(void *userdata, const struct http_answer *answer);
typedef void (*http_data_fn)(void *userdata, const char *data, size_t len);

/*
 * Starts a call; everything in *call is copied. done() is called exactly once, from the loop, never from inside this
 * function; the request is freed after it returned. *ret is for http_cancel() and may be NULL. Returns 0 or -errno.
 */
int http_start(struct http *h, const struct http_call *call, http_data_fn on_data, http_done_fn done, void *userdata,
               struct http_request **ret, struct err *err);

/* Ends the call without a callback; NULL is fine. Returns NULL. */
struct http_request *http_cancel(struct http_request *r);
