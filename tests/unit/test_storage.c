/* What becomes of answers and of silence: hysteresis, expiry, histogram. Interval 5 s, answers are good for 30 s. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "model/storage.h"

#define S UINT64_C(1000000)

static const struct storage_times times = {.interval_us = 5 * S, .timeout_us = 30 * S};
static const struct storage_answer good = {.outcome = STORAGE_GOOD, .latency_us = 300};
static const struct storage_answer slow = {.outcome = STORAGE_GOOD, .latency_us = STORAGE_SLOW_US};
static const struct storage_answer bad = {.outcome = STORAGE_BAD, .error = "could not write: I/O error"};
static const struct storage_answer full = {.outcome = STORAGE_NO_SPACE, .error = "no space"};
static const struct storage_answer none = {.outcome = STORAGE_NOT_PROBED, .error = "no data directory"};

/* G good, S slow, B bad, F full, N not probed; one each interval from 100 s on. The states that follow, as letters. */
static const struct {
    const char *name, *answers, *want;
} rows[] = {
    {"one bad answer is none", "GBG", "ooo"},
    {"two are a failure", "GBB", "oox"},
    {"two with a good one between are not", "GBGB", "oooo"},
    {"three good ones end it", "GBBGGG", "ooxxxo"},
    {"three in a row", "GBBGGBGGG", "ooxxxxxxo"},
    {"a bad first answer decides nothing", "BG", "?o"},
    {"two bad first answers do", "BB", "?x"},
    {"one slow answer is none", "GSG", "ooo"},
    {"two are slow", "GSS", "oos"},
    {"three fast ones end it", "GSSGGG", "oossso"},
    {"three fast ones in a row", "GSSGGSGGG", "oosssssso"},
    {"a failed disk that is slow comes back slow", "GBBSSS", "ooxxxs"},
    {"slow, then failed", "GSSBB", "oossx"},
    {"a full disk is full", "GFF", "oof"},
    {"and three good answers later it is not", "GFFGGG", "oofffo"},
    {"full, then failed", "GFFB", "oofx"},
    {"no data directory any more", "GBBN", "oox?"},
    {"counting begins anew after it", "GBNB", "oo??"},
};

static char letter(enum storage_state s)
{
    static const char letters[] = {'?', 'o', 's', 'f', 'x', 'e'};

    return letters[s];
}

static const struct storage_answer *answer_of(char c)
{
    switch (c) {
    case 'G':
        return &good;
    case 'S':
        return &slow;
    case 'B':
        return &bad;
    case 'F':
        return &full;
    default:
        return &none;
    }
}

static void test_answers_lead_to_states(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct storage_track t = {0};
        char got[16] = "";

        for (size_t k = 0; rows[i].answers[k]; k++) {
            char before = letter(t.state);
            bool changed = storage_answer(&t, answer_of(rows[i].answers[k]), (100 + 5 * k) * S);

            got[k] = letter(t.state);
            assert_true(changed == (got[k] != before));
            if (changed)
                assert_true(t.since_us == (100 + 5 * k) * S);
        }
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("%s: %s gives %s, wanted %s", rows[i].name, rows[i].answers, got, rows[i].want);
    }
}

static void test_silence_is_a_failure_after_two_missing_answers(void **state)
{
    struct storage_track t = {0};
    struct storage_view v;

    (void)state;
    assert_true(storage_expires_at_us(&t, &times) == UINT64_MAX);
    assert_false(storage_expire(&t, &times, 1000 * S));
    (void)storage_answer(&t, &good, 100 * S);
    assert_true(storage_expires_at_us(&t, &times) == 135 * S);
    assert_false(storage_expire(&t, &times, 135 * S - 1));
    assert_int_equal(t.state, STORAGE_OK);
    assert_true(storage_expire(&t, &times, 135 * S));
    assert_int_equal(t.state, STORAGE_EXPIRED);
    assert_false(storage_expire(&t, &times, 140 * S));
    assert_true(storage_expires_at_us(&t, &times) == UINT64_MAX);
    storage_view_of(&t, NULL, true, &v);
    assert_true(v.failed && v.fence && !v.is_wal && v.silent_since_us == 100 * S);
    /* It answers again: not silent any more, but not trusted before the third. */
    assert_true(!storage_answer(&t, &good, 150 * S) && !storage_answer(&t, &good, 155 * S));
    storage_view_of(&t, NULL, true, &v);
    assert_true(v.failed && v.silent_since_us == 0);
    assert_string_equal(v.error, "did not answer in time");
    assert_true(storage_answer(&t, &good, 160 * S));
    assert_int_equal(t.state, STORAGE_OK);
}

static void test_silence_after_a_bad_answer_is_a_failure_at_once(void **state)
{
    struct storage_track t = {0};

    (void)state;
    (void)storage_answer(&t, &good, 95 * S);
    (void)storage_answer(&t, &bad, 100 * S);
    assert_true(storage_expires_at_us(&t, &times) == 130 * S);
    assert_false(storage_expire(&t, &times, 130 * S - 1));
    assert_true(storage_expire(&t, &times, 130 * S));
}

static void test_disk_that_never_answered_is_a_failure_too(void **state)
{
    struct storage_track t = {0};

    (void)state;
    storage_await(&t, 100 * S);
    assert_int_equal(t.state, STORAGE_UNKNOWN);
    assert_true(storage_expire(&t, &times, 135 * S));
}

static void test_silence_while_we_stood_still_is_no_evidence(void **state)
{
    struct storage_track t = {0};

    (void)state;
    (void)storage_answer(&t, &good, 100 * S);
    storage_await(&t, 200 * S);
    assert_false(storage_expire(&t, &times, 235 * S - 1));
    assert_true(storage_expire(&t, &times, 235 * S));
}

static void test_the_worse_disk_is_shown(void **state)
{
    struct storage_track data = {0}, wal = {0};
    struct storage_view v;

    (void)state;
    (void)storage_answer(&data, &good, 100 * S);
    storage_view_of(&data, &wal, false, &v);
    assert_true(!v.failed && !v.fence);
    (void)storage_answer(&wal, &bad, 100 * S);
    (void)storage_answer(&wal, &bad, 105 * S);
    storage_view_of(&data, &wal, true, &v);
    assert_true(v.failed && v.is_wal && v.silent_since_us == 0);
    assert_string_equal(v.error, "could not write: I/O error");
    (void)storage_answer(&data, &bad, 105 * S);
    (void)storage_answer(&data, &bad, 110 * S);
    storage_view_of(&data, &wal, true, &v);
    assert_true(v.failed && !v.is_wal);
    /* A full disk is shown elsewhere: nobody is fenced for it. */
    data = (struct storage_track){0};
    (void)storage_answer(&data, &full, 100 * S);
    (void)storage_answer(&data, &full, 105 * S);
    storage_view_of(&data, NULL, true, &v);
    assert_false(v.failed);
}

static void test_latencies_are_counted_in_the_bucket_they_fit(void **state)
{
    struct storage_answer a = {.outcome = STORAGE_GOOD};
    struct storage_track t = {0};
    static const uint64_t latencies_us[] = {0, 250, 251, 500, 501, 32768000, 32768001};

    (void)state;
    for (size_t i = 0; i < sizeof(latencies_us) / sizeof(latencies_us[0]); i++) {
        a.latency_us = latencies_us[i];
        (void)storage_answer(&t, &a, 100 * S);
    }
    (void)storage_answer(&t, &bad, 100 * S);
    assert_true(t.buckets[0] == 2 && t.buckets[1] == 2 && t.buckets[2] == 1);
    assert_true(t.buckets[STORAGE_BUCKETS - 1] == 1);
    assert_true(t.answers == 7 && t.failures == 1);
    assert_true(t.latency_sum_us == 250 + 251 + 500 + 501 + 32768000 + 32768001);
}

static void test_times_follow_from_the_cluster(void **state)
{
    struct storage_times t = storage_times_for(0, 0, 10 * S, 30 * S);

    (void)state;
    assert_true(t.interval_us == 5 * S && t.timeout_us == 30 * S);
    t = storage_times_for(0, 0, S, 5 * S);
    assert_true(t.interval_us == S && t.timeout_us == 5 * S);
    t = storage_times_for(0, 0, 60 * S, 90 * S);
    assert_true(t.interval_us == 10 * S && t.timeout_us == 90 * S);
    t = storage_times_for(2 * S, 7 * S, 10 * S, 30 * S);
    assert_true(t.interval_us == 2 * S && t.timeout_us == 7 * S);
    t = storage_times_for(10 * S, 0, S, 5 * S);
    assert_true(t.timeout_us == 20 * S);
}

static void test_states_have_names(void **state)
{
    static const char *const names[] = {"unknown", "ok", "slow", "full", "failed", "expired"};

    (void)state;
    for (int i = STORAGE_UNKNOWN; i <= STORAGE_EXPIRED; i++)
        assert_string_equal(storage_state_text((enum storage_state)i), names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_lead_to_states),
        cmocka_unit_test(test_silence_is_a_failure_after_two_missing_answers),
        cmocka_unit_test(test_silence_after_a_bad_answer_is_a_failure_at_once),
        cmocka_unit_test(test_disk_that_never_answered_is_a_failure_too),
        cmocka_unit_test(test_silence_while_we_stood_still_is_no_evidence),
        cmocka_unit_test(test_the_worse_disk_is_shown),
        cmocka_unit_test(test_latencies_are_counted_in_the_bucket_they_fit),
        cmocka_unit_test(test_times_follow_from_the_cluster),
        cmocka_unit_test(test_states_have_names),
    };

    return cmocka_run_group_tests_name("storage", tests, NULL, NULL);
}
