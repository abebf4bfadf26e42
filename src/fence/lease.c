#include "fence/lease.h"
#include "base/clock.h"

void lease_init(struct lease *l, bool watchdog_required)
{
    *l = (struct lease){
        .state = KEEPER_DISARMED,
        .watchdog_required = watchdog_required,
        .reason = "no lease is armed",
    };
}

static uint64_t kill_budget_us(uint64_t rest_us)
{
    uint64_t budget_us = rest_us / 6;

    if (budget_us < LEASE_KILL_BUDGET_MIN_US)
        return LEASE_KILL_BUDGET_MIN_US;
    return budget_us > LEASE_KILL_BUDGET_MAX_US ? LEASE_KILL_BUDGET_MAX_US : budget_us;
}

/* S4 (b). Equality counts as too late: the pet happens after the clock was read. */
static bool pet_ends_in_time(const struct lease *l, uint64_t now_us)
{
    return clock_rest_us(now_us, l->deadline_us) > l->reset_us;
}

static void promise(struct lease *l, uint64_t until_us)
{
    if (l->promised_until_us < until_us)
        l->promised_until_us = until_us;
}

static void set_deadline(struct lease *l, uint64_t deadline_us, uint64_t now_us)
{
    uint64_t starve_at_us = clock_rest_us(l->reset_us, deadline_us);

    promise(l, deadline_us);
    l->deadline_us = deadline_us;
    l->fence_at_us = clock_rest_us(kill_budget_us(clock_rest_us(now_us, deadline_us)), starve_at_us);
}

static void begin_armed(struct lease *l, uint64_t lease_id, uint64_t deadline_us, uint64_t now_us)
{
    l->state = KEEPER_ARMED;
    l->armed = true;
    l->whole_node = false;
    l->unfenced = false;
    l->lease_id = lease_id;
    l->reason = "the lease is valid";
    set_deadline(l, deadline_us, now_us);
}

void lease_resume(struct lease *l, uint64_t lease_id, uint64_t deadline_us, uint64_t reset_us, uint64_t now_us)
{
    l->reset_us = reset_us;
    begin_armed(l, lease_id, deadline_us, now_us);
}

void lease_resume_serve(struct lease *l, uint64_t whom, uint64_t serve_until_us, uint64_t promised_until_us)
{
    promise(l, promised_until_us);
    if (l->state == KEEPER_ARMED ? whom != KEEPER_SERVE_PRIMARY
                                 : !keeper_serve_is_standby(whom) || serve_until_us > promised_until_us)
        return;
    l->serve = (enum keeper_serve)whom;
    l->serve_until_us = serve_until_us;
}

/* Does the deadline leave room for the whole ladder? R is compared, never added: it comes from a setting. */
static enum keeper_result room_result(uint64_t deadline_us, uint64_t reset_us, uint64_t now_us)
{
    uint64_t rest_us = clock_rest_us(now_us, deadline_us);

    if (rest_us > LEASE_MAX_US)
        return KEEPER_REFUSED_LEASE;
    if (rest_us <= reset_us || rest_us - reset_us < kill_budget_us(rest_us) + LEASE_MARGIN_US)
        return KEEPER_REFUSED_LATE;
    return KEEPER_OK;
}

static enum keeper_result renew_result(const struct lease *l, const struct lease_event *e, uint64_t now_us)
{
    if (l->state == KEEPER_DISARMED)
        return KEEPER_REFUSED_LEASE;
    if (l->unfenced)
        return KEEPER_REFUSED_WATCHDOG;
    if (l->state != KEEPER_ARMED)
        return KEEPER_REFUSED_STATE; /* the kill has begun: what it leaves behind must not be taken for a primary */
    if (e->lease_id != l->lease_id || e->deadline_us < l->deadline_us)
        return KEEPER_REFUSED_LEASE;
    return room_result(e->deadline_us, l->reset_us, now_us);
}

enum keeper_result lease_arm_result(const struct lease *l, const struct lease_event *e, uint64_t now_us)
{
    if (l->state != KEEPER_DISARMED)
        return renew_result(l, e, now_us); /* a new agent adopts the lease its predecessor had armed */
    if (l->watchdog_required && e->reset_us == 0)
        return KEEPER_REFUSED_WATCHDOG;
    /* The gate was opened for the standby that this was, until then; shortening that would have to be proven first. */
    if (l->promised_until_us > e->deadline_us)
        return KEEPER_REFUSED_LATE;
    return room_result(e->deadline_us, e->reset_us, now_us);
}

static enum keeper_result arm(struct lease *l, const struct lease_event *e, uint64_t now_us)
{
    enum keeper_result result = lease_arm_result(l, e, now_us);

    if (result != KEEPER_OK)
        return result;
    if (l->state == KEEPER_DISARMED) {
        l->reset_us = e->reset_us; /* while armed, R stays what the ladder was built on */
        l->serve = KEEPER_SERVE_NONE;
    }
    begin_armed(l, e->lease_id, e->deadline_us, now_us);
    return KEEPER_OK;
}

static enum keeper_result renew(struct lease *l, const struct lease_event *e, uint64_t now_us)
{
    enum keeper_result result = renew_result(l, e, now_us);

    if (result == KEEPER_OK)
        set_deadline(l, e->deadline_us, now_us);
    return result;
}

static enum keeper_result serve(struct lease *l, const struct lease_event *e, uint64_t now_us)
{
    switch (e->serve) {
    case KEEPER_SERVE_NONE:
        break;
    case KEEPER_SERVE_PRIMARY:
        if (l->state != KEEPER_ARMED || e->lease_id != l->lease_id)
            return KEEPER_REFUSED_STATE;
        break;
    case KEEPER_SERVE_STANDBY:
    case KEEPER_SERVE_REPLICA_ADDRESS:
    case KEEPER_SERVE_STANDBY_LEADER:
        if (l->state != KEEPER_DISARMED)
            return KEEPER_REFUSED_STATE;
        if (clock_rest_us(now_us, e->deadline_us) > LEASE_MAX_US)
            return KEEPER_REFUSED_LEASE;
        l->serve_until_us = e->deadline_us;
        promise(l, e->deadline_us);
        break;
    }
    l->serve = e->serve;
    return KEEPER_OK;
}

/* The lease goes on to its end: its rest is all the time that killing may take. */
static void begin_fencing(struct lease *l, enum fence_rung rung, const char *reason)
{
    l->serve = KEEPER_SERVE_NONE;
    l->state = KEEPER_FENCING;
    l->whole_node = rung == FENCE_RUNG_KILL;
    l->rung = rung;
    l->reason = reason;
}

static void disarm(struct lease *l)
{
    /* Also while nothing is armed: the answer DISARMED is a proof each time it is given. */
    if (l->state == KEEPER_DISARMED || l->state == KEEPER_ARMED)
        begin_fencing(l, FENCE_RUNG_DISARM, "the agent wants PostgreSQL proven dead");
}

static void proven_dead(struct lease *l, uint64_t now_us)
{
    if (l->state != KEEPER_FENCING && l->state != KEEPER_STARVING)
        return; /* nobody asked, and an armed lease ends only through DISARM or the ladder */
    if (!l->whole_node)
        l->promised_until_us = 0; /* this proof was also that everything is shut; of a node it is about processes */
    l->state = KEEPER_DISARMED;
    l->armed = false;
    l->whole_node = false;
    l->unfenced = false;
    l->deadline_us = 0;
    l->fence_at_us = 0;
    l->reset_us = 0;
    l->reason = "no lease is armed";
    l->fenced_at_us = now_us;
}

static void watchdog_failed(struct lease *l, uint64_t now_us)
{
    uint64_t patience_us = l->reset_us / 2;

    if (l->state != KEEPER_ARMED || !l->watchdog_required || l->unfenced)
        return;
    /* R stays: the device may still be counting, and fencing earlier than needed harms nobody. */
    l->unfenced = true;
    l->reason = "the watchdog failed: the agent is to hand leadership over";
    if (clock_rest_us(now_us, l->fence_at_us) > patience_us)
        l->fence_at_us = now_us + patience_us;
}

static void tick(struct lease *l, uint64_t now_us)
{
    if (!l->armed)
        return;
    if (!l->whole_node && now_us >= l->fence_at_us)
        begin_fencing(l, FENCE_RUNG_KILL, /* also when DISARM was killing: the agent had its time */
                      l->unfenced ? "the watchdog failed, and leadership was not handed over in time"
                                  : "the lease was not renewed in time");
    if (l->state == KEEPER_FENCING && !pet_ends_in_time(l, now_us)) {
        l->state = KEEPER_STARVING;
        l->whole_node = true;
        l->rung = FENCE_RUNG_STARVE;
        l->reason = "the primary could not be proven dead, and another pet would outlive the lease";
    }
}

enum keeper_result lease_step(struct lease *l, const struct lease_event *event, uint64_t now_us)
{
    enum keeper_result result = KEEPER_OK;

    switch (event->type) {
    case LEASE_EVENT_TICK:
        break;
    case LEASE_EVENT_ARM:
        result = arm(l, event, now_us);
        break;
    case LEASE_EVENT_RENEW:
        result = renew(l, event, now_us);
        break;
    case LEASE_EVENT_DISARM:
        disarm(l);
        break;
    case LEASE_EVENT_PROVEN_DEAD:
        proven_dead(l, now_us);
        break;
    case LEASE_EVENT_WATCHDOG_FAILED:
        watchdog_failed(l, now_us);
        break;
    case LEASE_EVENT_SERVE:
        result = serve(l, event, now_us);
        break;
    }
    tick(l, now_us); /* after the event: a renewal that waited in the socket comes before the end it prevents */
    return result;
}

struct lease_decision lease_decide(const struct lease *l, uint64_t now_us)
{
    struct lease_decision d = {.next_at_us = UINT64_MAX, .reason = l->reason};

    d.may_pet = !l->armed || (l->state != KEEPER_STARVING && pet_ends_in_time(l, now_us));
    switch (l->state) {
    case KEEPER_DISARMED:
        d.may_stop_watchdog = true;
        break;
    case KEEPER_ARMED:
        d.next_at_us = l->fence_at_us;
        break;
    case KEEPER_FENCING:
        d.kill = l->whole_node ? LEASE_KILL_NODE : LEASE_KILL_PRIMARY;
        if (l->armed)
            d.next_at_us = l->whole_node ? clock_rest_us(l->reset_us, l->deadline_us) : l->fence_at_us;
        break;
    case KEEPER_STARVING:
        d.kill = LEASE_KILL_NODE;
        break;
    }
    return d;
}

struct lease_reach lease_reach(const struct lease *l)
{
    if (l->state == KEEPER_ARMED) /* from the answer ARMED on, the standby may be a primary at any moment */
        return (struct lease_reach){.gate_until_us = l->deadline_us,
                                    .primary_until_us = l->serve == KEEPER_SERVE_PRIMARY ? l->deadline_us : 0};
    if (l->state != KEEPER_DISARMED || !keeper_serve_is_standby(l->serve))
        return (struct lease_reach){0};
    return (struct lease_reach){.gate_until_us = l->serve_until_us,
                                .primary_until_us = l->serve == KEEPER_SERVE_STANDBY_LEADER ? l->serve_until_us : 0,
                                .replica_until_us = l->serve == KEEPER_SERVE_REPLICA_ADDRESS ? l->serve_until_us : 0};
}
