#include "pg/proc.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/core.h"
#include "base/text.h"

static void closedirp(DIR **d)
{
    if (*d)
        (void)closedir(*d);
    *d = NULL;
}

/* The beginning of a file of procfs; false if it cannot be read. */
static bool read_start(const char *path, char *buf, size_t size)
{
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    n = read(fd, buf, size - 1);
    if (n < 0)
        return false;
    buf[n] = '\0';
    return true;
}

static bool base_is_postgres(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;

    return text_equal(base, "postgres") || text_equal(base, "postmaster") || text_equal(base, "postgres (deleted)");
}

static bool read_link(pid_t pid, const char *what, char *buf, size_t size)
{
    char path[64];
    ssize_t n;

    (void)text_print(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    n = readlink(path, buf, size - 1);
    buf[n > 0 ? n : 0] = '\0';
    return n > 0;
}

int proc_read(pid_t pid, struct proc *ret)
{
    char path[64], stat_text[512], exe[PATH_MAX];
    struct proc p = {.pid = pid};
    char *comm, *rest;
    unsigned long long started_ticks = 0;
    int terminal = 0;
    struct stat st;
    char state;

    (void)text_print(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (pid <= 0 || stat(path, &st) < 0 || !read_start(path, stat_text, sizeof(stat_text)))
        return -ESRCH;
    /* proc(5): "pid (comm) state …"; comm may contain anything, so the last parenthesis counts. Fields 3, 7 and 22. */
    comm = strchr(stat_text, '(');
    rest = strrchr(stat_text, ')');
    if (!comm || !rest ||
        sscanf(rest + 1, " %c %*d %*d %*d %d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state,
               &terminal, &started_ticks) != 3)
        return -ESRCH;
    *rest = '\0';
    p.uid = st.st_uid;
    p.zombie = state == 'Z' || state == 'X';
    p.has_terminal = terminal != 0;
    p.started_s = (int64_t)time(NULL) - (int64_t)(clock_now_us() / USEC_PER_SEC) +
                  (int64_t)(started_ticks / (unsigned long long)sysconf(_SC_CLK_TCK));
    p.is_postgres = read_link(pid, "exe", exe, sizeof(exe)) ? base_is_postgres(exe) : base_is_postgres(comm + 1);
    (void)read_link(pid, "cwd", p.cwd, sizeof(p.cwd));
    *ret = p;
    return 0;
}

bool proc_is_in(const struct proc *p, const char *dir)
{
    size_t len = strlen(dir);

    return len > 0 && strncmp(p->cwd, dir, len) == 0 && (!p->cwd[len] || text_equal(p->cwd + len, " (deleted)"));
}

size_t proc_each_in(const char *dir, bool (*fn)(void *userdata, const struct proc *p), void *userdata)
{
    CLEANUP(closedirp) DIR *d = opendir("/proc");
    struct dirent *entry;
    size_t n = 0;

    while (d && (entry = readdir(d))) {
        struct proc p;
        uint32_t pid;

        if (!text_to_u32(entry->d_name, &pid))
            continue;
        if (proc_read((pid_t)pid, &p) == 0 && !p.zombie && proc_is_in(&p, dir) && fn(userdata, &p))
            n++;
    }
    return n;
}

void proc_cgroup(pid_t pid, char *buf, size_t size)
{
    char path[64], text[PATH_MAX];
    char *rest = text, *line;

    (void)text_copy(buf, size, "");
    (void)text_print(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    if (!read_start(path, text, sizeof(text)))
        return;
    while ((line = strsep(&rest, "\n")))
        if (text_starts_with(line, "0::"))
            (void)text_copy(buf, size, line + 3);
}

void proc_service_of(const char *cgroup, char *buf, size_t size)
{
    static const char suffix[] = ".service";

    (void)text_copy(buf, size, "");
    while (*cgroup) {
        size_t len = strcspn(cgroup, "/");

        if (len > strlen(suffix) && strncmp(cgroup + len - strlen(suffix), suffix, strlen(suffix)) == 0)
            (void)text_print(buf, size, "%.*s", (int)len, cgroup);
        cgroup += len;
        cgroup += strspn(cgroup, "/");
    }
}
