/* Other processes as /proc shows them: who runs in a data directory. Reads no disk but procfs. */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc {
    pid_t pid;
    uid_t uid;
    bool zombie;
    bool has_terminal;  /* somebody works there by hand */
    bool is_postgres;   /* the program is called postgres */
    int64_t started_s;  /* Unix time */
    char cwd[PATH_MAX]; /* "" if we may not know */
};

/* 0, or -ESRCH if there is no such process. */
int proc_read(pid_t pid, struct proc *ret);

/* Working directory is `dir` (a resolved path), also when the directory was removed under the process. */
bool proc_is_in(const struct proc *p, const char *dir);

/* Calls fn for every process that is in `dir` and no zombie; returns how many fn said true for. */
size_t proc_each_in(const char *dir, bool (*fn)(void *userdata, const struct proc *p), void *userdata);

/* Path of the process's cgroup (version 2), "" if unknown. */
void proc_cgroup(pid_t pid, char *buf, size_t size);
/* The systemd service in a cgroup path: "postgresql@15-main.service" of "/system.slice/…/postgresql@15-main.service";
 * "" if it is in none. */
void proc_service_of(const char *cgroup, char *buf, size_t size);
