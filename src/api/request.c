/* One request from its first line to its answer, as libmicrohttpd brings it. */
#include <gnutls/gnutls.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "api/private.h"
#include "api/router.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

enum { REQUEST_BODY_MAX = 64 * 1024 };

struct exchange {
    struct api_request req;
    int target_error;
    bool headers_seen;
    bool has_length;
    struct textbuf body;
    struct call *call; /* a command that was handed on and not answered yet */
    bool answered;     /* it was: */
    struct command_answer answer;
};

/*
 * A command on its way. It belongs to whoever has to answer it; the connection may be gone by then (exchange is NULL),
 * or the whole server.
 */
struct call {
    struct command command; /* first: the agent knows only this */
    struct api *api;
    struct exchange *exchange;
    struct MHD_Connection *connection;
    char *body;
    bool suspended;
    struct call *next;
};

void *request_begin(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct exchange *x = calloc(1, sizeof(*x));

    (void)cls, (void)connection;
    if (x)
        x->target_error = target_parse(uri, &x->req.target);
    return x;
}

void request_end(void *cls, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *context;

    (void)cls, (void)connection, (void)code;
    if (!x)
        return;
    if (x->call)
        x->call->exchange = NULL;
    textbuf_done(&x->body);
    free(x->answer.body);
    free(x);
    *context = NULL;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

/* Takes over answer->body. */
static enum MHD_Result send_answer(struct MHD_Connection *connection, struct command_answer *answer)
{
    size_t len = answer->body ? strlen(answer->body) : 0;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        len, answer->body, answer->body ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    enum MHD_Result r;

    if (!response)
        free(answer->body);
    answer->body = NULL;
    if (!response)
        return MHD_NO;
    if (answer->content_type)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type);
    if (answer->header)
        (void)MHD_add_response_header(response, answer->header, answer->header_value);
    if (answer->status == MHD_HTTP_UNAUTHORIZED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Basic realm=\"Patroni\"");
    /* Like the reference, one request per connection: load balancers then see each restart. */
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    r = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return r;
}

static enum MHD_Result send_sentence(struct MHD_Connection *connection, unsigned status, const char *sentence)
{
    struct command_answer answer = {.status = status, .content_type = "text/html", .body = strdup(sentence)};

    return send_answer(connection, &answer);
}

static void take_status(struct api *a, struct node_status *ret)
{
    *ret = (struct node_status){0};
    a->hooks.status(a->hooks.userdata, ret);
    if (!ret->loop_ran_at_us)
        ret->loop_ran_at_us = a->started_at_us;
}

static enum MHD_Result answer_now(struct api *a, struct MHD_Connection *connection, const struct exchange *x)
{
    struct command_answer answer = {0};
    struct api_response response;
    struct node_status status;

    take_status(a, &status);
    /* After the hook: nothing may be told for an instant that has passed meanwhile (S5). */
    router_answer(&x->req, &status, clock_now_us(), &response);
    answer.status = response.status;
    answer.content_type = response.content_type;
    answer.body = response.body;
    return send_answer(connection, &answer);
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static void forget_call(struct call *gone)
{
    struct call **at = &gone->api->waiting;

    while (*at != gone)
        at = &(*at)->next;
    *at = gone->next;
}

static void on_answer(struct command *command, struct command_answer *answer)
{
    struct call *c = (struct call *)command;
    struct exchange *x = c->exchange;

    if (c->api)
        forget_call(c);
    if (x) {
        x->answer = *answer;
        x->answered = true;
        x->call = NULL;
    } else {
        free(answer->body);
    }
    if (c->suspended && c->api) {
        api_client_waits(c->api, c->connection, false);
        MHD_resume_connection(c->connection);
        api_run_soon(c->api);
    }
    *answer = (struct command_answer){0};
    free(c->body);
    free(c);
}

void request_let_all_go(struct api *a)
{
    while (a->waiting) {
        struct call *c = a->waiting;

        a->waiting = c->next;
        c->api = NULL;
        if (c->exchange)
            c->exchange->call = NULL;
        c->exchange = NULL;
        if (c->suspended)
            MHD_resume_connection(c->connection); /* or libmicrohttpd would not end */
    }
}

static bool is_object(const char *text, size_t len)
{
    json_t *json = json_loadb(text, len, 0, NULL);
    bool yes = json_is_object(json);

    json_decref(json);
    return yes;
}

static enum MHD_Result hand_on(struct api *a, struct MHD_Connection *connection, struct exchange *x,
                               enum command_kind kind)
{
    struct call *c = calloc(1, sizeof(*c));

    if (c && x->body.len)
        c->body = strndup(x->body.data, x->body.len);
    if (!c || (x->body.len && !c->body)) {
        free(c);
        return MHD_NO;
    }
    c->command = (struct command){.kind = kind, .body = c->body, .answer = on_answer};
    c->api = a;
    c->exchange = x;
    c->connection = connection;
    c->next = a->waiting;
    a->waiting = c;
    x->call = c;
    a->hooks.command(a->hooks.userdata, &c->command);
    if (x->answered)
        return send_answer(connection, &x->answer);
    c->suspended = true;
    api_client_waits(a, connection, true);
    MHD_suspend_connection(connection);
    return MHD_YES;
}

static struct access_verdict may_pass(struct api *a, struct MHD_Connection *connection, enum command_kind kind)
{
    const union MHD_ConnectionInfo *address = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const union MHD_ConnectionInfo *tls = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    struct access_client client = {.address = address ? address->client_addr : NULL,
                                   .members_do_not_count = kind == COMMAND_FAILSAFE};
    struct access_verdict verdict;
    struct node_status status;
    char *user, *password = NULL;
    unsigned n = 0;

    client.has_certificate =
        tls && tls->tls_session && gnutls_certificate_get_peers((gnutls_session_t)tls->tls_session, &n) && n;
    user = MHD_basic_auth_get_username_password(connection, &password);
    client.user = user;
    client.password = password;
    take_status(a, &status);
    verdict = access_check(a->access, status.cluster, &client);
    if (password)
        explicit_bzero(password, strlen(password));
    MHD_free(user);
    MHD_free(password);
    return verdict;
}

static enum MHD_Result answer_command(struct api *a, struct MHD_Connection *connection, struct exchange *x)
{
    enum command_kind kind = router_command(&x->req);
    struct access_verdict verdict = may_pass(a, connection, kind);

    if (verdict.status)
        return send_sentence(connection, verdict.status, verdict.sentence);
    if (kind == COMMAND_NONE)
        return answer_now(a, connection, x);
    if (router_needs_body(&x->req) && !x->has_length)
        return send_sentence(connection, MHD_HTTP_LENGTH_REQUIRED, "Content-Length is missing");
    if (router_needs_body(&x->req) ? !x->body.len || !is_object(x->body.data, x->body.len)
                                   : x->body.len && !is_object(x->body.data, x->body.len))
        return send_sentence(connection, MHD_HTTP_BAD_REQUEST, "the body is no JSON object");
    return hand_on(a, connection, x, kind);
}

/* --- from libmicrohttpd ------------------------------------------------------------------------------------------- */

static void note_headers(struct exchange *x, struct MHD_Connection *connection, const char *method)
{
    const char *accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);

    x->headers_seen = true;
    x->req.method = api_method_from_text(method);
    x->req.accepts_html = accept && strstr(accept, "text/html") != NULL;
    x->has_length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH) != NULL;
}

/* Called once when the headers are there, then for each piece of the body, once more at its end, and again when a
 * command was answered. */
enum MHD_Result request_more(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                             const char *version, const char *body, size_t *body_len, void **context)
{
    struct api *a = cls;
    struct exchange *x = *context;
    enum command_kind kind;

    (void)url, (void)version;
    if (!x)
        return MHD_NO;
    if (!x->headers_seen) {
        note_headers(x, connection, method);
        if (!x->target_error)
            return MHD_YES;
        return send_answer(connection, &(struct command_answer){.status = MHD_HTTP_URI_TOO_LONG});
    }
    if (*body_len) {
        /* Read to its end, also when it will be refused, so that the client reads our answer. */
        if (x->body.len + *body_len > REQUEST_BODY_MAX)
            return MHD_NO;
        textbuf_append(&x->body, body, *body_len);
        *body_len = 0;
        return x->body.failed ? MHD_NO : MHD_YES;
    }
    if (x->answered)
        return send_answer(connection, &x->answer);
    if (x->call)
        return MHD_YES;
    if (router_access(&x->req) == ROUTE_PROTECTED)
        return answer_command(a, connection, x);
    kind = router_command(&x->req);
    return kind == COMMAND_NONE ? answer_now(a, connection, x) : hand_on(a, connection, x, kind);
}
