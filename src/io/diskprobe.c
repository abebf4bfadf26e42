#include "io/diskprobe.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"

/* More than any disk wants today; what wants still more is probed without O_DIRECT. */
enum { BLOCK_BYTES_MIN = 4096, BLOCK_BYTES_MAX = 65536 };

int diskprobe_init(struct diskprobe *p, const char *data_dir, bool wal, struct err *err)
{
    void *block;

    *p = (struct diskprobe){.data_dir = data_dir, .wal = wal, .block_bytes = BLOCK_BYTES_MIN};
    if (posix_memalign(&block, BLOCK_BYTES_MAX, BLOCK_BYTES_MAX) != 0)
        return err_set(err, -ENOMEM, "out of memory");
    p->block = block;
    return 0;
}

void diskprobe_done(struct diskprobe *p)
{
    if (p->path[0])
        (void)unlink(p->path);
    free(p->block);
    *p = (struct diskprobe){0};
}

/* --- where ----------------------------------------------------------------------------------------------------------
 */

static int impossible(struct diskprobe_result *ret, int code, const char *what, const char *path)
{
    ret->outcome = DISKPROBE_IMPOSSIBLE;
    return err_sys(&ret->err, code, "could not %s \"%s\"", what, path);
}

/* Errors that say something about us, or about what was set up here, and nothing about the disk. */
static bool is_ours(int code)
{
    switch (-code) {
    case EACCES:
    case EPERM:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EINTR:
        return true;
    default:
        return false;
    }
}

static int failed(struct diskprobe_result *ret, int code, const char *what, const char *path)
{
    if (is_ours(code))
        return impossible(ret, code, what, path);
    ret->outcome = code == -ENOSPC || code == -EDQUOT || code == -EFBIG ? DISKPROBE_NO_SPACE : DISKPROBE_BAD;
    return err_sys(&ret->err, code, "could not %s \"%s\"", what, path);
}

static bool path_print(char *dst, size_t size, struct diskprobe_result *ret, const char *dir, const char *name)
{
    if (text_print(dst, size, "%s/%s", dir, name))
        return true;
    (void)impossible(ret, -ENAMETOOLONG, "use", dir);
    return false;
}

/* The directory whose disk is meant, without links. */
static int find_directory(const struct diskprobe *p, char *dir, struct diskprobe_result *ret)
{
    char path[PATH_MAX];
    struct stat data, st;

    if (stat(p->data_dir, &data) < 0)
        return failed(ret, -errno, "look at", p->data_dir);
    if (!path_print(path, sizeof(path), ret, p->data_dir, "PG_VERSION"))
        return -1;
    if (access(path, F_OK) < 0)
        return failed(ret, -errno, "find", path);
    if (p->wal && !path_print(path, sizeof(path), ret, p->data_dir, "pg_wal"))
        return -1;
    if (!p->wal && !text_copy(path, sizeof(path), p->data_dir))
        return impossible(ret, -ENAMETOOLONG, "use", p->data_dir);
    if (!realpath(path, dir) || stat(dir, &st) < 0)
        return failed(ret, -errno, "look at", path);
    if (p->wal && st.st_dev == data.st_dev) {
        ret->outcome = DISKPROBE_SAME;
        return -1;
    }
    return 0;
}

/* On one device and, where the kernel tells (Linux 5.8), in one mount: only one of two may be read-only. */
static bool same_file_system(const char *a, const char *b)
{
    struct stat a_st, b_st;
#ifdef STATX_MNT_ID
    struct statx a_stx, b_stx;

    if (statx(AT_FDCWD, a, 0, STATX_MNT_ID, &a_stx) == 0 && statx(AT_FDCWD, b, 0, STATX_MNT_ID, &b_stx) == 0 &&
        (a_stx.stx_mask & b_stx.stx_mask & STATX_MNT_ID) && a_stx.stx_mnt_id != b_stx.stx_mnt_id)
        return false;
#endif
    return stat(a, &a_st) == 0 && stat(b, &b_st) == 0 && a_st.st_dev == b_st.st_dev;
}

/* Beside the directory, unless that is elsewhere or not ours to write; a read-only one is the disk's failure. */
static int find_place(const struct diskprobe *p, char *path, size_t size, struct diskprobe_result *ret)
{
    char dir[PATH_MAX], above[PATH_MAX];
    const char *name;
    char *slash;

    if (find_directory(p, dir, ret) < 0)
        return -1;
    slash = strrchr(dir, '/');
    name = slash + 1;
    (void)text_print(above, sizeof(above), "%.*s", slash == dir ? 1 : (int)(slash - dir), dir);
    if (same_file_system(dir, above) && (access(above, W_OK | X_OK) == 0 || errno == EROFS) &&
        text_print(path, size, "%.*s/.pgtether.probe.%s", (int)(slash - dir), dir, name))
        return 0;
    return path_print(path, size, ret, dir, "pgsql_tmp.pgtether.probe") ? 0 : -1;
}

/* --- the block ------------------------------------------------------------------------------------------------------
 */

/* What the disk wants; 4096 where the kernel (before 6.1) or the file system does not say. */
static void find_block_size(struct diskprobe *p, int fd)
{
    p->block_bytes = BLOCK_BYTES_MIN;
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) < 0 || !(stx.stx_mask & STATX_DIOALIGN))
        return;
    if (stx.stx_dio_offset_align == 0 || stx.stx_dio_offset_align > BLOCK_BYTES_MAX ||
        stx.stx_dio_mem_align > BLOCK_BYTES_MAX)
        p->buffered = true;
    else if (stx.stx_dio_offset_align > BLOCK_BYTES_MIN)
        p->block_bytes = stx.stx_dio_offset_align;
#else
    (void)fd;
#endif
}

static int open_file(struct diskprobe *p, const char *path)
{
    int flags = O_RDWR | O_CREAT | O_DSYNC | O_NOFOLLOW | O_CLOEXEC;
    int fd = open(path, p->buffered ? flags : flags | O_DIRECT, 0600);

    if (fd >= 0 || errno != EINVAL || p->buffered)
        return fd;
    p->buffered = true;
    return open(path, flags, 0600);
}

/* No two probes write the same, so an old block that is read back is noticed. */
static void fill_block(struct diskprobe *p)
{
    uint64_t stamp[2] = {++p->count, clock_now_us()};

    for (size_t at = 0; at < p->block_bytes; at += sizeof(stamp))
        memcpy(p->block + at, stamp, sizeof(stamp));
}

static int write_block(struct diskprobe *p, int fd)
{
    ssize_t n = pwrite(fd, p->block, p->block_bytes, 0);

    if (n < 0)
        return -errno;
    return (size_t)n == p->block_bytes ? 0 : -ENOSPC; /* a short write: there was no room for the rest */
}

/* 0, -errno, or 1 if it is not what was written. */
static int read_block(struct diskprobe *p, int fd)
{
    unsigned char first[16];
    ssize_t n;

    memcpy(first, p->block, sizeof(first));
    memset(p->block, 0, p->block_bytes);
    if (p->buffered)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    n = pread(fd, p->block, p->block_bytes, 0);
    if (n < 0)
        return -errno;
    if ((size_t)n != p->block_bytes)
        return 1;
    for (size_t at = 0; at < p->block_bytes; at += sizeof(first))
        if (memcmp(p->block + at, first, sizeof(first)) != 0)
            return 1;
    return 0;
}

static int write_and_read(struct diskprobe *p, const char *path, int fd, struct diskprobe_result *ret)
{
    uint64_t begun_us;
    int r;

    fill_block(p);
    begun_us = clock_now_us();
    r = write_block(p, fd);
    if (r < 0)
        return failed(ret, r, "write", path);
    r = read_block(p, fd);
    if (r < 0)
        return failed(ret, r, "read", path);
    ret->latency_us = clock_now_us() - begun_us;
    if (r == 0)
        return 0;
    ret->outcome = DISKPROBE_BAD;
    return err_set(&ret->err, -EIO, "read other bytes from \"%s\" than were written", path);
}

void diskprobe_run(struct diskprobe *p, struct diskprobe_result *ret)
{
    CLEANUP(closep) int fd = -1;
    char path[sizeof(p->path)];

    *ret = (struct diskprobe_result){.outcome = DISKPROBE_GOOD};
    if (find_place(p, path, sizeof(path), ret) < 0)
        return;
    if (p->path[0] && strcmp(p->path, path) != 0)
        (void)unlink(p->path);
    fd = open_file(p, path);
    if (fd < 0) {
        (void)failed(ret, -errno, "open", path);
        return;
    }
    (void)text_copy(p->path, sizeof(p->path), path);
    find_block_size(p, fd);
    /* Some file systems notice only now that O_DIRECT is not for them. */
    if (write_and_read(p, path, fd, ret) == -EINVAL && !p->buffered) {
        closep(&fd);
        p->buffered = true;
        *ret = (struct diskprobe_result){.outcome = DISKPROBE_GOOD};
        fd = open_file(p, path);
        if (fd < 0)
            (void)failed(ret, -errno, "open", path);
        else
            (void)write_and_read(p, path, fd, ret);
    }
}
