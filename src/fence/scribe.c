#include "fence/scribe.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/bootid.h"
#include "base/text.h"

/* Smaller than PIPE_BUF: one write, whole or not at all. */
struct note {
    uint32_t rung;
    int64_t at_s;
    char reason[192];
};

static const char *rung_word(uint32_t rung)
{
    return rung == FENCE_RUNG_STARVE ? "starve" : rung == FENCE_RUNG_KILL ? "kill" : "disarm";
}

/* The directory belongs to another user: nothing in it is followed, or taken for ours. */
static void write_note(int dir_fd, const char *boot_id, const struct note *n)
{
    CLEANUP(closep) int fd = -1;
    char text[512];

    (void)text_print(text, sizeof(text), "pgtether-rung 1\nboot_id=%s\nat_s=%" PRId64 "\nrung=%s\nreason=%s\n", boot_id,
                     n->at_s, rung_word(n->rung), n->reason);
    (void)unlinkat(dir_fd, "last-rung.new", 0);
    fd = openat(dir_fd, "last-rung.new", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fsync(fd) < 0)
        return;
    if (renameat(dir_fd, "last-rung.new", dir_fd, "last-rung") == 0)
        (void)fsync(dir_fd);
}

__attribute__((noreturn)) static void write_all_notes(int from, int dir_fd)
{
    char boot_id[BOOT_ID_SIZE];
    struct note n;
    ssize_t got;

    (void)prctl(PR_SET_NAME, "pgtetherd-rec");
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_IGN); /* it ends with its pipe */
    if (dup2(from, STDIN_FILENO) < 0 || dup2(dir_fd, STDERR_FILENO + 1) < 0)
        _exit(1);
    (void)syscall(SYS_close_range, STDERR_FILENO + 2, ~0U, 0);
    (void)boot_id_read(boot_id, sizeof(boot_id));
    while ((got = read(STDIN_FILENO, &n, sizeof(n))) == sizeof(n) || (got < 0 && errno == EINTR)) {
        n.reason[sizeof(n.reason) - 1] = '\0';
        if (got > 0)
            write_note(STDERR_FILENO + 1, boot_id, &n);
    }
    _exit(0);
}

pid_t scribe_start(int dir_fd, int *ret_fd, struct err *err)
{
    int pair[2];
    pid_t pid;

    if (pipe2(pair, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "could not create a pipe");
    pid = fork();
    if (pid == 0)
        write_all_notes(pair[0], dir_fd);
    (void)close(pair[0]);
    if (pid < 0 || fcntl(pair[1], F_SETFL, O_NONBLOCK) < 0) {
        (void)close(pair[1]);
        return err_sys(err, -errno, "could not start the child that keeps the fencing in mind");
    }
    *ret_fd = pair[1];
    return pid;
}

void scribe_note(int fd, enum fence_rung rung, const char *reason)
{
    struct note n = {.rung = (uint32_t)rung};
    struct timespec ts = {0};

    if (fd < 0)
        return;
    (void)clock_gettime(CLOCK_REALTIME, &ts); /* for people, and to be found again after the reset */
    n.at_s = ts.tv_sec;
    (void)text_copy(n.reason, sizeof(n.reason), reason);
    (void)!write(fd, &n, sizeof(n));
}
