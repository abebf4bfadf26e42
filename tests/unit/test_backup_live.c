/* initdb, roles and copies with real programs; see live_postgres.h for when this is skipped. */
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

enum { TIMEOUT_S = 120 };

struct outcome {
    bool is_done;
    int code;
    struct err err;
    struct local_pg found;
    struct pg_control_settings settings;
};

static struct config *node1; /* made by the first test, serves the others */

static void on_filled(void *userdata, int outcome, const struct err *err)
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

/* Control data of the node's directory, as the agent would see it. */
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

static void initdb(sd_event *loop, const struct config *c, struct outcome *o)
{
    struct fill *f = NULL;

    *o = (struct outcome){0};
    o->code = fill_initdb(loop, c, NULL, on_filled, o, &f, &o->err);
    if (o->code == 0)
        live_wait(loop, &o->is_done, TIMEOUT_S);
    (void)fill_free(f);
}

static void copy(sd_event *loop, const struct config *c, uint16_t source_port, struct outcome *o)
{
    const struct pg_upstream source = {"node1", "127.0.0.1", source_port};
    struct fill *f = NULL;

    *o = (struct outcome){0};
    o->code = fill_replica(loop, c, &source, NULL, on_filled, o, &f, &o->err);
    if (o->code == 0)
        live_wait(loop, &o->is_done, TIMEOUT_S);
    (void)fill_free(f);
}

static void expect_success(const struct outcome *o)
{
    if (o->code)
        fail_msg("%s", o->err.msg);
}

static void test_initdb_makes_a_cluster_with_the_options_and_the_password(void **state)
{
    const struct setting options[] = {{live_text("data-checksums"), NULL},
                                      {live_text("encoding"), live_text("'UTF8'")},
                                      {live_text("auth-host"), live_text("scram-sha-256")}};
    sd_event *loop = *state;
    struct outcome o;
    struct local_pg found;

    node1 = live_config("node1", live_port(0));
    node1->bootstrap.initdb = live_settings(options, 3);
    node1->bootstrap.pg_hba = live_list("host replication all 127.0.0.1/32 scram-sha-256");
    found = look(loop, node1);
    assert_true(found.data_dir_known && found.data_dir_empty && !found.data_dir_foreign && !found.control_known);
    initdb(loop, node1, &o);
    expect_success(&o);

    found = look(loop, node1);
    assert_true(found.data_dir_known && !found.data_dir_empty && !found.data_dir_foreign && found.control_known);
    assert_int_equal(found.control_state, PG_CONTROL_SHUT_DOWN);
    assert_int_equal(found.control_timeline, 1);
    assert_true(found.control_checkpoint_end_lsn > found.control_checkpoint_lsn);
    assert_int_equal(live_run("tail -1 node1/pg_hba.conf | grep '^host replication all 127.0.0.1/32 scram'"), 0);
    live_start(node1, "-c log_statement=all");
    assert_string_equal(live_query(node1, "show data_checksums"), "on");
    assert_string_equal(live_query(node1, "select current_user"), "postgres");
}

static void test_initdb_of_a_directory_in_use_is_refused_and_touches_nothing(void **state)
{
    struct config *c = live_config("used", live_port(1));
    struct outcome o;

    assert_int_equal(live_run("mkdir -m 755 used && echo precious > used/file"), 0);
    initdb(*state, c, &o);
    assert_int_equal(o.code, -ENOTEMPTY);
    assert_non_null(strstr(o.err.msg, "not empty"));
    assert_int_equal(live_run("grep precious used/file && test $(stat -c %%a used) = 755"), 0);
}

static void test_initdb_that_fails_leaves_the_directory_as_it_was(void **state)
{
    const struct setting bad[] = {{live_text("encoding"), live_text("NOSUCH")}};
    struct config *c = live_config("bad", live_port(1));
    struct outcome o;

    c->bootstrap.initdb = live_settings(bad, 1);
    initdb(*state, c, &o);
    assert_int_equal(o.code, -EIO);
    if (!strstr(o.err.msg, "NOSUCH"))
        fail_msg("unclear: %s", o.err.msg);
    assert_int_equal(live_run("test ! -e bad"), 0);

    assert_int_equal(live_run("mkdir bad"), 0);
    initdb(*state, c, &o);
    assert_int_equal(o.code, -EIO);
    assert_int_equal(live_run("rmdir bad"), 0);
}

static void test_initdb_refuses_options_that_are_its_own(void **state)
{
    const struct setting own[] = {{live_text("pwfile"), live_text("/etc/passwd")}};
    struct config *c = live_config("own", live_port(1));
    struct outcome o;

    c->bootstrap.initdb = live_settings(own, 1);
    initdb(*state, c, &o);
    assert_int_equal(o.code, -EINVAL);
    assert_non_null(strstr(o.err.msg, "\"pwfile\""));
    assert_int_equal(live_run("test ! -e own"), 0);
}

static void test_directory_of_somebody_else_is_told_apart(void **state)
{
    struct config *c = live_config("foreign", live_port(1));
    struct local_pg found;

    assert_int_equal(live_run("mkdir foreign && mkdir foreign/lost+found && touch foreign/.hidden"), 0);
    found = look(*state, c);
    assert_true(found.data_dir_known && found.data_dir_empty && !found.data_dir_foreign);
    assert_int_equal(live_run("touch foreign/photo.jpg"), 0);
    found = look(*state, c);
    assert_true(found.data_dir_known && !found.data_dir_empty && found.data_dir_foreign && !found.control_known);
    c->postgresql.data_dir = live_text("/usr");
    found = look(*state, c);
    assert_true(found.data_dir_known && found.data_dir_foreign);
}

static void bootstrap(sd_event *loop, const struct config *c, struct outcome *o)
{
    struct post_bootstrap *p = NULL;

    *o = (struct outcome){0};
    o->code = post_bootstrap_start(loop, c, NULL, on_filled, o, &p, &o->err);
    if (o->code == 0)
        live_wait(loop, &o->is_done, TIMEOUT_S);
    (void)post_bootstrap_free(p);
}

static void expect_login(const char *user, const char *password)
{
    assert_int_equal(setenv("PGPASSWORD", password, 1), 0);
    assert_int_equal(setenv("PGUSER", user, 1), 0);
    assert_int_equal(
        live_run("'%s/psql' -X -h 127.0.0.1 -p %u -d postgres -c 'select 1'", live_bin_dir(), live_port(0)), 0);
    assert_int_equal(unsetenv("PGPASSWORD"), 0);
    assert_int_equal(unsetenv("PGUSER"), 0);
}

static void test_post_bootstrap_makes_the_roles_and_runs_the_script(void **state)
{
    struct outcome o;

    node1->postgresql.rewind.username = live_text("we\"ird 'role\\");
    node1->postgresql.rewind.password = live_text("it's \"rewind\\");
    assert_int_equal(live_run("printf '#!/bin/sh\\necho \"$1|$2|$PGPASSFILE|$PGOPTIONS\" >> %s/script.out; "
                              "exec %s/psql -X -w -d \"$2\" -c \"create table made_by_script()\"' > script && "
                              "chmod 755 script",
                              live_dir(), live_bin_dir()),
                     0);
    node1->bootstrap.post_bootstrap = live_text("%s/script 'two words'", live_dir());
    bootstrap(*state, node1, &o);
    expect_success(&o);

    assert_int_equal(
        live_run("grep '^two words|dbname=postgres user=postgres host=localhost port=%u .*|%s|.*local' script.out",
                 live_port(0), node1->postgresql.pgpass),
        0);
    assert_string_equal(live_query(node1, "select count(*) from pg_class where relname = 'made_by_script'"), "1");
    assert_string_equal(live_query(node1, "select rolreplication, rolsuper, rolcanlogin from pg_roles where rolname = "
                                          "'replicator'"),
                        "t|f|t");
    expect_login("postgres", "super secret");
    expect_login("replicator", "rep:secret\\");
    expect_login("we\"ird 'role\\", "it's \"rewind\\");
    assert_string_equal(live_query(node1,
                                   "select bool_and(has_function_privilege(E'we\"ird \\'role\\\\', f, 'execute')) "
                                   "from unnest(array['pg_ls_dir(text,boolean,boolean)',"
                                   "'pg_stat_file(text,boolean)', 'pg_read_binary_file(text)',"
                                   "'pg_read_binary_file(text,bigint,bigint,boolean)']) f"),
                        "t");
}

static void test_post_bootstrap_again_changes_the_passwords(void **state)
{
    struct outcome o;

    node1->bootstrap.post_bootstrap = NULL;
    node1->postgresql.replication.password = live_text("new:secret\\");
    bootstrap(*state, node1, &o);
    expect_success(&o);
    expect_login("replicator", "new:secret\\");
}

static void test_passwords_are_not_in_the_log_of_the_server(void **state)
{
    (void)state;
    /* The server was started with log_statement = all and logs what our tests did. */
    assert_int_equal(live_run("grep -q 'made_by_script' node1.log"), 0);
    assert_int_equal(live_run("if grep -e secret -e SCRAM -e 'ROLE' node1.log; then exit 1; fi"), 0);
}

static void test_post_bootstrap_whose_script_fails_says_why(void **state)
{
    struct outcome o;

    node1->bootstrap.post_bootstrap = live_text("sh -c 'echo \"error: no such thing\"; exit 3'");
    bootstrap(*state, node1, &o);
    assert_int_equal(o.code, -EIO);
    if (!strstr(o.err.msg, "no such thing") || !strstr(o.err.msg, "exit code 3"))
        fail_msg("unclear: %s", o.err.msg);
    node1->bootstrap.post_bootstrap = NULL;
}

static void test_post_bootstrap_that_is_not_let_in_says_why(void **state)
{
    struct config *c = live_config("stranger2", live_port(0));
    struct outcome o;

    c->postgresql.superuser.password = live_text("guess");
    bootstrap(*state, c, &o);
    assert_true(o.code < 0);
    if (!strstr(o.err.msg, "password authentication failed"))
        fail_msg("unclear: %s", o.err.msg);
}

static struct config *replica_config(const char *name)
{
    struct config *c = live_config(name, live_port(2));

    c->postgresql.replication = node1->postgresql.replication;
    return c;
}

static void test_replica_is_a_copy_that_starts_and_says_how_far_it_is(void **state)
{
    const struct pg_upstream source = {"node1", "127.0.0.1", live_port(0)};
    struct config *c = replica_config("node2");
    struct fill_progress progress = {0};
    sd_event *loop = *state;
    struct fill *f = NULL;
    struct outcome o = {0};

    (void)live_query(node1, "create table t as select g, repeat('x', 500) from generate_series(1, 100000) g");
    /* Open to others: the server would refuse it. */
    assert_int_equal(live_run("mkdir -m 755 node2"), 0);
    assert_int_equal(fill_replica(loop, c, &source, NULL, on_filled, &o, &f, &o.err), 0);
    live_wait(loop, &o.is_done, TIMEOUT_S);
    expect_success(&o);
    fill_get_progress(f, &progress);
    (void)fill_free(f);
    assert_string_equal(progress.what, "pg_basebackup from node1");
    assert_true(progress.total_bytes > 50000000);
    assert_true(progress.done_bytes >= progress.total_bytes * 9 / 10);
    assert_int_equal(live_run("test $(stat -c %%a node2) = 700"), 0);
    live_start(c, "");
    assert_string_equal(live_query(c, "select count(*) from t"), "100000");
    live_stop(c, "fast");
}

static bool has_progress(const struct fill *f)
{
    struct fill_progress progress;

    fill_get_progress(f, &progress);
    return progress.done_bytes > 0;
}

static void test_replica_cancelled_midway_leaves_nothing(void **state)
{
    const struct setting slow[] = {{live_text("max-rate"), live_text("1M")}};
    const struct pg_upstream source = {"node1", "127.0.0.1", live_port(0)};
    struct config *c = replica_config("slow");
    uint64_t deadline_us = clock_now_us() + TIMEOUT_S * USEC_PER_SEC;
    sd_event *loop = *state;
    struct fill *f = NULL;
    struct outcome o = {0};
    struct err err = {0};
    int r;

    c->postgresql.basebackup = live_settings(slow, 1);
    assert_int_equal(fill_replica(loop, c, &source, NULL, on_filled, &o, &f, &err), 0);
    while (!has_progress(f) && clock_now_us() < deadline_us)
        assert_true(sd_event_run(loop, USEC_PER_SEC) >= 0);
    assert_true(has_progress(f) && !o.is_done);
    assert_int_equal(live_run("test -e slow"), 0);
    f = fill_free(f);

    /* While the remains are removed nobody may start there. */
    r = fill_replica(loop, c, &source, NULL, on_filled, &o, &f, &err);
    assert_int_equal(r, -EBUSY);
    while (access(c->postgresql.data_dir, F_OK) == 0 && clock_now_us() < deadline_us)
        assert_true(sd_event_run(loop, 10 * USEC_PER_MSEC) >= 0);
    assert_int_equal(live_run("test ! -e slow"), 0);
    do {
        assert_true(sd_event_run(loop, 10 * USEC_PER_MSEC) >= 0);
        r = fill_replica(loop, c, &source, NULL, on_filled, &o, &f, &err);
    } while (r == -EBUSY && clock_now_us() < deadline_us);
    assert_int_equal(r, 0);
    (void)fill_free(f);
    assert_false(o.is_done);
    assert_int_equal(live_run("test ! -e slow"), 0);
}

static void test_replica_of_a_source_that_is_down_says_so_after_two_attempts(void **state)
{
    struct config *c = live_config("alone", live_port(2));
    uint64_t started_us = clock_now_us();
    struct outcome o;

    copy(*state, c, live_port(9), &o);
    assert_int_equal(o.code, -EIO);
    if (!strstr(o.err.msg, "pg_basebackup failed") || !strstr(o.err.msg, "Connection refused"))
        fail_msg("unclear: %s", o.err.msg);
    assert_true(clock_now_us() - started_us >= 5 * USEC_PER_SEC);
    assert_int_equal(live_run("test ! -e alone"), 0);
}

static void test_replica_with_a_wrong_password_says_what_to_compare(void **state)
{
    struct config *c = live_config("stranger", live_port(2));
    struct outcome o;

    c->postgresql.replication.password = live_text("guess");
    copy(*state, c, live_port(0), &o);
    assert_int_equal(o.code, -EIO);
    if (!strstr(o.err.msg, "password authentication failed") || !strstr(o.err.msg, "HINT:"))
        fail_msg("unclear: %s", o.err.msg);
    assert_null(strstr(o.err.msg, "guess"));
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
        cmocka_unit_test(test_initdb_makes_a_cluster_with_the_options_and_the_password),
        cmocka_unit_test(test_initdb_of_a_directory_in_use_is_refused_and_touches_nothing),
        cmocka_unit_test(test_initdb_that_fails_leaves_the_directory_as_it_was),
        cmocka_unit_test(test_initdb_refuses_options_that_are_its_own),
        cmocka_unit_test(test_directory_of_somebody_else_is_told_apart),
        cmocka_unit_test(test_post_bootstrap_makes_the_roles_and_runs_the_script),
        cmocka_unit_test(test_post_bootstrap_again_changes_the_passwords),
        cmocka_unit_test(test_passwords_are_not_in_the_log_of_the_server),
        cmocka_unit_test(test_post_bootstrap_whose_script_fails_says_why),
        cmocka_unit_test(test_post_bootstrap_that_is_not_let_in_says_why),
        cmocka_unit_test(test_replica_is_a_copy_that_starts_and_says_how_far_it_is),
        cmocka_unit_test(test_replica_cancelled_midway_leaves_nothing),
        cmocka_unit_test(test_replica_of_a_source_that_is_down_says_so_after_two_attempts),
        cmocka_unit_test(test_replica_with_a_wrong_password_says_what_to_compare),
    };
    int failed;

    if (!live_begin("backup-live"))
        return LIVE_SKIPPED;
    failed = cmocka_run_group_tests_name("backup", tests, make_loop, free_loop);
    live_end();
    return failed;
}
