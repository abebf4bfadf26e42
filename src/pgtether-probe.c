/*
 * Probes a disk again and again and says on standard output what came of it; started by the agent, once per file
 * system. It may hang in the kernel at any step: that no line comes is an answer too.
 *
 *     pgtether-probe data|wal DATA_DIR INTERVAL_US
 *
 * Lines: "good LATENCY_US", "full TEXT", "bad TEXT"; "absent TEXT" without a data directory; "impossible TEXT"; and
 * once "buffered" where there is no O_DIRECT. Ends when nobody listens any more or at SIGTERM, and removes its file;
 * exit code 3: the WAL is on the disk of the data.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "io/diskprobe.h"

enum { EXIT_SAME_DISK = 3, LINE_SIZE = 400 };

static volatile sig_atomic_t terminated;

static void on_terminate(int sig)
{
    (void)sig;
    terminated = 1;
}

/* Signals are let in only while we wait. */
static void set_up_signals(sigset_t *waiting)
{
    const struct sigaction terminate = {.sa_handler = on_terminate};
    sigset_t blocked;

    (void)sigaction(SIGTERM, &terminate, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes shows as EFBIG */
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &blocked, waiting);
    (void)sigdelset(waiting, SIGTERM);
}

/* One line, one write. A listener that has stood still for hours and lets the pipe fill up loses lines, not us. */
__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
    char line[LINE_SIZE];
    va_list ap;
    size_t len;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line) - 1, fmt, ap);
    va_end(ap);
    len = strlen(line);
    line[len++] = '\n';
    (void)!write(STDOUT_FILENO, line, len);
}

static void report(const struct diskprobe_result *r)
{
    switch (r->outcome) {
    case DISKPROBE_GOOD:
        say("good %" PRIu64, r->latency_us);
        break;
    case DISKPROBE_NO_SPACE:
        say("full %s", r->err.msg);
        break;
    case DISKPROBE_BAD:
        say("bad %s", r->err.msg);
        break;
    case DISKPROBE_IMPOSSIBLE:
        say("%s %s", r->err.code == -ENOENT ? "absent" : "impossible", r->err.msg);
        break;
    case DISKPROBE_SAME:
        break;
    }
}

/* False when it is time to end: the other end of the pipe was closed, or SIGTERM came. */
static bool wait_until(uint64_t at_us, const sigset_t *waiting)
{
    struct pollfd listener = {.fd = STDOUT_FILENO};
    uint64_t rest_us = clock_rest_us(clock_now_us(), at_us);
    struct timespec rest = {.tv_sec = (time_t)(rest_us / USEC_PER_SEC),
                            .tv_nsec = (long)(rest_us % USEC_PER_SEC) * 1000};

    return !terminated && ppoll(&listener, 1, &rest, waiting) == 0 && !terminated;
}

static int probe_for_ever(struct diskprobe *p, uint64_t interval_us, const sigset_t *waiting)
{
    struct diskprobe_result result;
    bool said_buffered = false;
    uint64_t begun_us;

    do {
        begun_us = clock_now_us();
        diskprobe_run(p, &result);
        if (result.outcome == DISKPROBE_SAME)
            return EXIT_SAME_DISK;
        report(&result);
        if (p->buffered && !said_buffered)
            say("buffered");
        said_buffered = p->buffered;
    } while (wait_until(begun_us + interval_us, waiting));
    return 0;
}

int main(int argc, char **argv)
{
    struct diskprobe probe;
    uint64_t interval_us;
    sigset_t waiting;
    int code;

    if (argc != 4 || (strcmp(argv[1], "data") != 0 && strcmp(argv[1], "wal") != 0) ||
        !text_to_u64(argv[3], &interval_us)) {
        fputs("usage: pgtether-probe data|wal DATA_DIR INTERVAL_US\nIt is started by pgtether-agent.\n", stderr);
        return 2;
    }
    set_up_signals(&waiting);
    (void)fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK);
    if (diskprobe_init(&probe, argv[2], strcmp(argv[1], "wal") == 0, NULL) < 0)
        return 1;
    code = probe_for_ever(&probe, interval_us, &waiting);
    diskprobe_done(&probe);
    return code;
}
