#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/core.h"
#include "ctl/yaml.h"

static void assert_yaml(const char *json, enum yaml_style style, const char *want)
{
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    struct textbuf out = {0};

    assert_non_null(value);
    yaml_print(&out, value, style);
    json_decref(value);
    assert_false(out.failed);
    assert_string_equal(out.data, want);
    textbuf_done(&out);
}

static void test_yaml_blocks_are_indented_and_sorted(void **state)
{
    (void)state;
    assert_yaml("{\"ttl\":30,\"postgresql\":{\"use_slots\":true,\"parameters\":null,\"pg_hba\":[\"a\",\"b\"]},\"x\":{},"
                "\"y\":[],\"f\":1.5,\"g\":2.0}",
                YAML_BLOCK,
                "f: 1.5\ng: 2.0\npostgresql:\n  parameters: null\n  pg_hba:\n  - a\n  - b\n  use_slots: true\nttl: 30\n"
                "x: {}\ny: []\n");
    assert_yaml("[{\"B\":1,\"A\":\"x\"},{\"C\":{\"d\":1}},[1,[2]],[],{\"k\":[{\"l\":1,\"m\":[3]}]}]", YAML_BLOCK,
                "- A: x\n  B: 1\n- C:\n    d: 1\n- - 1\n  - - 2\n- []\n- k:\n  - l: 1\n    m:\n    - 3\n");
}

static void test_yaml_flow_is_one_line(void **state)
{
    (void)state;
    assert_yaml("{\"z\":\"a:b\",\"y\":[1,\"a,b\"],\"x\":{\"q\":\"w-e\"},\"w\":\"a?b\",\"v\":\"a[b\"}", YAML_FLOW,
                "{v: 'a[b', w: 'a?b', x: {q: w-e}, y: [1, 'a,b'], z: 'a:b'}");
}

static void test_yaml_strings_are_quoted_when_they_would_read_as_something_else(void **state)
{
    static const struct {
        const char *json, *want;
    } rows[] = {
        {"\"running\"", "running\n"},
        {"\"\"", "''\n"},
        {"\"2026-01-01\"", "'2026-01-01'\n"},
        {"\"2026-08-01T12:00:00+00:00\"", "'2026-08-01T12:00:00+00:00'\n"},
        {"\"2026-08-01T12:00:00+00:00 if version < 15.3\"", "2026-08-01T12:00:00+00:00 if version < 15.3\n"},
        {"\"yes\"", "'yes'\n"},
        {"\"off\"", "'off'\n"},
        {"\"null\"", "'null'\n"},
        {"\"~\"", "'~'\n"},
        {"\"100\"", "'100'\n"},
        {"\"0x1f\"", "'0x1f'\n"},
        {"\"1_000\"", "'1_000'\n"},
        {"\"1:30\"", "'1:30'\n"},
        {"\"-1.5\"", "'-1.5'\n"},
        {"\".inf\"", "'.inf'\n"},
        {"\"1.2.3\"", "1.2.3\n"},
        {"\"16MB\"", "16MB\n"},
        {"\"0/4042850\"", "0/4042850\n"},
        {"\"127.0.0.1:5432\"", "127.0.0.1:5432\n"},
        {"\"postgres://x:5432/y\"", "postgres://x:5432/y\n"},
        {"\"it's\"", "it's\n"},
        {"\"'x\"", "'''x'\n"},
        {"\"a: b\"", "'a: b'\n"},
        {"\"a:\"", "'a:'\n"},
        {"\"a #b\"", "'a #b'\n"},
        {"\"- x\"", "'- x'\n"},
        {"\"-x\"", "-x\n"},
        {"\"%x\"", "'%x'\n"},
        {"\" x\"", "' x'\n"},
        {"\"x \"", "'x '\n"},
        {"\"a\\\\b\"", "a\\b\n"},
        {"\"tab\\there\"", "\"tab\\there\"\n"},
        {"\"two\\nlines \\\"\\\\\\u0007\"", "\"two\\nlines \\\"\\\\\\x07\"\n"},
        {"\"\\u00fcn\\u00efc\\u00f6de\"", "ünïcöde\n"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_yaml(rows[i].json, YAML_BLOCK, rows[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_yaml_blocks_are_indented_and_sorted),
        cmocka_unit_test(test_yaml_flow_is_one_line),
        cmocka_unit_test(test_yaml_strings_are_quoted_when_they_would_read_as_something_else),
    };

    return cmocka_run_group_tests_name("yaml", tests, NULL, NULL);
}
