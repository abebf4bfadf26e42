#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "agent/fence_report.h"

#define ARMED "pgtether-armed 1\nstate=armed\nboot_id=old\nmember=n1\nlease=7\nttl_s=30\nat_s=1000\n"
#define STARVED "pgtether-rung 1\nboot_id=old\nat_s=1030\nrung=starve\nreason=not proven\n"

static void test_fence_report_is_made_only_of_a_lease_that_a_reset_has_ended(void **state)
{
    static const struct {
        const char *name, *armed, *rung;
        bool driver, want;
        int64_t at_s;
        const char *want_rung, *by_watchdog, *certainty;
    } rows[] = {
        {"no record", NULL, STARVED, true, false, 0, NULL, NULL, NULL},
        {"ended in order", "state=ended\nboot_id=old\nat_s=1000\n", STARVED, true, false, 0, NULL, NULL, NULL},
        {"the same boot", "state=armed\nboot_id=new\nat_s=1000\n", STARVED, true, false, 0, NULL, NULL, NULL},
        {"a broken record", "state=armed\n", STARVED, true, false, 0, NULL, NULL, NULL},
        {"starved, and the driver says so", ARMED, STARVED, true, true, 1030, "starve", "yes", "certain"},
        {"starved, the driver says nothing", ARMED, STARVED, false, true, 1030, "starve", "unknown", "likely"},
        {"killed, then reset", ARMED, "boot_id=old\nat_s=1030\nrung=kill\nreason=x\n", false, true, 1030, "kill",
         "unknown", "possible"},
        {"nothing recorded", ARMED, NULL, false, true, 1000, "none", "unknown", "possible"},
        {"a rung of another boot", ARMED, "boot_id=older\nat_s=1030\nrung=kill\nreason=x\n", true, true, 1000, "none",
         "yes", "certain"},
        {"a rung before this lease", ARMED, "boot_id=old\nat_s=999\nrung=kill\nreason=x\n", false, true, 1000, "none",
         "unknown", "possible"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fence_evidence e = {rows[i].armed, rows[i].rung, "new", rows[i].driver};
        struct fence_report r;

        if (fence_report_make(&e, &r) != rows[i].want)
            fail_msg("%s: made is not %d", rows[i].name, rows[i].want);
        if (!rows[i].want)
            continue;
        if (r.at_s != rows[i].at_s || strcmp(r.rung, rows[i].want_rung) != 0 ||
            strcmp(r.by_watchdog, rows[i].by_watchdog) != 0 || strcmp(r.certainty, rows[i].certainty) != 0)
            fail_msg("%s: got %ld %s %s %s", rows[i].name, (long)r.at_s, r.rung, r.by_watchdog, r.certainty);
        assert_string_equal(r.boot_id, "old");
        assert_string_equal(r.member, "n1");
        assert_true(r.reason[0]);
    }
}

static void test_fence_history_keeps_the_last_sixteen_through_its_file(void **state)
{
    struct fence_report r = {.boot_id = "b", .rung = "kill", .reason = "\"quoted\" \xc3\xa4", .by_watchdog = "yes"};
    struct fence_history h = {0}, again;
    char *json;

    (void)state;
    for (int i = 0; i < 20; i++) {
        r.at_s = i;
        fence_history_add(&h, &r);
    }
    assert_int_equal(h.n, FENCE_REPORTS_MAX);
    assert_int_equal(h.reports[0].at_s, 19);
    assert_int_equal(h.reports[FENCE_REPORTS_MAX - 1].at_s, 4);
    json = fence_history_print(&h);
    fence_history_parse(json, &again);
    free(json);
    assert_int_equal(again.n, h.n);
    assert_int_equal(again.reports[3].at_s, 16);
    assert_string_equal(again.reports[3].reason, r.reason);
    fence_history_parse("[1, {\"at\": 7}, \"x\"]", &again);
    assert_int_equal(again.n, 1);
    fence_history_parse("nonsense", &again);
    assert_int_equal(again.n, 0);
    fence_history_parse(NULL, &again);
    assert_int_equal(again.n, 0);
}

static void test_three_resets_within_an_hour_are_a_loop(void **state)
{
    static const struct {
        size_t n;
        int64_t at_s[4]; /* newest first */
        bool want;
    } rows[] = {{0, {0}, false},
                {2, {110, 100}, false},
                {3, {3700, 200, 100}, true},
                {3, {3701, 200, 100}, false},
                {4, {9000, 8000, 5500, 1}, true}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fence_history h = {.n = rows[i].n};

        for (size_t j = 0; j < rows[i].n; j++)
            h.reports[j].at_s = rows[i].at_s[j];
        if (fence_history_is_loop(&h) != rows[i].want)
            fail_msg("row %zu", i);
    }
}

static void test_fence_report_is_one_line_for_people(void **state)
{
    struct fence_report r = {
        .at_s = 0, .rung = "starve", .reason = "not proven", .by_watchdog = "yes", .certainty = "certain"};
    char text[256];

    (void)state;
    fence_report_text(&r, text, sizeof(text));
    assert_string_equal(text,
                        "host reset at 1970-01-01 00:00:00Z (rung starve, by its watchdog: yes, certain): not proven");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fence_report_is_made_only_of_a_lease_that_a_reset_has_ended),
        cmocka_unit_test(test_fence_history_keeps_the_last_sixteen_through_its_file),
        cmocka_unit_test(test_three_resets_within_an_hour_are_a_loop),
        cmocka_unit_test(test_fence_report_is_one_line_for_people),
    };

    return cmocka_run_group_tests_name("fence_report", tests, NULL, NULL);
}
