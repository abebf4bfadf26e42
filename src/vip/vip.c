#include "vip/vip.h"
#include <errno.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/log.h"
#include "vip/socket.h"
#include "vip/vip_private.h"

/* Datagrams of one descriptor read at a time: whoever floods us does not keep the keeper from its lease. */
enum { READ_MAX = 64 };
#define OPEN_TIMEOUT_US (2 * USEC_PER_SEC)
#define LOST_RETRY_US (100 * USEC_PER_MSEC)

static void ask_for_all(struct vips *v, int type)
{
    struct address_request request;

    v->dump_seq = ++v->seq;
    address_dump(&request, type, v->dump_seq);
    v->dump_type = socket_request(v->request_fd, &request) < 0 ? 0 : type;
    v->lost = v->dump_type == 0;
    for (size_t i = 0; i < v->n; i++)
        v->vips[i].seen = false;
}

/* What was not mentioned in a whole list is not there. */
static void finish_dump(struct vips *v, int error, uint64_t now_us)
{
    int type = v->dump_type;

    v->dump_type = 0;
    if (error < 0) {
        v->lost = true;
        return;
    }
    for (size_t i = 0; i < v->n; i++) {
        struct vip *a = &v->vips[i];
        struct address_event gone = {
            .type = ADDRESS_EVENT_REMOVED, .link = a->link, .family = a->settings.family, .prefix = a->settings.prefix};

        if (a->seen)
            continue;
        memcpy(gone.address, a->settings.address, sizeof(gone.address));
        if (type == RTM_GETLINK && a->link.index)
            claim_on_link_gone(a, now_us);
        else if (type == RTM_GETADDR && a->in_kernel)
            claim_on_address(a, &gone, now_us);
    }
    if (type == RTM_GETLINK)
        ask_for_all(v, RTM_GETADDR);
}

static void on_ack(struct vips *v, const struct address_event *event, uint64_t now_us)
{
    if (v->dump_type && event->seq == v->dump_seq) { /* a dump is acknowledged only when it is refused */
        finish_dump(v, event->error ? event->error : -EIO, now_us);
        return;
    }
    for (size_t i = 0; i < v->n; i++) {
        if (event->seq == v->vips[i].put_seq)
            claim_on_put(&v->vips[i], event->error, now_us);
        if (event->seq == v->vips[i].remove_seq)
            claim_on_removed(&v->vips[i], event->error, now_us);
    }
}

static void on_message(struct vips *v, const struct address_event *event, uint64_t now_us)
{
    switch (event->type) {
    case ADDRESS_EVENT_OTHER:
        break;
    case ADDRESS_EVENT_ACK:
        on_ack(v, event, now_us);
        break;
    case ADDRESS_EVENT_DONE:
        if (v->dump_type && event->seq == v->dump_seq)
            finish_dump(v, event->error, now_us);
        break;
    case ADDRESS_EVENT_LINK:
        for (size_t i = 0; i < v->n; i++)
            claim_on_link(&v->vips[i], event, now_us);
        break;
    case ADDRESS_EVENT_LINK_GONE:
        for (size_t i = 0; i < v->n; i++)
            if (v->vips[i].link.index && v->vips[i].link.index == event->link.index)
                claim_on_link_gone(&v->vips[i], now_us);
        break;
    case ADDRESS_EVENT_ADDED:
    case ADDRESS_EVENT_REMOVED:
        for (size_t i = 0; i < v->n; i++)
            claim_on_address(&v->vips[i], event, now_us);
        break;
    }
}

static void read_messages(struct vips *v, int fd)
{
    for (int i = 0; i < READ_MAX; i++) {
        int n = socket_next_message(fd, v->buffer, sizeof(v->buffer));
        const uint8_t *at = v->buffer;
        size_t left = n > 0 ? (size_t)n : 0;
        struct address_event event;

        if (n == 0)
            return;
        if (n < 0) {
            v->lost = true;
            v->dump_type = fd == v->request_fd ? 0 : v->dump_type; /* its end may be what was lost */
        }
        while (address_next(&at, &left, &event))
            on_message(v, &event, clock_now_us());
    }
}

static void read_frames(struct vips *v, int fd, uint8_t family)
{
    uint32_t link;
    int n;

    for (int i = 0; fd >= 0 && i < READ_MAX && (n = socket_next_frame(fd, v->buffer, sizeof(v->buffer), &link)) > 0;
         i++)
        for (size_t j = 0; j < v->n; j++)
            if (link && v->vips[j].link.index == link && v->vips[j].settings.family == family)
                claim_on_frame(&v->vips[j], v->buffer, (size_t)n, clock_now_us());
}

/*
 * The kernel checks lifetimes at most once a second: of two addresses that end one shortly after the other, it would
 * remove the second late. So all of them are renewed together.
 */
static void renew_together(struct vips *v, uint64_t now_us)
{
    bool is_due = false;

    for (size_t i = 0; i < v->n; i++) {
        claim_tick(&v->vips[i], now_us);
        is_due |= v->vips[i].put_at_us && now_us >= v->vips[i].put_at_us;
    }
    for (size_t i = 0; i < v->n && is_due; i++)
        if (v->vips[i].state == VIP_HELD && v->vips[i].in_kernel)
            v->vips[i].put_at_us = now_us;
}

/*
 * The kernel has acted when send() returns, and its answer lies there: what follows from it, the announcement above
 * all, is done in the same call.
 */
static void act_on_all(struct vips *v)
{
    for (int round = 0; round < 2; round++) {
        uint64_t now_us = clock_now_us();

        renew_together(v, now_us);
        for (size_t i = 0; i < v->n; i++)
            act(v, &v->vips[i], now_us);
        read_messages(v, v->request_fd);
    }
}

/* --- the interface --------------------------------------------------------------------------------------------------
 */

static bool has_family(const struct vips *v, uint8_t family)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->vips[i].settings.family == family)
            return true;
    return false;
}

static int open_sockets(struct vips *v, const struct vip_settings *settings, struct err *err)
{
    int r;

    r = v->request_fd = socket_open_requests(err);
    if (r >= 0)
        r = v->event_fd = socket_open_events(err);
    if (r >= 0 && has_family(v, AF_INET))
        r = v->arp_fd = socket_open_frames(AF_INET, settings, v->n, err);
    if (r >= 0 && has_family(v, AF_INET6))
        r = v->ndp_fd = socket_open_frames(AF_INET6, settings, v->n, err);
    return r < 0 ? r : 0;
}

/* Only at start: waits until interfaces and addresses are known. */
static int look_around(struct vips *v, struct err *err)
{
    uint64_t until_us = clock_now_us() + OPEN_TIMEOUT_US;

    ask_for_all(v, RTM_GETLINK);
    while (v->dump_type || v->lost) {
        struct pollfd p = {.fd = v->request_fd, .events = POLLIN};

        if (clock_now_us() > until_us)
            return err_set(err, -ETIMEDOUT, "could not learn the interfaces and addresses of this host");
        if (v->lost && !v->dump_type)
            ask_for_all(v, RTM_GETLINK);
        (void)poll(&p, 1, 100);
        read_messages(v, v->request_fd);
    }
    return 0;
}

int vip_open(struct vips *v, const struct vip_settings *settings, size_t n, uint64_t primary_deadline_us,
             struct err *err)
{
    int r;

    v->n = 0;
    v->seq = v->dump_seq = 0;
    v->dump_type = 0;
    v->lost = false;
    v->request_fd = v->event_fd = v->arp_fd = v->ndp_fd = -1;
    if (n > VIP_MAX)
        return err_set(err, -E2BIG, "cannot hold more than %d virtual addresses", VIP_MAX);
    for (; v->n < n; v->n++) {
        claim_init(&v->vips[v->n], &settings[v->n]);
        if (settings[v->n].who == VIP_FOR_PRIMARY)
            v->vips[v->n].deadline_us = primary_deadline_us;
    }
    if (n == 0)
        return 0;
    r = open_sockets(v, settings, err);
    if (r == 0)
        r = look_around(v, err);
    if (r < 0) {
        vip_close(v);
        return r;
    }
    for (size_t i = 0; i < n && primary_deadline_us; i++)
        if (v->vips[i].settings.who == VIP_FOR_PRIMARY)
            claim_hold(&v->vips[i], primary_deadline_us, clock_now_us());
    act_on_all(v);
    return 0;
}

void vip_close(struct vips *v)
{
    closep(&v->request_fd);
    closep(&v->event_fd);
    closep(&v->arp_fd);
    closep(&v->ndp_fd);
    v->n = 0;
}

void vip_hold(struct vips *v, enum vip_for who, uint64_t deadline_us)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->vips[i].settings.who == who)
            claim_hold(&v->vips[i], deadline_us, clock_now_us());
    if (v->n)
        act_on_all(v);
}

void vip_drop(struct vips *v, enum vip_for who)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->vips[i].settings.who == who)
            claim_drop(&v->vips[i], clock_now_us());
    if (v->n)
        act_on_all(v);
}

bool vip_has_dropped(const struct vips *v, enum vip_for who)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->vips[i].settings.who == who && (v->vips[i].state != VIP_ABSENT || v->vips[i].in_kernel))
            return false;
    return true;
}

void vip_fds(const struct vips *v, int ret[VIP_FDS])
{
    ret[0] = v->request_fd;
    ret[1] = v->event_fd;
    ret[2] = v->arp_fd;
    ret[3] = v->ndp_fd;
}

void vip_work(struct vips *v)
{
    if (!v->n)
        return;
    read_messages(v, v->request_fd);
    read_messages(v, v->event_fd);
    read_frames(v, v->arp_fd, AF_INET);
    read_frames(v, v->ndp_fd, AF_INET6);
    if (v->lost && !v->dump_type)
        ask_for_all(v, RTM_GETLINK);
    act_on_all(v);
}

uint64_t vip_next_us(const struct vips *v)
{
    uint64_t at_us = UINT64_MAX;

    for (size_t i = 0; i < v->n; i++) {
        uint64_t next_us = claim_next_us(&v->vips[i]);

        if (next_us < at_us)
            at_us = next_us;
    }
    if (v->lost && clock_now_us() + LOST_RETRY_US < at_us)
        at_us = clock_now_us() + LOST_RETRY_US;
    return at_us;
}

const char *vip_state_text(enum vip_state state)
{
    static const char *const texts[] = {
        [VIP_ABSENT] = "absent",     [VIP_CLAIMING] = "claiming", [VIP_HELD] = "held",
        [VIP_CONFLICT] = "conflict", [VIP_FAILED] = "failed",
    };

    return texts[state];
}
