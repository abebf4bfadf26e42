/*
 * pg_rewind, and what belongs before it: look where both histories part, list what will be lost, archive what is not
 * archived yet, find out how to get at archived WAL. One step after the other, each a child process or a question to
 * the leader.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "pg/archive_ready.h"
#include "pg/controldata.h"
#include "pg/leader.h"
#include "pg/lockfile.h"
#include "pg/lost.h"
#include "pg/rewind.h"
#include "pg/tool.h"

#define DISK_TIMEOUT_US (30 * USEC_PER_SEC)
#define LEADER_TIMEOUT_US (30 * USEC_PER_SEC)
enum { HISTORY_MAX = 1024 * 1024, CONFIG_FILE_MAJOR = 15 };

struct rewind_run {
    sd_event *loop;
    const struct config *config;
    int server_major;
    char *leader_name, *leader_host, *cgroup_procs, *dsn;
    struct pg_upstream upstream; /* of the copies above */
    struct pg_controldata *control;
    struct pg_leader *leader;
    struct lost *lost;
    struct archive_ready *archive;
    struct child *child;
    struct local_pg local;
    uint32_t leader_timeline;
    struct history_line *leader_history;
    size_t n_leader_history;
    struct textbuf text;       /* the local history file, later the restore_command */
    struct lost_report report; /* what is lost */
    struct archive_report archived;
    uint64_t done_bytes, total_bytes;
    bool has_written, not_required; /* as pg_rewind says */
    rewind_begins_fn begins;
    rewind_done_fn done;
    void *userdata;
};

static const char *const c_locale[] = {"LC_ALL=C", "LANG=C", NULL};

/* Behind what was lost, which matters more. */
static void note_left(const struct archive_report *a, struct err *err)
{
    char before[sizeof(err->msg)];

    (void)text_copy(before, sizeof(before), err->msg);
    (void)err_set(err, 0, "%s%s%zu files of WAL could not be archived and are gone: %s", before, before[0] ? "; " : "",
                  a->n_left, a->problem);
}

/* The last thing that happens: the callback may free us. */
static void finish(struct rewind_run *r, const struct err *failure)
{
    const struct lost_report *lost = &r->report;
    struct err err = *failure;

    if (!err.code && lost->n_lost > 0)
        (void)err_set(&err, 0, "%" PRIu64 " committed transactions were lost, see \"%s\"%s", lost->n_lost, lost->path,
                      lost->is_complete ? "" : " (the list is incomplete)");
    else if (!err.code && !lost->is_complete)
        (void)err_set(&err, 0, "what was lost is not known: %s", lost->problem);
    if (!err.code && lost->n_lost > 0 && !lost->is_written)
        (void)err_set(&err, 0, "%" PRIu64 " committed transactions were lost, their list could not be written: %s",
                      lost->n_lost, lost->problem);
    if (!err.code && r->archived.n_left)
        note_left(&r->archived, &err);
    r->done(r->userdata, err.code, &err);
}

/* --- 7: pg_rewind ---------------------------------------------------------------------------------------------------
 */

/*
 * pg_rewind does nothing where both are on one timeline. A primary that was killed so soon after its promotion that its
 * control file did not say so yet comes out of crash recovery on a timeline of its own; if that has the number of the
 * leader's, it is another one all the same, with other WAL.
 */
static void on_control_after(void *userdata, int outcome, const struct local_pg *found, const struct err *control_err)
{
    struct rewind_run *r = userdata;
    struct err err = *control_err;

    if (outcome == 0 && found->control_timeline == r->leader_timeline) {
        r->has_written = true; /* it must not be started as it is */
        (void)err_set(&err, -EXDEV,
                      "this node and \"%s\" were both promoted to timeline %" PRIu32 ": only a new copy helps",
                      r->leader_name, r->leader_timeline);
    }
    r->control = pg_controldata_free(r->control);
    finish(r, &err);
}

static bool was_killed_as_primary_before(const struct rewind_run *r)
{
    enum pg_control_state state = r->local.control_state;

    return (state == PG_CONTROL_IN_PRODUCTION || state == PG_CONTROL_IN_CRASH_RECOVERY ||
            state == PG_CONTROL_SHUTTING_DOWN) &&
           r->local.control_timeline < r->leader_timeline;
}

static void on_rewind(void *userdata, const struct child_result *result)
{
    struct rewind_run *r = userdata;
    struct err err = {0};

    if (result->exit_code != 0)
        (void)tool_failure("pg_rewind", result, &err);
    r->child = child_free(r->child);
    if (!err.code && r->not_required && was_killed_as_primary_before(r) &&
        pg_controldata_start(r->loop, r->config, DISK_TIMEOUT_US, on_control_after, r, &r->control, &err) == 0)
        return;
    finish(r, &err);
}

/*
 * "  123/4567 kB (2%) copied". The line about what there is to copy is the last one before the first write
 * (pg_rewind.c, main()).
 */
static void on_rewind_line(void *userdata, const char *line)
{
    struct rewind_run *r = userdata;

    r->has_written = r->has_written || strstr(line, "need to copy") != NULL;
    r->not_required = r->not_required || strstr(line, "no rewind required") != NULL;
    (void)tool_parse_progress(line, &r->done_bytes, &r->total_bytes);
}

/*
 * pg_rewind asks the server for its restore_command, by the configuration in the data directory: where that is
 * elsewhere it must be told, which it understands since version 15. Up to then it can only do without the archive
 * there.
 */
static void add_archive(const struct rewind_run *r, struct tool_args *args)
{
    const char *data_dir = r->config->postgresql.data_dir, *dir = r->config->postgresql.config_dir;
    const char *base = r->config->postgresql.config_base_name;
    bool is_elsewhere = dir && !text_equal(dir, data_dir);

    if (is_elsewhere && r->server_major < CONFIG_FILE_MAJOR)
        return;
    tool_args_add(args, "--restore-target-wal");
    if (is_elsewhere)
        tool_args_add(args, "--config-file=%s/%s.conf", dir, base ? base : "postgresql");
}

static int run_rewind(struct rewind_run *r, struct err *err)
{
    struct tool_args args = {0};
    struct textbuf passfile = {0};
    const char *env[] = {"LC_ALL=C", "LANG=C", "PGOPTIONS=-c statement_timeout=0", NULL, NULL};
    struct child_spec spec = {
        .env = env, .env_unset = tool_env_unset, .cgroup_procs = r->cgroup_procs, .on_line = on_rewind_line};
    int code;

    tool_args_program(&args, r->config, "pg_rewind");
    tool_args_add(&args, "--target-pgdata=%s", r->config->postgresql.data_dir);
    tool_args_add(&args, "--source-server=%s", r->dsn);
    tool_args_add(&args, "--progress");
    if (r->text.len > 0)
        add_archive(r, &args);
    textbuf_printf(&passfile, "PGPASSFILE=%s", r->config->postgresql.pgpass ? r->config->postgresql.pgpass : "");
    env[3] = passfile.data;
    spec.argv = tool_args_list(&args);
    if (spec.argv && !passfile.failed && r->begins)
        r->begins(r->userdata);
    code = spec.argv && !passfile.failed ? child_start(r->loop, &spec, on_rewind, r, &r->child, err)
                                         : err_set(err, -ENOMEM, "out of memory");
    textbuf_done(&passfile);
    tool_args_done(&args);
    return code;
}

/* Should it fail, pg_rewind tries by itself and says why. */
static void on_recovered(void *userdata, const struct child_result *result)
{
    struct rewind_run *r = userdata;
    struct err err = {0};

    (void)result;
    r->child = child_free(r->child);
    if (run_rewind(r, &err) < 0)
        finish(r, &err);
}

/*
 * Crash recovery in a single-user server, as the reference does it. pg_rewind would, too, but with the settings of the
 * data directory, which may have its configuration elsewhere, and so that the checkpoint at its end removes WAL which
 * pg_rewind is about to read: back to the last checkpoint that both have in common. With an archive that takes nothing
 * nothing is removed.
 */
static int recover(struct rewind_run *r, struct err *err)
{
    const char *data_dir = r->config->postgresql.data_dir, *dir = r->config->postgresql.config_dir;
    const char *base = r->config->postgresql.config_base_name;
    struct tool_args args = {0};
    struct child_spec spec = {
        .env = c_locale, .env_unset = tool_env_unset, .cgroup_procs = r->cgroup_procs, .input = ""};
    int code;

    tool_args_program(&args, r->config, "postgres");
    tool_args_add(&args, "--single");
    tool_args_add(&args, "-D");
    tool_args_add(&args, "%s", data_dir);
    tool_args_add(&args, "--config-file=%s/%s.conf", dir ? dir : data_dir, base ? base : "postgresql");
    tool_args_add(&args, "--archive_mode=on");
    tool_args_add(&args, "--archive_command=false");
    tool_args_add(&args, "template1");
    spec.argv = tool_args_list(&args);
    code = spec.argv ? child_start(r->loop, &spec, on_recovered, r, &r->child, err)
                     : err_set(err, -ENOMEM, "out of memory");
    tool_args_done(&args);
    return code;
}

static void on_notes_removed(void *userdata, const struct child_result *result)
{
    struct rewind_run *r = userdata;
    struct err err = {0};

    if (result->exit_code != 0)
        (void)tool_failure("rm", result, &err);
    r->child = child_free(r->child);
    if (err.code || recover(r, &err) < 0)
        finish(r, &err);
}

/*
 * A single-user server refuses to be a standby; these files are written again before the next start. And WAL that is
 * noted as archived it would remove: without a note it first has to be archived, which never succeeds there.
 */
static int remove_notes(struct rewind_run *r, struct err *err)
{
    static const char script[] = "rm -f -- \"$1/standby.signal\" \"$1/recovery.signal\" && "
                                 "exec find \"$1/pg_wal/archive_status\" -type f -delete";
    const char *const argv[] = {"/bin/sh", "-c", script, "sh", r->config->postgresql.data_dir, NULL};
    struct child_spec spec = {.argv = argv, .env = c_locale, .timeout_us = DISK_TIMEOUT_US};

    return child_start(r->loop, &spec, on_notes_removed, r, &r->child, err);
}

static int prepare_rewind(struct rewind_run *r, struct err *err)
{
    /* Up to version 15 pg_rewind takes the timeline of the last checkpoint for that of all WAL. */
    bool is_clean = (r->local.control_state == PG_CONTROL_SHUT_DOWN ||
                     r->local.control_state == PG_CONTROL_SHUT_DOWN_IN_RECOVERY) &&
                    rewind_local_timeline(&r->local) == r->local.control_timeline;
    char socket_dir[PATH_MAX];
    int code;

    if (is_clean)
        return run_rewind(r, err);
    /* The single-user server looks at the lock file of the killed one, whose number may be somebody else's by now. */
    code = lockfile_clear_pid(r->config->postgresql.data_dir, socket_dir, sizeof(socket_dir), err);
    return code < 0 ? code : remove_notes(r, err);
}

/* --- 6: is there an archive to take missing WAL from? ---------------------------------------------------------------
 */

static void on_line_of_text(void *userdata, const char *line)
{
    struct rewind_run *r = userdata;

    if (r->text.len < HISTORY_MAX)
        textbuf_printf(&r->text, "%s\n", line);
}

/* A configuration that cannot be read is no reason not to rewind: most often no old WAL is needed. */
static void on_restore_command(void *userdata, const struct child_result *result)
{
    struct rewind_run *r = userdata;
    struct err err = {0};

    if (result->exit_code != 0 || (r->text.data && strspn(r->text.data, " \n") == r->text.len))
        textbuf_done(&r->text);
    r->child = child_free(r->child);
    if (prepare_rewind(r, &err) < 0)
        finish(r, &err);
}

static int ask_restore_command(struct rewind_run *r, struct err *err)
{
    const char *dir = r->config->postgresql.config_dir, *base = r->config->postgresql.config_base_name;
    struct tool_args args = {0};
    struct child_spec spec = {
        .env = c_locale, .env_unset = tool_env_unset, .timeout_us = DISK_TIMEOUT_US, .on_line = on_line_of_text};
    int code;

    textbuf_done(&r->text);
    tool_args_program(&args, r->config, "postgres");
    tool_args_add(&args, "-D");
    tool_args_add(&args, "%s", r->config->postgresql.data_dir);
    tool_args_add(&args, "--config-file=%s/%s.conf", dir ? dir : r->config->postgresql.data_dir,
                  base ? base : "postgresql");
    tool_args_add(&args, "-C");
    tool_args_add(&args, "restore_command");
    spec.argv = tool_args_list(&args);
    code = spec.argv ? child_start(r->loop, &spec, on_restore_command, r, &r->child, err)
                     : err_set(err, -ENOMEM, "out of memory");
    tool_args_done(&args);
    return code;
}

/* --- 5: what the archive lacks ---------------------------------------------------------------------------------------
 */

static void on_archived(void *userdata, const struct archive_report *report)
{
    struct rewind_run *r = userdata;
    struct err err = {0};

    r->archived = *report;
    r->archive = archive_ready_free(r->archive);
    if (ask_restore_command(r, &err) < 0)
        finish(r, &err);
}

/* As the list of what is lost: without an archive the rewind goes on. */
static int archive(struct rewind_run *r, struct err *err)
{
    return archive_ready_start(r->loop, r->config, r->cgroup_procs, on_archived, r, &r->archive, err);
}

/* --- 3 and 4: what will be lost -------------------------------------------------------------------------------------
 */

static void on_lost(void *userdata, const struct lost_report *report)
{
    struct rewind_run *r = userdata;
    struct err err = {0};

    r->report = *report;
    r->lost = lost_free(r->lost);
    if (archive(r, &err) < 0)
        finish(r, &err);
}

/* The list is a service; a rewind goes on without it and says so. */
static void list_lost(struct rewind_run *r, const struct history_line *history, size_t n_history)
{
    struct rewind_span *spans = calloc(n_history + 1, sizeof(*spans));
    struct err err = {0};
    size_t n = 0;

    if (spans)
        n = rewind_lost_spans(rewind_local_timeline(&r->local), history, n_history, r->leader_timeline,
                              r->leader_history, r->n_leader_history, spans);
    r->report = (struct lost_report){.is_complete = spans != NULL, .problem = "out of memory"};
    if (n > 0 && lost_start(r->loop, r->config, r->leader_name, spans, n, on_lost, r, &r->lost, &err) == 0) {
        free(spans);
        return;
    }
    free(spans);
    if (err.code) {
        r->report.is_complete = false;
        (void)text_copy(r->report.problem, sizeof(r->report.problem), err.msg);
    }
    if (archive(r, &err) < 0)
        finish(r, &err);
}

static void on_history(void *userdata, const struct child_result *result)
{
    struct rewind_run *r = userdata;
    struct history_line *history = NULL;
    struct err err = {0};
    size_t n = 0;

    if (result->exit_code != 0)
        (void)tool_failure("cat", result, &err);
    else if (r->text.data)
        (void)pg_history_parse(r->text.data, "the local history file", &history, &n, &err);
    r->child = child_free(r->child);
    if (!err.code) {
        list_lost(r, history, n);
        free(history);
        return;
    }
    r->report = (struct lost_report){.is_complete = false};
    (void)text_copy(r->report.problem, sizeof(r->report.problem), err.msg);
    if (archive(r, &err) < 0)
        finish(r, &err);
}

static int read_history(struct rewind_run *r, struct err *err)
{
    struct tool_args args = {0};
    struct child_spec spec = {.env = c_locale, .timeout_us = DISK_TIMEOUT_US, .on_line = on_line_of_text};
    int code;

    tool_args_add(&args, "cat");
    tool_args_add(&args, "%s/pg_wal/%08" PRIX32 ".history", r->config->postgresql.data_dir,
                  rewind_local_timeline(&r->local));
    spec.argv = tool_args_list(&args);
    code =
        spec.argv ? child_start(r->loop, &spec, on_history, r, &r->child, err) : err_set(err, -ENOMEM, "out of memory");
    tool_args_done(&args);
    return code;
}

/* --- 2: the leader --------------------------------------------------------------------------------------------------
 */

static int check_leader(struct rewind_run *r, const struct pg_leader_facts *f, struct err *err)
{
    if (f->in_recovery)
        return err_set(err, -EAGAIN, "cannot rewind to \"%s\" now: it is not a primary", r->leader_name);
    if (f->sysid != r->local.sysid)
        return err_set(err, -EXDEV,
                       "cannot rewind to \"%s\": it belongs to another cluster (system identifier %" PRIu64
                       ", ours %" PRIu64 ")",
                       r->leader_name, f->sysid, r->local.sysid);
    if (f->control_timeline != f->timeline)
        return err_set(err, -EAGAIN, "cannot rewind now: waiting for the checkpoint of timeline %" PRIu32 " on \"%s\"",
                       f->timeline, r->leader_name);
    r->leader_history = calloc(f->n_history + 1, sizeof(*r->leader_history));
    if (!r->leader_history)
        return err_set(err, -ENOMEM, "out of memory");
    if (f->n_history)
        memcpy(r->leader_history, f->history, f->n_history * sizeof(*f->history));
    r->n_leader_history = f->n_history;
    r->leader_timeline = f->timeline;
    return 0;
}

static void on_leader(void *userdata, int outcome, const struct pg_leader_facts *facts, const struct err *leader_err)
{
    struct rewind_run *r = userdata;
    struct err err = *leader_err;

    if (outcome == 0)
        (void)check_leader(r, facts, &err);
    r->leader = pg_leader_free(r->leader);
    if (err.code)
        finish(r, &err);
    else if (rewind_local_timeline(&r->local) <= 1)
        list_lost(r, NULL, 0);
    else if (read_history(r, &err) < 0)
        finish(r, &err);
}

/* --- 1: ourselves ---------------------------------------------------------------------------------------------------
 */

static void on_control(void *userdata, int outcome, const struct local_pg *found, const struct err *control_err)
{
    struct rewind_run *r = userdata;
    struct err err = *control_err;

    r->local = *found;
    r->control = pg_controldata_free(r->control);
    if (outcome == 0 && !r->local.control_known)
        (void)err_set(&err, -ENOENT, "cannot rewind \"%s\": there is no cluster in it", r->config->postgresql.data_dir);
    if (err.code ||
        pg_leader_ask(r->loop, r->config, &r->upstream, LEADER_TIMEOUT_US, on_leader, r, &r->leader, &err) < 0)
        finish(r, &err);
}

static int copy_arguments(struct rewind_run *r, const struct pg_upstream *leader, const char *cgroup_procs,
                          struct err *err)
{
    char dsn[2048];
    int code = tool_dsn(r->config, tool_rewind_credentials(r->config), leader->host, leader->port, r->config->name,
                        r->config->postgresql.pgpass, dsn, sizeof(dsn), err);

    if (code < 0)
        return code;
    r->leader_name = strdup(leader->member ? leader->member : leader->host);
    r->leader_host = strdup(leader->host);
    r->cgroup_procs = cgroup_procs ? strdup(cgroup_procs) : NULL;
    r->dsn = strdup(dsn);
    if (!r->leader_name || !r->leader_host || (cgroup_procs && !r->cgroup_procs) || !r->dsn)
        return err_set(err, -ENOMEM, "out of memory");
    r->upstream = (struct pg_upstream){r->leader_name, r->leader_host, leader->port};
    return 0;
}

int rewind_run_start(sd_event *loop, const struct config *config, int server_major, const struct pg_upstream *leader,
                     const char *cgroup_procs, rewind_begins_fn begins, rewind_done_fn done, void *userdata,
                     struct rewind_run **ret, struct err *err)
{
    struct rewind_run *r = calloc(1, sizeof(*r));
    int code;

    if (!r)
        return err_set(err, -ENOMEM, "out of memory");
    *r = (struct rewind_run){.loop = loop,
                             .config = config,
                             .server_major = server_major,
                             .begins = begins,
                             .done = done,
                             .userdata = userdata};
    code = copy_arguments(r, leader, cgroup_procs, err);
    if (code >= 0)
        code = pg_files_passfile(config, leader, err);
    if (code >= 0)
        code = pg_controldata_start(loop, config, DISK_TIMEOUT_US, on_control, r, &r->control, err);
    if (code < 0) {
        (void)rewind_run_free(r);
        return code;
    }
    *ret = r;
    return 0;
}

void rewind_run_get_progress(const struct rewind_run *r, uint64_t *ret_done_bytes, uint64_t *ret_total_bytes)
{
    *ret_done_bytes = r->done_bytes;
    *ret_total_bytes = r->total_bytes;
}

bool rewind_run_has_written(const struct rewind_run *r)
{
    return r->has_written;
}

struct rewind_run *rewind_run_free(struct rewind_run *r)
{
    if (!r)
        return NULL;
    (void)pg_controldata_free(r->control);
    (void)pg_leader_free(r->leader);
    (void)lost_free(r->lost);
    (void)archive_ready_free(r->archive);
    (void)child_free(r->child);
    textbuf_done(&r->text);
    free(r->leader_history);
    free(r->leader_name);
    free(r->leader_host);
    free(r->cgroup_procs);
    free(r->dsn);
    free(r);
    return NULL;
}
