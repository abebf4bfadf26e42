/* Why a member cannot lead, asked while somebody leads: each rule of the election, and what comes before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/text.h"
#include "ha/ha.h"

#define S UINT64_C(1000000)
enum { OURS = 5000 };

static struct scene {
    struct ha_view v;
    struct cluster c;
    struct peer peer;
    struct failsafe_list list;
} s;

/* A standby that streams from "n2", and could lead. */
static void standby(void)
{
    memset(&s, 0, sizeof(s));
    s.v = (struct ha_view){.now_us = 100 * S,
                           .name = "n1",
                           .tags = TAGS_DEFAULT,
                           .policy = POLICY_DEFAULT,
                           .cluster = &s.c,
                           .keeper = {.connected = true, .dead_proven = true}};
    s.v.pg.running = s.v.pg.accepting = s.v.pg.in_recovery = s.v.pg.streaming = true;
    s.v.pg.receive_lsn = OURS;
    s.v.pg.replay_lsn = OURS - 10;
    s.v.pg.timeline = 2;
    s.c.leader = (struct leader_key){.exists = true, .name = "n2", .session = 7};
    s.c.status_lsn = OURS;
    s.c.read_sent_at_us = 1 * S;
}

static void check(const char *row, enum ha_rule rule, const char *obstacle)
{
    struct ha_why why;

    ha_why(&s.v, &why);
    if (why.leads || why.could_lead != (rule == RULE_NONE) || why.rule != rule || !strstr(why.obstacle, obstacle) ||
        strstr(why.obstacle, "no leader;") || (why.failover_us != 0) != why.could_lead)
        fail_msg("%s: got %d, rule \"%s\" (%s)", row, why.could_lead, ha_rule_text(why.rule), why.obstacle);
}

static void test_standby_that_is_well_could_lead(void **state)
{
    struct ha_why why;

    (void)state;
    standby();
    check("well", RULE_NONE, "");
    ha_why(&s.v, &why);
    assert_true(why.lsn == OURS && why.replay_lsn == OURS - 10 && why.timeline == 2 && !why.note[0]);
    assert_true(why.failover_us == s.v.policy.ttl_us + 1 * S);
    s.v.was_frozen = true;
    s.v.op = OP_ASK_PEERS;
    s.c.failover = (struct failover_key){.exists = true, .candidate = "n1"};
    s.peer = (struct peer){.name = "n2", .answered = true, .is_primary = true};
    s.v.peers = &s.peer;
    s.v.n_peers = 1;
    check("what is so just now does not count", RULE_NONE, "");
    s.v.pg.in_recovery = false;
    s.v.pg.current_lsn = OURS + 1;
    s.v.lease.held = true;
    ha_why(&s.v, &why);
    assert_true(why.leads && !why.could_lead && why.lsn == OURS + 1 && why.rule == RULE_NONE && !why.obstacle[0]);
}

static void test_each_rule_is_named(void **state)
{
    struct storage_view disk = {.fence = true, .failed = true, .silent_since_us = 1 * S};

    (void)state;
    standby();
    s.v.policy.pause = true;
    check("pause", RULE_PAUSE, "paused");
    standby();
    s.v.tags.nofailover = true;
    check("tag", RULE_NOFAILOVER, "the tag nofailover");
    standby();
    s.v.config_refused = true;
    check("configuration", RULE_CONFIG, "configuration");
    standby();
    s.v.fence_guard = true;
    check("guard", RULE_FENCE_GUARD, "clear-fence-guard");
    standby();
    s.v.keeper.watchdog_unusable = true;
    check("watchdog", RULE_WATCHDOG, "watchdog");
    standby();
    s.v.keeper.gate_unusable = true;
    check("gate", RULE_GATE, "port gate");
    standby();
    s.v.storage = disk;
    check("disk", RULE_DISK, "the data disk does not answer");
    standby();
    s.v.memory.no_race_until_us = 101 * S;
    check("backoff", RULE_BACKOFF, "for a while");
    standby();
    s.v.memory.promised_until_us = 101 * S;
    check("promise", RULE_FAILSAFE, "may have promised");
    standby();
    s.c.failsafe_list = &s.list;
    (void)failsafe_list_add(&s.list, "n2", "http://h");
    check("not in the list", RULE_FAILSAFE, "failsafe list");
    standby();
    s.v.policy.sync_mode = SYNC_MODE_PRIORITY;
    s.c.sync = (struct sync_key){.exists = true, .leader = "n2", .standbys = (char[]){"n3"}, .revision = 1};
    check("not synchronous", RULE_SYNC, "/sync");
    s.c.sync.standbys = (char[]){"n1,n3"};
    s.v.policy.sync_mode = SYNC_MODE_QUORUM;
    s.c.sync.quorum = 1;
    check("votes are not counted", RULE_NONE, "");
    standby();
    s.c.status_lsn = OURS + s.v.policy.maximum_lag_on_failover_bytes + 1;
    check("lag", RULE_LAG, "maximum_lag_on_failover");
    standby();
    s.v.policy.check_timeline = true;
    s.c.history = (struct history_line[]){{.timeline = 2}};
    s.c.n_history = 1;
    s.c.history_text.exists = true;
    check("timeline", RULE_TIMELINE, "timeline 2, the cluster on 3");
}

static void test_what_comes_before_the_election_is_said_as_it_is(void **state)
{
    (void)state;
    standby();
    s.v.cluster = NULL;
    check("no store", RULE_STATE, "the store cannot be read");
    standby();
    s.v.pg.accepting = false;
    check("starting", RULE_STATE, "PostgreSQL is starting up");
    standby();
    s.v.op = OP_CLONE;
    check("busy", RULE_STATE, "creating a replica");
    standby();
    s.v.keeper.connected = false;
    check("no keeper", RULE_STATE, "the keeper is gone");
}

static void test_without_a_leader_others_count(void **state)
{
    struct ha_why why;

    (void)state;
    standby();
    s.c.leader.exists = false;
    s.v.memory.leader_seen = true;
    ha_why(&s.v, &why);
    assert_true(why.could_lead && why.failover_us == 1 * S);
    s.peer = (struct peer){.name = "n2", .answered = true, .lsn = OURS + 1, .timeline = 2, .failover_priority = 1};
    s.v.peers = &s.peer;
    s.v.n_peers = 1;
    s.c.members = &(struct member){.name = "n2"};
    s.c.n_members = 1;
    check("more WAL", RULE_PEER, "\"n2\" has 1 bytes more");
    s.v.memory.leader_seen = false;
    check("more WAL after an outage", RULE_PEER, "\"n2\" has more WAL");
    s.peer.answered = false;
    s.v.known = &s.list;
    (void)failsafe_list_add(&s.list, "n2", "http://h");
    check("missing after an outage", RULE_COLD_START, "waiting for n2");
    s.v.memory.leader_seen = true;
    s.v.policy.sync_mode = SYNC_MODE_QUORUM;
    s.c.sync = (struct sync_key){.exists = true, .leader = "n3", .standbys = (char[]){"n1,n2"}, .quorum = 1};
    check("votes", RULE_VOTES, "1 are needed");
}

static void test_note_says_what_is_no_obstacle(void **state)
{
    static const struct {
        const char *name, *want;
        bool no_store, no_leader, starting, primary, streams;
        enum divergence divergence;
    } rows[] = {
        {"streams", "", .streams = true},
        {"does not", "it does not stream"},
        {"diverged", "its WAL went another way than the leader's", .divergence = DIVERGENCE_FOUND},
        {"no store", "", .no_store = true},
        {"no leader", "", .no_leader = true},
        {"starting", "", .starting = true},
        {"primary", "", .primary = true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ha_why why;

        standby();
        if (rows[i].no_store)
            s.v.cluster = NULL;
        s.c.leader.exists = !rows[i].no_leader;
        s.v.pg.accepting = !rows[i].starting;
        s.v.pg.in_recovery = !rows[i].primary;
        s.v.pg.streaming = rows[i].streams;
        s.v.memory.divergence = rows[i].divergence;
        ha_why(&s.v, &why);
        if (strcmp(why.note, rows[i].want) != 0)
            fail_msg("%s: got \"%s\"", rows[i].name, why.note);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standby_that_is_well_could_lead),
        cmocka_unit_test(test_each_rule_is_named),
        cmocka_unit_test(test_what_comes_before_the_election_is_said_as_it_is),
        cmocka_unit_test(test_without_a_leader_others_count),
        cmocka_unit_test(test_note_says_what_is_no_obstacle),
    };

    return cmocka_run_group_tests_name("ha_why", tests, NULL, NULL);
}
