#include "ctl/rest.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"

enum { GET_PATIENCE_S = 5 };

void rest_answer_done(struct rest_answer *a)
{
    free(a->body);
    *a = (struct rest_answer){0};
}

void rest_base_url(const char *api_url, char *buf, size_t size)
{
    const char *host = strstr(api_url, "://");
    size_t len = host ? (size_t)(host - api_url) + 3 + strcspn(host + 3, "/") : strlen(api_url);

    (void)text_copy(buf, size, api_url);
    if (len < size)
        buf[len] = '\0';
}

/* The server's own certificate serves as the client's when no other is named and this user may use it. */
struct http_tls rest_tls(const struct ctl *ctl)
{
    const struct config *c = ctl->config;
    const struct tls_config *server = &c->restapi.tls;
    struct http_tls tls = {.ca_file = c->ctl.cacert ? c->ctl.cacert : server->cafile,
                           .cert_file = c->ctl.certfile,
                           .key_file = c->ctl.keyfile,
                           .key_password = c->ctl.keyfile_password,
                           .insecure = ctl->insecure || c->ctl.insecure};

    if (!tls.cert_file && server->certfile && access(server->keyfile ? server->keyfile : server->certfile, R_OK) == 0) {
        tls.cert_file = server->certfile;
        tls.key_file = server->keyfile;
        tls.key_password = server->keyfile_password;
    }
    return tls;
}

struct http *rest_client(struct ctl *ctl, struct err *err)
{
    struct http_tls tls;

    if (!ctl->http) {
        tls = rest_tls(ctl);
        (void)http_new(ctl->loop, &tls, &ctl->http, err);
    }
    return ctl->http;
}

/* "user:password", NULL if none is configured; the caller wipes and frees. */
static char *credentials(const struct config *c)
{
    const char *username = c->ctl.username ? c->ctl.username : c->restapi.username;
    const char *password = c->ctl.username ? c->ctl.password : c->restapi.password;
    char *both = NULL;

    if (c->ctl.auth && !c->ctl.username)
        return strdup(c->ctl.auth);
    if (!username || asprintf(&both, "%s:%s", username, password ? password : "") < 0)
        return NULL;
    return both;
}

/* --- one call ------------------------------------------------------------------------------------------------------
 */

struct waiting {
    bool answered;
    int error;
    char message[192];
    struct rest_answer answer;
};

static void on_answer(void *userdata, const struct http_answer *a)
{
    struct waiting *w = userdata;

    w->answered = true;
    w->error = a->error;
    (void)text_copy(w->message, sizeof(w->message), a->message);
    w->answer.maybe_executed = a->maybe_executed;
    if (a->error)
        return;
    w->answer.status = a->status;
    w->answer.body = strdup(a->body);
    if (!w->answer.body) {
        w->error = -ENOMEM;
        (void)text_copy(w->message, sizeof(w->message), "out of memory");
    }
}

/* Starts the call and runs the loop until it is over. Returns 0 or -errno. */
static int run(struct ctl *ctl, struct http *http, const struct http_call *call, struct waiting *w, struct err *err)
{
    struct http_request *request = NULL;
    int r = http_start(http, call, NULL, on_answer, w, &request, err);

    if (r < 0)
        return r;
    while (!w->answered && r >= 0)
        r = sd_event_run(ctl->loop, UINT64_MAX);
    if (!w->answered) {
        (void)http_cancel(request);
        return err_sys(err, r, "could not run the event loop");
    }
    return w->error ? err_set(err, w->error, "%s", w->message) : 0;
}

/* The message of the client has the address. */
static int say_unreachable(const struct member *m, struct err *err)
{
    struct err why = *err;

    return err_set(err, why.code, "could not reach %s's REST API: %.190s%s", m->name, why.msg,
                   why.code == -EPROTO ? "" : "; is the agent running?");
}

/*
 * Whether anybody answers at all, whatever: a request that may take minutes is not worth waiting for where the host is
 * gone, and what was not sent was certainly not executed.
 */
static int knock(struct ctl *ctl, struct http *http, const char *const *endpoints, struct err *err)
{
    const struct http_call call = {.method = "GET",
                                   .endpoints = endpoints,
                                   .path = "/liveness",
                                   .deadline_us = clock_now_us() + GET_PATIENCE_S * USEC_PER_SEC};
    struct waiting w = {0};
    int r = run(ctl, http, &call, &w, err);

    free(w.answer.body);
    return r;
}

int rest_ask(struct ctl *ctl, const struct member *m, const struct rest_call *call, struct rest_answer *ret,
             struct err *err)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    char base_url[URL_SIZE];
    const char *const endpoints[] = {base_url, NULL};
    char *body = call->body ? json_dumps(call->body, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_PRESERVE_ORDER) : NULL;
    char *user_password = credentials(ctl->config);
    struct http_call http_call = {.method = call->method,
                                  .endpoints = endpoints,
                                  .path = call->path,
                                  .headers = body ? headers : NULL,
                                  .user_password = user_password,
                                  .body = body,
                                  .body_len = body ? strlen(body) : 0,
                                  .stream = !call->timeout_us};
    struct http *http = rest_client(ctl, err);
    struct waiting w = {0};
    int r = http ? 0 : err->code;

    *ret = (struct rest_answer){0};
    rest_base_url(m->api_url, base_url, sizeof(base_url));
    if (r == 0 && call->body && !body)
        r = err_set(err, -ENOMEM, "out of memory");
    else if (r == 0 && !*base_url)
        r = err_set(err, -ENXIO, "%s has published no address of a REST API; is the agent running?", m->name);
    else if (r == 0 && strcmp(call->method, "GET") != 0 && knock(ctl, http, endpoints, err) < 0)
        r = say_unreachable(m, err);
    if (r == 0) {
        http_call.deadline_us = call->timeout_us ? clock_now_us() + call->timeout_us : 0;
        r = run(ctl, http, &http_call, &w, err) < 0 ? say_unreachable(m, err) : 0;
    }
    *ret = w.answer;
    json_decref(call->body);
    free(body);
    if (user_password)
        explicit_bzero(user_password, strlen(user_password));
    free(user_password);
    return r;
}

json_t *rest_get(struct ctl *ctl, const struct member *m, const char *path, struct err *err)
{
    struct rest_call call = {.method = "GET", .path = path, .timeout_us = GET_PATIENCE_S * USEC_PER_SEC};
    struct rest_answer a;
    json_t *json = NULL;

    if (rest_ask(ctl, m, &call, &a, err) == 0) {
        json = a.status / 100 == 2 ? json_loads(a.body, 0, NULL) : NULL;
        if (!json)
            (void)err_set(err, -EBADMSG, "%s answered %s with status %d and no JSON", m->name, path, a.status);
    }
    rest_answer_done(&a);
    return json;
}

bool rest_say(const struct rest_answer *a, const struct member *m, const char *action, bool silent)
{
    if (a->status >= 400)
        printf("Failed: %s for member %s, status code=%d, (%s)\n", action, m->name, a->status, a->body);
    else if (!silent)
        printf("Success: %s for member %s\n", action, m->name);
    return a->status < 400;
}

int rest_failed(const struct member *m, const char *action, const struct err *err)
{
    return ctl_fail("%s for member %s: %s", action, m->name, err->msg);
}

int rest_tell(struct ctl *ctl, const struct member *m, const char *method, const char *path, json_t *body,
              const char *action, bool silent)
{
    struct rest_call call = {.method = method, .path = path, .body = body, .timeout_us = REST_PATIENCE_US};
    struct rest_answer a = {0};
    struct err err = {0};
    int exit_code = EXIT_DONE;

    if (rest_ask(ctl, m, &call, &a, &err) < 0)
        exit_code = rest_failed(m, action, &err);
    else
        (void)rest_say(&a, m, action, silent);
    rest_answer_done(&a);
    return exit_code;
}
