#include "io/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"

/* The name of the temporary file while it exists: whoever leaves the scope early leaves nothing behind. */
struct temporary {
    char path[PATH_MAX];
    bool exists;
};

static void temporary_done(struct temporary *t)
{
    if (t->exists)
        (void)unlink(t->path);
}

static void closedirp(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

static int open_regular(const char *path, int *ret_fd, size_t *ret_size, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    struct stat st;

    /* O_NONBLOCK: opening a FIFO nobody writes to would wait. It has no effect on regular files. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return err_sys(err, -errno, "could not open file \"%s\"", path);
    if (fstat(fd, &st) < 0)
        return err_sys(err, -errno, "could not stat file \"%s\"", path);
    if (S_ISDIR(st.st_mode))
        return err_sys(err, -EISDIR, "cannot read \"%s\"", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, -EINVAL, "cannot read \"%s\": not a regular file", path);
    *ret_fd = fd;
    *ret_size = st.st_size > 0 ? (size_t)st.st_size : 0;
    fd = -1;
    return 0;
}

/* Reads to the end; *data grows as needed, since the size of a file may change and that of /proc files is 0. */
static int read_to_end(int fd, const char *path, size_t max, char **data, size_t cap, size_t *ret_len, struct err *err)
{
    size_t len = 0;

    for (;;) {
        ssize_t n = read(fd, *data + len, cap - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, -errno, "could not read file \"%s\"", path);
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > max)
            return err_set(err, -EFBIG, "file \"%s\" is larger than %zu bytes", path, max);
        if (len == cap) {
            size_t more = cap > max / 2 ? max + 1 : cap * 2;
            char *bigger = realloc(*data, more + 1);

            if (!bigger)
                return err_set(err, -ENOMEM, "out of memory");
            *data = bigger;
            cap = more;
        }
    }
    *ret_len = len;
    return 0;
}

int file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    CLEANUP(freep) char *data = NULL;
    size_t size = 0, cap, len = 0;
    int r;

    r = open_regular(path, &fd, &size, err);
    if (r < 0)
        return r;
    if (size > max)
        return err_set(err, -EFBIG, "file \"%s\" is larger than %zu bytes", path, max);

    /* One byte more than expected, so that a file of this size is read without growing. */
    cap = size ? size + 1 : 4096;
    if (cap > max + 1)
        cap = max + 1;
    data = malloc(cap + 1);
    if (!data)
        return err_set(err, -ENOMEM, "out of memory");
    r = read_to_end(fd, path, max, &data, cap, &len, err);
    if (r < 0)
        return r;
    data[len] = '\0';
    *ret = STEAL(data);
    if (ret_len)
        *ret_len = len;
    return 0;
}

/* The directory that holds `path`, as a path that can be opened. */
static int parent_of(const char *path, char *buf, size_t size, struct err *err)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        (void)text_copy(buf, size, ".");
    else if (slash == path)
        (void)text_copy(buf, size, "/");
    else if (!text_print(buf, size, "%.*s", (int)(slash - path), path))
        return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", path);
    return 0;
}

/* A rename or unlink survives a crash only once the directory itself has been written. */
static int sync_parent(const char *path, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    char dir[PATH_MAX];
    int r;

    r = parent_of(path, dir, sizeof(dir), err);
    if (r < 0)
        return r;
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, -errno, "could not open directory \"%s\"", dir);
    if (fsync(fd) < 0)
        return err_sys(err, -errno, "could not fsync directory \"%s\"", dir);
    return 0;
}

static int write_all(int fd, const char *path, const char *data, size_t len, struct err *err)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, -errno, "could not write file \"%s\"", path);
        if (n == 0) /* not expected of a regular file; without this line it would be a busy loop */
            return err_sys(err, -ENOSPC, "could not write file \"%s\"", path);
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Creates, fills and syncs the temporary file and closes it, for close() may be the one to report a write error. */
static int write_temporary(struct temporary *t, const void *data, size_t len, mode_t mode, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    int r;

    fd = mkostemps(t->path, 4, O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, -errno, "could not create file \"%s\"", t->path);
    t->exists = true;
    r = write_all(fd, t->path, data, len, err);
    if (r < 0)
        return r;
    if (fchmod(fd, mode) < 0)
        return err_sys(err, -errno, "could not set permissions of file \"%s\"", t->path);
    if (fsync(fd) < 0)
        return err_sys(err, -errno, "could not fsync file \"%s\"", t->path);
    r = close(fd) < 0 ? -errno : 0;
    fd = -1;
    if (r < 0)
        return err_sys(err, r, "could not close file \"%s\"", t->path);
    return 0;
}

int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode, struct err *err)
{
    CLEANUP(temporary_done) struct temporary t = {.exists = false};
    int r;

    /* A random name, so that two writers cannot mix their content under one. */
    if (!text_print(t.path, sizeof(t.path), "%s.XXXXXX.tmp", path))
        return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", path);
    r = write_temporary(&t, data, len, mode, err);
    if (r < 0)
        return r;
    if (rename(t.path, path) < 0)
        return err_sys(err, -errno, "could not rename file \"%s\" to \"%s\"", t.path, path);
    t.exists = false;
    return sync_parent(path, err);
}

int file_remove(const char *path, struct err *err)
{
    if (unlink(path) < 0) {
        if (errno == ENOENT)
            return 0;
        return err_sys(err, -errno, "could not remove file \"%s\"", path);
    }
    return sync_parent(path, err);
}

int dir_is_empty(const char *path, struct err *err)
{
    CLEANUP(closedirp) DIR *d = opendir(path);
    const struct dirent *e;

    if (!d)
        return err_sys(err, -errno, "could not open directory \"%s\"", path);
    for (;;) {
        errno = 0;
        e = readdir(d);
        if (!e)
            break;
        if (e->d_name[0] != '.' && !text_equal(e->d_name, "lost+found"))
            return 0;
    }
    if (errno != 0)
        return err_sys(err, -errno, "could not read directory \"%s\"", path);
    return 1;
}

/* 1 if made, 0 if it was there. */
static int make_one(const char *path, mode_t mode, struct err *err)
{
    struct stat st;
    int saved;

    if (mkdir(path, mode) == 0)
        return 1;
    saved = errno;
    /* Asked only now: whoever made it in between is fine, too. A read-only file system says EROFS for what exists. */
    if (stat(path, &st) < 0)
        return err_sys(err, -saved, "could not create directory \"%s\"", path);
    if (!S_ISDIR(st.st_mode))
        return err_sys(err, -ENOTDIR, "could not create directory \"%s\"", path);
    return 0;
}

int dir_make(const char *path, mode_t mode, struct err *err)
{
    char part[PATH_MAX];
    int r;

    if (!*path)
        return err_set(err, -ENOENT, "could not create directory \"\": the path is empty");
    if (!text_copy(part, sizeof(part), path))
        return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", path);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        if (slash[strspn(slash, "/")] == '\0')
            break; /* slashes at the end: the rest is the last directory */
        *slash = '\0';
        r = make_one(part, 0755, err);
        if (r < 0)
            return r;
        *slash = '/';
    }
    r = make_one(part, mode, err);
    if (r == 1 && chmod(part, mode) < 0)
        return err_sys(err, -errno, "could not set permissions of directory \"%s\"", part);
    return r < 0 ? r : 0;
}
