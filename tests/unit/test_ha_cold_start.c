/*
 * After an outage of all members: "n1" is back, "n2" and "n3" are known; for whom the election waits, and what an
 * operator is told who does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/text.h"
#include "ha/ha.h"

#define S UINT64_C(1000000)
enum { OURS = 1000, PUBLISHED = 1500 };

static struct scene {
    struct ha_view v;
    struct cluster c;
    struct failsafe_list known;
    struct peer peers[2];
    struct cold_start said;
} s;

/* Everybody has come back, knows its position, and has no more than we have. */
static void everybody_is_back(void)
{
    memset(&s, 0, sizeof(s));
    s.v = (struct ha_view){.now_us = 100 * S,
                           .name = "n1",
                           .tags = TAGS_DEFAULT,
                           .policy = POLICY_DEFAULT,
                           .cluster = &s.c,
                           .cluster_is_fresh = true,
                           .peers = s.peers,
                           .n_peers = 2,
                           .peers_asked_at_us = 99 * S,
                           .peers_answered_at_us = 100 * S - 1000,
                           .known = &s.known,
                           .keeper = {.connected = true, .dead_proven = true}};
    s.v.memory.leaderless_since_us = 90 * S;
    s.v.pg.running = s.v.pg.accepting = s.v.pg.in_recovery = true;
    s.v.pg.replay_lsn = OURS;
    s.v.pg.timeline = 3;
    s.c.status_lsn = PUBLISHED;
    s.c.read_sent_at_us = 98 * S;
    for (int i = 0; i < 3; i++) {
        const char names[3][MEMBER_NAME_SIZE] = {"n1", "n2", "n3"};

        (void)failsafe_list_add(&s.known, names[i], "http://h");
        if (i == 0)
            continue;
        s.peers[i - 1] =
            (struct peer){.answered = true, .lsn = OURS, .timeline = 3, .as_of_us = 99 * S, .failover_priority = 1};
        (void)text_copy(s.peers[i - 1].name, MEMBER_NAME_SIZE, names[i]);
    }
}

static void n3_is_missing(void)
{
    everybody_is_back();
    s.peers[1].answered = false;
}

static void check(const char *row, enum ha_action action, const char *says)
{
    struct ha_decision d = ha_decide(&s.v);

    if (d.action != action || !strstr(d.reason, says))
        fail_msg("%s: got %d (%s)", row, (int)d.action, d.reason);
}

/* What is missing, the candidate and its cost; "" = nothing is waited for. */
static void report(const char *row, const char *missing, const char *candidate, uint64_t cost_bytes)
{
    bool waits = ha_cold_start(&s.v, &s.said);

    if (waits != (missing[0] != '\0') || (waits && strcmp(s.said.missing, missing) != 0) ||
        (waits && strcmp(s.said.candidate, candidate) != 0) || (waits && s.said.cost_bytes != cost_bytes))
        fail_msg("%s: %d, waits for \"%s\", candidate \"%s\", %llu bytes", row, waits, s.said.missing, s.said.candidate,
                 (unsigned long long)s.said.cost_bytes);
}

static void test_election_when_all_are_back_goes_to_whoever_has_most(void **state)
{
    (void)state;
    everybody_is_back();
    check("nobody has more", HA_ACQUIRE, "taking the leader key");
    report("nobody is missing", "", "", 0);
    s.peers[0].lsn = OURS + 1;
    check("more WAL", HA_NOTHING, "\"n2\" has more WAL");
    s.peers[0].timeline = 2;
    check("more WAL, on an older timeline", HA_ACQUIRE, "taking");
    s.peers[0].timeline = 4;
    s.peers[0].lsn = OURS - 1;
    check("a later timeline", HA_NOTHING, "\"n2\" has more WAL, or a later timeline");
    s.peers[0].timeline = 3;
    s.peers[0].lsn = OURS;
    s.peers[0].failover_priority = 2;
    check("the same, and goes first", HA_NOTHING, "higher failover_priority");
    s.peers[0].timeline = 0;
    check("the same, its timeline unknown", HA_NOTHING, "higher failover_priority");
    s.peers[0].timeline = 2;
    check("the same position of an older timeline", HA_ACQUIRE, "taking");
    s.peers[0].timeline = 3;
    s.v.pg.timeline = 0;
    check("ours is unknown", HA_NOTHING, "higher failover_priority");
    s.v.pg.timeline = 3;
    s.peers[0].lsn = OURS - 1;
    check("less, although it would go first", HA_ACQUIRE, "taking");
}

static void test_election_waits_for_a_known_member_that_has_not_answered(void **state)
{
    (void)state;
    n3_is_missing();
    check("no answer", HA_NOTHING, "waiting for n3, which may have WAL");
    report("no answer", "n3", "n1", PUBLISHED - OURS);
    assert_true(s.said.cost_known && s.said.since_us == 90 * S && s.said.until_us == 0 && s.said.n_missing == 1);
    s.v.n_peers = 0;
    report("no member key yet", "n2, n3", "n1", PUBLISHED - OURS);
    n3_is_missing();
    s.peers[1] = (struct peer){.name = "n3", .answered = true, .is_starting = true, .as_of_us = 99 * S};
    s.v.memory.leaderless_since_us = 10 * S;
    report("it starts", "n3 (is starting)", "n1", PUBLISHED - OURS);
    check("it starts", HA_ASK_PEERS, "waiting for n3 (is starting)");
    s.v.peers_answered_at_us = s.v.peers_asked_at_us;
    s.v.now_us = s.v.peers_asked_at_us + 1;
    check("and was asked just now", HA_NOTHING, "waiting for n3 (is starting)");
    s.peers[1].is_starting = false;
    report("it does not run", "n3 (does not know its position)", "n1", PUBLISHED - OURS);
    s.peers[1].lsn = 1;
    s.peers[1].as_of_us = 0;
    report("it replays", "n3 (does not know its position)", "n1", PUBLISHED - OURS);
    s.peers[1].as_of_us = 99 * S;
    report("it has replayed all", "", "", 0);
}

static void test_election_waits_until_this_node_has_replayed_all(void **state)
{
    (void)state;
    everybody_is_back();
    s.v.pg.replaying = true;
    check("it replays", HA_NOTHING, "not yet replayed all");
    report("which is not missing", "", "", 0);
    s.c.status_lsn = s.v.policy.maximum_lag_on_failover_bytes + OURS + 1;
    report("nor behind, as far as is known", "", "", 0);
    s.c.status_lsn = PUBLISHED;
    s.v.memory.leader_seen = true;
    check("not in an ordinary failover", HA_ACQUIRE, "taking");
}

static void test_election_does_not_wait_for_who_cannot_help(void **state)
{
    (void)state;
    n3_is_missing();
    s.peers[1].answered = true;
    s.peers[1].lsn = 0;
    s.peers[1].has_nothing = true;
    check("nothing on its disk", HA_ACQUIRE, "taking");
    s.peers[1].has_nothing = false;
    s.peers[1].nofailover = true;
    check("never leads", HA_ACQUIRE, "taking");
    n3_is_missing();
    s.known.n = 2;
    check("had left before", HA_ACQUIRE, "taking");
    n3_is_missing();
    s.v.known = NULL;
    check("nobody is known", HA_ACQUIRE, "taking");
    everybody_is_back();
    s.known.n = 1;
    s.v.n_peers = 0;
    check("a cluster of one", HA_ACQUIRE, "taking");
}

static void test_ordinary_failover_waits_for_nobody(void **state)
{
    (void)state;
    n3_is_missing();
    s.v.memory.leader_seen = true;
    check("this node was up while somebody led", HA_ACQUIRE, "taking");
    s.v.memory.leader_seen = false;
    s.peers[0].leader_seen = true;
    check("another one was", HA_ACQUIRE, "taking");
    s.peers[0].leader_seen = false;
    s.peers[1].leader_seen = true;
    check("one that does not answer says nothing", HA_NOTHING, "waiting for n3");
}

static void test_synchronous_mode_says_who_counts(void **state)
{
    (void)state;
    n3_is_missing();
    s.v.policy.sync_mode = SYNC_MODE_PRIORITY;
    s.c.sync = (struct sync_key){.exists = true, .leader = "n3", .standbys = (char[]){"n1"}, .revision = 1};
    check("in /sync", HA_ACQUIRE, "taking");
    report("in /sync", "", "", 0);
    s.v.sync_is_foreign = true;
    check("but /sync is of a store that was restored", HA_NOTHING, "waiting for n3");
    s.v.sync_is_foreign = false;
    s.c.sync.exists = false;
    check("nothing is promised", HA_NOTHING, "waiting for n3");
}

static void test_word_of_a_leader_that_was_shut_down_ends_the_wait(void **state)
{
    (void)state;
    n3_is_missing();
    s.c.shutdown_lsn = OURS - 1;
    s.c.shutdown_session = 7;
    s.c.shutdown_timeline = 3;
    s.c.timeline.timeline = 3;
    check("we have its last record", HA_ACQUIRE, "taking");
    s.c.timeline.timeline = 4;
    check("somebody may have been promoted since", HA_NOTHING, "waiting for n3");
    s.c.timeline.timeline = 3;
    s.c.shutdown_timeline = 2;
    check("somebody was promoted since", HA_NOTHING, "waiting for n3");
    s.c.shutdown_timeline = 3;
    s.c.shutdown_lsn = OURS;
    check("we lack it", HA_NOTHING, "waiting for n3");
    s.c.shutdown_lsn = OURS - 1;
    s.v.memory.foreign_word_session = 7;
    check("a restored store has brought it back", HA_NOTHING, "waiting for n3");
}

static void test_operator_ends_the_wait(void **state)
{
    (void)state;
    n3_is_missing();
    s.c.failover = (struct failover_key){.exists = true, .candidate = "n1"};
    check("this node is named", HA_ACQUIRE, "taking");
    s.c.failover = (struct failover_key){.exists = true, .candidate = "n3"};
    check("one that does not come is named", HA_NOTHING, "waiting for n3");
    s.c.failover.exists = false;
    s.v.policy.cold_start_wait_us = 20 * S;
    check("a limit", HA_NOTHING, "waiting for n3");
    report("a limit", "n3", "n1", PUBLISHED - OURS);
    assert_true(s.said.until_us == 110 * S);
    s.v.policy.cold_start_wait_us = 10 * S;
    check("the limit is reached", HA_ACQUIRE, "taking");
}

static void test_too_little_wal_is_said_when_nobody_is_missing(void **state)
{
    (void)state;
    n3_is_missing();
    s.c.status_lsn = s.v.policy.maximum_lag_on_failover_bytes + OURS + 1;
    check("and somebody missing may have it", HA_NOTHING, "waiting for n3");
    report("and somebody missing may have it", "n3", "n1", s.c.status_lsn - OURS);
    s.peers[1].answered = true;
    check("nobody has it", HA_NOTHING, "more than maximum_lag_on_failover");
    assert_true(ha_cold_start(&s.v, &s.said) && s.said.behind && !s.said.n_missing);
    assert_string_equal(s.said.candidate, "n1");
    s.c.status_lsn = PUBLISHED;
    s.v.policy.check_timeline = true;
    s.c.history = (struct history_line[]){{.timeline = 3}};
    s.c.n_history = 1;
    s.c.history_text.exists = true;
    check("an older timeline", HA_NOTHING, "on timeline 3, the cluster on 4");
    s.v.memory.leader_seen = true;
    check("as in any other election", HA_NOTHING, "on timeline 3, the cluster on 4");
}

static void test_candidate_is_the_one_with_most_of_those_that_have_answered(void **state)
{
    (void)state;
    n3_is_missing();
    s.peers[0].lsn = PUBLISHED + 1;
    report("more WAL", "n3", "n2", 0);
    s.peers[0].timeline = 2;
    report("more WAL, older timeline", "n3", "n1", PUBLISHED - OURS);
    s.peers[0].timeline = 4;
    s.peers[0].lsn = 1;
    report("later timeline", "n3", "n2", PUBLISHED - 1);
    s.peers[0].nofailover = true;
    report("that may not lead", "n3", "n1", PUBLISHED - OURS);
    s.peers[0].nofailover = false;
    s.peers[0].lsn = 0;
    report("that knows no position", "n2 (does not know its position), n3", "n1", PUBLISHED - OURS);
    s.v.tags.nofailover = true;
    report("nor may we", "n2 (does not know its position), n3", "", 0);
    s.v.tags = TAGS_DEFAULT;
    s.v.tags.failover_priority = 0;
    report("by priority", "n2 (does not know its position), n3", "", 0);
    s.v.tags = TAGS_DEFAULT;
    s.c.status_lsn = 0;
    report("the cost is not known", "n2 (does not know its position), n3", "n1", 0);
    assert_false(s.said.cost_known);
}

static void test_nothing_is_said_where_no_election_is(void **state)
{
    (void)state;
    n3_is_missing();
    s.v.cluster = NULL;
    report("no store", "", "", 0);
    n3_is_missing();
    s.c.leader.exists = true;
    report("a leader", "", "", 0);
    n3_is_missing();
    s.v.lease.held = true;
    report("we are elected", "", "", 0);
    n3_is_missing();
    s.v.pg.accepting = false;
    report("PostgreSQL starts", "", "", 0);
    n3_is_missing();
    s.v.pg.in_recovery = false;
    report("a primary", "", "", 0);
    n3_is_missing();
    s.v.peers_asked_at_us = 89 * S;
    report("nobody was asked", "", "", 0);
    n3_is_missing();
    s.v.policy.pause = true;
    report("paused", "", "", 0);
    check("paused", HA_NOTHING, "paused");
}

static void test_command_names_scope_and_candidate(void **state)
{
    struct cold_start c = {.candidate = "n2"};
    char text[COLD_START_COMMAND_SIZE];

    (void)state;
    cold_start_command(&c, "main", text, sizeof(text));
    assert_string_equal(text, "pgtetherctl failover main --candidate n2 --force");
    c.candidate[0] = '\0';
    cold_start_command(&c, "main", text, sizeof(text));
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_election_when_all_are_back_goes_to_whoever_has_most),
        cmocka_unit_test(test_election_waits_for_a_known_member_that_has_not_answered),
        cmocka_unit_test(test_election_waits_until_this_node_has_replayed_all),
        cmocka_unit_test(test_election_does_not_wait_for_who_cannot_help),
        cmocka_unit_test(test_ordinary_failover_waits_for_nobody),
        cmocka_unit_test(test_synchronous_mode_says_who_counts),
        cmocka_unit_test(test_word_of_a_leader_that_was_shut_down_ends_the_wait),
        cmocka_unit_test(test_operator_ends_the_wait),
        cmocka_unit_test(test_too_little_wal_is_said_when_nobody_is_missing),
        cmocka_unit_test(test_candidate_is_the_one_with_most_of_those_that_have_answered),
        cmocka_unit_test(test_nothing_is_said_where_no_election_is),
        cmocka_unit_test(test_command_names_scope_and_candidate),
    };

    return cmocka_run_group_tests_name("ha_cold_start", tests, NULL, NULL);
}
