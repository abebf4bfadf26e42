#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "netlab.h"

static int near_ns = -1, far_ns = -1;

static int new_namespace(void)
{
    return unshare(CLONE_NEWNET) < 0 ? -1 : open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

static void enter(int ns)
{
    assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

bool netlab_open(void)
{
    far_ns = new_namespace();
    if (far_ns < 0)
        return false;
    netlab_run("ip link set lo up");
    near_ns = new_namespace();
    assert_true(near_ns >= 0);
    netlab_run("ip link set lo up && ip link add near type veth peer name far netns /proc/%d/fd/%d", getpid(), far_ns);
    netlab_run("ip addr add " NETLAB_NEAR4 "/24 dev near && ip addr add " NETLAB_NEAR6 "/64 dev near nodad && "
               "ip link set near up");
    enter(far_ns);
    netlab_run("ip addr add 10.77.0.2/24 dev far && ip addr add fd77::2/64 dev far nodad && ip link set far up");
    enter(near_ns);
    return true;
}

void netlab_run(const char *fmt, ...)
{
    char command[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

const char *netlab_output(const char *fmt, ...)
{
    static char out[65536];
    char command[1024];
    va_list ap;
    FILE *f;
    size_t n;

    va_start(ap, fmt);
    (void)vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    f = popen(command, "re");
    assert_non_null(f);
    n = fread(out, 1, sizeof(out) - 1, f);
    out[n] = '\0';
    (void)pclose(f);
    return out;
}

/* Returns the length. */
static socklen_t make_address(const char *address, uint16_t port, struct sockaddr_storage *ret)
{
    struct sockaddr_in *v4 = (void *)ret;
    struct sockaddr_in6 *v6 = (void *)ret;

    *ret = (struct sockaddr_storage){0};
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return sizeof(*v4);
    }
    assert_int_equal(inet_pton(AF_INET6, address, &v6->sin6_addr), 1);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    return sizeof(*v6);
}

int netlab_listen(const char *address, uint16_t port)
{
    struct sockaddr_storage a;
    socklen_t len = make_address(address, port, &a);
    int one = 1, fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    if (bind(fd, (struct sockaddr *)&a, len) < 0 || listen(fd, 512) < 0)
        fail_msg("could not listen on %s:%u: %s", address, port, strerror(errno));
    return fd;
}

int netlab_dial(bool from_far, const char *address, uint16_t port)
{
    struct sockaddr_storage a;
    socklen_t len = make_address(address, port, &a);
    int fd;

    if (from_far)
        enter(far_ns);
    fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (from_far)
        enter(near_ns);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&a, len) < 0 && errno != EINPROGRESS)
        fail_msg("could not connect to %s: %s", address, strerror(errno));
    return fd;
}

void netlab_connect(bool from_far, int listener, const char *address, uint16_t port, int *ret_client, int *ret_server)
{
    int failure = 0;
    socklen_t len = sizeof(failure);

    *ret_client = netlab_dial(from_far, address, port);
    assert_true(netlab_wait(*ret_client, POLLOUT, NETLAB_PATIENCE_MS));
    assert_int_equal(getsockopt(*ret_client, SOL_SOCKET, SO_ERROR, &failure, &len), 0);
    assert_int_equal(failure, 0);
    assert_true(netlab_wait(listener, POLLIN, NETLAB_PATIENCE_MS));
    *ret_server = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(*ret_server >= 0);
}

bool netlab_wait(int fd, short events, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, timeout_ms) == 1;
}

bool netlab_passes(int from, int to)
{
    char byte;

    return send(from, "x", 1, MSG_NOSIGNAL) == 1 && netlab_read(to, &byte, 1, NETLAB_PATIENCE_MS) == 1 && byte == 'x';
}

int netlab_read(int fd, char *dst, int size, int timeout_ms)
{
    ssize_t n;

    if (!netlab_wait(fd, POLLIN, timeout_ms))
        return -EAGAIN;
    n = recv(fd, dst, (size_t)size, MSG_DONTWAIT);
    return n < 0 ? -errno : (int)n;
}
