#include "agent/hook_run.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "base/words.h"
#include "io/child.h"
#include "io/family.h"

enum { ARGUMENTS = 3 };

/* One that runs, or NULL. */
struct run {
    struct hook_runs *owner;
    enum hook what;
    struct child *child;
};

struct hook_runs {
    sd_event *loop;
    const struct config *config;
    struct run callback, reload, waited;
    sd_event_source *timer; /* of waited */
    hook_done_fn done;
    void *userdata;
};

const char *hook_name(enum hook what)
{
    static const char *const names[] = {
        [HOOK_ON_START] = "on_start",
        [HOOK_ON_STOP] = "on_stop",
        [HOOK_ON_RESTART] = "on_restart",
        [HOOK_ON_RELOAD] = "on_reload",
        [HOOK_ON_ROLE_CHANGE] = "on_role_change",
        [HOOK_BEFORE_STOP] = "before_stop",
        [HOOK_PRE_PROMOTE] = "pre_promote",
    };

    return names[what];
}

static const char *command_of(const struct hook_runs *h, enum hook what)
{
    switch (what) {
    case HOOK_ON_START:
        return h->config->postgresql.callbacks.on_start;
    case HOOK_ON_STOP:
        return h->config->postgresql.callbacks.on_stop;
    case HOOK_ON_RESTART:
        return h->config->postgresql.callbacks.on_restart;
    case HOOK_ON_RELOAD:
        return h->config->postgresql.callbacks.on_reload;
    case HOOK_ON_ROLE_CHANGE:
        return h->config->postgresql.callbacks.on_role_change;
    case HOOK_BEFORE_STOP:
        return h->config->postgresql.before_stop;
    case HOOK_PRE_PROMOTE:
        return h->config->postgresql.pre_promote;
    }
    return NULL;
}

bool hook_is_configured(const struct hook_runs *h, enum hook what)
{
    return command_of(h, what) != NULL;
}

int hook_runs_new(sd_event *loop, const struct config *config, struct hook_runs **ret, struct err *err)
{
    struct hook_runs *h = calloc(1, sizeof(*h));

    if (!h)
        return err_set(err, -ENOMEM, "out of memory");
    h->loop = sd_event_ref(loop);
    h->config = config;
    h->callback.owner = h->reload.owner = h->waited.owner = h;
    *ret = h;
    return 0;
}

static void end_run(struct run *r)
{
    if (!r->child)
        return;
    (void)family_kill(child_pid(r->child));
    r->child = child_free(r->child);
}

struct hook_runs *hook_runs_free(struct hook_runs *h)
{
    if (!h)
        return NULL;
    hook_wait_no_more(h);
    h->callback.child = child_detach(h->callback.child);
    h->reload.child = child_detach(h->reload.child);
    (void)sd_event_unref(h->loop);
    free(h);
    return NULL;
}

/* --- running --- */

static void on_line(void *userdata, const char *line)
{
    const struct run *r = userdata;

    log_info("%s: %s", hook_name(r->what), line);
}

/* The arguments of a callback are its last words, as the reference has it; NULL: none. */
static const char **arguments(char **words, const char *const *extra)
{
    const char **argv;
    size_t n = 0;

    while (words[n])
        n++;
    argv = calloc(n + ARGUMENTS + 1, sizeof(*argv));
    for (size_t i = 0; argv && i < n; i++)
        argv[i] = words[i];
    for (size_t i = 0; argv && extra && i < ARGUMENTS; i++)
        argv[n + i] = extra[i];
    return argv;
}

static int start(struct run *r, enum hook what, const char *const *extra, child_done_fn done, struct err *err)
{
    /* What belongs to the agent and its keeper alone; all else is inherited. */
    static const char *const unset[] = {"NOTIFY_SOCKET",  "LISTEN_*",   "WATCHDOG_*",
                                        "JOURNAL_STREAM", "PGTETHER_*", NULL};
    struct hook_runs *h = r->owner;
    CLEANUP(words_freep) char **words = words_split(command_of(h, what));
    CLEANUP(freep) const char **argv = NULL;
    struct child_spec spec = {.env_unset = unset, .on_line = on_line};

    if (!words || !words[0])
        return err_set(err, -EINVAL, "cannot split the command into words");
    argv = arguments(words, extra);
    if (!argv)
        return err_set(err, -ENOMEM, "out of memory");
    r->what = what;
    spec.argv = argv;
    return child_start(h->loop, &spec, done, r, &r->child, err);
}

static void log_end(enum hook what, const struct child_result *result)
{
    char text[64];

    if (result->start_error)
        log_error("%s could not be started: %s", hook_name(what), result->output);
    else if (result->exit_code != 0)
        log_warning("%s ended with %s", hook_name(what), child_result_text(result, text, sizeof(text)));
}

static void on_told(void *userdata, const struct child_result *result)
{
    struct run *r = userdata;

    log_end(r->what, result);
    r->child = child_free(r->child);
}

void hook_tell(struct hook_runs *h, enum hook what, const char *role)
{
    struct run *r = what == HOOK_ON_RELOAD ? &h->reload : &h->callback;
    const char *const extra[ARGUMENTS] = {hook_name(what), role, h->config->scope};
    struct err err = {0};

    /* Also when the new one is not configured the old one runs on: the reference ends it only for another. */
    if (!command_of(h, what))
        return;
    if (r->child)
        log_warning("ending %s, which still runs: %s is due", hook_name(r->what), hook_name(what));
    end_run(r);
    log_info("running %s %s %s", hook_name(what), role, h->config->scope);
    if (start(r, what, extra, on_told, &err) < 0)
        log_error("could not run %s: %s", hook_name(what), err.msg);
}

bool hook_is_telling(const struct hook_runs *h)
{
    return h->callback.child != NULL;
}

/* --- waiting --- */

static void answer(struct hook_runs *h, bool good)
{
    hook_done_fn done = h->done;

    h->timer = loop_source_free(h->timer);
    h->done = NULL;
    if (done)
        done(h->userdata, good);
}

static void on_waited(void *userdata, const struct child_result *result)
{
    struct run *r = userdata;
    bool good = result->exit_code == 0;

    log_end(r->what, result);
    r->child = child_free(r->child);
    answer(r->owner, good);
}

/* Also when it could not be started: the caller hears of it from the loop, not from inside its own call. */
static int on_late(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct hook_runs *h = userdata;

    (void)source;
    (void)planned_us;
    if (h->waited.child)
        log_warning("%s takes too long: ending it", hook_name(h->waited.what));
    end_run(&h->waited);
    answer(h, false);
    return 0;
}

bool hook_wait(struct hook_runs *h, enum hook what, uint64_t timeout_us, hook_done_fn done, void *userdata)
{
    struct err err = {0};

    hook_wait_no_more(h);
    if (!command_of(h, what))
        return false;
    h->done = done;
    h->userdata = userdata;
    log_info("running %s", hook_name(what));
    if (start(&h->waited, what, NULL, on_waited, &err) < 0) {
        log_error("could not run %s: %s", hook_name(what), err.msg);
        timeout_us = 0;
    }
    if (loop_timer_at(h->loop, &h->timer, clock_now_us() + timeout_us, on_late, h) < 0) {
        hook_wait_no_more(h); /* unbounded would be worse than none */
        return false;
    }
    return true;
}

void hook_wait_no_more(struct hook_runs *h)
{
    if (!h)
        return;
    h->timer = loop_source_free(h->timer);
    h->done = NULL;
    end_run(&h->waited);
}
