/* The catalog: rows and files into it, and what it has against a list of parameters. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "pg/guc.h"

enum { ITEMS_MAX = 4000, LIMIT_SIZE = 64 };

/* Columns by place: name, vartype, context, unit, enumvals, min_val, max_val, setting, boot_val, version. */
const char guc_catalog_sql[] =
    "SELECT name, vartype, context, COALESCE(unit, ''), COALESCE(array_to_string(enumvals, ','), ''),"
    " COALESCE(min_val, ''), COALESCE(max_val, ''), COALESCE(setting, ''), COALESCE(boot_val, ''),"
    " current_setting('server_version_num')"
    " FROM pg_settings";
enum { COLUMNS = 10, FILE_COLUMNS = 7 };

static bool kind_of(const char *text, enum guc_kind *ret)
{
    static const char *const kinds[] = {
        [GUC_BOOL] = "bool", [GUC_INT] = "integer", [GUC_REAL] = "real", [GUC_ENUM] = "enum", [GUC_STRING] = "string"};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(kinds[i], text) == 0) {
            *ret = (enum guc_kind)i;
            return true;
        }
    }
    return false;
}

static enum guc_context context_of(const char *text)
{
    if (strcmp(text, "internal") == 0)
        return GUC_CONTEXT_INTERNAL;
    return strcmp(text, "postmaster") == 0 ? GUC_CONTEXT_POSTMASTER : GUC_CONTEXT_RELOAD;
}

static void guc_done(struct guc *g)
{
    free(g->name);
    free(g->unit);
    free(g->words);
    free(g->boot);
    free(g->setting);
}

struct guc_catalog *guc_catalog_free(struct guc_catalog *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < c->n; i++)
        guc_done(&c->items[i]);
    free(c->items);
    free(c);
    return NULL;
}

/* values: the columns of the query, or of a line of the file, which ends before the setting. */
static int add(struct guc_catalog *c, const char *const *values, const char *setting, const char *boot)
{
    struct guc *g = &c->items[c->n];

    *g = (struct guc){0};
    for (int i = 0; i < FILE_COLUMNS; i++)
        if (!values[i])
            return -EBADMSG;
    if (!values[0][0] || !kind_of(values[1], &g->kind))
        return -EBADMSG;
    g->context = context_of(values[2]);
    g->min = values[5][0] ? strtod(values[5], NULL) : -INFINITY;
    g->max = values[6][0] ? strtod(values[6], NULL) : INFINITY;
    g->name = strdup(values[0]);
    g->unit = strdup(values[3]);
    g->words = strdup(values[4]);
    g->setting = strdup(setting);
    g->boot = strdup(boot);
    c->n++; /* what there is of it is freed with the rest */
    return g->name && g->unit && g->words && g->setting && g->boot ? 0 : -ENOMEM;
}

static int compare(const void *a, const void *b)
{
    return strcasecmp(((const struct guc *)a)->name, ((const struct guc *)b)->name);
}

static void finish(struct guc_catalog *c)
{
    qsort(c->items, c->n, sizeof(*c->items), compare);
    /* Those who may not see everything do not see where the data directory is. */
    c->complete = guc_find(c, "data_directory") != NULL;
}

static struct guc_catalog *new_catalog(size_t n)
{
    struct guc_catalog *c = calloc(1, sizeof(*c));

    if (c)
        c->items = calloc(n + 1, sizeof(*c->items));
    return c && c->items ? c : guc_catalog_free(c);
}

static int fail(int r, struct err *err)
{
    return err_set(err, r, r == -ENOMEM ? "out of memory" : "what the server says of its parameters makes no sense");
}

int guc_catalog_read(const struct pg_rows *rows, struct guc_catalog **ret, struct err *err)
{
    CLEANUP(guc_catalog_freep) struct guc_catalog *c = NULL;
    uint32_t version = 0;
    int r = 0;

    if (rows->n_columns != COLUMNS || rows->n_rows == 0 || rows->n_rows > ITEMS_MAX)
        return fail(-EBADMSG, err);
    c = new_catalog(rows->n_rows);
    if (!c)
        return fail(-ENOMEM, err);
    for (size_t i = 0; i < rows->n_rows && r == 0; i++) {
        const char *const *values = rows->values + i * COLUMNS;

        r = values[7] && values[8] ? add(c, values, values[7], values[8]) : -EBADMSG;
    }
    if (r == 0 && (!rows->values[9] || !text_to_u32(rows->values[9], &version)))
        r = -EBADMSG;
    if (r < 0)
        return fail(r, err);
    c->version_num = (int)version;
    finish(c);
    *ret = STEAL(c);
    return 0;
}

#define FILE_HEAD "pgtether parameters "

char *guc_catalog_print(const struct guc_catalog *c)
{
    static const char *const kinds[] = {"bool", "integer", "real", "enum", "string"};
    static const char *const contexts[] = {"internal", "postmaster", "sighup"};
    struct textbuf b = {0};

    textbuf_printf(&b, FILE_HEAD "%d\n", c->version_num);
    for (size_t i = 0; i < c->n; i++) {
        const struct guc *g = &c->items[i];

        textbuf_printf(&b, "%s\t%s\t%s\t%s\t%s\t", g->name, kinds[g->kind], contexts[g->context], g->unit, g->words);
        if (isfinite(g->min) && isfinite(g->max))
            textbuf_printf(&b, "%.17g\t%.17g\n", g->min, g->max);
        else
            textbuf_puts(&b, "\t\n");
    }
    return textbuf_take(&b);
}

static int load_line(struct guc_catalog *c, char *line)
{
    const char *values[FILE_COLUMNS];

    for (int i = 0; i < FILE_COLUMNS; i++)
        values[i] = strsep(&line, "\t");
    return line ? -EBADMSG : add(c, values, "", "");
}

int guc_catalog_load(const char *text, struct guc_catalog **ret, struct err *err)
{
    CLEANUP(freep) char *copy = strdup(text);
    CLEANUP(guc_catalog_freep) struct guc_catalog *c = new_catalog(ITEMS_MAX);
    char *rest = copy, *line;
    uint32_t version;
    int r = 0;

    if (!copy || !c)
        return fail(-ENOMEM, err);
    line = strsep(&rest, "\n");
    if (!text_starts_with(line, FILE_HEAD) || !text_to_u32(line + strlen(FILE_HEAD), &version))
        return fail(-EBADMSG, err);
    while (r == 0 && (line = strsep(&rest, "\n")) && *line)
        r = c->n < ITEMS_MAX ? load_line(c, line) : -EBADMSG;
    if (r < 0)
        return fail(r, err);
    c->version_num = (int)version;
    finish(c);
    *ret = STEAL(c);
    return 0;
}

const struct guc *guc_find(const struct guc_catalog *c, const char *name)
{
    struct guc key = {.name = (char *)(uintptr_t)name};

    return c ? bsearch(&key, c->items, c->n, sizeof(*c->items), compare) : NULL;
}

enum guc_objection guc_object(const struct guc_catalog *c, const char *name, const char *value, char *why, size_t size)
{
    const struct guc *g = guc_find(c, name);
    char what[512];

    if (!c || (!g && (!c->complete || strchr(name, '.'))))
        return GUC_NO_OBJECTION;
    if (!g) {
        (void)text_print(why, size, "PostgreSQL %d has no parameter of that name", c->version_num / 10000);
        return GUC_UNKNOWN;
    }
    if (g->context == GUC_CONTEXT_INTERNAL) {
        (void)text_copy(why, size, "this parameter cannot be set");
        return GUC_REFUSED;
    }
    if (guc_judge(g, value, what, sizeof(what), NULL, 0) == GUC_GOOD)
        return GUC_NO_OBJECTION;
    (void)text_print(why, size, "\"%.60s\" %s", value, what);
    return GUC_REFUSED;
}

/* --- filtering ---------------------------------------------------------------------------------------------------- */

/* True if the item at i is still there. */
static bool filter_one(const struct guc_catalog *c, struct params *server, size_t i, struct textbuf *notes)
{
    CLEANUP(freep) char *name = strdup(server->items[i].name);
    const char *value = server->items[i].value;
    const struct guc *g = guc_find(c, server->items[i].name);
    char why[512], limit[LIMIT_SIZE], shown[LIMIT_SIZE];

    if (!name) {
        server->failed = true;
        return true;
    }
    if (!g && (!c || !c->complete || strchr(name, '.')))
        return true;
    if (!g || g->context == GUC_CONTEXT_INTERNAL) {
        textbuf_printf(notes, "parameter \"%s\" is left out: %s PostgreSQL %d\n", name,
                       g ? "it cannot be set in" : "there is none of that name in", c->version_num / 10000);
        params_set(server, name, NULL);
        return false;
    }
    switch (guc_judge(g, value, why, sizeof(why), limit, sizeof(limit))) {
    case GUC_GOOD:
        return true;
    case GUC_OUT_OF_RANGE:
        guc_print(g, limit, shown, sizeof(shown));
        textbuf_printf(notes, "parameter \"%s\" is %s: \"%.60s\" %s\n", name, shown, value, why);
        params_set(server, name, limit);
        return true;
    case GUC_BAD:
        textbuf_printf(notes, "parameter \"%s\" is left out: \"%.60s\" %s\n", name, value, why);
        params_set(server, name, NULL);
        return false;
    }
    return true;
}

void guc_filter(const struct guc_catalog *c, struct params *server, struct textbuf *notes)
{
    for (size_t i = 0; c && i < server->n;)
        i += filter_one(c, server, i, notes);
}
