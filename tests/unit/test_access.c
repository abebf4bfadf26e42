#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include "api/access.h"
#include "base/core.h"

static char network4[] = "10.1.0.0/20", host4[] = "192.0.2.7", network6[] = "2001:db8::/33", *list[3];
static char certificate[] = "/cert.pem", required[] = "required", user[] = "admin", password[] = "s3cret";

static struct sockaddr_storage address_of(const char *text)
{
    struct sockaddr_storage s = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&s;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&s;

    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        s.ss_family = AF_INET;
    } else {
        memset(&s, 0, sizeof(s));
        s.ss_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
    }
    return s;
}

static unsigned verdict_for(const struct access_rules *r, const struct cluster *cluster, const char *from)
{
    struct sockaddr_storage s = address_of(from);
    struct access_client client = {.address = (const struct sockaddr *)&s};

    return access_check(r, cluster, &client).status;
}

static struct config config_with(size_t n, bool members)
{
    struct config c = {0};

    list[0] = network4;
    list[1] = host4;
    list[2] = network6;
    c.restapi.allowlist.items = list;
    c.restapi.allowlist.n = n;
    c.restapi.allowlist_include_members = members;
    return c;
}

static struct access_rules *rules_of(const struct config *c)
{
    struct access_rules *r = NULL;
    struct err err = {0};

    if (access_new(c, &r, &err) < 0)
        fail_msg("%s", err.msg);
    return r;
}

static void test_list_when_there_is_none_lets_all_in(void **state)
{
    struct config c = config_with(0, false);
    CLEANUP(access_freep) struct access_rules *r = rules_of(&c);

    (void)state;
    assert_int_equal(verdict_for(r, NULL, "203.0.113.9"), 0);
}

static void test_list_lets_in_what_it_names(void **state)
{
    static const struct {
        const char *from;
        unsigned want;
    } rows[] = {
        {"10.1.0.1", 0},           {"10.1.15.255", 0},       {"10.1.16.0", 403}, {"192.0.2.7", 0},
        {"192.0.2.8", 403},        {"::ffff:192.0.2.7", 0},  {"2001:db8::1", 0}, {"2001:db8:7fff::1", 0},
        {"2001:db8:8000::1", 403}, {"::ffff:10.2.0.1", 403}, {"::1", 403},
    };
    struct config c = config_with(3, false);
    CLEANUP(access_freep) struct access_rules *r = rules_of(&c);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (verdict_for(r, NULL, rows[i].from) != rows[i].want)
            fail_msg("%s: wanted %u", rows[i].from, rows[i].want);
}

static void test_members_are_let_in_when_asked_for(void **state)
{
    struct member members[] = {{.api_url = "http://198.51.100.3:8008/patroni"},
                               {.api_url = "https://[2001:db8:ffff::3]:8008/patroni"},
                               {.api_url = "nonsense"},
                               {.api_url = "http://by-name:8008/patroni"}};
    struct cluster cluster = {.members = members, .n_members = ARRAY_LEN(members)};
    struct config c = config_with(0, true);
    CLEANUP(access_freep) struct access_rules *r = rules_of(&c);
    struct sockaddr_storage s = address_of("198.51.100.3");
    struct access_client client = {.address = (const struct sockaddr *)&s, .members_do_not_count = true};

    (void)state;
    assert_int_equal(verdict_for(r, &cluster, "198.51.100.3"), 0);
    assert_int_equal(verdict_for(r, &cluster, "2001:db8:ffff::3"), 0);
    assert_int_equal(verdict_for(r, &cluster, "198.51.100.4"), 403);
    assert_int_equal(verdict_for(r, NULL, "198.51.100.3"), 403);
    assert_int_equal(access_check(r, &cluster, &client).status, 0); /* without a list there is no rule for it */
}

static void test_certificate_when_demanded_must_be_there(void **state)
{
    struct config c = config_with(0, false);
    struct access_client client = {0};
    CLEANUP(access_freep) struct access_rules *r = rules_of(&c);

    (void)state;
    c.restapi.tls.certfile = certificate;
    assert_int_equal(access_check(r, NULL, &client).status, 0);
    c.restapi.tls.verify_client = required;
    assert_string_equal(access_check(r, NULL, &client).sentence, "client certificate required");
    client.has_certificate = true;
    assert_int_equal(access_check(r, NULL, &client).status, 0);
}

static void test_password_must_be_the_same(void **state)
{
    struct config c = config_with(0, false);
    CLEANUP(access_freep) struct access_rules *r = rules_of(&c);
    const char *const wrong[] = {"", "s3cre", "s3cret ", "S3cret"};
    struct access_client client = {.user = user};

    (void)state;
    c.restapi.username = user;
    c.restapi.password = password;
    assert_string_equal(access_check(r, NULL, &(struct access_client){0}).sentence, "no auth header received");
    assert_int_equal(access_check(r, NULL, &client).status, 401);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        client.password = wrong[i];
        assert_int_equal(access_check(r, NULL, &client).status, 401);
    }
    client.password = password;
    assert_int_equal(access_check(r, NULL, &client).status, 0);
    client.user = "root";
    assert_int_equal(access_check(r, NULL, &client).status, 401);
}

static void test_list_when_it_is_wrong_is_refused(void **state)
{
    static char bad[][24] = {"10.0.0.0/33", "10.0.0.0/", "2001:db8::/129", "x/8", "/8"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct config c = config_with(1, false);
        struct access_rules *r = NULL;
        struct err err = {0};

        list[0] = bad[i];
        assert_true(access_new(&c, &r, &err) < 0);
        assert_non_null(strstr(err.msg, "restapi.allowlist"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_when_there_is_none_lets_all_in),
        cmocka_unit_test(test_list_lets_in_what_it_names),
        cmocka_unit_test(test_members_are_let_in_when_asked_for),
        cmocka_unit_test(test_certificate_when_demanded_must_be_there),
        cmocka_unit_test(test_password_must_be_the_same),
        cmocka_unit_test(test_list_when_it_is_wrong_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
