/*
 * The two things only the keeper can say: ARMED, the permission to leave recovery (S2), and DISARMED, the proof that no
 * process of the primary is left (S3). Both are asked for again until they come or the operation is cancelled.
 */
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"

enum { ASK_AGAIN_US = 20000, ARM_AGAIN_US = 100000, RENEWED_LATELY_US = 500000 };

static void ask_arm(struct agent *a);
static void ask_disarm(struct agent *a, enum keeper_op how);

static int on_arm_again(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    if (a->op.on_armed)
        ask_arm(a);
    return 0;
}

static void arm_again(struct agent *a)
{
    (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + ARM_AGAIN_US, on_arm_again, a);
}

static void armed(struct agent *a, bool yes)
{
    void (*done)(struct agent * a, bool armed) = a->op.on_armed;

    a->op.on_armed = NULL;
    a->op.timer = loop_source_free(a->op.timer);
    a->keeper_refused = !yes && a->lease.held;
    done(a, yes);
}

/*
 * ARMED counts while it is true: an answer that waited in the socket while this process stood still may be about a
 * lease that the keeper is fencing by now (S2).
 */
static bool permits(const struct agent *a, const struct keeper_answer *answer)
{
    return answer->state == KEEPER_ARMED && answer->lease_id == a->lease.session &&
           clock_now_us() < answer->fence_at_us;
}

/* The lease is as long as it ever gets, and still too short for the ladder: waiting does not help. */
static bool never_long_enough(const struct agent *a)
{
    return a->lease.confirmed_at_us > a->op.since_us && clock_now_us() - a->lease.confirmed_at_us < RENEWED_LATELY_US;
}

static void on_arm_answer(void *userdata, const struct keeper_answer *answer)
{
    struct agent *a = userdata;

    if (!a->op.on_armed)
        return;
    if (!answer) {
        armed(a, false);
        return;
    }
    if (answer->result == KEEPER_OK && permits(a, answer)) {
        armed(a, true);
        return;
    }
    if (answer->result == KEEPER_OK || (answer->result == KEEPER_REFUSED_LATE && !never_long_enough(a))) {
        /* Too little of the lease is left; with a renewed one it will do. */
        tether_renew_soon(a);
        arm_again(a);
        return;
    }
    log_warning("the keeper refuses to arm: %s", keeper_result_text((enum keeper_result)answer->result));
    armed(a, false);
}

static void ask_arm(struct agent *a)
{
    struct err err = {0};

    if (!a->lease.held || !keeper_link_connected(a->link)) {
        armed(a, false);
        return;
    }
    if (keeper_link_ask(a->link, KEEPER_ARM, a->lease.session, a->lease.deadline_us, 0, -1, on_arm_answer, a, &err) <
        0) {
        log_error("could not ask the keeper to arm: %s", err.msg);
        arm_again(a);
    }
}

/* The operation may have ended while the record was written. */
static void ask_arm_recorded(struct agent *a)
{
    if (a->op.on_armed)
        ask_arm(a);
}

void op_arm(struct agent *a, void (*done)(struct agent *a, bool armed))
{
    const struct keeper_answer *last = keeper_link_last(a->link);

    a->op.on_armed = done;
    if (permits(a, last) && keeper_link_connected(a->link))
        armed(a, true);
    else
        fence_record_arm(a, ask_arm_recorded);
}

static int on_disarm_again(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    if (a->op.on_dead)
        ask_disarm(a, a->op.disarm_sent ? KEEPER_STATUS : KEEPER_DISARM);
    return 0;
}

static void disarm_again(struct agent *a)
{
    (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + ASK_AGAIN_US, on_disarm_again, a);
}

/* The keeper is gone: what is left of the primary dies by our hand (DESIGN section 2), the lease runs out by itself. */
static void leave_without_keeper(struct agent *a)
{
    pg_server_kill(a->server);
    agent_exit(a, AGENT_EXIT_RETRY);
}

static void on_disarm_answer(void *userdata, const struct keeper_answer *answer)
{
    struct agent *a = userdata;
    void (*done)(struct agent * a) = a->op.on_dead;

    if (!done)
        return;
    if (!answer) {
        leave_without_keeper(a);
        return;
    }
    if (answer->state != KEEPER_DISARMED) {
        disarm_again(a);
        return;
    }
    a->op.on_dead = NULL;
    a->op.timer = loop_source_free(a->op.timer);
    fence_record_end(a);
    done(a);
}

/* DISARM once, then STATUS: the keeper kills and looks again by itself, a second order would only begin anew. */
static void ask_disarm(struct agent *a, enum keeper_op how)
{
    struct err err = {0};

    if (!keeper_link_connected(a->link)) {
        leave_without_keeper(a);
        return;
    }
    if (keeper_link_ask(a->link, how, 0, 0, 0, -1, on_disarm_answer, a, &err) < 0) {
        log_error("could not ask the keeper to disarm: %s", err.msg);
        disarm_again(a);
        return;
    }
    a->op.disarm_sent = true;
}

void op_prove_dead(struct agent *a, void (*done)(struct agent *a))
{
    a->op.timer = loop_source_free(a->op.timer);
    a->op.on_dead = done;
    a->op.disarm_sent = false;
    ask_disarm(a, KEEPER_DISARM);
}
