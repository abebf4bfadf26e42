/*
 * What an operator's programs are told, and when (facts sheet 8.4): PostgreSQL answers, was stopped, has another role,
 * has read its files again. The reference's order: whoever was a primary and comes back as a replica has changed its
 * role and not been started.
 */
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

enum { LINGER_US = 5000000, PRE_PROMOTE_US = 60000000 };

static bool was_leader(const struct agent *a)
{
    return text_equal(a->hooks.told, "primary") || text_equal(a->hooks.told, "demoted");
}

static void tell(struct agent *a, enum hook what, const char *role)
{
    if (what != HOOK_ON_RELOAD)
        a->hooks.told = role;
    hook_tell(a->hooks.runs, what, role);
}

/* The words of the member key, which are static. */
static const char *role_of(struct agent *a)
{
    enum pg_state state;
    enum pg_role role;

    publish_state(a, &state, &role);
    return pg_role_text(role);
}

void hooks_started(struct agent *a)
{
    bool leads = agent_is_primary(a);
    enum hook what = a->hooks.restarts ? HOOK_ON_RESTART : HOOK_ON_START;

    if (was_leader(a) && !leads)
        what = HOOK_ON_ROLE_CHANGE;
    a->hooks.restarts = false;
    tell(a, what, role_of(a));
}

void hooks_promoted(struct agent *a)
{
    tell(a, HOOK_ON_ROLE_CHANGE, pg_role_text(PG_ROLE_PRIMARY));
}

/* During a bootstrap nothing is told; neither is the end of a server that nobody here has heard of. */
void hooks_stopped(struct agent *a)
{
    const char *role = a->hooks.told;

    if (!role || a->hooks.restarts)
        return;
    if (was_leader(a) && !a->stopping)
        role = pg_role_text(PG_ROLE_DEMOTED);
    tell(a, HOOK_ON_STOP, role);
}

void hooks_lost(struct agent *a)
{
    if (text_equal(a->hooks.told, "primary"))
        tell(a, HOOK_ON_ROLE_CHANGE, pg_role_text(PG_ROLE_DEMOTED));
}

void hooks_reloaded(struct agent *a)
{
    if (a->hooks.told && pg_server_pid(a->server))
        tell(a, HOOK_ON_RELOAD, role_of(a));
}

void hooks_note_role(struct agent *a)
{
    const char *replica = pg_role_text(PG_ROLE_REPLICA), *leader = pg_role_text(PG_ROLE_STANDBY_LEADER);
    const char *now = role_of(a);

    if (!a->pg.valid || a->op.kind != OP_NONE || !a->hooks.told || text_equal(now, a->hooks.told))
        return;
    if ((text_equal(now, leader) && text_equal(a->hooks.told, replica)) ||
        (text_equal(now, replica) && text_equal(a->hooks.told, leader)))
        tell(a, HOOK_ON_ROLE_CHANGE, now);
}

bool hooks_linger(struct agent *a)
{
    uint64_t now_us = clock_now_us();

    if (!hook_is_telling(a->hooks.runs))
        return false;
    if (!a->hooks.linger_until_us)
        a->hooks.linger_until_us = now_us + LINGER_US;
    return now_us < a->hooks.linger_until_us;
}

/* --- pre_promote --- */

/* Nothing was armed for it, so nothing has to be proven dead: it goes on as the standby it is. */
static void give_up(struct agent *a)
{
    const struct ha_decision release = {.action = HA_RELEASE, .urgency = HA_AT_ONCE, .release = true};

    log_error("pre_promote did not agree: giving the leader key up and staying out of the election for a ttl");
    a->memory.no_race_until_us = clock_now_us() + a->dynamic->policy.ttl_us;
    op_release(a, &release);
}

static void on_pre_promote(void *userdata, bool good)
{
    struct agent *a = userdata;

    if (a->op.kind != OP_PROMOTE)
        return;
    if (!good) {
        give_up(a);
        return;
    }
    /* What the decision was made of is old by now: it is made again. */
    a->hooks.agreed_session = a->lease.session;
    op_end(a);
    gather_store(a);
}

bool hooks_pre_promote(struct agent *a)
{
    uint64_t timeout_us = a->dynamic->policy.primary_start_timeout_us;

    if (a->hooks.agreed_session == a->lease.session)
        return false;
    if (!timeout_us || timeout_us > PRE_PROMOTE_US)
        timeout_us = PRE_PROMOTE_US;
    return hook_wait(a->hooks.runs, HOOK_PRE_PROMOTE, timeout_us, on_pre_promote, a);
}
