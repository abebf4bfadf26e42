#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "dcs/codec.h"

static void load(struct cluster *c, const char *key, const char *value)
{
    struct err err = {0};

    assert_int_equal(codec_load_key(c, key, value, strlen(value), 7, 0x123, &err), 0);
}

static struct cluster loaded(const char *key, const char *value)
{
    struct cluster c = {0};

    load(&c, key, value);
    codec_load_finish(&c);
    return c;
}

static void assert_printed(char *got, const char *want)
{
    assert_non_null(got);
    assert_string_equal(got, want);
    free(got);
}

static void test_codec_base_path_collapses_slashes_like_the_reference(void **state)
{
    static const struct {
        const char *namespace_, *scope, *want;
    } rows[] = {
        {"service", "demo", "/service/demo/"},
        {"/service/", "demo", "/service/demo/"},
        {"//a//b//", "demo", "/a/b/demo/"},
        {"", "demo", "/demo/"},
        {"/", "demo", "/demo/"},
    };
    char buf[64], small[15];
    struct err err = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(codec_base_path(rows[i].namespace_, rows[i].scope, buf, sizeof(buf), &err), 0);
        assert_string_equal(buf, rows[i].want);
    }
    assert_int_equal(codec_base_path("service", "demo", small, 15, &err), 0);
    assert_int_equal(codec_base_path("service", "demo", small, 14, &err), -ENAMETOOLONG);
    assert_int_equal(codec_base_path("service", "", buf, sizeof(buf), &err), -EINVAL);
}

static void test_codec_print_member_gives_the_reference_bytes(void **state)
{
    struct member_report primary = {.conn_url = "postgres://127.0.0.1:15430/postgres",
                                    .api_url = "http://127.0.0.1:18000/patroni",
                                    .state = PG_STATE_RUNNING,
                                    .role = PG_ROLE_PRIMARY,
                                    .version = "4.1.4",
                                    .tags_json = "{\"zone\":\"a\"}",
                                    .positions_known = true,
                                    .is_primary = true,
                                    .xlog_lsn = 67381648,
                                    .replay_lsn = 1,
                                    .receive_lsn = 2,
                                    .timeline = 1};
    struct member_report standby = {.conn_url = "postgres://127.0.0.1:15431/postgres",
                                    .api_url = "http://127.0.0.1:18001/patroni",
                                    .state = PG_STATE_RUNNING,
                                    .role = PG_ROLE_REPLICA,
                                    .version = "4.1.4",
                                    .tags_json = "{}",
                                    .positions_known = true,
                                    .replay_lsn = 67381648,
                                    .receive_lsn = 67381648,
                                    .replication_state = "streaming",
                                    .timeline = 1};

    (void)state;
    /* Both captured from a running Patroni. */
    assert_printed(
        codec_print_member(&primary),
        "{\"conn_url\":\"postgres://127.0.0.1:15430/postgres\",\"api_url\":\"http://127.0.0.1:18000/patroni\","
        "\"state\":\"running\",\"role\":\"primary\",\"version\":\"4.1.4\",\"tags\":{\"zone\":\"a\"},"
        "\"xlog_location\":67381648,\"timeline\":1}");
    assert_printed(
        codec_print_member(&standby),
        "{\"conn_url\":\"postgres://127.0.0.1:15431/postgres\",\"api_url\":\"http://127.0.0.1:18001/patroni\","
        "\"state\":\"running\",\"role\":\"replica\",\"version\":\"4.1.4\",\"xlog_location\":67381648,"
        "\"replay_lsn\":67381648,\"receive_lsn\":67381648,\"replication_state\":\"streaming\",\"timeline\":1}");
}

static void test_codec_member_carries_a_fence_report_of_our_own(void **state)
{
    struct member_report r = {.conn_url = "c",
                              .api_url = "a",
                              .version = "4.1.4",
                              .fence_at_s = 1700000000,
                              .fence_note = "host reset at \"x\""};
    char *text = codec_print_member(&r);
    struct member m;

    (void)state;
    assert_non_null(text);
    assert_int_equal(codec_parse_member("n1", text, &m), 0);
    assert_true(m.fence_at_s == 1700000000);
    assert_string_equal(m.fence_note, "host reset at \"x\"");
    free(m.data);
    free(text);
    assert_int_equal(codec_parse_member("n1", "{\"pgtether_fence_at\":\"soon\",\"pgtether_fence\":7}", &m), 0);
    assert_true(m.fence_at_s == 0 && m.fence_note[0] == '\0');
    free(m.data);
}

static void test_codec_member_carries_a_note_of_our_own(void **state)
{
    struct member_report r = {.conn_url = "c", .api_url = "a", .version = "4.1.4", .note = "the gate"};
    char *text = codec_print_member(&r);
    struct member m;

    (void)state;
    assert_non_null(text);
    assert_int_equal(codec_parse_member("n1", text, &m), 0);
    assert_string_equal(m.note, "the gate");
    free(m.data);
    free(text);
    r.note = "";
    text = codec_print_member(&r);
    assert_null(strstr(text, "note"));
    free(text);
}

static void test_codec_print_member_keeps_the_order_of_all_fields(void **state)
{
    struct member_report r = {.conn_url = "c",
                              .api_url = "a",
                              .state = PG_STATE_STARTING,
                              .role = PG_ROLE_REPLICA,
                              .version = "4.1.4",
                              .checkpoint_pending = true,
                              .tags_json = "{\"x\":\"é\"}",
                              .pending_restart = true,
                              .pending_restart_reason_json = "{\"wal_level\":{}}",
                              .positions_known = true,
                              .replay_lsn = 9,
                              .receive_lsn = 8,
                              .replication_state = "in archive recovery",
                              .timeline = 3,
                              .pause = true,
                              .scheduled_restart_json = "{\"schedule\":\"s\"}"};

    (void)state;
    assert_printed(codec_print_member(&r),
                   "{\"conn_url\":\"c\",\"api_url\":\"a\",\"state\":\"starting\",\"role\":\"replica\","
                   "\"version\":\"4.1.4\",\"checkpoint_after_promote\":false,\"tags\":{\"x\":\"\\u00e9\"},"
                   "\"pending_restart\":true,\"pending_restart_reason\":{\"wal_level\":{}},\"xlog_location\":9,"
                   "\"replay_lsn\":9,\"receive_lsn\":8,\"replication_state\":\"in archive recovery\",\"timeline\":3,"
                   "\"scheduled_restart\":{\"schedule\":\"s\"},\"pause\":true}");
    r = (struct member_report){.state = PG_STATE_STOPPED, .role = PG_ROLE_DEMOTED, .xlog_lsn = 5, .timeline = 5};
    assert_printed(codec_print_member(&r), "{\"state\":\"stopped\",\"role\":\"demoted\"}");
}

static void test_codec_print_escapes_like_python(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"a\"b\\c/d", "{\"leader\":\"a\\\"b\\\\c/d\"}"},
        {"\n\r\t\b\f", "{\"leader\":\"\\n\\r\\t\\b\\f\"}"},
        {"\x01\x1f\x7f~", "{\"leader\":\"\\u0001\\u001f\\u007f~\"}"},
        {"\xc3\xa9\xe2\x82\xac", "{\"leader\":\"\\u00e9\\u20ac\"}"},
        {"\xf0\x9f\x90\x98", "{\"leader\":\"\\ud83d\\udc18\"}"},
        /* No UTF-8: lone, cut, overlong, surrogate. */
        {"\x80", "{\"leader\":\"\\ufffd\"}"},
        {"x\xe2\x82", "{\"leader\":\"x\\ufffd\\ufffd\"}"},
        {"\xc0\xaf", "{\"leader\":\"\\ufffd\\ufffd\"}"},
        {"\xed\xa0\x80", "{\"leader\":\"\\ufffd\\ufffd\\ufffd\"}"},
        {"\xff\xfe", "{\"leader\":\"\\ufffd\\ufffd\"}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_printed(codec_print_failover(rows[i].text, NULL, NULL), rows[i].want);
}

static void test_codec_print_of_cluster_keys_gives_the_reference_bytes(void **state)
{
    static const char *const slots[] = {"node1", "my_perm_slot"}, *const retain[] = {"node0", "node1"};
    static const uint64_t lsns[] = {67381648, 67300000};
    static const struct history_line lines[] = {
        {1, 67381864, "no recovery target specified", "2026-07-24T14:05:07.123456+00:00", "node1"},
        {2, 5, "before\t3", "t", ""},
        {3, 6, "", "", "ignored without a time"},
    };

    (void)state;
    assert_printed(codec_print_status(67381648, slots, lsns, 2, retain, 2),
                   "{\"optime\":67381648,\"slots\":{\"node1\":67381648,\"my_perm_slot\":67300000},"
                   "\"retain_slots\":[\"node0\",\"node1\"]}");
    assert_printed(codec_print_status(5, NULL, NULL, 0, NULL, 0), "{\"optime\":5}");
    assert_printed(codec_print_history(lines, 1), "[[1,67381864,\"no recovery target specified\","
                                                  "\"2026-07-24T14:05:07.123456+00:00\",\"node1\"]]");
    assert_printed(codec_print_history(lines + 1, 2), "[[2,5,\"before\\t3\",\"t\"],[3,6,\"\"]]");
    assert_printed(codec_print_history(NULL, 0), "[]");
    assert_printed(codec_print_sync("node0", 0, "node1,node2"),
                   "{\"leader\":\"node0\",\"quorum\":0,\"sync_standby\":\"node1,node2\"}");
    assert_printed(codec_print_sync(NULL, 1, ""), "{\"leader\":null,\"quorum\":1,\"sync_standby\":null}");
    assert_printed(codec_print_failover("node0", "node1", "2026-08-01T12:00:00+00:00"),
                   "{\"leader\":\"node0\",\"member\":\"node1\",\"scheduled_at\":\"2026-08-01T12:00:00+00:00\"}");
    assert_printed(codec_print_failover(NULL, "", NULL), "{}");
}

static void test_codec_member_printed_and_read_back_is_the_same(void **state)
{
    struct member_report r = {.conn_url = "postgres://[fe80::1]:5433/postgres",
                              .api_url = "https://h\xc3\xb6st:8008/patroni",
                              .state = PG_STATE_CREATING_REPLICA,
                              .role = PG_ROLE_STANDBY_LEADER,
                              .version = "4.1.4",
                              .checkpoint_pending = true,
                              .tags_json = "{\"nofailover\":true,\"sync_priority\":7,\"replicatefrom\":\"b\"}",
                              .pending_restart = true,
                              .positions_known = true,
                              .replay_lsn = INT64_MAX,
                              .receive_lsn = 8,
                              .replication_state = "streaming",
                              .timeline = UINT32_MAX - 1,
                              .pause = true};
    char *json = codec_print_member(&r);
    struct member m;

    (void)state;
    assert_int_equal(codec_parse_member("a", json, &m), 0);
    assert_string_equal(m.name, "a");
    assert_string_equal(m.conn_url, r.conn_url);
    assert_string_equal(m.host, "fe80::1");
    assert_int_equal(m.port, 5433);
    assert_string_equal(m.api_url, r.api_url);
    assert_int_equal(m.state, r.state);
    assert_int_equal(m.role, r.role);
    assert_string_equal(m.version, "4.1.4");
    assert_true(m.tags.nofailover);
    assert_int_equal(m.tags.failover_priority, 0);
    assert_false(m.tags.nosync);
    assert_int_equal(m.tags.sync_priority, 7);
    assert_string_equal(m.tags.replicatefrom, "b");
    assert_true(m.xlog_lsn == INT64_MAX && m.replay_lsn == INT64_MAX && m.receive_lsn == 8);
    assert_true(m.streaming && m.pause && m.pending_restart && m.checkpoint_pending);
    assert_true(m.timeline == UINT32_MAX - 1);
    assert_string_equal(m.data, json);
    free(m.data);
    free(json);
}

static void test_codec_parse_member_reads_older_and_broken_forms(void **state)
{
    static const struct {
        const char *name, *json, *conn_url, *host;
        unsigned port;
        const char *api_url;
        enum pg_role role;
        uint64_t lsn;
    } rows[] = {
        {"legacy", "postgres://u:p@h1:5433/postgres?application_name=http://h1:8008/patroni",
         "postgres://u:p@h1:5433/postgres", "h1", 5433, "http://h1:8008/patroni", PG_ROLE_UNKNOWN, 0},
        {"legacy, quoted, second", "postgres://h1/db?a=b&application_name=http%3A%2F%2Fh1%3a8008%2f&c=d",
         "postgres://h1/db", "h1", 5432, "http://h1:8008/", PG_ROLE_UNKNOWN, 0},
        {"legacy without api", "postgres://h1:1/db", "postgres://h1:1/db", "h1", 1, "", PG_ROLE_UNKNOWN, 0},
        {"legacy ending in a question", "postgres://h1:1/db?", "postgres://h1:1/db", "h1", 1, "", PG_ROLE_UNKNOWN, 0},
        {"3.x role", "{\"conn_url\":\"postgres://h/p\",\"role\":\"master\",\"xlog_location\":\"42\"}", "postgres://h/p",
         "h", 5432, "", PG_ROLE_PRIMARY, 42},
        {"empty", "", "", "", 5432, "", PG_ROLE_UNKNOWN, 0},
        {"broken", "{\"conn_url\":", "", "", 5432, "", PG_ROLE_UNKNOWN, 0},
        {"array", "[1]", "", "", 5432, "", PG_ROLE_UNKNOWN, 0},
        {"wrong types", "{\"conn_url\":1,\"role\":[],\"state\":{},\"xlog_location\":-1,\"tags\":[],\"timeline\":1.5}",
         "", "", 5432, "", PG_ROLE_UNKNOWN, 0},
        {"port 0", "{\"conn_url\":\"postgres://h:0/\"}", "postgres://h:0/", "", 5432, "", PG_ROLE_UNKNOWN, 0},
        {"port 65535", "{\"conn_url\":\"postgres://h:65535/\"}", "postgres://h:65535/", "h", 65535, "", PG_ROLE_UNKNOWN,
         0},
        {"port 65536", "{\"conn_url\":\"postgres://h:65536/\"}", "postgres://h:65536/", "", 5432, "", PG_ROLE_UNKNOWN,
         0},
        {"IPv6 without port", "{\"conn_url\":\"postgres://[::1]/p\"}", "postgres://[::1]/p", "::1", 5432, "",
         PG_ROLE_UNKNOWN, 0},
        {"at in the password", "{\"conn_url\":\"postgres://a:b@c@h/p\"}", "postgres://a:b@c@h/p", "h", 5432, "",
         PG_ROLE_UNKNOWN, 0},
        {"no scheme", "{\"conn_url\":\"h:1\"}", "h:1", "", 5432, "", PG_ROLE_UNKNOWN, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct member m;

        assert_int_equal(codec_parse_member("n", rows[i].json, &m), 0);
        if (strcmp(m.conn_url, rows[i].conn_url) || strcmp(m.host, rows[i].host) || m.port != rows[i].port ||
            strcmp(m.api_url, rows[i].api_url) || m.role != rows[i].role || m.xlog_lsn != rows[i].lsn ||
            m.timeline != 0 || m.state != PG_STATE_UNKNOWN)
            fail_msg("%s: got \"%s\" \"%s\" %u \"%s\" %d %llu", rows[i].name, m.conn_url, m.host, m.port, m.api_url,
                     (int)m.role, (unsigned long long)m.xlog_lsn);
        free(m.data);
    }
}

static void test_codec_parse_member_leaves_out_what_does_not_fit(void **state)
{
    char json[512] = "{\"conn_url\":\"postgres://", name[MEMBER_NAME_SIZE + 1] = {0};
    struct member m;

    (void)state;
    memset(json + strlen(json), 'x', 300);
    memcpy(json + strlen(json), "\"}", 3);
    assert_int_equal(codec_parse_member("n", json, &m), 0);
    assert_string_equal(m.conn_url, "");
    assert_string_equal(m.host, "");
    free(m.data);
    memset(name, 'n', MEMBER_NAME_SIZE);
    assert_int_equal(codec_parse_member(name, "{}", &m), -ENAMETOOLONG);
}

static void test_codec_tags_pair_flags_and_priorities(void **state)
{
    static const struct {
        const char *json;
        bool nofailover;
        int priority;
    } rows[] = {
        {"{}", false, 1},
        {"{\"nofailover\":true}", true, 0},
        {"{\"nofailover\":\"on\"}", true, 0},
        {"{\"nofailover\":\"no\"}", false, 1},
        {"{\"nofailover\":null}", false, 1},
        {"{\"failover_priority\":0}", true, 0},
        {"{\"failover_priority\":\"-1\"}", true, -1},
        {"{\"failover_priority\":2}", false, 2},
        {"{\"failover_priority\":\"2x\"}", false, 1},
        {"{\"failover_priority\":9999999999}", false, INT32_MAX},
        {"{\"nofailover\":false,\"failover_priority\":0}", false, 0},
        {"{\"nofailover\":true,\"failover_priority\":5}", true, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char json[128] = "{\"tags\":";
        struct member m;

        memcpy(json + strlen(json), rows[i].json, strlen(rows[i].json) + 1);
        memcpy(json + strlen(json), "}", 2);
        assert_int_equal(codec_parse_member("n", json, &m), 0);
        if (m.tags.nofailover != rows[i].nofailover || m.tags.failover_priority != rows[i].priority)
            fail_msg("%s: got %d %d", rows[i].json, m.tags.nofailover, m.tags.failover_priority);
        free(m.data);
    }
}

static void test_codec_failover_reads_requests_and_nothing_else(void **state)
{
    static const struct {
        const char *json;
        bool exists;
        const char *leader, *candidate;
        int64_t at_s;
    } rows[] = {
        {"{}", false, "", "", 0},
        {"", false, "", "", 0},
        {"{\"leader\":\"a\",\"member\":\"b\"}", true, "a", "b", 0},
        {"{\"member\":\"b\",\"leader\":null}", true, "", "b", 0},
        {"{\"leader\":\"\",\"member\":\"\"}", false, "", "", 0},
        {"{\"leader\":\"a\",\"member\":1}", false, "", "", 0},
        {"{\"leader\":\"a\"", false, "", "", 0},
        {"{\"scheduled_at\":\"2026-08-01T12:00:00+00:00\"}", false, "", "", 0},
        {"{\"leader\":\"a\",\"scheduled_at\":\"2026-08-01T12:00:00+00:00\"}", true, "a", "", 1785585600},
        {"{\"leader\":\"a\",\"scheduled_at\":\"2026-08-01 14:00:00.999999+02:00\"}", true, "a", "", 1785585600},
        {"{\"leader\":\"a\",\"scheduled_at\":\"2026-08-01T11:30-0030\"}", true, "a", "", 1785585600},
        {"{\"leader\":\"a\",\"scheduled_at\":\"2026-08-01T12:00:00Z\"}", true, "a", "", 1785585600},
        {"{\"leader\":\"a\",\"scheduled_at\":\"1970-01-01T00:00:00Z\"}", true, "a", "", 1},
        {"{\"leader\":\"a\",\"scheduled_at\":\"2024-02-29T00:00:00Z\"}", true, "a", "", 1709164800},
        /* What cannot be read must not be taken for "now". */
        {"{\"leader\":\"a\",\"scheduled_at\":\"2026-08-01T12:00:00\"}", false, "", "", 0},
        {"{\"leader\":\"a\",\"scheduled_at\":\"2026-02-29T12:00:00Z\"}", false, "", "", 0},
        {"{\"leader\":\"a\",\"scheduled_at\":\"2026-13-01T12:00:00Z\"}", false, "", "", 0},
        {"{\"leader\":\"a\",\"scheduled_at\":\"2026-08-01T24:00:00Z\"}", false, "", "", 0},
        {"{\"leader\":\"a\",\"scheduled_at\":\"2026-08-01T12:00:00Zx\"}", false, "", "", 0},
        {"{\"leader\":\"a\",\"scheduled_at\":\"2026-08-01T12:00:00+2\"}", false, "", "", 0},
        {"{\"leader\":\"a\",\"scheduled_at\":\"2026-08-01T12:00:00.Z\"}", false, "", "", 0},
        {"{\"leader\":\"a\",\"scheduled_at\":\"tomorrow\"}", false, "", "", 0},
        {"{\"leader\":\"a\",\"scheduled_at\":5}", false, "", "", 0},
        /* The form of old, and what is not it. */
        {"a:b", true, "a", "b", 0},
        {" a : b ", true, "a", "b", 0},
        {"a", true, "a", "", 0},
        {":b", true, "", "b", 0},
        {":", false, "", "", 0},
        {"a:b:c", true, "a", "b", 0},
        {"a\xff:b", false, "", "", 0},
        {"a\n:b", false, "", "", 0},
        {"[\"a\"]", false, "", "", 0},
        {"12", false, "", "", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cluster c = loaded("failover", rows[i].json);
        const struct failover_key *f = &c.failover;

        if (f->exists != rows[i].exists || strcmp(f->leader, rows[i].leader) ||
            strcmp(f->candidate, rows[i].candidate) || f->scheduled_at_s != rows[i].at_s)
            fail_msg("%s: got %d \"%s\" \"%s\" %lld", rows[i].json, f->exists, f->leader, f->candidate,
                     (long long)f->scheduled_at_s);
        assert_int_equal(f->revision, 7);
        cluster_done(&c);
    }
}

static void test_codec_sync_reads_all_writers(void **state)
{
    static const struct {
        const char *json;
        bool exists;
        const char *standbys;
        unsigned quorum;
    } rows[] = {
        {"{\"leader\":\"a\",\"quorum\":0,\"sync_standby\":\"b,c\"}", true, "b,c", 0},
        {"{\"leader\":\"a\",\"sync_standby\":\"b\"}", true, "b", 0},
        {"{\"leader\":\"a\",\"quorum\":\"2\",\"sync_standby\":\" b , ,c,\"}", true, "b,c", 2},
        {"{\"leader\":\"a\",\"quorum\":null,\"sync_standby\":null}", true, NULL, 0},
        {"{\"leader\":\"a\",\"sync_standby\":\"\"}", true, NULL, 0},
        {"{\"leader\":\"a\",\"quorum\":-1,\"sync_standby\":\"b\"}", false, NULL, 0},
        {"{\"leader\":null,\"sync_standby\":\"b\"}", false, NULL, 0},
        {"{\"sync_standby\":\"b\"}", false, NULL, 0},
        {"{}", false, NULL, 0},
        {"{", false, NULL, 0},
        {"\"x\"", false, NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cluster c = loaded("sync", rows[i].json);
        const char *got = c.sync.standbys ? c.sync.standbys : "NULL";

        if (c.sync.exists != rows[i].exists || strcmp(got, rows[i].standbys ? rows[i].standbys : "NULL") != 0 ||
            c.sync.quorum != rows[i].quorum || (c.sync.exists ? strcmp(c.sync.leader, "a") : *c.sync.leader))
            fail_msg("%s: got %d \"%s\" %u \"%s\"", rows[i].json, c.sync.exists, got, c.sync.quorum, c.sync.leader);
        assert_int_equal(c.sync.revision, 7);
        cluster_done(&c);
    }
}

static void test_codec_history_is_unknown_when_a_line_is_broken(void **state)
{
    static const struct {
        const char *json;
        size_t n;
        uint32_t cluster_timeline;
    } rows[] = {
        {"[]", 0, 1},
        {"[[1,67381864,\"no recovery target specified\",\"2026-07-24T14:05:07+00:00\",\"node1\"]]", 1, 2},
        {"[[1,5,\"r\"],[\"2\",\"6\",\"r\",\"t\"]]", 2, 3},
        {"[[1,5,\"r\",null,null,\"more\"]]", 1, 2},
        {"[[1,5]]", 0, 0},
        {"[[1,5,\"r\"],[]]", 0, 0},
        {"[[-1,5,\"r\"]]", 0, 0},
        {"[[4294967294,5,\"r\"]]", 1, UINT32_MAX},
        {"[[4294967295,5,\"r\"]]", 0, 0},
        {"[[1,5,\"r\"]", 0, 0},
        {"{}", 0, 0},
        {"", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cluster c = loaded("history", rows[i].json);

        if (c.n_history != rows[i].n || cluster_timeline(&c) != rows[i].cluster_timeline)
            fail_msg("%s: got %zu lines, timeline %u", rows[i].json, c.n_history, cluster_timeline(&c));
        cluster_done(&c);
    }
}

static void test_codec_status_reads_slots(void **state)
{
    static const struct {
        const char *status;
        size_t n_slots, n_retain;
    } rows[] = {
        {"{\"optime\":5,\"slots\":{\"node1\":7,\"perm\":\"8\"},\"retain_slots\":[\"node0\",\"node1\"]}", 2, 2},
        {"{\"optime\":5,\"slots\":\"{\\\"node1\\\":7}\",\"retain_slots\":\"[\\\"node0\\\"]\"}", 1, 1},
        {"{\"optime\":5}", 0, 0},
        {"5", 0, 0},
        {"{\"slots\":{\"node1\":-7,\"No\":1,\"'; DROP\":2,\"ok\":3},\"retain_slots\":[1,\"A\",\"b\",\"\"]}", 1, 1},
        {"{\"slots\":[1],\"retain_slots\":{\"a\":1}}", 0, 0},
        {"{\"slots\":\"{\",\"retain_slots\":\"x\"}", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cluster c = {0};

        /* What was there before is replaced. */
        assert_int_equal(codec_load_key(&c, "status", rows[0].status, strlen(rows[0].status), 1, 0, NULL), 0);
        assert_int_equal(codec_load_key(&c, "status", rows[i].status, strlen(rows[i].status), 2, 0, NULL), 0);
        if (c.n_status_slots != rows[i].n_slots || c.n_retain_slots != rows[i].n_retain)
            fail_msg("%s: %zu slots, %zu retained", rows[i].status, c.n_status_slots, c.n_retain_slots);
        if (i < 2) {
            assert_true(cluster_slot_lsn(&c, "node1") == 7);
            assert_string_equal(c.retain_slots[0].text, "node0");
        }
        assert_true(cluster_slot_lsn(&c, "unknown") == 0);
        cluster_done(&c);
    }
}

static void test_codec_status_reads_numbers_and_falls_back_to_optime(void **state)
{
    static const struct {
        const char *status;
        uint64_t lsn;
    } rows[] = {
        {"{\"optime\":67381648,\"slots\":{\"a\":1}}", 67381648},
        {"67381648", 67381648},
        {"{\"optime\":\"5\"}", 5},
        {"{\"optime\":-5}", 0},
        {"{\"optime\":\"x\"}", 0},
        {"{}", 0},
        {"x", 0},
        {NULL, 99},
    };

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
        const char *status = rows[i / 2].status;
        struct cluster c = {0};

        /* Whichever of the two keys is read first. */
        if (i % 2 && status)
            load(&c, "status", status);
        load(&c, "optime/leader", "99");
        if (i % 2 == 0 && status)
            load(&c, "status", status);
        codec_load_finish(&c);
        if (c.status_lsn != rows[i / 2].lsn)
            fail_msg("%s: got %llu", status, (unsigned long long)c.status_lsn);
        cluster_done(&c);
    }
}

static void test_codec_last_word_of_a_leader_keeps_the_slots_and_is_read_back(void **state)
{
    static const struct {
        const char *before, *want;
    } rows[] = {
        {NULL,
         "{\"optime\":5,\"pgtether_shutdown_lsn\":5,\"pgtether_shutdown_timeline\":3,\"pgtether_shutdown_session\":7}"},
        {"x",
         "{\"optime\":5,\"pgtether_shutdown_lsn\":5,\"pgtether_shutdown_timeline\":3,\"pgtether_shutdown_session\":7}"},
        {"3",
         "{\"optime\":5,\"pgtether_shutdown_lsn\":5,\"pgtether_shutdown_timeline\":3,\"pgtether_shutdown_session\":7}"},
        {"{\"optime\":1,\"slots\":{\"a\":2},\"retain_slots\":[\"a\"]}",
         "{\"optime\":5,\"slots\":{\"a\":2},\"retain_slots\":[\"a\"],\"pgtether_shutdown_lsn\":5,"
         "\"pgtether_shutdown_timeline\":3,\"pgtether_shutdown_session\":7}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *word = codec_print_shutdown_status(rows[i].before, 5, 3, 7);
        struct cluster c = {0};

        assert_string_equal(word, rows[i].want);
        load(&c, "status", word);
        assert_true(c.status_lsn == 5 && c.shutdown_lsn == 5 && c.shutdown_timeline == 3 && c.shutdown_session == 7);
        load(&c, "status", "{\"optime\":9}");
        assert_true(c.status_lsn == 9 && c.shutdown_lsn == 0 && c.shutdown_session == 0);
        cluster_done(&c);
        free(word);
    }
}

static void test_codec_leader_that_cannot_be_named_is_still_a_leader(void **state)
{
    char name[MEMBER_NAME_SIZE + 1] = {0};
    struct cluster c = loaded("leader", "node1");
    struct err err = {0};

    (void)state;
    assert_true(c.leader.exists);
    assert_string_equal(c.leader.name, "node1");
    assert_int_equal(c.leader.session, 0x123);
    assert_int_equal(c.leader.revision, 7);

    memset(name, 'n', MEMBER_NAME_SIZE - 1);
    load(&c, "leader", name);
    assert_string_equal(c.leader.name, name);
    memset(name, 'n', MEMBER_NAME_SIZE);
    load(&c, "leader", name);
    assert_true(c.leader.exists);
    assert_string_equal(c.leader.name, "(unreadable name)");
    assert_int_equal(codec_load_key(&c, "leader", "node1\0x", 7, 7, 1, &err), 0);
    assert_string_equal(c.leader.name, "(unreadable name)");
    load(&c, "leader", "node\xff");
    assert_string_equal(c.leader.name, "(unreadable name)");
    load(&c, "leader", "");
    assert_false(c.leader.exists);
    cluster_done(&c);
}

static void test_codec_text_keys_stay_as_they_are_but_only_objects_count(void **state)
{
    struct cluster c = {0};

    (void)state;
    load(&c, "initialize", "");
    assert_true(c.initialize.exists);
    assert_string_equal(c.initialize.text, "");
    load(&c, "timeline", "12");
    assert_true(c.timeline.exists && c.timeline.timeline == 12);
    load(&c, "timeline", "nonsense");
    assert_true(c.timeline.exists && c.timeline.timeline == 0);
    load(&c, "initialize", "7412345678901234567");
    assert_string_equal(c.initialize.text, "7412345678901234567");
    load(&c, "config", "{ \"ttl\": 30 }");
    assert_true(c.config.exists);
    assert_string_equal(c.config.text, "{ \"ttl\": 30 }");
    load(&c, "config", "[]");
    assert_false(c.config.exists);
    assert_null(c.config.text);
    assert_int_equal(c.config.revision, 7);
    load(&c, "failsafe", "{\"a\":\"http://a\"}");
    assert_string_equal(c.failsafe.text, "{\"a\":\"http://a\"}");
    assert_string_equal(failsafe_list_find(c.failsafe_list, "a")->api_url, "http://a");
    load(&c, "failsafe", "{\"b\":\"http://b\",\"c\":7}");
    assert_int_equal(c.failsafe_list->n, 2);
    assert_string_equal(failsafe_list_find(c.failsafe_list, "c")->api_url, "");
    load(&c, "failsafe", "x");
    assert_false(c.failsafe.exists);
    assert_null(c.failsafe_list);
    load(&c, "known_members", "{\"a\":\"http://a\",\"b\":\"http://b\"}");
    assert_int_equal(c.known_list->n, 2);
    assert_int_equal(c.known_text.revision, 7);
    load(&c, "known_members", "x");
    assert_null(c.known_list);
    load(&c, "known_members", "{}");
    assert_int_equal(c.known_list->n, 0);
    load(&c, "replica_address", "node2");
    assert_true(c.replica_address.exists);
    assert_string_equal(c.replica_address.name, "node2");
    load(&c, "pgtether/unknown", "x");
    cluster_done(&c);
}

static void test_codec_failsafe_list_is_printed_as_it_was_read(void **state)
{
    struct failsafe_list *list = NULL;
    char *text;

    (void)state;
    assert_int_equal(codec_parse_failsafe("{\"n2\":\"http://b\",\"n1\":\"http://a\"}", &list), 0);
    text = codec_print_failsafe(list);
    assert_string_equal(text, "{\"n1\":\"http://a\",\"n2\":\"http://b\"}");
    assert_int_equal(codec_parse_failsafe("[]", &list), -EBADMSG);
    assert_int_equal(codec_parse_failsafe("{", &list), -EBADMSG);
    assert_int_equal(list->n, 2);
    free(text);
    free(list);
}

static void test_codec_members_are_sorted_replaced_and_limited(void **state)
{
    struct cluster c = {0};
    char key[32];

    (void)state;
    load(&c, "members/b", "{\"role\":\"replica\"}");
    load(&c, "members/a", "{");
    load(&c, "members/b", "{\"role\":\"primary\"}");
    load(&c, "members/", "{}");
    load(&c, "members/a/b", "{}");
    load(&c, "members/\xff", "{}");
    load(&c, "members/a\n", "{}");
    codec_load_finish(&c);
    assert_int_equal(c.n_members, 2);
    assert_string_equal(c.members[0].name, "a");
    assert_int_equal(c.members[0].role, PG_ROLE_UNKNOWN);
    assert_string_equal(c.members[1].name, "b");
    assert_int_equal(c.members[1].role, PG_ROLE_PRIMARY);
    assert_int_equal(c.members[1].session, 0x123);
    for (int i = 0; i < CODEC_MEMBERS_MAX + 10; i++) {
        (void)snprintf(key, sizeof(key), "members/n%03d", i);
        load(&c, key, "{}");
    }
    codec_load_finish(&c);
    assert_int_equal(c.n_members, CODEC_MEMBERS_MAX);
    cluster_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codec_base_path_collapses_slashes_like_the_reference),
        cmocka_unit_test(test_codec_print_member_gives_the_reference_bytes),
        cmocka_unit_test(test_codec_member_carries_a_fence_report_of_our_own),
        cmocka_unit_test(test_codec_member_carries_a_note_of_our_own),
        cmocka_unit_test(test_codec_print_member_keeps_the_order_of_all_fields),
        cmocka_unit_test(test_codec_print_escapes_like_python),
        cmocka_unit_test(test_codec_print_of_cluster_keys_gives_the_reference_bytes),
        cmocka_unit_test(test_codec_member_printed_and_read_back_is_the_same),
        cmocka_unit_test(test_codec_parse_member_reads_older_and_broken_forms),
        cmocka_unit_test(test_codec_parse_member_leaves_out_what_does_not_fit),
        cmocka_unit_test(test_codec_tags_pair_flags_and_priorities),
        cmocka_unit_test(test_codec_failover_reads_requests_and_nothing_else),
        cmocka_unit_test(test_codec_sync_reads_all_writers),
        cmocka_unit_test(test_codec_history_is_unknown_when_a_line_is_broken),
        cmocka_unit_test(test_codec_status_reads_numbers_and_falls_back_to_optime),
        cmocka_unit_test(test_codec_last_word_of_a_leader_keeps_the_slots_and_is_read_back),
        cmocka_unit_test(test_codec_status_reads_slots),
        cmocka_unit_test(test_codec_leader_that_cannot_be_named_is_still_a_leader),
        cmocka_unit_test(test_codec_text_keys_stay_as_they_are_but_only_objects_count),
        cmocka_unit_test(test_codec_failsafe_list_is_printed_as_it_was_read),
        cmocka_unit_test(test_codec_members_are_sorted_replaced_and_limited),
    };

    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
