/*
 * The programs of an operator that are told, or asked, when PostgreSQL changes (facts sheet 8.4): one child each beside
 * the loop, with its output in the log. They run as the agent does, without privileges and with its environment.
 *
 * Callbacks are told and not waited for: a newer one ends an older one that still runs, with all it has started.
 * on_reload is apart: it only ends an earlier on_reload. before_stop and pre_promote are waited for, with a limit, by
 * whoever asks; one at a time.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "config/config.h"

enum hook {
    HOOK_ON_START,
    HOOK_ON_STOP,
    HOOK_ON_RESTART,
    HOOK_ON_RELOAD,
    HOOK_ON_ROLE_CHANGE,
    HOOK_BEFORE_STOP,
    HOOK_PRE_PROMOTE,
};

const char *hook_name(enum hook what); /* "on_start" */

struct hook_runs;
int hook_runs_new(sd_event *loop, const struct config *config, struct hook_runs **ret, struct err *err);
/* Ends what is waited for; callbacks run on. NULL is fine. */
struct hook_runs *hook_runs_free(struct hook_runs *h);
DEFINE_CLEANUP(struct hook_runs, hook_runs_free)

bool hook_is_configured(const struct hook_runs *h, enum hook what);

/* Starts a callback with the arguments action, role and scope; nothing if none is configured. Failures are logged. */
void hook_tell(struct hook_runs *h, enum hook what, const char *role);
bool hook_is_telling(const struct hook_runs *h); /* a callback (not on_reload) still runs */

/*
 * Starts before_stop or pre_promote, without arguments, and calls done() once from the loop: true if it ended with 0
 * within timeout_us. Returns false, and calls nothing, if none is configured. What is waited for already is ended
 * first.
 */
typedef void (*hook_done_fn)(void *userdata, bool good);
bool hook_wait(struct hook_runs *h, enum hook what, uint64_t timeout_us, hook_done_fn done, void *userdata);
void hook_wait_no_more(struct hook_runs *h); /* ends it, with all it has started; no callback. NULL is fine */
