/*
 * The key in the store that says which standby has the addresses for replicas. ha_replica_address() decides; serve.c
 * tells the keeper how long. The key is deleted only after the addresses are proven gone, or the kernel must have taken
 * them away by itself: whoever creates it next may have them at once.
 */
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"

#define REPLICA_ADDRESS_KEY "replica_address"
#define LOOK_AGAIN_US (20 * USEC_PER_MSEC)
#define LINGER_US USEC_PER_SEC
#define RETRY_US (200 * USEC_PER_MSEC)

static bool is_configured(const struct agent *a)
{
    for (size_t i = 0; i < a->config->n_vips; i++)
        if (a->config->vips[i].for_replica)
            return true;
    return false;
}

static bool is_ours(const struct agent *a)
{
    const struct leader_key *key = a->cluster ? &a->cluster->replica_address : NULL;

    return key && key->exists && a->member.session && key->session == a->member.session;
}

uint64_t replica_address_member_ttl_us(const struct agent *a)
{
    return is_configured(a) && (is_ours(a) || a->replica.busy) ? a->member.ttl_us : a->dynamic->policy.ttl_us;
}

bool replica_address_lingers(struct agent *a)
{
    uint64_t now_us = clock_now_us();

    if (!is_configured(a) || !(is_ours(a) || a->replica.busy))
        return false;
    if (!a->replica.linger_until_us)
        a->replica.linger_until_us = now_us + LINGER_US;
    return now_us < a->replica.linger_until_us;
}

static void on_answer(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    a->replica.busy = false;
    a->replica.asked_at_us = clock_now_us();
    if (answer->outcome == DCS_UNKNOWN) {
        log_warning("could not write the key for the replica address: %s", answer->err.msg);
        a->replica.again_at_us = clock_now_us() + RETRY_US;
    }
    gather_store(a);
}

static void take(struct agent *a)
{
    if (a->member_busy && a->member_ttl_us != a->dynamic->policy.ttl_us)
        return; /* the member key is about to move to another lease */
    a->replica.busy = true;
    a->dcs->ops->put(a->dcs, REPLICA_ADDRESS_KEY, a->config->name, DCS_ABSENT_WHILE_MEMBER, 0,
                     clock_now_us() + a->dynamic->policy.retry_timeout_us, on_answer, a);
}

static bool is_dropped(const struct agent *a)
{
    const struct keeper_answer *last = keeper_link_last(a->link);

    if (clock_now_us() >= a->replica.told_until_us)
        return true;
    return !a->serve.busy && a->serve.whom != KEEPER_SERVE_REPLICA_ADDRESS &&
           last->serve != KEEPER_SERVE_REPLICA_ADDRESS && last->addresses_settled;
}

static void give_up(struct agent *a)
{
    uint64_t revision = a->cluster->replica_address.revision;

    a->replica.given_up = revision;
    if (!is_dropped(a)) {
        if (keeper_link_connected(a->link))
            (void)keeper_link_ask(a->link, KEEPER_STATUS, 0, 0, 0, -1, NULL, NULL, NULL);
        agent_wake_at(a, clock_now_us() + LOOK_AGAIN_US);
        return;
    }
    a->replica.busy = true;
    a->dcs->ops->delete (a->dcs, REPLICA_ADDRESS_KEY, DCS_REVISION, revision,
                         clock_now_us() + a->dynamic->policy.retry_timeout_us, on_answer, a);
}

static void say(struct agent *a, const struct replica_address *d)
{
    /* Why others have them is of no interest to anybody. */
    if (a->replica.said != d->reason && d->step != REPLICA_ADDRESS_LEAVE)
        log_info("replica address: %s", d->reason);
    a->replica.said = d->reason;
}

void replica_address_update(struct agent *a, const struct ha_view *v)
{
    struct replica_address d;

    if (!is_configured(a) || !a->cluster)
        return;
    d = ha_replica_address(v, &a->cluster->replica_address);
    if (d.step == REPLICA_ADDRESS_HOLD && a->cluster->replica_address.revision == a->replica.given_up)
        d.step = REPLICA_ADDRESS_GIVE_UP; /* its deletion may still be under way */
    a->replica.until_us = d.step == REPLICA_ADDRESS_HOLD ? d.until_us : 0;
    if (a->replica.busy || a->leaving || a->cluster->read_sent_at_us < a->replica.asked_at_us)
        return;
    say(a, &d);
    if (clock_now_us() < a->replica.again_at_us)
        return;
    switch (d.step) {
    case REPLICA_ADDRESS_LEAVE:
    case REPLICA_ADDRESS_HOLD:
        break;
    case REPLICA_ADDRESS_TAKE:
        take(a);
        break;
    case REPLICA_ADDRESS_GIVE_UP:
        give_up(a);
        break;
    }
}
