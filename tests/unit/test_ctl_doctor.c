/* doctor: each mistake is found and has a hint; a sound cluster has none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "ctl_lab.h"

#define MEMBER(more)                                                                                                   \
    "{\"conn_url\":\"postgres://127.0.0.1:9/postgres\",\"api_url\":\"@/patroni\",\"state\":\"running\","               \
    "\"role\":\"replica\",\"version\":\"4.1.4\",\"timeline\":1" more "}"
#define LEADER                                                                                                         \
    {                                                                                                                  \
        "leader", "node1", 4                                                                                           \
    }
#define SYSID                                                                                                          \
    {                                                                                                                  \
        "initialize", "7412345678901234567", 2                                                                         \
    }
#define ANSWER(text)                                                                                                   \
    {                                                                                                                  \
        .path = "/patroni", .body = text                                                                               \
    }

static struct ctl_lab lab;

static const struct {
    const char *name;
    const char *config; /* added to the file */
    struct ctl_lab_key keys[6];
    struct canned_rule rest;
    const char *want;
} rows[] = {
    {"no cluster", NULL, {{0}}, ANSWER("{}"), "  warn  cluster \"demo\" does not exist yet\n"},
    {"being made", NULL, {{"initialize", "", 2}, {"members/a", MEMBER(""), 0}}, ANSWER("{}"), "is being made\n"},
    {"left behind",
     NULL,
     {SYSID},
     ANSWER("{}"),
     "  BAD   the store knows cluster \"demo\" (7412345678901234567), but no"},
    {"nobody leads", NULL, {SYSID, {"members/a", MEMBER(""), 0}}, ANSWER("{}"), "  BAD   the cluster has no leader\n"},
    {"somebody leads", NULL, {SYSID, LEADER}, ANSWER("{}"), "  ok    cluster \"demo\" is led by node1\n"},
    {"leader unseen", NULL, {SYSID, LEADER}, ANSWER("{}"), "  BAD   node1 leads but has no member key\n"},
    {"paused", NULL, {SYSID, LEADER, {"config", "{\"pause\":true}", 3}}, ANSWER("{}"), "  warn  the cluster is paused"},
    {"settings refused",
     NULL,
     {SYSID, LEADER, {"config", "{\"ttl\":\"soon\"}", 3}},
     ANSWER("{}"),
     "  BAD   the dynamic configuration in the store cannot be used"},
    {"settings adjusted", NULL, {SYSID, LEADER, {"config", "{\"ttl\":3}", 3}}, ANSWER("{}"), "  warn  ttl: "},
    {"settings sound",
     NULL,
     {SYSID, LEADER, {"config", "{\"ttl\":25,\"loop_wait\":5,\"retry_timeout\":10}", 3}},
     ANSWER("{}"),
     "  ok    ttl 25, loop_wait 5, retry_timeout 10 in the store\n"},
    {"watchdog slower than the lease",
     "watchdog: { timeout = 25; };\n",
     {SYSID, LEADER, {"config", "{\"ttl\":30,\"loop_wait\":5}", 3}},
     ANSWER("{}"),
     "  BAD   the watchdog resets after 25 s, and a lease of 30 s leaves no time"},
    {"watchdog fast enough",
     "watchdog: { timeout = 24; };\n",
     {SYSID, LEADER, {"config", "{\"ttl\":30,\"loop_wait\":5}", 3}},
     ANSWER("{}"),
     "  ok    the watchdog's 24 s fit into the lease\n"},
    {"REST answers",
     NULL,
     {SYSID, LEADER, {"members/node1", MEMBER(""), 0}},
     ANSWER("{\"state\":\"running\"}"),
     "  ok    node1: the REST API answers, PostgreSQL is running\n"},
    {"REST is something else",
     NULL,
     {SYSID, LEADER, {"members/node1", MEMBER(""), 0}},
     ANSWER("<html>"),
     "  BAD   node1 answered /patroni with status 200 and no JSON\n"},
    {"PostgreSQL unreachable",
     NULL,
     {SYSID, LEADER, {"members/node1", MEMBER(""), 0}},
     ANSWER("{}"),
     "  BAD   node1: nobody answers as PostgreSQL at 127.0.0.1:9\n"},
    {"watchdog failed",
     NULL,
     {SYSID, LEADER, {"members/node1", MEMBER(""), 0}},
     ANSWER("{\"watchdog_failed\":true}"),
     "  BAD   node1: the watchdog it requires does not work\n"},
    {"pending restart",
     NULL,
     {SYSID, LEADER, {"members/node1", MEMBER(""), 0}},
     ANSWER("{\"pending_restart\":true}"),
     "  warn  node1: settings wait for a restart\n        HINT:  \"pgtetherctl rolling-restart --pending\".\n"},
    {"clock ahead",
     NULL,
     {SYSID, LEADER, {"members/node1", MEMBER(""), 0}},
     ANSWER("{\"dcs_last_seen\":4102444800}"),
     " s ahead of this host's\n"},
    {"clock behind, or the store unread",
     NULL,
     {SYSID, LEADER, {"members/node1", MEMBER(""), 0}},
     ANSWER("{\"dcs_last_seen\":1000000000}"),
     "node1: last read the store "},
    {"alone",
     NULL,
     {SYSID, LEADER, {"members/node1", MEMBER(""), 0}},
     ANSWER("{}"),
     "nobody can take over from node1\n"},
    {"does not stream",
     NULL,
     {SYSID,
      LEADER,
      {"members/node1", MEMBER(""), 0},
      {"members/node2", MEMBER(",\"replication_state\":\"in archive recovery\""), 0}},
     ANSWER("{}"),
     "  warn  node2: does not stream (in archive recovery)\n"},
    {"lags",
     NULL,
     {SYSID,
      LEADER,
      {"status", "{\"optime\":9000000}", 0},
      {"members/node1", MEMBER(""), 0},
      {"members/node2", MEMBER(",\"replay_lsn\":1000000"), 0}},
     ANSWER("{}"),
     "  warn  node2: lacks 7 MB of the leader's WAL\n"},
    {"another one of our name",
     NULL,
     {SYSID, LEADER, {"members/ctl", MEMBER(""), 0}},
     ANSWER("{}"),
     "  BAD   \"ctl\" is in the store with address 127.0.0.1:9, here it is 10.0.0.9:5432\n"},
    {"not in the store", NULL, {SYSID, LEADER}, ANSWER("{}"), "  warn  \"ctl\" is not in the store"},
    {"programs missing", NULL, {SYSID, LEADER}, ANSWER("{}"), "  BAD   there is no program \"/tmp/postgres\"\n"},
    {"no data directory",
     NULL,
     {SYSID, LEADER},
     ANSWER("{}"),
     "  warn  there is no data directory \"/nowhere/x\" yet\n"},
    {"watchdog off", "watchdog: { mode = \"off\"; };\n", {SYSID}, ANSWER("{}"), "  warn  no watchdog is used"},
    {"watchdog missing",
     "watchdog: { mode = \"required\"; device = \"/dev/no-watchdog\"; };\n",
     {SYSID},
     ANSWER("{}"),
     "  BAD   there is no watchdog device \"/dev/no-watchdog\", and it is required"},
    {"one endpoint", NULL, {SYSID}, ANSWER("{}"), "is etcd 3.4.23, answered in "},
};

static void test_doctor_finds_each_mistake(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n = 0;

        while (n < ARRAY_LEN(rows[i].keys) && rows[i].keys[n].key)
            n++;
        ctl_lab_open(&lab, rows[i].config, &rows[i].rest, 1, rows[i].keys, n);
        ctl_lab_run(&lab, cmd_doctor, "doctor", "");
        if (!strstr(lab.out, rows[i].want))
            fail_msg("%s: expected \"%s\", got\n%s%s", rows[i].name, rows[i].want, lab.out, lab.errors);
        ctl_lab_close(&lab);
    }
}

static void test_doctor_when_something_is_bad_exits_with_failure(void **state)
{
    static const struct ctl_lab_key keys[] = {SYSID, LEADER};

    (void)state;
    ctl_lab_open(&lab, NULL, NULL, 0, keys, ARRAY_LEN(keys));
    ctl_lab_run(&lab, cmd_doctor, "doctor", "");
    ctl_lab_expect(&lab, EXIT_FAILED, " bad, ");
    ctl_lab_run(&lab, cmd_doctor, "doctor demo", "");
    ctl_lab_expect(&lab, EXIT_USAGE, "unexpected argument");
    ctl_lab_close(&lab);
}

static void test_doctor_looks_into_the_data_directory(void **state)
{
    static const struct ctl_lab_key keys[] = {SYSID, LEADER};
    char dir[] = "/tmp/pgtether-test-doctor-XXXXXX", path[128], pid[128];
    int fd;

    (void)state;
    assert_non_null(mkdtemp(dir));
    ctl_lab_open(&lab, NULL, NULL, 0, keys, ARRAY_LEN(keys));
    free(lab.ctl.config->postgresql.data_dir);
    lab.ctl.config->postgresql.data_dir = strdup(dir);

    ctl_lab_run(&lab, cmd_doctor, "doctor", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "  ok    no PostgreSQL runs in ");
    assert_int_equal(chmod(dir, 0777), 0);
    ctl_lab_run(&lab, cmd_doctor, "doctor", "");
    ctl_lab_expect(&lab, EXIT_FAILED,
                   "is open to others; PostgreSQL refuses to start\n        HINT:  chmod 0700, or 0750.");
    assert_int_equal(chmod(dir, 0700), 0);

    /* This test is alive, and no server in there. */
    assert_true(text_print(path, sizeof(path), "%s/postmaster.pid", dir));
    assert_true(text_print(pid, sizeof(pid), "%d\n%s\n%ld\n5432\n/tmp\n", (int)getpid(), dir, (long)time(NULL)));
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, pid, strlen(pid)) == (ssize_t)strlen(pid));
    assert_int_equal(close(fd), 0);
    ctl_lab_run(&lab, cmd_doctor, "doctor", "");
    ctl_lab_expect(&lab, EXIT_FAILED, "/postmaster.pid\" is stale: process ");

    assert_int_equal(unlink(path) | rmdir(dir), 0);
    ctl_lab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doctor_finds_each_mistake),
        cmocka_unit_test(test_doctor_when_something_is_bad_exits_with_failure),
        cmocka_unit_test(test_doctor_looks_into_the_data_directory),
    };

    return cmocka_run_group_tests_name("ctl doctor", tests, NULL, NULL);
}
