/* The simulator as a test: random histories without a violation, and every broken rule is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <inttypes.h>
#include "runner.h"

enum { HISTORIES = 10000, SECONDS = 60, STEPS_WANTED = 1000000, MUTANT_SECONDS = 60 };

static void test_histories_keep_every_rule(void **state)
{
    struct tally t = run_histories(1, HISTORIES, SECONDS, MUTANT_NONE, 0);

    (void)state;
    (void)printf("%" PRIu64 " histories, %" PRIu64 " steps, %.1f virtual hours\n", t.histories, t.steps,
                 (double)t.virtual_us / 3.6e9);
    if (t.rule) {
        replay(t.failed_seed, SECONDS, MUTANT_NONE, false);
        fail_msg("seed %" PRIu64 " breaks %s", t.failed_seed, t.rule);
    }
    assert_true(t.steps >= STEPS_WANTED);
}

static void test_a_seed_replays_exactly(void **state)
{
    struct tally a = run_histories(7, 5, SECONDS, MUTANT_NONE, 0), b;

    (void)state;
    (void)run_histories(100, 3, SECONDS, MUTANT_NONE, 0);
    b = run_histories(7, 5, SECONDS, MUTANT_NONE, 0);
    assert_int_equal(a.steps, b.steps);
    assert_int_equal(a.virtual_us, b.virtual_us);
}

/* What takes many histories to show: from shortly before the first that shows it. */
static uint64_t first_seed(enum mutant m)
{
    static const uint64_t seeds[MUTANTS] = {
        [MUTANT_STRANGER_LEADS] = 49500,
        [MUTANT_SYNC_OLD_VOTES] = 9700,
        [MUTANT_UNMARK_ANY] = 9150,
    };

    return seeds[m] ? seeds[m] : 1;
}

static void test_a_broken_rule_is_found(void **state)
{
    (void)state;
    for (int m = 1; m < MUTANTS; m++) {
        struct tally t = run_histories(first_seed((enum mutant)m), UINT32_MAX, SECONDS, (enum mutant)m, MUTANT_SECONDS);

        if (!t.rule)
            fail_msg("the mutant %s was not found in %" PRIu64 " histories", mutant_names[m], t.histories);
        (void)printf("%-24s breaks %-12s after %" PRIu64 " histories, %.1f s\n", mutant_names[m], t.rule, t.histories,
                     t.seconds);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_seed_replays_exactly),
        cmocka_unit_test(test_histories_keep_every_rule),
        cmocka_unit_test(test_a_broken_rule_is_found),
    };

    return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
