/* The REST server asked with plain sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api_server.h"
#include "base/clock.h"
#include "base/text.h"

enum { MANY = 60 };

/* The server's clock can be set back, so that what it starts now ends soon. */
uint64_t __real_clock_now_us(void);
uint64_t __wrap_clock_now_us(void);
static uint64_t clock_set_back_us;

uint64_t __wrap_clock_now_us(void)
{
    return __real_clock_now_us() - clock_set_back_us;
}

static int set_up(void **state)
{
    clock_set_back_us = 0;
    return api_server_set_up(state);
}

static void test_get_is_answered_with_length_and_closed(void **state)
{
    struct api_server *s = *state;

    api_server_expect(s, "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\nContent-Length: ");
    api_server_expect(s, "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n",
                      "\r\nConnection: close\r\n");
    api_server_expect(s, "GET /patroni HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n",
                      "\r\nContent-Type: application/json\r\n");
    api_server_expect(s, "GET /replica?lag=1MB HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503 ",
                      "{\"state\": \"running\"");
}

static void test_old_and_terse_clients_are_answered(void **state)
{
    struct api_server *s = *state;

    api_server_expect(s, "GET / HTTP/1.0\r\n\r\n", "HTTP/1.", " 200 OK\r\n");
    api_server_expect(s, "OPTIONS / HTTP/1.0\r\n\r\n", "HTTP/1.", " 200 OK\r\n");
    /* load balancers' checks often come without a Host header */
    api_server_expect(s, "OPTIONS /replica HTTP/1.1\r\n\r\n", "HTTP/1.1 503 ", "");
}

static void test_head_is_answered_without_a_body(void **state)
{
    struct api_server *s = *state;
    char *answer = api_server_ask(s, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");

    assert_true(text_starts_with(answer, "HTTP/1.1 200 OK\r\n"));
    assert_string_equal(answer + strlen(answer) - 4, "\r\n\r\n");
    assert_ptr_equal(strstr(answer, "\r\n\r\n"), answer + strlen(answer) - 4);
    free(answer);
}

static void test_browser_gets_the_page(void **state)
{
    api_server_expect(*state, "GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html,*/*\r\n\r\n", "HTTP/1.1 200 OK\r\n",
                      "<!DOCTYPE html>");
}

static void test_role_follows_the_lease_at_the_instant_of_the_answer(void **state)
{
    struct api_server *s = *state;

    /* The same connection is opened while the lease is valid, and asks when it no longer is (S5). */
    int fd = api_server_dial(s);
    char *answer;

    s->status.lease_deadline_us = __real_clock_now_us() + 20 * USEC_PER_MSEC;
    api_server_say(fd, "GET /primary HTTP/1.1\r\nHost: x\r\n");
    while (__real_clock_now_us() <= s->status.lease_deadline_us)
        api_server_turn(s);
    api_server_say(fd, "\r\n");
    answer = api_server_hear(s, fd);
    assert_true(text_starts_with(answer, "HTTP/1.1 503 "));
    assert_non_null(strstr(answer, "\"role\": \"demoted\""));
    free(answer);
    assert_int_equal(close(fd), 0);
}

static void test_target_too_long_is_refused(void **state)
{
    struct textbuf request = {0};

    textbuf_puts(&request, "GET /replica?tag_x=");
    for (int i = 0; i < 2000; i++)
        textbuf_puts(&request, "x");
    textbuf_puts(&request, " HTTP/1.1\r\nHost: x\r\n\r\n");
    api_server_expect(*state, request.data, "HTTP/1.1 414 ", "");
    textbuf_done(&request);
}

static void test_body_too_long_ends_the_connection(void **state)
{
    struct api_server *s = *state;
    static char junk[70000];
    int fd = api_server_dial(s);
    char *answer;

    api_server_say(fd, "POST /restart HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
    memset(junk, 'x', sizeof(junk));
    for (size_t sent = 0; sent < sizeof(junk);) {
        ssize_t n = send(fd, junk + sent, sizeof(junk) - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n > 0)
            sent += (size_t)n;
        else if (n < 0 && errno != EAGAIN)
            break;
        api_server_turn(s);
    }
    answer = api_server_hear(s, fd);
    assert_string_equal(answer, "");
    free(answer);
    assert_int_equal(s->asked, 0);
    assert_int_equal(close(fd), 0);
}

static void test_nonsense_does_no_harm(void **state)
{
    struct api_server *s = *state;
    static const char *const nonsense[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -5\r\nHost: x\r\n\r\n",
        ": : :\r\n: : :\r\n\r\n",
    };

    for (size_t i = 0; i < ARRAY_LEN(nonsense); i++) {
        int fd = api_server_dial(s);

        /* Some look like the beginning of a request; those connections end with their lifetime, which is made short. */
        clock_set_back_us = 9800 * USEC_PER_MSEC;
        api_server_say(fd, nonsense[i]);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        for (int j = 0; j < 3; j++)
            api_server_turn(s);
        clock_set_back_us = 0;
        free(api_server_hear(s, fd));
        assert_int_equal(close(fd), 0);
    }
    api_server_expect(s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "");
}

static void test_slow_clients_keep_nobody_waiting(void **state)
{
    struct api_server *s = *state;
    int slow[25];

    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        slow[i] = api_server_dial(s);
        api_server_say(slow[i], "GET / HTTP/1.1\r\nX-Slow: ");
        api_server_turn(s);
    }
    for (int i = 0; i < 20; i++) {
        for (size_t j = 0; j < ARRAY_LEN(slow); j++)
            api_server_say(slow[j], "x");
        api_server_expect(s, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "");
    }
    for (size_t j = 0; j < ARRAY_LEN(slow); j++)
        assert_int_equal(close(slow[j]), 0);
}

static void test_one_host_cannot_take_all_connections(void **state)
{
    struct api_server *s = *state;
    int fds[MANY];
    int closed = 0;
    char byte;

    for (int i = 0; i < MANY; i++) {
        fds[i] = api_server_dial(s);
        api_server_turn(s);
    }
    for (int i = 0; i < 20; i++)
        api_server_turn(s);
    for (int i = 0; i < MANY; i++) {
        if (recv(fds[i], &byte, 1, MSG_DONTWAIT) >= 0 || errno == ECONNRESET)
            closed++;
        assert_int_equal(close(fds[i]), 0);
    }
    assert_int_equal(closed, MANY - 32);
    /* … and gets them back as soon as it is done. */
    for (int i = 0; i < 20; i++)
        api_server_turn(s);
    api_server_expect(s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "");
}

static void test_client_that_trickles_its_request_is_cut_off(void **state)
{
    struct api_server *s = *state;
    uint64_t began_us = __real_clock_now_us(), spoke_us = began_us;
    bool open = true;
    char byte;
    int fd;

    /* Connections live ten seconds; this one is nine and a half seconds old when it is opened. */
    clock_set_back_us = 9500 * USEC_PER_MSEC;
    fd = api_server_dial(s);
    api_server_say(fd, "GET / HTTP/1.1\r\nX-Slow: ");
    while (s->asked == 0 && __real_clock_now_us() < began_us + 200 * USEC_PER_MSEC)
        api_server_turn(s);
    clock_set_back_us = 0;
    while (open && __real_clock_now_us() < began_us + API_PATIENCE_S * USEC_PER_SEC) {
        /* Slowly enough not to run into the limit of a request's size instead. */
        if (__real_clock_now_us() > spoke_us + 50 * USEC_PER_MSEC) {
            if (send(fd, "x", 1, MSG_NOSIGNAL) < 0)
                open = false;
            spoke_us = __real_clock_now_us();
        }
        api_server_turn(s);
        if (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno == ECONNRESET)
            open = false;
    }
    assert_false(open);
    assert_true(__real_clock_now_us() < began_us + 5 * USEC_PER_SEC);
    assert_int_equal(close(fd), 0);
}

static void test_port_in_use_is_an_error_with_the_address(void **state)
{
    struct api_server *s = *state;
    struct api_server second;
    struct err err = {0};

    api_server_init(&second);
    second.config.restapi.listen_port = api_port(s->api);
    assert_int_equal(api_server_start(&second, &err), -EADDRINUSE);
    assert_null(second.api);
    api_server_done(&second);
    assert_non_null(strstr(err.msg, "could not listen on \"127.0.0.1\" port "));
}

static void test_without_listen_host_both_families_are_served(void **state)
{
    struct api_server *s = *state;
    struct err err;

    s->api = api_free(s->api);
    s->config.restapi.listen_host = NULL;
    if (api_server_start(s, &err) < 0)
        fail_msg("%s", err.msg);
    api_server_expect(s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "");
}

int main(void)
{
#define LIVE(test) cmocka_unit_test_setup_teardown(test, set_up, api_server_tear_down)
    const struct CMUnitTest tests[] = {
        LIVE(test_get_is_answered_with_length_and_closed),
        LIVE(test_old_and_terse_clients_are_answered),
        LIVE(test_head_is_answered_without_a_body),
        LIVE(test_browser_gets_the_page),
        LIVE(test_role_follows_the_lease_at_the_instant_of_the_answer),
        LIVE(test_target_too_long_is_refused),
        LIVE(test_body_too_long_ends_the_connection),
        LIVE(test_nonsense_does_no_harm),
        LIVE(test_slow_clients_keep_nobody_waiting),
        LIVE(test_one_host_cannot_take_all_connections),
        LIVE(test_client_that_trickles_its_request_is_cut_off),
        LIVE(test_port_in_use_is_an_error_with_the_address),
        LIVE(test_without_listen_host_both_families_are_served),
    };

    return cmocka_run_group_tests_name("api_live", tests, NULL, NULL);
}
