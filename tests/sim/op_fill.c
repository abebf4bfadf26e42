/*
 * What changes the content of a data directory, and the questions to the peers; as src/agent/op_fill.c and op_peers.c.
 * The comparison with the leader is ideal: it knows the identity of timelines, not only their numbers.
 */
#include <stdio.h>
#include "sim.h"

enum { CLONE_AGAIN_US = 5000000, CHECK_AGAIN_US = 1000000, PEER_TIMEOUT_MAX_US = 2000000 };
enum { STAGE_STOP = 1, STAGE_STOP_AT_ONCE, STAGE_PROVE, STAGE_RUN };
enum { STOP_BUDGET_US = 30000000, STOP_AT_ONCE_BUDGET_US = 5000000 };

/* The node to copy from, rewind to or compare with; NULL if it cannot be reached as a running server. */
static struct node *source(struct world *w, struct node *n)
{
    int from = node_of_name(n->agent.op.target);
    struct node *s;

    if (from == REMOTE)
        return standby_upstream(w) ? &w->remote : NULL;
    s = from == NOBODY ? NULL : &w->nodes[from];
    /* A copy is made of a standby as well. */
    if (!s || !s->up || (s->pg.phase != PG_PRIMARY && !(n->agent.op.kind == OP_CLONE && s->pg.phase == PG_STANDBY)) ||
        !pg_gate_is_open(w, s) || w->cut[n->id][from] || w->cut[from][n->id])
        return NULL;
    return s->pg.hung_until_us > w->now_us ? NULL : s;
}

static void set_aside(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    if (pg_alive(n)) {
        check_fail(w, "S8", "the data directory of %s is set aside below a running server", node_name(n->id));
        return;
    }
    n->pg.aside++;
    n->pg.dir_there = n->pg.marker = n->pg.made = n->pg.half_copy = n->pg.half_rewound = false;
    n->pg.copy_note = n->pg.rewind_note = false;
    n->pg.known_timeline = 0;
    slots_forget(n);
    TRACE(w, n->id, "the data directory is set aside");
    a->bootstrap_incomplete = a->bootstrap_made = a->copy_incomplete = a->rewind_incomplete = false;
    a->memory.divergence = DIVERGENCE_UNKNOWN;
    a->memory.is_new_copy = false;
    a->memory.rewind_failed = false;
    op_end(w, n);
    a->control = (struct local_pg){0};
    gather_control(w, n);
}

void op_rewind_proven(struct world *w, struct node *n)
{
    n->agent.op.stage = STAGE_RUN;
    /* What comes before pg_rewind needs the leader, too: without one it never begins. Some end before they write. */
    if (source(w, n)) {
        n->pg.rewind_note = n->agent.rewind_incomplete = true;
        n->pg.half_rewound = rng_chance(&w->rng, RNG_PG, 80);
    }
    op_in(w, n, rng_between(&w->rng, RNG_PG, 200 * MS, 3 * SEC), rng_chance(&w->rng, RNG_PG, 30));
}

static void prove(struct world *w, struct node *n)
{
    n->agent.op.stage = STAGE_PROVE;
    op_prove_dead(w, n);
}

void op_rewind_timer(struct world *w, struct node *n)
{
    if (n->agent.op.stage == STAGE_STOP) {
        n->agent.op.stage = STAGE_STOP_AT_ONCE;
        pg_stop(w, n, false);
        op_timer(w, n, STOP_AT_ONCE_BUDGET_US);
        return;
    }
    pg_kill(w, n);
    prove(w, n);
}

void op_rewind_server_exited(struct world *w, struct node *n)
{
    if (n->agent.op.stage < STAGE_PROVE)
        prove(w, n);
}

void op_fill(struct world *w, struct node *n, const struct ha_decision *d)
{
    if (d->action == HA_CLONE) {
        op_begin(w, n, OP_CLONE, d);
        n->pg.copy_note = true;
        if (n->pg.dir_there || n->pg.half_copy) {
            op_in(w, n, MS, 1); /* it finds the directory in use */
            return;
        }
        n->pg.half_copy = true;
        op_in(w, n, rng_between(&w->rng, RNG_PG, 500 * MS, 6 * SEC), 0);
    } else if (d->action == HA_CHECK_REWIND) {
        op_begin(w, n, OP_CHECK_REWIND, d);
        op_in(w, n, rng_between(&w->rng, RNG_PG, 10 * MS, 200 * MS), 0);
    } else if (d->action == HA_REWIND) {
        op_begin(w, n, OP_REWIND, d);
        if (!n->agent.server_up) {
            prove(w, n);
            return;
        }
        n->agent.op.stage = STAGE_STOP;
        pg_stop(w, n, true);
        op_timer(w, n, STOP_BUDGET_US);
    } else {
        op_begin(w, n, OP_SET_ASIDE, d);
        set_aside(w, n);
    }
}

/* Neither a base backup nor pg_rewind brings slots along. */
void op_become_copy(struct node *n, const struct node *from)
{
    slots_forget(n);
    n->pg.way = from->pg.way;
    config_copied(n, from);
    n->pg.lsn = from->pg.lsn;
    n->pg.control = PG_CONTROL_IN_ARCHIVE_RECOVERY;
    pg_checkpointed(n);
}

static void cloned(struct world *w, struct node *n, const struct node *from)
{
    struct agent *a = &n->agent;

    if (from && n->pg.dir_there) {
        check_fail(w, "S8", "a copy overwrites the data directory of %s", node_name(n->id));
        return;
    }
    n->pg.copy_note = n->pg.half_copy = a->copy_incomplete = false;
    if (from) {
        n->pg.dir_there = true;
        op_become_copy(n, from);
        TRACE(w, n->id, "is a copy of %s now", node_name(from->id));
        a->memory.divergence = DIVERGENCE_UNKNOWN;
        a->memory.retry_clone_at_us = 0;
        a->memory.is_new_copy = true;
        a->memory.rewind_failed = false;
        a->memory.stopped_here = true;
        a->request.reinitialize = false;
    } else {
        a->memory.retry_clone_at_us = local_us(w, n) + CLONE_AGAIN_US;
        agent_wake_at(w, n, a->memory.retry_clone_at_us);
    }
    n->agent.control = (struct local_pg){0};
    op_end(w, n);
    gather_control(w, n);
}

/* A standby that is down is compared by its control file, which may be behind its WAL. */
static bool has_diverged(const struct world *w, const struct node *n, const struct node *from)
{
    bool by_control = !n->agent.server_up && n->pg.control == PG_CONTROL_IN_ARCHIVE_RECOVERY;

    return by_control ? !pg_is_behind(w, n->pg.control_way, n->pg.control_lsn, &from->pg)
                      : !pg_is_behind(w, n->pg.way, n->pg.lsn, &from->pg);
}

static void compared(struct world *w, struct node *n, const struct node *from)
{
    struct memory *m = &n->agent.memory;

    if (!from) {
        m->divergence = DIVERGENCE_UNKNOWN;
        m->retry_check_at_us = local_us(w, n) + CHECK_AGAIN_US;
        agent_wake_at(w, n, m->retry_check_at_us);
    } else {
        m->divergence = has_diverged(w, n, from) ? DIVERGENCE_FOUND : DIVERGENCE_NONE;
    }
    (void)snprintf(m->divergence_from, sizeof(m->divergence_from), "%s", n->agent.op.target);
    m->not_streaming_since_us = 0;
    op_end(w, n);
}

static void rewound(struct world *w, struct node *n, const struct node *from, bool good)
{
    struct agent *a = &n->agent;

    if (pg_alive(n)) {
        check_fail(w, "S8", "pg_rewind runs on %s below a running server", node_name(n->id));
        return;
    }
    if (from) {
        op_become_copy(n, from);
        TRACE(w, n->id, "is rewound to %s", node_name(from->id));
        a->memory.divergence = DIVERGENCE_NONE;
        a->rewind_incomplete = n->pg.half_rewound = n->pg.rewind_note = false;
    } else if (good && !n->pg.rewind_note) {
        a->memory.retry_check_at_us = local_us(w, n) + CHECK_AGAIN_US;
    } else {
        a->memory.rewind_failed = true;
        if (!n->pg.half_rewound)
            n->pg.rewind_note = a->rewind_incomplete = false;
    }
    n->agent.control = (struct local_pg){0};
    op_end(w, n);
    gather_control(w, n);
}

void op_fill_done(struct world *w, struct node *n, bool good)
{
    const struct node *from = good ? source(w, n) : NULL;

    if (n->agent.op.kind == OP_CLONE)
        cloned(w, n, from);
    else if (n->agent.op.kind == OP_CHECK_REWIND)
        compared(w, n, from);
    else if (n->agent.op.kind == OP_REWIND)
        rewound(w, n, from, good);
}

/* --- peers ----------------------------------------------------------------------------------------------------------
 */

static void round_ends(struct world *w, struct node *n)
{
    n->agent.peers_asked_at_us = n->agent.op.since_us;
    n->agent.peers_answered_at_us = local_us(w, n);
    op_end(w, n);
}

static void ask_peer(struct world *w, struct node *n, const char *name)
{
    struct agent *a = &n->agent;
    int id = node_of_name(name);
    struct node *peer = &w->nodes[id];
    struct peer *p = &a->peers[a->n_peers];

    for (size_t i = 0; i < a->n_peers; i++)
        if (strcmp(a->peers[i].name, name) == 0)
            return;
    if (id == n->id)
        return;
    *p = (struct peer){.failover_priority = 1};
    (void)snprintf(p->name, sizeof(p->name), "%s", name);
    a->peers_waiting++;
    if (peer->agent.alive && link_open(w, n->id, id))
        push_in(w, peer, EV_AGENT_PEER_ASKS, message_delay_us(w), peer->agent.gen, (uint64_t)n->id << 8 | a->n_peers,
                (uint64_t)n->agent.gen << 32 | a->op.gen);
    a->n_peers++;
}

void op_ask_peers(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    uint64_t timeout_us = w->policy.ttl_us / 5;

    op_begin(w, n, OP_ASK_PEERS, NULL);
    a->n_peers = a->peers_waiting = 0;
    for (size_t i = 0; i < a->cluster.n_members; i++)
        ask_peer(w, n, a->cluster.members[i].name);
    for (size_t i = 0; i < a->failsafe_list.n; i++)
        ask_peer(w, n, a->failsafe_list.items[i].name);
    for (size_t i = 0; i < a->known_list.n; i++)
        ask_peer(w, n, a->known_list.items[i].name);
    if (a->peers_waiting == 0) {
        round_ends(w, n);
        return;
    }
    op_timer(w, n, timeout_us > PEER_TIMEOUT_MAX_US ? PEER_TIMEOUT_MAX_US : timeout_us);
}

static uint64_t position_age_ms(const struct world *w, const struct node *n)
{
    if (n->agent.pg.replaying)
        return UINT32_MAX; /* not known */
    if (w->mutant == MUTANT_SYNC_OLD_VOTES || !n->agent.pg.valid)
        return 0;
    return (local_us(w, n) - n->agent.pg.answered_at_us) / MS + 1;
}

static bool has_nothing(const struct agent *a)
{
    return !a->server_up && ((a->bootstrap_incomplete && !a->bootstrap_made) || a->copy_incomplete ||
                             a->rewind_incomplete || (a->control.data_dir_known && a->control.data_dir_empty));
}

/* A peer says what its last probe found. */
static void answer_peer(struct world *w, struct node *n, const struct event *e)
{
    const struct agent *a = &n->agent;
    struct node *asker = &w->nodes[e->a >> 8];
    uint64_t facts = (e->a & 255) | (a->pg.valid ? 256U : 0U) | (a->pg.valid && !a->pg.in_recovery ? 512U : 0U) |
                     (storage_has_failed(&a->disk) ? 1024U : 0U) | (a->server_up && !a->pg.valid ? 2048U : 0U) |
                     (a->memory.promised_to[0] && a->memory.promised_until_us > local_us(w, n) ? 4096U : 0U) |
                     (a->memory.leader_seen ? 8192U : 0U) | (has_nothing(a) ? 16384U : 0U) |
                     (uint64_t)(a->pg.timeline & 0xffff) << 16 | position_age_ms(w, n) << 32;

    if (!link_open(w, n->id, asker->id) || asker->agent.gen != (uint32_t)(e->b >> 32))
        return;
    queue_push(&w->queue, (struct event){.at_us = w->now_us + message_delay_us(w),
                                         .planned_us = a->pg.lsn,
                                         .kind = EV_AGENT_PEER_ANSWERS,
                                         .node = asker->id,
                                         .gen = asker->agent.gen,
                                         .a = facts,
                                         .b = (uint32_t)e->b});
}

/* Who is not in the failsafe list must not lead, whatever it hears; the list is what the mutant does not look at. */
static bool is_deaf_stranger(const struct world *w, const struct node *n)
{
    return w->mutant == MUTANT_STRANGER_LEADS && w->store.data.failsafe && !(w->store.data.failsafe & 1U << n->id);
}

/* With e NULL the time is up for those who have not answered. */
void op_peer_answered(struct world *w, struct node *n, const struct event *e)
{
    struct agent *a = &n->agent;
    struct peer *p;

    if (e && e->kind == EV_AGENT_PEER_ASKS) {
        answer_peer(w, n, e);
        return;
    }
    if (a->op.kind != OP_ASK_PEERS || (e && e->b != a->op.gen))
        return;
    if (e) {
        p = &a->peers[e->a & 255];
        p->answered = !is_deaf_stranger(w, n);
        p->is_primary = e->a & 512;
        p->watchdog_failed = e->a & 1024;
        p->is_starting = e->a & 2048;
        p->failsafe_active = e->a & 4096;
        p->leader_seen = e->a & 8192;
        p->has_nothing = e->a & 16384;
        p->lsn = e->a & 256 && !p->is_primary ? e->planned_us : 0;
        p->timeline = (uint32_t)(e->a >> 16) & 0xffff;
        p->as_of_us = a->op.since_us > (e->a >> 32) * MS ? a->op.since_us - (e->a >> 32) * MS : 0;
        if (--a->peers_waiting)
            return;
    }
    round_ends(w, n);
}
