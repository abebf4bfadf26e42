/*
 * PostgreSQL's lock files: postmaster.pid in the data directory and ".s.PGSQL.<port>.lock" beside the socket.
 * PostgreSQL itself clears those whose process is gone; it gives up when the process id belongs to anything else of the
 * same user, as it can after a reboot, or to a zombie. Those we clear.
 */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/core.h"
#include "pg/proc.h"

struct lockfile {
    pid_t pid;        /* 0: the file is empty, its writer crashed or the disk was full */
    bool single_user; /* a stand-alone backend, not a postmaster */
    char data_dir[PATH_MAX], socket_dir[PATH_MAX];
    int64_t started_s; /* Unix time */
    uint16_t port;     /* 0: not said */
};

/* 0, -ENOENT if there is none, -EBADMSG if it is something else, else -errno. */
int lockfile_read(const char *path, struct lockfile *ret, struct err *err);

/*
 * The same for postmaster.pid of a (resolved) data directory, whatever directory it names: it may be a copy. Returns 1,
 * 0 if there is none, else -errno.
 */
int lockfile_read_pid(const char *data_dir, struct lockfile *ret, struct err *err);

enum lockfile_holder {
    LOCKFILE_HELD,    /* by a live server in the data directory that the file names */
    LOCKFILE_DEAD,    /* no such process: PostgreSQL takes the file over by itself */
    LOCKFILE_MISTAKEN /* a zombie, or a process that is not that server */
};
/* *ret_proc is filled unless DEAD. */
enum lockfile_holder lockfile_holder(const struct lockfile *f, struct proc *ret_proc);

/*
 * Makes sure that nobody works in the data directory (-EBUSY), then removes a postmaster.pid that PostgreSQL would
 * stumble over. As long as the process in it is merely gone the file stays: PostgreSQL uses the shared memory key in it
 * to find backends that outlived their postmaster. *ret_socket_dir: the socket directory named in it, "" if none.
 */
int lockfile_clear_pid(const char *data_dir, char *ret_socket_dir, size_t size, struct err *err);

/*
 * Removes the lock file of the socket for `port` in `dir`, with its socket, if the process named in it is mistaken for
 * a server. Nothing to do is fine.
 */
int lockfile_clear_socket(const char *dir, uint16_t port, struct err *err);
