/* Promotion: only after the keeper has answered ARMED for the lease we hold (S2). */
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"

enum { STAGE_PROMOTE = 1 }; /* 0: waiting for pre_promote or for the keeper */
enum { PROBE_AGAIN_US = 10000, CHECKPOINT_TIMEOUT_US = 600000000, TOLD_TIMEOUT_US = 10000000 };

static void promote_when_armed(struct agent *a, bool armed);

static int on_probe_again(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    gather_pg(a);
    return 0;
}

static void on_told(void *userdata, const struct err *err)
{
    const struct ha_decision d = {.action = HA_DEMOTE, .urgency = HA_AT_ONCE, .release = true};
    struct agent *a = userdata;

    a->probe_busy = false;
    if (a->op.kind != OP_PROMOTE)
        return;
    if (err && err->code) {
        log_error("could not promote: %s", err->msg);
        a->memory.no_race_until_us = clock_now_us() + a->dynamic->policy.ttl_us;
        op_demote(a, &d);
        return;
    }
    hooks_promoted(a);
    gather_pg(a);
}

/* By now ARMED may be true no longer. */
static int on_tell_again(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    op_arm(a, promote_when_armed);
    return 0;
}

/*
 * The order goes over the probe's connection, which is there: it leaves at once, while ARMED is true. A new connection
 * takes its time, in which this process may stand still.
 */
static void promote_when_armed(struct agent *a, bool armed)
{
    struct err err = {0};

    /* The decision may be older than the last read of the configuration. */
    if (!armed || a->dynamic->policy.standby_cluster) {
        op_end(a);
        return;
    }
    a->op.is_armed = true;
    if (!a->op.is_reserved)
        return;
    if (agent_is_primary(a)) { /* by hand, in pause */
        a->op.stage = STAGE_PROMOTE;
        op_promote_pg_changed(a);
        return;
    }
    if (a->probe_busy) {
        (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + PROBE_AGAIN_US, on_tell_again, a);
        return;
    }
    a->op.stage = STAGE_PROMOTE;
    log_info("promoting PostgreSQL");
    if (pg_probe_promote(a->probe, TOLD_TIMEOUT_US, on_told, a, &err) >= 0) {
        a->probe_busy = true;
        return;
    }
    log_error("could not promote: %s", err.msg);
    op_end(a);
}

/* ARMED must be true at the moment of the promotion: if the keeper was faster, it is looked at again. */
static void promote_when_reserved(struct agent *a, bool reserved)
{
    if (!reserved) {
        op_end(a);
        gather_store(a);
        return;
    }
    a->op.is_reserved = true;
    if (a->op.is_armed)
        op_arm(a, promote_when_armed);
}

/* Before anybody can hear of a commit, /sync and synchronous_standby_names say whose word it takes (S7). */
static void arm_when_sealed(struct agent *a, bool sealed)
{
    if (!sealed) {
        op_end(a);
        return;
    }
    if (agent_is_primary(a))
        a->op.is_reserved = true; /* it has its timeline already */
    else
        timeline_reserve(a, promote_when_reserved);
    if (a->op.kind != OP_PROMOTE)
        return;
    op_arm(a, promote_when_armed);
}

void op_promote(struct agent *a, const struct ha_decision *d)
{
    op_begin(a, OP_PROMOTE, d);
    if (!agent_is_primary(a) && hooks_pre_promote(a))
        return;
    sync_seal(a, arm_when_sealed);
}

static void on_checkpoint(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct agent *a = userdata;

    (void)rows;
    (void)sqlstate;
    if (err && err->code)
        log_warning("the checkpoint after the promotion failed: %s", err->msg);
    a->checkpoint_command = pg_command_free(a->checkpoint_command);
    a->checkpoint_pending = false;
    agent_wake(a);
}

/* pg_rewind on the others reads our control file: its timeline must be the new one (facts sheet 6.4). */
static void checkpoint(struct agent *a)
{
    struct err err = {0};

    a->checkpoint_command = pg_command_free(a->checkpoint_command);
    a->checkpoint_pending = true;
    if (pg_command_start(a->loop, agent_pg_login(a), "CHECKPOINT", CHECKPOINT_TIMEOUT_US, on_checkpoint, a,
                         &a->checkpoint_command, &err) < 0)
        a->checkpoint_pending = false;
}

void op_promote_pg_changed(struct agent *a)
{
    if (a->op.on_sealed) {
        sync_seal_pg_changed(a);
        return;
    }
    if (!a->pg.valid || !a->op.stage || a->op.on_armed)
        return;
    if (a->pg.facts.in_recovery) {
        (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + PROBE_AGAIN_US, on_probe_again, a);
        return;
    }
    log_info("PostgreSQL is the primary now, timeline %u", a->pg.facts.timeline);
    a->memory.crashed = false;
    a->memory.failed_starts = 0;
    sync_begin_reign(a);
    checkpoint(a);
    op_end(a);
}
