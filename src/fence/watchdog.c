#include "fence/watchdog.h"
#include <errno.h>
#include <limits.h>
#include <linux/watchdog.h>
#include "base/clock.h"
#include "base/text.h"

/* Longer than any keeper takes to start. */
#define LONG_MAX_US (30 * USEC_PER_SEC)

enum { PRETIMEOUT_S = 1, PRETIMEOUT_LEAST_S = 4 /* of the timeout */ };

void watchdog_init(struct watchdog *w, const struct watchdog_settings *settings, const struct watchdog_ops *ops,
                   void *ctx)
{
    *w = (struct watchdog){.ops = ops, .ctx = ctx, .settings = *settings, .status = KEEPER_WATCHDOG_OFF, .fd = -1};
}

static int failed(struct watchdog *w, int code)
{
    bool absent = (code == -ENOENT || code == -EACCES) && w->fd < 0;

    /* Where it is only wanted if there is one, a host without one is no failure. */
    if (absent && w->settings.mode == WATCHDOG_MODE_AUTOMATIC)
        w->status = KEEPER_WATCHDOG_OFF;
    else
        w->status = KEEPER_WATCHDOG_FAILED;
    w->error = -code;
    return code;
}

/* Returns whether it answers as a watchdog does. */
static bool ask_what_it_is(struct watchdog *w)
{
    struct watchdog_info info = {0};

    if (w->ops->control(w->ctx, w->fd, WDIOC_GETSUPPORT, &info) < 0) {
        (void)text_copy(w->identity, sizeof(w->identity), "unknown watchdog");
        return false;
    }
    w->magic_close = info.options & WDIOF_MAGICCLOSE;
    w->pretimeout = info.options & WDIOF_PRETIMEOUT;
    /* The kernel does not promise a terminator. */
    (void)text_print(w->identity, sizeof(w->identity), "%.*s", (int)sizeof(info.identity), (const char *)info.identity);
    return true;
}

static int open_device(struct watchdog *w, struct err *err)
{
    int fd;

    fd = w->ops->open(w->ctx, w->settings.device);
    if (fd == -EBUSY)
        return err_set(err, fd,
                       "could not open watchdog device \"%s\": another program holds it\n"
                       "HINT: Look for RuntimeWatchdogSec in systemd, watchdogd and sbd.",
                       w->settings.device);
    if (fd < 0)
        return err_sys(err, fd, "could not open watchdog device \"%s\"", w->settings.device);
    w->fd = fd;
    (void)ask_what_it_is(w);
    return 0;
}

/* Stops without changing the status; what cannot be stopped stays open. */
static int close_device(struct watchdog *w, struct err *err)
{
    int r;

    if (w->fd < 0)
        return 0;
    if (w->nowayout)
        return 1;
    /* The magic character disarms; after a close without it the countdown goes on. */
    r = w->ops->write(w->ctx, w->fd, 'V');
    if (r < 0) {
        w->nowayout = true;
        return err_sys(err, r, "could not disarm watchdog \"%s\"", w->settings.device);
    }
    (void)w->ops->close(w->ctx, w->fd);
    w->fd = -1;
    w->timeout_us = 0;
    return 0;
}

int watchdog_probe(struct watchdog *w, bool may_open, bool *ret_was_reset, struct err *err)
{
    int status = 0, r;

    *ret_was_reset = false;
    if (w->settings.mode == WATCHDOG_MODE_OFF)
        return 0;
    r = w->ops->nowayout(w->ctx, w->settings.device);
    if (r == -ENOENT || r == -EACCES)
        return failed(w, err_sys(err, r, "could not find watchdog device \"%s\"", w->settings.device));
    w->nowayout = r != 0;
    if (w->fd < 0) {
        w->status = KEEPER_WATCHDOG_READY;
        w->error = 0;
    }
    if (w->nowayout || !may_open)
        return 0;
    r = open_device(w, err);
    if (r < 0)
        return failed(w, r);
    if (w->ops->control(w->ctx, w->fd, WDIOC_GETBOOTSTATUS, &status) == 0)
        *ret_was_reset = status & WDIOF_CARDRESET;
    r = close_device(w, err);
    return r < 0 ? failed(w, r) : 0;
}

uint64_t watchdog_timeout_for(const struct watchdog *w, uint64_t rest_us)
{
    /* To the nearest second: what is left of a ttl of 8 s is never quite 8 s, and 1 s is little for a loaded host. */
    uint64_t timeout_s = (rest_us / 4 + USEC_PER_SEC / 2) / USEC_PER_SEC;

    if (w->settings.timeout_us)
        return w->settings.timeout_us;
    if (timeout_s < 1)
        timeout_s = 1;
    return (timeout_s > 5 ? 5 : timeout_s) * USEC_PER_SEC;
}

/*
 * The kernel says so in its log, or panics, before the device resets the host: the only trace that a hang leaves.
 * Before the timeout is read back, should a driver move that.
 */
static void set_pretimeout(struct watchdog *w, int timeout_s)
{
    int pretimeout_s = PRETIMEOUT_S;

    if (w->pretimeout && timeout_s >= PRETIMEOUT_LEAST_S)
        (void)w->ops->control(w->ctx, w->fd, WDIOC_SETPRETIMEOUT, &pretimeout_s);
}

static int set_timeout(struct watchdog *w, uint64_t timeout_us, struct err *err)
{
    int asked_s = (int)(timeout_us / USEC_PER_SEC), granted_s, r;

    granted_s = asked_s;
    r = w->ops->control(w->ctx, w->fd, WDIOC_SETTIMEOUT, &granted_s);
    set_pretimeout(w, granted_s);
    /* Some drivers write back what they chose, some only tell when asked, and some have one fixed timeout. */
    if (w->ops->control(w->ctx, w->fd, WDIOC_GETTIMEOUT, &granted_s) < 0 && r < 0)
        return err_sys(err, r, "could not set watchdog \"%s\" to %d s", w->settings.device, asked_s);
    if (granted_s <= 0)
        return err_set(err, -ERANGE, "watchdog \"%s\" reports a timeout of %d s", w->settings.device, granted_s);
    w->timeout_us = (uint64_t)granted_s * USEC_PER_SEC;
    return 0;
}

int watchdog_start(struct watchdog *w, uint64_t timeout_us, struct err *err)
{
    int r = 0;

    if (w->settings.mode == WATCHDOG_MODE_OFF)
        return err_set(err, -ENODEV, "the watchdog is switched off");
    if (timeout_us < USEC_PER_SEC || timeout_us / USEC_PER_SEC > INT_MAX)
        return err_set(err, -ERANGE, "cannot set a watchdog to less than 1 s");
    if (w->fd < 0)
        r = open_device(w, err);
    if (r == 0)
        r = set_timeout(w, timeout_us, err);
    if (r == 0)
        r = watchdog_pet(w,
                         err); /* the countdown of the new timeout begins here, whatever the driver does on opening */
    if (r < 0)
        return failed(w, r);
    w->status = KEEPER_WATCHDOG_TICKING;
    return 0;
}

int watchdog_adopt(struct watchdog *w, int fd, uint64_t timeout_us, struct err *err)
{
    int timeout_s = 0;

    w->fd = fd;
    if (!ask_what_it_is(w)) {
        w->fd = -1;
        return err_set(err, -ENOTTY, "the descriptor that the service manager has kept is no watchdog");
    }
    if (timeout_us == 0 && w->ops->control(w->ctx, fd, WDIOC_GETTIMEOUT, &timeout_s) == 0 && timeout_s > 0)
        timeout_us = (uint64_t)timeout_s * USEC_PER_SEC;
    w->timeout_us = timeout_us;
    w->status = KEEPER_WATCHDOG_TICKING;
    return 0;
}

int watchdog_pet(struct watchdog *w, struct err *err)
{
    int r;

    if (w->fd < 0)
        return err_set(err, -ENODEV, "watchdog \"%s\" is not open", w->settings.device);
    r = w->ops->control(w->ctx, w->fd, WDIOC_KEEPALIVE, NULL);
    if (r == -ENOTTY || r == -EOPNOTSUPP)
        r = w->ops->write(w->ctx, w->fd, '\0'); /* the older way; any character but the magic one */
    if (r < 0)
        return failed(w, err_sys(err, r, "could not pet watchdog \"%s\"", w->settings.device));
    w->last_pet_us = clock_now_us();
    w->error = 0;
    w->status = KEEPER_WATCHDOG_TICKING;
    return 0;
}

int watchdog_pet_long(struct watchdog *w, uint64_t rest_us, struct err *err)
{
    uint64_t before_us = w->timeout_us,
             long_us = (rest_us < LONG_MAX_US ? rest_us : LONG_MAX_US) / USEC_PER_SEC * USEC_PER_SEC;

    while (long_us > before_us && watchdog_reset_for(w, long_us) > rest_us)
        long_us -= USEC_PER_SEC;
    /* Rounded up by the driver it may outlive the lease: back to what is known to fit. */
    if (w->fd >= 0 && long_us > before_us && (set_timeout(w, long_us, NULL) < 0 || watchdog_reset_us(w) > rest_us))
        (void)set_timeout(w, before_us, NULL);
    return watchdog_pet(w, err);
}

int watchdog_stop(struct watchdog *w, struct err *err)
{
    int r = close_device(w, err);

    if (r == 0 && w->status == KEEPER_WATCHDOG_TICKING)
        w->status = KEEPER_WATCHDOG_READY;
    return r;
}

void watchdog_abandon(struct watchdog *w)
{
    if (w->fd >= 0)
        (void)w->ops->close(w->ctx, w->fd);
    w->fd = -1;
}

uint64_t watchdog_reset_for(const struct watchdog *w, uint64_t timeout_us)
{
    const struct watchdog_settings *s = &w->settings;
    uint64_t reset_us = s->reset_us > timeout_us ? s->reset_us : timeout_us, more_us, scaled_us;

    if (s->measured_timeout_us == 0 || s->measured_reset_us <= s->measured_timeout_us)
        return reset_us;
    /* What it took longer than it was set to may be a share of the timeout or a fixed time: the worse of both. */
    more_us = s->measured_reset_us - s->measured_timeout_us;
    scaled_us = (uint64_t)((double)more_us * (double)timeout_us / (double)s->measured_timeout_us) + 1;
    if (scaled_us > more_us)
        more_us = scaled_us;
    return timeout_us + more_us > reset_us ? timeout_us + more_us : reset_us;
}

uint64_t watchdog_reset_us(const struct watchdog *w)
{
    if (w->fd < 0)
        return 0;
    return watchdog_reset_for(w, w->timeout_us);
}

static const char *const mode_texts[] = {
    [WATCHDOG_MODE_OFF] = "off",
    [WATCHDOG_MODE_AUTOMATIC] = "automatic",
    [WATCHDOG_MODE_REQUIRED] = "required",
};

const char *watchdog_mode_text(enum watchdog_mode mode)
{
    return mode_texts[mode];
}

bool watchdog_mode_from_text(const char *text, enum watchdog_mode *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(mode_texts); i++) {
        if (!text_equal(text, mode_texts[i]))
            continue;
        *ret = (enum watchdog_mode)i;
        return true;
    }
    return false;
}
