#include <stdlib.h>
#include <string.h>
#include "ctl/ctl.h"
#include "ctl/origin.h"
#include "ctl/yaml.h"

static const struct option format_longs[] = {
    {"format", required_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {0}};

static int print_config(const char *text)
{
    struct textbuf out = {0};
    json_t *value = json_loads(text, 0, NULL);

    if (!value)
        return ctl_fail("the dynamic configuration in the store is not valid JSON");
    yaml_print(&out, value, YAML_BLOCK);
    json_decref(value);
    /* The reference prints the document, which ends with a line feed, as a line. */
    textbuf_puts(&out, "\n");
    return ctl_print(&out);
}

static int print_changes(const struct cluster *c, enum report_format format)
{
    struct report r = {.rows = c->config_history.exists ? json_loads(c->config_history.text, 0, NULL) : NULL};
    struct textbuf out = {0};

    if (!json_is_array(r.rows)) {
        json_decref(r.rows);
        r.rows = json_array();
    }
    report_add_column(&r, "Revision", "Revision", true);
    report_add_column(&r, "Time", "Time", false);
    report_add_column(&r, "Leader", "Leader", false);
    report_add_column(&r, "Changes", "Changes", false);
    report_print(&out, &r, format);
    report_done(&r);
    return ctl_print(&out);
}

int cmd_show_config(struct ctl *ctl, int argc, char **argv)
{
    static const struct option longs[] = {{"origin", no_argument, NULL, 'o'},
                                          {"history", no_argument, NULL, 'H'},
                                          {"format", required_argument, NULL, 'f'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    static const struct ctl_options options = {":oHf:h", longs};
    enum report_format format = REPORT_PRETTY;
    struct ctl_view view = {0};
    const char *scope;
    bool origin = false, history = false;
    int option, exit_code;

    while ((option = ctl_next_option(argc, argv, &options, &exit_code)) != -1) {
        origin |= option == 'o';
        history |= option == 'H';
        if (option == 'f' && !report_format_from_text(optarg, &format))
            return ctl_usage(argv[0], "there is no format \"%s\"", optarg);
    }
    if (exit_code < 0)
        exit_code = ctl_read_named(ctl, argc, argv, &view, &scope);
    if (exit_code < 0 && history)
        exit_code = print_changes(view.cluster, format);
    if (exit_code < 0 && !view.cluster->config.exists)
        exit_code = ctl_fail("the cluster has no dynamic configuration: it was not bootstrapped yet");
    if (exit_code < 0 && origin && strcmp(scope, ctl->config->scope) != 0)
        exit_code = ctl_fail("--origin is about this node, which is of cluster \"%s\"", ctl->config->scope);
    if (exit_code < 0)
        exit_code =
            origin ? origin_show(ctl, view.cluster->config.text, format) : print_config(view.cluster->config.text);
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
    const char *scope;
    int exit_code;

    while (ctl_next_option(argc, argv, &options, &exit_code) == 'f')
        if (!report_format_from_text(optarg, &format))
            return ctl_usage(argv[0], "there is no format \"%s\"", optarg);
    if (exit_code < 0)
        exit_code = ctl_read_named(ctl, argc, argv, &view, &scope);
    if (exit_code < 0) {
        print_history(view.cluster, format, &out);
        exit_code = ctl_print(&out);
    }
    ctl_view_done(&view);
    return exit_code;
}
