/* why: whom it asks, and what it makes of the answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "ctl_lab.h"

#define MEMBER(url)                                                                                                    \
    "{\"conn_url\":\"postgres://10.0.0.1:5432/postgres\",\"api_url\":\"" url                                           \
    "/patroni\",\"state\":\"running\",\"role\":\"replica\",\"version\":\"4.1.4\"}"
#define DEAD "http://127.0.0.1:1"

static const struct ctl_lab_key cluster[] = {
    {"leader", "node1", 4}, {"members/node1", MEMBER(DEAD), 0}, {"members/node2", MEMBER("@"), 0}};

static const char healthy[] =
    "{\"scope\":\"demo\",\"asked\":\"node2\",\"leader\":\"node1\",\"leader_position\":100,\"leader_position_is\":"
    "\"now\","
    "\"members\":[{\"name\":\"node1\",\"verdict\":\"leads\",\"rule\":null,\"obstacle\":null,\"note\":null,"
    "\"timeline\":1,\"position\":100,\"failover_seconds\":null},"
    "{\"name\":\"node2\",\"verdict\":\"could lead\",\"rule\":null,\"obstacle\":null,\"note\":\"it does not stream\","
    "\"position\":60,\"bytes_to_replay\":7,\"failover_seconds\":31,\"bytes_lost\":40},"
    "{\"name\":\"node3\",\"verdict\":\"cannot lead\",\"rule\":\"lag\",\"obstacle\":\"it is late\"}]}";

static struct ctl_lab lab;

static void run(const char *answer, const char *line)
{
    const struct canned_rule rest[] = {{.path = "/why", .body = answer}};

    ctl_lab_open(&lab, NULL, rest, ARRAY_LEN(rest), cluster, ARRAY_LEN(cluster));
    ctl_lab_run(&lab, cmd_why, line, "");
}

static int close_lab(void **state)
{
    (void)state;
    ctl_lab_close(&lab);
    return 0;
}

static void test_table_has_costs_and_sentences_below(void **state)
{
    (void)state;
    run(healthy, "why");
    ctl_lab_expect(&lab, EXIT_DONE, "+ Cluster: demo ");
    ctl_lab_expect(&lab, EXIT_DONE, "| node1  | leads       |      |            |");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "| node2  | could lead  |      |         40 |               7 |               31 |");
    ctl_lab_expect(&lab, EXIT_DONE, "| node3  | cannot lead | lag  |            |");
    ctl_lab_expect(&lab, EXIT_DONE, "\n node2: it does not stream\n node3: it is late\n");
    assert_null(strstr(lab.out, "published"));
}

static void test_outage_of_all_shows_the_command(void **state)
{
    (void)state;
    run("{\"scope\":\"demo\",\"leader\":null,\"leader_position_is\":\"published\",\"waits_for\":\"node3\","
        "\"command\":\"pgtetherctl failover demo --candidate node2 --force\",\"members\":[{}]}",
        "why demo");
    ctl_lab_expect(&lab, EXIT_DONE, "from the last position that was published");
    ctl_lab_expect(&lab, EXIT_DONE, "All members were down, and node3 may have WAL that nobody else has\n");
    ctl_lab_expect(&lab, EXIT_DONE, "To go on without: pgtetherctl failover demo --candidate node2 --force\n");
}

static void test_formats_for_programs_have_the_obstacle(void **state)
{
    (void)state;
    run(healthy, "why -f json");
    ctl_lab_expect(&lab, EXIT_DONE,
                   "\"Member\": \"node2\", \"Verdict\": \"could lead\", \"Rule\": \"\", "
                   "\"Bytes lost\": 40, \"Bytes to replay\": 7, \"Failover seconds\": 31");
    ctl_lab_expect(&lab, EXIT_DONE, "\"Obstacle\": \"it is late\"");
    assert_null(strstr(lab.out, "\n node3"));
}

static void test_nobody_who_says_why_is_a_failure(void **state)
{
    (void)state;
    run("{\"state\":\"running\"}", "why");
    assert_int_equal(lab.exit_code, EXIT_FAILED);
    assert_non_null(strstr(lab.errors, "no member says why"));
}

static void test_usage(void **state)
{
    (void)state;
    run(healthy, "why -f topology");
    assert_int_equal(lab.exit_code, EXIT_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_table_has_costs_and_sentences_below, close_lab),
        cmocka_unit_test_teardown(test_outage_of_all_shows_the_command, close_lab),
        cmocka_unit_test_teardown(test_formats_for_programs_have_the_obstacle, close_lab),
        cmocka_unit_test_teardown(test_nobody_who_says_why_is_a_failure, close_lab),
        cmocka_unit_test_teardown(test_usage, close_lab),
    };

    return cmocka_run_group_tests_name("ctl_why", tests, NULL, NULL);
}
