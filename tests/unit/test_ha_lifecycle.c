/*
 * The rules about a PostgreSQL that says nothing or lets nobody in, and about a start that takes long: the leader of
 * ha_scene.h, with n2 beside it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "ha_scene.h"

/* n2 alone is beside this node, and has all of its WAL; PostgreSQL has five seconds to start. */
static void beside_n2(void)
{
    s.c.n_members = 2;
    s.members[1].role = PG_ROLE_REPLICA;
    s.members[1].xlog_lsn = s.c.status_lsn = 5000;
    s.v.policy.primary_start_timeout_us = 5 * S;
}

/* An agent has just started and found PostgreSQL running under its predecessor's lease. */
static void adopted(void)
{
    leader();
    beside_n2();
    s.v.op = OP_START_PRIMARY;
    s.v.op_since_us = 99 * S;
    s.v.pg.accepting = false;
}

static void crashed_long_ago(void)
{
    crashed();
    beside_n2();
    s.v.memory.crashed_at_us = 95 * S;
}

static void test_adopted_server_that_never_answers_costs_the_leader_key(void **state)
{
    (void)state;
    adopted();
    CHECK("not hung yet", HA_NOTHING);
    s.v.pg.hung = true;
    CHECK("hung", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.op = OP_PROMOTE;
    CHECK("hung while promoting", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.op = OP_RESTART;
    CHECK("hung while it is restarted", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.keeper.armed = false;
    CHECK("a standby that is restarted", HA_NOTHING);
    s.v.keeper.armed = true;
    s.v.op = OP_CLONE;
    CHECK("nothing that needs the lease", HA_NOTHING);
}

static void test_start_that_takes_long_is_given_up_when_another_could_lead(void **state)
{
    (void)state;
    adopted();
    s.v.op_since_us = 95 * S;
    CHECK("at the timeout", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
    s.v.op_since_us = 95 * S + 1;
    CHECK("just before", HA_NOTHING);
    s.v.op_since_us = 95 * S;
    s.members[1].state = PG_STATE_STARTING;
    CHECK("n2 is starting itself", HA_NOTHING);
    adopted();
    s.c.failover = (struct failover_key){.exists = true, .leader = "n1", .candidate = "n2"};
    CHECK("a switchover waits for the end of the start", HA_NOTHING);
    s.v.op_since_us = 95 * S;
    s.members[1].tags.nofailover = true;
    CHECK("n2 must not lead", HA_NOTHING);
    s.members[1].tags.nofailover = false;
    s.members[1].tags.failover_priority = 0;
    CHECK("n2 has no priority", HA_NOTHING);
    s.members[1].tags.failover_priority = 1;
    s.c.status_lsn = 5000 + s.v.policy.maximum_lag_on_failover_bytes;
    CHECK("n2 is as far behind as it may", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
    s.c.status_lsn++;
    CHECK("n2 is too far behind", HA_NOTHING);
    s.members[1].xlog_lsn += 100000;
    CHECK("n2 has caught up", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
    s.members[1].xlog_lsn = s.c.status_lsn + 1;
    CHECK("n2 has more", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
    s.v.cluster = NULL;
    CHECK("the store cannot be read", HA_NOTHING);
}

static void test_crashed_primary_is_started_again_unless_another_could_lead(void **state)
{
    (void)state;
    crashed_long_ago();
    CHECK("at the timeout", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.memory.crashed_at_us++;
    CHECK("just before", HA_START_PRIMARY);
    s.v.memory.crashed_at_us--;
    s.c.n_members = 1;
    CHECK("nobody else is there", HA_START_PRIMARY);
    crashed_long_ago();
    s.v.policy.primary_start_timeout_us = 0;
    CHECK("timeout 0: at once", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.c.n_members = 1;
    CHECK("timeout 0, but nobody else is there", HA_START_PRIMARY);
}

static void test_primary_that_recovers_from_the_crash_of_a_backend_has_as_long(void **state)
{
    (void)state;
    leader();
    beside_n2();
    s.v.pg.rejecting_since_us = 95 * S + 1;
    CHECK("just before the timeout", HA_NOTHING);
    s.v.pg.rejecting_since_us = 95 * S;
    CHECK("at the timeout", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.policy.pause = true;
    CHECK("paused", HA_NOTHING);
    s.v.policy.pause = false;
    s.c.n_members = 1;
    CHECK("nobody else could lead", HA_NOTHING);
    leader();
    beside_n2();
    s.v.policy.primary_start_timeout_us = 0;
    CHECK("not recovering, timeout 0", HA_NOTHING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adopted_server_that_never_answers_costs_the_leader_key),
        cmocka_unit_test(test_start_that_takes_long_is_given_up_when_another_could_lead),
        cmocka_unit_test(test_crashed_primary_is_started_again_unless_another_could_lead),
        cmocka_unit_test(test_primary_that_recovers_from_the_crash_of_a_backend_has_as_long),
    };

    return cmocka_run_group_tests_name("ha_lifecycle", tests, NULL, NULL);
}
