#include "agent/keeper_link.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include "base/loop.h"

enum { LINK_PENDING_MAX = 16 };

struct keeper_link {
    int fd; /* borrowed from the start of the process, never closed: it is fd 3 */
    sd_event_source *source;
    keeper_gone_fn gone;
    keeper_news_fn news;
    void *userdata;
    uint32_t seq;
    struct keeper_answer last;
    struct {
        uint32_t seq; /* 0 = free */
        keeper_answer_fn done;
        void *userdata;
    } pending[LINK_PENDING_MAX];
};

static void link_lost(struct keeper_link *k)
{
    if (!k->source)
        return;
    k->source = loop_source_free(k->source);
    for (size_t i = 0; i < LINK_PENDING_MAX; i++) {
        keeper_answer_fn done = k->pending[i].seq ? k->pending[i].done : NULL;

        k->pending[i].seq = 0;
        if (done)
            done(k->pending[i].userdata, NULL);
    }
    k->gone(k->userdata);
}

static void deliver(struct keeper_link *k, const struct keeper_answer *answer)
{
    k->last = *answer;
    if (answer->seq == 0) {
        if (k->news)
            k->news(k->userdata);
        return;
    }
    for (size_t i = 0; i < LINK_PENDING_MAX; i++) {
        if (k->pending[i].seq != answer->seq)
            continue;
        k->pending[i].seq = 0;
        if (k->pending[i].done)
            k->pending[i].done(k->pending[i].userdata, answer);
        return;
    }
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct keeper_link *k = userdata;
    struct keeper_answer answer;
    struct err err = {0};

    (void)source;
    (void)revents;
    for (;;) {
        int r = keeper_recv_answer(fd, &answer, &err);

        if (r == -EAGAIN)
            return 0;
        if (r < 0) {
            link_lost(k);
            return 0;
        }
        deliver(k, &answer);
        if (!k->source)
            return 0;
    }
}

int keeper_link_new(sd_event *loop, int fd, keeper_gone_fn gone, void *userdata, struct keeper_link **ret,
                    struct err *err)
{
    struct keeper_link *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return err_set(err, -ENOMEM, "out of memory");
    *k = (struct keeper_link){.fd = fd, .gone = gone, .userdata = userdata};
    r = sd_event_add_io(loop, &k->source, fd, EPOLLIN, on_readable, k);
    if (r < 0) {
        free(k);
        return err_sys(err, r, "could not watch the socket to the keeper");
    }
    /* A lease that is about to end matters more than anything else that waits in the loop. */
    (void)sd_event_source_set_priority(k->source, SD_EVENT_PRIORITY_IMPORTANT);
    *ret = k;
    return 0;
}

struct keeper_link *keeper_link_free(struct keeper_link *k)
{
    if (!k)
        return NULL;
    k->source = loop_source_free(k->source);
    free(k);
    return NULL;
}

static int send_request(struct keeper_link *k, struct keeper_request *request, int pidfd, keeper_answer_fn done,
                        void *userdata, struct err *err)
{
    size_t slot = 0;
    int r;

    if (!k->source)
        return err_set(err, -ECONNRESET, "the keeper is gone");
    while (slot < LINK_PENDING_MAX && k->pending[slot].seq)
        slot++;
    if (slot == LINK_PENDING_MAX)
        return err_set(err, -EAGAIN, "the keeper does not answer");
    if (++k->seq == 0)
        k->seq = 1;
    request->version = KEEPER_PROTOCOL;
    request->seq = k->seq;
    r = keeper_ask(k->fd, request, pidfd, err);
    if (r < 0)
        return r;
    k->pending[slot].seq = k->seq;
    k->pending[slot].done = done;
    k->pending[slot].userdata = userdata;
    return 0;
}

int keeper_link_ask(struct keeper_link *k, enum keeper_op op, uint64_t lease_id, uint64_t deadline_us, int pid,
                    int pidfd, keeper_answer_fn done, void *userdata, struct err *err)
{
    struct keeper_request request = {
        .op = (uint16_t)op, .lease_id = lease_id, .deadline_us = deadline_us, .pid = (uint32_t)pid};

    return send_request(k, &request, pidfd, done, userdata, err);
}

int keeper_link_serve(struct keeper_link *k, enum keeper_serve whom, uint64_t lease_id, uint64_t deadline_us,
                      keeper_answer_fn done, void *userdata, struct err *err)
{
    struct keeper_request request = {
        .op = KEEPER_SERVE, .lease_id = lease_id, .deadline_us = deadline_us, .serve = (uint32_t)whom};

    return send_request(k, &request, -1, done, userdata, err);
}

void keeper_link_on_news(struct keeper_link *k, keeper_news_fn news)
{
    k->news = news;
}

bool keeper_link_connected(const struct keeper_link *k)
{
    return k->source != NULL;
}

const struct keeper_answer *keeper_link_last(const struct keeper_link *k)
{
    return &k->last;
}
