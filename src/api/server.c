#include "api/api.h"
#include <errno.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api/listen.h"
#include "api/private.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"

enum {
    CONNECTIONS_MAX = 64,
    CONNECTIONS_PER_HOST_MAX = 32, /* one host cannot keep all others out */
    CONNECTION_MEMORY_BYTES = 8192,
    IDLE_TIMEOUT_S = 10,
    PRIORITY = SD_EVENT_PRIORITY_NORMAL + 50, /* after everything that has to do with the lease */
};

/* However fast a client trickles its request: after this its connection ends. */
static const uint64_t connection_lifetime_us = 10 * USEC_PER_SEC;

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
        if (c->waits)
            continue;
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

    while (c && (c->ended || c->waits))
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

/* It then has its ten seconds from anew, at the end of the list. */
void api_client_waits(struct api *a, struct MHD_Connection *connection, bool waits)
{
    struct client **at = &a->oldest, *c;

    while (*at && (*at)->connection != connection)
        at = &(*at)->next;
    c = *at;
    if (!c)
        return;
    c->waits = waits;
    c->ends_at_us = clock_now_us() + connection_lifetime_us;
    if (!c->next)
        return;
    *at = c->next;
    c->next = NULL;
    *a->newest = c;
    a->newest = &c->next;
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

void api_run_soon(struct api *a)
{
    if (loop_timer_at(a->loop, &a->timeout_source, clock_now_us(), on_timeout, a) >= 0)
        (void)sd_event_source_set_priority(a->timeout_source, PRIORITY);
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
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (tls_on ? MHD_USE_TLS : 0);
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
        flags, 0, NULL, NULL, request_more, a, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, a, MHD_OPTION_LISTEN_SOCKET,
        a->listen_fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_PER_HOST_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_STRICT_FOR_CLIENT, -1,
        MHD_OPTION_URI_LOG_CALLBACK, request_begin, a, MHD_OPTION_NOTIFY_COMPLETED, request_end, a,
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
    r = access_new(config, &a->access, err);
    if (r < 0)
        return r;
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
    request_let_all_go(a);
    if (a->daemon)
        MHD_stop_daemon(a->daemon);
    a->access = access_free(a->access);
    if (a->listen_fd >= 0)
        (void)close(a->listen_fd);
    tls_files_done(&a->tls_files);
    sd_event_unref(a->loop);
    free(a);
    return NULL;
}
