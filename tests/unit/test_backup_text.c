/* What the backup folder and its helpers in pg put into words and read from them: arguments, SQL, progress, failures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "backup/plan.h"
#include "backup/roles.h"
#include "base/text.h"
#include "pg/archive_ready.h"
#include "pg/lost.h"
#include "pg/tool.h"

static void test_progress_is_read_from_both_programs_and_nothing_else(void **state)
{
    static const char *const others[] = {
        "",
        " ",
        "12/34",
        "12/34 MB (1%)",
        "/34 kB",
        "12/ kB",
        "-1/5 kB",
        "pg_basebackup: 12/34 kB",
        "99999999999999999999/1 kB",
        "18446744073709551615/1 kB",
    };
    uint64_t done_bytes = 7, total_bytes = 8;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (tool_parse_progress(others[i], &done_bytes, &total_bytes) || done_bytes != 7 || total_bytes != 8)
            fail_msg("\"%s\" was taken", others[i]);
    assert_true(tool_parse_progress("   1234/56789 kB (2%), 0/1 tablespace", &done_bytes, &total_bytes));
    assert_true(done_bytes == 1234 * 1024 && total_bytes == 56789 * 1024);
    assert_true(tool_parse_progress("56789/56789 kB (100%) copied", &done_bytes, &total_bytes));
    assert_true(done_bytes == 56789 * 1024);
}

static void test_dsn_has_the_order_and_escapes_of_the_reference(void **state)
{
    struct credentials who = {.username = "rep user", .password = "x", .sslmode = "require", .sslcert = "/c'rt\\"};
    struct config config = {0};
    char dsn[512];

    (void)state;
    assert_int_equal(tool_dsn(&config, &who, "10.0.0.1", 5432, "node1", "/run/pgpass", dsn, sizeof(dsn), NULL), 0);
    assert_string_equal(dsn, "dbname=postgres user=rep\\ user passfile=/run/pgpass host=10.0.0.1 port=5432 "
                             "sslmode=require sslcert=/c\\'rt\\\\ application_name=node1 gssencmode=prefer "
                             "channel_binding=prefer");
    who = (struct credentials){0};
    config.postgresql.database = "";
    assert_int_equal(tool_dsn(&config, &who, "a,b", 5433, NULL, "/run/pgpass", dsn, sizeof(dsn), NULL), 0);
    assert_string_equal(dsn, "dbname=postgres host=a,b port=5433 sslmode=prefer gssencmode=prefer "
                             "channel_binding=prefer target_session_attrs=read-write");
    assert_int_equal(tool_dsn(&config, &who, "a", 1, NULL, NULL, dsn, 20, NULL), -ENAMETOOLONG);
}

static void test_local_host_is_loopback_where_the_server_listens_there(void **state)
{
    static const struct {
        const char *listen, *want;
    } rows[] = {
        {NULL, "localhost"},
        {"", "localhost"},
        {"*", "localhost"},
        {"0.0.0.0", "localhost"},
        {"10.0.0.1", "10.0.0.1"},
        {"10.0.0.1, 127.0.0.1", "localhost"},
        {"10.0.0.1,10.0.0.2", "10.0.0.1"},
        {"'10.0.0.3'", "10.0.0.3"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config config = {.postgresql = {.listen_addresses = (char *)rows[i].listen}};
        char host[HOST_SIZE];

        tool_local_host(&config, host, sizeof(host));
        if (strcmp(host, rows[i].want) != 0)
            fail_msg("\"%s\": got \"%s\"", rows[i].listen, host);
    }
}

/* Never a name to look up; the socket only where it is wished and known. */
static void test_own_host_is_a_socket_or_an_address_that_is_listened_on(void **state)
{
    static const struct {
        const char *listen, *socket_dirs;
        bool use_unix_socket;
        const char *want;
    } rows[] = {
        {"", NULL, false, "127.0.0.1"},
        {"*", NULL, false, "127.0.0.1"},
        {"0.0.0.0", NULL, false, "127.0.0.1"},
        {"localhost", NULL, false, "127.0.0.1"},
        {"10.0.0.1,127.0.0.1", NULL, false, "10.0.0.1"},
        {"::1", NULL, false, "::1"},
        {"10.0.0.1", "/run/a", false, "10.0.0.1"},
        {"10.0.0.1", "/run/a, /tmp", true, "/run/a"},
        {"10.0.0.1", "@abstract, /tmp", true, "/tmp"},
        {"10.0.0.1", NULL, true, "10.0.0.1"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct setting sockets = {.name = (char *)"unix_socket_directories", .value = (char *)rows[i].socket_dirs};
        struct config config = {.postgresql = {.listen_addresses = (char *)rows[i].listen,
                                               .use_unix_socket = rows[i].use_unix_socket,
                                               .parameters = {.items = &sockets, .n = 1}}};
        char host[HOST_SIZE];

        tool_own_host(&config, host, sizeof(host));
        if (strcmp(host, rows[i].want) != 0)
            fail_msg("\"%s\": got \"%s\"", rows[i].listen, host);
    }
}

static void test_failure_quotes_the_last_error_and_hints_at_its_remedy(void **state)
{
    static const struct {
        const char *output, *want;
    } rows[] = {
        {"", "tool failed (exit code 1)"},
        {"some words\n\n", "tool failed (exit code 1): some words"},
        {"tool: error: first\ntool: error: second\ntool: removing contents\n", "tool failed (exit code 1): second"},
        {"2026-11-22 20:38:06 UTC [27804] FATAL:  the data directory\n",
         "tool failed (exit code 1): the data directory"},
        {"tool: error: connection failed: FATAL:  no pg_hba.conf entry for host \"1.2.3.4\"",
         "tool failed (exit code 1): connection failed: FATAL:  no pg_hba.conf entry for host \"1.2.3.4\"\n"
         "HINT:  allow this host in postgresql.pg_hba"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct child_result result = {.exit_code = 1, .output = rows[i].output};
        struct err err = {0};

        assert_int_equal(tool_failure("tool", &result, &err), -EIO);
        if (strcmp(err.msg, rows[i].want) != 0)
            fail_msg("row %zu: %s", i, err.msg);
    }
}

static bool has_argument(const struct tool_args *a, const char *text)
{
    for (size_t i = 0; i < a->n; i++)
        if (text_equal(a->items[i], text))
            return true;
    return false;
}

static void test_basebackup_leaves_out_what_would_misdirect_it(void **state)
{
    struct setting options[] = {
        {"pgdata", "/etc"},     {"host", "evil"}, {"gzip", NULL}, {"max-rate", "'100M'"}, {"no-verify-checksums", NULL},
        {"compress", "gzip:9"}, {"format", "t"}};
    struct config config = {.postgresql = {.data_dir = "/data", .bin_dir = "/bin", .basebackup = {options, 7}}};
    struct tool_args args = {0};

    (void)state;
    assert_int_equal(basebackup_args(&config, "dsn", &args, NULL), 0);
    assert_string_equal(args.items[0], "/bin/pg_basebackup");
    assert_true(has_argument(&args, "--pgdata=/data") && has_argument(&args, "--dbname=dsn"));
    assert_true(has_argument(&args, "--max-rate=100M") && has_argument(&args, "--no-verify-checksums"));
    assert_true(has_argument(&args, "--checkpoint=fast"));
    assert_int_equal(args.n, 9);
    tool_args_done(&args);

    options[0] = (struct setting){"checkpoint", "spread"};
    options[5].value = "server-lz4";
    assert_int_equal(basebackup_args(&config, "dsn", &args, NULL), 0);
    assert_true(has_argument(&args, "--checkpoint=spread") && !has_argument(&args, "--checkpoint=fast"));
    assert_true(has_argument(&args, "--compress=server-lz4"));
    tool_args_done(&args);
}

static void test_initdb_needs_neither_user_nor_password(void **state)
{
    struct config config = {.postgresql = {.data_dir = "/data"}};
    struct tool_args args = {0};

    (void)state;
    assert_int_equal(initdb_args(&config, &args, NULL), 0);
    assert_int_equal(args.n, 2);
    assert_string_equal(args.items[0], "initdb");
    assert_string_equal(args.items[1], "--pgdata=/data");
    tool_args_done(&args);

    config.postgresql.superuser = (struct credentials){.username = "boss", .password = "secret"};
    assert_int_equal(initdb_args(&config, &args, NULL), 0);
    assert_true(has_argument(&args, "--username=boss") && has_argument(&args, "--pwfile=/dev/stdin"));
    assert_string_equal(args.items[args.n - 1], "--pgdata=/data");
    tool_args_done(&args);
}

static void test_roles_are_quoted(void **state)
{
    CLEANUP(freep) char *question = NULL;
    CLEANUP(freep) char *create = NULL;
    CLEANUP(freep) char *alter = NULL;

    (void)state;
    assert_int_equal(role_question("o'r\\x\"", &question, NULL), 0);
    assert_non_null(strstr(question, "rolname = E'o''r\\\\x\"'"));
    assert_int_equal(role_statement(ROLE_REPLICATION, "a\"; DROP--", false, "SCRAM'", &create, NULL), 0);
    assert_string_equal(create, "CREATE ROLE \"a\"\"; DROP--\" WITH REPLICATION LOGIN PASSWORD E'SCRAM'''");
    assert_int_equal(role_statement(ROLE_REWIND, "r", true, NULL, &alter, NULL), 0);
    assert_true(
        text_starts_with(alter, "ALTER ROLE \"r\" WITH LOGIN; GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir("));
}

static void test_commits_are_found_in_the_output_of_waldump(void **state)
{
    char commit[160];

    (void)state;
    assert_true(
        lost_parse_commit("rmgr: Transaction len (rec/tot):     34/    34, tx:        735, lsn: 0/03000148, prev "
                          "0/03000110, desc: COMMIT 2026-07-24 12:00:00.123456 UTC; inval msgs: catcache 1",
                          commit, sizeof(commit)));
    assert_string_equal(commit, "0/03000148\t735\t2026-07-24 12:00:00.123456 UTC");
    assert_true(
        lost_parse_commit("rmgr: Transaction len (rec/tot):     34/    34, tx:          0, lsn: 0/3000148, prev "
                          "0/3000110, desc: COMMIT_PREPARED 740: 2026-07-24 12:00:00.123456 UTC",
                          commit, sizeof(commit)));
    assert_string_equal(commit, "0/3000148\t0\t740: 2026-07-24 12:00:00.123456 UTC");
    assert_false(lost_parse_commit("rmgr: Transaction len (rec/tot):     34/    34, tx: 735, lsn: 0/3000148, prev "
                                   "0/3000110, desc: ABORT 2026-07-24 12:00:00.123456 UTC",
                                   commit, sizeof(commit)));
    assert_false(lost_parse_commit("rmgr: Heap desc: COMMIT", commit, sizeof(commit)));
    assert_true(lost_is_end_of_wal("pg_waldump: error: error in WAL record at 0/1: invalid record length at 0/2"));
    assert_true(lost_is_end_of_wal("pg_waldump: error: could not find a valid record after 0/3000000"));
    assert_false(lost_is_end_of_wal("pg_waldump: error: could not find file \"000000010000000000000003\""));
}

static void test_archive_command_is_that_of_the_server(void **state)
{
    static const struct {
        const char *entry, *want;
    } names[] = {
        {"000000010000000000000003.ready", "000000010000000000000003"},
        {"00000002.history.ready", "00000002.history"},
        {"000000010000000000000003.00000028.backup.ready", "000000010000000000000003.00000028.backup"},
        {"000000010000000000000003.partial.ready", "000000010000000000000003.partial"},
        {"000000010000000000000003.done", NULL},
        {".ready", NULL},
        {"x; rm -rf $HOME.ready", NULL},
        {"../../x.ready", NULL},
    };
    char buf[80];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (archive_ready_name(names[i].entry, buf, sizeof(buf)) != (names[i].want != NULL))
            fail_msg("%s", names[i].entry);
        if (names[i].want)
            assert_string_equal(buf, names[i].want);
    }
    assert_true(archive_command_for("test ! -f /a/%f && cp \"%p\" '/a/%f' %% %x%", "F", buf, sizeof(buf)));
    assert_string_equal(buf, "test ! -f /a/F && cp \"pg_wal/F\" '/a/F' % %x%");
    assert_false(archive_command_for("%f%f%f%f%f", "0123456789012345", buf, sizeof(buf)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_progress_is_read_from_both_programs_and_nothing_else),
        cmocka_unit_test(test_dsn_has_the_order_and_escapes_of_the_reference),
        cmocka_unit_test(test_local_host_is_loopback_where_the_server_listens_there),
        cmocka_unit_test(test_own_host_is_a_socket_or_an_address_that_is_listened_on),
        cmocka_unit_test(test_failure_quotes_the_last_error_and_hints_at_its_remedy),
        cmocka_unit_test(test_basebackup_leaves_out_what_would_misdirect_it),
        cmocka_unit_test(test_initdb_needs_neither_user_nor_password),
        cmocka_unit_test(test_roles_are_quoted),
        cmocka_unit_test(test_commits_are_found_in_the_output_of_waldump),
        cmocka_unit_test(test_archive_command_is_that_of_the_server),
    };

    return cmocka_run_group_tests_name("backup text", tests, NULL, NULL);
}
