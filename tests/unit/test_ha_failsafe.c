/*
 * Failsafe mode as rows: what a member answers, when a leader asks, what the answers make of its lease, and whom a
 * promise or the list keeps from leading. The ttl is 30 s.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/text.h"
#include "ha_scene.h"

static struct failsafe_list list;

/* A standby whose leader cannot be found in the store, with everything it needs to lead; in the list are it and n2. */
static void listed(void)
{
    candidate();
    s.v.n_peers = 0;
    s.v.policy.failsafe_mode = true;
    list = (struct failsafe_list){0};
    s.c.failsafe_list = &list;
    (void)failsafe_list_add(&list, "n1", "http://n1:8008/patroni");
    (void)failsafe_list_add(&list, "n2", "http://n2:8008/patroni");
}

static void cut_off_leader(void)
{
    leader();
    s.v.policy.failsafe_mode = true;
    s.v.cluster = NULL;
}

/* --- what a member answers ------------------------------------------------------------------------------------------
 */

static void mode_off(void)
{
    s.v.policy.failsafe_mode = false;
}

static void holds_lease(void)
{
    s.v.lease.held = true;
}

static void armed(void)
{
    s.v.keeper.armed = true;
}

static void primary(void)
{
    s.v.pg.in_recovery = false;
}

static void server_down(void)
{
    s.v.pg = (struct local_pg){.data_dir_known = true};
}

static void acquiring(void)
{
    s.v.acquiring = true;
}

static void op_acquire(void)
{
    s.v.op = OP_ACQUIRE;
}

static void op_bootstrap(void)
{
    s.v.op = OP_BOOTSTRAP;
}

static void op_promote(void)
{
    s.v.op = OP_PROMOTE;
}

static void op_start_primary(void)
{
    s.v.op = OP_START_PRIMARY;
}

static void op_clone(void)
{
    s.v.op = OP_CLONE;
}

static void store_away(void)
{
    s.v.cluster = NULL;
}

static void asker_leads(void)
{
    s.c.leader = (struct leader_key){.exists = true, .name = "n2"};
}

static void another_leads(void)
{
    s.c.leader = (struct leader_key){.exists = true, .name = "n3"};
}

static const struct {
    const char *name;
    void (*change)(void);
    const char *asker;
    enum failsafe_word want;
} answer_rows[] = {
    {"a standby without a leader", listed, "n2", FAILSAFE_PROMISE},
    {"the mode is off here", mode_off, "n2", FAILSAFE_IS_OFF},
    {"the asker has our name", listed, "n1", FAILSAFE_NOT_NOW},
    {"it holds the leader key", holds_lease, "n2", FAILSAFE_IS_LEADER},
    {"the keeper is armed", armed, "n2", FAILSAFE_IS_LEADER},
    {"PostgreSQL is a primary", primary, "n2", FAILSAFE_IS_LEADER},
    {"PostgreSQL is down", server_down, "n2", FAILSAFE_PROMISE},
    {"the store is being asked for the key", acquiring, "n2", FAILSAFE_NOT_NOW},
    {"the operation takes the key", op_acquire, "n2", FAILSAFE_NOT_NOW},
    {"it bootstraps", op_bootstrap, "n2", FAILSAFE_NOT_NOW},
    {"it promotes", op_promote, "n2", FAILSAFE_NOT_NOW},
    {"it starts its primary", op_start_primary, "n2", FAILSAFE_NOT_NOW},
    {"it is being copied", op_clone, "n2", FAILSAFE_PROMISE},
    {"the store is away here, too", store_away, "n2", FAILSAFE_PROMISE},
    {"the store says that the asker leads", asker_leads, "n2", FAILSAFE_PROMISE},
    {"the store says that another leads", another_leads, "n2", FAILSAFE_NOT_NOW},
};

static void test_answer_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(answer_rows) / sizeof(answer_rows[0]); i++) {
        struct failsafe_answer got;

        listed();
        answer_rows[i].change();
        got = ha_failsafe_answer(&s.v, answer_rows[i].asker, 0);
        if (got.word != answer_rows[i].want)
            fail_msg("%s: answered %d (%s)", answer_rows[i].name, (int)got.word, got.reason);
        if ((got.until_us != 0) != (got.word == FAILSAFE_PROMISE))
            fail_msg("%s: until %llu", answer_rows[i].name, (unsigned long long)got.until_us);
    }
}

static void test_promise_is_as_long_as_wanted_but_no_longer_than_our_ttl(void **state)
{
    (void)state;
    listed();
    assert_true(ha_failsafe_answer(&s.v, "n2", 0).duration_us == 30 * S);
    assert_true(ha_failsafe_answer(&s.v, "n2", 10 * S).duration_us == 10 * S);
    assert_true(ha_failsafe_answer(&s.v, "n2", 10 * S).until_us == 110 * S);
    assert_true(ha_failsafe_answer(&s.v, "n2", 30 * S).duration_us == 30 * S);
    assert_true(ha_failsafe_answer(&s.v, "n2", 31 * S).duration_us == 30 * S);
}

/* --- the leader -----------------------------------------------------------------------------------------------------
 */

static void no_lease(void)
{
    s.v.lease.held = false;
}

static void no_keeper(void)
{
    s.v.keeper.connected = false;
}

static void not_armed(void)
{
    s.v.keeper.armed = false;
}

static void stopping(void)
{
    s.v.stopping = true;
}

static void demoting(void)
{
    s.v.op = OP_DEMOTE;
}

static void last_instant(void)
{
    s.v.now_us = 120 * S - 1;
}

static void run_out(void)
{
    s.v.now_us = 120 * S;
}

static const struct {
    const char *name;
    void (*change)(void);
    bool want;
} ask_rows[] = {
    {"a leader without store", cut_off_leader, true},
    {"the mode is off", mode_off, false},
    {"it holds nothing", no_lease, false},
    {"nobody guards it", no_keeper, false},
    {"the keeper is not armed", not_armed, false},
    {"it is being stopped", stopping, false},
    {"it demotes", demoting, false},
    {"the last instant of its lease", last_instant, true},
    {"its lease has run out", run_out, false},
};

static void test_leader_asks_while_its_lease_can_be_prolonged(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(ask_rows) / sizeof(ask_rows[0]); i++) {
        cut_off_leader();
        ask_rows[i].change();
        if (ha_failsafe_asks(&s.v) != ask_rows[i].want)
            fail_msg("%s", ask_rows[i].name);
    }
}

static void test_deadline_is_that_of_the_first_promise_to_end(void **state)
{
    struct failsafe_promise p[3] = {{120 * S}, {110 * S}, {130 * S}};
    struct policy policy = POLICY_DEFAULT;

    (void)state;
    assert_true(ha_failsafe_deadline_us(p, 3, 90 * S, &policy) == 110 * S);
    assert_true(ha_failsafe_deadline_us(p, 1, 90 * S, &policy) == 120 * S);
    p[2].until_us = 0; /* one has not promised */
    assert_true(ha_failsafe_deadline_us(p, 3, 90 * S, &policy) == 0);
    /* Nobody else may lead: a ttl from the last look, less the drift. */
    assert_true(ha_failsafe_deadline_us(p, 0, 90 * S, &policy) == 90 * S + 30 * S - 30000);
}

static void test_leader_says_how_it_goes_on_and_what_ended_it(void **state)
{
    struct ha_decision d;

    (void)state;
    cut_off_leader();
    s.v.failsafe.holds = true;
    d = ha_decide(&s.v);
    assert_int_equal(d.action, HA_NOTHING);
    assert_non_null(strstr(d.reason, "failsafe mode is enabled and all members are accessible"));
    s.v.storage.failed = true;
    assert_null(strstr(ha_decide(&s.v).reason, "failsafe"));
    cut_off_leader();
    s.v.now_us = 119 * S;
    s.v.failsafe.obstacle = "\"n2\" does not answer";
    d = ha_decide(&s.v);
    assert_int_equal(d.action, HA_DEMOTE);
    assert_non_null(strstr(d.reason, "\"n2\" does not answer"));
}

/* --- who is kept from leading ---------------------------------------------------------------------------------------
 */

static void nothing(void)
{
}

static void promised(void)
{
    s.v.memory.promised_until_us = 100 * S + 1;
    (void)text_copy(s.v.memory.promised_to, sizeof(s.v.memory.promised_to), "n2");
}

static void promised_before_boot(void)
{
    s.v.memory.promised_until_us = 100 * S + 1;
}

static void promise_over(void)
{
    s.v.memory.promised_until_us = 100 * S;
}

static void not_listed(void)
{
    list.n = 0;
    (void)failsafe_list_add(&list, "n2", "http://n2:8008/patroni");
}

static void empty_list(void)
{
    list.n = 0;
}

static void no_list(void)
{
    s.c.failsafe_list = NULL;
}

static void not_listed_and_off(void)
{
    not_listed();
    s.v.policy.failsafe_mode = false;
}

static const struct {
    const char *name;
    void (*change)(void);
    bool may_lead;
} bar_rows[] = {
    {"nothing stands against it", nothing, true},
    {"it has promised", promised, false},
    {"it may have promised before a start of the host", promised_before_boot, false},
    {"the first instant after the promise", promise_over, true},
    {"it is not in the list", not_listed, false},
    {"not in the list, and the mode is off by now", not_listed_and_off, false},
    {"the list is empty", empty_list, true},
    {"there is no list", no_list, true},
};

static void test_promise_and_list_keep_a_candidate_from_the_leader_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bar_rows) / sizeof(bar_rows[0]); i++) {
        listed();
        bar_rows[i].change();
        if ((ha_decide(&s.v).action == HA_ACQUIRE) != bar_rows[i].may_lead)
            fail_msg("%s: %s", bar_rows[i].name, ha_decide(&s.v).reason);
    }
    listed();
    promised();
    assert_true(ha_decide(&s.v).wake_at_us == 100 * S + 1);
}

static void test_promise_and_list_keep_an_empty_node_from_making_a_cluster(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bar_rows) / sizeof(bar_rows[0]); i++) {
        listed();
        s.c.initialize = (struct text_key){0};
        s.v.pg = (struct local_pg){.data_dir_known = true, .data_dir_empty = true};
        bar_rows[i].change();
        if ((ha_decide(&s.v).action == HA_BOOTSTRAP) != bar_rows[i].may_lead)
            fail_msg("%s: %s", bar_rows[i].name, ha_decide(&s.v).reason);
    }
}

static void test_node_that_knew_a_cluster_makes_no_other_one_when_the_store_forgets_it(void **state)
{
    (void)state;
    listed();
    s.c.initialize = (struct text_key){0};
    s.v.pg = (struct local_pg){.data_dir_known = true, .data_dir_empty = true};
    s.v.memory.seen_initialized = true;
    assert_int_equal(ha_decide(&s.v).action, HA_NOTHING);
}

/* It waits for a leader; waiting for it in turn would be for ever. */
static void test_peer_outside_of_the_list_is_not_waited_for(void **state)
{
    (void)state;
    listed();
    s.v.n_peers = 1;
    s.peers[0] = (struct peer){.name = "n3", .answered = true, .lsn = 2000, .failover_priority = 1};
    assert_int_equal(ha_decide(&s.v).action, HA_ACQUIRE);
    s.peers[0] = (struct peer){.name = "n3", .answered = true, .is_starting = true, .failover_priority = 1};
    assert_int_equal(ha_decide(&s.v).action, HA_ACQUIRE);
    s.peers[0] = (struct peer){.name = "n3", .answered = true, .is_primary = true};
    assert_int_equal(ha_decide(&s.v).action, HA_NOTHING);
    s.peers[0] = (struct peer){.name = "n3", .answered = true, .failsafe_active = true};
    assert_int_equal(ha_decide(&s.v).action, HA_NOTHING);
    s.peers[0] = (struct peer){.name = "n2", .answered = true, .lsn = 2000, .failover_priority = 1};
    assert_int_equal(ha_decide(&s.v).action, HA_NOTHING);
    empty_list();
    s.peers[0] = (struct peer){.name = "n3", .answered = true, .lsn = 2000, .failover_priority = 1};
    assert_int_equal(ha_decide(&s.v).action, HA_NOTHING);
}

/* --- the list -------------------------------------------------------------------------------------------------------
 */

static void test_list_when_too_long_says_so(void **state)
{
    static struct failsafe_list full, same;
    char name[16], url[FAILSAFE_URL_SIZE + 1];

    (void)state;
    for (unsigned i = 0; i < FAILSAFE_MEMBERS_MAX; i++) {
        (void)text_print(name, sizeof(name), "n%u", i);
        assert_true(failsafe_list_add(&full, name, "http://x"));
        assert_false(failsafe_list_add(&full, name, "http://x"));
    }
    same = full;
    assert_true(failsafe_list_equal(&full, &same));
    assert_true(failsafe_list_add(&same, "n0", "http://y"));
    assert_false(failsafe_list_equal(&full, &same));
    same.n--;
    assert_false(failsafe_list_equal(&full, &same));
    assert_false(full.overflow);
    assert_false(failsafe_list_add(&full, "one more", "http://x"));
    assert_true(full.overflow);
    /* Half a URL would be that of another host. */
    memset(url, 'x', sizeof(url));
    url[FAILSAFE_URL_SIZE] = '\0';
    assert_true(failsafe_list_add(&full, "n0", url));
    assert_string_equal(failsafe_list_find(&full, "n0")->api_url, "");
    assert_null(failsafe_list_find(&full, "one more"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer_follows_the_table),
        cmocka_unit_test(test_promise_is_as_long_as_wanted_but_no_longer_than_our_ttl),
        cmocka_unit_test(test_leader_asks_while_its_lease_can_be_prolonged),
        cmocka_unit_test(test_deadline_is_that_of_the_first_promise_to_end),
        cmocka_unit_test(test_leader_says_how_it_goes_on_and_what_ended_it),
        cmocka_unit_test(test_promise_and_list_keep_a_candidate_from_the_leader_key),
        cmocka_unit_test(test_promise_and_list_keep_an_empty_node_from_making_a_cluster),
        cmocka_unit_test(test_node_that_knew_a_cluster_makes_no_other_one_when_the_store_forgets_it),
        cmocka_unit_test(test_peer_outside_of_the_list_is_not_waited_for),
        cmocka_unit_test(test_list_when_too_long_says_so),
    };

    return cmocka_run_group_tests_name("failsafe mode", tests, NULL, NULL);
}
