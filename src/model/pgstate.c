#include "model/pgstate.h"
#include <string.h>
#include "base/core.h"

static const struct {
    const char *text, *metric;
} states[] = {
    [PG_STATE_INITDB] = {"initializing new cluster", "initdb"},
    [PG_STATE_INITDB_FAILED] = {"initdb failed", "initdb_failed"},
    [PG_STATE_CUSTOM_BOOTSTRAP] = {"running custom bootstrap script", "custom_bootstrap"},
    [PG_STATE_CUSTOM_BOOTSTRAP_FAILED] = {"custom bootstrap failed", "custom_bootstrap_failed"},
    [PG_STATE_CREATING_REPLICA] = {"creating replica", "creating_replica"},
    [PG_STATE_RUNNING] = {"running", "running"},
    [PG_STATE_STARTING] = {"starting", "starting"},
    [PG_STATE_BOOTSTRAP_STARTING] = {"starting after custom bootstrap", "bootstrap_starting"},
    [PG_STATE_START_FAILED] = {"start failed", "start_failed"},
    [PG_STATE_RESTARTING] = {"restarting", "restarting"},
    [PG_STATE_RESTART_FAILED] = {"restart failed", "restart_failed"},
    [PG_STATE_STOPPING] = {"stopping", "stopping"},
    [PG_STATE_STOPPED] = {"stopped", "stopped"},
    [PG_STATE_STOP_FAILED] = {"stop failed", "stop_failed"},
    [PG_STATE_CRASHED] = {"crashed", "crashed"},
    [PG_STATE_UNKNOWN] = {"unknown", "unknown"},
};

static const char *const roles[] = {
    [PG_ROLE_UNINITIALIZED] = "uninitialized",
    [PG_ROLE_REPLICA] = "replica",
    [PG_ROLE_PRIMARY] = "primary",
    [PG_ROLE_STANDBY_LEADER] = "standby_leader",
    [PG_ROLE_DEMOTED] = "demoted",
    [PG_ROLE_PROMOTED] = "promoted",
    [PG_ROLE_UNKNOWN] = "unknown",
};

static const char *const control_states[] = {
    [PG_CONTROL_UNKNOWN] = "unknown",
    [PG_CONTROL_STARTING_UP] = "starting up",
    [PG_CONTROL_SHUT_DOWN] = "shut down",
    [PG_CONTROL_SHUT_DOWN_IN_RECOVERY] = "shut down in recovery",
    [PG_CONTROL_SHUTTING_DOWN] = "shutting down",
    [PG_CONTROL_IN_CRASH_RECOVERY] = "in crash recovery",
    [PG_CONTROL_IN_ARCHIVE_RECOVERY] = "in archive recovery",
    [PG_CONTROL_IN_PRODUCTION] = "in production",
};

const char *pg_state_text(enum pg_state state)
{
    return states[state].text;
}

const char *pg_state_metric_name(enum pg_state state)
{
    return states[state].metric;
}

enum pg_state pg_state_from_text(const char *text)
{
    for (size_t i = 0; i < PG_STATE_UNKNOWN; i++)
        if (strcmp(states[i].text, text) == 0)
            return (enum pg_state)i;
    return PG_STATE_UNKNOWN;
}

const char *pg_role_text(enum pg_role role)
{
    return roles[role];
}

enum pg_role pg_role_from_text(const char *text)
{
    if (strcmp(text, "master") == 0)
        return PG_ROLE_PRIMARY;
    for (size_t i = 0; i < PG_ROLE_UNKNOWN; i++)
        if (strcmp(roles[i], text) == 0)
            return (enum pg_role)i;
    return PG_ROLE_UNKNOWN;
}

const char *pg_control_state_text(enum pg_control_state state)
{
    return control_states[state];
}

enum pg_control_state pg_control_state_from_text(const char *text)
{
    for (size_t i = 1; i < ARRAY_LEN(control_states); i++)
        if (strcmp(control_states[i], text) == 0)
            return (enum pg_control_state)i;
    return PG_CONTROL_UNKNOWN;
}
