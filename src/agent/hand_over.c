/*
 * The last word of a primary that was shut down and is proven dead: where its WAL ends, in the status key, before the
 * leader key is released. A standby that has all of that may lead at once (src/ha/manual_race.c).
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

    a->op.on_said = NULL;
    a->op.timer = loop_source_free(a->op.timer);
    if (then)
        then(a);
}

static void on_written(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    a->status_published_lsn = 0;
    if (answer->outcome != DCS_DONE)
        log_warning("could not write the end of the WAL to the store: %s", answer->err.msg);
    if (a->op.on_said)
        said(a);
}

static void say(struct agent *a)
{
    uint64_t lsn = a->control.control_checkpoint_end_lsn;
    char text[TEXT_LSN_SIZE];
    char *json;

    if (!lsn)
        lsn = a->control.control_checkpoint_lsn;
    json = codec_print_shutdown_status(a->cluster ? a->cluster->status_text.text : NULL, lsn);
    if (!json) {
        said(a);
        return;
    }
    log_info("PostgreSQL was shut down, its WAL ends at %s", text_print_lsn(lsn, text, sizeof(text)));
    a->op.say_sent = true;
    a->dcs->ops->put(a->dcs, "status", json, DCS_ANY, 0, clock_now_us() + LAST_WORD_US, on_written, a);
    free(json);
}

static int on_too_late(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    (void)source;
    (void)planned_us;
    log_warning("the end of the WAL is not known in time: the others have to compare their positions");
    said(userdata);
    return 0;
}

void hand_over_control_known(struct agent *a)
{
    if (!a->op.on_said || a->op.say_sent || a->control_run)
        return;
    if (a->control.control_known && a->control.control_state == PG_CONTROL_SHUT_DOWN)
        say(a);
    else
        said(a);
}

void hand_over_say(struct agent *a, void (*then)(struct agent *a))
{
    a->op.on_said = then;
    (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + LAST_WORD_US, on_too_late, a);
    hand_over_control_known(a);
}
