#include "config/schema.h"
#include <string.h>
#include "base/text.h"
#include "config/suggest.h"

enum { PORT_MAX = 65535, DAY_S = 86400 };

#define AT(field) .offset = offsetof(struct draft, field)
#define IGNORED(p, t)                                                                                                  \
    {                                                                                                                  \
        .path = (p), .type = SETTING_IGNORED, .text = (t)                                                              \
    }
#define UNSUPPORTED(p, t)                                                                                              \
    {                                                                                                                  \
        .path = (p), .type = SETTING_UNSUPPORTED, .text = (t)                                                          \
    }

#define CREDENTIAL(user, key, kind, t)                                                                                 \
    {                                                                                                                  \
        .path = "postgresql.authentication." #user "." #key, .type = (kind), AT(c.postgresql.user.key), .text = (t)    \
    }
#define CREDENTIALS(user, t)                                                                                           \
    {.path = "postgresql.authentication." #user, .type = SETTING_GROUP, .text = (t)},                                  \
        CREDENTIAL(user, username, SETTING_STRING, "role name"),                                                       \
        CREDENTIAL(user, password, SETTING_SECRET, "its password"),                                                    \
        CREDENTIAL(user, sslmode, SETTING_STRING, "as in libpq"),                                                      \
        CREDENTIAL(user, sslcert, SETTING_STRING, "client certificate"),                                               \
        CREDENTIAL(user, sslkey, SETTING_STRING, "its key"),                                                           \
        CREDENTIAL(user, sslpassword, SETTING_SECRET, "password of the key"),                                          \
        CREDENTIAL(user, sslrootcert, SETTING_STRING, "certificates of trusted authorities"),                          \
        CREDENTIAL(user, sslcrl, SETTING_STRING, "revocation list"),                                                   \
        CREDENTIAL(user, sslcrldir, SETTING_STRING, "directory of revocation lists"),                                  \
        CREDENTIAL(user, gssencmode, SETTING_STRING, "as in libpq"),                                                   \
        CREDENTIAL(user, channel_binding, SETTING_STRING, "as in libpq"),                                              \
        IGNORED("postgresql.authentication." #user ".sslnegotiation", "as in libpq")

#define CALLBACK(name, t)                                                                                              \
    {                                                                                                                  \
        .path = "postgresql.callbacks." #name, .type = SETTING_STRING, AT(c.postgresql.callbacks.name), .text = (t)    \
    }

/* In the order of the manual page. */
static const struct schema_entry entries[] = {
    {.path = "scope", .type = SETTING_STRING, .required = true, AT(c.scope), .text = "name of the cluster"},
    {.path = "namespace", .type = SETTING_STRING, AT(c.namespace_), .text = "path in the store above the cluster"},
    {.path = "name", .type = SETTING_STRING, .required = true, AT(c.name), .text = "name of this member"},
    {.path = "state_dir", .type = SETTING_PATH, AT(c.state_dir), .text = "for what must survive a reset"},
    IGNORED("thread_pool_size", "pgtether has no threads"),
    IGNORED("thread_stack_size", "pgtether has no threads"),

    {.path = "restapi", .type = SETTING_GROUP, .text = "REST server"},
    {.path = "restapi.listen", .type = SETTING_ADDRESS, AT(restapi_listen), .text = "address and port to listen on"},
    {.path = "restapi.connect_address", .type = SETTING_ADDRESS, AT(restapi_connect), .text = "as others reach it"},
    {.path = "restapi.authentication", .type = SETTING_GROUP, .text = "who may change something"},
    {.path = "restapi.authentication.username", .type = SETTING_STRING, AT(c.restapi.username), .text = "user name"},
    {.path = "restapi.authentication.password", .type = SETTING_SECRET, AT(c.restapi.password), .text = "password"},
    {.path = "restapi.certfile", .type = SETTING_PATH, AT(c.restapi.tls.certfile), .text = "server certificate"},
    {.path = "restapi.keyfile", .type = SETTING_PATH, AT(c.restapi.tls.keyfile), .text = "its key"},
    {.path = "restapi.keyfile_password", .type = SETTING_SECRET, AT(c.restapi.tls.keyfile_password), .text = "of key"},
    {.path = "restapi.cafile", .type = SETTING_PATH, AT(c.restapi.tls.cafile), .text = "trusted authorities"},
    UNSUPPORTED("restapi.ciphers", "permitted ciphers"),
    {.path = "restapi.verify_client",
     .type = SETTING_CHOICE,
     AT(c.restapi.tls.verify_client),
     .choices = "none|optional|required",
     .text = "whether clients need a certificate"},
    {.path = "restapi.allowlist", .type = SETTING_STRINGS, AT(c.restapi.allowlist), .text = "who may change something"},
    {.path = "restapi.allowlist_include_members",
     .type = SETTING_BOOL,
     AT(c.restapi.allowlist_include_members),
     .text = "whether members may change something"},
    IGNORED("restapi.http_extra_headers", "headers of every answer"),
    IGNORED("restapi.https_extra_headers", "headers of every answer"),
    IGNORED("restapi.request_queue_size", "length of the queue"),
    IGNORED("restapi.thread_pool_size", "pgtether has no threads"),
    IGNORED("restapi.server_tokens", "what the Server header tells"),

    {.path = "etcd3", .type = SETTING_GROUP, .text = "the store"},
    {.path = "etcd3.host", .type = SETTING_STRING, AT(etcd3.host), .text = "one endpoint, \"host:port\""},
    {.path = "etcd3.hosts", .type = SETTING_STRINGS, AT(etcd3.hosts), .text = "the endpoints"},
    {.path = "etcd3.port", .type = SETTING_INT, AT(etcd3.port), .min = 1, .max = PORT_MAX, .text = "default port"},
    {.path = "etcd3.url", .type = SETTING_STRING, AT(etcd3.url), .text = "one endpoint, \"http://host:port\""},
    {.path = "etcd3.proxy", .type = SETTING_STRING, AT(etcd3.proxy), .text = "URL of an etcd proxy"},
    {.path = "etcd3.use_proxies", .type = SETTING_BOOL, AT(etcd3.use_proxies), .text = "hosts are proxies"},
    {.path = "etcd3.srv", .type = SETTING_STRING, AT(c.dcs.srv), .text = "domain with SRV records"},
    UNSUPPORTED("etcd3.srv_suffix", "suffix of the SRV service name"),
    {.path = "etcd3.protocol", .type = SETTING_CHOICE, AT(etcd3.protocol), .choices = "http|https", .text = "protocol"},
    {.path = "etcd3.username", .type = SETTING_STRING, AT(c.dcs.username), .text = "user name"},
    {.path = "etcd3.password", .type = SETTING_SECRET, AT(c.dcs.password), .text = "password"},
    {.path = "etcd3.cacert", .type = SETTING_PATH, AT(c.dcs.cacert), .text = "trusted authorities"},
    {.path = "etcd3.cert", .type = SETTING_PATH, AT(c.dcs.cert), .text = "client certificate"},
    {.path = "etcd3.key", .type = SETTING_PATH, AT(c.dcs.key), .text = "its key"},
    {.path = "etcd3.key_password", .type = SETTING_SECRET, AT(c.dcs.key_password), .text = "password of the key"},
    UNSUPPORTED("etcd", "etcd with its version 2 interface"),
    UNSUPPORTED("consul", "Consul as the store"),
    UNSUPPORTED("zookeeper", "ZooKeeper as the store"),
    UNSUPPORTED("exhibitor", "ZooKeeper found through Exhibitor"),
    UNSUPPORTED("kubernetes", "Kubernetes as the store"),
    UNSUPPORTED("raft", "a store of its own"),
    UNSUPPORTED("citus", "Citus"),

    {.path = "watchdog", .type = SETTING_GROUP, .text = "the hardware watchdog"},
    {.path = "watchdog.mode",
     .type = SETTING_CHOICE,
     AT(watchdog_mode),
     .choices = "off,disabled,disable,false|automatic,auto|required,require",
     .text = "whether a leader needs it"},
    {.path = "watchdog.device", .type = SETTING_PATH, AT(c.watchdog.device), .text = "device"},
    {.path = "watchdog.timeout",
     .type = SETTING_SECONDS,
     AT(c.watchdog.timeout_us),
     .min = 1,
     .max = 65534,
     .text = "seconds from the last pet to the reset"},
    {.path = "watchdog.reset_time",
     .type = SETTING_SECONDS,
     AT(c.watchdog.reset_time_us),
     .min = 1,
     .max = DAY_S,
     .text = "seconds until the host is known to be down, if longer"},
    IGNORED("watchdog.safety_margin", "follows from ttl and watchdog.timeout"),
    IGNORED("watchdog.driver", "found out from the device"),
    {.path = "gate", .type = SETTING_GROUP, .text = "packet filter that follows the lease"},
    {.path = "gate.mode",
     .type = SETTING_CHOICE,
     AT(gate_mode),
     .choices = "off,disabled,disable,false|automatic,auto|nftables",
     .text = "whether it is used"},
    {.path = "vip", .type = SETTING_VIPS, .text = "addresses that follow the leader"},

    {.path = "storage_probe", .type = SETTING_GROUP, .text = "supervision of the disks"},
    {.path = "storage_probe.mode",
     .type = SETTING_CHOICE,
     AT(storage_probe_mode),
     .choices = "off|warn|fence",
     .text = "what a failed disk leads to"},
    {.path = "storage_probe.interval",
     .type = SETTING_SECONDS,
     AT(c.storage_probe.interval_us),
     .min = 1,
     .max = 60,
     .text = "seconds between two probes"},
    {.path = "storage_probe.timeout",
     .type = SETTING_SECONDS,
     AT(c.storage_probe.timeout_us),
     .min = 2,
     .max = DAY_S,
     .text = "seconds for which an answer is good"},

    {.path = "postgresql", .type = SETTING_GROUP, .text = "the local PostgreSQL"},
    {.path = "postgresql.listen",
     .type = SETTING_ADDRESS,
     .required = true,
     AT(postgresql_listen),
     .text = "listen_addresses and port"},
    {.path = "postgresql.connect_address", .type = SETTING_ADDRESS, AT(postgresql_connect), .text = "for others"},
    IGNORED("postgresql.proxy_address", "address of a connection pooler"),
    {.path = "postgresql.data_dir",
     .type = SETTING_PATH,
     .required = true,
     AT(c.postgresql.data_dir),
     .text = "data directory"},
    {.path = "postgresql.config_dir", .type = SETTING_PATH, AT(c.postgresql.config_dir), .text = "of postgresql.conf"},
    {.path = "postgresql.bin_dir", .type = SETTING_PATH, AT(c.postgresql.bin_dir), .text = "PostgreSQL's programs"},
    UNSUPPORTED("postgresql.bin_name", "other names of PostgreSQL's programs"),
    {.path = "postgresql.pgpass", .type = SETTING_PATH, AT(c.postgresql.pgpass), .text = "password file to write"},
    {.path = "postgresql.database", .type = SETTING_STRING, AT(c.postgresql.database), .text = "to connect to"},
    {.path = "postgresql.log_file", .type = SETTING_PATH, AT(c.postgresql.log_file), .text = "output of the server"},
    {.path = "postgresql.run_dir", .type = SETTING_PATH, AT(c.postgresql.run_dir), .text = "for runtime files"},
    {.path = "postgresql.custom_conf", .type = SETTING_PATH, AT(c.postgresql.custom_conf), .text = "to include"},
    {.path = "postgresql.config_base_name",
     .type = SETTING_STRING,
     AT(c.postgresql.config_base_name),
     .text = "name of postgresql.conf without .conf"},
    {.path = "postgresql.use_unix_socket",
     .type = SETTING_BOOL,
     AT(c.postgresql.use_unix_socket),
     .text = "whether local connections avoid TCP"},
    {.path = "postgresql.use_unix_socket_repl",
     .type = SETTING_BOOL,
     AT(c.postgresql.use_unix_socket_repl),
     .text = "whether local replication connections avoid TCP"},
    IGNORED("postgresql.krbsrvname", "Kerberos service name"),
    {.path = "postgresql.authentication", .type = SETTING_GROUP, .text = "roles"},
    CREDENTIALS(superuser, "role that pgtether works as"),
    CREDENTIALS(replication, "role that standbys stream as"),
    CREDENTIALS(rewind, "role that pg_rewind connects as"),
    {.path = "postgresql.parameters", .type = SETTING_MAP, AT(c.postgresql.parameters), .text = "local parameters"},
    {.path = "postgresql.custom_parameters",
     .type = SETTING_ASSIGNMENTS,
     AT(c.postgresql.parameters),
     .text = "parameters with dots in their names"},
    UNSUPPORTED("postgresql.parameters_primary", "parameters of a primary"),
    UNSUPPORTED("postgresql.parameters_replica", "parameters of a standby"),
    UNSUPPORTED("postgresql.parameters_standby_leader", "parameters of a standby leader"),
    {.path = "postgresql.pg_hba", .type = SETTING_STRINGS, AT(c.postgresql.pg_hba), .text = "lines of pg_hba.conf"},
    {.path = "postgresql.pg_ident", .type = SETTING_STRINGS, AT(c.postgresql.pg_ident), .text = "of pg_ident.conf"},
    {.path = "postgresql.recovery_conf", .type = SETTING_MAP, AT(c.postgresql.recovery_conf), .text = "recovery"},
    {.path = "postgresql.create_replica_methods",
     .type = SETTING_STRINGS,
     AT(c.postgresql.create_replica_methods),
     .text = "how a standby is made, in order"},
    {.path = "postgresql.create_replica_method",
     .type = SETTING_STRINGS,
     AT(c.postgresql.create_replica_methods),
     .text = "older name of create_replica_methods"},
    {.path = "postgresql.basebackup", .type = SETTING_OPTIONS, AT(c.postgresql.basebackup), .text = "its options"},
    UNSUPPORTED("postgresql.pgbackrest", "standbys from pgBackRest"),
    {.path = "postgresql.use_pg_rewind", .type = SETTING_BOOL, AT(c.postgresql.use_pg_rewind), .text = "use it"},
    IGNORED("postgresql.rewind", "options of pg_rewind"),
    {.path = "postgresql.remove_data_directory_on_rewind_failure",
     .type = SETTING_BOOL,
     AT(c.postgresql.remove_data_directory_on_rewind_failure),
     .text = "copy again when pg_rewind failed"},
    {.path = "postgresql.remove_data_directory_on_diverged_timelines",
     .type = SETTING_BOOL,
     AT(c.postgresql.remove_data_directory_on_diverged_timelines),
     .text = "copy again when diverged and pg_rewind is not used"},
    IGNORED("postgresql.pg_ctl_timeout", "seconds a start may take"),
    {.path = "postgresql.callbacks", .type = SETTING_GROUP, .text = "programs to tell"},
    CALLBACK(on_start, "when PostgreSQL was started"),
    CALLBACK(on_stop, "when it was stopped"),
    CALLBACK(on_restart, "when it was restarted"),
    CALLBACK(on_reload, "when it was told to read its files again"),
    CALLBACK(on_role_change, "when it was promoted or demoted"),
    {.path = "postgresql.pre_promote",
     .type = SETTING_STRING,
     AT(c.postgresql.pre_promote),
     .text = "program that may forbid a promotion"},
    {.path = "postgresql.before_stop",
     .type = SETTING_STRING,
     AT(c.postgresql.before_stop),
     .text = "program to run before a stop"},

    {.path = "bootstrap", .type = SETTING_GROUP, .text = "how a new cluster is made"},
    {.path = "bootstrap.dcs", .type = SETTING_DYNAMIC, .text = "first dynamic configuration"},
    {.path = "bootstrap.method",
     .type = SETTING_CHOICE,
     AT(bootstrap_method),
     .choices = "initdb",
     .text = "how the data directory is made"},
    {.path = "bootstrap.initdb", .type = SETTING_OPTIONS, AT(c.bootstrap.initdb), .text = "options of initdb"},
    {.path = "bootstrap.pg_hba", .type = SETTING_STRINGS, AT(c.bootstrap.pg_hba), .text = "lines of pg_hba.conf"},
    {.path = "bootstrap.post_bootstrap",
     .type = SETTING_STRING,
     AT(c.bootstrap.post_bootstrap),
     .text = "program to run in the new cluster"},
    {.path = "bootstrap.post_init",
     .type = SETTING_STRING,
     AT(c.bootstrap.post_bootstrap),
     .text = "other name of post_bootstrap"},
    UNSUPPORTED("bootstrap.users", "users to create; use post_bootstrap"),

    {.path = "tags", .type = SETTING_TAGS, .text = "what this member may be used for"},

    {.path = "log", .type = SETTING_GROUP, .text = "the log"},
    {.path = "log.level",
     .type = SETTING_CHOICE,
     AT(c.log.level),
     .choices = "debug|info|warning,warn|error,critical",
     .text = "least level that is logged"},
    {.path = "log.type", .type = SETTING_CHOICE, AT(log_type), .choices = "plain|json", .text = "form of the lines"},
    IGNORED("log.traceback_level", ""),
    IGNORED("log.format", ""),
    IGNORED("log.dateformat", ""),
    IGNORED("log.static_fields", ""),
    IGNORED("log.max_queue_size", ""),
    IGNORED("log.dir", "the log goes to stderr, that is to the journal"),
    IGNORED("log.mode", ""),
    IGNORED("log.file_size", ""),
    IGNORED("log.file_num", ""),
    IGNORED("log.loggers", ""),
    IGNORED("log.deduplicate_heartbeat_logs", ""),
    {.path = "ctl", .type = SETTING_GROUP, .text = "how pgtetherctl asks the REST servers"},
    {.path = "ctl.insecure", .type = SETTING_BOOL, AT(c.ctl.insecure), .text = "certificates are not verified"},
    {.path = "ctl.cacert", .type = SETTING_PATH, AT(c.ctl.cacert), .text = "trusted authorities"},
    {.path = "ctl.certfile", .type = SETTING_PATH, AT(c.ctl.certfile), .text = "client certificate"},
    {.path = "ctl.keyfile", .type = SETTING_PATH, AT(c.ctl.keyfile), .text = "its key"},
    {.path = "ctl.keyfile_password", .type = SETTING_SECRET, AT(c.ctl.keyfile_password), .text = "password of the key"},
    {.path = "ctl.authentication", .type = SETTING_GROUP, .text = "as whom to change something"},
    {.path = "ctl.authentication.username", .type = SETTING_STRING, AT(c.ctl.username), .text = "user name"},
    {.path = "ctl.authentication.password", .type = SETTING_SECRET, AT(c.ctl.password), .text = "password"},
    {.path = "ctl.auth", .type = SETTING_SECRET, AT(c.ctl.auth), .text = "older form, \"username:password\""},
};

const struct schema_entry *schema_entries(size_t *ret_n)
{
    *ret_n = ARRAY_LEN(entries);
    return entries;
}

const struct schema_entry *schema_find(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        if (strcmp(entries[i].path, path) == 0)
            return &entries[i];
    }
    return NULL;
}

static const char *last_name(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot ? dot + 1 : path;
}

static bool in_same_group(const char *a, const char *b)
{
    size_t a_len = (size_t)(last_name(a) - a), b_len = (size_t)(last_name(b) - b);

    return a_len == b_len && strncmp(a, b, a_len) == 0;
}

const char *schema_suggest(const char *path)
{
    const char *name = last_name(path);
    struct suggest near = SUGGEST_FOR(name);

    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        if (in_same_group(entries[i].path, path))
            suggest_offer(&near, last_name(entries[i].path));
    }
    if (near.best)
        return near.best;
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        if (strcmp(last_name(entries[i].path), name) == 0)
            return entries[i].path;
    }
    return NULL;
}
