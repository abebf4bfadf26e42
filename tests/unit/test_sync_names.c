/* synchronous_standby_names and lists of standbys as text: what others write is read, what we write is the reference's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "model/sync.h"

#define LEN_127                                                                                                        \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"                                                  \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct {
    const char *text;
    enum sync_kind kind;
    unsigned n;
    const char *set;
} readings[] = {
    {"", SYNC_KIND_NOBODY, 0, ""},
    {" \t", SYNC_KIND_NOBODY, 0, ""},
    {"node1", SYNC_KIND_FIRST, 1, "node1"},
    {"b, a", SYNC_KIND_FIRST, 1, "a,b"},
    {"2 (a,b,c)", SYNC_KIND_FIRST, 2, "a,b,c"},
    {"FIRST 2 (a, b)", SYNC_KIND_FIRST, 2, "a,b"},
    {"first 1(a)", SYNC_KIND_FIRST, 1, "a"},
    {"ANY 1 (node1,node2)", SYNC_KIND_ANY, 1, "node1,node2"},
    {"any 2 ( \"node-1\" , node2 ) ", SYNC_KIND_ANY, 2, "node-1,node2"},
    {"any", SYNC_KIND_FIRST, 1, "any"},
    {"7", SYNC_KIND_FIRST, 1, "7"},
    {"\"a\"\"b\"", SYNC_KIND_FIRST, 1, "a\"b"},
    {"ANY 3 (a,b)", SYNC_KIND_ANY, 2, "a,b"},
    {"A,a", SYNC_KIND_FIRST, 1, "A"},
    {SYNC_PLACEHOLDER, SYNC_KIND_BLOCKED, 0, ""},
    {"ANY 1 (" SYNC_PLACEHOLDER ")", SYNC_KIND_BLOCKED, 0, ""},
    {"ANY 1 (a," SYNC_PLACEHOLDER ")", SYNC_KIND_ANY, 1, SYNC_PLACEHOLDER ",a"},
    {LEN_127, SYNC_KIND_FIRST, 1, LEN_127},
    /* not for us to understand */
    {"*", SYNC_KIND_UNCLEAR, 0, ""},
    {"a,*", SYNC_KIND_UNCLEAR, 0, ""},
    {"1 (*)", SYNC_KIND_UNCLEAR, 0, ""},
    {"0 (a)", SYNC_KIND_UNCLEAR, 0, ""},
    {"2 (a", SYNC_KIND_UNCLEAR, 0, ""},
    {"2 (a,b) c", SYNC_KIND_UNCLEAR, 0, ""},
    {"2 ()", SYNC_KIND_UNCLEAR, 0, ""},
    {"a b", SYNC_KIND_UNCLEAR, 0, ""},
    {"a,", SYNC_KIND_UNCLEAR, 0, ""},
    {"\"a", SYNC_KIND_UNCLEAR, 0, ""},
    {"SOME 1 (a)", SYNC_KIND_UNCLEAR, 0, ""},
    {LEN_127 "x", SYNC_KIND_UNCLEAR, 0, ""},
    {"\"" LEN_127 "x\"", SYNC_KIND_UNCLEAR, 0, ""},
    {"9999 (a)", SYNC_KIND_FIRST, 1, "a"},
    {"a1,a2,a3,a4,a5,a6,a7,a8,b1,b2,b3,b4,b5,b6,b7,b8,c1,c2,c3,c4,c5,c6,c7,c8,d1,d2,d3,d4,d5,d6,d7,d8,e1",
     SYNC_KIND_UNCLEAR, 0, ""},
};

static void test_names_are_read_as_postgresql_reads_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(readings) / sizeof(readings[0]); i++) {
        struct sync_names got;
        char set[512];

        sync_names_read(&got, readings[i].text);
        assert_true(sync_set_print(&got.set, set, sizeof(set)));
        if (got.kind != readings[i].kind || got.n != readings[i].n || strcmp(set, readings[i].set) != 0)
            fail_msg("\"%s\": kind %d, %u of %s", readings[i].text, (int)got.kind, got.n, set);
    }
}

static const struct {
    enum sync_kind kind;
    unsigned n;
    const char *set, *want;
} prints[] = {
    {SYNC_KIND_NOBODY, 0, "", ""},
    {SYNC_KIND_UNCLEAR, 0, "", ""},
    {SYNC_KIND_BLOCKED, 0, "", SYNC_PLACEHOLDER},
    {SYNC_KIND_FIRST, 1, "node1", "node1"},
    {SYNC_KIND_FIRST, 2, "node2,node1", "2 (node1,node2)"},
    {SYNC_KIND_ANY, 1, "node1", "ANY 1 (node1)"},
    {SYNC_KIND_ANY, 1, "node1,node2", "ANY 1 (node1,node2)"},
    {SYNC_KIND_FIRST, 1, "node-1", "\"node-1\""},
    {SYNC_KIND_FIRST, 2, "First,ANY", "2 (\"ANY\",\"First\")"},
    {SYNC_KIND_FIRST, 1, "1st", "\"1st\""},
    {SYNC_KIND_FIRST, 1, "$a", "\"$a\""},
    {SYNC_KIND_FIRST, 1, "a$1_B", "a$1_B"},
    {SYNC_KIND_FIRST, 1, "a\"b", "\"a\"\"b\""},
};

static void test_names_are_printed_as_the_reference_prints_them_and_read_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(prints) / sizeof(prints[0]); i++) {
        struct sync_names names = {.kind = prints[i].kind, .n = prints[i].n}, back;
        char text[SYNC_NAMES_TEXT_SIZE];

        assert_true(sync_set_read(&names.set, prints[i].set));
        assert_true(sync_names_print(&names, text, sizeof(text)));
        assert_string_equal(text, prints[i].want);
        sync_names_read(&back, text);
        assert_true(sync_names_equal(&back, &names) || names.kind == SYNC_KIND_UNCLEAR);
    }
}

static void test_names_that_do_not_fit_say_so(void **state)
{
    struct sync_names names = {.kind = SYNC_KIND_ANY, .n = 1};
    char text[64];

    (void)state;
    assert_true(sync_set_read(&names.set, "node-1,node2"));
    assert_true(sync_names_print(&names, text, sizeof("ANY 1 (\"node-1\",node2)")));
    for (size_t size = 1; size < sizeof("ANY 1 (\"node-1\",node2)"); size++)
        assert_false(sync_names_print(&names, text, size));
    assert_true(sync_set_print(&names.set, text, sizeof("node-1,node2")));
    for (size_t size = 1; size < sizeof("node-1,node2"); size++)
        assert_false(sync_set_print(&names.set, text, size));
    names.kind = SYNC_KIND_BLOCKED;
    assert_false(sync_names_print(&names, text, 10));
}

static void test_names_differ_in_each_of_their_parts(void **state)
{
    struct sync_names a, b;

    (void)state;
    sync_names_read(&a, "ANY 1 (a,b)");
    sync_names_read(&b, "ANY 1 (B,A)");
    assert_true(sync_names_equal(&a, &b));
    sync_names_read(&b, "FIRST 1 (a,b)");
    assert_false(sync_names_equal(&a, &b));
    sync_names_read(&b, "ANY 2 (a,b)");
    assert_false(sync_names_equal(&a, &b));
    sync_names_read(&b, "ANY 1 (a,c)");
    assert_false(sync_names_equal(&a, &b));
    sync_names_read(&b, "ANY 1 (a)");
    assert_false(sync_names_equal(&a, &b));
}

static void test_set_keeps_its_order_and_its_limits(void **state)
{
    struct sync_set s = {0};
    char text[256], name[8];

    (void)state;
    sync_set_add(&s, "c");
    sync_set_add(&s, "a");
    sync_set_add(&s, "b");
    sync_set_add(&s, "B");
    sync_set_add(&s, LEN_127 "x");
    assert_true(sync_set_print(&s, text, sizeof(text)));
    assert_string_equal(text, "a,b,c");
    sync_set_remove(&s, "z");
    sync_set_remove(&s, "B");
    assert_true(sync_set_print(&s, text, sizeof(text)));
    assert_string_equal(text, "a,c");
    assert_true(sync_set_read(&s, NULL));
    assert_int_equal(s.n, 0);
    assert_true(sync_set_read(&s, ",b,,a,"));
    assert_int_equal(s.n, 2);
    assert_false(sync_set_read(&s, "a," LEN_127 "x"));
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof(name), "n%d", i);
        sync_set_add(&s, name);
    }
    assert_int_equal(s.n, SYNC_SET_MAX);
    assert_false(sync_set_read(&s, "a1,a2,a3,a4,a5,a6,a7,a8,b1,b2,b3,b4,b5,b6,b7,b8,c1,c2,c3,c4,c5,c6,c7,c8,d1,d2,d3,"
                                   "d4,d5,d6,d7,d8,e1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_read_as_postgresql_reads_them),
        cmocka_unit_test(test_names_are_printed_as_the_reference_prints_them_and_read_back),
        cmocka_unit_test(test_names_that_do_not_fit_say_so),
        cmocka_unit_test(test_names_differ_in_each_of_their_parts),
        cmocka_unit_test(test_set_keeps_its_order_and_its_limits),
    };

    return cmocka_run_group_tests_name("sync_names", tests, NULL, NULL);
}
