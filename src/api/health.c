#include "api/health.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include "base/core.h"
#include "model/overview.h"

enum { HEALTHY = 200, UNHEALTHY = 503 };

/* What the rows of the table below are made of. */
struct codes {
    int leader, primary, standby_leader, replica;
};

bool health_view_is_valid(const struct node_status *n, uint64_t now_us)
{
    return n->cluster && n->cluster_valid_until_us > now_us;
}

static bool claims_primary(enum pg_role role)
{
    return role == PG_ROLE_PRIMARY || role == PG_ROLE_PROMOTED;
}

/* A primary that nothing entitles to be one any more. */
static bool role_is_history(const struct node_status *n, uint64_t now_us)
{
    if (!claims_primary(n->role) || node_is_leader(n, now_us))
        return false;
    return !(n->policy.pause && n->sql_ok);
}

enum pg_role health_role(const struct node_status *n, uint64_t now_us)
{
    return role_is_history(n, now_us) ? PG_ROLE_DEMOTED : n->role;
}

bool health_sql_ok(const struct node_status *n, uint64_t now_us)
{
    bool up = n->state == PG_STATE_RUNNING || n->state == PG_STATE_RESTARTING || n->state == PG_STATE_STARTING;

    return up && n->sql_ok && !role_is_history(n, now_us);
}

enum pg_state health_state(const struct node_status *n, uint64_t now_us)
{
    return n->state == PG_STATE_RUNNING && !health_sql_ok(n, now_us) ? PG_STATE_UNKNOWN : n->state;
}

bool health_is_sync_standby(const struct node_status *n, uint64_t now_us)
{
    return n->policy.sync_mode != SYNC_MODE_OFF && health_view_is_valid(n, now_us) && health_sql_ok(n, now_us) &&
           health_role(n, now_us) == PG_ROLE_REPLICA && overview_is_sync_standby(n->cluster, n->name);
}

bool health_parse_bytes(const char *s, uint64_t *ret)
{
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"", 1}, {"B", 1}, {"kB", 1024}, {"MB", 1048576}, {"GB", 1073741824}, {"TB", 1099511627776}};
    char *end;
    double value;

    if (!isdigit((unsigned char)*s))
        return false;
    value = strtod(s, &end);
    end += strspn(end, " ");
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        double bytes = value * units[i].factor;

        if (strcmp(end, units[i].name) != 0)
            continue;
        if (!(bytes < 9e18))
            return false;
        *ret = (uint64_t)(bytes + 0.5);
        return true;
    }
    return false;
}

/* The furthest position of the leader that we have heard of. */
static uint64_t leader_lsn(const struct node_status *n, uint64_t now_us)
{
    uint64_t published_lsn = health_view_is_valid(n, now_us) ? n->cluster->status_lsn : 0;
    uint64_t heard_lsn = health_sql_ok(n, now_us) ? n->latest_end_lsn : 0;

    return published_lsn > heard_lsn ? published_lsn : heard_lsn;
}

static bool lags(uint64_t leader, uint64_t own, uint64_t limit_bytes)
{
    return leader > own && leader - own > limit_bytes;
}

static int replica_code(const struct node_status *n, uint64_t now_us, const struct target *t)
{
    const char *lag = target_param(t, "lag");
    const char *wanted_state = target_param(t, "replication_state");
    uint64_t limit_bytes = UINT64_MAX;

    if (health_role(n, now_us) != PG_ROLE_REPLICA || health_state(n, now_us) != PG_STATE_RUNNING ||
        n->tags.noloadbalance)
        return UNHEALTHY;
    if (wanted_state && strcmp(n->replication_state, wanted_state) != 0)
        return UNHEALTHY;
    /* A limit that cannot be read is no limit: the reference does so, and load balancers rely on what it does. */
    if (lag)
        (void)health_parse_bytes(lag, &limit_bytes);
    return lags(leader_lsn(n, now_us), n->replay_lsn, limit_bytes) ? UNHEALTHY : HEALTHY;
}

static struct codes codes_of(const struct node_status *n, uint64_t now_us, const struct target *t)
{
    struct codes c = {UNHEALTHY, UNHEALTHY, UNHEALTHY, replica_code(n, now_us, t)};
    enum pg_role role = health_role(n, now_us);
    bool standby_leader = role == PG_ROLE_STANDBY_LEADER;

    if (n->policy.pause && !health_view_is_valid(n, now_us)) {
        /* In pause PostgreSQL goes on without the store; then only fresh evidence of the role counts. */
        bool primary = role == PG_ROLE_PRIMARY && (n->sql_ok || node_is_leader(n, now_us));

        c.primary = primary ? HEALTHY : UNHEALTHY;
        c.standby_leader = standby_leader && n->sql_ok ? HEALTHY : UNHEALTHY;
        c.leader = c.primary == HEALTHY ? c.primary : c.standby_leader;
    } else if (node_is_leader(n, now_us)) {
        c.leader = HEALTHY;
        c.primary = standby_leader ? UNHEALTHY : HEALTHY;
        c.standby_leader = standby_leader ? HEALTHY : UNHEALTHY;
        if (standby_leader)
            c.replica = UNHEALTHY;
    }
    return c;
}

static bool contains(const char *path, const char *word)
{
    return strstr(path, word) != NULL;
}

static bool path_is(const char *path, const char *a, const char *b)
{
    return strcmp(path, a) == 0 || strcmp(path, b) == 0;
}

static int any_code(const struct codes *c)
{
    return c->primary == HEALTHY || c->standby_leader == HEALTHY ? HEALTHY : UNHEALTHY;
}

/* The rows that need to know who is synchronous, and therefore a valid view of the store. */
static int sync_code(const struct node_status *n, uint64_t now_us, const char *path, const struct codes *c)
{
    bool listed = health_is_sync_standby(n, now_us);
    bool quorum = listed && n->policy.sync_mode == SYNC_MODE_QUORUM;
    bool sync = listed && !quorum;

    if (!health_view_is_valid(n, now_us))
        return UNHEALTHY;
    if (path_is(path, "/sync", "/synchronous"))
        return sync ? c->replica : UNHEALTHY;
    if (strcmp(path, "/quorum") == 0)
        return quorum ? c->replica : UNHEALTHY;
    if (path_is(path, "/async", "/asynchronous"))
        return listed ? UNHEALTHY : c->replica;
    if (strcmp(path, "/read-only-quorum") == 0)
        return any_code(c) == HEALTHY || !quorum ? any_code(c) : c->replica;
    if (path_is(path, "/read-only-sync", "/read-only-synchronous"))
        return any_code(c) == HEALTHY || !sync ? any_code(c) : c->replica;
    return UNHEALTHY;
}

/* A tag's value as the filters compare it: text as it is, true and 1 as "true" and "1". */
static bool tag_equals(const json_t *tag, const char *wanted)
{
    char number[40];

    if (json_is_string(tag))
        return strcmp(json_string_value(tag), wanted) == 0;
    if (json_is_boolean(tag))
        return strcmp(json_is_true(tag) ? "true" : "false", wanted) == 0;
    if (json_is_integer(tag)) {
        (void)snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(tag));
        return strcmp(number, wanted) == 0;
    }
    if (json_is_real(tag)) {
        (void)snprintf(number, sizeof(number), "%.15g", json_real_value(tag));
        return strcmp(number, wanted) == 0;
    }
    return false;
}

static bool tags_match(const struct node_status *n, const struct target *t)
{
    json_t *tags = json_loads(n->tags_json ? n->tags_json : "{}", 0, NULL);
    bool match = true;

    for (size_t i = 0; i < t->n_params && match; i++)
        if (strncmp(t->params[i].key, "tag_", 4) == 0)
            match = tag_equals(json_object_get(tags, t->params[i].key + 4), t->params[i].value);
    json_decref(tags);
    return match;
}

int health_code(const struct node_status *n, uint64_t now_us, const struct target *t)
{
    const char *path = strcmp(t->path, "/") == 0 ? "/primary" : t->path;
    struct codes c = codes_of(n, now_us, t);
    int code;

    if (contains(path, "standby_leader") || contains(path, "standby-leader"))
        return c.standby_leader;
    if (contains(path, "leader"))
        return c.leader;
    if (contains(path, "master") || contains(path, "primary") || contains(path, "read-write"))
        return c.primary;

    if (contains(path, "replica"))
        code = c.replica;
    else if (contains(path, "read-only") && !contains(path, "sync") && !contains(path, "quorum"))
        code = any_code(&c) == HEALTHY ? HEALTHY : c.replica;
    else if (contains(path, "health"))
        code = health_state(n, now_us) == PG_STATE_RUNNING ? HEALTHY : UNHEALTHY;
    else
        code = sync_code(n, now_us, path, &c);
    return code == HEALTHY && !tags_match(n, t) ? UNHEALTHY : code;
}

int health_liveness_code(const struct node_status *n, uint64_t now_us)
{
    bool primary = claims_primary(n->role) && n->state == PG_STATE_RUNNING;
    uint64_t patience_us = n->policy.loop_wait_us + n->policy.ttl_us * (primary ? 1 : 2);

    if (n->policy.pause || n->loop_ran_at_us > now_us)
        return HEALTHY;
    return now_us - n->loop_ran_at_us < patience_us ? HEALTHY : UNHEALTHY;
}

int health_readiness_code(const struct node_status *n, uint64_t now_us, const struct target *t)
{
    const char *mode = target_param(t, "mode");
    const char *lag = target_param(t, "lag");
    uint64_t limit_bytes = n->policy.maximum_lag_on_failover_bytes;
    uint64_t own_lsn = n->replay_lsn;

    if (node_is_leader(n, now_us))
        return HEALTHY;
    if (health_state(n, now_us) != PG_STATE_RUNNING || strcmp(n->replication_state, "streaming") != 0)
        return UNHEALTHY;
    if (!health_view_is_valid(n, now_us) && !n->latest_end_lsn)
        return UNHEALTHY;
    if (mode && strcmp(mode, "write") == 0)
        own_lsn = n->receive_lsn ? n->receive_lsn : n->replay_lsn;
    if (lag)
        (void)health_parse_bytes(lag, &limit_bytes);
    return lags(leader_lsn(n, now_us), own_lsn, limit_bytes) ? UNHEALTHY : HEALTHY;
}
