/* Kill and verify with real processes: tree.c, cgroup.c, killer.c. This test plays the keeper: it is the subreaper. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "fence/killer.h"

static struct killer killer;
static char data_dir[64];

/* A family reports the pids of its members through here. */
struct family {
    int pipe[2];
    pid_t pids[16];
    size_t count;
};

static int setup(void **state)
{
    struct family *f = calloc(1, sizeof(*f));

    (void)text_copy(data_dir, sizeof(data_dir), "/tmp/fence.XXXXXX");
    if (!f || !mkdtemp(data_dir) || pipe2(f->pipe, O_CLOEXEC) < 0)
        return -1;
    killer.keeper = getpid();
    killer.pump = killer.agent = killer.postmaster = 0;
    killer.data_dir = data_dir;
    killer.cgroups.usable = false;
    if (tree_open(&killer.tree, NULL) < 0)
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct family *f = *state;

    for (size_t i = 0; i < f->count; i++)
        (void)kill(f->pids[i], SIGKILL);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    if (killer.cgroups.usable)
        cgroups_close(&killer.cgroups);
    tree_close(&killer.tree);
    (void)rmdir(data_dir);
    closep(&f->pipe[0]);
    closep(&f->pipe[1]);
    free(f);
    return 0;
}

__attribute__((noreturn)) static void live(struct family *f)
{
    pid_t pid = getpid();

    if (write(f->pipe[1], &pid, sizeof(pid)) != sizeof(pid))
        _exit(1);
    for (;;)
        (void)poll(NULL, 0, -1);
}

/* Waits until so many members have said their pid. */
static void await(struct family *f, size_t count)
{
    while (f->count < count)
        assert_int_equal(read(f->pipe[0], &f->pids[f->count++], sizeof(pid_t)), sizeof(pid_t));
}

static bool is_alive(pid_t pid)
{
    char path[32], line[256] = "", *end;
    FILE *stat;

    (void)text_print(path, sizeof(path), "/proc/%d/stat", (int)pid);
    stat = fopen(path, "r");
    if (!stat)
        return false;
    end = fgets(line, sizeof(line), stat) ? strrchr(line, ')') : NULL;
    (void)fclose(stat);
    return end && end[2] != 'Z' && end[2] != 'X';
}

static int scan(struct tree_scope scope)
{
    scope.keeper = getpid();
    if (!scope.data_dir)
        scope.data_dir = "/no/such/directory";
    return tree_scan(&killer.tree, &scope, NULL);
}

static void prove(enum lease_kill what)
{
    uint64_t until_us = clock_now_us() + 10 * USEC_PER_SEC;

    while (!killer_round(&killer, what).proven) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ; /* as the keeper does, or the table would fill with the dead */
        if (clock_now_us() > until_us)
            fail_msg("death was not proven");
    }
}

static void test_tree_finds_children_and_their_descendants_but_not_us(void **state)
{
    struct family *f = *state;

    assert_int_equal(scan((struct tree_scope){0}), 0);
    if (fork() == 0) {
        if (fork() == 0) {
            (void)setsid();
            (void)fork();
            live(f);
        }
        live(f);
    }
    await(f, 3);
    assert_int_equal(scan((struct tree_scope){0}), 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(tree_has(&killer.tree, f->pids[i]));
    assert_false(tree_has(&killer.tree, getpid()));
    assert_false(tree_has(&killer.tree, 1));
    assert_int_equal(tree_kill(&killer.tree), 3);
    while (scan((struct tree_scope){0}) != 0)
        ;
    for (size_t i = 0; i < 3; i++)
        assert_false(is_alive(f->pids[i]));
}

static void test_tree_finds_orphans_whose_parents_are_gone(void **state)
{
    struct family *f = *state;
    pid_t child = fork();

    if (child == 0) {
        if (fork() == 0)
            live(f);
        _exit(0);
    }
    await(f, 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(scan((struct tree_scope){0}), 1);
    assert_true(tree_has(&killer.tree, f->pids[0]));
}

static void test_tree_spares_the_agent_but_not_the_postmaster_it_started(void **state)
{
    struct family *f = *state;
    pid_t agent = fork(), postmaster = 0, copy = 0;

    if (agent == 0) {
        if (fork() == 0)
            live(f); /* a copy that the agent makes: not PostgreSQL */
        if (fork() == 0) {
            (void)setsid();
            (void)fork();
            live(f);
        }
        live(f);
    }
    await(f, 4);
    for (size_t i = 0; i < 4; i++) {
        if (getsid(f->pids[i]) == f->pids[i])
            postmaster = f->pids[i];
        else if (f->pids[i] != agent && getsid(f->pids[i]) == getsid(agent))
            copy = f->pids[i];
    }
    assert_int_equal(scan((struct tree_scope){.spared = {agent, 0, 0}, .postmaster = postmaster}), 2);
    assert_false(tree_has(&killer.tree, agent));
    assert_false(tree_has(&killer.tree, copy));
    assert_true(tree_has(&killer.tree, postmaster));
    assert_int_equal(scan((struct tree_scope){0}), 4);
}

static void test_tree_finds_who_works_in_the_data_directory_wherever_he_comes_from(void **state)
{
    struct family *f = *state;
    pid_t stranger;

    /* Not our descendant as far as the scan is told: the "keeper" is another process. */
    struct tree_scope scope = {.keeper = 999999999, .data_dir = data_dir};

    stranger = fork();
    if (stranger == 0) {
        (void)setsid(); /* no terminal, as a daemon */
        if (chdir(data_dir) < 0)
            _exit(1);
        live(f);
    }
    await(f, 1);
    assert_int_equal(tree_scan(&killer.tree, &scope, NULL), 1);
    assert_true(tree_has(&killer.tree, stranger));
    /* Its neighbours with a longer or shorter name do not count. */
    {
        char other[80];

        (void)text_print(other, sizeof(other), "%s2", data_dir);
        scope.data_dir = other;
        assert_int_equal(tree_scan(&killer.tree, &scope, NULL), 0);
        (void)text_print(other, sizeof(other), "%.*s", (int)strlen(data_dir) - 1, data_dir);
        assert_int_equal(tree_scan(&killer.tree, &scope, NULL), 0);
    }
    /* Even when the directory has been removed under it. */
    scope.data_dir = data_dir;
    assert_int_equal(rmdir(data_dir), 0);
    assert_int_equal(tree_scan(&killer.tree, &scope, NULL), 1);
}

static void test_tree_counts_zombies_as_dead(void **state)
{
    struct family *f = *state;
    pid_t child = fork();

    if (child == 0)
        live(f);
    await(f, 1);
    (void)kill(child, SIGKILL);
    while (is_alive(child))
        ;
    assert_int_equal(scan((struct tree_scope){0}), 0);
}

static void *go_on(void *arg)
{
    live(arg);
}

static void test_tree_does_not_take_a_process_for_dead_whose_first_thread_has_ended(void **state)
{
    struct family *f = *state;
    pid_t child = fork();

    if (child == 0) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, go_on, f) != 0)
            _exit(1);
        (void)syscall(SYS_exit, 0); /* only this thread; the process shows as a zombie now */
    }
    await(f, 1);
    while (is_alive(child))
        ;
    assert_int_equal(scan((struct tree_scope){0}), 1);
    (void)kill(child, SIGKILL);
}

static void test_tree_understands_names_that_look_like_more_fields(void **state)
{
    struct family *f = *state;
    pid_t child = fork();

    if (child == 0) {
        (void)prctl(PR_SET_NAME, "a) Z 1 (b 0 0");
        live(f);
    }
    await(f, 1);
    assert_int_equal(scan((struct tree_scope){0}), 1);
}

static void test_tree_kills_nobody_who_got_the_pid_of_another(void **state)
{
    struct family *f = *state;
    pid_t child = fork();

    if (child == 0)
        live(f);
    await(f, 1);
    assert_int_equal(scan((struct tree_scope){0}), 1);
    for (size_t i = 0; i < killer.tree.count; i++)
        killer.tree.processes[i].start++; /* as if it had been another */
    assert_int_equal(tree_kill(&killer.tree), 0);
    assert_true(is_alive(child));
}

static void test_killer_proves_the_death_of_processes_that_fork_all_the_time(void **state)
{
    struct family *f = *state;
    uint64_t began_us;

    /* Each lives for a moment and leaves a successor: a single scan may miss the one that lives. */
    for (int i = 0; i < 4; i++) {
        if (fork() != 0)
            continue;
        for (int generation = 0; generation < 5000; generation++) {
            if (fork() > 0)
                _exit(0);
            (void)usleep(1000);
        }
        _exit(0);
    }
    (void)f;
    (void)usleep(20000);
    began_us = clock_now_us();
    prove(LEASE_KILL_NODE);
    assert_true(clock_now_us() - began_us < 3 * USEC_PER_SEC); /* by themselves they end after five or more */
    (void)usleep(50000);
    assert_int_equal(scan((struct tree_scope){0}), 0);
}

static bool open_groups(void)
{
    return cgroups_open(&killer.cgroups, strrchr(data_dir, '/') + 1, "test", data_dir, geteuid(), getegid(), NULL) == 0;
}

static void test_killer_reaches_by_control_group_whom_no_tree_shows(void **state)
{
    struct family *f = *state;
    char byte[2];
    pid_t child;

    if (!open_groups())
        skip();
    assert_false(cgroups_populated(&killer.cgroups, CGROUP_NODE));
    child = fork();
    if (child == 0) {
        if (pwrite(killer.cgroups.groups[CGROUP_PG].procs_fd, "0", 1, 0) != 1)
            _exit(1);
        (void)fork();
        live(f);
    }
    await(f, 2);
    (void)byte;
    assert_true(cgroups_populated(&killer.cgroups, CGROUP_PG));
    assert_true(cgroups_populated(&killer.cgroups, CGROUP_NODE));
    assert_false(cgroups_populated(&killer.cgroups, CGROUP_AGENT));
    killer.keeper = 999999999; /* now nobody is anybody's child */
    assert_int_equal(killer_round(&killer, LEASE_KILL_PRIMARY).left, 0);
    prove(LEASE_KILL_PRIMARY);
    assert_false(is_alive(f->pids[0]));
    assert_false(is_alive(f->pids[1]));
    assert_false(cgroups_populated(&killer.cgroups, CGROUP_NODE));
}

static void test_killer_proves_death_when_somebody_removed_the_groups(void **state)
{
    const struct cgroup *groups = killer.cgroups.groups;

    (void)state;
    if (!open_groups())
        skip();
    assert_int_equal(unlinkat(groups[CGROUP_NODE].dir_fd, "agent", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(groups[CGROUP_NODE].dir_fd, "pg", AT_REMOVEDIR), 0);
    assert_int_equal(rmdir(killer.cgroups.path), 0);
    for (int i = 0; i < CGROUP_COUNT; i++)
        assert_false(cgroups_populated(&killer.cgroups, (enum cgroup_which)i));
    assert_true(killer_round(&killer, LEASE_KILL_NODE).proven);
}

static void test_killer_kills_members_one_by_one_where_the_kernel_has_no_cgroup_kill(void **state)
{
    struct family *f = *state;

    if (!open_groups())
        skip();
    closep(&killer.cgroups.groups[CGROUP_NODE].kill_fd);
    closep(&killer.cgroups.groups[CGROUP_PG].kill_fd);
    closep(&killer.cgroups.groups[CGROUP_AGENT].kill_fd);
    if (fork() == 0) {
        if (pwrite(killer.cgroups.groups[CGROUP_PG].procs_fd, "0", 1, 0) != 1)
            _exit(1);
        live(f);
    }
    await(f, 1);
    killer.keeper = 999999999;
    prove(LEASE_KILL_NODE);
    assert_false(is_alive(f->pids[0]));
    /* Not left frozen for those who come later. */
    if (fork() == 0) {
        if (pwrite(killer.cgroups.groups[CGROUP_PG].procs_fd, "0", 1, 0) != 1)
            _exit(1);
        live(f);
    }
    await(f, 2);
    prove(LEASE_KILL_NODE);
}

static void test_killer_removes_its_groups_at_the_end(void **state)
{
    char path[CGROUP_PATH_SIZE];

    (void)state;
    if (!open_groups())
        skip();
    (void)text_copy(path, sizeof(path), killer.cgroups.path);
    assert_int_equal(access(path, F_OK), 0);
    cgroups_close(&killer.cgroups);
    assert_int_equal(access(path, F_OK), -1);
    assert_false(killer.cgroups.usable);
}

static void test_killer_proves_nothing_when_the_process_table_cannot_be_read(void **state)
{
    struct killer_result result;

    (void)state;
    closep(&killer.tree.proc_fd);
    result = killer_round(&killer, LEASE_KILL_NODE);
    assert_false(result.proven);
    assert_int_equal(result.left, -1);
    assert_int_equal(result.err.code, -EBADF);
    assert_true(killer_primary_lives(&killer));
}

static void test_killer_names_of_groups_are_path_components(void **state)
{
    char name[64], longest[300];

    (void)state;
    assert_true(cgroup_name(name, sizeof(name), "my_cluster", "node.1", "/a"));
    assert_string_equal(name, "pgtether-my_cluster-node.1-70d2182d");
    assert_true(cgroup_name(name, sizeof(name), "../a b", "\xc3\xa4%", "/b"));
    assert_string_equal(name, "pgtether-..%2Fa%20b-%C3%A4%25-6dd21374");
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_false(cgroup_name(name, sizeof(name), longest, "n", "/"));
    assert_false(cgroup_name(name, sizeof(name), "s", longest, "/"));
    assert_false(cgroup_name(name, sizeof(name), "01234567890123456789012345678901234567890123456789012", "n", "/"));
}

#define FAMILY_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAMILY_TEST(test_tree_finds_children_and_their_descendants_but_not_us),
        FAMILY_TEST(test_tree_finds_orphans_whose_parents_are_gone),
        FAMILY_TEST(test_tree_spares_the_agent_but_not_the_postmaster_it_started),
        FAMILY_TEST(test_tree_finds_who_works_in_the_data_directory_wherever_he_comes_from),
        FAMILY_TEST(test_tree_counts_zombies_as_dead),
        FAMILY_TEST(test_tree_does_not_take_a_process_for_dead_whose_first_thread_has_ended),
        FAMILY_TEST(test_tree_understands_names_that_look_like_more_fields),
        FAMILY_TEST(test_tree_kills_nobody_who_got_the_pid_of_another),
        FAMILY_TEST(test_killer_proves_the_death_of_processes_that_fork_all_the_time),
        FAMILY_TEST(test_killer_reaches_by_control_group_whom_no_tree_shows),
        FAMILY_TEST(test_killer_proves_death_when_somebody_removed_the_groups),
        FAMILY_TEST(test_killer_kills_members_one_by_one_where_the_kernel_has_no_cgroup_kill),
        FAMILY_TEST(test_killer_removes_its_groups_at_the_end),
        FAMILY_TEST(test_killer_proves_nothing_when_the_process_table_cannot_be_read),
        FAMILY_TEST(test_killer_names_of_groups_are_path_components),
    };

    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return 99;
    return cmocka_run_group_tests_name("killer", tests, NULL, NULL);
}
