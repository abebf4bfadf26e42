/* Giving the leader key up where no primary can be: what runs here goes on as the standby that it is. */
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"

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
    if (a->lease.held)
        tether_release(a, on_released);
    else
        op_end(a);
}
