/* Whom to ask: the endpoints of an etcd cluster and what became of them lately. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "dcs/etcd3_internal.h"

/* How long an endpoint that failed is asked last. */
#define AVOID_US (UINT64_C(10) * USEC_PER_SEC)

static struct etcd3_endpoint *find(struct etcd3_endpoints *l, const char *url)
{
    for (size_t i = 0; url && i < l->n; i++)
        if (strcmp(l->items[i].url, url) == 0)
            return &l->items[i];
    return NULL;
}

int etcd3_endpoints_add(struct etcd3_endpoints *l, const char *url, bool configured)
{
    size_t len = strlen(url);
    char *copy;

    while (len && url[len - 1] == '/')
        len--;
    copy = strndup(url, len);
    if (!copy)
        return -ENOMEM;
    if (find(l, copy) || l->n >= ETCD3_ENDPOINTS_MAX) {
        bool full = !find(l, copy);

        free(copy);
        return full ? -ENOSPC : 0;
    }
    l->items[l->n++] = (struct etcd3_endpoint){.url = copy, .configured = configured};
    return 0;
}

void etcd3_endpoints_done(struct etcd3_endpoints *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i].url);
    *l = (struct etcd3_endpoints){0};
}

void etcd3_endpoints_answered(struct etcd3_endpoints *l, const char *url, uint64_t now_us)
{
    struct etcd3_endpoint *endpoint = find(l, url);

    if (!endpoint)
        return;
    endpoint->answered_at_us = now_us;
    endpoint->failed_at_us = 0;
    l->preferred = (size_t)(endpoint - l->items);
}

void etcd3_endpoints_failed(struct etcd3_endpoints *l, const char *url, const char *why, uint64_t now_us)
{
    struct etcd3_endpoint *endpoint = find(l, url);

    if (!endpoint)
        return;
    endpoint->failed_at_us = now_us;
    (void)text_copy(endpoint->failure, sizeof(endpoint->failure), why);
    endpoint->failure[strcspn(endpoint->failure, "\n")] = '\0'; /* without its HINT: one line per endpoint */
}

static bool failed_lately(const struct etcd3_endpoint *endpoint, uint64_t now_us)
{
    return endpoint->failed_at_us && clock_rest_us(endpoint->failed_at_us, now_us) < AVOID_US;
}

void etcd3_endpoints_order(const struct etcd3_endpoints *l, uint64_t now_us, const char *ret[ETCD3_ENDPOINTS_MAX + 1])
{
    size_t n = 0;

    for (int late = 0; late < 2; late++)
        for (size_t i = 0; i < l->n; i++) {
            const struct etcd3_endpoint *endpoint = &l->items[(l->preferred + i) % l->n];

            if (failed_lately(endpoint, now_us) == (late == 1))
                ret[n++] = endpoint->url;
        }
    ret[n] = NULL;
}

/* The host of a base URL lies between "://" and the next ':' or '/'; brackets belong to it. */
static bool is_own_host_only(const char *url)
{
    static const char *const hosts[] = {"localhost", "127.", "0.0.0.0", "[::1]", "[::]"};
    const char *host = strstr(url, "://");

    if (!host)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        if (text_starts_with(host + 3, hosts[i]))
            return true;
    return false;
}

static bool is_usable(const struct etcd3_endpoints *l, const char *url)
{
    bool encrypted = text_starts_with(url, "https://"), may_be_own_host = false;

    if (!encrypted && !text_starts_with(url, "http://"))
        return false;
    for (size_t i = 0; i < l->n; i++) {
        if (!l->items[i].configured)
            continue;
        if (!encrypted && text_starts_with(l->items[i].url, "https://"))
            return false;
        may_be_own_host |= is_own_host_only(l->items[i].url);
    }
    return may_be_own_host || !is_own_host_only(url);
}

static bool is_listed(const json_t *members, const char *url)
{
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *urls = json_object_get(json_array_get(members, i), "clientURLs");

        for (size_t j = 0; j < json_array_size(urls); j++) {
            const char *text = json_string_value(json_array_get(urls, j));

            if (text && strcmp(text, url) == 0)
                return true;
        }
    }
    return false;
}

/* Removes discovered endpoints that are not members any more. */
static void drop_gone(struct etcd3_endpoints *l, const json_t *members)
{
    for (size_t i = l->n; i-- > 0;) {
        if (l->items[i].configured || is_listed(members, l->items[i].url))
            continue;
        free(l->items[i].url);
        l->n--;
        memmove(&l->items[i], &l->items[i + 1], (l->n - i) * sizeof(l->items[0]));
        if (l->preferred >= i)
            l->preferred = l->preferred == i ? 0 : l->preferred - 1;
    }
}

void etcd3_endpoints_discovered(struct etcd3_endpoints *l, const json_t *members)
{
    if (json_array_size(members) == 0)
        return;
    drop_gone(l, members);
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *urls = json_object_get(json_array_get(members, i), "clientURLs");

        for (size_t j = 0; j < json_array_size(urls); j++) {
            const char *url = json_string_value(json_array_get(urls, j));

            if (url && strlen(url) < 256 && is_usable(l, url))
                (void)etcd3_endpoints_add(l, url, false);
        }
    }
}

void etcd3_endpoints_describe(const struct etcd3_endpoints *l, uint64_t now_us, char *buf, size_t size)
{
    size_t used = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < l->n && used + 1 < size; i++) {
        const struct etcd3_endpoint *p = &l->items[i];
        const char *mark = i == l->preferred && p->answered_at_us && !p->failed_at_us ? " (in use)" : "";

        if (p->failed_at_us)
            (void)text_print(buf + used, size - used, "%s: failed %" PRIu64 " s ago: %s\n", p->url,
                             clock_rest_us(p->failed_at_us, now_us) / USEC_PER_SEC, p->failure);
        else if (p->answered_at_us)
            (void)text_print(buf + used, size - used, "%s: answered %" PRIu64 " s ago%s\n", p->url,
                             clock_rest_us(p->answered_at_us, now_us) / USEC_PER_SEC, mark);
        else
            (void)text_print(buf + used, size - used, "%s: not asked yet%s\n", p->url,
                             p->configured ? "" : " (discovered)");
        used += strlen(buf + used);
    }
}
