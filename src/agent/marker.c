/*
 * Markers beside the data directory: what was begun with it and must be finished, should this process or the host die
 * in between. Not inside it: pg_basebackup wants it empty and pg_rewind removes what the leader does not have.
 */
#include <unistd.h>
#include "agent/parts.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"

static bool marker_path(const struct agent *a, const char *what, char *buf, size_t size)
{
    return text_print(buf, size, "%s.pgtether-%s", a->config->postgresql.data_dir, what);
}

void marker_set(struct agent *a, const char *what)
{
    char path[512];
    struct err err = {0};

    if (!marker_path(a, what, path, sizeof(path)) || file_write_atomic(path, "", 0, 0600, &err) < 0)
        log_warning("could not note beside the data directory that a %s has begun: %s", what, err.msg);
}

void marker_clear(struct agent *a, const char *what)
{
    char path[512];
    struct err err = {0};

    if (!marker_path(a, what, path, sizeof(path)) || file_remove(path, &err) < 0)
        log_warning("could not remove the note about a %s beside the data directory: %s", what, err.msg);
}

bool marker_is_set(const struct agent *a, const char *what)
{
    char path[512];

    return marker_path(a, what, path, sizeof(path)) && access(path, F_OK) == 0;
}
