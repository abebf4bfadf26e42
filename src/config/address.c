#include "config/address.h"
#include <string.h>
#include <strings.h>
#include "base/text.h"
#include "config/config.h"
#include "model/cluster.h"

static bool is_host_text(const char *host, size_t len)
{
    return len > 0 && strcspn(host, " \t\r\n\"'/@,[]\\") >= len;
}

/* The host at the beginning, brackets removed; returns what follows it, or NULL. */
static const char *take_host(const char *text, char *host, size_t size)
{
    bool in_brackets = *text == '[';
    const char *begin = text + in_brackets;
    size_t len = strcspn(begin, in_brackets ? "]" : ":,");

    if ((in_brackets && begin[len] != ']') || !is_host_text(begin, len) ||
        !text_print(host, size, "%.*s", (int)len, begin))
        return NULL;
    return begin + len + in_brackets;
}

bool config_parse_address(const char *text, uint16_t default_port, char *host, size_t host_size, uint16_t *port)
{
    char found[HOST_SIZE];
    const char *rest = take_host(text, found, sizeof(found));
    uint32_t number = default_port;

    if (!rest || (*rest && *rest != ':'))
        return false;
    /* What is left of a bare IPv6 address fails here: "::1:5432" could mean two things. */
    if (*rest && (!text_to_u32(rest + 1, &number) || number == 0 || number > UINT16_MAX))
        return false;
    if (!text_copy(host, host_size, found))
        return false;
    *port = (uint16_t)number;
    return true;
}

bool address_parse_listen(const char *text, uint16_t default_port, char *hosts, size_t size, uint16_t *port)
{
    char host[HOST_SIZE];
    size_t used = 0;

    for (;;) {
        const char *rest;

        text += strspn(text, " ");
        rest = take_host(text, host, sizeof(host));
        if (!rest || !text_print(hosts + used, size - used, "%s%s", used ? "," : "", host))
            return false;
        used += strlen(hosts + used);
        if (*rest != ',')
            return config_parse_address(text, default_port, host, sizeof(host), port);
        text = rest + 1;
    }
}

bool address_is_unspecific(const char *host)
{
    return strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

bool address_is_loopback(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

bool address_pick_specific(const char *hosts, char *host, size_t size)
{
    bool found = false;

    while (*hosts) {
        size_t len = strcspn(hosts, ",");
        char one[HOST_SIZE];

        if (text_print(one, sizeof(one), "%.*s", (int)len, hosts) && !address_is_unspecific(one) &&
            (!found || !address_is_loopback(one))) {
            found = text_copy(host, size, one);
            if (!address_is_loopback(one))
                return found;
        }
        hosts += len + (hosts[len] == ',');
    }
    return found;
}

bool address_print_url(const char *text, const char *scheme, uint16_t default_port, char *url, size_t size)
{
    char rest[URL_SIZE], host[HOST_SIZE];
    const char *colon = strstr(text, "://");
    size_t len;
    uint16_t port;

    if (colon) {
        bool secure = strncasecmp(text, "https://", 8) == 0;

        if (!secure && strncasecmp(text, "http://", 7) != 0)
            return false;
        scheme = secure ? "https" : "http";
        text = colon + 3;
    }
    if (!text_copy(rest, sizeof(rest), text))
        return false;
    len = strlen(rest);
    if (colon && len > 0 && rest[len - 1] == '/')
        rest[len - 1] = '\0';
    if (!config_parse_address(rest, default_port, host, sizeof(host), &port) || address_is_unspecific(host))
        return false;
    return text_print(url, size, strchr(host, ':') ? "%s://[%s]:%u" : "%s://%s:%u", scheme, host, port);
}
