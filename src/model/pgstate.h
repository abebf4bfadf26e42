/* Names for what a PostgreSQL is and does; the texts are Patroni's wire words (member key, REST). */
#pragma once

enum pg_state {
    PG_STATE_INITDB,
    PG_STATE_INITDB_FAILED,
    PG_STATE_CUSTOM_BOOTSTRAP,
    PG_STATE_CUSTOM_BOOTSTRAP_FAILED,
    PG_STATE_CREATING_REPLICA,
    PG_STATE_RUNNING,
    PG_STATE_STARTING,
    PG_STATE_BOOTSTRAP_STARTING,
    PG_STATE_START_FAILED,
    PG_STATE_RESTARTING,
    PG_STATE_RESTART_FAILED,
    PG_STATE_STOPPING,
    PG_STATE_STOPPED,
    PG_STATE_STOP_FAILED,
    PG_STATE_CRASHED,
    PG_STATE_UNKNOWN /* read from another member: a word we do not know */
};

enum pg_role {
    PG_ROLE_UNINITIALIZED,
    PG_ROLE_REPLICA,
    PG_ROLE_PRIMARY, /* "master" is read as this */
    PG_ROLE_STANDBY_LEADER,
    PG_ROLE_DEMOTED,
    PG_ROLE_PROMOTED,
    PG_ROLE_UNKNOWN
};

/* pg_control's "Database cluster state" (PostgreSQL, src/include/catalog/pg_control.h, enum DBState). */
enum pg_control_state {
    PG_CONTROL_UNKNOWN,
    PG_CONTROL_STARTING_UP,
    PG_CONTROL_SHUT_DOWN,
    PG_CONTROL_SHUT_DOWN_IN_RECOVERY,
    PG_CONTROL_SHUTTING_DOWN,
    PG_CONTROL_IN_CRASH_RECOVERY,
    PG_CONTROL_IN_ARCHIVE_RECOVERY,
    PG_CONTROL_IN_PRODUCTION
};

const char *pg_state_text(enum pg_state state);        /* "running"; "unknown" for PG_STATE_UNKNOWN */
const char *pg_state_metric_name(enum pg_state state); /* "initdb", "creating_replica" */
enum pg_state pg_state_from_text(const char *text);
const char *pg_role_text(enum pg_role role);
enum pg_role pg_role_from_text(const char *text);
const char *pg_control_state_text(enum pg_control_state state);
enum pg_control_state pg_control_state_from_text(const char *text);
