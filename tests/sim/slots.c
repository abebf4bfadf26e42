/*
 * Replication slots, as src/agent/slots.c and slot_copies.c: which there are on a node, decided by the product's
 * ha/slots.h. Here a slot is there or not; positions are not modelled, and what SQL does is done at once.
 */
#include <stdio.h>
#include <string.h>
#include "sim.h"

enum { STAGE_ASK = 1, STAGE_STOP, STAGE_STOP_AT_ONCE, STAGE_PROVE };
enum { STOP_BUDGET_US = 30000000, STOP_AT_ONCE_BUDGET_US = 5000000, COPY_PAUSE_US = 30000000 };

#define LOGICAL "logical"

static const struct slot_spec permanent = {.name = LOGICAL, .logical = true, .database = "db", .plugin = "plugin"};

void slots_fill_cluster(struct agent *a, const struct stored *s)
{
    struct cluster *c = &a->cluster;

    c->retain_slots = a->retain;
    c->n_retain_slots = 0;
    for (int i = 0; i < NODES; i++)
        if (s->status_retain & 1 << i)
            (void)snprintf(a->retain[c->n_retain_slots++].text, SLOT_NAME_SIZE, "%s", node_name(i));
    c->status_slots = a->status_slots;
    c->n_status_slots = s->status_logical;
    (void)snprintf(a->status_slots[0].name, SLOT_NAME_SIZE, LOGICAL);
    a->status_slots[0].lsn = 1;
}

uint8_t slots_retained(const struct agent *a)
{
    uint8_t retained = 0;

    for (size_t i = 0; i < a->n_seen; i++)
        retained |= (uint8_t)(1 << node_of_name(a->seen[i].name));
    return retained;
}

void slots_forget(struct node *n)
{
    n->pg.slots = 0;
    n->pg.logical = false;
}

static size_t list_slots(const struct node *n, struct slot *ret)
{
    size_t count = 0;

    for (int i = 0; i < NODES; i++) {
        if (!(n->pg.slots & 1 << i))
            continue;
        ret[count] = (struct slot){.physical = true, .restart_lsn = 1};
        (void)snprintf(ret[count++].name, SLOT_NAME_SIZE, "%s", node_name(i));
    }
    if (n->pg.logical) {
        ret[count] = (struct slot){.database = "db", .plugin = "plugin", .restart_lsn = 1, .confirmed_lsn = 1};
        (void)snprintf(ret[count++].name, SLOT_NAME_SIZE, LOGICAL);
    }
    return count;
}

/* The time after which what was read surely shows what is. */
static uint64_t stale_us(const struct world *w)
{
    return w->policy.ttl_us + 2 * w->policy.loop_wait_us + 2 * w->policy.retry_timeout_us;
}

/*
 * A slot goes that somebody may come back to: its member is there, and has been for longer than what this node has read
 * can be old; or everybody can read that it is to be kept, and it has not been gone for long enough.
 */
static void check_drop(struct world *w, const struct node *n, int member)
{
    const struct stored_member *m = &w->store.data.members[member];
    uint64_t ttl_us = w->policy.member_slots_ttl_us;
    bool is_there = m->exists && m->expires_us > store_now_us(w);

    if (!ttl_us && n->pg.phase != PG_PRIMARY)
        return; /* without time to keep them slots are where somebody streams */
    if (is_there && w->now_us - w->member_back_us[member] > stale_us(w))
        check_fail(w, "slots", "%s drops the slot of %s, which is there", node_name(n->id), node_name(member));
    if (!is_there && m->exists && w->store.data.status_retain & 1 << member &&
        w->now_us - w->retained_us[member] > stale_us(w) && store_now_us(w) - m->expires_us + stale_us(w) < ttl_us)
        check_fail(w, "slots", "%s drops the slot of %s, which is to be kept for longer", node_name(n->id),
                   node_name(member));
}

/* Nobody comes for it any more, and it would hold back WAL for ever. */
static void check_kept(struct world *w, const struct node *n)
{
    uint64_t after_us = w->policy.member_slots_ttl_us + 2 * w->policy.loop_wait_us + 2 * w->policy.retry_timeout_us;

    if (!n->agent.led || w->now_us - n->agent.led_since_us < after_us)
        return;
    for (int i = 0; i < NODES; i++) {
        const struct stored_member *m = &w->store.data.members[i];

        if (n->pg.slots & 1 << i && m->exists && store_now_us(w) > m->expires_us + after_us)
            check_fail(w, "slots", "%s keeps the slot of %s, which is gone for good", node_name(n->id), node_name(i));
    }
}

static void take_step(struct world *w, struct node *n, const struct slot_step *s)
{
    bool logical = strcmp(s->name, LOGICAL) == 0;
    uint8_t bit = (uint8_t)(logical ? 0 : 1 << node_of_name(s->name));

    switch (s->what) {
    case SLOT_CREATE:
        TRACE(w, n->id, "slot %s is created", s->name);
        n->pg.slots |= bit;
        n->pg.logical |= logical;
        break;
    case SLOT_DROP:
        TRACE(w, n->id, "slot %s is dropped", s->name);
        if (logical)
            check_fail(w, "slots", "%s drops the permanent slot", node_name(n->id));
        else
            check_drop(w, n, node_of_name(s->name));
        n->pg.slots &= (uint8_t)~bit;
        break;
    case SLOT_COPY:
        n->agent.slots_to_copy = true;
        break;
    case SLOT_ADVANCE:
    case SLOT_COMPLAIN:
        break;
    }
}

void slots_maintain(struct world *w, struct node *n, bool leads)
{
    struct agent *a = &n->agent;
    struct slot have[NODES + 1];
    struct slot_want want[3 * NODES + 1];
    struct slot_step steps[6 * NODES];
    struct slots_view v = {.name = node_name(n->id),
                           .tags = TAGS_DEFAULT,
                           .cluster = &a->cluster,
                           .leads = leads,
                           .use_slots = true,
                           .member_slots_ttl_us = w->policy.member_slots_ttl_us,
                           .now_us = local_us(w, n),
                           .position_lsn = 1,
                           .have = have,
                           .n_have = list_slots(n, have),
                           .permanent = &permanent,
                           .n_permanent = !w->has_remote, /* in a standby cluster there is none */
                           .standby_cluster = a->standby_cluster,
                           .seen = a->seen};
    size_t n_want, n_steps;

    if (!a->cluster_known || a->store_failed || a->cluster.read_sent_at_us < a->frozen_at_us)
        return;
    if (leads ? !a->cluster.leader.exists || node_of_name(a->cluster.leader.name) != n->id : !a->pg.in_recovery)
        return;
    if (!cluster_member(&a->cluster, node_name(n->id)) ||
        v.now_us - a->slots_looked_us > 2 * w->policy.loop_wait_us + 2 * w->policy.retry_timeout_us)
        a->slots_settled_us = v.now_us + 2 * w->policy.loop_wait_us + 2 * w->policy.retry_timeout_us;
    a->slots_looked_us = v.now_us;
    v.members_unsettled = v.now_us < a->slots_settled_us;
    a->n_seen = ha_slots_remember(&v, leads && !a->led, a->seen, a->n_seen, NODES);
    if (w->mutant == MUTANT_FORGET_ABSENT && leads)
        a->n_seen = 0;
    for (size_t i = 0; w->mutant == MUTANT_KEEP_ABSENT && i < a->n_seen; i++)
        a->seen[i].at_us = v.now_us;
    if (!a->led || v.members_unsettled)
        a->led_since_us = w->now_us;
    a->led = leads;
    v.n_seen = a->n_seen;
    a->slots_to_copy = false;
    n_want = ha_slots_wanted(&v, want, sizeof(want) / sizeof(want[0]));
    n_steps = ha_slots_steps(&v, want, n_want, steps, sizeof(steps) / sizeof(steps[0]));
    for (size_t i = 0; i < n_steps; i++)
        take_step(w, n, &steps[i]);
    check_kept(w, n);
}

/* Everybody keeps a slot for all who may follow next, and who may lead next has the logical one. */
bool slots_are_whole(const struct world *w)
{
    uint8_t all = (1 << NODES) - 1;

    for (int i = 0; i < NODES; i++) {
        const struct pg *p = &w->nodes[i].pg;

        if (!p->logical && !w->has_remote)
            return false;
        if ((w->policy.member_slots_ttl_us || w->store.data.leader == i) && (p->slots | 1 << i) != all)
            return false;
    }
    return true;
}

/* --- copying the logical slot ----------------------------------------------------------------------------------------
 */

static void finish(struct world *w, struct node *n)
{
    n->agent.copy_again_at_us = local_us(w, n) + COPY_PAUSE_US;
    n->agent.slots_to_copy = false;
    op_end(w, n);
    if (!n->agent.server_up)
        gather_control(w, n);
}

void op_copy_slots_proven(struct world *w, struct node *n)
{
    if (pg_alive(n))
        check_fail(w, "slots", "%s gets a slot below a running server", node_name(n->id));
    TRACE(w, n->id, "the logical slot is copied");
    n->pg.logical = true;
    finish(w, n);
}

void op_copy_slots(struct world *w, struct node *n, const struct ha_decision *d)
{
    op_begin(w, n, OP_COPY_SLOTS, d);
    n->agent.op.stage = STAGE_ASK;
    op_in(w, n, rng_between(&w->rng, RNG_PG, 5 * MS, 100 * MS), 0);
}

static void prove(struct world *w, struct node *n)
{
    n->agent.op.stage = STAGE_PROVE;
    op_prove_dead(w, n);
}

/* The leader has answered, or not. */
void op_copy_slots_asked(struct world *w, struct node *n)
{
    int leader = node_of_name(n->agent.op.target);

    if (!link_open(w, n->id, leader) || w->nodes[leader].pg.phase != PG_PRIMARY || !w->nodes[leader].pg.logical) {
        finish(w, n);
        return;
    }
    if (w->mutant == MUTANT_COPY_BELOW_SERVER) {
        op_copy_slots_proven(w, n);
        return;
    }
    n->agent.op.stage = STAGE_STOP;
    pg_stop(w, n, true);
    op_timer(w, n, STOP_BUDGET_US);
}

void op_copy_slots_server_exited(struct world *w, struct node *n)
{
    if (n->agent.op.stage == STAGE_ASK) {
        op_end(w, n);
        gather_control(w, n);
    } else if (n->agent.op.stage < STAGE_PROVE) {
        prove(w, n);
    }
}

void op_copy_slots_timer(struct world *w, struct node *n)
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
