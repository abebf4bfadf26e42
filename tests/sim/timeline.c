/* A number of its own for each timeline, reserved in the store before a promotion; as src/agent/timeline.c. */
#include "sim.h"

void timeline_note(struct agent *a)
{
    if (a->cluster.timeline.timeline > a->timeline.seen)
        a->timeline.seen = a->cluster.timeline.timeline;
}

static void write_number(struct world *w, struct node *n, uint32_t timeline)
{
    struct agent *a = &n->agent;
    struct call *c = store_call(w, n, CALL_TIMELINE, w->policy.retry_timeout_us);

    c->timeline = timeline;
    c->revision = a->cluster.timeline.revision;
    a->timeline.busy = true;
    a->timeline.asked = timeline;
    a->timeline.asked_session = a->lease.session;
    store_send(w, c);
}

static void reserved(struct world *w, struct node *n, bool yes)
{
    struct agent *a = &n->agent;

    a->op.waits_reserved = false;
    if (!yes) {
        op_end(w, n);
        gather_store(w, n);
        return;
    }
    a->op.is_reserved = true;
    if (a->op.is_armed)
        op_arm(w, n);
}

/* Those below our own number. */
static void skip(struct node *n)
{
    uint32_t last = n->agent.timeline.reserved - 1;

    if (last > n->agent.pg.timeline && last > n->pg.known_timeline)
        n->pg.known_timeline = last;
}

void timeline_answered(struct world *w, struct node *n, const struct call *c)
{
    struct agent *a = &n->agent;

    a->timeline.busy = false;
    if (c->outcome == OUTCOME_DONE) {
        a->timeline.reserved = a->timeline.asked;
        a->timeline.session = a->timeline.asked_session;
    }
    if (a->op.kind == OP_PROMOTE && a->op.waits_reserved && c->outcome == OUTCOME_DONE)
        skip(n);
    if (a->op.kind == OP_PROMOTE && a->op.waits_reserved)
        reserved(w, n, c->outcome == OUTCOME_DONE && a->timeline.session == a->lease.session);
}

void timeline_reserve(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    uint32_t taken = a->timeline.seen, ours = a->pg.timeline;

    if (w->mutant == MUTANT_ANY_TIMELINE) {
        a->op.is_reserved = true;
        return;
    }
    a->op.waits_reserved = true;
    if (a->timeline.busy)
        return;
    if (a->timeline.session == a->lease.session && a->timeline.reserved > ours) {
        skip(n);
        reserved(w, n, true);
        return;
    }
    write_number(w, n, (taken > ours ? taken : ours) + 1);
}

void timeline_publish(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    bool is_ours = a->timeline.session == a->lease.session && a->timeline.reserved >= a->pg.timeline;

    if (!is_ours && !a->timeline.busy && a->cluster_known && !a->store_failed &&
        a->cluster.timeline.timeline < a->pg.timeline)
        write_number(w, n, a->pg.timeline);
}
