#include "api/listen.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/text.h"

enum { BACKLOG = 64 };

/* Returns the descriptor or -errno. */
static int bind_and_listen(const struct sockaddr *addr, socklen_t len)
{
    CLEANUP(closep) int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, off = 0, result;

    if (fd < 0)
        return -errno;
    /* A restarted agent must not wait for the connections of its predecessor to be forgotten. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (addr->sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, addr, len) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    result = fd;
    fd = -1;
    return result;
}

static int listen_everywhere(uint16_t port)
{
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = bind_and_listen((const struct sockaddr *)&any6, sizeof(any6));

    /* IPv6 can be missing from the kernel or switched off for the host. */
    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
        fd = bind_and_listen((const struct sockaddr *)&any4, sizeof(any4));
    return fd;
}

static int listen_on_name(const char *host, uint16_t port, struct err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char service[8];
    int r, fd = -EADDRNOTAVAIL;

    (void)text_print(service, sizeof(service), "%u", port);
    r = getaddrinfo(host, service, &hints, &list);
    if (r)
        return err_set(err, -EADDRNOTAVAIL, "could not resolve \"%s\": %s", host, gai_strerror(r));
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
        fd = bind_and_listen(a->ai_addr, a->ai_addrlen);
    freeaddrinfo(list);
    if (fd < 0)
        return err_sys(err, fd, "could not listen on \"%s\" port %u", host, port);
    return fd;
}

int listen_tcp(const char *host, uint16_t port, struct err *err)
{
    int fd;

    if (host && *host && strcmp(host, "*") != 0)
        return listen_on_name(host, port, err);
    fd = listen_everywhere(port);
    if (fd < 0)
        return err_sys(err, fd, "could not listen on port %u", port);
    return fd;
}

uint16_t listen_port(int fd)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);

    if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        return 0;
    if (addr.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&addr)->sin6_port);
    return addr.ss_family == AF_INET ? ntohs(((const struct sockaddr_in *)&addr)->sin_port) : 0;
}
