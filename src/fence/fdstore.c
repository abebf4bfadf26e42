#include "fence/fdstore.h"
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/text.h"

enum { FIRST_FD = 3, FDS_MAX = 64 };

static bool is_for_us(const char *pid)
{
    uint32_t number;

    return pid && text_to_u32(pid, &number) && (pid_t)number == getpid();
}

static int count_passed(void)
{
    const char *count = getenv("LISTEN_FDS");
    uint32_t n;

    if (!is_for_us(getenv("LISTEN_PID")) || !count || !text_to_u32(count, &n))
        return 0;
    return n > FDS_MAX ? FDS_MAX : (int)n;
}

/* The names stand in the order of the descriptors, with colons between them. */
static bool next_name_is_ours(const char **names)
{
    size_t len = strcspn(*names, ":");
    bool ours = len == strlen(FDSTORE_WATCHDOG) && strncmp(*names, FDSTORE_WATCHDOG, len) == 0;

    *names += len + ((*names)[len] == ':');
    return ours;
}

void fdstore_open(struct fdstore *s, const struct notify *notify, void (*stale)(void *ctx, int kept, int fd), void *ctx)
{
    const char *names = getenv("LISTEN_FDNAMES");
    int count = count_passed();

    *s = (struct fdstore){.notify = notify, .barrier_fd = -1, .inherited = -1};
    names = names ? names : "";
    for (int fd = FIRST_FD; fd < FIRST_FD + count; fd++) {
        int other = fd;

        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        if (!next_name_is_ours(&names)) {
            closep(&other);
        } else if (s->inherited < 0) {
            s->inherited = fd;
            s->stored = true;
        } else {
            s->others++;
            stale(ctx, s->inherited, fd);
        }
    }
    /* Not for those we start. */
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
}

void fdstore_keep(struct fdstore *s, int fd)
{
    if (s->stored && !s->taken_out)
        return;
    closep(&s->barrier_fd);
    /* The manager reads in order: after an order to drop it, this one puts it back. */
    if (!notify_send_fd(s->notify, fd, "FDSTORE=1\nFDPOLL=0\nFDNAME=" FDSTORE_WATCHDOG))
        return;
    s->stored = true;
    s->taken_out = false;
}

static void ask_for_confirmation(struct fdstore *s)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return;
    if (notify_send_fd(s->notify, ends[1], "BARRIER=1"))
        s->barrier_fd = ends[0];
    else
        (void)close(ends[0]);
    (void)close(ends[1]);
}

bool fdstore_drop(struct fdstore *s)
{
    struct pollfd barrier = {.events = POLLIN};

    if (!s->stored)
        return true;
    if (!s->taken_out)
        s->taken_out = notify_send_fd(s->notify, -1, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_WATCHDOG);
    if (s->taken_out && s->barrier_fd < 0)
        ask_for_confirmation(s);
    barrier.fd = s->barrier_fd;
    if (s->barrier_fd < 0 || poll(&barrier, 1, 0) <= 0)
        return false;
    closep(&s->barrier_fd);
    s->stored = s->taken_out = false;
    return true;
}

void fdstore_close(struct fdstore *s)
{
    closep(&s->barrier_fd);
}
