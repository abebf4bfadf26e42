/*
 * Synchronous replication: what PostgreSQL waits for before it acknowledges, and what the agent does about it, as
 * src/agent/sync.c and sync_promote.c. The truth that check.c compares with: how far commits have been acknowledged.
 */
#include <stdio.h>
#include <string.h>
#include "sim.h"

enum { SETTLE_US = 100000, LOOK_AGAIN_US = 150000, LOOK_US = 1000000, RETRY_US = 300000, AWAIT_US = 2000000 };

/* --- PostgreSQL -----------------------------------------------------------------------------------------------------
 */

/* The files are changed and the postmaster is signalled; one process after the other reads them. */
static void set_names(struct world *w, struct node *n, const struct sync_names *names)
{
    struct pg *p = &n->pg;

    if (p->phase != PG_DOWN && !sync_names_equal(&p->names, names)) {
        p->old_names = p->names;
        p->names_read_at_us = w->now_us + rng_between(&w->rng, RNG_PG, MS, 90 * MS);
        /* The checkpointer may be busy writing. */
        if (p->names.kind == SYNC_KIND_NOBODY)
            p->waits_from_us =
                p->names_read_at_us + (rng_chance(&w->rng, RNG_PG, 20) ? rng_between(&w->rng, RNG_PG, 0, 5 * SEC) : 0);
    }
    p->names = *names;
}

/* A postmaster that starts reads what is in the files. */
void sync_server_started(struct world *w, struct node *n)
{
    n->pg.names_read_at_us = n->pg.waits_from_us = w->now_us;
}

static bool waits(const struct world *w, const struct node *n)
{
    return n->pg.waits_from_us <= w->now_us;
}

/* How far commits are acknowledged while these names are in effect; 0 = not at all. */
static uint64_t acknowledged_under(const struct world *w, const struct node *n, const struct sync_names *names)
{
    uint64_t lsns[NODES] = {0};
    unsigned n_lsns = 0;

    if (names->kind == SYNC_KIND_NOBODY || !waits(w, n))
        return n->pg.lsn;
    for (int i = 0; i < NODES; i++) {
        const struct node *s = &w->nodes[i];
        unsigned at = n_lsns;

        if (i == n->id || !sync_set_has(&names->set, node_name(i)) || s->pg.follows != n->id || !pg_streams(w, s))
            continue;
        /* ANY: the fastest; FIRST: in the order of the names. */
        for (; names->kind == SYNC_KIND_ANY && at > 0 && lsns[at - 1] < s->pg.lsn; at--)
            lsns[at] = lsns[at - 1];
        lsns[at] = s->pg.lsn;
        n_lsns++;
    }
    if (names->n == 0 || n_lsns < names->n)
        return 0;
    for (unsigned i = 1; i < names->n; i++)
        if (lsns[i] < lsns[0])
            lsns[0] = lsns[i];
    return lsns[0];
}

static uint64_t acknowledged(const struct world *w, const struct node *n)
{
    uint64_t lsn = acknowledged_under(w, n, &n->pg.names), old_lsn;

    /* A backend that outlives its postmaster gives up waiting and tells its client nothing. */
    if (n->pg.orphan && n->pg.phase != PG_PRIMARY)
        return n->pg.names.kind == SYNC_KIND_NOBODY ? n->pg.lsn : 0;
    if (n->pg.names_read_at_us <= w->now_us)
        return lsn;
    old_lsn = acknowledged_under(w, n, &n->pg.old_names);
    return old_lsn > lsn ? old_lsn : lsn;
}

void sync_flow(struct world *w)
{
    if (w->policy.sync_mode == SYNC_MODE_OFF)
        return;
    /* Before the store knows it there is no cluster that anybody could promise anything. */
    w->cluster_made |= w->store.data.initialize_exists && !w->store.data.initialize_empty;
    for (int i = 0; i < NODES && w->cluster_made; i++) {
        const struct node *n = &w->nodes[i];
        uint64_t lsn = pg_can_acknowledge(w, n) ? acknowledged(w, n) : 0;

        if (lsn && n->pg.way != w->acked_way && lsn >= w->timelines[n->pg.way].switch_lsn)
            w->acked_way = n->pg.way;
        else if (lsn <= w->acked_lsn || n->pg.way != w->acked_way)
            continue;
        w->acked_lsn = lsn;
    }
}

void sync_check_primary(struct world *w, const struct node *n)
{
    if (w->policy.sync_mode == SYNC_MODE_OFF || pg_is_behind(w, w->acked_way, w->acked_lsn, &n->pg))
        return;
    /* A store that lost or forgot /sync and the loss of the leader are two faults. */
    if (w->store.data.life > 1)
        return;
    check_fail(w, "S7", "%s becomes a primary at %llu without the commits up to %llu that were acknowledged",
               node_name(n->id), (unsigned long long)n->pg.lsn, (unsigned long long)w->acked_lsn);
}

/* --- what the agent knows -------------------------------------------------------------------------------------------
 */

void sync_probe(struct world *w, struct node *n)
{
    struct probe *p = &n->agent.pg;

    p->names = n->pg.names;
    p->checkpointer_idle = waits(w, n);
    for (int i = 0; i < NODES; i++) {
        p->streams[i] = i != n->id && w->nodes[i].pg.follows == n->id && pg_streams(w, &w->nodes[i]);
        p->standby_lsns[i] = w->nodes[i].pg.lsn;
    }
}

static bool is_shown(const struct agent *a)
{
    return a->pg.valid && sync_names_equal(&a->pg.names, &a->sync.names) &&
           a->pg.answered_at_us >= a->sync.written_at_us + SETTLE_US;
}

static void note_checkpointer(struct agent *a)
{
    if (a->pg.names.kind == SYNC_KIND_NOBODY) {
        a->sync.waits = false;
        a->sync.nonempty_since_us = 0;
        return;
    }
    if (!a->sync.nonempty_since_us)
        a->sync.nonempty_since_us = a->pg.answered_at_us;
    if (a->pg.checkpointer_idle && a->pg.answered_at_us >= a->sync.nonempty_since_us + SETTLE_US)
        a->sync.waits = true;
}

void sync_note_pg(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    if (w->policy.sync_mode == SYNC_MODE_OFF)
        return;
    note_checkpointer(a);
    if (w->mutant == MUTANT_SYNC_CHECKPOINTER)
        a->sync.waits = true;
    if (!a->sync.names_known && !a->pg.in_recovery) {
        a->sync.names = a->pg.names;
        a->sync.names_known = true;
        a->sync.written_at_us = local_us(w, n);
        a->sync.settled = false;
    }
    if (!is_shown(a)) {
        a->sync.settled = false;
    } else if (!a->sync.settled && (a->sync.waits || a->sync.names.kind == SYNC_KIND_NOBODY)) {
        a->sync.settled = true;
        a->sync.since_lsn = a->pg.lsn;
    }
}

void sync_forget(struct node *n)
{
    n->agent.sync.names_known = n->agent.sync.settled = false;
    n->agent.sync.sure_revision = 0;
    n->agent.sync.await_until_us = 0;
}

void sync_forget_pg(struct node *n)
{
    n->agent.sync.settled = n->agent.sync.waits = false;
    n->agent.sync.nonempty_since_us = 0;
}

void sync_write_files(struct world *w, struct node *n)
{
    const struct sync_names blocked = {.kind = SYNC_KIND_BLOCKED}, nobody = {.kind = SYNC_KIND_NOBODY};

    if (n->agent.sync.names_known)
        set_names(w, n, &n->agent.sync.names);
    else
        set_names(w, n, ha_sync_blocks(&w->policy) ? &blocked : &nobody);
}

/* --- steps ----------------------------------------------------------------------------------------------------------
 */

static uint16_t mask_of(const struct sync_set *s)
{
    uint16_t mask = 0;

    for (int i = 0; i < NODES; i++)
        mask |= (uint16_t)(sync_set_has(s, node_name(i)) << i);
    return mask;
}

static void write_key(struct world *w, struct node *n, const struct sync_promise *promise, bool sealing)
{
    struct call *c = store_call(w, n, CALL_SYNC, w->policy.retry_timeout_us);

    n->agent.sync.busy = true;
    n->agent.sync.sure_revision = 0;
    n->agent.sync.sealing = sealing;
    n->agent.sync.sealing_gen = n->agent.op.gen;
    c->revision = n->agent.cluster.sync.revision;
    c->voters = mask_of(&promise->voters);
    c->quorum = (uint16_t)promise->quorum;
    store_send(w, c);
}

static void write_names(struct world *w, struct node *n, const struct sync_names *names)
{
    struct agent *a = &n->agent;

    a->sync.names = *names;
    a->sync.names_known = true;
    a->sync.settled = false;
    a->sync.written_at_us = local_us(w, n);
    set_names(w, n, names);
}

bool sync_is_foreign(const struct agent *a)
{
    return a->sync.restored && a->cluster.sync.revision == a->sync.foreign_revision;
}

static void look(const struct world *w, const struct agent *a, struct sync_view *s, struct sync_standby *rows)
{
    *s = (struct sync_view){.names_known = a->sync.names_known,
                            .names = a->pg.names,
                            .names_pending = !sync_names_equal(&a->pg.names, &a->sync.names) ||
                                             a->pg.answered_at_us < a->sync.written_at_us,
                            .settled = a->sync.settled,
                            .since_lsn = a->sync.since_lsn,
                            .names_are_ours = true,
                            .key_is_foreign = sync_is_foreign(a),
                            .key_in_doubt = a->cluster.sync.revision != a->sync.sure_revision,
                            .await_until_us = a->sync.await_until_us,
                            .standbys = rows};
    for (int i = 0; i < NODES; i++) {
        struct sync_standby *row = &rows[s->n_standbys];

        if (!a->pg.streams[i])
            continue;
        *row = (struct sync_standby){.lsn = a->pg.standby_lsns[i], .flush_lsn = a->pg.standby_lsns[i]};
        row->rank = sync_set_has(&a->pg.names.set, node_name(i)) ? SYNC_RANK_SYNC : SYNC_RANK_ASYNC;
        (void)snprintf(row->name, sizeof(row->name), "%s", node_name(i));
        s->n_standbys++;
    }
    if (w->mutant == MUTANT_SYNC_UNSETTLED && !s->names_pending) {
        s->settled = true;
        s->since_lsn = 0;
    }
}

/* As src/agent/sync.c: what we have counts only if it is from after the leader's end. */
static void mind_election(struct world *w, struct node *n, const struct ha_view *v)
{
    struct agent *a = &n->agent;

    if (!v->cluster || v->cluster->leader.exists || !v->pg.running || !v->pg.in_recovery)
        return;
    if (!a->pg.valid || a->pg.answered_at_us + LOOK_AGAIN_US <= local_us(w, n))
        gather_pg(w, n);
    agent_wake_at(w, n, local_us(w, n) + LOOK_AGAIN_US);
}

static void do_step(struct world *w, struct node *n, const struct sync_step *d)
{
    if (d->action != SYNC_WAIT)
        TRACE(w, n->id, "agent: sync: %s", d->reason);
    if (d->action == SYNC_WRITE_KEY)
        write_key(w, n, &d->promise, false);
    else if (d->action == SYNC_SET_NAMES)
        write_names(w, n, &d->names);
    else
        agent_wake_at(w, n, local_us(w, n) + (d->is_soon ? LOOK_AGAIN_US : LOOK_US));
    if (d->action == SYNC_SET_NAMES)
        agent_wake_at(w, n, local_us(w, n) + LOOK_AGAIN_US);
}

/* The broken order: PostgreSQL does not wait any more while /sync still promises it. */
static void swap_order(struct world *w, struct node *n, const struct sync_step *d)
{
    const struct sync_names nobody = {.kind = SYNC_KIND_NOBODY};

    if (w->mutant == MUTANT_SYNC_ORDER && d->action == SYNC_WRITE_KEY && d->promise.voters.n == 0)
        write_names(w, n, &nobody);
}

void sync_update(struct world *w, struct node *n, const struct ha_view *v)
{
    struct agent *a = &n->agent;
    struct sync_standby rows[NODES];
    struct sync_view s;
    struct sync_step d;
    uint64_t now_us = local_us(w, n);
    bool leads = a->lease.held && a->lease.deadline_us > now_us && a->server_up && a->pg.valid && !a->pg.in_recovery;

    if (w->policy.sync_mode == SYNC_MODE_OFF)
        return;
    mind_election(w, n, v);
    if (a->op.kind != OP_NONE || a->stopping || !leads || !v->cluster || a->sync.busy || a->store_busy ||
        v->cluster->read_sent_at_us < a->sync.asked_at_us || v->cluster->leader.session != a->lease.session)
        return;
    if (now_us < a->sync.again_at_us) {
        agent_wake_at(w, n, a->sync.again_at_us);
        return;
    }
    look(w, a, &s, rows);
    ha_sync_step(v, &s, &d);
    swap_order(w, n, &d);
    do_step(w, n, &d);
}

/* --- before a promotion ---------------------------------------------------------------------------------------------
 */

void sync_seal(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    struct sync_promise promise;
    struct ha_view v;

    gather_view(w, n, &v);
    if (w->policy.sync_mode == SYNC_MODE_OFF || w->mutant == MUTANT_SYNC_UNSEALED) {
        a->sync.sealed_names = (struct sync_names){.kind = SYNC_KIND_NOBODY};
        if (w->mutant == MUTANT_SYNC_UNSEALED)
            write_names(w, n, &a->sync.sealed_names);
        op_promote_sealed(w, n);
        return;
    }
    if (!v.cluster || a->sync.busy || v.cluster->read_sent_at_us < a->sync.asked_at_us) {
        op_end(w, n);
        return;
    }
    sync_forget(n);
    (void)ha_sync_seal(&v, &promise, &a->sync.sealed_names);
    a->op.waits_sealed = true;
    write_key(w, n, &promise, true);
}

bool sync_seal_pg_changed(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    if (!a->op.waits_sealed)
        return false;
    if (!a->sync.names_known)
        return true;
    if (a->pg.valid && a->pg.answered_at_us >= a->sync.written_at_us &&
        sync_names_equal(&a->pg.names, &a->sync.names) && (a->sync.waits || a->sync.names.kind == SYNC_KIND_NOBODY)) {
        a->op.waits_sealed = false;
        op_timer_off(n);
        op_promote_sealed(w, n);
    } else {
        op_timer(w, n, 50 * MS);
    }
    return true;
}

void sync_answered(struct world *w, struct node *n, const struct call *c)
{
    struct agent *a = &n->agent;
    bool sealing =
        a->sync.sealing && a->op.kind == OP_PROMOTE && a->op.waits_sealed && a->op.gen == a->sync.sealing_gen;

    a->sync.busy = false;
    a->sync.asked_at_us = local_us(w, n);
    if (c->outcome == OUTCOME_DONE) {
        a->sync.sure_revision = c->revision;
        a->sync.restored = false;
    } else if (!a->sync.sealing)
        a->sync.again_at_us = local_us(w, n) + RETRY_US;
    if (sealing && c->outcome == OUTCOME_DONE) {
        write_names(w, n, &a->sync.sealed_names);
        op_timer(w, n, 50 * MS);
        return;
    }
    if (sealing)
        op_end(w, n);
    gather_store(w, n);
}

/* Somebody edits the configuration, and everybody has it at once. */
void sync_change_policy(struct world *w)
{
    struct policy *p = &w->policy;

    if (p->sync_mode == SYNC_MODE_OFF)
        return;
    p->sync_mode = rng_chance(&w->rng, RNG_SYNC, 50) ? SYNC_MODE_QUORUM : SYNC_MODE_PRIORITY;
    p->sync_strict = rng_chance(&w->rng, RNG_SYNC, 50);
    p->sync_node_count = (unsigned)rng_between(&w->rng, RNG_SYNC, 1, 2);
    TRACE(w, STORE, "synchronous_mode %s, %u, %s", p->sync_mode == SYNC_MODE_QUORUM ? "quorum" : "on",
          p->sync_node_count, p->sync_strict ? "strict" : "not strict");
}

void sync_begin_reign(struct world *w, struct node *n)
{
    n->agent.sync.await_until_us = local_us(w, n) + AWAIT_US;
}
