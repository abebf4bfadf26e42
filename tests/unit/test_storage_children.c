/*
 * The probes as the agent runs them: the real program on a real directory, with a real loop. A frozen disk is played by
 * stopping the child: from here both look the same, a process that does not answer and cannot be hurried.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent/storage.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "config.h"

#define PROBE "./pgtether-probe" /* tests run in the build directory */

static char dir[64], data[96], file[128];
static sd_event *loop;
static struct storage *storage;
static unsigned changes;

static const struct storage_times quick = {.interval_us = 50 * USEC_PER_MSEC, .timeout_us = 400 * USEC_PER_MSEC};

static void on_changed(void *userdata)
{
    (void)userdata;
    changes++;
}

static int setup(void **state)
{
    int fd;

    (void)state;
    (void)text_copy(dir, sizeof(dir), "/var/tmp/pgtether-storage-XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)text_print(data, sizeof(data), "%s/main", dir);
    (void)text_print(file, sizeof(file), "%s/.pgtether.probe.main", dir);
    assert_int_equal(mkdir(data, 0700), 0);
    (void)text_print(file, sizeof(file), "%s/PG_VERSION", data);
    fd = open(file, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    (void)text_print(file, sizeof(file), "%s/pg_wal", data);
    assert_int_equal(mkdir(file, 0700), 0);
    (void)text_print(file, sizeof(file), "%s/.pgtether.probe.main", dir);
    assert_true(sd_event_new(&loop) >= 0);
    changes = 0;
    return 0;
}

static void start_with(const char *program, const struct storage_times *times)
{
    const struct storage_settings settings = {.program = program, .data_dir = data, .times = *times};
    struct err err = {0};

    if (storage_new(loop, &settings, on_changed, NULL, &storage, &err) < 0)
        fail_msg("%s", err.msg);
}

/* Children of this process that run the program; `pids` gets at most n of them. */
static size_t children(pid_t *pids, size_t n)
{
    DIR *proc = opendir("/proc");
    size_t found = 0;

    assert_non_null(proc);
    for (struct dirent *e = readdir(proc); e; e = readdir(proc)) {
        char path[300], name[32];
        int pid, parent;
        FILE *f;

        if (!text_print(path, sizeof(path), "/proc/%s/stat", e->d_name))
            continue;
        f = fopen(path, "r");
        if (!f)
            continue;
        if (fscanf(f, "%d (%30[^)]) %*c %d", &pid, name, &parent) == 3 && parent == getpid() &&
            strcmp(name, "pgtether-probe") == 0) {
            if (found < n)
                pids[found] = pid;
            found++;
        }
        (void)fclose(f);
    }
    (void)closedir(proc);
    return found;
}

static void turn_until(bool (*condition)(void), const char *what)
{
    uint64_t until_us = clock_now_us() + 20 * USEC_PER_SEC;

    while (!condition()) {
        if (clock_now_us() > until_us)
            fail_msg("did not come: %s", what);
        assert_true(sd_event_run(loop, 10 * USEC_PER_MSEC) >= 0);
    }
}

static enum storage_state state_of(bool wal)
{
    const struct storage_track *t = storage_track_of(storage, wal);

    return t ? t->state : STORAGE_UNKNOWN;
}

static bool is_well(void)
{
    return state_of(false) == STORAGE_OK;
}

static bool is_unknown(void)
{
    return state_of(false) == STORAGE_UNKNOWN;
}

static bool has_expired(void)
{
    return state_of(false) == STORAGE_EXPIRED;
}

static bool has_answered_often(void)
{
    return storage_track_of(storage, false) && storage_track_of(storage, false)->answers >= 5;
}

/* The one for the WAL has found that it has nothing to do. */
static bool one_is_left(void)
{
    return children(NULL, 0) == 1 && !storage_track_of(storage, true);
}

static bool none_is_left(void)
{
    return children(NULL, 0) == 0;
}

static bool file_is_gone(void)
{
    return access(file, F_OK) < 0;
}

static pid_t the_child(void)
{
    pid_t pid;

    turn_until(one_is_left, "one child");
    assert_int_equal(children(&pid, 1), 1);
    return pid;
}

static int teardown(void **state)
{
    char command[128];
    pid_t pids[8];
    size_t n;

    (void)state;
    storage = storage_free(storage);
    n = children(pids, 8);
    for (size_t i = 0; i < n && i < 8; i++)
        (void)kill(pids[i], SIGCONT); /* after a test that failed */
    turn_until(none_is_left, "the end of the children");
    loop = sd_event_unref(loop);
    (void)text_print(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command) == 0 ? 0 : -1;
}

static void test_well_disk_is_ok_and_its_file_goes_with_us(void **state)
{
    (void)state;
    start_with(PROBE, &quick);
    turn_until(has_answered_often, "five answers");
    assert_int_equal(state_of(false), STORAGE_OK);
    assert_int_equal(changes, 1);
    assert_false(file_is_gone());
    (void)the_child();
    storage = storage_free(storage);
    turn_until(file_is_gone, "the removal of the file");
}

static void test_silent_child_expires_and_no_other_is_started(void **state)
{
    pid_t pid;

    (void)state;
    start_with(PROBE, &quick);
    turn_until(is_well, "a first answer");
    pid = the_child();
    assert_int_equal(kill(pid, SIGSTOP), 0);
    turn_until(has_expired, "expiry");
    assert_true(clock_now_us() - storage_track_of(storage, false)->answered_at_us >=
                quick.timeout_us + quick.interval_us);
    assert_true(the_child() == pid);
    assert_int_equal(kill(pid, SIGCONT), 0);
    turn_until(is_well, "recovery");
    assert_true(the_child() == pid);
    assert_int_equal(changes, 3);
}

static void test_another_interval_is_taken_up(void **state)
{
    static const struct storage_times other = {.interval_us = 20 * USEC_PER_MSEC, .timeout_us = 400 * USEC_PER_MSEC};
    pid_t pid;

    (void)state;
    start_with(PROBE, &quick);
    turn_until(is_well, "a first answer");
    pid = the_child();
    storage_set_times(storage, &quick);
    turn_until(has_answered_often, "five answers");
    assert_true(the_child() == pid);
    storage_set_times(storage, &other);
    turn_until(none_is_left, "the end of the old child");
    assert_true(the_child() != pid);
}

static void test_child_that_is_killed_is_replaced_and_no_evidence(void **state)
{
    pid_t pid;

    (void)state;
    start_with(PROBE, &quick);
    turn_until(is_well, "a first answer");
    pid = the_child();
    assert_int_equal(kill(pid, SIGKILL), 0);
    turn_until(none_is_left, "its end");
    assert_true(the_child() != pid);
    assert_int_equal(state_of(false), STORAGE_OK);
    assert_int_equal(changes, 1);
}

static void test_program_that_only_fails_says_nothing_about_the_disk(void **state)
{
    uint64_t until_us = clock_now_us() + 3 * quick.timeout_us;

    (void)state;
    start_with("/bin/false", &quick);
    while (clock_now_us() < until_us)
        assert_true(sd_event_run(loop, 10 * USEC_PER_MSEC) >= 0);
    assert_int_equal(state_of(false), STORAGE_UNKNOWN);
    assert_int_equal(changes, 0);
}

static void test_program_that_is_missing_is_reported(void **state)
{
    const struct storage_settings settings = {.program = "/nonexistent", .data_dir = data, .times = quick};
    struct err err = {0};

    (void)state;
    assert_true(storage_new(loop, &settings, on_changed, NULL, &storage, &err) < 0);
    assert_non_null(strstr(err.msg, "/nonexistent"));
}

static void test_directory_whose_cluster_goes_away_is_unknown(void **state)
{
    (void)state;
    start_with(PROBE, &quick);
    turn_until(is_well, "a first answer");
    (void)text_print(file, sizeof(file), "%s/PG_VERSION", data);
    assert_int_equal(unlink(file), 0);
    turn_until(is_unknown, "an answer without a cluster");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_well_disk_is_ok_and_its_file_goes_with_us, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silent_child_expires_and_no_other_is_started, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_interval_is_taken_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_child_that_is_killed_is_replaced_and_no_evidence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_program_that_only_fails_says_nothing_about_the_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_program_that_is_missing_is_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directory_whose_cluster_goes_away_is_unknown, setup, teardown),
    };

#ifdef PGT_SANITIZED
    /* A child looks for leaks when it ends, which stops its threads; one that was stopped before never ends, now and
     * then. */
    (void)setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
#endif

    return cmocka_run_group_tests_name("storage children", tests, NULL, NULL);
}
