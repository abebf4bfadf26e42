#include "pg/datadir.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "io/child.h"
#include "pg/tool.h"

struct datadir {
    struct child *child;
    datadir_fn done;
    void *userdata;
    char *path;
    struct datadir_look look;
    bool is_file;
};

/* "=depth type uid mode name"; everything else is find complaining. */
static void on_line(void *userdata, const char *line)
{
    struct datadir *d = userdata;
    unsigned depth, mode, owner;
    char type;
    int at = 0;

    if (sscanf(line, "=%u %c %u %o %n", &depth, &type, &owner, &mode, &at) != 4 || at == 0)
        return;
    if (depth == 0) {
        d->look.exists = true;
        d->is_file = type != 'd';
        d->look.owner = owner;
        d->look.mode = mode & 07777;
        return;
    }
    d->look.is_empty = false;
    if (line[at] != '.' && !text_equal(line + at, "lost+found"))
        d->look.is_unused = false;
    if (!d->look.sample[0])
        (void)text_copy(d->look.sample, sizeof(d->look.sample), line + at);
}

static void on_end(void *userdata, const struct child_result *result)
{
    struct datadir *d = userdata;
    struct datadir_look look = d->look; /* the callback may free us */
    struct err err = {0};

    if (result->exit_code != 0 && !look.exists && strstr(result->output, "No such file")) {
        look.is_empty = look.is_unused = true;
    } else if (result->exit_code != 0) {
        (void)tool_failure("find", result, &err);
        (void)err_prefix(&err, "could not look into directory \"%s\"", d->path);
    } else if (d->is_file) {
        (void)err_set(&err, -ENOTDIR, "\"%s\" is not a directory", d->path);
    }
    d->child = child_free(d->child);
    d->done(d->userdata, err.code, &look, &err);
}

int datadir_look_start(sd_event *loop, const char *path, uint64_t timeout_us, datadir_fn done, void *userdata,
                       struct datadir **ret, struct err *err)
{
    /* -H: the directory itself may be a symbolic link, what is in it is not followed. */
    const char *argv[] = {"find", "-H", path, "-ignore_readdir_race", "-maxdepth", "1", "-printf", "=%d %y %U %m %f\\n",
                          NULL};
    const char *env[] = {"LC_ALL=C", NULL};
    struct child_spec spec = {.argv = argv, .env = env, .timeout_us = timeout_us, .on_line = on_line};
    struct datadir *d = calloc(1, sizeof(*d));
    int r;

    if (!d || !(d->path = strdup(path))) {
        free(d);
        return err_set(err, -ENOMEM, "out of memory");
    }
    d->done = done;
    d->userdata = userdata;
    d->look = (struct datadir_look){.is_empty = true, .is_unused = true};
    r = child_start(loop, &spec, on_end, d, &d->child, err);
    if (r < 0) {
        (void)datadir_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

struct datadir *datadir_free(struct datadir *d)
{
    if (!d)
        return NULL;
    (void)child_free(d->child);
    free(d->path);
    free(d);
    return NULL;
}
