/*
 * A real server in a directory of its own: started, probed, adopted, stopped, killed. Skipped where there is no
 * PostgreSQL. As root the test becomes the user postgres first, since the server refuses to run as root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "io/file.h"
#include "model/local.h"
#include "pg/files.h"
#include "pg/probe.h"
#include "pg/server.h"

enum { FIRST_PORT = 21200, PATIENCE_S = 60 };

struct node {
    char data_dir[128], log_file[128], pgpass[128];
    struct config config;
    struct dynamic dynamic;
    struct setting parameters[2];
    struct pg_server *server;
    struct pg_probe *probe;
    int exits, wait_status;
};

static const char *bin_dir = "/usr/lib/postgresql/15/bin"; /* or another version: see tests/system/get-postgresql */
static char top[64];
static sd_event *loop;
static struct node primary, standby;
static uint16_t primary_port, standby_port;

static int run(const char *const *argv)
{
    pid_t pid;
    int status;

    if (posix_spawn(&pid, argv[0], NULL, NULL, (char *const *)argv, environ) != 0)
        return -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* Runs the loop until *flag differs from `old`; fails the test when that takes too long. */
static void wait_for(const int *flag, int old)
{
    uint64_t deadline_us = clock_now_us() + PATIENCE_S * USEC_PER_SEC;

    while (*flag == old) {
        if (clock_now_us() > deadline_us)
            fail_msg("waited in vain");
        (void)sd_event_run(loop, 100000);
    }
}

static void on_exit_of(void *userdata, int wait_status)
{
    struct node *n = userdata;

    n->exits++;
    n->wait_status = wait_status;
}

static struct pg_probe_settings settings_of(const struct node *n)
{
    return (struct pg_probe_settings){
        .host = "127.0.0.1", .port = n->config.postgresql.listen_port, .user = "postgres", .database = "postgres"};
}

static void init_node(struct node *n, const char *name, uint16_t port)
{
    struct config *c = &n->config;
    struct pg_probe_settings s;
    struct err err;

    (void)text_print(n->data_dir, sizeof(n->data_dir), "%s/%s", top, name);
    (void)text_print(n->log_file, sizeof(n->log_file), "%s/%s.log", top, name);
    (void)text_print(n->pgpass, sizeof(n->pgpass), "%s/%s.pgpass", top, name);
    c->name = (char *)name;
    c->scope = (char *)"live";
    c->postgresql.data_dir = n->data_dir;
    c->postgresql.log_file = n->log_file;
    c->postgresql.pgpass = n->pgpass;
    c->postgresql.bin_dir = (char *)(uintptr_t)bin_dir;
    c->postgresql.listen_addresses = (char *)"127.0.0.1";
    c->postgresql.listen_port = port;
    c->postgresql.replication.username = (char *)"postgres";
    n->parameters[0] = (struct setting){(char *)"unix_socket_directories", top};
    n->parameters[1] = (struct setting){(char *)"fsync", (char *)"off"};
    c->postgresql.parameters = (struct settings){n->parameters, 2};
    n->dynamic.policy = POLICY_DEFAULT;
    assert_int_equal(pg_server_new(loop, c, NULL, on_exit_of, n, &n->server, &err), 0);
    s = settings_of(n);
    assert_int_equal(pg_probe_new(loop, &s, &n->probe, &err), 0);
    assert_int_equal(pg_probe_set_replication(n->probe, &s, &c->postgresql.replication, &err), 0);
}

/* --- what the tests do with a node --- */

struct probed {
    int answers;
    enum pg_probe_outcome outcome;
    struct pg_facts facts; /* without what it points to */
    struct err err;
};

static void on_probed(void *userdata, enum pg_probe_outcome outcome, const struct pg_facts *facts,
                      const struct err *err)
{
    struct probed *p = userdata;

    p->answers++;
    p->outcome = outcome;
    p->err = *err;
    if (facts)
        p->facts = *facts;
}

static struct probed probe_once(struct node *n)
{
    struct probed p = {0};
    struct err err = {0};

    if (pg_probe_start(n->probe, 5 * USEC_PER_SEC, on_probed, &p, &err) < 0)
        fail_msg("%s", err.msg);
    wait_for(&p.answers, 0);
    return p;
}

/* Until the outcome is there; each other outcome must be one of a server that is starting. */
static struct probed probe_until(struct node *n, enum pg_probe_outcome outcome)
{
    uint64_t deadline_us = clock_now_us() + PATIENCE_S * USEC_PER_SEC;

    for (;;) {
        struct probed p = probe_once(n);

        if (p.outcome == outcome)
            return p;
        if (clock_now_us() > deadline_us || !pg_server_pid(n->server)) {
            char why[1024] = "it runs";

            if (!pg_server_pid(n->server))
                pg_server_diagnose(n->server, why, sizeof(why));
            fail_msg("probe: %d %s; the server: %s", (int)p.outcome, p.err.msg, why);
        }
        (void)sd_event_run(loop, 20000);
    }
}

/*
 * What was killed takes its time to die on a busy host: pg_server_kill() does not wait for it, and until then a start
 * is refused with -EBUSY, as it has to be. The agent tries again in its next cycle; so does this.
 */
static int start_when_free(struct node *n, const char *const *args, struct err *err)
{
    uint64_t deadline_us = clock_now_us() + PATIENCE_S * USEC_PER_SEC;
    int r;

    while ((r = pg_server_start(n->server, args, err)) == -EBUSY && strstr(err->msg, "former server") &&
           clock_now_us() < deadline_us)
        (void)sd_event_run(loop, 10000);
    return r;
}

static void start(struct node *n, const struct pg_files_spec *given)
{
    struct pg_files_spec spec = given ? *given : (struct pg_files_spec){0};
    CLEANUP(pg_files_free_argsp) char **args = NULL;
    struct err err = {0};

    spec.config = &n->config;
    spec.dynamic = &n->dynamic;
    spec.server_major = 15;
    if (pg_files_write(&spec, NULL, &err) < 0 || pg_files_command_line(&spec, &args, &err) < 0 ||
        start_when_free(n, (const char *const *)args, &err) < 0)
        fail_msg("%s", err.msg);
}

static void stop(struct node *n)
{
    int exits = n->exits;

    if (!pg_server_pid(n->server))
        return;
    assert_int_equal(pg_server_stop(n->server, PG_STOP_FAST), 0);
    wait_for(&n->exits, exits);
}

struct answered {
    int answers, n_rows;
    char first[256], sqlstate[8];
    struct err err;
};

static void on_command(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct answered *a = userdata;

    a->answers++;
    a->err = *err;
    (void)text_copy(a->sqlstate, sizeof(a->sqlstate), sqlstate);
    a->n_rows = (int)rows->n_rows;
    if (rows->n_rows && rows->values[0])
        (void)text_copy(a->first, sizeof(a->first), rows->values[0]);
}

static struct answered command_as(struct node *n, const char *user, const char *sql, uint64_t timeout_us)
{
    struct pg_probe_settings s = settings_of(n);
    struct pg_command *c = NULL;
    struct answered a = {0};
    struct err err = {0};

    s.user = user;
    if (pg_command_start(loop, &s, sql, timeout_us, on_command, &a, &c, &err) < 0)
        fail_msg("%s", err.msg);
    wait_for(&a.answers, 0);
    (void)pg_command_free(c);
    return a;
}

static struct answered command(struct node *n, const char *sql)
{
    return command_as(n, "postgres", sql, 10 * USEC_PER_SEC);
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is missing in: %s", part, text);
}

/* --- tests; each leaves both servers stopped --- */

static int stop_all(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct node *n = i ? &standby : &primary;

        pg_probe_disconnect(n->probe);
        pg_server_kill(n->server);
        while (pg_server_pid(n->server))
            (void)sd_event_run(loop, 100000);
    }
    return 0;
}

/* As initdb wrote it. */
static int major_of(const struct node *n)
{
    CLEANUP(freep) char *version = NULL;
    char path[256];

    assert_true(text_print(path, sizeof(path), "%s/PG_VERSION", n->data_dir));
    assert_int_equal(file_read(path, 64, &version, NULL, NULL), 0);
    return (int)strtol(version, NULL, 10);
}

static void test_probe_of_a_started_primary_has_its_facts(void **state)
{
    struct answered a;
    struct probed p;
    int major = 0;

    (void)state;
    p = probe_once(&primary);
    assert_int_equal(p.outcome, PG_PROBE_REFUSED);
    assert_int_equal(p.err.code, -ECONNREFUSED);
    assert_int_equal(pg_server_check_binaries(&primary.config, &major, NULL), 0);
    assert_int_equal(major, major_of(&primary));
    start(&primary, NULL);
    p = probe_until(&primary, PG_PROBE_OK);
    assert_false(p.facts.in_recovery);
    assert_int_equal(p.facts.timeline, 1);
    assert_int_equal(p.facts.control_timeline, 1);
    assert_true(p.facts.current_lsn > 0x1000000);
    assert_int_equal(p.facts.server_version_num / 10000, major);
    assert_true(p.facts.system_identifier > UINT64_C(1) << 60);
    assert_int_equal(p.facts.n_pending, 0);
    assert_string_equal(p.facts.replication_state, "");
    assert_true(p.facts.asked_at_us <= clock_now_us() && p.facts.asked_at_us > clock_now_us() - 60 * USEC_PER_SEC);
    a = command(&primary, "SELECT to_char(pg_postmaster_start_time(), 'YYYY-MM-DD HH24:MI:SS.')");
    assert_true(text_starts_with(p.facts.postmaster_start_time, a.first));
    a = command(&primary, "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint");
    assert_int_equal(p.facts.postmaster_start_epoch_us, strtoll(a.first, NULL, 10));

    /* The reference's form, "+00:00" at the end. */
    assert_int_equal(p.facts.postmaster_start_time[strlen(p.facts.postmaster_start_time) - 3], ':');
    stop(&primary);
    assert_int_equal(primary.wait_status, 0);
}

static void test_probe_works_without_superuser_and_sees_pending_restarts(void **state)
{
    struct pg_probe_settings s = settings_of(&primary);
    struct probed p = {0};
    struct pg_probe *probe = NULL;
    struct err err;

    (void)state;
    start(&primary, NULL);
    (void)probe_until(&primary, PG_PROBE_OK);
    assert_int_equal(command(&primary, "CREATE ROLE watcher LOGIN IN ROLE pg_monitor").err.code, 0);
    assert_int_equal(command(&primary, "ALTER SYSTEM SET shared_buffers = '16MB'").err.code, 0);
    assert_int_equal(pg_server_reload(primary.server), 0);
    s.user = "watcher";
    assert_int_equal(pg_probe_new(loop, &s, &probe, &err), 0);
    while (p.facts.n_pending == 0) {
        p = (struct probed){0};
        assert_int_equal(pg_probe_start(probe, 5 * USEC_PER_SEC, on_probed, &p, &err), 0);
        assert_int_equal(pg_probe_start(probe, 5 * USEC_PER_SEC, on_probed, &p, &err), -EBUSY);
        wait_for(&p.answers, 0);
        if (p.outcome != PG_PROBE_OK)
            fail_msg("%s", p.err.msg);
    }
    assert_true(p.facts.timeline == 1 && p.facts.system_identifier != 0);
    (void)pg_probe_free(probe);
    assert_int_equal(command(&primary, "ALTER SYSTEM RESET ALL").err.code, 0);
    stop(&primary);
}

static void test_a_kept_connection_that_broke_is_made_again(void **state)
{
    struct answered a;

    (void)state;
    start(&primary, NULL);
    (void)probe_until(&primary, PG_PROBE_OK);
    for (int i = 0; i < 20; i++) {
        /* The newest: the one that was told to end in the round before may not have come to it yet. */
        a = command(&primary, "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
                              " WHERE application_name = 'pgtether heartbeat'"
                              " ORDER BY backend_start DESC LIMIT 1) newest");
        assert_string_equal(a.first, "1");
        assert_int_equal(probe_once(&primary).outcome, PG_PROBE_OK);
    }

    /* Dropped while one is under way: the answer still comes, once. */
    {
        struct probed p = {0};
        struct err err;

        assert_int_equal(pg_probe_start(primary.probe, 5 * USEC_PER_SEC, on_probed, &p, &err), 0);
        pg_probe_disconnect(primary.probe);
        assert_int_equal(p.answers, 0);
        wait_for(&p.answers, 0);
        assert_int_equal(p.outcome, PG_PROBE_REFUSED);
    }
    assert_int_equal(probe_once(&primary).outcome, PG_PROBE_OK);
    stop(&primary);
}

static void test_a_stopped_postmaster_times_the_probe_out(void **state)
{
    struct probed p = {0};
    struct err err;

    (void)state;
    start(&primary, NULL);
    (void)probe_until(&primary, PG_PROBE_OK);
    pg_probe_disconnect(primary.probe);
    assert_int_equal(kill(pg_server_pid(primary.server), SIGSTOP), 0);
    assert_int_equal(pg_probe_start(primary.probe, USEC_PER_SEC / 5, on_probed, &p, &err), 0);
    wait_for(&p.answers, 0);
    assert_int_equal(p.outcome, PG_PROBE_TIMEOUT);
    assert_int_equal(kill(pg_server_pid(primary.server), SIGCONT), 0);
    assert_int_equal(probe_once(&primary).outcome, PG_PROBE_OK);
    stop(&primary);
}

static void test_probe_reaches_a_server_by_its_socket_directory(void **state)
{
    struct pg_probe_settings s = settings_of(&primary);
    struct pg_probe *probe = NULL;
    struct probed p = {0};
    struct err err;

    (void)state;
    s.host = top;
    assert_int_equal(pg_probe_new(loop, &s, &probe, &err), 0);
    assert_int_equal(pg_probe_start(probe, 5 * USEC_PER_SEC, on_probed, &p, &err), 0);
    assert_int_equal(p.answers,
                     0); /* connecting to a socket fails at once, the answer comes from the loop all the same */
    wait_for(&p.answers, 0);
    assert_int_equal(p.outcome, PG_PROBE_REFUSED);
    assert_int_equal(p.err.code, -ECONNREFUSED);
    start(&primary, NULL);
    (void)probe_until(&primary, PG_PROBE_OK);
    assert_int_equal(pg_probe_start(probe, 5 * USEC_PER_SEC, on_probed, &p, &err), 0);
    wait_for(&p.answers, 1);
    assert_int_equal(p.outcome, PG_PROBE_OK);

    /* Freed while one is under way: no answer, no trace. */
    assert_int_equal(pg_probe_start(probe, 5 * USEC_PER_SEC, on_probed, &p, &err), 0);
    (void)pg_probe_free(probe);
    stop(&primary);
    assert_int_equal(p.answers, 2);
}

static void test_command_gives_rows_and_errors(void **state)
{
    struct answered a;

    (void)state;
    start(&primary, NULL);
    (void)probe_until(&primary, PG_PROBE_OK);
    a = command(&primary, "SELECT 'x'; SELECT 'a' UNION ALL SELECT 'b' ORDER BY 1; SET work_mem = '1MB'");
    assert_int_equal(a.err.code, 0);
    assert_int_equal(a.n_rows, 2);
    assert_string_equal(a.first, "a");
    a = command(&primary, "SELECT 1/0");
    assert_string_equal(a.sqlstate, "22012");
    assert_string_equal(a.err.msg, "division by zero");
    a = command_as(&primary, "postgres", "SELECT pg_sleep(20)", USEC_PER_SEC / 5);
    assert_true(a.err.code == -ETIMEDOUT || text_equal(a.sqlstate, "57014"));
    a = command_as(&primary, "nobody_here", "SELECT 1", 5 * USEC_PER_SEC);
    assert_int_equal(a.err.code, -EACCES);
    assert_has(a.err.msg, "nobody_here");
    stop(&primary);
}

static void test_a_running_server_is_adopted_and_its_end_is_seen(void **state)
{
    struct node other = {0};
    struct err err = {0};

    (void)state;
    assert_int_equal(pg_server_new(loop, &primary.config, NULL, on_exit_of, &other, &other.server, &err), 0);
    assert_int_equal(pg_server_adopt(other.server, &err), 0);
    start(&primary, NULL);
    (void)probe_until(&primary, PG_PROBE_OK);
    assert_int_equal(pg_server_adopt(other.server, &err), 1);
    assert_int_equal(pg_server_pid(other.server), pg_server_pid(primary.server));
    assert_int_equal(pg_server_start(other.server, NULL, &err), -EBUSY);
    stop(&primary);
    wait_for(&other.exits, 0);
    assert_int_equal(other.wait_status, -1);
    assert_int_equal(pg_server_pid(other.server), 0);
    assert_int_equal(pg_server_stop(other.server, PG_STOP_FAST), -ESRCH);
    (void)pg_server_free(other.server);
}

static void test_a_second_start_over_a_running_server_is_refused(void **state)
{
    struct node other = {0};
    struct err err = {0};

    (void)state;
    assert_int_equal(pg_server_new(loop, &primary.config, NULL, on_exit_of, &other, &other.server, &err), 0);
    start(&primary, NULL);
    (void)probe_until(&primary, PG_PROBE_OK);
    assert_int_equal(pg_server_start(other.server, NULL, &err), -EBUSY);
    assert_has(err.msg, "another server");
    (void)pg_server_free(other.server);
    stop(&primary);
}

static void test_a_killed_postmaster_is_reported_at_once_and_leaves_nothing_after_kill(void **state)
{
    pid_t pid;
    uint64_t killed_at_us;

    (void)state;
    start(&primary, NULL);
    (void)probe_until(&primary, PG_PROBE_OK);
    pid = pg_server_pid(primary.server);
    primary.exits = 0;
    killed_at_us = clock_now_us();
    pg_server_kill(primary.server);
    wait_for(&primary.exits, 0);
    assert_int_equal(primary.wait_status, SIGKILL);
    assert_true(clock_now_us() - killed_at_us < 10 * USEC_PER_SEC);
    assert_int_equal(kill(pid, 0), -1);
    start(&primary, NULL); /* crash recovery */
    while (command(&primary, "SELECT 1").err.code)
        (void)sd_event_run(loop, 10000);
    /* The probe's connection is still that to the dead server, which said no good-bye. */
    assert_int_equal(probe_once(&primary).outcome, PG_PROBE_OK);
    stop(&primary);
}

static void test_left_over_backends_block_a_start_until_they_are_gone(void **state)
{
    struct pg_probe_settings s = settings_of(&primary);
    struct pg_command *busy = NULL;
    struct answered a = {0};
    struct err err = {0};

    (void)state;
    start(&primary, NULL);
    (void)probe_until(&primary, PG_PROBE_OK);
    /* A backend in a CPU loop does not notice that its postmaster died. */
    assert_int_equal(pg_command_start(loop, &s, "DO $$ DECLARE i bigint := 0; BEGIN LOOP i := i + 1; END LOOP; END $$",
                                      60 * USEC_PER_SEC, on_command, &a, &busy, &err),
                     0);
    while (!text_equal(command(&primary, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %'").first, "1"))
        ;
    primary.exits = 0;
    assert_int_equal(kill(pg_server_pid(primary.server), SIGKILL), 0);
    wait_for(&primary.exits, 0);
    assert_int_equal(pg_server_start(primary.server, NULL, &err), -EBUSY);
    assert_has(err.msg, "former server");
    pg_server_kill(primary.server);
    wait_for(&a.answers, 0);
    (void)pg_command_free(busy);
    assert_int_equal(start_when_free(&primary, NULL, &err), 0);
    (void)probe_until(&primary, PG_PROBE_OK);
    stop(&primary);
}

static void test_a_pid_file_that_names_another_program_or_a_zombie_does_not_stop_a_start(void **state)
{
    char path[256], text[512];
    struct err err;
    siginfo_t info;
    pid_t zombie = fork();

    (void)state;
    if (zombie == 0)
        _exit(0);
    assert_int_equal(waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT), 0);
    for (int i = 0; i < 3; i++) {
        int pid = i == 0 ? (int)getpid() : (int)zombie;

        (void)text_print(text, sizeof(text), "%d\n%s\n1700000000\n%d\n%s\n127.0.0.1\n", pid, primary.data_dir,
                         primary_port, top);
        (void)text_print(path, sizeof(path), "%s/postmaster.pid", primary.data_dir);
        assert_int_equal(file_write_atomic(path, i == 2 ? "" : text, i == 2 ? 0 : strlen(text), 0600, &err), 0);
        (void)text_print(path, sizeof(path), "%s/.s.PGSQL.%d.lock", top, primary_port);
        assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, &err), 0);
        start(&primary, NULL);
        (void)probe_until(&primary, PG_PROBE_OK);
        stop(&primary);
    }
    (void)waitpid(zombie, NULL, 0);
}

static void fail_to_start(struct node *n, const struct pg_files_spec *spec, const char *part, const char *other_part)
{
    char text[1024];
    int exits = n->exits;

    start(n, spec);
    wait_for(&n->exits, exits);
    assert_int_not_equal(n->wait_status, 0);
    pg_server_diagnose(n->server, text, sizeof(text));
    assert_has(text, part);
    assert_has(text, other_part);
    assert_has(text, "\nHINT:  ");
}

static void test_a_failed_start_is_explained(void **state)
{
    struct setting parameters[3];
    struct settings *p = &primary.config.postgresql.parameters;
    struct settings good = *p;
    char *program_dir = primary.config.postgresql.bin_dir;

    (void)state;
    memcpy(parameters, p->items, 2 * sizeof(*parameters));
    *p = (struct settings){parameters, 3};
    parameters[2] = (struct setting){(char *)"work_mem", (char *)"lots"};
    fail_to_start(&primary, NULL, "parameter \"work_mem\" is invalid", "postgresql.conf");
    parameters[2] = (struct setting){(char *)"wrok_mem", (char *)"1MB"};
    fail_to_start(&primary, NULL, "parameter \"wrok_mem\" is invalid", "unrecognized");
    parameters[2] = (struct setting){(char *)"shared_preload_libraries", (char *)"no_such_library"};
    fail_to_start(&primary, NULL, "no_such_library", "shared_preload_libraries");
    parameters[2] = (struct setting){(char *)"ssl", (char *)"on"};
    fail_to_start(&primary, NULL, "server.crt", "ssl_cert_file");
    *p = good;

    assert_int_equal(chmod(primary.data_dir, 0755), 0);
    fail_to_start(&primary, NULL, "open to others", "chmod");
    assert_int_equal(chmod(primary.data_dir, 0700), 0);

    primary.config.postgresql.bin_dir = (char *)"/nonexistent";
    {
        struct err err = {0};

        assert_int_equal(pg_server_start(primary.server, NULL, &err), -ENOENT);
        assert_int_equal(pg_server_check_binaries(&primary.config, &(int){0}, &err), -ENOENT);
    }
    primary.config.postgresql.bin_dir = program_dir;

    /* Another server has the port. */
    start(&primary, NULL);
    (void)probe_until(&primary, PG_PROBE_OK);
    standby.config.postgresql.listen_port = primary_port;
    {
        char *listen = standby.config.postgresql.listen_addresses;

        fail_to_start(&standby, NULL, "the port is in use", "could not bind");
        standby.config.postgresql.listen_addresses = (char *)"127.0.0.2";
        fail_to_start(&standby, NULL, "uses the socket of this port", "PID");
        standby.config.postgresql.listen_addresses = listen;
    }
    standby.config.postgresql.listen_port = standby_port;
    stop(&primary);
}

static void test_a_standby_streams_and_its_facts_say_so(void **state)
{
    const struct pg_upstream up = {.member = "primary", .host = "127.0.0.1", .port = primary_port};
    const struct pg_files_spec spec = {.standby = true, .upstream = &up};
    struct probed p = {0}, of_primary;
    struct answered a;

    (void)state;
    start(&primary, NULL);
    (void)probe_until(&primary, PG_PROBE_OK);
    a = command(&primary, "SELECT pg_create_physical_replication_slot('standby')");
    assert_int_equal(a.err.code, 0);
    start(&standby, &spec);
    do
        p = probe_until(&standby, PG_PROBE_OK);
    while (!text_equal(p.facts.replication_state, "streaming"));
    assert_true(p.facts.in_recovery);
    assert_int_equal(p.facts.timeline, 1);
    assert_string_equal(p.facts.receiver_host, "127.0.0.1");
    assert_string_equal(p.facts.primary_slot_name, "standby");
    assert_has(p.facts.primary_conninfo, "application_name=standby");

    assert_int_equal(command(&primary, "CREATE TABLE public.t (i int)").err.code, 0);
    of_primary = probe_once(&primary);
    assert_int_equal(of_primary.facts.n_walsenders, 1);
    assert_int_equal(of_primary.facts.n_slots, 1);
    do
        p = probe_once(&standby);
    while (p.outcome == PG_PROBE_OK &&
           (p.facts.replay_lsn < of_primary.facts.current_lsn || !*p.facts.replayed_timestamp));
    assert_int_equal(p.outcome, PG_PROBE_OK);
    assert_true(p.facts.receive_lsn >= p.facts.replay_lsn);

    /* Promoted: the new timeline at once, before the checkpoint that follows. */
    stop(&primary);
    assert_string_equal(
        command_as(&standby, "postgres", "SELECT pg_promote(true, 50)", PATIENCE_S * USEC_PER_SEC).first, "t");
    p = probe_once(&standby);
    assert_false(p.facts.in_recovery);
    assert_int_equal(p.facts.timeline, 2);
    stop(&standby);
}

/* Whom the server does not let in for replication. */
static struct probed probe_as_stranger(struct node *n)
{
    struct pg_probe *known = n->probe;
    struct pg_probe_settings s = settings_of(n);
    struct probed p;
    struct err err = {0};

    assert_int_equal(pg_probe_new(loop, &s, &n->probe, &err), 0);
    s.user = "nobody";
    assert_int_equal(pg_probe_set_replication(n->probe, &s, &n->config.postgresql.replication, &err), 0);
    p = probe_until(n, PG_PROBE_OK);
    n->probe = pg_probe_free(n->probe);
    n->probe = known;
    return p;
}

static void test_a_standby_without_upstream_knows_the_timeline_it_has_replayed(void **state)
{
    const struct pg_upstream up = {.member = "standby", .host = "127.0.0.1", .port = standby_port};
    const struct pg_files_spec spec = {.standby = true, .upstream = &up};
    struct probed p;
    int exits;

    /* Roles are exchanged: what was promoted to timeline 2 leads now. */
    (void)state;
    primary.dynamic.policy.use_slots = false;
    start(&standby, NULL);
    (void)probe_until(&standby, PG_PROBE_OK);
    assert_int_equal(command(&standby, "CREATE TABLE public.u (i int)").err.code, 0);
    start(&primary, &spec);
    do
        p = probe_until(&primary, PG_PROBE_OK);
    while (p.facts.timeline != 2 || !text_equal(p.facts.replication_state, "streaming"));
    assert_string_equal(p.facts.primary_slot_name, "");

    stop(&standby);
    do
        p = probe_once(&primary);
    while (p.outcome == PG_PROBE_OK &&
           (*p.facts.replication_state || *p.facts.receiver_host)); /* one after the other */
    assert_int_equal(p.outcome, PG_PROBE_OK);
    assert_int_equal(p.facts.timeline, 2);
    assert_true(p.facts.replayed_all);

    /* Killed before any restartpoint on timeline 2: the control file speaks of 1, and what it has of 2 nobody else may
     * have. */
    exits = primary.exits;
    pg_server_kill(primary.server);
    wait_for(&primary.exits, exits);
    start(&primary, &spec);
    do
        p = probe_until(&primary, PG_PROBE_OK);
    while (!p.facts.replayed_all);
    assert_int_equal(p.facts.control_timeline, 1);
    assert_int_equal(p.facts.timeline, 2);
    assert_string_equal(p.facts.timeline_doubt, "");

    p = probe_as_stranger(&primary);
    assert_false(p.facts.replayed_all);
    assert_has(p.facts.timeline_doubt, "nobody");
    stop(&primary);
    primary.dynamic.policy.use_slots = true;
}

static void test_a_server_that_lets_nobody_in_yet_is_starting(void **state)
{
    const struct pg_files_spec spec = {.standby = true};
    struct pg_files_spec full = spec;
    CLEANUP(pg_files_free_argsp) char **args = NULL;
    const char *more[32] = {0};
    struct probed p;
    struct err err = {0};
    size_t n = 0;

    (void)state;
    full.config = &standby.config;
    full.dynamic = &standby.dynamic;
    full.server_major = 15;
    assert_int_equal(pg_files_write(&full, NULL, &err), 0);
    assert_int_equal(pg_files_command_line(&full, &args, &err), 0);
    for (; args[n]; n++)
        more[n] = args[n];
    more[n] = "--hot_standby=off";
    assert_int_equal(pg_server_start(standby.server, more, &err), 0);
    p = probe_until(&standby, PG_PROBE_STARTING);
    assert_has(p.err.msg, "the database system is");
    stop(&standby);
}

/* --- the group --- */

/*
 * Two ports that no other run of this test uses: a name in the abstract namespace, held until we end, says so, because
 * a port is free between two starts of a server.
 */
static void claim_ports(void)
{
    for (uint16_t port = FIRST_PORT; port < FIRST_PORT + 100; port = (uint16_t)(port + 2)) {
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        (void)text_print(name.sun_path + 1, sizeof(name.sun_path) - 1, "pgtether-test-port-%u", (unsigned)port);
        if (fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0) {
            primary_port = port;
            standby_port = (uint16_t)(port + 1);
            return; /* fd stays open */
        }
        (void)close(fd);
    }
    fail_msg("no port is free");
}

static int setup(void **state)
{
    char program[PATH_MAX];
    const char *const initdb[] = {program, "-D", primary.data_dir, "-A",         "trust",      "-U", "postgres",
                                  "-N",    "-E", "UTF8",           "--locale=C", "--no-clean", NULL};
    const char *const copy[] = {"/bin/cp", "-a", primary.data_dir, standby.data_dir, NULL};
    const char *const silent[] = {"/bin/sh", "-c", "exec \"$0\" \"$@\" >/dev/null", NULL};
    const char *argv[32] = {0};
    size_t n = 0;

    (void)state;
    assert_true(text_print(program, sizeof(program), "%s/initdb", bin_dir));
    (void)text_copy(top, sizeof(top), "/tmp/test_pg_live_XXXXXX");
    assert_non_null(mkdtemp(top));
    assert_int_equal(sd_event_new(&loop), 0);
    claim_ports();
    init_node(&primary, "primary", primary_port);
    init_node(&standby, "standby", standby_port);
    for (size_t i = 0; silent[i]; i++)
        argv[n++] = silent[i];
    for (size_t i = 0; initdb[i]; i++)
        argv[n++] = initdb[i];
    /* A copy of the same cluster, taken while it is down, can follow it. */
    return run(argv) || run(copy);
}

static int teardown(void **state)
{
    const char *const remove_all[] = {"/bin/rm", "-rf", top, NULL};

    (void)stop_all(state);
    (void)pg_server_free(primary.server);
    (void)pg_server_free(standby.server);
    (void)pg_probe_free(primary.probe);
    (void)pg_probe_free(standby.probe);
    (void)sd_event_unref(loop);
    return run(remove_all);
}

static void become_postgres(void)
{
    const struct passwd *pw;

    if (geteuid() != 0)
        return;
    pw = getpwnam("postgres");
    if (!pw || initgroups(pw->pw_name, pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 || setuid(pw->pw_uid) < 0 ||
        chdir("/") < 0) {
        (void)fprintf(stderr, "SKIP: cannot become the user postgres\n");
        exit(77);
    }
    (void)prctl(PR_SET_DUMPABLE, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_probe_of_a_started_primary_has_its_facts, stop_all),
        cmocka_unit_test_teardown(test_probe_works_without_superuser_and_sees_pending_restarts, stop_all),
        cmocka_unit_test_teardown(test_a_kept_connection_that_broke_is_made_again, stop_all),
        cmocka_unit_test_teardown(test_a_stopped_postmaster_times_the_probe_out, stop_all),
        cmocka_unit_test_teardown(test_probe_reaches_a_server_by_its_socket_directory, stop_all),
        cmocka_unit_test_teardown(test_command_gives_rows_and_errors, stop_all),
        cmocka_unit_test_teardown(test_a_running_server_is_adopted_and_its_end_is_seen, stop_all),
        cmocka_unit_test_teardown(test_a_second_start_over_a_running_server_is_refused, stop_all),
        cmocka_unit_test_teardown(test_a_killed_postmaster_is_reported_at_once_and_leaves_nothing_after_kill, stop_all),
        cmocka_unit_test_teardown(test_left_over_backends_block_a_start_until_they_are_gone, stop_all),
        cmocka_unit_test_teardown(test_a_pid_file_that_names_another_program_or_a_zombie_does_not_stop_a_start,
                                  stop_all),
        cmocka_unit_test_teardown(test_a_failed_start_is_explained, stop_all),
        cmocka_unit_test_teardown(test_a_standby_streams_and_its_facts_say_so, stop_all),
        cmocka_unit_test_teardown(test_a_standby_without_upstream_knows_the_timeline_it_has_replayed, stop_all),
        cmocka_unit_test_teardown(test_a_server_that_lets_nobody_in_yet_is_starting, stop_all),
    };

    if (getenv("PGTETHER_TEST_PG"))
        bin_dir = getenv("PGTETHER_TEST_PG");
    if (access(bin_dir, X_OK) != 0) {
        (void)fprintf(stderr, "SKIP: no PostgreSQL in \"%s\"\n", bin_dir);
        return 77;
    }
    become_postgres();
    return cmocka_run_group_tests_name("pg_live", tests, setup, teardown);
}
