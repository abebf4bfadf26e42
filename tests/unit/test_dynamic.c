#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "config/config.h"
#include "config/lists.h"

static void test_dynamic_parse_of_an_empty_object_gives_the_defaults(void **state)
{
    CLEANUP(dynamic_freep) struct dynamic *d = NULL;
    struct config_problems problems;
    struct policy defaults = POLICY_DEFAULT;

    (void)state;
    assert_int_equal(dynamic_parse("{}", NULL, &d, &problems, NULL), 0);
    assert_int_equal(problems.n, 0);
    assert_true(d->policy.ttl_us == defaults.ttl_us && d->policy.loop_wait_us == defaults.loop_wait_us &&
                d->policy.retry_timeout_us == defaults.retry_timeout_us);
    assert_true(d->policy.maximum_lag_on_failover_bytes == defaults.maximum_lag_on_failover_bytes);
    assert_true(d->policy.primary_start_timeout_us == defaults.primary_start_timeout_us);
    assert_true(d->policy.cold_start_wait_us == POLICY_FOR_EVER);
    assert_true(d->policy.use_slots && !d->policy.use_pg_rewind && !d->policy.pause && !d->policy.failsafe_mode);
    assert_int_equal(d->policy.sync_node_count, 1);
    assert_int_equal(d->parameters.n + d->pg_hba.n + d->pg_ident.n, 0);
    assert_string_equal(d->json, "{}");
    config_problems_done(&problems);
}

/* ttl, loop_wait and retry_timeout as asked for and as they come out, in seconds. */
static const struct {
    const char *json;
    unsigned ttl, loop_wait, retry_timeout;
    unsigned warnings;
} timeouts[] = {
    {"{\"ttl\":20,\"loop_wait\":6,\"retry_timeout\":7}", 20, 6, 7, 0},
    {"{\"ttl\":20,\"loop_wait\":7,\"retry_timeout\":7}", 20, 6, 7, 1},
    {"{\"ttl\":29}", 29, 9, 10, 1},
    {"{\"ttl\":21}", 21, 1, 10, 1},
    {"{\"ttl\":20}", 20, 1, 9, 1},
    {"{\"ttl\":5}", 5, 1, 2, 1},
    {"{\"ttl\":4,\"loop_wait\":1,\"retry_timeout\":2}", 5, 1, 2, 1},
    {"{\"ttl\":-3,\"loop_wait\":-1,\"retry_timeout\":0}", 5, 1, 1, 3},
    {"{\"ttl\":\"1min\",\"loop_wait\":\"5s\",\"retry_timeout\":\"0x10\"}", 60, 5, 16, 0},
    {"{\"ttl\":30.4,\"loop_wait\":9.5,\"retry_timeout\":\"9600ms\"}", 30, 10, 10, 0},
    {"{\"ttl\":null,\"loop_wait\":null,\"retry_timeout\":null}", 30, 10, 10, 0},
    {"{\"ttl\":9223372036854775807}", 2147483647, 10, 10, 1},
    {"{\"ttl\":2147483648,\"loop_wait\":2147483648,\"retry_timeout\":2147483648}", 2147483647, 1, 1073741823, 4},
};

static void test_dynamic_parse_adjusts_timeouts_as_the_reference_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(timeouts); i++) {
        CLEANUP(dynamic_freep) struct dynamic *d = NULL;
        struct config_problems problems;

        if (dynamic_parse(timeouts[i].json, NULL, &d, &problems, NULL) != 0)
            fail_msg("%s was refused", timeouts[i].json);
        if (d->policy.ttl_us != timeouts[i].ttl * USEC_PER_SEC ||
            d->policy.loop_wait_us != timeouts[i].loop_wait * USEC_PER_SEC ||
            d->policy.retry_timeout_us != timeouts[i].retry_timeout * USEC_PER_SEC)
            fail_msg("%s: got %" PRIu64 ", %" PRIu64 ", %" PRIu64, timeouts[i].json, d->policy.ttl_us,
                     d->policy.loop_wait_us, d->policy.retry_timeout_us);
        if (problems.n != timeouts[i].warnings || problems.has_errors)
            fail_msg("%s: %zu problems", timeouts[i].json, problems.n);
        config_problems_done(&problems);
    }
}

static void test_dynamic_parse_of_what_cannot_be_used_is_refused_as_a_whole(void **state)
{
    static const char *const rows[] = {
        "",
        "[]",
        "null",
        "5",
        "\"x\"",
        "{",
        "{\"ttl\":30",
        "{}x",
        "{\"ttl\":\"soon\"}",
        "{\"ttl\":true}",
        "{\"loop_wait\":[]}",
        "{\"retry_timeout\":{}}",
        "{\"ttl\":\"1e400\"}",
        "\xff",
        "{\"a\":\"\\u0000\"}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dynamic *d = NULL;
        struct config_problems problems;
        struct err err = {0};

        if (dynamic_parse(rows[i], NULL, &d, &problems, &err) != -EINVAL)
            fail_msg("\"%s\" was not refused", rows[i]);
        assert_null(d);
        assert_true(problems.has_errors && problems.n > 0);
        assert_true(err.code == -EINVAL && err.msg[0]);
        config_problems_done(&problems);
    }
}

/* In the store, where what cannot be used must never be taken for a cluster that stands for itself. */
static const struct {
    const char *section;
    bool active, streams;
    const char *host;
    uint16_t port;
    const char *delay, *slot, *problem; /* the path of the first problem, NULL = none */
} standby_rows[] = {
    {"null", false, false, NULL, 0, NULL, NULL, NULL},
    {"{\"host\":\"a\"}", true, true, "a", 5432, NULL, NULL, NULL},
    {"{\"host\":\" a, b,::1 \",\"port\":\"5433\"}", true, true, "a,b,::1", 5433, NULL, NULL, NULL},
    {"{\"host\":\"a\",\"port\":5433,\"recovery_min_apply_delay\":\"5min\"}", true, true, "a", 5433, "5min", NULL, NULL},
    {"{\"host\":\"a\",\"recovery_min_apply_delay\":5000}", true, true, "a", 5432, "5000", NULL, NULL},
    {"{\"host\":\"a\",\"primary_slot_name\":\"s_1\",\"create_replica_methods\":[\"basebackup\"]}", true, true, "a",
     5432, NULL, "s_1", NULL},
    {"{\"host\":\"a\",\"create_replica_methods\":\"basebackup\"}", true, true, "a", 5432, NULL, NULL, NULL},
    {"{\"restore_command\":\"cp /a/%f %p\"}", true, false, NULL, 5432, NULL, NULL, NULL},
    {"{\"port\":5433}", true, false, NULL, 5433, NULL, NULL, ""},
    {"{}", false, false, NULL, 0, NULL, NULL, ""},
    {"{\"host\":\"\",\"restore_command\":\"\"}", false, false, NULL, 0, NULL, NULL, ""},
    {"[]", false, false, NULL, 0, NULL, NULL, ""},
    {"\"host\"", false, false, NULL, 0, NULL, NULL, ""},
    {"{\"host\":5}", true, false, NULL, 5432, NULL, NULL, ".host"},
    {"{\"host\":\",a\"}", true, false, NULL, 5432, NULL, NULL, ".host"},
    {"{\"host\":\"a,\"}", true, false, NULL, 5432, NULL, NULL, ".host"},
    {"{\"host\":\"a,,b\"}", true, false, NULL, 5432, NULL, NULL, ".host"},
    {"{\"host\":\"a\\nb\"}", true, false, NULL, 5432, NULL, NULL, ".host"},
    {"{\"host\":\"  \"}", true, false, NULL, 5432, NULL, NULL, ".host"},
    {"{\"host\":\"a\",\"port\":0}", true, true, "a", 5432, NULL, NULL, ".port"},
    {"{\"host\":\"a\",\"port\":70000}", true, true, "a", 5432, NULL, NULL, ".port"},
    {"{\"host\":\"a\",\"port\":\"70000\"}", true, true, "a", 5432, NULL, NULL, ".port"},
    {"{\"host\":\"a\",\"port\":true}", true, true, "a", 5432, NULL, NULL, ".port"},
    {"{\"host\":\"a\",\"recovery_min_apply_delay\":\"soon\"}", true, true, "a", 5432, NULL, NULL,
     ".recovery_min_apply_delay"},
    {"{\"host\":\"a\",\"recovery_min_apply_delay\":\"5 years\"}", true, true, "a", 5432, NULL, NULL,
     ".recovery_min_apply_delay"},
    {"{\"host\":\"a\",\"recovery_min_apply_delay\":true}", true, true, "a", 5432, NULL, NULL,
     ".recovery_min_apply_delay"},
    {"{\"host\":\"a\",\"recovery_min_apply_delay\":{}}", true, true, "a", 5432, NULL, NULL,
     ".recovery_min_apply_delay"},
    {"{\"host\":\"a\",\"primary_slot_name\":\"S\"}", true, true, "a", 5432, NULL, NULL, ".primary_slot_name"},
    {"{\"host\":\"a\",\"create_replica_methods\":[\"wal_e\"]}", true, true, "a", 5432, NULL, NULL,
     ".create_replica_methods"},
    {"{\"host\":\"a\",\"create_replica_methods\":[5]}", true, true, "a", 5432, NULL, NULL, ".create_replica_methods"},
    {"{\"host\":\"a\",\"create_replica_methods\":{}}", true, true, "a", 5432, NULL, NULL, ".create_replica_methods"},
    {"{\"host\":\"a\",\"hots\":\"b\"}", true, true, "a", 5432, NULL, NULL, ".hots"},
};

static void check_standby_row(size_t i)
{
    const struct dynamic *d;
    char json[300], path[80];
    struct dynamic *parsed = NULL;
    struct config_problems problems;
    struct err err = {0};

    (void)snprintf(json, sizeof(json), "{\"synchronous_mode\":true,\"standby_cluster\":%s}", standby_rows[i].section);
    (void)snprintf(path, sizeof(path), "standby_cluster%s", standby_rows[i].problem ? standby_rows[i].problem : "");
    assert_int_equal(dynamic_parse(json, NULL, &parsed, &problems, &err), 0);
    d = parsed;
    if (d->policy.standby_cluster != standby_rows[i].active ||
        d->policy.standby_cluster_streams != standby_rows[i].streams ||
        d->standby_cluster.port != standby_rows[i].port || !text_equal(d->standby_cluster.host, standby_rows[i].host) ||
        !text_equal(d->standby_cluster.recovery_min_apply_delay, standby_rows[i].delay) ||
        !text_equal(d->standby_cluster.primary_slot_name, standby_rows[i].slot))
        fail_msg("%s: active %d, host %s, port %u", json, d->policy.standby_cluster, d->standby_cluster.host,
                 d->standby_cluster.port);
    if ((d->policy.sync_mode == SYNC_MODE_OFF) != standby_rows[i].active)
        fail_msg("%s: synchronous_mode is %d", json, (int)d->policy.sync_mode);
    if ((problems.n > 0) != (standby_rows[i].problem != NULL) ||
        (problems.n && strcmp(problems.items[0].path, path) != 0))
        fail_msg("%s: %zu problems, the first is with %s", json, problems.n,
                 problems.n ? problems.items[0].path : "nothing");
    parsed = dynamic_free(parsed);
    config_problems_done(&problems);
}

static void test_dynamic_parse_of_a_standby_cluster_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(standby_rows); i++)
        check_standby_row(i);
}

static void test_dynamic_parse_of_a_bad_lease_time_names_it(void **state)
{
    struct dynamic *d = NULL;
    struct err err = {0};

    (void)state;
    assert_int_equal(dynamic_parse("{\"loop_wait\":0,\"ttl\":\"soon\"}", NULL, &d, NULL, &err), -EINVAL);
    assert_string_equal(err.msg, "dynamic configuration: ttl: expected a number of seconds, got \"soon\"");
}

static void test_dynamic_parse_reads_every_setting_of_the_policy(void **state)
{
    static const char json[] =
        "{\"maximum_lag_on_failover\":\"16MB\",\"primary_start_timeout\":0,\"primary_stop_timeout\":\"2min\","
        "\"max_timelines_history\":7,\"cold_start_wait\":\"1h\",\"check_timeline\":\"on\",\"failsafe_mode\":1,"
        "\"pause\":\"Yes\","
        "\"synchronous_mode_strict\":true,\"synchronous_node_count\":2,\"postgresql\":{\"use_slots\":\"off\","
        "\"use_pg_rewind\":true,\"remove_data_directory_on_rewind_failure\":\"true\","
        "\"remove_data_directory_on_diverged_timelines\":1}}";
    CLEANUP(dynamic_freep) struct dynamic *d = NULL;
    struct config_problems problems;

    (void)state;
    assert_int_equal(dynamic_parse(json, NULL, &d, &problems, NULL), 0);
    assert_int_equal(problems.n, 0);
    assert_true(d->policy.maximum_lag_on_failover_bytes == 16777216);
    assert_true(d->policy.primary_start_timeout_us == 0);
    assert_true(d->policy.primary_stop_timeout_us == 120 * USEC_PER_SEC);
    assert_int_equal(d->policy.max_timelines_history, 7);
    assert_true(d->policy.cold_start_wait_us == 3600 * USEC_PER_SEC);
    assert_true(d->policy.check_timeline && d->policy.failsafe_mode && d->policy.pause && d->policy.sync_strict);
    assert_int_equal(d->policy.sync_node_count, 2);
    assert_false(d->policy.use_slots);
    assert_true(d->policy.use_pg_rewind && d->policy.remove_data_directory_on_rewind_failure &&
                d->policy.remove_data_directory_on_diverged_timelines);
    config_problems_done(&problems);
}

static void test_dynamic_parse_reads_the_synchronous_settings(void **state)
{
    static const struct {
        const char *json;
        enum sync_mode mode;
        uint64_t lag_bytes;
    } rows[] = {
        {"{}", SYNC_MODE_OFF, 0},
        {"{\"synchronous_mode\":\"yes\",\"maximum_lag_on_syncnode\":-1}", SYNC_MODE_PRIORITY, 0},
        {"{\"synchronous_mode\":\"QUORUM\",\"maximum_lag_on_syncnode\":\"1MB\"}", SYNC_MODE_QUORUM, 1048576},
        {"{\"synchronous_mode\":false,\"maximum_lag_on_syncnode\":0}", SYNC_MODE_OFF, 0},
        {"{\"synchronous_mode\":\"maybe\",\"maximum_lag_on_syncnode\":[]}", SYNC_MODE_OFF, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(dynamic_freep) struct dynamic *d = NULL;

        assert_int_equal(dynamic_parse(rows[i].json, NULL, &d, NULL, NULL), 0);
        assert_int_equal(d->policy.sync_mode, rows[i].mode);
        assert_true(d->policy.maximum_lag_on_syncnode_bytes == rows[i].lag_bytes);
    }
}

static void test_dynamic_parse_takes_older_names_only_without_the_newer(void **state)
{
    CLEANUP(dynamic_freep) struct dynamic *old = NULL, *both = NULL, *deleted = NULL;

    (void)state;
    assert_int_equal(dynamic_parse("{\"master_start_timeout\":7}", NULL, &old, NULL, NULL), 0);
    assert_true(old->policy.primary_start_timeout_us == 7 * USEC_PER_SEC);
    assert_int_equal(dynamic_parse("{\"master_start_timeout\":7,\"primary_start_timeout\":8}", NULL, &both, NULL, NULL),
                     0);
    assert_true(both->policy.primary_start_timeout_us == 8 * USEC_PER_SEC);
    assert_int_equal(
        dynamic_parse("{\"master_stop_timeout\":7,\"primary_stop_timeout\":null}", NULL, &deleted, NULL, NULL), 0);
    assert_true(deleted->policy.primary_stop_timeout_us == 7 * USEC_PER_SEC);
}

/* What the store may have by mistake: a warning, the default, and the rest counts. */
static const struct {
    const char *json, *want;
} warnings[] = {
    {"{\"pause\":\"maybe\"}", "warning: pause: expected true or false, got \"maybe\"; using the default\n"},
    {"{\"pause\":2}", "warning: pause: expected true or false, got 2; using the default\n"},
    {"{\"maximum_lag_on_failover\":\"1min\"}",
     "warning: maximum_lag_on_failover: expected a number of bytes, got \"1min\"; using the default\n"},
    {"{\"maximum_lag_on_failover\":-1}", "warning: maximum_lag_on_failover: -1 is below the minimum; using 0\n"},
    {"{\"max_timelines_history\":[1]}",
     "warning: max_timelines_history: expected a number, got a list; using the default\n"},
    {"{\"synchronous_node_count\":0}", "warning: synchronous_node_count: 0 is below the minimum; using 1\n"},
    {"{\"maximum_lag_on_syncnode\":-1}", ""},
    {"{\"maximum_lag_on_syncnode\":\"far\"}", "warning: maximum_lag_on_syncnode: expected a number of bytes\n"},
    {"{\"synchronous_mode\":\"sometimes\"}", "warning: synchronous_mode: expected true, false or \"quorum\"\n"},
    {"{\"synchronous_mode\":\"off\"}", ""},
    {"{\"lop_wait\":3,\"whatever\":{}}", ""},
    {"{\"slots\":{}}", ""},
    {"{\"slots\":[],\"permanent_slots\":{\"a\":null}}", "warning: slots: expected a group of at most 1000 slots\n"},
    {"{\"slots\":{\"Mixed-Case\":null}}",
     "warning: slots: \"Mixed-Case\" is no name of a slot\n"
     "HINT:  Names of slots have lower-case letters, digits and \"_\", at most 63 of them.\n"},
    {"{\"slots\":{\"a\":\"physical\"}}", "warning: slots.a: expected the settings of a slot\n"
                                         "HINT:  A physical slot is \"name: null\" or \"name: {type: physical}\".\n"},
    {"{\"slots\":{\"a\":{\"type\":\"fast\"}}}",
     "warning: slots.a: expected type \"physical\" or \"logical\", got \"fast\"\n"},
    {"{\"slots\":{\"a\":{\"type\":1}}}", "warning: slots.a: expected \"type\" to be a text of at most 15 bytes\n"},
    {"{\"slots\":{\"a\":{\"type\":\"logical\",\"database\":\"d\"}}}",
     "warning: slots.a: a logical slot needs a database and a plugin\n"},
    {"{\"slots\":{\"a\":{\"plugin\":\"p\"}}}",
     "warning: slots.a: database and plugin mean nothing for a physical slot\n"
     "HINT:  Set type to \"logical\", or give both database and plugin.\n"},
    {"{\"slots\":{\"a\":{\"cluster_type\":\"any\"}}}",
     "warning: slots.a: expected cluster_type \"primary\" or \"standby\", got \"any\"\n"},
    {"{\"slots\":{\"a\":{\"database\":\"d\",\"plugin\":\"p\",\"cluster_type\":\"primary\"}}}",
     "warning: slots.a: cluster_type is for physical slots only and is ignored\n"},
    {"{\"slots\":{\"a\":{\"typ\":\"logical\"}}}",
     "warning: slots.a: unknown setting \"typ\"\n"
     "HINT:  Known are type, database, plugin, and for slots cluster_type.\n"},
    {"{\"slots\":{\"a\":null},\"permanent_slots\":{\"b\":null}}",
     "warning: slots: is ignored, since \"permanent_slots\" is set, too\n"},
    {"{\"ignore_slots\":{}}", "warning: ignore_slots: expected a list of at most 1000 groups\n"},
    {"{\"ignore_slots\":[5]}", "warning: ignore_slots[0]: expected a group with name, type, database or plugin\n"},
    {"{\"ignore_slots\":[{\"name\":\"a\"},{}]}",
     "warning: ignore_slots[1]: matches every slot: none that is not needed is ever dropped\n"},
    {"{\"ignore_slots\":[{\"name\":[]}]}",
     "warning: ignore_slots[0]: expected \"name\" to be a text of at most 63 bytes\n"},
    {"{\"member_slots_ttl\":-1}", "warning: member_slots_ttl: -1 is below the minimum; using 0\n"},
    {"{\"postgresql\":5}", "warning: postgresql: expected a group, got 5; using the default\n"},
    {"{\"postgresql\":{\"listen\":\"x\"}}",
     "warning: postgresql.listen: is read from the local file only and is ignored here\n"
     "HINT:  Put it into the configuration file of each member.\n"},
    {"{\"postgresql\":{\"parameters\":[]}}", "warning: postgresql.parameters: expected a group of parameters\n"},
    {"{\"postgresql\":{\"parameters\":{\"a\":[]}}}", "warning: postgresql.parameters.a: expected a single value\n"},
    {"{\"postgresql\":{\"parameters\":{\"a = 1\\nb\":1}}}",
     "warning: postgresql.parameters: \"a = 1?b\" is no name of a parameter\n"},
    {"{\"postgresql\":{\"parameters\":{\"\":1}}}", "warning: postgresql.parameters: \"\" is no name of a parameter\n"},
    {"{\"postgresql\":{\"parameters\":{\"port\":1}}}",
     "warning: postgresql.parameters.port: follows from \"postgresql.listen\" and is ignored here\n"},
    {"{\"postgresql\":{\"pg_hba\":\"x\"}}", "warning: postgresql.pg_hba: expected a list of at most 2000 lines\n"},
    {"{\"postgresql\":{\"pg_hba\":[\"a\",1]}}", "warning: postgresql.pg_hba: entry 2 of the list: expected a string\n"},
};

static void test_dynamic_parse_of_bad_values_warns_and_uses_the_defaults(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(warnings); i++) {
        CLEANUP(dynamic_freep) struct dynamic *d = NULL;
        CLEANUP(freep) char *report = NULL;
        struct config_problems problems;

        if (dynamic_parse(warnings[i].json, NULL, &d, &problems, NULL) != 0)
            fail_msg("%s was refused", warnings[i].json);
        report = config_problems_text(&problems);
        if (strcmp(report, warnings[i].want) != 0)
            fail_msg("%s:\n%s\ninstead of\n%s", warnings[i].json, report, warnings[i].want);
        assert_false(d->policy.pause);
        assert_int_equal(d->policy.sync_mode, SYNC_MODE_OFF);
        assert_string_equal(d->json, warnings[i].json);
        config_problems_done(&problems);
    }
}

static void test_dynamic_parse_reads_slots_under_each_of_their_names(void **state)
{
    static const char *const names[] = {"slots", "permanent_slots", "permanent_replication_slots"};
    char json[400];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(dynamic_freep) struct dynamic *d = NULL;

        (void)text_print(json, sizeof(json),
                         "{\"%s\":{\"a\":null,\"b\":{\"cluster_type\":\"standby\"},\"c\":{\"database\":\"d\","
                         "\"plugin\":\"p\"},\"d\":{\"cluster_type\":\"primary\"}},\"member_slots_ttl\":\"30min\"}",
                         names[i]);
        assert_int_equal(dynamic_parse(json, NULL, &d, NULL, NULL), 0);
        assert_int_equal(d->n_slots, 4);
        assert_string_equal(d->slots[0].name, "a");
        assert_true(!d->slots[0].logical && d->slots[0].cluster == SLOT_ANY_CLUSTER);
        assert_true(d->slots[1].cluster == SLOT_STANDBY_CLUSTER && d->slots[3].cluster == SLOT_PRIMARY_CLUSTER);
        assert_true(d->slots[2].logical);
        assert_string_equal(d->slots[2].database, "d");
        assert_string_equal(d->slots[2].plugin, "p");
        assert_int_equal(d->n_ignore_slots, 0);
        assert_true(d->policy.member_slots_ttl_us == 1800 * USEC_PER_SEC);
    }
}

/* A slot that the operator wanted, but said wrongly, must not be taken for one that nobody wants. */
static void test_dynamic_parse_of_an_unusable_slot_leaves_the_slot_alone(void **state)
{
    CLEANUP(dynamic_freep) struct dynamic *d = NULL;

    (void)state;
    assert_int_equal(dynamic_parse("{\"slots\":{\"a\":{\"type\":\"logcal\"},\"b\":null},"
                                   "\"ignore_slots\":[{\"type\":\"logical\",\"plugin\":\"wal2json\"}]}",
                                   NULL, &d, NULL, NULL),
                     0);
    assert_int_equal(d->n_slots, 1);
    assert_int_equal(d->n_ignore_slots, 2);
    assert_string_equal(d->ignore_slots[0].name, "a");
    assert_string_equal(d->ignore_slots[1].plugin, "wal2json");
    assert_string_equal(d->ignore_slots[1].type, "logical");
}

/* The protected parameters at their limits: accepted as given, or left out so that the default applies. */
static const struct {
    const char *name, *value; /* as JSON */
    const char *want;         /* NULL = left out */
} parameters[] = {
    {"max_connections", "25", "25"},
    {"max_connections", "24", NULL},
    {"max_connections", "\"0x64\"", "0x64"},
    {"MAX_CONNECTIONS", "24", NULL},
    {"max_connections", "2147483648", NULL},
    {"max_wal_senders", "3", "3"},
    {"max_wal_senders", "2", NULL},
    {"max_replication_slots", "4", "4"},
    {"max_replication_slots", "3", NULL},
    {"max_worker_processes", "2", "2"},
    {"max_worker_processes", "1", NULL},
    {"max_locks_per_transaction", "32", "32"},
    {"max_locks_per_transaction", "31", NULL},
    {"max_prepared_transactions", "0", "0"},
    {"max_prepared_transactions", "-1", NULL},
    {"wal_keep_segments", "1", "1"},
    {"wal_keep_segments", "0", NULL},
    {"wal_keep_size", "16", "16"},
    {"wal_keep_size", "15", NULL},
    {"wal_keep_size", "\"16MB\"", "16MB"},
    {"wal_keep_size", "\"16383kB\"", NULL},
    {"wal_keep_size", "\"1GB\"", "1GB"},
    {"wal_keep_size", "\"1min\"", NULL},
    {"wal_level", "\"logical\"", "logical"},
    {"wal_level", "\"hot_standby\"", "hot_standby"},
    {"wal_level", "\"minimal\"", NULL},
    {"hot_standby", "true", "on"},
    {"hot_standby", "false", NULL},
    {"wal_log_hints", "false", "off"},
    {"wal_log_hints", "\"often\"", NULL},
    {"track_commit_timestamp", "\"yes\"", "yes"},
    {"listen_addresses", "\"*\"", NULL},
    {"port", "5432", NULL},
    {"cluster_name", "\"x\"", NULL},
    {"work_mem", "\"anything\"", "anything"},
    {"random_page_cost", "1.1", "1.1"},
    {"pg_stat_statements.track", "\"all\"", "all"},
    {"shared_buffers", "null", NULL},
};

static void test_dynamic_parse_accepts_parameters_by_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        CLEANUP(dynamic_freep) struct dynamic *d = NULL;
        const struct setting *got;
        char json[256];

        (void)text_print(json, sizeof(json), "{\"postgresql\":{\"parameters\":{\"%s\":%s}}}", parameters[i].name,
                         parameters[i].value);
        assert_int_equal(dynamic_parse(json, NULL, &d, NULL, NULL), 0);
        got = settings_find(&d->parameters, parameters[i].name);
        if (!text_equal(got ? got->value : NULL, parameters[i].want))
            fail_msg("%s: got %s", json, got ? got->value : "nothing");
    }
}

static void test_dynamic_parse_gives_the_lines_of_pg_hba(void **state)
{
    CLEANUP(dynamic_freep) struct dynamic *d = NULL;

    (void)state;
    assert_int_equal(
        dynamic_parse("{\"postgresql\":{\"pg_hba\":[\"a\",\"b\"],\"pg_ident\":[\"c\"]}}", NULL, &d, NULL, NULL), 0);
    assert_int_equal(d->pg_hba.n, 2);
    assert_string_equal(d->pg_hba.items[1], "b");
    assert_null(d->pg_hba.items[2]);
    assert_string_equal(d->pg_ident.items[0], "c");
}

static void test_dynamic_parse_lets_local_settings_win_where_they_are_given(void **state)
{
    static const char json[] = "{\"postgresql\":{\"use_pg_rewind\":true,"
                               "\"remove_data_directory_on_rewind_failure\":true}}";
    CLEANUP(dynamic_freep) struct dynamic *without = NULL, *with = NULL;
    struct config local = {0};

    (void)state;
    assert_int_equal(dynamic_parse(json, &local, &without, NULL, NULL), 0);
    assert_true(without->policy.use_pg_rewind && without->policy.remove_data_directory_on_rewind_failure);
    local.postgresql.use_pg_rewind_is_set = true;
    local.postgresql.remove_on_rewind_failure_is_set = true;
    local.postgresql.remove_on_diverged_timelines_is_set = true;
    local.postgresql.remove_data_directory_on_diverged_timelines = true;
    assert_int_equal(dynamic_parse(json, &local, &with, NULL, NULL), 0);
    assert_false(with->policy.use_pg_rewind);
    assert_false(with->policy.remove_data_directory_on_rewind_failure);
    assert_true(with->policy.remove_data_directory_on_diverged_timelines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dynamic_parse_of_an_empty_object_gives_the_defaults),
        cmocka_unit_test(test_dynamic_parse_adjusts_timeouts_as_the_reference_does),
        cmocka_unit_test(test_dynamic_parse_of_what_cannot_be_used_is_refused_as_a_whole),
        cmocka_unit_test(test_dynamic_parse_of_a_standby_cluster_follows_the_table),
        cmocka_unit_test(test_dynamic_parse_of_a_bad_lease_time_names_it),
        cmocka_unit_test(test_dynamic_parse_reads_every_setting_of_the_policy),
        cmocka_unit_test(test_dynamic_parse_reads_the_synchronous_settings),
        cmocka_unit_test(test_dynamic_parse_takes_older_names_only_without_the_newer),
        cmocka_unit_test(test_dynamic_parse_of_bad_values_warns_and_uses_the_defaults),
        cmocka_unit_test(test_dynamic_parse_reads_slots_under_each_of_their_names),
        cmocka_unit_test(test_dynamic_parse_of_an_unusable_slot_leaves_the_slot_alone),
        cmocka_unit_test(test_dynamic_parse_accepts_parameters_by_the_table),
        cmocka_unit_test(test_dynamic_parse_gives_the_lines_of_pg_hba),
        cmocka_unit_test(test_dynamic_parse_lets_local_settings_win_where_they_are_given),
    };

    return cmocka_run_group_tests_name("dynamic", tests, NULL, NULL);
}
