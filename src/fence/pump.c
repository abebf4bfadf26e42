#include "fence/pump.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "fence/capabilities.h"

static void write_all(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, bytes, len);

        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return; /* nobody can be told */
        if (n < 0)
            continue;
        bytes += n;
        len -= (size_t)n;
    }
}

__attribute__((noreturn)) static void copy_to_stderr(int from)
{
    char bytes[65536];
    ssize_t n;

    (void)prctl(PR_SET_NAME, "pgtetherd-log");
    capabilities_unbound();
    (void)capabilities_drop(NULL); /* what fails here the keeper does without, too */
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_IGN); /* a stop of the whole service must not cost the last lines */
    if (from != STDERR_FILENO + 1 && dup2(from, STDERR_FILENO + 1) >= 0)
        from = STDERR_FILENO + 1;
    (void)syscall(SYS_close_range, from + 1, ~0U, 0);
    while ((n = read(from, bytes, sizeof(bytes))) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            write_all(bytes, (size_t)n);
    _exit(0);
}

pid_t pump_start(int *ret_fd, struct err *err)
{
    int pair[2];
    pid_t pid;

    if (pipe2(pair, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "could not create a pipe");
    pid = fork();
    if (pid == 0) {
        (void)close(pair[1]);
        copy_to_stderr(pair[0]);
    }
    (void)close(pair[0]);
    if (pid < 0 || fcntl(pair[1], F_SETFL, O_NONBLOCK) < 0) {
        (void)close(pair[1]);
        return err_sys(err, -errno, "could not start the child that writes the log");
    }
    *ret_fd = pair[1];
    return pid;
}
