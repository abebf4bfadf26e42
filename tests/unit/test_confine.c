/* The filter of system calls, in children of this process: what is refused, what goes on as before, who inherits it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "agent/confine.h"
#include "config.h"

enum { NOT_SUPPORTED = 200 };

/* Runs f in a confined child; its answer, 0 to 199, is what the child ends with. */
static int confined(int (*f)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        int r = confine(NULL);

        _exit(r == -ENOTSUP ? NOT_SUPPORTED : r < 0 ? 199 : f());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NOT_SUPPORTED)
        skip();
    return WEXITSTATUS(status);
}

static int outcome(long r)
{
    return r == -1 ? errno : 0;
}

static int do_mount(void)
{
    return outcome(mount("none", "/mnt", "tmpfs", 0, NULL));
}

static int do_unshare_user(void)
{
    return outcome(unshare(CLONE_NEWUSER));
}

static int do_unshare_files(void)
{
    return outcome(unshare(CLONE_FILES | CLONE_FS));
}

static int do_clone_user(void)
{
    return outcome(syscall(SYS_clone, CLONE_NEWUSER | 17, 0, 0, 0, 0));
}

static int do_clone3(void)
{
    return outcome(syscall(SYS_clone3, NULL, 0));
}

static int do_setns(void)
{
    return outcome(setns(-1, 0));
}

#ifndef PGT_SANITIZED
static int do_ptrace(void)
{
    return outcome(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}
#endif

static int do_read_process(void)
{
    char a = 1, b = 2;
    struct iovec to = {&a, 1}, from = {&b, 1};

    return outcome(process_vm_readv(getpid(), &to, 1, &from, 1, 0));
}

static int do_bpf(void)
{
    return outcome(syscall(SYS_bpf, 0, NULL, 0));
}

static int do_module(void)
{
    return outcome(syscall(SYS_init_module, NULL, 0, ""));
}

static int do_kexec(void)
{
    return outcome(syscall(SYS_kexec_load, 0, 0, NULL, 0));
}

static int do_userfaultfd(void)
{
    return outcome(syscall(SYS_userfaultfd, 0));
}

static int do_handle(void)
{
    return outcome(syscall(SYS_open_by_handle_at, -1, NULL, 0));
}

static int do_reboot(void)
{
    return outcome(syscall(SYS_reboot, 0, 0, 0, NULL));
}

static int do_clock(void)
{
    return outcome(syscall(SYS_clock_settime, CLOCK_REALTIME, NULL));
}

static void *end_at_once(void *arg)
{
    return arg;
}

static int do_thread(void)
{
    pthread_t thread;
    int r = pthread_create(&thread, NULL, end_at_once, NULL);

    return r ? r : pthread_join(thread, NULL);
}

/* 0: a shell can be run and does its work */
static int do_shell(void)
{
    return system("test \"$(echo a | tr a b)\" = b") == 0 ? 0 : 1;
}

/* What was executed is as confined as we are. */
static int do_executed(void)
{
    return system("unshare --user true 2>/dev/null && exit 1; grep -q '^Seccomp:[[:space:]]*2$' /proc/self/status && "
                  "grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/self/status") == 0
               ? 0
               : 1;
}

#ifdef __x86_64__
static int do_x32(void)
{
    return outcome(syscall(0x40000000 | SYS_getpid));
}

/* getpid of 32-bit programs; a kernel without them answers with a signal, which is as good. */
static int do_32_bit(void)
{
    long r;

    __asm__ volatile("int $0x80" : "=a"(r) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
    return r < 0 ? (int)-r : 0;
}
#endif

static const struct {
    const char *name;
    int (*call)(void);
    int want;
} rows[] = {
    {"mount", do_mount, EPERM},
    {"unshare, a user namespace", do_unshare_user, EPERM},
    {"unshare, files", do_unshare_files, 0},
    {"clone, a user namespace", do_clone_user, EPERM},
    {"clone3", do_clone3, ENOSYS},
    {"setns", do_setns, EPERM},
    {"process_vm_readv", do_read_process, EPERM},
    {"bpf", do_bpf, EPERM},
    {"init_module", do_module, EPERM},
    {"kexec_load", do_kexec, EPERM},
    {"userfaultfd", do_userfaultfd, EPERM},
    {"open_by_handle_at", do_handle, EPERM},
    {"reboot", do_reboot, EPERM},
    {"clock_settime", do_clock, EPERM},
#ifndef PGT_SANITIZED
    {"ptrace", do_ptrace, EPERM},
#endif
#ifdef __x86_64__
    {"a call of the x32 ABI", do_x32, ENOSYS},
#endif
    {"a thread", do_thread, 0},
    {"a shell", do_shell, 0},
    {"inheritance", do_executed, 0},
};

static void test_calls_that_nobody_needs_are_refused_and_all_else_goes_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int got = confined(rows[i].call);

        if (got != rows[i].want)
            fail_msg("%s: got %d (%s), wanted %d", rows[i].name, got, strerror(got), rows[i].want);
    }
}

#ifdef __x86_64__
static void test_32_bit_calls_are_refused(void **state)
{
    pid_t pid = fork();
    int status;

    (void)state;
    if (pid == 0)
        _exit(confine(NULL) < 0 ? 199 : do_32_bit());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == EPERM || WEXITSTATUS(status) == ENOSYS);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_that_nobody_needs_are_refused_and_all_else_goes_on),
#ifdef __x86_64__
        cmocka_unit_test(test_32_bit_calls_are_refused),
#endif
    };

    return cmocka_run_group_tests_name("confine", tests, NULL, NULL);
}
