/* A store that was built anew or restored, as the agent notes it: what of its content is not to be believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "agent/parts.h"
#include "base/clock.h"

#define S UINT64_C(1000000)

static const struct dcs_ops ops = {.name = "fake"};
static struct dcs dcs;
static struct cluster cluster;
static struct dynamic dynamic;
static struct agent a;

/* The store is read: of this life, with the word of a leader of that session in it. */
static void read_store(uint64_t life, uint64_t session)
{
    cluster.store_life = life;
    cluster.shutdown_session = session;
    store_note_change(&a);
}

static int set_up(void **state)
{
    (void)state;
    dcs = (struct dcs){.ops = &ops};
    cluster = (struct cluster){0};
    dynamic = (struct dynamic){.policy.ttl_us = 30 * S};
    a = (struct agent){.dcs = &dcs, .cluster = &cluster, .dynamic = &dynamic};
    return 0;
}

static void test_word_that_a_restored_store_has_brought_back_is_foreign(void **state)
{
    (void)state;
    read_store(1, 5);
    assert_int_equal(a.memory.foreign_word_session, 0);
    read_store(2, 5);
    assert_int_equal(a.memory.foreign_word_session, 5);
    read_store(2, 9);
    assert_int_equal(a.memory.foreign_word_session, 5); /* the other is of a leader since */
}

static void test_nobody_acquires_before_every_old_lease_has_ended(void **state)
{
    uint64_t begun_us = clock_now_us();

    (void)state;
    read_store(1, 0);
    assert_int_equal(a.memory.no_race_until_us, 0);
    read_store(2, 0);
    assert_true(a.memory.no_race_until_us >= begun_us + 30 * S);
    assert_true(a.sync.restored);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_word_that_a_restored_store_has_brought_back_is_foreign, set_up),
        cmocka_unit_test_setup(test_nobody_acquires_before_every_old_lease_has_ended, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
