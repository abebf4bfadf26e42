/* Requests that change something: who may ask, what must come with them, and answers that take their time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api_server.h"
#include "base/text.h"

static char user[] = "admin", password[] = "s3cret";

static int set_up(void **state)
{
    struct api_server *s;

    (void)api_server_set_up(state);
    s = *state;
    s->answer_at_once = true;
    return 0;
}

static void test_command_when_answered_at_once_is_answered(void **state)
{
    struct api_server *s = *state;

    api_server_expect(s, "PATCH /config HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{\"ttl\": 9}", "HTTP/1.1 202 ",
                      "\r\n\r\ndone at once");
    assert_int_equal(s->kind, COMMAND_PATCH_CONFIG);
    assert_string_equal(s->body, "{\"ttl\": 9}");
    api_server_expect(s, "POST /reload HTTP/1.0\r\n\r\n", "HTTP/1.", " 202 ");
    assert_int_equal(s->kind, COMMAND_RELOAD);
    assert_string_equal(s->body, "");
    api_server_expect(s, "DELETE /switchover HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 202 ", "");
    assert_int_equal(s->kind, COMMAND_CANCEL_SWITCHOVER);
}

/* Runs the loop until the server has handed a command on. */
static struct command *wait_for_command(struct api_server *s)
{
    for (unsigned i = 0; i < 3000 && !s->command; i++)
        api_server_turn(s);
    assert_non_null(s->command);
    return STEAL(s->command);
}

static void test_command_when_answered_later_keeps_the_client_and_no_one_else(void **state)
{
    struct api_server *s = *state;
    struct command *command;
    char *answer;
    int fd = api_server_dial(s);

    s->answer_at_once = false;
    api_server_say(fd, "POST /restart HTTP/1.1\r\nHost: x\r\n\r\n");
    command = wait_for_command(s);
    assert_int_equal(command->kind, COMMAND_RESTART);
    assert_null(command->body);
    api_server_expect(s, "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "");
    command_answer_json(command, 200, strdup("{\"restarted\": true}"));
    answer = api_server_hear(s, fd);
    assert_true(text_starts_with(answer, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(answer, "\r\n\r\n{\"restarted\": true}"));
    free(answer);
    assert_int_equal(close(fd), 0);
    assert_int_equal(s->commands, 1);
}

static void test_command_when_its_client_is_gone_can_still_be_answered(void **state)
{
    struct api_server *s = *state;
    struct command *command;
    int fd = api_server_dial(s);

    s->answer_at_once = false;
    api_server_say(fd, "POST /restart HTTP/1.1\r\nHost: x\r\n\r\n");
    command = wait_for_command(s);
    assert_int_equal(close(fd), 0);
    api_server_turn(s);
    command_answer_text(command, 200, "restarted successfully");
    api_server_expect(s, "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "");
}

static void test_command_when_the_server_ends_can_still_be_answered(void **state)
{
    struct api_server *s = *state;
    struct command *command;
    int fd = api_server_dial(s);

    s->answer_at_once = false;
    api_server_say(fd, "POST /restart HTTP/1.1\r\nHost: x\r\n\r\n");
    command = wait_for_command(s);
    s->api = api_free(s->api);
    command_answer_text(command, 200, "restarted successfully");
    assert_int_equal(close(fd), 0);
}

static void test_extra_header_of_an_answer_is_sent(void **state)
{
    struct api_server *s = *state;
    struct command_answer with_lsn = {.status = 200, .content_type = "text/html", .header = "lsn", .header_value = "7"};
    struct command *command;
    char *answer;
    int fd = api_server_dial(s);

    s->answer_at_once = false;
    api_server_say(fd, "POST /failsafe HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
    command = wait_for_command(s);
    with_lsn.body = strdup("Accepted");
    command->answer(command, &with_lsn);
    answer = api_server_hear(s, fd);
    assert_non_null(strstr(answer, "\r\nlsn: 7\r\n"));
    free(answer);
    assert_int_equal(close(fd), 0);
}

static void test_body_that_is_needed_must_be_an_object(void **state)
{
    struct api_server *s = *state;

    api_server_expect(s, "POST /switchover HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 411 ", "");
    api_server_expect(s, "POST /switchover HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 400 ", "");
    api_server_expect(s, "PUT /config HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n[{}]", "HTTP/1.1 400 ", "");
    api_server_expect(s, "POST /restart HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{\"a\"", "HTTP/1.1 400 ", "");
    assert_int_equal(s->commands, 0);
    api_server_expect(s, "POST /restart HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 202 ", "");
}

static void test_body_when_too_long_is_refused(void **state)
{
    struct api_server *s = *state;
    struct textbuf request = {0};
    char *answer;

    textbuf_puts(&request, "PATCH /config HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n");
    for (unsigned i = 0; i < 7000; i++)
        textbuf_puts(&request, "          ");
    answer = api_server_ask(s, request.data);
    assert_string_equal(answer, "");
    free(answer);
    textbuf_done(&request);
    assert_int_equal(s->commands, 0);
}

static void test_password_when_one_is_set_must_be_right(void **state)
{
    struct api_server *s = *state;

    s->config.restapi.username = user;
    s->config.restapi.password = password;
    api_server_expect(s, "POST /reload HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 401 ", "no auth header received");
    api_server_expect(s, "POST /reload HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 401 ",
                      "\r\nWWW-Authenticate: Basic realm=\"Patroni\"\r\n");
    api_server_expect(s, "POST /reload HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46d3Jvbmc=\r\n\r\n",
                      "HTTP/1.1 401 ", "not authenticated");
    assert_int_equal(s->commands, 0);
    api_server_expect(s, "POST /reload HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46czNjcmV0\r\n\r\n",
                      "HTTP/1.1 202 ", "");
    /* reading stays open to all */
    api_server_expect(s, "GET /patroni HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "");
}

static void test_what_nobody_knows_is_not_supported(void **state)
{
    api_server_expect(*state, "POST /nonsense HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 501 ",
                      "\r\n\r\nnot supported by this version");
    api_server_expect(*state, "BREW /coffee HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 501 ", "");
}

int main(void)
{
#define LIVE(test) cmocka_unit_test_setup_teardown(test, set_up, api_server_tear_down)
    const struct CMUnitTest tests[] = {
        LIVE(test_command_when_answered_at_once_is_answered),
        LIVE(test_command_when_answered_later_keeps_the_client_and_no_one_else),
        LIVE(test_command_when_its_client_is_gone_can_still_be_answered),
        LIVE(test_command_when_the_server_ends_can_still_be_answered),
        LIVE(test_extra_header_of_an_answer_is_sent),
        LIVE(test_body_that_is_needed_must_be_an_object),
        LIVE(test_body_when_too_long_is_refused),
        LIVE(test_password_when_one_is_set_must_be_right),
        LIVE(test_what_nobody_knows_is_not_supported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
