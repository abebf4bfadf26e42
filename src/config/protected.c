#include "config/protected.h"
#include <stddef.h>
#include <stdint.h>
#include <strings.h>
#include "base/core.h"
#include "config/value.h"

enum rule { RULE_NEVER, RULE_INT, RULE_MEGABYTES, RULE_BOOL, RULE_TRUE, RULE_WAL_LEVEL };

static const struct protected
{
    const char *name;
    enum rule rule;
    int64_t min;
    const char *expected; /* RULE_NEVER: where the value comes from */
}
table[] = {
    {"listen_addresses", RULE_NEVER, 0, "postgresql.listen"},
    {"port", RULE_NEVER, 0, "postgresql.listen"},
    {"cluster_name", RULE_NEVER, 0, "scope"},
    {"wal_level", RULE_WAL_LEVEL, 0, "\"replica\" or \"logical\""},
    {"hot_standby", RULE_TRUE, 0, "on"},
    {"max_connections", RULE_INT, 25, "a number of at least 25"},
    {"max_wal_senders", RULE_INT, 3, "a number of at least 3"},
    {"wal_keep_segments", RULE_INT, 1, "a number of at least 1"},
    {"wal_keep_size", RULE_MEGABYTES, 16, "a size of at least 16MB"},
    {"max_prepared_transactions", RULE_INT, 0, "a number of at least 0"},
    {"max_locks_per_transaction", RULE_INT, 32, "a number of at least 32"},
    {"track_commit_timestamp", RULE_BOOL, 0, "on or off"},
    {"max_replication_slots", RULE_INT, 4, "a number of at least 4"},
    {"max_worker_processes", RULE_INT, 2, "a number of at least 2"},
    {"wal_log_hints", RULE_BOOL, 0, "on or off"},
};

static const struct protected *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strcasecmp(table[i].name, name) == 0)
            return &table[i];
    }
    return NULL;
}

bool protected_parameter(const char *name)
{
    return find(name) != NULL;
}

const char *protected_parameter_source(const char *name)
{
    const struct protected *p = find(name);

    return p && p->rule == RULE_NEVER ? p->expected : NULL;
}

static bool is_wal_level(const char *value)
{
    return strcasecmp(value, "replica") == 0 || strcasecmp(value, "logical") == 0 ||
           strcasecmp(value, "hot_standby") == 0;
}

/* A number without unit counts megabytes, as in postgresql.conf. */
static bool megabytes(const char *value, int64_t *ret)
{
    int64_t bytes;

    if (value_to_int(value, VALUE_PLAIN, ret))
        return true;
    if (!value_to_int(value, VALUE_BYTES, &bytes))
        return false;
    *ret = bytes / (1024 * 1024);
    return true;
}

static bool accepts(const struct protected *p, const char *value)
{
    int64_t number;
    bool flag;

    switch (p->rule) {
    case RULE_NEVER:
        return false;
    case RULE_INT:
        return value_to_int(value, VALUE_PLAIN, &number) && number >= p->min && number <= INT32_MAX;
    case RULE_MEGABYTES:
        return megabytes(value, &number) && number >= p->min && number <= INT32_MAX;
    case RULE_BOOL:
        return value_to_bool(value, &flag);
    case RULE_TRUE:
        return value_to_bool(value, &flag) && flag;
    case RULE_WAL_LEVEL:
        return is_wal_level(value);
    }
    return false;
}

bool protected_parameter_accepts(const char *name, const char *value, const char **ret_expected)
{
    const struct protected *p = find(name);

    if (!p || accepts(p, value))
        return true;
    *ret_expected = p->expected;
    return false;
}
