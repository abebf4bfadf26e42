/* The settings of a file, one by one, by the table of schema.h. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/text.h"
#include "config/dynamic.h"
#include "config/lists.h"
#include "config/loader.h"
#include "config/value.h"

static void read_group(struct loader *l, const config_setting_t *group, const char *prefix);

static void complain_of_kind(struct loader *l, const config_setting_t *s, const struct schema_entry *e,
                             const char *wanted)
{
    bool is_number = config_setting_is_number(s) || config_setting_type(s) == CONFIG_TYPE_BOOL;
    bool is_secret = e->type == SETTING_SECRET;
    char got[128];

    describe_value(s, is_secret, got, sizeof(got));
    loader_problem(l, PROBLEM_ERROR, s, e->path,
                   is_number && strcmp(wanted, "a string") == 0 ? "Put the value in double quotes." : NULL,
                   "expected %s, got %s", wanted, got);
}

static const char *get_string(struct loader *l, const config_setting_t *s, const struct schema_entry *e,
                              const char *wanted)
{
    const char *text = config_setting_type(s) == CONFIG_TYPE_STRING ? config_setting_get_string(s) : NULL;

    if (config_setting_type(s) == CONFIG_TYPE_STRING)
        return text ? text : "";
    complain_of_kind(l, s, e, wanted);
    return NULL;
}

static void *field_of(struct loader *l, const struct schema_entry *e)
{
    return (char *)&l->draft + e->offset;
}

static void read_string(struct loader *l, const config_setting_t *s, const struct schema_entry *e)
{
    const char *text = get_string(l, s, e, "a string");

    if (!text)
        return;
    if (!*text && e->type != SETTING_SECRET) {
        loader_problem(l, PROBLEM_ERROR, s, e->path, NULL, "must not be empty");
        return;
    }
    loader_set(l, field_of(l, e), text);
}

/* Passwords in a file that others may read are worth a word, once per file. */
static void warn_of_permissions(struct loader *l, const config_setting_t *s)
{
    struct problem_place place = loader_place(l, s);
    struct stat st;

    if (stat(place.file, &st) < 0 || (st.st_mode & (S_IRGRP | S_IROTH)) == 0)
        return;
    for (size_t i = 0; i < l->problems->n; i++) {
        const struct config_problem *p = &l->problems->items[i];

        if (p->line == 0 && p->warning && strcmp(p->file, place.file) == 0)
            return;
    }
    problems_add(l->problems, PROBLEM_WARNING, (struct problem_place){place.file, 0, ""},
                 "Use chmod 600, or keep the passwords in a file of their own and @include it.",
                 "the file has passwords and permissions %04o: others than its owner can read it",
                 (unsigned)st.st_mode & 07777);
}

static void read_path(struct loader *l, const config_setting_t *s, const struct schema_entry *e)
{
    const char *text = get_string(l, s, e, "a string");

    if (!text)
        return;
    if (text[0] != '/')
        loader_problem(l, PROBLEM_ERROR, s, e->path, NULL, "expected an absolute path, got \"%.80s\"", text);
    else
        loader_set(l, field_of(l, e), text);
}

/* "a,b|c" offered as words: the first of each group, for people. */
static void print_choices(const char *choices, char *buf, size_t size)
{
    struct textbuf b = {0};

    for (const char *group = choices; *group;) {
        size_t first = strcspn(group, ",|"), whole = strcspn(group, "|");

        textbuf_printf(&b, "%s\"%.*s\"", b.len ? ", " : "", (int)first, group);
        group += whole;
        group += *group == '|';
    }
    (void)text_copy(buf, size, b.data ? b.data : "");
    textbuf_done(&b);
}

/* The first word of the group that word belongs to, into buf; false if there is none. */
static bool find_choice(const char *choices, const char *word, char *buf, size_t size)
{
    for (const char *group = choices; *group;) {
        size_t whole = strcspn(group, "|");

        for (const char *at = group; at < group + whole;) {
            size_t len = strcspn(at, ",|");

            if (strlen(word) == len && strncasecmp(at, word, len) == 0)
                return text_print(buf, size, "%.*s", (int)strcspn(group, ",|"), group);
            at += len;
            at += *at == ',';
        }
        group += whole;
        group += *group == '|';
    }
    return false;
}

static void read_choice(struct loader *l, const config_setting_t *s, const struct schema_entry *e)
{
    char choices[128], word[64], got[128];
    const char *text = NULL;

    if (config_setting_type(s) == CONFIG_TYPE_STRING)
        text = config_setting_get_string(s);
    else if (config_setting_type(s) == CONFIG_TYPE_BOOL) /* mode = false, as in YAML */
        text = config_setting_get_bool(s) ? "true" : "false";
    if (text && find_choice(e->choices, text, word, sizeof(word))) {
        loader_set(l, field_of(l, e), word);
        return;
    }
    print_choices(e->choices, choices, sizeof(choices));
    describe_value(s, false, got, sizeof(got));
    loader_problem(l, PROBLEM_ERROR, s, e->path, NULL, "expected %s%s, got %s",
                   strchr(e->choices, '|') ? "one of " : "", choices, got);
}

static void read_bool(struct loader *l, const config_setting_t *s, const struct schema_entry *e)
{
    char number[64];
    const char *text = scalar_text(s, number, sizeof(number));

    if (!text || !value_to_bool(text, field_of(l, e)))
        complain_of_kind(l, s, e, "true or false");
}

static bool get_int(const config_setting_t *s, enum value_unit unit, int64_t *ret)
{
    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        *ret = config_setting_get_int64(s);
        if (config_setting_type(s) == CONFIG_TYPE_INT)
            *ret = config_setting_get_int(s);
        return true;
    case CONFIG_TYPE_FLOAT:
        return value_round(config_setting_get_float(s), ret);
    case CONFIG_TYPE_STRING:
        return config_setting_get_string(s) && value_to_int(config_setting_get_string(s), unit, ret);
    default:
        return false;
    }
}

static void read_number(struct loader *l, const config_setting_t *s, const struct schema_entry *e)
{
    bool is_time = e->type == SETTING_SECONDS;
    int64_t number;

    if (!get_int(s, is_time ? VALUE_SECONDS : VALUE_PLAIN, &number)) {
        complain_of_kind(l, s, e, is_time ? "a number of seconds" : "a number");
        return;
    }
    if (number < e->min || number > e->max) {
        loader_problem(l, PROBLEM_ERROR, s, e->path, NULL,
                       "%" PRId64 " is out of range: expected %" PRId64 " to %" PRId64, number, e->min, e->max);
        return;
    }
    if (is_time)
        *(uint64_t *)field_of(l, e) = (uint64_t)number * USEC_PER_SEC;
    else
        *(int64_t *)field_of(l, e) = number;
}

static void read_strings(struct loader *l, const config_setting_t *s, const struct schema_entry *e)
{
    struct string_list *list = field_of(l, e);

    if (config_setting_is_scalar(s)) {
        const char *text = get_string(l, s, e, "a list of strings");

        if (text && !strings_add(list, text))
            l->out_of_memory = true;
        return;
    }
    if (config_setting_is_group(s)) {
        complain_of_kind(l, s, e, "a list of strings");
        return;
    }
    for (int i = 0; i < config_setting_length(s); i++) {
        const char *text = get_string(l, config_setting_get_elem(s, (unsigned)i), e, "a string");

        if (text && !strings_add(list, text))
            l->out_of_memory = true;
    }
}

static void read_unsupported(struct loader *l, const config_setting_t *s, const struct schema_entry *e)
{
    bool is_error = e->type == SETTING_UNSUPPORTED;

    loader_problem(l, is_error ? PROBLEM_ERROR : PROBLEM_WARNING, s, e->path, NULL,
                   is_error ? "is not supported by this version" : "has no effect in this version and is ignored");
}

static void read_setting(struct loader *l, const config_setting_t *s, const struct schema_entry *e)
{
    switch (e->type) {
    case SETTING_GROUP:
        if (config_setting_is_group(s))
            read_group(l, s, e->path);
        else
            complain_of_kind(l, s, e, "a group { ... }");
        break;
    case SETTING_SECRET:
        warn_of_permissions(l, s);
        read_string(l, s, e);
        break;
    case SETTING_STRING:
    case SETTING_ADDRESS:
        read_string(l, s, e);
        break;
    case SETTING_PATH:
        read_path(l, s, e);
        break;
    case SETTING_CHOICE:
        read_choice(l, s, e);
        break;
    case SETTING_BOOL:
        read_bool(l, s, e);
        break;
    case SETTING_INT:
    case SETTING_SECONDS:
        read_number(l, s, e);
        break;
    case SETTING_STRINGS:
        read_strings(l, s, e);
        break;
    case SETTING_OPTIONS:
        loader_read_options(l, s, e->path, field_of(l, e));
        break;
    case SETTING_MAP:
        loader_read_map(l, s, e->path, field_of(l, e));
        break;
    case SETTING_ASSIGNMENTS:
        loader_read_assignments(l, s, e->path, field_of(l, e));
        break;
    case SETTING_TAGS:
        loader_read_tags(l, s);
        break;
    case SETTING_VIPS:
        loader_read_vips(l, s);
        break;
    case SETTING_DYNAMIC:
        loader_read_dynamic(l, s);
        break;
    case SETTING_IGNORED:
    case SETTING_UNSUPPORTED:
        read_unsupported(l, s, e);
        break;
    }
}

static void complain_of_unknown(struct loader *l, const config_setting_t *s, const char *path)
{
    const char *name = config_setting_name(s);
    const char *meant = schema_suggest(path);
    bool is_top_level = strchr(path, '.') == NULL;
    const char *dynamic = is_top_level ? dynamic_suggest(name) : NULL;

    if (is_top_level && dynamic_find(name))
        loader_problem(l, PROBLEM_ERROR, s, path,
                       "Move it into bootstrap: { dcs: { ... }; }; in a running cluster, change it with "
                       "\"pgtetherctl edit-config\".",
                       "\"%s\" belongs to the dynamic configuration of the cluster, not to this file", name);
    else if (meant)
        loader_problem(l, PROBLEM_ERROR, s, path, NULL, "unknown setting \"%s\"; did you mean \"%s\"?", name, meant);
    else if (dynamic)
        loader_problem(l, PROBLEM_ERROR, s, path, NULL, "unknown setting \"%s\"; did you mean \"bootstrap.dcs.%s\"?",
                       name, dynamic);
    else
        loader_problem(l, PROBLEM_ERROR, s, path, NULL, "unknown setting \"%s\"", name);
}

static void read_group(struct loader *l, const config_setting_t *group, const char *prefix)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
        const struct schema_entry *e = NULL;
        char path[SETTING_PATH_SIZE];

        if (text_print(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", config_setting_name(s)))
            e = schema_find(path);
        if (e)
            read_setting(l, s, e);
        else
            complain_of_unknown(l, s, path);
    }
}

static void check_required(struct loader *l)
{
    const struct schema_entry *entries;
    size_t n;

    entries = schema_entries(&n);
    for (size_t i = 0; i < n; i++) {
        if (entries[i].required && !loader_has(l, entries[i].path))
            loader_problem_of(l, PROBLEM_ERROR, entries[i].path, NULL, "is missing; it has no default");
    }
}

void loader_read_settings(struct loader *l)
{
    read_group(l, config_root_setting(&l->file), "");
    check_required(l);
}
