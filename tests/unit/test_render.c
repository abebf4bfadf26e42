#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "api/render.h"
#include "api/router.h"
#include "base/core.h"
#include "base/text.h"

enum { NOW = 1000 };

static char data0[] = "{\"timeline\":2}", data1[] = "{\"timeline\":2,\"tags\":{\"zone\":\"b\"}}";
static char sync_list[] = "node1", history[] = "[[1,67381864,\"no recovery target specified\"]]";
static char config_text[] = "{\"ttl\":30,\"postgresql\":{\"parameters\":null}}",
            failsafe[] = "{\"node0\":\"http://x\"}";
static const struct failsafe_list failsafe_list = {.items = {{"node0", "http://x"}}, .n = 1};

static struct member members[] = {
    {.name = "node0",
     .api_url = "http://10.0.0.1:8008/patroni",
     .host = "10.0.0.1",
     .port = 5432,
     .timeline = 2,
     .state = PG_STATE_RUNNING,
     .role = PG_ROLE_PRIMARY,
     .xlog_lsn = 0x4042850,
     .data = data0},
    {.name = "node1",
     .api_url = "http://10.0.0.2:8008/patroni",
     .host = "10.0.0.2",
     .port = 5432,
     .timeline = 2,
     .state = PG_STATE_RUNNING,
     .role = PG_ROLE_REPLICA,
     .xlog_lsn = 0x4042850,
     .receive_lsn = 0x4042850,
     .replay_lsn = 0x4042850,
     .replication_state = "streaming",
     .streaming = true,
     .data = data1},
};

static struct cluster store = {
    .leader = {.exists = true, .name = "node0"},
    .sync = {.exists = true, .leader = "node0", .standbys = sync_list},
    .failover = {.exists = true, .leader = "node0", .candidate = "node1", .scheduled_at = "2026-08-01T12:00:00+00:00"},
    .status_lsn = 0x4042850,
    .history_text = {.exists = true, .text = history},
    .config = {.exists = true, .text = config_text},
    .failsafe = {.exists = true, .text = failsafe},
    .members = members,
    .n_members = 2,
};

static struct node_walsender walsenders[] = {
    {.usename = "replicator",
     .application_name = "node1",
     .client_addr = "10.0.0.2",
     .state = "streaming",
     .sync_state = "async"},
};

static const struct node_status primary = {
    .failsafe_list = &failsafe_list,
    .scope = "demo",
    .name = "node0",
    .version = "4.1.4",
    .own_version = "0.1.0",
    .state = PG_STATE_RUNNING,
    .role = PG_ROLE_PRIMARY,
    .sql_ok = true,
    .postmaster_start_time = "2026-07-24 14:05:07.123456+00:00",
    .postmaster_start_epoch_us = 1784901907123456,
    .server_version_num = 150020,
    .current_lsn = 67381648,
    .timeline = 1,
    .walsenders = walsenders,
    .n_walsenders = 1,
    .sysid = 7412345678901234567,
    .tags_json = "{\"zone\":\"a\"}",
    .tags = {.failover_priority = 1},
    .lease_deadline_us = NOW + 7500000,
    .cluster = &store,
    .cluster_valid_until_us = NOW + 1,
    .dcs_last_seen_s = 1784901907,
    .reason = "I am <the> \"leader\" & happy",
    .keeper_connected = true,
    .keeper_state = "armed",
    .watchdog_state = "petting",
    .keeper_fence_at_us = NOW + 4000000,
    .watchdog_timeout_us = 5000000,
};

static const struct node_status replica = {
    .scope = "demo",
    .name = "node1",
    .version = "4.1.4",
    .own_version = "0.1.0",
    .state = PG_STATE_RUNNING,
    .role = PG_ROLE_REPLICA,
    .sql_ok = true,
    .postmaster_start_time = "2026-07-24 14:05:11.654321+00:00",
    .server_version_num = 150020,
    .receive_lsn = 67381648,
    .replay_lsn = 67381648,
    .replication_state = "streaming",
    .position_asked_at_us = NOW - 500,
    .timeline = 1,
    .sysid = 7412345678901234567,
    .tags_json = "{}",
    .cluster = &store,
    .cluster_valid_until_us = NOW + 1,
    .dcs_last_seen_s = 1784901907,
    .replayed_timestamp = "2026-07-24 16:05:07.5+02:00",
};

static const char primary_text[] =
    "{\"state\": \"running\", \"postmaster_start_time\": \"2026-07-24 14:05:07.123456+00:00\", \"role\": \"primary\", "
    "\"server_version\": 150020, \"xlog\": {\"location\": 67381648}, \"timeline\": 1, \"replication\": [{\"usename\": "
    "\"replicator\", \"application_name\": \"node1\", \"client_addr\": \"10.0.0.2\", \"state\": \"streaming\", "
    "\"sync_state\": \"async\", \"sync_priority\": 0}], \"dcs_last_seen\": 1784901907, \"tags\": {\"zone\": \"a\"}, "
    "\"database_system_identifier\": \"7412345678901234567\", \"patroni\": {\"version\": \"4.1.4\", \"scope\": "
    "\"demo\", \"name\": \"node0\"}}";

static const char replica_text[] =
    "{\"state\": \"running\", \"postmaster_start_time\": \"2026-07-24 14:05:11.654321+00:00\", \"role\": \"replica\", "
    "\"server_version\": 150020, \"xlog\": {\"received_location\": 67381648, \"replayed_location\": 67381648, "
    "\"replayed_timestamp\": null, \"paused\": false}, \"timeline\": 1, \"replication_state\": \"streaming\", "
    "\"dcs_last_seen\": 1784901907, \"database_system_identifier\": \"7412345678901234567\", \"patroni\": "
    "{\"version\": \"4.1.4\", \"scope\": \"demo\", \"name\": \"node1\"}}";

static const char cluster_text[] =
    "{\"members\": [{\"name\": \"node0\", \"role\": \"leader\", \"state\": \"running\", \"api_url\": "
    "\"http://10.0.0.1:8008/patroni\", \"host\": \"10.0.0.1\", \"port\": 5432, \"timeline\": 2}, {\"name\": "
    "\"node1\", \"role\": \"sync_standby\", \"state\": \"streaming\", \"api_url\": \"http://10.0.0.2:8008/patroni\", "
    "\"host\": \"10.0.0.2\", \"port\": 5432, \"timeline\": 2, \"tags\": {\"zone\": \"b\"}, \"receive_lag\": 0, "
    "\"receive_lsn\": \"0/4042850\", \"replay_lag\": 0, \"replay_lsn\": \"0/4042850\", \"lag\": 0, \"lsn\": "
    "\"0/4042850\"}], \"pause\": true, \"scheduled_switchover\": {\"at\": \"2026-08-01T12:00:00+00:00\", \"from\": "
    "\"node0\", \"to\": \"node1\"}, \"scope\": \"demo\"}";

static void assert_text(char *got, const char *want)
{
    assert_non_null(got);
    assert_string_equal(got, want);
    free(got);
}

static void test_status_of_a_primary_is_the_reference_sample(void **state)
{
    (void)state;
    assert_text(render_status(&primary, NOW), primary_text);
}

static void test_status_of_a_replica_is_the_reference_sample(void **state)
{
    struct node_status n = replica;

    (void)state;
    n.replayed_timestamp[0] = '\0';
    assert_text(render_status(&n, NOW), replica_text);
}

static void test_status_when_the_lease_has_ended_says_nothing_of_the_primary(void **state)
{
    struct node_status n = primary;

    (void)state;
    n.lease_deadline_us = n.cluster_valid_until_us = NOW;
    n.tags_json = "{}";
    assert_text(render_status(&n, NOW),
                "{\"state\": \"unknown\", \"role\": \"demoted\", \"cluster_unlocked\": true, \"dcs_last_seen\": "
                "1784901907, \"database_system_identifier\": \"7412345678901234567\", \"patroni\": {\"version\": "
                "\"4.1.4\", \"scope\": \"demo\", \"name\": \"node0\"}}");
}

static void test_slots_are_shown_with_the_wal_they_hold_back(void **state)
{
    static const struct slot slots[] = {
        {.name = "node1",
         .physical = true,
         .active = true,
         .restart_lsn = 1000,
         .wal_status = "reserved",
         .safe_wal_bytes = -1},
        {.name = "cdc",
         .database = "app",
         .plugin = "pgoutput",
         .confirmed_lsn = 900,
         .wal_status = "lost",
         .safe_wal_bytes = 0},
    };
    struct node_status n = primary;
    char *text, *metrics;

    (void)state;
    n.slots = slots;
    n.n_slots = ARRAY_LEN(slots);
    n.slots_position_lsn = 1500;
    n.max_slot_wal_keep_bytes = -1;
    text = render_status(&n, NOW);
    assert_non_null(strstr(
        text, "\"slots\": [{\"name\": \"node1\", \"type\": \"physical\", \"active\": true, \"restart_location\": 1000, "
              "\"retained_bytes\": 500, \"wal_status\": \"reserved\"}, {\"name\": \"cdc\", \"type\": \"logical\", "
              "\"database\": \"app\", \"plugin\": \"pgoutput\", \"confirmed_flush_location\": 900, \"active\": false, "
              "\"restart_location\": 0, \"retained_bytes\": 0, \"wal_status\": \"lost\", \"safe_wal_size\": 0}]}"));
    free(text);
    n.max_slot_wal_keep_bytes = 4096;
    n.slots_note = "slot \"cdc\" has lost its WAL";
    text = render_status(&n, NOW);
    assert_non_null(
        strstr(text, "], \"max_slot_wal_keep_size\": 4096, \"slots_problem\": \"slot \\\"cdc\\\" has lost"));
    free(text);
    metrics = render_metrics(&n, NOW);
    assert_non_null(strstr(metrics,
                           "# TYPE pgtether_slot_retained_bytes gauge\npgtether_slot_retained_bytes{scope=\"demo\","
                           "name=\"node0\",slot_name=\"node1\",slot_type=\"physical\"} 500\n"));
    assert_non_null(strstr(metrics, "slot_name=\"cdc\",slot_type=\"logical\"} 0\n"));
    assert_non_null(strstr(metrics, "\npgtether_slot_active{scope=\"demo\",name=\"node0\",slot_name=\"node1\","
                                    "slot_type=\"physical\"} 1\n"));
    assert_non_null(strstr(metrics, "\npgtether_slot_lost{scope=\"demo\",name=\"node0\",slot_name=\"cdc\","
                                    "slot_type=\"logical\"} 1\n"));
    assert_non_null(strstr(metrics, "\npgtether_slot_safe_bytes{scope=\"demo\",name=\"node0\",slot_name=\"node1\","
                                    "slot_type=\"physical\"} -1\n"));
    free(metrics);
    n.sql_ok = false;
    text = render_status(&n, NOW);
    assert_null(strstr(text, "slots"));
    free(text);
}

static void test_status_tells_of_watchdog_and_fence_report_behind_the_fields_of_the_reference(void **state)
{
    struct node_status n = primary;
    char *text, *metrics;

    (void)state;
    n.watchdog_mode = "required";
    (void)text_copy(n.watchdog_identity, sizeof(n.watchdog_identity), "i6300ESB timer");
    n.watchdog_resets_at_us = NOW + 2500000;
    n.watchdog_reset_us = 6000000;
    n.watchdog_last_pet_us = 0;
    n.watchdog_late_pets = 3;
    n.fence_report_json = "{\"at\": 7, \"rung\": \"kill\"}";
    n.fence_reports = 2;
    n.last_fence_s = 7;
    n.fence_guard = true;
    text = render_status(&n, NOW);
    assert_non_null(strstr(text,
                           "\"watchdog\": {\"mode\": \"required\", \"state\": \"petting\", \"driver\": \"i6300ESB "
                           "timer\", \"timeout\": 5.0, \"reset_time\": 6.0, \"seconds_left\": 2.5, "
                           "\"last_pet_ago\": 0.001, \"late_pets\": 3}, \"fence_report\": {\"at\": 7, \"rung\": "
                           "\"kill\"}, \"fence_guard\": true}"));
    free(text);
    metrics = render_metrics(&n, NOW);
    assert_non_null(strstr(metrics, "\npgtether_fence_reports_total{scope=\"demo\",name=\"node0\"} 2\n"));
    assert_non_null(strstr(metrics, "\npgtether_last_fence_timestamp_seconds{scope=\"demo\",name=\"node0\"} 7\n"));
    assert_non_null(strstr(metrics, "\npgtether_fence_guard{scope=\"demo\",name=\"node0\"} 1\n"));
    assert_non_null(strstr(metrics, "\npgtether_watchdog_seconds_left{scope=\"demo\",name=\"node0\"} 2.500000\n"));
    assert_non_null(strstr(metrics, "driver=\"i6300ESB timer\"} 1\n"));
    assert_non_null(strstr(metrics, "\npgtether_watchdog_late_pets_total{scope=\"demo\",name=\"node0\"} 3\n"));
    free(metrics);
}

static void test_status_tells_of_gate_and_addresses(void **state)
{
    struct node_status n = primary;
    char *text, *metrics;

    (void)state;
    n.serves = "primary";
    n.gate_state = "open";
    n.addresses = 2;
    n.addresses_held = 1;
    n.address_conflicts = 3;
    n.net_restarts = 4;
    text = render_status(&n, NOW);
    assert_non_null(strstr(text, "\"kernel_leases\": {\"serves\": \"primary\", \"gate\": \"open\", \"addresses\": 2, "
                                 "\"addresses_held\": 1, \"address_conflicts\": 3, \"restarts\": 4}}"));
    free(text);
    n.gate_state = "failed";
    n.kernel_leases_note = "the port gate is not in force";
    text = render_status(&n, NOW);
    assert_non_null(strstr(text, "\"restarts\": 4, \"problem\": \"the port gate is not in force\"}}"));
    assert_null(strstr(text, "watchdog_failed"));
    free(text);
    n.gate_failed = true; /* required: this node will not lead, so nobody waits for it */
    text = render_status(&n, NOW);
    assert_non_null(strstr(text, "\"watchdog_failed\": true"));
    free(text);
    metrics = render_metrics(&n, NOW);
    assert_non_null(strstr(metrics, "\npgtether_serves{scope=\"demo\",name=\"node0\",role=\"primary\"} 1\n"));
    assert_non_null(strstr(metrics, "\npgtether_gate_state{scope=\"demo\",name=\"node0\",state=\"failed\"} 1\n"));
    assert_non_null(strstr(metrics, "\npgtether_addresses{scope=\"demo\",name=\"node0\"} 2\n"));
    assert_non_null(strstr(metrics, "\npgtether_addresses_held{scope=\"demo\",name=\"node0\"} 1\n"));
    assert_non_null(strstr(metrics, "\npgtether_address_conflicts_total{scope=\"demo\",name=\"node0\"} 3\n"));
    assert_non_null(strstr(metrics, "\npgtether_net_restarts_total{scope=\"demo\",name=\"node0\"} 4\n"));
    free(metrics);
}

static void test_status_has_the_optional_fields_in_the_reference_order(void **state)
{
    struct node_status n = replica;

    (void)state;
    n.policy.sync_mode = SYNC_MODE_QUORUM;
    n.policy.pause = n.pending_restart = n.watchdog_failed = n.replay_paused = true;
    n.position_asked_at_us = 0;
    n.receive_lsn = 0;
    n.pending_restart_reason_json = "{\"max_connections\":{\"old_value\":\"100\",\"new_value\":\"200\"}}";
    n.postmaster_start_time[0] = '\0';
    n.sysid = 0;
    assert_text(
        render_status(&n, NOW),
        "{\"state\": \"running\", \"role\": \"replica\", \"server_version\": 150020, \"xlog\": {\"received_location\": "
        "67381648, \"replayed_location\": 67381648, \"replayed_timestamp\": \"2026-07-24 16:05:07.5+02:00\", "
        "\"paused\": true}, \"quorum_standby\": true, \"timeline\": 1, \"replication_state\": \"streaming\", "
        "\"pause\": true, \"dcs_last_seen\": 1784901907, \"pending_restart\": true, \"pending_restart_reason\": "
        "{\"max_connections\": {\"old_value\": \"100\", \"new_value\": \"200\"}}, \"patroni\": {\"version\": "
        "\"4.1.4\", \"scope\": \"demo\", \"name\": \"node1\"}, \"watchdog_failed\": true, "
        "\"position_age_ms\": null}");
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is missing in:\n%s", part, text);
}

/* What an election after an outage of all members needs, and its operator. */
static void test_outage_of_all_is_shown_with_the_command_that_ends_it(void **state)
{
    struct cold_start cold = {.n_missing = 1,
                              .missing = "node2",
                              .candidate = "node1",
                              .cost_known = true,
                              .cost_bytes = 40,
                              .since_us = NOW};
    struct node_status n = replica;
    char *text;

    (void)state;
    text = render_status(&n, NOW);
    assert_null(strstr(text, "cold_start"));
    assert_null(strstr(text, "leader_seen"));
    assert_null(strstr(text, "has_nothing"));
    free(text);
    n.cold_start = &cold;
    n.has_nothing = n.leader_seen = true;
    text = render_status(&n, NOW + 7000000);
    assert_has(text, "\"leader_seen\": true");
    assert_has(text, "\"has_nothing\": true");
    assert_has(text, "\"cold_start\": {\"waiting_for\": \"node2\", \"waiting_seconds\": 7, "
                     "\"waits_at_most_seconds\": null, \"candidate\": \"node1\", \"bytes_behind\": 40, "
                     "\"command\": \"pgtetherctl failover demo --candidate node1 --force\"}");
    free(text);
    text = render_metrics(&n, NOW);
    assert_has(text, "\npgtether_cold_start_missing_members{scope=\"demo\",name=\"node1\"} 1\n");
    free(text);
    cold.cost_known = false;
    cold.candidate[0] = '\0';
    cold.until_us = NOW + 10000000;
    text = render_status(&n, NOW + 7000000);
    assert_has(text, "\"waits_at_most_seconds\": 3, \"candidate\": null, \"bytes_behind\": null, \"command\": null}");
    free(text);
}

static void test_position_has_an_age_where_it_counts(void **state)
{
    struct cluster nobody_leads = {.n_members = 0};
    struct node_status n = replica;
    char *text;

    (void)state;
    text = render_status(&n, NOW);
    assert_null(strstr(text, "position_age_ms"));
    free(text);
    n.cluster = &nobody_leads;
    text = render_status(&n, NOW);
    assert_has(text, "\"position_age_ms\": 1");
    free(text);
    n.cluster = replica.cluster;
    n.position_asked_at_us = 0;
    text = render_status(&n, NOW);
    assert_has(text, "\"position_age_ms\": null");
    free(text);
}

static void test_cluster_is_the_reference_sample(void **state)
{
    struct node_status n = primary;

    (void)state;
    n.policy.pause = true;
    n.policy.sync_mode = SYNC_MODE_PRIORITY;
    assert_text(render_cluster(&n), cluster_text);
}

static void test_cluster_when_a_member_has_no_positions_says_unknown(void **state)
{
    struct member silent = {.name = "node1", .api_url = "http://x/patroni", .state = PG_STATE_STOPPED};
    struct cluster c = {.status_lsn = 5, .members = &silent, .n_members = 1};
    struct node_status n = {.scope = "demo", .cluster = &c};

    (void)state;
    assert_text(render_cluster(&n),
                "{\"members\": [{\"name\": \"node1\", \"role\": \"replica\", \"state\": \"stopped\", \"api_url\": "
                "\"http://x/patroni\", \"receive_lsn\": \"unknown\", \"receive_lag\": \"unknown\", \"replay_lsn\": "
                "\"unknown\", \"replay_lag\": \"unknown\", \"lsn\": \"unknown\", \"lag\": \"unknown\"}], \"scope\": "
                "\"demo\"}");
}

static void assert_lacks(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("\"%s\" is in:\n%s", part, text);
}

static void test_metrics_of_a_primary_are_there(void **state)
{
    static const char *const want[] = {
        "# TYPE patroni_version gauge\npatroni_version{scope=\"demo\",name=\"node0\"} 040104\n",
        "\npatroni_postgres_running{scope=\"demo\",name=\"node0\"} 1\n",
        "\npatroni_postmaster_start_time{scope=\"demo\",name=\"node0\"} 1784901907.123456\n",
        "\npatroni_primary{scope=\"demo\",name=\"node0\"} 1\n",
        "# TYPE patroni_xlog_location counter\npatroni_xlog_location{scope=\"demo\",name=\"node0\"} 67381648\n",
        "\npatroni_replica{scope=\"demo\",name=\"node0\"} 0\n",
        "\npatroni_xlog_received_location{scope=\"demo\",name=\"node0\"} 0\n",
        "\npatroni_postgres_streaming{scope=\"demo\",name=\"node0\"} 0\n",
        "\npatroni_postgres_server_version{scope=\"demo\",name=\"node0\"} 150020\n",
        "\npatroni_cluster_unlocked{scope=\"demo\",name=\"node0\"} 0\n",
        "\npatroni_failsafe_member{scope=\"demo\",name=\"node0\"} 1\n",
        "\npatroni_postgres_timeline{scope=\"demo\",name=\"node0\"} 1\n",
        "# HELP patroni_postgres_state State of PostgreSQL as a number.\n# Values: 0=initdb, 1=initdb_failed, ",
        ", 14=crashed\n# TYPE patroni_postgres_state gauge\npatroni_postgres_state{scope=\"demo\",name=\"node0\"} 5\n",
        "\npatroni_failover_priority{scope=\"demo\",name=\"node0\"} 1\n",
        "\npgtether_lease_seconds_left{scope=\"demo\",name=\"node0\"} 7.500000\n",
        "\npgtether_fence_seconds_left{scope=\"demo\",name=\"node0\"} 4.000000\n",
        "\npgtether_keeper_state{scope=\"demo\",name=\"node0\",state=\"armed\"} 1\n",
        "\npgtether_watchdog_state{scope=\"demo\",name=\"node0\",state=\"petting\"} 1\n",
    };
    char *text = render_metrics(&primary, NOW);

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_has(text, want[i]);
    free(text);
}

static void test_metrics_when_the_lease_has_ended_show_no_primary(void **state)
{
    char *text = render_metrics(&primary, NOW + 7500000);

    (void)state;
    assert_non_null(text);
    assert_has(text, "\npatroni_primary{scope=\"demo\",name=\"node0\"} 0\n");
    assert_has(text, "\npatroni_xlog_location{scope=\"demo\",name=\"node0\"} 0\n");
    assert_has(text, "\npatroni_postgres_state{scope=\"demo\",name=\"node0\"} -1\n");
    assert_has(text, "\npgtether_lease_seconds_left{scope=\"demo\",name=\"node0\"} 0\n");
    assert_lacks(text, "patroni_postgres_streaming");
    free(text);
}

static void test_metrics_of_a_replica_convert_the_replayed_time(void **state)
{
    char *text = render_metrics(&replica, NOW);

    (void)state;
    assert_non_null(text);
    assert_has(text, "\npatroni_xlog_replayed_timestamp{scope=\"demo\",name=\"node1\"} 1784901907.500000\n");
    assert_has(text, "\npatroni_xlog_replayed_location{scope=\"demo\",name=\"node1\"} 67381648\n");
    assert_has(text, "\npatroni_postgres_streaming{scope=\"demo\",name=\"node1\"} 1\n");
    free(text);
}

static const struct storage_track well = {.state = STORAGE_OK,
                                          .answered_at_us = NOW - 500,
                                          .last = {.outcome = STORAGE_GOOD, .latency_us = 1500000},
                                          .error = "long ago",
                                          .answers = 3,
                                          .failures = 1,
                                          .latency_sum_us = 1500500,
                                          .buckets = {1, 1}};
static const struct storage_track silent = {
    .state = STORAGE_EXPIRED, .answered_at_us = NOW - 999, .error = "did not answer in time", .failures = 2};

static void test_disks_are_shown_with_what_was_found(void **state)
{
    struct node_status n = replica;
    char *text;

    (void)state;
    n.storage_data = &well;
    n.storage_wal = &silent;
    text = render_status(&n, NOW + 5000);
    assert_non_null(strstr(text, ", \"storage\": {\"data\": {\"state\": \"ok\", \"answered_ms_ago\": 5, "
                                 "\"latency_us\": 1500000}, \"wal\": {\"state\": \"expired\", "
                                 "\"answered_ms_ago\": 5, \"error\": \"did not answer in time\"}}"));
    assert_null(strstr(text, "watchdog_failed"));
    free(text);
    n.storage_fences = true;
    text = render_status(&n, NOW);
    assert_non_null(strstr(text, "\"watchdog_failed\": true"));
    free(text);
    n.storage_wal = NULL;
    text = render_status(&n, NOW);
    assert_null(strstr(text, "watchdog_failed"));
    free(text);
}

static void test_latencies_of_the_disks_are_a_histogram(void **state)
{
    static const char *const lines[] = {
        "# TYPE pgtether_storage_probe_seconds histogram\n",
        ",filesystem=\"data\",le=\"0.00025\"} 1\n",
        ",filesystem=\"data\",le=\"0.0005\"} 2\n",
        ",filesystem=\"data\",le=\"32.768\"} 2\n",
        ",filesystem=\"data\",le=\"+Inf\"} 3\n",
        "_sum{scope=\"demo\",name=\"node1\",filesystem=\"data\"} 1.500500\n",
        "_count{scope=\"demo\",name=\"node1\",filesystem=\"data\"} 3\n",
        "_count{scope=\"demo\",name=\"node1\",filesystem=\"wal\"} 0\n",
        "pgtether_storage_probe_failures_total{scope=\"demo\",name=\"node1\",filesystem=\"wal\"} 2\n",
        "pgtether_storage_state{scope=\"demo\",name=\"node1\",filesystem=\"wal\"} 5\n",
        "pgtether_storage_answer_age_seconds{scope=\"demo\",name=\"node1\",filesystem=\"data\"} 0.000500\n",
    };
    struct node_status n = replica;
    char *text;

    (void)state;
    n.storage_data = &well;
    n.storage_wal = &silent;
    text = render_metrics(&n, NOW);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (!strstr(text, lines[i]))
            fail_msg("\"%s\" is not in:\n%s", lines[i], text);
    free(text);
    text = render_metrics(&replica, NOW);
    assert_null(strstr(text, "pgtether_storage"));
    free(text);
}

static void test_metrics_when_a_name_has_quotes_escape_them(void **state)
{
    struct node_status n = primary;
    char *text;

    (void)state;
    n.name = "a\"b\\c";
    text = render_metrics(&n, NOW);
    assert_non_null(text);
    assert_has(text, "name=\"a\\\"b\\\\c\"");
    free(text);
}

static void test_page_when_texts_look_like_markup_escapes_them(void **state)
{
    char *text = render_page(&primary, NOW);

    (void)state;
    assert_non_null(text);
    assert_has(text, "I am &lt;the&gt; &quot;leader&quot; &amp; happy");
    assert_has(text, "7.5 s");
    assert_has(text, "<td>node1</td><td>10.0.0.2:5432</td>");
    assert_lacks(text, "<the>");
    free(text);
}

/* --- the router --------------------------------------------------------------------------------------------------- */

static const struct {
    const char *method, *target;
    bool html;
    unsigned want_status;
    const char *want_type, *want_start; /* NULL = no body */
} routes[] = {
    {"GET", "/", false, 200, "application/json", "{\"state\""},
    {"GET", "/", true, 200, "text/html; charset=utf-8", "<!DOCTYPE html>"},
    {"GET", "/replica", false, 503, "application/json", "{\"state\""},
    {"GET", "/replica", true, 503, "application/json", "{\"state\""},
    {"GET", "/patroni", false, 200, "application/json", "{\"state\""},
    {"GET", "/patroni/x", false, 200, "application/json", "{\"state\""},
    {"GET", "/no-such-path", false, 503, "application/json", "{\"state\""},
    {"GET", "/status", false, 200, "text/html; charset=utf-8", "<!DOCTYPE html>"},
    {"GET", "/liveness", false, 503, NULL, NULL},
    {"GET", "/readiness", false, 200, NULL, NULL},
    {"GET", "/cluster", false, 200, "application/json", "{\"members\": [{"},
    {"GET", "/history", false, 200, "application/json", "[[1, 67381864, \"no recovery target specified\"]]"},
    {"GET", "/config", false, 200, "application/json", "{\"ttl\": 30, \"postgresql\": {\"parameters\": null}}"},
    {"GET", "/metrics", false, 200, "text/plain; version=0.0.4; charset=utf-8", "# HELP patroni_version"},
    {"GET", "/failsafe", false, 200, "application/json", "{\"node0\": \"http://x\"}"},
    {"HEAD", "/", false, 200, NULL, NULL},
    {"HEAD", "/", true, 200, NULL, NULL},
    {"OPTIONS", "/primary", false, 200, NULL, NULL},
    {"OPTIONS", "/replica", false, 503, NULL, NULL},
    {"HEAD", "/patroni", false, 503, NULL, NULL},
    {"HEAD", "/liveness", false, 503, NULL, NULL},
    {"POST", "/restart", false, 501, "text/html", "not supported by this version"},
    {"PATCH", "/config", false, 501, "text/html", "not supported by this version"},
    {"PUT", "/config", false, 501, "text/html", "not supported by this version"},
    {"DELETE", "/switchover", false, 501, "text/html", "not supported by this version"},
    {"POST", "/no-such-path", false, 501, "text/html", "not supported by this version"},
    {"BREW", "/", false, 501, "text/html", "not supported by this version"},
};

static void test_router_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        struct api_request req = {.method = api_method_from_text(routes[i].method), .accepts_html = routes[i].html};
        struct api_response got;

        assert_int_equal(target_parse(routes[i].target, &req.target), 0);
        router_answer(&req, &primary, NOW, &got);
        if (got.status != routes[i].want_status || !text_equal(got.content_type, routes[i].want_type) ||
            !got.body != !routes[i].want_start || (got.body && !text_starts_with(got.body, routes[i].want_start)))
            fail_msg("%s %s: got %u, %s", routes[i].method, routes[i].target, got.status, got.body ? got.body : "-");
        api_response_done(&got);
    }
}

static void test_router_when_the_store_was_never_read_still_answers(void **state)
{
    static const struct {
        const char *target;
        unsigned want;
    } rows[] = {{"/cluster", 503}, {"/config", 502}, {"/history", 200},
                {"/metrics", 200}, {"/status", 200}, {"/", 200}};
    struct node_status n = primary;

    (void)state;
    n.cluster = NULL;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct api_request req = {.method = API_GET};
        struct api_response got;

        assert_int_equal(target_parse(rows[i].target, &req.target), 0);
        router_answer(&req, &n, NOW, &got);
        assert_int_equal(got.status, rows[i].want);
        api_response_done(&got);
    }
}

static void test_router_gives_why_to_the_agent(void **state)
{
    struct api_request req = {.method = API_GET};

    (void)state;
    assert_int_equal(target_parse("/why", &req.target), 0);
    assert_true(router_access(&req) == ROUTE_OPEN && router_command(&req) == COMMAND_WHY && !router_needs_body(&req));
    assert_int_equal(target_parse("/why?self=1", &req.target), 0);
    assert_int_equal(router_command(&req), COMMAND_WHY_SELF);
    assert_int_equal(target_parse("/patroni?self=1", &req.target), 0);
    assert_int_equal(router_command(&req), COMMAND_NONE);
}

static void test_router_protects_everything_that_changes_something(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        struct api_request req = {.method = api_method_from_text(routes[i].method)};
        enum route_access want = req.method <= API_OPTIONS ? ROUTE_OPEN : ROUTE_PROTECTED;

        assert_int_equal(target_parse(routes[i].target, &req.target), 0);
        if (router_access(&req) != want)
            fail_msg("%s %s", routes[i].method, routes[i].target);
    }
}

static void test_config_in_the_store_that_is_no_object_is_a_502(void **state)
{
    static char broken[] = "{\"ttl\":", list[] = "[1]", blank[] = "";
    static char *const texts[] = {broken, list, blank};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct cluster c = {.config = {.exists = true, .text = texts[i]}};
        struct node_status n = {.cluster = &c};
        struct api_request req = {.method = API_GET};
        struct api_response got;

        assert_int_equal(target_parse("/config", &req.target), 0);
        router_answer(&req, &n, NOW, &got);
        assert_int_equal(got.status, 502);
        api_response_done(&got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_of_a_primary_is_the_reference_sample),
        cmocka_unit_test(test_status_of_a_replica_is_the_reference_sample),
        cmocka_unit_test(test_status_when_the_lease_has_ended_says_nothing_of_the_primary),
        cmocka_unit_test(test_status_tells_of_gate_and_addresses),
        cmocka_unit_test(test_slots_are_shown_with_the_wal_they_hold_back),
        cmocka_unit_test(test_status_tells_of_watchdog_and_fence_report_behind_the_fields_of_the_reference),
        cmocka_unit_test(test_status_has_the_optional_fields_in_the_reference_order),
        cmocka_unit_test(test_outage_of_all_is_shown_with_the_command_that_ends_it),
        cmocka_unit_test(test_position_has_an_age_where_it_counts),
        cmocka_unit_test(test_cluster_is_the_reference_sample),
        cmocka_unit_test(test_cluster_when_a_member_has_no_positions_says_unknown),
        cmocka_unit_test(test_metrics_of_a_primary_are_there),
        cmocka_unit_test(test_metrics_when_the_lease_has_ended_show_no_primary),
        cmocka_unit_test(test_metrics_of_a_replica_convert_the_replayed_time),
        cmocka_unit_test(test_disks_are_shown_with_what_was_found),
        cmocka_unit_test(test_latencies_of_the_disks_are_a_histogram),
        cmocka_unit_test(test_metrics_when_a_name_has_quotes_escape_them),
        cmocka_unit_test(test_page_when_texts_look_like_markup_escapes_them),
        cmocka_unit_test(test_router_follows_the_table),
        cmocka_unit_test(test_router_when_the_store_was_never_read_still_answers),
        cmocka_unit_test(test_router_gives_why_to_the_agent),
        cmocka_unit_test(test_router_protects_everything_that_changes_something),
        cmocka_unit_test(test_config_in_the_store_that_is_no_object_is_a_502),
    };

    return cmocka_run_group_tests_name("render", tests, NULL, NULL);
}
