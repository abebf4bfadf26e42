/* What is wrong with port gate and addresses, as the keeper reports them; told to people once it has lasted. */
#include "agent/parts.h"
#include "base/clock.h"

#define LASTS_US (2 * USEC_PER_SEC) /* an address is claimed within a moment, a process started again as well */
#define CONFLICT_US (60 * USEC_PER_SEC)

static size_t wanted_here(const struct config *c, enum keeper_serve serve)
{
    size_t n = 0;

    if (serve == KEEPER_SERVE_NONE || serve == KEEPER_SERVE_STANDBY)
        return 0;
    for (size_t i = 0; i < c->n_vips; i++)
        n += c->vips[i].for_replica == (serve == KEEPER_SERVE_REPLICA_ADDRESS);
    return n;
}

static const char *trouble_of(const struct agent *a, const struct keeper_answer *k, uint64_t now_us)
{
    if (a->kernel_leases.conflict_at_us && now_us - a->kernel_leases.conflict_at_us < CONFLICT_US)
        return "another host claims a virtual address of this node";
    if (k->addresses_held < wanted_here(a->config, (enum keeper_serve)k->serve))
        return "a virtual address that belongs here is not held";
    return k->gate == KEEPER_GATE_FAILED ? "the port gate is not in force" : NULL;
}

void kernel_leases_update(struct agent *a)
{
    const struct keeper_answer *k = keeper_link_last(a->link);
    uint64_t now_us = clock_now_us();
    const char *trouble;

    /* Fewer than before: the process that counts them is a new one. */
    if (k->address_conflicts > a->kernel_leases.conflicts)
        a->kernel_leases.conflict_at_us = now_us;
    a->kernel_leases.conflicts = k->address_conflicts;
    trouble = keeper_link_connected(a->link) ? trouble_of(a, k, now_us) : NULL;
    if (trouble != a->kernel_leases.trouble)
        a->kernel_leases.since_us = now_us;
    a->kernel_leases.trouble = trouble;
}

const char *kernel_leases_note(const struct agent *a)
{
    return a->kernel_leases.trouble && clock_now_us() - a->kernel_leases.since_us >= LASTS_US ? a->kernel_leases.trouble
                                                                                              : "";
}

void kernel_leases_status(const struct agent *a, struct node_status *ret)
{
    const struct keeper_answer *k = keeper_link_last(a->link);

    ret->serves = keeper_serve_text((enum keeper_serve)k->serve);
    ret->gate_state = keeper_gate_text((enum keeper_gate)k->gate);
    ret->gate_failed = k->gate == KEEPER_GATE_FAILED && a->config->gate.mode == GATE_MODE_NFTABLES;
    ret->addresses = k->addresses;
    ret->addresses_held = k->addresses_held;
    ret->address_conflicts = k->address_conflicts;
    ret->net_restarts = k->net_restarts;
    ret->kernel_leases_note = kernel_leases_note(a);
}
