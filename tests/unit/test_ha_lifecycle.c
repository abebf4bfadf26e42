/*
 * The rules about a PostgreSQL that says nothing or lets nobody in, and about a start that takes long: a leader with
 * lease and armed keeper, n2 beside it, the clock at 100 s.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "ha/ha.h"

#define S UINT64_C(1000000)
enum { LEASE_ID = 77 };

static struct scene {
    struct ha_view v;
    struct cluster c;
    struct member members[2];
} s;

static void add_member(size_t i, const char *name)
{
    s.members[i] = (struct member){.state = PG_STATE_RUNNING, .role = PG_ROLE_REPLICA, .tags = TAGS_DEFAULT};
    s.members[i].xlog_lsn = 5000;
    (void)snprintf(s.members[i].name, sizeof(s.members[i].name), "%s", name);
}

static void leader(void)
{
    memset(&s, 0, sizeof(s));
    add_member(0, "n1");
    add_member(1, "n2");
    s.c.members = s.members;
    s.c.n_members = 2;
    s.c.initialize = (struct text_key){.exists = true, .text = (char *)"7412345678901234567", .revision = 1};
    s.c.leader = (struct leader_key){.exists = true, .name = "n1", .session = LEASE_ID};
    s.c.read_sent_at_us = 99 * S;
    s.c.status_lsn = 5000;
    s.v = (struct ha_view){.now_us = 100 * S,
                           .name = "n1",
                           .tags = TAGS_DEFAULT,
                           .policy = POLICY_DEFAULT,
                           .cluster = &s.c,
                           .cluster_is_fresh = true,
                           .lease = {.held = true, .session = LEASE_ID, .deadline_us = 120 * S},
                           .keeper = {.connected = true, .armed = true, .fence_at_us = 117 * S}};
    s.v.policy.primary_start_timeout_us = 5 * S;
    s.v.pg.data_dir_known = s.v.pg.running = s.v.pg.accepting = true;
    s.v.memory.was_primary = true;
}

/* An agent has just started and found PostgreSQL running under its predecessor's lease. */
static void adopted(void)
{
    leader();
    s.v.op = OP_START_PRIMARY;
    s.v.op_since_us = 99 * S;
    s.v.pg.accepting = false;
}

static void crashed(void)
{
    leader();
    s.v.pg.running = s.v.pg.accepting = false;
    s.v.pg.control_known = true;
    s.v.pg.control_state = PG_CONTROL_IN_PRODUCTION;
    s.v.pg.sysid = UINT64_C(7412345678901234567);
    s.v.memory.crashed_at_us = 95 * S;
}

static void expect(const char *name, enum ha_action action)
{
    struct ha_decision got = ha_decide(&s.v);

    if (got.action != action)
        fail_msg("%s: decided %d (%s), wanted %d", name, (int)got.action, got.reason, (int)action);
    if (action == HA_DEMOTE && !got.release)
        fail_msg("%s: the key is not released (%s)", name, got.reason);
}

static void test_adopted_server_that_never_answers_costs_the_leader_key(void **state)
{
    (void)state;
    adopted();
    expect("not hung yet", HA_NOTHING);
    s.v.pg.hung = true;
    expect("hung", HA_DEMOTE);
    assert_int_equal(ha_decide(&s.v).urgency, HA_AT_ONCE);
    s.v.op = OP_PROMOTE;
    expect("hung while promoting", HA_DEMOTE);
    s.v.op = OP_CLONE;
    expect("nothing that needs the lease", HA_NOTHING);
}

static void test_start_that_takes_long_is_given_up_when_another_could_lead(void **state)
{
    (void)state;
    adopted();
    s.v.op_since_us = 95 * S;
    expect("at the timeout", HA_DEMOTE);
    s.v.op_since_us = 95 * S + 1;
    expect("just before", HA_NOTHING);
    s.v.op_since_us = 95 * S;
    s.members[1].state = PG_STATE_STARTING;
    expect("n2 is starting itself", HA_NOTHING);
    adopted();
    s.v.op_since_us = 95 * S;
    s.members[1].tags.nofailover = true;
    expect("n2 must not lead", HA_NOTHING);
    s.members[1].tags.nofailover = false;
    s.members[1].tags.failover_priority = 0;
    expect("n2 has no priority", HA_NOTHING);
    s.members[1].tags.failover_priority = 1;
    s.c.status_lsn = 5000 + s.v.policy.maximum_lag_on_failover_bytes;
    expect("n2 is as far behind as it may", HA_DEMOTE);
    s.c.status_lsn++;
    expect("n2 is too far behind", HA_NOTHING);
    s.members[1].xlog_lsn += 100000;
    expect("n2 has caught up", HA_DEMOTE);
    s.members[1].xlog_lsn = s.c.status_lsn + 1;
    expect("n2 has more", HA_DEMOTE);
    s.v.cluster = NULL;
    expect("the store cannot be read", HA_NOTHING);
}

static void test_crashed_primary_is_started_again_unless_another_could_lead(void **state)
{
    (void)state;
    crashed();
    expect("at the timeout", HA_DEMOTE);
    s.v.memory.crashed_at_us++;
    expect("just before", HA_START_PRIMARY);
    s.v.memory.crashed_at_us--;
    s.c.n_members = 1;
    expect("nobody else is there", HA_START_PRIMARY);
    crashed();
    s.v.policy.primary_start_timeout_us = 0;
    expect("timeout 0: at once", HA_DEMOTE);
    s.c.n_members = 1;
    expect("timeout 0, but nobody else is there", HA_START_PRIMARY);
}

static void test_primary_that_recovers_from_the_crash_of_a_backend_has_as_long(void **state)
{
    (void)state;
    leader();
    s.v.pg.rejecting_since_us = 95 * S + 1;
    expect("just before the timeout", HA_NOTHING);
    s.v.pg.rejecting_since_us = 95 * S;
    expect("at the timeout", HA_DEMOTE);
    s.v.policy.pause = true;
    expect("paused", HA_NOTHING);
    s.v.policy.pause = false;
    s.c.n_members = 1;
    expect("nobody else could lead", HA_NOTHING);
    leader();
    s.v.policy.primary_start_timeout_us = 0;
    expect("not recovering, timeout 0", HA_NOTHING);
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
