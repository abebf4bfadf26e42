#include <string.h>
#include "config/dynamic.h"
#include "config/suggest.h"

enum { TTL_MIN_S = 5, LOOP_WAIT_MIN_S = 1, RETRY_TIMEOUT_MIN_S = 1 };

#define AT(field) .offset = offsetof(struct policy, field)
#define OTHER(p, kind, t)                                                                                              \
    {                                                                                                                  \
        .path = (p), .type = (kind), .text = (t)                                                                       \
    }

/* In the order of the manual page. */
static const struct dynamic_entry entries[] = {
    {"ttl", DYNAMIC_TIMEOUT, AT(ttl_us), TTL_MIN_S, NULL, "length of the leader's lease"},
    {"loop_wait", DYNAMIC_TIMEOUT, AT(loop_wait_us), LOOP_WAIT_MIN_S, NULL, "longest pause between two looks"},
    {"retry_timeout", DYNAMIC_TIMEOUT, AT(retry_timeout_us), RETRY_TIMEOUT_MIN_S, NULL, "longest call to the store"},
    {"maximum_lag_on_failover", DYNAMIC_BYTES, AT(maximum_lag_on_failover_bytes), 0, NULL, "WAL a new leader may lack"},
    {"primary_start_timeout", DYNAMIC_SECONDS, AT(primary_start_timeout_us), 0, "master_start_timeout",
     "time a crashed primary has to start again"},
    {"primary_stop_timeout", DYNAMIC_SECONDS, AT(primary_stop_timeout_us), 0, "master_stop_timeout",
     "time a primary has to stop"},
    {"cold_start_wait", DYNAMIC_SECONDS, AT(cold_start_wait_us), 0, NULL,
     "how long all members are waited for after an outage of all"},
    {"max_timelines_history", DYNAMIC_COUNT, AT(max_timelines_history), 0, NULL, "lines of the history to keep"},
    {"check_timeline", DYNAMIC_BOOL, AT(check_timeline), 0, NULL, "a new leader must have the latest timeline"},
    {"failsafe_mode", DYNAMIC_BOOL, AT(failsafe_mode), 0, NULL, "stay leader without store if all members agree"},
    {"pause", DYNAMIC_BOOL, AT(pause), 0, NULL, "hands off"},
    OTHER("synchronous_mode", DYNAMIC_OTHER, "synchronous replication"),
    {"synchronous_mode_strict", DYNAMIC_BOOL, AT(sync_strict), 0, NULL, "never without a synchronous standby"},
    {"synchronous_node_count", DYNAMIC_COUNT, AT(sync_node_count), 1, NULL, "number of synchronous standbys"},
    OTHER("maximum_lag_on_syncnode", DYNAMIC_OTHER, "WAL a synchronous standby may lack"),
    OTHER("primary_race_backoff", DYNAMIC_IGNORED, "pause before the leader race"),
    {"member_slots_ttl", DYNAMIC_SECONDS, AT(member_slots_ttl_us), 0, NULL,
     "how long slots of absent members are kept"},
    OTHER("slots", DYNAMIC_OTHER, "permanent replication slots"),
    OTHER("permanent_slots", DYNAMIC_OTHER, "older name of slots"),
    OTHER("permanent_replication_slots", DYNAMIC_OTHER, "older name of slots"),
    OTHER("ignore_slots", DYNAMIC_OTHER, "slots to leave alone"),
    OTHER("standby_cluster", DYNAMIC_OTHER, "cluster that follows another one"),

    OTHER("postgresql", DYNAMIC_GROUP, "PostgreSQL on all members"),
    {"postgresql.use_slots", DYNAMIC_BOOL, AT(use_slots), 0, NULL, "replication slots for standbys"},
    {"postgresql.use_pg_rewind", DYNAMIC_BOOL, AT(use_pg_rewind), 0, NULL, "pg_rewind for diverged members"},
    {"postgresql.remove_data_directory_on_rewind_failure", DYNAMIC_BOOL, AT(remove_data_directory_on_rewind_failure), 0,
     NULL, "copy again when pg_rewind failed"},
    {"postgresql.remove_data_directory_on_diverged_timelines", DYNAMIC_BOOL,
     AT(remove_data_directory_on_diverged_timelines), 0, NULL, "copy again when diverged"},
    OTHER("postgresql.parameters", DYNAMIC_OTHER, "parameters of all members"),
    OTHER("postgresql.pg_hba", DYNAMIC_OTHER, "lines of pg_hba.conf"),
    OTHER("postgresql.pg_ident", DYNAMIC_OTHER, "lines of pg_ident.conf"),
    OTHER("postgresql.parameters_primary", DYNAMIC_IGNORED, "parameters of a primary"),
    OTHER("postgresql.parameters_replica", DYNAMIC_IGNORED, "parameters of a standby"),
    OTHER("postgresql.parameters_standby_leader", DYNAMIC_IGNORED, "parameters of a standby leader"),
    OTHER("postgresql.recovery_conf", DYNAMIC_LOCAL, "recovery parameters"),
    OTHER("postgresql.callbacks", DYNAMIC_LOCAL, "programs to tell"),
    OTHER("postgresql.create_replica_methods", DYNAMIC_LOCAL, "how a standby is made"),
    OTHER("postgresql.basebackup", DYNAMIC_LOCAL, "options of pg_basebackup"),
    OTHER("postgresql.pg_ctl_timeout", DYNAMIC_LOCAL, "seconds a start may take"),
    OTHER("postgresql.use_unix_socket", DYNAMIC_LOCAL, "whether local connections avoid TCP"),
    OTHER("postgresql.use_unix_socket_repl", DYNAMIC_LOCAL, "whether local replication connections avoid TCP"),
    OTHER("postgresql.database", DYNAMIC_LOCAL, "database to connect to"),
    OTHER("postgresql.bin_dir", DYNAMIC_LOCAL, "PostgreSQL's programs"),
    OTHER("postgresql.custom_conf", DYNAMIC_LOCAL, "file to include"),
    OTHER("postgresql.config_base_name", DYNAMIC_LOCAL, "name of postgresql.conf"),
    OTHER("postgresql.listen", DYNAMIC_LOCAL, "address to listen on"),
    OTHER("postgresql.connect_address", DYNAMIC_LOCAL, "address for others"),
    OTHER("postgresql.proxy_address", DYNAMIC_LOCAL, "address of a connection pooler"),
    OTHER("postgresql.data_dir", DYNAMIC_LOCAL, "data directory"),
    OTHER("postgresql.config_dir", DYNAMIC_LOCAL, "directory of postgresql.conf"),
    OTHER("postgresql.pgpass", DYNAMIC_LOCAL, "password file"),
    OTHER("postgresql.authentication", DYNAMIC_LOCAL, "roles"),
};

const struct dynamic_entry *dynamic_entries(size_t *ret_n)
{
    *ret_n = ARRAY_LEN(entries);
    return entries;
}

const struct dynamic_entry *dynamic_find(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        if (strcmp(entries[i].path, path) == 0 || (entries[i].alias && strcmp(entries[i].alias, path) == 0))
            return &entries[i];
    }
    return NULL;
}

const char *dynamic_suggest(const char *path)
{
    bool in_postgresql = strncmp(path, "postgresql.", 11) == 0;
    struct suggest near = SUGGEST_FOR(in_postgresql ? path + 11 : path);

    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        const char *known = entries[i].path;

        if ((strncmp(known, "postgresql.", 11) == 0) != in_postgresql)
            continue;
        suggest_offer(&near, in_postgresql ? known + 11 : known);
    }
    return near.best;
}
