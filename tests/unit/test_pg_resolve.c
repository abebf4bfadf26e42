/* Names are looked up by a child, and what is no name is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "base/text.h"
#include "pg/resolve.h"

static struct {
    sd_event *loop;
    char hosts[256], addresses[256];
    int code;
    unsigned calls;
} got;

static void on_resolved(void *userdata, const char *hosts, const char *addresses, const struct err *err)
{
    (void)userdata;
    got.calls++;
    got.code = err->code;
    (void)text_copy(got.hosts, sizeof(got.hosts), hosts ? hosts : "");
    (void)text_copy(got.addresses, sizeof(got.addresses), addresses ? addresses : "");
    (void)sd_event_exit(got.loop, 0);
}

static void look_up(const char *hosts, uint64_t timeout_us)
{
    struct resolve *r = NULL;
    struct err err = {0};

    got.calls = 0;
    assert_true(sd_event_new(&got.loop) >= 0);
    assert_int_equal(resolve_start(got.loop, hosts, timeout_us, on_resolved, NULL, &r, &err), 0);
    assert_int_equal(got.calls, 0);
    (void)sd_event_loop(got.loop);
    r = resolve_free(r);
    got.loop = sd_event_unref(got.loop);
    assert_int_equal(got.calls, 1);
}

static void test_addresses_directories_and_localhost_need_no_looking_up(void **state)
{
    (void)state;
    assert_false(resolve_is_needed("10.0.0.1"));
    assert_false(resolve_is_needed("10.0.0.1,::1,/run/postgresql,localhost"));
    assert_true(resolve_is_needed("db1"));
    assert_true(resolve_is_needed("10.0.0.1,db1"));
    assert_true(resolve_is_needed("10.0.0.256"));
}

static void test_each_name_stands_as_often_as_it_has_addresses(void **state)
{
    size_t hosts = 0, addresses = 0;

    (void)state;
    /* In capitals it is not the name that needs no looking up, but has an address on every machine. */
    look_up("10.0.0.1,LOCALHOST,/run/postgresql,localhost", 10000000);
    assert_int_equal(got.code, 0);
    assert_true(text_starts_with(got.hosts, "10.0.0.1,LOCALHOST,"));
    assert_true(text_starts_with(got.addresses, "10.0.0.1,"));
    assert_non_null(strstr(got.hosts, ",/run/postgresql,localhost"));
    assert_non_null(strstr(got.addresses, ",,127.0.0.1"));
    for (const char *c = got.hosts; *c; c++)
        hosts += *c == ',';
    for (const char *c = got.addresses; *c; c++)
        addresses += *c == ',';
    assert_int_equal(hosts, addresses);
}

static void test_a_name_without_an_address_is_left_out_and_none_at_all_is_a_failure(void **state)
{
    (void)state;
    look_up("no-such-host.invalid,10.0.0.1", 10000000);
    assert_int_equal(got.code, 0);
    assert_string_equal(got.hosts, "10.0.0.1");
    look_up("no-such-host.invalid", 10000000);
    assert_int_equal(got.code, -EHOSTUNREACH);
}

static void test_a_look_up_can_be_given_up(void **state)
{
    struct resolve *r = NULL;
    struct err err = {0};

    (void)state;
    got.calls = 0;
    assert_true(sd_event_new(&got.loop) >= 0);
    assert_int_equal(resolve_start(got.loop, "10.0.0.1", 1000000, on_resolved, NULL, &r, &err), -EINVAL);
    assert_int_equal(resolve_start(got.loop, "LOCALHOST", 0, on_resolved, NULL, &r, &err), -ETIMEDOUT);
    assert_int_equal(resolve_start(got.loop, "LOCALHOST", 1000000, on_resolved, NULL, &r, &err), 0);
    assert_null(resolve_free(r));
    assert_null(resolve_free(NULL));
    (void)sd_event_run(got.loop, 100000);
    assert_int_equal(got.calls, 0);
    got.loop = sd_event_unref(got.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_directories_and_localhost_need_no_looking_up),
        cmocka_unit_test(test_each_name_stands_as_often_as_it_has_addresses),
        cmocka_unit_test(test_a_name_without_an_address_is_left_out_and_none_at_all_is_a_failure),
        cmocka_unit_test(test_a_look_up_can_be_given_up),
    };

    return cmocka_run_group_tests_name("pg_resolve", tests, NULL, NULL);
}
