/*
 * Which standby has the addresses for replicas: the one whose name is in a key of the store that hangs on its member
 * lease. It has them no longer than the store keeps that lease (S1), and gives them up as soon as a client that wants
 * to read would be better off elsewhere.
 */
#include <string.h>
#include "ha/parts.h"

/* What keeps this node from being where clients read; NULL if nothing does. */
static const char *unfit_because(const struct ha_view *v)
{
    if (v->stopping)
        return "this node stops";
    if (!v->keeper.connected)
        return "the keeper is gone";
    if (v->lease.held || v->keeper.armed || !v->pg.running || !v->pg.in_recovery)
        return "this node is no standby";
    if (!v->pg.accepting || v->pg.hung)
        return "PostgreSQL does not answer";
    if (v->op != OP_NONE && v->op != OP_FOLLOW && v->op != OP_ASK_PEERS && v->op != OP_CHECK_REWIND &&
        v->op != OP_ACQUIRE)
        return ha_op_text(v->op);
    if (v->tags.noloadbalance)
        return "the tag noloadbalance is set";
    if (v->storage.failed)
        return "its disk has failed";
    return NULL;
}

static bool lags(const struct ha_view *v)
{
    return v->cluster && v->cluster->status_lsn > v->pg.replay_lsn &&
           v->cluster->status_lsn - v->pg.replay_lsn > v->policy.maximum_lag_on_failover_bytes;
}

/* Nobody streams while a leader is replaced: then what is here is as good as elsewhere, and clients stay. */
static bool is_cut_off(const struct ha_view *v)
{
    uint64_t since_us = v->memory.not_streaming_since_us;

    return since_us && v->now_us - since_us >= v->policy.ttl_us;
}

static struct replica_address say(enum replica_address_step step, const char *reason)
{
    return (struct replica_address){.step = step, .reason = reason};
}

static struct replica_address hold(const struct ha_view *v)
{
    uint64_t ttl_us = v->member.granted_us < v->member.ttl_us ? v->member.granted_us : v->member.ttl_us;
    struct replica_address r = say(REPLICA_ADDRESS_HOLD, "this standby has the addresses for replicas");

    r.until_us = ha_lease_deadline_us(v->member.confirmed_at_us, ttl_us);
    return r;
}

static struct replica_address decide_ours(const struct ha_view *v)
{
    const char *why = unfit_because(v);

    if (why)
        return say(REPLICA_ADDRESS_GIVE_UP, why);
    if (lags(v))
        return say(REPLICA_ADDRESS_GIVE_UP, "this standby is more than maximum_lag_on_failover behind");
    if (is_cut_off(v))
        return say(REPLICA_ADDRESS_GIVE_UP, "this standby does not stream");
    /* The member key moves to a lease of the new length, and with the old lease ours would vanish before its time. */
    if (v->member.ttl_us != v->policy.ttl_us)
        return say(REPLICA_ADDRESS_GIVE_UP, "the ttl was changed");
    return hold(v);
}

struct replica_address ha_replica_address(const struct ha_view *v, const struct leader_key *key)
{
    if (key->exists && strcmp(key->name, v->name) != 0)
        return say(REPLICA_ADDRESS_LEAVE, "another standby has the addresses for replicas");
    /* S9: of an earlier life of this process or of somebody with our name; it ends with its lease. */
    if (key->exists && (!v->member.session || key->session != v->member.session))
        return say(REPLICA_ADDRESS_LEAVE, "the key for the replica address is not from this lease");
    if (key->exists)
        return decide_ours(v);
    if (unfit_because(v) || lags(v) || !v->pg.streaming || v->was_frozen || !v->cluster)
        return say(REPLICA_ADDRESS_LEAVE, "this node does not want the addresses for replicas");
    if (!v->member.session || v->member.ttl_us != v->policy.ttl_us)
        return say(REPLICA_ADDRESS_LEAVE, "the member key is not written yet");
    return say(REPLICA_ADDRESS_TAKE, "nobody has the addresses for replicas");
}
