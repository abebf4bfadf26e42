/*
 * What operators ask for: switchover, failover, restart, a new copy, pause. As test_ha.c: a healthy node, what is
 * changed in it, what must be decided. The clock is 100 s, Unix time 1000 s.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "ha_scene.h"

/* --- scenes ---------------------------------------------------------------------------------------------------------
 */

static void ask(const char *from, const char *to)
{
    s.c.failover = (struct failover_key){.exists = true, .revision = 9};
    (void)snprintf(s.c.failover.leader, sizeof(s.c.failover.leader), "%s", from);
    (void)snprintf(s.c.failover.candidate, sizeof(s.c.failover.candidate), "%s", to);
    s.v.memory.request_seen_at_us = 90 * S;
    s.v.realtime_us = 1000 * (int64_t)S;
}

/* n1 leads, n2 and n3 have answered a moment ago and have everything. */
static void asked_leader(const char *from, const char *to)
{
    leader();
    ask(from, to);
    s.v.pg.timeline = 1;
    s.v.n_peers = 2;
    s.v.peers_asked_at_us = 100 * S - 1;
    s.peers[0] = (struct peer){.name = "n2", .answered = true, .lsn = 1000, .timeline = 1, .failover_priority = 1};
    s.peers[1] = (struct peer){.name = "n3", .answered = true, .lsn = 1000, .timeline = 1, .failover_priority = 1};
}

static void checkpointed(void)
{
    s.v.memory.checkpoint_at_us = 100 * S - 2;
}

/* The leader n2 has stepped down for n1, which has all of its WAL; n3 was asked. */
static void heir(const char *from, const char *to)
{
    candidate();
    ask(from, to);
    s.v.memory.leaderless_since_us = 99 * S;
    s.v.memory.last_leader_session = 5;
    s.c.shutdown_session = 5;
    s.c.shutdown_lsn = 999;
    s.v.memory.request_seen_at_us = 99 * S;
}

/* --- the leader -----------------------------------------------------------------------------------------------------
 */

static void test_switchover_asks_then_makes_a_checkpoint_then_demotes(void **state)
{
    (void)state;
    asked_leader("n1", "n2");
    s.v.peers_asked_at_us = 0;
    CHECK("nobody was asked", HA_ASK_PEERS);
    asked_leader("n1", "n2");
    s.v.peers_asked_at_us = 98 * S;
    CHECK("the answers are two seconds old", HA_ASK_PEERS);
    s.v.peers_asked_at_us++;
    CHECK("a bit less", HA_CHECKPOINT);
    s.v.memory.checkpoint_running = true;
    CHECK("it runs", HA_NOTHING);
    s.v.memory.checkpoint_running = false;
    s.v.memory.checkpoint_at_us = 100 * S;
    CHECK("it has ended: the answers are older", HA_ASK_PEERS);
    asked_leader("n1", "n2");
    checkpointed();
    CHECK("asked again", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    s.v.memory.checkpoint_at_us = 85 * S;
    CHECK("the checkpoint is too old", HA_CHECKPOINT);
    s.v.memory.checkpoint_at_us++;
    CHECK("and just not", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    asked_leader("n1", "");
    checkpointed();
    CHECK("to any member", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    asked_leader("", "n2");
    checkpointed();
    CHECK("a failover", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    s.v.policy.pause = true;
    CHECK("also in pause", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    s.v.cluster = NULL;
    CHECK("without the store nobody asks for anything", HA_NOTHING);
}

static void test_request_that_cannot_be_fulfilled_is_forgotten(void **state)
{
    static const struct {
        const char *name;
        struct peer peer;
    } rows[] = {
        {"does not answer", {.name = "n2"}},
        {"is a primary", {.name = "n2", .answered = true, .is_primary = true, .lsn = 1000, .timeline = 1}},
        {"nofailover", {.name = "n2", .answered = true, .nofailover = true, .lsn = 1000, .timeline = 1}},
        {"watchdog", {.name = "n2", .answered = true, .watchdog_failed = true, .lsn = 1000, .timeline = 1}},
        {"promised", {.name = "n2", .answered = true, .failsafe_active = true, .lsn = 1000, .timeline = 1}},
        {"empty", {.name = "n2", .answered = true, .has_nothing = true}},
        {"timeline", {.name = "n2", .answered = true, .lsn = 1000, .timeline = 2}},
        {"no member", {.name = "n4", .answered = true, .lsn = 1000, .timeline = 1}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        asked_leader("n1", "n2");
        s.peers[0] = rows[i].peer;
        checkpointed();
        CHECK(rows[i].name, HA_CLEAR_FAILOVER);
    }
    asked_leader("n1", "n2");
    s.peers[0].answered = false;
    s.v.memory.request_seen_at_us++;
    CHECK("not in the first ten seconds", HA_NOTHING);
    assert_true(ha_decide(&s.v).wake_at_us == 100 * S - 1 + 300000);
    s.v.peers_asked_at_us = 100 * S - 300000;
    CHECK("in which the candidate is asked again", HA_ASK_PEERS);
    asked_leader("n1", "");
    s.peers[0].answered = s.peers[1].answered = false;
    s.v.memory.request_seen_at_us++;
    CHECK("or all are, when none is named", HA_NOTHING);
    s.v.peers_asked_at_us = 100 * S - 300000;
    CHECK("likewise", HA_ASK_PEERS);
    asked_leader("n1", "n2");
    checkpointed();
    s.v.pg.current_lsn = 1000 + s.v.policy.maximum_lag_on_failover_bytes;
    CHECK("as far behind as is allowed", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    s.v.pg.current_lsn++;
    CHECK("further behind", HA_CLEAR_FAILOVER);
    s.peers[0].lsn = s.v.pg.current_lsn + 1;
    s.peers[0].timeline = 0;
    CHECK("ahead of what we know of ourselves, timeline unknown", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    asked_leader("n1", "");
    s.peers[0].answered = s.peers[1].answered = false;
    CHECK("to any, and nobody can", HA_CLEAR_FAILOVER);
    asked_leader("n1", "n1");
    CHECK("to the leader itself", HA_CLEAR_FAILOVER);
    asked_leader("n3", "n2");
    CHECK("from another leader", HA_CLEAR_FAILOVER);
    asked_leader("n1", "");
    s.v.policy.pause = true;
    CHECK("to any, in pause", HA_CLEAR_FAILOVER);
}

static void test_synchronous_mode_limits_switchovers_and_no_failover(void **state)
{
    static const struct {
        const char *list;
        bool allowed;
    } rows[] = {{"n2", true},   {"n3,n2", true}, {"n2,n3", true}, {"n22,n2", true},
                {"n22", false}, {"an2", false},  {NULL, false}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        asked_leader("n1", "n2");
        checkpointed();
        s.v.policy.sync_mode = SYNC_MODE_PRIORITY;
        s.c.sync = (struct sync_key){.exists = true, .leader = "n1", .standbys = (char *)rows[i].list};
        if (rows[i].allowed)
            CHECK(rows[i].list, HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
        else
            CHECK("not in the list", HA_CLEAR_FAILOVER);
    }
    s.c.sync.exists = false;
    CHECK("nobody has become synchronous yet", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    s.c.sync.exists = true;
    s.c.failover.leader[0] = '\0';
    CHECK("a failover", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
}

static void test_scheduled_switchover_waits_for_its_time(void **state)
{
    (void)state;
    asked_leader("n1", "n2");
    checkpointed();
    s.c.failover.scheduled_at_s = 1003;
    CHECK("in three seconds", HA_NOTHING);
    assert_true(ha_decide(&s.v).wake_at_us == 103 * S);
    s.v.keeper.fence_at_us = 104 * S;
    assert_true(ha_decide(&s.v).wake_at_us == 101 * S);
    s.v.keeper.fence_at_us = 117 * S;
    s.c.failover.scheduled_at_s = 1900;
    assert_true(ha_decide(&s.v).wake_at_us == 114 * S);
    s.c.failover.scheduled_at_s = 1000;
    CHECK("now", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    s.c.failover.scheduled_at_s = 985;
    CHECK("one and a half loop_wait ago", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    s.v.policy.pause = true;
    CHECK("not in pause", HA_NOTHING);
    s.c.failover.candidate[0] = '\0';
    CHECK("nor to any member", HA_NOTHING);
    s.v.policy.pause = false;
    s.c.failover.scheduled_at_s = 984;
    CHECK("longer ago", HA_CLEAR_FAILOVER);
}

static void test_questions_and_checkpoints_do_not_delay_a_demotion(void **state)
{
    (void)state;
    asked_leader("n1", "n2");
    s.v.op = OP_ASK_PEERS;
    CHECK("the members are being asked", HA_NOTHING);
    s.v.lease.held = false;
    CHECK("and the lease is lost", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    asked_leader("n1", "n2");
    s.v.op = OP_ASK_PEERS;
    s.v.pg.hung = true;
    CHECK("or PostgreSQL hangs", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    asked_leader("n1", "n2");
    s.v.op = OP_ASK_PEERS;
    s.v.lease.held = s.v.keeper.armed = false;
    s.v.policy.pause = true;
    s.v.pg.sysid = SYSID;
    set_leader(NULL, 0);
    CHECK("what is no demotion waits", HA_NOTHING);
    candidate();
    s.v.op = OP_ASK_PEERS;
    CHECK("a standby asks as ever", HA_NOTHING);
    s.v.pg.running = false;
    CHECK("so does a node without a server", HA_NOTHING);
}

/* --- the successor --------------------------------------------------------------------------------------------------
 */

static void test_candidate_with_all_wal_takes_the_key_at_once(void **state)
{
    (void)state;
    heir("n2", "n1");
    s.v.memory.leaderless_since_us = 100 * S;
    s.v.peers_asked_at_us = 0;
    CHECK("no settling time, nobody is asked", HA_ACQUIRE);
    s.c.failover.leader[0] = '\0';
    CHECK("the same for a failover", HA_ACQUIRE);
    heir("n2", "n1");
    s.v.cluster_is_fresh = false;
    CHECK("never on an old view", HA_READ_STORE);
    heir("n2", "n1");
    s.v.peers_asked_at_us = 0;
    s.c.shutdown_lsn = 1000;
    CHECK("the last record is missing", HA_ASK_PEERS);
    s.c.shutdown_lsn = 999;
    s.c.timeline.timeline = s.c.shutdown_timeline + 1;
    CHECK("somebody has reserved a timeline since", HA_ASK_PEERS);
    s.c.timeline.timeline = 0;
    s.c.shutdown_session = 4;
    CHECK("the word of an earlier leader", HA_ASK_PEERS);
    s.c.shutdown_session = s.v.memory.foreign_word_session = 5;
    CHECK("the word was brought back by a restored store", HA_ASK_PEERS);
    s.v.memory.foreign_word_session = 0;
    s.c.shutdown_lsn = 0;
    s.v.memory.leaderless_since_us = 100 * S;
    CHECK("no word", HA_NOTHING);
    heir("n2", "n1");
    s.v.peers_asked_at_us = 0;
    s.history[0] = (struct history_line){.timeline = 1};
    s.c.history = s.history;
    s.c.n_history = 1;
    s.c.history_text.exists = true;
    CHECK("far enough, but on the timeline before", HA_ASK_PEERS);
    heir("n2", "n1");
    s.v.tags.nofailover = true;
    CHECK("it may not", HA_NOTHING);
    heir("n2", "n1");
    s.c.shutdown_lsn = 0;
    s.c.status_lsn = 1001 + s.v.policy.maximum_lag_on_failover_bytes;
    CHECK("a switchover promises that nothing is lost", HA_NOTHING);
    s.c.failover.leader[0] = '\0';
    CHECK("what a failover costs the operator knows", HA_ACQUIRE);
    s.peers[0].lsn = 2000;
    CHECK("also if another has more", HA_ACQUIRE);
    s.peers[0].is_primary = true;
    CHECK("but not beside a primary", HA_NOTHING);
    heir("n2", "n1");
    s.c.failover.scheduled_at_s = 2000;
    s.peers[0].lsn = 2000;
    s.c.shutdown_lsn = 0;
    CHECK("a request for later gives no right", HA_NOTHING);
}

static void test_others_leave_the_key_to_the_candidate_for_a_while(void **state)
{
    (void)state;
    heir("n2", "n3");
    CHECK("n3 is to lead", HA_NOTHING);
    assert_true(ha_decide(&s.v).wake_at_us == 100 * S + 200000);
    s.v.memory.leaderless_since_us = s.v.memory.request_seen_at_us = 95 * S;
    CHECK("five seconds are over", HA_ACQUIRE);
    s.v.memory.request_seen_at_us = 95 * S + 1;
    CHECK("the request came later", HA_NOTHING);
    s.v.policy.ttl_us = 5 * S;
    CHECK("half of a short ttl is over", HA_ACQUIRE);
    heir("n2", "n3");
    s.peers[0].answered = false;
    CHECK("it does not answer", HA_ACQUIRE);
    heir("n2", "n3");
    s.peers[0].nofailover = true;
    CHECK("it may not", HA_ACQUIRE);
    heir("n2", "n3");
    s.peers[0].watchdog_failed = true;
    CHECK("it cannot", HA_ACQUIRE);
    heir("n2", "n3");
    s.peers[0].is_primary = true;
    CHECK("it is one already", HA_NOTHING);
    heir("n2", "n3");
    s.v.policy.sync_mode = SYNC_MODE_PRIORITY;
    s.c.sync = (struct sync_key){.exists = true, .leader = "n2", .standbys = (char *)"n1"};
    CHECK("it is not synchronous", HA_ACQUIRE);
    heir("n2", "n3");
    s.peers[0].lsn = 999;
    CHECK("with the word of the leader", HA_NOTHING);
    s.c.shutdown_lsn = 0;
    CHECK("without it the one that has more leads", HA_ACQUIRE);
    s.peers[0].lsn = 1000;
    CHECK("which may be the candidate", HA_NOTHING);
    s.peers[0].lsn = 999;
    s.c.failover.leader[0] = '\0';
    CHECK("but in a failover", HA_NOTHING);
    heir("n2", "n4");
    CHECK("a candidate that nobody knows", HA_ACQUIRE);
    heir("n2", "");
    CHECK("any member: this is one", HA_ACQUIRE);
    heir("n1", "");
    CHECK("but not the one that stepped down", HA_NOTHING);
    heir("n1", "n3");
    CHECK("nor for the candidate", HA_NOTHING);
    s.peers[0].answered = false;
    CHECK("which does not come: it takes the key back", HA_ACQUIRE);
    s.v.n_peers = 2;
    s.peers[1] = (struct peer){.name = "n2", .answered = true, .lsn = 1000, .timeline = 1, .failover_priority = 1};
    CHECK("if no other one could have it", HA_NOTHING);
    s.v.memory.leaderless_since_us = s.v.memory.request_seen_at_us = 90 * S;
    CHECK("or nobody took it", HA_ACQUIRE);
    heir("n2", "n3");
    s.c.failover.exists = false;
    s.v.peers_asked_at_us = 0;
    s.v.memory.leaderless_since_us = 100 * S;
    CHECK("after an orderly stop there is nothing to wait for", HA_ASK_PEERS);
}

static void test_elected_node_empties_the_request_before_it_promotes(void **state)
{
    (void)state;
    elected();
    ask("n2", "n1");
    CHECK("the request is still there", HA_CLEAR_FAILOVER);
    s.c.failover.exists = false;
    CHECK("it is gone", HA_PROMOTE);
}

/* --- pause ----------------------------------------------------------------------------------------------------------
 */

static void test_in_pause_only_those_who_are_named_are_elected(void **state)
{
    (void)state;
    heir("n2", "n3");
    s.c.failover.exists = false;
    s.v.policy.pause = true;
    CHECK("nobody is named", HA_NOTHING);
    heir("n2", "n1");
    s.v.policy.pause = true;
    CHECK("this node is", HA_ACQUIRE);
    s.c.failover.leader[0] = '\0';
    CHECK("by a failover", HA_ACQUIRE);
    heir("n2", "n3");
    s.v.policy.pause = true;
    s.v.memory.leaderless_since_us = s.v.memory.request_seen_at_us = 90 * S;
    CHECK("another is", HA_NOTHING);
    heir("n1", "n3");
    s.v.policy.pause = true;
    CHECK("this one stepped down", HA_NOTHING);
    s.v.memory.leaderless_since_us = s.v.memory.request_seen_at_us = 90 * S;
    CHECK("for one that did not come", HA_ACQUIRE);
    s.c.failover.scheduled_at_s = 1;
    CHECK("nothing on schedule", HA_NOTHING);
}

static void test_in_pause_what_people_stop_stays_down(void **state)
{
    (void)state;
    crashed();
    s.v.policy.pause = true;
    CHECK("the leader was stopped", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.memory.stopped_here = true;
    CHECK("by a restart of ours that failed", HA_START_PRIMARY);
    down();
    s.v.policy.pause = true;
    CHECK("a standby was stopped", HA_NOTHING);
    s.v.request.restart = true;
    CHECK("and is to be restarted", HA_CHECK_REWIND, .target = "n2");
    s.v.request.restart = false;
    s.v.memory.stopped_here = true;
    CHECK("or was stopped here", HA_CHECK_REWIND, .target = "n2");
}

static void test_in_pause_a_primary_is_left_alone_as_long_as_its_lease_holds(void **state)
{
    (void)state;
    leader();
    s.v.policy.pause = true;
    s.v.pg.hung = true;
    CHECK("it hangs", HA_NOTHING);
    s.v.pg.data_dir_empty = true;
    CHECK("its data is gone", HA_NOTHING);
    s.v.now_us = 114 * S;
    CHECK("fencing is not paused", HA_DEMOTE, .release = 0, .urgency = HA_SWIFT);
    standby();
    s.v.policy.pause = true;
    s.v.pg.data_dir_empty = true;
    CHECK("a standby without data", HA_NOTHING);
    standby();
    s.v.policy.pause = true;
    divergence(DIVERGENCE_FOUND, "n2");
    CHECK("nothing is rewound", HA_NOTHING);
    down();
    s.v.policy.pause = true;
    s.v.pg.sysid = 1;
    CHECK("another cluster's data", HA_NOTHING);
}

/* The reference leaves PostgreSQL running then, and nobody to end it. */
static void test_stop_in_pause_is_a_stop_as_any(void **state)
{
    (void)state;
    leader();
    s.v.policy.pause = s.v.stopping = true;
    CHECK("a leader", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    standby();
    s.v.policy.pause = s.v.stopping = true;
    CHECK("a standby", HA_STOP);
}

/* Somebody ran pg_ctl promote while nobody led. */
static void promoted_by_hand(void)
{
    leader();
    s.v.policy.pause = true;
    s.v.lease.held = s.v.keeper.armed = false;
    s.v.pg.sysid = SYSID;
    set_leader(NULL, 0);
}

static void test_in_pause_a_primary_made_by_hand_gets_the_free_key(void **state)
{
    (void)state;
    promoted_by_hand();
    CHECK("nobody leads", HA_ACQUIRE);
    s.v.cluster_is_fresh = false;
    CHECK("as far as is known", HA_READ_STORE);
    promoted_by_hand();
    s.v.was_frozen = true;
    CHECK("a view from before", HA_READ_STORE);
    promoted_by_hand();
    s.c.initialize.exists = false;
    CHECK("a cluster without an identifier", HA_ACQUIRE);
    promoted_by_hand();
    s.v.pg.sysid = 1;
    CHECK("of another cluster", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    promoted_by_hand();
    set_leader("n2", 5);
    CHECK("beside a leader", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    promoted_by_hand();
    s.v.cluster = NULL;
    CHECK("without the store", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    promoted_by_hand();
    s.v.keeper.armed = true;
    CHECK("a lease of ours was lost", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    promoted_by_hand();
    hold_lease();
    CHECK("it has the key", HA_PROMOTE);
    s.v.keeper.refused = true;
    CHECK("the keeper does not arm", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
}

/* --- this node ------------------------------------------------------------------------------------------------------
 */

static void test_restart_makes_a_checkpoint_first(void **state)
{
    (void)state;
    leader();
    s.v.request.restart = true;
    CHECK("a leader", HA_CHECKPOINT);
    s.v.memory.checkpoint_running = true;
    CHECK("it runs", HA_NOTHING);
    s.v.memory.checkpoint_running = false;
    checkpointed();
    CHECK("it has ended", HA_RESTART);
    standby();
    s.v.request.restart = true;
    CHECK("a standby", HA_CHECKPOINT);
    checkpointed();
    CHECK("which has made it", HA_RESTART);
    s.v.pg.accepting = false;
    CHECK("before it answers", HA_NOTHING);
}

static void test_restart_of_a_primary_lives_and_dies_with_the_lease(void **state)
{
    (void)state;
    leader();
    s.v.op = OP_RESTART;
    s.v.op_since_us = 99 * S;
    CHECK("it stops", HA_NOTHING);
    s.v.lease.held = false;
    CHECK("the lease is lost", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    s.v.keeper.armed = false;
    CHECK("a standby has none", HA_NOTHING);
    leader();
    s.v.op = OP_START_PRIMARY;
    s.v.op_since_us = 90 * S;
    s.v.op_timeout_us = 10 * S;
    CHECK("it starts for longer than it was given", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
    s.v.policy.pause = true;
    CHECK("in pause it is waited for", HA_NOTHING);
    s.v.policy.pause = false;
    s.members[1].state = PG_STATE_STOPPED;
    s.members[2].tags.nofailover = true;
    CHECK("or if nobody else can lead", HA_NOTHING);
    s.members[2].tags = TAGS_DEFAULT;
    s.members[2].tags.failover_priority = 0;
    CHECK("in either way", HA_NOTHING);
    s.v.cluster = NULL;
    CHECK("as far as is known", HA_NOTHING);
    s.v.op_timeout_us = 10 * S + 1;
    s.v.cluster = &s.c;
    s.members[1].state = PG_STATE_RUNNING;
    CHECK("not yet", HA_NOTHING);
}

static void test_reinitialize_stops_sets_aside_and_copies(void **state)
{
    (void)state;
    standby();
    s.v.request.reinitialize = true;
    CHECK("a running standby", HA_STOP);
    s.v.cluster = NULL;
    CHECK("without the store", HA_NOTHING);
    standby();
    s.v.request.reinitialize = true;
    s.members[1].state = PG_STATE_STOPPED;
    CHECK("without a leader to copy from", HA_NOTHING);
    down();
    s.v.request.reinitialize = true;
    CHECK("it is down", HA_SET_ASIDE);
    s.v.keeper.dead_proven = false;
    CHECK("perhaps", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    s.v.keeper.dead_proven = s.v.keeper.armed = true;
    s.v.keeper.fence_at_us = 117 * S;
    CHECK("or not at all", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    down();
    s.v.request.reinitialize = true;
    s.v.memory.retry_start_at_us = 101 * S;
    CHECK("no room", HA_NOTHING);
    s.members[1].state = PG_STATE_STOPPED;
    s.v.memory.retry_start_at_us = 0;
    CHECK("the leader is down, too", HA_START_STANDBY);
    down();
    hold_lease();
    s.v.request.reinitialize = true;
    CHECK("it leads", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    empty();
    set_leader("n2", 5);
    s.v.policy.pause = true;
    CHECK("in pause", HA_NOTHING);
    s.v.request.reinitialize = true;
    CHECK("but for an operator", HA_CLONE, .target = "n2");
    s.members[2].tags.clonefrom = true;
    CHECK("from whom it is meant to be", HA_CLONE, .target = "n3");
    s.v.request.from_leader = true;
    CHECK("or from the leader", HA_CLONE, .target = "n2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_switchover_asks_then_makes_a_checkpoint_then_demotes),
        cmocka_unit_test(test_request_that_cannot_be_fulfilled_is_forgotten),
        cmocka_unit_test(test_synchronous_mode_limits_switchovers_and_no_failover),
        cmocka_unit_test(test_scheduled_switchover_waits_for_its_time),
        cmocka_unit_test(test_questions_and_checkpoints_do_not_delay_a_demotion),
        cmocka_unit_test(test_candidate_with_all_wal_takes_the_key_at_once),
        cmocka_unit_test(test_others_leave_the_key_to_the_candidate_for_a_while),
        cmocka_unit_test(test_elected_node_empties_the_request_before_it_promotes),
        cmocka_unit_test(test_in_pause_only_those_who_are_named_are_elected),
        cmocka_unit_test(test_in_pause_what_people_stop_stays_down),
        cmocka_unit_test(test_in_pause_a_primary_is_left_alone_as_long_as_its_lease_holds),
        cmocka_unit_test(test_stop_in_pause_is_a_stop_as_any),
        cmocka_unit_test(test_in_pause_a_primary_made_by_hand_gets_the_free_key),
        cmocka_unit_test(test_restart_makes_a_checkpoint_first),
        cmocka_unit_test(test_restart_of_a_primary_lives_and_dies_with_the_lease),
        cmocka_unit_test(test_reinitialize_stops_sets_aside_and_copies),
    };

    return cmocka_run_group_tests_name("ha_manual", tests, NULL, NULL);
}
