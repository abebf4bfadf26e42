/* What a server says when it does not start, and what the operator is told. The samples are PostgreSQL's own texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/text.h"
#include "pg/diagnose.h"

#define LINE "2026-07-24 14:05:07.123 UTC [4711] "

static const struct {
    const char *name, *log, *want;
} rows[] = {
    {"an invalid value, with the file that another line names",
     LINE "LOG:  invalid value for parameter \"work_mem\": \"lots\"\n" LINE
          "HINT:  Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".\n" LINE
          "FATAL:  configuration file \"/data/postgresql.conf\" contains errors\n",
     "parameter \"work_mem\" is invalid: invalid value for parameter \"work_mem\": \"lots\" (in "
     "\"/data/postgresql.conf\")\nHINT:  "},
    {"a value out of range",
     LINE "LOG:  0 is outside the valid range for parameter \"max_connections\" (1 .. 262143)\n" LINE
          "FATAL:  configuration file \"/data/postgresql.conf\" contains errors\n",
     "parameter \"max_connections\" is invalid: 0 is outside"},
    {"a parameter nobody knows",
     LINE "LOG:  unrecognized configuration parameter \"wrok_mem\" in file \"/data/postgresql.conf\" line 5\n" LINE
          "FATAL:  configuration file \"/data/postgresql.conf\" contains errors\n",
     "parameter \"wrok_mem\" is invalid: unrecognized"},
    {"a syntax error",
     LINE "LOG:  syntax error in file \"/data/postgresql.base.conf\" line 3, near token \"=\"\n" LINE
          "FATAL:  configuration file \"/data/postgresql.base.conf\" contains errors\n",
     "the server's configuration has an error: syntax error in file \"/data/postgresql.base.conf\" line 3"},
    {"an invalid value on the command line", "FATAL:  invalid value for parameter \"wal_level\": \"full\"\n",
     "parameter \"wal_level\" is invalid: "},
    {"a client's mistake in the log is no cause",
     LINE "ERROR:  invalid value for parameter \"work_mem\": \"x\"\n" LINE "FATAL:  something new\n",
     "the server did not start: something new\nHINT:  See the log file \"/log\""},
    {"the port in use",
     LINE "LOG:  could not bind IPv4 address \"127.0.0.1\": Address already in use\n" LINE
          "HINT:  Is another postmaster already running on port 5432? If not, wait a few seconds and retry.\n" LINE
          "WARNING:  could not create listen socket for \"127.0.0.1\"\n" LINE
          "FATAL:  could not create any TCP/IP sockets\n",
     "the port is in use by another process: could not bind IPv4 address \"127.0.0.1\": Address already in use: Is "
     "another postmaster already running on port 5432?"},
    {"one of two addresses missing is not why it ended",
     LINE "LOG:  could not bind IPv4 address \"10.0.0.9\": Cannot assign requested address\n" LINE
          "WARNING:  could not create listen socket for \"10.0.0.9\"\n" LINE
          "FATAL:  could not access file \"pg_cron\": No such file or directory\n",
     "a library to be preloaded is missing: could not access file"},
    {"left-over backends",
     LINE "FATAL:  pre-existing shared memory block (key 5432, ID 3) is still in use\n" LINE
          "HINT:  Terminate any old server processes associated with data directory \"/data\".\n",
     "processes of a former server still run in the data directory: pre-existing"},
    {"an address this host does not have",
     LINE "LOG:  could not bind IPv4 address \"10.0.0.9\": Cannot assign requested address\n" LINE
          "FATAL:  could not create any TCP/IP sockets\n",
     "postgresql.listen names an address this host does not have: could not bind"},
    {"another server on the directory",
     LINE "FATAL:  lock file \"postmaster.pid\" already exists\n" LINE
          "HINT:  Is another postmaster (PID 99) running in data directory \"/data\"?\n",
     "another server seems to run in the data directory: lock file \"postmaster.pid\" already exists: Is another "
     "postmaster (PID 99)"},
    {"permissions",
     "FATAL:  data directory \"/data\" has invalid permissions\n"
     "DETAIL:  Permissions should be u=rwx (0700) or u=rwx,g=rx (0750).\n",
     "the data directory is open to others: data directory \"/data\" has invalid permissions: Permissions should be "},
    {"another major version",
     "FATAL:  database files are incompatible with server\nDETAIL:  The data directory was initialized by "
     "PostgreSQL version 14, which is not compatible with this version 15.20.\n",
     "the data directory was made by another version of PostgreSQL than that in bin_dir: database files are "
     "incompatible with server: The data directory was initialized by PostgreSQL version 14"},
    {"standby parameters since 14",
     LINE "FATAL:  recovery aborted because of insufficient parameter settings\n" LINE
          "DETAIL:  max_connections = 50 is a lower setting than on the primary server, where its value was 100.\n",
     "a parameter is lower than on the primary: recovery aborted because of insufficient parameter settings: "
     "max_connections = 50"},
    {"standby parameters before 14",
     LINE "FATAL:  hot standby is not possible because max_connections = 50 is a lower setting than on the master "
          "server (its value was 100)\n",
     "a parameter is lower than on the primary: hot standby"},
    {"diverged",
     LINE "FATAL:  requested timeline 3 is not a child of this server's history\n" LINE
          "DETAIL:  Latest checkpoint is at 0/3000060 on timeline 1, but …\n",
     "the data directory has diverged"},
    {"disk full", LINE "PANIC:  could not write to file \"pg_wal/xlogtemp.9\": No space left on device\n",
     "the disk is full: could not write"},
    {"the kernel's shared memory is no disk",
     LINE "FATAL:  could not create shared memory segment: No space left on device\n",
     "the kernel refuses the server's shared memory"},
    {"key open to others",
     LINE "FATAL:  private key file \"server.key\" has group or world access\n" LINE "DETAIL:  File must have …\n",
     "the TLS key is open to others"},
    {"extension missing", LINE "FATAL:  could not access file \"pg_cron\": No such file or directory\n",
     "a library to be preloaded is missing: could not access file \"pg_cron\""},
    {"an unknown fatal line wins over later ones that are not",
     LINE "FATAL:  the moon is full\n" LINE "LOG:  database system is shut down\n",
     "the server did not start: the moon is full"},
    {"another language: the last fatal line", LINE "FATAL:  Datenbanksystem ist kaputt\n" LINE "LOG:  Ende\n",
     "the server did not start: Datenbanksystem ist kaputt"},
    {"no severity at all", "segfault\n", "the server did not start: segfault"},
    {"silence", "", "the server ended without a word\nHINT:  "},
};

static void test_diagnose_log_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char got[1024];

        diagnose_log(rows[i].log, "/log", got, sizeof(got));
        if (!text_starts_with(got, rows[i].want) || !strstr(got, "\nHINT:  "))
            fail_msg("%s: got \"%s\"", rows[i].name, got);
    }
}

static void test_diagnose_log_never_writes_past_its_buffer(void **state)
{
    char got[24];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        memset(got, 'x', sizeof(got));
        diagnose_log(rows[i].log, "/log", got, 16);
        assert_true(memchr(got, '\0', 16) != NULL);
        assert_int_equal(got[16], 'x');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diagnose_log_follows_the_table),
        cmocka_unit_test(test_diagnose_log_never_writes_past_its_buffer),
    };

    return cmocka_run_group_tests_name("pg_diagnose", tests, NULL, NULL);
}
