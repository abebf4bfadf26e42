/* What the file leaves out, and what only makes sense together; the sections of the file one after the other. */
#include <ctype.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "base/words.h"
#include "config/address.h"
#include "config/bindir.h"
#include "config/lists.h"
#include "config/loader.h"
#include "config/protected.h"

enum { RESTAPI_PORT = 8008, POSTGRESQL_PORT = 5432 };

static void set_default(struct loader *l, char **field, const char *value)
{
    if (!*field)
        loader_set(l, field, value);
}

/* Names become parts of keys and file names; the model keeps them in fields of fixed size. */
static void check_name(struct loader *l, const char *path, const char *name)
{
    if (!name)
        return;
    if (strlen(name) >= MEMBER_NAME_SIZE)
        loader_problem_of(l, PROBLEM_ERROR, path, NULL, "is longer than %d characters", MEMBER_NAME_SIZE - 1);
    if (strchr(name, '/'))
        loader_problem_of(l, PROBLEM_ERROR, path, NULL, "must not contain \"/\", got \"%.80s\"", name);
    for (; *name; name++) {
        if (iscntrl((unsigned char)*name)) {
            loader_problem_of(l, PROBLEM_ERROR, path, NULL, "must not contain control characters");
            return;
        }
    }
}

/* "service" and "/service/" are the same place: one slash at each end. */
static void normalize_namespace(struct loader *l)
{
    struct textbuf b = {0};
    CLEANUP(freep) char *normal = NULL;

    textbuf_puts(&b, "/");
    for (const char *at = l->draft.c.namespace_; at && *at; at++) {
        if (*at != '/' || (b.data && b.len > 0 && b.data[b.len - 1] != '/'))
            textbuf_append(&b, at, 1);
    }
    if (b.data && b.data[b.len - 1] != '/')
        textbuf_puts(&b, "/");
    normal = textbuf_take(&b);
    if (normal)
        loader_set(l, &l->draft.c.namespace_, normal);
    else
        l->out_of_memory = true;
}

void loader_check_names(struct loader *l)
{
    check_name(l, "scope", l->draft.c.scope);
    check_name(l, "name", l->draft.c.name);
    set_default(l, &l->draft.c.namespace_, "/service/");
    normalize_namespace(l);
}

static void complain_of_address(struct loader *l, const char *path, const char *text)
{
    loader_problem_of(l, PROBLEM_ERROR, path, "Write IPv6 addresses in brackets: \"[::1]:5432\".",
                      "expected \"host:port\", got \"%.80s\"", text);
}

/* The address that others are told, from the setting or from where we listen. */
static void finish_connect_address(struct loader *l, const char *path, const char *text, const char *listen_path,
                                   const char *listen, uint16_t default_port, char **host, uint16_t *port)
{
    char found[HOST_SIZE];

    if (text && !config_parse_address(text, default_port, found, sizeof(found), port)) {
        complain_of_address(l, path, text);
        return;
    }
    if (!text && !address_pick_specific(listen, found, sizeof(found))) {
        loader_problem_of(l, PROBLEM_ERROR, path, "Set it to this host's address and port.",
                          "is missing, and \"%s\" of \"%s\" is no address that other members can use", listen,
                          listen_path);
        return;
    }
    if (!text)
        *port = default_port;
    if (address_is_unspecific(found))
        loader_problem_of(l, PROBLEM_ERROR, path, NULL, "expected an address that other members can use, got \"%s\"",
                          found);
    if (address_is_loopback(found))
        loader_problem_of(l, PROBLEM_WARNING, path, NULL, "members on other hosts cannot reach \"%s\"", found);
    loader_set(l, host, found);
}

void loader_finish_addresses(struct loader *l)
{
    struct config *c = &l->draft.c;
    char host[HOST_SIZE], hosts[1024];

    set_default(l, &l->draft.restapi_listen, "0.0.0.0:8008");
    if (l->draft.restapi_listen &&
        !config_parse_address(l->draft.restapi_listen, RESTAPI_PORT, host, sizeof(host), &c->restapi.listen_port)) {
        complain_of_address(l, "restapi.listen", l->draft.restapi_listen);
    } else if (l->draft.restapi_listen) {
        finish_connect_address(l, "restapi.connect_address", l->draft.restapi_connect, "restapi.listen", host,
                               c->restapi.listen_port, &c->restapi.connect_host, &c->restapi.connect_port);
        if (strcmp(host, "*") != 0)
            loader_set(l, &c->restapi.listen_host, host);
    }
    if (!l->draft.postgresql_listen)
        return;
    if (!address_parse_listen(l->draft.postgresql_listen, POSTGRESQL_PORT, hosts, sizeof(hosts),
                              &c->postgresql.listen_port)) {
        complain_of_address(l, "postgresql.listen", l->draft.postgresql_listen);
        return;
    }
    loader_set(l, &c->postgresql.listen_addresses, hosts);
    finish_connect_address(l, "postgresql.connect_address", l->draft.postgresql_connect, "postgresql.listen", hosts,
                           c->postgresql.listen_port, &c->postgresql.connect_host, &c->postgresql.connect_port);
}

void loader_finish_restapi(struct loader *l)
{
    struct tls_config *tls = &l->draft.c.restapi.tls;
    bool verifies;

    loader_finish_addresses(l);
    set_default(l, &tls->verify_client, "none");
    verifies = tls->verify_client && strcmp(tls->verify_client, "none") != 0;
    if (tls->keyfile && !tls->certfile)
        loader_problem_of(l, PROBLEM_ERROR, "restapi.keyfile", NULL, "needs \"certfile\"");
    if (verifies && !tls->certfile)
        loader_problem_of(l, PROBLEM_ERROR, "restapi.verify_client", NULL,
                          "needs \"certfile\": without TLS no client is verified");
    if (verifies && !tls->cafile)
        loader_problem_of(l, PROBLEM_ERROR, "restapi.verify_client", NULL, "needs \"cafile\" to verify with");
    if (loader_has(l, "restapi.authentication.username") != loader_has(l, "restapi.authentication.password"))
        loader_problem_of(l, PROBLEM_ERROR, "restapi.authentication", NULL,
                          "\"username\" and \"password\" only work together");
}

/* The protected ones must be the same on all members: what one of them says locally cannot count. */
static void drop_protected_parameters(struct loader *l)
{
    struct settings *parameters = &l->draft.c.postgresql.parameters;

    for (size_t i = 0; i < parameters->n;) {
        const char *name = parameters->items[i].name;
        const char *source = protected_parameter_source(name);
        char path[SETTING_PATH_SIZE];

        (void)text_print(path, sizeof(path), "postgresql.parameters.%s", name);
        if (source) {
            loader_problem_of(l, PROBLEM_WARNING, path, NULL, "follows from \"%s\" and is ignored here", source);
        } else if (protected_parameter(name)) {
            loader_problem_of(l, PROBLEM_WARNING, path,
                              "Set it for all members: in bootstrap.dcs, or with \"pgtetherctl edit-config\" later.",
                              "must be the same on all members and is ignored in this file");
        } else {
            i++;
            continue;
        }
        (void)text_copy(path, sizeof(path), name); /* the name goes with its item */
        settings_remove(parameters, path);
    }
}

static void check_options(struct loader *l, const char *path, struct settings *options, const char *const *ours,
                          enum problem_severity severity)
{
    for (; *ours; ours++) {
        if (!settings_find(options, *ours))
            continue;
        loader_problem_of(l, severity, path, NULL, "option \"%s\" is pgtether's to set%s", *ours,
                          severity == PROBLEM_WARNING ? " and is ignored" : "");
        settings_remove(options, *ours);
    }
}

static void check_replica_methods(struct loader *l)
{
    static const char path[] = "postgresql.create_replica_methods";
    struct string_list *methods = &l->draft.c.postgresql.create_replica_methods;

    if (methods->n == 0 && !strings_add(methods, "basebackup"))
        l->out_of_memory = true;
    for (size_t i = 0; i < methods->n; i++) {
        if (strcmp(methods->items[i], "basebackup") == 0)
            continue;
        if (strcmp(methods->items[i], "pgbackrest") == 0)
            loader_problem_of(l, PROBLEM_ERROR, path, NULL, "\"pgbackrest\" is not supported by this version yet");
        else
            loader_problem_of(l, PROBLEM_ERROR, path, NULL,
                              "\"%.60s\" is not supported by this version; expected \"basebackup\"", methods->items[i]);
    }
}

static void check_paths(struct loader *l)
{
    struct config *c = &l->draft.c;
    char *data_dir = c->postgresql.data_dir;
    size_t len = data_dir ? strlen(data_dir) : 0;

    while (len > 1 && data_dir[len - 1] == '/')
        data_dir[--len] = '\0';
    if (len == 1)
        loader_problem_of(l, PROBLEM_ERROR, "postgresql.data_dir", NULL, "must not be the root directory");
    if (data_dir)
        set_default(l, &c->postgresql.config_dir, data_dir);
    set_default(l, &c->postgresql.config_base_name, "postgresql");
    if (c->postgresql.config_base_name && strchr(c->postgresql.config_base_name, '/'))
        loader_problem_of(l, PROBLEM_ERROR, "postgresql.config_base_name", NULL, "must not contain \"/\"");
    set_default(l, &c->postgresql.run_dir, "/run/pgtether");
}

/* Where things go that have names of their own for every member. */
static void default_files(struct loader *l)
{
    struct config *c = &l->draft.c;
    const char *slash = c->postgresql.data_dir ? strrchr(c->postgresql.data_dir, '/') : NULL;
    struct textbuf pgpass = {0}, log_file = {0};

    if (c->scope && c->name && !c->postgresql.log_file) {
        textbuf_printf(&log_file, "/var/log/postgresql/pgtether-%s-%s.log", c->scope, c->name);
        c->postgresql.log_file = textbuf_take(&log_file);
    }
    if (slash && c->name && !c->postgresql.pgpass) {
        textbuf_append(&pgpass, c->postgresql.data_dir, (size_t)(slash - c->postgresql.data_dir) + 1);
        textbuf_printf(&pgpass, "pgpass-%s", c->name);
        c->postgresql.pgpass = textbuf_take(&pgpass);
    }
}

static void default_bin_dir(struct loader *l)
{
    struct config *c = &l->draft.c;
    char found[256];

    if (c->postgresql.bin_dir || loader_has(l, "postgresql.bin_dir"))
        return;
    if (!bindir_find(c->postgresql.data_dir, found, sizeof(found))) {
        loader_problem_of(l, PROBLEM_ERROR, "postgresql.bin_dir",
                          "Set it to the directory of \"postgres\" and \"pg_ctl\".",
                          "is missing, and no PostgreSQL was found in /usr/lib/postgresql or /usr/pgsql-*");
        return;
    }
    loader_problem_of(l, PROBLEM_WARNING, "postgresql.bin_dir", NULL, "is not set; using \"%s\"", found);
    loader_set(l, &c->postgresql.bin_dir, found);
}

/* Said when the file is read, not in the middle of a failover. */
static void check_command(struct loader *l, const char *path, const char *command)
{
    CLEANUP(words_freep) char **words = command ? words_split(command) : NULL;

    if (command && (!words || !words[0]))
        loader_problem_of(l, PROBLEM_ERROR, path, NULL, "cannot be split into words: %.80s", command);
}

static void check_hooks(struct loader *l)
{
    const struct config *c = &l->draft.c;

    check_command(l, "postgresql.callbacks.on_start", c->postgresql.callbacks.on_start);
    check_command(l, "postgresql.callbacks.on_stop", c->postgresql.callbacks.on_stop);
    check_command(l, "postgresql.callbacks.on_restart", c->postgresql.callbacks.on_restart);
    check_command(l, "postgresql.callbacks.on_reload", c->postgresql.callbacks.on_reload);
    check_command(l, "postgresql.callbacks.on_role_change", c->postgresql.callbacks.on_role_change);
    check_command(l, "postgresql.pre_promote", c->postgresql.pre_promote);
    check_command(l, "postgresql.before_stop", c->postgresql.before_stop);
    check_command(l, "bootstrap.post_bootstrap", c->bootstrap.post_bootstrap);
}

void loader_finish_postgresql(struct loader *l)
{
    static const char *const initdb_ours[] = {"pgdata", "nosync", "pwfile", "sync-only", "version", NULL};
    static const char *const basebackup_ours[] = {"pgdata", "format",   "wal-method", "xlog-method",
                                                  "gzip",   "version",  "dbname",     "host",
                                                  "port",   "username", "password",   NULL};
    struct config *c = &l->draft.c;

    check_paths(l);
    default_files(l);
    default_bin_dir(l);
    set_default(l, &c->postgresql.database, "postgres");
    set_default(l, &c->postgresql.superuser.username, "postgres");
    c->postgresql.use_pg_rewind_is_set = loader_has(l, "postgresql.use_pg_rewind");
    c->postgresql.remove_on_rewind_failure_is_set = loader_has(l, "postgresql.remove_data_directory_on_rewind_failure");
    c->postgresql.remove_on_diverged_timelines_is_set =
        loader_has(l, "postgresql.remove_data_directory_on_diverged_timelines");
    if (!loader_has(l, "postgresql.authentication.replication.username"))
        loader_problem_of(l, PROBLEM_ERROR, "postgresql.authentication.replication.username", NULL,
                          "is missing; it has no default");
    drop_protected_parameters(l);
    check_replica_methods(l);
    check_hooks(l);
    check_options(l, "bootstrap.initdb", &c->bootstrap.initdb, initdb_ours, PROBLEM_ERROR);
    check_options(l, "postgresql.basebackup", &c->postgresql.basebackup, basebackup_ours, PROBLEM_WARNING);
}

static void finish_watchdog(struct loader *l)
{
    const char *mode = l->draft.watchdog_mode;

    l->draft.c.watchdog.mode = WATCHDOG_AUTOMATIC;
    if (mode && strcmp(mode, "off") == 0)
        l->draft.c.watchdog.mode = WATCHDOG_OFF;
    else if (mode && strcmp(mode, "required") == 0)
        l->draft.c.watchdog.mode = WATCHDOG_REQUIRED;
    set_default(l, &l->draft.c.watchdog.device, "/dev/watchdog");
}

static void finish_gate(struct loader *l)
{
    const char *mode = l->draft.gate_mode;

    l->draft.c.gate.mode = GATE_MODE_AUTOMATIC;
    if (mode && strcmp(mode, "off") == 0)
        l->draft.c.gate.mode = GATE_MODE_OFF;
    else if (mode && strcmp(mode, "nftables") == 0)
        l->draft.c.gate.mode = GATE_MODE_NFTABLES;
}

static void finish_storage_probe(struct loader *l)
{
    const char *mode = l->draft.storage_probe_mode;
    struct config *c = &l->draft.c;

    c->storage_probe.mode = STORAGE_PROBE_WARN;
    if (mode && strcmp(mode, "off") == 0)
        c->storage_probe.mode = STORAGE_PROBE_OFF;
    else if (mode && strcmp(mode, "fence") == 0)
        c->storage_probe.mode = STORAGE_PROBE_FENCE;
    if (c->storage_probe.timeout_us && c->storage_probe.timeout_us < 2 * c->storage_probe.interval_us)
        loader_problem_of(l, PROBLEM_ERROR, "storage_probe.timeout", NULL,
                          "must be at least twice \"interval\": one late answer is no failure");
}

void loader_finish_rest(struct loader *l)
{
    struct config *c = &l->draft.c;

    finish_watchdog(l);
    finish_gate(l);
    finish_storage_probe(l);
    set_default(l, &c->state_dir, "/var/lib/pgtether");
    set_default(l, &c->bootstrap.dcs_json, "{}");
    set_default(l, &c->tags_json, "{}");
    set_default(l, &c->log.level, "info");
    c->log.json = l->draft.log_type && strcmp(l->draft.log_type, "json") == 0;
    if (c->log.json)
        loader_problem_of(l, PROBLEM_WARNING, "log.type", NULL, "\"json\" is not supported by this version yet");
}
