/*
 * Setting a data directory aside (S8): renamed with everything that hangs on it, never deleted. Tablespaces and a WAL
 * directory elsewhere are renamed too and their links follow, because the next copy wants the old places to be empty.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include "base/text.h"
#include "pg/files.h"

static void closedirp(DIR **d)
{
    if (*d)
        (void)closedir(*d);
    *d = NULL;
}

/* For the walk, which has no argument to pass things along. */
static uint64_t walk_bytes, walk_limit_bytes;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path;
    (void)type;
    (void)ftw;
    walk_bytes += (uint64_t)st->st_blocks * 512;
    return walk_bytes > walk_limit_bytes; /* stop as soon as the answer is known */
}

/* -ENOSPC if what the directory occupies would not fit once more beside it. */
static int check_space(const char *dir, struct err *err)
{
    struct statvfs fs;
    uint64_t free_bytes, used_bytes;

    if (statvfs(dir, &fs) < 0)
        return err_sys(err, -errno, "could not ask for free space in \"%s\"", dir);
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    used_bytes = (uint64_t)(fs.f_blocks - fs.f_bfree) * fs.f_frsize;
    if (used_bytes <= free_bytes) /* more than all there is would fit: no need to look at every file */
        return 0;
    walk_bytes = 0;
    walk_limit_bytes = free_bytes;
    if (nftw(dir, count_file, 32, FTW_PHYS | FTW_MOUNT) == 0)
        return 0;
    return err_set(err, -ENOSPC,
                   "cannot set data directory \"%s\" aside: no room for another copy beside it\n"
                   "HINT:  Remove older copies that were set aside, or enlarge the file system",
                   dir);
}

static int sync_parent(const char *path, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    char dir[PATH_MAX];
    char *slash;

    if (!text_copy(dir, sizeof(dir), path))
        return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", path);
    slash = strrchr(dir, '/');
    if (!slash)
        (void)text_copy(dir, sizeof(dir), ".");
    else
        slash[slash == dir] = '\0';
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_sys(err, -errno, "could not fsync directory \"%s\"", dir);
    return 0;
}

static int rename_dir(const char *from, const char *to, struct err *err)
{
    int r;

    if (rename(from, to) == 0)
        return sync_parent(to, err);
    r = -errno;
    if (r == -EBUSY)
        return err_set(err, r,
                       "cannot rename \"%s\": it is a mount point\n"
                       "HINT:  Keep the data in a subdirectory of the mounted file system",
                       from);
    return err_sys(err, r, "could not rename \"%s\" to \"%s\"", from, to);
}

/* Renames what a link in the data directory points to and makes the link follow. Not a link: nothing to do. */
static int move_link_target(const char *link_path, const char *suffix, struct err *err)
{
    char target[PATH_MAX], aside[PATH_MAX], temporary[PATH_MAX];
    ssize_t n = readlink(link_path, target, sizeof(target) - 1);
    int r;

    if (n < 0)
        return errno == EINVAL || errno == ENOENT ? 0 : err_sys(err, -errno, "could not read link \"%s\"", link_path);
    target[n] = '\0';
    while (n > 1 && target[n - 1] == '/')
        target[--n] = '\0';
    if (target[0] != '/' || access(target, F_OK) != 0)
        return 0; /* inside the data directory, or gone already */
    if (!text_print(aside, sizeof(aside), "%s%s", target, suffix) ||
        !text_print(temporary, sizeof(temporary), "%s.new", link_path))
        return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", target);
    r = rename_dir(target, aside, err);
    if (r < 0)
        return r;
    (void)unlink(temporary);
    if (symlink(aside, temporary) < 0 || rename(temporary, link_path) < 0) {
        r = -errno;
        (void)rename(aside, target);
        return err_sys(err, r, "could not point link \"%s\" to \"%s\"", link_path, aside);
    }
    (void)mkdir(target, 0700); /* the old place, empty; a copy creates it as well where it may */
    return sync_parent(link_path, err);
}

static int move_tablespaces(const char *data_dir, const char *suffix, struct err *err)
{
    CLEANUP(closedirp) DIR *dir = NULL;
    char path[PATH_MAX];
    struct dirent *entry;
    int r;

    if (!text_print(path, sizeof(path), "%s/pg_tblspc", data_dir))
        return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", data_dir);
    dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? 0 : err_sys(err, -errno, "could not open directory \"%s\"", path);
    while ((entry = readdir(dir))) {
        uint32_t oid;

        if (!text_to_u32(entry->d_name, &oid))
            continue;
        if (!text_print(path, sizeof(path), "%s/pg_tblspc/%s", data_dir, entry->d_name))
            return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", data_dir);
        r = move_link_target(path, suffix, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int set_aside(const struct config *config, const char *reason, bool needs_room, char *new_path, size_t size,
                     struct err *err)
{
    char data_dir[PATH_MAX], suffix[128], stamp[32], wal[PATH_MAX], aside[PATH_MAX];
    time_t now = time(NULL);
    struct stat st;
    struct tm tm;
    int r;

    (void)localtime_r(&now, &tm);
    if (strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &tm) == 0 ||
        !text_print(suffix, sizeof(suffix), ".%s.%s", reason, stamp) || strchr(reason, '/'))
        return err_set(err, -EINVAL, "cannot set data directory aside: invalid reason \"%s\"", reason);
    /*
     * Where the directory is a link, its target moves and an empty one takes its place: the link leads to the disk that
     * is meant for the data.
     */
    if (!realpath(config->postgresql.data_dir, data_dir) || lstat(config->postgresql.data_dir, &st) < 0)
        return err_sys(err, -errno, "could not find data directory \"%s\"", config->postgresql.data_dir);
    if (!text_print(wal, sizeof(wal), "%s/pg_wal", data_dir) ||
        !text_print(aside, sizeof(aside), "%s%s", data_dir, suffix) || strlen(aside) >= size)
        return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", data_dir);
    if (access(aside, F_OK) == 0)
        return err_set(err, -EEXIST, "could not set data directory aside: \"%s\" exists", aside);

    r = needs_room ? check_space(data_dir, err) : 0;
    if (r == 0)
        r = move_link_target(wal, suffix, err);
    if (r == 0)
        r = move_tablespaces(data_dir, suffix, err);
    if (r == 0)
        r = rename_dir(data_dir, aside, err);
    if (r < 0)
        return r;
    if (S_ISLNK(st.st_mode))
        (void)mkdir(data_dir, 0700);
    (void)text_copy(new_path, size, aside);
    return 0;
}

int pg_files_set_aside(const struct config *config, const char *reason, char *new_path, size_t size, struct err *err)
{
    return set_aside(config, reason, true, new_path, size, err);
}

int pg_files_put_away(const struct config *config, const char *reason, char *new_path, size_t size, struct err *err)
{
    return set_aside(config, reason, false, new_path, size, err);
}
