#include "pg/lost.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/text.h"
#include "io/child.h"
#include "pg/tool.h"

enum { LISTED_MAX = 100000 }; /* beyond, transactions are only counted */
#define WRITE_TIMEOUT_US (60 * USEC_PER_SEC)

struct lost {
    sd_event *loop;
    const struct config *config;
    char leader[MEMBER_NAME_SIZE];
    struct rewind_span *spans;
    size_t n_spans, at; /* at: the span being read */
    struct textbuf list;
    struct lost_report report;
    struct child *child;
    lost_fn done;
    void *userdata;
};

static int read_span(struct lost *l, struct err *err);

bool lost_parse_commit(const char *line, char *buf, size_t size)
{
    const char *desc = strstr(line, "desc: COMMIT"), *tx = strstr(line, "tx:"), *lsn = strstr(line, "lsn: ");
    const char *when;

    if (!text_starts_with(line, "rmgr: Transaction") || !desc || !tx || !lsn)
        return false;
    tx += strlen("tx:");
    tx += strspn(tx, " ");
    lsn += strlen("lsn: ");
    /* "COMMIT 2026-…", "COMMIT_PREPARED 735: 2026-…"; behind the time there may be lists of any length. */
    when = desc + strlen("desc: COMMIT");
    when += strcspn(when, " ");
    when += strspn(when, " ");
    return text_print(buf, size, "%.*s\t%.*s\t%.*s", (int)strcspn(lsn, ","), lsn, (int)strcspn(tx, ","), tx,
                      (int)strcspn(when, ";"), when);
}

bool lost_is_end_of_wal(const char *output)
{
    static const char *const missing[] = {"could not find file", "could not open file", "could not locate",
                                          "could not open directory", "could not read"};

    for (size_t i = 0; i < ARRAY_LEN(missing); i++)
        if (strstr(output, missing[i]))
            return false;
    return true;
}

static void finish(struct lost *l)
{
    struct lost_report report = l->report; /* the callback may free us */

    l->done(l->userdata, &report);
}

/* --- the file -------------------------------------------------------------------------------------------------------
 */

/* "demo" and "node1" come from the configuration and may hold what a file name must not. */
static void put_name(struct textbuf *b, const char *name)
{
    for (; *name; name++)
        textbuf_append(b, strchr("/ \t\n", *name) ? "_" : name, 1);
}

static void choose_path(struct lost *l)
{
    const char *log_file = l->config->postgresql.log_file, *slash = log_file ? strrchr(log_file, '/') : NULL;
    struct textbuf b = {0};
    char when[32];
    time_t now = time(NULL);
    struct tm tm;

    if (slash)
        textbuf_append(&b, log_file, (size_t)(slash - log_file));
    else
        textbuf_puts(&b, l->config->postgresql.run_dir ? l->config->postgresql.run_dir : "/tmp");
    textbuf_puts(&b, "/lost-transactions-");
    put_name(&b, l->config->scope);
    textbuf_puts(&b, "-");
    put_name(&b, l->config->name);
    (void)strftime(when, sizeof(when), "%Y%m%dT%H%M%S", localtime_r(&now, &tm));
    textbuf_printf(&b, "-%s.txt", when);
    if (!b.failed)
        (void)text_copy(l->report.path, sizeof(l->report.path), b.data);
    textbuf_done(&b);
}

static char *report_text(const struct lost *l)
{
    struct textbuf b = {0};
    char lsn[TEXT_LSN_SIZE];

    textbuf_printf(&b,
                   "# Transactions that \"%s\" of \"%s\" had committed and that pg_rewind removed,\n"
                   "# because the leader \"%s\" does not have them.\n",
                   l->config->name, l->config->scope, l->leader);
    for (size_t i = 0; i < l->n_spans; i++)
        textbuf_printf(&b, "# WAL of timeline %" PRIu32 " from %s on\n", l->spans[i].timeline,
                       text_print_lsn(l->spans[i].start_lsn, lsn, sizeof(lsn)));
    if (!l->report.is_complete)
        textbuf_printf(&b, "# THE LIST IS INCOMPLETE: %s\n", l->report.problem);
    if (l->report.n_lost > LISTED_MAX)
        textbuf_printf(&b, "# only the first %d of %" PRIu64 " are listed\n", LISTED_MAX, l->report.n_lost);
    textbuf_puts(&b, "# timeline\tlsn\txid\tcommitted at\n");
    textbuf_puts(&b, l->list.data ? l->list.data : "");
    return textbuf_take(&b);
}

static void on_written(void *userdata, const struct child_result *result)
{
    struct lost *l = userdata;
    struct err err = {0};

    l->report.is_written = result->exit_code == 0;
    if (!l->report.is_written) {
        (void)tool_failure("cat", result, &err);
        (void)text_copy(l->report.problem, sizeof(l->report.problem), err.msg);
    }
    l->child = child_free(l->child);
    finish(l);
}

/* By a child, because the disk may be what is broken. */
static void write_report(struct lost *l)
{
    static const char *const argv[] = {"cat", NULL};
    CLEANUP(freep) char *text = NULL;
    struct child_spec spec = {.argv = argv, .timeout_us = WRITE_TIMEOUT_US};
    struct err err = {0};

    if (l->report.n_lost == 0 && l->report.is_complete) {
        finish(l);
        return;
    }
    choose_path(l);
    text = report_text(l);
    spec.input = text;
    spec.output_path = l->report.path;
    if (text && child_start(l->loop, &spec, on_written, l, &l->child, &err) == 0)
        return;
    (void)text_copy(l->report.problem, sizeof(l->report.problem), text ? err.msg : "out of memory");
    finish(l);
}

/* --- reading the WAL ------------------------------------------------------------------------------------------------
 */

static void on_line(void *userdata, const char *line)
{
    struct lost *l = userdata;
    char commit[160];

    if (!lost_parse_commit(line, commit, sizeof(commit)))
        return;
    if (l->report.n_lost++ < LISTED_MAX)
        textbuf_printf(&l->list, "%" PRIu32 "\t%s\n", l->spans[l->at].timeline, commit);
}

static void set_problem(struct lost *l, const struct err *err)
{
    l->report.is_complete = false;
    if (!l->report.problem[0])
        (void)text_copy(l->report.problem, sizeof(l->report.problem), err->msg);
}

/* At the end of the WAL pg_waldump always fails: there is no record. */
static void on_waldump(void *userdata, const struct child_result *result)
{
    struct lost *l = userdata;
    struct err err = {0};

    if (result->exit_code != 0 && (result->exit_code != 1 || !lost_is_end_of_wal(result->output))) {
        (void)tool_failure("pg_waldump", result, &err);
        set_problem(l, &err);
    }
    l->child = child_free(l->child);
    err = (struct err){0};
    if (++l->at < l->n_spans && read_span(l, &err) == 0)
        return;
    if (err.code)
        set_problem(l, &err);
    write_report(l);
}

static int read_span(struct lost *l, struct err *err)
{
    static const char *const env[] = {"LC_ALL=C", "LANG=C", NULL};
    struct tool_args args = {0};
    struct child_spec spec = {.env = env, .env_unset = tool_env_unset, .on_line = on_line};
    char lsn[TEXT_LSN_SIZE];
    int r;

    tool_args_program(&args, l->config, "pg_waldump");
    tool_args_add(&args, "--path=%s/pg_wal", l->config->postgresql.data_dir);
    tool_args_add(&args, "--rmgr=Transaction");
    tool_args_add(&args, "--timeline=%" PRIu32, l->spans[l->at].timeline);
    tool_args_add(&args, "--start=%s", text_print_lsn(l->spans[l->at].start_lsn, lsn, sizeof(lsn)));
    if (l->spans[l->at].end_lsn)
        tool_args_add(&args, "--end=%s", text_print_lsn(l->spans[l->at].end_lsn, lsn, sizeof(lsn)));
    spec.argv = tool_args_list(&args);
    r = spec.argv ? child_start(l->loop, &spec, on_waldump, l, &l->child, err) : err_set(err, -ENOMEM, "out of memory");
    tool_args_done(&args);
    return r;
}

int lost_start(sd_event *loop, const struct config *config, const char *leader, const struct rewind_span *spans,
               size_t n_spans, lost_fn done, void *userdata, struct lost **ret, struct err *err)
{
    struct lost *l = calloc(1, sizeof(*l));
    int r;

    assert(n_spans > 0);
    if (!l)
        return err_set(err, -ENOMEM, "out of memory");
    *l = (struct lost){.loop = loop, .config = config, .n_spans = n_spans, .done = done, .userdata = userdata};
    (void)text_copy(l->leader, sizeof(l->leader), leader);
    l->report.is_complete = true;
    l->spans = calloc(n_spans, sizeof(*spans));
    if (l->spans)
        memcpy(l->spans, spans, n_spans * sizeof(*spans));
    r = l->spans ? read_span(l, err) : err_set(err, -ENOMEM, "out of memory");
    if (r < 0) {
        (void)lost_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

struct lost *lost_free(struct lost *l)
{
    if (!l)
        return NULL;
    (void)child_free(l->child);
    textbuf_done(&l->list);
    free(l->spans);
    free(l);
    return NULL;
}
