#include "fence/tree.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/text.h"

/* What is needed of /proc/PID/stat, see proc_pid_stat(5). */
struct stat_line {
    pid_t parent;
    uint64_t tty, threads, start;
    char state;
    bool named_postgres;
};

/* getdents64(2); libc declares it only with its own directory streams, which allocate. */
struct entry {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

int tree_open(struct tree *t, struct err *err)
{
    t->count = t->in_scope = 0;
    t->is_root = geteuid() == 0;
    t->proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return t->proc_fd < 0 ? err_sys(err, -errno, "could not open \"/proc\"") : 0;
}

void tree_close(struct tree *t)
{
    closep(&t->proc_fd);
}

/* Number n of the blank-separated fields behind the command name, 0 = state; -1 as UINT64_MAX. */
static bool stat_number(const char *fields, unsigned n, uint64_t *ret)
{
    char digits[24];
    size_t len;

    for (; n > 0; n--) {
        fields = strchr(fields, ' ');
        if (!fields)
            return false;
        fields++;
    }
    len = strcspn(fields, " \n");
    if (len >= sizeof(digits))
        return false;
    memcpy(digits, fields, len);
    digits[len] = '\0';
    return text_to_u64(digits, ret);
}

static bool parse_stat(char *line, struct stat_line *ret)
{
    char *name = strchr(line, '('), *end = strrchr(line, ')'); /* the name may hold anything, ") 1 (" too */
    uint64_t parent;

    if (!name || !end || end < name || end[1] != ' ' || end[2] == '\0')
        return false;
    *end = '\0';
    ret->named_postgres = strstr(name, "postgres") || strstr(name, "postmaster");
    ret->state = end[2];
    if (!stat_number(end + 2, 1, &parent) || !stat_number(end + 2, 17, &ret->threads) ||
        !stat_number(end + 2, 19, &ret->start))
        return false;
    if (!stat_number(end + 2, 4, &ret->tty))
        ret->tty = 0; /* may be negative where device numbers are large; then we do not spare it */
    ret->parent = (pid_t)parent;
    return true;
}

/* Returns 1, 0 if the process is gone, or -errno. */
static int read_stat(int dir_fd, const char *path, struct stat_line *ret)
{
    CLEANUP(closep) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
    char line[1024];
    ssize_t n;

    if (fd >= 0)
        n = read(fd, line, sizeof(line) - 1);
    if (fd < 0 || n < 0)
        return errno == ENOENT || errno == ESRCH ? 0 : -errno;
    line[n] = '\0';
    return parse_stat(line, ret) ? 1 : -EPROTO;
}

/* A thread group whose first thread has ended shows as a zombie while the others go on. */
static bool is_dead(const struct stat_line *s)
{
    return (s->state == 'Z' || s->state == 'X') && s->threads <= 1;
}

/* Returns 0 or 1, or -errno if that cannot be read although the process exists. */
static int works_in(int proc_fd, const char *pid, const char *dir)
{
    static const char deleted[] = " (deleted)";
    char path[32], cwd[4096 + sizeof(deleted)];
    size_t dir_len = strlen(dir);
    ssize_t n;

    if (!text_print(path, sizeof(path), "%s/cwd", pid))
        return 0;
    n = readlinkat(proc_fd, path, cwd, sizeof(cwd));
    if (n < 0)
        return errno == EACCES ? -errno : 0;
    if ((size_t)n < dir_len || memcmp(cwd, dir, dir_len) != 0)
        return 0;
    n -= (ssize_t)dir_len;
    return n == 0 || (n == sizeof(deleted) - 1 && memcmp(cwd + dir_len, deleted, sizeof(deleted) - 1) == 0);
}

static bool is_spared(const struct tree_scope *s, pid_t pid)
{
    for (size_t i = 0; i < ARRAY_LEN(s->spared); i++)
        if (s->spared[i] && s->spared[i] == pid)
            return true;
    return pid == s->keeper;
}

static bool kill_process(const struct tree *t, const struct tree_process *p)
{
    CLEANUP(closep) int fd = -1;
    struct stat_line stat;
    char name[16];

    (void)text_print(name, sizeof(name), "%d", (int)p->pid);
    /* The directory is the identity: signals through it reach this process or none. */
    fd = openat(t->proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || read_stat(fd, "stat", &stat) <= 0 || stat.start != p->start)
        return false;
    if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0)
        return true;
    return errno == ENOSYS && kill(p->pid, SIGKILL) == 0;
}

static int add_process(struct tree *t, const struct tree_scope *scope, const char *name)
{
    struct tree_process *p = &t->processes[t->count];
    struct stat_line stat;
    char path[32];
    uint32_t pid;
    int r;

    if (!text_to_u32(name, &pid) || !text_print(path, sizeof(path), "%s/stat", name))
        return 0;
    r = read_stat(t->proc_fd, path, &stat);
    if (r <= 0 || is_dead(&stat))
        return r < 0 ? r : 0;
    if (t->count == TREE_PROCESSES_MAX)
        return -E2BIG;
    *p = (struct tree_process){.pid = (pid_t)pid, .parent = stat.parent, .start = stat.start};
    t->count++;
    if (is_spared(scope, p->pid))
        return 0;
    p->in_scope = p->pid == scope->postmaster || p->parent == scope->keeper;
    if (!p->in_scope && (stat.tty == 0 || stat.named_postgres)) {
        int works = works_in(t->proc_fd, name, scope->data_dir);

        /* Root without CAP_SYS_PTRACE: it may be ours, so nothing is proven. What another user runs is not ours. */
        if (works < 0 && t->is_root && stat.named_postgres)
            return works;
        p->in_scope = works == 1;
    }
    if (p->in_scope && scope->kill_on_sight)
        (void)kill_process(t, p);
    return 0;
}

static int read_processes(struct tree *t, const struct tree_scope *scope)
{
    t->count = 0;
    if (lseek(t->proc_fd, 0, SEEK_SET) < 0)
        return -errno;
    for (;;) {
        long n = syscall(SYS_getdents64, t->proc_fd, t->entries, sizeof(t->entries));

        if (n <= 0)
            return n < 0 ? -errno : 0;
        for (long at = 0; at < n;) {
            struct entry head;
            int r;

            memcpy(&head, t->entries + at, offsetof(struct entry, name));
            r = add_process(t, scope, t->entries + at + offsetof(struct entry, name));
            if (r < 0)
                return r;
            at += head.reclen;
        }
    }
}

static const struct tree_process *find_process(const struct tree *t, pid_t pid)
{
    size_t low = 0, high = t->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (t->processes[middle].pid < pid)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->count && t->processes[low].pid == pid ? &t->processes[low] : NULL;
}

/* Parents have smaller pids than their children except after a wrap-around, so one or two passes are enough. */
static void add_descendants(struct tree *t, const struct tree_scope *scope)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < t->count; i++) {
            struct tree_process *p = &t->processes[i];
            const struct tree_process *parent;

            if (p->in_scope || is_spared(scope, p->pid))
                continue;
            parent = find_process(t, p->parent);
            if (parent && parent->in_scope)
                p->in_scope = more = true;
        }
    }
}

int tree_scan(struct tree *t, const struct tree_scope *scope, struct err *err)
{
    int r = read_processes(t, scope);

    /* What was found is marked in any case: killing does not need the whole picture, only the proof does. */
    add_descendants(t, scope);
    t->in_scope = 0;
    for (size_t i = 0; i < t->count; i++)
        t->in_scope += t->processes[i].in_scope;
    if (r < 0)
        return err_sys(err, r, "could not read the process table");
    return (int)t->in_scope;
}

int tree_kill(struct tree *t)
{
    int sent = 0;

    for (size_t i = 0; i < t->count; i++)
        if (t->processes[i].in_scope && kill_process(t, &t->processes[i]))
            sent++;
    return sent;
}

bool tree_has(const struct tree *t, pid_t pid)
{
    const struct tree_process *p = find_process(t, pid);

    return p && p->in_scope;
}
