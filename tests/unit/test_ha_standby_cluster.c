/*
 * A standby cluster: its leader follows another cluster and nobody leaves recovery; and the ways into it and out of it.
 * The nodes: `leads()` is the standby leader "n1", `standby()` follows the standby leader "n2"; the clock is 100 s.
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
#define SYSID_TEXT "7412345678901234567"
#define SYSID UINT64_C(7412345678901234567)
enum { LEASE_ID = 77 };

/* The scene of one row; pointers in the view point into it. */
static struct scene {
    struct ha_view v;
    struct cluster c;
    struct member members[3];
    struct peer peers[1];
    struct history_line history[1];
    struct failsafe_list list;
} s;

static void add_member(size_t i, const char *name, enum pg_role role)
{
    struct member *m = &s.members[i];

    *m =
        (struct member){.state = PG_STATE_RUNNING, .role = role, .tags = TAGS_DEFAULT, .timeline = 1, .xlog_lsn = 1000};
    (void)snprintf(m->name, sizeof(m->name), "%s", name);
    (void)snprintf(m->conn_url, sizeof(m->conn_url), "postgres://10.0.0.%zu:5432/postgres", i);
}

static void set_leader(const char *name, uint64_t session)
{
    s.c.leader = (struct leader_key){.exists = name != NULL, .session = session};
    if (name)
        (void)snprintf(s.c.leader.name, sizeof(s.c.leader.name), "%s", name);
}

static void scene(void)
{
    memset(&s, 0, sizeof(s));
    add_member(0, "n1", PG_ROLE_REPLICA);
    add_member(1, "n2", PG_ROLE_STANDBY_LEADER);
    add_member(2, "n3", PG_ROLE_REPLICA);
    s.c.members = s.members;
    s.c.n_members = 3;
    s.c.initialize = (struct text_key){.exists = true, .text = (char *)SYSID_TEXT, .revision = 1};
    s.c.status_lsn = 1000;
    s.c.read_sent_at_us = 99 * S;
    s.v = (struct ha_view){.now_us = 100 * S,
                           .name = "n1",
                           .tags = TAGS_DEFAULT,
                           .policy = POLICY_DEFAULT,
                           .rewind_possible = true,
                           .cluster = &s.c,
                           .cluster_is_fresh = true,
                           .keeper = {.connected = true, .dead_proven = true}};
    s.v.policy.standby_cluster = s.v.policy.standby_cluster_streams = true;
    s.v.policy.use_pg_rewind = true;
    s.v.pg.data_dir_known = true;
    s.v.peers = s.peers;
}

static void follow(const char *whom)
{
    (void)snprintf(s.v.pg.follows, sizeof(s.v.pg.follows), "%s", whom);
}

static void standby(void)
{
    scene();
    set_leader("n2", 5);
    s.v.pg.running = s.v.pg.accepting = s.v.pg.in_recovery = s.v.pg.streaming = true;
    s.v.pg.receive_lsn = s.v.pg.replay_lsn = 1000;
    s.v.pg.timeline = 1;
    follow("n2");
}

static void hold_lease(void)
{
    set_leader("n1", LEASE_ID);
    s.v.lease =
        (struct leader_lease){.held = true, .session = LEASE_ID, .deadline_us = 120 * S, .confirmed_at_us = 98 * S};
}

static void leads(void)
{
    standby();
    s.members[1].role = PG_ROLE_REPLICA;
    hold_lease();
    follow(REMOTE_CLUSTER);
}

static void arm(void)
{
    s.v.keeper.armed = true;
    s.v.keeper.dead_proven = false;
    s.v.keeper.fence_at_us = 117 * S;
}

/* A primary whose cluster has just been told to follow another one. */
static void primary(void)
{
    leads();
    arm();
    follow("");
    s.v.pg.in_recovery = false;
    s.v.pg.current_lsn = 1000;
    s.v.memory.was_primary = true;
}

/* The key is free, peers were asked. */
static void candidate(void)
{
    standby();
    set_leader(NULL, 0);
    s.v.pg.streaming = false;
    s.v.peers_asked_at_us = 99 * S + 1;
    s.v.peers_answered_at_us = 100 * S - 1000;
    s.v.n_peers = 1;
    s.peers[0] = (struct peer){.name = "n3", .answered = true, .lsn = 1000, .timeline = 1, .failover_priority = 1};
}

/* The server is down, n2 leads. */
static void down(void)
{
    scene();
    set_leader("n2", 5);
    s.v.pg.control_known = true;
    s.v.pg.control_state = PG_CONTROL_SHUT_DOWN_IN_RECOVERY;
    s.v.pg.sysid = SYSID;
}

static void divergence(enum divergence what, const char *from)
{
    s.v.memory.divergence = what;
    (void)snprintf(s.v.memory.divergence_from, sizeof(s.v.memory.divergence_from), "%s", from);
}

static void request(const char *leader, const char *candidate)
{
    s.c.failover = (struct failover_key){.exists = true, .revision = 3};
    (void)snprintf(s.c.failover.leader, sizeof(s.c.failover.leader), "%s", leader);
    (void)snprintf(s.c.failover.candidate, sizeof(s.c.failover.candidate), "%s", candidate);
    s.v.memory.request_seen_at_us = 90 * S;
}

static struct ha_decision check(const char *name, enum ha_action action, const char *target)
{
    struct ha_decision got = ha_decide(&s.v);

    if (got.action != action)
        fail_msg("%s: decided %d (%s), wanted %d", name, (int)got.action, got.reason, (int)action);
    if (!got.reason[0])
        fail_msg("%s: no reason given", name);
    if (target && strcmp(target, got.target) != 0)
        fail_msg("%s: target \"%s\", wanted \"%s\" (%s)", name, got.target, target, got.reason);
    return got;
}

static void check_keeps(const char *name, enum ha_urgency urgency)
{
    struct ha_decision got = check(name, HA_DEMOTE, NULL);

    if (!got.keep || got.release || got.urgency != urgency)
        fail_msg("%s: keep %d release %d urgency %d (%s)", name, got.keep, got.release, (int)got.urgency, got.reason);
}

static void test_standby_leader_follows_the_other_cluster_and_never_promotes(void **state)
{
    (void)state;
    leads();
    assert_non_null(strstr(check("all is well", HA_NOTHING, NULL).reason, "the standby leader with the lock"));
    follow("n2");
    check("it was a member's standby until now", HA_FOLLOW, REMOTE_CLUSTER);
    s.v.tags.nostream = true;
    check("it streams from nobody", HA_FOLLOW, "");
    follow("");
    check("and does not", HA_NOTHING, NULL);
    leads();
    s.v.lease.deadline_us = 90 * S;
    check("its lease is over: it stays the standby it is", HA_NOTHING, NULL);
    leads();
    s.v.cluster = NULL;
    check("the store cannot be read", HA_NOTHING, NULL);
    leads();
    s.v.storage.failed = true;
    assert_non_null(strstr(check("a disk that does not fence", HA_NOTHING, NULL).reason, "but"));
    leads();
    s.v.policy.standby_cluster = false;
    check("the cluster is to stand for itself", HA_PROMOTE, NULL);
    s.v.memory.left_remote_at_us = 99 * S;
    s.v.pg.answered_at_us = 99 * S - 1;
    check("PostgreSQL has not said yet on which timeline that found it", HA_NOTHING, NULL);
    s.v.pg.answered_at_us = 99 * S;
    check("it has", HA_PROMOTE, NULL);
}

static void test_standby_leader_that_nobody_can_follow_gives_the_key_up(void **state)
{
    (void)state;
    leads();
    s.v.storage.failed = s.v.storage.fence = true;
    check("its disk has failed", HA_RELEASE, NULL);
    s.v.policy.pause = true;
    check("people see to it", HA_NOTHING, NULL);
    leads();
    s.v.pg.hung = true;
    check("it does not answer any more", HA_RELEASE, NULL);
    s.members[1].state = s.members[2].state = PG_STATE_STOPPED;
    check("nobody could do better", HA_NOTHING, NULL);
    s.v.pg.accepting = false;
    check("nor when it is silent", HA_NOTHING, NULL);
    leads();
    s.v.pg.accepting = false;
    s.v.pg.starting_since_us = 99 * S;
    check("it is starting", HA_NOTHING, NULL);
    s.v.policy.primary_start_timeout_us = S;
    check("for too long", HA_RELEASE, NULL);
    leads();
    s.v.pg.data_dir_empty = true;
    check("its data directory is gone", HA_STOP, NULL);
    s.v.policy.pause = true;
    check("in pause it goes on", HA_NOTHING, NULL);
    s.v.pg.data_dir_known = false;
    s.v.policy.pause = false;
    check("that is not known", HA_NOTHING, NULL);
    leads();
    s.v.stopping = true;
    check("the operator stops it", HA_STOP, NULL);
    s.v.op = OP_RELEASE;
    check("what is under way is waited for", HA_NOTHING, NULL);
}

static void test_standby_leader_that_does_not_stream_compares_with_the_other_cluster(void **state)
{
    (void)state;
    leads();
    s.v.memory.not_streaming_since_us = 81 * S;
    check("not for long", HA_NOTHING, NULL);
    s.v.memory.not_streaming_since_us = 80 * S;
    check("two loop_waits", HA_CHECK_REWIND, REMOTE_CLUSTER);
    s.v.memory.retry_check_at_us = 101 * S;
    check("asked a moment ago", HA_NOTHING, NULL);
    s.v.memory.retry_check_at_us = 0;
    divergence(DIVERGENCE_NONE, REMOTE_CLUSTER);
    check("it was compared, but the other cluster may have failed over since", HA_CHECK_REWIND, REMOTE_CLUSTER);
    divergence(DIVERGENCE_FOUND, "n2");
    check("it was another that it went another way than", HA_CHECK_REWIND, REMOTE_CLUSTER);
    s.v.pg.replaying = true;
    check("where it will have come to shows later", HA_NOTHING, NULL);
    s.v.pg.replaying = false;
    divergence(DIVERGENCE_NONE, REMOTE_CLUSTER);
    s.v.policy.standby_cluster_streams = false;
    check("there is only an archive", HA_NOTHING, NULL);
    s.v.policy.standby_cluster_streams = true;
    divergence(DIVERGENCE_FOUND, REMOTE_CLUSTER);
    check("it went another way", HA_REWIND, REMOTE_CLUSTER);
    s.v.memory.retry_check_at_us = 101 * S;
    check("and has just tried", HA_NOTHING, NULL);
    s.v.memory.retry_check_at_us = 0;
    s.v.policy.use_pg_rewind = false;
    check("nothing is allowed", HA_NOTHING, NULL);
    s.v.policy.remove_data_directory_on_diverged_timelines = true;
    check("a new copy is", HA_STOP, NULL);
    s.members[1].state = s.members[2].state = PG_STATE_STOPPED;
    check("what it has is all there is", HA_NOTHING, NULL);
    s.members[1].state = PG_STATE_RUNNING;
    s.members[1].tags.nofailover = true;
    check("another one may not lead", HA_NOTHING, NULL);
    s.members[1].tags.nofailover = false;
    s.c.failsafe_list = &s.list;
    check("an empty list names nobody and bars nobody", HA_STOP, NULL);
    (void)failsafe_list_add(&s.list, "n1", "");
    check("nor one that is not in the failsafe list", HA_NOTHING, NULL);
    (void)failsafe_list_add(&s.list, "n2", "");
    check("who is in it may", HA_STOP, NULL);
    s.c.n_members = 1;
    check("alone it need not wait for anybody", HA_STOP, NULL);
    s.c.failsafe_list = NULL;
    s.v.cluster = NULL;
    check("nor when the store is out of reach", HA_STOP, NULL);
    s.v.policy.pause = true;
    check("not in pause", HA_NOTHING, NULL);
}

static void test_members_follow_the_standby_leader_and_are_repaired_from_the_other_cluster(void **state)
{
    (void)state;
    standby();
    check("all is well", HA_NOTHING, NULL);
    follow(REMOTE_CLUSTER);
    check("it led until now", HA_FOLLOW, "n2");
    standby();
    s.v.memory.not_streaming_since_us = 80 * S;
    check("not streaming", HA_CHECK_REWIND, REMOTE_CLUSTER);
    divergence(DIVERGENCE_FOUND, "n2");
    check("what was found out of the leader says nothing", HA_CHECK_REWIND, REMOTE_CLUSTER);
    divergence(DIVERGENCE_FOUND, REMOTE_CLUSTER);
    check("diverged", HA_REWIND, REMOTE_CLUSTER);
    divergence(DIVERGENCE_NONE, REMOTE_CLUSTER);
    check("compared a while ago", HA_CHECK_REWIND, REMOTE_CLUSTER);
    s.v.policy.standby_cluster_streams = false;
    check("nobody to compare with", HA_NOTHING, NULL);
    divergence(DIVERGENCE_FOUND, REMOTE_CLUSTER);
    check("nor to rewind to", HA_NOTHING, NULL);
    standby();
    s.members[1].role = PG_ROLE_REPLICA;
    check("the leader is not ready", HA_NOTHING, NULL);
}

static void test_a_free_key_goes_to_whoever_can_follow(void **state)
{
    (void)state;
    candidate();
    check("nobody has more", HA_ACQUIRE, NULL);
    s.peers[0].lsn = 2000;
    check("somebody has more", HA_NOTHING, NULL);
    s.v.pg.streaming = true;
    check("it streams from a member", HA_NOTHING, NULL);
    follow(REMOTE_CLUSTER);
    check("it gets that from the other cluster", HA_ACQUIRE, NULL);
    s.c.status_lsn = 9000000;
    check("however much it is", HA_ACQUIRE, NULL);
    s.v.pg.streaming = false;
    check("without that it is not to lead", HA_NOTHING, NULL);
    candidate();
    s.v.policy.standby_cluster = false;
    s.v.tags.nofailover = true;
    s.v.memory.leaderless_since_us = 79 * S;
    check("there is no other cluster to follow", HA_NOTHING, NULL);
    candidate();
    s.v.memory.leaderless_since_us = 79 * S;
    s.v.tags.nofailover = true;
    check("a node that may not lead does not fall behind", HA_FOLLOW, REMOTE_CLUSTER);
    s.v.memory.leaderless_since_us = 81 * S;
    check("nobody leads for a moment only", HA_NOTHING, NULL);
    s.v.memory.leaderless_since_us = 0;
    check("since when is not known", HA_NOTHING, NULL);
    s.v.memory.leaderless_since_us = 79 * S;
    follow(REMOTE_CLUSTER);
    check("it does so already", HA_NOTHING, NULL);
    follow("n2");
    s.v.tags.nostream = true;
    check("it is not to stream", HA_NOTHING, NULL);
    candidate();
    s.v.policy.check_timeline = true;
    s.c.history_text.exists = true;
    s.c.history = s.history;
    s.c.n_history = 1;
    s.history[0].timeline = 5;
    check("timelines are the other cluster's", HA_ACQUIRE, NULL);
    s.v.policy.standby_cluster = false;
    check("without one they count", HA_NOTHING, NULL);
    candidate();
    s.v.policy.standby_cluster = false;
    s.peers[0].lsn = 2000;
    s.v.pg.streaming = true;
    check("and so do positions", HA_NOTHING, NULL);
}

static void test_switchover_gives_the_key_away_and_stops_nothing(void **state)
{
    (void)state;
    leads();
    request("n1", "n3");
    s.v.n_peers = 1;
    s.peers[0] = (struct peer){.name = "n3", .answered = true, .lsn = 900, .timeline = 1, .failover_priority = 1};
    check("the candidate is asked", HA_ASK_PEERS, NULL);
    s.v.peers_asked_at_us = 99 * S + 1;
    check("it can take over", HA_RELEASE, NULL);
    s.v.policy.maximum_lag_on_failover_bytes = 50;
    check("it lags", HA_CLEAR_FAILOVER, NULL);
    leads();
    request("n1", "n3");
    s.c.failover.scheduled_at_s = 10;
    s.v.realtime_us = 5 * (int64_t)S;
    assert_true(check("it is for later", HA_NOTHING, NULL).wake_at_us == 105 * S);

    candidate();
    request("n2", "n1");
    s.peers[0].lsn = 2000;
    check("a little less is no matter for the one who is named", HA_ACQUIRE, NULL);
    request("", "n1");
    check("nor in a failover", HA_ACQUIRE, NULL);
    candidate();
    request("n2", "n3");
    s.v.memory.leaderless_since_us = 99 * S;
    s.v.memory.request_seen_at_us = 99 * S;
    s.peers[0].lsn = 900;
    check("the others leave it the key", HA_NOTHING, NULL);
    candidate();
    request("n3", "");
    s.peers[0].lsn = 2000;
    check("to any member: what the old leader has more is no matter", HA_ACQUIRE, NULL);
    request("n2", "");
    check("what another has is", HA_NOTHING, NULL);
    leads();
    s.v.request.restart = true;
    s.v.memory.checkpoint_at_us = 99 * S;
    check("a restart that was asked for", HA_RESTART, NULL);
}

static void test_primary_is_demoted_under_its_lease_when_the_section_comes(void **state)
{
    (void)state;
    primary();
    check("a checkpoint first", HA_CHECKPOINT, NULL);
    s.v.memory.checkpoint_at_us = 99 * S;
    check_keeps("then it stops", HA_GRACEFUL);
    s.v.policy.pause = true;
    check("in pause people see to it", HA_NOTHING, NULL);
    s.v.keeper.armed = false;
    assert_true(check("but nobody is armed for it", HA_DEMOTE, NULL).release);
    s.v.lease.held = false;
    set_leader(NULL, 0);
    assert_false(check("nor given the key", HA_DEMOTE, NULL).keep);
    leads();
    s.v.op = OP_PROMOTE;
    check_keeps("a promotion that is under way", HA_AT_ONCE);
    s.v.pg.in_recovery = false;
    arm();
    check("which has happened: it is seen to when it is over", HA_NOTHING, NULL);
    s.v.op = OP_FOLLOW;
    check("another operation", HA_NOTHING, NULL);
    leads();
    arm();
    check_keeps("armed, for a promotion that came to nothing", HA_AT_ONCE);
}

static void test_what_is_down_under_the_lease_comes_back_as_the_standby_leader(void **state)
{
    (void)state;
    down();
    hold_lease();
    check("it was a standby", HA_START_STANDBY, REMOTE_CLUSTER);
    s.v.keeper.dead_proven = false;
    check_keeps("its processes may live", HA_AT_ONCE);
    s.v.keeper.dead_proven = true;
    arm();
    check_keeps("it was a primary", HA_AT_ONCE);
    s.v.keeper.armed = false;
    s.v.keeper.dead_proven = true;
    s.v.pg.control_state = PG_CONTROL_SHUT_DOWN;
    check("it may have WAL of its own", HA_CHECK_REWIND, REMOTE_CLUSTER);
    s.v.memory.retry_check_at_us = 99 * S;
    check("the other cluster cannot be asked", HA_START_STANDBY, REMOTE_CLUSTER);
    s.v.memory.retry_check_at_us = 0;
    divergence(DIVERGENCE_NONE, REMOTE_CLUSTER);
    check("it has none", HA_START_STANDBY, REMOTE_CLUSTER);
    divergence(DIVERGENCE_FOUND, REMOTE_CLUSTER);
    check("it has", HA_REWIND, REMOTE_CLUSTER);
    s.v.memory.retry_check_at_us = 101 * S;
    check("not at once again", HA_NOTHING, NULL);
    s.v.policy.use_pg_rewind = false;
    check("which may not be repaired", HA_START_STANDBY, REMOTE_CLUSTER);
    s.v.rewind_incomplete = true;
    check("but cannot be started", HA_NOTHING, NULL);
    down();
    hold_lease();
    s.v.pg.control_state = PG_CONTROL_IN_ARCHIVE_RECOVERY;
    check("a standby that was killed", HA_START_STANDBY, REMOTE_CLUSTER);
    s.v.policy.standby_cluster_streams = false;
    s.v.pg.control_state = PG_CONTROL_SHUT_DOWN;
    check("there is only an archive", HA_START_STANDBY, REMOTE_CLUSTER);
    down();
    hold_lease();
    s.v.pg.control_known = false;
    check("its control file is not known", HA_NOTHING, NULL);
}

static void test_what_does_not_come_back_gives_the_key_up(void **state)
{
    (void)state;
    down();
    hold_lease();
    s.v.memory.failed_starts = 1;
    check("it does not start", HA_RELEASE, NULL);
    s.members[1].state = s.members[2].state = PG_STATE_STOPPED;
    check("nobody could do better", HA_START_STANDBY, REMOTE_CLUSTER);
    down();
    hold_lease();
    s.v.memory.rewind_failed = true;
    check("it cannot be rewound", HA_RELEASE, NULL);
    down();
    hold_lease();
    s.v.storage.failed = s.v.storage.fence = true;
    check("its disk has failed", HA_RELEASE, NULL);
    down();
    hold_lease();
    s.v.policy.pause = true;
    check("people have stopped it in pause", HA_RELEASE, NULL);
    s.v.memory.stopped_here = true;
    check("we did", HA_START_STANDBY, REMOTE_CLUSTER);
    s.v.memory.stopped_here = false;
    s.v.request.restart = true;
    check("it is being restarted", HA_START_STANDBY, REMOTE_CLUSTER);
}

static void test_what_is_down_without_the_key_follows_whom_it_can(void **state)
{
    (void)state;
    down();
    check("the standby leader", HA_START_STANDBY, "n2");
    set_leader(NULL, 0);
    check("nobody leads", HA_START_STANDBY, REMOTE_CLUSTER);
    s.v.policy.pause = true;
    s.v.memory.stopped_here = true;
    check("in pause it is left to people whom it follows", HA_START_STANDBY, "");
    down();
    set_leader(NULL, 0);
    s.v.tags.nostream = true;
    check("the tag nostream", HA_START_STANDBY, "");
    s.v.tags.nostream = false;
    s.v.cluster = NULL;
    check("the store cannot be read", HA_START_STANDBY, "");
    down();
    s.members[1].role = PG_ROLE_REPLICA;
    check("the leader is not ready", HA_START_STANDBY, "n2");
    down();
    s.v.pg.control_state = PG_CONTROL_SHUT_DOWN;
    check("it was a primary", HA_CHECK_REWIND, REMOTE_CLUSTER);
    s.v.memory.is_new_copy = true;
    check("its source was", HA_START_STANDBY, "n2");
    s.v.memory.is_new_copy = false;
    s.v.memory.retry_check_at_us = 101 * S;
    check("asking had no success: it shows when it runs", HA_START_STANDBY, "n2");
    s.v.policy.standby_cluster_streams = false;
    check("there is nobody to ask", HA_START_STANDBY, "n2");
    s.v.policy.standby_cluster_streams = true;
    divergence(DIVERGENCE_FOUND, REMOTE_CLUSTER);
    s.v.policy.use_pg_rewind = false;
    s.v.policy.remove_data_directory_on_diverged_timelines = true;
    check("a new copy", HA_SET_ASIDE, NULL);
    set_leader(NULL, 0);
    check("nobody leads, but others run", HA_SET_ASIDE, NULL);
    s.v.cluster_is_fresh = false;
    check("they ran when the store was read last", HA_READ_STORE, NULL);
    s.v.cluster_is_fresh = true;
    s.c.initialize.exists = false;
    check("the store has forgotten which cluster this is", HA_START_STANDBY, REMOTE_CLUSTER);
    s.v.rewind_incomplete = true;
    check("and what is here is half rewound", HA_SET_ASIDE, NULL);
    s.v.rewind_incomplete = false;
    s.c.initialize.exists = true;
    s.members[1].state = s.members[2].state = PG_STATE_STOPPED;
    check("what it has is all there is", HA_START_STANDBY, REMOTE_CLUSTER);
    set_leader("n1", 5);
    check("so it is when the key is still there that it has just given up", HA_START_STANDBY, REMOTE_CLUSTER);
}

static void test_an_empty_node_copies_the_other_cluster_when_nobody_here_can_help(void **state)
{
    (void)state;
    scene();
    s.v.pg.data_dir_empty = true;
    set_leader("n2", 5);
    check("the standby leader does not stream: it may have gone another way", HA_CLONE, REMOTE_CLUSTER);
    s.v.request.from_leader = true;
    check("the operator wants its copy", HA_CLONE, "n2");
    s.v.request.from_leader = false;
    s.v.memory.retry_clone_at_us = 99 * S;
    check("the other cluster could not be had", HA_CLONE, "n2");
    s.v.memory.retry_clone_at_us = 0;
    s.members[1].streaming = true;
    check("the standby leader is well", HA_CLONE, "n2");
    set_leader(NULL, 0);
    check("somebody may lead in a moment", HA_NOTHING, NULL);
    s.v.memory.leaderless_since_us = 90 * S;
    check("still", HA_NOTHING, NULL);
    s.v.memory.leaderless_since_us = 70 * S;
    check("nobody did, for a ttl", HA_CLONE, REMOTE_CLUSTER);
    s.v.memory.retry_clone_at_us = 101 * S;
    check("the last copy failed", HA_NOTHING, NULL);
    s.v.policy.standby_cluster_streams = false;
    check("there is only an archive", HA_NOTHING, NULL);

    scene();
    s.v.pg.data_dir_empty = true;
    s.c.initialize = (struct text_key){0};
    s.v.memory.leaderless_since_us = 70 * S;
    assert_non_null(strstr(check("the first member", HA_BOOTSTRAP, NULL).reason, "copying the cluster it follows"));
    s.v.policy.standby_cluster_streams = false;
    check("an archive is no base backup", HA_NOTHING, NULL);
    s.v.policy.standby_cluster = false;
    check("a cluster of its own", HA_BOOTSTRAP, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standby_leader_follows_the_other_cluster_and_never_promotes),
        cmocka_unit_test(test_standby_leader_that_nobody_can_follow_gives_the_key_up),
        cmocka_unit_test(test_standby_leader_that_does_not_stream_compares_with_the_other_cluster),
        cmocka_unit_test(test_members_follow_the_standby_leader_and_are_repaired_from_the_other_cluster),
        cmocka_unit_test(test_a_free_key_goes_to_whoever_can_follow),
        cmocka_unit_test(test_switchover_gives_the_key_away_and_stops_nothing),
        cmocka_unit_test(test_primary_is_demoted_under_its_lease_when_the_section_comes),
        cmocka_unit_test(test_what_is_down_under_the_lease_comes_back_as_the_standby_leader),
        cmocka_unit_test(test_what_does_not_come_back_gives_the_key_up),
        cmocka_unit_test(test_what_is_down_without_the_key_follows_whom_it_can),
        cmocka_unit_test(test_an_empty_node_copies_the_other_cluster_when_nobody_here_can_help),
    };

    return cmocka_run_group_tests_name("ha_standby_cluster", tests, NULL, NULL);
}
