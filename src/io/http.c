#include "io/http.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include "base/clock.h"
#include "base/loop.h"
#include "io/http_private.h"

enum { IDLE_CONNECTIONS_MAX = 4 }; /* one for each server of the usual store; idle ones cost memory, more so with TLS */

void http_collect(struct http *h)
{
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(h->multi, &left))) {
        struct http_attempt *a = NULL;
        CURLcode code = msg->data.result; /* *msg dies with the attempt */

        if (msg->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &a);
        http_request_attempt_ended(a, code);
    }
}

static int on_timer(sd_event_source *source, uint64_t at_us, void *userdata);

static void set_timer(struct http *h, long timeout_ms)
{
    if (timeout_ms < 0)
        loop_timer_off(h->timer);
    else
        (void)loop_timer_at(h->loop, &h->timer, clock_now_us() + (uint64_t)timeout_ms * USEC_PER_MSEC, on_timer, h);
}

static int on_timer(sd_event_source *source, uint64_t at_us, void *userdata)
{
    struct http *h = userdata;
    long timeout_ms = -1;
    int running;

    (void)source;
    (void)at_us;
    (void)curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    /* curl counts CLOCK_MONOTONIC: after a suspend we are early, and it would not ask for the same instant again. */
    if (curl_multi_timeout(h->multi, &timeout_ms) == CURLM_OK)
        set_timer(h, timeout_ms);
    http_collect(h);
    return 0;
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *userdata)
{
    (void)multi;
    set_timer(userdata, timeout_ms);
    return 0;
}

static int on_socket(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct http *h = userdata;
    int what = 0, running;

    (void)source;
    if (events & EPOLLIN)
        what |= CURL_CSELECT_IN;
    if (events & EPOLLOUT)
        what |= CURL_CSELECT_OUT;
    if (events & (EPOLLERR | EPOLLHUP))
        what |= CURL_CSELECT_ERR;
    (void)curl_multi_socket_action(h->multi, fd, what, &running);
    http_collect(h);
    return 0;
}

static uint32_t epoll_events_of(int what)
{
    switch (what) {
    case CURL_POLL_IN:
        return EPOLLIN;
    case CURL_POLL_OUT:
        return EPOLLOUT;
    case CURL_POLL_INOUT:
        return EPOLLIN | EPOLLOUT;
    default:
        return 0;
    }
}

/* Returning -1 tells curl that the transfers cannot go on. */
static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_data)
{
    struct http *h = userdata;
    sd_event_source *source = socket_data;
    struct http_attempt *a = NULL;

    if (what == CURL_POLL_REMOVE) {
        (void)loop_source_free(source);
        return 0;
    }
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &a);
    if (a) /* not one of curl's own handles */
        a->fd = fd;
    if (source)
        return sd_event_source_set_io_events(source, epoll_events_of(what)) < 0 ? -1 : 0;
    if (sd_event_add_io(h->loop, &source, fd, epoll_events_of(what), on_socket, h) < 0)
        return -1;
    if (curl_multi_assign(h->multi, fd, source) != CURLM_OK) {
        (void)loop_source_free(source);
        return -1;
    }
    return 0;
}

static int copy(const char *text, char **ret)
{
    if (!text)
        return 0;
    *ret = strdup(text);
    return *ret ? 0 : -ENOMEM;
}

static int copy_tls(struct http *h, const struct http_tls *tls)
{
    if (!tls)
        return 0;
    h->insecure = tls->insecure;
    if (copy(tls->ca_file, &h->ca_file) < 0 || copy(tls->cert_file, &h->cert_file) < 0 ||
        copy(tls->key_file, &h->key_file) < 0 || copy(tls->key_password, &h->key_password) < 0)
        return -ENOMEM;
    return 0;
}

int http_new(sd_event *loop, const struct http_tls *tls, struct http **ret, struct err *err)
{
    CLEANUP(http_freep) struct http *h = NULL;

    /* Counted by curl, undone by http_free(). */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, -EIO, "could not initialize libcurl");
    h = calloc(1, sizeof(*h));
    if (!h) {
        curl_global_cleanup();
        return err_set(err, -ENOMEM, "out of memory");
    }
    h->loop = sd_event_ref(loop);
    h->multi = curl_multi_init();
    if (!h->multi || copy_tls(h, tls) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    if (!(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS))
        return err_set(err, -ENOTSUP, "cannot use this libcurl: it resolves names synchronously (no AsynchDNS)");
    (void)curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    (void)curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    (void)curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    (void)curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    (void)curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS_MAX);
    *ret = STEAL(h);
    return 0;
}

struct http *http_free(struct http *h)
{
    if (!h)
        return NULL;
    while (h->requests)
        http_request_free(h->requests);
    if (h->multi)
        (void)curl_multi_cleanup(h->multi);
    h->timer = loop_source_free(h->timer);
    if (h->key_password)
        explicit_bzero(h->key_password, strlen(h->key_password));
    free(h->ca_file);
    free(h->cert_file);
    free(h->key_file);
    free(h->key_password);
    (void)sd_event_unref(h->loop);
    free(h);
    curl_global_cleanup();
    return NULL;
}
