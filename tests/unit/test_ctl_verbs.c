/* The commands that change a cluster: what they ask, send and say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/rest.h"
#include "ctl_lab.h"

#define MEMBER(url, more)                                                                                              \
    "{\"conn_url\":\"postgres://10.0.0.1:5432/postgres\",\"api_url\":\"" url                                           \
    "/patroni\",\"state\":\"running\",\"role\":\"replica\",\"version\":\"4.1.4\",\"xlog_location\":1000,"              \
    "\"replay_lsn\":1000,\"timeline\":1" more "}"
#define DEAD "http://127.0.0.1:1"
#define CONFIG                                                                                                         \
    {                                                                                                                  \
        "config", "{\"ttl\":30,\"loop_wait\":7}", 3                                                                    \
    }
#define LEADER                                                                                                         \
    {                                                                                                                  \
        "leader", "node1", 4                                                                                           \
    }

/* node1 leads; node4 must not lead, and has a restart scheduled. */
static const struct ctl_lab_key cluster[] = {
    CONFIG,
    LEADER,
    {"members/node1", MEMBER("@", ",\"pending_restart\":true"), 0},
    {"members/node2", MEMBER("@", ""), 0},
    {"members/node3", MEMBER("@", ""), 0},
    {"members/node4",
     MEMBER("@", ",\"tags\":{\"nofailover\":true},\"scheduled_restart\":{\"schedule\":\"2030-01-01T00:00:00+00:00\"}"),
     0},
};

static struct ctl_lab lab;

#define OPEN(rest, keys) ctl_lab_open(&lab, NULL, rest, ARRAY_LEN(rest), keys, ARRAY_LEN(keys))

static int close_lab(void **state)
{
    (void)state;
    ctl_lab_close(&lab);
    return 0;
}

static void expect_sent(const char *path, const char *text)
{
    if (!strstr(canned_server_last(lab.rest, path), text))
        fail_msg("\"%s\" was not sent to %s: %s", text, path, canned_server_last(lab.rest, path));
}

/* --- switchover and failover ----------------------------------------------------------------------------------------
 */

static const struct canned_rule done[] = {{.path = "/switchover", .body = "Successfully switched over to \"node2\""},
                                          {.path = "/failover", .body = "Successfully failed over to \"node2\""}};

static void test_switchover_asks_what_patronictl_asks(void **state)
{
    (void)state;
    OPEN(done, cluster);
    ctl_lab_run(&lab, cmd_switchover, "switchover demo", "\nnode2\n\ny\n");
    ctl_lab_expect(&lab, EXIT_DONE, "Current cluster topology\n");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "Primary [node1]: Candidate ['node2', 'node3'] []: When should the switchover "
                   "take place (e.g. ");
    ctl_lab_expect(
        &lab, EXIT_DONE,
        " )  [now]: Are you sure you want to switchover cluster demo, demoting current leader node1? [y/N]: ");
    ctl_lab_expect(&lab, EXIT_DONE, " Successfully switched over to \"node2\"\n");
    expect_sent("/switchover", "POST /switchover HTTP/1.1\r\n");
    expect_sent("/switchover", "{\"candidate\":\"node2\",\"leader\":\"node1\"}");
    /* admin:rest */
    expect_sent("/switchover", "Authorization: Basic YWRtaW46cmVzdA==");
}

static void test_switchover_with_force_asks_nothing(void **state)
{
    (void)state;
    OPEN(done, cluster);
    ctl_lab_run(&lab, cmd_switchover, "switchover --force", "");
    ctl_lab_expect(&lab, EXIT_DONE, "Successfully");
    expect_sent("/switchover", "{\"candidate\":null,\"leader\":\"node1\"}");
    ctl_lab_run(&lab, cmd_switchover, "switchover --force --scheduled 2030-05-01T12:00Z --candidate node3", "");
    expect_sent("/switchover",
                "{\"candidate\":\"node3\",\"leader\":\"node1\",\"scheduled_at\":\"2030-05-01T12:00:00+00:00\"}");
}

static void test_switchover_that_cannot_be_is_refused_before_anything_is_sent(void **state)
{
    static const struct {
        const char *line, *answers, *want;
    } rows[] = {
        {"switchover", "", "Aborted!"},
        {"switchover", "node2\n", "Member node2 is not the leader of cluster demo"},
        {"switchover --leader node3 --force", "", "Member node3 is not the leader of cluster demo"},
        {"switchover --candidate node1", "\n", "Member node1 is already the leader of cluster demo"},
        {"switchover --candidate node4 --force", "",
         "Member node4 does not exist in cluster demo or is tagged as nofailover"},
        {"switchover --candidate node9 --force", "",
         "Member node9 does not exist in cluster demo or is tagged as nofailover"},
        {"switchover --force --scheduled soon", "",
         "Unable to parse scheduled timestamp (soon). It should be in an unambiguous format (e.g. ISO 8601)"},
        {"switchover", "\n\n\nn\n", "Aborting switchover"},
        {"switchover", "\n\n\n\n", "Aborting switchover"},
        {"switchover --scheduled 2030-05-01T12:00Z", "\n\nn\n", "Aborting scheduled switchover"},
        {"failover --force", "", "Failover could be performed only to a specific candidate"},
        {"failover", "\n", "Failover could be performed only to a specific candidate"},
        {"failover --candidate node2", "n\n", "Aborting failover"},
    };

    (void)state;
    OPEN(done, cluster);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ctl_lab_run(&lab, rows[i].line[0] == 'f' ? cmd_failover : cmd_switchover, rows[i].line, rows[i].answers);
        ctl_lab_expect(&lab, EXIT_FAILED, rows[i].want);
    }
    assert_int_equal(canned_server_count(lab.rest, "/switchover") + canned_server_count(lab.rest, "/failover"), 0);
}

static void test_switchover_that_the_agent_refuses_ends_as_the_references_does(void **state)
{
    static const struct canned_rule refused[] = {
        {.path = "/switchover", .status = 412, .body = "leader name does not match", .times = 1},
        {.path = "/switchover", .status = 503, .body = "Switchover status unknown after 20 seconds"}};

    (void)state;
    OPEN(refused, cluster);
    ctl_lab_run(&lab, cmd_switchover, "switchover --force", "");
    ctl_lab_expect(&lab, EXIT_DONE, "Switchover failed, details: 412, leader name does not match\n");
    ctl_lab_run(&lab, cmd_switchover, "switchover --force", "");
    ctl_lab_expect(&lab, EXIT_DONE, "Switchover result unknown, details: 503, Switchover status unknown");
}

static void test_switchover_of_an_agent_that_knows_only_failover_uses_that(void **state)
{
    static const struct canned_rule old[] = {
        {.path = "/switchover", .status = 501, .body = "Server does not support this operation"},
        {.path = "/failover", .body = "Successfully failed over to \"node2\""}};

    (void)state;
    OPEN(old, cluster);
    ctl_lab_run(&lab, cmd_switchover, "switchover --force --candidate node2", "");
    ctl_lab_expect(&lab, EXIT_DONE, "Successfully");
    expect_sent("/failover", "{\"candidate\":\"node2\",\"leader\":\"node1\"}");
}

static void test_failover_without_a_leader_goes_to_the_candidate(void **state)
{
    static const struct ctl_lab_key headless[] = {
        CONFIG, {"members/node2", MEMBER("@", ""), 0}, {"members/node3", MEMBER(DEAD, ""), 0}};

    (void)state;
    OPEN(done, headless);
    ctl_lab_run(&lab, cmd_switchover, "switchover --force", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "This cluster has no leader");
    ctl_lab_run(&lab, cmd_failover, "failover --candidate node2", "y\n");
    ctl_lab_expect(&lab, EXIT_DONE, "Are you sure you want to failover cluster demo? [y/N]: ");
    ctl_lab_expect(&lab, EXIT_DONE, "Successfully failed over");
    expect_sent("/failover", "{\"candidate\":\"node2\"}");
}

static void test_failover_to_an_asynchronous_node_is_asked_about(void **state)
{
    static const struct ctl_lab_key synchronous[] = {{"config", "{\"synchronous_mode\":true}", 3},
                                                     {"sync", "{\"leader\":\"node1\",\"sync_standby\":\"node3\"}", 0},
                                                     LEADER,
                                                     {"members/node1", MEMBER("@", ""), 0},
                                                     {"members/node2", MEMBER("@", ""), 0},
                                                     {"members/node3", MEMBER("@", ""), 0}};

    (void)state;
    OPEN(done, synchronous);
    ctl_lab_run(&lab, cmd_failover, "failover --candidate node2", "n\n");
    ctl_lab_expect(&lab, EXIT_FAILED, "Are you sure you want to failover to the asynchronous node node2? [y/N]: ");
    ctl_lab_run(&lab, cmd_failover, "failover --candidate node3", "n\n");
    ctl_lab_expect(&lab, EXIT_FAILED, "Aborting failover");
    assert_null(strstr(lab.out, "asynchronous"));
}

static void test_scheduling_while_paused_is_refused(void **state)
{
    static const struct ctl_lab_key paused[] = {{"config", "{\"pause\":true}", 3},
                                                LEADER,
                                                {"members/node1", MEMBER("@", ""), 0},
                                                {"members/node2", MEMBER("@", ""), 0}};

    (void)state;
    OPEN(done, paused);
    ctl_lab_run(&lab, cmd_switchover, "switchover --force --scheduled 2030-05-01T12:00Z", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "Can't schedule switchover in the paused state");
    ctl_lab_run(&lab, cmd_restart, "restart demo --force --scheduled 2030-05-01T12:00Z", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "Can't schedule restart in the paused state");
    ctl_lab_run(&lab, cmd_rolling_restart, "rolling-restart demo --force", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "the cluster is paused");
    ctl_lab_run(&lab, cmd_pause, "pause", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "Cluster is already paused");
}

/* --- the way through the store --------------------------------------------------------------------------------------
 */

static const struct ctl_lab_key agent_gone[] = {CONFIG,
                                                LEADER,
                                                {"failover", "{}", 41},
                                                {"members/node1", MEMBER(DEAD, ""), 0},
                                                {"members/node2", MEMBER(DEAD, ""), 0}};

static void test_switchover_without_rest_is_written_into_the_store_with_a_compare(void **state)
{
    static const struct ctl_lab_key after[] = {{"leader", "node2", 50}, {"failover", "{}", 51}};

    (void)state;
    OPEN(done, agent_gone);
    ctl_lab_then(&lab, after, ARRAY_LEN(after));
    ctl_lab_run(&lab, cmd_switchover, "switchover --force", "");
    ctl_lab_expect(&lab, EXIT_DONE, "could not reach node1's REST API: ");
    ctl_lab_expect(&lab, EXIT_DONE, "; is the agent running?");
    ctl_lab_expect(&lab, EXIT_DONE, " Could not switchover using REST API, falling back to the store\n");
    ctl_lab_expect(&lab, EXIT_DONE, " Successfully switched over to \"node2\"\n");
    assert_non_null(strstr(canned_server_last(lab.store, "/kv/txn"), "\"mod_revision\":\"41\""));
    /* {"leader":"node1"} */
    assert_non_null(strstr(canned_server_last(lab.store, "/kv/txn"), "eyJsZWFkZXIiOiJub2RlMSJ9"));
}

static void test_switchover_whose_key_was_changed_by_somebody_else_is_not_repeated(void **state)
{
    static const struct ctl_lab_key other[] = {LEADER,
                                               {"failover", "{\"leader\":\"node1\",\"member\":\"node3\"}", 42},
                                               {"members/node1", MEMBER(DEAD, ""), 0}};

    (void)state;
    OPEN(done, agent_gone);
    ctl_lab_then(&lab, other, ARRAY_LEN(other));
    ctl_lab_refuse_writes(&lab);
    ctl_lab_run(&lab, cmd_switchover, "switchover --force --candidate node2", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "another request has come first: from \"node1\" to \"node3\"");
}

static void test_switchover_that_the_leader_gives_up_is_told(void **state)
{
    static const struct ctl_lab_key given_up[] = {
        LEADER, {"failover", "{}", 43}, {"members/node1", MEMBER(DEAD, ""), 0}};

    (void)state;
    OPEN(done, agent_gone);
    ctl_lab_then(&lab, given_up, ARRAY_LEN(given_up));
    ctl_lab_run(&lab, cmd_switchover, "switchover --force --candidate node2", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "node1 gave the request up");
}

static void test_scheduled_switchover_without_rest_is_not_waited_for(void **state)
{
    (void)state;
    OPEN(done, agent_gone);
    ctl_lab_run(&lab, cmd_switchover, "switchover --force --scheduled 2030-05-01T12:00Z", "");
    ctl_lab_expect(&lab, EXIT_DONE, " Switchover scheduled\n");
}

/* --- restart, reload, reinit, flush ---------------------------------------------------------------------------------
 */

static void test_restart_asks_and_reports_each_member(void **state)
{
    static const struct canned_rule rest[] = {
        {.path = "/restart", .body = "restarted successfully", .times = 1},
        {.path = "/restart", .status = 202, .body = "Restart scheduled", .times = 1},
        {.path = "/restart", .status = 409, .body = "Another restart is already scheduled", .times = 1},
        {.path = "/restart", .status = 503, .body = "restart failed"}};

    (void)state;
    OPEN(rest, cluster);
    ctl_lab_run(&lab, cmd_restart, "restart demo", "\ny\n\n");
    ctl_lab_expect(&lab, EXIT_DONE, "When should the restart take place (e.g. ");
    ctl_lab_expect(&lab, EXIT_DONE,
                   ")  [now]: Are you sure you want to restart members node1, node2, node3, node4? [y/N]: "
                   "Restart if the PostgreSQL version is less than provided (e.g. 9.5.2)  []: ");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "Success: restart on member node1\n"
                   "Success: restart scheduled on member node2\n"
                   "Failed: another restart is already scheduled on member node3\n"
                   "Failed: restart for member node4, status code=503, (restart failed)\n");
    expect_sent("/restart", "\r\n\r\n{}");
}

static void test_restart_sends_its_filters(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/restart", .body = ""}};

    (void)state;
    OPEN(rest, cluster);
    ctl_lab_run(
        &lab, cmd_restart,
        "restart demo --force --pending --pg-version 15.3 --timeout 1min --scheduled 2030-05-01T12:00+02:00 node4", "");
    expect_sent("/restart", "{\"restart_pending\":true,\"postgres_version\":\"15.3\",\"schedule\":"
                            "\"2030-05-01T12:00:00+02:00\",\"timeout\":\"1min\"}");
    /* The restart that was scheduled before is taken back first. */
    assert_int_equal(canned_server_count(lab.rest, "/restart"), 2);
}

static void test_restart_of_the_pending_leaves_the_others_alone(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/restart", .body = ""}};

    (void)state;
    OPEN(rest, cluster);
    ctl_lab_run(&lab, cmd_restart, "restart demo --force --pending", "");
    ctl_lab_expect(&lab, EXIT_DONE, "Success: restart on member node1\n");
    assert_int_equal(canned_server_count(lab.rest, "/restart"), 1);
    ctl_lab_run(&lab, cmd_restart, "restart demo --force --pending -r replica", "");
    ctl_lab_expect(&lab, EXIT_DONE, "No member waits for a restart\n");
    ctl_lab_run(&lab, cmd_restart, "restart demo --force --any", "");
    assert_int_equal(canned_server_count(lab.rest, "/restart"), 2);
}

static void test_restart_of_the_wrong_is_refused(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/restart", .body = ""}};
    static const struct {
        const char *line, *answers, *want;
        int exit_code;
    } rows[] = {
        {"restart", "", "the name of the cluster is missing", EXIT_USAGE},
        {"restart demo node9", "", "node9 is not a member of cluster", EXIT_FAILED},
        {"restart demo -r leader node2", "", "No leader among provided members", EXIT_FAILED},
        {"restart demo -r boss", "", "there is no role \"boss\"", EXIT_USAGE},
        {"restart demo --force --pg-version 15", "", "X.Y or X.Y.Z is accepted: 15", EXIT_FAILED},
        {"restart demo --force --pg-version 9.6", "", "X.Y or X.Y.Z is accepted: 9.6", EXIT_FAILED},
        {"restart demo --force --pg-version 15.x", "", "Invalid PostgreSQL version: 15.x", EXIT_FAILED},
        {"restart demo node2", "\nn\n", "Aborted restart", EXIT_FAILED},
        {"restart demo node2", "2030-01-01T00:00Z\nn\n", "Aborted scheduled restart", EXIT_FAILED},
        {"restart demo node2", "\ny\n", "Aborted!", EXIT_FAILED},
    };

    (void)state;
    OPEN(rest, cluster);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ctl_lab_run(&lab, cmd_restart, rows[i].line, rows[i].answers);
        ctl_lab_expect(&lab, rows[i].exit_code, rows[i].want);
    }
    assert_int_equal(canned_server_count(lab.rest, "/restart"), 0);
}

static void test_member_without_agent_is_told_and_the_others_are_done(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/reload", .status = 202, .body = "reload scheduled"}};
    static const struct ctl_lab_key one_dead[] = {
        CONFIG, LEADER, {"members/node1", MEMBER(DEAD, ""), 0}, {"members/node2", MEMBER("@", ""), 0}};

    (void)state;
    OPEN(rest, one_dead);
    ctl_lab_run(&lab, cmd_reload, "reload demo --force", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "reload for member node1: could not reach node1's REST API: ");
    ctl_lab_expect(&lab, EXIT_FAILED,
                   "Reload request received for member node2 and will be processed within 7 seconds\n");
}

static void test_reinit_asks_for_a_replica_and_insists_when_told_to(void **state)
{
    static const struct canned_rule rest[] = {
        {.path = "/reinitialize", .status = 503, .body = "restart already in progress", .times = 1},
        {.path = "/reinitialize", .body = "reinitialize started"}};

    (void)state;
    OPEN(rest, cluster);
    ctl_lab_run(&lab, cmd_reinit, "reinit demo --from-leader", "node3\ny\ny\n");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "Which member do you want to reinitialize [node2, node3, node4]? []: "
                   "Are you sure you want to reinitialize members node3? [y/N]: ");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "Failed: reinitialize for member node3, status code=503, (restart already in progress)\n"
                   "Do you want to cancel it and reinitialize anyway? [y/N]: Success: reinitialize for member node3\n");
    expect_sent("/reinitialize", "{\"force\":true,\"from_leader\":true}");
    ctl_lab_run(&lab, cmd_reinit, "reinit demo", "node1\n");
    ctl_lab_expect(&lab, EXIT_FAILED, "node1 is not a member of cluster");
    ctl_lab_run(&lab, cmd_reinit, "reinit demo --force", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "name the members to reinitialize");
}

static void test_reinit_when_told_to_wait_does_until_the_copy_is_there(void **state)
{
    static const struct canned_rule rest[] = {
        {.path = "/reinitialize", .body = "reinitialize started"},
        {.path = "/patroni", .body = "{\"state\":\"creating replica\"}", .times = 1},
        {.path = "/patroni", .body = "{\"state\":\"running\"}", .times = 1},
        {.path = "/patroni", .body = "{\"state\":\"start failed\"}"}};

    (void)state;
    OPEN(rest, cluster);
    ctl_lab_run(&lab, cmd_reinit, "reinit demo node2 --force --wait", "");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "Waiting for reinitialize to complete on: node2\n"
                   "Reinitialize is completed on: node2\n");
    ctl_lab_run(&lab, cmd_reinit, "reinit demo node2 --force --wait", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "ended with state \"start failed\"");
}

static void test_flush_takes_back_what_is_scheduled(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/restart", .body = "scheduled restart deleted"},
                                              {.path = "/switchover", .status = 503, .body = "busy", .times = 1},
                                              {.path = "/switchover", .body = "scheduled switchover deleted"}};
    static const struct ctl_lab_key scheduled[] = {
        LEADER,
        {"failover", "{\"leader\":\"node1\",\"scheduled_at\":\"2030-01-01T00:00:00+00:00\"}", 44},
        {"members/node1", MEMBER("@", ""), 0},
        {"members/node2", MEMBER("@", ""), 0}};

    (void)state;
    OPEN(rest, cluster);
    ctl_lab_run(&lab, cmd_flush, "flush demo restart --force", "");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "No scheduled restart for member node3\n"
                   "Success: flush scheduled restart for member node4\n");
    expect_sent("/restart", "DELETE /restart");
    ctl_lab_run(&lab, cmd_flush, "flush demo switchover", "");
    ctl_lab_expect(&lab, EXIT_DONE, "No pending scheduled switchover\n");
    ctl_lab_run(&lab, cmd_flush, "flush demo all", "");
    ctl_lab_expect(&lab, EXIT_USAGE, "\"all\" cannot be flushed");
    ctl_lab_close(&lab);

    OPEN(rest, scheduled);
    ctl_lab_run(&lab, cmd_flush, "flush demo switchover", "");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "Failed: member=node1, status_code=503, (busy)\n"
                   "Success: scheduled switchover deleted\n");
}

static void test_flush_without_rest_empties_the_key_it_has_seen(void **state)
{
    static const struct ctl_lab_key scheduled[] = {
        LEADER,
        {"failover", "{\"leader\":\"node1\",\"scheduled_at\":\"2030-01-01T00:00:00+00:00\"}", 44},
        {"members/node1", MEMBER(DEAD, ""), 0}};

    (void)state;
    OPEN(done, scheduled);
    ctl_lab_run(&lab, cmd_flush, "flush demo switchover", "");
    ctl_lab_expect(&lab, EXIT_DONE,
                   " Could not find any accessible member of cluster demo\n"
                   "Success: scheduled switchover deleted\n");
    assert_non_null(strstr(canned_server_last(lab.store, "/kv/txn"), "\"mod_revision\":\"44\""));
    ctl_lab_refuse_writes(&lab);
    ctl_lab_run(&lab, cmd_flush, "flush demo switchover", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "has changed meanwhile");
}

/* --- pause, remove --------------------------------------------------------------------------------------------------
 */

static void test_pause_tells_the_first_member_that_listens(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/config", .body = "{}", .times = 1},
                                              {.path = "/config", .status = 502, .body = "no", .times = 0}};
    static const struct ctl_lab_key leader_dead[] = {
        CONFIG, LEADER, {"members/node1", MEMBER(DEAD, ""), 0}, {"members/node2", MEMBER("@", ""), 0}};

    (void)state;
    OPEN(rest, leader_dead);
    ctl_lab_run(&lab, cmd_pause, "pause", "");
    ctl_lab_expect(&lab, EXIT_DONE, "Success: cluster management is paused\n");
    expect_sent("/config", "PATCH /config");
    expect_sent("/config", "{\"pause\":true}");
    ctl_lab_run(&lab, cmd_pause, "pause demo", "");
    ctl_lab_expect(&lab, EXIT_DONE, "Failed: pause cluster management status code=502, (no)\n");
    ctl_lab_run(&lab, cmd_resume, "resume", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "Cluster is not paused");
    ctl_lab_close(&lab);
    OPEN(rest, agent_gone);
    ctl_lab_run(&lab, cmd_pause, "pause", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "Can not find accessible cluster member");
}

static void test_pause_when_told_to_wait_does_until_all_have_seen_it(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/config", .body = "{}"}};
    static const struct ctl_lab_key before[] = {{"config", "{\"loop_wait\":1}", 0},
                                                LEADER,
                                                {"members/node1", MEMBER("@", ""), 0},
                                                {"members/node2", MEMBER("@", ""), 0}};
    static const struct ctl_lab_key half[] = {
        CONFIG, LEADER, {"members/node1", MEMBER("@", ",\"pause\":true"), 0}, {"members/node2", MEMBER("@", ""), 0}};
    static const struct ctl_lab_key all[] = {CONFIG,
                                             LEADER,
                                             {"members/node1", MEMBER("@", ",\"pause\":true"), 0},
                                             {"members/node2", MEMBER("@", ",\"pause\":true"), 0}};

    (void)state;
    OPEN(rest, before);
    ctl_lab_then(&lab, half, ARRAY_LEN(half));
    ctl_lab_then(&lab, all, ARRAY_LEN(all));
    ctl_lab_run(&lab, cmd_pause, "pause --wait", "");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "'pause' request sent, waiting until it is recognized by all nodes\n"
                   "Success: cluster management is paused\n");
    ctl_lab_close(&lab);
    OPEN(rest, before);
    ctl_lab_then(&lab, half, ARRAY_LEN(half));
    ctl_lab_run(&lab, cmd_pause, "pause --wait", "");
    ctl_lab_expect(&lab, EXIT_DONE, "node2 members didn't recognized pause state after 1 seconds\n");
}

static void test_remove_needs_three_right_answers(void **state)
{
    static const struct {
        const char *answers, *want;
    } rows[] = {
        {"", "Aborted!"},
        {"demos\n", "Cluster names specified do not match"},
        {"demo\nyes i am aware\n", "You did not exactly type \"Yes I am aware\""},
        {"demo\nYes I am aware\nnode2\n", "You did not specify the current leader of the cluster"},
        {"demo\nYes I am aware\n", "Aborted!"},
    };

    (void)state;
    OPEN(done, cluster);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ctl_lab_run(&lab, cmd_remove, "remove demo", rows[i].answers);
        ctl_lab_expect(&lab, EXIT_FAILED, rows[i].want);
    }
    ctl_lab_run(&lab, cmd_remove, "remove", "");
    ctl_lab_expect(&lab, EXIT_USAGE, "the name of the cluster is missing");
    assert_int_equal(canned_server_count(lab.store, "/kv/deleterange"), 0);
    ctl_lab_run(&lab, cmd_remove, "remove demo", "\ndemo\nYes I am aware\nnode1\n");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "You are about to remove all information in DCS for demo, please type: "
                   "\"Yes I am aware\": ");
    assert_int_equal(canned_server_count(lab.store, "/kv/deleterange"), 1);
    /* From /service/demo/ to /service/demo0: the subtree and nothing beside it. */
    assert_non_null(strstr(canned_server_last(lab.store, "/kv/deleterange"),
                           "{\"key\":\"L3NlcnZpY2UvZGVtby8=\",\"range_end\":\"L3NlcnZpY2UvZGVtbzA=\"}"));
}

/* --- demote-cluster and promote-cluster -----------------------------------------------------------------------------
 */

#define LEADS(role)                                                                                                    \
    {                                                                                                                  \
        "members/node1", "{\"api_url\":\"@/patroni\",\"state\":\"running\",\"role\":\"" role "\"}", 0                  \
    }

static void test_demote_cluster_waits_until_the_leader_follows(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/config", .body = "{}"}};
    static const struct ctl_lab_key before[] = {LEADER, LEADS("primary")};
    static const struct ctl_lab_key between[] = {LEADS("demoted")};
    static const struct ctl_lab_key after[] = {LEADER, LEADS("standby_leader")};

    (void)state;
    OPEN(rest, before);
    ctl_lab_then(&lab, between, ARRAY_LEN(between));
    ctl_lab_then(&lab, after, ARRAY_LEN(after));
    ctl_lab_run(&lab, cmd_demote_cluster,
                "demote-cluster --host 10.9.9.9 --port 5433 --primary-slot-name s --restore-command \"cp %f %p\"",
                "y\n");
    ctl_lab_expect(&lab, EXIT_DONE, "Are you sure you want to demote demo cluster? [y/N]: ");
    ctl_lab_expect(&lab, EXIT_DONE,
                   " cluster is unlocked: True, leader role: None, leader state: None, previous leader");
    ctl_lab_expect(&lab, EXIT_DONE, " cluster is successfully demoted\n");
    expect_sent("/config", "{\"standby_cluster\":{\"host\":\"10.9.9.9\",\"port\":5433,\"primary_slot_name\":\"s\","
                           "\"restore_command\":\"cp %f %p\"}}");
    ctl_lab_run(&lab, cmd_demote_cluster, "demote-cluster --port 1", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "Cluster is already in the required state");
}

static void test_promote_cluster_takes_the_section_away(void **state)
{
    static const struct canned_rule rest[] = {{.path = "/config", .body = "{}", .times = 1},
                                              {.path = "/config", .status = 503, .body = "no"}};
    static const struct ctl_lab_key before[] = {LEADER, LEADS("standby_leader")};
    static const struct ctl_lab_key after[] = {LEADER, LEADS("primary")};

    (void)state;
    OPEN(rest, before);
    ctl_lab_then(&lab, after, ARRAY_LEN(after));
    ctl_lab_run(&lab, cmd_promote_cluster, "promote-cluster --force", "");
    ctl_lab_expect(&lab, EXIT_DONE, " cluster is successfully promoted\n");
    expect_sent("/config", "{\"standby_cluster\":null}");
    ctl_lab_close(&lab);

    OPEN(rest, before);
    ctl_lab_run(&lab, cmd_promote_cluster, "promote-cluster", "n\n");
    ctl_lab_expect(&lab, EXIT_FAILED, "Aborted cluster promotion");
    canned_server_replace(lab.rest, rest + 1, 1);
    ctl_lab_run(&lab, cmd_promote_cluster, "promote-cluster --force", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "Failed to promote demo cluster: /config PATCH status code=503, (no)");
    ctl_lab_run(&lab, cmd_demote_cluster, "demote-cluster", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "At least --host, --port or --restore-command should be specified");
    ctl_lab_run(&lab, cmd_demote_cluster, "demote-cluster --port 70000", "");
    ctl_lab_expect(&lab, EXIT_USAGE, "is no port");
}

/* --- credentials ----------------------------------------------------------------------------------------------------
 */

static void test_credentials_of_section_ctl_come_first(void **state)
{
    static const char section[] = "ctl: { authentication: { username = \"operator\"; password = \"ctl\"; }; };\n";
    static const char older[] = "ctl: { auth = \"operator:ctl\"; };\n";

    (void)state;
    ctl_lab_open(&lab, section, done, ARRAY_LEN(done), cluster, ARRAY_LEN(cluster));
    ctl_lab_run(&lab, cmd_switchover, "switchover --force", "");
    expect_sent("/switchover", "Authorization: Basic b3BlcmF0b3I6Y3Rs");
    ctl_lab_close(&lab);
    ctl_lab_open(&lab, older, done, ARRAY_LEN(done), cluster, ARRAY_LEN(cluster));
    ctl_lab_run(&lab, cmd_switchover, "switchover --force", "");
    expect_sent("/switchover", "Authorization: Basic b3BlcmF0b3I6Y3Rs");
}

/* What is said for pgtetherctl comes first; the server's certificate is shown only by those who may read its key. */
static void test_tls_of_section_ctl_comes_first(void **state)
{
    static char ca[] = "/ca", other_ca[] = "/other-ca", mine[] = "/mine", key[] = "/key", password[] = "p";
    static char server[] = "/dev/null", unreadable[] = "/no/such/key";
    struct config c = {0};
    struct ctl ctl = {.config = &c};

    (void)state;
    OPEN(done, cluster); /* for the teardown */
    assert_null(rest_tls(&ctl).ca_file);
    assert_false(rest_tls(&ctl).insecure);
    c.restapi.tls.cafile = ca;
    assert_string_equal(rest_tls(&ctl).ca_file, ca);
    c.ctl.cacert = other_ca;
    assert_string_equal(rest_tls(&ctl).ca_file, other_ca);
    c.restapi.tls.certfile = server;
    assert_string_equal(rest_tls(&ctl).cert_file, server);
    c.restapi.tls.keyfile = unreadable;
    assert_null(rest_tls(&ctl).cert_file);
    c.ctl.certfile = mine;
    c.ctl.keyfile = key;
    c.ctl.keyfile_password = password;
    assert_string_equal(rest_tls(&ctl).cert_file, mine);
    assert_string_equal(rest_tls(&ctl).key_file, key);
    assert_string_equal(rest_tls(&ctl).key_password, password);
    c.ctl.insecure = true;
    assert_true(rest_tls(&ctl).insecure);
    c.ctl.insecure = false;
    ctl.insecure = true;
    assert_true(rest_tls(&ctl).insecure);
}

int main(void)
{
#define WITH_LAB(t) cmocka_unit_test_teardown(t, close_lab)
    const struct CMUnitTest tests[] = {
        WITH_LAB(test_switchover_asks_what_patronictl_asks),
        WITH_LAB(test_switchover_with_force_asks_nothing),
        WITH_LAB(test_switchover_that_cannot_be_is_refused_before_anything_is_sent),
        WITH_LAB(test_switchover_that_the_agent_refuses_ends_as_the_references_does),
        WITH_LAB(test_switchover_of_an_agent_that_knows_only_failover_uses_that),
        WITH_LAB(test_failover_without_a_leader_goes_to_the_candidate),
        WITH_LAB(test_failover_to_an_asynchronous_node_is_asked_about),
        WITH_LAB(test_scheduling_while_paused_is_refused),
        WITH_LAB(test_switchover_without_rest_is_written_into_the_store_with_a_compare),
        WITH_LAB(test_switchover_whose_key_was_changed_by_somebody_else_is_not_repeated),
        WITH_LAB(test_switchover_that_the_leader_gives_up_is_told),
        WITH_LAB(test_scheduled_switchover_without_rest_is_not_waited_for),
        WITH_LAB(test_restart_asks_and_reports_each_member),
        WITH_LAB(test_restart_sends_its_filters),
        WITH_LAB(test_restart_of_the_pending_leaves_the_others_alone),
        WITH_LAB(test_restart_of_the_wrong_is_refused),
        WITH_LAB(test_member_without_agent_is_told_and_the_others_are_done),
        WITH_LAB(test_reinit_asks_for_a_replica_and_insists_when_told_to),
        WITH_LAB(test_reinit_when_told_to_wait_does_until_the_copy_is_there),
        WITH_LAB(test_flush_takes_back_what_is_scheduled),
        WITH_LAB(test_flush_without_rest_empties_the_key_it_has_seen),
        WITH_LAB(test_pause_tells_the_first_member_that_listens),
        WITH_LAB(test_pause_when_told_to_wait_does_until_all_have_seen_it),
        WITH_LAB(test_remove_needs_three_right_answers),
        WITH_LAB(test_demote_cluster_waits_until_the_leader_follows),
        WITH_LAB(test_promote_cluster_takes_the_section_away),
        WITH_LAB(test_credentials_of_section_ctl_come_first),
        WITH_LAB(test_tls_of_section_ctl_comes_first),
    };

    return cmocka_run_group_tests_name("ctl verbs", tests, NULL, NULL);
}
