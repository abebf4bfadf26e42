/* Sends what claim.c has decided, with the clock read at the instant of sending. */
#include <errno.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "vip/socket.h"
#include "vip/vip_private.h"

/*
 * RFC 5227 asks for probes seconds apart, for hosts that are just starting. Here an address moves between servers of
 * one network while clients wait, and who holds it wrongly answers from its kernel within a millisecond.
 */
enum { PROBES = 3 };
#define PROBE_US (13 * USEC_PER_MSEC)
#define UNSENT_US (100 * USEC_PER_MSEC) /* after what could not be sent */

/* Repeated, because switches and hosts may miss the first ones, and refreshed, because tables forget. */
static uint64_t announce_delay_us(const struct vip *a, uint64_t now_us)
{
    static const uint16_t after_ms[] = {50, 150, 800, 4000};
    uint64_t noise = now_us;

    if (a->announcements <= ARRAY_LEN(after_ms))
        return after_ms[a->announcements - 1] * USEC_PER_MSEC;
    /* 60 to 100 s: several addresses and hosts must not fall into step. */
    noise = (noise ^ a->settings.address[3] ^ a->settings.address[15]) * UINT64_C(6364136223846793005);
    return 60 * USEC_PER_SEC + (noise >> 33) % (40 * USEC_PER_SEC);
}

static int frame_fd(const struct vips *v, const struct vip *a)
{
    return a->settings.family == AF_INET ? v->arp_fd : v->ndp_fd;
}

static void probe(struct vips *v, struct vip *a, uint64_t now_us)
{
    struct packet packet;

    if (a->probes >= PROBES) {
        a->probe_at_us = 0;
        a->put_at_us = now_us; /* nobody answered */
        return;
    }
    packet_probe(&packet, &a->settings, a->link.mac);
    if (socket_frame(frame_fd(v, a), a->link.index, &packet) < 0) {
        a->probe_at_us = now_us + UNSENT_US; /* what was not asked is not answered */
        return;
    }
    a->probes++;
    a->probe_at_us = now_us + PROBE_US;
}

static void announce(struct vips *v, struct vip *a, uint64_t now_us)
{
    struct packet packets[PACKET_ANNOUNCE_MAX];
    size_t n = packet_announce(packets, &a->settings, a->link.mac);

    a->announce_at_us = 0;
    if (!a->link.ethernet || a->state != VIP_HELD)
        return;
    for (size_t i = 0; i < n; i++) {
        if (socket_frame(frame_fd(v, a), a->link.index, &packets[i]) < 0) {
            a->announce_at_us = now_us + (a->link.up ? UNSENT_US : USEC_PER_SEC);
            return;
        }
    }
    a->counters.announcements++;
    a->announcements++;
    a->announce_at_us = now_us + announce_delay_us(a, now_us);
}

static void put(struct vips *v, struct vip *a)
{
    struct address_request request;
    /* Read as late as possible: from here to the kernel's own clock nothing may wait. */
    uint64_t now_us = clock_now_us(), rest_us = clock_rest_us(now_us, a->deadline_us);
    int r;

    a->put_at_us = 0;
    if (!claim_is_entitled(a, now_us)) {
        claim_tick(a, now_us);
        return;
    }
    a->put_seq = ++v->seq;
    a->lifetime_s = vip_lifetime_s(rest_us);
    address_put(&request, &a->settings, a->link.index, a->lifetime_s, a->put_seq);
    r = socket_request(v->request_fd, &request);
    if (r < 0)
        claim_on_put(a, r, now_us);
}

static void take_away(struct vips *v, struct vip *a, uint64_t now_us)
{
    struct address_request request;

    a->remove_seq = ++v->seq;
    a->removed_us = now_us;
    a->remove_at_us = now_us + UNSENT_US; /* again, unless it is acknowledged */
    address_remove(&request, &a->settings, a->link.index, a->settings.prefix, a->remove_seq);
    (void)socket_request(v->request_fd, &request);
}

static void take_stray_away(struct vips *v, struct vip *a, uint64_t now_us)
{
    struct address_request request;

    address_remove(&request, &a->settings, a->stray_index, a->stray_prefix, ++v->seq);
    a->stray_at_us = socket_request(v->request_fd, &request) < 0 ? now_us + UNSENT_US : 0;
}

/* Before any removal, see address_promote(). A refusal would show when the host loses an address; it cannot be mended
 * here. */
static void promote(struct vips *v, struct vip *a, uint64_t now_us)
{
    struct address_request request;

    address_promote(&request, a->link.index, ++v->seq);
    a->promote_at_us = socket_request(v->request_fd, &request) < 0 ? now_us + UNSENT_US : 0;
}

static bool is_due(uint64_t at_us, uint64_t now_us)
{
    return at_us && now_us >= at_us;
}

void act(struct vips *v, struct vip *a, uint64_t now_us)
{
    if (is_due(a->promote_at_us, now_us))
        promote(v, a, now_us);
    if (is_due(a->stray_at_us, now_us))
        take_stray_away(v, a, now_us);
    if (is_due(a->remove_at_us, now_us))
        take_away(v, a, now_us);
    if (is_due(a->probe_at_us, now_us))
        probe(v, a, now_us);
    if (is_due(a->put_at_us, now_us))
        put(v, a);
    if (is_due(a->announce_at_us, now_us))
        announce(v, a, now_us);
}
