/* The ping against listeners of our own: one that answers, one that only accepts (a stopped postmaster), one that hangs
 * up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "pg/ping.h"

enum { TIMEOUT_US = 300000 };
static int outcome;

static void on_done(void *userdata, const struct err *err)
{
    outcome = err->code;
    (void)sd_event_exit(userdata, 0);
}

static int listen_somewhere(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static int ping(const char *host, uint16_t port)
{
    struct pg_ping *p = NULL;
    sd_event *loop = NULL;
    struct err err = {0};

    assert_true(sd_event_new(&loop) >= 0);
    outcome = 1;
    if (pg_ping_start(loop, host, port, TIMEOUT_US, on_done, loop, &p, &err) < 0)
        outcome = err.code;
    else
        (void)sd_event_loop(loop);
    p = pg_ping_free(p);
    sd_event_unref(loop);
    return outcome;
}

/* A child that reads the request and writes `answer`, or hangs up when there is none. */
static pid_t serve(int listener, const char *answer, size_t len)
{
    pid_t pid = fork();

    if (pid == 0) {
        char request[8];
        int fd = accept(listener, NULL, NULL);
        bool good = recv(fd, request, sizeof(request), MSG_WAITALL) == (ssize_t)sizeof(request) && request[3] == 8;

        if (len && write(fd, answer, len) < 0)
            good = false;
        _exit(good ? 0 : 1);
    }
    return pid;
}

static void test_ping_succeeds_when_the_server_answers(void **state)
{
    uint16_t port;
    int listener = listen_somewhere(&port), status;
    pid_t server = serve(listener, "N", 1);

    (void)state;
    assert_int_equal(ping("127.0.0.1", port), 0);
    assert_int_equal(waitpid(server, &status, 0), server);
    assert_int_equal(status, 0);
    (void)close(listener);
}

static void test_ping_times_out_when_the_kernel_accepts_but_nobody_answers(void **state)
{
    uint16_t port;
    int listener = listen_somewhere(&port);

    (void)state;
    assert_int_equal(ping("127.0.0.1", port), -ETIMEDOUT);
    (void)close(listener);
}

static void test_ping_fails_when_the_server_hangs_up(void **state)
{
    uint16_t port;
    int listener = listen_somewhere(&port);
    pid_t server = serve(listener, "", 0);

    (void)state;
    assert_int_equal(ping("127.0.0.1", port), -ECONNRESET);
    (void)waitpid(server, NULL, 0);
    (void)close(listener);
}

static void test_ping_fails_when_nobody_listens(void **state)
{
    uint16_t port;
    int listener = listen_somewhere(&port);

    (void)state;
    (void)close(listener);
    assert_int_equal(ping("127.0.0.1", port), -ECONNREFUSED);
    assert_int_equal(ping("/nonexistent", port), -ENOENT);
    assert_int_equal(ping("not an address", port), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ping_succeeds_when_the_server_answers),
        cmocka_unit_test(test_ping_times_out_when_the_kernel_accepts_but_nobody_answers),
        cmocka_unit_test(test_ping_fails_when_the_server_hangs_up),
        cmocka_unit_test(test_ping_fails_when_nobody_listens),
    };

    return cmocka_run_group_tests_name("pg_ping", tests, NULL, NULL);
}
