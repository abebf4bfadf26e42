/*
 * Who of the processes of this host belongs to the node, and killing them (S3).
 *
 * /proc is read as raw directory entries into static tables: no allocation, and only files that the kernel answers
 * without taking a lock that a hung process may hold (stat and the cwd link; not cmdline, maps, cgroup). A process is
 * named by pid and start time, so a signal never reaches another one that got the pid meanwhile.
 *
 * What a scan can miss: a process that was forked into a part of /proc that had been read already, by a parent that
 * exited before it was read itself. Pids grow, so that needs a wrap-around at the right moment; callers want two empty
 * scans in a row, and a control group (fence/cgroup.h), where there is one, misses nothing.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/core.h"

/* Few names are read at a time, so that each is fresh when its turn comes. */
enum { TREE_PROCESSES_MAX = 32768, TREE_ENTRIES_BYTES = 512 };

struct tree_process {
    pid_t pid, parent;
    uint64_t start; /* in clock ticks since boot: with the pid the identity of a process */
    bool in_scope;
};

struct tree {
    int proc_fd;
    bool is_root;
    size_t count;
    size_t in_scope;                                   /* of the last scan */
    struct tree_process processes[TREE_PROCESSES_MAX]; /* ascending pids */
    char entries[TREE_ENTRIES_BYTES];
};

/*
 * In scope are, with all their descendants: the postmaster; every process that works in the data directory, as each
 * process of PostgreSQL does for all its life; every child of the keeper, which as subreaper is the parent of each
 * orphan of the node. Never in scope: the keeper itself, and the spared children as long as nothing else names them.
 *
 * A shell that an administrator left in the data directory is spared: it has a terminal and does not call itself
 * postgres.
 */
struct tree_scope {
    pid_t keeper;
    pid_t spared[4];      /* children of the keeper; 0 = none */
    pid_t postmaster;     /* 0 = not known */
    const char *data_dir; /* as the kernel prints it: absolute, without links */
    bool
        kill_on_sight; /* SIGKILL at the moment one is found: who forks and exits all the time is gone a little later */
};

int tree_open(struct tree *t, struct err *err);
void tree_close(struct tree *t);

/*
 * Finds the living processes in scope. Zombies are dead. Returns their number, or -errno if the picture is incomplete
 * (then nothing is proven): -E2BIG when the host has more processes than the table.
 */
int tree_scan(struct tree *t, const struct tree_scope *scope, struct err *err);

/* SIGKILL to what the last scan found; returns how many signals were sent. */
int tree_kill(struct tree *t);

/* Was this process in scope at the last scan? */
bool tree_has(const struct tree *t, pid_t pid);
