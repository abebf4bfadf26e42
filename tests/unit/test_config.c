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
    "watchdog: { mode = \"required\"; device = \"/dev/watchdog1\"; timeout = 5; };"
    " gate: { mode = \"nftables\"; };"
    " storage_probe: { mode = \"fence\"; interval = 2; timeout = 20; };\n"
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
    assert_int_equal(c->gate.mode, GATE_MODE_NFTABLES);
    assert_int_equal(c->storage_probe.mode, STORAGE_PROBE_FENCE);
    assert_true(c->storage_probe.interval_us == 2000000 && c->storage_probe.timeout_us == 20000000);
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

static char *changed(const char *from, const char *to);

static void test_virtual_addresses_are_read_in_one_spelling(void **state)
{
    CLEANUP(freep)
    char *text =
        changed("tags:", "vip = ( { address = \"10.0.0.100/24\"; interface = \"eth0\"; label = \"eth0:vip\"; },\n"
                         "        { address = \"FD00:0::1/64\"; interface = \"br-lan.12\"; for = \"replica\"; },\n"
                         "        { address = \"10.0.0.0/31\"; interface = \"eth0\"; for = \"primary\"; } ); tags:");
    CLEANUP(config_freep) struct config *c = NULL;
    struct config_problems problems;

    (void)state;
    assert_int_equal(config_load_text("test.conf", text, &c, &problems, NULL), 0);
    assert_int_equal(problems.n, 0);
    assert_int_equal(c->n_vips, 3);
    assert_string_equal(c->vips[0].address, "10.0.0.100/24");
    assert_string_equal(c->vips[0].interface, "eth0");
    assert_string_equal(c->vips[0].label, "eth0:vip");
    assert_false(c->vips[0].for_replica);
    assert_string_equal(c->vips[1].address, "fd00::1/64");
    assert_string_equal(c->vips[1].interface, "br-lan.12");
    assert_string_equal(c->vips[1].label, "");
    assert_true(c->vips[1].for_replica);
    assert_string_equal(c->vips[2].address, "10.0.0.0/31");
    config_problems_done(&problems);
}

static char *problems_of(const char *text, int want);

static void test_more_than_sixteen_virtual_addresses_are_refused(void **state)
{
    struct textbuf b = {0};
    CLEANUP(freep) char *list = NULL, *text = NULL, *report = NULL;

    (void)state;
    for (int i = 1; i <= 17; i++)
        textbuf_printf(&b, "%s{ address = \"10.0.0.%d/24\"; interface = \"eth0\"; }", i == 1 ? "vip = ( " : ", ", i);
    textbuf_puts(&b, " ); tags:");
    list = textbuf_take(&b);
    text = changed("tags:", list);
    report = problems_of(text, -EINVAL);
    assert_string_equal(report, "test.conf:23: vip: expected at most 16 addresses, got 17\n");
}

/* The problems as text; the caller frees. Gives up unless loading says r. */
static char *problems_of(const char *text, int want)
{
    struct config_problems problems;
    CLEANUP(config_freep) struct config *c = NULL;
    struct err err = {0};
    int r = config_load_text("test.conf", text, &c, &problems, &err);
    char *report = config_problems_text(&problems);

    if (r != want)
        fail_msg("config_load_text() returned %d, not %d: %s\n%s", r, want, err.msg, report);
    assert_true((r == 0) == (c != NULL));
    assert_true((r == -EINVAL) == problems.has_errors);
    config_problems_done(&problems);
    return report;
}

/* The good file with one place changed; the caller frees. */
static char *changed(const char *from, const char *to)
{
    const char *at = strstr(good, from);
    struct textbuf b = {0};

    if (!at)
        fail_msg("the good file has no \"%s\"", from);
    textbuf_append(&b, good, (size_t)(at - good));
    textbuf_puts(&b, to);
    textbuf_puts(&b, at + strlen(from));
    return textbuf_take(&b);
}

/* One change of the good file, and the whole of what is said about it. */
static const struct {
    const char *from, *to;
    const char *want; /* without the final newline */
} mistakes[] = {
    {"scope = \"pgcluster\";", "", "test.conf: scope: is missing; it has no default"},
    {"\"pgcluster\"", "\"a/b\"", "test.conf:1: scope: must not contain \"/\", got \"a/b\""},
    {"\"node1\"", "\"\"", "test.conf:1: name: must not be empty"},
    {"\"node1\"", "\"a\\x0ab\"", "test.conf:1: name: must not contain control characters"},
    {"\"node1\"", "7",
     "test.conf:1: name: expected a string, got the number 7\nHINT:  Put the value in double quotes."},
    {"namespace", "namspace", "test.conf:1: namspace: unknown setting \"namspace\"; did you mean \"namespace\"?"},
    {"namespace", "colour", "test.conf:1: colour: unknown setting \"colour\""},
    {"tags:", "lop_wait = 3;tags:",
     "test.conf:23: lop_wait: unknown setting \"lop_wait\"; did you mean \"bootstrap.dcs.loop_wait\"?"},
    {"tags:", "data_dir = \"/x\"; tags:",
     "test.conf:23: data_dir: unknown setting \"data_dir\"; did you mean \"postgresql.data_dir\"?"},
    {"tags:", "ttl = 3; tags:",
     "test.conf:23: ttl: \"ttl\" belongs to the dynamic configuration of the cluster, not to this file\n"
     "HINT:  Move it into bootstrap: { dcs: { ... }; }; in a running cluster, change it with "
     "\"pgtetherctl edit-config\"."},
    {"0.0.0.0:8008", "0.0.0.0:0",
     "test.conf:2: restapi.listen: expected \"host:port\", got \"0.0.0.0:0\"\n"
     "HINT:  Write IPv6 addresses in brackets: \"[::1]:5432\"."},
    {" connect_address = \"10.0.0.1:8008\";", "",
     "test.conf:2: restapi.connect_address: is missing, and \"0.0.0.0\" of \"restapi.listen\" is no address that other "
     "members can use\nHINT:  Set it to this host's address and port."},
    {"10.0.0.1:8008", "[::]:8008",
     "test.conf:2: restapi.connect_address: expected an address that other members can use, got \"::\""},
    {"restapi: {", "restapi: { verify_client = \"maybe\";",
     "test.conf:2: restapi.verify_client: expected one of \"none\", \"optional\", \"required\", got \"maybe\""},
    {"restapi: {", "restapi: { verify_client = \"required\"; cafile = \"/ca\";",
     "test.conf:2: restapi.verify_client: needs \"certfile\": without TLS no client is verified"},
    {"restapi: {", "restapi: { verify_client = \"optional\"; certfile = \"/crt\";",
     "test.conf:2: restapi.verify_client: needs \"cafile\" to verify with"},
    {"restapi: {", "restapi: { keyfile = \"/key\";", "test.conf:2: restapi.keyfile: needs \"certfile\""},
    {"restapi: {", "restapi: { certfile = \"server.crt\";",
     "test.conf:2: restapi.certfile: expected an absolute path, got \"server.crt\""},
    {"restapi: {", "restapi: { authentication: { username = \"a\"; };",
     "test.conf:2: restapi.authentication: \"username\" and \"password\" only work together"},
    {"restapi: {", "ctl: { authentication: { password = \"a\"; }; }; restapi: {",
     "test.conf:2: ctl.authentication: \"username\" and \"password\" only work together"},
    {"restapi: {", "ctl: { keyfile = \"/key\"; }; restapi: {", "test.conf:2: ctl.keyfile: needs \"certfile\""},
    {"restapi: {", "ctl: { cacert = \"ca.crt\"; }; restapi: {",
     "test.conf:2: ctl.cacert: expected an absolute path, got \"ca.crt\""},
    {"restapi: {", "restapi: { ciphers = \"NORMAL\";",
     "test.conf:2: restapi.ciphers: is not supported by this version"},
    {"\"10.0.0.2\"", "\"http://u@h\"",
     "test.conf:3: etcd3.hosts: expected \"host:port\", got \"http://u@h\"\nHINT:  Write IPv6 addresses in brackets."},
    {"[ \"10.0.0.1:2379\", \"10.0.0.2\", \"[fd00::3]:23790\" ]", "[]", "test.conf:3: etcd3.hosts: must not be empty"},
    {"hosts = [ \"10.0.0.1:2379\", \"10.0.0.2\", \"[fd00::3]:23790\" ];", "",
     "test.conf:3: etcd3: expected \"hosts\", \"host\", \"url\", \"srv\" or \"proxy\""},
    {"etcd3: {", "etcd3: { proxy = \"http://h\";", "test.conf:3: etcd3.proxy: cannot be combined with other endpoints"},
    {"etcd3: {", "etcd3: { port = 65536;", "test.conf:3: etcd3.port: 65536 is out of range: expected 1 to 65535"},
    {"etcd3: {", "etcd3: { password = \"geheim\";",
     "test.conf:3: etcd3: \"username\" and \"password\" only work together"},
    {"etcd3: {", "etcd3: { key = \"/key\";", "test.conf:3: etcd3.key: needs \"cert\""},
    {"tags:", "consul: { host = \"x\"; }; tags:", "test.conf:23: consul: is not supported by this version"},
    {"\"nftables\"", "\"iptables\"",
     "test.conf:4: gate.mode: expected one of \"off\", \"automatic\", \"nftables\", got \"iptables\""},
    {"\"nftables\"", "true", "test.conf:4: gate.mode: expected one of \"off\", \"automatic\", \"nftables\", got true"},
    {"tags:", "vip = 1; tags:", "test.conf:23: vip: expected a list of groups ( { ... }, { ... } ), got the number 1"},
    {"tags:", "vip: { }; tags:", "test.conf:23: vip: expected a list of groups ( { ... }, { ... } ), got a group"},
    {"tags:", "vip = ( 5 ); tags:",
     "test.conf:23: vip.[0]: expected a group { address = ...; interface = ...; }, got the number 5"},
    {"tags:", "vip: ( {  } ); tags:",
     "test.conf:23: vip.[0].address: is missing; it has no default\ntest.conf:23: vip.[0].interface: is missing; it "
     "has no default"},
    {"tags:", "vip: ( { interface = \"eth0\"; address = \"x\"; } ); tags:",
     "test.conf:23: vip.[0].address: expected an address with prefix length such as \"10.0.0.100/24\", got \"x\""},
    {"tags:", "vip: ( { interface = \"eth0\"; address = 10; } ); tags:",
     "test.conf:23: vip.[0].address: expected a string, got the number 10"},
    {"tags:", "vip: ( { interface = \"eth0\"; address = \"10.0.0.100\"; } ); tags:",
     "test.conf:23: vip.[0].address: expected a prefix length of 1 to 32 after the address, got \"10.0.0.100\"\nHINT:  "
     "It is the one of the interface's network, for example /24."},
    {"tags:", "vip: ( { interface = \"eth0\"; address = \"fd00::1/129\"; } ); tags:",
     "test.conf:23: vip.[0].address: expected a prefix length of 1 to 128 after the address, got "
     "\"fd00::1/129\"\nHINT:  It is the one of the interface's network, for example /24."},
    {"tags:", "vip: ( { interface = \"eth0\"; address = \"10.0.0.0/24\"; } ); tags:",
     "test.conf:23: vip.[0].address: \"10.0.0.0/24\" is the network itself or its broadcast address"},
    {"tags:", "vip: ( { interface = \"eth0\"; address = \"10.0.0.255/24\"; } ); tags:",
     "test.conf:23: vip.[0].address: \"10.0.0.255/24\" is the network itself or its broadcast address"},
    {"tags:", "vip: ( { interface = \"eth0\"; address = \"127.0.0.1/8\"; } ); tags:",
     "test.conf:23: vip.[0].address: \"127.0.0.1/8\" is no address that a host can have on a network"},
    {"tags:", "vip: ( { interface = \"eth0\"; address = \"224.0.0.1/8\"; } ); tags:",
     "test.conf:23: vip.[0].address: \"224.0.0.1/8\" is no address that a host can have on a network"},
    {"tags:", "vip: ( { interface = \"eth0\"; address = \"::1/128\"; } ); tags:",
     "test.conf:23: vip.[0].address: \"::1/128\" is no address that a host can have on a network"},
    {"tags:", "vip: ( { interface = \"eth0\"; address = \"ff02::1/64\"; } ); tags:",
     "test.conf:23: vip.[0].address: \"ff02::1/64\" is no address that a host can have on a network"},
    {"tags:", "vip: ( { address = \"10.0.0.100/24\"; interface = \"eth0; reboot\"; } ); tags:",
     "test.conf:23: vip.[0].interface: expected the name of an interface, of 1 to 15 letters, digits and \"-_.\", got "
     "\"eth0; reboot\""},
    {"tags:", "vip: ( { address = \"10.0.0.100/24\"; interface = \"sixteen-signs-xx\"; } ); tags:",
     "test.conf:23: vip.[0].interface: expected the name of an interface, of 1 to 15 letters, digits and \"-_.\", got "
     "\"sixteen-signs-xx\""},
    {"tags:", "vip: ( { address = \"10.0.0.100/24\"; interface = \"eth0\"; label = \"eth1:vip\"; } ); tags:",
     "test.conf:23: vip.[0].label: expected \"eth0:\" and letters or digits, 15 signs in all, got \"eth1:vip\""},
    {"tags:", "vip: ( { address = \"10.0.0.100/24\"; interface = \"eth0\"; label = \"eth0:vi,p\"; } ); tags:",
     "test.conf:23: vip.[0].label: expected \"eth0:\" and letters or digits, 15 signs in all, got \"eth0:vi,p\""},
    {"tags:", "vip: ( { address = \"10.0.0.100/24\"; interface = \"eth0\"; label = \"eth0:longer-than-15\"; } ); tags:",
     "test.conf:23: vip.[0].label: expected \"eth0:\" and letters or digits, 15 signs in all, got "
     "\"eth0:longer-than-15\""},
    {"tags:", "vip: ( { interface = \"eth0\"; address = \"fd00::1/64\"; label = \"eth0:vip\"; } ); tags:",
     "test.conf:23: vip.[0].label: IPv6 addresses have no label"},
    {"tags:", "vip: ( { address = \"10.0.0.100/24\"; interface = \"eth0\"; for = \"standby\"; } ); tags:",
     "test.conf:23: vip.[0].for: expected one of \"primary\", \"replica\", got \"standby\""},
    {"tags:", "vip: ( { address = \"10.0.0.100/24\"; interface = \"eth0\"; lable = \"eth0:vip\"; } ); tags:",
     "test.conf:23: vip.[0].lable: unknown setting \"lable\"; did you mean \"label\"?"},
    {"tags:", "vip: ( { address = \"10.0.0.100/24\"; interface = \"eth0\"; colour = \"x\"; } ); tags:",
     "test.conf:23: vip.[0].colour: unknown setting \"colour\""},
    {"tags:",
     "vip: ( { address = \"fd00::1/64\"; interface = \"eth0\"; }, { address = \"fd00:0:0::1/128\"; interface = "
     "\"eth1\"; } ); tags:",
     "test.conf:23: vip.[1].address: address \"fd00::1/128\" is given twice"},
    {"mode = \"fence\"", "mode = \"fense\"",
     "test.conf:4: storage_probe.mode: expected one of \"off\", \"warn\", \"fence\", got \"fense\""},
    {"interval = 2", "interval = 61", "test.conf:4: storage_probe.interval: 61 is out of range: expected 1 to 60"},
    {"timeout = 20", "timeout = 3",
     "test.conf:4: storage_probe.timeout: must be at least twice \"interval\": one late answer is no failure"},
    {"timeout = 5", "timeout = 0", "test.conf:4: watchdog.timeout: 0 is out of range: expected 1 to 65534"},
    {"timeout = 5", "timeout = 65535", "test.conf:4: watchdog.timeout: 65535 is out of range: expected 1 to 65534"},
    {"timeout = 5", "timeout = \"5 min utes\"",
     "test.conf:4: watchdog.timeout: expected a number of seconds, got \"5 min utes\""},
    {"ttl = 30", "ttl = \"soon\"", "test.conf:6: bootstrap.dcs.ttl: expected a number of seconds, got \"soon\""},
    {"loop_wait", "lop_wait",
     "test.conf:6: bootstrap.dcs.lop_wait: unknown setting \"lop_wait\"; did you mean \"loop_wait\"?"},
    {"use_slots = true", "use_slots = 2",
     "test.conf:7: bootstrap.dcs.postgresql.use_slots: expected true or false, got 2"},
    {"max_connections = 200", "max_connections = 24",
     "test.conf:8: bootstrap.dcs.postgresql.parameters.max_connections: expected a number of at least 25, got \"24\""},
    {"pg_stat_statements.track = all", "work_mem = 3MB",
     "test.conf:9: bootstrap.dcs.postgresql.custom_parameters: parameter \"work_mem\" is set twice"},
    {"dcs: {", "dcs: { slots: { a: { type = \"logical\"; }; };",
     "test.conf:6: bootstrap.dcs.slots.a: a logical slot needs a database and a plugin"},
    {"dcs: {", "dcs: { slots: { Archive: { }; };",
     "test.conf:6: bootstrap.dcs.slots: \"Archive\" is no name of a slot\n"
     "HINT:  Names of slots have lower-case letters, digits and \"_\", at most 63 of them."},
    {"dcs: {", "dcs: { ignore_slots = ( { name = \"a\"; }, 5 );",
     "test.conf:6: bootstrap.dcs.ignore_slots[1]: expected a group with name, type, database or plugin"},
    {"dcs: {", "dcs: { standby_cluster: { host = \"h\"; port = 0x10000; };",
     "test.conf:6: bootstrap.dcs.standby_cluster.port: expected the number of a port"},
    {"dcs: {",
     "dcs: { slots = { a = { b = { c = { d = { e = { f = { g = { h = { i = { j = { k = { l = { m = { n = { o = "
     "{ p = { }; }; }; }; }; }; }; }; }; }; }; }; }; }; }; }; };",
     NULL},
    {"\"data-checksums\"", "\"--pwfile=/x\"", "test.conf:10: bootstrap.initdb: option \"pwfile\" is pgtether's to set"},
    {"encoding = \"UTF8\"", "encoding = [ 1 ]",
     "test.conf:10: bootstrap.initdb.[1].encoding: expected a single value, got an array"},
    {"0.0.0.0:5432", "10.0.0.1,::1:5432",
     "test.conf:13: postgresql.listen: expected \"host:port\", got \"10.0.0.1,::1:5432\"\n"
     "HINT:  Write IPv6 addresses in brackets: \"[::1]:5432\"."},
    {"\"/var/lib/postgresql/15/pgcluster\"", "\"data\"",
     "test.conf:14: postgresql.data_dir: expected an absolute path, got \"data\""},
    {"\"/var/lib/postgresql/15/pgcluster\"", "\"//\"",
     "test.conf:14: postgresql.data_dir: must not be the root directory"},
    {"username = \"replicator\";", "",
     "test.conf:15: postgresql.authentication.replication.username: is missing; it has no default"},
    {"\"secret1\"", "12345",
     "test.conf:15: postgresql.authentication.replication.password: expected a string, got a number\n"
     "HINT:  Put the value in double quotes."},
    {"superuser:", "suepruser:",
     "test.conf:16: postgresql.authentication.suepruser: unknown setting \"suepruser\"; did you mean \"superuser\"?"},
    {"log_checkpoints = true", "log_checkpoints = ()",
     "test.conf:17: postgresql.parameters.log_checkpoints: expected a single value, got a list"},
    {"log_checkpoints", "log-checkpoints",
     "test.conf:17: postgresql.parameters.log-checkpoints: \"log-checkpoints\" is no name of a parameter"},
    {"{ work_mem = \"32MB\"; max_connections = 200; }", "( \"work_mem = 32MB\" )",
     "test.conf:8: bootstrap.dcs.postgresql.parameters: expected a group of parameters"},
    {"max_connections", "max-connections",
     "test.conf:8: bootstrap.dcs.postgresql.parameters: \"max-connections\" is no name of a parameter"},
    {"auto_explain.log_format = ", "auto explain = ",
     "test.conf:18: postgresql.custom_parameters.[0]: expected \"name = value\", got \"auto explain = 'it''s'\""},
    {"[ \"local all all peer\", \"host all all 0.0.0.0/0 md5\" ]", "{ }",
     "test.conf:19: postgresql.pg_hba: expected a list of strings, got a group"},
    {"[ \"basebackup\" ]", "( \"pgbackrest\" )",
     "test.conf:20: postgresql.create_replica_methods: \"pgbackrest\" is not supported by this version yet"},
    {"[ \"basebackup\" ]", "\"mine\"",
     "test.conf:20: postgresql.create_replica_methods: \"mine\" is not supported by this version; expected "
     "\"basebackup\""},
    {"[ \"basebackup\" ]", "( 5 )",
     "test.conf:20: postgresql.create_replica_methods: expected a string, got the number 5\n"
     "HINT:  Put the value in double quotes."},
    {"nofailover = false", "nofailover = 2", "test.conf:23: tags.nofailover: expected true or false, got the number 2"},
    {"nofailover = false", "failover_priority = \"first\"",
     "test.conf:23: tags.failover_priority: expected a number, got \"first\""},
    {"nofailover = false", "zone = ( 1 )", "test.conf:23: tags.zone: expected a single value"},
    {"nofailover = false", "replicatefrom = 1", "test.conf:23: tags.replicatefrom: expected the name of a member"},
    {"tags: { nofailover = false; clonefrom = true; };", "tags = 1;", "test.conf:23: tags: expected a group { ... }"},
    {"watchdog: { mode = \"required\"; device = \"/dev/watchdog1\"; timeout = 5; };", "watchdog = true;",
     "test.conf:4: watchdog: expected a group { ... }, got true"},
    {"tags:", "tags", "test.conf:23: syntax error"},
    {"log_checkpoints = true", "\na.b = true",
     "test.conf:18: syntax error\nHINT:  Names with dots go into custom_parameters = ( \"name = value\", ... )."},
    {"name = \"node1\"", "\nname = 'node1'", "test.conf:2: syntax error\nHINT:  Strings are written in double quotes."},
    {"name = \"node1\"", "name = \"a\"; name = \"b\"", "test.conf:1: duplicate setting name"},
    {"clonefrom = true; };", "clonefrom = true; x = \"", "test.conf:23: string that begins here has no end"},
    {"tags:", "/* tags:", "test.conf:23: comment that begins here has no end"},
    {"timeout = 5", "timeout = 99999999999999999999", NULL},
    {"tags:", "@other \"x\" tags:",
     "test.conf:23: syntax error at \"@\"\nHINT:  Write @include \"file\" on a line of its own."},
};

static void test_config_load_of_one_mistake_says_exactly_what_and_where(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        CLEANUP(freep) char *text = changed(mistakes[i].from, mistakes[i].to);
        CLEANUP(freep) char *report = problems_of(text, -EINVAL);
        size_t len = strlen(report);

        if (!mistakes[i].want)
            continue;
        assert_true(len > 0);
        report[len - 1] = '\0';
        if (strcmp(report, mistakes[i].want) != 0)
            fail_msg("\"%s\":\n%s\ninstead of\n%s", mistakes[i].to, report, mistakes[i].want);
    }
}

/* The same for what is only worth a warning: the file can be used. */
static const struct {
    const char *from, *to, *want;
} warnings[] = {
    {"ttl = 30", "ttl = 4", "test.conf:6: warning: bootstrap.dcs.ttl: 4 is below the minimum; using 5"},
    {"ttl = 30", "ttl = 29",
     "test.conf:6: warning: bootstrap.dcs.loop_wait: loop_wait + 2 * retry_timeout must not exceed ttl (10 + 2 * 10 > "
     "29); using loop_wait 9\nHINT:  Make ttl at least loop_wait + 2 * retry_timeout."},
    {"dcs: {", "dcs: { primary_race_backoff = 5;",
     "test.conf:6: warning: bootstrap.dcs.primary_race_backoff: is not supported by this version and is ignored"},
    {"max_connections = 200", "port = 200",
     "test.conf:8: warning: bootstrap.dcs.postgresql.parameters.port: follows from \"postgresql.listen\" and is "
     "ignored here"},
    {"log_checkpoints = true", "max_connections = 200",
     "test.conf:17: warning: postgresql.parameters.max_connections: must be the same on all members and is ignored in "
     "this file\nHINT:  Set it for all members: in bootstrap.dcs, or with \"pgtetherctl edit-config\" later."},
    {"log_checkpoints = true", "Cluster_Name = \"x\"",
     "test.conf:17: warning: postgresql.parameters.Cluster_Name: follows from \"scope\" and is ignored here"},
    {"10.0.0.1:5432", "127.0.0.1:5432",
     "test.conf:13: warning: postgresql.connect_address: members on other hosts cannot reach \"127.0.0.1\""},
    {"etcd3: {", "etcd3: { cacert = \"/ca\";",
     "test.conf:3: warning: etcd3.cacert: is not used: \"http://10.0.0.1:2379\" is not reached through TLS\n"
     "HINT:  Set etcd3.protocol = \"https\"."},
    {"max-rate", "port",
     "test.conf:21: warning: postgresql.basebackup: option \"port\" is pgtether's to set and is ignored"},
    {"nofailover = false", "nofailover = true; failover_priority = 1",
     "test.conf:23: warning: tags.nofailover: contradicts \"failover_priority\" and wins over it"},
    {"tags:", "log: { type = \"json\"; }; tags:",
     "test.conf:23: warning: log.type: \"json\" is not supported by this version yet"},
    {"timeout = 5", "safety_margin = 5",
     "test.conf:4: warning: watchdog.safety_margin: has no effect in this version and is ignored"},
};

static void test_config_load_of_something_odd_warns_and_goes_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(warnings); i++) {
        CLEANUP(freep) char *text = changed(warnings[i].from, warnings[i].to);
        CLEANUP(freep) char *report = problems_of(text, 0);

        if (strncmp(report, warnings[i].want, strlen(warnings[i].want)) != 0)
            fail_msg("\"%s\":\n%s\ninstead of\n%s", warnings[i].to, report, warnings[i].want);
    }
}

static void test_config_load_of_ten_mistakes_reports_ten(void **state)
{
    static const char text[] = "scope = 1;\n"
                               "nmae = \"node1\"; name = \"n/1\";\n"
                               "restapi: { listen = \"x:y\"; };\n"
                               "etcd3: { hosts = ( \"a b\" ); port = 0; };\n"
                               "bootstrap: { dcs: {\n"
                               "  ttl = true;\n"
                               "}; };\n"
                               "postgresql: {\n"
                               "  listen = \"10.0.0.1\"; data_dir = \"x\"; bin_dir = \"/bin\";\n"
                               "  authentication: { replication: { username = \"r\"; }; };\n"
                               "  create_replica_methods = \"tape\";\n"
                               "};\n"
                               "log: { level = \"loud\"; };\n";
    CLEANUP(freep) char *report = problems_of(text, -EINVAL);

    (void)state;
    assert_string_equal(
        report,
        "test.conf:1: scope: expected a string, got the number 1\nHINT:  Put the value in double quotes.\n"
        "test.conf:2: nmae: unknown setting \"nmae\"; did you mean \"name\"?\n"
        "test.conf:2: name: must not contain \"/\", got \"n/1\"\n"
        "test.conf:3: restapi.listen: expected \"host:port\", got \"x:y\"\n"
        "HINT:  Write IPv6 addresses in brackets: \"[::1]:5432\".\n"
        "test.conf:4: etcd3.port: 0 is out of range: expected 1 to 65535\n"
        "test.conf:4: etcd3.hosts: expected \"host:port\", got \"a b\"\nHINT:  Write IPv6 addresses in brackets.\n"
        "test.conf:6: bootstrap.dcs.ttl: expected a number of seconds, got true\n"
        "test.conf:9: postgresql.data_dir: expected an absolute path, got \"x\"\n"
        "test.conf:11: postgresql.create_replica_methods: \"tape\" is not supported by this version; expected "
        "\"basebackup\"\n"
        "test.conf:13: log.level: expected one of \"debug\", \"info\", \"warning\", \"error\", got \"loud\"\n");
}

static void test_config_load_never_prints_a_password(void **state)
{
    CLEANUP(freep)
    char *text = changed("username = \"replicator\"; password = \"secret1\";",
                         "password = \"secret1\"; pasword = \"secret3\"; sslpassword = ( \"secret4\" );");
    CLEANUP(freep) char *report = problems_of(text, -EINVAL);

    (void)state;
    assert_non_null(strstr(report, "pasword"));
    assert_null(strstr(report, "secret"));
}

static void test_config_load_of_the_least_gives_the_defaults(void **state)
{
    static const char least[] =
        "scope = \"c\"; name = \"n\"; etcd3: { host = \"h\"; }; restapi: { listen = \"10.0.0.1\"; };\n"
        "postgresql: { listen = \"127.0.0.1,10.0.0.9,10.0.0.10\"; data_dir = \"/var/lib/pg/data//\"; bin_dir = "
        "\"/b\";\n"
        "  authentication: { replication: { username = \"r\"; }; }; };\n";
    CLEANUP(config_freep) struct config *c = NULL;
    struct config_problems problems;

    (void)state;
    assert_int_equal(config_load_text("x", least, &c, &problems, NULL), 0);
    assert_int_equal(problems.n, 0);
    assert_string_equal(c->namespace_, "/service/");
    assert_string_equal(c->dcs.namespace_, "/service/");
    assert_string_equal(c->dcs.scope, "c");
    assert_string_equal(c->dcs.member_name, "n");
    assert_string_equal(c->restapi.listen_host, "10.0.0.1");
    assert_int_equal(c->restapi.listen_port, 8008);
    assert_string_equal(c->restapi.connect_host, "10.0.0.1");
    assert_string_equal(c->restapi.tls.verify_client, "none");
    assert_int_equal(c->watchdog.mode, WATCHDOG_AUTOMATIC);
    assert_int_equal(c->gate.mode, GATE_MODE_AUTOMATIC);
    assert_string_equal(c->watchdog.device, "/dev/watchdog");
    assert_true(c->watchdog.timeout_us == 0);
    assert_int_equal(c->storage_probe.mode, STORAGE_PROBE_WARN);
    assert_true(c->storage_probe.interval_us == 0 && c->storage_probe.timeout_us == 0);
    assert_string_equal(c->postgresql.listen_addresses, "127.0.0.1,10.0.0.9,10.0.0.10");
    assert_string_equal(c->postgresql.connect_host, "10.0.0.9");
    assert_int_equal(c->postgresql.connect_port, 5432);
    assert_string_equal(c->postgresql.data_dir, "/var/lib/pg/data");
    assert_string_equal(c->postgresql.config_dir, "/var/lib/pg/data");
    assert_string_equal(c->postgresql.pgpass, "/var/lib/pg/pgpass-n");
    assert_string_equal(c->postgresql.log_file, "/var/log/postgresql/pgtether-c-n.log");
    assert_string_equal(c->postgresql.run_dir, "/run/pgtether");
    assert_string_equal(c->postgresql.database, "postgres");
    assert_string_equal(c->postgresql.config_base_name, "postgresql");
    assert_string_equal(c->postgresql.superuser.username, "postgres");
    assert_string_equal(c->postgresql.create_replica_methods.items[0], "basebackup");
    assert_false(c->postgresql.use_pg_rewind_is_set);
    assert_false(c->postgresql.use_unix_socket);
    assert_string_equal(c->bootstrap.dcs_json, "{}");
    assert_string_equal(c->tags_json, "{}");
    assert_string_equal(c->log.level, "info");
    config_problems_done(&problems);
}

/* What etcd3 says, and the URLs it means. */
static const struct {
    const char *section;
    const char *want; /* joined by blanks */
    bool discover;
} stores[] = {
    {"host = \"h\";", "http://h:2379", true},
    {"host = \"h:1\"; protocol = \"HTTPS\";", "https://h:1", true},
    {"hosts = \"a, b:2 ,[::1]\";", "http://a:2379 http://b:2 http://[::1]:2379", true},
    {"hosts = ( \"a\" ); port = 4001; use_proxies = \"yes\";", "http://a:4001", false},
    {"url = \"https://h:3/\";", "https://h:3", true},
    {"proxy = \"http://p:2379\";", "http://p:2379", false},
    {"srv = \"example.com\";", "", true},
};

static void test_config_load_turns_every_spelling_of_the_store_into_urls(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(stores); i++) {
        CLEANUP(freep)
        char *text = changed("hosts = [ \"10.0.0.1:2379\", \"10.0.0.2\", \"[fd00::3]:23790\" ];", stores[i].section);
        CLEANUP(config_freep) struct config *c = NULL;
        struct config_problems problems;
        struct textbuf urls = {0};

        assert_int_equal(config_load_text("x", text, &c, &problems, NULL), 0);
        for (size_t k = 0; k < c->dcs.hosts.n; k++)
            textbuf_printf(&urls, "%s%s", k ? " " : "", c->dcs.hosts.items[k]);
        assert_string_equal(urls.data ? urls.data : "", stores[i].want);
        assert_int_equal(c->dcs.discover_members, stores[i].discover);
        textbuf_done(&urls);
        config_problems_done(&problems);
    }
}

/* Tags, what is published of them, and whether the member may become leader. */
static const struct {
    const char *tags, *want;
    bool nofailover;
    int failover_priority;
} tag_rows[] = {
    {"", "{}", false, 1},
    {"nofailover = false; nosync = \"off\"; nostream = 0;", "{}", false, 1},
    {"nofailover = \"yes\"; zone = \"a\"; rack = 7;", "{\"nofailover\":true,\"zone\":\"a\",\"rack\":7}", true, 1},
    {"nofailover = false; failover_priority = 3;", "{\"nofailover\":false,\"failover_priority\":3}", false, 3},
    {"nosync = false; sync_priority = 2;", "{\"nosync\":false,\"sync_priority\":2}", false, 1},
    {"failover_priority = 0;", "{\"failover_priority\":0}", false, 0},
    {"nofailover = false; failover_priority = 0;", "{\"nofailover\":false,\"failover_priority\":0}", false, 1},
    {"replicatefrom = \"node2\"; clonefrom = true;", "{\"replicatefrom\":\"node2\",\"clonefrom\":true}", false, 1},
    {"zone = \"\xc3\xa4\"; on = false;", "{\"zone\":\"\\u00E4\",\"on\":false}", false, 1},
};

static void test_config_load_publishes_tags_as_the_reference_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(tag_rows); i++) {
        CLEANUP(freep) char *text = changed("nofailover = false; clonefrom = true;", tag_rows[i].tags);
        CLEANUP(config_freep) struct config *c = NULL;
        struct config_problems problems;

        assert_int_equal(config_load_text("x", text, &c, &problems, NULL), 0);
        assert_string_equal(c->tags_json, tag_rows[i].want);
        assert_int_equal(c->tags.nofailover, tag_rows[i].nofailover);
        assert_int_equal(c->tags.failover_priority, tag_rows[i].failover_priority);
        config_problems_done(&problems);
    }
}

static const struct {
    const char *text;
    const char *host; /* NULL = malformed */
    uint16_t port;
} addresses[] = {
    {"10.0.0.1:5432", "10.0.0.1", 5432},
    {"host", "host", 99},
    {"*:5432", "*", 5432},
    {"[::1]:5432", "::1", 5432},
    {"[::1]", "::1", 99},
    {"h:1", "h", 1},
    {"h:65535", "h", 65535},
    {"h:65536", NULL, 0},
    {"h:0", NULL, 0},
    {"h:", NULL, 0},
    {"h:1x", NULL, 0},
    {"h:-1", NULL, 0},
    {":5432", NULL, 0},
    {"", NULL, 0},
    {"[]:1", NULL, 0},
    {"[::1", NULL, 0},
    {"[::1]x", NULL, 0},
    {"::1:5432", NULL, 0},
    {"a b:1", NULL, 0},
    {"a,b:1", NULL, 0},
};

static void test_config_parse_address_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        char host[64] = "untouched";
        uint16_t port = 7;
        bool ok = config_parse_address(addresses[i].text, 99, host, sizeof(host), &port);

        if (ok != (addresses[i].host != NULL))
            fail_msg("\"%s\": %s", addresses[i].text, ok ? "accepted" : "refused");
        assert_string_equal(host, ok ? addresses[i].host : "untouched");
        assert_int_equal(port, ok ? addresses[i].port : 7);
    }
}

static void test_config_parse_address_of_a_host_that_does_not_fit_is_false(void **state)
{
    char host[4];
    uint16_t port;

    (void)state;
    assert_true(config_parse_address("abc", 1, host, sizeof(host), &port));
    assert_false(config_parse_address("abcd", 1, host, sizeof(host), &port));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_virtual_addresses_are_read_in_one_spelling),
        cmocka_unit_test(test_more_than_sixteen_virtual_addresses_are_refused),
        cmocka_unit_test(test_config_load_of_a_whole_file_gives_every_value),
        cmocka_unit_test(test_config_load_of_one_mistake_says_exactly_what_and_where),
        cmocka_unit_test(test_config_load_of_something_odd_warns_and_goes_on),
        cmocka_unit_test(test_config_load_of_ten_mistakes_reports_ten),
        cmocka_unit_test(test_config_load_never_prints_a_password),
        cmocka_unit_test(test_config_load_of_the_least_gives_the_defaults),
        cmocka_unit_test(test_config_load_turns_every_spelling_of_the_store_into_urls),
        cmocka_unit_test(test_config_load_publishes_tags_as_the_reference_does),
        cmocka_unit_test(test_config_parse_address_follows_the_table),
        cmocka_unit_test(test_config_parse_address_of_a_host_that_does_not_fit_is_false),
    };

    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
