/* pgtetherd with a pretended watchdog. */
#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "fake_watchdog.h"
#include "fence/keeper.h"

static int device_fd; /* O_PATH: opened before the keeper begins, so that it opens nothing on a disk later */

static int fake_open(void *ctx, const char *path)
{
    struct fake_watchdog *w = ctx;

    (void)path;
    if (w->absent || w->opens_fail || w->is_open)
        return w->absent ? -ENOENT : w->is_open ? -EBUSY : -EIO;
    w->opens++;
    w->is_open = w->ticks = 1;
    w->last_pet_us = clock_now_us();
    if (w->timeout_s == 0)
        w->timeout_s = 60;
    return dup(device_fd); /* can be passed on, but a stray system call on it fails */
}

static int fake_control(void *ctx, int fd, unsigned long request, void *arg)
{
    struct fake_watchdog *w = ctx;

    (void)fd;
    switch (request) {
    case WDIOC_GETSUPPORT:
        *(struct watchdog_info *)arg = (struct watchdog_info){WDIOF_MAGICCLOSE, 1, "fake"};
        return 0;
    case WDIOC_SETTIMEOUT:
        w->timeout_s = *(int *)arg < w->least_s ? w->least_s : *(int *)arg;
        return 0;
    case WDIOC_GETTIMEOUT:
        *(int *)arg = w->timeout_s;
        return 0;
    case WDIOC_KEEPALIVE:
        if (w->pets_fail)
            return -EIO;
        if (w->next_pet_takes_ms) {
            (void)poll(NULL, 0, w->next_pet_takes_ms);
            w->next_pet_takes_ms = 0;
        }
        w->pets++;
        w->last_pet_us = clock_now_us();
        return 0;
    default:
        return -ENOTTY;
    }
}

static int fake_write(void *ctx, int fd, char byte)
{
    struct fake_watchdog *w = ctx;

    (void)fd;
    w->magic = byte == 'V';
    return 0;
}

static int fake_close(void *ctx, int fd)
{
    struct fake_watchdog *w = ctx;

    (void)close(fd);
    if (w->in_store) {
        w->closed_while_stored++;
        return 0;
    }
    w->is_open = 0;
    if (w->magic && !w->nowayout) {
        w->ticks = 0;
        w->stops++;
    }
    w->magic = 0;
    return 0;
}

static int fake_nowayout(void *ctx, const char *path)
{
    struct fake_watchdog *w = ctx;

    (void)path;
    return w->absent ? -ENOENT : w->nowayout;
}

static const struct watchdog_ops ops = {
    .open = fake_open,
    .control = fake_control,
    .write = fake_write,
    .close = fake_close,
    .nowayout = fake_nowayout,
};

int main(int argc, char *argv[])
{
    struct keeper_options options = {.config = argv[1], .user = argv[2], .agent = argv[3]};
    const char *path = getenv("FAKE_WATCHDOG");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map = mmap(NULL, sizeof(struct fake_watchdog), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (argc != 4 || map == MAP_FAILED)
        return 99;
    options.user = *argv[2] ? argv[2] : NULL;
    closep(&fd);
    device_fd = open("/dev/null", O_PATH | O_CLOEXEC);
    /* A dead process holds nothing open; the countdown goes on. */
    ((struct fake_watchdog *)map)->is_open = ((struct fake_watchdog *)map)->in_store;
    return keeper_main(&options, &ops, map);
}
