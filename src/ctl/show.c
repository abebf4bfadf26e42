#include <stdlib.h>
#include "ctl/ctl.h"
#include "ctl/yaml.h"

static const struct option format_longs[] = {
    {"format", required_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {0}};
static const struct option help_longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
static const struct option dsn_longs[] = {{"role", required_argument, NULL, 'r'},
                                          {"member", required_argument, NULL, 'm'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};

/* Reads the one cluster that the arguments name, or the configuration. Returns -1, or an exit code on failure. */
static int read_named_cluster(struct ctl *ctl, int argc, char **argv, struct ctl_view *view)
{
    struct err err = {0};

    if (argc - optind > 1)
        return ctl_usage(argv[0], "unexpected argument \"%s\"", argv[optind + 1]);
    if (ctl_open_config(ctl) < 0)
        return EXIT_FAILED;
    if (ctl_read_cluster(ctl, argv[optind] ? argv[optind] : ctl->config->scope, view, &err) < 0)
        return ctl_fail("%s", err.msg);
    return -1;
}

int cmd_show_config(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":h", help_longs};
    struct ctl_view view = {0};
    struct textbuf out = {0};
    json_t *value;
    int exit_code;

    (void)ctl_next_option(argc, argv, &options, &exit_code);
    if (exit_code < 0)
        exit_code = read_named_cluster(ctl, argc, argv, &view);
    if (exit_code < 0 && !view.cluster->config.exists) {
        exit_code = ctl_fail("the cluster has no dynamic configuration: it was not bootstrapped yet");
    } else if (exit_code < 0) {
        value = json_loads(view.cluster->config.text, 0, NULL);
        if (value) {
            yaml_print(&out, value, YAML_BLOCK);
            /* The reference prints the document, which ends with a line feed, as a line. */
            textbuf_puts(&out, "\n");
            exit_code = ctl_print(&out);
        } else {
            exit_code = ctl_fail("the dynamic configuration in the store is not valid JSON");
        }
        json_decref(value);
    }
    ctl_view_done(&view);
    return exit_code;
}

/* The stored array, each line filled up to five values. */
static json_t *history_rows(const struct cluster *c)
{
    enum { VALUES = 5 };
    json_t *lines = c->history_text.exists ? json_loads(c->history_text.text, 0, NULL) : NULL;
    json_t *rows = json_array(), *line;
    size_t i;

    json_array_foreach(lines, i, line)
    {
        if (!json_is_array(line))
            continue;
        while (json_array_size(line) < VALUES)
            (void)json_array_append_new(line, json_string(""));
        (void)json_array_append(rows, line);
    }
    json_decref(lines);
    return rows;
}

static void print_history(const struct cluster *c, enum report_format format, struct textbuf *out)
{
    struct report r = {.rows = history_rows(c)};

    report_add_column(&r, "TL", "TL", true);
    report_add_column(&r, "LSN", "LSN", true);
    report_add_column(&r, "Reason", "Reason", false);
    report_add_column(&r, "Timestamp", "Timestamp", false);
    report_add_column(&r, "New Leader", "New Leader", false);
    report_print(out, &r, format);
    report_done(&r);
}

int cmd_history(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":f:h", format_longs};
    enum report_format format = REPORT_PRETTY;
    struct ctl_view view = {0};
    struct textbuf out = {0};
    int exit_code;

    while (ctl_next_option(argc, argv, &options, &exit_code) == 'f')
        if (!report_format_from_text(optarg, &format))
            return ctl_usage(argv[0], "there is no format \"%s\"", optarg);
    if (exit_code < 0)
        exit_code = read_named_cluster(ctl, argc, argv, &view);
    if (exit_code < 0) {
        print_history(view.cluster, format, &out);
        exit_code = ctl_print(&out);
    }
    ctl_view_done(&view);
    return exit_code;
}

/* --- dsn ---------------------------------------------------------------------------------------------------------- */

enum wanted_role { WANT_LEADER, WANT_PRIMARY, WANT_STANDBY_LEADER, WANT_REPLICA, WANT_ANY };

static const struct {
    const char *text;
    enum wanted_role role;
} wanted_roles[] = {
    {"leader", WANT_LEADER},   {"primary", WANT_PRIMARY}, {"standby-leader", WANT_STANDBY_LEADER},
    {"replica", WANT_REPLICA}, {"standby", WANT_REPLICA}, {"any", WANT_ANY},
};

static bool parse_role(const char *text, enum wanted_role *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(wanted_roles); i++) {
        if (strcmp(wanted_roles[i].text, text) == 0) {
            *ret = wanted_roles[i].role;
            return true;
        }
    }
    return false;
}

static bool has_role(const struct cluster *c, const struct member *m, enum wanted_role role)
{
    bool leader = c->leader.exists && strcmp(c->leader.name, m->name) == 0;

    switch (role) {
    case WANT_LEADER:
        return leader;
    case WANT_PRIMARY:
        return leader && m->role != PG_ROLE_STANDBY_LEADER;
    case WANT_STANDBY_LEADER:
        return leader && m->role != PG_ROLE_PRIMARY;
    case WANT_REPLICA:
        return !leader;
    case WANT_ANY:
        return true;
    }
    return false;
}

static int print_dsn(const struct cluster *c, enum wanted_role role, const char *name)
{
    for (size_t i = 0; i < c->n_members; i++) {
        const struct member *m = &c->members[i];

        if (!m->host[0] || !has_role(c, m, role) || (name && strcmp(name, m->name) != 0))
            continue;
        printf("host=%s port=%u\n", m->host, m->port);
        return EXIT_DONE;
    }
    return ctl_fail("Can not find a suitable member");
}

int cmd_dsn(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":r:m:h", dsn_longs};
    const char *role_text = NULL, *member = NULL;
    enum wanted_role role = WANT_LEADER;
    struct ctl_view view = {0};
    int option, exit_code;

    while ((option = ctl_next_option(argc, argv, &options, &exit_code)) != -1) {
        if (option == 'r')
            role_text = optarg;
        else
            member = optarg;
    }
    if (exit_code < 0 && role_text && member)
        exit_code = ctl_fail("--role and --member are mutually exclusive options");
    if (exit_code < 0 && role_text && !parse_role(role_text, &role))
        exit_code = ctl_usage(argv[0], "there is no role \"%s\"", role_text);
    if (exit_code < 0)
        exit_code = read_named_cluster(ctl, argc, argv, &view);
    if (exit_code < 0)
        exit_code = print_dsn(view.cluster, member ? WANT_ANY : role, member);
    ctl_view_done(&view);
    return exit_code;
}
