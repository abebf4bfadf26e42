/*
 * Telling the keeper whom clients find here, so that the virtual addresses and the port gate follow (DESIGN section 2).
 *
 * What is said derives from what SQL has answered and from the lease, each time anew; the keeper makes of it what its
 * own state allows. A standby is one for half a ttl from the answer that showed it: the promise must be over by the
 * end of any lease this node may get, for the gate of a primary may not be open longer than that. With the addresses
 * for replicas, or a standby leader's, it is three quarters, and said again with each answer: the kernel counts an
 * address's lifetime in whole seconds, and of half a short ttl too few are left.
 */
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"

/* A refusal or a full socket: not again in the same breath. */
#define AGAIN_US (100 * USEC_PER_MSEC)

static enum keeper_serve what_is_here(const struct agent *a)
{
    const struct keeper_answer *last = keeper_link_last(a->link);

    if (!pg_server_pid(a->server) || !a->pg.valid || a->op.kind == OP_REWIND || a->op.kind == OP_COPY_SLOTS)
        return KEEPER_SERVE_NONE;
    if (a->op.kind == OP_DEMOTE && !op_demote_keeps_addresses(a))
        return KEEPER_SERVE_NONE;
    if (!a->pg.facts.in_recovery)
        return last->state == KEEPER_ARMED && a->lease.held && a->op.kind != OP_BOOTSTRAP ? KEEPER_SERVE_PRIMARY
                                                                                          : KEEPER_SERVE_NONE;
    if (last->state != KEEPER_DISARMED)
        return KEEPER_SERVE_NONE;
    /* The addresses go before the key does: somebody else has them as soon as he has that. */
    if (agent_leads(a) && a->op.kind != OP_RELEASE)
        return KEEPER_SERVE_STANDBY_LEADER;
    return a->replica.until_us > clock_now_us() ? KEEPER_SERVE_REPLICA_ADDRESS : KEEPER_SERVE_STANDBY;
}

static void on_served(void *userdata, const struct keeper_answer *answer)
{
    struct agent *a = userdata;

    a->serve.busy = false;
    if (answer && answer->result == KEEPER_OK)
        return;
    a->serve.until_us = 0;
    a->serve.told = false;
    a->serve.again_at_us = clock_now_us() + AGAIN_US;
    agent_wake_at(a, a->serve.again_at_us);
}

static void tell(struct agent *a, enum keeper_serve whom, uint64_t until_us)
{
    struct err err = {0};

    if (keeper_link_serve(a->link, whom, whom == KEEPER_SERVE_PRIMARY ? a->lease.session : 0, until_us, on_served, a,
                          &err) < 0) {
        log_warning("could not tell the keeper whom clients find here: %s", err.msg);
        a->serve.again_at_us = clock_now_us() + AGAIN_US;
        return;
    }
    a->serve.whom = whom;
    a->serve.until_us = until_us;
    a->serve.session = a->lease.session;
    a->serve.told = a->serve.busy = true;
    if (whom == KEEPER_SERVE_REPLICA_ADDRESS && a->replica.told_until_us < until_us)
        a->replica.told_until_us = until_us;
}

/* An address is somebody's only as long as his key is: that of the replicas, or the leader's. */
static uint64_t standby_until_us(const struct agent *a, enum keeper_serve whom)
{
    uint64_t ttl_us = a->dynamic->policy.ttl_us;
    uint64_t until_us = a->pg.answered_at_us + (whom == KEEPER_SERVE_STANDBY ? ttl_us / 2 : ttl_us / 4 * 3);
    uint64_t key_until_us = whom == KEEPER_SERVE_REPLICA_ADDRESS  ? a->replica.until_us
                            : whom == KEEPER_SERVE_STANDBY_LEADER ? a->lease.deadline_us
                                                                  : until_us;

    return until_us > key_until_us ? key_until_us : until_us;
}

void serve_update(struct agent *a)
{
    uint64_t now_us = clock_now_us(), quarter_ttl_us = a->dynamic->policy.ttl_us / 4;
    enum keeper_serve whom = what_is_here(a);
    uint64_t until_us = 0;
    bool is_same;

    if (!keeper_link_connected(a->link) || now_us < a->serve.again_at_us || (a->serve.busy && whom))
        return;
    /* An agent that has just begun knows nothing yet: what the keeper was told before holds until it ends by itself. */
    if (whom == KEEPER_SERVE_NONE && !a->serve.told && a->op.kind != OP_DEMOTE && a->op.kind != OP_REWIND &&
        a->op.kind != OP_COPY_SLOTS)
        return;
    if (keeper_serve_is_standby(whom)) {
        until_us = standby_until_us(a, whom);
        if (until_us <= now_us)
            return; /* the last answer is too old to say anything; what was said ends by itself */
    }
    is_same = a->serve.told && a->serve.whom == whom &&
              (whom != KEEPER_SERVE_PRIMARY || a->serve.session == a->lease.session);
    if (is_same && (!keeper_serve_is_standby(whom) || a->serve.until_us == until_us))
        return;
    /* Said again when half of what was said is over, and not at every answer of SQL. */
    if (is_same && whom == KEEPER_SERVE_STANDBY && a->serve.until_us > now_us + quarter_ttl_us)
        return;
    tell(a, whom, until_us);
}

void serve_forget(struct agent *a)
{
    a->serve.told = false;
}
