#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "api/target.h"
#include "base/core.h"

static void test_target_when_it_has_a_query_is_split_and_decoded(void **state)
{
    struct target t;

    (void)state;
    assert_int_equal(target_parse("/replica?lag=16MB&tag_zone=eu%2Dwest+1&x=%00y&lag=1", &t), 0);
    assert_string_equal(t.path, "/replica");
    assert_int_equal(t.n_params, 4);
    assert_string_equal(target_param(&t, "lag"), "16MB");
    assert_string_equal(target_param(&t, "tag_zone"), "eu-west 1");
    assert_string_equal(target_param(&t, "x"), "%00y");
    assert_null(target_param(&t, "y"));
}

static void test_target_path_stays_as_it_was_sent(void **state)
{
    struct target t;

    (void)state;
    assert_int_equal(target_parse("/prim%61ry#x?lag=1", &t), 0);
    assert_string_equal(t.path, "/prim%61ry");
    assert_int_equal(t.n_params, 0);
    assert_int_equal(target_parse("http://10.0.0.1:8008/leader?a=b", &t), 0);
    assert_string_equal(t.path, "/leader");
    assert_int_equal(target_parse("http://10.0.0.1:8008", &t), 0);
    assert_string_equal(t.path, "");
    assert_int_equal(target_parse("*", &t), 0);
    assert_string_equal(t.path, "*");
}

static void test_target_params_without_value_are_dropped(void **state)
{
    struct target t;

    (void)state;
    assert_int_equal(target_parse("/x?a&b=&=c&&d=%&e=%4", &t), 0);
    assert_int_equal(t.n_params, 3);
    assert_string_equal(target_param(&t, ""), "c");
    assert_string_equal(target_param(&t, "d"), "%");
    assert_string_equal(target_param(&t, "e"), "%4");
}

static void test_target_when_a_part_is_too_long_is_refused(void **state)
{
    char raw[2048];
    struct target t;

    (void)state;
    memset(raw, 'a', sizeof(raw));
    raw[0] = '/';
    raw[TARGET_PATH_SIZE - 1] = '\0';
    assert_int_equal(target_parse(raw, &t), 0);
    raw[TARGET_PATH_SIZE - 1] = 'a';
    raw[TARGET_PATH_SIZE] = '\0';
    assert_int_equal(target_parse(raw, &t), -ENAMETOOLONG);

    memset(raw, 'a', sizeof(raw));
    raw[0] = '/';
    raw[1] = '?';
    raw[2 + TARGET_QUERY_SIZE - 1] = '\0';
    assert_int_equal(target_parse(raw, &t), 0);
    raw[2 + TARGET_QUERY_SIZE - 1] = 'a';
    raw[2 + TARGET_QUERY_SIZE] = '\0';
    assert_int_equal(target_parse(raw, &t), -ENAMETOOLONG);
}

static void test_target_when_there_are_too_many_params_is_refused(void **state)
{
    struct target t;

    (void)state;
    assert_int_equal(target_parse("/?1=1&2=2&3=3&4=4&5=5&6=6&7=7&8=8&9=9&a=a&b=b&c=c&d=d&e=e&f=f&g=g", &t), 0);
    assert_int_equal(t.n_params, TARGET_PARAMS_MAX);
    assert_int_equal(target_parse("/?1=1&2=2&3=3&4=4&5=5&6=6&7=7&8=8&9=9&a=a&b=b&c=c&d=d&e=e&f=f&g=g&h=h", &t),
                     -ENAMETOOLONG);
}

static void test_target_is_compares_the_first_part_of_the_path(void **state)
{
    static const struct {
        const char *raw;
        bool want;
    } rows[] = {{"/patroni", true},     {"/patroni/", true},  {"/patroni/x", true}, {"//patroni", true},
                {"/patroni?a=b", true}, {"/patroni2", false}, {"/patron", false},   {"/x/patroni", false},
                {"/", false},           {"", false}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct target t;

        assert_int_equal(target_parse(rows[i].raw, &t), 0);
        if (target_is(&t, "patroni") != rows[i].want)
            fail_msg("%s", rows[i].raw);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_target_when_it_has_a_query_is_split_and_decoded),
        cmocka_unit_test(test_target_path_stays_as_it_was_sent),
        cmocka_unit_test(test_target_params_without_value_are_dropped),
        cmocka_unit_test(test_target_when_a_part_is_too_long_is_refused),
        cmocka_unit_test(test_target_when_there_are_too_many_params_is_refused),
        cmocka_unit_test(test_target_is_compares_the_first_part_of_the_path),
    };

    return cmocka_run_group_tests_name("target", tests, NULL, NULL);
}
