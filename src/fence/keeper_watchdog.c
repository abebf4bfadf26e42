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

/* --- R and the lease ------------------------------------------------------------------------------------------------
 */

/* Would a lease with this much left be armed with this R? */
static bool fits(uint64_t rest_us, uint64_t reset_us)
{
    const struct lease_event arm = {.type = LEASE_EVENT_ARM, .deadline_us = rest_us, .reset_us = reset_us};
    struct lease scratch;

    lease_init(&scratch, false);
    return lease_arm_result(&scratch, &arm, 0) == KEEPER_OK;
}

uint64_t watchdog_least_ttl_s(uint64_t reset_us)
{
    uint64_t ttl_s = 1;

    /* A second more than what just fits: the drift, and the way from the store to here. */
    while (ttl_s * USEC_PER_SEC < LEASE_MAX_US && !fits(ttl_s * USEC_PER_SEC, reset_us))
        ttl_s++;
    return ttl_s + 1;
}

uint64_t watchdog_longest_timeout_s(uint64_t ttl_us)
{
    uint64_t timeout_s = ttl_us / USEC_PER_SEC;

    while (timeout_s > 0 && !fits(clock_rest_us(USEC_PER_SEC, ttl_us), timeout_s * USEC_PER_SEC))
        timeout_s--;
    return timeout_s;
}

static void say_unfit(struct keeper *k, uint64_t reset_us, uint64_t rest_us)
{
    bool required = k->lease.watchdog_required;
    char hint[96] = "";

    if (k->unfit_said_us == reset_us)
        return;
    k->unfit_said_us = reset_us;
    if (watchdog_longest_timeout_s(rest_us) > 0 && watchdog_reset_for(&k->watchdog, USEC_PER_SEC) < reset_us)
        (void)text_print(hint, sizeof(hint), ", or watchdog.timeout to %" PRIu64 " s at most",
                         watchdog_longest_timeout_s(rest_us));
    log_write(required ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING,
              "watchdog \"%s\" resets this host only %" PRIu64 ".%" PRIu64
              " s after the last pet, which has no room in the %" PRIu64 ".%" PRIu64 " s of the lease: %s\n"
              "HINT: Set ttl to %" PRIu64 " s at least%s.",
              k->watchdog.settings.device, reset_us / USEC_PER_SEC, reset_us / 100000 % 10, rest_us / USEC_PER_SEC,
              rest_us / 100000 % 10, required ? "this node cannot become primary" : "it is not used",
              watchdog_least_ttl_s(reset_us), hint);
}

enum keeper_result keeper_arm_unfit(struct keeper *k, const struct lease_event *arm, enum keeper_result result,
                                    uint64_t now_us)
{
    struct lease_event without = *arm;
    uint64_t rest_us = clock_rest_us(now_us, arm->deadline_us);

    if (result != KEEPER_REFUSED_LATE || fits(rest_us + rest_us / 4, arm->reset_us))
        return result; /* nothing about R, or a fresh lease will do: the agent comes again with one */
    if (arm->deadline_us == k->unfit_deadline_us || k->unfit_deadline_us == 0) {
        k->unfit_deadline_us = arm->deadline_us;
        return result; /* judged by what is left of a renewed one only */
    }
    without.reset_us = 0;
    if (lease_arm_result(&k->lease, &without, now_us) == KEEPER_REFUSED_LATE)
        return result; /* too late with or without a watchdog */
    say_unfit(k, arm->reset_us, rest_us);
    if (k->lease.watchdog_required)
        return result;
    /* Nothing is armed yet: it may be stopped. One that nothing can stop is petted on as long as the lease allows. */
    if (watchdog_stop(&k->watchdog, NULL) != 0)
        return result;
    return keeper_step(k, &without);
}

/* The earliest sign of a host that is too slow to be fenced in time: a reset cannot be logged (as sbd does it). */
void keeper_note_pet(struct keeper *k, uint64_t now_us)
{
    uint64_t gap_us = clock_rest_us(k->watchdog.last_pet_us, now_us), reset_us = watchdog_reset_us(&k->watchdog);
    bool withheld = k->pets.withheld;

    k->pets.withheld = false;
    if (withheld || k->watchdog.last_pet_us == 0 || k->watchdog.status != KEEPER_WATCHDOG_TICKING)
        return;
    if (gap_us > k->pets.longest_gap_us)
        k->pets.longest_gap_us = gap_us;
    if (gap_us <= reset_us / 5 * 3)
        return;
    k->pets.late++;
    log_warning("the watchdog was petted %" PRIu64 " ms after the last time, of %" PRIu64
                " ms until it resets this host",
                gap_us / USEC_PER_MSEC, reset_us / USEC_PER_MSEC);
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
