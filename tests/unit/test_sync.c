/*
 * When the agent counts a change of synchronous_standby_names as in effect: only then may /sync promise by it. And what
 * it writes into PostgreSQL's files when it knows nothing yet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/text.h"

#define MS USEC_PER_MSEC
enum { WRITTEN_AT_US = 10000000 };

static struct agent a;
static struct dynamic dynamic;

/* A primary that has just been told to wait for "n2"; SQL has not answered since. */
static void told(const char *before)
{
    memset(&a, 0, sizeof(a));
    memset(&dynamic, 0, sizeof(dynamic));
    a.dynamic = &dynamic;
    dynamic.policy.sync_mode = SYNC_MODE_PRIORITY;
    a.pg.valid = true;
    a.pg.facts.current_lsn = 100;
    a.pg.facts.asked_at_us = WRITTEN_AT_US - 500 * MS;
    a.pg.facts.checkpointer_idle = true;
    (void)text_copy(a.pg.facts.synchronous_standby_names, sizeof(a.pg.facts.synchronous_standby_names), before);
    sync_note_pg(&a);
    a.pg.facts.asked_at_us += 200 * MS;
    sync_note_pg(&a);
    a.sync.names_known = true;
    (void)text_copy(a.sync.names, sizeof(a.sync.names), "n2");
    a.sync.written_at_us = WRITTEN_AT_US;
    a.sync.settled = a.sync.files_failed = false;
}

static bool answer(uint64_t asked_at_us, const char *names, bool checkpointer_idle)
{
    a.pg.facts.asked_at_us = asked_at_us;
    a.pg.facts.current_lsn++;
    a.pg.facts.checkpointer_idle = checkpointer_idle;
    (void)text_copy(a.pg.facts.synchronous_standby_names, sizeof(a.pg.facts.synchronous_standby_names), names);
    sync_note_pg(&a);
    return a.sync.settled;
}

static void test_names_count_when_every_walsender_has_been_told(void **state)
{
    (void)state;
    told("n3");
    assert_false(answer(WRITTEN_AT_US + 50 * MS, "n3", true));
    assert_false(answer(WRITTEN_AT_US + 100 * MS - 1, "n2", true));
    assert_true(answer(WRITTEN_AT_US + 100 * MS, "n2", false)); /* that commits wait the checkpointer knew before */
    assert_int_equal(a.sync.since_lsn, 103);
    assert_true(answer(WRITTEN_AT_US + 200 * MS, "n2", true));
    assert_int_equal(a.sync.since_lsn, 103);
    assert_false(answer(WRITTEN_AT_US + 300 * MS, "n3", true)); /* by whatever hand */
    assert_true(answer(WRITTEN_AT_US + 400 * MS, "n2", true));
    assert_int_equal(a.sync.since_lsn, 106);
}

static void test_first_names_count_when_the_checkpointer_has_seen_them(void **state)
{
    (void)state;
    told("");
    assert_false(answer(WRITTEN_AT_US + 50 * MS, "n2", true));
    assert_false(answer(WRITTEN_AT_US + 100 * MS, "n2", true)); /* it may have been idle before it was told */
    assert_false(answer(WRITTEN_AT_US + 150 * MS, "n2", false));
    assert_true(answer(WRITTEN_AT_US + 160 * MS, "n2", true));
    sync_forget_pg(&a);
    assert_false(answer(WRITTEN_AT_US + 170 * MS, "n2", true));
}

static void test_names_that_could_not_be_written_never_count(void **state)
{
    (void)state;
    told("n3");
    a.sync.files_failed = true;
    assert_false(answer(WRITTEN_AT_US + 100 * MS, "n2", true));
    a.sync.files_failed = false;
    assert_true(answer(WRITTEN_AT_US + 100 * MS, "n2", true));
}

static void test_empty_names_count_without_the_checkpointer(void **state)
{
    (void)state;
    told("n3");
    a.sync.names[0] = '\0';
    assert_true(answer(WRITTEN_AT_US + 100 * MS, "", false));
}

static void test_names_of_an_earlier_agent_are_taken_over(void **state)
{
    (void)state;
    told("");
    sync_forget(&a);
    assert_string_equal(sync_names_for_files(&a), SYNC_PLACEHOLDER);
    assert_false(answer(WRITTEN_AT_US, "ANY 1 (n2,n3)", true));
    assert_string_equal(sync_names_for_files(&a), "ANY 1 (n2,n3)");
    assert_false(answer(a.sync.written_at_us + 100 * MS, "ANY 1 (n2,n3)", true)); /* the files may say something else */
    a.sync.files_failed = false;
    assert_false(answer(a.sync.written_at_us + 99 * MS, "ANY 1 (n2,n3)", true));
    assert_true(answer(a.sync.written_at_us + 100 * MS, "ANY 1 (n2,n3)", true));
    sync_forget(&a);
    a.pg.facts.in_recovery = true;
    sync_note_pg(&a);
    assert_string_equal(sync_names_for_files(&a), SYNC_PLACEHOLDER); /* a standby has nothing to hand on */
}

static void test_without_a_synchronous_mode_the_users_names_stay(void **state)
{
    (void)state;
    told("");
    sync_forget(&a);
    dynamic.policy.sync_mode = SYNC_MODE_OFF;
    (void)answer(WRITTEN_AT_US, "somebody", true);
    assert_null(sync_names_for_files(&a));
    a.sync.names_known = true; /* until /sync is deleted the promise is kept */
    (void)text_copy(a.sync.names, sizeof(a.sync.names), "n2");
    assert_string_equal(sync_names_for_files(&a), "n2");
}

static void test_position_that_counts_is_the_one_that_commits_wait_for(void **state)
{
    static const struct {
        const char *synchronous_commit;
        uint64_t want;
    } rows[] = {{"on", 2}, {"remote_write", 3}, {"remote_apply", 1}, {"local", 2}, {"off", 2}};
    const struct pg_walsender w = {.replay_lsn = 1, .flush_lsn = 2, .write_lsn = 3};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pg_facts facts = {0};

        assert_true(text_copy(facts.synchronous_commit, sizeof(facts.synchronous_commit), rows[i].synchronous_commit));
        if (sync_waited_for_lsn(&facts, &w) != rows[i].want)
            fail_msg("%s", rows[i].synchronous_commit);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_count_when_every_walsender_has_been_told),
        cmocka_unit_test(test_first_names_count_when_the_checkpointer_has_seen_them),
        cmocka_unit_test(test_names_that_could_not_be_written_never_count),
        cmocka_unit_test(test_empty_names_count_without_the_checkpointer),
        cmocka_unit_test(test_names_of_an_earlier_agent_are_taken_over),
        cmocka_unit_test(test_without_a_synchronous_mode_the_users_names_stay),
        cmocka_unit_test(test_position_that_counts_is_the_one_that_commits_wait_for),
    };

    return cmocka_run_group_tests_name("sync", tests, NULL, NULL);
}
