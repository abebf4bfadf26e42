#include "config/bindir.h"
#include <ctype.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/text.h"
#include "io/file.h"

/* Debian's and the RPM repositories' layout; what stands before the version is what makes it findable. */
static const struct {
    const char *pattern, *before_version;
} layouts[] = {
    {"/usr/lib/postgresql/*/bin/postgres", "/postgresql/"},
    {"/usr/pgsql-*/bin/postgres", "/pgsql-"},
};

/* 0 if the directory is not there or empty. */
static long version_of_data_dir(const char *data_dir)
{
    CLEANUP(freep) char *text = NULL;
    char path[PATH_MAX];

    if (!data_dir || !text_print(path, sizeof(path), "%s/PG_VERSION", data_dir) ||
        file_read(path, 16, &text, NULL, NULL) < 0)
        return 0;
    return strtol(text, NULL, 10);
}

static long version_of_path(const char *path, const char *before_version)
{
    const char *at = strstr(path, before_version);

    return at ? strtol(at + strlen(before_version), NULL, 10) : 0;
}

bool bindir_find_below(const char *root, const char *data_dir, char *buf, size_t size)
{
    long wanted = version_of_data_dir(data_dir), best = 0;

    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        char pattern[PATH_MAX];
        glob_t found = {0};

        if (!text_print(pattern, sizeof(pattern), "%s%s", root, layouts[i].pattern) ||
            glob(pattern, 0, NULL, &found) != 0)
            continue;
        for (size_t k = 0; k < found.gl_pathc; k++) {
            const char *path = found.gl_pathv[k];
            long version = version_of_path(path, layouts[i].before_version);
            size_t dir_len = strlen(path) - strlen("/postgres");

            if (version <= best || (wanted && version != wanted) || access(path, X_OK) < 0 || dir_len >= size)
                continue;
            best = version;
            (void)text_print(buf, size, "%.*s", (int)dir_len, path);
        }
        globfree(&found);
    }
    return best > 0;
}

bool bindir_find(const char *data_dir, char *buf, size_t size)
{
    return bindir_find_below("", data_dir, buf, size);
}
