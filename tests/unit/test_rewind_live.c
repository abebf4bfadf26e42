/* Two real servers that part, and the way back; see live_postgres.h for when this is skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "backup/fill.h"
#include "base/clock.h"
#include "base/text.h"
#include "live_postgres.h"
#include "pg/controldata.h"
#include "pg/rewind.h"
#include "pg/server.h"

enum { TIMEOUT_S = 120 };

struct outcome {
    bool has_written;
    bool is_done;
    int code;
    enum rewind_need need;
    uint32_t timeline;
    struct err err;
    struct local_pg found;
};

static struct config *node1, *node2;

static void on_done(void *userdata, int outcome, const struct err *err)
{
    struct outcome *o = userdata;

    assert_false(o->is_done);
    *o = (struct outcome){.is_done = true, .code = outcome, .err = *err};
}

static void on_control(void *userdata, int outcome, const struct local_pg *found, const struct err *err)
{
    struct outcome *o = userdata;

    *o = (struct outcome){.is_done = true, .code = outcome, .err = *err, .found = *found};
}

static void on_checked(void *userdata, enum rewind_need need, uint32_t leader_timeline, const struct err *err)
{
    struct outcome *o = userdata;

    assert_false(o->is_done);
    *o = (struct outcome){.is_done = true, .need = need, .timeline = leader_timeline, .err = *err};
}

static struct pg_upstream upstream_of(const struct config *c)
{
    return (struct pg_upstream){c->name, c->postgresql.connect_host, c->postgresql.connect_port};
}

static struct local_pg look(sd_event *loop, const struct config *c)
{
    struct pg_controldata *check = NULL;
    struct outcome o = {0};

    assert_int_equal(pg_controldata_start(loop, c, 30 * USEC_PER_SEC, on_control, &o, &check, NULL), 0);
    live_wait(loop, &o.is_done, TIMEOUT_S);
    (void)pg_controldata_free(check);
    if (o.code)
        fail_msg("%s", o.err.msg);
    return o.found;
}

static struct outcome check_once(sd_event *loop, const struct config *c, const struct config *leader)
{
    const struct pg_upstream upstream = upstream_of(leader);
    const struct local_pg local = look(loop, c);
    struct rewind_check *check = NULL;
    struct outcome o = {0};

    if (rewind_check_start(loop, c, &upstream, &local, 10 * USEC_PER_SEC, on_checked, &o, &check, &o.err) < 0)
        return o;
    live_wait(loop, &o.is_done, TIMEOUT_S);
    (void)rewind_check_free(check);
    return o;
}

/* The checkpoint after a promotion takes its time. */
static struct outcome check(sd_event *loop, const struct config *c, const struct config *leader)
{
    for (int tries = 0;; tries++) {
        struct outcome o = check_once(loop, c, leader);

        if (o.need != REWIND_UNKNOWN || tries == 100 || !strstr(o.err.msg, "waiting for the checkpoint"))
            return o;
        (void)usleep(100000);
    }
}

static struct outcome rewind_to(sd_event *loop, const struct config *c, const struct config *leader)
{
    const struct pg_upstream upstream = upstream_of(leader);
    struct rewind_run *run = NULL;
    struct outcome o = {0};
    int major;

    assert_int_equal(pg_server_check_binaries(c, &major, NULL), 0);
    o.code = rewind_run_start(loop, c, major, &upstream, NULL, NULL, on_done, &o, &run, &o.err);
    if (o.code == 0)
        live_wait(loop, &o.is_done, TIMEOUT_S);
    o.has_written = run && rewind_run_has_written(run);
    (void)rewind_run_free(run);
    return o;
}

static void expect_success(const struct outcome *o)
{
    if (o->code)
        fail_msg("%s", o->err.msg);
}

static void start_standby(const struct config *c, const struct config *leader)
{
    const struct pg_upstream upstream = upstream_of(leader);
    char conninfo[1024];

    assert_int_equal(pg_files_conninfo(c, &upstream, conninfo, sizeof(conninfo), NULL), 0);
    assert_int_equal(pg_files_passfile(c, &upstream, NULL), 0);
    assert_int_equal(live_run("touch '%s/standby.signal'", c->postgresql.data_dir), 0);
    live_start(c, live_text("-c primary_conninfo='%s' -c wal_retrieve_retry_interval=100", conninfo));
}

static void wait_for(const struct config *c, const char *sql, const char *want)
{
    uint64_t deadline_us = clock_now_us() + TIMEOUT_S * USEC_PER_SEC;
    const char *got;

    while (strcmp(got = live_query(c, sql), want) != 0) {
        if (clock_now_us() > deadline_us)
            fail_msg("%s: \"%s\" is \"%s\", not \"%s\"", c->name, sql, got, want);
        (void)usleep(50000);
    }
}

static void wait_until_streaming(const struct config *leader)
{
    wait_for(leader,
             "select count(*) from pg_stat_replication where state = 'streaming' and replay_lsn = pg_current_wal_lsn()",
             "1");
}

static void promote(const struct config *c)
{
    (void)live_query(c, "select pg_promote(true, 60)");
    wait_for(c, "select pg_is_in_recovery()", "f");
}

static void test_two_nodes_are_made(void **state)
{
    const struct setting options[] = {{live_text("data-checksums"), NULL},
                                      {live_text("auth-host"), live_text("scram-sha-256")}};
    struct pg_upstream upstream;
    sd_event *loop = *state;
    struct fill *f = NULL;
    struct outcome o = {0};

    node1 = live_config("node1", live_port(0));
    node2 = live_config("node2", live_port(1));
    node1->bootstrap.initdb = live_settings(options, 2);
    assert_int_equal(fill_initdb(loop, node1, NULL, on_done, &o, &f, NULL), 0);
    live_wait(loop, &o.is_done, TIMEOUT_S);
    (void)fill_free(f);
    expect_success(&o);
    live_start(node1, "");
    (void)live_query(node1, "create role replicator login replication password E'rep:secret\\\\'");
    (void)live_query(node1, "create table t(v text)");

    o = (struct outcome){0};
    upstream = upstream_of(node1);
    assert_int_equal(fill_replica(loop, node2, &upstream, NULL, on_done, &o, &f, NULL), 0);
    live_wait(loop, &o.is_done, TIMEOUT_S);
    (void)fill_free(f);
    expect_success(&o);
    start_standby(node2, node1);
    wait_until_streaming(node1);
}

static void test_leader_in_recovery_or_unreachable_leaves_the_question_open(void **state)
{
    struct config *nobody = live_config("nobody", live_port(9));
    struct outcome o;

    live_stop(node1, "fast");
    o = check_once(*state, node1, node2);
    assert_int_equal(o.need, REWIND_UNKNOWN);
    assert_non_null(strstr(o.err.msg, "not a primary"));
    o = check_once(*state, node1, nobody);
    assert_int_equal(o.need, REWIND_UNKNOWN);
    assert_non_null(strstr(o.err.msg, "\"nobody\""));
    o = rewind_to(*state, node1, node2);
    assert_int_equal(o.code, -EAGAIN);
    live_start(node1, "");
    wait_until_streaming(node1);
}

static const char *const checkpointer = "select pid from pg_stat_activity where backend_type = 'checkpointer'";

static void test_primary_that_went_on_alone_is_rewound_and_its_transactions_listed(void **state)
{
    const char *pid = live_text("%s", live_query(node2, checkpointer));
    struct outcome o;

    assert_int_equal(live_run("kill -STOP %s", pid), 0);
    (void)live_query(node2, "select pg_promote(false)");
    wait_for(node2, "select pg_is_in_recovery()", "f");
    (void)live_query(node1, "insert into t values ('lost 1')");
    (void)live_query(node1, "insert into t values ('lost 2')");
    (void)live_query(node2, "insert into t values ('kept')");
    live_stop(node1, "fast");

    o = check_once(*state, node1, node2);
    assert_int_equal(o.need, REWIND_UNKNOWN);
    assert_non_null(strstr(o.err.msg, "waiting for the checkpoint"));
    assert_int_equal(live_run("kill -CONT %s", pid), 0);
    o = check(*state, node1, node2);
    if (o.need != REWIND_NEEDED)
        fail_msg("need %d: %s", (int)o.need, o.err.msg);
    assert_int_equal(o.timeline, 2);
    o = rewind_to(*state, node1, node2);
    expect_success(&o);
    if (!strstr(o.err.msg, "2 committed transactions were lost"))
        fail_msg("unclear: %s", o.err.msg);
    assert_int_equal(live_run("grep -c '^1.0/.*2[0-9][0-9][0-9]-' lost-transactions-demo-node1-*.txt | grep '^2$'"), 0);

    start_standby(node1, node2);
    wait_until_streaming(node2);
    assert_string_equal(live_query(node1, "select string_agg(v, ',') from t"), "kept");
}

static void test_clean_switchover_needs_no_rewind(void **state)
{
    struct outcome o;

    live_stop(node2, "fast");
    promote(node1);
    o = check(*state, node2, node1);
    if (o.need != REWIND_NOT_NEEDED)
        fail_msg("need %d: %s", (int)o.need, o.err.msg);
    assert_int_equal(o.timeline, 3);
    start_standby(node2, node1);
    wait_until_streaming(node1);
}

/* As Debian has it; and with an archive, although that has nothing that is needed. */
static void put_configuration_elsewhere(struct config *c)
{
    c->postgresql.config_dir = live_text("%s/%s.conf.d", live_dir(), c->name);
    assert_int_equal(live_run("mkdir '%s' && mv '%s/postgresql.conf' '%s'", c->postgresql.config_dir,
                              c->postgresql.data_dir, c->postgresql.config_dir),
                     0);
    assert_int_equal(live_run("echo \"restore_command = 'false'\" >>'%s/postgresql.conf'", c->postgresql.config_dir),
                     0);
}

static void test_primary_that_was_killed_is_rewound_wherever_its_configuration_is(void **state)
{
    struct outcome o;

    promote(node2);
    /* The fork is in WAL that the checkpoint at the end of crash recovery would remove or use again. */
    (void)live_query(node1, "alter system set wal_keep_size = 0");
    (void)live_query(node1, "select pg_reload_conf()");
    for (int i = 0; i < 5; i++) {
        (void)live_query(node1, "create table filler as select generate_series(1, 200000)");
        (void)live_query(node1, "drop table filler");
    }
    (void)live_query(node1, "insert into t values ('lost 3')");
    (void)live_query(node2, "insert into t values ('kept too')");
    live_stop(node1, "immediate");
    /* As the agent leaves it that meant to start a standby: single-user recovery would refuse. */
    assert_int_equal(live_run("touch node1/standby.signal"), 0);
    /* The lock file of a killed postmaster, whose process id somebody else has by now: this test. */
    assert_int_equal(live_run("printf '%d\\n%s/node1\\n1\\n' >node1/postmaster.pid", (int)getpid(), live_dir()), 0);
    put_configuration_elsewhere(node1);

    o = check(*state, node1, node2);
    if (o.need != REWIND_NEEDED)
        fail_msg("need %d: %s", (int)o.need, o.err.msg);
    o = rewind_to(*state, node1, node2);
    expect_success(&o);
    assert_non_null(strstr(o.err.msg, "1 committed transactions were lost"));
    node1->postgresql.config_dir = node1->postgresql.data_dir; /* where the leader's came with the rest */
    start_standby(node1, node2);
    wait_until_streaming(node2);
    assert_string_equal(live_query(node1, "select string_agg(v, ',' order by v) from t"), "kept,kept too");
}

/* Its successor had it as a standby, and archives only what is newer. */
static void test_wal_that_is_not_archived_is_archived_before_a_rewind(void **state)
{
    struct outcome o;
    const char *segment;

    (void)live_query(node2, "alter system set archive_mode = on");
    (void)live_query(node2, "alter system set archive_command = 'false'");
    live_stop(node2, "fast");
    live_start(node2, "");
    wait_until_streaming(node2);
    (void)live_query(node2, "insert into t values ('archived')");
    segment = live_text("%s", live_query(node2, "select pg_walfile_name(pg_current_wal_lsn())"));
    (void)live_query(node2, "select pg_switch_wal()");
    wait_until_streaming(node2);
    promote(node1);
    (void)live_query(node2, "insert into t values ('lost 5')");
    live_stop(node2, "immediate");
    assert_int_equal(live_run("test -f node2/pg_wal/archive_status/%s.ready", segment), 0);

    assert_int_equal(
        live_run("mkdir later && sed -i \"s,'false','cp %%p %s/later/%%f',\" node2/postgresql.auto.conf", live_dir()),
        0);
    o = check(*state, node2, node1);
    assert_int_equal(o.need, REWIND_NEEDED);
    o = rewind_to(*state, node2, node1);
    expect_success(&o);
    assert_null(strstr(o.err.msg, "archived"));
    assert_int_equal(live_run("test -s later/%s", segment), 0);
    start_standby(node2, node1);
    wait_until_streaming(node1);
    live_stop(node1, "fast");
    promote(node2);
    start_standby(node1, node2);
    wait_until_streaming(node2);
}

/* pg_rewind reads this node's own WAL, back to before the fork. */
static void test_wal_that_is_gone_comes_from_the_archive(void **state)
{
    struct outcome o;

    promote(node1);
    (void)live_query(node2, "insert into t values ('lost 4')");
    (void)live_query(node1, "insert into t values ('from now on')");
    live_stop(node2, "fast");
    assert_int_equal(
        live_run("mkdir archive && cd node2/pg_wal && ls | grep -E '^[0-9A-F]{24}$' | xargs mv -t ../../archive"), 0);
    o = check(*state, node2, node1);
    assert_int_equal(o.need, REWIND_NEEDED);
    o = rewind_to(*state, node2, node1);
    assert_int_equal(o.code, -EIO);
    assert_false(o.has_written);

    assert_int_equal(
        live_run("echo \"restore_command = 'cp %s/archive/%%f %%p'\" >> node2/postgresql.conf", live_dir()), 0);
    o = rewind_to(*state, node2, node1);
    expect_success(&o);
    start_standby(node2, node1);
    wait_until_streaming(node1);
    assert_string_equal(live_query(node2, "select string_agg(v, ',' order by v) from t"),
                        "archived,from now on,kept,kept too");
    live_stop(node1, "fast");
    promote(node2);
    start_standby(node1, node2);
    wait_until_streaming(node2);
}

static void test_rewind_without_privileges_fails_with_its_reason(void **state)
{
    struct outcome o;

    promote(node1);
    live_stop(node2, "fast");
    (void)live_query(node1, "checkpoint");
    node2->postgresql.rewind.username = live_text("replicator");
    node2->postgresql.rewind.password = node2->postgresql.replication.password;
    o = rewind_to(*state, node2, node1);
    assert_int_equal(o.code, -EIO);
    assert_false(o.has_written);
    if (!strstr(o.err.msg, "pg_rewind failed") || !strstr(o.err.msg, "permission denied"))
        fail_msg("unclear: %s", o.err.msg);
}

/*
 * node2 does not hear of the promotion of node1, takes the same timeline and is killed before its control file says so.
 * pg_rewind finds both on one timeline and nothing to do.
 */
static void test_two_that_were_promoted_to_one_timeline_are_not_taken_for_one(void **state)
{
    struct outcome o;

    node2->postgresql.rewind.username = node2->postgresql.rewind.password = NULL;
    assert_int_equal(live_run("touch node2/standby.signal"), 0);
    live_start(node2, "");
    wait_for(node2, "select pg_is_in_recovery()", "t");
    assert_int_equal(live_run("kill -STOP %s", live_query(node2, checkpointer)), 0);
    (void)live_query(node2, "select pg_promote(false)");
    wait_for(node2, "select pg_is_in_recovery()", "f");
    (void)live_query(node2, "insert into t values ('on another timeline of that number')");
    live_stop(node2, "immediate");

    o = check(*state, node2, node1);
    if (o.need != REWIND_NEEDED)
        fail_msg("need %d: %s", (int)o.need, o.err.msg);
    o = rewind_to(*state, node2, node1);
    assert_int_equal(o.code, -EXDEV);
    if (!strstr(o.err.msg, "both promoted to timeline"))
        fail_msg("unclear: %s", o.err.msg);
    assert_true(o.has_written);
}

static int make_loop(void **state)
{
    sd_event *loop = NULL;

    if (sd_event_new(&loop) < 0)
        return -1;
    *state = loop;
    return 0;
}

static int free_loop(void **state)
{
    (void)sd_event_unref(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_nodes_are_made),
        cmocka_unit_test(test_leader_in_recovery_or_unreachable_leaves_the_question_open),
        cmocka_unit_test(test_primary_that_went_on_alone_is_rewound_and_its_transactions_listed),
        cmocka_unit_test(test_clean_switchover_needs_no_rewind),
        cmocka_unit_test(test_primary_that_was_killed_is_rewound_wherever_its_configuration_is),
        cmocka_unit_test(test_wal_that_is_not_archived_is_archived_before_a_rewind),
        cmocka_unit_test(test_wal_that_is_gone_comes_from_the_archive),
        cmocka_unit_test(test_rewind_without_privileges_fails_with_its_reason),
        cmocka_unit_test(test_two_that_were_promoted_to_one_timeline_are_not_taken_for_one),
    };
    int failed;

    if (!live_begin("rewind-live"))
        return LIVE_SKIPPED;
    failed = cmocka_run_group_tests_name("rewind", tests, make_loop, free_loop);
    live_end();
    return failed;
}
