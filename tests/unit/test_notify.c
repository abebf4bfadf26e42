#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <unistd.h>
#include "base/text.h"
#include "fence/notify.h"

static int listen_at(const char *name, size_t len)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    memcpy(address.sun_path, name, len);
    assert_int_equal(
        bind(fd, (const struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)), 0);
    return fd;
}

static void expect(int fd, const char *text)
{
    char got[600];
    ssize_t n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);

    assert_true(n >= 0);
    got[n] = '\0';
    assert_string_equal(got, text);
}

static void check(const char *variable, const char *name, size_t len)
{
    struct notify n;
    int fd = listen_at(name, len);

    (void)setenv("NOTIFY_SOCKET", variable, 1);
    assert_int_equal(notify_open(&n, NULL), 0);
    notify_send(&n, "READY=1\nMAINPID=%d", 42);
    expect(fd, "READY=1\nMAINPID=42");
    notify_close(&n);
    closep(&fd);
}

static void test_notify_reaches_sockets_with_a_path_and_abstract_ones(void **state)
{
    char path[64], abstract[64];

    (void)state;
    (void)text_print(path, sizeof(path), "/tmp/fence.%d.notify", (int)getpid());
    check(path, path, strlen(path) + 1);
    (void)unlink(path);
    (void)text_print(abstract, sizeof(abstract), "@fence.%d", (int)getpid());
    (void)text_copy(path, sizeof(path), abstract);
    path[0] = '\0';
    check(abstract, path, strlen(abstract));
}

static void test_notify_without_a_manager_does_nothing(void **state)
{
    struct notify n;

    (void)state;
    (void)unsetenv("NOTIFY_SOCKET");
    assert_int_equal(notify_open(&n, NULL), 0);
    assert_int_equal(n.fd, -1);
    notify_send(&n, "READY=1");
    notify_close(&n);
    (void)setenv("NOTIFY_SOCKET", "relative", 1);
    assert_int_equal(notify_open(&n, NULL), -EINVAL);
    (void)setenv("NOTIFY_SOCKET", "/no/such/socket", 1);
    assert_int_equal(notify_open(&n, NULL), 0);
    notify_send(&n, "READY=1"); /* nobody there: not our business */
    notify_close(&n);
}

static void test_notify_does_not_wait_for_a_manager_that_does_not_read(void **state)
{
    struct notify n;
    char name[32];
    int fd, len;

    (void)state;
    len = snprintf(name, sizeof(name), "@fence.%d.full", (int)getpid());
    (void)setenv("NOTIFY_SOCKET", name, 1);
    name[0] = '\0';
    fd = listen_at(name, (size_t)len);
    assert_int_equal(notify_open(&n, NULL), 0);
    for (int i = 0; i < 10000; i++)
        notify_send(&n, "WATCHDOG=1");
    expect(fd, "WATCHDOG=1");
    notify_close(&n);
    closep(&fd);
}

static void test_notify_watches_only_for_its_own_process(void **state)
{
    char pid[16];
    struct notify n;

    (void)state;
    (void)setenv("NOTIFY_SOCKET", "@fence.nobody", 1);
    (void)setenv("WATCHDOG_USEC", "3000000", 1);
    assert_int_equal(notify_open(&n, NULL), 0);
    assert_true(n.watchdog_us == 3000000);
    notify_close(&n);
    (void)setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(notify_open(&n, NULL), 0);
    assert_true(n.watchdog_us == 0);
    notify_close(&n);
    (void)text_print(pid, sizeof(pid), "%d", (int)getpid());
    (void)setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(notify_open(&n, NULL), 0);
    assert_true(n.watchdog_us == 3000000);
    notify_close(&n);
    (void)setenv("WATCHDOG_USEC", "soon", 1);
    assert_int_equal(notify_open(&n, NULL), 0);
    assert_true(n.watchdog_us == 0);
    notify_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notify_reaches_sockets_with_a_path_and_abstract_ones),
        cmocka_unit_test(test_notify_without_a_manager_does_nothing),
        cmocka_unit_test(test_notify_does_not_wait_for_a_manager_that_does_not_read),
        cmocka_unit_test(test_notify_watches_only_for_its_own_process),
    };

    return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
