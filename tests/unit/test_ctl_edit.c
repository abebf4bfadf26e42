/* What edit-config reads and shows; the expectations are PyYAML's and Python's difflib's own words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/diff.h"
#include "ctl/yaml.h"
#include "ctl/yaml_read.h"

static const struct {
    const char *text, *json;
} documents[] = {
    {"", "null"},
    {"~", "null"},
    {"5", "5"},
    {"-5", "-5"},
    {"+5", "5"},
    {"0", "0"},
    {"010", "8"},
    {"0x1F", "31"},
    {"0b101", "5"},
    {"1_000", "1000"},
    {"1:30", "90"},
    {"-1:30:10", "-5410"},
    {"09", "\"09\""},
    {"1e3", "\"1e3\""},
    {"1.5", "1.5"},
    {"1.5e+3", "1500.0"},
    {"1.5e3", "\"1.5e3\""},
    {".5", "0.5"},
    {"-.5", "\"-.5\""},
    {"1.", "1.0"},
    {"1_0.5", "10.5"},
    {"12e03", "\"12e03\""},
    {"yes", "true"},
    {"No", "false"},
    {"ON", "true"},
    {"off", "false"},
    {"true", "true"},
    {"TRUE", "true"},
    {"y", "\"y\""},
    {"n", "\"n\""},
    {"null", "null"},
    {"Null", "null"},
    {"NULL", "null"},
    {"none", "\"none\""},
    {"'5'", "\"5\""},
    {"\"5\"", "\"5\""},
    {"\"yes\"", "\"yes\""},
    {"4MB", "\"4MB\""},
    {"'%m [%p] %q%a '", "\"%m [%p] %q%a \""},
    {"2026-13-99x", "\"2026-13-99x\""},
    {"a: 1", "{\"a\":1}"},
    {"a: yes\nb: 4MB\nc:\n- x\n- 1\n- null\n", "{\"a\":true,\"b\":\"4MB\",\"c\":[\"x\",1,null]}"},
    {"a: {b: [1, 2, {c: d}], e: ''}", "{\"a\":{\"b\":[1,2,{\"c\":\"d\"}],\"e\":\"\"}}"},
    {"on: 1\n5: x\nnull: y\n", "{\"true\":1,\"5\":\"x\",\"null\":\"y\"}"},
    {"a: |\n  line1\n  line2\n", "{\"a\":\"line1\\nline2\\n\"}"},
    {"a: >\n  x\n  y\n", "{\"a\":\"x y\\n\"}"},
    {"- 1\n- - 2\n  - 3\n", "[1,[2,3]]"},
    {"a: &x {b: 1}\nc: *x\n", "{\"a\":{\"b\":1},\"c\":{\"b\":1}}"},
    {"--- \na: 1\n", "{\"a\":1}"},
    {"a: 1 # comment\n", "{\"a\":1}"},
    {"ttl: 30\nttl: 20\n", "{\"ttl\":20}"},
    {"{}", "{}"},
    {"[]", "[]"},
    {"a:\n", "{\"a\":null}"},
    {"\"\\u00e9\\n\"", "\"\\u00e9\\n\""},
};

static void test_yaml_read_finds_the_types_that_the_reference_finds(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
        struct err err = {0};
        json_t *value = yaml_read(documents[i].text, &err);
        char *json = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
        json_t *want = json_loads(documents[i].json, JSON_DECODE_ANY, NULL);

        if (!value || !json_equal(value, want))
            fail_msg("\"%s\": got %s, want %s (%s)", documents[i].text, json ? json : "nothing", documents[i].json,
                     err.msg);
        free(json);
        json_decref(value);
        json_decref(want);
    }
}

static void test_yaml_read_of_what_it_printed_is_the_same(void **state)
{
    static const char json[] =
        "{\"a\":{\"b\":[1,\"1\",true,\"true\",null,\"null\",1.5,\"1.5\",\"\",\"x: y\",\"# no\",\"- "
        "\"]},\"c.d\":\"0x10\","
        "\"e\":{},\"f\":[],\"g\":\"two\\nlines\",\"on\":\"yes\",\"h\":\"'\",\"i\":\"\\\"\",\"5\":\"%m [%p]\"}";
    json_t *value = json_loads(json, 0, NULL), *again;
    struct textbuf out = {0};
    struct err err = {0};

    (void)state;
    yaml_print(&out, value, YAML_BLOCK);
    again = yaml_read(out.data, &err);
    if (!json_equal(value, again))
        fail_msg("%s\n%s", err.msg, out.data);
    json_decref(value);
    json_decref(again);
    textbuf_done(&out);
}

static void test_yaml_read_refuses_what_is_none(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"a: 1\n b: 2\n", "line 2"},
        {"a: [1, 2", "line"},
        {"a: 'x", "line"},
        {"a: 1\n--- \nb: 2\n", "single"},
        {"? [1, 2]\n: 3\n", "key"},
        {"a: .inf", "cannot have"},
        {"<<: {a: 1}", "<<"},
        {"a: *x", "line 1"},
        {"a: 99999999999999999999", "cannot have"},
        {"a: 1\n\tx: 1", "line 2"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        json_t *value = yaml_read(rows[i].text, &err);

        if (value || !strstr(err.msg, rows[i].message))
            fail_msg("\"%s\": \"%s\"", rows[i].text, value ? "was taken" : err.msg);
    }
}

/* Aliases of aliases: a few lines that are billions of values. */
static void test_yaml_read_is_not_blown_up(void **state)
{
    struct textbuf b = {0};
    struct err err = {0};

    (void)state;
    textbuf_puts(&b, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 20; i++)
        textbuf_printf(&b, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i - 1, i - 1, i - 1, i - 1, i - 1,
                       i - 1);
    assert_null(yaml_read(b.data, &err));
    assert_non_null(strstr(err.msg, "too much"));
    textbuf_done(&b);
}

static const struct {
    const char *before, *after, *diff;
} diffs[] = {
    {"line 0\nline 1\nline 2\n", "line 0\nline 1\nline 2\n", ""},
    {"a\n", "b\n", "--- \n+++ \n@@ -1 +1 @@\n-a\n+b\n"},
    {"a: 1\nb: 2\n", "a: 1\nb: 3\nc: 4\n", "--- \n+++ \n@@ -1,2 +1,3 @@\n a: 1\n-b: 2\n+b: 3\n+c: 4\n"},
    {"line 0\nline 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nline 9\nline 10\nline 11\n",
     "line 0\nline 1\nline 2\nline 3\nline 4\nchanged\nline 6\nline 7\nline 8\nline 9\nline 10\nline 11\n",
     "--- \n+++ \n@@ -3,7 +3,7 @@\n line 2\n line 3\n line 4\n-line 5\n+changed\n line 6\n line 7\n line 8\n"},
    {"line 0\nline 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nline 9\nline 10\nline 11\n",
     "x\nline 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nline 9\nline 10\ny\n",
     "--- \n+++ \n@@ -1,4 +1,4 @@\n-line 0\n+x\n line 1\n line 2\n line 3\n@@ -9,4 +9,4 @@\n line 8\n line 9\n line "
     "10\n-line 11\n+y\n"},
    {"line 0\nline 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nline 9\nline 10\nline 11\n",
     "line 0\nx\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\ny\nline 9\nline 10\nline 11\n",
     "--- \n+++ \n@@ -1,12 +1,12 @@\n line 0\n-line 1\n+x\n line 2\n line 3\n line 4\n line 5\n line 6\n line 7\n-line "
     "8\n+y\n line 9\n line 10\n line 11\n"},
    {"line 0\nline 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nline 9\nline 10\nline 11\n",
     "line 0\nx\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\ny\nline 10\nline 11\n",
     "--- \n+++ \n@@ -1,5 +1,5 @@\n line 0\n-line 1\n+x\n line 2\n line 3\n line 4\n@@ -7,6 +7,6 @@\n line 6\n line "
     "7\n line 8\n-line 9\n+y\n line 10\n line 11\n"},
    {"line 0\nline 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nline 9\nline 10\nline 11\n",
     "line 0\nline 1\nline 2\nline 3\nline 7\nline 8\nline 9\nline 10\nline 11\n",
     "--- \n+++ \n@@ -2,9 +2,6 @@\n line 1\n line 2\n line 3\n-line 4\n-line 5\n-line 6\n line 7\n line 8\n line 9\n"},
    {"line 0\nline 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nline 9\nline 10\nline 11\n",
     "line 0\nline 1\nline 2\nline 3\nline 4\nline 5\nnew\nline 6\nline 7\nline 8\nline 9\nline 10\nline 11\n",
     "--- \n+++ \n@@ -4,6 +4,7 @@\n line 3\n line 4\n line 5\n+new\n line 6\n line 7\n line 8\n"},
    {"line 0\nline 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nline 9\nline 10\nline 11\n",
     "line 0\nline 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nline 9\nline 10\n",
     "--- \n+++ \n@@ -9,4 +9,3 @@\n line 8\n line 9\n line 10\n-line 11\n"},
    {"line 0\n", "line 0\nline 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nline 9\nline 10\nline 11\n",
     "--- \n+++ \n@@ -1 +1,12 @@\n line 0\n+line 1\n+line 2\n+line 3\n+line 4\n+line 5\n+line 6\n+line 7\n+line "
     "8\n+line 9\n+line 10\n+line 11\n"},
};

static void test_diff_prints_as_difflib(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(diffs); i++) {
        struct textbuf out = {0};
        char *text;

        diff_print(&out, diffs[i].before, diffs[i].after, false);
        text = textbuf_take(&out);
        assert_string_equal(text, diffs[i].diff);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_yaml_read_finds_the_types_that_the_reference_finds),
        cmocka_unit_test(test_yaml_read_of_what_it_printed_is_the_same),
        cmocka_unit_test(test_yaml_read_refuses_what_is_none),
        cmocka_unit_test(test_yaml_read_is_not_blown_up),
        cmocka_unit_test(test_diff_prints_as_difflib),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
