/*
 * The Ethernet frames by which an address is asked for, announced and contested: ARP (RFC 826, RFC 5227) and neighbour
 * discovery (RFC 4861, RFC 4862). Pure.
 */
#pragma once
#include <linux/filter.h>
#include "vip/address.h"

struct packet {
    uint8_t bytes[96];
    size_t len;
};

/* "Has anybody this address?", from nobody: an ARP probe, or a solicitation as of duplicate address detection. */
void packet_probe(struct packet *ret, const struct vip_settings *s, const uint8_t mac[VIP_MAC_SIZE]);

/*
 * "This address is here": a gratuitous ARP request and reply, since some hosts and switches learn only from one of
 * them, or an unsolicited neighbour advertisement that overrides. Returns how many frames that is.
 */
enum { PACKET_ANNOUNCE_MAX = 2 };
size_t packet_announce(struct packet ret[PACKET_ANNOUNCE_MAX], const struct vip_settings *s,
                       const uint8_t mac[VIP_MAC_SIZE]);

enum packet_kind {
    PACKET_OTHER,
    PACKET_CLAIM, /* the sender has the address */
    PACKET_PROBE, /* the sender would like to have it */
};
/* What a received frame says of the address, and who sent it. */
enum packet_kind packet_read(const uint8_t *frame, size_t len, const struct vip_settings *s,
                             uint8_t ret_mac[VIP_MAC_SIZE]);

/*
 * A socket filter that lets through only frames about addresses of one family, so that the chatter of a busy network
 * wakes nobody. Returns the number of instructions, at most PACKET_FILTER_MAX.
 */
enum { PACKET_FILTER_MAX = 2 * VIP_MAX + 16 };
size_t packet_filter(struct sock_filter ret[PACKET_FILTER_MAX], uint8_t family, const struct vip_settings *s, size_t n);
