/* What the keeper does about a watchdog that does not work: it looks again, and it says so. */
#include <inttypes.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "fence/keeper_private.h"

#define PROBE_AGAIN_MIN_US (10 * USEC_PER_SEC)
#define PROBE_AGAIN_MAX_US (60 * USEC_PER_SEC)
#define REMIND_US (3600 * USEC_PER_SEC)

static bool is_usable(const struct watchdog *w)
{
    return w->status == KEEPER_WATCHDOG_READY || w->status == KEEPER_WATCHDOG_TICKING;
}

/* Only while nothing is armed: opening the device starts it, and stopping it again must be allowed (S4). */
static bool may_probe(const struct keeper *k)
{
    return k->watchdog.settings.mode != WATCHDOG_MODE_OFF && !is_usable(&k->watchdog) && k->watchdog.fd < 0 &&
           k->lease.state == KEEPER_DISARMED;
}

void keeper_say_probe_failed(struct keeper *k, const struct err *err)
{
    /* The same again is no news. */
    if (text_equal(k->probe.said, err->msg))
        return;
    (void)text_copy(k->probe.said, sizeof(k->probe.said), err->msg);
    if (k->lease.watchdog_required)
        log_error("%s: this node cannot become primary, since the watchdog is required", err->msg);
    else
        log_warning("%s: a primary on this node is not fenced by hardware", err->msg);
}

/* A device that was missing, busy or broken may have come back: then the node is a candidate again. */
static void probe_again(struct keeper *k, uint64_t now_us)
{
    struct err err = {0};
    bool was_reset;

    if (now_us < k->probe.at_us)
        return;
    k->probe.wait_us = k->probe.wait_us ? k->probe.wait_us * 2 : PROBE_AGAIN_MIN_US;
    if (k->probe.wait_us > PROBE_AGAIN_MAX_US)
        k->probe.wait_us = PROBE_AGAIN_MAX_US;
    if (k->probe.at_us == 0) { /* the first look was at start, or the last lease */
        k->probe.at_us = now_us + k->probe.wait_us;
        return;
    }
    k->probe.at_us = now_us + k->probe.wait_us;
    if (watchdog_probe(&k->watchdog, true, &was_reset, &err) < 0) {
        keeper_say_probe_failed(k, &err);
        return;
    }
    k->probe.said[0] = '\0';
    log_info("watchdog \"%s\" can be used now", k->watchdog.settings.device);
    keeper_say_status(k);
}

/* Where the watchdog is only wanted, its absence must not be forgotten. */
static void remind(struct keeper *k, uint64_t now_us)
{
    if (k->watchdog.settings.mode != WATCHDOG_MODE_AUTOMATIC || !k->lease.armed ||
        k->watchdog.status == KEEPER_WATCHDOG_TICKING) {
        k->remind_at_us = 0;
        return;
    }
    if (now_us < k->remind_at_us)
        return;
    k->remind_at_us = now_us + REMIND_US;
    log_warning("this primary is not fenced by hardware: watchdog \"%s\" is %s\n"
                "HINT: pgtetherd --test-watchdog says what is there.",
                k->watchdog.settings.device, keeper_watchdog_text(k->watchdog.status));
}

void keeper_watch_watchdog(struct keeper *k)
{
    uint64_t now_us = clock_now_us();

    if (may_probe(k))
        probe_again(k, now_us);
    else if (is_usable(&k->watchdog))
        k->probe.at_us = k->probe.wait_us = 0;
    remind(k, now_us);
    if (k->told_watchdog != k->watchdog.status) {
        k->told_watchdog = k->watchdog.status;
        keeper_tell_agent(k);
    }
}

uint64_t keeper_watchdog_wake_us(const struct keeper *k)
{
    uint64_t at_us = may_probe(k) ? k->probe.at_us : UINT64_MAX;

    return k->remind_at_us && k->remind_at_us < at_us ? k->remind_at_us : at_us;
}
