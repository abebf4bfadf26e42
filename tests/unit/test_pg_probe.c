/* How the probe's answer is read, from results made by hand, and what a refused connection says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "base/text.h"
#include "pg/link.h"
#include "pg/probe_facts.h"

enum { COLUMNS_MAX = 24 };

/* A result of one row: name, value, name, value, …, NULL; a NULL value is SQL null. */
static PGresult *one_row(const char *const *pairs)
{
    PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc columns[COLUMNS_MAX] = {0};
    int n = 0;

    for (; pairs[2 * n]; n++)
        columns[n].name = (char *)pairs[2 * n];
    assert_true(res && PQsetResultAttrs(res, n, columns));
    for (int i = 0; i < n; i++) {
        const char *value = pairs[2 * i + 1];

        assert_true(PQsetvalue(res, 0, i, (char *)value, value ? (int)strlen(value) : -1));
    }
    return res;
}

static PGresult *no_rows(void)
{
    return PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
}

struct answer {
    PGresult *results[PROBE_RESULTS];
};

static struct answer answer_of(const char *const *facts, const char *const *setting)
{
    return (struct answer){{one_row(facts), setting ? one_row(setting) : no_rows(), no_rows(), no_rows()}};
}

static struct pg_facts read_facts(const char *const *facts, const char *const *setting)
{
    struct answer a = answer_of(facts, setting);
    struct pg_facts f;
    struct err err = {0};

    assert_int_equal(facts_read(a.results, PROBE_RESULTS, &f, &err), 0);
    for (size_t i = 0; i < PROBE_RESULTS; i++)
        PQclear(a.results[i]);
    return f;
}

static void test_facts_of_a_primary_come_from_the_file_it_writes_to(void **state)
{
    static const char *const row[] = {"standby",
                                      "f",
                                      "wal_file",
                                      "800000010000000000000003",
                                      "current_lsn",
                                      "1A/3000148",
                                      "control_tli",
                                      "7",
                                      "status",
                                      NULL,
                                      "paused",
                                      "f",
                                      "started",
                                      "2026-07-24 14:05:07.000000+00:00",
                                      "started_epoch",
                                      "1784901907000000",
                                      "system_identifier",
                                      "-7412345678901234567",
                                      NULL};
    struct pg_facts f = read_facts(row, NULL);

    (void)state;
    assert_false(f.in_recovery);
    assert_true(f.timeline == 0x80000001u);
    assert_int_equal(f.control_timeline, 7);
    assert_true(f.current_lsn == UINT64_C(0x1A03000148));
    assert_string_equal(f.postmaster_start_time, "2026-07-24 14:05:07+00:00");
    assert_true(f.postmaster_start_epoch_us == INT64_C(1784901907000000));
    assert_true(f.system_identifier == (uint64_t)INT64_C(-7412345678901234567));
    assert_string_equal(f.replication_state, "");
    facts_done(&f);
}

static void test_facts_of_a_standby_have_the_newest_timeline_and_the_furthest_position(void **state)
{
    static const char *const restore[] = {"name", "restore_command", "setting", "cp %f %p", NULL};
    static const struct {
        const char *received, *control, *recovery, *status;
        uint32_t want;
        const char *want_state;
    } cases[] = {
        {"3", "1", "2", "streaming", 3, "streaming"},
        {NULL, "1", "2", NULL, 2, "in archive recovery"},
        {NULL, "4", "0", NULL, 4, "in archive recovery"},
        {"5", "6", "5", "waiting", 6, "in archive recovery"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *const row[] = {"standby",
                                   "t",
                                   "receive_lsn",
                                   "0/3000000",
                                   "written_lsn",
                                   "0/4000000",
                                   "replay_lsn",
                                   "0/2000000",
                                   "received_tli",
                                   cases[i].received,
                                   "control_tli",
                                   cases[i].control,
                                   "recovery_tli",
                                   cases[i].recovery,
                                   "status",
                                   cases[i].status,
                                   "replayed",
                                   "2026-07-24 14:05:07.100000+02:00",
                                   "paused",
                                   "t",
                                   NULL};
        struct pg_facts f = read_facts(row, restore);

        assert_true(f.in_recovery && f.replay_paused);
        assert_int_equal(f.timeline, cases[i].want);
        assert_string_equal(f.replication_state, cases[i].want_state);
        assert_int_equal(f.receive_lsn, 0x4000000);
        assert_int_equal(f.replay_lsn, 0x2000000);
        assert_string_equal(f.replayed_timestamp, "2026-07-24 14:05:07.100000+02:00");
        facts_done(&f);
    }
}

static void test_facts_read_refuses_what_was_not_asked_for(void **state)
{
    static const char *const row[] = {"standby", "f", NULL};
    struct answer a = answer_of(row, NULL);
    struct pg_facts f;
    struct err err;

    (void)state;
    assert_int_equal(facts_read(a.results, PROBE_RESULTS - 1, &f, &err), -EBADMSG);
    PQclear(a.results[0]);
    a.results[0] = no_rows();
    assert_int_equal(facts_read(a.results, PROBE_RESULTS, &f, &err), -EBADMSG);
    for (size_t i = 0; i < PROBE_RESULTS; i++)
        PQclear(a.results[i]);
}

static void test_link_parse_message_finds_the_sqlstate_whatever_the_language(void **state)
{
    static const struct {
        const char *message, *sqlstate, *text;
    } cases[] = {
        {"connection to server at \"127.0.0.1\", port 5432 failed: FATAL:  57P03: the database system is starting up\n"
         "LOCATION:  ProcessStartupPacket, postmaster.c:2344\n",
         "57P03", "the database system is starting up"},
        {"connection to server on socket \"/tmp/.s.PGSQL.5432\" failed: \xd0\x92\xd0\x90\xd0\x96\xd0\x9d\xd0\x9e:  "
         "28P01: "
         "x\n",
         "28P01", "x"},
        {"connection to server at \"::1\", port 1 failed: Connection refused\n\tIs the server running?\n", "",
         "connection to server at \"::1\", port 1 failed: Connection refused"},
        {"FATAL:  abcde: lower case is none\n", "", "FATAL:  abcde: lower case is none"},
        {"", "", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char sqlstate[6], text[128];

        link_parse_message(cases[i].message, sqlstate, text, sizeof(text));
        assert_string_equal(sqlstate, cases[i].sqlstate);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts_of_a_primary_come_from_the_file_it_writes_to),
        cmocka_unit_test(test_facts_of_a_standby_have_the_newest_timeline_and_the_furthest_position),
        cmocka_unit_test(test_facts_read_refuses_what_was_not_asked_for),
        cmocka_unit_test(test_link_parse_message_finds_the_sqlstate_whatever_the_language),
    };

    return cmocka_run_group_tests_name("pg_probe", tests, NULL, NULL);
}
