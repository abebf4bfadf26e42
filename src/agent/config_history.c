/*
 * The leader keeps a short history of the dynamic configuration in the store: what was changed and when it noticed. Who
 * did it nobody knows, as any program that reaches the store can write it. A change that no leader has noticed is only
 * in the logs of the members. What could not be written yet is kept and joins the next. The reference ignores the key.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "config/change_history.h"

void config_history_note(struct agent *a, const char *changes)
{
    struct textbuf b = {0};

    if (!*changes || !a->lease.held || a->lease.deadline_us <= clock_now_us())
        return;
    textbuf_puts(&b, a->changes.unsaved ? a->changes.unsaved : "");
    textbuf_puts(&b, changes);
    free(a->changes.unsaved);
    a->changes.unsaved = textbuf_take(&b);
    a->changes.revision = a->cluster->config.revision;
    a->changes.noticed_at_s = (int64_t)time(NULL);
}

static void on_written(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;
    size_t len = strlen(a->changes.sent);

    a->changes.busy = false;
    /* In front of what has come since. Refused: the view was old; unknown: the next view shows it, with its revision.
     */
    if (answer->outcome == DCS_DONE && a->changes.unsaved && text_starts_with(a->changes.unsaved, a->changes.sent))
        memmove(a->changes.unsaved, a->changes.unsaved + len, strlen(a->changes.unsaved + len) + 1);
    else
        log_debug("the change of the configuration is not noted yet: %s", answer->err.msg);
    freep(&a->changes.sent);
    a->changes.sent = NULL;
    a->changes.after_read_us = clock_now_us();
}

void config_history_publish(struct agent *a)
{
    const struct text_key *key = &a->cluster->config_history;
    CLEANUP(freep) char *text = NULL;
    time_t at_s = (time_t)a->changes.noticed_at_s;
    char at[40];
    struct tm tm;

    if (!a->changes.unsaved || !*a->changes.unsaved || a->changes.busy ||
        a->cluster->read_sent_at_us <= a->changes.after_read_us)
        return;
    (void)gmtime_r(&at_s, &tm);
    (void)strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%S+00:00", &tm);
    text = change_history_add(key->text, a->changes.revision, at, a->config->name, a->changes.unsaved);
    a->changes.sent = text ? strdup(a->changes.unsaved) : NULL;
    if (!a->changes.sent) { /* it is there already */
        a->changes.unsaved[0] = '\0';
        return;
    }
    a->changes.busy = true;
    a->dcs->ops->put(a->dcs, "config_history", text, key->exists ? DCS_REVISION : DCS_ABSENT, key->revision,
                     clock_now_us() + a->dynamic->policy.retry_timeout_us, on_written, a);
}

void config_history_done(struct agent *a)
{
    free(a->changes.unsaved);
    free(a->changes.sent);
}
