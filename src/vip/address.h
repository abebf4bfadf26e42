/*
 * One virtual address as it is configured, and its rtnetlink messages. Pure.
 *
 * The messages are few and fixed, so they are built by hand: libnl-route-3 would add 0.7 MB of locked memory to the
 * keeper, nearly half of what it has. Rules: rtnetlink(7), RFC 3549, linux/if_addr.h.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VIP_MAX = 16, VIP_NAME_SIZE = 16 /* IFNAMSIZ */, VIP_MAC_SIZE = 6, ADDRESS_TEXT_SIZE = 64 };

enum vip_for { VIP_FOR_PRIMARY, VIP_FOR_REPLICA };

struct vip_settings {
    enum vip_for who;
    char interface[VIP_NAME_SIZE];
    char label[VIP_NAME_SIZE]; /* IPv4 only; "" = none */
    uint8_t family;            /* AF_INET, AF_INET6 */
    uint8_t prefix;
    uint8_t address[16]; /* network byte order; IPv4 in the first four */
};

/* "primary,eth0,eth0:vip,10.0.0.100/24", as the agent prints it; the label may be empty. */
bool address_parse(const char *text, struct vip_settings *ret);
void address_print(const struct vip_settings *s, char *buf, size_t size);
size_t address_size(uint8_t family);

struct vip_link {
    uint32_t index;
    bool up;       /* switched on, and with a carrier */
    bool ethernet; /* others on it are asked and told by ARP or neighbour discovery */
    uint8_t mac[VIP_MAC_SIZE];
};

struct address_request {
    _Alignas(4) uint8_t bytes[160];
    size_t len;
};
/* Adds the address, or sets the lifetime of one that is there. valid_s must not be 0, which the kernel refuses. */
void address_put(struct address_request *ret, const struct vip_settings *s, uint32_t link, uint32_t valid_s,
                 uint32_t seq);
void address_remove(struct address_request *ret, const struct vip_settings *s, uint32_t link, uint8_t prefix,
                    uint32_t seq);
/*
 * IPv4: when the first address of a network goes, the next one moves up (the sysctl promote_secondaries). Otherwise the
 * kernel would remove the host's own address together with ours, if ours came first.
 */
void address_promote(struct address_request *ret, uint32_t link, uint32_t seq);
/* Everything of a kind: RTM_GETLINK or RTM_GETADDR. */
void address_dump(struct address_request *ret, int type, uint32_t seq);

enum address_event_type {
    ADDRESS_EVENT_OTHER,
    ADDRESS_EVENT_ACK,  /* error 0 or -errno, for the request seq */
    ADDRESS_EVENT_DONE, /* end of the dump seq; error -EINTR if it was overtaken by a change */
    ADDRESS_EVENT_LINK,
    ADDRESS_EVENT_LINK_GONE,
    ADDRESS_EVENT_ADDED, /* or changed */
    ADDRESS_EVENT_REMOVED,
};

struct address_event {
    enum address_event_type type;
    uint32_t seq;
    int error;
    struct vip_link link; /* of addresses only the index */
    char name[VIP_NAME_SIZE];
    uint8_t family, prefix, address[16];
    uint32_t valid_s; /* UINT32_MAX = for ever */
};
/* Takes the next message off a datagram; false at its end, and at the first thing that is no message. */
bool address_next(const uint8_t **at, size_t *left, struct address_event *ret);
