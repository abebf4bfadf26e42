/* The parts of the etcd3 store that are functions of bytes and lists: nothing is asked here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "dcs/base64.h"
#include "dcs/etcd3_answer.h"
#include "dcs/etcd3_internal.h"
#include "dcs/etcd3_stream.h"

static int count_object(void *userdata, const char *text, size_t len)
{
    struct textbuf *b = userdata;

    textbuf_append(b, text, len);
    textbuf_puts(b, "|");
    return 0;
}

static void test_base64_is_strict_and_goes_both_ways(void **state)
{
    static const struct {
        const char *text, *base64;
    } rows[] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"\xff\xfe\xfd", "//79"}, {"\xfb\xef", "++8="}};
    static const char *const bad[] = {"Zg", "Zg=", "Zg=a", "Z===", "====", "Zm9v=", "Zm 9", "Zm9-", "=m9v"};
    char *text;
    size_t len;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct textbuf b = {0};

        textbuf_puts(&b, "");
        base64_append(&b, rows[i].text, strlen(rows[i].text));
        assert_string_equal(b.data, rows[i].base64);
        textbuf_done(&b);
        assert_int_equal(base64_decode(rows[i].base64, strlen(rows[i].base64), &text, &len), 0);
        assert_int_equal(len, strlen(rows[i].text));
        assert_string_equal(text, rows[i].text);
        free(text);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (base64_decode(bad[i], strlen(bad[i]), &text, &len) != -EBADMSG)
            fail_msg("\"%s\" was accepted", bad[i]);
}

static void test_etcd3_stream_is_cut_into_objects_wherever_its_pieces_end(void **state)
{
    static const char text[] = " {\"a\":\"}{\\\"\\\\\"}\n{\"b\":{\"c\":[{}]}}{}\r\n";
    static const char want[] = "{\"a\":\"}{\\\"\\\\\"}|{\"b\":{\"c\":[{}]}}|{}|";

    (void)state;
    for (size_t step = 1; step < sizeof(text); step++) {
        struct etcd3_stream s = {0};
        struct textbuf got = {0};

        for (size_t i = 0; i < sizeof(text) - 1; i += step) {
            size_t n = sizeof(text) - 1 - i < step ? sizeof(text) - 1 - i : step;

            assert_int_equal(etcd3_stream_feed(&s, text + i, n, count_object, &got), 0);
        }
        assert_string_equal(got.data, want);
        etcd3_stream_done(&s);
        textbuf_done(&got);
    }
}

static void test_etcd3_stream_refuses_what_is_no_object_or_too_long(void **state)
{
    static char big[1024 * 1024];
    struct textbuf got = {0};
    struct etcd3_stream s = {0};
    size_t sent = 1;
    int r = 0;

    (void)state;
    assert_int_equal(etcd3_stream_feed(&s, "[]", 2, count_object, &got), -EBADMSG);
    etcd3_stream_done(&s);
    assert_int_equal(etcd3_stream_feed(&s, "{}}", 3, count_object, &got), -EBADMSG);
    etcd3_stream_done(&s);
    assert_int_equal(etcd3_stream_feed(&s, "\0", 1, count_object, &got), -EBADMSG);
    etcd3_stream_done(&s);
    memset(big, ' ', sizeof(big));
    assert_int_equal(etcd3_stream_feed(&s, "{", 1, count_object, &got), 0);
    while (r == 0 && sent < 2 * (size_t)ETCD3_OBJECT_MAX) {
        r = etcd3_stream_feed(&s, big, sizeof(big), count_object, &got);
        sent += sizeof(big);
    }
    assert_int_equal(r, -EMSGSIZE);
    etcd3_stream_done(&s);
    textbuf_done(&got);
}

static void test_etcd3_decode_sorts_answers_by_what_is_certain(void **state)
{
    static const struct {
        const char *name, *body;
        int status;
        enum etcd3_kind want;
    } rows[] = {
        {"plain", "{\"header\":{}}", 200, ETCD3_OK},
        {"wrapped", "{\"result\":{\"TTL\":\"3\"}}", 200, ETCD3_OK},
        {"empty object", "{}", 200, ETCD3_OK},
        {"object with a bad status", "{}", 500, ETCD3_FAILED},
        {"no JSON", "x", 200, ETCD3_FAILED},
        {"two objects", "{}{}", 200, ETCD3_FAILED},
        {"nothing", "", 200, ETCD3_FAILED},
        {"array", "[{}]", 200, ETCD3_FAILED},
        {"not the gateway", "404 page not found\n", 404, ETCD3_WRONG_PATH},
        {"lease", "{\"error\":\"etcdserver: requested lease not found\",\"code\":5}", 404, ETCD3_NO_LEASE},
        {"lease, etcd 3.6", "{\"code\":5,\"message\":\"etcdserver: requested lease not found\",\"details\":[]}", 404,
         ETCD3_NO_LEASE},
        {"lease, in a stream", "{\"error\":{\"grpc_code\":5,\"message\":\"etcdserver: requested lease not found\"}}",
         200, ETCD3_NO_LEASE},
        {"same code, other text", "{\"error\":\"etcdserver: something not found\",\"code\":5}", 404, ETCD3_FAILED},
        {"text with more", "{\"error\":\"etcdserver: requested lease not found!\",\"code\":5}", 404, ETCD3_FAILED},
        {"exists", "{\"error\":\"etcdserver: lease already exists\",\"code\":9}", 412, ETCD3_LEASE_EXISTS},
        {"token", "{\"error\":\"etcdserver: invalid auth token\",\"code\":16}", 401, ETCD3_AUTH_NEEDED},
        {"no user", "{\"error\":\"etcdserver: user name is empty\",\"code\":3}", 400, ETCD3_AUTH_NEEDED},
        {"old token", "{\"error\":\"etcdserver: revision of auth store is old\",\"code\":3}", 400, ETCD3_AUTH_NEEDED},
        {"permission", "{\"error\":\"etcdserver: permission denied\",\"code\":7}", 403, ETCD3_AUTH_NEEDED},
        {"password", "{\"error\":\"etcdserver: authentication failed, invalid user ID or password\",\"code\":3}", 400,
         ETCD3_AUTH_WRONG},
        {"off", "{\"error\":\"etcdserver: authentication is not enabled\",\"code\":9}", 412, ETCD3_AUTH_OFF},
        {"timeout", "{\"error\":\"etcdserver: request timed out\",\"code\":14}", 503, ETCD3_FAILED},
        {"error of no type", "{\"error\":7}", 200, ETCD3_FAILED},
        {"error without text", "{\"error\":{}}", 200, ETCD3_FAILED},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *json = NULL;
        struct err err = {0};
        enum etcd3_kind got = etcd3_decode(rows[i].status, rows[i].body, strlen(rows[i].body), &json, &err);

        if (got != rows[i].want || (got == ETCD3_OK) != (json != NULL) || (got != ETCD3_OK && err.code >= 0))
            fail_msg("%s: got %d (%s)", rows[i].name, (int)got, err.msg);
        json_decref(json);
    }
}

static void test_etcd3_version_decides_the_path_and_too_old_is_told(void **state)
{
    static const struct {
        const char *version, *prefix;
        int code;
    } rows[] = {
        {"3.3.0", "/v3beta", 0},
        {"3.4.0", "/v3", 0},
        {"3.10.1", "/v3", 0},
        {"4.0.0", "/v3", 0},
        {"3.2.9", NULL, -EPROTONOSUPPORT},
        {"2.3.8", NULL, -EPROTONOSUPPORT},
        {"not_decided", NULL, -EAGAIN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *json = json_pack("{s:s}", "etcdcluster", rows[i].version);
        const char *prefix = NULL;
        struct err err = {0};

        assert_int_equal(etcd3_read_version(json, &prefix, &err), rows[i].code);
        assert_true(text_equal(prefix, rows[i].prefix));
        json_decref(json);
    }
}

static void test_etcd3_endpoints_leave_out_addresses_that_cannot_be_meant_for_us(void **state)
{
    struct etcd3_endpoints plain = {0}, encrypted = {0};
    json_t *members =
        json_pack("[{s:[s,s,s,s,s,s]}]", "clientURLs", "http://10.0.0.2:2379", "https://10.0.0.2:2379/",
                  "http://localhost:2379", "http://127.0.0.1:2379", "http://0.0.0.0:2379", "unix:///run/etcd");

    (void)state;
    assert_int_equal(etcd3_endpoints_add(&plain, "http://10.0.0.1:2379/", true), 0);
    etcd3_endpoints_discovered(&plain, members);
    assert_int_equal(plain.n, 3);
    assert_string_equal(plain.items[0].url, "http://10.0.0.1:2379");
    assert_int_equal(etcd3_endpoints_add(&encrypted, "https://10.0.0.1:2379", true), 0);
    etcd3_endpoints_discovered(&encrypted, members);
    assert_int_equal(encrypted.n, 2);
    assert_string_equal(encrypted.items[1].url, "https://10.0.0.2:2379");
    json_decref(members);

    /* Gone from the list, gone from ours; the configured one stays, and so does who is preferred. */
    plain.preferred = 2;
    members = json_pack("[{s:[s]}]", "clientURLs", "https://10.0.0.2:2379");
    etcd3_endpoints_discovered(&plain, members);
    assert_int_equal(plain.n, 2);
    assert_string_equal(plain.items[plain.preferred].url, "https://10.0.0.2:2379");
    json_decref(members);
    etcd3_endpoints_done(&plain);
    etcd3_endpoints_done(&encrypted);
}

static void test_etcd3_endpoints_order_puts_failures_last(void **state)
{
    const char *order[ETCD3_ENDPOINTS_MAX + 1];
    struct etcd3_endpoints l = {0};
    uint64_t now_us = 100 * USEC_PER_SEC;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(etcd3_endpoints_add(&l, (const char *[]){"http://a", "http://b", "http://c"}[i], true), 0);
    etcd3_endpoints_answered(&l, "http://b", now_us);
    etcd3_endpoints_failed(&l, "http://c", "x", now_us);
    etcd3_endpoints_order(&l, now_us, order);
    assert_string_equal(order[0], "http://b");
    assert_string_equal(order[1], "http://a");
    assert_string_equal(order[2], "http://c");
    assert_null(order[3]);
    etcd3_endpoints_order(&l, now_us + 11 * USEC_PER_SEC, order);
    assert_string_equal(order[1], "http://c");
    etcd3_endpoints_done(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64_is_strict_and_goes_both_ways),
        cmocka_unit_test(test_etcd3_stream_is_cut_into_objects_wherever_its_pieces_end),
        cmocka_unit_test(test_etcd3_stream_refuses_what_is_no_object_or_too_long),
        cmocka_unit_test(test_etcd3_decode_sorts_answers_by_what_is_certain),
        cmocka_unit_test(test_etcd3_version_decides_the_path_and_too_old_is_told),
        cmocka_unit_test(test_etcd3_endpoints_leave_out_addresses_that_cannot_be_meant_for_us),
        cmocka_unit_test(test_etcd3_endpoints_order_puts_failures_last),
    };

    return cmocka_run_group_tests_name("etcd3 answers", tests, NULL, NULL);
}
