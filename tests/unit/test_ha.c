/*
 * Every rule of the decision core as a row: a healthy node of some kind (ha_scene.h), what is changed in it, what must
 * be decided.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "ha_scene.h"

static void test_leader_with_a_valid_lease_does_nothing_until_the_demotion_point(void **state)
{
    (void)state;
    leader();
    CHECK("a healthy leader", HA_NOTHING);
    assert_true(ha_demote_at_us(&s.v) == 114 * S);
    assert_true(ha_decide(&s.v).wake_at_us == 114 * S);
    s.v.now_us = 114 * S - 1;
    CHECK("the last instant before", HA_NOTHING);
    s.v.now_us = 114 * S;
    CHECK("the point itself", HA_DEMOTE, .release = 0, .urgency = HA_SWIFT);
    leader();
    s.v.cluster = NULL;
    CHECK("the store cannot be read, but the lease is valid", HA_NOTHING);
    leader();
    s.v.keeper.fence_at_us = 2 * S;
    assert_true(ha_demote_at_us(&s.v) == 1);
    s.v.keeper.armed = false;
    assert_true(ha_demote_at_us(&s.v) == 0);
}

static void test_primary_without_what_it_needs_is_demoted(void **state)
{
    (void)state;
    leader();
    s.v.lease.held = false;
    CHECK("no lease", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    leader();
    s.v.keeper.armed = false;
    CHECK("keeper not armed", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    leader();
    s.v.pg.data_dir_empty = true;
    CHECK("data directory gone", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.pg.data_dir_known = false;
    CHECK("data directory not known", HA_NOTHING);
    leader();
    s.v.pg.hung = true;
    CHECK("hung", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    leader();
    s.v.keeper.watchdog_unusable = true;
    CHECK("watchdog failed", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
    s.v.now_us = 116 * S;
    CHECK("watchdog failed, and little time left", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
}

static void test_adopted_primary_of_an_interrupted_bootstrap_is_given_up(void **state)
{
    (void)state;
    leader();
    s.v.bootstrap_incomplete = true;
    CHECK("the initialize key says it was finished", HA_NOTHING);
    s.v.pg.sysid = SYSID;
    CHECK("it is that cluster", HA_NOTHING);
    s.v.pg.sysid++;
    CHECK("another node has made the cluster", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.pg.sysid = 0;
    s.c.initialize.text = (char *)"";
    CHECK("only the mark is there", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.c.initialize.exists = false;
    CHECK("not even the mark", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.policy.pause = true;
    CHECK("nor does a pause save it", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.policy.pause = false;
    s.v.bootstrap_made = true;
    CHECK("it is whole, and who leads tells the store", HA_NOTHING);
    s.v.bootstrap_made = false;
    s.v.cluster = NULL;
    CHECK("what the store says is not known", HA_NOTHING);
    s.v.cluster = &s.c;
    s.v.bootstrap_incomplete = false;
    CHECK("no bootstrap of ours", HA_NOTHING);
}

static void test_without_keeper_a_primary_waits_for_a_successor_until_the_demotion_point(void **state)
{
    (void)state;
    leader();
    s.v.keeper.connected = false;
    CHECK("before the point", HA_NOTHING);
    s.v.now_us = 114 * S;
    CHECK("at the point", HA_DEMOTE, .release = 0, .urgency = HA_SWIFT);
    s.v.op = OP_DEMOTE;
    CHECK("already demoting", HA_NOTHING);
    s.v.op = OP_NONE;
    s.v.keeper.armed = false;
    s.v.now_us = 100 * S;
    CHECK("never armed", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    candidate();
    s.v.keeper.connected = false;
    CHECK("a candidate does not race", HA_NOTHING);
    arm();
    s.v.now_us = 114 * S;
    CHECK("armed while promoting", HA_DEMOTE, .release = 0, .urgency = HA_SWIFT);
    down();
    s.v.keeper.connected = false;
    CHECK("a stopped node leaves", HA_EXIT);
    crashed();
    s.v.keeper.connected = false;
    CHECK("a dead postmaster's backends", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
}

static void test_operation_in_flight_is_left_alone_while_the_lease_holds(void **state)
{
    (void)state;
    leader();
    s.v.op = OP_PROMOTE;
    s.v.op_since_us = 99 * S;
    CHECK("promoting", HA_NOTHING);
    s.v.lease.held = false;
    CHECK("promoting without lease", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    s.v.op = OP_START_PRIMARY;
    CHECK("starting as primary without lease", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    leader();
    s.v.op = OP_START_PRIMARY;
    s.v.now_us = 114 * S;
    s.v.op_since_us = 99 * S;
    CHECK("at the demotion point", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    s.v.op = OP_DEMOTE;
    CHECK("already demoting", HA_NOTHING);
    leader();
    s.v.op = OP_START_PRIMARY;
    s.v.policy.primary_start_timeout_us = 5 * S;
    s.v.op_since_us = 95 * S;
    CHECK("start timeout", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
    s.v.op_since_us = 95 * S + 1;
    CHECK("just before the start timeout", HA_NOTHING);
    s.v.policy.primary_start_timeout_us = 0;
    CHECK("no start timeout", HA_NOTHING);
    empty();
    s.v.op = OP_CLONE;
    CHECK("cloning", HA_NOTHING);
}

static void test_stopping_ends_what_is_in_flight(void **state)
{
    (void)state;
    standby();
    s.v.stopping = true;
    s.v.op = OP_START_STANDBY;
    CHECK("a standby that starts for ever", HA_STOP, .urgency = HA_GRACEFUL);
    elected();
    arm();
    s.v.stopping = true;
    s.v.op = OP_PROMOTE;
    CHECK("a promotion", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    empty();
    s.v.stopping = true;
    s.v.op = OP_CLONE;
    CHECK("a copy", HA_EXIT);
    s.v.op = OP_BOOTSTRAP;
    CHECK("a bootstrap undoes itself", HA_NOTHING);
    standby();
    s.v.stopping = true;
    s.v.op = OP_ACQUIRE;
    CHECK("the store's answer may be the leader key", HA_NOTHING);
    s.v.op = OP_DEMOTE;
    CHECK("a stop goes on", HA_NOTHING);
}

static void test_stopping_hands_over_then_proves_then_releases_then_exits(void **state)
{
    (void)state;
    leader();
    s.v.stopping = true;
    CHECK("primary", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    elected();
    arm();
    s.v.stopping = true;
    CHECK("armed standby", HA_DEMOTE, .release = 1, .urgency = HA_GRACEFUL);
    standby();
    s.v.stopping = true;
    CHECK("standby", HA_STOP);
    crashed();
    s.v.stopping = true;
    CHECK("down, still armed", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    down();
    s.v.stopping = true;
    s.v.keeper.dead_proven = false;
    CHECK("down, not proven", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    down();
    hold_lease();
    s.v.stopping = true;
    CHECK("down, still holding the key", HA_RELEASE);
    down();
    s.v.stopping = true;
    CHECK("all done", HA_EXIT);
}

static void test_crashed_leader_is_started_again_or_hands_over(void **state)
{
    (void)state;
    crashed();
    CHECK("first crash", HA_START_PRIMARY);
    s.v.pg.control_state = PG_CONTROL_SHUTTING_DOWN;
    CHECK("shutting down", HA_START_PRIMARY);
    s.v.pg.control_state = PG_CONTROL_SHUT_DOWN;
    CHECK("shut down by somebody", HA_START_PRIMARY);
    s.v.memory.may_have_said_end = true;
    CHECK("shut down before this agent was there", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.pg.control_state = PG_CONTROL_IN_PRODUCTION;
    CHECK("crashed before this agent was there", HA_START_PRIMARY);
    s.v.memory.may_have_said_end = false;
    s.v.pg.control_state = PG_CONTROL_IN_CRASH_RECOVERY;
    CHECK("in crash recovery", HA_START_PRIMARY);
    for (int i = PG_CONTROL_UNKNOWN; i <= PG_CONTROL_SHUT_DOWN_IN_RECOVERY; i++) {
        if (i == PG_CONTROL_SHUT_DOWN)
            continue;
        s.v.pg.control_state = (enum pg_control_state)i;
        CHECK("not a primary's control file", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    }
    s.v.pg.control_state = PG_CONTROL_IN_ARCHIVE_RECOVERY;
    CHECK("a standby's control file", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    crashed();
    s.v.memory.was_primary = false;
    CHECK("was a standby", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    crashed();
    s.v.pg.control_known = false;
    CHECK("control file not read yet", HA_NOTHING);
    s.v.policy.primary_start_timeout_us = 0;
    CHECK("fail over at once, whatever the control file says", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    crashed();
    s.v.policy.primary_start_timeout_us = 1 * S;
    CHECK("too long down", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    crashed();
    s.v.memory.failed_starts = 2;
    CHECK("two failed starts", HA_START_PRIMARY);
    s.v.memory.retry_start_at_us = 101 * S;
    CHECK("waiting for the next try", HA_NOTHING);
    s.v.memory.failed_starts = 3;
    CHECK("three failed starts", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    crashed();
    s.v.now_us = 114 * S;
    CHECK("the lease runs out meanwhile", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    crashed();
    s.v.bootstrap_incomplete = true;
    CHECK("the store has the identifier: only the note is out of date", HA_START_PRIMARY);
    s.v.pg.control_known = false;
    CHECK("not known yet whose identifier the store has", HA_NOTHING);
    s.v.pg.control_known = true;
    s.v.pg.sysid = SYSID + 1;
    CHECK("half-made cluster, under a lease", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.lease.held = false;
    CHECK("half-made cluster, still armed", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.keeper.armed = false;
    CHECK("half-made cluster, not proven dead", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.keeper.dead_proven = true;
    CHECK("another node has made the cluster meanwhile", HA_ABANDON_BOOTSTRAP);
    s.c.initialize.text = (char *)"";
    CHECK("half-made cluster", HA_ABANDON_BOOTSTRAP);
    s.v.cluster_is_fresh = false;
    CHECK("half-made cluster, an old view of the store", HA_READ_STORE);
    s.v.cluster = NULL;
    CHECK("half-made cluster, no store to take the mark back from", HA_NOTHING);
    crashed();
    s.v.bootstrap_incomplete = s.v.bootstrap_made = true;
    s.c.initialize.text = (char *)"";
    CHECK("only its word in the store is missing", HA_START_PRIMARY);
    s.v.cluster = NULL;
    CHECK("or may be", HA_START_PRIMARY);
    crashed();
    s.v.bootstrap_incomplete = s.v.bootstrap_made = true;
    s.v.pg.sysid = SYSID + 1;
    CHECK("another node has made the cluster", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    standby();
    s.v.bootstrap_incomplete = s.v.bootstrap_made = true;
    s.v.pg.sysid = SYSID + 1;
    CHECK("which is seen when this one runs as a standby already", HA_STOP, .urgency = HA_SWIFT);
}

static void test_stopped_node_comes_back_as_a_standby(void **state)
{
    (void)state;
    down();
    CHECK("leader there: compare timelines first", HA_CHECK_REWIND, "n2");
    s.v.memory.retry_check_at_us = 101 * S;
    CHECK("the last comparison could not be made", HA_NOTHING);
    divergence(DIVERGENCE_NONE, "n2");
    CHECK("not diverged", HA_START_STANDBY, "n2");
    divergence(DIVERGENCE_NONE, "n3");
    s.v.memory.retry_check_at_us = 0;
    CHECK("not diverged from somebody else", HA_CHECK_REWIND, "n2");
    divergence(DIVERGENCE_FOUND, "n3");
    CHECK("diverged from somebody else", HA_CHECK_REWIND, "n2");
    s.v.policy.use_pg_rewind = false;
    CHECK("nothing could be done about it anyway", HA_START_STANDBY, "n2");
    s.v.policy.remove_data_directory_on_diverged_timelines = true;
    CHECK("a new copy could", HA_CHECK_REWIND, "n2");
    down();
    s.v.memory.is_new_copy = true;
    CHECK("a copy that never ran", HA_START_STANDBY, "n2");
    (void)snprintf(s.v.tags.replicatefrom, MEMBER_NAME_SIZE, "n3");
    CHECK("a copy of a standby of a standby", HA_START_STANDBY, "n3");
    s.v.tags.nostream = true;
    CHECK("a copy that is to follow the archive only", HA_START_STANDBY, "");
    s.v.tags = TAGS_DEFAULT;
    s.v.rewind_incomplete = true;
    CHECK("a copy that never ran, and a rewind of it", HA_REWIND, "n2");
    down();
    set_leader(NULL, 0);
    CHECK("no leader", HA_START_STANDBY, "");
    down();
    s.v.cluster = NULL;
    CHECK("no store", HA_START_STANDBY, "");
    down();
    s.members[1].state = PG_STATE_STARTING;
    CHECK("leader not ready", HA_START_STANDBY, "n2");
    down();
    s.v.keeper.dead_proven = false;
    CHECK("not proven dead", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    down();
    arm();
    CHECK("still armed", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    down();
    s.v.pg.control_known = false;
    CHECK("control file not read yet", HA_NOTHING);
    down();
    s.v.policy.pause = true;
    CHECK("paused", HA_NOTHING);
    down();
    s.v.memory.retry_start_at_us = 101 * S;
    CHECK("the last start failed", HA_NOTHING);
}

static void test_diverged_node_is_rewound_set_aside_or_started_as_it_is(void **state)
{
    (void)state;
    down();
    divergence(DIVERGENCE_FOUND, "n2");
    CHECK("rewind", HA_REWIND, "n2");
    s.v.memory.rewind_failed = true;
    CHECK("rewind failed, no copy allowed", HA_START_STANDBY, "n2");
    s.v.policy.remove_data_directory_on_rewind_failure = true;
    CHECK("rewind failed, copy allowed", HA_SET_ASIDE);
    s.v.memory.rewind_failed = false;
    s.v.rewind_possible = false;
    CHECK("rewind impossible", HA_START_STANDBY, "n2");
    s.v.policy.remove_data_directory_on_diverged_timelines = true;
    CHECK("rewind impossible, copy allowed", HA_SET_ASIDE);
    s.v.rewind_possible = true;
    s.v.policy.use_pg_rewind = false;
    CHECK("rewind not allowed, copy allowed", HA_SET_ASIDE);
    s.c.initialize.exists = false;
    CHECK("but the store has forgotten which cluster this is", HA_START_STANDBY, "n2");
    s.c.initialize.exists = true;
    down();
    divergence(DIVERGENCE_FOUND, "n2");
    s.v.memory.retry_check_at_us = 101 * S;
    CHECK("the leader was not ready for it", HA_NOTHING);
    down();
    s.v.rewind_incomplete = true;
    CHECK("an earlier rewind was interrupted", HA_REWIND, "n2");
    s.v.memory.rewind_failed = true;
    CHECK("and fails again", HA_NOTHING);
    down();
    set_leader(NULL, 0);
    s.v.rewind_incomplete = true;
    CHECK("interrupted, nobody to rewind to", HA_NOTHING);
}

/* It was a standby on timeline 3, and its control file is that of a primary of `timeline`. */
static void tainted(uint32_t timeline)
{
    down();
    s.members[1].timeline = 3;
    s.v.pg.standby_timeline = 3;
    s.v.pg.control_timeline = timeline;
    s.v.pg.control_state = PG_CONTROL_IN_PRODUCTION;
}

static void test_node_that_somebody_else_ran_as_a_primary_on_our_timeline_is_never_started(void **state)
{
    static const enum pg_control_state of_a_primary[] = {PG_CONTROL_SHUT_DOWN, PG_CONTROL_SHUTTING_DOWN,
                                                         PG_CONTROL_IN_CRASH_RECOVERY, PG_CONTROL_IN_PRODUCTION};
    static const enum pg_control_state of_others[] = {PG_CONTROL_UNKNOWN, PG_CONTROL_STARTING_UP,
                                                      PG_CONTROL_SHUT_DOWN_IN_RECOVERY, PG_CONTROL_IN_ARCHIVE_RECOVERY};

    (void)state;
    for (size_t i = 0; i < sizeof(of_a_primary) / sizeof(of_a_primary[0]); i++) {
        tainted(3);
        s.v.pg.control_state = of_a_primary[i];
        CHECK("the state of a primary", HA_NOTHING);
        says("pgtetherctl reinit makes a new copy, or remove_data_directory_on_diverged_timelines");
    }
    for (size_t i = 0; i < sizeof(of_others) / sizeof(of_others[0]); i++) {
        tainted(3);
        s.v.pg.control_state = of_others[i];
        CHECK("the state of a standby", HA_CHECK_REWIND, "n2");
    }
    tainted(3);
    s.v.pg.standby_timeline = 0;
    CHECK("no standby since we made it a primary", HA_CHECK_REWIND, "n2");
    tainted(4);
    CHECK("on a later timeline: it was promoted", HA_CHECK_REWIND, "n2");
    s.members[1].timeline = 4;
    CHECK("which has the number of the leader's", HA_NOTHING);
    tainted(2);
    CHECK("on an earlier one, which all have been on", HA_NOTHING);
    s.v.pg.control_min_recovery_timeline = 4;
    CHECK("promoted, and killed before its checkpoint", HA_CHECK_REWIND, "n2");
    tainted(3);
    divergence(DIVERGENCE_NONE, "n2");
    CHECK("whatever was compared before", HA_NOTHING);
    s.v.request.reinitialize = true;
    CHECK("reinitialize", HA_SET_ASIDE);
    tainted(3);
    set_leader(NULL, 0);
    CHECK("nobody leads: it must not be elected", HA_NOTHING);
    s.v.pg.control_timeline = 4;
    CHECK("nobody leads, and it was promoted", HA_START_STANDBY, "");
    tainted(3);
    s.v.cluster = NULL;
    CHECK("no store", HA_NOTHING);
    tainted(3);
    s.v.policy.pause = true;
    CHECK("paused", HA_NOTHING);
    says("paused");
}

static void test_what_somebody_else_ran_as_a_primary_is_copied_anew_where_that_is_allowed(void **state)
{
    (void)state;
    tainted(3);
    s.v.policy.remove_data_directory_on_diverged_timelines = true;
    CHECK("on diverged timelines", HA_SET_ASIDE);
    set_leader(NULL, 0);
    CHECK("nobody to copy from", HA_NOTHING);
    says("waiting for a leader");
    tainted(3);
    s.v.policy.remove_data_directory_on_rewind_failure = true;
    CHECK("where pg_rewind does not help", HA_SET_ASIDE);
    s.v.policy.use_pg_rewind = false;
    CHECK("where it is not used", HA_NOTHING);
}

static void test_running_server_is_not_judged_by_its_control_file(void **state)
{
    (void)state;
    tainted(3);
    assert_true(ha_is_tainted(&s.v));
    s.v.pg.running = true;
    assert_false(ha_is_tainted(&s.v));
    s.v.pg.running = false;
    s.v.pg.control_known = false;
    assert_false(ha_is_tainted(&s.v));
}

static void test_empty_node_bootstraps_copies_or_waits(void **state)
{
    (void)state;
    virgin();
    CHECK("a virgin cluster", HA_BOOTSTRAP);
    s.v.cluster_is_fresh = false;
    CHECK("not read lately", HA_READ_STORE);
    s.v.cluster_is_fresh = true;
    s.v.was_frozen = true;
    CHECK("frozen meanwhile", HA_READ_STORE);
    virgin();
    s.v.tags.nofailover = true;
    CHECK("nofailover", HA_NOTHING);
    virgin();
    s.v.keeper.watchdog_unusable = true;
    CHECK("watchdog required", HA_NOTHING);
    virgin();
    s.v.keeper.gate_unusable = true;
    CHECK("port gate required", HA_NOTHING);
    virgin();
    s.v.fence_guard = true;
    CHECK("reset again and again", HA_NOTHING);
    virgin();
    s.v.config_refused = true;
    CHECK("configuration refused", HA_NOTHING);
    virgin();
    s.v.memory.no_race_until_us = 101 * S;
    CHECK("after a failure", HA_NOTHING);
    virgin();
    s.v.policy.pause = true;
    CHECK("paused", HA_NOTHING);
    virgin();
    s.v.cluster = NULL;
    CHECK("no store", HA_NOTHING);
    virgin();
    s.c.initialize = (struct text_key){.exists = true, .text = (char *)"", .revision = 1};
    CHECK("somebody else bootstraps", HA_NOTHING);
    set_leader("n2", 5);
    CHECK("and holds the leader key already", HA_NOTHING);
    set_leader(NULL, 0);
    s.c.initialize.session = 8;
    s.v.member.session = 7;
    CHECK("on its lease", HA_NOTHING);
    s.c.initialize.session = 7;
    CHECK("it is us: the mark came in after we had taken it back", HA_BOOTSTRAP);
    s.c.initialize.session = 0;
    s.v.memory.mark_may_be_ours = true;
    CHECK("perhaps it is us", HA_BOOTSTRAP);
    s.v.cluster_is_fresh = false;
    CHECK("perhaps it was us, in an old view of the store", HA_READ_STORE);
    s.v.cluster_is_fresh = true;
    s.c.initialize.text = (char *)SYSID_TEXT;
    CHECK("it was us, or somebody else, and is over", HA_NOTHING);
    empty();
    CHECK("cluster known, no leader", HA_NOTHING);
    set_leader("n2", 5);
    CHECK("leader there", HA_CLONE, "n2");
    s.members[2].tags.clonefrom = true;
    CHECK("clonefrom", HA_CLONE, "n3");
    s.members[2].timeline = 9;
    CHECK("clonefrom on another timeline", HA_CLONE, "n2");
    s.members[2].timeline = 1;
    s.members[2].state = PG_STATE_STOPPED;
    CHECK("clonefrom down", HA_CLONE, "n2");
    s.members[2].tags.clonefrom = false;
    s.members[1].tags.clonefrom = true;
    CHECK("clonefrom on the leader", HA_CLONE, "n2");
    s.members[1].tags.clonefrom = false;
    s.members[0].tags.clonefrom = true;
    CHECK("clonefrom on myself", HA_CLONE, "n2");
    s.v.memory.retry_clone_at_us = 101 * S;
    CHECK("the last copy failed", HA_NOTHING);
    empty();
    set_leader("n2", 5);
    s.members[1].role = PG_ROLE_REPLICA;
    CHECK("leader not promoted yet", HA_NOTHING);
    set_leader("n9", 5);
    CHECK("leader without member key", HA_NOTHING);
    empty();
    set_leader("n1", 5);
    CHECK("our name on the leader key", HA_NOTHING);
    empty();
    hold_lease();
    CHECK("holding the key", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    empty();
    arm();
    CHECK("armed", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
}

static void test_data_directory_that_cannot_be_used_is_left_alone(void **state)
{
    (void)state;
    down();
    s.v.pg.data_dir_known = false;
    CHECK("not known", HA_NOTHING);
    down();
    s.v.pg.data_dir_foreign = true;
    CHECK("foreign", HA_NOTHING);
    s.v.copy_incomplete = true;
    CHECK("half a copy", HA_SET_ASIDE);
    empty();
    set_leader("n2", 5);
    s.v.copy_incomplete = true;
    CHECK("a copy that had not begun", HA_CLONE, "n2");
    down();
    s.v.pg.sysid = SYSID + 1;
    CHECK("another cluster's", HA_EXIT);
    s.v.pg.running = s.v.pg.accepting = s.v.pg.in_recovery = true;
    CHECK("another cluster's, which runs", HA_STOP);
    s.v.pg.sysid = 0;
    CHECK("a running server that has not said its own yet", HA_FOLLOW, "n2");
    down();
    s.v.pg.sysid = SYSID + 1;
    s.v.pg.foreign_server = true;
    s.c.initialize.text = (char *)"";
    CHECK("somebody else's server", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    s.v.pg.foreign_server = false;
    CHECK("initialize key empty", HA_START_STANDBY, "n2");
    s.c.initialize.exists = false;
    CHECK("initialize key missing", HA_START_STANDBY, "n2");
    down();
    s.v.pg.sysid = SYSID + 1;
    s.v.pg.control_known = false;
    CHECK("not read yet", HA_NOTHING);
    down();
    s.v.pg.sysid = SYSID + 1;
    s.v.cluster = NULL;
    CHECK("no store to compare with", HA_START_STANDBY, "");
    s.v.store_unread = true;
    CHECK("it is being asked for the first time", HA_NOTHING);
    down();
    s.v.op = OP_START_STANDBY;
    s.v.pg.sysid = SYSID + 1;
    CHECK("not started yet", HA_NOTHING);
    s.v.pg.running = s.v.pg.in_recovery = true;
    CHECK("started without the store, and it lets nobody in", HA_STOP);
    s.v.policy.pause = true;
    CHECK("the same while paused", HA_NOTHING);
    s.v.policy.pause = false;
    s.v.pg.sysid = SYSID;
    CHECK("it is ours", HA_NOTHING);
    empty();
    s.v.pg.control_known = true;
    set_leader("n2", 5);
    CHECK("an empty directory has no identifier", HA_CLONE, "n2");
}

static void test_standby_follows_its_leader(void **state)
{
    (void)state;
    standby();
    CHECK("all well", HA_NOTHING);
    s.v.pg.follows[0] = '\0';
    CHECK("following nobody", HA_FOLLOW, "n2");
    standby();
    set_leader("n3", 6);
    s.members[2].role = PG_ROLE_PRIMARY;
    CHECK("new leader", HA_FOLLOW, "n3");
    s.members[2].role = PG_ROLE_REPLICA;
    CHECK("new leader not promoted yet", HA_NOTHING);
    standby();
    s.v.tags.nostream = true;
    CHECK("nostream", HA_FOLLOW, "");
    s.v.pg.follows[0] = '\0';
    CHECK("nostream, following nobody", HA_NOTHING);
    standby();
    (void)snprintf(s.v.tags.replicatefrom, sizeof(s.v.tags.replicatefrom), "n3");
    CHECK("cascading", HA_FOLLOW, "n3");
    s.members[2].conn_url[0] = '\0';
    CHECK("cascading from one without address", HA_NOTHING);
    (void)snprintf(s.v.tags.replicatefrom, sizeof(s.v.tags.replicatefrom), "n9");
    CHECK("cascading from an unknown one", HA_NOTHING);
    (void)snprintf(s.v.tags.replicatefrom, sizeof(s.v.tags.replicatefrom), "n1");
    CHECK("cascading from itself", HA_NOTHING);
    standby();
    s.members[1].conn_url[0] = '\0';
    s.v.pg.follows[0] = '\0';
    CHECK("leader without address", HA_NOTHING);
    standby();
    s.v.pg.accepting = false;
    CHECK("starting", HA_NOTHING);
    s.v.pg.hung = true;
    CHECK("hung", HA_NOTHING);
    standby();
    s.v.cluster = NULL;
    CHECK("no store", HA_NOTHING);
    standby();
    set_leader("n1", 5);
    CHECK("our name on a foreign lease (S9)", HA_NOTHING);
    standby();
    arm();
    CHECK("armed without lease", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    s.v.now_us = 114 * S;
    CHECK("armed past the point", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    standby();
    s.v.pg.data_dir_empty = true;
    CHECK("data directory gone", HA_STOP);
    s.v.pg.data_dir_known = false;
    CHECK("data directory not known", HA_NOTHING);
}

/* People and their monitoring look for these. */
static void test_heartbeats_are_the_sentences_of_the_reference(void **state)
{
    (void)state;
    leader();
    assert_string_equal(ha_decide(&s.v).reason, "no action. I am (n1), the leader with the lock");
    standby();
    assert_string_equal(ha_decide(&s.v).reason, "no action. I am (n1), a secondary, and following a leader (n2)");
}

static void test_standby_whose_wal_needs_more_is_restarted(void **state)
{
    (void)state;
    standby();
    s.v.pg.replay_paused = true;
    CHECK("people have paused the replay", HA_NOTHING);
    s.v.pg.starved_since_us = 99 * S;
    CHECK("the primary has raised a parameter", HA_RESTART);
    s.v.policy.pause = true;
    CHECK("in pause", HA_NOTHING);
    s.v.policy.pause = false;
    s.v.cluster = NULL;
    CHECK("without the store", HA_RESTART);
    candidate();
    s.v.pg.starved_since_us = 99 * S;
    CHECK("before an election: promoted it would end", HA_RESTART);
}

static void test_standby_that_does_not_stream_is_compared_with_the_leader(void **state)
{
    (void)state;
    standby();
    s.v.memory.not_streaming_since_us = 80 * S;
    CHECK("for two loop_waits", HA_CHECK_REWIND, "n2");
    s.v.memory.not_streaming_since_us = 80 * S + 1;
    CHECK("not that long", HA_NOTHING);
    s.v.memory.not_streaming_since_us = 80 * S;
    s.v.pg.replaying = true;
    CHECK("it has not yet come to the end of its own WAL", HA_NOTHING);
    s.v.pg.replaying = false;
    s.v.memory.retry_check_at_us = 101 * S;
    CHECK("asked a moment ago", HA_NOTHING);
    s.v.memory.retry_check_at_us = 0;
    divergence(DIVERGENCE_NONE, "n2");
    CHECK("compared already", HA_NOTHING);
    s.members[1].timeline = 1;
    s.v.pg.timeline = 2;
    CHECK("compared already, but it is ahead of the leader's timeline", HA_CHECK_REWIND, "n2");
    s.members[1].timeline = 0;
    CHECK("the leader's timeline is not known", HA_NOTHING);
    s.members[1].timeline = s.v.pg.timeline = 1;
    divergence(DIVERGENCE_NONE, "n3");
    CHECK("compared with another", HA_CHECK_REWIND, "n2");
    s.v.policy.use_pg_rewind = false;
    CHECK("nothing to be done", HA_NOTHING);
    s.v.policy.remove_data_directory_on_diverged_timelines = true;
    CHECK("a copy to be made", HA_CHECK_REWIND, "n2");
    standby();
    divergence(DIVERGENCE_FOUND, "n2");
    CHECK("diverged", HA_REWIND, "n2");
    s.v.rewind_possible = false;
    CHECK("rewind impossible", HA_NOTHING);
    s.v.rewind_possible = true;
    s.v.memory.rewind_failed = true;
    CHECK("rewind failed", HA_NOTHING);
    s.v.memory.rewind_failed = false;
    s.v.memory.retry_check_at_us = 101 * S;
    CHECK("the leader was not ready for it", HA_NOTHING);
    s.v.memory.retry_check_at_us = 0;
    s.v.policy.use_pg_rewind = false;
    CHECK("rewind not allowed", HA_NOTHING);
    s.v.policy.remove_data_directory_on_diverged_timelines = true;
    CHECK("only a copy allowed: what runs is stopped for it", HA_STOP);
    s.v.policy.remove_data_directory_on_diverged_timelines = false;
    s.v.policy.use_pg_rewind = true;
    s.v.memory.rewind_failed = true;
    s.v.policy.remove_data_directory_on_rewind_failure = true;
    CHECK("rewind failed, then a copy is allowed", HA_STOP);
    s.v.memory.rewind_failed = false;
    CHECK("rewind has not failed", HA_REWIND, "n2");
    standby();
    divergence(DIVERGENCE_FOUND, "n3");
    CHECK("diverged from another", HA_NOTHING);
}

static void test_standby_that_lacks_logical_slots_copies_them(void **state)
{
    (void)state;
    standby();
    s.v.slots_to_copy = true;
    CHECK("it lacks one", HA_COPY_SLOTS, "n2");
    s.v.pg.streaming = false;
    CHECK("it does not stream", HA_NOTHING);
    s.v.pg.streaming = true;
    s.v.policy.pause = true;
    CHECK("pause: nobody would start the server again", HA_NOTHING);
    s.v.policy.pause = false;
    s.v.storage.failed = true;
    CHECK("its disk has failed", HA_NOTHING);
    s.v.storage.failed = false;
    s.members[1].state = PG_STATE_STARTING;
    CHECK("the leader is not ready", HA_NOTHING);
}

static void test_elected_node_promotes_only_on_a_fresh_view_of_its_own_key(void **state)
{
    (void)state;
    elected();
    CHECK("elected", HA_PROMOTE);
    s.v.was_frozen = true;
    CHECK("frozen", HA_READ_STORE);
    s.v.was_frozen = false;
    s.v.cluster_is_fresh = false;
    CHECK("stale", HA_READ_STORE);
    s.v.cluster = NULL;
    CHECK("no store", HA_READ_STORE);
    elected();
    set_leader(NULL, 0);
    CHECK("the store shows no key", HA_READ_STORE);
    set_leader("n2", LEASE_ID);
    CHECK("the store shows another's", HA_READ_STORE);
    set_leader("n1", LEASE_ID + 1);
    CHECK("the store shows our name on another lease", HA_READ_STORE);
    elected();
    s.v.keeper.refused = true;
    CHECK("the keeper refuses", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
    elected();
    s.v.lease.deadline_us = 100 * S;
    CHECK("the lease ran out", HA_DEMOTE, .release = 0, .urgency = HA_AT_ONCE);
    elected();
    s.v.pg.accepting = false;
    s.v.pg.starting_since_us = 99 * S;
    CHECK("starting up", HA_NOTHING);
    s.v.policy.primary_start_timeout_us = 1 * S;
    CHECK("starting for too long", HA_DEMOTE, .release = 1, .urgency = HA_AT_ONCE);
}

static void test_race_is_entered_only_by_those_who_may(void **state)
{
    (void)state;
    candidate();
    CHECK("nobody before us", HA_ACQUIRE);
    s.c.initialize = (struct text_key){0};
    CHECK("a store that knows no cluster: its leader will say which it is", HA_ACQUIRE);
    candidate();
    s.v.was_frozen = true;
    CHECK("frozen", HA_READ_STORE);
    candidate();
    s.v.cluster_is_fresh = false;
    CHECK("stale", HA_READ_STORE);
    candidate();
    s.v.memory.leaderless_since_us = 99 * S + 2;
    CHECK("peers not asked since the leader's end", HA_ASK_PEERS);
    candidate();
    s.v.peers_answered_at_us = 100 * S - 500000;
    CHECK("what they said is old", HA_ASK_PEERS);
    candidate();
    s.v.memory.leaderless_since_us = s.v.peers_asked_at_us = 97 * S;
    CHECK("one of them was long in answering, and the store was read meanwhile", HA_ACQUIRE);
    candidate();
    s.v.memory.leaderless_since_us = 100 * S - 50000;
    CHECK("not yet settled", HA_NOTHING);
    candidate();
    s.v.policy.pause = true;
    CHECK("paused", HA_NOTHING);
    candidate();
    s.v.tags.nofailover = true;
    CHECK("nofailover", HA_NOTHING);
    candidate();
    s.v.tags.failover_priority = 0;
    CHECK("priority 0", HA_NOTHING);
    candidate();
    s.v.keeper.watchdog_unusable = true;
    CHECK("watchdog required", HA_NOTHING);
    candidate();
    s.v.keeper.gate_unusable = true;
    CHECK("port gate required", HA_NOTHING);
    candidate();
    s.v.fence_guard = true;
    CHECK("reset again and again", HA_NOTHING);
    candidate();
    s.v.config_refused = true;
    CHECK("configuration refused", HA_NOTHING);
    candidate();
    s.v.memory.no_race_until_us = 100 * S + 1;
    CHECK("backing off", HA_NOTHING);
    s.v.memory.no_race_until_us = 100 * S;
    CHECK("back again", HA_ACQUIRE);
    candidate();
    s.c.status_lsn = 1000 + 1048576;
    CHECK("lag just allowed", HA_ACQUIRE);
    s.c.status_lsn++;
    CHECK("lag one byte too much", HA_NOTHING);
    candidate();
    s.history[0] = (struct history_line){.timeline = 1};
    s.c.history = s.history;
    s.c.n_history = 1;
    s.c.history_text.exists = true;
    CHECK("older timeline, not checked", HA_ACQUIRE);
    s.v.policy.check_timeline = true;
    CHECK("older timeline", HA_NOTHING);
    s.v.pg.timeline = 2;
    CHECK("same timeline", HA_ACQUIRE);
}

static void test_race_is_left_to_a_better_peer(void **state)
{
    (void)state;
    candidate();
    s.peers[0].lsn = 1001;
    CHECK("one byte ahead", HA_NOTHING);
    s.peers[0].nofailover = true;
    CHECK("ahead, but nofailover", HA_ACQUIRE);
    s.peers[0].nofailover = false;
    s.peers[0].watchdog_failed = true;
    CHECK("ahead, but without watchdog", HA_ACQUIRE);
    s.peers[0].answered = false;
    CHECK("not reachable", HA_ACQUIRE);
    candidate();
    s.peers[0].failover_priority = 2;
    CHECK("same position, higher priority", HA_NOTHING);
    s.peers[0].lsn = 999;
    CHECK("higher priority, but behind", HA_ACQUIRE);
    candidate();
    s.peers[0].is_primary = true;
    s.peers[0].nofailover = true;
    CHECK("a primary that is alive", HA_NOTHING);
    s.c.n_members = 2;
    CHECK("although the store does not know it", HA_NOTHING);
    candidate();
    s.c.n_members = 2;
    s.v.memory.leader_seen = true;
    s.peers[0].lsn = 2000;
    CHECK("more, but it is cut off from the store, and cannot take the key", HA_ACQUIRE);
    candidate();
    (void)snprintf(s.peers[0].name, sizeof(s.peers[0].name), "n1");
    s.peers[0].lsn = 2000;
    CHECK("an answer of our own name", HA_ACQUIRE);
    candidate();
    s.v.pg.replay_lsn = 1002;
    s.peers[0].lsn = 1001;
    CHECK("what was replayed counts too", HA_ACQUIRE);
}

static void test_race_waits_for_a_peer_that_is_starting(void **state)
{
    (void)state;
    candidate();
    s.peers[0].lsn = 0;
    s.peers[0].is_starting = true;
    s.v.memory.leaderless_since_us = s.v.now_us - 4999 * S / 1000;
    CHECK("starting", HA_NOTHING);
    s.v.memory.leaderless_since_us = s.v.now_us - 5 * S;
    CHECK("it has had its time", HA_ACQUIRE);
    s.v.policy.ttl_us = 5 * S;
    s.v.memory.leaderless_since_us = s.v.now_us - 2499 * S / 1000;
    CHECK("half a short ttl", HA_NOTHING);
    s.v.memory.leaderless_since_us = s.v.now_us - 2500 * S / 1000;
    CHECK("half a short ttl is over", HA_ACQUIRE);
    s.v.memory.leaderless_since_us = s.v.now_us - S;
    s.peers[0].nofailover = true;
    CHECK("starting, but would not lead", HA_ACQUIRE);
    s.peers[0].nofailover = false;
    s.peers[0].watchdog_failed = true;
    CHECK("starting, but could not lead", HA_ACQUIRE);
}

/* The disk gave no answer since 60 s, or gives errors. */
static void disk_fails(bool silent)
{
    s.v.storage = (struct storage_view){.fence = true, .failed = true, .error = "could not write: I/O error"};
    s.v.storage.silent_since_us = silent ? 60 * S : 0;
}

static void test_primary_on_a_failed_disk_gives_the_key_up(void **state)
{
    (void)state;
    leader();
    disk_fails(true);
    CHECK("a silent disk", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
    says("the data disk has not answered for 40 s: giving the leader key up");
    disk_fails(false);
    s.v.storage.is_wal = true;
    CHECK("a disk with errors", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
    says("the WAL disk fails (could not write: I/O error): giving the leader key up");
    s.v.policy.pause = true;
    CHECK("paused", HA_NOTHING);
    says("but the WAL disk fails");
    s.v.policy.pause = false;
    s.v.storage.failed = false;
    CHECK("well again", HA_NOTHING);
    disk_fails(true);
    s.v.storage.fence = false;
    CHECK("mode warn", HA_NOTHING);
    says("the leader with the lock, but the data disk does not answer");
    assert_true(ha_decide(&s.v).wake_at_us == 114 * S);
    disk_fails(true);
    s.v.op = OP_START_PRIMARY;
    CHECK("crash recovery on it", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
    s.v.storage.fence = false;
    CHECK("crash recovery, mode warn", HA_NOTHING);
    elected();
    disk_fails(true);
    CHECK("elected meanwhile", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
    crashed();
    disk_fails(false);
    CHECK("it died of it", HA_DEMOTE, .release = 1, .urgency = HA_SWIFT);
    s.v.storage.fence = false;
    CHECK("it died, mode warn", HA_START_PRIMARY);
}

static void test_node_with_a_failed_disk_does_not_compete(void **state)
{
    (void)state;
    candidate();
    disk_fails(true);
    CHECK("a candidate", HA_NOTHING);
    says("no leader; the data disk does not answer");
    s.v.storage.fence = false;
    CHECK("a candidate, mode warn", HA_ACQUIRE);
    standby();
    disk_fails(true);
    CHECK("a standby goes on following", HA_NOTHING);
    says("following a leader (n2), but the data disk does not answer");
    s.v.op = OP_FOLLOW;
    CHECK("what does not lead is left alone", HA_NOTHING);
    says("changing the upstream");
    virgin();
    set_leader(NULL, 0);
    CHECK("an empty node", HA_BOOTSTRAP);
    disk_fails(false);
    CHECK("an empty node on such a disk", HA_NOTHING);
}

static void test_intervals_follow_the_ttl(void **state)
{
    struct policy p = POLICY_DEFAULT;

    (void)state;
    assert_true(ha_renew_interval_us(&p) == 5 * S);
    assert_true(ha_swift_stop_budget_us(&p) == 3 * S);
    p.ttl_us = 60 * S;
    assert_true(ha_swift_stop_budget_us(&p) == 3 * S);
    p.ttl_us = 5 * S;
    assert_true(ha_swift_stop_budget_us(&p) == S / 2);
    p.ttl_us = 2 * S;
    assert_true(ha_swift_stop_budget_us(&p) == 3 * S / 10);
    p.loop_wait_us = S / 10;
    assert_true(ha_renew_interval_us(&p) == S / 10);
    /* 2 x 500 ppm of 30 s */
    assert_true(ha_lease_deadline_us(10 * S, 30 * S) == 40 * S - 30000);
}

static void test_every_operation_has_a_name(void **state)
{
    (void)state;
    for (int i = OP_NONE; i <= OP_RESTART; i++)
        assert_true(ha_op_text((enum op_kind)i)[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leader_with_a_valid_lease_does_nothing_until_the_demotion_point),
        cmocka_unit_test(test_primary_without_what_it_needs_is_demoted),
        cmocka_unit_test(test_adopted_primary_of_an_interrupted_bootstrap_is_given_up),
        cmocka_unit_test(test_without_keeper_a_primary_waits_for_a_successor_until_the_demotion_point),
        cmocka_unit_test(test_operation_in_flight_is_left_alone_while_the_lease_holds),
        cmocka_unit_test(test_stopping_ends_what_is_in_flight),
        cmocka_unit_test(test_stopping_hands_over_then_proves_then_releases_then_exits),
        cmocka_unit_test(test_crashed_leader_is_started_again_or_hands_over),
        cmocka_unit_test(test_stopped_node_comes_back_as_a_standby),
        cmocka_unit_test(test_diverged_node_is_rewound_set_aside_or_started_as_it_is),
        cmocka_unit_test(test_node_that_somebody_else_ran_as_a_primary_on_our_timeline_is_never_started),
        cmocka_unit_test(test_what_somebody_else_ran_as_a_primary_is_copied_anew_where_that_is_allowed),
        cmocka_unit_test(test_running_server_is_not_judged_by_its_control_file),
        cmocka_unit_test(test_empty_node_bootstraps_copies_or_waits),
        cmocka_unit_test(test_data_directory_that_cannot_be_used_is_left_alone),
        cmocka_unit_test(test_standby_follows_its_leader),
        cmocka_unit_test(test_heartbeats_are_the_sentences_of_the_reference),
        cmocka_unit_test(test_standby_whose_wal_needs_more_is_restarted),
        cmocka_unit_test(test_standby_that_does_not_stream_is_compared_with_the_leader),
        cmocka_unit_test(test_standby_that_lacks_logical_slots_copies_them),
        cmocka_unit_test(test_elected_node_promotes_only_on_a_fresh_view_of_its_own_key),
        cmocka_unit_test(test_race_is_entered_only_by_those_who_may),
        cmocka_unit_test(test_race_is_left_to_a_better_peer),
        cmocka_unit_test(test_race_waits_for_a_peer_that_is_starting),
        cmocka_unit_test(test_primary_on_a_failed_disk_gives_the_key_up),
        cmocka_unit_test(test_node_with_a_failed_disk_does_not_compete),
        cmocka_unit_test(test_intervals_follow_the_ttl),
        cmocka_unit_test(test_every_operation_has_a_name),
    };

    return cmocka_run_group_tests_name("ha", tests, NULL, NULL);
}
