/* One history: a world from a seed, its events one after the other, the rules after each of them. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "sim.h"

const char *const mutant_names[MUTANTS] = {
    [MUTANT_NONE] = "none",
    [MUTANT_DEADLINE_FROM_ANSWER] = "deadline-from-answer",
    [MUTANT_UNKNOWN_IS_CONFIRMATION] = "unknown-is-confirmation",
    [MUTANT_RELEASE_BEFORE_PROOF] = "release-before-proof",
    [MUTANT_PROMOTE_WITHOUT_ARM] = "promote-without-arm",
    [MUTANT_THAWED_ACTS] = "thawed-acts",
    [MUTANT_PET_ALWAYS] = "pet-always",
    [MUTANT_RETAKE_BY_NAME] = "retake-by-name",
    [MUTANT_FORGET_ON_RESTART] = "forget-on-restart",
    [MUTANT_POSTMASTER_IS_PRIMARY] = "postmaster-is-primary",
    [MUTANT_FENCE_IGNORES_R] = "fence-ignores-r",
    [MUTANT_GATE_FOR_EVER] = "gate-for-ever",
    [MUTANT_FORGET_ADDRESS] = "forget-address",
    [MUTANT_SYNC_ORDER] = "sync-order",
    [MUTANT_SYNC_UNSETTLED] = "sync-unsettled",
    [MUTANT_SYNC_CHECKPOINTER] = "sync-checkpointer",
    [MUTANT_SYNC_ANYBODY] = "sync-anybody",
    [MUTANT_SYNC_OLD_VOTES] = "sync-old-votes",
    [MUTANT_SYNC_UNSEALED] = "sync-unsealed",
    [MUTANT_FORGET_ABSENT] = "forget-absent",
    [MUTANT_KEEP_ABSENT] = "keep-absent",
    [MUTANT_COPY_BELOW_SERVER] = "copy-below-server",
    [MUTANT_SAY_TOO_EARLY] = "say-too-early",
    [MUTANT_TRUST_ANY_STATUS] = "trust-any-status",
    [MUTANT_START_AS_CONFIGURED] = "start-as-configured",
    [MUTANT_OFFER_AT_ONCE] = "offer-at-once",
    [MUTANT_CRASH_RAISES] = "crash-raises",
    [MUTANT_WAIT_FOR_ADOPTED] = "wait-for-adopted",
    [MUTANT_PROMOTE_UNASKED] = "promote-unasked",
    [MUTANT_UNMARK_ANY] = "unmark-any",
    [MUTANT_ANY_TIMELINE] = "any-timeline",
    [MUTANT_PROMISE_FROM_ANSWER] = "promise-from-answer",
    [MUTANT_PROMISE_ONE_MISSING] = "promise-one-missing",
    [MUTANT_PROMISE_FORGOTTEN] = "promise-forgotten",
    [MUTANT_STRANGER_LEADS] = "stranger-leads",
    [MUTANT_NEW_STORE_AT_ONCE] = "new-store-at-once",
    [MUTANT_CONTROL_TIMELINE] = "control-timeline",
    [MUTANT_OLD_VERDICT] = "old-verdict",
    [MUTANT_LEAD_WHO_IS_THERE] = "lead-who-is-there",
    [MUTANT_KEY_IS_A_LEADER] = "key-is-a-leader",
    [MUTANT_STANDBY_PROMOTES] = "standby-promotes",
    [MUTANT_KEY_BEFORE_ADDRESS] = "key-before-address",
};

/* --- trace ----------------------------------------------------------------------------------------------------------
 */

void trace_line(struct world *w, int node, const char *fmt, ...)
{
    char *line = w->trace[w->n_trace++ % TRACE_LINES];
    size_t size = sizeof(w->trace[0]);
    int used = snprintf(line, size, "%9.3f %-5s ", (double)w->now_us / 1e6, node == STORE ? "store" : node_name(node));
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line + used, size - (size_t)used, fmt, ap);
    va_end(ap);
    if (w->verbose)
        (void)printf("%s\n", line);
}

void world_print_trace(const struct world *w)
{
    unsigned n = w->n_trace < TRACE_LINES ? w->n_trace : TRACE_LINES;

    for (unsigned i = w->n_trace - n; i < w->n_trace; i++)
        (void)printf("    %s\n", w->trace[i % TRACE_LINES]);
}

/* --- making a world -------------------------------------------------------------------------------------------------
 */

static void choose_policy(struct world *w)
{
    static const uint64_t start_timeouts_us[] = {0, 5 * SEC, 300 * SEC};
    struct policy *p = &w->policy;

    *p = POLICY_DEFAULT;
    if (rng_chance(&w->rng, RNG_SETUP, 65)) {
        p->ttl_us = 5 * SEC;
        p->loop_wait_us = p->retry_timeout_us = SEC;
    }
    p->primary_start_timeout_us = start_timeouts_us[rng_between(&w->rng, RNG_SETUP, 0, 2)];
    p->use_pg_rewind = rng_chance(&w->rng, RNG_SETUP, 50);
    p->remove_data_directory_on_rewind_failure = true;
    p->remove_data_directory_on_diverged_timelines = !p->use_pg_rewind || rng_chance(&w->rng, RNG_SETUP, 50);
    p->member_slots_ttl_us = rng_chance(&w->rng, RNG_SETUP, 10) ? 0 : rng_between(&w->rng, RNG_SETUP, 3, 40) * SEC;
    p->failsafe_mode = rng_chance(&w->rng, RNG_SETUP, 50);
    w->watchdog_mode = (enum watchdog_mode)rng_between(&w->rng, RNG_SETUP, WATCHDOG_MODE_OFF, WATCHDOG_MODE_REQUIRED);
    w->gate = rng_chance(&w->rng, RNG_SETUP, 50);
    w->hooks = rng_chance(&w->rng, RNG_SETUP, 30);
    if (rng_chance(&w->rng, RNG_SYNC, 50)) {
        p->sync_mode = rng_chance(&w->rng, RNG_SYNC, 50) ? SYNC_MODE_QUORUM : SYNC_MODE_PRIORITY;
        p->sync_strict = rng_chance(&w->rng, RNG_SYNC, 50);
        p->sync_node_count = (unsigned)rng_between(&w->rng, RNG_SYNC, 1, 2);
    }
    w->reset_factor = rng_chance(&w->rng, RNG_SETUP, 25) ? 2 : 1;
}

static void make_node(struct world *w, uint8_t id, bool empty)
{
    struct node *n = &w->nodes[id];

    n->id = id;
    n->ppm = (int)rng_between(&w->rng, RNG_SETUP, 0, 1000) - 500;
    n->pg.follows = NOBODY;
    n->pg.dir_there = !empty;
    n->pg.lsn = 1000000;
    n->pg.control = PG_CONTROL_SHUT_DOWN_IN_RECOVERY;
    pg_checkpointed(n);
    host_boot(w, n);
}

static void make_world(struct world *w, uint64_t seed, uint64_t seconds, enum mutant mutant)
{
    bool tracing = w->tracing, verbose = w->verbose, empty;

    /* The trace and the events are large and need no zero. */
    w->queue.n = 0;
    w->queue.next_tie = 0;
    memset(&w->store, 0, sizeof(w->store));
    memset(w->nodes, 0, sizeof(w->nodes));
    memset(w->cut, 0, sizeof(w->cut));
    memset(w->member_gone_us, 0, sizeof(w->member_gone_us));
    memset(w->member_back_us, 0, sizeof(w->member_back_us));
    memset(w->retained_us, 0, sizeof(w->retained_us));
    w->seed = seed;
    w->mutant = mutant;
    w->now_us = w->steps = 0;
    w->n_trace = 0;
    w->loss_percent = 0;
    w->slow_us = w->handed_lsn = w->primary_seen_us = w->unfollowed_us = w->n_delayed = 0;
    w->wanted_max = 0;
    w->healed = w->done = false;
    w->broken = NULL;
    w->tracing = tracing;
    w->verbose = verbose;
    rng_init(&w->rng, seed);
    choose_policy(w);
    w->heal_at_us = rng_between(&w->rng, RNG_SETUP, seconds * SEC / 2, seconds * SEC);
    w->end_us = w->heal_at_us + 6 * w->policy.ttl_us + 120 * SEC;
    w->timelines[0] = (struct timeline){.number = 1};
    w->n_timelines = 1;
    w->acked_way = 0;
    w->acked_lsn = 0;
    w->cluster_made = false;
    store_init(w);
    empty = rng_chance(&w->rng, RNG_SETUP, 5);
    w->store.data.initialize_exists = !empty;
    w->store.data.initialize_revision = 1;
    w->store.data.sysid = pg_sysid(w, &w->nodes[0]);
    for (uint8_t i = 0; i < NODES; i++)
        make_node(w, i, empty);
    standby_plan(w, empty);
    faults_plan(w);
    config_plan(w);
}

/* --- running it -----------------------------------------------------------------------------------------------------
 */

/* A frozen process gets what has waited in an order nobody promised; what waited in one socket in its own. */
static void delay_event(struct world *w, struct event e, uint64_t thaw_at_us)
{
    bool is_said = e.kind == EV_AGENT_KEEPER_ANSWERS || e.kind == EV_KEEPER_ASKED;
    uint32_t place = (uint32_t)(thaw_at_us * 2654435761U) & 0x3fffffff;

    e.at_us = thaw_at_us;
    e.tie = 1 + (is_said ? place + w->n_delayed++ % 65536 : (uint32_t)(rng_next(&w->rng, RNG_PROCESS) & 0x7fffffff));
    queue_push(&w->queue, e);
}

static bool is_call_event(const struct event *e)
{
    return e->kind == EV_AGENT_STORE_ANSWERS || e->kind == EV_AGENT_STORE_TIMEOUT;
}

static void thaw_agent(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    /* Shorter ones hide between two ticks, and are harmless: a read is only good for as long (gather.c). */
    if (w->now_us - a->freeze_at_us > 3 * SEC)
        a->stood_still_until_us = local_us(w, n);
    TRACE(w, n->id, "the agent thaws");
    a->well_since_us = w->now_us;
    a->thaw_at_us = 0;
}

static void to_agent(struct world *w, struct node *n, const struct event *e)
{
    struct agent *a = &n->agent;

    if (a->alive && e->gen == a->gen) {
        if (a->thaw_at_us > w->now_us) {
            delay_event(w, *e, a->thaw_at_us);
            return;
        }
        if (a->thaw_at_us)
            thaw_agent(w, n);
        agent_event(w, n, e);
    }
    if (is_call_event(e))
        store_unref(&w->store.calls[e->slot]);
}

static void to_keeper(struct world *w, struct node *n, const struct event *e)
{
    struct keeper *k = &n->keeper;

    /* Questions are those of an agent, whatever keeper there is. */
    if (!k->alive || e->gen != (e->kind == EV_KEEPER_ASKED ? n->agent.gen : k->gen))
        return;
    if (k->thaw_at_us > w->now_us) {
        delay_event(w, *e, k->thaw_at_us);
        return;
    }
    if (k->thaw_at_us)
        TRACE(w, n->id, "the keeper thaws");
    k->thaw_at_us = 0;
    keeper_event(w, n, e);
}

static void to_host(struct world *w, struct node *n, const struct event *e)
{
    switch (e->kind) {
    case EV_HOST_BOOT:
        if (!n->up && e->gen == n->boot)
            host_boot(w, n);
        break;
    case EV_KEEPER_START:
        if (n->up && !n->keeper.alive && e->gen == n->boot)
            keeper_boot(w, n);
        break;
    case EV_AGENT_DIES:
        if (n->up && e->gen == n->agent.gen)
            agent_die(w, n, -1);
        break;
    case EV_WATCHDOG_RESET:
        if (n->up && e->gen == n->device.gen)
            device_due(w, n);
        break;
    default:
        if (n->up)
            pg_event(w, n, e);
        break;
    }
}

static void look(struct world *w)
{
    if (check_liveness(w)) {
        TRACE(w, STORE, "one primary, all others stream from it");
        w->done = true;
        return;
    }
    queue_push(&w->queue, (struct event){.at_us = w->now_us + SEC, .kind = EV_LOOK});
}

static void dispatch(struct world *w, const struct event *e)
{
    struct node *n = &w->nodes[e->node];

    if (e->kind <= EV_AGENT_WATCH)
        to_agent(w, n, e);
    else if (e->kind <= EV_KEEPER_AGENT_EXIT)
        to_keeper(w, n, e);
    else if (e->kind <= EV_PG_ORPHAN_ENDS)
        to_host(w, n, e);
    else if (e->kind <= EV_STORE_BACK)
        store_event(w, e);
    else if (e->kind == EV_LOOK)
        look(w);
    else
        faults_event(w, e);
}

/* A directory that a copy or a rewind has not finished with, or whose end was not noted, is not started. */
static bool has_something(const struct pg *p)
{
    return p->dir_there && !p->half_copy && !p->half_rewound && !p->copy_note && !p->rewind_note;
}

/*
 * Who had all that there was, of all members, set it aside for the other cluster, which is not to be followed now; or
 * the store no longer knows that there was a cluster, and an operator has to say that another one may be made.
 */
static bool nobody_has_anything(const struct world *w)
{
    for (int i = 0; i < NODES; i++)
        if (has_something(&w->nodes[i].pg))
            return false;
    return w->has_remote && (!w->store.data.standby_cluster || w->store.data.life > 1);
}

/* ARCHITECTURE.md names these states, in which nobody is elected before an operator says who. */
static bool needs_an_operator(const struct world *w)
{
    /* Who was taken off the failsafe list may have the only copy, when the others were cut off in a rewind. */
    if (w->has_remote && w->policy.failsafe_mode)
        return true;
    /* An older /sync: who has seen another one since does not go by it, who was started since does. */
    if (w->policy.sync_mode != SYNC_MODE_OFF && w->store.data.life > 1)
        return true;
    return nobody_has_anything(w);
}

void world_run(struct world *w, uint64_t seed, uint64_t seconds, enum mutant mutant)
{
    struct event e;

    make_world(w, seed, seconds, mutant);
    while (!w->broken && !w->done && queue_pop(&w->queue, &e)) {
        if (e.at_us > w->end_us && needs_an_operator(w))
            break;
        if (e.at_us > w->end_us) {
            check_fail(w, "liveness", "the cluster is not whole %llu s after everything has healed",
                       (unsigned long long)((w->end_us - w->heal_at_us) / SEC));
            break;
        }
        w->now_us = e.at_us;
        w->steps++;
        pg_flow(w);
        sync_flow(w);
        check_before(w);
        dispatch(w, &e);
        check_after(w);
    }
    if (w->broken)
        TRACE(w, STORE, "VIOLATION of %s: %s", w->broken, w->detail);
}
