/*
 * The judgement of parameters beside that of a real server: every parameter it has with a row of values each, SHOW
 * beside what is printed; see live_postgres.h for when this is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backup/fill.h"
#include "base/clock.h"
#include "base/text.h"
#include "live_postgres.h"
#include "pg/guc.h"

static struct config *node;
static struct guc_catalog *catalog;

static const char *const words[] = {
    "",    "abc",   "on",       "off",   "true", "no",      "1",       "0",           "-1",     "5",    "7.5",
    "1e2", "0x20",  "100kB",    "2MB",   "2mb",  "1GB",     "3TB",     "8B",          "10ms",   "2min", "90s",
    "1d",  "5us",   " 6 ",      "6 MB",  "inf",  "nan",     "1,000",   "99999999999", "1.5h",   "1.5d", "0.3s",
    "2.5", "1.5GB", "4097.5kB", "debug", "info", "replica", "archive", "local",       "always", "try"};

static void on_catalog(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    bool *done = userdata;
    struct err bad = {0};

    (void)sqlstate;
    if (err->code)
        fail_msg("%s", err->msg);
    if (guc_catalog_read(rows, &catalog, &bad) < 0)
        fail_msg("%s", bad.msg);
    *done = true;
}

static void run(const char *sql, pg_command_fn fn)
{
    struct pg_probe_settings login = {"127.0.0.1", node->postgresql.listen_port, "postgres", NULL, "postgres"};
    struct pg_command *command = NULL;
    sd_event *loop = NULL;
    bool done = false;

    assert_true(sd_event_new(&loop) >= 0);
    assert_int_equal(pg_command_start(loop, &login, sql, 30 * USEC_PER_SEC, fn, &done, &command, NULL), 0);
    live_wait(loop, &done, 60);
    (void)pg_command_free(command);
    sd_event_unref(loop);
}

static int setup(void **state)
{
    (void)state;
    node = live_config("node1", live_port(0));
    assert_int_equal(live_run("%s/initdb -A trust -U postgres -N %s", live_bin_dir(), node->postgresql.data_dir), 0);
    live_start(node, "-c fsync=off");
    run(guc_catalog_sql, on_catalog);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    catalog = guc_catalog_free(catalog);
    live_stop(node, "fast");
    return 0;
}

/* Those that only check hooks refuse, or whose meaning depends on the build or another parameter. */
static bool may_be_refused(const struct guc *g, const char *state)
{
    static const char *const names[] = {"effective_io_concurrency", "maintenance_io_concurrency", "bonjour",
                                        "max_stack_depth"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], g->name) == 0)
            return true;
    /* 55P02: it cannot be changed this way at all; 0A000: not by this build */
    return g->kind == GUC_STRING || g->kind == GUC_ENUM || g->context == GUC_CONTEXT_INTERNAL ||
           strcmp(state, "55P02") == 0 || strcmp(state, "0A000") == 0;
}

static void compare(const struct guc *g, const char *value, const char *sqlstate, unsigned *differences)
{
    char why[256];
    bool good = guc_judge(g, value, why, sizeof(why), NULL, 0) == GUC_GOOD, taken = strcmp(sqlstate, "00000") == 0;

    if (good == taken || (good && may_be_refused(g, sqlstate)))
        return;
    /* Words that version 13 takes for md5, which is what it has without them. */
    if (strcmp(g->name, "password_encryption") == 0 && catalog->version_num < 140000)
        return;
    print_error("%s = \"%s\": we say %s, the server %s\n", g->name, value, good ? "good" : why, sqlstate);
    (*differences)++;
}

static void test_guc_judges_every_parameter_as_the_server(void **state)
{
    char script[256], output[256], line[64];
    unsigned differences = 0, compared = 0;
    FILE *f;

    (void)state;
    (void)text_print(script, sizeof(script), "%s/script.sql", live_dir());
    (void)text_print(output, sizeof(output), "%s/output", live_dir());
    f = fopen(script, "w");
    assert_non_null(f);
    for (size_t i = 0; i < catalog->n; i++)
        for (size_t k = 0; k < ARRAY_LEN(words); k++)
            fprintf(f, "ALTER SYSTEM SET \"%s\" = '%s';\n\\echo :SQLSTATE\n", catalog->items[i].name, words[k]);
    (void)fclose(f);
    assert_int_equal(live_run("%s/psql -h 127.0.0.1 -p %u -U postgres -qXAt -f %s postgres >%s 2>/dev/null",
                              live_bin_dir(), node->postgresql.listen_port, script, output),
                     0);
    f = fopen(output, "r");
    assert_non_null(f);
    for (size_t i = 0; i < catalog->n; i++) {
        for (size_t k = 0; k < ARRAY_LEN(words); k++) {
            assert_non_null(fgets(line, sizeof(line), f));
            line[strcspn(line, "\n")] = '\0';
            compare(&catalog->items[i], words[k], line, &differences);
            compared++;
        }
    }
    (void)fclose(f);
    print_message("%u values compared\n", compared);
    assert_int_equal(differences, 0);
}

static void on_shown(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    bool *done = userdata;
    unsigned differences = 0;

    (void)sqlstate;
    if (err->code)
        fail_msg("%s", err->msg);
    for (size_t i = 0; i < rows->n_rows; i++) {
        const char *name = rows->values[i * 3], *setting = rows->values[i * 3 + 1], *server = rows->values[i * 3 + 2];
        char shown[1024];

        guc_print(guc_find(catalog, name), setting, shown, sizeof(shown));
        if (strcmp(shown, server) == 0)
            continue;
        print_error("%s: %s is shown as \"%s\", the server says \"%s\"\n", name, setting, shown, server);
        differences++;
    }
    assert_int_equal(differences, 0);
    *done = true;
}

static void test_guc_prints_every_parameter_as_show(void **state)
{
    (void)state;
    assert_true(catalog->complete);
    assert_true(catalog->n > 300);
    /* Some have a way of printing of their own. */
    run("SELECT name, setting, current_setting(name) FROM pg_settings"
        " WHERE vartype <> 'string' AND name !~ '_mode|permissions|^tcp_'",
        on_shown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guc_prints_every_parameter_as_show),
        cmocka_unit_test(test_guc_judges_every_parameter_as_the_server),
    };
    int failed;

    if (!live_begin("guc"))
        return LIVE_SKIPPED;
    failed = cmocka_run_group_tests(tests, setup, teardown);
    live_end();
    return failed;
}
