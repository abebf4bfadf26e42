#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "base/text.h"
#include "pg/controldata.h"

/* What the versions print, with the lines that differ between them. */
#define HEAD(version, catalog, sysid, state)                                                                           \
    "pg_control version number:            " version "\n"                                                              \
    "Catalog version number:               " catalog "\n"                                                              \
    "Database system identifier:           " sysid "\n"                                                                \
    "Database cluster state:               " state "\n"                                                                \
    "pg_control last modified:             Sun Nov 22 20:06:53 2026\n"
#define CHECKPOINT(lsn, timeline)                                                                                      \
    "Latest checkpoint location:           " lsn "\n"                                                                  \
    "Latest checkpoint's REDO location:    0/1\n"                                                                      \
    "Latest checkpoint's REDO WAL file:    000000010000000000000001\n"                                                 \
    "Latest checkpoint's TimeLineID:       " timeline "\n"                                                             \
    "Latest checkpoint's PrevTimeLineID:   9\n"                                                                        \
    "Latest checkpoint's full_page_writes: on\n"                                                                       \
    "Latest checkpoint's oldestCommitTsXid:0\n"
#define RECOVERY(lsn, timeline)                                                                                        \
    "Minimum recovery ending location:     " lsn "\n"                                                                  \
    "Min recovery ending loc's timeline:   " timeline "\n"                                                             \
    "Backup start location:                0/0\n"
#define SETTINGS(hints, max_connections, checksums)                                                                    \
    "wal_level setting:                    replica\n"                                                                  \
    "wal_log_hints setting:                " hints "\n"                                                                \
    "max_connections setting:              " max_connections "\n"                                                      \
    "max_worker_processes setting:         8\n"                                                                        \
    "max_wal_senders setting:              10\n"                                                                       \
    "max_prepared_xacts setting:           3\n"                                                                        \
    "max_locks_per_xact setting:           64\n"                                                                       \
    "track_commit_timestamp setting:       on\n"                                                                       \
    "Data page checksum version:           " checksums "\n"

static const struct {
    const char *name, *output;
    struct local_pg want;
    unsigned want_connections;
    bool want_rewind;
} rows[] = {
    {"13, shut down, no checksums",
     HEAD("1300", "202007201", "7711089850733562434", "shut down") CHECKPOINT("0/1511A88", "1") RECOVERY("0/0", "0")
         SETTINGS("off", "100", "0"),
     {.sysid = UINT64_C(7711089850733562434),
      .control_state = PG_CONTROL_SHUT_DOWN,
      .control_timeline = 1,
      .control_checkpoint_lsn = 0x1511A88},
     100,
     false},
    {"15, shut down in recovery, hints in the WAL",
     HEAD("1300", "202209061", "7711089850733562435", "shut down in recovery") CHECKPOINT("16/B374D848", "4")
         RECOVERY("16/B3750000", "5") SETTINGS("on", "200", "0"),
     {.sysid = UINT64_C(7711089850733562435),
      .control_state = PG_CONTROL_SHUT_DOWN_IN_RECOVERY,
      .control_timeline = 4,
      .control_checkpoint_lsn = UINT64_C(0x16B374D848),
      .control_min_recovery_lsn = UINT64_C(0x16B3750000),
      .control_min_recovery_timeline = 5},
     200,
     true},
    {"17, killed as a primary, checksums",
     HEAD("1300", "202406281", "7711089850733562436", "in production") CHECKPOINT("2/28", "12") RECOVERY("0/0", "0")
         SETTINGS("off", "1000", "1") "Default char data signedness:         signed\n",
     {.sysid = UINT64_C(7711089850733562436),
      .control_state = PG_CONTROL_IN_PRODUCTION,
      .control_timeline = 12,
      .control_checkpoint_lsn = UINT64_C(0x200000028)},
     1000,
     true},
    {"a standby that was killed, last line without its end",
     HEAD("1300", "202209061", "7711089850733562437", "in archive recovery") CHECKPOINT(
         "0/28", "1") "Min recovery ending loc's timeline:   1\nMinimum recovery ending location:     0/3000148",
     {.sysid = UINT64_C(7711089850733562437),
      .control_state = PG_CONTROL_IN_ARCHIVE_RECOVERY,
      .control_timeline = 1,
      .control_checkpoint_lsn = 0x28,
      .control_min_recovery_lsn = 0x3000148,
      .control_min_recovery_timeline = 1},
     0,
     false},
};

static void test_controldata_parse_reads_what_each_version_prints(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        /* What an earlier parse left must not shine through. */
        struct local_pg got = {.control_min_recovery_lsn = 77, .control_checkpoint_end_lsn = 78};
        struct pg_control_settings settings;
        struct err err = {0};

        if (pg_controldata_parse(rows[i].output, &got, &err) != 0)
            fail_msg("%s: %s", rows[i].name, err.msg);
        pg_controldata_parse_settings(rows[i].output, &settings);
        if (!got.control_known || got.sysid != rows[i].want.sysid || got.control_state != rows[i].want.control_state ||
            got.control_timeline != rows[i].want.control_timeline ||
            got.control_checkpoint_lsn != rows[i].want.control_checkpoint_lsn ||
            got.control_min_recovery_lsn != rows[i].want.control_min_recovery_lsn ||
            got.control_min_recovery_timeline != rows[i].want.control_min_recovery_timeline ||
            got.control_checkpoint_end_lsn != 0)
            fail_msg("%s: wrong values", rows[i].name);
        if (settings.max_connections != rows[i].want_connections ||
            got.control_max_connections != rows[i].want_connections ||
            got.control_max_wal_senders != settings.max_wal_senders ||
            pg_control_allows_rewind(&settings) != rows[i].want_rewind)
            fail_msg("%s: wrong settings", rows[i].name);
    }
}

static void test_controldata_settings_are_all_read(void **state)
{
    struct pg_control_settings s;

    (void)state;
    pg_controldata_parse_settings(SETTINGS("on", "100", "1"), &s);
    assert_true(s.wal_log_hints && s.track_commit_timestamp);
    assert_int_equal(s.max_worker_processes, 8);
    assert_int_equal(s.max_wal_senders, 10);
    assert_int_equal(s.max_prepared_transactions, 3);
    assert_int_equal(s.max_locks_per_transaction, 64);
    assert_int_equal(s.data_checksum_version, 1);
    assert_string_equal(s.wal_level, "replica");
}

static void test_controldata_parse_refuses_what_is_cut_or_corrupt(void **state)
{
    static const char *const bad[] = {
        "",
        HEAD("1300", "2", "7711089850733562434", "shut down"),
        CHECKPOINT("0/28", "1"),
        HEAD("1300", "2", "7711089850733562434", "in limbo") CHECKPOINT("0/28", "1"),
        HEAD("1300", "2", "-5", "shut down") CHECKPOINT("0/28", "1"),
        HEAD("1300", "2", "7711089850733562434", "shut down") CHECKPOINT("0-28", "1"),
        HEAD("1300", "2", "7711089850733562434", "shut down") CHECKPOINT("0/28", "one"),
        "pg_controldata: warning: WARNING: Calculated CRC checksum does not match value stored in file.\n" HEAD(
            "1300", "2", "7711089850733562434", "shut down") CHECKPOINT("0/28", "1"),
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct local_pg got = {.sysid = 7};
        struct err err = {0};

        if (pg_controldata_parse(bad[i], &got, &err) != -EBADMSG)
            fail_msg("row %zu was taken", i);
        assert_true(got.sysid == 7 && !got.control_known);
        assert_true(err.msg[0]);
    }
}

#define SHUTDOWN_RECORD                                                                                                \
    "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/01511A88, prev 0/01511A40, desc: "         \
    "CHECKPOINT_SHUTDOWN redo 0/1511A88; tli 1; prev tli 1; fpw true; xid 0:724\n"
#define OTHER_RECORD                                                                                                   \
    "rmgr: XLOG        len (rec/tot):     30/    30, tx:          0, lsn: 0/01511B00, prev 0/01511A88, desc: NOOP\n"

static void test_waldump_end_is_known_only_when_the_checkpoint_is_the_last_record(void **state)
{
    static const struct {
        const char *name, *output;
        uint64_t want;
    } ends[] = {
        {"15, zeroes behind it",
         SHUTDOWN_RECORD "pg_waldump: error: error in WAL record at 0/1511A88: invalid record length at 0/1511B00: "
                         "wanted 24, got 0\n",
         0x1511B00},
        {"16 and later say it otherwise, and stderr may come first",
         "pg_waldump: error: error in WAL record at 0/1511A88: invalid record length at 0/1511B00: expected at least "
         "24, got 0\n" SHUTDOWN_RECORD,
         0x1511B00},
        {"a recycled segment",
         SHUTDOWN_RECORD
         "pg_waldump: error: error in WAL record at 0/1511A88: record with incorrect prev-link 0/511A40 "
         "at 0/1511B00\n",
         0x1511B00},
        {"a recycled segment, other bytes",
         SHUTDOWN_RECORD "pg_waldump: error: error in WAL record at 0/1511A88: invalid resource manager ID 79 at "
                         "0/1511B00\n",
         0x1511B00},
        {"something follows", SHUTDOWN_RECORD OTHER_RECORD, 0},
        {"not a checkpoint",
         OTHER_RECORD "pg_waldump: error: error in WAL record at 0/1511B00: invalid record length at 0/1511B20: wanted "
                      "24, got 0\n",
         0},
        {"the end cannot be before it",
         SHUTDOWN_RECORD "pg_waldump: error: error in WAL record at 0/1: invalid record length at 0/1511A88: wanted",
         0},
        {"no complaint", SHUTDOWN_RECORD, 0},
        {"no file", "pg_waldump: error: could not find file \"000000010000000000000001\": No such file\n", 0},
        {"nothing", "", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        uint64_t got = pg_waldump_parse_end(ends[i].output, 0x1511A88);

        if (got != ends[i].want)
            fail_msg("%s: got %llX", ends[i].name, (unsigned long long)got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_controldata_parse_reads_what_each_version_prints),
        cmocka_unit_test(test_controldata_settings_are_all_read),
        cmocka_unit_test(test_controldata_parse_refuses_what_is_cut_or_corrupt),
        cmocka_unit_test(test_waldump_end_is_known_only_when_the_checkpoint_is_the_last_record),
    };

    return cmocka_run_group_tests_name("controldata", tests, NULL, NULL);
}
