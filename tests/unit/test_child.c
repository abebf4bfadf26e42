#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "io/child.h"

/* Memory runs out on demand (linker option --wrap): at the n-th allocation from now on, 0 is never. */
static int fail_alloc;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);

static bool no_memory(void)
{
    return fail_alloc > 0 && --fail_alloc == 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return no_memory() ? NULL : __real_calloc(n, size);
}

void *__wrap_malloc(size_t size)
{
    return no_memory() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return no_memory() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
    return no_memory() ? NULL : __real_strdup(s);
}

/* Counts the signals we send (linker option --wrap). */
static unsigned kills;

int __real_kill(pid_t pid, int sig);
int __wrap_kill(pid_t pid, int sig);

int __wrap_kill(pid_t pid, int sig)
{
    kills += sig != 0;
    return __real_kill(pid, sig);
}

/* One child, and everything it reported. */
struct run {
    sd_event *loop;
    struct child *child;
    int done; /* how often the callback came */
    struct child_result result;
    char output[CHILD_OUTPUT_MAX + 1];
    char lines[65536]; /* each line in brackets */
    size_t longest_line;
    bool free_in_done, free_in_line, detach_in_line;
};

static char dir[] = "/tmp/pgtether-test-child-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[PATH_MAX];

    assert_true(text_print(path, sizeof(path), "%s/%s", dir, name));
    return path;
}

static void read_text(const char *path, char *buf, size_t size)
{
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, buf, size - 1);
    assert_true(n >= 0);
    buf[n] = '\0';
}

static void on_done(void *userdata, const struct child_result *result)
{
    struct run *run = userdata;

    run->done++;
    run->result = *result;
    assert_true(text_copy(run->output, sizeof(run->output), result->output));
    if (run->free_in_done) {
        run->child = child_free(run->child);
        /* Borrowed until we return, even so. */
        assert_string_equal(run->output, result->output);
    }
}

static void on_line(void *userdata, const char *line)
{
    struct run *run = userdata;
    size_t len = strlen(run->lines);

    if (strlen(line) > run->longest_line)
        run->longest_line = strlen(line);
    (void)text_print(run->lines + len, sizeof(run->lines) - len, "[%s]", line);
    if (run->free_in_line)
        run->child = child_free(run->child);
    if (run->detach_in_line)
        run->child = child_detach(run->child);
}

static void run_start(struct run *run, struct child_spec spec)
{
    struct err err = {0};

    if (!run->loop)
        assert_true(sd_event_new(&run->loop) >= 0);
    spec.on_line = on_line;
    if (child_start(run->loop, &spec, on_done, run, &run->child, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(run->done, 0);
}

static void run_turn(struct run *run)
{
    assert_true(sd_event_run(run->loop, 100 * USEC_PER_MSEC) >= 0);
}

static void run_until_done(struct run *run)
{
    uint64_t give_up_us = clock_now_us() + 20 * USEC_PER_SEC;

    while (!run->done && clock_now_us() < give_up_us)
        run_turn(run);
    assert_int_equal(run->done, 1);
}

static void run_end(struct run *run)
{
    run->child = child_free(run->child);
    run->loop = sd_event_unref(run->loop);
}

#define SH(script)                                                                                                     \
    (const char *const[])                                                                                              \
    {                                                                                                                  \
        "/bin/sh", "-c", (script), NULL                                                                                \
    }
#define LIST(...)                                                                                                      \
    (const char *const[])                                                                                              \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }

/* Runs it to its end. */
static void run_whole(struct run *run, struct child_spec spec)
{
    run_start(run, spec);
    run_until_done(run);
}

static bool process_exists(pid_t pid)
{
    return kill(pid, 0) == 0 || errno == EPERM;
}

static void wait_until_gone(struct run *run, pid_t pid)
{
    uint64_t give_up_us = clock_now_us() + 20 * USEC_PER_SEC;

    while (process_exists(pid) && clock_now_us() < give_up_us)
        run_turn(run);
    assert_false(process_exists(pid));
}

static void test_child_reports_exit_code_and_output_of_both_streams(void **state)
{
    CLEANUP(run_end) struct run run = {0};

    (void)state;
    run_whole(&run, (struct child_spec){.argv = SH("echo out; echo err >&2; exit 3")});
    assert_int_equal(run.result.exit_code, 3);
    assert_int_equal(run.result.signal, 0);
    assert_int_equal(run.result.start_error, 0);
    assert_false(run.result.timed_out);
    assert_string_equal(run.output, "out\nerr\n");
    assert_string_equal(run.lines, "[out][err]");
    /* Reaped: not even a zombie is left. */
    assert_false(process_exists(child_pid(run.child)));
}

static void test_child_reports_the_signal_that_ended_it(void **state)
{
    CLEANUP(run_end) struct run run = {0};

    (void)state;
    run_whole(&run, (struct child_spec){.argv = SH("kill -TERM $$")});
    assert_int_equal(run.result.exit_code, -1);
    assert_int_equal(run.result.signal, SIGTERM);
}

static void test_child_needs_no_blocked_sigchld_and_leaves_other_children_alone(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    sigset_t set;
    pid_t other = fork();
    int status;

    (void)state;
    if (other == 0)
        _exit(42);
    assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &set), 0);
    assert_int_equal(sigismember(&set, SIGCHLD), 0);
    run_whole(&run, (struct child_spec){.argv = SH("exit 0")});
    assert_int_equal(run.result.exit_code, 0);
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(WEXITSTATUS(status), 42);
}

static void test_child_start_when_there_is_no_program_fails_at_once(void **state)
{
    static const struct {
        const char *program;
        const char *path;
        int want;
    } rows[] = {
        {"/no/such/program", NULL, -ENOENT},
        {"no-such-program", NULL, -ENOENT},
        {"", NULL, -ENOENT},
        {"/etc/passwd", NULL, -EACCES},
        {"/tmp", NULL, -EACCES},
        {"passwd", "PATH=/etc", -EACCES},
        {"sh", "PATH=/no/such/dir", -ENOENT},
    };
    sd_event *loop = NULL;

    (void)state;
    assert_true(sd_event_new(&loop) >= 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct child_spec spec = {.argv = LIST(rows[i].program), .env = rows[i].path ? LIST(rows[i].path) : NULL};
        struct child *child = NULL;
        struct err err = {0};
        int r = child_start(loop, &spec, on_done, NULL, &child, &err);

        if (r != rows[i].want || err.code != r || child || !strstr(err.msg, "could not execute"))
            fail_msg("\"%s\": got %d (%s)", rows[i].program, r, err.msg);
    }
    (void)sd_event_unref(loop);
}

static void test_child_start_searches_the_path_of_the_child(void **state)
{
    CLEANUP(run_end) struct run run = {0};

    (void)state;
    run_whole(&run, (struct child_spec){.argv = LIST("sh", "-c", "echo found"), .env = LIST("PATH=/nowhere:/bin")});
    assert_string_equal(run.output, "found\n");
}

static void test_child_that_cannot_be_executed_ends_with_127_and_says_why(void **state)
{
    static const struct {
        const char *name;
        struct child_spec spec;
        int want;
        const char *text;
    } rows[] = {
        {"bad format", {0}, -ENOEXEC, "could not execute \""},
        {"cwd", {.cwd = "/no/such/dir"}, -ENOENT, "could not change to directory \"/no/such/dir\": No such"},
        {"cgroup", {.cgroup_procs = "/no/cgroup.procs"}, -ENOENT, "control group of \"/no/cgroup.procs\": No such"},
        {"refusing cgroup", {.cgroup_procs = "/dev/full"}, -ENOSPC, "control group of \"/dev/full\": No space"},
        {"output", {.output_path = "/no/such/dir/log"}, -ENOENT, "could not open \"/no/such/dir/log\": No such"},
    };
    char script[PATH_MAX];
    int fd;

    (void)state;
    assert_true(text_copy(script, sizeof(script), in_dir("not-a-program")));
    fd = open(script, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    assert_int_equal(write(fd, "no magic\n", 9), 9);
    (void)close(fd);

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(run_end) struct run run = {0};
        struct child_spec spec = rows[i].spec;
        char text[64];

        spec.argv = rows[i].want == -ENOEXEC ? LIST(script) : SH("echo must not run");
        run_whole(&run, spec);
        if (run.result.exit_code != 127 || run.result.start_error != rows[i].want ||
            !strstr(run.output, rows[i].text) || *run.lines)
            fail_msg("%s: exit code %d, error %d, output \"%s\"", rows[i].name, run.result.exit_code,
                     run.result.start_error, run.output);
        assert_string_equal(child_result_text(&run.result, text, sizeof(text)), "could not be started");
    }
}

static void test_child_that_exits_with_127_itself_is_not_taken_for_one_that_did_not_start(void **state)
{
    CLEANUP(run_end) struct run run = {0};

    (void)state;
    run_whole(&run, (struct child_spec){.argv = SH("echo mine; exit 127")});
    assert_int_equal(run.result.exit_code, 127);
    assert_int_equal(run.result.start_error, 0);
    assert_string_equal(run.output, "mine\n");
}

static void test_child_environment_is_inherited_changed_and_cleaned(void **state)
{
    CLEANUP(run_end) struct run run = {0};

    (void)state;
    assert_int_equal(setenv("IO_KEPT", "kept", 1), 0);
    assert_int_equal(setenv("IO_CHANGED", "old", 1), 0);
    assert_int_equal(setenv("PGIO_ONE", "1", 1), 0);
    assert_int_equal(setenv("PGI", "shorter than the prefix", 1), 0);
    assert_int_equal(setenv("IO_GONE", "x", 1), 0);
    assert_int_equal(setenv("IO_GONE_NOT", "y", 1), 0);
    run_whole(&run, (struct child_spec){
                        .argv = SH("echo $IO_KEPT/$IO_CHANGED/$IO_NEW/$PGIO_ONE/$PGIO_TWO/$IO_GONE/$IO_GONE_NOT; "
                                   "echo $PGI; env | grep -c IO_CHANGED"),
                        .env = LIST("IO_CHANGED=new", "IO_NEW=a=b", "PGIO_TWO=2"),
                        .env_unset = LIST("PGIO_*", "IO_GONE", "IO_NOT_SET"),
                    });
    assert_string_equal(run.output, "kept/new/a=b//2//y\nshorter than the prefix\n1\n");
}

static void test_child_reads_the_given_input_or_nothing(void **state)
{
    CLEANUP(run_end) struct run given = {0};
    CLEANUP(run_end) struct run nothing = {0};
    CLEANUP(freep) char *large = malloc(1 << 20);

    (void)state;
    assert_non_null(large);
    memset(large, 'x', (1 << 20) - 1); /* more than a pipe would hold */
    large[(1 << 20) - 1] = '\0';
    run_whole(&given, (struct child_spec){.argv = SH("wc -c"), .input = large});
    assert_int_equal(strtol(given.output, NULL, 10), (1 << 20) - 1);
    run_whole(&nothing, (struct child_spec){.argv = SH("wc -c")});
    assert_int_equal(strtol(nothing.output, NULL, 10), 0);
}

static void test_child_inherits_nothing_but_its_standard_descriptors(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    int leaked = dup(1); /* without O_CLOEXEC */

    (void)state;
    assert_true(leaked > 2);
    /* ls itself has the directory open as 3. */
    run_whole(&run, (struct child_spec){.argv = LIST("/bin/ls", "/proc/self/fd")});
    (void)close(leaked);
    assert_string_equal(run.output, "0\n1\n2\n3\n");
}

static void test_child_starts_when_our_own_standard_descriptors_are_closed(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    int saved = fcntl(0, F_DUPFD_CLOEXEC, 10);

    (void)state;
    (void)close(0); /* the text for stdin now gets the number 0 */
    run_start(&run, (struct child_spec){.argv = SH("cat"), .input = "hello"});
    if (saved >= 0) {
        assert_int_equal(dup2(saved, 0), 0);
        (void)close(saved);
    }
    run_until_done(&run);
    assert_string_equal(run.output, "hello");
}

static void test_child_has_default_signals_and_none_blocked(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    sigset_t usr1;

    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&usr1);
    (void)sigaddset(&usr1, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &usr1, NULL);
    run_whole(&run, (struct child_spec){.argv = LIST("/bin/grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")});
    (void)sigprocmask(SIG_UNBLOCK, &usr1, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    assert_true(text_starts_with(run.output, "SigBlk:\t0000000000000000\nSigIgn:\t"));
    /* 32 and 33 belong to the C library, which lets nobody change them. */
    assert_int_equal(strtoull(strstr(run.output, "SigIgn:") + 7, NULL, 16) & ~UINT64_C(0x180000000), 0);
}

static void test_child_leads_a_group_of_its_own_and_a_session_only_if_asked(void **state)
{
    CLEANUP(run_end) struct run plain = {0};
    CLEANUP(run_end) struct run session = {0};
    static const char script[] = "read -r pid comm state ppid pgrp session rest </proc/self/stat; "
                                 "echo $((pid == pgrp)) $((pid == session))";

    (void)state;
    run_whole(&plain, (struct child_spec){.argv = SH(script)});
    assert_string_equal(plain.output, "1 0\n");
    run_whole(&session, (struct child_spec){.argv = SH(script), .new_session = true});
    assert_string_equal(session.output, "1 1\n");
}

static void test_child_writes_itself_into_the_control_group_first(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    char path[PATH_MAX], got[16];

    (void)state;
    /* A plain file stands in for cgroup.procs: what counts is that "0" (oneself) is written. */
    assert_true(text_copy(path, sizeof(path), in_dir("cgroup.procs")));
    assert_int_equal(close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644)), 0);
    run_whole(&run, (struct child_spec){.argv = LIST("/bin/cat", path), .cgroup_procs = path});
    assert_string_equal(run.output, "0");
    read_text(path, got, sizeof(got));
    assert_string_equal(got, "0");
}

static void test_child_runs_in_the_given_directory(void **state)
{
    CLEANUP(run_end) struct run run = {0};

    (void)state;
    run_whole(&run, (struct child_spec){.argv = SH("pwd"), .cwd = "/usr"});
    assert_string_equal(run.output, "/usr\n");
}

static void test_child_with_output_path_appends_to_it(void **state)
{
    char path[PATH_MAX], got[64];
    struct stat st;

    (void)state;
    assert_true(text_copy(path, sizeof(path), in_dir("log")));
    for (int i = 0; i < 2; i++) {
        CLEANUP(run_end) struct run run = {0};

        run_whole(&run, (struct child_spec){.argv = SH("echo out; echo err >&2"), .output_path = path});
        assert_string_equal(run.output, "");
        assert_string_equal(run.lines, "");
    }
    read_text(path, got, sizeof(got));
    assert_string_equal(got, "out\nerr\nout\nerr\n");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static void test_child_lines_are_split_at_newline_and_return_and_the_last_needs_neither(void **state)
{
    CLEANUP(run_end) struct run run = {0};

    (void)state;
    run_whole(&run, (struct child_spec){.argv = SH("printf '1%%\\r2%%\\r\\n\\nnul\\000byte\\nrest'")});
    assert_string_equal(run.lines, "[1%][2%][nul?byte][rest]");
}

static void test_child_line_that_is_too_long_comes_in_pieces(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    size_t len;

    (void)state;
    run_whole(&run, (struct child_spec){.argv = SH("head -c 10000 /dev/zero | tr '\\0' x; echo; echo after")});
    assert_int_equal(run.longest_line, CHILD_LINE_MAX);
    len = strlen(run.lines);
    assert_int_equal(len, 10000 + 3 * 2 + strlen("[after]")); /* three pieces, nothing lost */
    assert_string_equal(run.lines + len - 7, "[after]");
}

static void test_child_output_keeps_exactly_the_last_bytes(void **state)
{
    static const unsigned sizes[] = {CHILD_OUTPUT_MAX - 1, CHILD_OUTPUT_MAX, CHILD_OUTPUT_MAX + 1, 100000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        CLEANUP(run_end) struct run run = {0};
        char script[128];
        size_t want = sizes[i] < CHILD_OUTPUT_MAX ? sizes[i] : CHILD_OUTPUT_MAX;

        assert_true(
            text_print(script, sizeof(script), "printf A; head -c %u /dev/zero | tr '\\0' x; printf Z", sizes[i] - 2));
        run_whole(&run, (struct child_spec){.argv = SH(script)});
        assert_int_equal(strlen(run.output), want);
        assert_int_equal(run.output[want - 1], 'Z');
        assert_int_equal(run.output[0] == 'A', sizes[i] <= CHILD_OUTPUT_MAX);
    }
}

static void test_child_past_its_timeout_is_killed_with_its_group(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    pid_t grandchild;
    char text[64];

    (void)state;
    run_whole(&run, (struct child_spec){.argv = SH("sleep 100 & echo $!; wait"), .timeout_us = 300 * USEC_PER_MSEC});
    assert_true(run.result.timed_out);
    assert_int_equal(run.result.signal, SIGKILL);
    assert_string_equal(child_result_text(&run.result, text, sizeof(text)), "timed out after 300 ms");
    grandchild = (pid_t)strtol(run.output, NULL, 10);
    assert_true(grandchild > 1);
    wait_until_gone(&run, grandchild);
}

static void test_child_that_ended_in_time_is_not_timed_out_when_the_loop_comes_late(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    siginfo_t info;

    (void)state;
    run_start(&run, (struct child_spec){.argv = SH("echo fine; exit 5"), .timeout_us = 1});
    /* The loop stands still until the child has ended: both events wait then. */
    assert_int_equal(waitid(P_PID, (id_t)child_pid(run.child), &info, WEXITED | WNOWAIT), 0);
    run_until_done(&run);
    assert_false(run.result.timed_out);
    assert_int_equal(run.result.exit_code, 5);
    assert_string_equal(run.output, "fine\n");
}

static void test_child_whose_output_is_held_open_by_others_is_done_soon_after_its_end(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    uint64_t started_at_us = clock_now_us();
    pid_t grandchild;

    (void)state;
    run_whole(&run, (struct child_spec){.argv = SH("sleep 100 & echo $!; exit 0")});
    assert_true(clock_now_us() - started_at_us < 10 * USEC_PER_SEC);
    assert_int_equal(run.result.exit_code, 0);
    grandchild = (pid_t)strtol(run.output, NULL, 10);
    assert_true(process_exists(grandchild)); /* it is not ours to kill */
    assert_int_equal(kill(grandchild, SIGKILL), 0);
}

static void test_child_output_written_before_the_end_is_never_lost(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    siginfo_t info;

    (void)state;
    /* All of it waits in the pipe (64 kB) when the loop first looks, together with the end of the child. */
    run_start(&run, (struct child_spec){.argv = SH("i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i+1)); done")});
    assert_int_equal(waitid(P_PID, (id_t)child_pid(run.child), &info, WEXITED | WNOWAIT), 0);
    run_until_done(&run);
    assert_string_equal(run.lines + strlen(run.lines) - 12, "[4998][4999]");
    assert_string_equal(run.output + strlen(run.output) - 10, "4998\n4999\n");
}

static void test_child_signal_reaches_the_group_and_not_a_finished_child(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    uint64_t give_up_us = clock_now_us() + 20 * USEC_PER_SEC;

    (void)state;
    run_start(&run, (struct child_spec){.argv = SH("sleep 100 & echo ready; wait")});
    while (!*run.lines && clock_now_us() < give_up_us)
        run_turn(&run);
    child_signal(run.child, SIGTERM);
    run_until_done(&run);
    assert_int_equal(run.result.signal, SIGTERM);
    kills = 0;
    child_signal(run.child, SIGKILL); /* must not hit whoever has the pid now */
    run.child = child_free(run.child);
    assert_int_equal(kills, 0);
}

static void test_child_signal_right_after_the_start_of_a_session_is_not_lost(void **state)
{
    CLEANUP(run_end) struct run run = {0};

    (void)state;
    run_start(&run, (struct child_spec){.argv = SH("sleep 100"), .new_session = true});
    child_signal(run.child, SIGKILL);
    run_until_done(&run);
    assert_int_equal(run.result.signal, SIGKILL);
}

static void test_child_may_be_freed_in_its_callbacks(void **state)
{
    CLEANUP(run_end) struct run in_done = {.free_in_done = true};
    CLEANUP(run_end) struct run in_line = {.free_in_line = true};
    CLEANUP(run_end) struct run in_last_line = {.free_in_line = true};
    pid_t pid;

    (void)state;
    run_whole(&in_done, (struct child_spec){.argv = SH("echo hello")});
    assert_null(in_done.child);
    assert_string_equal(in_done.output, "hello\n");

    run_start(&in_line, (struct child_spec){.argv = SH("echo one; echo two; sleep 100")});
    pid = child_pid(in_line.child);
    wait_until_gone(&in_line, pid);
    assert_string_equal(in_line.lines, "[one]"); /* nothing after it was freed */
    assert_int_equal(in_line.done, 0);

    run_start(&in_last_line, (struct child_spec){.argv = SH("printf last")});
    pid = child_pid(in_last_line.child);
    wait_until_gone(&in_last_line, pid);
    assert_int_equal(in_last_line.done, 0);
}

static void test_child_free_ends_the_group_without_a_callback_and_reaps(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    uint64_t give_up_us = clock_now_us() + 20 * USEC_PER_SEC;
    pid_t pid, grandchild;

    (void)state;
    run_start(&run, (struct child_spec){.argv = SH("sleep 100 & echo $!; wait")});
    while (!*run.lines && clock_now_us() < give_up_us)
        run_turn(&run);
    grandchild = (pid_t)strtol(run.lines + 1, NULL, 10);
    assert_true(grandchild > 1);
    pid = child_pid(run.child);
    run.child = child_free(run.child);
    wait_until_gone(&run, pid);
    wait_until_gone(&run, grandchild);
    assert_int_equal(run.done, 0);
    assert_null(child_free(NULL));
}

static void test_child_detached_goes_on_writing_and_is_reaped(void **state)
{
    CLEANUP(run_end) struct run run = {0};
    char path[PATH_MAX], script[PATH_MAX + 128], got[16];
    pid_t pid;

    (void)state;
    assert_true(text_copy(path, sizeof(path), in_dir("detached")));
    /* Writes more than the pipe holds: it would block, or die of SIGPIPE, if nobody read. */
    assert_true(text_print(script, sizeof(script), "head -c 300000 /dev/zero && echo alive >%s", path));
    run_start(&run, (struct child_spec){.argv = SH(script), .timeout_us = 1});
    pid = child_pid(run.child);
    run.child = child_detach(run.child);
    wait_until_gone(&run, pid);
    read_text(path, got, sizeof(got));
    assert_string_equal(got, "alive\n");
    assert_int_equal(run.done, 0);
    assert_string_equal(run.lines, "");
}

static void test_child_detached_in_its_line_callback_hears_no_more(void **state)
{
    CLEANUP(run_end) struct run run = {.detach_in_line = true};
    pid_t pid;

    (void)state;
    run_start(&run, (struct child_spec){.argv = SH("echo one; echo two; exec true")});
    pid = child_pid(run.child);
    wait_until_gone(&run, pid);
    assert_string_equal(run.lines, "[one]");
    assert_int_equal(run.done, 0);
}

static void test_child_detached_outlives_the_loop_without_a_leak(void **state)
{
    struct run run = {0};
    pid_t pid;
    int status;

    (void)state;
    run_start(&run, (struct child_spec){.argv = SH("sleep 100"), .new_session = true, .output_path = "/dev/null"});
    pid = child_pid(run.child);
    run.child = child_detach(run.child);
    run.loop = sd_event_unref(run.loop); /* the sanitizers' build tells if anything is left */
    assert_true(process_exists(pid));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void test_child_start_without_memory_fails_cleanly(void **state)
{
    struct child_spec spec = {.argv = SH("exit 0"), .env = LIST("A=b"), .input = "text"};
    sd_event *loop = NULL;
    struct child *child = NULL;
    int n = 0, r;

    (void)state;
    assert_true(sd_event_new(&loop) >= 0);
    do {
        fail_alloc = ++n;
        r = child_start(loop, &spec, NULL, NULL, &child, NULL);
        assert_true(r == 0 || (r == -ENOMEM && !child));
    } while (r < 0);
    fail_alloc = 0;
    assert_int_equal(n, 3 + 1);
    child = child_free(child);
    (void)sd_event_unref(loop);
}

static void test_child_result_text_names_every_kind_of_end(void **state)
{
    static const struct {
        struct child_result result;
        const char *want;
    } rows[] = {
        {{.exit_code = 1}, "exit code 1"},
        {{.exit_code = 0}, "exit code 0"},
        {{.exit_code = -1, .signal = 9}, "signal 9 (Killed)"},
        {{.exit_code = -1, .signal = 9, .timed_out = true, .timeout_us = 30000000}, "timed out after 30 s"},
        {{.exit_code = -1, .signal = 9, .timed_out = true, .timeout_us = 1500000}, "timed out after 1500 ms"},
        {{.exit_code = 127, .start_error = -ENOENT}, "could not be started"},
        {{.exit_code = -1}, "unknown end"},
        {{.exit_code = -1, .signal = 63}, "signal 63 (unknown)"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[64];

        assert_string_equal(child_result_text(&rows[i].result, buf, sizeof(buf)), rows[i].want);
    }
}

static int make_directory(void **state)
{
    (void)state;
    (void)umask(022);
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_directory(void **state)
{
    char command[sizeof(dir) + 16];

    (void)state;
    assert_true(text_print(command, sizeof(command), "rm -rf %s", dir));
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child_reports_exit_code_and_output_of_both_streams),
        cmocka_unit_test(test_child_reports_the_signal_that_ended_it),
        cmocka_unit_test(test_child_needs_no_blocked_sigchld_and_leaves_other_children_alone),
        cmocka_unit_test(test_child_start_when_there_is_no_program_fails_at_once),
        cmocka_unit_test(test_child_start_searches_the_path_of_the_child),
        cmocka_unit_test(test_child_that_cannot_be_executed_ends_with_127_and_says_why),
        cmocka_unit_test(test_child_that_exits_with_127_itself_is_not_taken_for_one_that_did_not_start),
        cmocka_unit_test(test_child_environment_is_inherited_changed_and_cleaned),
        cmocka_unit_test(test_child_reads_the_given_input_or_nothing),
        cmocka_unit_test(test_child_inherits_nothing_but_its_standard_descriptors),
        cmocka_unit_test(test_child_starts_when_our_own_standard_descriptors_are_closed),
        cmocka_unit_test(test_child_has_default_signals_and_none_blocked),
        cmocka_unit_test(test_child_leads_a_group_of_its_own_and_a_session_only_if_asked),
        cmocka_unit_test(test_child_writes_itself_into_the_control_group_first),
        cmocka_unit_test(test_child_runs_in_the_given_directory),
        cmocka_unit_test(test_child_with_output_path_appends_to_it),
        cmocka_unit_test(test_child_lines_are_split_at_newline_and_return_and_the_last_needs_neither),
        cmocka_unit_test(test_child_line_that_is_too_long_comes_in_pieces),
        cmocka_unit_test(test_child_output_keeps_exactly_the_last_bytes),
        cmocka_unit_test(test_child_past_its_timeout_is_killed_with_its_group),
        cmocka_unit_test(test_child_that_ended_in_time_is_not_timed_out_when_the_loop_comes_late),
        cmocka_unit_test(test_child_whose_output_is_held_open_by_others_is_done_soon_after_its_end),
        cmocka_unit_test(test_child_output_written_before_the_end_is_never_lost),
        cmocka_unit_test(test_child_signal_reaches_the_group_and_not_a_finished_child),
        cmocka_unit_test(test_child_signal_right_after_the_start_of_a_session_is_not_lost),
        cmocka_unit_test(test_child_may_be_freed_in_its_callbacks),
        cmocka_unit_test(test_child_free_ends_the_group_without_a_callback_and_reaps),
        cmocka_unit_test(test_child_detached_goes_on_writing_and_is_reaped),
        cmocka_unit_test(test_child_detached_in_its_line_callback_hears_no_more),
        cmocka_unit_test(test_child_detached_outlives_the_loop_without_a_leak),
        cmocka_unit_test(test_child_start_without_memory_fails_cleanly),
        cmocka_unit_test(test_child_result_text_names_every_kind_of_end),
    };

    return cmocka_run_group_tests_name("child", tests, make_directory, remove_directory);
}
