/* vip: the list of virtual addresses. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include "base/text.h"
#include "config/loader.h"
#include "config/suggest.h"

#define NAME_SIGNS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

/* One entry of the list, for problems of "vip.[0].address". */
struct place {
    struct loader *loader;
    const config_setting_t *group;
    int index;
};

static void complain(const struct place *p, const char *name, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void complain(const struct place *p, const char *name, const char *hint, const char *fmt, ...)
{
    const config_setting_t *at = *name ? config_setting_get_member(p->group, name) : NULL;
    char path[SETTING_PATH_SIZE], message[256];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    (void)text_print(path, sizeof(path), "vip.[%d]%s%s", p->index, *name ? "." : "", name);
    loader_problem(p->loader, PROBLEM_ERROR, at ? at : p->group, path, hint, "%s", message);
}

/* NULL, and said, if it is no string; NULL and nothing said if an optional one is missing. */
static const char *get_string(const struct place *p, const char *name, bool is_needed)
{
    const config_setting_t *s = config_setting_get_member(p->group, name);
    char got[128];

    if (s && config_setting_type(s) == CONFIG_TYPE_STRING && config_setting_get_string(s))
        return config_setting_get_string(s);
    if (s) {
        describe_value(s, false, got, sizeof(got));
        complain(p, name, NULL, "expected a string, got %s", got);
    } else if (is_needed) {
        complain(p, name, NULL, "is missing; it has no default");
    }
    return NULL;
}

static void check_names(const struct place *p)
{
    static const char *const known[] = {"address", "interface", "label", "for"};

    for (int i = 0; i < config_setting_length(p->group); i++) {
        const char *name = config_setting_name(config_setting_get_elem(p->group, (unsigned)i));
        struct suggest near = SUGGEST_FOR(name);
        bool is_known = false;

        for (size_t j = 0; j < ARRAY_LEN(known); j++) {
            is_known |= strcmp(name, known[j]) == 0;
            suggest_offer(&near, known[j]);
        }
        if (!is_known && near.best)
            complain(p, name, NULL, "unknown setting \"%s\"; did you mean \"%s\"?", name, near.best);
        else if (!is_known)
            complain(p, name, NULL, "unknown setting \"%s\"", name);
    }
}

/* Why this cannot be the address of a host that clients connect to; NULL if it can. */
static const char *fault_of_ipv4(const uint8_t *bytes, unsigned prefix)
{
    uint32_t address, host = prefix == 32 ? 0 : UINT32_MAX >> prefix;

    memcpy(&address, bytes, sizeof(address));
    address = ntohl(address);
    if (address >> 24 == 0 || address >> 24 == 127 || address >> 28 >= 0xe)
        return "is no address that a host can have on a network";
    if (prefix < 31 && ((address & host) == 0 || (address & host) == host))
        return "is the network itself or its broadcast address";
    return NULL;
}

static const char *fault_of_ipv6(const uint8_t *bytes)
{
    struct in6_addr address;

    memcpy(&address, bytes, sizeof(address));
    if (IN6_IS_ADDR_UNSPECIFIED(&address) || IN6_IS_ADDR_LOOPBACK(&address) || IN6_IS_ADDR_MULTICAST(&address) ||
        IN6_IS_ADDR_V4MAPPED(&address))
        return "is no address that a host can have on a network";
    return NULL;
}

static bool read_address(const struct place *p, struct vip_config *vip)
{
    const char *text = get_string(p, "address", true), *slash = text ? strchr(text, '/') : NULL, *fault;
    char host[INET6_ADDRSTRLEN] = "";
    int family = text && strchr(text, ':') ? AF_INET6 : AF_INET;
    unsigned bits = family == AF_INET6 ? 128 : 32;
    uint32_t prefix = 0;
    uint8_t bytes[16] = {0};

    if (!text)
        return false;
    if (!text_print(host, sizeof(host), "%.*s", (int)(slash ? slash - text : (int)strlen(text)), text) ||
        inet_pton(family, host, bytes) != 1) {
        complain(p, "address", NULL, "expected an address with prefix length such as \"10.0.0.100/24\", got \"%.80s\"",
                 text);
        return false;
    }
    if (!slash || !text_to_u32(slash + 1, &prefix) || prefix == 0 || prefix > bits) {
        complain(p, "address", "It is the one of the interface's network, for example /24.",
                 "expected a prefix length of 1 to %u after the address, got \"%.80s\"", bits, text);
        return false;
    }
    fault = family == AF_INET6 ? fault_of_ipv6(bytes) : fault_of_ipv4(bytes, prefix);
    if (fault) {
        complain(p, "address", NULL, "\"%.80s\" %s", text, fault);
        return false;
    }
    (void)inet_ntop(family, bytes, host, sizeof(host)); /* one spelling, so that duplicates are found */
    return text_print(vip->address, sizeof(vip->address), "%s/%u", host, (unsigned)prefix);
}

static bool is_name(const char *text, size_t max)
{
    size_t len = strlen(text);

    return len > 0 && len <= max && strspn(text, NAME_SIGNS) == len && strcmp(text, ".") != 0 &&
           strcmp(text, "..") != 0;
}

static bool read_interface(const struct place *p, struct vip_config *vip)
{
    const char *text = get_string(p, "interface", true);

    if (!text)
        return false;
    if (is_name(text, sizeof(vip->interface) - 1))
        return text_copy(vip->interface, sizeof(vip->interface), text);
    complain(p, "interface", NULL,
             "expected the name of an interface, of 1 to 15 letters, digits and \"-_.\", got \"%.80s\"", text);
    return false;
}

/* The kernel takes a label only with the interface's name in front; ifconfig shows nothing else. */
static void read_label(const struct place *p, struct vip_config *vip)
{
    const char *text = get_string(p, "label", false), *rest;
    size_t len = strlen(vip->interface);

    if (!text || !*vip->interface)
        return;
    rest = strncmp(text, vip->interface, len) == 0 ? text + len : "?";
    if (strchr(vip->address, ':')) {
        complain(p, "label", NULL, "IPv6 addresses have no label");
    } else if ((*rest && (*rest != ':' || !is_name(rest + 1, sizeof(vip->label)))) ||
               strlen(text) >= sizeof(vip->label)) {
        complain(p, "label", NULL, "expected \"%s:\" and letters or digits, 15 signs in all, got \"%.80s\"",
                 vip->interface, text);
    } else {
        (void)text_copy(vip->label, sizeof(vip->label), text);
    }
}

static void read_for(const struct place *p, struct vip_config *vip)
{
    const char *text = get_string(p, "for", false);

    if (!text)
        return;
    vip->for_replica = strcmp(text, "replica") == 0;
    if (!vip->for_replica && strcmp(text, "primary") != 0)
        complain(p, "for", NULL, "expected one of \"primary\", \"replica\", got \"%.80s\"", text);
}

/* The prefix does not make it another address. */
static bool is_same_address(const char *a, const char *b)
{
    size_t len = strcspn(a, "/");

    return len == strcspn(b, "/") && strncmp(a, b, len) == 0;
}

static void read_one(const struct place *p)
{
    struct config *c = &p->loader->draft.c;
    struct vip_config vip = {0};
    bool is_usable;

    check_names(p);
    is_usable = read_address(p, &vip);
    is_usable &= read_interface(p, &vip);
    read_label(p, &vip);
    read_for(p, &vip);
    for (size_t i = 0; is_usable && i < c->n_vips; i++) {
        if (!is_same_address(c->vips[i].address, vip.address))
            continue;
        complain(p, "address", NULL, "address \"%s\" is given twice", vip.address);
        is_usable = false;
    }
    if (is_usable && c->n_vips < ARRAY_LEN(c->vips))
        c->vips[c->n_vips++] = vip;
}

void loader_read_vips(struct loader *l, const config_setting_t *s)
{
    char got[128];

    if (!config_setting_is_list(s)) {
        describe_value(s, false, got, sizeof(got));
        loader_problem(l, PROBLEM_ERROR, s, "vip", NULL, "expected a list of groups ( { ... }, { ... } ), got %s", got);
        return;
    }
    if ((size_t)config_setting_length(s) > ARRAY_LEN(l->draft.c.vips))
        loader_problem(l, PROBLEM_ERROR, s, "vip", NULL, "expected at most %zu addresses, got %d",
                       ARRAY_LEN(l->draft.c.vips), config_setting_length(s));
    for (int i = 0; i < config_setting_length(s); i++) {
        const struct place p = {l, config_setting_get_elem(s, (unsigned)i), i};

        if (config_setting_is_group(p.group)) {
            read_one(&p);
            continue;
        }
        describe_value(p.group, false, got, sizeof(got));
        complain(&p, "", NULL, "expected a group { address = ...; interface = ...; }, got %s", got);
    }
}
