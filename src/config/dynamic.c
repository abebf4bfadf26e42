#include "config/dynamic.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "config/lists.h"
#include "config/protected.h"
#include "config/value.h"

enum { PARAMETERS_MAX = 2000, LINES_MAX = 2000 };

/* Everything one reading needs; what the severity of a bad value is depends on where the JSON came from. */
struct reading {
    const json_t *root;
    const struct config *local;
    enum problem_severity bad_value;
    struct config_problems *problems;
    struct dynamic *d;
    bool out_of_memory;
};

static void complain(struct reading *r, enum problem_severity severity, const char *path, const char *hint,
                     const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void complain(struct reading *r, enum problem_severity severity, const char *path, const char *hint,
                     const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    problems_vadd(r->problems, severity, (struct problem_place){"", 0, path}, hint, fmt, ap);
    va_end(ap);
}

/* "postgresql.use_slots" from the object in the object; NULL also for JSON's null, which deletes a key. */
static const json_t *lookup(const struct reading *r, const char *path)
{
    const char *name = strchr(path, '.'); /* the only group is "postgresql" */
    const json_t *group = name ? json_object_get(r->root, "postgresql") : r->root;
    const json_t *value = json_object_get(group, name ? name + 1 : path);

    return json_is_null(value) ? NULL : value;
}

static bool json_to_int(const json_t *value, enum value_unit unit, int64_t *ret)
{
    if (json_is_integer(value)) {
        *ret = json_integer_value(value);
        return true;
    }
    if (json_is_real(value))
        return value_round(json_real_value(value), ret);
    return json_is_string(value) && value_to_int(json_string_value(value), unit, ret);
}

static bool json_to_bool(const json_t *value, bool *ret)
{
    json_int_t number = json_integer_value(value);

    if (json_is_integer(value) && (number == 0 || number == 1)) {
        *ret = number == 1;
        return true;
    }
    if (json_is_boolean(value)) {
        *ret = json_is_true(value);
        return true;
    }
    return json_is_string(value) && value_to_bool(json_string_value(value), ret);
}

bool dynamic_value_text(const json_t *value, char *buf, size_t size, const char **ret)
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
        return true;
    case JSON_TRUE:
        *ret = "on";
        return true;
    case JSON_FALSE:
        *ret = "off";
        return true;
    case JSON_OBJECT:
    case JSON_ARRAY:
    case JSON_NULL:
        return false;
    }
    return false;
}

static void describe(const json_t *value, char *buf, size_t size)
{
    char number[64];
    const char *text;

    if (json_is_string(value))
        (void)text_print(buf, size, "\"%.60s\"", json_string_value(value));
    else if (json_is_boolean(value))
        (void)text_copy(buf, size, json_is_true(value) ? "true" : "false");
    else if (dynamic_value_text(value, number, sizeof(number), &text))
        (void)text_copy(buf, size, text);
    else
        (void)text_copy(buf, size, json_is_object(value) ? "a group" : "a list");
}

static const char *expected(enum dynamic_type type)
{
    switch (type) {
    case DYNAMIC_TIMEOUT:
    case DYNAMIC_SECONDS:
        return "a number of seconds";
    case DYNAMIC_BYTES:
        return "a number of bytes";
    case DYNAMIC_COUNT:
        return "a number";
    case DYNAMIC_BOOL:
        return "true or false";
    case DYNAMIC_GROUP:
        return "a group";
    case DYNAMIC_OTHER:
    case DYNAMIC_LOCAL:
    case DYNAMIC_IGNORED:
        break;
    }
    return "something else";
}

/* Values of the wrong kind; the default stays, except that a lease time which means nothing must not be guessed. */
static void complain_of_kind(struct reading *r, const struct dynamic_entry *e, const char *path, const json_t *value)
{
    enum problem_severity severity = e->type == DYNAMIC_TIMEOUT ? PROBLEM_ERROR : r->bad_value;
    char got[80];

    describe(value, got, sizeof(got));
    complain(r, severity, path, NULL, "expected %s, got %s%s", expected(e->type), got,
             severity == PROBLEM_WARNING ? "; using the default" : "");
}

static void limit(struct reading *r, const struct dynamic_entry *e, const char *path, int64_t *number)
{
    /* In seconds 68 years: such that sums of microseconds cannot overflow. */
    int64_t max = e->type == DYNAMIC_BYTES ? INT64_MAX : INT32_MAX;

    if (*number >= e->min && *number <= max)
        return;
    complain(r, PROBLEM_WARNING, path, NULL, "%" PRId64 " is %s; using %" PRId64, *number,
             *number < e->min ? "below the minimum" : "above the maximum", *number < e->min ? e->min : max);
    *number = *number < e->min ? e->min : max;
}

static void store(struct reading *r, const struct dynamic_entry *e, const char *path, const json_t *value)
{
    char *field = (char *)&r->d->policy + e->offset;
    bool is_time = e->type == DYNAMIC_SECONDS || e->type == DYNAMIC_TIMEOUT;
    enum value_unit unit = is_time ? VALUE_SECONDS : e->type == DYNAMIC_BYTES ? VALUE_BYTES : VALUE_PLAIN;
    int64_t number;
    bool flag;

    if (e->type == DYNAMIC_BOOL) {
        if (json_to_bool(value, &flag))
            memcpy(field, &flag, sizeof(flag));
        else
            complain_of_kind(r, e, path, value);
        return;
    }
    if (!json_to_int(value, unit, &number)) {
        complain_of_kind(r, e, path, value);
        return;
    }
    limit(r, e, path, &number);
    if (e->type == DYNAMIC_COUNT)
        *(unsigned *)(void *)field = (unsigned)number;
    else
        *(uint64_t *)(void *)field = is_time ? (uint64_t)number * USEC_PER_SEC : (uint64_t)number;
}

static void read_entry(struct reading *r, const struct dynamic_entry *e)
{
    const char *path = e->path;
    const json_t *value = lookup(r, path);

    if (!value && e->alias) {
        path = e->alias;
        value = lookup(r, path);
    }
    if (!value)
        return;
    switch (e->type) {
    case DYNAMIC_TIMEOUT:
    case DYNAMIC_SECONDS:
    case DYNAMIC_BYTES:
    case DYNAMIC_COUNT:
    case DYNAMIC_BOOL:
        store(r, e, path, value);
        break;
    case DYNAMIC_GROUP:
        if (!json_is_object(value))
            complain_of_kind(r, e, path, value);
        break;
    case DYNAMIC_OTHER:
        break;
    case DYNAMIC_LOCAL:
        complain(r, PROBLEM_WARNING, path, "Put it into the configuration file of each member.",
                 "is read from the local file only and is ignored here");
        break;
    case DYNAMIC_IGNORED:
        complain(r, PROBLEM_WARNING, path, NULL, "is not supported by this version and is ignored");
        break;
    }
}

/*
 * The reference's rule and its two ways out of it (facts 3.1). The lease must outlive one pause and two calls to the
 * store, or a leader loses it through nothing but bad timing. Whole seconds, as the reference calculates.
 */
static void adjust_timeouts(struct reading *r)
{
    struct policy *p = &r->d->policy;
    int64_t ttl = (int64_t)(p->ttl_us / USEC_PER_SEC);
    int64_t loop_wait = (int64_t)(p->loop_wait_us / USEC_PER_SEC);
    int64_t retry_timeout = (int64_t)(p->retry_timeout_us / USEC_PER_SEC);

    if (loop_wait + 2 * retry_timeout <= ttl)
        return;
    if (1 + 2 * retry_timeout > ttl) {
        complain(r, PROBLEM_WARNING, "retry_timeout", "Make ttl at least loop_wait + 2 * retry_timeout.",
                 "loop_wait + 2 * retry_timeout must not exceed ttl (%" PRId64 " + 2 * %" PRId64 " > %" PRId64
                 "); using loop_wait 1 and retry_timeout %" PRId64,
                 loop_wait, retry_timeout, ttl, (ttl - 1) / 2);
        loop_wait = 1;
        retry_timeout = (ttl - 1) / 2;
    } else {
        complain(r, PROBLEM_WARNING, "loop_wait", "Make ttl at least loop_wait + 2 * retry_timeout.",
                 "loop_wait + 2 * retry_timeout must not exceed ttl (%" PRId64 " + 2 * %" PRId64 " > %" PRId64
                 "); using loop_wait %" PRId64,
                 loop_wait, retry_timeout, ttl, ttl - 2 * retry_timeout);
        loop_wait = ttl - 2 * retry_timeout;
    }
    p->loop_wait_us = (uint64_t)loop_wait * USEC_PER_SEC;
    p->retry_timeout_us = (uint64_t)retry_timeout * USEC_PER_SEC;
}

static void read_synchronous_mode(struct reading *r)
{
    const json_t *value = lookup(r, "synchronous_mode");
    const char *word = json_string_value(value);
    bool on = false;

    if (!value)
        return;
    if (word && strcasecmp(word, "quorum") == 0)
        r->d->policy.sync_mode = SYNC_MODE_QUORUM;
    else if (!json_to_bool(value, &on))
        complain(r, r->bad_value, "synchronous_mode", NULL, "expected true, false or \"quorum\"");
    else
        r->d->policy.sync_mode = on ? SYNC_MODE_PRIORITY : SYNC_MODE_OFF;
}

/* Zero and below mean no limit, which the reference writes as -1. */
static void read_maximum_lag_on_syncnode(struct reading *r)
{
    const char *path = "maximum_lag_on_syncnode";
    const json_t *value = lookup(r, path);
    int64_t bytes;

    if (!value)
        return;
    if (json_to_int(value, VALUE_BYTES, &bytes))
        r->d->policy.maximum_lag_on_syncnode_bytes = bytes > 0 ? (uint64_t)bytes : 0;
    else
        complain(r, r->bad_value, path, NULL, "expected a number of bytes");
}

static void read_parameter(struct reading *r, const char *name, const json_t *value)
{
    char number[64], path[160];
    const char *text, *wanted, *source = protected_parameter_source(name);

    if (json_is_null(value))
        return;
    /* Names go into postgresql.conf as they are: one with a line break would be more than one. */
    if (!value_is_parameter_name(name)) {
        complain(r, r->bad_value, "postgresql.parameters", NULL, "\"%.60s\" is no name of a parameter", name);
        return;
    }
    (void)text_print(path, sizeof(path), "postgresql.parameters.%s", name);
    if (source) {
        complain(r, PROBLEM_WARNING, path, NULL, "follows from \"%s\" and is ignored here", source);
        return;
    }
    if (!dynamic_value_text(value, number, sizeof(number), &text)) {
        complain(r, r->bad_value, path, NULL, "expected a single value");
        return;
    }
    if (!protected_parameter_accepts(name, text, &wanted)) {
        complain(r, r->bad_value, path, NULL, "expected %s, got \"%.60s\"%s", wanted, text,
                 r->bad_value == PROBLEM_WARNING ? "; using the default" : "");
        return;
    }
    if (!settings_set(&r->d->parameters, name, text))
        r->out_of_memory = true;
}

static void read_parameters(struct reading *r)
{
    json_t *parameters = json_object_get(json_object_get(r->root, "postgresql"), "parameters");
    const char *name;
    json_t *value;

    if (!parameters || json_is_null(parameters))
        return;
    if (!json_is_object(parameters)) {
        complain(r, r->bad_value, "postgresql.parameters", NULL, "expected a group of parameters");
        return;
    }
    if (json_object_size(parameters) > PARAMETERS_MAX) {
        complain(r, PROBLEM_ERROR, "postgresql.parameters", NULL, "more than %d parameters", PARAMETERS_MAX);
        return;
    }
    json_object_foreach(parameters, name, value) read_parameter(r, name, value);
}

static void read_lines(struct reading *r, const char *path, struct string_list *ret)
{
    const json_t *lines = lookup(r, path);

    if (!lines)
        return;
    if (!json_is_array(lines) || json_array_size(lines) > LINES_MAX) {
        complain(r, r->bad_value, path, NULL, "expected a list of at most %d lines", LINES_MAX);
        return;
    }
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const char *line = json_string_value(json_array_get(lines, i));

        if (!line)
            complain(r, r->bad_value, path, NULL, "entry %zu of the list: expected a string", i + 1);
        else if (!strings_add(ret, line))
            r->out_of_memory = true;
    }
}

/* Local settings win where the local file has them. */
static void merge_local(struct policy *p, const struct config *local)
{
    if (!local)
        return;
    if (local->postgresql.use_pg_rewind_is_set)
        p->use_pg_rewind = local->postgresql.use_pg_rewind;
    if (local->postgresql.remove_on_rewind_failure_is_set)
        p->remove_data_directory_on_rewind_failure = local->postgresql.remove_data_directory_on_rewind_failure;
    if (local->postgresql.remove_on_diverged_timelines_is_set)
        p->remove_data_directory_on_diverged_timelines = local->postgresql.remove_data_directory_on_diverged_timelines;
}

static void read_all(struct reading *r)
{
    const struct dynamic_entry *entries;
    size_t n;

    entries = dynamic_entries(&n);
    for (size_t i = 0; i < n; i++)
        read_entry(r, &entries[i]);
    adjust_timeouts(r);
    read_synchronous_mode(r);
    read_maximum_lag_on_syncnode(r);
    read_parameters(r);
    read_lines(r, "postgresql.pg_hba", &r->d->pg_hba);
    read_lines(r, "postgresql.pg_ident", &r->d->pg_ident);
    if (dynamic_read_slots(r->root, r->bad_value, r->problems, r->d) < 0 ||
        dynamic_read_standby_cluster(r->root, r->bad_value, r->problems, r->d) < 0)
        r->out_of_memory = true;
    /* Nobody here has commits of his own to wait for. */
    if (r->d->policy.standby_cluster)
        r->d->policy.sync_mode = SYNC_MODE_OFF;
    merge_local(&r->d->policy, r->local);
}

/* The first error among the problems from `begin` on, as the one sentence of an err. */
static int fail_with_first_error(const struct config_problems *p, size_t begin, struct err *err)
{
    for (size_t i = begin; i < p->n; i++) {
        if (!p->items[i].warning)
            return err_set(err, -EINVAL, "dynamic configuration: %s: %s", p->items[i].path, p->items[i].message);
    }
    return err_set(err, -EINVAL, "the dynamic configuration is not valid");
}

int dynamic_read(const json_t *root, const char *json, const struct config *local, enum problem_severity bad_value,
                 struct config_problems *problems, struct dynamic **ret, struct err *err)
{
    CLEANUP(dynamic_freep) struct dynamic *d = calloc(1, sizeof(*d));
    struct reading r = {root, local, bad_value, problems, d, false};
    size_t begin = problems->n;
    bool had_errors = problems->has_errors;

    if (!d)
        return err_set(err, -ENOMEM, "out of memory");
    d->policy = POLICY_DEFAULT;
    problems->has_errors = false;
    read_all(&r);
    d->json = strdup(json);
    if (r.out_of_memory || !d->json) {
        problems->has_errors |= had_errors;
        return err_set(err, -ENOMEM, "out of memory");
    }
    if (problems->has_errors)
        return fail_with_first_error(problems, begin, err);
    problems->has_errors = had_errors;
    *ret = STEAL(d);
    return 0;
}

int dynamic_parse(const char *json, const struct config *local, struct dynamic **ret, struct config_problems *problems,
                  struct err *err)
{
    struct config_problems unwanted = {0};
    json_error_t where;
    json_t *root = json_loads(json, 0, &where);
    int r;

    if (problems)
        *problems = (struct config_problems){0};
    if (!json_is_object(root)) {
        json_decref(root);
        problems_add(problems, PROBLEM_ERROR, (struct problem_place){"", 0, ""}, NULL,
                     "the dynamic configuration is not a JSON object");
        return err_set(err, -EINVAL, "the dynamic configuration is not a JSON object");
    }
    r = dynamic_read(root, json, local, PROBLEM_WARNING, problems ? problems : &unwanted, ret, err);
    json_decref(root);
    config_problems_done(&unwanted);
    return r;
}

struct dynamic *dynamic_free(struct dynamic *d)
{
    if (!d)
        return NULL;
    settings_done(&d->parameters);
    strings_done(&d->pg_hba);
    strings_done(&d->pg_ident);
    free(d->slots);
    free(d->ignore_slots);
    standby_cluster_done(&d->standby_cluster);
    free(d->json);
    free(d);
    return NULL;
}
