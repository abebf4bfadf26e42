#include "api/router.h"
#include <stdlib.h>
#include <string.h>
#include "api/health.h"
#include "api/render.h"
#include "base/core.h"

/* One question: what was asked, and what is known at the instant of answering. */
struct call {
    const struct api_request *req;
    const struct node_status *n;
    uint64_t now_us;
    struct api_response *ret;
};

static const struct {
    const char *text;
    enum api_method method;
} methods[] = {
    {"GET", API_GET}, {"HEAD", API_HEAD},   {"OPTIONS", API_OPTIONS}, {"POST", API_POST},
    {"PUT", API_PUT}, {"PATCH", API_PATCH}, {"DELETE", API_DELETE},
};

enum api_method api_method_from_text(const char *text)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (strcmp(methods[i].text, text) == 0)
            return methods[i].method;
    return API_OTHER;
}

void api_response_done(struct api_response *r)
{
    free(r->body);
    *r = (struct api_response){0};
}

/* Takes the body over. Without one (memory ran out) nothing can be said but that. */
static void answer(struct call *c, unsigned status, const char *content_type, char *body)
{
    *c->ret = body ? (struct api_response){status, content_type, body} : (struct api_response){.status = 500};
}

static void answer_json(struct call *c, unsigned status, char *body)
{
    answer(c, status, "application/json", body);
}

/* A plain sentence, without a line feed, under the content type that the reference gives it. */
static void answer_sentence(struct call *c, unsigned status, const char *sentence)
{
    answer(c, status, "text/html", strdup(sentence));
}

static void answer_code_only(struct call *c, int status)
{
    *c->ret = (struct api_response){.status = (unsigned)status};
}

static void get_health(struct call *c)
{
    int code = health_code(c->n, c->now_us, &c->req->target);

    /* A browser that opens the address gets the page; the code stays, for monitors that send a browser's headers. */
    if (c->req->accepts_html && strcmp(c->req->target.path, "/") == 0)
        answer(c, (unsigned)code, "text/html; charset=utf-8", render_page(c->n, c->now_us));
    else
        answer_json(c, (unsigned)code, render_status(c->n, c->now_us));
}

static void health_code_only(struct call *c)
{
    answer_code_only(c, health_code(c->n, c->now_us, &c->req->target));
}

static void get_status_page(struct call *c)
{
    answer(c, 200, "text/html; charset=utf-8", render_page(c->n, c->now_us));
}

static void get_patroni(struct call *c)
{
    answer_json(c, 200, render_status(c->n, c->now_us));
}

static void get_liveness(struct call *c)
{
    answer_code_only(c, health_liveness_code(c->n, c->now_us));
}

static void get_readiness(struct call *c)
{
    answer_code_only(c, health_readiness_code(c->n, c->now_us, &c->req->target));
}

static void get_cluster(struct call *c)
{
    if (c->n->cluster)
        answer_json(c, 200, render_cluster(c->n));
    else
        answer_sentence(c, 503, "the store has not answered yet");
}

static void get_history(struct call *c)
{
    const struct cluster *cluster = c->n->cluster;
    char *body = cluster && cluster->history_text.exists ? render_json_text(cluster->history_text.text) : NULL;

    answer_json(c, 200, body ? body : strdup("[]"));
}

static void get_config(struct call *c)
{
    const char *text = c->n->cluster && c->n->cluster->config.exists ? c->n->cluster->config.text : NULL;
    char *body = text && text[strspn(text, " \t\r\n")] == '{' ? render_json_text(text) : NULL;

    if (body)
        answer_json(c, 200, body);
    else
        answer_sentence(c, 502, "there is no valid dynamic configuration in the store");
}

static void get_metrics(struct call *c)
{
    answer(c, 200, "text/plain; version=0.0.4; charset=utf-8", render_metrics(c->n, c->now_us));
}

static void get_failsafe(struct call *c)
{
    char *body = render_failsafe(c->n);

    if (body)
        answer_json(c, 200, body);
    else
        answer_sentence(c, 502, "there is no failsafe list in the store");
}

static void not_supported(struct call *c)
{
    answer_sentence(c, 501, "not supported by this version");
}

/* Found by method and first part of the path; what is not listed goes to the method's default below. */
static const struct route {
    enum api_method method;
    const char *first;
    enum route_access access;
    void (*handle)(struct call *c);
    enum command_kind command;
    bool needs_body;
} routes[] = {
    {API_GET, "patroni", ROUTE_OPEN, get_patroni, COMMAND_NONE, false},
    {API_GET, "liveness", ROUTE_OPEN, get_liveness, COMMAND_NONE, false},
    {API_GET, "readiness", ROUTE_OPEN, get_readiness, COMMAND_NONE, false},
    {API_GET, "cluster", ROUTE_OPEN, get_cluster, COMMAND_NONE, false},
    {API_GET, "history", ROUTE_OPEN, get_history, COMMAND_NONE, false},
    {API_GET, "config", ROUTE_OPEN, get_config, COMMAND_NONE, false},
    {API_GET, "metrics", ROUTE_OPEN, get_metrics, COMMAND_NONE, false},
    {API_GET, "failsafe", ROUTE_OPEN, get_failsafe, COMMAND_NONE, false},
    {API_GET, "status", ROUTE_OPEN, get_status_page},
    {API_GET, "why", ROUTE_OPEN, not_supported, COMMAND_WHY, false},
    {API_PATCH, "config", ROUTE_PROTECTED, not_supported, COMMAND_PATCH_CONFIG, true},
    {API_PUT, "config", ROUTE_PROTECTED, not_supported, COMMAND_PUT_CONFIG, true},
    {API_POST, "reload", ROUTE_PROTECTED, not_supported, COMMAND_RELOAD, false},
    {API_POST, "sigterm", ROUTE_PROTECTED, not_supported, COMMAND_SIGTERM, false},
    {API_POST, "restart", ROUTE_PROTECTED, not_supported, COMMAND_RESTART, false},
    {API_DELETE, "restart", ROUTE_PROTECTED, not_supported, COMMAND_CANCEL_RESTART, false},
    {API_POST, "switchover", ROUTE_PROTECTED, not_supported, COMMAND_SWITCHOVER, true},
    {API_DELETE, "switchover", ROUTE_PROTECTED, not_supported, COMMAND_CANCEL_SWITCHOVER, false},
    {API_POST, "failover", ROUTE_PROTECTED, not_supported, COMMAND_FAILOVER, true},
    {API_POST, "reinitialize", ROUTE_PROTECTED, not_supported, COMMAND_REINITIALIZE, false},
    {API_POST, "failsafe", ROUTE_PROTECTED, not_supported, COMMAND_FAILSAFE, true},
};

static const struct route defaults[] = {
    [API_GET] = {API_GET, NULL, ROUTE_OPEN, get_health, COMMAND_NONE, false},
    [API_HEAD] = {API_HEAD, NULL, ROUTE_OPEN, health_code_only, COMMAND_NONE, false},
    [API_OPTIONS] = {API_OPTIONS, NULL, ROUTE_OPEN, health_code_only, COMMAND_NONE, false},
    [API_POST] = {API_POST, NULL, ROUTE_PROTECTED, not_supported, COMMAND_NONE, false},
    [API_PUT] = {API_PUT, NULL, ROUTE_PROTECTED, not_supported, COMMAND_NONE, false},
    [API_PATCH] = {API_PATCH, NULL, ROUTE_PROTECTED, not_supported, COMMAND_NONE, false},
    [API_DELETE] = {API_DELETE, NULL, ROUTE_PROTECTED, not_supported, COMMAND_NONE, false},
    [API_OTHER] = {API_OTHER, NULL, ROUTE_PROTECTED, not_supported, COMMAND_NONE, false},
};

static const struct route *find(const struct api_request *req)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (routes[i].method == req->method && target_is(&req->target, routes[i].first))
            return &routes[i];
    return &defaults[req->method];
}

enum route_access router_access(const struct api_request *req)
{
    return find(req)->access;
}

enum command_kind router_command(const struct api_request *req)
{
    enum command_kind kind = find(req)->command;

    return kind == COMMAND_WHY && target_param(&req->target, "self") ? COMMAND_WHY_SELF : kind;
}

bool router_needs_body(const struct api_request *req)
{
    return find(req)->needs_body;
}

void router_answer(const struct api_request *req, const struct node_status *n, uint64_t now_us,
                   struct api_response *ret)
{
    struct call c = {req, n, now_us, ret};

    *ret = (struct api_response){0};
    find(req)->handle(&c);
}
