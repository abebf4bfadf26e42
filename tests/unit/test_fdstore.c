#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/text.h"
#include "fence/fdstore.h"

/* A service manager: reads one message, keeps or closes its descriptor. */
struct manager {
    int fd;
    struct notify notify;
    struct fdstore store;
    char text[256];
    int got;
};

static int begin(void **state)
{
    struct manager *m = calloc(1, sizeof(*m));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[32];
    int len = snprintf(name, sizeof(name), "@fence.%d.store", (int)getpid());

    assert_non_null(m);
    (void)setenv("NOTIFY_SOCKET", name, 1);
    memcpy(address.sun_path + 1, name + 1, (size_t)len - 1);
    m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    m->got = -1;
    assert_int_equal(bind(m->fd, (const struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path)) + (socklen_t)len),
                     0);
    assert_int_equal(notify_open(&m->notify, NULL), 0);
    m->store = (struct fdstore){.notify = &m->notify, .barrier_fd = -1, .inherited = -1};
    *state = m;
    return 0;
}

static int end(void **state)
{
    struct manager *m = *state;

    fdstore_close(&m->store);
    notify_close(&m->notify);
    closep(&m->fd);
    closep(&m->got);
    free(m);
    return 0;
}

/* "" if nothing waits. The descriptor that came with it is in m->got. */
static const char *next(struct manager *m)
{
    struct iovec iov = {.iov_base = m->text, .iov_len = sizeof(m->text) - 1};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    ssize_t len = recvmsg(m->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    closep(&m->got);
    m->text[len < 0 ? 0 : len] = '\0';
    if (len >= 0 && CMSG_FIRSTHDR(&msg))
        memcpy(&m->got, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(m->got));
    return m->text;
}

#define KEEP "FDSTORE=1\nFDPOLL=0\nFDNAME=watchdog"
#define DROP "FDSTOREREMOVE=1\nFDNAME=watchdog"

static void test_fdstore_is_dropped_only_when_the_manager_has_read_that(void **state)
{
    struct manager *m = *state;

    assert_true(fdstore_drop(&m->store)); /* nothing there */
    fdstore_keep(&m->store, STDIN_FILENO);
    fdstore_keep(&m->store, STDIN_FILENO);
    assert_string_equal(next(m), KEEP);
    assert_true(m->got >= 0);
    assert_string_equal(next(m), "");
    assert_false(fdstore_drop(&m->store));
    assert_false(fdstore_drop(&m->store));
    assert_string_equal(next(m), DROP);
    assert_int_equal(m->got, -1);
    assert_string_equal(next(m), "BARRIER=1");
    assert_true(m->got >= 0);
    assert_false(fdstore_drop(&m->store)); /* read, but it still has our end */
    assert_string_equal(next(m), "");      /* and nothing is said twice */
    assert_true(fdstore_drop(&m->store));
    assert_true(fdstore_drop(&m->store));
}

static void test_fdstore_that_is_needed_again_is_put_back(void **state)
{
    struct manager *m = *state;

    fdstore_keep(&m->store, STDIN_FILENO);
    assert_false(fdstore_drop(&m->store));
    fdstore_keep(&m->store, STDIN_FILENO);
    assert_int_equal(m->store.barrier_fd, -1);
    assert_string_equal(next(m), KEEP);
    assert_string_equal(next(m), DROP);
    assert_string_equal(next(m), "BARRIER=1");
    assert_string_equal(next(m), KEEP);
    assert_false(fdstore_drop(&m->store));
    assert_string_equal(next(m), DROP);
    assert_string_equal(next(m), "BARRIER=1");
    (void)next(m);
    assert_true(fdstore_drop(&m->store));
}

static void test_fdstore_says_again_what_did_not_go_out(void **state)
{
    struct manager *m = *state;

    while (notify_send_fd(&m->notify, -1, "X"))
        ;
    fdstore_keep(&m->store, STDIN_FILENO);
    assert_false(m->store.stored);
    assert_true(fdstore_drop(&m->store));
    while (*next(m))
        ;
    fdstore_keep(&m->store, STDIN_FILENO);
    assert_string_equal(next(m), KEEP);
    while (notify_send_fd(&m->notify, -1, "X"))
        ;
    assert_false(fdstore_drop(&m->store));
    assert_false(m->store.taken_out);
    while (*next(m))
        ;
    assert_false(fdstore_drop(&m->store));
    assert_string_equal(next(m), DROP);
}

static void test_fdstore_without_a_manager_keeps_nothing(void **state)
{
    const struct notify none = {.fd = -1};
    struct fdstore s = {.notify = &none, .barrier_fd = -1, .inherited = -1};

    (void)state;
    fdstore_keep(&s, STDIN_FILENO);
    assert_true(fdstore_drop(&s));
}

static int stale_fds[4], stale_count;

static void note_stale(void *ctx, int kept, int fd)
{
    (void)ctx;
    assert_int_equal(kept, 4);
    stale_fds[stale_count++] = fd;
    closep(&fd);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void test_fdstore_takes_what_has_our_name_and_closes_the_rest(void **state)
{
    const struct notify none = {.fd = -1};
    struct fdstore s;
    char pid[16];

    (void)state;
    for (int fd = 3; fd < 7; fd++)
        assert_true(is_open(fd) || dup2(STDIN_FILENO, fd) == fd);
    (void)setenv("LISTEN_FDS", "4", 1);
    (void)setenv("LISTEN_FDNAMES", "stored:watchdog:watchdogs:watchdog", 1);
    (void)setenv("LISTEN_PID", "1", 1);
    fdstore_open(&s, &none, note_stale, NULL); /* meant for another process */
    assert_int_equal(s.inherited, -1);
    assert_true(is_open(3) && is_open(4));
    assert_null(getenv("LISTEN_PID"));

    (void)text_print(pid, sizeof(pid), "%d", (int)getpid());
    (void)setenv("LISTEN_FDS", "4", 1);
    (void)setenv("LISTEN_FDNAMES", "stored:watchdog:watchdogs:watchdog", 1);
    (void)setenv("LISTEN_PID", pid, 1);
    fdstore_open(&s, &none, note_stale, NULL);
    assert_int_equal(s.inherited, 4);
    assert_true(s.stored);
    assert_true(fcntl(4, F_GETFD) & FD_CLOEXEC);
    assert_false(is_open(3) || is_open(5));
    assert_true(stale_count == 1 && stale_fds[0] == 6);
    assert_null(getenv("LISTEN_FDS"));
    (void)close(4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fdstore_takes_what_has_our_name_and_closes_the_rest),
        cmocka_unit_test_setup_teardown(test_fdstore_is_dropped_only_when_the_manager_has_read_that, begin, end),
        cmocka_unit_test_setup_teardown(test_fdstore_that_is_needed_again_is_put_back, begin, end),
        cmocka_unit_test_setup_teardown(test_fdstore_says_again_what_did_not_go_out, begin, end),
        cmocka_unit_test(test_fdstore_without_a_manager_keeps_nothing),
    };

    return cmocka_run_group_tests_name("fdstore", tests, NULL, NULL);
}
