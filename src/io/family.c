#include "io/family.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>
#include "base/core.h"
#include "base/text.h"

enum { FAMILY_MAX = 512, ROUNDS_MAX = 8 };

struct family {
    pid_t pid[FAMILY_MAX];
    int pidfd[FAMILY_MAX];
    size_t n;
};

static void closedirp(DIR **d)
{
    if (*d)
        (void)closedir(*d);
    *d = NULL;
}

/* proc_pid_stat(5): "pid (comm) state ppid …"; comm may contain anything, so the last parenthesis counts. */
static pid_t parent_of(const char *pid)
{
    CLEANUP(closep) int fd = -1;
    char path[64], text[512], *rest;
    ssize_t n;
    int parent;

    if (text_print(path, sizeof(path), "/proc/%s/stat", pid))
        fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (n <= 0)
        return 0;
    text[n] = '\0';
    rest = strrchr(text, ')');
    return rest && sscanf(rest + 1, " %*c %d", &parent) == 1 ? (pid_t)parent : 0;
}

static bool is_in(const struct family *f, pid_t pid)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->pid[i] == pid)
            return true;
    return false;
}

/* Stopped before it is looked for its children; held by descriptor, since its number may be given to others. */
static bool take(struct family *f, pid_t pid)
{
    int fd = f->n < FAMILY_MAX ? pidfd_open(pid, 0) : -1;

    if (fd < 0)
        return false;
    (void)pidfd_send_signal(fd, SIGSTOP, NULL, 0);
    f->pid[f->n] = pid;
    f->pidfd[f->n++] = fd;
    return true;
}

/* Returns whether somebody new was found. */
static bool look(struct family *f)
{
    CLEANUP(closedirp) DIR *proc = opendir("/proc");
    const struct dirent *entry;
    bool found = false;

    while (proc && (entry = readdir(proc))) {
        uint32_t pid;

        if (!text_to_u32(entry->d_name, &pid) || is_in(f, (pid_t)pid) || !is_in(f, parent_of(entry->d_name)))
            continue;
        found = take(f, (pid_t)pid) || found;
    }
    return found;
}

unsigned family_kill(pid_t root)
{
    struct family f = {.n = 0};
    unsigned sent = 0;

    if (!take(&f, root))
        return 0;
    for (int i = 0; i < ROUNDS_MAX && look(&f); i++)
        ;
    for (size_t i = f.n; i-- > 0;) {
        sent += pidfd_send_signal(f.pidfd[i], SIGKILL, NULL, 0) == 0;
        (void)close(f.pidfd[i]);
    }
    return sent;
}
