/*
 * What goes wrong: a random schedule for one history, then everything heals. Without a watchdog and a port gate the
 * keeper and its agent are never both out of order: nothing helps there.
 */
#include "sim.h"

enum fault {
    FAULT_POSTMASTER,
    FAULT_AGENT_KILL,
    FAULT_AGENT_FREEZE,
    FAULT_KEEPER_KILL,
    FAULT_KEEPER_FREEZE,
    FAULT_BOTH_KILL,
    FAULT_BOTH_FREEZE,
    FAULT_HOST,
    FAULT_CUT_STORE,
    FAULT_CUT_NODES,
    FAULT_CUT_ALL,
    FAULT_NET,
    FAULT_STORE,
    FAULT_PG_HANGS,
    FAULT_HANG_REPLACE,
    FAULT_TERM,
    FAULT_DATA_LOST,
    FAULT_DISK,
    FAULT_POWER,
    FAULTS,
};

/* How often each comes, of all. */
static const unsigned weights[FAULTS] = {
    [FAULT_POSTMASTER] = 12,   [FAULT_AGENT_KILL] = 10,  [FAULT_AGENT_FREEZE] = 12, [FAULT_KEEPER_KILL] = 7,
    [FAULT_KEEPER_FREEZE] = 6, [FAULT_BOTH_KILL] = 5,    [FAULT_BOTH_FREEZE] = 8,   [FAULT_HOST] = 8,
    [FAULT_CUT_STORE] = 10,    [FAULT_CUT_NODES] = 6,    [FAULT_CUT_ALL] = 8,       [FAULT_NET] = 8,
    [FAULT_STORE] = 9,         [FAULT_PG_HANGS] = 4,     [FAULT_TERM] = 6,          [FAULT_DATA_LOST] = 1,
    [FAULT_DISK] = 7,          [FAULT_HANG_REPLACE] = 2, [FAULT_POWER] = 6,
};

static uint64_t some_time_us(struct world *w, uint64_t to_us)
{
    /* Mostly around the ttl: that is where the rules are narrow. */
    if (rng_chance(&w->rng, RNG_FAULT, 50))
        to_us = to_us / 4;
    return rng_between(&w->rng, RNG_FAULT, 50 * MS, to_us);
}

/* --- processes ------------------------------------------------------------------------------------------------------
 */

static bool keeper_is_well(const struct node *n)
{
    return n->keeper.alive && n->keeper.thaw_at_us == 0;
}

static bool agent_is_well(const struct node *n)
{
    return n->agent.alive && n->agent.started && n->agent.connected && n->agent.thaw_at_us == 0;
}

static uint64_t thaw_at_us(struct world *w)
{
    uint64_t at_us = w->now_us + some_time_us(w, w->policy.ttl_us * 2);

    return at_us < w->heal_at_us ? at_us : w->heal_at_us;
}

static void freeze_agent(struct world *w, struct node *n, uint64_t until_us)
{
    if (!n->agent.alive || n->agent.thaw_at_us)
        return;
    TRACE(w, n->id, "the agent is frozen for %llu ms", (unsigned long long)((until_us - w->now_us) / MS));
    n->agent.thaw_at_us = until_us;
    n->agent.freeze_at_us = w->now_us;
}

static void freeze_keeper(struct world *w, struct node *n, uint64_t until_us)
{
    if (!n->keeper.alive || n->keeper.thaw_at_us)
        return;
    TRACE(w, n->id, "the keeper is frozen for %llu ms", (unsigned long long)((until_us - w->now_us) / MS));
    n->keeper.thaw_at_us = until_us;
}

static void break_process(struct world *w, struct node *n, enum fault f)
{
    bool covered = w->watchdog_mode != WATCHDOG_MODE_OFF || w->gate;
    bool keeper_too = f == FAULT_BOTH_KILL || f == FAULT_BOTH_FREEZE;
    uint64_t until_us = thaw_at_us(w);

    if (!covered && (keeper_too || !keeper_is_well(n) || !agent_is_well(n) || n->keeper.stopping))
        return;
    if (f == FAULT_AGENT_KILL || f == FAULT_BOTH_KILL)
        agent_die(w, n, -1);
    if (f == FAULT_KEEPER_KILL || f == FAULT_BOTH_KILL)
        keeper_die(w, n);
    if (f == FAULT_AGENT_FREEZE || f == FAULT_BOTH_FREEZE)
        freeze_agent(w, n, until_us);
    if (f == FAULT_KEEPER_FREEZE || f == FAULT_BOTH_FREEZE)
        freeze_keeper(w, n, until_us);
}

/* --- links ----------------------------------------------------------------------------------------------------------
 */

static void cut(struct world *w, int from, int to, uint64_t for_us)
{
    w->cut[from][to] = true;
    queue_push(
        &w->queue,
        (struct event){.at_us = w->now_us + for_us, .kind = EV_LINK_HEALS, .a = (uint64_t)from, .b = (uint64_t)to});
}

/* One way or both. */
static void cut_link(struct world *w, int a, int b, uint64_t for_us)
{
    unsigned ways = (unsigned)rng_between(&w->rng, RNG_FAULT, 0, 3);

    TRACE(w, a, "cut off from %s for %llu ms%s", b == STORE ? "the store" : node_name(b),
          (unsigned long long)(for_us / MS),
          ways == 0   ? ", outgoing"
          : ways == 1 ? ", incoming"
                      : "");
    if (ways != 1)
        cut(w, a, b, for_us);
    if (ways != 0)
        cut(w, b, a, for_us);
}

static void heal_link(struct world *w, int from, int to)
{
    struct node *n = &w->nodes[from == STORE ? to : from];

    w->cut[from][to] = false;
    /* The watch is set up again and says that anything may have changed. */
    if ((from == STORE || to == STORE) && n->agent.alive && !w->cut[to][from])
        push_in(w, n, EV_AGENT_WATCH, rng_between(&w->rng, RNG_NET, MS, 500 * MS), n->agent.gen, 0, 0);
}

static void cut_all(struct world *w, struct node *n, uint64_t for_us)
{
    for (int i = 0; i <= NODES; i++)
        if (i != n->id)
            cut_link(w, n->id, i, for_us);
}

/* --- the world ------------------------------------------------------------------------------------------------------
 */

static void lose_data(struct world *w, struct node *n)
{
    int others = 0;

    for (int i = 0; i < NODES; i++)
        others += i != n->id && w->nodes[i].pg.dir_there && !w->nodes[i].pg.marker;
    if (!w->store.data.initialize_exists || pg_alive(n) || n->agent.op.kind != OP_NONE || others < NODES - 1)
        return;
    TRACE(w, n->id, "the data directory is lost");
    n->pg.dir_there = n->pg.marker = n->pg.made = false;
    slots_forget(n);
}

static void break_net(struct world *w)
{
    w->loss_percent = (unsigned)rng_between(&w->rng, RNG_FAULT, 0, 40);
    w->slow_us = rng_between(&w->rng, RNG_FAULT, 0, 2 * SEC);
    TRACE(w, STORE, "the network loses %u %% and is slow", w->loss_percent);
    queue_push(&w->queue, (struct event){.at_us = w->now_us + some_time_us(w, 20 * SEC), .kind = EV_NET_HEALS});
}

static void break_store(struct world *w)
{
    if (w->store.down)
        return;
    TRACE(w, STORE, "the store goes down");
    w->store.down = true;
    if (rng_chance(&w->rng, RNG_FAULT, 25))
        w->store.fate =
            w->store.has_snapshot && rng_chance(&w->rng, RNG_FAULT, 60) ? STORE_IS_RESTORED : STORE_IS_WIPED;
    queue_push(&w->queue, (struct event){.at_us = w->now_us +
                                                  some_time_us(w, w->policy.ttl_us * (w->policy.failsafe_mode ? 6 : 2)),
                                         .kind = EV_STORE_BACK});
}

static void hang_pg(struct world *w, struct node *n)
{
    TRACE(w, n->id, "PostgreSQL hangs");
    n->pg.hung_since_us = w->now_us;
    n->pg.hung_gen = n->pg.phase == PG_PRIMARY ? n->pg.gen : UINT32_MAX; /* what starts is not judged */
    n->pg.hung_until_us = w->now_us + some_time_us(w, 60 * SEC);
}

/* What a service manager finds that replaces a keeper whose host had stood still: PostgreSQL still does. */
static void hang_and_replace(struct world *w, struct node *n)
{
    hang_pg(w, n);
    n->pg.hung_until_us = w->now_us + 60 * SEC;
    break_process(w, n, FAULT_AGENT_KILL);
}

/* Frozen, or only its probe gets errors. Without a watchdog nobody could help against a kill that takes too long. */
static void break_disk(struct world *w, struct node *n)
{
    uint64_t until_us = thaw_at_us(w);
    bool frozen = w->watchdog_mode != WATCHDOG_MODE_OFF && rng_chance(&w->rng, RNG_FAULT, 70);

    if (n->pg.disk_frozen_until_us > w->now_us || n->pg.disk_bad_until_us > w->now_us)
        return;
    TRACE(w, n->id, "the disk %s for %llu ms", frozen ? "is frozen" : "gives errors",
          (unsigned long long)((until_us - w->now_us) / MS));
    if (frozen)
        n->pg.disk_frozen_until_us = until_us;
    else
        n->pg.disk_bad_until_us = until_us;
}

/* Of all hosts; the store's come back with theirs, or have power of their own. */
static void lose_power(struct world *w)
{
    for (int i = 0; i < NODES; i++)
        host_crash(w, &w->nodes[i], "power of all");
    if (rng_chance(&w->rng, RNG_FAULT, 50))
        break_store(w);
}

static void strike(struct world *w, struct node *n, enum fault f)
{
    switch ((int)f) {
    case FAULT_POSTMASTER:
        pg_postmaster_crash(w, n);
        break;
    case FAULT_HOST:
        host_crash(w, n, "power");
        break;
    case FAULT_CUT_STORE:
        cut_link(w, n->id, STORE, some_time_us(w, w->policy.ttl_us * (w->policy.failsafe_mode ? 6 : 2)));
        break;
    case FAULT_CUT_NODES:
        cut_link(w, n->id, (n->id + 1) % NODES, some_time_us(w, w->policy.ttl_us * 2));
        break;
    case FAULT_CUT_ALL:
        cut_all(w, n, some_time_us(w, w->policy.ttl_us * 2));
        break;
    case FAULT_NET:
        break_net(w);
        break;
    case FAULT_STORE:
        break_store(w);
        break;
    case FAULT_PG_HANGS:
        hang_pg(w, n);
        break;
    case FAULT_HANG_REPLACE:
        hang_and_replace(w, n);
        break;
    case FAULT_TERM:
        if (keeper_is_well(n))
            keeper_terminate(w, n);
        break;
    case FAULT_DATA_LOST:
        /* One of those who have what was acknowledged is gone then, and no second fault is allowed for. */
        if (w->policy.sync_mode == SYNC_MODE_OFF)
            lose_data(w, n);
        break;
    case FAULT_DISK:
        break_disk(w, n);
        break;
    case FAULT_POWER:
        lose_power(w);
        break;
    default:
        break_process(w, n, f);
        break;
    }
}

/* The leader is hit more often than the others: what happens to standbys is rarely interesting. */
static struct node *choose_node(struct world *w)
{
    int leader = w->store.data.leader;

    if (leader != NOBODY && rng_chance(&w->rng, RNG_FAULT, 60))
        return &w->nodes[leader];
    return &w->nodes[rng_between(&w->rng, RNG_FAULT, 0, NODES - 1)];
}

static enum fault choose_fault(struct world *w)
{
    unsigned sum = 0, roll;

    for (int i = 0; i < FAULTS; i++)
        sum += weights[i];
    roll = (unsigned)rng_between(&w->rng, RNG_FAULT, 0, sum - 1);
    for (int i = 0; i < FAULTS; i++) {
        if (roll < weights[i])
            return (enum fault)i;
        roll -= weights[i];
    }
    return FAULT_POSTMASTER;
}

static void heal_all(struct world *w)
{
    TRACE(w, STORE, "everything heals");
    w->healed = true;
    w->loss_percent = 0;
    w->slow_us = 0;
    for (int i = 0; i <= NODES; i++)
        for (int j = 0; j <= NODES; j++)
            if (w->cut[i][j])
                heal_link(w, i, j);
    if (w->store.down)
        queue_push(&w->queue, (struct event){.at_us = w->now_us, .kind = EV_STORE_BACK});
    for (int i = 0; i < NODES; i++) {
        struct pg *p = &w->nodes[i].pg;

        p->hung_until_us = 0;
        if (p->cannot_die)
            p->cannot_die = p->killed = false;
    }
    manual_heal(w);
    standby_heal(w);
    queue_push(&w->queue, (struct event){.at_us = w->now_us + SEC, .kind = EV_LOOK});
}

void faults_event(struct world *w, const struct event *e)
{
    struct node *n;

    switch (e->kind) {
    case EV_FAULT:
        if (rng_chance(&w->rng, RNG_SYNC, 25))
            sync_change_policy(w);
        if (rng_chance(&w->rng, RNG_FAULT, 40))
            store_take_snapshot(w);
        n = choose_node(w);
        if (n->up)
            strike(w, n, choose_fault(w));
        break;
    case EV_OPERATOR:
        manual_strike(w);
        break;
    case EV_CONFIG:
        config_event(w);
        break;
    case EV_STANDBY_CLUSTER:
        standby_strike(w);
        break;
    case EV_LINK_HEALS:
        if (!w->healed)
            heal_link(w, (int)e->a, (int)e->b);
        break;
    case EV_NET_HEALS:
        w->loss_percent = 0;
        w->slow_us = 0;
        break;
    case EV_HEAL_ALL:
        heal_all(w);
        break;
    default:
        break;
    }
}

void faults_plan(struct world *w)
{
    uint64_t n = rng_between(&w->rng, RNG_FAULT, 1, 9), burst_us = 0;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t at_us = rng_between(&w->rng, RNG_FAULT, 3 * SEC, w->heal_at_us - SEC);

        /* Trouble rarely comes alone. */
        if (burst_us && rng_chance(&w->rng, RNG_FAULT, 40))
            at_us = burst_us + rng_between(&w->rng, RNG_FAULT, MS, w->policy.ttl_us);
        if (at_us >= w->heal_at_us)
            at_us = w->heal_at_us - SEC;
        burst_us = at_us;
        queue_push(&w->queue, (struct event){.at_us = at_us, .kind = EV_FAULT});
    }
    /* A cluster that is made just now is at its most delicate. */
    for (int i = 0; i < 3 && !w->store.data.initialize_exists; i++)
        queue_push(&w->queue,
                   (struct event){.at_us = rng_between(&w->rng, RNG_FAULT, SEC / 2, 12 * SEC), .kind = EV_FAULT});
    manual_plan(w);
    queue_push(&w->queue, (struct event){.at_us = w->heal_at_us, .kind = EV_HEAL_ALL});
}
