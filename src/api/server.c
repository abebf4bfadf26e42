#include "api/api.h"
#include <errno.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api/listen.h"
#include "api/router.h"
#include "api/tls.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"

enum {
    CONNECTIONS_MAX = 64,
    CONNECTIONS_PER_HOST_MAX = 32, /* one host cannot keep all others out */
    CONNECTION_MEMORY_BYTES = 8192,
    IDLE_TIMEOUT_S = 10,
    REQUEST_BODY_MAX = 64 * 1024,
    PRIORITY = SD_EVENT_PRIORITY_NORMAL + 50, /* after everything that has to do with the lease */
};

/* However fast a client trickles its request: after this its connection ends. */
static const uint64_t connection_lifetime_us = 10 * USEC_PER_SEC;

struct client {
    struct MHD_Connection *connection;
    uint64_t ends_at_us;
    bool ended; /* its socket is shut, libmicrohttpd will report it closed */
    struct client *next;
};

/* One request from its first line to its answer. */
struct exchange {
    struct api_request req;
    int target_error;
    bool headers_seen;
    size_t body_bytes;
};

struct api {
    sd_event *loop;
    const struct config *config;
    struct api_hooks hooks;
    struct MHD_Daemon *daemon;
    struct tls_files tls_files;
    int listen_fd;
    uint16_t port;
    uint64_t started_at_us;
    sd_event_source *io_source;
    sd_event_source *timeout_source;  /* when libmicrohttpd wants to be called next */
    sd_event_source *lifetime_source; /* when the oldest connection ends */
    struct client *oldest, **newest;  /* in the order of their ends */
};

/* --- connections and their end ------------------------------------------------------------------------------------ */

static void run(struct api *a);

static int on_lifetime(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct api *a = userdata;
    uint64_t now_us = clock_now_us();

    (void)source, (void)usec;
    for (struct client *c = a->oldest; c && c->ends_at_us <= now_us; c = c->next) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(c->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

        /* libmicrohttpd has no call to end a connection; it does so itself when it finds the socket shut. */
        if (info && !c->ended)
            (void)shutdown(info->connect_fd, SHUT_RDWR);
        c->ended = true;
    }
    run(a);
    return 0;
}

static void watch_lifetimes(struct api *a)
{
    const struct client *c = a->oldest;

    while (c && c->ended)
        c = c->next;
    if (!c)
        loop_timer_off(a->lifetime_source);
    else if (loop_timer_at(a->loop, &a->lifetime_source, c->ends_at_us, on_lifetime, a) >= 0)
        (void)sd_event_source_set_priority(a->lifetime_source, PRIORITY);
}

static struct client *client_add(struct api *a, struct MHD_Connection *connection)
{
    struct client *c = malloc(sizeof(*c));

    if (!c)
        return NULL;
    *c = (struct client){.connection = connection, .ends_at_us = clock_now_us() + connection_lifetime_us};
    *a->newest = c;
    a->newest = &c->next;
    return c;
}

static void client_remove(struct api *a, struct client *gone)
{
    struct client **at = &a->oldest;

    while (*at != gone)
        at = &(*at)->next;
    *at = gone->next;
    if (a->newest == &gone->next)
        a->newest = at;
    free(gone);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct api *a = cls;
    const union MHD_ConnectionInfo *session;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*socket_context)
            client_remove(a, *socket_context);
        *socket_context = NULL;
        return;
    }
    *socket_context = client_add(a, connection);
    session = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (session && session->tls_session)
        tls_demand_certificate(session->tls_session, &a->config->restapi.tls);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

/* Called with the first line of a request; what it returns is the context of everything that follows. */
static void *on_target(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct exchange *x = calloc(1, sizeof(*x));

    (void)cls, (void)connection;
    if (x)
        x->target_error = target_parse(uri, &x->req.target);
    return x;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    (void)cls, (void)connection, (void)code;
    free(*context);
    *context = NULL;
}

static enum MHD_Result send_response(struct MHD_Connection *connection, const struct api_response *answer)
{
    size_t len = answer->body ? strlen(answer->body) : 0;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        len, answer->body, answer->body ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    enum MHD_Result r;

    if (!response) {
        free(answer->body);
        return MHD_NO;
    }
    if (answer->content_type)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type);
    /* Like the reference, one request per connection: load balancers then see each restart. */
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    r = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return r;
}

static enum MHD_Result send_code(struct MHD_Connection *connection, unsigned status)
{
    return send_response(connection, &(struct api_response){.status = status});
}

static enum MHD_Result answer_now(struct api *a, struct MHD_Connection *connection, const struct exchange *x)
{
    struct node_status status = {0};
    struct api_response answer;

    a->hooks.status(a->hooks.userdata, &status);
    if (!status.loop_ran_at_us)
        status.loop_ran_at_us = a->started_at_us;
    /* After the hook: nothing may be told for an instant that has passed meanwhile (S5). */
    router_answer(&x->req, &status, clock_now_us(), &answer);
    return send_response(connection, &answer);
}

static void note_headers(struct exchange *x, struct MHD_Connection *connection, const char *method)
{
    const char *accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);

    x->headers_seen = true;
    x->req.method = api_method_from_text(method);
    x->req.accepts_html = accept && strstr(accept, "text/html") != NULL;
}

/* Called once when the headers are there, then for each piece of the body, and once more at its end. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *body, size_t *body_len, void **context)
{
    struct api *a = cls;
    struct exchange *x = *context;

    (void)url, (void)version, (void)body;
    if (!x)
        return MHD_NO;
    if (!x->headers_seen) {
        note_headers(x, connection, method);
        return x->target_error ? send_code(connection, MHD_HTTP_URI_TOO_LONG) : MHD_YES;
    }
    if (*body_len) {
        /* Requests with a body are not supported by this version: read it, so that the client reads our answer. */
        x->body_bytes += *body_len;
        *body_len = 0;
        return x->body_bytes > REQUEST_BODY_MAX ? MHD_NO : MHD_YES;
    }
    return answer_now(a, connection, x);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source, (void)usec;
    run(userdata);
    return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    (void)source, (void)fd, (void)events;
    run(userdata);
    return 0;
}

static void run(struct api *a)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;

    if (MHD_run(a->daemon) != MHD_YES)
        log_warning("could not serve the REST API");
    if (MHD_get_timeout(a->daemon, &timeout_ms) != MHD_YES)
        loop_timer_off(a->timeout_source);
    else if (loop_timer_at(a->loop, &a->timeout_source, clock_now_us() + timeout_ms * USEC_PER_MSEC, on_timeout, a) >=
             0)
        (void)sd_event_source_set_priority(a->timeout_source, PRIORITY);
    watch_lifetimes(a);
}

static void on_library_log(void *cls, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_library_log(void *cls, const char *fmt, va_list ap)
{
    char line[256];
    size_t len;

    (void)cls;
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    len = strcspn(line, "\n");
    line[len] = '\0';
    /* Mostly about clients that went away or talk nonsense. */
    log_debug("libmicrohttpd: %s", line);
}

static int start_daemon(struct api *a, struct err *err)
{
    const struct tls_config *tls = &a->config->restapi.tls;
    bool tls_on = tls_is_on(tls);
    unsigned flags = MHD_USE_EPOLL | MHD_USE_ERROR_LOG | (tls_on ? MHD_USE_TLS : 0);
    struct MHD_OptionItem tls_options[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, a->tls_files.certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, a->tls_files.key},
        {a->tls_files.trusted ? MHD_OPTION_HTTPS_MEM_TRUST : MHD_OPTION_END, 0, a->tls_files.trusted},
        {MHD_OPTION_END, 0, NULL},
    };
    struct MHD_OptionItem key_password[] = {
        {tls_on && tls->keyfile_password ? MHD_OPTION_HTTPS_KEY_PASSWORD : MHD_OPTION_END, 0, tls->keyfile_password},
        {MHD_OPTION_END, 0, NULL},
    };

    if (!tls_on)
        tls_options[0].option = MHD_OPTION_END;
    a->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, a, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, a, MHD_OPTION_LISTEN_SOCKET,
        a->listen_fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_PER_HOST_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_STRICT_FOR_CLIENT, -1,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, a, MHD_OPTION_NOTIFY_COMPLETED, on_completed, a,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, a, MHD_OPTION_ARRAY, tls_options, MHD_OPTION_ARRAY, key_password,
        MHD_OPTION_END);
    if (a->daemon)
        a->listen_fd = -1; /* libmicrohttpd closes it from now on */
    else if (tls_on)
        return err_set(err, -EINVAL, "could not start the REST API; is \"%s\" a certificate and does its key match?",
                       tls->certfile);
    else
        return err_set(err, -EIO, "could not start the REST API");
    return 0;
}

static int attach(struct api *a, struct err *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(a->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int r;

    if (!info || info->epoll_fd < 0)
        return err_set(err, -ENOSYS, "libmicrohttpd was built without epoll");
    r = sd_event_add_io(a->loop, &a->io_source, info->epoll_fd, EPOLLIN, on_io, a);
    if (r < 0)
        return err_sys(err, r, "could not watch the REST API");
    (void)sd_event_source_set_priority(a->io_source, PRIORITY);
    run(a);
    return 0;
}

int api_new(sd_event *loop, const struct config *config, const struct api_hooks *hooks, struct api **ret,
            struct err *err)
{
    CLEANUP(api_freep) struct api *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return err_set(err, -ENOMEM, "out of memory");
    a->listen_fd = -1;
    a->loop = sd_event_ref(loop);
    a->config = config;
    a->hooks = *hooks;
    a->newest = &a->oldest;
    a->started_at_us = clock_now_us();

    if (tls_is_on(&config->restapi.tls)) {
        r = tls_files_load(&a->tls_files, &config->restapi.tls, err);
        if (r < 0)
            return r;
    }
    a->listen_fd = listen_tcp(config->restapi.listen_host, config->restapi.listen_port, err);
    if (a->listen_fd < 0)
        return a->listen_fd;
    a->port = listen_port(a->listen_fd);
    r = start_daemon(a, err);
    if (r < 0)
        return r;
    r = attach(a, err);
    if (r < 0)
        return r;
    *ret = STEAL(a);
    return 0;
}

uint16_t api_port(const struct api *a)
{
    return a->port;
}

struct api *api_free(struct api *a)
{
    if (!a)
        return NULL;
    a->io_source = loop_source_free(a->io_source);
    a->timeout_source = loop_source_free(a->timeout_source);
    a->lifetime_source = loop_source_free(a->lifetime_source);
    if (a->daemon)
        MHD_stop_daemon(a->daemon);
    if (a->listen_fd >= 0)
        (void)close(a->listen_fd);
    tls_files_done(&a->tls_files);
    sd_event_unref(a->loop);
    free(a);
    return NULL;
}
