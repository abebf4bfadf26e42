/*
 * The last word of a primary that was shut down: where its WAL ends, in the status key, before the leader key is
 * released. A standby that has all of that may lead at once (src/ha/manual_race.c). It is found and written while the
 * keeper proves that nothing is left: after a shutdown checkpoint there is nobody who could write more.
 */
#include <stdlib.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "dcs/codec.h"

/* Nobody leads meanwhile: what takes longer is left unsaid. */
enum { LAST_WORD_US = 1000000 };

static void said(struct agent *a)
{
    void (*then)(struct agent * a) = a->op.on_said;

    a->op.word_pending = false;
    a->op.on_said = NULL;
    a->op.word_timer = loop_source_free(a->op.word_timer);
    if (then)
        then(a);
}

static void on_written(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    free(a->status_published);
    a->status_published = NULL;
    if (answer->outcome != DCS_DONE)
        log_warning("could not write the end of the WAL to the store: %s", answer->err.msg);
    if (a->op.word_pending)
        said(a);
}

/* What the store has as far as we know: what we have written last, or what somebody was seen to have written. */
static uint64_t status_revision(const struct agent *a)
{
    uint64_t seen = a->cluster ? a->cluster->status_text.revision : 0;

    return seen > a->status_revision ? seen : a->status_revision;
}

/* The record itself begins there; whoever has more than its beginning has everything that came before it. */
static void say(struct agent *a, uint64_t checkpoint_lsn, uint32_t timeline)
{
    char text[TEXT_LSN_SIZE];
    uint64_t revision = status_revision(a);
    char *json = codec_print_shutdown_status(a->cluster ? a->cluster->status_text.text : NULL, checkpoint_lsn, timeline,
                                             a->lease.session);

    log_info("PostgreSQL was shut down, its last checkpoint is at %s",
             text_print_lsn(checkpoint_lsn, text, sizeof(text)));
    if (!json) {
        said(a);
        return;
    }
    /* Should it arrive late, somebody else may have led and have written since. */
    a->dcs->ops->put(a->dcs, "status", json, revision ? DCS_REVISION : DCS_ABSENT, revision,
                     clock_now_us() + LAST_WORD_US, on_written, a);
    free(json);
}

static void on_control(void *userdata, int outcome, const struct local_pg *found, const struct err *err)
{
    struct agent *a = userdata;
    enum pg_control_state state = found->control_state;
    uint64_t lsn = found->control_checkpoint_lsn;

    a->op.last_control = pg_controldata_free(a->op.last_control);
    if (outcome < 0)
        log_warning("could not read the control file: %s", err->msg);
    if (outcome >= 0 && found->control_known && state == PG_CONTROL_SHUT_DOWN)
        say(a, lsn, found->control_timeline);
    else
        said(a);
}

static int on_too_late(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    (void)source;
    (void)planned_us;
    log_warning("the end of the WAL is not known in time: the others have to compare their positions");
    said(userdata);
    return 0;
}

void hand_over_begin(struct agent *a)
{
    struct err err = {0};

    a->op.word_pending = true;
    (void)loop_timer_at(a->loop, &a->op.word_timer, clock_now_us() + LAST_WORD_US, on_too_late, a);
    if (pg_controldata_after_stop(a->loop, a->config, LAST_WORD_US, on_control, a, &a->op.last_control, &err) < 0) {
        log_warning("could not read the control file: %s", err.msg);
        said(a);
    }
}

void hand_over_wait(struct agent *a, void (*then)(struct agent *a))
{
    if (a->op.word_pending)
        a->op.on_said = then;
    else
        then(a);
}
