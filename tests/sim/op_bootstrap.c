/* Making a new cluster: initialize key, initdb, leader key, arm, start, roles; as src/agent/op_bootstrap.c. */
#include <stdlib.h>
#include "sim.h"

enum { STAGE_RACE = 1, STAGE_INITDB, STAGE_GIVE_UP, STAGE_LEADER, STAGE_ARM, STAGE_START, STAGE_ROLES, STAGE_UNMARK };
enum { PROBE_AGAIN_US = 100000, RACE_AGAIN_US = 1000000, AGAIN_AFTER_US = 10000000 };

static struct call *initialize(struct world *w, struct node *n, bool delete, uint64_t revision)
{
    struct call *c = store_call(w, n, CALL_INITIALIZE, w->policy.retry_timeout_us);

    c->delete = delete;
    c->revision = revision;
    store_send(w, c);
    return c;
}

void op_bootstrap(struct world *w, struct node *n, const struct ha_decision *d)
{
    op_begin(w, n, OP_BOOTSTRAP, d);
    n->agent.op.stage = STAGE_RACE;
    (void)initialize(w, n, false, 0);
}

void op_bootstrap_failed(struct world *w, struct node *n)
{
    const struct ha_decision d = {.action = HA_DEMOTE, .urgency = HA_AT_ONCE, .release = true};
    struct agent *a = &n->agent;

    TRACE(w, n->id, "agent: the bootstrap failed");
    a->memory.no_race_until_us = local_us(w, n) + AGAIN_AFTER_US;
    if (a->op.stage <= STAGE_INITDB && a->initialize_revision) {
        a->op.stage = STAGE_GIVE_UP;
        (void)initialize(w, n, true, a->initialize_revision);
        return;
    }
    op_demote(w, n, &d);
}

static void race_answered(struct world *w, struct node *n, const struct call *c)
{
    if (c->outcome != OUTCOME_DONE) {
        if (c->outcome == OUTCOME_UNKNOWN)
            n->agent.memory.no_race_until_us = local_us(w, n) + RACE_AGAIN_US;
        op_end(w, n);
        gather_store(w, n);
        return;
    }
    n->agent.initialize_revision = c->revision;
    n->agent.op.stage = STAGE_INITDB;
    if (n->agent.standby_cluster) {
        standby_copy(w, n);
        return;
    }
    op_in(w, n, rng_between(&w->rng, RNG_PG, 500 * MS, 3 * SEC), 0);
}

void bootstrap_note_finished(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    const struct text_key *key = &a->cluster.initialize;

    if (!a->bootstrap_incomplete || a->op.kind == OP_BOOTSTRAP || !(a->pg.valid || a->control.control_known) ||
        !a->cluster_known || !key->exists || strtoull(key->text, NULL, 10) != pg_sysid(w, n))
        return;
    n->pg.marker = a->bootstrap_incomplete = n->pg.made = a->bootstrap_made = false;
}

static void given_up(struct world *w, struct node *n, const struct call *c)
{
    n->agent.memory.mark_may_be_ours = c->outcome == OUTCOME_UNKNOWN;
    op_end(w, n);
}

static void mark_removed(struct world *w, struct node *n, const struct call *c)
{
    const struct ha_decision d = {.action = HA_ABANDON_BOOTSTRAP};

    if (c->outcome == OUTCOME_DONE) {
        n->agent.memory.mark_may_be_ours = false;
        op_fill(w, n, &d);
        return;
    }
    op_end(w, n);
    gather_store(w, n);
}

void op_bootstrap_answered(struct world *w, struct node *n, struct call *c)
{
    struct agent *a = &n->agent;

    if (c->kind == CALL_INITIALIZE && !c->delete)
        a->memory.mark_may_be_ours = c->outcome != OUTCOME_REFUSED;
    if (a->op.kind == OP_SET_ASIDE && a->op.stage == STAGE_UNMARK && c->delete)
        mark_removed(w, n, c);
    else if (a->op.kind == OP_BOOTSTRAP && a->op.stage == STAGE_GIVE_UP && c->delete)
        given_up(w, n, c);
    if (a->op.kind != OP_BOOTSTRAP || c->delete)
        return;
    if (c->kind == CALL_INITIALIZE && a->op.stage == STAGE_RACE)
        race_answered(w, n, c);
    if (c->kind != CALL_ACQUIRE || a->op.stage != STAGE_LEADER)
        return;
    if (c->outcome != OUTCOME_DONE) {
        op_bootstrap_failed(w, n);
        return;
    }
    tether_keep(w, n, c);
    a->op.stage = STAGE_ARM;
    op_arm(w, n);
}

static void initdb_done(struct world *w, struct node *n)
{
    if (n->pg.dir_there) {
        check_fail(w, "S8", "initdb on %s finds a cluster in the data directory", node_name(n->id));
        return;
    }
    n->pg.dir_there = n->pg.marker = n->agent.bootstrap_incomplete = true;
    n->pg.made = n->agent.bootstrap_made = false;
    n->pg.marker_revision = n->agent.initialize_revision;
    n->pg.way = (uint16_t)w->n_timelines;
    w->timelines[w->n_timelines++] = (struct timeline){.number = 1};
    n->pg.lsn = 1000000;
    n->pg.control = PG_CONTROL_SHUT_DOWN;
    pg_checkpointed(n);
    n->agent.op.stage = STAGE_LEADER;
    tether_acquire(w, n);
}

void op_bootstrap_done(struct world *w, struct node *n)
{
    if (n->agent.op.stage == STAGE_INITDB && n->agent.op.copies) {
        standby_copied(w, n);
    } else if (n->agent.op.stage == STAGE_INITDB) {
        initdb_done(w, n);
    } else if (n->agent.op.stage == STAGE_ROLES) {
        n->pg.made = n->agent.bootstrap_made = true;
        op_end(w, n);
        gather_store(w, n);
    }
}

void op_bootstrap_armed(struct world *w, struct node *n, bool armed)
{
    struct agent *a = &n->agent;

    sync_write_files(w, n);
    if (!armed || !pg_start(w, n, true)) {
        op_bootstrap_failed(w, n);
        return;
    }
    a->op.stage = STAGE_START;
    a->server_up = true;
    a->pg_started_at_us = local_us(w, n);
    a->was_standby_started = false;
    gather_forget_pg(n);
    n->pg.follows = a->follows = NOBODY;
    op_timer(w, n, PROBE_AGAIN_US);
}

void op_bootstrap_pg_changed(struct world *w, struct node *n)
{
    if (n->agent.op.stage != STAGE_START)
        return;
    if (!n->agent.pg.valid) {
        op_timer(w, n, PROBE_AGAIN_US);
        return;
    }
    n->agent.op.stage = STAGE_ROLES;
    op_in(w, n, rng_between(&w->rng, RNG_PG, 50 * MS, 300 * MS), 0);
}

void op_abandon_bootstrap(struct world *w, struct node *n, const struct ha_decision *d)
{
    struct agent *a = &n->agent;
    const struct text_key *key = a->cluster_known ? &a->cluster.initialize : NULL;

    if (!key || !key->exists || cluster_sysid_is_valid(key->text) ||
        (key->revision != n->pg.marker_revision && w->mutant != MUTANT_UNMARK_ANY)) {
        op_fill(w, n, d);
        return;
    }
    op_begin(w, n, OP_SET_ASIDE, d);
    a->op.stage = STAGE_UNMARK;
    (void)initialize(w, n, true, key->revision);
}
