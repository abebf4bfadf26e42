/*
 * The local configuration: one libconfig file per instance into one immutable struct. Setting names are Patroni's
 * wherever the meaning is the same; doc/pgtether.conf.5 lists them. All strings are owned by the struct config.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/core.h"
#include "model/cluster.h"
#include "model/policy.h"
#include "model/tags.h"

struct setting { /* one "name = value" pair of a free list, in the file's order; value as text ("on" for true) */
    char *name;
    char *value; /* NULL for a bare option such as "data-checksums" (of initdb and pg_basebackup also "x = true") */
};
struct settings {
    struct setting *items;
    size_t n;
};
struct string_list {
    char **items; /* NULL-terminated */
    size_t n;
};

struct credentials {
    char *username, *password;
    char *sslmode, *sslcert, *sslkey, *sslpassword, *sslrootcert, *sslcrl, *sslcrldir, *gssencmode, *channel_binding;
};

enum dcs_kind { DCS_KIND_ETCD3 };

struct dcs_config {
    enum dcs_kind kind;
    char *namespace_, *scope, *member_name;
    struct string_list hosts; /* base URLs, "http://10.0.0.1:2379" */
    char *srv;                /* domain for DNS SRV discovery; NULL = none */
    char *username, *password;
    char *cacert, *cert, *key, *key_password;
    bool discover_members; /* false with proxy / use_proxies */
};

struct tls_config {
    char *certfile, *keyfile, *keyfile_password, *cafile;
    char *verify_client; /* "none", "optional", "required" */
};

/* An address that follows the primary, or one that one of the standbys has. */
enum { CONFIG_VIPS_MAX = 16 };
struct vip_config {
    bool for_replica;
    char address[64];              /* "10.0.0.100/24" */
    char interface[16], label[16]; /* label "" = none */
};

enum storage_probe_mode { STORAGE_PROBE_OFF, STORAGE_PROBE_WARN, STORAGE_PROBE_FENCE };
enum watchdog_mode { WATCHDOG_OFF, WATCHDOG_AUTOMATIC, WATCHDOG_REQUIRED };
enum gate_mode { GATE_MODE_OFF, GATE_MODE_AUTOMATIC, GATE_MODE_NFTABLES };

/* Where a setting of the file stands and what it says there: lists as one text, groups setting by setting. */
struct config_place {
    char *path; /* "postgresql.parameters.work_mem"; custom_parameters are under parameters too */
    char *file;
    unsigned line;
    char *text;      /* NULL = a secret */
    uint64_t digest; /* of the value, also of a secret */
};

struct config {
    char *path;
    struct config_place *places; /* in the order of the file */
    size_t n_places;
    char *scope, *namespace_, *name;

    struct {
        char *listen_host; /* NULL = all addresses ("*"); default "0.0.0.0", port 8008 */
        uint16_t listen_port;
        char *connect_host;
        uint16_t connect_port;
        char *username, *password; /* basic authentication of changing requests; NULL = none */
        struct tls_config tls;
        struct string_list allowlist; /* addresses, networks and host names that may change something; empty = all */
        bool allowlist_include_members;
    } restapi;

    struct { /* how pgtetherctl asks the REST APIs; what is NULL comes from restapi */
        bool insecure;
        char *cacert, *certfile, *keyfile, *keyfile_password;
        char *username, *password;
        char *auth; /* older form of the two: "username:password" */
    } ctl;

    struct dcs_config dcs;

    char *state_dir; /* what must survive a reset of this host; default /var/lib/pgtether */

    struct {
        enum watchdog_mode mode; /* default automatic */
        char *device;            /* default /dev/watchdog */
        uint64_t timeout_us;     /* asked for; 0 = chosen from ttl */
        uint64_t reset_time_us;  /* R when known to differ from the granted timeout; 0 = the granted timeout */
    } watchdog;

    struct vip_config vips[CONFIG_VIPS_MAX];
    size_t n_vips;

    struct {
        enum gate_mode mode; /* default automatic */
    } gate;

    struct {
        enum storage_probe_mode mode;     /* default warn */
        uint64_t interval_us, timeout_us; /* 0 = from loop_wait and ttl, storage_times_for() */
    } storage_probe;

    struct {
        char *listen_addresses; /* as PostgreSQL wants it: "10.0.0.1,127.0.0.1" or "*" */
        uint16_t listen_port;
        char *connect_host;
        uint16_t connect_port;
        /*
         * Defaults: config_dir = data_dir, bin_dir what bindir.h finds, pgpass "<parent of data_dir>/pgpass-<name>",
         * database "postgres", log_file "/var/log/postgresql/pgtether-<scope>-<name>.log", run_dir "/run/pgtether".
         */
        char *data_dir, *config_dir, *bin_dir, *pgpass, *database, *log_file, *run_dir;
        char *custom_conf;
        char *config_base_name;
        bool use_unix_socket; /* default false: TCP to the listen address */
        bool use_unix_socket_repl;
        struct credentials superuser, replication,
            rewind;                 /* superuser.username default "postgres"; rewind may be empty */
        struct settings parameters; /* local ones, they win over the store's; protected names are left out */
        struct string_list pg_hba, pg_ident;
        struct settings recovery_conf;
        struct string_list create_replica_methods; /* default { "basebackup" } */
        struct settings basebackup;                /* options of pg_basebackup */
        /* Command lines, split into words without a shell; NULL = none. */
        struct {
            char *on_start, *on_stop, *on_restart, *on_reload, *on_role_change;
        } callbacks;
        char *pre_promote, *before_stop;
        bool use_pg_rewind, remove_data_directory_on_rewind_failure, remove_data_directory_on_diverged_timelines;
        bool use_pg_rewind_is_set; /* set locally: then it wins over the store's */
        bool remove_on_rewind_failure_is_set, remove_on_diverged_timelines_is_set; /* the same for the two above */
    } postgresql;

    struct {
        char *dcs_json; /* initial dynamic configuration, compact JSON; "{}" when the section is missing */
        struct settings initdb;
        struct string_list pg_hba;
        char *post_bootstrap;
    } bootstrap;

    struct tags tags;
    char *tags_json; /* effective tags as published: compact JSON object, "{}" if none */

    struct {
        char *level; /* "info" */
        bool json;
    } log;
};

/* One problem found in a file: everything wrong is reported at once. */
struct config_problem {
    char *file;
    unsigned line; /* 0 = concerns the whole file */
    char *path;    /* "postgresql.authentication.superuser" or "" */
    char *message; /* what is wrong and what was expected */
    char *hint;    /* what to do; NULL = nothing to say */
    bool warning;  /* the file can be used nevertheless */
};
struct config_problems {
    struct config_problem *items;
    size_t n;
    bool has_errors;
};

/*
 * Reads and checks a file. Returns 0 and gives *ret to the caller when it is usable (problems may hold warnings),
 * -EINVAL when problems has errors, else -errno (with err set: file not readable …). *problems is always initialised;
 * free it with config_problems_done().
 */
int config_load(const char *path, struct config **ret, struct config_problems *problems, struct err *err);
struct config *config_free(struct config *c);
DEFINE_CLEANUP(struct config, config_free)
/* The last place of this path; NULL if the file does not have it. */
const struct config_place *config_place_of(const struct config *c, const char *path);

/*
 * Takes over what was read anew while the program runs. *live keeps its address, so that all who borrowed it see the
 * new values from the next event on, and must not keep a pointer into it beyond one. What a running program cannot
 * change (names, addresses to listen on, directories, the store, what the keeper was started with) keeps its old value.
 * One line per setting that differs is appended to applied ("tags.zone: a -> b (n1.conf:12)") or needs_restart. fresh
 * is freed.
 */
struct textbuf;
void config_renew(struct config *live, struct config *fresh, struct textbuf *applied, struct textbuf *needs_restart);
void config_problems_done(struct config_problems *p);
/* "file:line: path: message" and "HINT:  …" lines; the caller frees. */
char *config_problems_text(const struct config_problems *p);

/*
 * The dynamic configuration: JSON of the store's /config key (or bootstrap.dcs) as a struct. Immutable once parsed.
 * Values below the limits are raised to them (ttl 5, loop_wait 1, retry_timeout 1 — lower than the reference's 20/1/3
 * because the agent's latency is bounded) and loop_wait + 2 * retry_timeout <= ttl is enforced by the same rule as the
 * reference's; each adjustment is a warning in problems. Values of the wrong kind are warnings too and leave the
 * default, except that an unusable ttl, loop_wait or retry_timeout, or JSON that is no object is -EINVAL: the caller
 * keeps what it had. In a standby cluster synchronous_mode is off, whatever it says. *problems is always initialised;
 * it and local may be NULL. Protected parameters that would not be accepted, or that nobody sets (listen_addresses,
 * port, cluster_name), are left out of parameters.
 */

/* The cluster that this one follows (facts sheet 3.14); texts owned, NULL = not given. */
struct standby_cluster {
    char *host; /* one, or several with commas between them */
    uint16_t port;
    char *primary_slot_name;
    char *restore_command, *archive_cleanup_command;
    char *recovery_min_apply_delay;
};

struct dynamic {
    struct policy policy;                /* local postgresql.use_pg_rewind & co. already merged in */
    struct settings parameters;          /* postgresql.parameters */
    struct string_list pg_hba, pg_ident; /* postgresql.pg_hba, empty = not given */
    struct slot_spec *slots;             /* permanent ones */
    size_t n_slots;
    struct slot_matcher *ignore_slots; /* also those named by entries of slots that cannot be used: never dropped */
    size_t n_ignore_slots;
    struct standby_cluster standby_cluster; /* says something while policy.standby_cluster does */
    char *json;                             /* the text it came from */
};
int dynamic_parse(const char *json, const struct config *local, struct dynamic **ret, struct config_problems *problems,
                  struct err *err);
struct dynamic *dynamic_free(struct dynamic *d);
DEFINE_CLEANUP(struct dynamic, dynamic_free)

/* "10.0.0.1:5432", "[::1]:5432", "*:5432", "host" (default port) into parts; false if malformed. */
bool config_parse_address(const char *text, uint16_t default_port, char *host, size_t host_size, uint16_t *port);
