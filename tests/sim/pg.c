/*
 * PostgreSQL of a node, and its data directory. WAL is a number on a "way": the identity of one timeline, so that two
 * timelines of the same number are told apart. What matters: which process can still commit, how long a stop takes, and
 * who has diverged from whom.
 */
#include "sim.h"

enum { BYTES_PER_MS = 10, RESTARTPOINT_EVERY_US = 20 * SEC };

bool pg_alive(const struct node *n)
{
    return n->pg.phase != PG_DOWN || n->pg.orphan;
}

bool pg_can_commit(const struct node *n)
{
    return n->up && (n->pg.phase == PG_PRIMARY || n->pg.orphan);
}

bool pg_gate_is_open(const struct world *w, const struct node *n)
{
    return !w->gate || n->gate_until_us > local_us(w, n);
}

bool pg_can_acknowledge(const struct world *w, const struct node *n)
{
    return pg_can_commit(n) && pg_gate_is_open(w, n);
}

uint64_t pg_sysid(const struct world *w, const struct node *n)
{
    uint16_t at = n->pg.way;

    while (w->timelines[at].number != 1)
        at = w->timelines[at].parent;
    return UINT64_C(7000000000000000001) + at;
}

static bool disk_is_frozen(const struct world *w, const struct node *n)
{
    return n->pg.disk_frozen_until_us > w->now_us;
}

static bool stands_still(const struct world *w, const struct node *n)
{
    return n->pg.hung_until_us > w->now_us || disk_is_frozen(w, n);
}

/* --- WAL ------------------------------------------------------------------------------------------------------------
 */

bool pg_is_behind(const struct world *w, uint16_t way, uint64_t lsn, const struct pg *leader)
{
    uint16_t at = leader->way;
    uint64_t end_lsn = leader->lsn;

    for (;;) {
        if (at == way)
            return lsn <= end_lsn;
        if (at == 0)
            return false;
        if (w->timelines[at].switch_lsn < end_lsn)
            end_lsn = w->timelines[at].switch_lsn;
        at = w->timelines[at].parent;
    }
}

bool pg_streams(const struct world *w, const struct node *n)
{
    const struct node *from;

    if (!n->up || n->pg.phase != PG_STANDBY || n->pg.follows == NOBODY || stands_still(w, n) ||
        n->pg.replaying_until_us > w->now_us)
        return false;
    if (n->pg.follows == REMOTE)
        return standby_upstream(w) && pg_is_behind(w, n->pg.way, n->pg.lsn, standby_upstream(w));
    from = &w->nodes[n->pg.follows];
    return from->up && (from->pg.phase == PG_PRIMARY || (w->has_remote && from->pg.phase == PG_STANDBY)) &&
           pg_gate_is_open(w, from) && !stands_still(w, from) && !w->cut[n->id][from->id] && !w->cut[from->id][n->id] &&
           pg_is_behind(w, n->pg.way, n->pg.lsn, &from->pg);
}

/* The timeline that this position is on, of those that lead to `way`. */
static uint16_t way_at(const struct world *w, uint16_t way, uint64_t lsn)
{
    while (way != 0 && lsn < w->timelines[way].switch_lsn)
        way = w->timelines[way].parent;
    return way;
}

void pg_checkpointed(struct node *n)
{
    n->pg.control_way = n->pg.way;
    n->pg.control_lsn = n->pg.lsn;
}

static void make_restartpoint(const struct world *w, struct node *n)
{
    if (w->now_us < n->pg.restartpoint_at_us)
        return;
    n->pg.restartpoint_at_us = w->now_us + RESTARTPOINT_EVERY_US;
    pg_checkpointed(n);
}

void pg_flow(struct world *w)
{
    standby_flow(w);
    for (int i = 0; i < NODES; i++) {
        struct node *n = &w->nodes[i];

        if (pg_can_commit(n) && !stands_still(w, n))
            n->pg.lsn += (w->now_us - n->pg.lsn_at_us) / MS * BYTES_PER_MS;
        else if (!pg_can_commit(n))
            n->pg.lsn_at_us = w->now_us;
        n->pg.lsn_at_us += (w->now_us - n->pg.lsn_at_us) / MS * MS;
    }
    for (int i = 0; i < NODES; i++) {
        struct node *n = &w->nodes[i];
        const struct pg *from;
        uint64_t lag_bytes;

        if (!pg_streams(w, n))
            continue;
        from = n->pg.follows == REMOTE ? standby_upstream(w) : &w->nodes[n->pg.follows].pg;
        lag_bytes = (uint64_t)(n->id * 3);
        if (from->lsn > n->pg.lsn + lag_bytes)
            n->pg.lsn = from->lsn - lag_bytes;
        n->pg.way = way_at(w, from->way, n->pg.lsn);
        n->pg.wal_max = from->wal_max;
        make_restartpoint(w, n);
    }
}

/* --- life -----------------------------------------------------------------------------------------------------------
 */

static void tell_agent(struct world *w, struct node *n)
{
    if (n->agent.alive)
        push_in(w, n, EV_AGENT_SERVER_EXIT, rng_between(&w->rng, RNG_PROCESS, 100, 2 * MS), n->agent.gen, n->pg.gen, 0);
}

static void server_ends(struct world *w, struct node *n)
{
    if (n->pg.phase == PG_DOWN)
        return;
    n->pg.phase = PG_DOWN;
    n->pg.stopping = n->pg.killed = false;
    tell_agent(w, n);
    n->pg.gen++;
}

bool pg_start(struct world *w, struct node *n, bool as_primary)
{
    struct pg *p = &n->pg;
    uint64_t in_us = rng_between(&w->rng, RNG_PG, 50 * MS, 600 * MS);

    if (!p->dir_there || p->phase != PG_DOWN)
        return false;
    p->gen++;
    p->phase = PG_STARTING;
    p->as_primary = as_primary;
    p->max = config_start_value(w, n, as_primary);
    p->started_by = n->agent.gen;
    p->asked_start = n->agent.memory.stopped_here;
    p->killed = p->stopping = p->cannot_die = false;
    if (rng_chance(&w->rng, RNG_PG, 3))
        in_us += rng_between(&w->rng, RNG_PG, 0, 6 * SEC);
    /* Shared memory of an old backend, a port that is taken, a bad setting: some starts fail. */
    if (p->orphan || p->half_rewound || (!w->healed && rng_chance(&w->rng, RNG_PG, 2)))
        push_in(w, n, EV_PG_STOPPED, in_us, p->gen, 0, 0);
    else
        push_in(w, n, EV_PG_STARTED, in_us, p->gen, 0, 0);
    TRACE(w, n->id, "PostgreSQL is started as a %s with max_connections %u, %u in its WAL",
          as_primary ? "primary" : "standby", p->max, p->wal_max);
    return true;
}

void pg_promote(struct world *w, struct node *n)
{
    if (n->pg.phase != PG_STANDBY)
        return;
    n->pg.phase = PG_PROMOTING;
    push_in(w, n, EV_PG_PROMOTED, rng_between(&w->rng, RNG_PG, 20 * MS, 500 * MS), n->pg.gen, 0, 0);
}

void pg_stop(struct world *w, struct node *n, bool fast)
{
    /* Without a watchdog the promise is only as good as the stop: it is bounded there (README). */
    bool bounded = w->watchdog_mode == WATCHDOG_MODE_OFF || w->healed;
    uint64_t in_us = rng_between(&w->rng, RNG_PG, 10 * MS, fast ? 900 * MS : 200 * MS);

    if (n->pg.phase == PG_DOWN)
        return;
    if (fast && n->pg.phase == PG_PRIMARY && rng_chance(&w->rng, RNG_PG, 10))
        return; /* a walsender or the archiver holds it up for ever */
    if (!fast && !bounded && rng_chance(&w->rng, RNG_PG, 15))
        in_us += rng_between(&w->rng, RNG_PG, 0, 10 * SEC);
    n->pg.stopping = fast;
    push_in(w, n, EV_PG_STOPPED, in_us, n->pg.gen, fast, 0);
}

void pg_kill(struct world *w, struct node *n)
{
    bool bounded = w->watchdog_mode == WATCHDOG_MODE_OFF || w->healed;

    if (!pg_alive(n) || n->pg.killed || n->pg.cannot_die)
        return;
    n->pg.killed = true;
    if (!bounded && rng_chance(&w->rng, RNG_PG, 5)) {
        n->pg.cannot_die = true;
        TRACE(w, n->id, "PostgreSQL is in disk sleep and does not die");
        return;
    }
    push_in(w, n, EV_PG_KILLED, rng_between(&w->rng, RNG_PG, 2 * MS, bounded ? 400 * MS : 1500 * MS), n->pg.gen, 0, 0);
}

void pg_postmaster_crash(struct world *w, struct node *n)
{
    bool was_primary = n->pg.phase == PG_PRIMARY;

    if (n->pg.phase == PG_DOWN)
        return;
    TRACE(w, n->id, "the postmaster is killed");
    server_ends(w, n);
    if (was_primary && rng_chance(&w->rng, RNG_PG, 60)) {
        n->pg.orphan = true;
        TRACE(w, n->id, "a busy backend outlives it");
        push_in(w, n, EV_PG_ORPHAN_ENDS, rng_between(&w->rng, RNG_PG, 10 * MS, 15 * SEC), n->pg.gen, 0, 0);
    }
}

void pg_power_off(struct world *w, struct node *n)
{
    (void)w;
    n->pg.phase = PG_DOWN;
    n->pg.orphan = n->pg.killed = n->pg.cannot_die = n->pg.stopping = false;
    n->pg.hung_until_us = n->pg.disk_frozen_until_us = 0;
    n->pg.gen++;
}

/* A shutdown waits until those that stream have all of it; some connections break before. */
static void hand_on_the_rest(struct world *w, struct node *n)
{
    n->pg.lsn++; /* the shutdown checkpoint */
    for (int i = 0; i < NODES; i++) {
        struct node *to = &w->nodes[i];

        if (to->pg.follows != n->id || !pg_streams(w, to) || rng_chance(&w->rng, RNG_MANUAL, 10))
            continue;
        to->pg.lsn = n->pg.lsn;
        to->pg.way = n->pg.way;
    }
}

static void started(struct world *w, struct node *n)
{
    struct pg *p = &n->pg;

    p->phase = p->as_primary ? PG_PRIMARY : PG_STANDBY;
    sync_server_started(w, n);
    if (p->as_primary)
        sync_check_primary(w, n);
    p->replaying_until_us = 0;
    if (!p->as_primary && (p->control_way != p->way || p->control_lsn != p->lsn))
        p->replaying_until_us = w->now_us + rng_between(&w->rng, RNG_PG, 0, 2 * SEC);
    p->control = p->as_primary ? PG_CONTROL_IN_PRODUCTION : PG_CONTROL_IN_ARCHIVE_RECOVERY;
    config_started(w, n);
    TRACE(w, n->id, "PostgreSQL is a %s on timeline %u at %llu", p->as_primary ? "primary" : "standby",
          w->timelines[p->way].number, (unsigned long long)p->lsn);
}

static uint32_t next_number(const struct world *w, const struct node *n)
{
    uint32_t number = w->timelines[n->pg.way].number;

    return (n->pg.known_timeline > number ? n->pg.known_timeline : number) + 1;
}

static void promoted(struct world *w, struct node *n)
{
    struct timeline *t = &w->timelines[w->n_timelines];

    if (w->n_timelines == TIMELINES_MAX) {
        check_fail(w, "calm", "PostgreSQL is promoted again and again");
        return;
    }
    *t = (struct timeline){.number = next_number(w, n), .parent = n->pg.way, .switch_lsn = n->pg.lsn};
    check_timeline(w, n, t);
    standby_check_promoted(w, n);
    n->pg.way = (uint16_t)w->n_timelines++;
    n->pg.phase = PG_PRIMARY;
    n->pg.wal_max = n->pg.max;
    sync_check_primary(w, n);
    n->pg.control = PG_CONTROL_IN_PRODUCTION;
    TRACE(w, n->id, "PostgreSQL is promoted to timeline %u at %llu", t->number, (unsigned long long)n->pg.lsn);
}

void pg_event(struct world *w, struct node *n, const struct event *e)
{
    struct pg *p = &n->pg;

    if (disk_is_frozen(w, n)) {
        struct event later = *e; /* whoever waits for the disk waits in the kernel, also to die */

        later.at_us = p->disk_frozen_until_us + rng_between(&w->rng, RNG_PG, 0, 50 * MS);
        later.tie = 0;
        queue_push(&w->queue, later);
        return;
    }
    if (e->kind == EV_PG_ORPHAN_ENDS && p->orphan && !p->cannot_die)
        p->orphan = false;
    if (e->gen != p->gen)
        return;
    if (p->cannot_die) { /* what sleeps goes on when the disk does, but for its end, which is asked for again */
        if (e->kind == EV_PG_STARTED || e->kind == EV_PG_PROMOTED)
            push_in(w, n, e->kind, SEC, p->gen, 0, 0);
        return;
    }
    if (e->kind == EV_PG_STARTED && p->phase == PG_STARTING)
        started(w, n);
    else if (e->kind == EV_PG_PROMOTED && p->phase == PG_PROMOTING)
        promoted(w, n);
    else if (e->kind == EV_PG_STOPPED && p->phase != PG_DOWN) {
        if (e->a && p->phase == PG_PRIMARY)
            hand_on_the_rest(w, n);
        if (e->a)
            p->control = p->phase == PG_PRIMARY ? PG_CONTROL_SHUT_DOWN : PG_CONTROL_SHUT_DOWN_IN_RECOVERY;
        if (e->a)
            pg_checkpointed(n);
        TRACE(w, n->id, "PostgreSQL has stopped");
        server_ends(w, n);
    } else if (e->kind == EV_PG_KILLED) {
        TRACE(w, n->id, "PostgreSQL is dead");
        p->orphan = p->killed = false;
        server_ends(w, n);
    }
}
