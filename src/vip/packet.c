#include "vip/packet.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <string.h>

struct arp_frame {
    struct ethhdr eth;
    uint16_t hardware, protocol;
    uint8_t hardware_size, protocol_size;
    uint16_t op;
    uint8_t sender_mac[ETH_ALEN], sender[4], target_mac[ETH_ALEN], target[4];
} __attribute__((packed));
_Static_assert(sizeof(struct arp_frame) == 42, "the layout is the protocol");

/* A solicitation or advertisement; the option with the link-layer address only where it is wanted. */
struct nd_frame {
    struct ethhdr eth;
    struct ip6_hdr ip;
    struct icmp6_hdr icmp;
    uint8_t target[16];
    uint8_t option, option_len, option_mac[ETH_ALEN];
} __attribute__((packed));
_Static_assert(sizeof(struct nd_frame) == 86, "the layout is the protocol");
enum { ND_SIZE = offsetof(struct nd_frame, option), ND_HOPS = 255 };

static const uint8_t broadcast[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t zeros[16];
static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1};

/* --- ARP ------------------------------------------------------------------------------------------------------------
 */

static void arp(struct packet *ret, int op, const struct vip_settings *s, const uint8_t *mac, bool is_probe)
{
    struct arp_frame f = {.hardware = htons(ARPHRD_ETHER),
                          .protocol = htons(ETH_P_IP),
                          .hardware_size = ETH_ALEN,
                          .protocol_size = 4,
                          .op = htons((uint16_t)op)};

    memcpy(f.eth.h_dest, broadcast, ETH_ALEN);
    memcpy(f.eth.h_source, mac, ETH_ALEN);
    f.eth.h_proto = htons(ETH_P_ARP);
    memcpy(f.sender_mac, mac, ETH_ALEN);
    if (!is_probe)
        memcpy(f.sender, s->address, sizeof(f.sender));
    if (op == ARPOP_REPLY)
        memcpy(f.target_mac, broadcast, ETH_ALEN);
    memcpy(f.target, s->address, sizeof(f.target));
    ret->len = sizeof(f);
    memcpy(ret->bytes, &f, sizeof(f));
}

static enum packet_kind read_arp(const uint8_t *frame, size_t len, const struct vip_settings *s, uint8_t *ret_mac)
{
    struct arp_frame f;

    if (len < sizeof(f))
        return PACKET_OTHER;
    memcpy(&f, frame, sizeof(f));
    if (f.eth.h_proto != htons(ETH_P_ARP) || f.hardware_size != ETH_ALEN || f.protocol_size != 4)
        return PACKET_OTHER;
    memcpy(ret_mac, f.sender_mac, ETH_ALEN);
    if (memcmp(f.sender, s->address, 4) == 0)
        return PACKET_CLAIM;
    if (f.op == htons(ARPOP_REQUEST) && memcmp(f.sender, zeros, 4) == 0 && memcmp(f.target, s->address, 4) == 0)
        return PACKET_PROBE;
    return PACKET_OTHER;
}

/* --- neighbour discovery --------------------------------------------------------------------------------------------
 */

static uint32_t add_words(uint32_t sum, const uint8_t *at, size_t len)
{
    for (size_t i = 0; i + 1 < len; i += 2)
        sum += (uint32_t)at[i] << 8 | at[i + 1];
    return sum;
}

/* RFC 8200, 8.1: over source, destination, length, next header and the message, all of even length. */
static uint16_t checksum(const uint8_t *frame, size_t len)
{
    size_t payload = len - sizeof(struct ethhdr) - sizeof(struct ip6_hdr);
    uint32_t sum = (uint32_t)payload + IPPROTO_ICMPV6;

    sum = add_words(sum, frame + sizeof(struct ethhdr) + offsetof(struct ip6_hdr, ip6_src), 32);
    sum = add_words(sum, frame + len - payload, payload);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

static void nd(struct packet *ret, struct nd_frame *f, size_t len, const uint8_t *mac)
{
    const uint8_t *destination = f->ip.ip6_dst.s6_addr;

    f->eth.h_dest[0] = f->eth.h_dest[1] = 0x33; /* RFC 2464, 7 */
    memcpy(f->eth.h_dest + 2, destination + 12, 4);
    memcpy(f->eth.h_source, mac, ETH_ALEN);
    f->eth.h_proto = htons(ETH_P_IPV6);
    f->ip.ip6_flow = htonl(6U << 28);
    f->ip.ip6_plen = htons((uint16_t)(len - offsetof(struct nd_frame, icmp)));
    f->ip.ip6_nxt = IPPROTO_ICMPV6;
    f->ip.ip6_hlim = ND_HOPS;
    f->icmp.icmp6_cksum = 0;
    f->icmp.icmp6_cksum = checksum((const uint8_t *)f, len);
    ret->len = len;
    memcpy(ret->bytes, f, len);
}

static void solicit(struct packet *ret, const struct vip_settings *s, const uint8_t *mac)
{
    static const uint8_t solicited_node[16] = {0xff, 0x02, [11] = 1, [12] = 0xff};
    struct nd_frame f = {.icmp.icmp6_type = ND_NEIGHBOR_SOLICIT};

    memcpy(&f.ip.ip6_dst, solicited_node, 13);
    memcpy(f.ip.ip6_dst.s6_addr + 13, s->address + 13, 3);
    memcpy(f.target, s->address, 16);
    nd(ret, &f, ND_SIZE, mac);
}

static void advertise(struct packet *ret, const struct vip_settings *s, const uint8_t *mac)
{
    struct nd_frame f = {.icmp.icmp6_type = ND_NEIGHBOR_ADVERT, .option = ND_OPT_TARGET_LINKADDR, .option_len = 1};

    f.icmp.icmp6_dataun.icmp6_un_data32[0] = ND_NA_FLAG_OVERRIDE;
    memcpy(&f.ip.ip6_src, s->address, 16);
    memcpy(&f.ip.ip6_dst, all_nodes, 16);
    memcpy(f.target, s->address, 16);
    memcpy(f.option_mac, mac, ETH_ALEN);
    nd(ret, &f, sizeof(f), mac);
}

static enum packet_kind read_nd(const uint8_t *frame, size_t len, const struct vip_settings *s, uint8_t *ret_mac)
{
    struct nd_frame f = {0};

    if (len < ND_SIZE)
        return PACKET_OTHER;
    memcpy(&f, frame, len < sizeof(f) ? len : sizeof(f));
    /* A router lowers the hop limit: 255 says that it comes from this link. */
    if (f.eth.h_proto != htons(ETH_P_IPV6) || f.ip.ip6_nxt != IPPROTO_ICMPV6 || f.ip.ip6_hlim != ND_HOPS)
        return PACKET_OTHER;
    memcpy(ret_mac, f.eth.h_source, ETH_ALEN);
    if (f.icmp.icmp6_type == ND_NEIGHBOR_ADVERT && memcmp(f.target, s->address, 16) == 0) {
        if (len >= sizeof(f) && f.option == ND_OPT_TARGET_LINKADDR && f.option_len == 1)
            memcpy(ret_mac, f.option_mac, ETH_ALEN);
        return PACKET_CLAIM;
    }
    if (f.icmp.icmp6_type != ND_NEIGHBOR_SOLICIT)
        return PACKET_OTHER;
    if (memcmp(&f.ip.ip6_src, s->address, 16) == 0)
        return PACKET_CLAIM;
    if (memcmp(&f.ip.ip6_src, zeros, 16) == 0 && memcmp(f.target, s->address, 16) == 0)
        return PACKET_PROBE;
    return PACKET_OTHER;
}

/* --- both -----------------------------------------------------------------------------------------------------------
 */

void packet_probe(struct packet *ret, const struct vip_settings *s, const uint8_t mac[VIP_MAC_SIZE])
{
    if (s->family == AF_INET)
        arp(ret, ARPOP_REQUEST, s, mac, true);
    else
        solicit(ret, s, mac);
}

size_t packet_announce(struct packet ret[PACKET_ANNOUNCE_MAX], const struct vip_settings *s,
                       const uint8_t mac[VIP_MAC_SIZE])
{
    if (s->family == AF_INET6) {
        advertise(&ret[0], s, mac);
        return 1;
    }
    arp(&ret[0], ARPOP_REQUEST, s, mac, false);
    arp(&ret[1], ARPOP_REPLY, s, mac, false);
    return 2;
}

enum packet_kind packet_read(const uint8_t *frame, size_t len, const struct vip_settings *s,
                             uint8_t ret_mac[VIP_MAC_SIZE])
{
    return s->family == AF_INET ? read_arp(frame, len, s, ret_mac) : read_nd(frame, len, s, ret_mac);
}

static size_t load_and_compare(struct sock_filter *f, size_t at, size_t offset, uint8_t family,
                               const struct vip_settings *s, size_t n)
{
    f[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset);
    for (size_t i = 0; i < n; i++) {
        uint32_t last;

        if (s[i].family != family)
            continue;
        memcpy(&last, s[i].address + address_size(family) - sizeof(last), sizeof(last));
        f[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(last), 0, 0);
    }
    return at;
}

/* Only the last four bytes of IPv6 addresses are compared: packet_read() does the rest. */
size_t packet_filter(struct sock_filter ret[PACKET_FILTER_MAX], uint8_t family, const struct vip_settings *s, size_t n)
{
    bool is_arp = family == AF_INET;
    size_t sender = is_arp ? offsetof(struct arp_frame, sender) : offsetof(struct nd_frame, ip.ip6_src) + 12;
    size_t target = is_arp ? offsetof(struct arp_frame, target) : offsetof(struct nd_frame, target) + 12;
    size_t at = 0, first;

    if (!is_arp) {
        ret[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_B | BPF_ABS, offsetof(struct nd_frame, ip.ip6_nxt));
        ret[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_ICMPV6, 1, 0);
        ret[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
        ret[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_B | BPF_ABS, offsetof(struct nd_frame, icmp));
        ret[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ND_NEIGHBOR_SOLICIT, 2, 0);
        ret[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ND_NEIGHBOR_ADVERT, 1, 0);
        ret[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
    }
    first = at;
    at = load_and_compare(ret, at, sender, family, s, n);
    at = load_and_compare(ret, at, target, family, s, n);
    ret[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
    for (size_t i = first; i < at; i++)
        if (ret[i].code == (BPF_JMP | BPF_JEQ | BPF_K))
            ret[i].jt = (uint8_t)(at - i - 1); /* to what is added now */
    ret[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, sizeof(struct nd_frame));
    return at;
}
