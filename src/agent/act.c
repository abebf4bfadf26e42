/* From a decision to an operation. One operation at a time; a demotion cancels whatever else is under way. */
#include "agent/parts.h"
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"

/* The least time between two reads of the store that a decision asked for. */
enum { READ_AGAIN_US = 200000, LINGER_AGAIN_US = 50000 };

void op_begin(struct agent *a, enum op_kind kind, const struct ha_decision *d)
{
    op_end(a);
    a->op.kind = kind;
    a->op.since_us = clock_now_us();
    if (d) {
        a->op.urgency = d->urgency;
        a->op.release = d->release;
        a->op.keep = d->keep;
        (void)text_copy(a->op.target, sizeof(a->op.target), d->target);
    }
}

void op_end(struct agent *a)
{
    if (a->op.kind == OP_PROMOTE)
        timeline_promotion_ended(a);
    a->op.timer = loop_source_free(a->op.timer);
    a->op.fill = fill_free(a->op.fill);
    a->op.post_bootstrap = post_bootstrap_free(a->op.post_bootstrap);
    a->op.command = pg_command_free(a->op.command);
    a->op.rewind_check = rewind_check_free(a->op.rewind_check);
    a->op.rewind_run = rewind_run_free(a->op.rewind_run);
    a->op.child = child_free(a->op.child);
    hook_wait_no_more(a->hooks.runs);
    a->op.last_control = pg_controldata_free(a->op.last_control);
    a->op.stop_control = pg_controldata_free(a->op.stop_control);
    a->op.word_timer = loop_source_free(a->op.word_timer);
    a->op.walsender_timer = loop_source_free(a->op.walsender_timer);
    a->op = (struct operation){0};
    a->op_ended_at_us = clock_now_us();
    agent_wake(a);
}

static void stop_standby(struct agent *a, const struct ha_decision *d)
{
    /* A stop is a demotion with nothing to give back: the same ladder, the same proof. */
    op_demote(a, d);
}

static void read_store(struct agent *a)
{
    uint64_t now_us = clock_now_us();
    uint64_t sent_us = a->cluster ? a->cluster->read_sent_at_us : 0;

    if (a->store_busy)
        return;
    if (now_us - sent_us < READ_AGAIN_US && sent_us > a->frozen_at_us)
        agent_wake_at(a, sent_us + READ_AGAIN_US);
    else
        gather_store(a);
}

static void acquired(struct agent *a, struct dcs_answer *answer)
{
    if (answer->outcome == DCS_DONE) {
        tether_keep(a, answer);
        if (a->cluster->failover.exists)
            request_clear_failover(a); /* it would be decided as soon as the store was read, which takes its time */
    } else {
        log_info("did not get the leader key: %s", answer->err.msg);
    }
    op_end(a);
    gather_store(a);
}

void act(struct agent *a, const struct ha_decision *d)
{
    switch (d->action) {
    case HA_NOTHING:
        break;
    case HA_READ_STORE:
        read_store(a);
        break;
    case HA_ASK_PEERS:
        op_ask_peers(a);
        break;
    case HA_BOOTSTRAP:
        op_bootstrap(a, d);
        break;
    case HA_ABANDON_BOOTSTRAP:
        op_abandon_bootstrap(a, d);
        break;
    case HA_CLONE:
        op_clone(a, d);
        break;
    case HA_START_STANDBY:
        op_start_standby(a, d);
        break;
    case HA_START_PRIMARY:
        op_start_primary(a, d);
        break;
    case HA_CHECK_REWIND:
        op_check_rewind(a, d);
        break;
    case HA_REWIND:
        op_rewind(a, d);
        break;
    case HA_SET_ASIDE:
        op_set_aside(a, d);
        break;
    case HA_FOLLOW:
        op_follow(a, d);
        break;
    case HA_COPY_SLOTS:
        op_copy_slots(a, d);
        break;
    case HA_ACQUIRE:
        a->memory.sync_seen_revision = a->cluster->sync.revision;
        op_begin(a, OP_ACQUIRE, d);
        /* Whoever was promoted since has reserved a timeline. */
        tether_acquire(a, (struct dcs_guard){"timeline", a->cluster->timeline.revision}, acquired);
        break;
    case HA_PROMOTE:
        op_promote(a, d);
        break;
    case HA_DEMOTE:
        op_demote(a, d);
        break;
    case HA_RELEASE:
        op_release(a, d);
        break;
    case HA_STOP:
        stop_standby(a, d);
        break;
    case HA_CHECKPOINT:
        request_checkpoint(a);
        break;
    case HA_CLEAR_FAILOVER:
        request_clear_failover(a);
        break;
    case HA_RESTART:
        op_restart(a, d);
        break;
    case HA_EXIT:
        if (a->stopping && (replica_address_lingers(a) || hooks_linger(a))) {
            agent_wake_at(a, clock_now_us() + LINGER_AGAIN_US);
        } else if (a->stopping) {
            if (a->op.kind != OP_NONE)
                op_end(a);
            publish_last(a);
        } else {
            log_error("%s", d->reason);
            agent_exit(a, AGENT_EXIT_CONFIG);
        }
        break;
    }
}
