/* Copies, rewinds and setting aside: what changes the content of a data directory whose server is down. */
#include <errno.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"

enum { CLONE_AGAIN_US = 5000000, CHECK_AGAIN_US = 1000000, CHECK_TIMEOUT_US = 10000000 };
enum { STAGE_STOP = 1, STAGE_STOP_AT_ONCE, STAGE_PROVE, STAGE_RUN };
enum { STOP_BUDGET_US = 30000000, STOP_AT_ONCE_BUDGET_US = 5000000 };

static const char *cgroup(const struct agent *a)
{
    return a->cgroup_procs[0] ? a->cgroup_procs : NULL;
}

/* A decision's target, for people. */
static const char *target_text(const struct agent *a)
{
    return strcmp(a->op.target, REMOTE_CLUSTER) == 0 ? "the cluster that is followed" : a->op.target;
}

static void on_cloned(void *userdata, int outcome, const struct err *err)
{
    struct agent *a = userdata;

    a->copy_incomplete = false;
    marker_clear(a, "copy");
    if (outcome < 0) {
        log_error("could not create the replica: %s", err->msg);
        a->memory.retry_clone_at_us = clock_now_us() + CLONE_AGAIN_US;
        agent_wake_at(a, a->memory.retry_clone_at_us);
    } else {
        log_info("the replica is created");
        a->memory.retry_clone_at_us = 0;
        /* Of whom it is a copy does not say that it is on the leader's way: another may lead by now. */
        a->memory.divergence = DIVERGENCE_UNKNOWN;
        a->memory.is_new_copy = true;
        a->memory.rewind_failed = false;
        a->memory.stopped_here = true;
        reinitialize_finished(a);
    }
    /* What was known of the directory is void: it must not be taken for empty once more. */
    a->control = (struct local_pg){0};
    op_end(a);
    gather_control(a);
}

void op_clone(struct agent *a, const struct ha_decision *d)
{
    struct pg_upstream source;
    struct err err = {0};

    op_begin(a, OP_CLONE, d);
    if (!fill_upstream(a, d->target, &source)) {
        op_end(a);
        return;
    }
    marker_set(a, "copy");
    if (fill_replica(a->loop, a->config, &source, cgroup(a), on_cloned, a, &a->op.fill, &err) < 0)
        on_cloned(a, -1, &err);
}

static void on_checked(void *userdata, enum rewind_need need, uint32_t leader_timeline, const struct err *err)
{
    struct agent *a = userdata;

    a->op.rewind_check = rewind_check_free(a->op.rewind_check);
    switch (need) {
    case REWIND_UNKNOWN:
        log_warning("could not compare timelines with \"%s\": %s", target_text(a), err->msg);
        a->memory.divergence = DIVERGENCE_UNKNOWN; /* what was found out before was perhaps about another */
        a->memory.retry_check_at_us = clock_now_us() + CHECK_AGAIN_US;
        agent_wake_at(a, a->memory.retry_check_at_us);
        break;
    case REWIND_NOT_NEEDED:
        log_info("this node is on the way of \"%s\", timeline %u", target_text(a), leader_timeline);
        a->memory.divergence = DIVERGENCE_NONE;
        break;
    case REWIND_NEEDED:
        log_warning("this node's WAL went another way than that of \"%s\", timeline %u", target_text(a),
                    leader_timeline);
        a->memory.divergence = DIVERGENCE_FOUND;
        break;
    }
    (void)text_copy(a->memory.divergence_from, sizeof(a->memory.divergence_from), a->op.target);
    a->memory.not_streaming_since_us = 0;
    op_end(a);
}

void op_check_rewind(struct agent *a, const struct ha_decision *d)
{
    struct pg_upstream leader;
    struct ha_view view;
    struct err err = {0};

    op_begin(a, OP_CHECK_REWIND, d);
    gather_view(a, &view);
    if (!fill_upstream(a, d->target, &leader)) {
        op_end(a);
        return;
    }
    if (rewind_check_start(a->loop, a->config, &leader, &view.pg, CHECK_TIMEOUT_US, on_checked, a, &a->op.rewind_check,
                           &err) < 0)
        on_checked(a, REWIND_UNKNOWN, 0, &err);
}

static void on_rewound(void *userdata, int outcome, const struct err *err)
{
    struct agent *a = userdata;
    bool has_written = a->op.rewind_run && rewind_run_has_written(a->op.rewind_run);

    a->op.rewind_run = rewind_run_free(a->op.rewind_run);
    if (outcome == -EAGAIN) {
        log_info("cannot rewind to \"%s\" yet: %s", target_text(a), err->msg);
        a->memory.retry_check_at_us = clock_now_us() + CHECK_AGAIN_US;
    } else if (outcome < 0) {
        log_error("pg_rewind failed: %s", err->msg);
        a->memory.rewind_failed = true;
        /* What it has left behind when it wrote cannot be told from a cluster that is only old. */
        if (!has_written && a->op.rewind_begun) {
            log_info("pg_rewind has not changed anything: the cluster is as it was");
            a->rewind_incomplete = false;
            marker_clear(a, "rewind");
        }
    } else {
        log_info("rewound to \"%s\"", target_text(a));
        if (err && err->msg[0])
            log_warning("%s", err->msg);
        a->memory.divergence = DIVERGENCE_NONE;
        a->rewind_incomplete = false;
        marker_clear(a, "rewind");
    }
    op_end(a);
    gather_control(a);
}

/*
 * Only now: a rewind that ended before, with this process or its host, has left the cluster as it was. With the mark
 * nobody would ever start it again.
 */
static void on_rewind_begins(void *userdata)
{
    struct agent *a = userdata;

    a->op.rewind_begun = !a->rewind_incomplete; /* a half one of earlier stays one */
    marker_set(a, "rewind");
    a->rewind_incomplete = true;
}

void op_rewind_run(struct agent *a)
{
    struct pg_upstream leader;
    struct err err = {0};

    a->op.stage = STAGE_RUN;
    a->op.timer = loop_source_free(a->op.timer);
    if (!fill_upstream(a, a->op.target, &leader)) {
        op_end(a);
        return;
    }
    if (rewind_run_start(a->loop, a->config, a->server_major, &leader, cgroup(a), on_rewind_begins, on_rewound, a,
                         &a->op.rewind_run, &err) < 0)
        on_rewound(a, -1, &err);
}

/* pg_rewind writes what a process of the old server may still write. */
static void prove(struct agent *a)
{
    a->op.stage = STAGE_PROVE;
    op_prove_dead(a, op_rewind_run);
}

static int on_stop_budget(sd_event_source *source, uint64_t planned_us, void *userdata);

static void stop_by(struct agent *a, enum pg_stop_mode mode, unsigned stage, uint64_t budget_us)
{
    a->op.stage = stage;
    (void)pg_server_stop(a->server, mode);
    (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + budget_us, on_stop_budget, a);
}

static int on_stop_budget(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    if (a->op.stage == STAGE_STOP) {
        log_warning("PostgreSQL did not stop in time for pg_rewind: immediate shutdown");
        stop_by(a, PG_STOP_IMMEDIATE, STAGE_STOP_AT_ONCE, STOP_AT_ONCE_BUDGET_US);
        return 0;
    }
    log_warning("PostgreSQL did not stop: killing its processes");
    pg_server_kill(a->server);
    prove(a);
    return 0;
}

void op_rewind(struct agent *a, const struct ha_decision *d)
{
    op_begin(a, OP_REWIND, d);
    if (pg_server_pid(a->server)) {
        pg_probe_disconnect(a->probe);
        stop_by(a, PG_STOP_FAST, STAGE_STOP, STOP_BUDGET_US);
        return;
    }
    prove(a);
}

void op_rewind_server_exited(struct agent *a)
{
    hooks_stopped(a);
    if (a->op.stage < STAGE_PROVE)
        prove(a);
}

static const char *why_aside(const struct agent *a, const struct ha_decision *d)
{
    if (d->action == HA_ABANDON_BOOTSTRAP)
        return "unfinished";
    return a->requests.of_node.reinitialize ? "reinitialized" : "diverged";
}

static void look_again(struct agent *a)
{
    op_end(a);
    a->control = (struct local_pg){0};
    gather_control(a);
}

static void on_removed(void *userdata, const struct child_result *result)
{
    char how[96];

    if (result->exit_code != 0)
        log_warning("could not remove all of the old data directory: %s", child_result_text(result, how, sizeof(how)));
    else
        log_info("the old data directory is removed");
    look_again(userdata);
}

/* The operator asked for it; the copy waits, since it may need the room. */
static bool remove_old(struct agent *a, const char *path)
{
    struct err err = {0};

    if (!a->requests.of_node.reinitialize || !a->requests.remove_old)
        return false;
    if (pg_files_remove(a->loop, path, on_removed, a, &a->op.child, &err) < 0) {
        log_warning("could not remove the old data directory: %s", err.msg);
        return false;
    }
    log_info("removing the old data directory, as asked for");
    return true;
}

static int put_aside(struct agent *a, const struct ha_decision *d, char *path, size_t size, struct err *err)
{
    bool goes = a->requests.of_node.reinitialize && a->requests.remove_old;

    return goes ? pg_files_put_away(a->config, why_aside(a, d), path, size, err)
                : pg_files_set_aside(a->config, why_aside(a, d), path, size, err);
}

void op_set_aside(struct agent *a, const struct ha_decision *d)
{
    struct err err = {0};
    char path[512];

    op_begin(a, OP_SET_ASIDE, d);
    if (put_aside(a, d, path, sizeof(path), &err) < 0) {
        log_error("could not set the data directory aside: %s", err.msg);
        a->memory.retry_start_at_us = clock_now_us() + CLONE_AGAIN_US;
    } else {
        log_warning("the data directory was set aside as \"%s\"", path);
        a->bootstrap_incomplete = a->bootstrap_made = a->copy_incomplete = a->rewind_incomplete = false;
        marker_clear(a, "copy");
        marker_clear(a, "rewind");
        a->memory.divergence = DIVERGENCE_UNKNOWN;
        a->memory.is_new_copy = false;
        a->memory.rewind_failed = false;
        if (remove_old(a, path))
            return;
    }
    look_again(a);
}
