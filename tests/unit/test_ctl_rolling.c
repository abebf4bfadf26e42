/* rolling-restart: the order, what is refused, and how it goes on or stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/rolling_plan.h"
#include "ctl_lab.h"

/* --- the plan -------------------------------------------------------------------------------------------------------
 */

/* "b" leads a, b, c, d; what a row says is changed in it. */
struct situation {
    bool headless, paused, pending_switchover, c_stopped, c_behind, a_nofailover, c_nofailover, d_nofailover,
        synchronous;
    int d_priority; /* 0 = 1 */
    const char *ahead, *waits_for_restart;
};

static const struct {
    const char *name;
    struct situation situation;
    const char *names, *candidate;
    bool pending, in_place;
    const char *want; /* "c d a b>c": restart, and b hands over to c; or part of the message */
    bool refused;
} rows[] = {
    {"candidate first, then by name, leader last", {.ahead = "c"}, "", NULL, false, false, "c a d b>c", false},
    {"equal: the first by name", {0}, "", NULL, false, false, "a c d b>a", false},
    {"named candidate", {.ahead = "c"}, "", "d", false, false, "d a c b>d", false},
    {"priority before position", {.ahead = "c", .d_priority = 2}, "", NULL, false, false, "d a c b>d", false},
    {"synchronous before priority", {.synchronous = true, .d_priority = 2}, "", NULL, false, false, "c a d b>c", false},
    {"who may not lead is no candidate",
     {.ahead = "c", .c_nofailover = true},
     "",
     NULL,
     false,
     false,
     "a c d b>a",
     false},
    {"in place", {.ahead = "c"}, "", NULL, false, true, "a c d b", false},
    {"in place while paused", {.paused = true}, "", NULL, false, true, "a c d b", false},
    {"named members only", {.ahead = "c"}, "d a", NULL, false, false, "a d", false},
    {"only the leader", {.ahead = "c"}, "b", NULL, false, false, "b>c", false},
    {"only the pending", {.waits_for_restart = "d"}, "", NULL, true, false, "d", false},
    {"the leader pending", {.waits_for_restart = "b"}, "", NULL, true, false, "b>a", false},
    {"nobody pending", {0}, "", NULL, true, false, "", false},
    {"no leader", {.headless = true}, "", NULL, false, false, "no leader", true},
    {"paused", {.paused = true}, "", NULL, false, false, "paused", true},
    {"a switchover is pending", {.pending_switchover = true}, "", NULL, false, false, "pending", true},
    {"a member is down", {.c_stopped = true}, "", NULL, false, false, "member c is \"stopped\"", true},
    {"a member is down that is not named", {.c_stopped = true}, "a", NULL, false, false, "member c", true},
    {"nobody may take over",
     {.a_nofailover = true, .c_nofailover = true, .d_nofailover = true},
     "",
     NULL,
     false,
     false,
     "no member can take over from b; --in-place",
     true},
    {"nobody may take over, nor needs to",
     {.a_nofailover = true, .c_nofailover = true, .d_nofailover = true},
     "a",
     NULL,
     false,
     false,
     "a",
     false},
    {"named candidate may not", {.d_nofailover = true}, "", "d", false, false, "\"d\" cannot take over", true},
    {"named candidate leads", {0}, "", "b", false, false, "\"b\" cannot take over", true},
    {"named candidate unknown", {0}, "", "x", false, false, "\"x\" cannot take over", true},
    {"named member unknown", {0}, "x", NULL, false, false, "x is not a member of cluster", true},
};

static void add_member(struct cluster *c, const char *name, const struct situation *s)
{
    struct member *m = &c->members[c->n_members++];

    (void)text_copy(m->name, sizeof(m->name), name);
    m->tags = TAGS_DEFAULT;
    m->state = *name == 'c' && s->c_stopped ? PG_STATE_STOPPED : PG_STATE_RUNNING;
    m->timeline = *name == 'c' && s->c_behind ? 4 : 5;
    m->replay_lsn = s->ahead && *s->ahead == *name ? 2000 : 1000;
    m->pending_restart = s->waits_for_restart && *s->waits_for_restart == *name;
    m->tags.nofailover =
        (*name == 'a' && s->a_nofailover) || (*name == 'c' && s->c_nofailover) || (*name == 'd' && s->d_nofailover);
    if (*name == 'd' && s->d_priority)
        m->tags.failover_priority = s->d_priority;
}

static struct ctl_view make_view(const struct situation *s)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    struct ctl_view v = {.cluster = cluster_new(), .paused = s->paused};
    struct cluster *c = v.cluster;

    assert_non_null(c);
    c->members = calloc(ARRAY_LEN(names), sizeof(*c->members));
    assert_non_null(c->members);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        add_member(c, names[i], s);
    c->leader.exists = !s->headless;
    (void)text_copy(c->leader.name, sizeof(c->leader.name), s->headless ? "" : "b");
    c->failover.exists = s->pending_switchover;
    if (s->synchronous) {
        v.sync_mode = SYNC_MODE_PRIORITY;
        c->sync.exists = true;
        c->sync.standbys = strdup("c");
    }
    return v;
}

static void describe(const struct rolling_plan *plan, char *buf, size_t size)
{
    buf[0] = '\0';
    for (size_t i = 0; i < plan->n; i++) {
        const struct rolling_step *s = &plan->steps[i];
        size_t len = strlen(buf);

        (void)text_print(buf + len, size - len, "%s%s%s%s", i ? " " : "", s->member->name,
                         s->kind == ROLLING_SWITCHOVER ? ">" : "",
                         s->kind == ROLLING_SWITCHOVER ? s->candidate->name : "");
    }
}

static void test_rolling_plan_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ctl_view v = make_view(&rows[i].situation);
        char first[2] = {rows[i].names[0], '\0'};
        char second[2] = {strlen(rows[i].names) > 2 ? rows[i].names[2] : '\0', '\0'};
        char *names[] = {*first ? first : NULL, *second ? second : NULL, NULL};
        struct rolling_wish w = {names, rows[i].candidate, rows[i].pending, rows[i].in_place};
        struct rolling_plan plan = {.n = 0};
        struct err err = {0};
        char got[sizeof(err.msg)];
        int r = rolling_plan_make(&v, &w, &plan, &err);

        describe(&plan, got, sizeof(got));
        if (rows[i].refused ? r >= 0 || !strstr(err.msg, rows[i].want) : r < 0 || strcmp(got, rows[i].want) != 0)
            fail_msg("%s: got %d, \"%s\", \"%s\"", rows[i].name, r, got, err.msg);
        ctl_view_done(&v);
    }
}

/* What must be there before c takes over from b, and each in its absence. */
static void test_candidate_is_ready_when_nothing_is_missing(void **state)
{
    const struct situation synchronous = {.synchronous = true};
    struct ctl_view v = make_view(&synchronous);
    struct member *b = &v.cluster->members[1], *c = &v.cluster->members[2];

    (void)state;
    assert_null(rolling_not_yet(&v, c));
    assert_non_null(rolling_not_yet(&v, &v.cluster->members[3])); /* not synchronous */
    c->timeline = 4;
    assert_non_null(strstr(rolling_not_yet(&v, c), "timeline"));
    c->timeline = 0; /* older versions do not tell */
    assert_null(rolling_not_yet(&v, c));
    c->state = PG_STATE_STARTING;
    assert_non_null(strstr(rolling_not_yet(&v, c), "does not run"));
    c->state = PG_STATE_RUNNING;
    b->checkpoint_pending = true;
    assert_non_null(strstr(rolling_not_yet(&v, c), "checkpoint"));
    v.cluster->leader.exists = false;
    assert_non_null(rolling_not_yet(&v, c));
    ctl_view_done(&v);
}

/* --- carrying it out ------------------------------------------------------------------------------------------------
 */

#define MEMBER                                                                                                         \
    "{\"conn_url\":\"postgres://10.0.0.1:5432/postgres\",\"api_url\":\"@/patroni\",\"state\":\"running\","             \
    "\"role\":\"replica\",\"version\":\"4.1.4\",\"replay_lsn\":1000,\"timeline\":1}"
#define LEADER_STATUS(more)                                                                                            \
    {                                                                                                                  \
        .path = "/patroni",                                                                                            \
        .body = "{\"state\":\"running\",\"postmaster_start_time\":\"A\",\"xlog\":{\"location\":5000000,"               \
                "\"replayed_location\":4999000}" more "}",                                                             \
        .times = 1                                                                                                     \
    }
/* All members have one REST server: what it says has to do for both sides of a question. */
#define STREAMING LEADER_STATUS(",\"replication_state\":\"streaming\",\"timeline\":1")

static const struct ctl_lab_key cluster[] = {{"config", "{\"maximum_lag_on_failover\":1048576}", 0},
                                             {"leader", "node1", 0},
                                             {"members/node1", MEMBER, 0},
                                             {"members/node2", MEMBER, 0},
                                             {"members/node3", MEMBER, 0}};
static struct ctl_lab lab;

#define OPEN(rest) ctl_lab_open(&lab, NULL, rest, ARRAY_LEN(rest), cluster, ARRAY_LEN(cluster))

static int close_lab(void **state)
{
    (void)state;
    ctl_lab_close(&lab);
    return 0;
}

static void test_dry_run_shows_the_plan_and_does_nothing(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/restart", .body = ""}};

    (void)state;
    OPEN(rest);
    ctl_lab_run(&lab, cmd_rolling_restart, "rolling-restart demo --dry-run", "");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "Plan: restart 3 members of cluster demo, one after the other\n"
                   "  1. node2 (replica): restart\n"
                   "  2. node3 (replica): restart\n"
                   "  3. node1 (leader): switchover to node2, which restarts node1\n");
    ctl_lab_expect(&lab, EXIT_DONE, "within 1048576 bytes.\n");
    ctl_lab_run(&lab, cmd_rolling_restart, "rolling-restart demo --max-lag 16MB", "n\n");
    ctl_lab_expect(&lab, EXIT_FAILED,
                   "within 16777216 bytes.\n"
                   "Are you sure you want to restart 3 members of cluster demo? [y/N]: ");
    ctl_lab_expect(&lab, EXIT_FAILED, "Aborted rolling restart");
    assert_int_equal(canned_server_count(lab.rest, "/restart"), 0);
}

static void test_replica_is_waited_for_until_it_streams_and_has_replayed(void **state)
{
    static const struct canned_rule rest[] = {
        {.path = "/restart", .body = "restarted successfully"},
        {.path = "/patroni", .body = "{\"state\":\"starting\"}", .times = 1},
        /* member, then leader */
        LEADER_STATUS(""),
        LEADER_STATUS(",\"replication\":[{\"application_name\":\"node3\",\"state\":\"streaming\"}]"),
        LEADER_STATUS(",\"replication_state\":\"in archive recovery\""),
        LEADER_STATUS(",\"replication\":[{\"application_name\":\"node2\",\"state\":\"streaming\"}]"),
        LEADER_STATUS(",\"replication_state\":\"streaming\",\"timeline\":1"),
        LEADER_STATUS(",\"timeline\":2"),
        {.path = "/patroni",
         .body = "{\"state\":\"running\",\"replication_state\":\"streaming\",\"timeline\":1,"
                 "\"xlog\":{\"replayed_location\":1000000}}",
         .times = 1},
        STREAMING,
        LEADER_STATUS(""),
        LEADER_STATUS(",\"replication\":[{\"application_name\":\"node2\",\"state\":\"streaming\"}]"),
    };

    (void)state;
    OPEN(rest);
    ctl_lab_run(&lab, cmd_rolling_restart, "rolling-restart demo node2 --force", "");
    ctl_lab_expect(&lab, EXIT_DONE, "[1/1] node2\n");
    ctl_lab_expect(&lab, EXIT_DONE, "  node2: starting (after ");
    ctl_lab_expect(&lab, EXIT_DONE, "  node2: running, does not stream yet (after ");
    ctl_lab_expect(&lab, EXIT_DONE, "  node2: streaming timeline 1, the leader has 2 (after ");
    ctl_lab_expect(&lab, EXIT_DONE, "  node2: streaming, 3 MB behind (after ");
    ctl_lab_expect(&lab, EXIT_DONE, "  node2: streaming, 1000 bytes behind (after ");
    ctl_lab_expect(&lab, EXIT_DONE, "Success: 1 member restarted in ");
    assert_int_equal(canned_server_count(lab.rest, "/restart"), 1);
}

static void test_first_failure_stops_it_and_says_how_to_go_on(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/restart", .body = "restarted successfully", .times = 1},
                                              {.path = "/restart", .status = 503, .body = "restart failed"},
                                              STREAMING,
                                              STREAMING};

    (void)state;
    OPEN(rest);
    ctl_lab_run(&lab, cmd_rolling_restart, "rolling-restart demo --force", "");
    ctl_lab_expect(&lab, EXIT_FAILED,
                   "stopped at node3, step 2 of 3: node3 refused to restart: status code=503, "
                   "(restart failed)");
    ctl_lab_expect(&lab, EXIT_FAILED, "HINT:  The members after it were not touched.");
    ctl_lab_expect(&lab, EXIT_FAILED, "go on with\n       pgtetherctl rolling-restart demo node3 node1\n");
    assert_int_equal(canned_server_count(lab.rest, "/restart"), 2);
    assert_int_equal(canned_server_count(lab.rest, "/switchover"), 0);
}

static void test_member_that_does_not_come_back_is_waited_for_no_longer_than_said(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/restart", .body = ""},
                                              {.path = "/patroni", .body = "{\"state\":\"starting\"}"}};

    (void)state;
    OPEN(rest);
    ctl_lab_run(&lab, cmd_rolling_restart, "rolling-restart demo --force --in-place --timeout 1", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "step 1 of 3: node2 is not back after 1 s: starting");
    ctl_lab_expect(&lab, EXIT_FAILED, "pgtetherctl rolling-restart --in-place demo node2 node3 node1\n");
}

static void test_another_leader_in_between_ends_it(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/restart", .body = ""}, STREAMING};
    static const struct ctl_lab_key after[] = {{"leader", "node3", 0}, {"members/node2", MEMBER, 0}};

    (void)state;
    OPEN(rest);
    ctl_lab_then(&lab, after, ARRAY_LEN(after));
    ctl_lab_run(&lab, cmd_rolling_restart, "rolling-restart demo node2 --force", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "node3 leads now, and not node1");
}

static const struct ctl_lab_key handed_over[] = {
    {"leader", "node2", 0}, {"members/node1", MEMBER, 0}, {"members/node2", MEMBER, 0}, {"members/node3", MEMBER, 0}};

static void test_leader_hands_over_and_is_not_restarted_twice(void **state)
{
    static const struct canned_rule rest[] = {
        LEADER_STATUS(""), /* started at A */
        {.path = "/switchover", .body = "Successfully switched over to \"node2\""},
        STREAMING,
        STREAMING,
        {.path = "/patroni", .body = "{\"state\":\"running\",\"postmaster_start_time\":\"B\"}"},
        {.path = "/restart", .body = ""}};

    (void)state;
    OPEN(rest);
    ctl_lab_then(&lab, cluster, ARRAY_LEN(cluster)); /* choose() */
    ctl_lab_then(&lab, handed_over, ARRAY_LEN(handed_over));
    ctl_lab_run(&lab, cmd_rolling_restart, "rolling-restart demo node1 --force", "");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "  switchover from node1 to node2\n"
                   "  Successfully switched over to \"node2\"\n"
                   "  node1: streaming, 1000 bytes behind");
    assert_int_equal(canned_server_count(lab.rest, "/restart"), 0);
}

static void test_leader_that_handed_over_without_a_restart_gets_one(void **state)
{
    static const struct canned_rule rest[] = {LEADER_STATUS(""),
                                              {.path = "/switchover", .body = "Successfully switched over"},
                                              STREAMING,
                                              STREAMING,
                                              LEADER_STATUS(""), /* still A */
                                              {.path = "/restart", .body = ""},
                                              STREAMING,
                                              STREAMING};

    (void)state;
    OPEN(rest);
    ctl_lab_then(&lab, cluster, ARRAY_LEN(cluster));
    ctl_lab_then(&lab, handed_over, ARRAY_LEN(handed_over));
    ctl_lab_run(&lab, cmd_rolling_restart, "rolling-restart demo node1 --force", "");
    ctl_lab_expect(&lab, EXIT_DONE, "Success: 1 member restarted");
    assert_int_equal(canned_server_count(lab.rest, "/restart"), 1);
}

static void test_switchover_that_fails_stops_it(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/switchover", .status = 503, .body = "Switchover failed"}};

    (void)state;
    OPEN(rest);
    ctl_lab_run(&lab, cmd_rolling_restart, "rolling-restart demo node1 --force --candidate node3", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "switchover from node1 to node3 failed: Switchover failed");
    ctl_lab_expect(&lab, EXIT_FAILED, "pgtetherctl rolling-restart --candidate node3 demo node1\n");
}

int main(void)
{
#define WITH_LAB(t) cmocka_unit_test_teardown(t, close_lab)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rolling_plan_follows_the_table),
        cmocka_unit_test(test_candidate_is_ready_when_nothing_is_missing),
        WITH_LAB(test_dry_run_shows_the_plan_and_does_nothing),
        WITH_LAB(test_replica_is_waited_for_until_it_streams_and_has_replayed),
        WITH_LAB(test_first_failure_stops_it_and_says_how_to_go_on),
        WITH_LAB(test_member_that_does_not_come_back_is_waited_for_no_longer_than_said),
        WITH_LAB(test_another_leader_in_between_ends_it),
        WITH_LAB(test_leader_hands_over_and_is_not_restarted_twice),
        WITH_LAB(test_leader_that_handed_over_without_a_restart_gets_one),
        WITH_LAB(test_switchover_that_fails_stops_it),
    };

    return cmocka_run_group_tests_name("ctl rolling", tests, NULL, NULL);
}
