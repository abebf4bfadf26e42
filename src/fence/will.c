#include "fence/will.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/bootid.h"
#include "base/text.h"

static const char magic[8] = "pgtwill2";

enum { ARMED = 1, SERVES_PRIMARY = 2 };

/* A record whose two counters differ was being written when its writer died. */
struct will_record {
    char magic[sizeof(magic)];
    char boot_id[BOOT_ID_SIZE];
    _Atomic uint64_t begun, done;
    uint64_t armed; /* ARMED, SERVES_PRIMARY */
    uint64_t lease_id, deadline_us, reset_us, timeout_us;
};

static enum will_found read_record(const struct will_record *r, const char *boot_id, struct will *ret)
{
    static const char empty[sizeof(magic)];

    if (memcmp(r->magic, empty, sizeof(empty)) == 0)
        return WILL_NONE; /* new, or its maker died before it could arm anything */
    if (memcmp(r->magic, magic, sizeof(magic)) != 0)
        return WILL_UNKNOWN;
    if (strncmp(r->boot_id, boot_id, sizeof(r->boot_id)) != 0)
        return WILL_NONE;
    if (r->begun != r->done)
        return WILL_UNKNOWN;
    *ret = (struct will){.armed = r->armed != 0,
                         .serves_primary = (r->armed & SERVES_PRIMARY) != 0,
                         .lease_id = r->lease_id,
                         .deadline_us = r->deadline_us,
                         .reset_us = r->reset_us,
                         .timeout_us = r->timeout_us};
    return WILL_VALID;
}

static bool is_in_memory(int dir_fd)
{
    struct statfs fs;

    return fstatfs(dir_fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/* FNV-1a: run_dir may be longer than a file name. */
static uint64_t hash(const char *s)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * UINT64_C(1099511628211);
    return h;
}

/*
 * Where run_dir is on a disk: a file in /dev/shm, named after the directory it stands for. The name is not enough to
 * tell its maker, so open_file() looks at the owner.
 */
static int open_elsewhere(const char *dir, char *name, size_t size)
{
    int fd = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0 && is_in_memory(fd) && text_print(name, size, "pgtether-%016" PRIx64 ".state", hash(dir)))
        return fd;
    closep(&fd);
    return -1;
}

static int open_file(struct will_file *w, int dir_fd, const char *dir, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    struct stat st;
    int stolen;

    (void)text_copy(w->name, sizeof(w->name), "keeper.state");
    if (is_in_memory(dir_fd)) {
        w->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
    } else {
        w->dir_fd = open_elsewhere(dir, w->name, sizeof(w->name));
        if (w->dir_fd < 0)
            return err_set(err, -ENOTSUP,
                           "run_dir is not in memory: if this keeper dies, its successor has to kill PostgreSQL\n"
                           "HINT: Set run_dir to a directory below /run.");
    }
    fd = openat(w->dir_fd, w->name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, -errno, "could not open \"%s\"", w->name);
    /* Others may write to the directory: take only what a keeper made. */
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1 ||
        ftruncate(fd, sizeof(struct will_record)) < 0)
        return err_set(err, -EPERM, "\"%s\" is not a file of the keeper", w->name);
    stolen = fd;
    fd = -1;
    return stolen;
}

int will_open(struct will_file *w, int dir_fd, const char *dir, enum will_found *ret_found, struct will *ret,
              struct err *err)
{
    CLEANUP(closep) int fd = -1;
    char boot_id[BOOT_ID_SIZE] = "";
    void *map;

    *w = (struct will_file){.dir_fd = -1};
    *ret_found = WILL_UNKNOWN;
    *ret = (struct will){0};
    fd = open_file(w, dir_fd, dir, err);
    if (fd < 0)
        return fd;
    if (boot_id_read(boot_id, sizeof(boot_id)) < 0)
        return err_set(err, -EIO, "could not read the boot id");
    /* Populated now: in memory, but not yet there, it could still have to be fetched from swap. */
    map = mmap(NULL, sizeof(struct will_record), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (map == MAP_FAILED)
        return err_sys(err, -errno, "could not map \"keeper.state\"");
    w->map = map;
    *ret_found = read_record(w->map, boot_id, ret);
    if (*ret_found != WILL_VALID) {
        w->map->begun = w->map->done = 0;
        (void)text_copy(w->map->boot_id, sizeof(w->map->boot_id), boot_id);
    }
    return 0;
}

void will_write(struct will_file *w, const struct will *will)
{
    struct will_record *r = w->map;

    if (!r)
        return;
    r->begun++;
    atomic_thread_fence(memory_order_seq_cst);
    r->armed = will->armed ? ARMED | (will->serves_primary ? SERVES_PRIMARY : 0U) : 0U;
    r->lease_id = will->lease_id;
    r->deadline_us = will->deadline_us;
    r->reset_us = will->reset_us;
    r->timeout_us = will->timeout_us;
    memcpy(r->magic, magic, sizeof(magic));
    atomic_thread_fence(memory_order_seq_cst);
    r->done++;
}

void will_close(struct will_file *w, bool forget)
{
    if (forget && w->dir_fd >= 0)
        (void)unlinkat(w->dir_fd, w->name, 0);
    if (w->map)
        (void)munmap(w->map, sizeof(struct will_record));
    w->map = NULL;
    closep(&w->dir_fd);
}
