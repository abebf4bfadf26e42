/*
 * edit-config: a new dynamic configuration from options, from a file or out of an editor, shown as a difference and
 * written to the store unless somebody else has changed it meanwhile. What members would refuse is refused here.
 */
#include <errno.h>
#include <jansson.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "config/change.h"
#include "config/dynamic.h"
#include "ctl/ask.h"
#include "ctl/ctl.h"
#include "ctl/diff.h"
#include "ctl/yaml.h"
#include "ctl/yaml_read.h"
#include "io/file.h"
#include "pg/guc.h"

enum { OPTION_APPLY = 256, OPTION_REPLACE, OPTION_FORCE, PAIRS_MAX = 100, TEXT_MAX = 1 << 20, PATH_PARTS_MAX = 32 };

static const struct option longs[] = {{"quiet", no_argument, NULL, 'q'},
                                      {"set", required_argument, NULL, 's'},
                                      {"pg", required_argument, NULL, 'p'},
                                      {"apply", required_argument, NULL, OPTION_APPLY},
                                      {"replace", required_argument, NULL, OPTION_REPLACE},
                                      {"force", no_argument, NULL, OPTION_FORCE},
                                      {"help", no_argument, NULL, 'h'},
                                      {0}};

struct edit {
    bool quiet, force;
    const char *apply, *replace;
    struct {
        const char *text;
        bool is_parameter;
    } pairs[PAIRS_MAX];
    size_t n_pairs;
    const char *scope;
    json_t *before, *after;
    char *kept; /* the edited file, until it was of use */
};

static char *as_yaml(const json_t *value)
{
    struct textbuf b = {0};

    yaml_print(&b, value, YAML_BLOCK);
    return textbuf_take(&b);
}

/* --- from options ------------------------------------------------------------------------------------------------- */

/* Sets or, with null, deletes; groups on the way are made, and go when nothing is left in them. */
static void set_path(json_t *group, char *const *parts, size_t n, const json_t *value)
{
    json_t *inner;

    if (n == 1) {
        if (json_is_null(value))
            (void)json_object_del(group, parts[0]);
        else
            (void)json_object_set_new(group, parts[0], json_deep_copy(value));
        return;
    }
    if (!json_is_object(json_object_get(group, parts[0])))
        (void)json_object_set_new(group, parts[0], json_object());
    inner = json_object_get(group, parts[0]);
    set_path(inner, parts + 1, n - 1, value);
    if (json_object_size(inner) == 0)
        (void)json_object_del(group, parts[0]);
}

/* "a.b.c"; what follows postgresql.parameters is one name, dots and all. */
static size_t split_path(char *path, char **parts)
{
    size_t n = 0;

    while (path && n < PATH_PARTS_MAX) {
        bool in_parameters = n == 2 && strcmp(parts[0], "postgresql") == 0 && strcmp(parts[1], "parameters") == 0;

        parts[n++] = path;
        if (in_parameters)
            break;
        path = strchr(path, '.');
        if (path)
            *path++ = '\0';
    }
    return n;
}

static void trim(char **text)
{
    size_t len;

    *text += strspn(*text, " \t");
    len = strlen(*text);
    while (len && ((*text)[len - 1] == ' ' || (*text)[len - 1] == '\t'))
        (*text)[--len] = '\0';
}

static int apply_pair(json_t *config, const char *pair, bool is_parameter)
{
    CLEANUP(freep) char *copy = NULL;
    char *path, *equals, *parts[PATH_PARTS_MAX];
    struct err err = {0};
    json_t *value;

    pair += is_parameter ? strspn(pair, " \t") : 0;
    if (!strchr(pair, '='))
        return ctl_fail("Invalid parameter setting %s", pair);
    if (asprintf(&copy, "%s%s", is_parameter ? "postgresql.parameters." : "", pair) < 0) {
        copy = NULL;
        return ctl_fail("out of memory");
    }
    equals = strchr(copy, '=');
    *equals = '\0';
    value = yaml_read(equals + 1, &err);
    if (!value)
        return ctl_fail("Invalid parameter setting %s: %s", pair, err.msg);
    path = copy;
    trim(&path);
    set_path(config, parts, split_path(path, parts), value);
    json_decref(value);
    return -1;
}

/* --- from a file -------------------------------------------------------------------------------------------------- */

static char *read_input(void)
{
    struct textbuf b = {0};
    char piece[4096];
    size_t n;

    while ((n = fread(piece, 1, sizeof(piece), stdin)) > 0 && b.len < TEXT_MAX)
        textbuf_append(&b, piece, n);
    return textbuf_take(&b);
}

/* Returns -1 with *ret, or an exit code. */
static int read_yaml_file(const char *name, json_t **ret)
{
    CLEANUP(freep) char *text = NULL;
    struct err err = {0};

    if (strcmp(name, "-") == 0)
        text = read_input();
    else if (file_read(name, TEXT_MAX, &text, NULL, &err) < 0)
        return ctl_fail("%s", err.msg);
    if (!text)
        return ctl_fail("out of memory");
    *ret = yaml_read(text, &err);
    if (!*ret)
        return ctl_fail("%s: %s", name, err.msg);
    if (json_is_object(*ret))
        return -1;
    json_decref(*ret);
    return ctl_fail("%s: expected settings in the form \"name: value\"", name);
}

static int merge_file(json_t *config, const char *name)
{
    json_t *patch;
    int exit_code = read_yaml_file(name, &patch);

    if (exit_code >= 0)
        return exit_code;
    exit_code = change_merge(config, patch) < 0 ? ctl_fail("%s: groups are nested too deeply", name) : -1;
    json_decref(patch);
    return exit_code;
}

/* --- out of an editor --------------------------------------------------------------------------------------------- */

static const char *find_editor(void)
{
    static const char *const others[] = {"/usr/bin/editor", "/usr/bin/vi", "/bin/vi"};
    const char *editor = getenv("EDITOR");

    if (editor && *editor)
        return editor;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (access(others[i], X_OK) == 0)
            return others[i];
    return NULL;
}

/* By a shell, since EDITOR may have options. */
static int run_editor(const char *editor, const char *file)
{
    CLEANUP(freep) char *script = NULL;
    const char *argv[] = {"sh", "-c", NULL, "sh", file, NULL};
    pid_t pid;
    int status;

    if (asprintf(&script, "%s \"$@\"", editor) < 0) {
        script = NULL;
        return ctl_fail("out of memory");
    }
    argv[2] = script;
    (void)fflush(stdout);
    if (posix_spawn(&pid, "/bin/sh", NULL, NULL, (char *const *)(uintptr_t)argv, environ) != 0 ||
        waitpid(pid, &status, 0) < 0)
        return ctl_fail("could not run the editor \"%s\"", editor);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return ctl_fail("Editor exited with return code %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return -1;
}

static int write_for_editor(struct edit *e, const char *text)
{
    const char *directory = getenv("TMPDIR");
    int fd;
    bool written;

    if (asprintf(&e->kept, "%s/%s-config-XXXXXX.yaml", directory && *directory ? directory : "/tmp", e->scope) < 0) {
        e->kept = NULL;
        return ctl_fail("out of memory");
    }
    fd = mkstemps(e->kept, (int)strlen(".yaml"));
    if (fd < 0) {
        freep(&e->kept);
        e->kept = NULL;
        return ctl_fail("could not make a file for the editor: %s", strerror(errno));
    }
    written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    return close(fd) == 0 && written ? -1 : ctl_fail("could not write \"%s\"", e->kept);
}

static int edit_by_hand(struct edit *e)
{
    CLEANUP(freep) char *text = as_yaml(e->before);
    const char *editor = find_editor();
    json_t *edited;
    int exit_code;

    if (!editor)
        return ctl_fail("EDITOR environment variable is not set. editor or vi are not available");
    exit_code = text ? write_for_editor(e, text) : ctl_fail("out of memory");
    if (exit_code < 0)
        exit_code = run_editor(editor, e->kept);
    if (exit_code < 0)
        exit_code = read_yaml_file(e->kept, &edited);
    if (exit_code >= 0)
        return exit_code;
    json_decref(e->after);
    e->after = edited;
    return -1;
}

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
        file_read(path, TEXT_MAX, &text, NULL, NULL) < 0 || guc_catalog_load(text, &catalog, NULL) < 0)
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
    CLEANUP(freep) char *before = as_yaml(e->before), *after = as_yaml(e->after);
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

/* Returns -1 or an exit code. */
static int make_after(struct edit *e)
{
    int exit_code = -1;

    e->after = e->replace ? json_object() : json_deep_copy(e->before);
    if (!e->after)
        return ctl_fail("out of memory");
    if (e->replace)
        exit_code = merge_file(e->after, e->replace);
    if (exit_code < 0 && e->apply)
        exit_code = merge_file(e->after, e->apply);
    for (size_t i = 0; exit_code < 0 && i < e->n_pairs; i++)
        exit_code = apply_pair(e->after, e->pairs[i].text, e->pairs[i].is_parameter);
    if (exit_code < 0 && !e->replace && !e->apply && !e->n_pairs)
        exit_code = edit_by_hand(e);
    return exit_code;
}

static int run(struct ctl *ctl, struct edit *e, const struct text_key *key)
{
    int exit_code;

    e->before = key->exists ? json_loads(key->text, 0, NULL) : json_object();
    if (!json_is_object(e->before))
        return ctl_fail("the dynamic configuration in the store is not valid JSON");
    exit_code = make_after(e);
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
    if (e->n_pairs == PAIRS_MAX)
        return ctl_fail("more than %d settings", PAIRS_MAX);
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
