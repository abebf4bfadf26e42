/*
 * What an agent may send: whatever bytes arrive, in whatever order, no lease is armed that could not be fenced, no pet
 * is allowed that outlives it, and what the agent printed as settings is read or refused.
 *
 * The input is a list of steps, each a byte that says what happens and the bytes of it. Killing and the watchdog are
 * pretended; the clock is real, but deadlines are shifted to be near it.
 */
#include <errno.h>
#include <linux/watchdog.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "fence/keeper_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct keeper k;
static bool dies;
static int pair[2] = {-1, -1};

static void require(bool condition)
{
    if (!condition)
        abort();
}

static struct killer_result pretend_round(struct killer *killer, enum lease_kill what)
{
    (void)killer;
    require(what != LEASE_KILL_NOTHING);
    return (struct killer_result){.proven = dies, .left = !dies};
}

static int dev_open(void *ctx, const char *path)
{
    (void)ctx;
    (void)path;
    return 1000;
}

static int dev_control(void *ctx, int fd, unsigned long request, void *arg)
{
    (void)ctx;
    (void)fd;
    if (request == WDIOC_GETTIMEOUT)
        *(int *)arg = 5;
    return 0;
}

static int dev_write(void *ctx, int fd, char byte)
{
    (void)ctx;
    (void)fd;
    (void)byte;
    return 0;
}

static int dev_close(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    /* S4: not while a primary may run. */
    require(!k.lease.armed);
    return 0;
}

static int dev_nowayout(void *ctx, const char *path)
{
    (void)ctx;
    (void)path;
    return 0;
}

static const struct watchdog_ops ops = {dev_open, dev_control, dev_write, dev_close, dev_nowayout};

static void start(uint8_t flags)
{
    static const struct keeper_options options = {0};
    const struct watchdog_settings settings = {(enum watchdog_mode)(flags % 3), "/dev/pretended", 0, 0};

    k.lease.armed = false;
    keeper_init(&k, &options);
    k.killer.keeper = 999999999;
    k.killer.tree.proc_fd = -1;
    k.settings.data_dir[0] = '/';
    k.kill_round = pretend_round;
    k.stopping = true; /* nobody is started */
    dies = flags & 4;
    lease_init(&k.lease, settings.mode == WATCHDOG_MODE_REQUIRED);
    watchdog_init(&k.watchdog, &settings, &ops, NULL);
    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    k.agent.fd = pair[0];
}

static void end(void)
{
    closep(&k.agent.fd);
    closep(&pair[1]);
    closep(&k.postmaster_fd);
}

static void check(uint64_t before_us)
{
    const struct lease *l = &k.lease;

    require(l->armed == (l->deadline_us != 0));
    require(l->state != KEEPER_ARMED || l->armed);
    require(!l->armed || l->deadline_us <= clock_now_us() + LEASE_MAX_US);
    require(!l->armed || l->fence_at_us < l->deadline_us);
    require(!l->armed || l->fence_at_us + l->reset_us < l->deadline_us);
    require(!l->watchdog_required || !l->armed || l->reset_us > 0);
    /* A pet in this step was allowed by the lease that is armed after it. */
    if (l->armed && k.watchdog.last_pet_us >= before_us)
        require(k.watchdog.last_pet_us + l->reset_us <= l->deadline_us);
}

/* Sends a message as it is, or, so that more than the checks of the message is reached, one with plausible fields. */
static size_t send_step(const uint8_t *data, size_t size)
{
    struct keeper_request r = {.version = KEEPER_PROTOCOL};
    uint32_t shift;

    if (data[0] & 0x80) {
        (void)send(pair[1], data + 1, size - 1, MSG_NOSIGNAL);
        return size;
    }
    if (size < 6)
        return size;
    memcpy(&shift, data + 2, sizeof(shift));
    r.op = (uint16_t)(data[0] % 8);
    r.lease_id = data[1] % 3;
    if (r.op == KEEPER_ARM || r.op == KEEPER_RENEW)
        r.deadline_us = clock_now_us() + shift - 1000000;
    (void)send(pair[1], &r, sizeof(r), MSG_NOSIGNAL);
    if (data[1] & 0x80)
        dies = !dies;
    return 6;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct keeper_settings settings;

    if (size < 2)
        return 0;
    log_open(STDERR_FILENO, LOG_FORMAT_TEXT, (enum log_level)0);
    (void)settings_parse((const char *)data, size, &settings, NULL);
    start(data[0]);
    for (size_t at = 1; at < size && k.agent.fd >= 0;) {
        uint64_t before_us = clock_now_us();

        at += send_step(data + at, size - at);
        keeper_read_requests(&k);
        keeper_act(&k);
        check(before_us);
    }
    end();
    return 0;
}
