/* Who holds a lock file, as far as it can be tested with processes of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/text.h"
#include "io/file.h"
#include "pg/lockfile.h"

static char dir[64], other_dir[80];

/* A process that looks like a server in `cwd`: only its name counts. It stops itself and ends with us. */
static pid_t fake_server(const char *cwd, const char *program)
{
    char path[128];
    pid_t pid;

    (void)text_print(path, sizeof(path), "%s/%s", other_dir, program);
    pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (chdir(cwd) == 0)
            (void)execl(path, program, "-c", "kill -STOP $$", (char *)NULL);
        _exit(1);
    }
    return pid;
}

static void end(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

static struct proc wait_until_named(pid_t pid, const char *cwd, bool postgres)
{
    struct proc p;

    do
        assert_int_equal(proc_read(pid, &p), 0);
    while (!proc_is_in(&p, cwd) || p.is_postgres != postgres);
    return p;
}

static void put(const char *name, const char *text)
{
    char path[128];
    struct err err;

    (void)text_print(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, &err), 0);
}

static bool exists(const char *name)
{
    char path[128];

    (void)text_print(path, sizeof(path), "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static const struct {
    const char *name, *text;
    int result;
    struct lockfile want;
} rows[] = {
    {"complete",
     "4711\n/data\n1700000000\n5432\n/tmp\n127.0.0.1\n  5432001    65536\nready   \n",
     1,
     {.pid = 4711, .data_dir = "/data", .socket_dir = "/tmp", .started_s = 1700000000}},
    {"being written", "4711\n/data\n1700000000", 1, {.pid = 4711, .data_dir = "/data", .started_s = 1700000000}},
    {"single-user", "-4711\n/data\n", 1, {.pid = 4711, .single_user = true, .data_dir = "/data"}},
    {"empty", "", 1, {.pid = 0}},
    {"no socket",
     "4711\n/data\n1700000000\n5432\n\n\n",
     1,
     {.pid = 4711, .data_dir = "/data", .started_s = 1700000000}},
    {"garbage", "abc\n", -EBADMSG, {0}},
    {"a number too large", "99999999999\n", -EBADMSG, {0}},
};

static void test_lockfile_read_follows_the_table(void **state)
{
    char path[128];

    (void)state;
    (void)text_print(path, sizeof(path), "%s/lock", dir);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct lockfile f = {0};
        struct err err = {0};
        int r;

        put("lock", rows[i].text);
        r = lockfile_read(path, &f, &err);
        if (r < 0 ? r != rows[i].result
                  : rows[i].result != 1 || f.pid != rows[i].want.pid || f.single_user != rows[i].want.single_user ||
                        !text_equal(f.data_dir, rows[i].want.data_dir) ||
                        !text_equal(f.socket_dir, rows[i].want.socket_dir) || f.started_s != rows[i].want.started_s)
            fail_msg("%s: %d %d \"%s\" \"%s\"", rows[i].name, r, (int)f.pid, f.data_dir, f.socket_dir);
    }
    (void)unlink(path);
}

static void test_only_a_server_in_the_named_directory_holds_a_lock_file(void **state)
{
    pid_t server = fake_server(dir, "postgres");
    pid_t shell = fake_server(dir, "shell");
    struct lockfile f = {0};
    struct proc p;

    (void)state;
    (void)wait_until_named(server, dir, true);
    (void)wait_until_named(shell, dir, false);
    (void)text_copy(f.data_dir, sizeof(f.data_dir), dir);
    f.pid = server;
    assert_int_equal(lockfile_holder(&f, &p), LOCKFILE_HELD);
    (void)text_copy(f.data_dir, sizeof(f.data_dir), other_dir);
    assert_int_equal(lockfile_holder(&f, &p), LOCKFILE_MISTAKEN);
    (void)text_copy(f.data_dir, sizeof(f.data_dir), dir);
    f.pid = shell;
    assert_int_equal(lockfile_holder(&f, &p), LOCKFILE_MISTAKEN);
    f.pid = 0;
    assert_int_equal(lockfile_holder(&f, &p), LOCKFILE_MISTAKEN);

    /* As a zombie it has neither directory nor program any more, but its name and its age. */
    f.pid = server;
    assert_int_equal(proc_read(server, &p), 0);
    f.started_s = p.started_s;
    (void)kill(server, SIGKILL);
    do
        assert_int_equal(proc_read(server, &p), 0);
    while (!p.zombie);
    assert_int_equal(lockfile_holder(&f, &p), LOCKFILE_MISTAKEN);
    end(server);
    assert_int_equal(lockfile_holder(&f, &p), LOCKFILE_DEAD);
    end(shell);
}

static void test_postmaster_pid_is_cleared_only_while_nobody_works_in_the_directory(void **state)
{
    pid_t backend = fake_server(dir, "postgres");
    char text[256], socket_dir[128] = "";
    struct err err = {0};
    pid_t gone = fork();

    (void)state;
    if (gone == 0)
        _exit(0);
    (void)waitpid(gone, NULL, 0);
    (void)wait_until_named(backend, dir, true);

    /* Names us, no server; but a backend is left. */
    (void)text_print(text, sizeof(text), "%d\n%s\n1\n5432\n/somewhere\n", (int)getpid(), dir);
    put("postmaster.pid", text);
    assert_int_equal(lockfile_clear_pid(dir, socket_dir, sizeof(socket_dir), &err), -EBUSY);
    assert_true(exists("postmaster.pid"));
    end(backend);
    assert_int_equal(lockfile_clear_pid(dir, socket_dir, sizeof(socket_dir), &err), 0);
    assert_false(exists("postmaster.pid"));
    assert_string_equal(socket_dir, "/somewhere");

    /* Names nobody: PostgreSQL needs the file to look for left-over backends. */
    (void)text_print(text, sizeof(text), "%d\n%s\n1\n5432\n/somewhere\n", (int)gone, dir);
    put("postmaster.pid", text);
    assert_int_equal(lockfile_clear_pid(dir, socket_dir, sizeof(socket_dir), &err), 0);
    assert_true(exists("postmaster.pid"));
    (void)unlink("postmaster.pid");
}

static void test_socket_lock_of_a_live_server_stays(void **state)
{
    pid_t server = fake_server(other_dir, "postgres");
    char text[256];
    struct err err = {0};

    (void)state;
    (void)wait_until_named(server, other_dir, true);
    (void)text_print(text, sizeof(text), "%d\n%s\n1\n5432\n%s\n", (int)server, other_dir, dir);
    put(".s.PGSQL.5432.lock", text);
    put(".s.PGSQL.5432", "");
    assert_int_equal(lockfile_clear_socket(dir, 5432, &err), 0);
    assert_true(exists(".s.PGSQL.5432.lock") && exists(".s.PGSQL.5432"));
    assert_int_equal(lockfile_clear_socket(dir, 5433, &err), 0);

    (void)text_print(text, sizeof(text), "%d\n%s\n1\n5432\n%s\n", (int)getpid(), other_dir, dir);
    put(".s.PGSQL.5432.lock", text);
    assert_int_equal(lockfile_clear_socket(dir, 5432, &err), 0);
    assert_false(exists(".s.PGSQL.5432.lock") || exists(".s.PGSQL.5432"));
    end(server);
}

static void test_service_is_the_innermost_one_of_a_cgroup(void **state)
{
    static const struct {
        const char *cgroup, *want;
    } paths[] = {
        {"/system.slice/system-postgresql.slice/postgresql@15-main.service", "postgresql@15-main.service"},
        {"/system.slice/pgtether@a.service/postgres", "pgtether@a.service"},
        {"/user.slice/user-0.slice/user@0.service/app.slice/x.service/y", "x.service"},
        {"/user.slice/user-0.slice/session-3.scope", ""},
        {"/", ""},
        {"", ""},
        {"/.service", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        char got[128];

        proc_service_of(paths[i].cgroup, got, sizeof(got));
        assert_string_equal(got, paths[i].want);
    }
}

static int run_copy(const char *to)
{
    char path[128], *data = NULL;
    size_t len = 0;
    struct err err;
    int r;

    (void)text_print(path, sizeof(path), "%s/%s", other_dir, to);
    r = file_read("/bin/sh", 16 << 20, &data, &len, &err);
    if (r == 0)
        r = file_write_atomic(path, data, len, 0755, &err);
    free(data);
    return r;
}

static int setup(void **state)
{
    char real[PATH_MAX];

    (void)state;
    (void)text_copy(dir, sizeof(dir), "/tmp/test_pg_lockfile_XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_non_null(realpath(dir, real));
    (void)text_copy(dir, sizeof(dir), real);
    (void)text_print(other_dir, sizeof(other_dir), "%s/other", dir);
    assert_int_equal(mkdir(other_dir, 0700), 0);
    return run_copy("postgres") < 0 || run_copy("shell") < 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"other/postgres", "other/shell", "other", "postmaster.pid", "lock"};
    char path[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        (void)text_print(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)remove(path);
    }
    return remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lockfile_read_follows_the_table),
        cmocka_unit_test(test_only_a_server_in_the_named_directory_holds_a_lock_file),
        cmocka_unit_test(test_postmaster_pid_is_cleared_only_while_nobody_works_in_the_directory),
        cmocka_unit_test(test_socket_lock_of_a_live_server_stays),
        cmocka_unit_test(test_service_is_the_innermost_one_of_a_cgroup),
    };

    return cmocka_run_group_tests_name("pg_lockfile", tests, setup, teardown);
}
