#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "config/config.h"
#include "config/load.h"
#include "config/lists.h"

/* A whole file, as DESIGN has it; the tests below take it as their starting point. */
static const char good[] =
    "scope = \"pgcluster\"; namespace = \"service\"; name = \"node1\";\n"
    "restapi: { listen = \"0.0.0.0:8008\"; connect_address = \"10.0.0.1:8008\"; };\n"
    "etcd3: { hosts = [ \"10.0.0.1:2379\", \"10.0.0.2\", \"[fd00::3]:23790\" ]; };\n"
    "watchdog: { mode = \"required\"; device = \"/dev/watchdog1\"; timeout = 5; };\n"
    "bootstrap: {\n"
    "  dcs: { ttl = 30; loop_wait = 10; retry_timeout = 10; maximum_lag_on_failover = 5368709120;\n"
    "         postgresql: { use_pg_rewind = true; use_slots = true;\n"
    "                       parameters: { work_mem = \"32MB\"; max_connections = 200; };\n"
    "                       custom_parameters = ( \"pg_stat_statements.track = all\" ); }; };\n"
    "  initdb = ( \"data-checksums\", { encoding = \"UTF8\"; } );\n"
    "};\n"
    "postgresql: {\n"
    "  listen = \"0.0.0.0:5432\"; connect_address = \"10.0.0.1:5432\";\n"
    "  data_dir = \"/var/lib/postgresql/15/pgcluster\"; bin_dir = \"/usr/lib/postgresql/15/bin\";\n"
    "  authentication: { replication: { username = \"replicator\"; password = \"secret1\"; };\n"
    "                    superuser:   { username = \"admin\"; password = \"secret2\"; }; };\n"
    "  parameters: { log_min_duration_statement = 250; log_checkpoints = true; };\n"
    "  custom_parameters = ( \"auto_explain.log_format = 'it''s'\" );\n"
    "  pg_hba = [ \"local all all peer\", \"host all all 0.0.0.0/0 md5\" ];\n"
    "  create_replica_methods = [ \"basebackup\" ];\n"
    "  basebackup: { max-rate = \"100M\"; checkpoint = \"fast\"; no-verify-checksums = true; };\n"
    "};\n"
    "tags: { nofailover = false; clonefrom = true; };\n";

static void test_config_load_of_a_whole_file_gives_every_value(void **state)
{
    struct config_problems problems;
    struct config *c = NULL;
    struct err err = {0};
    char *text;

    (void)state;
    assert_int_equal(config_load_text("good.conf", good, &c, &problems, &err), 0);
    text = config_problems_text(&problems);
    assert_string_equal(text, "");
    free(text);
    assert_string_equal(c->scope, "pgcluster");
    assert_string_equal(c->namespace_, "/service/");
    assert_string_equal(c->restapi.connect_host, "10.0.0.1");
    assert_int_equal(c->restapi.connect_port, 8008);
    assert_int_equal(c->dcs.hosts.n, 3);
    assert_string_equal(c->dcs.hosts.items[1], "http://10.0.0.2:2379");
    assert_string_equal(c->dcs.hosts.items[2], "http://[fd00::3]:23790");
    assert_true(c->dcs.discover_members);
    assert_int_equal(c->watchdog.mode, WATCHDOG_REQUIRED);
    assert_true(c->watchdog.timeout_us == 5000000);
    assert_string_equal(
        c->bootstrap.dcs_json,
        "{\"ttl\":30,\"loop_wait\":10,\"retry_timeout\":10,\"maximum_lag_on_failover\":5368709120,"
        "\"postgresql\":{\"use_pg_rewind\":true,\"use_slots\":true,\"parameters\":{\"work_mem\":\"32MB\","
        "\"max_connections\":200,\"pg_stat_statements.track\":\"all\"}}}");
    assert_int_equal(c->bootstrap.initdb.n, 2);
    assert_null(c->bootstrap.initdb.items[0].value);
    assert_string_equal(c->bootstrap.initdb.items[1].value, "UTF8");
    assert_string_equal(c->postgresql.listen_addresses, "0.0.0.0");
    assert_string_equal(c->postgresql.config_dir, "/var/lib/postgresql/15/pgcluster");
    assert_string_equal(c->postgresql.pgpass, "/var/lib/postgresql/15/pgpass-node1");
    assert_string_equal(c->postgresql.log_file, "/var/log/postgresql/pgtether-pgcluster-node1.log");
    assert_string_equal(c->postgresql.superuser.password, "secret2");
    assert_string_equal(settings_find(&c->postgresql.parameters, "log_checkpoints")->value, "on");
    assert_string_equal(settings_find(&c->postgresql.parameters, "log_min_duration_statement")->value, "250");
    assert_string_equal(settings_find(&c->postgresql.parameters, "auto_explain.log_format")->value, "it's");
    assert_int_equal(c->postgresql.pg_hba.n, 2);
    assert_int_equal(c->postgresql.basebackup.n, 3);
    assert_null(c->postgresql.basebackup.items[2].value);
    assert_string_equal(c->tags_json, "{\"clonefrom\":true}");
    assert_int_equal(c->tags.failover_priority, 1);
    config_free(c);
    config_problems_done(&problems);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_load_of_a_whole_file_gives_every_value),
    };

    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
