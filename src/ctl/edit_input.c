/* Where a new configuration comes from: options, a file, or an editor. */
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "config/change.h"
#include "ctl/edit.h"
#include "ctl/yaml.h"
#include "ctl/yaml_read.h"
#include "io/file.h"

enum { PATH_PARTS_MAX = 32 };

char *edit_as_yaml(const json_t *value)
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
    equals = copy + strcspn(copy, "=");
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

    while ((n = fread(piece, 1, sizeof(piece), stdin)) > 0 && b.len < EDIT_TEXT_MAX)
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
    else if (file_read(name, EDIT_TEXT_MAX, &text, NULL, &err) < 0)
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
    CLEANUP(freep) char *text = edit_as_yaml(e->before);
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

int edit_make_after(struct edit *e)
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
