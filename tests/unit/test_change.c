#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "config/change.h"
#include "config/change_history.h"

static json_t *load(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);

    if (!value)
        fail_msg("%s is no JSON", text);
    return value;
}

/* The reference's patch_config(), case by case. */
static const struct {
    const char *config, *patch, *after;
    int changed;
} merges[] = {
    {"{\"ttl\":30}", "{\"ttl\":20}", "{\"ttl\":20}", 1},
    {"{\"ttl\":30}", "{\"ttl\":30}", "{\"ttl\":30}", 0},
    {"{\"ttl\":30}", "{}", "{\"ttl\":30}", 0},
    {"{\"ttl\":30}", "{\"loop_wait\":5}", "{\"ttl\":30,\"loop_wait\":5}", 1},
    {"{\"ttl\":30}", "{\"ttl\":null}", "{}", 1},
    {"{\"ttl\":30}", "{\"pause\":null}", "{\"ttl\":30}", 0},
    {"{\"ttl\":null}", "{\"ttl\":null}", "{}", 0},
    /* compared as text */
    {"{\"a\":100}", "{\"a\":\"100\"}", "{\"a\":100}", 0},
    {"{\"a\":\"100\"}", "{\"a\":100}", "{\"a\":\"100\"}", 0},
    {"{\"a\":true}", "{\"a\":\"True\"}", "{\"a\":true}", 0},
    {"{\"a\":true}", "{\"a\":\"true\"}", "{\"a\":\"true\"}", 1},
    {"{\"a\":true}", "{\"a\":1}", "{\"a\":1}", 1},
    {"{\"a\":1.0}", "{\"a\":1}", "{\"a\":1}", 1},
    {"{\"a\":0.5}", "{\"a\":\"0.5\"}", "{\"a\":0.5}", 0},
    {"{\"a\":\"on\"}", "{\"a\":\"off\"}", "{\"a\":\"off\"}", 1},
    /* groups */
    {"{\"p\":{\"a\":1,\"b\":2}}", "{\"p\":{\"b\":3}}", "{\"p\":{\"a\":1,\"b\":3}}", 1},
    {"{\"p\":{\"a\":1,\"b\":2}}", "{\"p\":{\"b\":null}}", "{\"p\":{\"a\":1}}", 1},
    {"{\"p\":{\"a\":1}}", "{\"p\":{\"a\":1}}", "{\"p\":{\"a\":1}}", 0},
    {"{\"p\":{\"a\":{\"x\":1}}}", "{\"p\":{\"a\":{\"y\":2}}}", "{\"p\":{\"a\":{\"x\":1,\"y\":2}}}", 1},
    {"{\"p\":{\"a\":1}}", "{\"p\":null}", "{}", 1},
    {"{\"p\":{\"a\":1}}", "{\"p\":5}", "{\"p\":5}", 1},
    {"{\"p\":5}", "{\"p\":{\"a\":1}}", "{\"p\":{\"a\":1}}", 1},
    {"{}", "{\"p\":{\"a\":null}}", "{\"p\":{\"a\":null}}", 1},
    {"{\"p\":{}}", "{\"p\":{}}", "{\"p\":{}}", 0},
    /* lists are values */
    {"{\"h\":[\"a\",\"b\"]}", "{\"h\":[\"a\",\"b\"]}", "{\"h\":[\"a\",\"b\"]}", 0},
    {"{\"h\":[\"a\",\"b\"]}", "{\"h\":[\"b\"]}", "{\"h\":[\"b\"]}", 1},
    {"{\"h\":[1]}", "{\"h\":[\"1\"]}", "{\"h\":[\"1\"]}", 1},
    {"{\"a\":\"[1]\"}", "{\"a\":[1]}", "{\"a\":[1]}", 1},
};

static void test_change_merge_follows_the_reference(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(merges); i++) {
        json_t *config = load(merges[i].config), *patch = load(merges[i].patch), *patch_before = json_deep_copy(patch);
        int changed = change_merge(config, patch);
        char *after = json_dumps(config, JSON_COMPACT);

        if (changed != merges[i].changed || strcmp(after, merges[i].after) != 0)
            fail_msg("%s with %s: got %d, %s", merges[i].config, merges[i].patch, changed, after);
        assert_true(json_equal(patch, patch_before));
        free(after);
        json_decref(config);
        json_decref(patch);
        json_decref(patch_before);
    }
}

/* What is taken over must not stay shared with the request. */
static void test_change_merge_copies(void **state)
{
    json_t *config = load("{}"), *patch = load("{\"p\":{\"a\":1}}");

    (void)state;
    assert_int_equal(change_merge(config, patch), 1);
    (void)json_object_set_new(json_object_get(patch, "p"), "a", json_integer(2));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(config, "p"), "a")), 1);
    json_decref(config);
    json_decref(patch);
}

static void test_change_merge_of_a_tower_of_groups_is_refused(void **state)
{
    struct textbuf b = {0};
    json_t *config, *patch;
    char *text;

    (void)state;
    for (int i = 0; i < 100; i++)
        textbuf_puts(&b, "{\"a\":");
    textbuf_puts(&b, "1");
    for (int i = 0; i < 100; i++)
        textbuf_puts(&b, "}");
    text = textbuf_take(&b);
    config = load(text);
    patch = load(text);
    assert_int_equal(change_merge(config, patch), -EINVAL);
    json_decref(config);
    json_decref(patch);
    free(text);
}

static const struct {
    const char *before, *after, *text;
} descriptions[] = {
    {"{\"ttl\":30}", "{\"ttl\":30}", ""},
    {"{\"ttl\":30}", "{\"ttl\":20}", "ttl: 30 -> 20\n"},
    {"{}", "{\"pause\":true}", "pause: (not set) -> true\n"},
    {"{\"pause\":true}", "{}", "pause: true -> (not set)\n"},
    {"{\"pause\":null}", "{}", ""},
    {"{\"postgresql\":{\"parameters\":{\"work_mem\":\"4MB\",\"a.b\":\"x\"}}}",
     "{\"postgresql\":{\"parameters\":{\"work_mem\":\"8MB\"}}}",
     "postgresql.parameters.work_mem: 4MB -> 8MB\npostgresql.parameters.a.b: x -> (not set)\n"},
    {"{}", "{\"p\":{\"a\":\"\",\"b\":[1,2]}}", "p.a: (not set) -> \"\"\np.b: (not set) -> [1, 2]\n"},
    {"{\"p\":{\"a\":1}}", "{\"p\":5}", "p: {\"a\": 1} -> 5\n"},
    {"{\"a\":1}", "{\"a\":\"1\"}", "a: 1 -> \"1\"\n"},
};

static void test_change_describe(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(descriptions); i++) {
        json_t *before = load(descriptions[i].before), *after = load(descriptions[i].after);
        struct textbuf b = {0};
        char *text;

        change_describe(before, after, &b);
        text = textbuf_take(&b);
        assert_string_equal(text, descriptions[i].text);
        free(text);
        json_decref(before);
        json_decref(after);
    }
}

/* What a writer is told; "" = it may be written without a word. */
static const struct {
    const char *before, *after;
    int r;
    const char *path, *message; /* of the first problem */
} checks[] = {
    {"{}", "{\"ttl\":20,\"loop_wait\":5,\"retry_timeout\":5}", 0, NULL, NULL},
    {"{}", "{\"ttl\":\"soon\"}", -EINVAL, "ttl", "expected a number of seconds"},
    {NULL, "{\"ttl\":[]}", -EINVAL, "ttl", "expected a number of seconds"},
    {"{}", "[1]", -EINVAL, "", "not a JSON object"},
    {"{}", "{\"check_timeline\":\"perhaps\"}", -EINVAL, "check_timeline", "expected true or false"},
    {"{\"check_timeline\":\"perhaps\"}", "{\"check_timeline\":\"perhaps\",\"pause\":true}", 0, NULL, NULL},
    {"{\"check_timeline\":\"perhaps\"}", "{\"check_timeline\":\"surely\"}", -EINVAL, "check_timeline", "surely"},
    {"{}", "{\"postgresql\":{\"parameters\":{\"max_connections\":5}}}", -EINVAL,
     "postgresql.parameters.max_connections", "at least 25"},
    {"{}", "{\"postgresql\":{\"parameters\":{\"port\":5433}}}", 0, "postgresql.parameters.port", "postgresql.listen"},
    {"{}", "{\"postgresql\":{\"parameters\":{\"a\\nb\":1}}}", -EINVAL, "postgresql.parameters", "no name"},
    {"{}", "{\"tll\":20}", 0, "tll", "did you mean \"ttl\""},
    {"{\"tll\":20}", "{\"tll\":21}", 0, NULL, NULL},
    {"{}", "{\"postgresql\":{\"use_slot\":true}}", 0, "postgresql.use_slot", "did you mean \"use_slots\""},
    {"{}", "{\"our_own\":{\"a\":1}}", 0, "our_own", "not known here"},
    {"{}", "{\"ttl\":3}", 0, "ttl", "below the minimum"},
};

static void test_change_check_refuses_what_a_change_brings_and_no_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        json_t *before = checks[i].before ? load(checks[i].before) : NULL, *after = load(checks[i].after);
        struct config_problems p;
        struct err err = {0};
        int r = change_check(before, after, NULL, &p, &err);

        if (r != checks[i].r)
            fail_msg("%s: got %d, %s", checks[i].after, r, err.msg);
        if (!checks[i].message && p.n)
            fail_msg("%s: %s: %s", checks[i].after, p.items[0].path, p.items[0].message);
        if (checks[i].message &&
            (!p.n || strcmp(p.items[0].path, checks[i].path) != 0 || !strstr(p.items[0].message, checks[i].message)))
            fail_msg("%s: %s: %s", checks[i].after, p.n ? p.items[0].path : "", p.n ? p.items[0].message : "nothing");
        config_problems_done(&p);
        json_decref(before);
        json_decref(after);
    }
}

static void test_change_history_is_bounded_and_notes_a_revision_once(void **state)
{
    char *text = change_history_add(NULL, 7, "2026-01-01T00:00:00+00:00", "n1", "ttl: 30 -> 20\n"), *more;
    json_t *list;

    (void)state;
    assert_string_equal(text, "[[7,\"2026-01-01T00:00:00+00:00\",\"n1\",\"ttl: 30 -> 20\\n\"]]");
    assert_null(change_history_add(text, 7, "t", "n2", "x"));
    assert_null(change_history_add(text, 6, "t", "n2", "x"));
    for (unsigned i = 8; i < 100; i++) {
        more = change_history_add(text, i, "t", "n1", "x");
        assert_non_null(more);
        free(text);
        text = more;
    }
    list = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(list), CHANGE_HISTORY_ENTRIES);
    assert_int_equal(json_integer_value(json_array_get(json_array_get(list, 0), 0)), 50);
    json_decref(list);
    free(text);
    text = change_history_add("nonsense", 1, "t", "n1", "x");
    assert_string_equal(text, "[[1,\"t\",\"n1\",\"x\"]]");
    free(text);
}

static void test_change_history_of_long_changes_stays_short(void **state)
{
    struct textbuf b = {0};
    char *text = NULL, *more;

    (void)state;
    for (int i = 0; i < 5000; i++)
        textbuf_puts(&b, "ä");
    for (unsigned i = 1; i < 30; i++) {
        more = change_history_add(text, i, "t", "n1", b.data);
        assert_non_null(more);
        free(text);
        text = more;
        assert_true(strlen(text) <= CHANGE_HISTORY_BYTES);
    }
    free(text);
    textbuf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_change_merge_follows_the_reference),
        cmocka_unit_test(test_change_merge_copies),
        cmocka_unit_test(test_change_merge_of_a_tower_of_groups_is_refused),
        cmocka_unit_test(test_change_describe),
        cmocka_unit_test(test_change_check_refuses_what_a_change_brings_and_no_more),
        cmocka_unit_test(test_change_history_is_bounded_and_notes_a_revision_once),
        cmocka_unit_test(test_change_history_of_long_changes_stays_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
