/* The agent's end of the socket to the keeper, the keeper played by the other end of a socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "agent/keeper_link.h"

static struct fixture {
    sd_event *loop;
    struct keeper_link *link;
    int agent_fd, keeper_fd;
    unsigned n_gone, n_news;
    unsigned n_first, n_second, n_null;
} f;

static void on_gone(void *userdata)
{
    (void)userdata;
    f.n_gone++;
}

static void on_answer(void *userdata, const struct keeper_answer *answer)
{
    unsigned *counter = userdata;

    (*counter)++;
    f.n_null += answer == NULL;
}

static int set_up(void **state)
{
    int pair[2];

    (void)state;
    memset(&f, 0, sizeof(f));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    f.agent_fd = pair[0];
    f.keeper_fd = pair[1];
    assert_true(sd_event_new(&f.loop) >= 0);
    return keeper_link_new(f.loop, f.agent_fd, on_gone, NULL, &f.link, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    f.link = keeper_link_free(f.link);
    f.loop = sd_event_unref(f.loop);
    (void)close(f.agent_fd);
    if (f.keeper_fd >= 0)
        (void)close(f.keeper_fd);
    return 0;
}

static int ask(unsigned *counter)
{
    return keeper_link_ask(f.link, KEEPER_STATUS, 0, 0, 0, -1, on_answer, counter, NULL);
}

static uint32_t read_request(void)
{
    struct keeper_request request;
    int pidfd;

    assert_int_equal(keeper_recv(f.keeper_fd, &request, &pidfd, NULL), 0);
    return request.seq;
}

static void say(uint32_t seq, enum keeper_state state)
{
    struct keeper_answer answer = {
        .version = KEEPER_PROTOCOL, .op = KEEPER_STATUS, .seq = seq, .state = (uint16_t)state};

    assert_int_equal(keeper_answer(f.keeper_fd, &answer, NULL), 0);
    assert_true(sd_event_run(f.loop, 1000000) >= 0);
}

static void test_answers_when_two_are_asked_then_each_reaches_its_own_question_once(void **state)
{
    uint32_t first, second;

    (void)state;
    assert_int_equal(ask(&f.n_first), 0);
    assert_int_equal(ask(&f.n_second), 0);
    first = read_request();
    second = read_request();
    say(second, KEEPER_DISARMED);
    assert_int_equal(f.n_first, 0);
    assert_int_equal(f.n_second, 1);
    say(second, KEEPER_DISARMED); /* twice: it is nobody's any more */
    assert_int_equal(f.n_second, 1);
    say(first, KEEPER_ARMED);
    assert_int_equal(f.n_first, 1);
}

static void test_last_answer_when_unasked_then_it_is_still_the_newest_state(void **state)
{
    (void)state;
    assert_int_equal(keeper_link_last(f.link)->state, 0);
    say(99, KEEPER_FENCING);
    assert_int_equal(keeper_link_last(f.link)->state, KEEPER_FENCING);
}

static void on_news(void *userdata)
{
    (void)userdata;
    f.n_news++;
}

static void test_news_when_the_keeper_has_some_then_they_are_told_and_answer_no_question(void **state)
{
    (void)state;
    say(0, KEEPER_ARMED); /* nobody listens yet */
    assert_int_equal(keeper_link_last(f.link)->state, KEEPER_ARMED);
    keeper_link_on_news(f.link, on_news);
    assert_int_equal(ask(&f.n_first), 0);
    say(0, KEEPER_FENCING);
    assert_int_equal(f.n_news, 1);
    assert_int_equal(f.n_first, 0);
    assert_int_equal(keeper_link_last(f.link)->state, KEEPER_FENCING);
    say(read_request(), KEEPER_DISARMED);
    assert_int_equal(f.n_news, 1);
    assert_int_equal(f.n_first, 1);
}

static void test_questions_when_the_keeper_goes_then_all_are_answered_with_nothing(void **state)
{
    (void)state;
    assert_int_equal(ask(&f.n_first), 0);
    assert_int_equal(ask(&f.n_second), 0);
    (void)close(f.keeper_fd);
    f.keeper_fd = -1;
    assert_true(sd_event_run(f.loop, 1000000) >= 0);
    assert_int_equal(f.n_first, 1);
    assert_int_equal(f.n_second, 1);
    assert_int_equal(f.n_null, 2);
    assert_int_equal(f.n_gone, 1);
    assert_false(keeper_link_connected(f.link));
    assert_int_equal(ask(&f.n_first), -ECONNRESET);
    assert_int_equal(f.n_first, 1);
}

static void test_questions_when_the_keeper_is_silent_then_their_number_is_limited(void **state)
{
    unsigned n = 0;

    (void)state;
    while (n < 1000 && ask(&f.n_first) == 0)
        n++;
    assert_in_range(n, 1, 64);
    say(read_request(), KEEPER_DISARMED);
    assert_int_equal(ask(&f.n_first), 0);
}

static void test_nonsense_when_the_keeper_sends_it_then_the_link_is_given_up(void **state)
{
    (void)state;
    assert_int_equal(send(f.keeper_fd, "x", 1, 0), 1);
    assert_true(sd_event_run(f.loop, 1000000) >= 0);
    assert_int_equal(f.n_gone, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers_when_two_are_asked_then_each_reaches_its_own_question_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_last_answer_when_unasked_then_it_is_still_the_newest_state, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_news_when_the_keeper_has_some_then_they_are_told_and_answer_no_question,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_questions_when_the_keeper_goes_then_all_are_answered_with_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_questions_when_the_keeper_is_silent_then_their_number_is_limited, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_nonsense_when_the_keeper_sends_it_then_the_link_is_given_up, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests_name("keeper_link", tests, NULL, NULL);
}
