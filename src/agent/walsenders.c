/*
 * A shutdown waits until every standby that is connected has confirmed the end of the WAL: one that stands still would
 * keep all clients waiting, for as long as wal_sender_timeout or the whole budget of the stop. Once the shutdown
 * checkpoint is written, those that follow have what they need a moment later; who has not gets no more time.
 */
#include <signal.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"

enum { LOOK_AGAIN_US = 1000000, LOOK_TIMEOUT_US = 5000000 };

static void look_later(struct agent *a);

static void on_control(void *userdata, int outcome, const struct local_pg *found, const struct err *err)
{
    struct agent *a = userdata;
    bool is_written = outcome >= 0 && found->control_known && found->control_state == PG_CONTROL_SHUT_DOWN;

    (void)err;
    a->op.stop_control = pg_controldata_free(a->op.stop_control);
    if (is_written && a->op.checkpoint_seen) {
        size_t n = pg_server_end_backends(a->server, a->op.walsender_pids, a->op.n_walsender_pids);

        if (n)
            log_warning("ended %zu WAL senders whose standbys did not confirm the end of the WAL", n);
        return;
    }
    a->op.checkpoint_seen = is_written;
    look_later(a);
}

static int on_look(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    if (!pg_server_pid(a->server) || a->op.stop_control)
        return 0;
    if (pg_controldata_after_stop(a->loop, a->config, LOOK_TIMEOUT_US, on_control, a, &a->op.stop_control, NULL) < 0)
        look_later(a);
    return 0;
}

static void look_later(struct agent *a)
{
    (void)loop_timer_at(a->loop, &a->op.walsender_timer, clock_now_us() + LOOK_AGAIN_US, on_look, a);
}

void walsenders_watch(struct agent *a)
{
    for (size_t i = 0; i < a->pg.facts.n_walsenders && a->op.n_walsender_pids < WALSENDERS_MAX; i++)
        a->op.walsender_pids[a->op.n_walsender_pids++] = (pid_t)a->pg.facts.walsenders[i].pid;
    if (a->op.n_walsender_pids)
        look_later(a);
}
