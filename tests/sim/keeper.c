/*
 * The keeper of a node: fence/lease.c and fence/watchdog.c as they are, and the loop of fence/keeper.c around them in
 * short. What it does not model: settings, cgroups and /proc; a kill round here asks the model of PostgreSQL.
 */
#include "sim.h"
#include <string.h>
#include "base/clock.h"

#define BACKOFF_MIN_US (100 * MS)
#define BACKOFF_MAX_US (5 * SEC)
#define ROUND_US (10 * MS)
#define SLOW_ROUND_US (100 * MS)

enum { EXIT_CONFIG = 78 };

static void act_on_lease(struct world *w, struct node *n);

static void plan_turn(struct world *w, struct node *n, uint64_t at_us)
{
    uint64_t now_us = local_us(w, n), real_us = at_us > now_us ? real_of_local(n, at_us) : w->now_us;

    queue_push(&w->queue, (struct event){.at_us = real_us + rng_between(&w->rng, RNG_PROCESS, 5, 300),
                                         .kind = EV_KEEPER_TURN,
                                         .node = n->id,
                                         .gen = n->keeper.gen,
                                         .a = ++n->keeper.turn_gen});
}

/* pgtether-net: what it told the kernel last stays in force while it is stuck in a lock, and then the newest order. */
static void tell_kernel(struct world *w, struct node *n)
{
    struct lease_reach reach = lease_reach(&n->keeper.lease);
    uint64_t now_us = local_us(w, n);

    if (now_us < n->net_stuck_until_us)
        return;
    if (!w->healed && rng_chance(&w->rng, RNG_PROCESS, 1))
        n->net_stuck_until_us = now_us + rng_between(&w->rng, RNG_PROCESS, MS, w->policy.ttl_us);
    n->gate_until_us = w->mutant == MUTANT_GATE_FOR_EVER && reach.gate_until_us ? NEVER : reach.gate_until_us;
    n->address_until_us = reach.primary_until_us;
}

static enum keeper_result step(struct world *w, struct node *n, const struct lease_event *event)
{
    struct keeper *k = &n->keeper;
    enum keeper_state old = k->lease.state;
    bool old_whole_node = k->lease.whole_node;
    enum keeper_result result = lease_step(&k->lease, event, local_us(w, n));

    k->will = (struct will_model){.armed = k->lease.armed,
                                  .lease_id = k->lease.lease_id,
                                  .deadline_us = k->lease.deadline_us,
                                  .reset_us = k->lease.reset_us,
                                  .timeout_us = k->watchdog.timeout_us,
                                  .serve = k->lease.serve,
                                  .serve_until_us = k->lease.serve_until_us,
                                  .promised_until_us = k->lease.promised_until_us};
    tell_kernel(w, n);
    if (k->lease.state != old || k->lease.whole_node != old_whole_node) {
        k->next_round_us = 0;
        TRACE(w, n->id, "keeper: %s, %s", keeper_state_text(k->lease.state), k->lease.reason);
    }
    if (k->lease.whole_node && !old_whole_node && n->agent.alive) {
        n->agent.connected = false;
        push_in(w, n, EV_AGENT_DIES, rng_between(&w->rng, RNG_PROCESS, 100, 3 * MS), n->agent.gen, 0, 0);
    }
    return result;
}

/* Stuck no more: the newest order is carried out. */
static void unstick(struct world *w, struct node *n)
{
    if (n->net_stuck_until_us && local_us(w, n) >= n->net_stuck_until_us) {
        n->net_stuck_until_us = 0;
        tell_kernel(w, n);
    }
}

static bool kill_round(struct world *w, struct node *n, enum lease_kill what)
{
    bool gone;

    pg_kill(w, n);
    gone = w->mutant == MUTANT_POSTMASTER_IS_PRIMARY ? n->pg.phase == PG_DOWN : !pg_alive(n);
    /* A node that gives up no key leaves it to the kernel to end its leases. */
    if (what == LEASE_KILL_PRIMARY && w->mutant != MUTANT_FORGET_ADDRESS)
        gone = gone && (n->gate_until_us <= local_us(w, n) && n->address_until_us <= local_us(w, n));
    return gone && (what == LEASE_KILL_PRIMARY || !n->agent.alive);
}

static void kill_and_prove(struct world *w, struct node *n)
{
    const struct lease_event proven = {.type = LEASE_EVENT_PROVEN_DEAD};
    struct keeper *k = &n->keeper;
    uint64_t now_us = local_us(w, n);
    enum lease_kill what = lease_decide(&k->lease, now_us).kill;

    if (what == LEASE_KILL_NOTHING || now_us < k->next_round_us)
        return;
    if (kill_round(w, n, what)) {
        k->killing_since_us = 0;
        (void)step(w, n, &proven);
        return;
    }
    if (!k->killing_since_us)
        k->killing_since_us = now_us;
    k->next_round_us = now_us + (now_us - k->killing_since_us < SEC ? ROUND_US : SLOW_ROUND_US);
}

static uint64_t pet_at_us(const struct keeper *k)
{
    return k->watchdog.fd < 0 ? NEVER : k->watchdog.last_pet_us + k->watchdog.timeout_us / 3;
}

static void pet(struct world *w, struct node *n)
{
    struct keeper *k = &n->keeper;
    uint64_t now_us = local_us(w, n);

    if (now_us < pet_at_us(k))
        return;
    if (!lease_decide(&k->lease, now_us).may_pet && w->mutant != MUTANT_PET_ALWAYS)
        return;
    (void)watchdog_pet(&k->watchdog, NULL);
    if (!lease_decide(&k->lease, k->watchdog.last_pet_us).may_pet && w->mutant == MUTANT_NONE)
        (void)watchdog_start(&k->watchdog, SEC, NULL);
}

/* --- its agent ------------------------------------------------------------------------------------------------------
 */

static void start_agent_if_due(struct world *w, struct node *n)
{
    struct keeper *k = &n->keeper;
    uint64_t now_us = local_us(w, n);

    if (n->agent.alive || k->stopping || now_us < k->restart_agent_at_us ||
        lease_decide(&k->lease, now_us).kill != LEASE_KILL_NOTHING)
        return;
    k->restart_agent_at_us = NEVER;
    k->agent_started_us = now_us;
    agent_boot(w, n);
}

static void begin_end(struct world *w, struct node *n)
{
    const struct lease_event disarm = {.type = LEASE_EVENT_DISARM};

    n->keeper.stopping = n->keeper.finished = true;
    (void)step(w, n, &disarm);
}

static void agent_exited(struct world *w, struct node *n, int status)
{
    struct keeper *k = &n->keeper;
    uint64_t now_us = local_us(w, n);

    if (k->finished)
        return;
    if (status == 0 || status == EXIT_CONFIG || k->stopping) {
        begin_end(w, n);
        return;
    }
    if (w->mutant == MUTANT_FORGET_ON_RESTART)
        lease_init(&k->lease, w->watchdog_mode == WATCHDOG_MODE_REQUIRED);
    if (!k->agent_backoff_us || now_us - k->agent_started_us > 60 * SEC)
        k->agent_backoff_us = BACKOFF_MIN_US;
    k->restart_agent_at_us = now_us + k->agent_backoff_us;
    k->agent_backoff_us = k->agent_backoff_us * 2 > BACKOFF_MAX_US ? BACKOFF_MAX_US : k->agent_backoff_us * 2;
}

void keeper_terminate(struct world *w, struct node *n)
{
    if (!n->keeper.alive || n->keeper.stopping)
        return;
    TRACE(w, n->id, "the service is stopped");
    n->keeper.stopping = true;
    if (n->agent.alive)
        agent_stop(w, n);
    else
        begin_end(w, n);
    plan_turn(w, n, 0);
}

/* --- requests -------------------------------------------------------------------------------------------------------
 */

static enum keeper_result handle_arm(struct world *w, struct node *n, uint64_t lease_id, uint64_t deadline_us)
{
    struct keeper *k = &n->keeper;
    struct lease_event arm = {.type = LEASE_EVENT_ARM, .lease_id = lease_id, .deadline_us = deadline_us};
    uint64_t now_us = local_us(w, n), timeout_us;
    enum keeper_result result;

    if (k->lease.state == KEEPER_DISARMED && w->watchdog_mode != WATCHDOG_MODE_OFF) {
        timeout_us = watchdog_timeout_for(&k->watchdog, clock_rest_us(now_us, deadline_us));
        arm.reset_us = timeout_us > k->watchdog.settings.reset_us ? timeout_us : k->watchdog.settings.reset_us;
        result = lease_arm_result(&k->lease, &arm, now_us);
        if (result != KEEPER_OK)
            return result;
        if (watchdog_start(&k->watchdog, timeout_us, NULL) < 0)
            (void)watchdog_stop(&k->watchdog, NULL);
        arm.reset_us = watchdog_reset_us(&k->watchdog);
    }
    if (w->mutant == MUTANT_FENCE_IGNORES_R)
        arm.reset_us = arm.reset_us ? 1 : 0;
    return step(w, n, &arm);
}

/* How long what is said now is under way, after what was said before in `last_us`. */
static uint64_t in_order(struct world *w, uint64_t *last_us)
{
    uint64_t at_us = w->now_us + rng_between(&w->rng, RNG_PROCESS, 30, 500);

    *last_us = at_us > *last_us ? at_us : *last_us + 1;
    return *last_us - w->now_us;
}

static void asked(struct world *w, struct node *n, const struct event *e)
{
    struct keeper *k = &n->keeper;
    struct lease_event event = {.lease_id = e->a, .deadline_us = e->b};
    struct keeper_said *s = &k->said[k->n_said % 64];
    enum keeper_result result = KEEPER_OK;

    if (!n->agent.connected || n->agent.gen != e->gen)
        return;
    switch ((enum keeper_op)(e->slot & 255)) {
    case KEEPER_ARM:
        result = handle_arm(w, n, e->a, e->b);
        break;
    case KEEPER_RENEW:
        event.type = LEASE_EVENT_RENEW;
        result = step(w, n, &event);
        break;
    case KEEPER_DISARM:
        event.type = LEASE_EVENT_DISARM;
        (void)step(w, n, &event);
        kill_and_prove(w, n);
        break;
    case KEEPER_SERVE:
        event.type = LEASE_EVENT_SERVE;
        event.serve = (enum keeper_serve)((e->slot >> 8) - ASK_SERVE);
        result = step(w, n, &event);
        break;
    case KEEPER_POSTMASTER:
    case KEEPER_STATUS:
        break;
    }
    *s = (struct keeper_said){.state = k->lease.state,
                              .result = result,
                              .watchdog = k->watchdog.status,
                              .lease_id = k->lease.lease_id,
                              .deadline_us = k->lease.deadline_us,
                              .fence_at_us = k->lease.fence_at_us};
    push_in(w, n, EV_AGENT_KEEPER_ANSWERS, in_order(w, &k->said_us), n->agent.gen, k->n_said++ % 64, e->slot >> 8);
}

bool keeper_ask_model(struct world *w, struct node *n, enum keeper_op op, enum ask_for what, uint64_t lease_id,
                      uint64_t deadline_us)
{
    if (!n->agent.connected || n->agent.asked >= 16)
        return false;
    n->agent.asked++;
    queue_push(&w->queue, (struct event){.at_us = w->now_us + in_order(w, &n->keeper.heard_us),
                                         .kind = EV_KEEPER_ASKED,
                                         .node = n->id,
                                         .gen = n->agent.gen,
                                         .a = lease_id,
                                         .b = deadline_us,
                                         .slot = (uint16_t)(op | (what << 8))});
    return true;
}

/* --- its loop -------------------------------------------------------------------------------------------------------
 */

static void end(struct world *w, struct node *n)
{
    TRACE(w, n->id, "the keeper ends in order");
    (void)watchdog_stop(&n->keeper.watchdog, NULL);
    watchdog_abandon(&n->keeper.watchdog);
    n->keeper.alive = false;
    n->keeper.gen++;
    n->keeper.will = (struct will_model){0};
    push_in(w, n, EV_KEEPER_START, rng_between(&w->rng, RNG_FAULT, 500 * MS, 15 * SEC), n->boot, 0, 0);
}

static void act_on_lease(struct world *w, struct node *n)
{
    const struct lease_event tick = {.type = LEASE_EVENT_TICK};
    struct keeper *k = &n->keeper;
    struct lease_decision d;
    uint64_t now_us = local_us(w, n), at_us;

    unstick(w, n);
    (void)step(w, n, &tick);
    pet(w, n);
    kill_and_prove(w, n);
    if (k->watchdog.fd >= 0 && !k->watchdog.nowayout && lease_decide(&k->lease, now_us).may_stop_watchdog)
        (void)watchdog_stop(&k->watchdog, NULL);
    start_agent_if_due(w, n);
    if (k->finished && k->lease.state == KEEPER_DISARMED) {
        end(w, n);
        return;
    }
    d = lease_decide(&k->lease, now_us);
    at_us = d.next_at_us;
    if ((d.may_pet || w->mutant == MUTANT_PET_ALWAYS) && pet_at_us(k) < at_us)
        at_us = pet_at_us(k);
    if (d.kill != LEASE_KILL_NOTHING && k->next_round_us < at_us)
        at_us = k->next_round_us;
    else if (d.kill == LEASE_KILL_NOTHING && !n->agent.alive && !k->stopping && k->restart_agent_at_us < at_us)
        at_us = k->restart_agent_at_us;
    k->turn_gen++;
    if (at_us != NEVER)
        plan_turn(w, n, at_us);
}

static void take_over(struct world *w, struct node *n)
{
    const struct lease_event failed = {.type = LEASE_EVENT_WATCHDOG_FAILED};
    struct keeper *k = &n->keeper;
    struct will_model will = k->will;
    uint64_t now_us = local_us(w, n);
    bool was_reset;

    if (will.armed) {
        lease_resume(&k->lease, will.lease_id, will.deadline_us, will.reset_us, now_us);
        if (will.reset_us && lease_decide(&k->lease, now_us).may_pet) {
            if (watchdog_start(&k->watchdog, will.timeout_us, NULL) < 0)
                (void)step(w, n, &failed);
            else if (watchdog_reset_us(&k->watchdog) > k->lease.reset_us)
                lease_resume(&k->lease, will.lease_id, will.deadline_us, watchdog_reset_us(&k->watchdog), now_us);
        }
    }
    lease_resume_serve(&k->lease, will.serve, will.serve_until_us, will.promised_until_us);
    if (k->watchdog.fd < 0)
        (void)watchdog_probe(&k->watchdog, k->lease.state == KEEPER_DISARMED, &was_reset, NULL);
}

void keeper_boot(struct world *w, struct node *n)
{
    struct watchdog_settings settings = {.mode = w->watchdog_mode, .device = "/dev/watchdog"};
    struct keeper *k = &n->keeper;
    struct will_model will = k->will;

    device_enter(w, n);
    if (w->reset_factor > 1) {
        /* Who has measured a slow device sets both: the measured time is that of one timeout. */
        settings.timeout_us = w->policy.ttl_us < 20 * SEC ? SEC : 5 * SEC;
        settings.reset_us = settings.timeout_us * w->reset_factor;
    }
    *k = (struct keeper){.alive = true, .gen = k->gen + 1, .will = will};
    TRACE(w, n->id, "the keeper starts");
    if (n->agent.alive)
        agent_die(w, n, -1); /* never two agents */
    lease_init(&k->lease, w->watchdog_mode == WATCHDOG_MODE_REQUIRED);
    watchdog_init(&k->watchdog, &settings, &device_ops, n);
    take_over(w, n);
    act_on_lease(w, n);
}

void keeper_die(struct world *w, struct node *n)
{
    if (!n->keeper.alive)
        return;
    TRACE(w, n->id, "the keeper is killed");
    n->keeper.alive = false;
    n->keeper.gen++;
    if (n->agent.alive)
        push_in(w, n, EV_AGENT_KEEPER_GONE, rng_between(&w->rng, RNG_PROCESS, 50, 2 * MS), n->agent.gen, 0, 0);
    push_in(w, n, EV_KEEPER_START, rng_between(&w->rng, RNG_FAULT, 100 * MS, 4 * SEC), n->boot, 0, 0);
}

void keeper_event(struct world *w, struct node *n, const struct event *e)
{
    struct keeper *k = &n->keeper;

    device_enter(w, n);
    if (e->kind == EV_KEEPER_TURN && e->a != k->turn_gen)
        return;
    if (e->kind == EV_KEEPER_ASKED)
        asked(w, n, e);
    else if (e->kind == EV_KEEPER_AGENT_EXIT)
        agent_exited(w, n, (int)(int64_t)e->a);
    act_on_lease(w, n);
}
