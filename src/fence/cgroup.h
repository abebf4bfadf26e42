/*
 * The control groups of a node, where cgroup v2 is delegated to us: membership that no process can leave by forking.
 *
 *   <own group of the keeper>/pgtether-<scope>-<name>/     "node": what is inside dies with the node
 *       agent/                                             the agent and what it starts
 *       pg/                                                PostgreSQL: the agent's children move themselves there
 *
 * The names are stable, so a successor keeper finds what its predecessor left. Descriptors are opened at start; after
 * that nothing here allocates or looks up a path. Rules: Linux kernel, Documentation/admin-guide/cgroup-v2.rst.
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>
#include "base/core.h"

enum cgroup_which { CGROUP_NODE, CGROUP_AGENT, CGROUP_PG, CGROUP_COUNT };
enum { CGROUP_PATH_SIZE = 4096 };

struct cgroup {
    int dir_fd, events_fd, procs_fd;
    int kill_fd;   /* -1 before Linux 5.14 */
    int freeze_fd; /* -1 before Linux 5.2 */
};

struct cgroups {
    bool usable;                 /* else nothing here does anything and nothing is ever populated */
    char path[CGROUP_PATH_SIZE]; /* of the node's group */
    struct cgroup groups[CGROUP_COUNT];
};

/*
 * Makes the groups; the user gets the right to move his processes between them. Returns 0 or -errno, then `usable` is
 * false: no cgroup2 is mounted, or we may not write there.
 */
int cgroups_open(struct cgroups *c, const char *scope, const char *name, const char *data_dir, uid_t uid, gid_t gid,
                 struct err *err);

/* Removes the groups if they are empty. */
void cgroups_close(struct cgroups *c);

/* SIGKILL to every process of the group and those below it. Returns 0 or -errno. */
int cgroups_kill(struct cgroups *c, enum cgroup_which which, struct err *err);

/*
 * Is a process left in the group or below it, a zombie not counted? What cannot be read counts as yes, but a group that
 * was removed under us has no process and gets none.
 */
bool cgroups_populated(const struct cgroups *c, enum cgroup_which which);

/*
 * For the keeper's own start: the group of this name that is found at `mount`, as the functions below print them. The
 * name is a path component: what is no letter, digit, dot, dash or underscore is written as %XX. A hash of the data
 * directory ends it: two instances of one name on one host (a test cluster beside another) must not kill each other.
 */
bool cgroup_name(char *dst, size_t size, const char *scope, const char *name, const char *data_dir);
