#include "pg/ping.h"
#include <arpa/inet.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/loop.h"
#include "base/text.h"

struct pg_ping {
    int fd;
    sd_event_source *io, *timer;
    bool asked;
    pg_ping_fn done;
    void *userdata;
};

struct address {
    struct sockaddr_storage storage;
    socklen_t len;
};

static bool resolve(const char *host, uint16_t port, struct address *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&ret->storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ret->storage;
    struct sockaddr_un *local = (struct sockaddr_un *)&ret->storage;

    *ret = (struct address){0};
    if (host[0] == '/') {
        local->sun_family = AF_UNIX;
        ret->len = sizeof(*local);
        return text_print(local->sun_path, sizeof(local->sun_path), "%s/.s.PGSQL.%u", host, port);
    }
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        ret->len = sizeof(*v4);
        return true;
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    ret->len = sizeof(*v6);
    return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1;
}

static void finish(struct pg_ping *p, int code, const char *what)
{
    struct err err = {0};

    p->io = loop_source_free(p->io);
    p->timer = loop_source_free(p->timer);
    if (code < 0)
        (void)err_sys(&err, code, "%s", what);
    p->done(p->userdata, &err);
}

static int on_timeout(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    (void)source;
    (void)planned_us;
    finish(userdata, -ETIMEDOUT, "a new connection was not answered");
    return 0;
}

/* Length and code of an SSLRequest, in network byte order. */
static int ask(struct pg_ping *p)
{
    static const unsigned char request[] = {0, 0, 0, 8, 4, 210, 22, 47};

    if (send(p->fd, request, sizeof(request), MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof(request))
        return -errno;
    p->asked = true;
    return sd_event_source_set_io_events(p->io, EPOLLIN);
}

static int on_ready(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct pg_ping *p = userdata;
    char answer;
    ssize_t n;
    int r;

    (void)source;
    (void)revents;
    if (!p->asked) {
        r = ask(p);
        if (r < 0)
            finish(p, r, "could not open a new connection");
        return 0;
    }
    n = recv(fd, &answer, 1, MSG_DONTWAIT);
    if (n == 1)
        finish(p, 0, "");
    else if (n == 0 || errno != EAGAIN)
        finish(p, n == 0 ? -ECONNRESET : -errno, "a new connection was dropped");
    return 0;
}

int pg_ping_start(sd_event *loop, const char *host, uint16_t port, uint64_t timeout_us, pg_ping_fn done, void *userdata,
                  struct pg_ping **ret, struct err *err)
{
    CLEANUP(pg_ping_freep) struct pg_ping *p = calloc(1, sizeof(*p));
    struct address address;
    int r;

    if (!p)
        return err_set(err, -ENOMEM, "out of memory");
    *p = (struct pg_ping){.fd = -1, .done = done, .userdata = userdata};
    if (!resolve(host, port, &address))
        return err_set(err, -EINVAL, "\"%s\" is neither an address nor a socket directory", host);
    p->fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->fd < 0)
        return err_sys(err, -errno, "could not open a socket");
    /* EAGAIN: the backlog of a local socket is full; whether that is so for long the timeout tells at the next try. */
    if (connect(p->fd, (struct sockaddr *)&address.storage, address.len) < 0 && errno != EINPROGRESS)
        return err_sys(err, -errno, "could not connect to \"%s\"", host);
    r = sd_event_add_io(loop, &p->io, p->fd, EPOLLOUT, on_ready, p);
    if (r >= 0)
        r = loop_timer_at(loop, &p->timer, clock_now_us() + timeout_us, on_timeout, p);
    if (r < 0)
        return err_sys(err, r, "could not watch the connection");
    *ret = STEAL(p);
    return 0;
}

struct pg_ping *pg_ping_free(struct pg_ping *p)
{
    if (!p)
        return NULL;
    p->io = loop_source_free(p->io);
    p->timer = loop_source_free(p->timer);
    if (p->fd >= 0)
        (void)close(p->fd);
    free(p);
    return NULL;
}
