/*
 * Before a promotion in a synchronous mode: /sync is written by the new leader, which bars whatever the old one has
 * sent, and PostgreSQL has the names that follow from it before it leaves recovery. A primary that began to acknowledge
 * commits first and asked who must have them afterwards would lose them with itself (S7).
 */
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"

enum { PROBE_AGAIN_US = 50000 };

static void finish(struct agent *a, bool sealed)
{
    void (*done)(struct agent * a, bool sealed) = a->op.on_sealed;

    a->op.on_sealed = NULL;
    a->op.timer = loop_source_free(a->op.timer);
    done(a, sealed);
}

static int on_probe_again(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    gather_pg(a);
    return 0;
}

static void look_again(struct agent *a)
{
    (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + PROBE_AGAIN_US, on_probe_again, a);
}

/* New backends and walsenders inherit what the postmaster has read; that it waits at all says the checkpointer. */
void sync_seal_pg_changed(struct agent *a)
{
    if (!a->sync.names_known)
        return; /* /sync is being written */
    if (a->pg.valid)
        sync_note_pg(a);
    if (a->pg.valid && a->pg.facts.asked_at_us >= a->sync.written_at_us &&
        strcmp(a->pg.facts.synchronous_standby_names, a->sync.names) == 0 && (a->sync.waits || !a->sync.names[0]))
        finish(a, true);
    else
        look_again(a);
}

static void write_sealed_names(struct agent *a)
{
    char text[160];

    /* In pause it may have been promoted by hand already. */
    if (sync_write_names(a, !agent_is_primary(a), &a->sync.sealed_names) < 0) {
        finish(a, false);
        return;
    }
    (void)sync_names_print(&a->sync.sealed_names, text, sizeof(text));
    log_info("/sync has this node as its leader; commits will wait for: %s", text[0] ? text : "nobody");
    look_again(a);
}

static void on_sealed(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    a->sync.busy = false;
    a->sync.asked_at_us = clock_now_us();
    if (answer->outcome == DCS_DONE) {
        a->sync.sure_revision = answer->revision;
        a->sync.restored = false;
    }
    if (a->op.kind != OP_PROMOTE || !a->op.on_sealed || a->op.since_us != a->sync.sealing_since_us)
        return;
    if (answer->outcome == DCS_DONE) {
        write_sealed_names(a);
        return;
    }
    log_warning("postponing the promotion: /sync could not be written: %s", answer->err.msg);
    finish(a, false);
    gather_store(a);
}

void sync_seal(struct agent *a, void (*done)(struct agent *a, bool sealed))
{
    struct sync_promise promise;
    struct ha_view v;

    a->op.on_sealed = done;
    gather_view(a, &v);
    if (!sync_is_on(a)) {
        finish(a, true);
        return;
    }
    /* Another write of ours is under way, of an earlier attempt: its answer brings a new view. */
    if (!v.cluster || a->sync.busy || v.cluster->read_sent_at_us < a->sync.asked_at_us) {
        finish(a, false);
        return;
    }
    sync_forget(a);
    (void)ha_sync_seal(&v, &promise, &a->sync.sealed_names);
    a->sync.sealing_since_us = a->op.since_us;
    sync_write_key(a, &promise, on_sealed);
    if (!a->sync.busy)
        finish(a, false);
}
