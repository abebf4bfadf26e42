#include "fence/notify.h"
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include "base/text.h"

static uint64_t wanted_watchdog_us(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t value;

    if (!usec || !text_to_u64(usec, &value))
        return 0;
    if (pid) {
        uint32_t number;

        if (!text_to_u32(pid, &number) || (pid_t)number != getpid())
            return 0; /* meant for another process of the service */
    }
    return value;
}

int notify_open(struct notify *n, struct err *err)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len;

    *n = (struct notify){.fd = -1, .address.sun_family = AF_UNIX};
    if (!path || !*path)
        return 0;
    len = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || len >= sizeof(n->address.sun_path))
        return err_set(err, -EINVAL, "cannot use NOTIFY_SOCKET \"%s\"", path);
    memcpy(n->address.sun_path, path, len);
    /* "@" stands for the abstract name space: a first byte of 0, and the length is part of the name. */
    if (path[0] == '@')
        n->address.sun_path[0] = '\0';
    n->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'));
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (n->fd < 0)
        return err_sys(err, -errno, "could not open a socket to the service manager");
    n->watchdog_us = wanted_watchdog_us();
    return 0;
}

void notify_close(struct notify *n)
{
    closep(&n->fd);
}

bool notify_send_fd(const struct notify *n, int fd, const char *text)
{
    struct sockaddr_un to = n->address;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct msghdr msg = {.msg_name = &to, .msg_namelen = n->address_len, .msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *c;

    if (n->fd < 0)
        return false;
    if (fd >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    return sendmsg(n->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

void notify_send(const struct notify *n, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    int len;

    if (n->fd < 0)
        return;
    va_start(ap, fmt);
    len = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (len < 0)
        return;
    if ((size_t)len >= sizeof(text))
        len = sizeof(text) - 1;
    /* Addressed each time, not connected: the manager may bind its socket anew when it re-executes itself. */
    (void)sendto(n->fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&n->address,
                 n->address_len);
}
