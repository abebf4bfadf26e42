/*
 * One parameter that WAL is bound to: max_connections is changed at random moments, and an operator restarts those
 * nodes that say it is time. As src/agent/pending.c; the verdict and the value of a start are the product's. What is
 * checked: no standby is started with less than its WAL was written with, no offered restart of a standby is in vain,
 * and neither an offered restart nor a crash makes a primary raise it while a standby that streams has less.
 */
#include "sim.h"

enum { FIRST_MAX = 100, EVENTS_MAX = 12 };

static uint32_t wanted_of(const struct node *n)
{
    return n->wanted_max ? n->wanted_max : FIRST_MAX;
}

void config_read(struct world *w, struct node *n)
{
    n->wanted_max = w->wanted_max ? w->wanted_max : FIRST_MAX;
}

void config_copied(struct node *to, const struct node *from)
{
    to->pg.wal_max = from->pg.wal_max;
}

uint32_t config_start_value(const struct world *w, struct node *n, bool as_primary)
{
    enum pending_start how = !as_primary                                    ? START_AS_STANDBY
                             : n->agent.memory.stopped_here || n->pg.marker ? START_AS_CONFIGURED
                                                                            : START_AFTER_A_CRASH;

    if (w->mutant == MUTANT_START_AS_CONFIGURED || (w->mutant == MUTANT_CRASH_RAISES && how == START_AFTER_A_CRASH))
        how = START_AS_CONFIGURED;
    n->offer.at_start = wanted_of(n);
    return pending_start_value(how, wanted_of(n), n->pg.wal_max);
}

/* --- what the nodes say --------------------------------------------------------------------------------------------
 */

static enum pending_verdict verdict(const struct world *w, const struct node *n)
{
    struct pending_view v = {.is_standby = n->pg.phase == PG_STANDBY,
                             .must_not_fall = true,
                             .differs = n->pg.max != wanted_of(n),
                             .running = n->pg.max,
                             .wanted = wanted_of(n),
                             .wal = n->pg.wal_max};

    if (n->pg.phase != PG_STANDBY && n->pg.phase != PG_PRIMARY)
        return PENDING_NONE;
    for (int i = 0; i < NODES; i++)
        if (pg_streams(w, &w->nodes[i]) && w->nodes[i].pg.max < wanted_of(n))
            v.members_below++;
    if (w->mutant == MUTANT_OFFER_AT_ONCE)
        v.must_not_fall = false;
    return ha_pending(&v);
}

/* --- the operator --------------------------------------------------------------------------------------------------
 */

static void change(struct world *w)
{
    static const uint32_t values[] = {50, 100, 200, 300};

    if (w->store.down)
        return;
    w->wanted_max = values[rng_between(&w->rng, RNG_CONFIG, 0, sizeof(values) / sizeof(values[0]) - 1)];
    TRACE(w, STORE, "max_connections is to be %u", w->wanted_max);
}

static void restart_one(struct world *w)
{
    int first = (int)rng_between(&w->rng, RNG_CONFIG, 0, NODES - 1);

    for (int i = 0; i < NODES; i++) {
        struct node *n = &w->nodes[(first + i) % NODES];

        if (!n->up || verdict(w, n) != PENDING_RESTART || !manual_restart(w, n))
            continue;
        TRACE(w, n->id, "a restart is due: max_connections is %u, and %u is wanted", n->pg.max, wanted_of(n));
        n->offer.open = true;
        n->offer.wanted = wanted_of(n);
        n->offer.ran = n->pg.max;
        n->offer.is_standby = n->pg.phase == PG_STANDBY;
        n->offer.wal = n->pg.wal_max;
        for (int k = 0; k < NODES; k++)
            n->offer.gen[k] = pg_streams(w, &w->nodes[k]) ? w->nodes[k].pg.gen : 0;
        return;
    }
}

void config_event(struct world *w)
{
    if (rng_chance(&w->rng, RNG_CONFIG, 35))
        change(w);
    else
        restart_one(w);
}

void config_plan(struct world *w)
{
    uint64_t n =
        !w->has_remote && rng_chance(&w->rng, RNG_CONFIG, 50) ? rng_between(&w->rng, RNG_CONFIG, 2, EVENTS_MAX) : 0;

    for (uint64_t i = 0; i < n; i++)
        queue_push(&w->queue, (struct event){.at_us = rng_between(&w->rng, RNG_CONFIG, 3 * SEC, w->heal_at_us - SEC),
                                             .kind = EV_CONFIG});
}

/* --- the rules ------------------------------------------------------------------------------------------------------
 */

static void check_standby(struct world *w, struct node *n)
{
    struct pg *p = &n->pg;

    if (p->max < p->wal_max)
        check_fail(w, "settings", "%s does not start: it has max_connections %u, its WAL was written with %u",
                   node_name(n->id), p->max, p->wal_max);
    if (n->offer.open && n->offer.is_standby && n->offer.wal == p->wal_max && n->offer.at_start == n->offer.wanted &&
        p->max == n->offer.ran)
        check_fail(w, "settings", "%s was restarted in vain for max_connections %u", node_name(n->id), n->offer.wanted);
}

static void check_primary(struct world *w, struct node *n, bool raised)
{
    bool offered = n->offer.open && !n->offer.is_standby && n->offer.wanted == n->pg.max;

    for (int i = 0; i < NODES && raised; i++) {
        const struct node *o = &w->nodes[i];

        if (!pg_streams(w, o) || o->pg.max >= n->pg.max)
            continue;
        if (!n->pg.asked_start)
            check_fail(w, "settings", "a crash of %s raises max_connections to %u, and %s cannot replay that",
                       node_name(n->id), n->pg.max, node_name(i));
        else if (offered && n->offer.gen[i] == o->pg.gen)
            check_fail(w, "settings", "the restart that %s offered for max_connections %u stops the replay of %s",
                       node_name(n->id), n->pg.max, node_name(i));
    }
}

void config_started(struct world *w, struct node *n)
{
    uint32_t before = n->pg.wal_max;

    if (n->pg.phase == PG_PRIMARY) {
        n->pg.wal_max = n->pg.max;
        check_primary(w, n, before && n->pg.max > before);
    } else {
        check_standby(w, n);
    }
    n->offer.open = false;
}
