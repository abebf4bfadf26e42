#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/core.h"
#include "ctl/members.h"
#include "ctl/table.h"

static void assert_printed(struct textbuf *out, const char *want)
{
    assert_false(out->failed);
    assert_string_equal(out->data, want);
    textbuf_done(out);
}

/* --- the frame ---------------------------------------------------------------------------------------------------- */

static void test_table_columns_are_as_wide_as_their_widest_cell(void **state)
{
    static const struct table_column columns[] = {{"Name", false}, {"N", true}};
    static const char *const cells[] = {"a", "1", "längste", "100"};
    struct textbuf out = {0};

    (void)state;
    table_print(&out, NULL, columns, 2, cells, 2);
    assert_printed(&out, "+---------+-----+\n"
                         "| Name    |   N |\n"
                         "+---------+-----+\n"
                         "| a       |   1 |\n"
                         "| längste | 100 |\n"
                         "+---------+-----+\n");
}

static void test_table_when_a_cell_has_several_lines_separates_the_rows(void **state)
{
    static const struct table_column columns[] = {{"A", false}, {"B", true}};
    static const char *const cells[] = {"one\ntwo", "1", "three", "2\n33"};
    struct textbuf out = {0};

    (void)state;
    table_print(&out, NULL, columns, 2, cells, 2);
    assert_printed(&out, "+-------+----+\n"
                         "| A     |  B |\n"
                         "+-------+----+\n"
                         "| one   |  1 |\n"
                         "| two   |    |\n"
                         "+-------+----+\n"
                         "| three |  2 |\n"
                         "|       | 33 |\n"
                         "+-------+----+\n");
}

static void test_table_title_lies_over_the_upper_edge_and_is_cut_at_its_end(void **state)
{
    static const struct table_column columns[] = {{"A", false}, {"B", false}};
    static const char *const cells[] = {"1", "2"};
    struct textbuf out = {0};

    (void)state;
    table_print(&out, " T ", columns, 2, cells, 1);
    assert_printed(&out, "+ T +---+\n| A | B |\n+---+---+\n| 1 | 2 |\n+---+---+\n");
    table_print(&out, " längerer Titel ", columns, 2, cells, 1);
    assert_printed(&out, "+ länger+\n| A | B |\n+---+---+\n| 1 | 2 |\n+---+---+\n");
}

static void test_table_without_rows_is_still_a_table(void **state)
{
    static const struct table_column columns[] = {{"A", false}};
    struct textbuf out = {0};

    (void)state;
    table_print(&out, NULL, columns, 1, NULL, 0);
    assert_printed(&out, "+---+\n| A |\n+---+\n+---+\n");
}

/* --- the members -------------------------------------------------------------------------------------------------- */

#define NODE(n, the_role, ...)                                                                                         \
    {                                                                                                                  \
        .name = n, .host = "127.0.0.1", .state = PG_STATE_RUNNING, .role = the_role, .timeline = 1, __VA_ARGS__        \
    }

static char sysid[] = "7412345678901234567";

static struct cluster cluster_of(struct member *members, size_t n)
{
    return (struct cluster){.initialize = {.exists = true, .text = sysid},
                            .leader = {.exists = true, .name = "node0"},
                            .status_lsn = 0x4042850,
                            .members = members,
                            .n_members = n};
}

static void assert_members(const struct members_view *v, enum report_format format, const char *want)
{
    struct textbuf out = {0};
    struct report r;

    assert_int_equal(members_report(v, format, &r), 0);
    report_print(&out, &r, format);
    if (format == REPORT_PRETTY || format == REPORT_TOPOLOGY)
        members_notes(&out, v);
    report_done(&r);
    assert_printed(&out, want);
}

static void assert_cell(const struct report *r, size_t row, const char *key, const char *want)
{
    for (size_t i = 0; i < r->n_columns; i++) {
        const json_t *value = json_array_get(json_array_get(r->rows, row), i);

        if (strcmp(r->columns[i].key, key) == 0) {
            assert_non_null(json_string_value(value));
            assert_string_equal(json_string_value(value), want);
            return;
        }
    }
    fail_msg("there is no column %s", key);
}

static struct member two[] = {
    NODE("node0", PG_ROLE_PRIMARY, .port = 15430, .xlog_lsn = 0x4042850),
    NODE("node1", PG_ROLE_REPLICA, .port = 15431, .receive_lsn = 0x4042850, .replay_lsn = 0x4042850,
         .replication_state = "streaming"),
};

static void test_members_are_listed_like_the_sample(void **state)
{
    struct cluster c = cluster_of(two, 2);
    const struct members_view v = {.cluster = &c, .cluster_name = "demo"};

    (void)state;
    assert_members(&v, REPORT_PRETTY,
                   "+ Cluster: demo (7412345678901234567) -----------+----+-------------+-----+------------+-----+\n"
                   "| Member | Host            | Role    | State     | TL | Receive LSN | Lag | Replay LSN | Lag |\n"
                   "+--------+-----------------+---------+-----------+----+-------------+-----+------------+-----+\n"
                   "| node0  | 127.0.0.1:15430 | Leader  | running   |  1 |             |     |            |     |\n"
                   "| node1  | 127.0.0.1:15431 | Replica | streaming |  1 |   0/4042850 |   0 |  0/4042850 |   0 |\n"
                   "+--------+-----------------+---------+-----------+----+-------------+-----+------------+-----+\n");
}

static void test_members_as_json_omit_what_is_empty(void **state)
{
    struct cluster c = cluster_of(two, 2);
    const struct members_view v = {.cluster = &c, .cluster_name = "demo"};

    (void)state;
    assert_members(&v, REPORT_JSON,
                   "[{\"Cluster\": \"demo\", \"Member\": \"node0\", \"Host\": \"127.0.0.1:15430\", \"Role\": "
                   "\"Leader\", \"State\": \"running\", \"TL\": 1}, {\"Cluster\": \"demo\", \"Member\": \"node1\", "
                   "\"Host\": \"127.0.0.1:15431\", \"Role\": \"Replica\", \"State\": \"streaming\", \"TL\": 1, "
                   "\"Receive LSN\": \"0/4042850\", \"Receive Lag\": 0, \"Replay LSN\": \"0/4042850\", \"Replay "
                   "Lag\": 0}]\n");
}

static void test_members_as_tsv_and_yaml_have_all_columns(void **state)
{
    struct cluster c = cluster_of(two, 2);
    const struct members_view v = {.cluster = &c, .cluster_name = "demo"};

    (void)state;
    assert_members(&v, REPORT_TSV,
                   "Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag\n"
                   "demo\tnode0\t127.0.0.1:15430\tLeader\trunning\t1\t\t\t\t\n"
                   "demo\tnode1\t127.0.0.1:15431\tReplica\tstreaming\t1\t0/4042850\t0\t0/4042850\t0\n");
    assert_members(&v, REPORT_YAML,
                   "- Cluster: demo\n  Host: 127.0.0.1:15430\n  Member: node0\n  Role: Leader\n  State: running\n"
                   "  TL: 1\n"
                   "- Cluster: demo\n  Host: 127.0.0.1:15431\n  Member: node1\n  Receive LSN: 0/4042850\n"
                   "  Receive Lag: 0\n  Replay LSN: 0/4042850\n  Replay Lag: 0\n  Role: Replica\n  State: streaming\n"
                   "  TL: 1\n\n");
}

static void test_members_lag_is_in_megabytes_rounded_halves_to_even(void **state)
{
    struct member members[] = {NODE("node0", PG_ROLE_PRIMARY, .port = 5432),
                               {.name = "node1", .host = "b", .port = 5432, .role = PG_ROLE_REPLICA}};
    static const struct {
        uint64_t lag_bytes, want_mb;
    } rows[] = {{0, 0}, {524288, 0}, {524289, 1}, {1048576, 1}, {1572863, 1}, {1572864, 2}, {2621440, 2}, {2621441, 3}};
    struct cluster c = cluster_of(members, 2);
    const struct members_view v = {.cluster = &c, .cluster_name = "demo"};

    (void)state;
    c.status_lsn = 100 << 20;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct report r;

        members[1].replay_lsn = c.status_lsn - rows[i].lag_bytes;
        assert_int_equal(members_report(&v, REPORT_TSV, &r), 0);
        assert_int_equal(json_integer_value(json_array_get(json_array_get(r.rows, 1), 9)), rows[i].want_mb);
        assert_string_equal(json_string_value(json_array_get(json_array_get(r.rows, 1), 6)), "unknown");
        assert_string_equal(json_string_value(json_array_get(json_array_get(r.rows, 1), 7)), "");
        report_done(&r);
    }
}

static void test_members_of_older_versions_show_their_one_position(void **state)
{
    struct member members[] = {
        NODE("node0", PG_ROLE_PRIMARY, .port = 5432),
        {.name = "node1", .host = "b", .port = 5432, .xlog_lsn = 0x4000000, .replication_state = "streaming"},
        {.name = "node2", .host = "c", .port = 5432, .xlog_lsn = 0x4000000, .state = PG_STATE_RUNNING},
        {.name = "node3", .host = "d", .port = 5432, .state = PG_STATE_STOPPED},
    };
    struct cluster c = cluster_of(members, 4);
    const struct members_view v = {.cluster = &c, .cluster_name = "demo"};

    (void)state;
    assert_members(&v, REPORT_PRETTY,
                   "+ Cluster: demo (7412345678901234567) -----+----+-------------+-----+------------+-----+\n"
                   "| Member | Host      | Role    | State     | TL | Receive LSN | Lag | Replay LSN | Lag |\n"
                   "+--------+-----------+---------+-----------+----+-------------+-----+------------+-----+\n"
                   "| node0  | 127.0.0.1 | Leader  | running   |  1 |             |     |            |     |\n"
                   "| node1  | b         | Replica | streaming |    |   0/4000000 |   0 |    unknown |     |\n"
                   "| node2  | c         | Replica | running   |    |     unknown |     |  0/4000000 |   0 |\n"
                   "| node3  | d         | Replica | stopped   |    |     unknown |     |    unknown |     |\n"
                   "+--------+-----------+---------+-----------+----+-------------+-----+------------+-----+\n");
}

static void test_members_with_something_special_get_columns_and_notes(void **state)
{
    static char data0[] =
        "{\"pending_restart\":true,\"pending_restart_reason\":{\"max_connections\":{\"old_value\":"
        "\"100\",\"new_value\":\"200\"},\"shared_preload_libraries\":{\"old_value\":\"\",\"new_value\":"
        "\"pg_stat_statements, auto_explain\"}}}";
    static char data1[] = "{\"tags\":{\"zone\":\"b\",\"clonefrom\":true},\"scheduled_restart\":{\"schedule\":"
                          "\"2026-08-01T12:00:00+00:00\",\"postgres_version\":\"15.3\"}}";
    struct member members[] = {
        NODE("node0", PG_ROLE_PRIMARY, .port = 5432, .data = data0),
        {.name = "node1", .host = "b", .port = 5432, .state = PG_STATE_STOPPED, .data = data1},
    };
    static char standbys[] = "node1";
    struct cluster c = cluster_of(members, 2);
    const struct members_view v = {
        .cluster = &c, .cluster_name = "demo", .paused = true, .sync_mode = SYNC_MODE_PRIORITY};
    struct textbuf out = {0};
    struct report r;

    (void)state;
    c.sync = (struct sync_key){.exists = true, .standbys = standbys};
    c.failover = (struct failover_key){
        .exists = true, .leader = "node0", .candidate = "node1", .scheduled_at = "2026-08-01T12:00:00+00:00"};
    assert_int_equal(members_report(&v, REPORT_PRETTY, &r), 0);
    assert_int_equal(r.n_columns, 14);
    assert_cell(&r, 0, "Role", "Leader");
    assert_cell(&r, 0, "Pending restart", "*");
    assert_cell(&r, 0, "Pending restart reason",
                "max_connections: 100->200\nshared_preload_libraries: [hidden - too long]");
    assert_cell(&r, 0, "Scheduled restart", "");
    assert_cell(&r, 0, "Tags", "");
    assert_cell(&r, 1, "Role", "Sync Standby");
    assert_cell(&r, 1, "Pending restart", "");
    assert_cell(&r, 1, "Scheduled restart", "2026-08-01T12:00:00+00:00 if version < 15.3");
    report_print(&out, &r, REPORT_PRETTY);
    assert_non_null(strstr(out.data, " | Tags            |\n"));
    assert_non_null(strstr(out.data, " | clonefrom: true |\n"));
    assert_non_null(strstr(out.data, " | zone: b         |\n"));
    textbuf_done(&out);
    report_print(&out, &r, REPORT_TSV);
    assert_non_null(strstr(out.data, "\t{clonefrom: true, zone: b}\n"));
    textbuf_done(&out);
    report_done(&r);

    members_notes(&out, &v);
    assert_printed(&out, " Maintenance mode: on\n"
                         " Switchover scheduled at: 2026-08-01T12:00:00+00:00\n"
                         "                    from: node0\n"
                         "                      to: node1\n");
}

static void test_members_fence_report_is_noted_for_a_day_and_cannot_command_a_terminal(void **state)
{
    struct member members[] = {
        NODE("node0", PG_ROLE_PRIMARY, .fence_at_s = 1000, .fence_note = "host reset\033[2J"),
        NODE("node1", PG_ROLE_REPLICA, .fence_at_s = 0, .fence_note = "never"),
    };
    struct cluster c = cluster_of(members, 2);
    struct members_view v = {.cluster = &c, .cluster_name = "demo", .now_s = 1000 + 86399};
    struct textbuf out = {0};

    (void)state;
    members_notes(&out, &v);
    assert_printed(&out, " Fence report of node0: host reset?[2J\n");
    v.now_s++;
    members_notes(&out, &v);
    assert_null(out.data);
}

static void test_members_note_is_shown_and_cannot_command_a_terminal(void **state)
{
    struct member members[] = {
        NODE("node0", PG_ROLE_PRIMARY, .note = "the port gate\033 is not in force"),
        NODE("node1", PG_ROLE_REPLICA, .note = ""),
    };
    struct cluster c = cluster_of(members, 2);
    struct members_view v = {.cluster = &c, .cluster_name = "demo"};
    struct textbuf out = {0};

    (void)state;
    members_notes(&out, &v);
    assert_printed(&out, " Note on node0: the port gate? is not in force\n");
}

static void test_members_reason_for_programs_is_never_hidden(void **state)
{
    static char data[] = "{\"pending_restart_reason\":{\"shared_preload_libraries\":{\"old_value\":\"\","
                         "\"new_value\":\"pg_stat_statements, auto_explain\"}}}";
    struct member members[] = {NODE("node0", PG_ROLE_PRIMARY, .port = 5432, .data = data)};
    struct cluster c = cluster_of(members, 1);
    const struct members_view v = {.cluster = &c, .cluster_name = "demo"};
    struct report r;

    (void)state;
    assert_int_equal(members_report(&v, REPORT_JSON, &r), 0);
    assert_cell(&r, 0, "Pending restart reason", "shared_preload_libraries: ->pg_stat_statements, auto_explain");
    report_done(&r);
}

static void test_members_when_extended_have_all_columns(void **state)
{
    struct cluster c = cluster_of(two, 0);
    const struct members_view v = {.cluster = &c, .cluster_name = "demo", .extended = true};
    struct report r;

    (void)state;
    assert_int_equal(members_report(&v, REPORT_PRETTY, &r), 0);
    assert_int_equal(r.n_columns, 14);
    report_done(&r);
}

static void test_members_title_tells_how_far_the_cluster_is(void **state)
{
    static char empty[] = "";
    struct cluster c = {.initialize = {.exists = true, .text = empty}};
    const struct members_view v = {.cluster = &c, .cluster_name = "demo"};
    struct report r;

    (void)state;
    assert_int_equal(members_report(&v, REPORT_PRETTY, &r), 0);
    assert_string_equal(r.title, " Cluster: demo (initializing) ");
    report_done(&r);
    c.initialize.exists = false;
    assert_int_equal(members_report(&v, REPORT_PRETTY, &r), 0);
    assert_string_equal(r.title, " Cluster: demo (uninitialized) ");
    report_done(&r);
}

static void test_topology_is_a_tree_of_who_replicates_from_whom(void **state)
{
    static char from_b[] = "{\"tags\":{\"replicatefrom\":\"b\"}}", from_d[] = "{\"tags\":{\"replicatefrom\":\"d\"}}";
    static char from_nobody[] = "{\"tags\":{\"replicatefrom\":\"nobody\"}}";
    static char from_e[] = "{\"tags\":{\"replicatefrom\":\"e\"}}", from_f[] = "{\"tags\":{\"replicatefrom\":\"f\"}}";
    struct member members[] = {
        {.name = "a", .data = from_b},      {.name = "b"},
        {.name = "c", .data = from_nobody}, {.name = "d", .data = from_b},
        {.name = "e", .data = from_f},      {.name = "f", .data = from_e},
        {.name = "g", .data = from_d},      {.name = "node0"},
    };
    static const char *const want[] = {"node0", "+ b", "  + a", "  + d", "    + g", "+ c", "+ e", "+ f"};
    struct cluster c = cluster_of(members, ARRAY_LEN(members));
    const struct members_view v = {.cluster = &c, .cluster_name = "demo"};
    struct report r;

    (void)state;
    assert_int_equal(members_report(&v, REPORT_TOPOLOGY, &r), 0);
    assert_int_equal(json_array_size(r.rows), ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_cell(&r, i, "Member", want[i]);
    report_done(&r);
}

static void test_members_whose_key_is_broken_are_listed_nevertheless(void **state)
{
    static char broken[] = "{\"tags\":", odd[] = "{\"tags\":7,\"pending_restart_reason\":{\"a\":1},"
                                                 "\"scheduled_restart\":[]}";
    struct member members[] = {{.name = "a", .data = broken}, {.name = "b", .data = odd}};
    struct cluster c = cluster_of(members, 2);
    const struct members_view v = {.cluster = &c, .cluster_name = "demo"};
    struct report r;

    (void)state;
    assert_int_equal(members_report(&v, REPORT_PRETTY, &r), 0);
    assert_cell(&r, 1, "Pending restart reason", "a: ?->?");
    assert_cell(&r, 1, "Scheduled restart", "?");
    report_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(test_table_when_a_cell_has_several_lines_separates_the_rows),
        cmocka_unit_test(test_table_title_lies_over_the_upper_edge_and_is_cut_at_its_end),
        cmocka_unit_test(test_table_without_rows_is_still_a_table),
        cmocka_unit_test(test_members_are_listed_like_the_sample),
        cmocka_unit_test(test_members_as_json_omit_what_is_empty),
        cmocka_unit_test(test_members_as_tsv_and_yaml_have_all_columns),
        cmocka_unit_test(test_members_lag_is_in_megabytes_rounded_halves_to_even),
        cmocka_unit_test(test_members_of_older_versions_show_their_one_position),
        cmocka_unit_test(test_members_note_is_shown_and_cannot_command_a_terminal),
        cmocka_unit_test(test_members_fence_report_is_noted_for_a_day_and_cannot_command_a_terminal),
        cmocka_unit_test(test_members_with_something_special_get_columns_and_notes),
        cmocka_unit_test(test_members_reason_for_programs_is_never_hidden),
        cmocka_unit_test(test_members_when_extended_have_all_columns),
        cmocka_unit_test(test_members_title_tells_how_far_the_cluster_is),
        cmocka_unit_test(test_topology_is_a_tree_of_who_replicates_from_whom),
        cmocka_unit_test(test_members_whose_key_is_broken_are_listed_nevertheless),
    };

    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
