#include "api/access.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include "base/text.h"

/* IPv4 as IPv6 has it, ::ffff:a.b.c.d, so that one comparison serves both and a dual-stack socket's clients. */
struct network {
    unsigned char bytes[16];
    unsigned prefix;
};

struct access_rules {
    const struct config *config;
    struct network *networks;
    size_t n;
    char *made_of; /* the list as one text */
};

enum { MAPPED_BITS = 96 };

static bool network_of_sockaddr(const struct sockaddr *a, struct network *ret)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

    *ret = (struct network){.prefix = 128};
    if (a && a->sa_family == AF_INET6) {
        memcpy(ret->bytes, &((const struct sockaddr_in6 *)a)->sin6_addr, sizeof(ret->bytes));
    } else if (a && a->sa_family == AF_INET) {
        memcpy(ret->bytes, mapped, sizeof(mapped));
        memcpy(ret->bytes + sizeof(mapped), &((const struct sockaddr_in *)a)->sin_addr, 4);
    } else {
        return false;
    }
    return true;
}

static bool network_of_literal(const char *host, struct network *ret)
{
    struct sockaddr_storage any = {.ss_family = AF_INET};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&any;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&any;

    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1)
        return network_of_sockaddr((const struct sockaddr *)&any, ret);
    any = (struct sockaddr_storage){.ss_family = AF_INET6};
    return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1 && network_of_sockaddr((const struct sockaddr *)&any, ret);
}

static bool network_has(const struct network *net, const struct network *address)
{
    unsigned whole = net->prefix / 8, rest = net->prefix % 8;
    unsigned char mask = (unsigned char)(0xff00 >> rest);

    return memcmp(net->bytes, address->bytes, whole) == 0 &&
           (!rest || (net->bytes[whole] & mask) == (address->bytes[whole] & mask));
}

static int add_network(struct access_rules *r, const struct network *net, struct err *err)
{
    struct network *more = realloc(r->networks, (r->n + 1) * sizeof(*more));

    if (!more)
        return err_set(err, -ENOMEM, "out of memory");
    r->networks = more;
    r->networks[r->n++] = *net;
    return 0;
}

/* "10.0.0.0/8": an address with the number of bits that count. */
static int add_cidr(struct access_rules *r, const char *text, struct err *err)
{
    struct network net;
    char host[64];
    size_t len = strcspn(text, "/");
    uint32_t bits;
    unsigned extra;

    if (!text_print(host, sizeof(host), "%.*s", (int)len, text) || !network_of_literal(host, &net))
        return err_set(err, -EINVAL, "restapi.allowlist: \"%s\" is no network", text);
    extra = strchr(host, ':') ? 0 : MAPPED_BITS;
    if (!text_to_u32(text + len + 1, &bits) || bits > 128 - extra)
        return err_set(err, -EINVAL, "restapi.allowlist: \"%s\" has no valid prefix length", text);
    net.prefix = bits + extra;
    return add_network(r, &net, err);
}

static int add_host(struct access_rules *r, const char *host, struct err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    struct network net;
    int e = getaddrinfo(host, NULL, &hints, &list), result = 0;

    if (e)
        return err_set(err, -EINVAL, "restapi.allowlist: could not resolve \"%s\": %s", host, gai_strerror(e));
    for (struct addrinfo *a = list; a && result >= 0; a = a->ai_next)
        if (network_of_sockaddr(a->ai_addr, &net))
            result = add_network(r, &net, err);
    freeaddrinfo(list);
    return result;
}

static char *join(const struct string_list *list)
{
    struct textbuf b = {0};

    for (size_t i = 0; i < list->n; i++)
        textbuf_printf(&b, "%s\n", list->items[i]);
    return textbuf_take(&b);
}

bool access_has_names(const struct config *config)
{
    const struct string_list *list = &config->restapi.allowlist;
    struct network net;

    for (size_t i = 0; i < list->n; i++)
        if (!strchr(list->items[i], '/') && !network_of_literal(list->items[i], &net))
            return true;
    return false;
}

bool access_is_of(const struct access_rules *r, const struct config *config)
{
    CLEANUP(freep) char *list = join(&config->restapi.allowlist);

    return text_equal(list, r->made_of);
}

int access_new(const struct config *config, struct access_rules **ret, struct err *err)
{
    CLEANUP(access_freep) struct access_rules *r = calloc(1, sizeof(*r));
    const struct string_list *list = &config->restapi.allowlist;
    int e = 0;

    if (!r)
        return err_set(err, -ENOMEM, "out of memory");
    r->config = config;
    r->made_of = join(list);
    if (!r->made_of)
        return err_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < list->n && e >= 0; i++)
        e = strchr(list->items[i], '/') ? add_cidr(r, list->items[i], err) : add_host(r, list->items[i], err);
    if (e < 0)
        return e;
    *ret = STEAL(r);
    return 0;
}

struct access_rules *access_free(struct access_rules *r)
{
    if (!r)
        return NULL;
    free(r->networks);
    free(r->made_of);
    free(r);
    return NULL;
}

/* --- the rules, in the reference's order -------------------------------------------------------------------------- */

/* Only members whose api_url has an address, not a name: nothing is resolved while a client waits. */
static bool is_of_a_member(const struct cluster *cluster, const struct network *address)
{
    for (size_t i = 0; cluster && i < cluster->n_members; i++) {
        const char *host = strstr(cluster->members[i].api_url, "://");
        struct network member;
        char text[HOST_SIZE];
        size_t len;

        if (!host)
            continue;
        host += strlen("://");
        len = *host == '[' ? strcspn(++host, "]") : strcspn(host, ":/");
        if (text_print(text, sizeof(text), "%.*s", (int)len, host) && network_of_literal(text, &member) &&
            network_has(&member, address))
            return true;
    }
    return false;
}

static bool address_may_pass(const struct access_rules *r, const struct cluster *cluster,
                             const struct access_client *client)
{
    bool members = r->config->restapi.allowlist_include_members && !client->members_do_not_count;
    struct network address;

    if (!r->n && !members)
        return true;
    if (!network_of_sockaddr(client->address, &address))
        return false;
    for (size_t i = 0; i < r->n; i++)
        if (network_has(&r->networks[i], &address))
            return true;
    return members && is_of_a_member(cluster, &address);
}

/* Takes as long for a wrong text as for the right one. */
static bool secret_equal(const char *secret, const char *given)
{
    size_t len = strlen(secret), given_len = strlen(given);
    unsigned char differs = len != given_len;

    for (size_t i = 0; i < given_len; i++)
        differs |= (unsigned char)(given[i] ^ secret[i < len ? i : len]);
    return !differs;
}

struct access_verdict access_check(const struct access_rules *r, const struct cluster *cluster,
                                   const struct access_client *client)
{
    const char *user = r->config->restapi.username, *password = r->config->restapi.password;
    const char *verify = r->config->restapi.tls.verify_client;

    if (!address_may_pass(r, cluster, client))
        return (struct access_verdict){403, "Access is denied"};
    if (r->config->restapi.tls.certfile && !client->has_certificate &&
        (text_equal(verify, "required") || text_equal(verify, "optional")))
        return (struct access_verdict){403, "client certificate required"};
    if (!user || !password)
        return (struct access_verdict){0};
    if (!client->user)
        return (struct access_verdict){401, "no auth header received"};
    if (!secret_equal(user, client->user) || !secret_equal(password, client->password ? client->password : ""))
        return (struct access_verdict){401, "not authenticated"};
    return (struct access_verdict){0};
}
