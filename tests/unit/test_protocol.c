#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "fence/protocol.h"

enum { KEEPER_END, AGENT_END };

static int setup_pair(void **state)
{
    static int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    *state = pair;
    return 0;
}

static int close_pair(void **state)
{
    int *pair = *state;

    closep(&pair[0]);
    closep(&pair[1]);
    return 0;
}

/* An open descriptor fewer or more than before is a leak or a theft. */
static int count_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void test_protocol_carries_a_request_and_its_answer(void **state)
{
    int *pair = *state, fd = 0;
    struct keeper_request req = {KEEPER_PROTOCOL, KEEPER_RENEW, 9, 7, 1234, 0, 0}, got;
    struct keeper_answer answer = {.version = KEEPER_PROTOCOL, .op = KEEPER_RENEW, .seq = 9, .state = KEEPER_ARMED};
    struct keeper_answer got_answer;
    struct err err = {0};

    assert_int_equal(keeper_ask(pair[AGENT_END], &req, -1, &err), 0);
    assert_int_equal(keeper_recv(pair[KEEPER_END], &got, &fd, &err), 0);
    assert_memory_equal(&req, &got, sizeof(req));
    assert_int_equal(fd, -1);
    assert_int_equal(keeper_answer(pair[KEEPER_END], &answer, &err), 0);
    assert_int_equal(keeper_recv_answer(pair[AGENT_END], &got_answer, &err), 0);
    assert_memory_equal(&answer, &got_answer, sizeof(answer));
}

static void test_protocol_hands_over_one_descriptor_with_postmaster(void **state)
{
    int *pair = *state, fd = -1;
    struct keeper_request req = {.version = KEEPER_PROTOCOL, .op = KEEPER_POSTMASTER, .pid = 42}, got;

    assert_int_equal(keeper_ask(pair[AGENT_END], &req, STDERR_FILENO, NULL), 0);
    assert_int_equal(keeper_recv(pair[KEEPER_END], &got, &fd, NULL), 0);
    assert_true(fd > 2);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(got.pid, 42);
    closep(&fd);
}

static void test_protocol_neither_end_waits(void **state)
{
    int *pair = *state, fd, r;
    struct keeper_request req = {.version = KEEPER_PROTOCOL, .op = KEEPER_STATUS};
    struct keeper_answer answer = {0};

    assert_int_equal(keeper_recv(pair[KEEPER_END], &req, &fd, NULL), -EAGAIN);
    assert_int_equal(keeper_recv_answer(pair[AGENT_END], &answer, NULL), -EAGAIN);
    do
        r = keeper_ask(pair[AGENT_END], &req, -1, NULL);
    while (r == 0);
    assert_int_equal(r, -EAGAIN);
    do
        r = keeper_answer(pair[KEEPER_END], &answer, NULL);
    while (r == 0);
    assert_int_equal(r, -EAGAIN);
}

static void test_protocol_says_connreset_when_the_other_end_is_gone(void **state)
{
    int *pair = *state, fd;
    struct keeper_request req = {.version = KEEPER_PROTOCOL, .op = KEEPER_STATUS};
    struct keeper_answer answer = {0};
    struct err err = {0};

    closep(&pair[AGENT_END]);
    assert_int_equal(keeper_recv(pair[KEEPER_END], &req, &fd, &err), -ECONNRESET);
    assert_int_equal(keeper_answer(pair[KEEPER_END], &answer, &err), -ECONNRESET);
    closep(&pair[KEEPER_END]);
    assert_int_equal(setup_pair(state), 0);
    pair = *state;
    closep(&pair[KEEPER_END]);
    assert_int_equal(keeper_recv_answer(pair[AGENT_END], &answer, &err), -ECONNRESET);
    assert_int_equal(keeper_ask(pair[AGENT_END], &req, -1, &err), -ECONNRESET);
}

static void test_protocol_refuses_what_a_request_must_not_carry(void **state)
{
    static const struct {
        const char *name;
        struct keeper_request req;
        bool with_fd;
    } bad[] = {
        {"no version", {0, KEEPER_STATUS, 0, 0, 0, 0, 0}, false},
        {"next version", {KEEPER_PROTOCOL + 1, KEEPER_STATUS, 0, 0, 0, 0, 0}, false},
        {"op before the first", {KEEPER_PROTOCOL, KEEPER_ARM - 1, 0, 0, 0, 0, 0}, false},
        {"op after the last", {KEEPER_PROTOCOL, KEEPER_SERVE + 1, 0, 0, 0, 0, 0}, false},
        {"status that serves", {KEEPER_PROTOCOL, KEEPER_STATUS, 0, 0, 0, 0, KEEPER_SERVE_STANDBY}, false},
        {"status with deadline", {KEEPER_PROTOCOL, KEEPER_STATUS, 0, 0, 1, 0, 0}, false},
        {"status with pid", {KEEPER_PROTOCOL, KEEPER_STATUS, 0, 0, 0, 1, 0}, false},
        {"status with descriptor", {KEEPER_PROTOCOL, KEEPER_STATUS, 0, 0, 0, 0, 0}, true},
        {"disarm with deadline", {KEEPER_PROTOCOL, KEEPER_DISARM, 0, 0, 1, 0, 0}, false},
        {"arm without deadline", {KEEPER_PROTOCOL, KEEPER_ARM, 0, 7, 0, 0, 0}, false},
        {"arm with pid", {KEEPER_PROTOCOL, KEEPER_ARM, 0, 7, 9, 1, 0}, false},
        {"renew without deadline", {KEEPER_PROTOCOL, KEEPER_RENEW, 0, 7, 0, 0, 0}, false},
        {"renew with descriptor", {KEEPER_PROTOCOL, KEEPER_RENEW, 0, 7, 9, 0, 0}, true},
        {"postmaster without descriptor", {KEEPER_PROTOCOL, KEEPER_POSTMASTER, 0, 0, 0, 1, 0}, false},
        {"unknown whom to serve", {KEEPER_PROTOCOL, KEEPER_SERVE, 0, 0, 0, 0, KEEPER_SERVE_STANDBY_LEADER + 1}, false},
        {"standby leader without deadline",
         {KEEPER_PROTOCOL, KEEPER_SERVE, 0, 0, 0, 0, KEEPER_SERVE_STANDBY_LEADER},
         false},
        {"standby without deadline", {KEEPER_PROTOCOL, KEEPER_SERVE, 0, 0, 0, 0, KEEPER_SERVE_STANDBY}, false},
        {"replica without deadline", {KEEPER_PROTOCOL, KEEPER_SERVE, 0, 0, 0, 0, KEEPER_SERVE_REPLICA_ADDRESS}, false},
        {"primary with deadline", {KEEPER_PROTOCOL, KEEPER_SERVE, 0, 7, 9, 0, KEEPER_SERVE_PRIMARY}, false},
        {"nobody with deadline", {KEEPER_PROTOCOL, KEEPER_SERVE, 0, 0, 9, 0, KEEPER_SERVE_NONE}, false},
        {"no postmaster with descriptor", {KEEPER_PROTOCOL, KEEPER_POSTMASTER, 0, 0, 0, 0, 0}, true},
    };
    int *pair = *state, before = count_descriptors();

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct keeper_request got;
        int fd = -1, r;

        assert_int_equal(keeper_ask(pair[AGENT_END], &bad[i].req, bad[i].with_fd ? STDERR_FILENO : -1, NULL), 0);
        r = keeper_recv(pair[KEEPER_END], &got, &fd, NULL);
        if (r != -EBADMSG)
            fail_msg("%s: got %d", bad[i].name, r);
    }
    assert_int_equal(count_descriptors(), before);
}

static void test_protocol_refuses_messages_of_the_wrong_size(void **state)
{
    int *pair = *state, fd;
    struct {
        struct keeper_request req;
        char more;
    } long_one = {.req = {.version = KEEPER_PROTOCOL, .op = KEEPER_STATUS}};
    struct {
        struct keeper_answer answer;
        char more;
    } long_answer = {.answer = {.version = KEEPER_PROTOCOL, .op = KEEPER_STATUS, .state = KEEPER_ARMED}};
    struct keeper_request got;
    struct keeper_answer got_answer;

    assert_true(send(pair[AGENT_END], &long_one, sizeof(long_one.req) - 1, 0) > 0);
    assert_int_equal(keeper_recv(pair[KEEPER_END], &got, &fd, NULL), -EBADMSG);
    assert_true(send(pair[AGENT_END], &long_one, sizeof(long_one.req) + 1, 0) > 0);
    assert_int_equal(keeper_recv(pair[KEEPER_END], &got, &fd, NULL), -EBADMSG);
    assert_true(send(pair[KEEPER_END], &long_answer, sizeof(long_answer.answer) - 1, 0) > 0);
    assert_int_equal(keeper_recv_answer(pair[AGENT_END], &got_answer, NULL), -EBADMSG);
    assert_true(send(pair[KEEPER_END], &long_answer, sizeof(long_answer.answer) + 1, 0) > 0);
    assert_int_equal(keeper_recv_answer(pair[AGENT_END], &got_answer, NULL), -EBADMSG);
}

static void send_descriptors(int sock, const void *bytes, size_t size, const int *fds, size_t count)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control = {.bytes = {0}};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    assert_true(sendmsg(sock, &msg, MSG_NOSIGNAL) >= 0);
}

static void test_protocol_keeps_none_of_several_descriptors(void **state)
{
    int *pair = *state, fd = -1, before = count_descriptors();
    const int fds[4] = {0, 1, 2, 2};
    struct keeper_request req = {.version = KEEPER_PROTOCOL, .op = KEEPER_POSTMASTER, .pid = 42}, got;

    /* Two fit into the room that the kernel rounds up, four do not. */
    for (size_t count = 2; count <= 4; count++) {
        send_descriptors(pair[AGENT_END], &req, sizeof(req), fds, count);
        assert_int_equal(keeper_recv(pair[KEEPER_END], &got, &fd, NULL), -EBADMSG);
        assert_int_equal(fd, -1);
        assert_int_equal(count_descriptors(), before);
    }
}

static void test_protocol_refuses_answers_beyond_the_enums(void **state)
{
    int *pair = *state;
    struct keeper_answer good = {.version = KEEPER_PROTOCOL, .op = KEEPER_STATUS, .state = KEEPER_STARVING};
    struct keeper_answer bad[11], got;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        bad[i] = good;
    bad[0].version = KEEPER_PROTOCOL + 1;
    bad[1].op = 0;
    bad[2].op = KEEPER_SERVE + 1;
    bad[3].result = KEEPER_REFUSED_GATE + 1;
    bad[4].state = 0;
    bad[5].state = KEEPER_STARVING + 1;
    bad[6].watchdog = KEEPER_WATCHDOG_FAILED + 1;
    bad[7].rung = FENCE_RUNG_STARVE + 1;
    bad[8].version = 0;
    bad[9].serve = KEEPER_SERVE_STANDBY_LEADER + 1;
    bad[10].gate = KEEPER_GATE_FAILED + 1;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(keeper_answer(pair[KEEPER_END], &bad[i], NULL), 0);
        assert_int_equal(keeper_recv_answer(pair[AGENT_END], &got, NULL), -EBADMSG);
    }
    assert_int_equal(keeper_answer(pair[KEEPER_END], &good, NULL), 0);
    assert_int_equal(keeper_recv_answer(pair[AGENT_END], &got, NULL), 0);
    good.serve = KEEPER_SERVE_STANDBY_LEADER; /* the last value of each is good */
    assert_int_equal(keeper_answer(pair[KEEPER_END], &good, NULL), 0);
    assert_int_equal(keeper_recv_answer(pair[AGENT_END], &got, NULL), 0);
}

static void test_protocol_has_a_text_for_every_value(void **state)
{
    (void)state;
    for (int i = KEEPER_DISARMED; i <= KEEPER_STARVING; i++)
        assert_string_not_equal(keeper_state_text((enum keeper_state)i), "unknown");
    for (int i = KEEPER_OK; i <= KEEPER_REFUSED_GATE; i++)
        assert_string_not_equal(keeper_result_text((enum keeper_result)i), "unknown");
    for (int i = KEEPER_WATCHDOG_OFF; i <= KEEPER_WATCHDOG_FAILED; i++)
        assert_string_not_equal(keeper_watchdog_text((enum keeper_watchdog)i), "unknown");
    for (int i = FENCE_RUNG_NONE; i <= FENCE_RUNG_STARVE; i++)
        assert_string_not_equal(keeper_rung_text((enum fence_rung)i), "unknown");
    for (int i = KEEPER_SERVE_NONE; i <= KEEPER_SERVE_STANDBY_LEADER; i++)
        assert_string_not_equal(keeper_serve_text((enum keeper_serve)i), "unknown");
    for (int i = KEEPER_GATE_OFF; i <= KEEPER_GATE_FAILED; i++)
        assert_string_not_equal(keeper_gate_text((enum keeper_gate)i), "unknown");
    assert_string_equal(keeper_serve_text((enum keeper_serve)99), "unknown");
    assert_string_equal(keeper_gate_text((enum keeper_gate)99), "unknown");
    assert_string_equal(keeper_state_text((enum keeper_state)99), "unknown");
    assert_string_equal(keeper_result_text((enum keeper_result)99), "unknown");
    assert_string_equal(keeper_watchdog_text((enum keeper_watchdog)99), "unknown");
    assert_string_equal(keeper_rung_text((enum fence_rung)99), "unknown");
}

#define PAIR_TEST(t) cmocka_unit_test_setup_teardown(t, setup_pair, close_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_protocol_carries_a_request_and_its_answer),
        PAIR_TEST(test_protocol_hands_over_one_descriptor_with_postmaster),
        PAIR_TEST(test_protocol_neither_end_waits),
        PAIR_TEST(test_protocol_says_connreset_when_the_other_end_is_gone),
        PAIR_TEST(test_protocol_refuses_what_a_request_must_not_carry),
        PAIR_TEST(test_protocol_refuses_messages_of_the_wrong_size),
        PAIR_TEST(test_protocol_keeps_none_of_several_descriptors),
        PAIR_TEST(test_protocol_refuses_answers_beyond_the_enums),
        cmocka_unit_test(test_protocol_has_a_text_for_every_value),
    };

    return cmocka_run_group_tests_name("protocol", tests, NULL, NULL);
}
