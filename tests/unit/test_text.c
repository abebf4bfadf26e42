#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include "base/text.h"

static void test_text_to_lsn_accepts_only_the_postgres_form(void **state)
{
    uint64_t lsn = 7;

    (void)state;
    assert_true(text_to_lsn("16/B374D848", &lsn));
    assert_true(lsn == UINT64_C(0x16B374D848));
    assert_true(text_to_lsn("0/0", &lsn));
    assert_true(lsn == 0);
    lsn = 7;
    assert_false(text_to_lsn("", &lsn));
    assert_false(text_to_lsn("16", &lsn));
    assert_false(text_to_lsn("16/", &lsn));
    assert_false(text_to_lsn("/1", &lsn));
    assert_false(text_to_lsn("1/1 ", &lsn));
    assert_false(text_to_lsn("123456789/1", &lsn));
    assert_false(text_to_lsn("1/G", &lsn));
    assert_true(lsn == 7);
}

static void test_text_to_u64_refuses_what_overflows_by_one(void **state)
{
    uint64_t value = 0;

    (void)state;
    assert_true(text_to_u64("18446744073709551615", &value));
    assert_true(value == UINT64_MAX);
    assert_false(text_to_u64("18446744073709551616", &value));
    assert_false(text_to_u64("-1", &value));
    assert_false(text_to_u64("", &value));
    assert_false(text_to_u64("1x", &value));
}

static void test_text_copy_says_when_it_cut(void **state)
{
    char buf[4];

    (void)state;
    assert_true(text_copy(buf, sizeof(buf), "abc"));
    assert_false(text_copy(buf, sizeof(buf), "abcd"));
    assert_string_equal(buf, "abc");
}

static void test_textbuf_take_gives_an_empty_string_when_nothing_was_appended(void **state)
{
    struct textbuf b = {0};
    char *s = textbuf_take(&b);

    (void)state;
    assert_string_equal(s, "");
    free(s);
    textbuf_printf(&b, "%d-%s", 12, "x");
    s = textbuf_take(&b);
    assert_string_equal(s, "12-x");
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_to_lsn_accepts_only_the_postgres_form),
        cmocka_unit_test(test_text_to_u64_refuses_what_overflows_by_one),
        cmocka_unit_test(test_text_copy_says_when_it_cut),
        cmocka_unit_test(test_textbuf_take_gives_an_empty_string_when_nothing_was_appended),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
