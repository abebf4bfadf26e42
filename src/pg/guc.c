#include "pg/guc.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LIMIT_SIZE = 64, SLRU_BANK_SIZE = 16, BUFFER_USAGE_MIN_KB = 128 };

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

/*
 * What only check hooks of the server know (guc_hooks.h), of parameters that would keep it from starting: sizes that
 * are a multiple, since version 17, and one that may be nothing or not that little, since 16. True if the number will
 * do.
 */
static bool hook_takes(const struct guc *g, double number, char *why, size_t why_size, double *ret_nearest)
{
    static const char *const multiples[] = {
        "commit_timestamp_buffers", "multixact_member_buffers", "multixact_offset_buffers", "notify_buffers",
        "serializable_buffers",     "subtransaction_buffers",   "transaction_buffers"};

    for (size_t i = 0; i < ARRAY_LEN(multiples); i++) {
        if (strcasecmp(g->name, multiples[i]) != 0 || fmod(number, SLRU_BANK_SIZE) == 0)
            continue;
        (void)text_print(why, why_size, "is not a multiple of %d", SLRU_BANK_SIZE);
        *ret_nearest = ceil(number / SLRU_BANK_SIZE) * SLRU_BANK_SIZE;
        return false;
    }
    if (strcasecmp(g->name, "vacuum_buffer_usage_limit") == 0 && number > 0 && number < BUFFER_USAGE_MIN_KB) {
        (void)text_print(why, why_size, "is neither 0 nor %dkB or more", BUFFER_USAGE_MIN_KB);
        *ret_nearest = BUFFER_USAGE_MIN_KB;
        return false;
    }
    return true;
}

static enum guc_verdict judge_number(const struct guc *g, const char *value, char *why, size_t why_size, char *limit,
                                     size_t limit_size)
{
    char min[LIMIT_SIZE], max[LIMIT_SIZE];
    double number, nearest;

    if (!parse_number(g, value, &number)) {
        if (g->unit[0])
            (void)text_print(why, why_size, "is no number, or its unit is not one of %s",
                             strpbrk(g->unit, "B") ? "B, kB, MB, GB and TB" : "us, ms, s, min, h and d");
        else
            (void)text_print(why, why_size, "is no %s", g->kind == GUC_INT ? "integer" : "number");
        return GUC_BAD;
    }
    nearest = number < g->min ? g->min : number > g->max ? g->max : number;
    if (nearest != number) {
        print_number(g, g->min, min, sizeof(min));
        print_number(g, g->max, max, sizeof(max));
        (void)text_print(why, why_size, "is out of range (%s to %s)", min, max);
    } else if (hook_takes(g, number, why, why_size, &nearest)) {
        return GUC_GOOD;
    }
    if (limit)
        (void)text_print(limit, limit_size, "%.15g", nearest);
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
