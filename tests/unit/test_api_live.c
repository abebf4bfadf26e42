/* The REST server on an ephemeral port of the loopback, asked with plain sockets from the loop it runs in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api/api.h"
#include "base/clock.h"
#include "base/text.h"

enum { PATIENCE_S = 30, MANY = 60 };

/* The server's clock can be set back, so that what it starts now ends soon. */
uint64_t __real_clock_now_us(void);
uint64_t __wrap_clock_now_us(void);
static uint64_t clock_set_back_us;

uint64_t __wrap_clock_now_us(void)
{
    return __real_clock_now_us() - clock_set_back_us;
}

struct fixture {
    sd_event *loop;
    struct config config;
    struct cluster cluster;
    struct node_status status;
    unsigned asked;
    struct api *api;
};

static void fake_status(void *userdata, struct node_status *ret)
{
    struct fixture *f = userdata;

    f->asked++;
    *ret = f->status;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct api_hooks hooks = {fake_status, f};
    static char localhost[] = "127.0.0.1";
    struct err err;

    assert_non_null(f);
    (void)signal(SIGPIPE, SIG_IGN);
    clock_set_back_us = 0;
    f->config.restapi.listen_host = localhost;
    f->status = (struct node_status){
        .scope = "demo",
        .name = "node0",
        .version = "4.1.4",
        .own_version = "0.1.0",
        .state = PG_STATE_RUNNING,
        .role = PG_ROLE_PRIMARY,
        .sql_ok = true,
        .tags_json = "{}",
        .lease_deadline_us = UINT64_MAX,
        .cluster = &f->cluster,
        .cluster_valid_until_us = UINT64_MAX,
        .policy = POLICY_DEFAULT,
    };
    assert_true(sd_event_new(&f->loop) >= 0);
    if (api_new(f->loop, &f->config, &hooks, &f->api, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_not_equal(api_port(f->api), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->api = api_free(f->api);
    sd_event_unref(f->loop);
    free(f);
    return 0;
}

/* One turn of the loop; fails the test when the server keeps the loop to itself. */
static void turn(struct fixture *f)
{
    uint64_t began_us = __real_clock_now_us(), took_us;

    assert_true(sd_event_run(f->loop, 10 * USEC_PER_MSEC) >= 0);
    took_us = __real_clock_now_us() - began_us;
    if (took_us > 2 * USEC_PER_SEC)
        fail_msg("one turn of the loop took %llu us", (unsigned long long)took_us);
}

static int dial(const struct fixture *f)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(api_port(f->api))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(inet_pton(AF_INET, "127.0.0.1", &addr.sin_addr), 1);
    assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Everything until the server closes; "" when it closes without a word. The caller frees. */
static char *hear(struct fixture *f, int fd)
{
    uint64_t until_us = __real_clock_now_us() + PATIENCE_S * USEC_PER_SEC;
    struct textbuf got = {0};
    char piece[4096];

    while (__real_clock_now_us() < until_us) {
        ssize_t n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);

        if (n > 0)
            textbuf_append(&got, piece, (size_t)n);
        else if (n == 0 || errno == ECONNRESET)
            return textbuf_take(&got);
        else
            turn(f);
    }
    textbuf_done(&got);
    fail_msg("the server did not close the connection");
    return NULL;
}

static char *ask(struct fixture *f, const char *request)
{
    int fd = dial(f);
    char *answer;

    say(fd, request);
    answer = hear(f, fd);
    assert_int_equal(close(fd), 0);
    return answer;
}

static void assert_answer(struct fixture *f, const char *request, const char *start, const char *part)
{
    char *answer = ask(f, request);

    if (!text_starts_with(answer, start) || !strstr(answer, part))
        fail_msg("asked: %s\nwanted \"%s\" and \"%s\", got:\n%s", request, start, part, answer);
    free(answer);
}

static void test_get_is_answered_with_length_and_closed(void **state)
{
    struct fixture *f = *state;

    assert_answer(f, "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\nContent-Length: ");
    assert_answer(f, "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\nConnection: close\r\n");
    assert_answer(f, "GET /patroni HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n",
                  "\r\nContent-Type: application/json\r\n");
    assert_answer(f, "GET /replica?lag=1MB HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503 ", "{\"state\": \"running\"");
}

static void test_old_and_terse_clients_are_answered(void **state)
{
    struct fixture *f = *state;

    assert_answer(f, "GET / HTTP/1.0\r\n\r\n", "HTTP/1.", " 200 OK\r\n");
    assert_answer(f, "OPTIONS / HTTP/1.0\r\n\r\n", "HTTP/1.", " 200 OK\r\n");
    /* load balancers' checks often come without a Host header */
    assert_answer(f, "OPTIONS /replica HTTP/1.1\r\n\r\n", "HTTP/1.1 503 ", "");
}

static void test_head_is_answered_without_a_body(void **state)
{
    struct fixture *f = *state;
    char *answer = ask(f, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");

    assert_true(text_starts_with(answer, "HTTP/1.1 200 OK\r\n"));
    assert_string_equal(answer + strlen(answer) - 4, "\r\n\r\n");
    assert_ptr_equal(strstr(answer, "\r\n\r\n"), answer + strlen(answer) - 4);
    free(answer);
}

static void test_browser_gets_the_page(void **state)
{
    assert_answer(*state, "GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html,*/*\r\n\r\n", "HTTP/1.1 200 OK\r\n",
                  "<!DOCTYPE html>");
}

static void test_role_follows_the_lease_at_the_instant_of_the_answer(void **state)
{
    struct fixture *f = *state;

    /* The same connection is opened while the lease is valid, and asks when it no longer is (S5). */
    int fd = dial(f);
    char *answer;

    f->status.lease_deadline_us = __real_clock_now_us() + 20 * USEC_PER_MSEC;
    say(fd, "GET /primary HTTP/1.1\r\nHost: x\r\n");
    while (__real_clock_now_us() <= f->status.lease_deadline_us)
        turn(f);
    say(fd, "\r\n");
    answer = hear(f, fd);
    assert_true(text_starts_with(answer, "HTTP/1.1 503 "));
    assert_non_null(strstr(answer, "\"role\": \"demoted\""));
    free(answer);
    assert_int_equal(close(fd), 0);
}

static void test_changing_requests_are_refused_in_words(void **state)
{
    struct fixture *f = *state;

    assert_answer(f, "POST /restart HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 501 ",
                  "\r\n\r\nnot supported by this version");
    assert_answer(f, "PATCH /config HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 501 ", "");
    assert_answer(f, "BREW /coffee HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 501 ", "");
}

static void test_target_too_long_is_refused(void **state)
{
    struct textbuf request = {0};

    textbuf_puts(&request, "GET /replica?tag_x=");
    for (int i = 0; i < 2000; i++)
        textbuf_puts(&request, "x");
    textbuf_puts(&request, " HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_answer(*state, request.data, "HTTP/1.1 414 ", "");
    textbuf_done(&request);
}

static void test_body_too_long_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    static char junk[70000];
    int fd = dial(f);
    char *answer;

    say(fd, "POST /restart HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
    memset(junk, 'x', sizeof(junk));
    for (size_t sent = 0; sent < sizeof(junk);) {
        ssize_t n = send(fd, junk + sent, sizeof(junk) - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n > 0)
            sent += (size_t)n;
        else if (n < 0 && errno != EAGAIN)
            break;
        turn(f);
    }
    answer = hear(f, fd);
    assert_string_equal(answer, "");
    free(answer);
    assert_int_equal(f->asked, 0);
    assert_int_equal(close(fd), 0);
}

static void test_nonsense_does_no_harm(void **state)
{
    struct fixture *f = *state;
    static const char *const nonsense[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -5\r\nHost: x\r\n\r\n",
        ": : :\r\n: : :\r\n\r\n",
    };

    for (size_t i = 0; i < ARRAY_LEN(nonsense); i++) {
        int fd = dial(f);

        /* Some look like the beginning of a request; those connections end with their lifetime, which is made short. */
        clock_set_back_us = 9800 * USEC_PER_MSEC;
        say(fd, nonsense[i]);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        for (int j = 0; j < 3; j++)
            turn(f);
        clock_set_back_us = 0;
        free(hear(f, fd));
        assert_int_equal(close(fd), 0);
    }
    assert_answer(f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "");
}

static void test_slow_clients_keep_nobody_waiting(void **state)
{
    struct fixture *f = *state;
    int slow[25];

    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        slow[i] = dial(f);
        say(slow[i], "GET / HTTP/1.1\r\nX-Slow: ");
        turn(f);
    }
    for (int i = 0; i < 20; i++) {
        for (size_t j = 0; j < ARRAY_LEN(slow); j++)
            say(slow[j], "x");
        assert_answer(f, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "");
    }
    for (size_t j = 0; j < ARRAY_LEN(slow); j++)
        assert_int_equal(close(slow[j]), 0);
}

static void test_one_host_cannot_take_all_connections(void **state)
{
    struct fixture *f = *state;
    int fds[MANY];
    int closed = 0;
    char byte;

    for (int i = 0; i < MANY; i++) {
        fds[i] = dial(f);
        turn(f);
    }
    for (int i = 0; i < 20; i++)
        turn(f);
    for (int i = 0; i < MANY; i++) {
        if (recv(fds[i], &byte, 1, MSG_DONTWAIT) >= 0 || errno == ECONNRESET)
            closed++;
        assert_int_equal(close(fds[i]), 0);
    }
    assert_int_equal(closed, MANY - 32);
    /* … and gets them back as soon as it is done. */
    for (int i = 0; i < 20; i++)
        turn(f);
    assert_answer(f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "");
}

static void test_client_that_trickles_its_request_is_cut_off(void **state)
{
    struct fixture *f = *state;
    uint64_t began_us = __real_clock_now_us();
    bool open = true;
    char byte;
    int fd;

    /* Connections live ten seconds; this one is nine and a half seconds old when it is opened. */
    clock_set_back_us = 9500 * USEC_PER_MSEC;
    fd = dial(f);
    say(fd, "GET / HTTP/1.1\r\nX-Slow: ");
    while (f->asked == 0 && __real_clock_now_us() < began_us + 200 * USEC_PER_MSEC)
        turn(f);
    clock_set_back_us = 0;
    while (open && __real_clock_now_us() < began_us + PATIENCE_S * USEC_PER_SEC) {
        if (send(fd, "x", 1, MSG_NOSIGNAL) < 0)
            open = false;
        turn(f);
        if (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno == ECONNRESET)
            open = false;
    }
    assert_false(open);
    assert_true(__real_clock_now_us() < began_us + 5 * USEC_PER_SEC);
    assert_int_equal(close(fd), 0);
}

static void test_port_in_use_is_an_error_with_the_address(void **state)
{
    struct fixture *f = *state;
    struct config other = f->config;
    struct api *second = NULL;
    struct err err = {0};

    other.restapi.listen_port = api_port(f->api);
    assert_int_equal(api_new(f->loop, &other, &(struct api_hooks){fake_status, f}, &second, &err), -EADDRINUSE);
    assert_null(second);
    assert_non_null(strstr(err.msg, "could not listen on \"127.0.0.1\" port "));
}

static void test_without_listen_host_both_families_are_served(void **state)
{
    struct fixture *f = *state;
    struct config other = f->config;
    struct err err;

    f->api = api_free(f->api);
    other.restapi.listen_host = NULL;
    if (api_new(f->loop, &other, &(struct api_hooks){fake_status, f}, &f->api, &err) < 0)
        fail_msg("%s", err.msg);
    assert_answer(f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "");
    f->api = api_free(f->api); /* its configuration ends with this function */
}

int main(void)
{
#define LIVE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        LIVE(test_get_is_answered_with_length_and_closed),
        LIVE(test_old_and_terse_clients_are_answered),
        LIVE(test_head_is_answered_without_a_body),
        LIVE(test_browser_gets_the_page),
        LIVE(test_role_follows_the_lease_at_the_instant_of_the_answer),
        LIVE(test_changing_requests_are_refused_in_words),
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
