/*
 * edit-config: a new dynamic configuration from options, from a file or out of an editor, shown as a difference and
 * written to the store unless somebody else has changed it meanwhile. What members would refuse is refused here.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "config/change.h"
#include "config/dynamic.h"
#include "ctl/ask.h"
#include "ctl/diff.h"
#include "ctl/edit.h"
#include "io/file.h"
#include "pg/guc.h"

enum {
    OPTION_APPLY = 256,
    OPTION_REPLACE,
    OPTION_FORCE,
};

static const struct option longs[] = {{"quiet", no_argument, NULL, 'q'},
                                      {"set", required_argument, NULL, 's'},
                                      {"pg", required_argument, NULL, 'p'},
                                      {"apply", required_argument, NULL, OPTION_APPLY},
                                      {"replace", required_argument, NULL, OPTION_REPLACE},
                                      {"force", no_argument, NULL, OPTION_FORCE},
                                      {"help", no_argument, NULL, 'h'},
                                      {0}};

/* --- checking and writing ----------------------------------------------------------------------------------------- */

/* Of the parameters that changed, what a node that runs here has learned from its server. */
static bool judge_parameters(const struct ctl *ctl, const struct edit *e)
{
    CLEANUP(guc_catalog_freep) struct guc_catalog *catalog = NULL;
    CLEANUP(freep) char *text = NULL;
    json_t *old = json_object_get(json_object_get(e->before, "postgresql"), "parameters");
    json_t *new = json_object_get(json_object_get(e->after, "postgresql"), "parameters"), *value;
    char path[4096], number[64], why[640];
    const char *name, *written;
    bool good = true;

    if (strcmp(e->scope, ctl->config->scope) != 0 ||
        !text_print(path, sizeof(path), "%s/" GUC_CATALOG_FILE, ctl->config->postgresql.data_dir) ||
        file_read(path, EDIT_TEXT_MAX, &text, NULL, NULL) < 0 || guc_catalog_load(text, &catalog, NULL) < 0)
        return true;
    json_object_foreach(new, name, value)
    {
        if (json_equal(value, json_object_get(old, name)) ||
            !dynamic_value_text(value, number, sizeof(number), &written))
            continue;
        switch (guc_object(catalog, name, written, why, sizeof(why))) {
        case GUC_NO_OBJECTION:
            break;
        case GUC_UNKNOWN:
            ctl_warn("postgresql.parameters.%s: %s", name, why);
            break;
        case GUC_REFUSED:
            (void)ctl_fail("postgresql.parameters.%s: %s", name, why);
            good = false;
            break;
        }
    }
    return good;
}

static int check(const struct ctl *ctl, const struct edit *e)
{
    struct config_problems problems;
    struct err err = {0};
    bool same_cluster = strcmp(e->scope, ctl->config->scope) == 0, good;
    int r = change_check(e->before, e->after, same_cluster ? ctl->config : NULL, &problems, &err);

    for (size_t i = 0; i < problems.n; i++) {
        const struct config_problem *p = &problems.items[i];

        if (p->warning)
            ctl_warn("%s: %s", p->path, p->message);
        else
            (void)ctl_fail("%s: %s", p->path, p->message);
    }
    config_problems_done(&problems);
    good = judge_parameters(ctl, e);
    if (r == 0 && good)
        return -1;
    return r < 0 && r != -EINVAL ? ctl_fail("%s", err.msg) : EXIT_FAILED;
}

static int write_config(struct ctl *ctl, const struct edit *e, uint64_t revision)
{
    CLEANUP(freep) char *text = json_dumps(e->after, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));
    struct err err = {0};

    if (!text)
        return ctl_fail("out of memory");
    switch (ctl_write_key(ctl, e->scope, "config", text, revision, &err)) {
    case CTL_WRITTEN:
        printf("Configuration changed\n");
        return EXIT_DONE;
    case CTL_REFUSED:
        return ctl_fail("Config modification aborted due to concurrent changes");
    case CTL_UNKNOWN:
        break;
    }
    return ctl_fail("it is not known whether the configuration was changed: %s", err.msg);
}

static int show_difference(const struct edit *e)
{
    CLEANUP(freep) char *before = edit_as_yaml(e->before), *after = edit_as_yaml(e->after);
    struct textbuf out = {0};

    if (e->quiet)
        return EXIT_DONE;
    if (!before || !after)
        return ctl_fail("out of memory");
    diff_print(&out, before, after, isatty(STDOUT_FILENO));
    return ctl_print(&out);
}

static int apply(struct ctl *ctl, struct edit *e, uint64_t revision)
{
    bool from_input = (e->apply && strcmp(e->apply, "-") == 0) || (e->replace && strcmp(e->replace, "-") == 0);
    int exit_code;

    if (json_equal(e->before, e->after)) {
        if (!e->quiet)
            printf("Not changed\n");
        return EXIT_DONE;
    }
    exit_code = show_difference(e);
    if (exit_code != EXIT_DONE)
        return exit_code;
    exit_code = check(ctl, e);
    if (exit_code >= 0)
        return exit_code;
    if (from_input && !e->force) {
        printf("Use --force option to apply changes\n");
        return EXIT_DONE;
    }
    if (e->force)
        return write_config(ctl, e, revision);
    switch (ask_confirm("Apply these changes?")) {
    case ASK_YES:
        return write_config(ctl, e, revision);
    case ASK_NO:
        return EXIT_DONE;
    case ASK_ABORTED:
        break;
    }
    return EXIT_FAILED;
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static int run(struct ctl *ctl, struct edit *e, const struct text_key *key)
{
    int exit_code;

    e->before = key->exists ? json_loads(key->text, 0, NULL) : json_object();
    if (!json_is_object(e->before))
        return ctl_fail("the dynamic configuration in the store is not valid JSON");
    exit_code = edit_make_after(e);
    if (exit_code < 0)
        exit_code = apply(ctl, e, key->revision);
    if (e->kept && exit_code == EXIT_DONE)
        (void)unlink(e->kept);
    else if (e->kept)
        (void)fprintf(stderr,
                      "HINT:  What you have written is in \"%s\": pgtetherctl edit-config --replace takes it.\n",
                      e->kept);
    return exit_code;
}

static int take_pair(struct edit *e, bool is_parameter)
{
    if (e->n_pairs == EDIT_PAIRS_MAX)
        return ctl_fail("more than %d settings", EDIT_PAIRS_MAX);
    e->pairs[e->n_pairs].text = optarg;
    e->pairs[e->n_pairs++].is_parameter = is_parameter;
    return -1;
}

static int read_options(struct edit *e, int argc, char **argv)
{
    static const struct ctl_options options = {":qs:p:h", longs};
    int option, exit_code, taken = -1;

    while (taken < 0 && (option = ctl_next_option(argc, argv, &options, &exit_code)) != -1) {
        if (option == 'q')
            e->quiet = true;
        else if (option == OPTION_FORCE)
            e->force = true;
        else if (option == OPTION_APPLY)
            e->apply = optarg;
        else if (option == OPTION_REPLACE)
            e->replace = optarg;
        else
            taken = take_pair(e, option == 'p');
    }
    return taken >= 0 ? taken : exit_code;
}

int cmd_edit_config(struct ctl *ctl, int argc, char **argv)
{
    struct edit e = {0};
    struct ctl_view view = {0};
    int exit_code = read_options(&e, argc, argv);

    if (exit_code < 0)
        exit_code = ctl_read_named(ctl, argc, argv, &view, &e.scope);
    if (exit_code < 0)
        exit_code = run(ctl, &e, &view.cluster->config);
    json_decref(e.before);
    json_decref(e.after);
    free(e.kept);
    ctl_view_done(&view);
    return exit_code;
}
