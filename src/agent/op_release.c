/*
 * Giving the leader key up where no primary can be: what runs here goes on as the standby that it is. The addresses of
 * a standby leader go first.
 */
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"

static void on_released(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    if (answer->outcome == DCS_DONE)
        log_info("released the leader key");
    else
        log_warning("could not release the leader key, it will run out: %s", answer->err.msg);
    if (a->op.kind != OP_RELEASE)
        return;
    op_end(a);
    gather_store(a);
}

static void release_when_dropped(struct agent *a);

static int on_look_again(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    if (a->op.kind == OP_RELEASE)
        release_when_dropped(a);
    return 0;
}

/* Where SQL does not answer nothing new is said: what was said ends by itself (serve.c). */
static bool has_addresses(const struct agent *a)
{
    const struct keeper_answer *last = keeper_link_last(a->link);
    uint64_t until_us = a->op.since_us + a->dynamic->policy.ttl_us / 4 * 3;

    if (a->serve.whom == KEEPER_SERVE_STANDBY_LEADER && a->serve.until_us < until_us)
        until_us = a->serve.until_us;
    if (clock_now_us() >= until_us)
        return false;
    return a->serve.busy || a->serve.whom == KEEPER_SERVE_STANDBY_LEADER ||
           last->serve == KEEPER_SERVE_STANDBY_LEADER || !last->addresses_settled;
}

bool op_release_waits(struct agent *a)
{
    if (!has_addresses(a))
        return false;
    if (keeper_link_connected(a->link))
        (void)keeper_link_ask(a->link, KEEPER_STATUS, 0, 0, 0, -1, NULL, NULL, NULL);
    return true;
}

static void release_when_dropped(struct agent *a)
{
    serve_update(a);
    if (!a->lease.held) {
        op_end(a);
    } else if (op_release_waits(a)) {
        (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + OP_RELEASE_AGAIN_US, on_look_again, a);
    } else {
        tether_release(a, on_released);
    }
}

void op_release(struct agent *a, const struct ha_decision *d)
{
    struct ha_decision demote = *d;

    /* Only the keeper can say that no primary is left (S3). */
    if (keeper_link_last(a->link)->state != KEEPER_DISARMED) {
        demote.urgency = HA_AT_ONCE;
        demote.release = true;
        op_demote(a, &demote);
        return;
    }
    op_begin(a, OP_RELEASE, d);
    release_when_dropped(a);
}
