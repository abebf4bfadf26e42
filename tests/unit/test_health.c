#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "api/health.h"
#include "base/core.h"
#include "base/text.h"

enum { NOW = 1000 };

static struct member members[1];
static struct cluster store = {.leader = {.exists = true, .name = "node0"}, .status_lsn = 5000, .members = members};

/* A healthy primary, until the lease ends at 1001. */
static const struct node_status primary = {
    .name = "node0",
    .state = PG_STATE_RUNNING,
    .role = PG_ROLE_PRIMARY,
    .sql_ok = true,
    .current_lsn = 5000,
    .lease_deadline_us = NOW + 1,
    .cluster = &store,
    .cluster_valid_until_us = NOW + 1,
    .tags_json = "{\"zone\":\"a\",\"ssd\":true,\"rank\":7}",
    .policy = {.ttl_us = 300, .loop_wait_us = 100, .maximum_lag_on_failover_bytes = 1048576},
    .loop_ran_at_us = NOW - 10,
};

/* A healthy asynchronous replica, 1000 bytes behind. */
static const struct node_status replica = {
    .name = "node1",
    .state = PG_STATE_RUNNING,
    .role = PG_ROLE_REPLICA,
    .sql_ok = true,
    .receive_lsn = 5000,
    .replay_lsn = 4000,
    .replication_state = "streaming",
    .cluster = &store,
    .cluster_valid_until_us = NOW + 1,
    .tags_json = "{\"zone\":\"a\",\"ssd\":true,\"rank\":7}",
    .policy = {.ttl_us = 300, .loop_wait_us = 100, .maximum_lag_on_failover_bytes = 1048576},
    .loop_ran_at_us = NOW - 10,
};

/* What is changed about a node before it is asked. */
enum twist {
    AS_IT_IS,
    LEASE_OVER,
    VIEW_OLD,
    PAUSED,
    PAUSED_VIEW_OLD,
    PAUSED_VIEW_OLD_SILENT,
    STARTING,
    SILENT,
    NOLOADBALANCE,
    SYNC,
    SYNC_OTHER_CASE,
    QUORUM,
    SYNC_MODE_OFF_BUT_LISTED,
    STANDBY_LEADER,
    HEARD_AHEAD,
};

static struct node_status twisted(const struct node_status *from, enum twist twist)
{
    static char listed[] = "node2,node1", other_case[] = "NODE1";
    struct node_status n = *from;

    store.sync = (struct sync_key){0};
    switch (twist) {
    case AS_IT_IS:
        break;
    case LEASE_OVER:
        n.lease_deadline_us = NOW;
        break;
    case VIEW_OLD:
        n.cluster_valid_until_us = NOW;
        break;
    case PAUSED_VIEW_OLD_SILENT:
        n.sql_ok = false;
        n.policy.pause = true;
        n.cluster_valid_until_us = NOW;
        n.lease_deadline_us = 0;
        break;
    case PAUSED_VIEW_OLD:
        n.cluster_valid_until_us = NOW;
        n.lease_deadline_us = 0;
        n.policy.pause = true;
        break;
    case PAUSED:
        n.lease_deadline_us = 0;
        n.policy.pause = true;
        break;
    case STARTING:
        n.state = PG_STATE_STARTING;
        break;
    case SILENT:
        n.sql_ok = false;
        break;
    case NOLOADBALANCE:
        n.tags.noloadbalance = true;
        break;
    case SYNC:
    case SYNC_OTHER_CASE:
        n.policy.sync_mode = SYNC_MODE_PRIORITY;
        store.sync = (struct sync_key){.exists = true, .standbys = twist == SYNC ? listed : other_case};
        break;
    case QUORUM:
        n.policy.sync_mode = SYNC_MODE_QUORUM;
        store.sync = (struct sync_key){.exists = true, .standbys = listed};
        break;
    case SYNC_MODE_OFF_BUT_LISTED:
        store.sync = (struct sync_key){.exists = true, .standbys = listed};
        break;
    case STANDBY_LEADER:
        n.role = PG_ROLE_STANDBY_LEADER;
        break;
    case HEARD_AHEAD:
        n.latest_end_lsn = 6000;
        break;
    }
    return n;
}

static const struct {
    const struct node_status *node;
    enum twist twist;
    const char *target;
    int want;
} health_rows[] = {
    {&primary, AS_IT_IS, "/", 200},
    {&primary, AS_IT_IS, "/primary", 200},
    {&primary, AS_IT_IS, "/master", 200},
    {&primary, AS_IT_IS, "/read-write", 200},
    {&primary, AS_IT_IS, "/leader", 200},
    {&primary, AS_IT_IS, "/standby-leader", 503},
    {&primary, AS_IT_IS, "/standby_leader", 503},
    {&primary, AS_IT_IS, "/replica", 503},
    {&primary, AS_IT_IS, "/read-only", 200},
    {&primary, AS_IT_IS, "/health", 200},
    {&primary, AS_IT_IS, "/sync", 503},
    {&primary, AS_IT_IS, "/async", 503},
    {&primary, AS_IT_IS, "/quorum", 503},
    {&primary, AS_IT_IS, "/read-only-sync", 200},
    {&primary, AS_IT_IS, "/read-only-synchronous", 200},
    {&primary, AS_IT_IS, "/read-only-quorum", 200},
    {&primary, AS_IT_IS, "/nonsense", 503},
    {&primary, AS_IT_IS, "/patroni", 503},
    {&primary, AS_IT_IS, "/primary?tag_zone=b", 200}, /* tags do not count for leaders … */
    {&primary, AS_IT_IS, "/read-only?tag_zone=b", 503},
    {&primary, AS_IT_IS, "/primary?lag=0", 200},
    {&primary, STARTING, "/primary", 200}, /* the lease counts, not the state */
    {&primary, STARTING, "/health", 503},
    {&primary, SILENT, "/primary", 200},
    {&primary, SILENT, "/health", 503},
    {&primary, VIEW_OLD, "/primary", 200},
    {&primary, VIEW_OLD, "/read-only-sync", 503},
    /* S5: the instant the lease ends, whatever we remember */
    {&primary, LEASE_OVER, "/primary", 503},
    {&primary, LEASE_OVER, "/leader", 503},
    {&primary, LEASE_OVER, "/read-only", 503},
    {&primary, LEASE_OVER, "/replica", 503},
    {&primary, LEASE_OVER, "/health", 503},
    {&primary, PAUSED, "/primary", 503}, /* the store is there and has no lease of ours */
    {&primary, PAUSED, "/health", 200},
    {&primary, PAUSED_VIEW_OLD, "/primary", 200},
    {&primary, PAUSED_VIEW_OLD, "/leader", 200},
    {&primary, PAUSED_VIEW_OLD, "/standby-leader", 503},
    {&primary, PAUSED_VIEW_OLD_SILENT, "/primary", 503},
    {&primary, STANDBY_LEADER, "/leader", 200},
    {&primary, STANDBY_LEADER, "/primary", 503},
    {&primary, STANDBY_LEADER, "/standby-leader", 200},
    {&primary, STANDBY_LEADER, "/replica", 503},
    {&primary, STANDBY_LEADER, "/read-only", 200},

    {&replica, AS_IT_IS, "/", 503},
    {&replica, AS_IT_IS, "/primary", 503},
    {&replica, AS_IT_IS, "/leader", 503},
    {&replica, AS_IT_IS, "/replica", 200},
    {&replica, AS_IT_IS, "/REPLICA", 503},
    {&replica, AS_IT_IS, "/read-only", 200},
    {&replica, AS_IT_IS, "/health", 200},
    {&replica, AS_IT_IS, "/async", 200},
    {&replica, AS_IT_IS, "/asynchronous", 200},
    {&replica, AS_IT_IS, "/sync", 503},
    {&replica, AS_IT_IS, "/read-only-sync", 503},
    {&replica, AS_IT_IS, "/replica?lag=1000", 200},
    {&replica, AS_IT_IS, "/replica?lag=999", 503},
    {&replica, AS_IT_IS, "/replica?lag=1kB", 200},
    {&replica, AS_IT_IS, "/replica?lag=0.97kB", 503},
    {&replica, AS_IT_IS, "/replica?lag=nonsense", 200},
    {&replica, AS_IT_IS, "/read-only?lag=999", 503},
    {&replica, AS_IT_IS, "/async?lag=999", 503},
    {&replica, AS_IT_IS, "/health?lag=999", 200},
    {&replica, HEARD_AHEAD, "/replica?lag=1999", 503},
    {&replica, HEARD_AHEAD, "/replica?lag=2000", 200},
    {&replica, VIEW_OLD, "/replica?lag=999", 200}, /* nothing to compare with */
    {&replica, AS_IT_IS, "/replica?replication_state=streaming", 200},
    {&replica, AS_IT_IS, "/replica?replication_state=in+archive+recovery", 503},
    {&replica, AS_IT_IS, "/replica?tag_zone=a", 200},
    {&replica, AS_IT_IS, "/replica?tag_zone=b", 503},
    {&replica, AS_IT_IS, "/replica?tag_zone=a&tag_ssd=true&tag_rank=7", 200},
    {&replica, AS_IT_IS, "/replica?tag_zone=a&tag_ssd=True", 503},
    {&replica, AS_IT_IS, "/replica?tag_zone=a&tag_rank=8", 503},
    {&replica, AS_IT_IS, "/replica?tag_missing=1", 503},
    {&replica, AS_IT_IS, "/replica?tag_zone=", 200}, /* no value, no filter */
    {&replica, NOLOADBALANCE, "/replica", 503},
    {&replica, NOLOADBALANCE, "/read-only", 503},
    {&replica, NOLOADBALANCE, "/health", 200},
    {&replica, STARTING, "/replica", 503},
    {&replica, SILENT, "/replica", 503},
    {&replica, VIEW_OLD, "/replica", 200},
    {&replica, VIEW_OLD, "/async", 503},
    {&replica, PAUSED_VIEW_OLD, "/primary", 503},
    {&replica, SYNC, "/sync", 200},
    {&replica, SYNC, "/synchronous", 200},
    {&replica, SYNC, "/quorum", 503},
    {&replica, SYNC, "/async", 503},
    {&replica, SYNC, "/read-only-sync", 200},
    {&replica, SYNC, "/read-only-quorum", 503},
    {&replica, SYNC, "/replica", 200},
    {&replica, SYNC, "/sync/", 503},
    {&replica, SYNC_OTHER_CASE, "/sync", 200},
    {&replica, QUORUM, "/quorum", 200},
    {&replica, QUORUM, "/sync", 503},
    {&replica, QUORUM, "/async", 503},
    {&replica, QUORUM, "/read-only-quorum", 200},
    {&replica, SYNC_MODE_OFF_BUT_LISTED, "/sync", 503},
    {&replica, SYNC_MODE_OFF_BUT_LISTED, "/async", 200},
};

static void test_health_code_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(health_rows); i++) {
        struct node_status n = twisted(health_rows[i].node, health_rows[i].twist);
        struct target t;
        int got;

        assert_int_equal(target_parse(health_rows[i].target, &t), 0);
        got = health_code(&n, NOW, &t);
        if (got != health_rows[i].want)
            fail_msg("row %zu, %s %s: got %d", i, n.name, health_rows[i].target, got);
    }
}

static const struct {
    const struct node_status *node;
    enum twist twist;
    const char *target;
    int want;
} readiness_rows[] = {
    {&primary, AS_IT_IS, "/readiness", 200},
    {&primary, SILENT, "/readiness", 200},
    {&primary, LEASE_OVER, "/readiness", 503},
    {&replica, AS_IT_IS, "/readiness", 200},
    {&replica, AS_IT_IS, "/readiness?lag=1000", 200},
    {&replica, AS_IT_IS, "/readiness?lag=999", 503},
    {&replica, AS_IT_IS, "/readiness?lag=0&mode=write", 200},
    {&replica, AS_IT_IS, "/readiness?lag=0&mode=apply", 503},
    {&replica, HEARD_AHEAD, "/readiness?lag=999&mode=write", 503},
    {&replica, STARTING, "/readiness", 503},
    {&replica, SILENT, "/readiness", 503},
    {&replica, VIEW_OLD, "/readiness", 503},
};

static void test_readiness_code_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(readiness_rows); i++) {
        struct node_status n = twisted(readiness_rows[i].node, readiness_rows[i].twist);
        struct target t;
        int got;

        assert_int_equal(target_parse(readiness_rows[i].target, &t), 0);
        got = health_readiness_code(&n, NOW, &t);
        if (got != readiness_rows[i].want)
            fail_msg("row %zu, %s %s: got %d", i, n.name, readiness_rows[i].target, got);
    }
}

static void test_readiness_when_the_replica_does_not_stream_is_503(void **state)
{
    struct node_status n = replica;
    struct target t;

    (void)state;
    assert_int_equal(target_parse("/readiness", &t), 0);
    assert_true(text_copy(n.replication_state, sizeof(n.replication_state), "in archive recovery"));
    assert_int_equal(health_readiness_code(&n, NOW, &t), 503);
}

static void test_liveness_ends_with_loop_wait_and_ttl_of_a_primary_or_two_ttl_of_a_replica(void **state)
{
    struct node_status p = primary, r = replica;

    (void)state;
    p.loop_ran_at_us = r.loop_ran_at_us = NOW;
    assert_int_equal(health_liveness_code(&p, NOW - 1), 200);
    assert_int_equal(health_liveness_code(&p, NOW + 399), 200);
    assert_int_equal(health_liveness_code(&p, NOW + 400), 503);
    assert_int_equal(health_liveness_code(&r, NOW + 699), 200);
    assert_int_equal(health_liveness_code(&r, NOW + 700), 503);
    r.policy.pause = true;
    assert_int_equal(health_liveness_code(&r, NOW + 7000), 200);
}

static void test_role_of_a_primary_whose_lease_has_ended_is_demoted(void **state)
{
    struct node_status n = primary;

    (void)state;
    assert_int_equal(health_role(&n, NOW), PG_ROLE_PRIMARY);
    assert_int_equal(health_role(&n, NOW + 1), PG_ROLE_DEMOTED);
    assert_int_equal(health_state(&n, NOW), PG_STATE_RUNNING);
    assert_int_equal(health_state(&n, NOW + 1), PG_STATE_UNKNOWN);
    assert_false(health_sql_ok(&n, NOW + 1));
    n.policy.pause = true;
    assert_int_equal(health_role(&n, NOW + 1), PG_ROLE_PRIMARY);
    n.sql_ok = false;
    assert_int_equal(health_role(&n, NOW + 1), PG_ROLE_DEMOTED);
}

static void test_bytes_are_read_with_their_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t want; /* 0 = refused */
    } rows[] = {{"1048576", 1048576},
                {"16MB", 16777216},
                {"10kB", 10240},
                {"1.5 kB", 1536},
                {"1TB", 1099511627776},
                {"2GB", 2147483648},
                {"7B", 7},
                {"10KB", 0},
                {"", 0},
                {"-1", 0},
                {" 1", 0},
                {"MB", 0},
                {"1e300TB", 0},
                {"1MBx", 0},
                {"nan", 0}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t got = 0;

        if (health_parse_bytes(rows[i].text, &got) != (rows[i].want != 0) || got != rows[i].want)
            fail_msg("\"%s\": got %llu", rows[i].text, (unsigned long long)got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_code_follows_the_table),
        cmocka_unit_test(test_readiness_code_follows_the_table),
        cmocka_unit_test(test_readiness_when_the_replica_does_not_stream_is_503),
        cmocka_unit_test(test_liveness_ends_with_loop_wait_and_ttl_of_a_primary_or_two_ttl_of_a_replica),
        cmocka_unit_test(test_role_of_a_primary_whose_lease_has_ended_is_demoted),
        cmocka_unit_test(test_bytes_are_read_with_their_units),
    };

    return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
