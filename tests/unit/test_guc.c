#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "pg/guc.h"

/* Rows as PostgreSQL 15 gives them. */
static const char *const rows[] = {
    "work_mem",
    "integer",
    "user",
    "kB",
    "",
    "64",
    "2147483647",
    "4096",
    "",
    "150018",
    "shared_buffers",
    "integer",
    "postmaster",
    "8kB",
    "",
    "16",
    "1073741823",
    "16384",
    "",
    "150018",
    "max_connections",
    "integer",
    "postmaster",
    "",
    "",
    "1",
    "262143",
    "100",
    "",
    "150018",
    "wal_keep_size",
    "integer",
    "sighup",
    "MB",
    "",
    "0",
    "2147483647",
    "128",
    "",
    "150018",
    "autovacuum_naptime",
    "integer",
    "sighup",
    "s",
    "",
    "1",
    "2147483",
    "60",
    "",
    "150018",
    "log_rotation_age",
    "integer",
    "sighup",
    "min",
    "",
    "0",
    "35791394",
    "1440",
    "",
    "150018",
    "statement_timeout",
    "integer",
    "user",
    "ms",
    "",
    "0",
    "2147483647",
    "0",
    "",
    "150018",
    "vacuum_cost_delay",
    "real",
    "user",
    "ms",
    "",
    "0",
    "100",
    "0",
    "",
    "150018",
    "random_page_cost",
    "real",
    "user",
    "",
    "",
    "0",
    "1.79769e+308",
    "4",
    "",
    "150018",
    "track_activity_query_size",
    "integer",
    "postmaster",
    "B",
    "",
    "100",
    "1048576",
    "1024",
    "",
    "150018",
    "autovacuum",
    "bool",
    "sighup",
    "",
    "",
    "",
    "",
    "on",
    "",
    "150018",
    "wal_level",
    "enum",
    "postmaster",
    "",
    "minimal,replica,logical",
    "",
    "",
    "replica",
    "",
    "150018",
    "synchronous_commit",
    "enum",
    "user",
    "",
    "local,remote_write,remote_apply,on,off",
    "",
    "",
    "on",
    "",
    "150018",
    "log_min_messages",
    "enum",
    "superuser",
    "",
    "debug5,debug4,debug3,debug2,debug1,info,error",
    "",
    "",
    "error",
    "",
    "150018",
    "TimeZone",
    "string",
    "user",
    "",
    "",
    "",
    "",
    "Etc/UTC",
    "",
    "150018",
    "data_directory",
    "string",
    "postmaster",
    "",
    "",
    "",
    "",
    "/x",
    "",
    "150018",
    "block_size",
    "integer",
    "internal",
    "",
    "",
    "8192",
    "8192",
    "8192",
    "",
    "150018",
};
enum { COLUMNS = 10 };

static struct guc_catalog *catalog(void)
{
    const struct pg_rows r = {ARRAY_LEN(rows) / COLUMNS, COLUMNS, rows};
    struct guc_catalog *c = NULL;

    assert_int_equal(guc_catalog_read(&r, &c, NULL), 0);
    return c;
}

static const struct {
    const char *name, *value;
    enum guc_verdict verdict;
    const char *shown; /* as SHOW has it; for GUC_OUT_OF_RANGE the limit */
} values[] = {
    {"work_mem", "4MB", GUC_GOOD, "4MB"},
    {"work_mem", "4096", GUC_GOOD, "4MB"},
    {"work_mem", "4096kB", GUC_GOOD, "4MB"},
    {"work_mem", " 4 MB ", GUC_GOOD, "4MB"},
    {"work_mem", "1.5MB", GUC_GOOD, "1536kB"},
    {"work_mem", "0x1000", GUC_GOOD, "4MB"},
    {"work_mem", "1e3", GUC_GOOD, "1000kB"},
    {"work_mem", "65kB", GUC_GOOD, "65kB"},
    {"work_mem", "4mb", GUC_BAD, "4mb"},
    {"work_mem", "4 M", GUC_BAD, "4 M"},
    {"work_mem", "4s", GUC_BAD, "4s"},
    {"work_mem", "much", GUC_BAD, "much"},
    {"work_mem", "", GUC_BAD, ""},
    {"work_mem", "inf", GUC_BAD, "inf"},
    {"work_mem", "nan", GUC_BAD, "nan"},
    {"work_mem", "4MB 4MB", GUC_BAD, "4MB 4MB"},
    {"work_mem", "-1", GUC_OUT_OF_RANGE, "64kB"},
    {"work_mem", "63", GUC_OUT_OF_RANGE, "64kB"},
    {"work_mem", "2TB", GUC_OUT_OF_RANGE, "2147483647kB"},
    {"work_mem", "99999999999999999999999", GUC_OUT_OF_RANGE, "2147483647kB"},
    {"shared_buffers", "16384", GUC_GOOD, "128MB"},
    {"shared_buffers", "128MB", GUC_GOOD, "128MB"},
    {"shared_buffers", "1GB", GUC_GOOD, "1GB"},
    {"shared_buffers", "8kB", GUC_OUT_OF_RANGE, "128kB"},
    {"max_connections", "100", GUC_GOOD, "100"},
    {"max_connections", "100kB", GUC_BAD, "100kB"},
    {"max_connections", "010", GUC_GOOD, "8"},
    {"max_connections", "0", GUC_OUT_OF_RANGE, "1"},
    {"wal_keep_size", "1GB", GUC_GOOD, "1GB"},
    {"wal_keep_size", "1024", GUC_GOOD, "1GB"},
    {"wal_keep_size", "0", GUC_GOOD, "0"},
    {"autovacuum_naptime", "60", GUC_GOOD, "1min"},
    {"autovacuum_naptime", "1min", GUC_GOOD, "1min"},
    {"autovacuum_naptime", "90000ms", GUC_GOOD, "90s"},
    {"autovacuum_naptime", "1MB", GUC_BAD, "1MB"},
    {"log_rotation_age", "1d", GUC_GOOD, "1d"},
    {"log_rotation_age", "1440", GUC_GOOD, "1d"},
    {"statement_timeout", "1500us", GUC_GOOD, "2ms"},
    {"vacuum_cost_delay", "0.5", GUC_GOOD, "500us"},
    {"vacuum_cost_delay", "2", GUC_GOOD, "2ms"},
    {"vacuum_cost_delay", "1s", GUC_OUT_OF_RANGE, "100ms"},
    {"random_page_cost", "1.1", GUC_GOOD, "1.1"},
    {"random_page_cost", "-2", GUC_OUT_OF_RANGE, "0"},
    {"track_activity_query_size", "4kB", GUC_GOOD, "4kB"},
    {"track_activity_query_size", "1000B", GUC_GOOD, "1000B"},
    {"autovacuum", "on", GUC_GOOD, "on"},
    {"autovacuum", "TRUE", GUC_GOOD, "on"},
    {"autovacuum", "t", GUC_GOOD, "on"},
    {"autovacuum", "of", GUC_GOOD, "off"},
    {"autovacuum", "0", GUC_GOOD, "off"},
    {"autovacuum", "o", GUC_BAD, "o"},
    {"autovacuum", "offf", GUC_BAD, "offf"},
    {"autovacuum", "2", GUC_BAD, "2"},
    {"wal_level", "Logical", GUC_GOOD, "Logical"},
    {"wal_level", "hot_standby", GUC_GOOD, "replica"},
    {"wal_level", "on", GUC_BAD, "on"},
    {"wal_level", "replica,logical", GUC_BAD, "replica,logical"},
    {"synchronous_commit", "true", GUC_GOOD, "on"},
    {"synchronous_commit", "0", GUC_GOOD, "off"},
    {"synchronous_commit", "local", GUC_GOOD, "local"},
    {"log_min_messages", "debug", GUC_GOOD, "debug2"},
    {"TimeZone", "Europe/Berlin", GUC_GOOD, "Europe/Berlin"},
};

static void test_guc_judges_and_prints_as_the_server(void **state)
{
    CLEANUP(guc_catalog_freep) struct guc_catalog *c = catalog();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        const struct guc *g = guc_find(c, values[i].name);
        char why[256], limit[64] = "", shown[64];
        enum guc_verdict verdict;

        assert_non_null(g);
        verdict = guc_judge(g, values[i].value, why, sizeof(why), limit, sizeof(limit));
        guc_print(g, verdict == GUC_OUT_OF_RANGE ? limit : values[i].value, shown, sizeof(shown));
        if (verdict != values[i].verdict || strcmp(shown, values[i].shown) != 0 || (verdict == GUC_GOOD) != !why[0])
            fail_msg("%s = \"%s\": got %d, %s (%s)", values[i].name, values[i].value, (int)verdict, shown, why);
    }
}

/* Of versions 16 and 17: their catalog does not say so. */
static void test_guc_judges_what_only_check_hooks_of_the_server_know(void **state)
{
    struct guc slru = {.name = (char *)"subtransaction_buffers", .kind = GUC_INT, .unit = (char *)"8kB", .max = 131072};
    struct guc ring = {.name = (char *)"vacuum_buffer_usage_limit", .kind = GUC_INT, .unit = (char *)"kB", .max = 1e6};
    const struct {
        const struct guc *guc;
        const char *value;
        enum guc_verdict verdict;
        const char *limit, *why;
    } all[] = {
        {&slru, "0", GUC_GOOD, "", ""},
        {&slru, "32", GUC_GOOD, "", ""},
        {&slru, "1MB", GUC_GOOD, "", ""},
        {&slru, "33", GUC_OUT_OF_RANGE, "48", "is not a multiple of 16"},
        {&slru, "31", GUC_OUT_OF_RANGE, "32", "is not a multiple of 16"},
        {&slru, "1000000", GUC_OUT_OF_RANGE, "131072", "is out of range (0 to 1GB)"},
        {&ring, "0", GUC_GOOD, "", ""},
        {&ring, "127", GUC_OUT_OF_RANGE, "128", "is neither 0 nor 128kB or more"},
        {&ring, "128", GUC_GOOD, "", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        char why[256], limit[64] = "";

        if (guc_judge(all[i].guc, all[i].value, why, sizeof(why), limit, sizeof(limit)) != all[i].verdict ||
            strcmp(limit, all[i].limit) != 0 || strcmp(why, all[i].why) != 0)
            fail_msg("%s = \"%s\": got \"%s\", %s", all[i].guc->name, all[i].value, limit, why);
    }
}

static const struct {
    const char *name, *a, *b;
    bool equal;
} pairs[] = {
    {"shared_buffers", "1GB", "1024MB", true},
    {"shared_buffers", "16384", "128MB", true},
    {"shared_buffers", "16384", "128", false},
    {"autovacuum", "on", "yes", true},
    {"autovacuum", "on", "off", false},
    {"synchronous_commit", "1", "ON", true},
    {"wal_level", "hot_standby", "replica", true},
    {"random_page_cost", "4", "4.0", true},
    {"TimeZone", "UTC", "utc", false},
    {"work_mem", "x", "x", true},
    {"work_mem", "x", "4MB", false},
};

static void test_guc_equal_compares_what_is_meant(void **state)
{
    CLEANUP(guc_catalog_freep) struct guc_catalog *c = catalog();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (guc_equal(guc_find(c, pairs[i].name), pairs[i].a, pairs[i].b) != pairs[i].equal)
            fail_msg("%s: \"%s\" and \"%s\"", pairs[i].name, pairs[i].a, pairs[i].b);
}

static void set_all(struct params *p)
{
    params_set(p, "work_mem", "lots");
    params_set(p, "WORK_MEMM", "4MB");
    params_set(p, "block_size", "4096");
    params_set(p, "max_connections", "9999999");
    params_set(p, "autovacuum", "yes");
    params_set(p, "our.own", "anything");
}

static void test_guc_filter_leaves_out_what_would_stop_the_server(void **state)
{
    CLEANUP(guc_catalog_freep) struct guc_catalog *c = catalog();
    CLEANUP(params_done) struct params p = {0};
    struct textbuf notes = {0};

    (void)state;
    set_all(&p);
    guc_filter(NULL, &p, &notes);
    assert_int_equal(p.n, 6);
    assert_int_equal(notes.len, 0);
    guc_filter(c, &p, &notes);
    assert_null(params_get(&p, "work_mem"));
    assert_null(params_get(&p, "WORK_MEMM"));
    assert_null(params_get(&p, "block_size"));
    assert_string_equal(params_get(&p, "max_connections"), "262143");
    assert_string_equal(params_get(&p, "autovacuum"), "yes");
    assert_string_equal(params_get(&p, "our.own"), "anything");
    assert_string_equal(
        notes.data, "parameter \"block_size\" is left out: it cannot be set in PostgreSQL 15\n"
                    "parameter \"max_connections\" is 262143: \"9999999\" is out of range (1 to 262143)\n"
                    "parameter \"work_mem\" is left out: \"lots\" is no number, or its unit is not one of B, kB, MB, "
                    "GB and TB\n"
                    "parameter \"WORK_MEMM\" is left out: there is none of that name in PostgreSQL 15\n");
    textbuf_done(&notes);
}

/* Who may not see all parameters cannot say that one does not exist. */
static void test_guc_filter_trusts_no_partial_view(void **state)
{
    CLEANUP(guc_catalog_freep) struct guc_catalog *c = NULL;
    CLEANUP(params_done) struct params p = {0};
    const struct pg_rows r = {1, COLUMNS, rows};
    struct textbuf notes = {0};

    (void)state;
    assert_int_equal(guc_catalog_read(&r, &c, NULL), 0);
    set_all(&p);
    guc_filter(c, &p, &notes);
    assert_null(params_get(&p, "work_mem"));
    assert_non_null(params_get(&p, "WORK_MEMM"));
    textbuf_done(&notes);
}

static void test_guc_catalog_survives_a_file(void **state)
{
    CLEANUP(guc_catalog_freep) struct guc_catalog *c = catalog(), *copy = NULL;
    CLEANUP(freep) char *text = guc_catalog_print(c);

    (void)state;
    assert_int_equal(guc_catalog_load(text, &copy, NULL), 0);
    assert_int_equal(copy->n, c->n);
    assert_int_equal(copy->version_num, 150018);
    assert_true(copy->complete);
    for (size_t i = 0; i < c->n; i++) {
        assert_string_equal(copy->items[i].name, c->items[i].name);
        assert_int_equal(copy->items[i].kind, c->items[i].kind);
        assert_string_equal(copy->items[i].unit, c->items[i].unit);
        assert_string_equal(copy->items[i].words, c->items[i].words);
        assert_true(copy->items[i].min == c->items[i].min && copy->items[i].max == c->items[i].max);
        assert_int_equal(copy->items[i].context, c->items[i].context);
    }
}

static void test_guc_catalog_of_anything_else_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "hello\n",
        "pgtether parameters x\n",
        "pgtether parameters 150018\nwork_mem\n",
        "pgtether parameters 150018\nwork_mem\tinteger\tuser\tkB\t\t64\n",
        "pgtether parameters 150018\nwork_mem\tinteger\tuser\tkB\t\t64\t100\tmore\n",
        "pgtether parameters 150018\nwork_mem\tnumber\tuser\tkB\t\t64\t100\n",
        "pgtether parameters 150018\n\tinteger\tuser\tkB\t\t64\t100\n",
    };
    const struct pg_rows none = {0, COLUMNS, rows}, narrow = {1, COLUMNS - 1, rows};
    struct guc_catalog *c = NULL;
    struct err err = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (guc_catalog_load(texts[i], &c, &err) == 0 && c->n)
            fail_msg("\"%s\" was taken", texts[i]);
        if (c)
            c = guc_catalog_free(c);
    }
    assert_int_equal(guc_catalog_read(&none, &c, &err), -EBADMSG);
    assert_int_equal(guc_catalog_read(&narrow, &c, &err), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guc_judges_and_prints_as_the_server),
        cmocka_unit_test(test_guc_judges_what_only_check_hooks_of_the_server_know),
        cmocka_unit_test(test_guc_equal_compares_what_is_meant),
        cmocka_unit_test(test_guc_filter_leaves_out_what_would_stop_the_server),
        cmocka_unit_test(test_guc_filter_trusts_no_partial_view),
        cmocka_unit_test(test_guc_catalog_survives_a_file),
        cmocka_unit_test(test_guc_catalog_of_anything_else_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
