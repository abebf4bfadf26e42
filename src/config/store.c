/* The section of the store: endpoints in all their spellings become a list of base URLs. */
#include <string.h>
#include "base/text.h"
#include "config/address.h"
#include "config/lists.h"
#include "config/loader.h"

enum { ETCD_PORT = 2379 };

static void add_endpoint(struct loader *l, const char *path, const char *text)
{
    const char *scheme = l->draft.etcd3.protocol ? l->draft.etcd3.protocol : "http";
    uint16_t port = l->draft.etcd3.port ? (uint16_t)l->draft.etcd3.port : ETCD_PORT;
    char url[URL_SIZE];

    if (!address_print_url(text, scheme, port, url, sizeof(url)))
        loader_problem_of(l, PROBLEM_ERROR, path, "Write IPv6 addresses in brackets.",
                          "expected \"host:port\", got \"%.80s\"", text);
    else if (!strings_add(&l->draft.c.dcs.hosts, url))
        l->out_of_memory = true;
}

/* One string may have several endpoints, separated by commas. */
static void add_endpoints(struct loader *l, const char *path, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, ",");
        char one[URL_SIZE];
        const char *begin = text + strspn(text, " ");
        size_t width = len >= (size_t)(begin - text) ? len - (size_t)(begin - text) : 0;

        while (width > 0 && begin[width - 1] == ' ')
            width--;
        (void)text_print(one, sizeof(one), "%.*s", (int)(width < sizeof(one) ? width : sizeof(one)), begin);
        add_endpoint(l, path, one);
        text += len + (text[len] == ',');
    }
}

static void check_combination(struct loader *l)
{
    bool has_hosts = loader_has(l, "etcd3.host") || loader_has(l, "etcd3.hosts") || loader_has(l, "etcd3.url");

    if (!loader_has(l, "etcd3")) {
        loader_problem_of(l, PROBLEM_ERROR, "etcd3", "Add etcd3: { hosts = [ \"host:2379\" ]; };",
                          "is missing: there is no store to coordinate the members");
        return;
    }
    if (!has_hosts && !loader_has(l, "etcd3.proxy") && !loader_has(l, "etcd3.srv"))
        loader_problem_of(l, PROBLEM_ERROR, "etcd3", NULL,
                          "expected \"hosts\", \"host\", \"url\", \"srv\" or \"proxy\"");
    if (has_hosts && loader_has(l, "etcd3.proxy"))
        loader_problem_of(l, PROBLEM_ERROR, "etcd3.proxy", NULL, "cannot be combined with other endpoints");
    if (loader_has(l, "etcd3.password") != loader_has(l, "etcd3.username"))
        loader_problem_of(l, PROBLEM_ERROR, "etcd3", NULL, "\"username\" and \"password\" only work together");
    if (loader_has(l, "etcd3.key") && !loader_has(l, "etcd3.cert"))
        loader_problem_of(l, PROBLEM_ERROR, "etcd3.key", NULL, "needs \"cert\"");
}

/* Certificates say that TLS was meant; without it passwords and the cluster's fate travel in the clear. */
static void check_tls(struct loader *l)
{
    const struct string_list *hosts = &l->draft.c.dcs.hosts;
    bool has_certificates = l->draft.c.dcs.cacert || l->draft.c.dcs.cert;

    for (size_t i = 0; has_certificates && i < hosts->n; i++) {
        if (text_starts_with(hosts->items[i], "https:"))
            continue;
        loader_problem_of(l, PROBLEM_WARNING, l->draft.c.dcs.cacert ? "etcd3.cacert" : "etcd3.cert",
                          "Set etcd3.protocol = \"https\".", "is not used: \"%s\" is not reached through TLS",
                          hosts->items[i]);
        return;
    }
}

void loader_finish_store(struct loader *l)
{
    struct dcs_config *dcs = &l->draft.c.dcs;

    check_combination(l);
    dcs->kind = DCS_KIND_ETCD3;
    dcs->discover_members = !l->draft.etcd3.proxy && !l->draft.etcd3.use_proxies;
    if (l->draft.etcd3.host)
        add_endpoints(l, "etcd3.host", l->draft.etcd3.host);
    for (size_t i = 0; i < l->draft.etcd3.hosts.n; i++)
        add_endpoints(l, "etcd3.hosts", l->draft.etcd3.hosts.items[i]);
    if (l->draft.etcd3.url)
        add_endpoint(l, "etcd3.url", l->draft.etcd3.url);
    if (l->draft.etcd3.proxy)
        add_endpoint(l, "etcd3.proxy", l->draft.etcd3.proxy);
    if (loader_has(l, "etcd3.hosts") && l->draft.etcd3.hosts.n == 0)
        loader_problem_of(l, PROBLEM_ERROR, "etcd3.hosts", NULL, "must not be empty");
    check_tls(l);
    if (l->draft.c.scope)
        loader_set(l, &dcs->scope, l->draft.c.scope);
    if (l->draft.c.name)
        loader_set(l, &dcs->member_name, l->draft.c.name);
    if (l->draft.c.namespace_)
        loader_set(l, &dcs->namespace_, l->draft.c.namespace_);
}
