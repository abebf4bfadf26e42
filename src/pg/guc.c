#include "pg/guc.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ITEMS_MAX = 4000, LIMIT_SIZE = 64 };

/* --- values ------------------------------------------------------------------------------------------------------- */

/* In the order of the larger to the smaller, as PostgreSQL has them (src/backend/utils/misc/guc.c). */
struct unit {
    const char *name;
    double factor; /* in bytes or microseconds */
    bool is_time;
};
static const struct unit units[] = {
    {"TB", 1099511627776.0, false},
    {"GB", 1073741824.0, false},
    {"MB", 1048576.0, false},
    {"kB", 1024.0, false},
    {"B", 1.0, false},
    {"d", 86400e6, true},
    {"h", 3600e6, true},
    {"min", 60e6, true},
    {"s", 1e6, true},
    {"ms", 1e3, true},
    {"us", 1.0, true},
};

static const struct unit *find_unit(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (strcmp(units[i].name, name) == 0) /* with regard to case, as the server */
            return &units[i];
    return NULL;
}

/* What one of the parameter's own unit is: "8kB" is 8192 bytes. 0 if it has none. */
static double base_factor(const struct guc *g, bool *is_time)
{
    char *rest;
    unsigned long times = strtoul(g->unit, &rest, 10);
    const struct unit *u = find_unit(rest);

    if (!u)
        return 0;
    *is_time = u->is_time;
    return u->factor * (double)(rest == g->unit ? 1 : times);
}

/* With a unit behind it; false if that is none of this parameter. Fractions are rounded to the next smaller unit. */
static bool apply_unit(const struct guc *g, const char *name, double *number)
{
    const struct unit *u = find_unit(name);
    bool is_time = false;
    double base = base_factor(g, &is_time);
    double smaller;

    if (!u || base <= 0 || u->is_time != is_time)
        return false;
    *number = *number * u->factor / base;
    if (u + 1 < units + ARRAY_LEN(units) && u[1].is_time == is_time) {
        smaller = u[1].factor / base;
        *number = rint(*number / smaller) * smaller;
    }
    return true;
}

static bool looks_like_a_number(const char *text)
{
    text += *text == '+' || *text == '-';
    return isdigit((unsigned char)text[0]) || (text[0] == '.' && isdigit((unsigned char)text[1]));
}

/* parse_int() and parse_real() of the server: an integer may be decimal, hexadecimal, octal or a fraction. */
static bool parse_number(const struct guc *g, const char *text, double *ret)
{
    char *end;
    double number;
    size_t len;

    text += strspn(text, " \t\n\r\f\v");
    if (!looks_like_a_number(text))
        return false;
    errno = 0;
    number = g->kind == GUC_INT ? (double)strtoll(text, &end, 0) : strtod(text, &end);
    if (g->kind == GUC_INT && (*end == '.' || *end == 'e' || *end == 'E' || errno == ERANGE)) {
        errno = 0;
        number = strtod(text, &end);
    }
    if (errno == ERANGE || isnan(number))
        return false;
    end += strspn(end, " \t\n\r\f\v");
    len = strlen(end);
    while (len && isspace((unsigned char)end[len - 1]))
        len--;
    if (len) {
        char name[8];

        if (len >= sizeof(name))
            return false;
        memcpy(name, end, len);
        name[len] = '\0';
        if (!apply_unit(g, name, &number))
            return false;
    }
    *ret = g->kind == GUC_INT ? rint(number) : number;
    return true;
}

/* parse_bool() of the server: any beginning of a word that cannot mean the other. -1 = neither. */
static int parse_bool(const char *text)
{
    static const struct {
        const char *word;
        size_t least;
        int means;
    } words[] = {{"true", 1, 1}, {"false", 1, 0}, {"yes", 1, 1}, {"no", 1, 0},
                 {"on", 2, 1},   {"off", 2, 0},   {"1", 1, 1},   {"0", 1, 0}};
    size_t len = strlen(text);

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (len >= words[i].least && len <= strlen(words[i].word) && strncasecmp(words[i].word, text, len) == 0)
            return words[i].means;
    return -1;
}

static bool has_word(const char *words, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = words; *at;) {
        size_t n = strcspn(at, ",");

        if (n == len && strncasecmp(at, word, n) == 0)
            return true;
        at += n;
        at += *at == ',';
    }
    return false;
}

/* Words that the server takes without listing them in enumvals, and what they mean. NULL = it is not one of them. */
static const char *hidden_word(const struct guc *g, const char *word)
{
    static const char *const bools[] = {"true", "yes", "1", "false", "no", "0"};

    for (size_t i = 0; i < ARRAY_LEN(bools); i++) {
        const char *means = i < 3 ? "on" : "off";

        if (strcasecmp(word, bools[i]) == 0 && has_word(g->words, means))
            return means;
    }
    if (strcasecmp(word, "debug") == 0 && has_word(g->words, "debug2"))
        return "debug2";
    if (strcasecmp(word, "info") == 0 && has_word(g->words, "debug2"))
        return "info";
    if (strcasecmp(g->name, "wal_level") == 0 &&
        (strcasecmp(word, "hot_standby") == 0 || strcasecmp(word, "archive") == 0))
        return "replica";
    return NULL;
}

static const char *meant_word(const struct guc *g, const char *word)
{
    return has_word(g->words, word) ? word : hidden_word(g, word);
}

/* A number in the parameter's own unit with the largest unit that leaves it whole, as SHOW prints it. */
static void print_number(const struct guc *g, double number, char *buf, size_t size)
{
    bool is_time = false;
    double base = base_factor(g, &is_time);

    if (base <= 0 || number <= 0) {
        (void)text_print(buf, size, "%.15g", number);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        double n = number * base / units[i].factor;

        /* A fraction is not expected to be exact. */
        if (units[i].is_time != is_time || fabs(n - rint(n)) > (g->kind == GUC_REAL ? 1e-8 * n : 0) || rint(n) < 1)
            continue;
        (void)text_print(buf, size, "%.15g%s", rint(n), units[i].name);
        return;
    }
    (void)text_print(buf, size, "%.15g%s", number, isdigit((unsigned char)g->unit[0]) ? "" : g->unit);
}

static enum guc_verdict judge_number(const struct guc *g, const char *value, char *why, size_t why_size, char *limit,
                                     size_t limit_size)
{
    char min[LIMIT_SIZE], max[LIMIT_SIZE];
    double number;

    if (!parse_number(g, value, &number)) {
        if (g->unit[0])
            (void)text_print(why, why_size, "is no number, or its unit is not one of %s",
                             strpbrk(g->unit, "B") ? "B, kB, MB, GB and TB" : "us, ms, s, min, h and d");
        else
            (void)text_print(why, why_size, "is no %s", g->kind == GUC_INT ? "integer" : "number");
        return GUC_BAD;
    }
    if (number >= g->min && number <= g->max)
        return GUC_GOOD;
    print_number(g, g->min, min, sizeof(min));
    print_number(g, g->max, max, sizeof(max));
    (void)text_print(why, why_size, "is out of range (%s to %s)", min, max);
    if (limit)
        (void)text_print(limit, limit_size, "%.15g", number < g->min ? g->min : g->max);
    return GUC_OUT_OF_RANGE;
}

enum guc_verdict guc_judge(const struct guc *g, const char *value, char *why, size_t why_size, char *limit,
                           size_t limit_size)
{
    why[0] = '\0';
    switch (g->kind) {
    case GUC_BOOL:
        if (parse_bool(value) >= 0)
            return GUC_GOOD;
        (void)text_copy(why, why_size, "is neither on nor off");
        return GUC_BAD;
    case GUC_ENUM:
        if (meant_word(g, value))
            return GUC_GOOD;
        (void)text_print(why, why_size, "is not one of %s", g->words);
        return GUC_BAD;
    case GUC_INT:
    case GUC_REAL:
        return judge_number(g, value, why, why_size, limit, limit_size);
    case GUC_STRING:
        return GUC_GOOD;
    }
    return GUC_GOOD;
}

bool guc_equal(const struct guc *g, const char *a, const char *b)
{
    char a_text[1024], b_text[1024];
    double a_number, b_number;

    switch (g->kind) {
    case GUC_INT:
    case GUC_REAL:
        if (parse_number(g, a, &a_number) && parse_number(g, b, &b_number))
            return a_number == b_number;
        break;
    case GUC_BOOL:
    case GUC_ENUM:
        guc_print(g, a, a_text, sizeof(a_text));
        guc_print(g, b, b_text, sizeof(b_text));
        return strcasecmp(a_text, b_text) == 0;
    case GUC_STRING:
        break;
    }
    return strcmp(a, b) == 0;
}

void guc_print(const struct guc *g, const char *value, char *buf, size_t size)
{
    const char *text = value;
    double number;
    int flag;

    switch (g->kind) {
    case GUC_INT:
    case GUC_REAL:
        if (parse_number(g, value, &number)) {
            print_number(g, number, buf, size);
            return;
        }
        break;
    case GUC_BOOL:
        flag = parse_bool(value);
        text = flag < 0 ? value : flag ? "on" : "off";
        break;
    case GUC_ENUM:
        text = meant_word(g, value);
        text = text ? text : value;
        break;
    case GUC_STRING:
        break;
    }
    (void)text_copy(buf, size, text);
}

/* --- the catalog -------------------------------------------------------------------------------------------------- */

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
    if (!g && (!c->complete || strchr(name, '.')))
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
