/*
 * The names of the dynamic configuration in one table, and its reading with two degrees of strictness: what comes from
 * the store must not stop a member, what an operator writes into bootstrap.dcs should be right.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "config/config.h"
#include "config/problems.h"

enum dynamic_type {
    DYNAMIC_SECONDS, /* uint64_t microseconds in struct policy */
    DYNAMIC_TIMEOUT, /* the same for ttl and its like: an unusable value makes the whole configuration unusable */
    DYNAMIC_BYTES,   /* uint64_t */
    DYNAMIC_COUNT,   /* unsigned */
    DYNAMIC_BOOL,    /* bool */
    DYNAMIC_OTHER,   /* read by code of its own */
    DYNAMIC_GROUP,
    DYNAMIC_LOCAL,   /* belongs into the local file: a warning */
    DYNAMIC_IGNORED, /* without effect here: a warning */
};

struct dynamic_entry {
    const char *path;
    enum dynamic_type type;
    size_t offset; /* into struct policy */
    int64_t min;
    const char *alias; /* older name, used when path is not there */
    const char *text;
};

const struct dynamic_entry *dynamic_entries(size_t *ret_n);
const struct dynamic_entry *dynamic_find(const char *path); /* also by alias; NULL if unknown */
/*
 * slots (permanent_slots, permanent_replication_slots) and ignore_slots into d (facts sheet 5.5, 5.6). An entry that
 * cannot be used is a problem, and a slot of its name is left alone. Returns 0 or -ENOMEM.
 */
int dynamic_read_slots(const json_t *root, enum problem_severity bad_value, struct config_problems *problems,
                       struct dynamic *d);

/*
 * standby_cluster into d (facts sheet 3.14). What cannot be used of it is a problem and counts as not given; but a
 * section that the reference would follow is never taken for none, for then somebody would be promoted. Returns 0 or
 * -ENOMEM.
 */
int dynamic_read_standby_cluster(const json_t *root, enum problem_severity bad_value, struct config_problems *problems,
                                 struct dynamic *d);
void standby_cluster_done(struct standby_cluster *s);

/* Near known name in the same group; NULL if there is none. */
const char *dynamic_suggest(const char *path);

/*
 * A scalar as PostgreSQL reads it from its file, in buf (of 64 bytes at least) or the value itself. False for what
 * cannot be a parameter's value.
 */
bool dynamic_value_text(const json_t *value, char *buf, size_t size, const char **ret);

/*
 * As dynamic_parse(), from JSON that is already an object (json is its text). bad_value is the severity of values that
 * the reference would replace by their defaults. problems is appended to.
 */
int dynamic_read(const json_t *root, const char *json, const struct config *local, enum problem_severity bad_value,
                 struct config_problems *problems, struct dynamic **ret, struct err *err);
