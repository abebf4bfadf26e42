/*
 * The watch of the etcd3 store: one stream over the whole subtree, connected anew whenever it ends.
 *
 * It always starts from "now" and calls on_change once after it was established. A later start_revision could be
 * compacted away or, after a restore of etcd, lie in the future; re-reading the cluster once is cheaper than all that.
 * The stream gives no sign of life of its own, hence nobody may rely on it alone: the agent polls as well.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/loop.h"
#include "dcs/etcd3_internal.h"
#include "dcs/etcd3_stream.h"

#define BACKOFF_MIN_US (100 * USEC_PER_MSEC)
#define BACKOFF_MAX_US (2000 * USEC_PER_MSEC)
/* The store confirms a new watch at once; a member that does not is hung, stopped or without a leader. */
#define CREATED_TIMEOUT_US (3000 * USEC_PER_MSEC)

struct etcd3_watch {
    struct etcd3_call call; /* first: callbacks of calls get its address */
    struct etcd3 *e;
    void (*on_change)(void *userdata, const char *key);
    void *userdata;
    char *endpoint;         /* connected, or connecting, to this one; NULL while waiting */
    bool created;           /* the store has confirmed the watch … */
    uint64_t created_at_us; /* … at this instant */
    struct etcd3_stream stream;
    sd_event_source *timer;
    uint64_t backoff_us;
};

static void connect_stream(struct etcd3_watch *w);

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    connect_stream(userdata);
    return 0;
}

static void connect_after(struct etcd3_watch *w, uint64_t pause_us)
{
    (void)loop_timer_at(w->e->loop, &w->timer, clock_now_us() + pause_us, on_timer, w);
}

/* Each new connection costs the caller a read of the cluster: one that breaks soon after must not become a loop. */
static void back_off(struct etcd3_watch *w)
{
    if (w->created_at_us && clock_rest_us(w->created_at_us, clock_now_us()) > BACKOFF_MAX_US)
        w->backoff_us = BACKOFF_MIN_US;
    connect_after(w, w->backoff_us);
    w->backoff_us = 2 * w->backoff_us < BACKOFF_MAX_US ? 2 * w->backoff_us : BACKOFF_MAX_US;
}

static void disconnect(struct etcd3_watch *w)
{
    etcd3_call_done(&w->call);
    etcd3_stream_done(&w->stream);
    free(w->endpoint);
    w->endpoint = NULL;
    w->created = false;
}

static void on_key(void *userdata, const char *key)
{
    struct etcd3_watch *w = userdata;

    w->on_change(w->userdata, key);
}

static int on_object(void *userdata, const char *text, size_t len)
{
    struct etcd3_watch *w = userdata;
    struct err err = {0};
    int r = etcd3_watch_read(text, len, w->e->base_path, on_key, w, &err);

    /* An outdated token is not told apart from other reasons; a new one costs little at the pace of the backoff. */
    if (r == -ECANCELED && w->e->username && (strstr(err.msg, "permission") || strstr(err.msg, "auth")))
        etcd3_forget_token(w->e);
    if (r < 0)
        return r;
    if (r == 1 && !w->created) {
        w->created = true;
        w->created_at_us = clock_now_us();
        loop_timer_off(w->timer);
        /* Anything may have happened before the watch was there. */
        w->on_change(w->userdata, "");
    }
    return 0;
}

static void on_data(void *userdata, const char *data, size_t len)
{
    struct etcd3_watch *w = (struct etcd3_watch *)userdata;

    /* Not disconnected from inside of the HTTP client's callback: the timer does it. */
    if (w->endpoint && etcd3_stream_feed(&w->stream, data, len, on_object, w) < 0) {
        free(w->endpoint);
        w->endpoint = NULL;
        back_off(w);
    }
}

static void on_end(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_watch *w = (struct etcd3_watch *)(void *)c;

    (void)reply;
    disconnect(w);
    back_off(w);
}

static char *create_request(const struct etcd3 *e)
{
    struct textbuf body = {0};
    char end[ETCD3_PATH_SIZE];

    (void)text_copy(end, sizeof(end), e->base_path);
    end[strlen(end) - 1] = '0';
    textbuf_puts(&body, "{\"create_request\":{\"key\":\"");
    etcd3_put_key(&body, e, "");
    textbuf_puts(&body, "\",\"range_end\":\"");
    etcd3_put_base64(&body, end);
    textbuf_puts(&body, "\"}}");
    return textbuf_take(&body);
}

static void connect_stream(struct etcd3_watch *w)
{
    const char *endpoints[ETCD3_ENDPOINTS_MAX + 1];
    uint64_t now_us = clock_now_us();

    /* Whoever was connected and did not confirm is asked last now. */
    if (w->endpoint && !w->created)
        etcd3_endpoints_failed(&w->e->endpoints, w->endpoint, "no answer to a watch", now_us);
    disconnect(w);
    etcd3_endpoints_order(&w->e->endpoints, now_us, endpoints);
    w->endpoint = strdup(endpoints[0]);
    if (!w->endpoint) {
        back_off(w);
        return;
    }
    connect_after(w, CREATED_TIMEOUT_US);
    w->call = (struct etcd3_call){.e = w->e,
                                  .method = "/watch",
                                  .body = create_request(w->e),
                                  .deadline_us = now_us + CREATED_TIMEOUT_US,
                                  .done = on_end,
                                  .on_data = on_data,
                                  .endpoint = w->endpoint};
    etcd3_call_start(&w->call);
}

int etcd3_watch_start(struct dcs *d, void (*on_change)(void *userdata, const char *key), void *userdata,
                      struct err *err)
{
    struct etcd3 *e = etcd3_from(d);
    struct etcd3_watch *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return err_set(err, -ENOMEM, "out of memory");
    w->e = e;
    w->on_change = on_change;
    w->userdata = userdata;
    w->backoff_us = BACKOFF_MIN_US;
    r = loop_timer_at(e->loop, &w->timer, clock_now_us(), on_timer, w);
    if (r < 0) {
        free(w);
        return err_sys(err, r, "could not arm a timer");
    }
    (void)etcd3_watch_free(e->watch);
    e->watch = w;
    return 0;
}

struct etcd3_watch *etcd3_watch_free(struct etcd3_watch *w)
{
    if (!w)
        return NULL;
    disconnect(w);
    w->timer = loop_source_free(w->timer);
    free(w);
    return NULL;
}

void etcd3_watch_endpoint_failed(struct etcd3_watch *w, const char *url)
{
    uint64_t earliest_us = w->created_at_us + BACKOFF_MAX_US;

    if (w->created && w->endpoint && strcmp(w->endpoint, url) == 0)
        connect_after(w, clock_rest_us(clock_now_us(), earliest_us));
}
