#include "config/change.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "config/dynamic.h"
#include "config/problems.h"
#include "config/value.h"

enum { PATH_SIZE = 512, DEPTH_MAX = 32, SHOWN_MAX = 200 };

/* --- merging ------------------------------------------------------------------------------------------------------ */

/* A scalar as the reference's str() has it; false for groups and lists. */
static bool scalar_text(const json_t *value, char *buf, size_t size, const char **ret)
{
    *ret = buf;
    switch (json_typeof(value)) {
    case JSON_STRING:
        *ret = json_string_value(value);
        return true;
    case JSON_INTEGER:
        return text_print(buf, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    case JSON_REAL:
        value_print_double(json_real_value(value), buf, size);
        if (!strpbrk(buf, ".en"))
            (void)text_print(buf + strlen(buf), size - strlen(buf), ".0");
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        *ret = json_is_true(value) ? "True" : "False";
        return true;
    case JSON_NULL:
        *ret = "None";
        return true;
    case JSON_OBJECT:
    case JSON_ARRAY:
        return false;
    }
    return false;
}

static bool reads_the_same(const json_t *a, const json_t *b)
{
    char a_buf[64], b_buf[64];
    const char *a_text, *b_text;

    if (scalar_text(a, a_buf, sizeof(a_buf), &a_text) && scalar_text(b, b_buf, sizeof(b_buf), &b_text))
        return strcmp(a_text, b_text) == 0;
    return json_equal(a, b);
}

static int merge(json_t *config, json_t *patch, int depth);

static int replace(json_t *config, const char *name, const json_t *value)
{
    return json_object_set_new(config, name, json_deep_copy(value)) < 0 ? -ENOMEM : 1;
}

static int merge_one(json_t *config, const char *name, json_t *value, int depth)
{
    json_t *old = json_object_get(config, name);

    if (json_is_null(value)) {
        bool was_set = old && !json_is_null(old);

        (void)json_object_del(config, name);
        return was_set;
    }
    if (json_is_object(value) && json_is_object(old))
        return merge(old, value, depth + 1);
    if (old && !json_is_object(value) && reads_the_same(old, value))
        return 0;
    return replace(config, name, value);
}

static int merge(json_t *config, json_t *patch, int depth)
{
    const char *name;
    json_t *value;
    int changed = 0;

    if (depth > DEPTH_MAX)
        return -EINVAL;
    json_object_foreach(patch, name, value)
    {
        int r = merge_one(config, name, value, depth);

        if (r < 0)
            return r;
        changed |= r;
    }
    return changed;
}

int change_merge(json_t *config, json_t *patch)
{
    return merge(config, patch, 0);
}

/* --- saying what changed ------------------------------------------------------------------------------------------ */

/* Text that could be taken for a number, a truth or nothing. */
static bool looks_like_another_type(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    bool other = value != NULL || !*text;

    json_decref(value);
    return other;
}

static void put_value(struct textbuf *out, const json_t *value)
{
    CLEANUP(freep) char *text = NULL;

    if (!value || json_is_null(value)) {
        textbuf_puts(out, "(not set)");
        return;
    }
    text = json_is_string(value) && !looks_like_another_type(json_string_value(value))
               ? strdup(json_string_value(value))
               : json_dumps(value, JSON_ENCODE_ANY | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
    if (!text)
        out->failed = true;
    else if (strlen(text) > SHOWN_MAX)
        textbuf_printf(out, "%.*s…", SHOWN_MAX, text);
    else
        textbuf_puts(out, text);
}

static void describe(json_t *before, json_t *after, const char *path, int depth, struct textbuf *out);

static void describe_one(json_t *before, json_t *after, const char *above, const char *name, int depth,
                         struct textbuf *out)
{
    char path[PATH_SIZE];

    if (json_equal(before, after) || (!before && json_is_null(after)) || (!after && json_is_null(before)))
        return;
    (void)text_print(path, sizeof(path), "%s%s%s", above, *above ? "." : "", name);
    if (depth < DEPTH_MAX && (json_is_object(before) || !before || json_is_null(before)) &&
        (json_is_object(after) || !after || json_is_null(after)) &&
        json_object_size(before) + json_object_size(after) > 0) {
        describe(before, after, path, depth + 1, out);
        return;
    }
    textbuf_printf(out, "%s: ", path);
    put_value(out, before);
    textbuf_puts(out, " -> ");
    put_value(out, after);
    textbuf_puts(out, "\n");
}

static void describe(json_t *before, json_t *after, const char *path, int depth, struct textbuf *out)
{
    const char *name;
    json_t *value;

    json_object_foreach(before, name, value) describe_one(value, json_object_get(after, name), path, name, depth, out);
    json_object_foreach(after, name, value)
    {
        if (!json_object_get(before, name))
            describe_one(NULL, value, path, name, depth, out);
    }
}

void change_describe(json_t *before, json_t *after, struct textbuf *out)
{
    describe(before, after, "", 0, out);
}

/* --- checking ----------------------------------------------------------------------------------------------------- */

static void complain_of_name(struct config_problems *p, const char *path)
{
    const char *meant = dynamic_suggest(path);
    struct problem_place place = {"", 0, path};

    if (meant)
        problems_add(p, PROBLEM_WARNING, place, NULL, "is not known here and has no effect; did you mean \"%s\"?",
                     meant);
    else
        problems_add(p, PROBLEM_WARNING, place, NULL, "is not known here and has no effect");
}

static void check_names(json_t *group, const char *prefix, struct config_problems *p)
{
    const char *name;
    json_t *value;

    json_object_foreach(group, name, value)
    {
        char path[PATH_SIZE];

        (void)value;
        (void)text_print(path, sizeof(path), "%s%s", prefix, name);
        if (!dynamic_find(path))
            complain_of_name(p, path);
    }
}

static int collect(json_t *root, const struct config *local, struct config_problems *ret, struct err *err)
{
    CLEANUP(dynamic_freep) struct dynamic *d = NULL;
    int r;

    if (!json_is_object(root)) {
        problems_add(ret, PROBLEM_ERROR, (struct problem_place){"", 0, ""}, NULL, "is not a JSON object");
        return 0;
    }
    check_names(root, "", ret);
    check_names(json_object_get(root, "postgresql"), "postgresql.", ret);
    r = dynamic_read(root, "", local, PROBLEM_ERROR, ret, &d, err);
    return r == -EINVAL ? 0 : r;
}

static bool same_problem(const struct config_problem *a, const struct config_problem *b)
{
    return strcmp(a->path, b->path) == 0 && strcmp(a->message, b->message) == 0;
}

static bool has_problem(const struct config_problems *p, const struct config_problem *wanted)
{
    for (size_t i = 0; i < p->n; i++)
        if (same_problem(&p->items[i], wanted))
            return true;
    return false;
}

int change_check(json_t *before, json_t *after, const struct config *local, struct config_problems *problems,
                 struct err *err)
{
    struct config_problems old = {0}, new = {0};
    int r = before ? collect(before, local, &old, err) : 0;

    *problems = (struct config_problems){0};
    if (r == 0)
        r = collect(after, local, &new, err);
    for (size_t i = 0; r == 0 && i < new.n; i++) {
        const struct config_problem *p = &new.items[i];

        if (!has_problem(&old, p))
            problems_add(problems, p->warning ? PROBLEM_WARNING : PROBLEM_ERROR, (struct problem_place){"", 0, p->path},
                         p->hint, "%s", p->message);
    }
    config_problems_done(&old);
    config_problems_done(&new);
    if (r == 0 && problems->has_errors)
        return err_set(err, -EINVAL, "the configuration would not be accepted");
    return r;
}
