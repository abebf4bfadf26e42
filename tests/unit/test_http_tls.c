/* The HTTP client over TLS, against "openssl s_server"; skipped where there is no openssl program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "io/child.h"
#include "io/file.h"
#include "io/http.h"

static char dir[] = "/tmp/pgtether-test-tls-XXXXXX";
static char cert[PATH_MAX], other_cert[PATH_MAX], key[PATH_MAX], encrypted_key[PATH_MAX];
static bool have_openssl;

struct world {
    sd_event *loop;
    struct child *server;
    char port[16];
    int done;
    struct http_answer answer;
    char message[512];
};

/* "ACCEPT 127.0.0.1:34567" */
static void on_line(void *userdata, const char *line)
{
    struct world *w = userdata;

    if (text_starts_with(line, "ACCEPT 127.0.0.1:"))
        (void)text_copy(w->port, sizeof(w->port), strrchr(line, ':') + 1);
}

static void turn_until(struct world *w, const char *text, const int *count)
{
    uint64_t give_up_us = clock_now_us() + 30 * USEC_PER_SEC;

    while (!*text && *count == 0 && clock_now_us() < give_up_us)
        assert_true(sd_event_run(w->loop, 50 * USEC_PER_MSEC) >= 0);
    assert_true(*text || *count);
}

static void world_open(struct world *w, bool ask_for_client_certificate)
{
    static const int never = 0;
    const char *argv[16] = {"openssl", "s_server", "-accept", "127.0.0.1:0", "-www", "-cert", cert, "-key", key};
    struct child_spec spec = {.argv = argv, .on_line = on_line};
    struct err err = {0};

    if (!have_openssl)
        skip();
    if (ask_for_client_certificate) {
        const char *more[] = {"-Verify", "1", "-verify_return_error", "-CAfile", cert};

        memcpy(&argv[9], more, sizeof(more));
    }
    *w = (struct world){0};
    assert_true(sd_event_new(&w->loop) >= 0);
    if (child_start(w->loop, &spec, NULL, w, &w->server, &err) < 0)
        fail_msg("%s", err.msg);
    turn_until(w, w->port, &never);
}

static void world_close(struct world *w)
{
    w->server = child_free(w->server);
    w->loop = sd_event_unref(w->loop);
}

static void on_done(void *userdata, const struct http_answer *answer)
{
    struct world *w = userdata;

    w->done++;
    w->answer = *answer;
    (void)text_copy(w->message, sizeof(w->message), answer->message);
}

static void ask(struct world *w, struct http *h, const char *host)
{
    char url[64];
    struct http_call call = {.method = "GET", .path = "/", .endpoints = (const char *const[]){url, NULL}};

    assert_true(text_print(url, sizeof(url), "https://%s:%s", host, w->port));
    call.deadline_us = clock_now_us() + 20 * USEC_PER_SEC;
    w->done = 0;
    assert_int_equal(http_start(h, &call, NULL, on_done, w, NULL, NULL), 0);
    turn_until(w, "", &w->done);
}

static void test_http_tls_verifies_the_server_unless_told_not_to(void **state)
{
    const struct {
        const char *name, *host;
        struct http_tls tls;
        int error;
    } rows[] = {
        {"right authority", "127.0.0.1", {.ca_file = cert}, 0},
        {"other authority", "127.0.0.1", {.ca_file = other_cert}, -EPROTO},
        {"system's authorities", "127.0.0.1", {0}, -EPROTO},
        {"other name", "localhost", {.ca_file = cert}, -EPROTO},
        {"insecure", "127.0.0.1", {.insecure = true}, 0},
        {"insecure with other name", "localhost", {.insecure = true}, 0},
        {"no such file", "127.0.0.1", {.ca_file = "/no/such/file"}, -EINVAL},
    };
    CLEANUP(world_close) struct world w = {0};

    (void)state;
    world_open(&w, false);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(http_freep) struct http *h = NULL;

        assert_int_equal(http_new(w.loop, &rows[i].tls, &h, NULL), 0);
        ask(&w, h, rows[i].host);
        if (w.answer.error != rows[i].error || w.answer.maybe_executed != (rows[i].error == 0))
            fail_msg("%s: error %d (%s), maybe executed %d", rows[i].name, w.answer.error, w.message,
                     w.answer.maybe_executed);
    }
}

static void test_http_tls_shows_the_client_certificate(void **state)
{
    const struct {
        const char *name;
        struct http_tls tls;
        bool accepted;
        int error; /* if not accepted; 0: one of several */
    } rows[] = {
        {"plain key", {.ca_file = cert, .cert_file = cert, .key_file = key}, true, 0},
        {"encrypted key",
         {.ca_file = cert, .cert_file = cert, .key_file = encrypted_key, .key_password = "geheim"},
         true,
         0},
        {"wrong password",
         {.ca_file = cert, .cert_file = cert, .key_file = encrypted_key, .key_password = "x"},
         false,
         -EINVAL},
        {"no password", {.ca_file = cert, .cert_file = cert, .key_file = encrypted_key}, false, -EINVAL},
        {"no certificate", {.ca_file = cert}, false, 0},
        {"missing key", {.ca_file = cert, .cert_file = cert, .key_file = "/no/such/file"}, false, -EINVAL},
    };
    CLEANUP(world_close) struct world w = {0};

    (void)state;
    world_open(&w, true);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(http_freep) struct http *h = NULL;

        assert_int_equal(http_new(w.loop, &rows[i].tls, &h, NULL), 0);
        ask(&w, h, "127.0.0.1");
        if ((w.answer.error == 0) != rows[i].accepted || (rows[i].error && w.answer.error != rows[i].error))
            fail_msg("%s: error %d (%s)", rows[i].name, w.answer.error, w.message);
        assert_null(strstr(w.message, "geheim"));
    }
}

static void test_http_tls_renewed_files_are_picked_up(void **state)
{
    CLEANUP(world_close) struct world w = {0};
    CLEANUP(http_freep) struct http *h = NULL;
    CLEANUP(freep) char *right = NULL;
    CLEANUP(freep) char *wrong = NULL;
    char ca[PATH_MAX];
    struct http_tls tls = {.ca_file = ca};

    (void)state;
    world_open(&w, false);
    assert_true(text_print(ca, sizeof(ca), "%s/ca.crt", dir));
    assert_int_equal(file_read(cert, 65536, &right, NULL, NULL), 0);
    assert_int_equal(file_read(other_cert, 65536, &wrong, NULL, NULL), 0);
    assert_int_equal(http_new(w.loop, &tls, &h, NULL), 0);
    for (int i = 0; i < 3; i++) {
        const char *text = i == 1 ? right : wrong;

        assert_int_equal(file_write_atomic(ca, text, strlen(text), 0600, NULL), 0);
        ask(&w, h, "127.0.0.1");
        assert_int_equal(w.answer.error, i == 1 ? 0 : -EPROTO);
    }
}

static void test_http_plain_request_to_a_tls_server_fails(void **state)
{
    CLEANUP(world_close) struct world w = {0};
    CLEANUP(http_freep) struct http *h = NULL;
    char url[64];
    struct http_call call = {.method = "GET", .path = "/", .endpoints = (const char *const[]){url, NULL}};

    (void)state;
    world_open(&w, false);
    assert_int_equal(http_new(w.loop, NULL, &h, NULL), 0);
    assert_true(text_print(url, sizeof(url), "http://127.0.0.1:%s", w.port));
    call.deadline_us = clock_now_us() + 20 * USEC_PER_SEC;
    assert_int_equal(http_start(h, &call, NULL, on_done, &w, NULL, NULL), 0);
    turn_until(&w, "", &w.done);
    assert_true(w.answer.error < 0);
    assert_true(w.answer.maybe_executed);
}

static int make_certificate(const char *crt, const char *key_path, const char *san)
{
    char command[4 * PATH_MAX];

    if (!text_print(command, sizeof(command),
                    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test "
                    "-addext subjectAltName=%s -keyout %s -out %s 2>/dev/null",
                    san, key_path, crt))
        return -1;
    return system(command);
}

static int make_files(void **state)
{
    char other_key[PATH_MAX], command[4 * PATH_MAX];

    (void)state;
    if (!mkdtemp(dir))
        return -1;
    if (system("command -v openssl >/dev/null 2>&1") != 0)
        return 0;
    (void)text_print(cert, sizeof(cert), "%s/server.crt", dir);
    (void)text_print(key, sizeof(key), "%s/server.key", dir);
    (void)text_print(encrypted_key, sizeof(encrypted_key), "%s/encrypted.key", dir);
    (void)text_print(other_cert, sizeof(other_cert), "%s/other.crt", dir);
    (void)text_print(other_key, sizeof(other_key), "%s/other.key", dir);
    (void)text_print(command, sizeof(command), "openssl ec -in %s -out %s -aes256 -passout pass:geheim 2>/dev/null",
                     key, encrypted_key);
    if (make_certificate(cert, key, "IP:127.0.0.1") != 0 || make_certificate(other_cert, other_key, "DNS:other") != 0 ||
        system(command) != 0)
        return -1;
    have_openssl = true;
    return 0;
}

static int remove_files(void **state)
{
    char command[sizeof(dir) + 16];

    (void)state;
    assert_true(text_print(command, sizeof(command), "rm -rf %s", dir));
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_tls_verifies_the_server_unless_told_not_to),
        cmocka_unit_test(test_http_tls_shows_the_client_certificate),
        cmocka_unit_test(test_http_tls_renewed_files_are_picked_up),
        cmocka_unit_test(test_http_plain_request_to_a_tls_server_fails),
    };

    return cmocka_run_group_tests_name("http_tls", tests, make_files, remove_files);
}
