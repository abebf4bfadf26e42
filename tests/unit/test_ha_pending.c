/* Who is restarted first for a parameter that WAL is bound to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/core.h"
#include "ha/ha.h"

static const struct {
    const char *name;
    struct pending_view v;
    enum pending_verdict want;
} rows[] = {
    {"the same in meaning", {.must_not_fall = true, .running = 100, .wanted = 100}, PENDING_NONE},
    {"another one, primary", {.differs = true}, PENDING_RESTART},
    {"another one, standby", {.differs = true, .is_standby = true}, PENDING_RESTART},
    {"another one waits for nobody", {.differs = true, .members_below = 2, .wanted = 2, .running = 1}, PENDING_RESTART},
    {"raised, standby",
     {.differs = true, .must_not_fall = true, .is_standby = true, .running = 100, .wanted = 200, .wal = 100},
     PENDING_RESTART},
    {"raised, standby that has read nothing of its WAL",
     {.differs = true, .must_not_fall = true, .is_standby = true, .running = 100, .wanted = 200},
     PENDING_RESTART},
    {"raised, standby, others do not matter",
     {.differs = true, .must_not_fall = true, .is_standby = true, .running = 100, .wanted = 200, .members_below = 1},
     PENDING_RESTART},
    {"raised, primary, a standby has less",
     {.differs = true, .must_not_fall = true, .running = 100, .wanted = 200, .members_below = 1},
     PENDING_LATER},
    {"raised, primary, all have it",
     {.differs = true, .must_not_fall = true, .running = 100, .wanted = 200},
     PENDING_RESTART},
    {"lowered, primary",
     {.differs = true, .must_not_fall = true, .running = 200, .wanted = 100, .members_below = 1},
     PENDING_RESTART},
    {"lowered, standby, the primary still has more",
     {.differs = true, .must_not_fall = true, .is_standby = true, .running = 200, .wanted = 100, .wal = 200},
     PENDING_LATER},
    {"lowered, standby, WAL not known",
     {.differs = true, .must_not_fall = true, .is_standby = true, .running = 200, .wanted = 100},
     PENDING_LATER},
    {"lowered, standby, one step is not enough",
     {.differs = true, .must_not_fall = true, .is_standby = true, .running = 200, .wanted = 100, .wal = 101},
     PENDING_LATER},
    {"lowered, standby, the primary has it",
     {.differs = true, .must_not_fall = true, .is_standby = true, .running = 200, .wanted = 100, .wal = 100},
     PENDING_RESTART},
};

static void test_ha_pending_orders_the_restarts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (ha_pending(&rows[i].v) != rows[i].want)
            fail_msg("%s: got %d", rows[i].name, (int)ha_pending(&rows[i].v));
}

static void test_pending_start_value_is_bound_to_the_wal(void **state)
{
    (void)state;
    assert_int_equal(pending_start_value(START_AS_STANDBY, 100, 200), 200);
    assert_int_equal(pending_start_value(START_AS_STANDBY, 200, 100), 200);
    assert_int_equal(pending_start_value(START_AS_STANDBY, 100, 0), 100);
    assert_int_equal(pending_start_value(START_AFTER_A_CRASH, 200, 100), 100);
    assert_int_equal(pending_start_value(START_AFTER_A_CRASH, 100, 200), 100);
    assert_int_equal(pending_start_value(START_AFTER_A_CRASH, 100, 0), 100);
    assert_int_equal(pending_start_value(START_AS_CONFIGURED, 100, 200), 100);
    assert_int_equal(pending_start_value(START_AS_CONFIGURED, 200, 100), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ha_pending_orders_the_restarts),
        cmocka_unit_test(test_pending_start_value_is_bound_to_the_wal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
