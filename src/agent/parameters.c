/*
 * What PostgreSQL says of its parameters: once per start what there is (the catalog, by which values are judged before
 * they get into a file), and after each reload whether it took what it has read. What it did not take is left out from
 * then on: it would stop the next start.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"

enum { QUERY_TIMEOUT_US = 5000000, AGAIN_US = 10000000, CATALOG_MAX_BYTES = 1024 * 1024 };

/* --- notes -------------------------------------------------------------------------------------------------------- */

static void log_lines(const char *text)
{
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");

        log_warning("%.*s", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

/* Keeps a text that may have changed, and logs it if so. */
static void keep_note(char **kept, char *text)
{
    if (text && !*text) {
        free(text);
        text = NULL;
    }
    if (text && !text_equal(*kept, text))
        log_lines(text);
    free(*kept);
    *kept = text;
}

void parameters_note(struct agent *a, char *notes)
{
    keep_note(&a->parameters.notes, notes);
}

static unsigned count_lines(const char *text)
{
    unsigned n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

const char *parameters_summary(const struct agent *a)
{
    static char first[160]; /* valid until the next call */
    const char *text = a->parameters.notes ? a->parameters.notes : a->parameters.file_note;

    first[0] = '\0';
    if (text && count_lines(text) > 1)
        (void)text_print(first, sizeof(first), "%.*s (and %u more)", (int)strcspn(text, "\n"), text,
                         count_lines(text) - 1);
    else if (text)
        (void)text_print(first, sizeof(first), "%.*s", (int)strcspn(text, "\n"), text);
    else if (a->parameters.later)
        (void)text_print(first, sizeof(first), "a restart waits: %s", a->parameters.later);
    return first;
}

/* --- the catalog -------------------------------------------------------------------------------------------------- */

static bool catalog_path(const struct agent *a, char *buf, size_t size)
{
    return text_print(buf, size, "%s/" GUC_CATALOG_FILE, a->config->postgresql.data_dir);
}

void parameters_load_catalog(struct agent *a)
{
    CLEANUP(freep) char *text = NULL;
    struct err err = {0};
    char path[512];

    if (a->parameters.catalog || !catalog_path(a, path, sizeof(path)) ||
        file_read(path, CATALOG_MAX_BYTES, &text, NULL, NULL) < 0)
        return;
    if (guc_catalog_load(text, &a->parameters.catalog, &err) < 0)
        log_warning("\"%s\" is of no use: %s", path, err.msg);
}

static void save_catalog(const struct agent *a)
{
    CLEANUP(freep) char *text = guc_catalog_print(a->parameters.catalog);
    CLEANUP(freep) char *old = NULL;
    struct err err = {0};
    char path[512];

    if (!text || !catalog_path(a, path, sizeof(path)))
        return;
    if (file_read(path, CATALOG_MAX_BYTES, &old, NULL, NULL) >= 0 && strcmp(old, text) == 0)
        return;
    if (file_write_atomic(path, text, strlen(text), 0600, &err) < 0)
        log_warning("could not keep what PostgreSQL says of its parameters: %s", err.msg);
}

static void try_later(struct agent *a)
{
    a->parameters.ask_again_at_us = clock_now_us() + AGAIN_US;
}

static void on_catalog(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct agent *a = userdata;
    struct guc_catalog *catalog = NULL;
    struct err bad = *err;

    (void)sqlstate;
    if (err->code == 0)
        (void)guc_catalog_read(rows, &catalog, &bad);
    a->parameters.command = pg_command_free(a->parameters.command);
    if (!catalog) {
        log_warning("could not ask PostgreSQL for its parameters: %s", bad.msg);
        try_later(a);
        return;
    }
    (void)guc_catalog_free(a->parameters.catalog);
    a->parameters.catalog = catalog;
    a->parameters.catalog_epoch_us = a->pg.facts.postmaster_start_epoch_us;
    a->parameters.pending_at_us = 0;
    save_catalog(a);
    a->config_unsettled = true; /* what was written before may not stand the judgement */
    agent_wake(a);
}

/* --- after a reload ----------------------------------------------------------------------------------------------- */

/*
 * Of the generated file what can change with a reload and was not taken; what takes effect with the next start, for the
 * reason of a pending restart (errors do not count there: that it differs is one); and the lines of the others that the
 * server has ignored, which it will not start with. The last column keeps the order of the file.
 */
static const char verify_sql[] =
    "SELECT CASE WHEN s.context <> 'postmaster' THEN 'refused' ELSE 'file' END, f.name, f.setting, f.seqno"
    " FROM pg_file_settings f JOIN pg_settings s ON lower(s.name) = lower(f.name)"
    " WHERE s.context = 'postmaster'"
    " OR (f.error IS NOT NULL AND f.sourcefile = current_setting('config_file') AND s.context <> 'internal')"
    " UNION ALL SELECT 'broken', f.sourcefile || ' line ' || f.sourceline, f.error, f.seqno"
    " FROM pg_file_settings f WHERE f.name IS NULL AND f.error IS NOT NULL"
    " UNION ALL SELECT 'broken', 'pg_hba.conf line ' || line_number, error, 0"
    " FROM pg_hba_file_rules WHERE error IS NOT NULL ORDER BY 4";
enum { VERIFY_COLUMNS = 4 };

static void take_row(struct agent *a, const char *const *row, struct textbuf *broken, bool *any_refused)
{
    if (!row[0] || !row[1] || !row[2])
        return;
    if (strcmp(row[0], "file") == 0) {
        (void)settings_set(&a->parameters.file_values, row[1], row[2]);
    } else if (strcmp(row[0], "refused") == 0) {
        *any_refused = settings_set(&a->parameters.refused, row[1], row[2]);
    } else {
        textbuf_printf(broken, "%s: %s; the server keeps what it had, and will not start with it\n", row[1], row[2]);
    }
}

static void on_verified(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct agent *a = userdata;
    struct textbuf broken = {0};
    bool any_refused = false;

    (void)sqlstate;
    settings_done(&a->parameters.file_values);
    if (err->code)
        log_debug("could not ask PostgreSQL for what it says of its files: %s", err->msg);
    for (size_t i = 0; i < rows->n_rows && rows->n_columns == VERIFY_COLUMNS; i++)
        take_row(a, rows->values + i * VERIFY_COLUMNS, &broken, &any_refused);
    keep_note(&a->parameters.file_note, textbuf_take(&broken));
    a->parameters.command = pg_command_free(a->parameters.command);
    a->parameters.pending_at_us = 0;
    a->config_unsettled |= any_refused;
    agent_wake(a);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static void ask(struct agent *a, const char *sql, pg_command_fn done)
{
    struct err err = {0};

    if (pg_command_start(a->loop, agent_pg_login(a), sql, QUERY_TIMEOUT_US, done, a, &a->parameters.command, &err) >= 0)
        return;
    log_warning("could not ask PostgreSQL for its parameters: %s", err.msg);
    try_later(a);
}

void parameters_update(struct agent *a)
{
    uint64_t now_us = clock_now_us();
    struct parameters *p = &a->parameters;

    if (p->command || a->op.kind != OP_NONE || !a->pg.valid || !pg_server_pid(a->server) || now_us < p->ask_again_at_us)
        return;
    if (p->catalog_epoch_us != a->pg.facts.postmaster_start_epoch_us) {
        ask(a, guc_catalog_sql, on_catalog);
    } else if (p->verify_at_us && now_us >= p->verify_at_us) {
        p->verify_at_us = 0;
        ask(a, verify_sql, on_verified);
    } else if (p->verify_at_us) {
        agent_wake_at(a, p->verify_at_us);
    }
}

void parameters_done(struct agent *a)
{
    struct parameters *p = &a->parameters;

    p->command = pg_command_free(p->command);
    p->control_run = pg_controldata_free(p->control_run);
    p->catalog = guc_catalog_free(p->catalog);
    settings_done(&p->refused);
    settings_done(&p->file_values);
    free(p->notes);
    free(p->file_note);
    free(p->pending_json);
    free(p->later);
    *p = (struct parameters){0};
}
