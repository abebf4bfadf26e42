#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <math.h>
#include "config/suggest.h"
#include "config/value.h"
#include "base/core.h"

static const struct {
    const char *text;
    enum value_unit unit;
    bool ok;
    int64_t want;
} numbers[] = {
    {"0", VALUE_PLAIN, true, 0},
    {"-1", VALUE_PLAIN, true, -1},
    {"+7", VALUE_PLAIN, true, 7},
    {" 7", VALUE_PLAIN, true, 7},
    {"0x10", VALUE_PLAIN, true, 16},
    {"010", VALUE_PLAIN, true, 8},
    {"08", VALUE_PLAIN, false, 0},
    {"1.5", VALUE_PLAIN, true, 2},
    {"-1.5", VALUE_PLAIN, true, -2},
    {"1.4", VALUE_PLAIN, true, 1},
    {"1e3", VALUE_PLAIN, true, 1000},
    {".5", VALUE_PLAIN, true, 1},
    {"9223372036854775807", VALUE_PLAIN, true, INT64_MAX},
    {"9223372036854775808", VALUE_PLAIN, false, 0},
    {"-9223372036854775808", VALUE_PLAIN, true, INT64_MIN},
    {"1e19", VALUE_PLAIN, false, 0},
    {"", VALUE_PLAIN, false, 0},
    {".", VALUE_PLAIN, false, 0},
    {"inf", VALUE_PLAIN, false, 0},
    {"nan", VALUE_PLAIN, false, 0},
    {"1x", VALUE_PLAIN, false, 0},
    {"1s", VALUE_PLAIN, false, 0},
    {"16MB", VALUE_BYTES, true, 16777216},
    {"16 mb", VALUE_BYTES, true, 16777216},
    {"1kB", VALUE_BYTES, true, 1024},
    {"1.5GB", VALUE_BYTES, true, 1610612736},
    {"2TB", VALUE_BYTES, true, INT64_C(2199023255552)},
    {"7B", VALUE_BYTES, true, 7},
    {"16min", VALUE_BYTES, false, 0},
    {"9999999TB", VALUE_BYTES, false, 0},
    {"30", VALUE_SECONDS, true, 30},
    {"30s", VALUE_SECONDS, true, 30},
    {"30min", VALUE_SECONDS, true, 1800},
    {"1h", VALUE_SECONDS, true, 3600},
    {"1d", VALUE_SECONDS, true, 86400},
    {"1499ms", VALUE_SECONDS, true, 1},
    {"1500ms", VALUE_SECONDS, true, 2},
    {"500000us", VALUE_SECONDS, true, 1},
    {"1.5min", VALUE_SECONDS, true, 90},
    {"1 s s", VALUE_SECONDS, false, 0},
};

static void test_value_to_int_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        int64_t got = 4711;
        bool ok = value_to_int(numbers[i].text, numbers[i].unit, &got);

        if (ok != numbers[i].ok || got != (ok ? numbers[i].want : 4711))
            fail_msg("\"%s\": %s, %" PRId64, numbers[i].text, ok ? "accepted" : "refused", got);
    }
}

static void test_value_to_bool_takes_all_spellings_and_nothing_else(void **state)
{
    static const char *const on[] = {"on", "TRUE", "Yes", "1"}, *const off[] = {"off", "False", "NO", "0"};
    static const char *const neither[] = {"", "2", "onn", "t", " on", "-1"};
    bool flag;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(on); i++) {
        assert_true(value_to_bool(on[i], &flag) && flag);
        assert_true(value_to_bool(off[i], &flag) && !flag);
    }
    for (size_t i = 0; i < ARRAY_LEN(neither); i++)
        assert_false(value_to_bool(neither[i], &flag));
}

static void test_value_round_refuses_what_does_not_fit(void **state)
{
    int64_t got = 7;

    (void)state;
    assert_false(value_round(0x1p63, &got));
    assert_false(value_round((double)NAN, &got));
    assert_false(value_round((double)-INFINITY, &got));
    assert_true(got == 7);
    assert_true(value_round(-0x1p63, &got));
    assert_true(got == INT64_MIN);
}

static void test_value_print_double_is_short_and_exact(void **state)
{
    char buf[64];

    (void)state;
    value_print_double(1.1, buf, sizeof(buf));
    assert_string_equal(buf, "1.1");
    value_print_double(4, buf, sizeof(buf));
    assert_string_equal(buf, "4");
    value_print_double(0.1 + 0.2, buf, sizeof(buf));
    assert_string_equal(buf, "0.30000000000000004");
}

static void test_suggest_distance_counts_edits(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance("ttl", "ttl"), 0);
    assert_int_equal(suggest_distance("ttl", ""), 3);
    assert_int_equal(suggest_distance("lop_wait", "loop_wait"), 1);
    assert_int_equal(suggest_distance("nmae", "name"), 1); /* a swap is one */
    assert_int_equal(suggest_distance("Bin-Dir", "bin_dir"), 0);
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
}

static void test_suggest_offers_the_nearest_and_only_what_is_near(void **state)
{
    struct suggest near = SUGGEST_FOR("retry_timout"), far = SUGGEST_FOR("colour"), tiny = SUGGEST_FOR("tl");

    (void)state;
    suggest_offer(&near, "primary_timeout");
    suggest_offer(&near, "retry_timeout");
    suggest_offer(&near, "retry_timeouts");
    assert_string_equal(near.best, "retry_timeout");
    suggest_offer(&far, "log");
    suggest_offer(&far, "scope");
    assert_null(far.best);
    suggest_offer(&tiny, "pg");
    assert_null(tiny.best);
    suggest_offer(&tiny, "ttl");
    assert_string_equal(tiny.best, "ttl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_value_to_int_follows_the_table),
        cmocka_unit_test(test_value_to_bool_takes_all_spellings_and_nothing_else),
        cmocka_unit_test(test_value_round_refuses_what_does_not_fit),
        cmocka_unit_test(test_value_print_double_is_short_and_exact),
        cmocka_unit_test(test_suggest_distance_counts_edits),
        cmocka_unit_test(test_suggest_offers_the_nearest_and_only_what_is_near),
    };

    return cmocka_run_group_tests_name("value", tests, NULL, NULL);
}
