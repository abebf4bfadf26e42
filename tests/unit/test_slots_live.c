/* Slots of two real servers, and one that is brought from one to the other; see live_postgres.h for when this is
 * skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "live_postgres.h"
#include "pg/leader.h"
#include "pg/probe.h"
#include "pg/slots.h"

enum { TIMEOUT_S = 60 };

static struct config *primary, *standby;
static char state_hex[8192];

/* Runs what was appended, twice: each statement must do nothing where it has been done. */
static void run_twice(const struct config *c, struct textbuf *sql)
{
    char *text = textbuf_take(sql);

    assert_non_null(text);
    (void)live_query(c, text);
    (void)live_query(c, text);
    free(text);
}

static const char *slot_field(const struct config *c, const char *name, const char *field)
{
    return live_query(c, live_text("SELECT %s FROM pg_replication_slots WHERE slot_name = '%s'", field, name));
}

static void make_servers(void)
{
    primary = live_config("node1", live_port(0));
    standby = live_config("node2", live_port(1));
    assert_int_equal(
        live_run("'%s/initdb' -A trust -U postgres -D '%s' > /dev/null", live_bin_dir(), primary->postgresql.data_dir),
        0);
    live_start(primary, "-c wal_level=logical");
    assert_int_equal(live_run("'%s/pg_basebackup' -h 127.0.0.1 -p %u -U postgres -D '%s' -R -c fast", live_bin_dir(),
                              primary->postgresql.listen_port, standby->postgresql.data_dir),
                     0);
}

static void test_slots_are_created_once(void **state)
{
    struct textbuf sql = {0};

    (void)state;
    make_servers();
    pg_slot_create_physical(&sql, "node2");
    run_twice(primary, &sql);
    pg_slot_create_logical(&sql, "cdc", "test_decoding");
    run_twice(primary, &sql);
    assert_string_equal(slot_field(primary, "node2", "restart_lsn IS NOT NULL"), "t");
    assert_string_equal(slot_field(primary, "cdc", "database || ' ' || plugin"), "postgres test_decoding");
}

struct answer {
    bool is_done;
    int code;
};

static void on_rows(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct answer *a = userdata;

    (void)sqlstate;
    if (err->code)
        fail_msg("%s", err->msg);
    assert_int_equal(rows->n_rows, 1);
    assert_int_equal(rows->n_columns, SLOT_COPY_COLUMNS);
    assert_string_equal(rows->values[SLOT_COPY_NAME], "cdc");
    assert_string_equal(rows->values[SLOT_COPY_DATABASE], "postgres");
    assert_string_equal(rows->values[SLOT_COPY_PLUGIN], "test_decoding");
    assert_true(text_copy(state_hex, sizeof(state_hex), rows->values[SLOT_COPY_STATE]));
    *a = (struct answer){.is_done = true};
}

static void test_leader_gives_the_state_of_a_logical_slot(void **state)
{
    static const struct slot_name names[] = {{"cdc"}, {"node2"}, {"unknown"}};
    const struct pg_upstream leader = {"node1", "127.0.0.1", primary->postgresql.listen_port};
    struct pg_command *command = NULL;
    struct textbuf sql = {0};
    struct answer a = {0};
    sd_event *loop = NULL;
    char *text;

    (void)state;
    assert_true(sd_event_new(&loop) >= 0);
    pg_slot_copy_question(&sql, names, ARRAY_LEN(names));
    text = textbuf_take(&sql);
    assert_int_equal(
        pg_leader_command_start(loop, primary, &leader, text, TIMEOUT_S * USEC_PER_SEC, on_rows, &a, &command, NULL),
        0);
    live_wait(loop, &a.is_done, TIMEOUT_S);
    (void)pg_command_free(command);
    free(text);
    (void)sd_event_unref(loop);
}

static void test_what_is_not_the_state_of_that_slot_is_not_put(void **state)
{
    struct err err = {0};
    char changed[sizeof(state_hex)];
    size_t len = strlen(state_hex);

    (void)state;
    assert_int_equal(pg_slot_put(standby, "cdd", state_hex, &err), -EBADMSG);
    assert_string_equal(err.msg, "what the leader sent is not the state of slot \"cdd\"");
    assert_int_equal(pg_slot_put(standby, "cdc", "", &err), -EBADMSG);
    assert_int_equal(pg_slot_put(standby, "cdc", "zz", &err), -EBADMSG);
    (void)text_copy(changed, sizeof(changed), state_hex);
    changed[len - 2] = changed[len - 2] == '0' ? '1' : '0';
    assert_int_equal(pg_slot_put(standby, "cdc", changed, &err), -EBADMSG);
    changed[len - 2] = '\0';
    assert_int_equal(pg_slot_put(standby, "cdc", changed, &err), -EBADMSG);
    changed[len - 3] = '\0';
    assert_int_equal(pg_slot_put(standby, "cdc", changed, &err), -EBADMSG);
    assert_int_equal(live_run("test -e '%s/pg_replslot/cdc'", standby->postgresql.data_dir), 1);
}

static void test_copied_slot_is_there_and_moves_along(void **state)
{
    struct slot_position to[] = {{.name = "cdc"}};
    struct textbuf sql = {0};
    char lsn[TEXT_LSN_SIZE];

    (void)state;
    assert_int_equal(pg_slot_put(standby, "cdc", state_hex, NULL), 0);
    assert_int_equal(pg_slot_put(standby, "cdc", state_hex, NULL), 0); /* in its own place */
    live_start(standby, "-c wal_level=logical -c primary_slot_name=node2 -c hot_standby_feedback=on");
    assert_string_equal(slot_field(standby, "cdc", "plugin"), "test_decoding");

    (void)live_query(primary, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
    (void)text_copy(lsn, sizeof(lsn), live_query(primary, "SELECT pg_current_wal_flush_lsn()"));
    assert_true(text_to_lsn(lsn, &to[0].lsn));
    for (int tries = 0; tries < 600; tries++) {
        if (strcmp(live_query(standby, live_text("SELECT pg_last_wal_replay_lsn() >= '%s'", lsn)), "t") == 0)
            break;
        (void)live_run("sleep 0.1");
    }
    pg_slots_advance(&sql, to, 1);
    run_twice(standby, &sql);
    assert_string_equal(
        slot_field(standby, "cdc", live_text("confirmed_flush_lsn > '0/0' AND confirmed_flush_lsn <= '%s'", lsn)), "t");
    assert_string_equal(slot_field(primary, "node2", "active"), "t");
    live_stop(standby, "fast");
}

static void test_slots_are_dropped_unless_in_use(void **state)
{
    struct textbuf sql = {0};

    (void)state;
    pg_slot_drop(&sql, "cdc");
    pg_slot_drop(&sql, "node2");
    run_twice(primary, &sql);
    assert_string_equal(live_query(primary, "SELECT count(*) FROM pg_replication_slots"), "0");
    live_stop(primary, "fast");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_are_created_once),
        cmocka_unit_test(test_leader_gives_the_state_of_a_logical_slot),
        cmocka_unit_test(test_what_is_not_the_state_of_that_slot_is_not_put),
        cmocka_unit_test(test_copied_slot_is_there_and_moves_along),
        cmocka_unit_test(test_slots_are_dropped_unless_in_use),
    };
    int failed;

    if (!live_begin("slots_live"))
        return LIVE_SKIPPED;
    failed = cmocka_run_group_tests_name("slots_live", tests, NULL, NULL);
    live_end();
    return failed;
}
