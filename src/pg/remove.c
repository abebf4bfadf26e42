/* Removing a data directory that was set aside, because the operator said so: never our own idea (S8). */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include "base/text.h"
#include "pg/files.h"
#include "pg/tool.h"

static void closedirp(DIR **d)
{
    if (*d)
        (void)closedir(*d);
    *d = NULL;
}

/* What a link leads to, if it was set aside together with the directory: its name ends alike. */
static void add_target(struct tool_args *args, const char *link_path, const char *suffix)
{
    char target[PATH_MAX];
    ssize_t n = readlink(link_path, target, sizeof(target) - 1);
    size_t len = strlen(suffix);

    if (n <= 0 || (size_t)n <= len)
        return;
    target[n] = '\0';
    if (target[0] == '/' && text_equal(target + n - len, suffix))
        tool_args_add(args, "%s", target);
}

static void add_tablespaces(struct tool_args *args, const char *aside, const char *suffix)
{
    CLEANUP(closedirp) DIR *dir = NULL;
    char path[PATH_MAX];
    struct dirent *entry;
    uint32_t oid;

    if (!text_print(path, sizeof(path), "%s/pg_tblspc", aside))
        return;
    dir = opendir(path);
    while (dir && (entry = readdir(dir)))
        if (text_to_u32(entry->d_name, &oid) && text_print(path, sizeof(path), "%s/pg_tblspc/%s", aside, entry->d_name))
            add_target(args, path, suffix);
}

/* ".reinitialized.20260801T120000": the last two parts of the name. */
static const char *suffix_of(const char *aside)
{
    const char *slash = strrchr(aside, '/'), *dot = strrchr(aside, '.');

    if (!slash || !dot || dot < slash)
        return NULL;
    do
        dot--;
    while (dot > slash && *dot != '.');
    return dot > slash ? dot : NULL;
}

int pg_files_remove(sd_event *loop, const char *aside, child_done_fn done, void *userdata, struct child **ret,
                    struct err *err)
{
    const char *suffix = suffix_of(aside);
    struct child_spec spec = {.env_unset = tool_env_unset};
    struct tool_args args = {0};
    char path[PATH_MAX];
    int r;

    if (!suffix || aside[0] != '/' || !text_print(path, sizeof(path), "%s/pg_wal", aside))
        return err_set(err, -EINVAL, "cannot remove \"%s\": it was not set aside", aside);
    tool_args_add(&args, "rm");
    tool_args_add(&args, "-rf");
    tool_args_add(&args, "--one-file-system");
    tool_args_add(&args, "--");
    add_target(&args, path, suffix);
    add_tablespaces(&args, aside, suffix);
    tool_args_add(&args, "%s", aside); /* last: its links say where the rest is */
    spec.argv = tool_args_list(&args);
    r = spec.argv ? child_start(loop, &spec, done, userdata, ret, err) : err_set(err, -ENOMEM, "out of memory");
    tool_args_done(&args);
    return r;
}
