#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/words.h"

static const struct {
    const char *text;
    const char *want[5];
} rows[] = {
    {"", {NULL}},
    {"  \t\n", {NULL}},
    {"/bin/true", {"/bin/true"}},
    {" a  b\tc ", {"a", "b", "c"}},
    {"a 'b c' \"d e\"", {"a", "b c", "d e"}},
    {"a'b'\"c\"", {"abc"}},
    {"'' \"\"", {"", ""}},
    {"a\\ b \\'c", {"a b", "'c"}},
    {"'a\\b' \"a\\b\" \"a\\\"b\" \"a\\\\b\"", {"a\\b", "a\\b", "a\"b", "a\\b"}},
    {"a; $b | c", {"a;", "$b", "|", "c"}},
    {"end\\", {"end\\"}},
};

static void test_words_split_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(words_freep) char **got = words_split(rows[i].text);
        size_t n = 0;

        assert_non_null(got);
        for (; got[n] && rows[i].want[n]; n++)
            if (strcmp(got[n], rows[i].want[n]) != 0)
                fail_msg("%s: word %zu is \"%s\"", rows[i].text, n, got[n]);
        if (got[n] || rows[i].want[n])
            fail_msg("%s: wrong number of words", rows[i].text);
    }
}

static void test_words_split_refuses_an_open_quote(void **state)
{
    (void)state;
    assert_null(words_split("a 'b"));
    assert_null(words_split("a \"b\\\""));
    assert_null(words_split("'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_split_follows_the_table),
        cmocka_unit_test(test_words_split_refuses_an_open_quote),
    };

    return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
