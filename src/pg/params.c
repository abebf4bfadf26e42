#include "pg/params.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/text.h"
#include "model/local.h"
#include "model/pending.h"
#include "pg/guc.h"

enum protected_kind { PROTECTED_FIXED, PROTECTED_ENUM, PROTECTED_TRUE, PROTECTED_BOOL, PROTECTED_INT };

/* In the order of the command line; the fixed ones come from postgresql.listen and scope. */
static const struct protected_param {
    const char *name;
    enum protected_kind kind;
    const char *initial;
    uint32_t min;
} protected_params[] = {
    {"listen_addresses", PROTECTED_FIXED, NULL, 0},
    {"port", PROTECTED_FIXED, NULL, 0},
    {"cluster_name", PROTECTED_FIXED, NULL, 0},
    {"wal_level", PROTECTED_ENUM, "replica", 0},
    {"hot_standby", PROTECTED_TRUE, "on", 0},
    {"max_connections", PROTECTED_INT, "100", 25},
    {"max_wal_senders", PROTECTED_INT, "10", 3},
    {"max_prepared_transactions", PROTECTED_INT, "0", 0},
    {"max_locks_per_transaction", PROTECTED_INT, "64", 32},
    {"track_commit_timestamp", PROTECTED_BOOL, "off", 0},
    {"max_replication_slots", PROTECTED_INT, "10", 4},
    {"max_worker_processes", PROTECTED_INT, "8", 2},
    {"wal_log_hints", PROTECTED_BOOL, "on", 0},
};

/* wal_keep_size is protected as well, but written to the file only: a reload may change it. */
#define WAL_KEEP_SIZE "128MB"
enum { WAL_SEGMENT_MB = 16 };

static const char *const recovery_names[] = {
    "archive_cleanup_command",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "recovery_end_command",
    "recovery_min_apply_delay",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_inclusive",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
    "recovery_target_xid",
    "restore_command",
    "standby_mode",
    "trigger_file",
};

const char *params_protected_name(size_t i)
{
    return i < ARRAY_LEN(protected_params) ? protected_params[i].name : NULL;
}

bool params_is_recovery_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(recovery_names); i++)
        if (strcasecmp(name, recovery_names[i]) == 0)
            return true;
    return false;
}

static const struct protected_param *find_protected(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(protected_params); i++)
        if (strcasecmp(name, protected_params[i].name) == 0)
            return &protected_params[i];
    return NULL;
}

/* Place of the first name that is not smaller; *found says whether it is the same. */
static size_t params_place(const struct params *p, const char *name, bool *found)
{
    size_t low = 0, high = p->n;

    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcasecmp(p->items[middle].name, name);

        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void setting_done(struct setting *s)
{
    free(s->name);
    free(s->value);
}

static void params_remove_at(struct params *p, size_t at)
{
    setting_done(&p->items[at]);
    memmove(&p->items[at], &p->items[at + 1], (p->n - at - 1) * sizeof(*p->items));
    p->n--;
}

static bool params_reserve(struct params *p)
{
    size_t cap = p->cap ? p->cap * 2 : 32;
    struct setting *items;

    if (p->n < p->cap)
        return true;
    items = realloc(p->items, cap * sizeof(*items));
    if (!items)
        return false;
    p->items = items;
    p->cap = cap;
    return true;
}

void params_set(struct params *p, const char *name, const char *value)
{
    bool found;
    size_t at = params_place(p, name, &found);
    struct setting new = {0};

    if (found && !value)
        params_remove_at(p, at);
    if (!value)
        return;
    new.name = strdup(name);
    new.value = strdup(value);
    if (!new.name || !new.value || !params_reserve(p)) {
        setting_done(&new);
        p->failed = true;
        return;
    }
    if (found) {
        setting_done(&p->items[at]);
    } else {
        memmove(&p->items[at + 1], &p->items[at], (p->n - at) * sizeof(*p->items));
        p->n++;
    }
    p->items[at] = new;
}

const char *params_get(const struct params *p, const char *name)
{
    bool found;
    size_t at = params_place(p, name, &found);

    return found ? p->items[at].value : NULL;
}

void params_done(struct params *p)
{
    for (size_t i = 0; i < p->n; i++)
        setting_done(&p->items[i]);
    free(p->items);
    *p = (struct params){0};
}

/* -1 if the text is none of PostgreSQL's words for a boolean. */
static int parse_bool(const char *value)
{
    static const char *const yes[] = {"on", "true", "yes", "1", "t", "y"};
    static const char *const no[] = {"off", "false", "no", "0", "f", "n"};

    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcasecmp(value, yes[i]) == 0)
            return 1;
        if (strcasecmp(value, no[i]) == 0)
            return 0;
    }
    return -1;
}

static bool protected_value_is_valid(const struct protected_param *p, const char *value)
{
    uint32_t number;

    switch (p->kind) {
    case PROTECTED_FIXED:
        return false;
    case PROTECTED_ENUM:
        return strcasecmp(value, "replica") == 0 || strcasecmp(value, "hot_standby") == 0 ||
               strcasecmp(value, "logical") == 0;
    case PROTECTED_TRUE:
        return parse_bool(value) == 1;
    case PROTECTED_BOOL:
        return parse_bool(value) >= 0;
    case PROTECTED_INT:
        return text_to_u32(value, &number) && number >= p->min;
    }
    return false;
}

/* A value of wal_keep_size ("128MB", "1GB", bare numbers are megabytes) of at least one segment. */
static bool wal_keep_size_is_valid(const char *value)
{
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {{"", 1 << 20}, {"MB", 1 << 20}, {"kB", 1 << 10}, {"GB", 1 << 30}, {"TB", UINT64_C(1) << 40}, {"B", 1}};
    char *end;
    uint64_t number;

    if (*value < '0' || *value > '9')
        return false;
    errno = 0;
    number = strtoull(value, &end, 10);
    end += strspn(end, " ");
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (strcmp(end, units[i].unit) == 0)
            return !errno && number >= ((uint64_t)WAL_SEGMENT_MB << 20) / units[i].bytes;
    return false;
}

/* Names are written unquoted: whatever could end or begin another line of the file is not a name. */
static bool name_is_valid(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789$.";

    return *name && strchr(first, *name) && strspn(name, rest) == strlen(name);
}

static void merge_wal_keep(struct params *server, const char *name, const char *value)
{
    char size[32];
    uint32_t segments;

    if (strcasecmp(name, "wal_keep_size") == 0) {
        if (wal_keep_size_is_valid(value))
            params_set(server, "wal_keep_size", value);
        return;
    }
    if (params_get(server, "wal_keep_size") || !text_to_u32(value, &segments) || segments == 0)
        return;
    (void)text_print(size, sizeof(size), "%" PRIu64 "MB", (uint64_t)segments * WAL_SEGMENT_MB);
    params_set(server, "wal_keep_size", size);
}

/* One list of parameters; `local` ones do not reach the protected names. An invalid protected value leaves the default.
 */
static void merge_list(const struct settings *list, bool local, struct params *server, struct params *recovery)
{
    for (size_t i = 0; i < list->n; i++) {
        const char *name = list->items[i].name, *value = list->items[i].value;
        const struct protected_param *p = find_protected(name);
        bool wal_keep = strcasecmp(name, "wal_keep_size") == 0 || strcasecmp(name, "wal_keep_segments") == 0;

        if (!value || !name_is_valid(name) || ((p || wal_keep) && local))
            continue;
        if (wal_keep)
            merge_wal_keep(server, name, value);
        else if (params_is_recovery_name(name))
            params_set(recovery, name, value);
        else if (!p || protected_value_is_valid(p, value))
            params_set(server, name, value);
    }
}

/* The five that WAL is bound to, as the control file has them. */
static void fit_to_wal(const struct local_pg *control, enum pending_start how, struct params *server)
{
    const struct {
        const char *name;
        uint32_t value;
    } rows[] = {
        {"max_connections", control->control_max_connections},
        {"max_worker_processes", control->control_max_worker_processes},
        {"max_wal_senders", control->control_max_wal_senders},
        {"max_prepared_transactions", control->control_max_prepared_xacts},
        {"max_locks_per_transaction", control->control_max_locks_per_xact},
    };
    char text[16];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *configured = params_get(server, rows[i].name);
        uint32_t number;

        if (!configured || !text_to_u32(configured, &number))
            continue;
        (void)text_print(text, sizeof(text), "%" PRIu32, pending_start_value(how, number, rows[i].value));
        params_set(server, rows[i].name, text);
    }
}

/* Relative names of the two files mean the configuration directory, not the data directory. */
static void set_file(const struct config *config, struct params *server, const char *name, const char *base)
{
    const char *dir = config->postgresql.config_dir ? config->postgresql.config_dir : config->postgresql.data_dir;
    const char *value = params_get(server, name);
    char path[4096];

    if (value && *value == '/')
        return;
    if (!text_print(path, sizeof(path), "%s/%s", dir, value && *value ? value : base))
        server->failed = true;
    params_set(server, name, path);
}

static void set_our_own(const struct pg_files_spec *spec, struct params *server)
{
    const struct config *config = spec->config;
    const char *listen = config->postgresql.listen_addresses;
    const char *wal_level = params_get(server, "wal_level");
    char port[16];

    (void)text_print(port, sizeof(port), "%u", (unsigned)config->postgresql.listen_port);
    params_set(server, "listen_addresses", listen ? listen : "*");
    params_set(server, "port", port);
    params_set(server, "cluster_name", config->scope);
    if (wal_level && strcasecmp(wal_level, "hot_standby") == 0)
        params_set(server, "wal_level", "replica");
    if (!params_get(server, "wal_keep_size"))
        params_set(server, "wal_keep_size", WAL_KEEP_SIZE);
    /* In synchronous modes the name list is ours alone: a hand-made one could acknowledge commits nobody else has (S7).
     */
    if (spec->synchronous_standby_names || spec->dynamic->policy.sync_mode != SYNC_MODE_OFF)
        params_set(server, "synchronous_standby_names", spec->synchronous_standby_names);
    if (spec->hot_standby_feedback)
        params_set(server, "hot_standby_feedback", "on");
    set_file(config, server, "hba_file", "pg_hba.conf");
    set_file(config, server, "ident_file", "pg_ident.conf");
}

/* How all members of a standby cluster get at the other one's archive; only its leader waits before it applies. */
static void set_standby_cluster(const struct pg_files_spec *spec, struct params *recovery)
{
    const struct standby_cluster *s = &spec->dynamic->standby_cluster;

    if (!spec->dynamic->policy.standby_cluster)
        return;
    if (s->restore_command)
        params_set(recovery, "restore_command", s->restore_command);
    if (s->archive_cleanup_command)
        params_set(recovery, "archive_cleanup_command", s->archive_cleanup_command);
    if (s->recovery_min_apply_delay && spec->follows_remote)
        params_set(recovery, "recovery_min_apply_delay", s->recovery_min_apply_delay);
}

/* Targets are never the user's: one that is left over would pause, promote or stop a standby. */
static void set_recovery(const struct pg_files_spec *spec, struct params *recovery)
{
    static const char *const targets[] = {"recovery_target", "recovery_target_lsn", "recovery_target_name",
                                          "recovery_target_time", "recovery_target_xid"};
    const struct settings *extra = &spec->config->postgresql.recovery_conf;

    for (size_t i = 0; i < extra->n; i++)
        if (extra->items[i].value && name_is_valid(extra->items[i].name))
            params_set(recovery, extra->items[i].name, extra->items[i].value);
    set_standby_cluster(spec, recovery);
    for (size_t i = 0; i < ARRAY_LEN(targets); i++)
        params_set(recovery, targets[i], "");
    params_set(recovery, "recovery_target_action", NULL);
    params_set(recovery, "recovery_target_inclusive", NULL);
    params_set(recovery, "recovery_target_timeline", "latest");
    params_set(recovery, "primary_conninfo", NULL);
    params_set(recovery, "primary_slot_name", NULL);
    params_set(recovery, "standby_mode", NULL);
    /* Names before 12 and gone since 16; who promotes is not decided by a file anyway. */
    params_set(recovery, "trigger_file", NULL);
    params_set(recovery, "promote_trigger_file", NULL);
}

static void drop_refused(const struct settings *refused, struct params *server, struct textbuf *notes)
{
    for (size_t i = 0; refused && i < refused->n; i++) {
        const struct setting *s = &refused->items[i];

        if (!s->value || !text_equal(params_get(server, s->name), s->value))
            continue;
        textbuf_printf(notes, "parameter \"%s\" is left out: PostgreSQL does not accept \"%.60s\"\n", s->name,
                       s->value);
        params_set(server, s->name, NULL);
    }
}

int params_merge(const struct pg_files_spec *spec, struct params *ret_server, struct params *ret_recovery,
                 struct err *err)
{
    struct textbuf unwanted = {0}, *notes = spec->notes ? spec->notes : &unwanted;

    for (size_t i = 0; i < ARRAY_LEN(protected_params); i++)
        params_set(ret_server, protected_params[i].name, protected_params[i].initial);
    merge_list(&spec->dynamic->parameters, false, ret_server, ret_recovery);
    merge_list(&spec->config->postgresql.parameters, true, ret_server, ret_recovery);
    set_our_own(spec, ret_server);
    set_recovery(spec, ret_recovery);
    guc_filter(spec->catalog, ret_server, notes);
    drop_refused(spec->refused, ret_server, notes);
    textbuf_done(&unwanted);
    if (spec->standby && spec->control)
        fit_to_wal(spec->control, START_AS_STANDBY, ret_server);
    else if (spec->after_crash && spec->control)
        fit_to_wal(spec->control, START_AFTER_A_CRASH, ret_server);
    if (ret_server->failed || ret_recovery->failed)
        return err_set(err, -ENOMEM, "out of memory");
    return 0;
}
