/*
 * show-config --origin: every setting with the value that holds on this node, where it comes from, and what is in force
 * in its PostgreSQL where that differs. The same code merges it as in the agent.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/clock.h"
#include "config/dynamic.h"
#include "config/lists.h"
#include "config/protected.h"
#include "ctl/ctl.h"
#include "ctl/origin.h"
#include "pg/guc.h"
#include "pg/params.h"
#include "pg/tool.h"

enum { TIMEOUT_S = 5, TEXT_SIZE = 1024 };

struct origin {
    const struct ctl *ctl;
    json_t *root;            /* the store's */
    struct dynamic *dynamic; /* as the node understands it */
    struct guc_catalog *catalog;
    json_t *sources; /* of the running server: name -> where PostgreSQL has it from */
    struct report report;
};

/* --- asking the server -------------------------------------------------------------------------------------------- */

struct answer {
    struct origin *origin;
    bool done;
    struct err err;
};

static void on_catalog(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct answer *a = userdata;

    (void)sqlstate;
    a->done = true;
    a->err = *err;
    if (err->code == 0)
        (void)guc_catalog_read(rows, &a->origin->catalog, &a->err);
}

static const char sources_sql[] =
    "SELECT name, CASE WHEN sourcefile IS NOT NULL THEN sourcefile || ':' || sourceline ELSE source END"
    " FROM pg_settings WHERE source <> 'default' AND source <> 'override' AND source <> 'client' AND"
    " source <> 'session'";

static void on_sources(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct answer *a = userdata;

    (void)sqlstate;
    a->done = true;
    a->err = *err;
    for (size_t i = 0; err->code == 0 && rows->n_columns == 2 && i < rows->n_rows; i++)
        if (rows->values[2 * i] && rows->values[2 * i + 1])
            (void)json_object_set_new(a->origin->sources, rows->values[2 * i], json_string(rows->values[2 * i + 1]));
}

static int ask(struct origin *o, const char *sql, pg_command_fn fn, struct err *err)
{
    const struct config *c = o->ctl->config;
    struct pg_command *command = NULL;
    struct answer answer = {.origin = o};
    char host[HOST_SIZE];
    struct pg_probe_settings login = {.host = host,
                                      .port = c->postgresql.listen_port,
                                      .user = c->postgresql.superuser.username,
                                      .password = c->postgresql.superuser.password,
                                      .database = c->postgresql.database};
    int r;

    tool_own_host(c, host, sizeof(host));
    r = pg_command_start(o->ctl->loop, &login, sql, TIMEOUT_S * USEC_PER_SEC, fn, &answer, &command, err);
    while (r >= 0 && !answer.done)
        r = sd_event_run(o->ctl->loop, UINT64_MAX);
    (void)pg_command_free(command);
    if (r >= 0 && answer.err.code)
        r = err_set(err, answer.err.code, "%s", answer.err.msg);
    return r < 0 ? r : 0;
}

static void ask_server(struct origin *o)
{
    struct err err = {0};

    if (ask(o, guc_catalog_sql, on_catalog, &err) < 0 || ask(o, sources_sql, on_sources, &err) < 0)
        ctl_warn("what is in force is not shown, PostgreSQL of this node does not answer: %s", err.msg);
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static void add_row(struct origin *o, const char *name, const char *value, const char *from, const char *in_force)
{
    (void)json_array_append_new(o->report.rows, json_pack("[s,s,s,s]", name, value, from, in_force));
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* "n1.conf:12"; false if the file does not have it. Names of parameters have no case. */
static bool place_of(const struct origin *o, const char *path, char *buf, size_t size)
{
    const struct config *c = o->ctl->config;

    for (size_t i = c->n_places; i > 0; i--) {
        const struct config_place *p = &c->places[i - 1];

        if (strcasecmp(p->path, path) != 0)
            continue;
        (void)text_print(buf, size, "%s:%u", base_name(p->file), p->line);
        return true;
    }
    return false;
}

static bool is_dynamic(const struct origin *o, const char *path)
{
    const char *name = strchr(path, '.');
    const json_t *group = name ? json_object_get(o->root, "postgresql") : o->root;
    const json_t *value = json_object_get(group, name ? name + 1 : path);

    return value && !json_is_null(value);
}

static bool print_seconds(uint64_t us, char *buf, size_t size)
{
    if (us == POLICY_FOR_EVER)
        return text_copy(buf, size, "for ever");
    return text_print(buf, size, "%llu", (unsigned long long)(us / USEC_PER_SEC));
}

static bool print_policy(const struct origin *o, const struct dynamic_entry *e, char *buf, size_t size)
{
    const char *field = (const char *)&o->dynamic->policy + e->offset;

    switch (e->type) {
    case DYNAMIC_SECONDS:
    case DYNAMIC_TIMEOUT:
        return print_seconds(*(const uint64_t *)(const void *)field, buf, size);
    case DYNAMIC_BYTES:
        return text_print(buf, size, "%llu", (unsigned long long)*(const uint64_t *)(const void *)field);
    case DYNAMIC_COUNT:
        return text_print(buf, size, "%u", *(const unsigned *)(const void *)field);
    case DYNAMIC_BOOL:
        return text_copy(buf, size, *(const bool *)(const void *)field ? "on" : "off");
    case DYNAMIC_OTHER:
    case DYNAMIC_GROUP:
    case DYNAMIC_LOCAL:
    case DYNAMIC_IGNORED:
        break;
    }
    return false;
}

static void add_policy(struct origin *o)
{
    const struct dynamic_entry *entries;
    size_t n;

    entries = dynamic_entries(&n);
    for (size_t i = 0; i < n; i++) {
        char value[64], place[256] = "default";

        if (!print_policy(o, &entries[i], value, sizeof(value)))
            continue;
        if (!place_of(o, entries[i].path, place, sizeof(place)) &&
            (is_dynamic(o, entries[i].path) || (entries[i].alias && is_dynamic(o, entries[i].alias))))
            (void)text_copy(place, sizeof(place), "dynamic");
        add_row(o, entries[i].path, value, place, "");
    }
}

static void add_lines(struct origin *o, const char *path, const struct string_list *local,
                      const struct string_list *dynamic)
{
    char value[64], place[256];
    const struct string_list *lines = local->n ? local : dynamic;

    if (!lines->n)
        return;
    if (!local->n || !place_of(o, path, place, sizeof(place)))
        (void)text_copy(place, sizeof(place), "dynamic");
    (void)text_print(value, sizeof(value), "%zu lines", lines->n);
    add_row(o, path, value, place, "");
}

/* --- parameters --------------------------------------------------------------------------------------------------- */

static void origin_of(const struct origin *o, const char *name, char *buf, size_t size)
{
    const struct setting *dynamic = settings_find(&o->dynamic->parameters, name);
    const char *forced = protected_parameter_source(name);
    char path[256], place[256];

    (void)text_print(path, sizeof(path), "postgresql.parameters.%s", name);
    if (forced && place_of(o, forced, place, sizeof(place)))
        (void)text_print(buf, size, "forced by %s (%s)", forced, place);
    else if (!protected_parameter(name) && place_of(o, path, buf, size))
        return;
    else if (dynamic)
        (void)text_copy(buf, size, "dynamic");
    else
        (void)text_copy(buf, size, protected_parameter(name) ? "default of pgtether" : "forced by pgtether");
}

/* What the server has instead, and from where; "" if it is the same in meaning. */
static void in_force(const struct origin *o, const char *name, const char *value, char *buf, size_t size)
{
    const struct guc *g = guc_find(o->catalog, name);
    const char *source = json_string_value(json_object_get(o->sources, g ? g->name : name));
    char shown[TEXT_SIZE];

    buf[0] = '\0';
    if (!g || (value && guc_equal(g, g->setting, value)))
        return;
    guc_print(g, g->setting, shown, sizeof(shown));
    (void)text_print(buf, size, "%s (%s)", *shown ? shown : "\"\"", source ? source : "default of PostgreSQL");
}

static void add_parameters(struct origin *o, const struct params *params)
{
    for (size_t i = 0; i < params->n; i++) {
        const char *name = params->items[i].name, *value = params->items[i].value;
        char path[256], from[512], force[TEXT_SIZE + 256];

        (void)text_print(path, sizeof(path), "postgresql.parameters.%s", name);
        origin_of(o, name, from, sizeof(from));
        in_force(o, name, value, force, sizeof(force));
        add_row(o, path, value, from, force);
    }
}

/* What the configuration does not mention and yet somebody has set: ALTER SYSTEM, the base file, the environment. */
static void add_strangers(struct origin *o, const struct params *params)
{
    const char *name;
    json_t *source;

    json_object_foreach(o->sources, name, source)
    {
        const struct guc *g = guc_find(o->catalog, name);
        char path[256], force[TEXT_SIZE + 256];

        if (!g || params_get(params, name) || params_is_recovery_name(name))
            continue;
        (void)text_print(path, sizeof(path), "postgresql.parameters.%s", name);
        in_force(o, name, NULL, force, sizeof(force));
        add_row(o, path, "", "not of pgtether", force);
    }
}

static int add_all_parameters(struct origin *o, struct err *err)
{
    CLEANUP(params_done) struct params params = {0};
    CLEANUP(params_done) struct params recovery = {0};
    struct textbuf notes = {0};
    struct pg_files_spec spec = {
        .config = o->ctl->config, .dynamic = o->dynamic, .catalog = o->catalog, .notes = &notes};
    int r = params_merge(&spec, &params, &recovery, err);

    if (r == 0) {
        add_parameters(o, &params);
        add_strangers(o, &params);
    }
    for (const char *line = notes.data; line && *line;) {
        size_t len = strcspn(line, "\n");

        ctl_warn("%.*s", (int)len, line);
        line += len + (line[len] == '\n');
    }
    textbuf_done(&notes);
    return r;
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static void begin_report(struct origin *o)
{
    o->report.rows = json_array();
    (void)text_print(o->report.title, sizeof(o->report.title), "Configuration of %s", o->ctl->config->name);
    report_add_column(&o->report, "Setting", "Setting", false);
    report_add_column(&o->report, "Value", "Value", false);
    report_add_column(&o->report, "Origin", "Origin", false);
    report_add_column(&o->report, "In force", "In force instead", false);
}

static int show(struct origin *o, enum report_format format)
{
    struct textbuf out = {0};
    struct err err = {0};
    int r;

    begin_report(o);
    ask_server(o);
    add_policy(o);
    add_lines(o, "postgresql.pg_hba", &o->ctl->config->postgresql.pg_hba, &o->dynamic->pg_hba);
    add_lines(o, "postgresql.pg_ident", &o->ctl->config->postgresql.pg_ident, &o->dynamic->pg_ident);
    r = add_all_parameters(o, &err);
    if (r >= 0)
        report_print(&out, &o->report, format);
    report_done(&o->report);
    return r < 0 ? ctl_fail("%s", err.msg) : ctl_print(&out);
}

int origin_show(const struct ctl *ctl, const char *config_json, enum report_format format)
{
    struct origin o = {.ctl = ctl, .root = json_loads(config_json, 0, NULL), .sources = json_object()};
    struct err err = {0};
    int exit_code;

    if (dynamic_parse(config_json, ctl->config, &o.dynamic, NULL, &err) < 0)
        exit_code = ctl_fail("the members cannot use the dynamic configuration in the store: %s", err.msg);
    else
        exit_code = show(&o, format);
    json_decref(o.root);
    json_decref(o.sources);
    dynamic_free(o.dynamic);
    (void)guc_catalog_free(o.catalog);
    return exit_code;
}
