#include "fence/cgroup.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"

static const char *const group_names[CGROUP_COUNT] = {
    [CGROUP_NODE] = ".",
    [CGROUP_AGENT] = "agent",
    [CGROUP_PG] = "pg",
};

static size_t put_escaped(char *dst, size_t size, size_t len, const char *s)
{
    for (; *s; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '.' ||
                     *s == '-' || *s == '_';
        int n = snprintf(dst + len, size - len, plain ? "%c" : "%%%02X", (unsigned char)*s);

        if (n < 0 || (size_t)n >= size - len)
            return size;
        len += (size_t)n;
    }
    return len;
}

/* FNV-1a: only to tell two directories apart, and the same after every start. */
static uint32_t hash(const char *s)
{
    uint32_t h = UINT32_C(2166136261);

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * UINT32_C(16777619);
    return h;
}

bool cgroup_name(char *dst, size_t size, const char *scope, const char *name, const char *data_dir)
{
    size_t len;

    if (!text_copy(dst, size, "pgtether-"))
        return false;
    len = put_escaped(dst, size, strlen(dst), scope);
    if (len + 1 < size)
        dst[len++] = '-';
    if (len < size)
        len = put_escaped(dst, size, len, name);
    if (len < size && !text_print(dst + len, size - len, "-%08x", hash(data_dir)))
        return false;
    return len < size && strlen(dst) <= NAME_MAX;
}

/* A short file of the kernel as a string; false if it is missing or longer. */
static bool read_file(const char *path, char *dst, size_t size)
{
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;

    if (fd < 0)
        return false;
    while (len < size - 1) {
        ssize_t n = read(fd, dst + len, size - 1 - len);

        if (n < 0)
            return false;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    dst[len] = '\0';
    return len < size - 1;
}

/* The mount point of the line "... MOUNT OPTIONS [TAGS] - cgroup2 ..." of mountinfo, proc_pid_mountinfo(5). */
static bool find_mount(char *dst, size_t size)
{
    static char text[262144];
    char *save = NULL;

    if (!read_file("/proc/self/mountinfo", text, sizeof(text)))
        return false;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char root[PATH_MAX], point[PATH_MAX];
        const char *type = strstr(line, " - ");

        if (!type || !text_starts_with(type, " - cgroup2 "))
            continue;
        /* A root other than "/" is a bind mount of a part; the path in /proc/self/cgroup would not fit below it. */
        if (sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) == 2 && text_equal(root, "/"))
            return text_copy(dst, size, point);
    }
    return false;
}

/* "0::/path" is the line of cgroup v2, cgroups(7). */
static bool find_own(char *dst, size_t size)
{
    char text[8192], *save = NULL;

    if (!read_file("/proc/self/cgroup", text, sizeof(text)))
        return false;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (text_starts_with(line, "0::/"))
            return text_copy(dst, size, text_equal(line, "0::/") ? "" : line + 3);
    return false;
}

static int open_group(struct cgroup *g, int node_fd, const char *name, struct err *err)
{
    g->dir_fd = openat(node_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (g->dir_fd >= 0)
        g->events_fd = openat(g->dir_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
    if (g->events_fd >= 0)
        g->procs_fd = openat(g->dir_fd, "cgroup.procs", O_RDWR | O_CLOEXEC);
    if (g->procs_fd < 0)
        return err_sys(err, -errno, "could not open control group \"%s\"", name);
    g->kill_fd = openat(g->dir_fd, "cgroup.kill", O_WRONLY | O_CLOEXEC);
    g->freeze_fd = openat(g->dir_fd, "cgroup.freeze", O_WRONLY | O_CLOEXEC);
    return 0;
}

static int make_group(int node_fd, const char *name, struct err *err)
{
    if (mkdirat(node_fd, name, 0755) < 0 && errno != EEXIST)
        return err_sys(err, -errno, "could not create control group \"%s\"", name);
    return 0;
}

static int make_groups(struct cgroups *c, uid_t uid, gid_t gid, struct err *err)
{
    CLEANUP(closep) int node_fd = -1;
    int r;

    r = make_group(AT_FDCWD, c->path, err);
    if (r < 0)
        return r;
    node_fd = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (node_fd < 0)
        return err_sys(err, -errno, "could not open control group \"%s\"", c->path);
    for (int i = 0; i < CGROUP_COUNT; i++) {
        r = i == CGROUP_NODE ? 0 : make_group(node_fd, group_names[i], err);
        if (r == 0)
            r = open_group(&c->groups[i], node_fd, group_names[i], err);
        if (r < 0)
            return r;
    }
    /* Moving a process takes the right to write here and in the common ancestor. */
    if (fchown(c->groups[CGROUP_PG].procs_fd, uid, gid) < 0 || fchown(c->groups[CGROUP_NODE].procs_fd, uid, gid) < 0)
        return err_sys(err, -errno, "could not give control group \"%s\" to the user", c->path);
    return 0;
}

static void close_groups(struct cgroups *c)
{
    for (int i = 0; i < CGROUP_COUNT; i++) {
        closep(&c->groups[i].events_fd);
        closep(&c->groups[i].procs_fd);
        closep(&c->groups[i].kill_fd);
        closep(&c->groups[i].freeze_fd);
        closep(&c->groups[i].dir_fd);
    }
    c->usable = false;
}

int cgroups_open(struct cgroups *c, const char *scope, const char *name, const char *data_dir, uid_t uid, gid_t gid,
                 struct err *err)
{
    char mount[PATH_MAX], own[PATH_MAX], group[NAME_MAX + 1];
    int r;

    *c = (struct cgroups){.usable = false};
    for (int i = 0; i < CGROUP_COUNT; i++)
        c->groups[i] = (struct cgroup){-1, -1, -1, -1, -1};
    if (!find_mount(mount, sizeof(mount)) || !find_own(own, sizeof(own)))
        return err_set(err, -ENOENT, "cgroup v2 is not available");
    if (!cgroup_name(group, sizeof(group), scope, name, data_dir) ||
        !text_print(c->path, sizeof(c->path), "%s%s/%s", mount, own, group))
        return err_set(err, -ENAMETOOLONG, "the name of the control group would be too long");
    r = make_groups(c, uid, gid, err);
    if (r < 0)
        close_groups(c);
    else
        c->usable = true;
    return r;
}

void cgroups_close(struct cgroups *c)
{
    int node_fd;

    if (!c->usable)
        return;
    node_fd = c->groups[CGROUP_NODE].dir_fd;
    (void)unlinkat(node_fd, group_names[CGROUP_AGENT], AT_REMOVEDIR);
    (void)unlinkat(node_fd, group_names[CGROUP_PG], AT_REMOVEDIR);
    (void)rmdir(c->path);
    close_groups(c);
}

static int write_flag(int fd, const char *value)
{
    return pwrite(fd, value, 1, 0) == 1 ? 0 : -errno;
}

/* Before Linux 5.14: one by one, after a freeze, so that no fork escapes. */
static int kill_members(struct cgroup *g)
{
    char text[4096], *line, *end;
    size_t kept = 0;
    ssize_t n;

    if (g->freeze_fd >= 0)
        (void)write_flag(g->freeze_fd, "1");
    if (lseek(g->procs_fd, 0, SEEK_SET) < 0)
        return -errno;
    while ((n = read(g->procs_fd, text + kept, sizeof(text) - 1 - kept)) > 0) {
        kept += (size_t)n;
        text[kept] = '\0';
        for (line = text; (end = strchr(line, '\n')); line = end + 1) {
            uint32_t pid;

            *end = '\0';
            if (text_to_u32(line, &pid) && pid > 1)
                (void)kill((pid_t)pid, SIGKILL);
        }
        kept = strlen(line);
        memmove(text, line, kept);
    }
    if (g->freeze_fd >= 0)
        (void)write_flag(g->freeze_fd, "0"); /* the dying do not need it, and who comes later must not be caught */
    return n < 0 ? -errno : 0;
}

int cgroups_kill(struct cgroups *c, enum cgroup_which which, struct err *err)
{
    int r = 0;

    if (!c->usable)
        return 0;
    if (c->groups[which].kill_fd >= 0) {
        r = write_flag(c->groups[which].kill_fd, "1");
    } else {
        /* cgroup.procs lists only direct members. */
        for (int i = 0; i < CGROUP_COUNT && r == 0; i++)
            if (which == CGROUP_NODE || i == (int)which)
                r = kill_members(&c->groups[i]);
    }
    return r < 0 ? err_sys(err, r, "could not kill control group \"%s\"", group_names[which]) : 0;
}

bool cgroups_populated(const struct cgroups *c, enum cgroup_which which)
{
    char text[256];
    ssize_t n;

    if (!c->usable)
        return false;
    n = pread(c->groups[which].events_fd, text, sizeof(text) - 1, 0);
    if (n < 0)
        return errno != ENODEV; /* somebody has removed the group, which the kernel allows only when it is empty */
    text[n] = '\0';
    return !strstr(text, "populated 0");
}
