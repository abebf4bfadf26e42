/*
 * The tether: our lease on the leader key and what the keeper is told of it. The deadline only ever moves through a
 * confirmed acquire or renewal and counts from the instant before the request was sent (S1).
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"

enum { RENEW_RETRY_US = 100000 };

static int on_renew_timer(sd_event_source *source, uint64_t planned_us, void *userdata);

static void renew_at(struct agent *a, uint64_t at_us)
{
    if (loop_timer_at(a->loop, &a->renew_timer, at_us, on_renew_timer, a) < 0)
        log_error("could not arm the renewal timer");
    else
        (void)sd_event_source_set_priority(a->renew_timer, SD_EVENT_PRIORITY_IMPORTANT);
}

void tether_renew_soon(struct agent *a)
{
    if (a->lease.held && !a->renewing)
        renew_at(a, clock_now_us());
}

static void keep_confirmation(struct agent *a, const struct dcs_answer *answer)
{
    uint64_t ttl_us = answer->ttl_us < a->dynamic->policy.ttl_us ? answer->ttl_us : a->dynamic->policy.ttl_us;
    uint64_t deadline_us = ha_lease_deadline_us(answer->sent_at_us, ttl_us);

    a->lease.held = true;
    a->lease.session = answer->session;
    a->lease.confirmed_at_us = answer->sent_at_us;
    if (deadline_us > a->lease.deadline_us)
        a->lease.deadline_us = deadline_us;
    if (a->lease_unknown_logged)
        log_info("the lease is renewed again");
    a->lease_unknown_logged = false;
}

void tether_lost(struct agent *a, const char *why)
{
    if (!a->lease.held)
        return;
    log_warning("lost the leader key: %s", why);
    a->lease.held = false;
    loop_timer_off(a->renew_timer);
}

static void tell_keeper_renewed(struct agent *a)
{
    const struct keeper_answer *last = keeper_link_last(a->link);
    struct err err = {0};

    if (last->state != KEEPER_ARMED || last->lease_id != a->lease.session)
        return;
    if (keeper_link_ask(a->link, KEEPER_RENEW, a->lease.session, a->lease.deadline_us, 0, -1, NULL, NULL, &err) < 0)
        log_error("could not tell the keeper of the renewed lease: %s", err.msg);
}

void tether_prolong(struct agent *a, uint64_t deadline_us)
{
    if (!a->lease.held || deadline_us <= a->lease.deadline_us)
        return;
    a->lease.deadline_us = deadline_us;
    tell_keeper_renewed(a);
    agent_wake(a);
}

/* --- a key that is gone ----------------------------------------------------------------------------------------------
 *
 * Deleted by hand, lost with the store's memory, or run out while the others' promises held our lease: until the
 * deadline nobody else can have led by the rules, so the key is created again under the lease the keeper is armed for.
 * Whoever was faster has it. The deadline moves only through the renewal that follows.
 */

static bool may_reclaim(const struct agent *a)
{
    const struct keeper_answer *last = keeper_link_last(a->link);

    return clock_now_us() < a->lease.deadline_us && a->op.kind != OP_DEMOTE && !a->stopping &&
           last->state == KEEPER_ARMED && last->lease_id == a->lease.session;
}

static void on_reclaimed(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    if (!a->lease.held || answer->session != a->lease.session)
        return;
    a->renewing = false;
    switch (answer->outcome) {
    case DCS_DONE:
        log_warning("wrote the leader key again, which was gone although the lease had not run out");
        renew_at(a, clock_now_us());
        gather_store(a);
        return;
    case DCS_REFUSED:
        tether_lost(a, answer->err.msg);
        break;
    case DCS_UNKNOWN:
        renew_at(a, clock_now_us() + RENEW_RETRY_US);
        break;
    }
    agent_wake(a);
}

static uint64_t renew_budget_us(const struct agent *a, uint64_t now_us)
{
    uint64_t budget_us = a->dynamic->policy.retry_timeout_us;

    if (budget_us > a->dynamic->policy.ttl_us / 3)
        budget_us = a->dynamic->policy.ttl_us / 3;
    return budget_us > a->lease.deadline_us - now_us ? a->lease.deadline_us - now_us : budget_us;
}

static void reclaim(struct agent *a)
{
    uint64_t now_us = clock_now_us();

    a->renewing = true;
    a->dcs->ops->reclaim_leader(a->dcs, a->config->name, a->lease.session, a->dynamic->policy.ttl_us,
                                now_us + renew_budget_us(a, now_us), on_reclaimed, a);
}

static void on_renewed(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;
    uint64_t now_us = clock_now_us();

    /* A late answer for a lease given up meanwhile: neither a confirmation nor a loss of the one held now (S1). */
    if (!a->lease.held || answer->session != a->lease.session)
        return;
    a->renewing = false;
    switch (answer->outcome) {
    case DCS_DONE:
        keep_confirmation(a, answer);
        failsafe_store_answers(a, answer->store_life);
        tell_keeper_renewed(a);
        renew_at(a, answer->sent_at_us + ha_renew_interval_us(&a->dynamic->policy));
        return;
    case DCS_REFUSED:
        if (answer->err.code == -ENOENT && may_reclaim(a)) {
            reclaim(a);
            return;
        }
        tether_lost(a, answer->err.msg);
        agent_wake(a);
        return;
    case DCS_UNKNOWN:
        break;
    }
    failsafe_store_is_silent(a);
    if (!a->lease_unknown_logged)
        log_warning("could not renew the lease, %" PRIu64 " ms left: %s",
                    clock_rest_us(now_us, a->lease.deadline_us) / 1000, answer->err.msg);
    a->lease_unknown_logged = true;
    renew_at(a, now_us + RENEW_RETRY_US);
    agent_wake(a);
}

static int on_renew_timer(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;
    uint64_t now_us = clock_now_us();

    (void)source;
    agent_note_lateness(a, planned_us);
    /* Without a keeper nobody would fence us: the lease is left to run out (DESIGN section 2). */
    if (!a->lease.held || a->renewing || !keeper_link_connected(a->link))
        return 0;
    if (now_us >= a->lease.deadline_us) {
        tether_lost(a, "it ran out before it could be renewed");
        agent_wake(a);
        return 0;
    }
    a->renewing = true;
    a->dcs->ops->renew_leader(a->dcs, a->config->name, a->lease.session, now_us + renew_budget_us(a, now_us),
                              on_renewed, a);
    return 0;
}

void tether_keep(struct agent *a, const struct dcs_answer *answer)
{
    a->lease = (struct leader_lease){0};
    a->renewing = false;
    keep_confirmation(a, answer);
    a->keeper_refused = false;
    log_info("acquired the leader key");
    renew_at(a, answer->sent_at_us + ha_renew_interval_us(&a->dynamic->policy));
}

static void on_ignored(void *userdata, struct dcs_answer *answer)
{
    (void)userdata;
    (void)answer;
}

static void on_acquired(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;
    void (*done)(struct agent * a, struct dcs_answer * answer) = a->op.on_acquired;

    a->acquiring = false;
    a->op.on_acquired = NULL;
    if (done) {
        done(a, answer);
        return;
    }
    if (answer->outcome != DCS_DONE)
        return;
    /* Whoever wanted it is gone. Nobody would renew it, and nobody else could lead until it runs out. */
    log_info("giving the leader key back: what it was for has ended meanwhile");
    a->dcs->ops->release_leader(a->dcs, a->config->name, answer->session,
                                clock_now_us() + a->dynamic->policy.retry_timeout_us, on_ignored, NULL);
}

void tether_acquire(struct agent *a, struct dcs_guard guard, void (*done)(struct agent *a, struct dcs_answer *answer))
{
    uint64_t now_us = clock_now_us();

    a->op.on_acquired = done;
    /* The answer to an earlier question will do; two under way could not be told apart. */
    if (a->acquiring)
        return;
    a->acquiring = true;
    a->dcs->ops->acquire_leader(a->dcs, a->config->name, a->dynamic->policy.ttl_us, guard,
                                now_us + a->dynamic->policy.retry_timeout_us, on_acquired, a);
}

void tether_release(struct agent *a, dcs_done_fn done)
{
    uint64_t session = a->lease.session;

    a->lease.held = false;
    loop_timer_off(a->renew_timer);
    a->dcs->ops->release_leader(a->dcs, a->config->name, session, clock_now_us() + a->dynamic->policy.retry_timeout_us,
                                done, a);
}

void tether_tell_postmaster(struct agent *a)
{
    struct err err = {0};
    pid_t pid = pg_server_pid(a->server);

    if (!keeper_link_connected(a->link))
        return;
    if (keeper_link_ask(a->link, KEEPER_POSTMASTER, 0, 0, pid, pg_server_pidfd(a->server), NULL, NULL, &err) < 0)
        log_error("could not tell the keeper of the postmaster: %s", err.msg);
}

void tether_adopt(struct agent *a, const struct keeper_answer *answer)
{
    if (answer->state != KEEPER_ARMED)
        return;
    a->lease = (struct leader_lease){.held = true, .session = answer->lease_id, .deadline_us = answer->deadline_us};
    a->dcs->ops->adopt_session(a->dcs, answer->lease_id, a->dynamic->policy.ttl_us);
    log_info("adopted the lease of an earlier agent, %" PRIu64 " ms left",
             clock_rest_us(clock_now_us(), answer->deadline_us) / 1000);
    failsafe_adopt(a);
    renew_at(a, clock_now_us());
}
