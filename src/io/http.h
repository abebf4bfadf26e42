/*
 * HTTP client on curl's multi interface and sd-event: many requests at once, none of them waits.
 *
 * A request names several endpoints; when the first has not answered after a third of the budget the next is asked as
 * well ("hedged") and the first usable answer wins, because a late answer from the store costs a demotion. Only
 * requests that may be executed twice are hedged or retried on another endpoint after bytes were sent (`idempotent`;
 * then a 5xx answer counts as a failure, too, as long as another endpoint may do better); the others move on only while
 * it is certain that nothing reached the server (name resolution, connect or TLS handshake failed). Every endpoint is
 * asked at most once per call.
 *
 * HTTP/1.1 over http or https, no redirects, no proxies (whatever the environment says). Names are resolved in a thread
 * of libcurl (its feature AsynchDNS). Giving up while a name server is silent does not wait for that thread with
 * libcurl 7.87 or newer; older ones do wait: use addresses there.
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

/*
 * The strings of *tls are copied (NULL: all defaults); files are read anew for every connection, so a renewed
 * certificate is picked up. With a ca_file the system's authorities are not trusted.
 */
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
    /*
     * Never hedged, on a connection of its own with TCP keepalive. The body of a 2xx answer is delivered through
     * on_data as it comes, of another status in the answer. Without on_data (a long poll) it is always in the answer.
     */
    bool stream;
    uint64_t keepalive_idle_us; /* streams: TCP keepalive after this idle time, to notice a dead peer; 0: 30 s */
};

struct http_answer {
    /*
     * 0, or negative errno when no HTTP answer was had: -ETIMEDOUT, -ECONNREFUSED (and what else connect says),
     * -EHOSTUNREACH (also: name not resolved), -ECONNRESET, -EPROTO (TLS, or no HTTP), -EMSGSIZE (body larger than
     * HTTP_BODY_MAX), -EINVAL (URL, files of the TLS settings), -ENOMEM, -EIO.
     */
    int error;
    const char *message; /* with error: what went wrong, with the endpoint; else "" */
    bool maybe_executed; /* the request may have reached a server; false only if that is certain */
    int status;          /* HTTP status code */
    const char *body;    /* terminated; empty for what on_data got */
    size_t body_len;
    const char *endpoint;  /* the base URL that answered (or failed last) */
    size_t endpoint_index; /* its place in endpoints[] */
};

typedef void (*http_done_fn)(void *userdata, const struct http_answer *answer);
typedef void (*http_data_fn)(void *userdata, const char *data, size_t len);

/* Both callbacks may start calls, cancel any (in http_done_fn its own is over already) and free the struct http. */

/*
 * Starts a call; everything in *call is copied. done() is called exactly once, from the loop, never from inside this
 * function; the request is freed after it returned. *ret is for http_cancel() and may be NULL. Returns 0 or -errno.
 */
int http_start(struct http *h, const struct http_call *call, http_data_fn on_data, http_done_fn done, void *userdata,
               struct http_request **ret, struct err *err);

/* Ends the call without a callback; NULL is fine. Returns NULL. */
struct http_request *http_cancel(struct http_request *r);
