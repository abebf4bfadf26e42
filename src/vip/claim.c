/* The life of one address: what is known of it, what is to be done next. Sends nothing itself. */
#include <errno.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <inttypes.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "vip/packet.h"
#include "vip/vip_private.h"

#define ROUNDED_UP_US (300 * USEC_PER_MSEC) /* HZ/4 and its share of the 8/63, and something for the work queue */
#define LEAST_REST_US (ROUNDED_UP_US + USEC_PER_SEC * 71 / 63) /* of a lifetime of one second */
#define RETRY_US USEC_PER_SEC                                  /* after a conflict or a failure */
#define PUT_BACK_US (100 * USEC_PER_MSEC) /* between putting it back twice: whoever removes it may insist */
#define DEFEND_US USEC_PER_SEC            /* between answers to claims: two holders must not excite each other */
#define COMPLAIN_US (10 * USEC_PER_SEC)   /* between log lines about the same address */
#define OWN_DOING_US USEC_PER_SEC         /* news of an address may still be of our own last removal */

uint32_t vip_lifetime_s(uint64_t rest_us)
{
    /* lifetime + lateness <= rest, where the lateness is 8/63 of it and ROUNDED_UP_US */
    return (uint32_t)(clock_rest_us(ROUNDED_UP_US, rest_us) * 63 / 71 / USEC_PER_SEC);
}

bool claim_is_entitled(const struct vip *a, uint64_t now_us)
{
    return vip_lifetime_s(clock_rest_us(now_us, a->deadline_us)) > 0;
}

void claim_init(struct vip *a, const struct vip_settings *settings)
{
    *a = (struct vip){.settings = *settings};
    address_print(settings, a->text, sizeof(a->text));
}

/* True once in a while, so that a fault that goes on does not fill the log. */
static bool may_complain(struct vip *a, uint64_t now_us)
{
    if (a->complained_us && now_us - a->complained_us < COMPLAIN_US)
        return false;
    a->complained_us = now_us;
    return true;
}

static void stop_trying(struct vip *a)
{
    a->retry_at_us = a->probe_at_us = a->put_at_us = a->renew_at_us = a->announce_at_us = 0;
    a->was_gone = false;
}

static void set_trouble(struct vip *a, enum vip_state state, uint64_t now_us, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void set_trouble(struct vip *a, enum vip_state state, uint64_t now_us, const char *fmt, ...)
{
    char text[VIP_ERROR_SIZE];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (!a->is_troubled || !text_equal(a->error, text))
        log_error("virtual address %s on \"%s\": %s", a->text, a->settings.interface, text);
    (void)text_copy(a->error, sizeof(a->error), text);
    stop_trying(a);
    a->is_troubled = true;
    a->state = state;
    a->retry_at_us = now_us + RETRY_US;
}

/* --- claiming and giving up -----------------------------------------------------------------------------------------
 */

static void begin(struct vip *a, uint64_t now_us)
{
    a->retry_at_us = 0;
    if (a->link.index == 0) {
        set_trouble(a, VIP_FAILED, now_us, "there is no such interface");
    } else if (!a->link.up) {
        set_trouble(a, VIP_FAILED, now_us, "the interface is down or has no carrier");
    } else {
        /* In conflict it stays what it is until nobody answers any more. */
        if (a->state != VIP_CONFLICT)
            a->state = VIP_CLAIMING;
        a->probes = 0;
        if (a->in_kernel || !a->link.ethernet)
            a->put_at_us = now_us; /* it is here already, or there is nobody to ask */
        else
            a->probe_at_us = now_us;
    }
}

static void give_up(struct vip *a, uint64_t now_us)
{
    if (a->state == VIP_HELD)
        log_info("virtual address %s on \"%s\" is given up", a->text, a->settings.interface);
    /* Also where we only think that it is not there: to be told so by the kernel costs nothing. */
    if (a->link.index && (a->in_kernel || a->state != VIP_ABSENT) && !a->remove_at_us)
        a->remove_at_us = now_us;
    stop_trying(a);
    a->is_troubled = false;
    a->state = VIP_ABSENT;
}

void claim_hold(struct vip *a, uint64_t deadline_us, uint64_t now_us)
{
    a->deadline_us = deadline_us;
    if (!claim_is_entitled(a, now_us))
        give_up(a, now_us);
    else if (a->state == VIP_HELD)
        a->put_at_us = now_us;
    else if (a->state == VIP_ABSENT) {
        a->remove_at_us = 0;
        begin(a, now_us);
    }
}

void claim_drop(struct vip *a, uint64_t now_us)
{
    a->deadline_us = 0;
    give_up(a, now_us);
}

void claim_tick(struct vip *a, uint64_t now_us)
{
    if (!claim_is_entitled(a, now_us)) {
        a->deadline_us = 0;
        if (a->state != VIP_ABSENT || a->in_kernel)
            give_up(a, now_us);
    } else if (a->retry_at_us && now_us >= a->retry_at_us) {
        begin(a, now_us);
    } else if (a->renew_at_us && now_us >= a->renew_at_us) {
        a->renew_at_us = 0;
        a->put_at_us = now_us;
    }
}

static void earliest(uint64_t *at_us, uint64_t other_us)
{
    if (other_us && other_us < *at_us)
        *at_us = other_us;
}

uint64_t claim_next_us(const struct vip *a)
{
    uint64_t at_us = UINT64_MAX;

    earliest(&at_us, a->retry_at_us);
    earliest(&at_us, a->probe_at_us);
    earliest(&at_us, a->put_at_us);
    earliest(&at_us, a->remove_at_us);
    earliest(&at_us, a->announce_at_us);
    earliest(&at_us, a->stray_at_us);
    earliest(&at_us, a->promote_at_us);
    earliest(&at_us, a->renew_at_us);
    if (a->deadline_us)
        earliest(&at_us, a->deadline_us - (a->deadline_us < LEAST_REST_US ? 0 : LEAST_REST_US) + 1);
    return at_us;
}

static void announce_anew(struct vip *a, uint64_t now_us)
{
    a->announcements = 0;
    a->announce_at_us = now_us;
}

void claim_on_put(struct vip *a, int error, uint64_t now_us)
{
    if (a->state == VIP_ABSENT) {
        /* Dropped meanwhile: the removal was sent after it. */
        return;
    }
    if (error < 0) {
        set_trouble(a, VIP_FAILED, now_us, "could not add it: %s", strerror(-error));
        return;
    }
    a->in_kernel = true;
    a->renew_at_us = now_us + a->lifetime_s * USEC_PER_SEC / 2;
    if (a->state != VIP_HELD) {
        a->state = VIP_HELD;
        a->is_troubled = false;
        a->counters.claims++;
        log_info("virtual address %s on \"%s\" is held", a->text, a->settings.interface);
        announce_anew(a, now_us);
    } else if (a->was_gone) {
        announce_anew(a, now_us);
    }
    a->was_gone = false;
}

void claim_on_removed(struct vip *a, int error, uint64_t now_us)
{
    if (error == 0 || error == -EADDRNOTAVAIL || error == -ENODEV) {
        a->in_kernel = false;
        a->remove_at_us = 0;
        return;
    }
    (void)text_print(a->error, sizeof(a->error), "could not remove it: %s", strerror(-error));
    if (may_complain(a, now_us))
        log_error("virtual address %s on \"%s\": %s", a->text, a->settings.interface, a->error);
}

/* --- what the kernel says -------------------------------------------------------------------------------------------
 */

void claim_on_link_gone(struct vip *a, uint64_t now_us)
{
    a->link = (struct vip_link){0};
    a->in_kernel = false;
    a->remove_at_us = a->promote_at_us = 0;
    if (a->state != VIP_ABSENT)
        set_trouble(a, VIP_FAILED, now_us, "there is no such interface");
}

/* The interface of that number is not ours any more, but the address may still be on it. */
static void leave(struct vip *a, uint64_t now_us)
{
    if (a->in_kernel) {
        a->stray_index = a->link.index;
        a->stray_prefix = a->settings.prefix;
        a->stray_at_us = now_us;
    }
    claim_on_link_gone(a, now_us);
}

void claim_on_link(struct vip *a, const struct address_event *event, uint64_t now_us)
{
    struct vip_link old = a->link;

    if (!text_equal(event->name, a->settings.interface)) {
        if (event->link.index == old.index)
            leave(a, now_us); /* renamed */
        return;
    }
    a->seen = true;
    if (old.index && old.index != event->link.index)
        claim_on_link_gone(a, now_us); /* made anew */
    a->link = event->link;
    if (old.index != a->link.index && a->settings.family == AF_INET)
        a->promote_at_us = now_us;
    if (a->state == VIP_ABSENT)
        return;
    if (!a->link.up) {
        if (a->state != VIP_HELD)
            set_trouble(a, VIP_FAILED, now_us, "the interface is down or has no carrier");
    } else if (a->state == VIP_FAILED) {
        a->retry_at_us = now_us;
    } else if (a->state == VIP_HELD && (!old.up || memcmp(old.mac, a->link.mac, VIP_MAC_SIZE) != 0)) {
        announce_anew(a, now_us);
    }
}

/* The first time at once; again and again not faster than PUT_BACK_US. */
static void put_back(struct vip *a, uint64_t now_us, const char *what)
{
    bool is_own_doing = a->removed_us && now_us - a->removed_us < OWN_DOING_US;

    if (a->put_at_us)
        return; /* the same change may be told twice */
    a->put_at_us = a->put_back_us && now_us - a->put_back_us < PUT_BACK_US ? a->put_back_us + PUT_BACK_US : now_us;
    if (is_own_doing)
        return;
    a->put_back_us = a->put_at_us;
    a->counters.put_back++;
    if (may_complain(a, now_us))
        log_warning("virtual address %s on \"%s\" was %s by somebody else: putting it back", a->text,
                    a->settings.interface, what);
}

static void on_removed_event(struct vip *a, uint64_t now_us)
{
    a->in_kernel = false;
    a->remove_at_us = 0;
    if (a->state != VIP_HELD || !claim_is_entitled(a, now_us))
        return;
    if (!a->link.up) {
        /* IPv6 addresses go when the interface is switched off. */
        set_trouble(a, VIP_FAILED, now_us, "the interface is down or has no carrier");
        return;
    }
    a->was_gone = true;
    put_back(a, now_us, "removed");
}

static void on_added_event(struct vip *a, const struct address_event *event, uint64_t now_us)
{
    a->in_kernel = true;
    if (!claim_is_entitled(a, now_us)) {
        bool is_own_doing = a->removed_us && now_us - a->removed_us < OWN_DOING_US;

        if (!is_own_doing && may_complain(a, now_us))
            log_warning("virtual address %s is on \"%s\" without a lease: removing it", a->text, a->settings.interface);
        a->remove_at_us = now_us;
    } else if (a->state == VIP_CONFLICT) {
        a->remove_at_us = now_us;
    } else if (a->state == VIP_HELD && event->valid_s > a->lifetime_s) {
        put_back(a, now_us, "changed"); /* with a lifetime beyond the lease it would be no lease */
    }
}

void claim_on_address(struct vip *a, const struct address_event *event, uint64_t now_us)
{
    const struct vip_settings *s = &a->settings;

    if (a->link.index == 0 || event->link.index != a->link.index || event->family != s->family ||
        memcmp(event->address, s->address, address_size(s->family)) != 0)
        return;
    if (event->prefix != s->prefix) {
        if (event->type == ADDRESS_EVENT_REMOVED)
            return;
        /* The kernel takes it for another address, so it would answer without a lease. */
        a->stray_index = a->link.index;
        a->stray_prefix = event->prefix;
        a->stray_at_us = now_us;
        return;
    }
    a->seen = true;
    if (event->type == ADDRESS_EVENT_REMOVED)
        on_removed_event(a, now_us);
    else
        on_added_event(a, event, now_us);
}

/* --- what the network says ------------------------------------------------------------------------------------------
 */

static void defend(struct vip *a, const uint8_t *mac, uint64_t now_us)
{
    if (may_complain(a, now_us))
        log_error("virtual address %s on \"%s\" is held here, but %02x:%02x:%02x:%02x:%02x:%02x claims it too "
                  "(%" PRIu32 " times so far)",
                  a->text, a->settings.interface, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], a->counters.foreign);
    if (a->defended_us && now_us - a->defended_us < DEFEND_US)
        return;
    a->defended_us = now_us;
    if (!a->announce_at_us || a->announce_at_us > now_us)
        a->announce_at_us = now_us;
}

void claim_on_frame(struct vip *a, const uint8_t *frame, size_t len, uint64_t now_us)
{
    uint8_t mac[VIP_MAC_SIZE];
    enum packet_kind kind = packet_read(frame, len, &a->settings, mac);

    if (kind == PACKET_OTHER || memcmp(mac, a->link.mac, VIP_MAC_SIZE) == 0)
        return;
    switch (a->state) {
    case VIP_ABSENT:
    case VIP_FAILED:
        break;
    case VIP_CLAIMING:
    case VIP_CONFLICT:
        /* RFC 5227, 2.1.1: who probes for it at the same time counts as well. */
        a->counters.foreign++;
        if (a->state == VIP_CLAIMING || a->probe_at_us)
            set_trouble(a, VIP_CONFLICT, now_us, "%02x:%02x:%02x:%02x:%02x:%02x has it, so it is not taken", mac[0],
                        mac[1], mac[2], mac[3], mac[4], mac[5]);
        break;
    case VIP_HELD:
        if (kind != PACKET_CLAIM) /* the kernel answers probes */
            break;
        a->counters.foreign++;
        defend(a, mac, now_us);
        break;
    }
}
