#include "api_server.h"
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
#include <time.h>
#include "base/clock.h"
#include "base/text.h"

static char localhost[] = "127.0.0.1";

static void fake_status(void *userdata, struct node_status *ret)
{
    struct api_server *s = userdata;

    s->asked++;
    *ret = s->status;
}

static void fake_command(void *userdata, struct command *command)
{
    struct api_server *s = userdata;

    s->commands++;
    s->kind = command->kind;
    (void)text_copy(s->body, sizeof(s->body), command->body ? command->body : "");
    if (s->answer_at_once)
        command_answer_text(command, 202, "done at once");
    else
        s->command = command;
}

void api_server_init(struct api_server *s)
{
    (void)signal(SIGPIPE, SIG_IGN);
    *s = (struct api_server){.config.restapi.listen_host = localhost};
    s->status = (struct node_status){
        .scope = "demo",
        .name = "node0",
        .version = "4.1.4",
        .own_version = "0.1.0",
        .state = PG_STATE_RUNNING,
        .role = PG_ROLE_PRIMARY,
        .sql_ok = true,
        .tags_json = "{}",
        .lease_deadline_us = UINT64_MAX,
        .cluster = &s->cluster,
        .cluster_valid_until_us = UINT64_MAX,
        .policy = POLICY_DEFAULT,
    };
    assert_true(sd_event_new(&s->loop) >= 0);
}

int api_server_start(struct api_server *s, struct err *err)
{
    const struct api_hooks hooks = {fake_status, fake_command, s};

    return api_new(s->loop, &s->config, &hooks, &s->api, err);
}

void api_server_done(struct api_server *s)
{
    s->api = api_free(s->api);
    s->loop = sd_event_unref(s->loop);
}

/* Not clock_now_us(), which a test may have replaced. */
static uint64_t real_now_us(void)
{
    struct timespec now;

    assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &now), 0);
    return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

void api_server_turn(struct api_server *s)
{
    uint64_t began_us = real_now_us(), took_us;

    assert_true(sd_event_run(s->loop, 10 * USEC_PER_MSEC) >= 0);
    took_us = real_now_us() - began_us;
    if (took_us > 2 * USEC_PER_SEC)
        fail_msg("one turn of the loop took %llu us", (unsigned long long)took_us);
}

int api_server_dial(const struct api_server *s)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(api_port(s->api))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(inet_pton(AF_INET, localhost, &addr.sin_addr), 1);
    assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

void api_server_say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

char *api_server_hear(struct api_server *s, int fd)
{
    uint64_t until_us = real_now_us() + API_PATIENCE_S * USEC_PER_SEC;
    struct textbuf got = {0};
    char piece[4096];

    while (real_now_us() < until_us) {
        ssize_t n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);

        if (n > 0)
            textbuf_append(&got, piece, (size_t)n);
        else if (n == 0 || errno == ECONNRESET)
            return textbuf_take(&got);
        else
            api_server_turn(s);
    }
    textbuf_done(&got);
    fail_msg("the server did not close the connection");
    return NULL;
}

int api_server_set_up(void **state)
{
    struct api_server *s = calloc(1, sizeof(*s));
    struct err err;

    assert_non_null(s);
    api_server_init(s);
    if (api_server_start(s, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_not_equal(api_port(s->api), 0);
    *state = s;
    return 0;
}

int api_server_tear_down(void **state)
{
    api_server_done(*state);
    free(*state);
    return 0;
}

char *api_server_ask(struct api_server *s, const char *request)
{
    int fd = api_server_dial(s);
    char *answer;

    api_server_say(fd, request);
    answer = api_server_hear(s, fd);
    assert_int_equal(close(fd), 0);
    return answer;
}

void api_server_expect(struct api_server *s, const char *request, const char *start, const char *part)
{
    char *answer = api_server_ask(s, request);

    if (!text_starts_with(answer, start) || !strstr(answer, part))
        fail_msg("asked: %s\nwanted \"%s\" and \"%s\", got:\n%s", request, start, part, answer);
    free(answer);
}
