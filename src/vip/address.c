#include "vip/address.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include "base/text.h"

/* --- as text --------------------------------------------------------------------------------------------------------
 */

size_t address_size(uint8_t family)
{
    return family == AF_INET ? 4 : 16;
}

/* Copies up to the comma, or all of the rest; NULL if it does not fit, else what follows. */
static const char *take(const char *text, char *buf, size_t size)
{
    size_t len = strcspn(text, ",");

    return text_print(buf, size, "%.*s", (int)len, text) ? text + len + (text[len] == ',') : NULL;
}

static bool parse_cidr(char *text, struct vip_settings *ret)
{
    char *slash = strchr(text, '/');
    uint32_t prefix;

    if (!slash || !text_to_u32(slash + 1, &prefix))
        return false;
    *slash = '\0';
    ret->family = strchr(text, ':') ? AF_INET6 : AF_INET;
    if (prefix == 0 || prefix > 8 * address_size(ret->family))
        return false;
    ret->prefix = (uint8_t)prefix;
    return inet_pton(ret->family, text, ret->address) == 1;
}

bool address_parse(const char *text, struct vip_settings *ret)
{
    char who[16], cidr[ADDRESS_TEXT_SIZE];
    struct vip_settings s = {0};

    if (!(text = take(text, who, sizeof(who))) || !(text = take(text, s.interface, sizeof(s.interface))) ||
        !(text = take(text, s.label, sizeof(s.label))) || !text_copy(cidr, sizeof(cidr), text))
        return false;
    if (!text_equal(who, "primary") && !text_equal(who, "replica"))
        return false;
    s.who = text_equal(who, "replica") ? VIP_FOR_REPLICA : VIP_FOR_PRIMARY;
    if (!*s.interface || (*s.label && !text_starts_with(s.label, s.interface)) || !parse_cidr(cidr, &s))
        return false;
    *ret = s;
    return true;
}

void address_print(const struct vip_settings *s, char *buf, size_t size)
{
    char text[INET6_ADDRSTRLEN] = "";

    (void)inet_ntop(s->family, s->address, text, sizeof(text));
    (void)text_print(buf, size, "%s/%u", text, s->prefix);
}

/* --- requests -------------------------------------------------------------------------------------------------------
 */

static void *begin(struct address_request *ret, int type, int flags, size_t size, uint32_t seq)
{
    struct nlmsghdr h = {.nlmsg_len = (uint32_t)NLMSG_LENGTH(size),
                         .nlmsg_type = (uint16_t)type,
                         .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
                         .nlmsg_seq = seq};

    *ret = (struct address_request){.len = NLMSG_LENGTH(size)};
    memcpy(ret->bytes, &h, sizeof(h));
    return ret->bytes + NLMSG_HDRLEN;
}

/* All attributes together are far shorter than the buffer. */
static void attribute(struct address_request *ret, int type, const void *value, size_t size)
{
    struct rtattr a = {.rta_len = (uint16_t)RTA_LENGTH(size), .rta_type = (uint16_t)type};
    uint32_t whole;

    memcpy(ret->bytes + ret->len, &a, sizeof(a));
    if (size)
        memcpy(ret->bytes + ret->len + RTA_LENGTH(0), value, size);
    ret->len += RTA_ALIGN(a.rta_len);
    whole = (uint32_t)ret->len;
    memcpy(ret->bytes + offsetof(struct nlmsghdr, nlmsg_len), &whole, sizeof(whole));
}

static void begin_address(struct address_request *ret, int type, int flags, const struct vip_settings *s, uint32_t link,
                          uint8_t prefix, uint32_t seq)
{
    struct ifaddrmsg m = {
        .ifa_family = s->family, .ifa_prefixlen = prefix, .ifa_scope = RT_SCOPE_UNIVERSE, .ifa_index = link};

    memcpy(begin(ret, type, NLM_F_ACK | flags, sizeof(m), seq), &m, sizeof(m));
    attribute(ret, IFA_LOCAL, s->address, address_size(s->family));
    attribute(ret, IFA_ADDRESS, s->address, address_size(s->family));
}

void address_put(struct address_request *ret, const struct vip_settings *s, uint32_t link, uint32_t valid_s,
                 uint32_t seq)
{
    struct ifa_cacheinfo lifetime = {.ifa_valid = valid_s, .ifa_prefered = valid_s};
    /*
     * The kernel's own duplicate address detection takes more than a second, in which the address does not answer; an
     * optimistic address answers, but never with an overriding advertisement, so that neighbours keep the old holder.
     * We have asked the network ourselves (packet.h) when this is sent.
     */
    uint32_t flags = IFA_F_NODAD;

    begin_address(ret, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, s, link, s->prefix, seq);
    attribute(ret, IFA_CACHEINFO, &lifetime, sizeof(lifetime));
    if (s->family == AF_INET6) {
        attribute(ret, IFA_FLAGS, &flags, sizeof(flags));
    } else {
        uint32_t broadcast, host = s->prefix >= 31 ? 0 : htonl(UINT32_MAX >> s->prefix);

        memcpy(&broadcast, s->address, sizeof(broadcast));
        broadcast |= host;
        if (host)
            attribute(ret, IFA_BROADCAST, &broadcast, sizeof(broadcast));
        if (*s->label)
            attribute(ret, IFA_LABEL, s->label, strlen(s->label) + 1);
    }
}

void address_remove(struct address_request *ret, const struct vip_settings *s, uint32_t link, uint8_t prefix,
                    uint32_t seq)
{
    begin_address(ret, RTM_DELADDR, 0, s, link, prefix, seq);
}

/* The length of what encloses the attributes added since it was begun. */
static void end_nested(struct address_request *ret, size_t began)
{
    uint16_t size = (uint16_t)(ret->len - began);

    memcpy(ret->bytes + began + offsetof(struct rtattr, rta_len), &size, sizeof(size));
}

void address_promote(struct address_request *ret, uint32_t link, uint32_t seq)
{
    struct ifinfomsg m = {.ifi_family = AF_UNSPEC, .ifi_index = (int)link};
    size_t spec, inet, conf;
    uint32_t on = 1;

    memcpy(begin(ret, RTM_SETLINK, NLM_F_ACK, sizeof(m), seq), &m, sizeof(m));
    spec = ret->len;
    attribute(ret, IFLA_AF_SPEC | NLA_F_NESTED, NULL, 0);
    inet = ret->len;
    attribute(ret, AF_INET | NLA_F_NESTED, NULL, 0);
    conf = ret->len;
    attribute(ret, IFLA_INET_CONF | NLA_F_NESTED, NULL, 0);
    attribute(ret, IPV4_DEVCONF_PROMOTE_SECONDARIES, &on, sizeof(on));
    end_nested(ret, conf);
    end_nested(ret, inet);
    end_nested(ret, spec);
}

void address_dump(struct address_request *ret, int type, uint32_t seq)
{
    struct ifinfomsg link = {0};
    struct ifaddrmsg address = {0};
    uint32_t mask = RTEXT_FILTER_SKIP_STATS;

    if (type == RTM_GETADDR) {
        memcpy(begin(ret, type, NLM_F_DUMP, sizeof(address), seq), &address, sizeof(address));
        return;
    }
    memcpy(begin(ret, type, NLM_F_DUMP, sizeof(link), seq), &link, sizeof(link));
    attribute(ret, IFLA_EXT_MASK, &mask, sizeof(mask));
}

/* --- what the kernel says -------------------------------------------------------------------------------------------
 */

/* The next attribute's value; *ret_type is 0 at the end. */
static const uint8_t *next_attribute(const uint8_t **at, size_t *left, int *ret_type, size_t *ret_size)
{
    struct rtattr a;
    const uint8_t *value = *at + RTA_LENGTH(0);
    size_t whole;

    *ret_type = 0;
    if (*left < sizeof(a))
        return NULL;
    memcpy(&a, *at, sizeof(a));
    if (a.rta_len < RTA_LENGTH(0) || a.rta_len > *left)
        return NULL;
    *ret_type = a.rta_type & NLA_TYPE_MASK;
    *ret_size = a.rta_len - RTA_LENGTH(0);
    whole = RTA_ALIGN(a.rta_len);
    *at += whole < *left ? whole : *left;
    *left -= whole < *left ? whole : *left;
    return value;
}

static void read_link(const uint8_t *at, size_t left, bool is_gone, struct address_event *ret)
{
    struct ifinfomsg m;
    const uint8_t *value;
    bool has_mac = false;
    size_t size;
    int type;

    if (left < sizeof(m))
        return;
    memcpy(&m, at, sizeof(m));
    if (m.ifi_family != AF_UNSPEC) /* of a bridge: its port was added or taken away, not the interface */
        return;
    ret->type = is_gone ? ADDRESS_EVENT_LINK_GONE : ADDRESS_EVENT_LINK;
    ret->link.index = (uint32_t)m.ifi_index;
    ret->link.up = (m.ifi_flags & IFF_UP) && (m.ifi_flags & IFF_RUNNING);
    at += NLMSG_ALIGN(sizeof(m));
    left -= NLMSG_ALIGN(sizeof(m));
    while ((value = next_attribute(&at, &left, &type, &size))) {
        if (type == IFLA_IFNAME)
            (void)text_print(ret->name, sizeof(ret->name), "%.*s", (int)size, (const char *)value);
        if (type == IFLA_ADDRESS && size == VIP_MAC_SIZE) {
            memcpy(ret->link.mac, value, size);
            has_mac = true;
        }
    }
    ret->link.ethernet = has_mac && m.ifi_type == ARPHRD_ETHER && !(m.ifi_flags & IFF_NOARP);
}

static void read_address(const uint8_t *at, size_t left, bool is_gone, struct address_event *ret)
{
    struct ifaddrmsg m;
    struct ifa_cacheinfo lifetime;
    const uint8_t *value;
    size_t size;
    int type;

    if (left < sizeof(m))
        return;
    memcpy(&m, at, sizeof(m));
    if (m.ifa_family != AF_INET && m.ifa_family != AF_INET6)
        return;
    ret->type = is_gone ? ADDRESS_EVENT_REMOVED : ADDRESS_EVENT_ADDED;
    ret->link.index = m.ifa_index;
    ret->family = m.ifa_family;
    ret->prefix = m.ifa_prefixlen;
    ret->valid_s = UINT32_MAX;
    at += NLMSG_ALIGN(sizeof(m));
    left -= NLMSG_ALIGN(sizeof(m));
    while ((value = next_attribute(&at, &left, &type, &size))) {
        /* IPv4 has the address in IFA_LOCAL, IPv6 in IFA_ADDRESS. */
        if (type == (m.ifa_family == AF_INET ? IFA_LOCAL : IFA_ADDRESS) && size == address_size(m.ifa_family))
            memcpy(ret->address, value, size);
        if (type == IFA_CACHEINFO && size >= sizeof(lifetime)) {
            memcpy(&lifetime, value, sizeof(lifetime));
            ret->valid_s = lifetime.ifa_valid;
        }
    }
}

static void read_message(const struct nlmsghdr *h, const uint8_t *at, size_t left, struct address_event *ret)
{
    int error = 0;

    switch (h->nlmsg_type) {
    case NLMSG_ERROR:
    case NLMSG_DONE:
        ret->type = h->nlmsg_type == NLMSG_DONE ? ADDRESS_EVENT_DONE : ADDRESS_EVENT_ACK;
        if (left >= sizeof(error))
            memcpy(&error, at, sizeof(error));
        ret->error = h->nlmsg_flags & NLM_F_DUMP_INTR ? -EINTR : error;
        break;
    case RTM_NEWLINK:
    case RTM_DELLINK:
        read_link(at, left, h->nlmsg_type == RTM_DELLINK, ret);
        break;
    case RTM_NEWADDR:
    case RTM_DELADDR:
        read_address(at, left, h->nlmsg_type == RTM_DELADDR, ret);
        break;
    default:
        break;
    }
}

bool address_next(const uint8_t **at, size_t *left, struct address_event *ret)
{
    struct nlmsghdr h;
    size_t whole;

    if (*left < sizeof(h))
        return false;
    memcpy(&h, *at, sizeof(h));
    if (h.nlmsg_len < NLMSG_HDRLEN || h.nlmsg_len > *left)
        return false;
    *ret = (struct address_event){.seq = h.nlmsg_seq};
    read_message(&h, *at + NLMSG_HDRLEN, h.nlmsg_len - NLMSG_HDRLEN, ret);
    whole = NLMSG_ALIGN(h.nlmsg_len);
    whole = whole < *left ? whole : *left;
    *at += whole;
    *left -= whole;
    return true;
}
