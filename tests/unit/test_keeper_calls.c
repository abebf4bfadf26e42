/* S6, seen from the kernel: after its start the keeper makes no system call that allocates, or may wait for a disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "config.h"
#include "node.h"

enum { LEASE = 77 };

/* dup is what the pretended watchdog does when it is opened. poll is the loop's own rest; wait4 is checked for WNOHANG,
 * openat for its path. */
static const char *const allowed[] = {
    "poll",          "timerfd_settime", "read",
    "write",         "recvmsg",         "sendmsg",
    "sendto",        "close",           "getdents64",
    "lseek",         "openat",          "kill",
    "wait4",         "pread64",         "pwrite64",
    "socketpair",    "readlinkat",      "pidfd_send_signal",
    "clone",         "clone3",          "_llseek",
    "pwrite",        "rt_sigprocmask",  "timerfd_settime64",
    "clock_gettime", "set_robust_list", "restart_syscall",
    "ppoll",         "pread",           "fork",
    "waitid",        "pipe2",           "dup",
};

static bool is_allowed(const char *line)
{
    size_t len = strcspn(line, "(");
    char path[64] = "";

    for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
        if (strlen(allowed[i]) != len || strncmp(line, allowed[i], len) != 0)
            continue;
        if (strncmp(line, "wait4", 5) == 0)
            return strstr(line, "WNOHANG");
        if (strncmp(line, "openat", 6) != 0)
            return true;
        /* Only the kernel's process table: by descriptor of /proc, or what is behind a descriptor. */
        if (sscanf(line, "openat(%*[^,], \"%63[^\"]\"", path) != 1)
            return false;
        return isdigit((unsigned char)path[0]) || text_equal(path, "stat") ||
               text_starts_with(path, "/proc/self/fdinfo/");
    }
    return false;
}

/* From the first turn of the loop to the end of the trace. Returns the number of calls seen. */
static int check_trace(const char *path)
{
    char line[1024];
    FILE *f = fopen(path, "r");
    bool in_loop = false;
    int calls = 0, bad = 0;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        in_loop = in_loop || text_starts_with(line, "timerfd_settime");
        if (!in_loop || line[0] == '+' || line[0] == '-')
            continue;
        calls++;
        if (!is_allowed(line)) {
            print_error("not allowed after start: %s", line);
            bad++;
        }
    }
    (void)fclose(f);
    assert_int_equal(bad, 0);
    return calls;
}

static bool can_trace(void)
{
#ifdef PGT_SANITIZED
    return false; /* the sanitizers make calls of their own, and do not like to be traced */
#endif
    return system("strace -f -o /dev/null true 2>/dev/null") == 0;
}

static pid_t keeper_under_strace(struct node *n)
{
    char message[512];
    const char *pid;
    ssize_t len;

    do {
        len = recv(n->notify_fd, message, sizeof(message) - 1, 0);
        assert_true(len >= 0);
        message[len < 0 ? 0 : len] = '\0';
        pid = strstr(message, "MAINPID=");
    } while (!pid);
    return (pid_t)strtol(pid + strlen("MAINPID="), NULL, 10);
}

static void arm(struct node *n, uint64_t in_us)
{
    assert_int_equal(node_ask(n, KEEPER_ARM, LEASE, clock_now_us() + in_us, 0).result, KEEPER_OK);
}

static bool no_postgres(struct node *n)
{
    return node_count_postgres(n) == 0;
}

/* Everything a keeper goes through between its start and its end. */
static void live_a_life(struct node *n)
{
    arm(n, 30 * USEC_PER_SEC);
    (void)node_start_postgres(n);
    assert_int_equal(node_ask(n, KEEPER_RENEW, LEASE, clock_now_us() + 40 * USEC_PER_SEC, 0).result, KEEPER_OK);
    (void)kill(n->agent, SIGKILL);
    node_wait_for_agent(n);
    while (node_ask(n, KEEPER_DISARM, 0, 0, 0).state != KEEPER_DISARMED)
        ;
    arm(n, 5 * USEC_PER_SEC);
    (void)node_start_postgres(n);
    (void)kill(n->agent, SIGSTOP);
    node_wait_until(no_postgres, n, "PostgreSQL is dead");
    node_wait_for_agent(n);
    assert_int_equal(node_ask(n, KEEPER_STATUS, 0, 0, 0).rung, FENCE_RUNG_KILL);
}

static void test_keeper_neither_allocates_nor_touches_a_disk_after_its_start(void **state)
{
    struct node *n = *state;
    char trace[128], path[160];
    pid_t keeper;

    if (!can_trace()) {
        n->passed = true;
        skip();
    }
    (void)text_print(trace, sizeof(trace), "%s/trace", n->dir);
    n->wrapper[0] = "strace";
    n->wrapper[1] = "-ff";
    n->wrapper[2] = "-qq";
    n->wrapper[3] = "-s512";
    n->wrapper[4] = "-o";
    n->wrapper[5] = trace;
    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=1000000\n";
    node_start(n);
    (void)node_ask(n, KEEPER_STATUS, 0, 0, 0);
    keeper = keeper_under_strace(n);
    live_a_life(n);
    (void)kill(keeper, SIGKILL);
    (void)kill(n->agent, SIGKILL);
    (void)waitpid(n->keeper, NULL, 0); /* strace, which ends with the last process it follows */
    n->keeper = 0;
    (void)text_print(path, sizeof(path), "%s.%d", trace, (int)keeper);
    assert_true(check_trace(path) > 100);
    n->passed = true;
}

/* More privilege, less program: not even a library beside libc. */
static void test_keeper_links_nothing_but_libc(void **state)
{
    char self[512], command[600], line[512];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    FILE *ldd;
    int lines = 0;

    (void)state;
#ifdef PGT_SANITIZED
    skip();
#endif
    assert_true(len > 0);
    self[len] = '\0';
    *strrchr(self, '/') = '\0';
    (void)text_print(command, sizeof(command), "ldd '%s/../../pgtetherd'", self);
    ldd = popen(command, "r");
    while (ldd && fgets(line, sizeof(line), ldd)) {
        lines++;
        if (!strstr(line, "linux-vdso") && !strstr(line, "libc.so") && !strstr(line, "ld-linux"))
            fail_msg("pgtetherd links %s", line);
    }
    assert_true(ldd && pclose(ldd) == 0);
    assert_true(lines > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeper_links_nothing_but_libc),
        cmocka_unit_test_setup_teardown(test_keeper_neither_allocates_nor_touches_a_disk_after_its_start, node_setup,
                                        node_teardown),
    };

    return cmocka_run_group_tests_name("keeper_calls", tests, NULL, NULL);
}
