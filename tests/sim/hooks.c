/* The operator's pre_promote and before_stop: programs that take their time and may say no; as src/agent/hooks.c. */
#include "sim.h"

enum { PRE_PROMOTE_US = 60000000 };

/* It answers late or never, or does not agree; when everything has healed it is well, too. */
bool hooks_pre_promote(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    bool hangs = !w->healed && rng_chance(&w->rng, RNG_PROCESS, 5);
    uint64_t takes_us = rng_between(&w->rng, RNG_PROCESS, 5 * MS, w->healed ? 200 * MS : 2 * SEC);
    uint64_t limit_us = w->policy.primary_start_timeout_us;
    bool is_primary = a->server_up && a->pg.valid && !a->pg.in_recovery;

    if (!w->hooks || is_primary || a->agreed_session == a->lease.session || w->mutant == MUTANT_PROMOTE_UNASKED)
        return false;
    if (!limit_us || limit_us > PRE_PROMOTE_US)
        limit_us = PRE_PROMOTE_US;
    a->op.asks = true;
    if (hangs || takes_us > limit_us)
        op_in(w, n, limit_us, 1);
    else
        op_in(w, n, takes_us, !w->healed && rng_chance(&w->rng, RNG_PROCESS, 20));
    return true;
}

bool op_release_has_addresses(const struct world *w, const struct node *n)
{
    const struct agent *a = &n->agent;
    uint64_t now_us = local_us(w, n), until_us = a->op.since_us + w->policy.ttl_us / 4 * 3;

    if (a->serve.whom == KEEPER_SERVE_STANDBY_LEADER && a->serve.until_us < until_us)
        until_us = a->serve.until_us;
    if (w->mutant == MUTANT_KEY_BEFORE_ADDRESS)
        until_us = 0;
    return now_us < until_us &&
           (a->serve.busy || a->serve.whom == KEEPER_SERVE_STANDBY_LEADER || n->address_until_us > now_us);
}

void op_release_timer(struct world *w, struct node *n)
{
    serve_update(w, n);
    if (!n->agent.lease.held)
        op_end(w, n);
    else if (op_release_has_addresses(w, n))
        op_timer(w, n, OP_RELEASE_AGAIN_US);
    else
        tether_release(w, n);
}

/* As src/agent/op_release.c. */
void op_release(struct world *w, struct node *n, const struct ha_decision *d)
{
    struct ha_decision demote = *d;

    if (n->agent.last.state != KEEPER_DISARMED) {
        demote.urgency = HA_AT_ONCE;
        demote.release = true;
        op_demote(w, n, &demote);
        return;
    }
    op_begin(w, n, OP_RELEASE, d);
    op_release_timer(w, n);
}

static void give_up(struct world *w, struct node *n)
{
    const struct ha_decision release = {.action = HA_RELEASE};

    TRACE(w, n->id, "agent: pre_promote did not agree");
    n->agent.memory.no_race_until_us = local_us(w, n) + w->policy.ttl_us;
    op_release(w, n, &release);
}

void hooks_agreed(struct world *w, struct node *n, bool good)
{
    n->agent.op.asks = false;
    if (!good) {
        give_up(w, n);
        return;
    }
    n->agent.agreed_session = n->truth_agreed_session = n->agent.lease.session;
    op_end(w, n);
    gather_store(w, n);
}

void hooks_released(struct world *w, struct node *n)
{
    if (n->agent.op.kind != OP_RELEASE)
        return;
    op_end(w, n);
    gather_store(w, n);
}

/* How long before_stop takes of a planned stop; 0 = it is not asked. */
uint64_t hooks_before_stop_us(struct world *w, struct node *n, uint64_t budget_us)
{
    uint64_t now_us = local_us(w, n), ends_at_us, takes_us;
    struct ha_view v;

    if (!w->hooks)
        return 0;
    takes_us = rng_between(&w->rng, RNG_PROCESS, 5 * MS, 20 * SEC);
    budget_us /= 2;
    gather_view(w, n, &v);
    ends_at_us = ha_demote_at_us(&v);
    if (ends_at_us) {
        ends_at_us -= ends_at_us > 1 ? ha_swift_stop_budget_us(&w->policy) : 0;
        if (ends_at_us <= now_us)
            return 0;
        if (ends_at_us - now_us < budget_us)
            budget_us = ends_at_us - now_us;
    }
    return takes_us < budget_us ? takes_us : budget_us;
}
