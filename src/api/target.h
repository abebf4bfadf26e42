/*
 * The target of an HTTP request, "/replica?lag=16MB&tag_zone=a", in parts. The path stays as it was sent, as the
 * reference compares it; keys and values of the query are percent-decoded. Bytes from outside: everything is bounded.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum { TARGET_PATH_SIZE = 256, TARGET_QUERY_SIZE = 1024, TARGET_PARAMS_MAX = 16 };

struct target_param {
    char *key, *value; /* into query[] of the target */
};

struct target {
    char path[TARGET_PATH_SIZE];
    char query[TARGET_QUERY_SIZE]; /* what the parameters point into */
    struct target_param params[TARGET_PARAMS_MAX];
    size_t n_params;
};

/*
 * Fills *ret. Parameters without a value are dropped, as the reference does. Returns 0, or -ENAMETOOLONG when something
 * does not fit: a filter that is cut off would let pass what it should hold back.
 */
int target_parse(const char *raw, struct target *ret);

/* Value of the first parameter of that name, or NULL. */
const char *target_param(const struct target *t, const char *key);

/* True if the first part of the path is `name`: "/patroni", "//patroni/x" for "patroni". */
bool target_is(const struct target *t, const char *name);
