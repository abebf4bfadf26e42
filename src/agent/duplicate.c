/*
 * S9: two nodes with one name. Whoever starts second finds the member key of the first: if its REST API, at another
 * address than ours, answers anything at all, that node lives and we must not. Who does not answer may live all the
 * same (agent/identity.c).
 */
#include "agent/parts.h"
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

enum { ASK_TIMEOUT_US = 3000000 };

static void on_answer(void *userdata, const struct http_answer *answer)
{
    struct agent *a = userdata;

    a->identity.asking = false;
    if (answer->error)
        return;
    log_error("there is already a node named \"%s\" running at %s", a->config->name, answer->endpoint);
    log_error("HINT: every node of a cluster needs a name of its own: change \"name\" in \"%s\"", a->config->path);
    agent_exit(a, AGENT_EXIT_CONFIG);
}

/* "http://10.0.0.1:8008/patroni" without its path. */
bool agent_base_url(const char *api_url, char *buf, size_t size)
{
    const char *host = strstr(api_url, "://");
    size_t len;

    if (!host)
        return false;
    len = (size_t)(host - api_url) + 3 + strcspn(host + 3, "/");
    return text_print(buf, size, "%.*s", (int)len, api_url);
}

void duplicate_check(struct agent *a, const struct member *m)
{
    char own_url[URL_SIZE], url[URL_SIZE];
    const char *const endpoints[] = {url, NULL};
    struct http_call call = {.method = "GET", .endpoints = endpoints, .path = "/liveness", .idempotent = true};
    struct err err = {0};

    if (!agent_base_url(m->api_url, url, sizeof(url)))
        return;
    agent_api_url(a, own_url, sizeof(own_url));
    if (text_starts_with(own_url, url))
        return;
    call.deadline_us = clock_now_us() + ASK_TIMEOUT_US;
    if (http_start(a->http, &call, NULL, on_answer, a, NULL, &err) < 0)
        log_warning("could not ask whether another node has the name \"%s\": %s", a->config->name, err.msg);
    else
        a->identity.asking = true;
}
