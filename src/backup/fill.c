#include "backup/fill.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "backup/plan.h"
#include "base/clock.h"
#include "base/loop.h"
#include "base/text.h"
#include "pg/datadir.h"

#define RETRY_PAUSE_US (5 * USEC_PER_SEC)
#define DISK_TIMEOUT_US (30 * USEC_PER_SEC)

enum fill_stage {
    STAGE_LOOK,  /* are the directories absent or empty? */
    STAGE_CHMOD, /* an existing one gets the mode the server insists on */
    STAGE_RUN,   /* the program */
    STAGE_HBA,   /* lines for pg_hba.conf */
    STAGE_CLEAN, /* what a failed or cancelled run left is removed */
    STAGE_PAUSE, /* before the next attempt */
    STAGE_DONE,
};

struct target { /* a directory that belongs to the copy */
    const char *path;
    bool existed; /* empty, before we came: then it stays, only its content goes */
    mode_t mode;
};

struct fill {
    sd_event *loop;
    struct fill_plan plan;
    fill_done_fn done;
    void *userdata;
    enum fill_stage stage;
    bool is_cancelled;
    unsigned attempt;
    struct target targets[2];
    size_t n_targets, at; /* at: the target being worked on */
    struct datadir *look;
    struct child *child;
    sd_event_source *timer;
    uint64_t done_bytes, total_bytes;
    struct err failure;        /* of the last attempt */
    struct fill *next_dropped; /* list of those whose owner is gone while they still clean up */
};

/*
 * Cancelled ones live on until what they created is removed, and nobody else holds them. Starting anew in the same
 * directory meanwhile would race with the removal.
 */
static struct fill *dropped;

static void look_at_target(struct fill *f);
static void run_tool(struct fill *f);
static void clean_target(struct fill *f);

void fill_plan_done(struct fill_plan *plan)
{
    free(plan->data_dir);
    free(plan->wal_dir);
    tool_args_done(&plan->args);
    for (size_t i = 0; i < ARRAY_LEN(plan->env); i++)
        free(plan->env[i]);
    if (plan->input)
        explicit_bzero(plan->input, strlen(plan->input));
    free(plan->input);
    free(plan->hba_lines);
    free(plan->cgroup_procs);
    *plan = (struct fill_plan){0};
}

static struct fill *release(struct fill *f)
{
    for (struct fill **at = &dropped; *at; at = &(*at)->next_dropped)
        if (*at == f) {
            *at = f->next_dropped;
            break;
        }
    (void)loop_source_free(f->timer);
    (void)datadir_free(f->look);
    (void)child_free(f->child);
    fill_plan_done(&f->plan);
    free(f);
    return NULL;
}

/* The last thing that happens to a fill: its owner may free it from the callback. */
static void finish(struct fill *f, const struct err *failure)
{
    struct err err = *failure;

    f->stage = STAGE_DONE;
    if (f->is_cancelled)
        (void)release(f);
    else
        f->done(f->userdata, err.code, &err);
}

static int start_child(struct fill *f, enum fill_stage stage, const char *const *argv, uint64_t timeout_us,
                       child_done_fn done, struct err *err)
{
    static const char *const env[] = {"LC_ALL=C", NULL};
    struct child_spec spec = {.argv = argv, .env = env, .timeout_us = timeout_us};

    f->stage = stage;
    return child_start(f->loop, &spec, done, f, &f->child, err);
}

/* --- removing what a failed attempt left ----------------------------------------------------------------------------
 */

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    run_tool(userdata);
    return 0;
}

static void after_clean(struct fill *f)
{
    struct err err = {0};

    if (f->is_cancelled || f->attempt >= f->plan.attempts) {
        finish(f, &f->failure);
        return;
    }
    f->stage = STAGE_PAUSE;
    if (loop_timer_at(f->loop, &f->timer, clock_now_us() + RETRY_PAUSE_US, on_pause_over, f) < 0) {
        (void)err_set(&err, -ENOMEM, "could not wait for the next attempt");
        finish(f, &err);
    }
}

static void on_clean(void *userdata, const struct child_result *result)
{
    struct fill *f = userdata;
    bool is_removed = result->exit_code == 0;

    f->child = child_free(f->child);
    if (!is_removed) {
        (void)err_prefix(&f->failure, "could not remove the remains in \"%s\"", f->targets[f->at].path);
        f->attempt = f->plan.attempts;
    }
    f->at++;
    clean_target(f);
}

static void clean_target(struct fill *f)
{
    struct err err = {0};
    int r;

    if (f->at >= f->n_targets) {
        after_clean(f);
        return;
    }
    if (f->targets[f->at].existed) {
        const char *argv[] = {"find", "-H", f->targets[f->at].path, "-mindepth", "1", "-delete", NULL};

        r = start_child(f, STAGE_CLEAN, argv, 0, on_clean, &err);
    } else {
        const char *argv[] = {"rm", "-rf", "--", f->targets[f->at].path, NULL};

        r = start_child(f, STAGE_CLEAN, argv, 0, on_clean, &err);
    }
    if (r < 0)
        finish(f, &err);
}

static void clean(struct fill *f)
{
    f->at = 0;
    clean_target(f);
}

/* --- the program and what follows -----------------------------------------------------------------------------------
 */

static void on_hba(void *userdata, const struct child_result *result)
{
    struct fill *f = userdata;

    if (result->exit_code != 0) {
        (void)tool_failure("cat", result, &f->failure);
        (void)err_prefix(&f->failure, "could not write pg_hba.conf");
    }
    f->child = child_free(f->child);
    if (f->failure.code || f->is_cancelled)
        clean(f);
    else
        finish(f, &f->failure);
}

/* Appended by a child: the disk may stall, the event loop must not. */
static int append_hba_lines(struct fill *f)
{
    static const char *const argv[] = {"cat", NULL};
    struct textbuf path = {0};
    struct child_spec spec = {.argv = argv, .input = f->plan.hba_lines, .timeout_us = DISK_TIMEOUT_US};
    int r = -ENOMEM;

    f->stage = STAGE_HBA;
    textbuf_printf(&path, "%s/pg_hba.conf", f->plan.data_dir);
    spec.output_path = path.data;
    if (!path.failed)
        r = child_start(f->loop, &spec, on_hba, f, &f->child, &f->failure);
    textbuf_done(&path);
    return r;
}

static void on_tool(void *userdata, const struct child_result *result)
{
    struct fill *f = userdata;
    bool is_ok = result->exit_code == 0;

    if (!is_ok)
        (void)tool_failure(f->plan.tool, result, &f->failure);
    f->child = child_free(f->child);
    if (!is_ok || f->is_cancelled)
        clean(f);
    else if (!f->plan.hba_lines)
        finish(f, &(struct err){0});
    else if (append_hba_lines(f) < 0)
        clean(f);
}

static void on_tool_line(void *userdata, const char *line)
{
    struct fill *f = userdata;

    if (f->plan.parse_progress)
        (void)f->plan.parse_progress(line, &f->done_bytes, &f->total_bytes);
}

static void run_tool(struct fill *f)
{
    struct child_spec spec = {
        .argv = tool_args_list(&f->plan.args),
        .env = (const char *const *)f->plan.env,
        .env_unset = tool_env_unset,
        .cgroup_procs = f->plan.cgroup_procs,
        .input = f->plan.input,
        .on_line = on_tool_line,
    };

    f->stage = STAGE_RUN;
    f->attempt++;
    f->done_bytes = f->total_bytes = 0;
    f->failure = (struct err){0};
    if (child_start(f->loop, &spec, on_tool, f, &f->child, &f->failure) < 0)
        finish(f, &f->failure);
}

/* --- before it: the directories -------------------------------------------------------------------------------------
 */

static void on_chmod(void *userdata, const struct child_result *result)
{
    struct fill *f = userdata;
    struct err err = {0};

    if (result->exit_code != 0)
        (void)tool_failure("chmod", result, &err);
    f->child = child_free(f->child);
    if (err.code)
        finish(f, &err);
    else
        run_tool(f);
}

/* The server refuses to start in a directory that others can read; pg_basebackup takes one as it is. */
static void fix_mode(struct fill *f)
{
    const char *argv[] = {"chmod", "0700", f->plan.data_dir, NULL};
    mode_t mode = f->targets[0].mode & 07777;
    struct err err = {0};

    if (!f->targets[0].existed || mode == 0700 || mode == 0750)
        run_tool(f);
    else if (start_child(f, STAGE_CHMOD, argv, DISK_TIMEOUT_US, on_chmod, &err) < 0)
        finish(f, &err);
}

static void check_look(const struct fill *f, const struct datadir_look *look, struct err *err)
{
    const char *path = f->targets[f->at].path;

    if (look->exists && look->owner != geteuid())
        (void)err_set(err, -EPERM, "cannot use directory \"%s\": it belongs to user id %u, not to ours (%u)", path,
                      (unsigned)look->owner, (unsigned)geteuid());
    else if (look->is_unused && !look->is_empty)
        (void)err_set(err, -ENOTEMPTY,
                      "cannot fill directory \"%s\": it has \"%s\" in it\nHINT:  use a directory below "
                      "the mount point",
                      path, look->sample);
    else if (!look->is_empty)
        (void)err_set(err, -ENOTEMPTY, "cannot fill directory \"%s\": it is not empty", path);
}

static void on_look(void *userdata, int outcome, const struct datadir_look *look, const struct err *look_err)
{
    struct fill *f = userdata;
    struct err err = *look_err;

    if (outcome == 0)
        check_look(f, look, &err);
    f->targets[f->at].existed = look->exists;
    f->targets[f->at].mode = look->mode;
    f->look = datadir_free(f->look);
    if (err.code) {
        finish(f, &err);
    } else if (++f->at < f->n_targets) {
        look_at_target(f);
    } else {
        fix_mode(f);
    }
}

static void look_at_target(struct fill *f)
{
    struct err err = {0};

    if (datadir_look_start(f->loop, f->targets[f->at].path, DISK_TIMEOUT_US, on_look, f, &f->look, &err) < 0)
        finish(f, &err);
}

/* --- the interface --------------------------------------------------------------------------------------------------
 */

int fill_start(sd_event *loop, struct fill_plan *plan, fill_done_fn done, void *userdata, struct fill **ret,
               struct err *err)
{
    struct fill *f;
    int r;

    for (f = dropped; f; f = f->next_dropped)
        if (text_equal(f->plan.data_dir, plan->data_dir))
            return err_set(err, -EBUSY, "the remains of a cancelled %s are still being removed", f->plan.tool);
    f = calloc(1, sizeof(*f));
    if (!f)
        return err_set(err, -ENOMEM, "out of memory");
    *f = (struct fill){.loop = loop, .plan = *plan, .done = done, .userdata = userdata};
    *plan = (struct fill_plan){0};
    f->targets[f->n_targets++].path = f->plan.data_dir;
    if (f->plan.wal_dir)
        f->targets[f->n_targets++].path = f->plan.wal_dir;
    r = datadir_look_start(loop, f->plan.data_dir, DISK_TIMEOUT_US, on_look, f, &f->look, err);
    if (r < 0) {
        (void)release(f);
        return r;
    }
    *ret = f;
    return 0;
}

void fill_get_progress(const struct fill *f, struct fill_progress *ret)
{
    *ret = (struct fill_progress){.done_bytes = f->done_bytes, .total_bytes = f->total_bytes};
    (void)text_copy(ret->what, sizeof(ret->what), f->plan.what);
}

struct fill *fill_free(struct fill *f)
{
    if (!f)
        return NULL;
    if (f->stage != STAGE_RUN && f->stage != STAGE_HBA && f->stage != STAGE_CLEAN)
        return release(f);
    /* Its end is awaited before anything is removed: a dying program still writes. */
    f->is_cancelled = true;
    f->next_dropped = dropped;
    dropped = f;
    if (f->stage != STAGE_CLEAN)
        child_signal(f->child, SIGKILL);
    return NULL;
}
