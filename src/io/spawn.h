/*
 * The start of a child process: fork, everything between fork and execve, and how a failure there is reported.
 * Private to src/io; child.h is the interface.
 */
#pragma once
#include <sys/types.h>
#include "io/child.h"

struct spawned {
    pid_t pid;
    int pidfd;
    int error_fd;  /* gives one struct err if execve was not reached, the end of file otherwise */
    int output_fd; /* what it writes, non-blocking; -1 if that goes to a file */
};

/* Uses argv, env, env_unset, cwd, cgroup_procs, input, output_path and new_session of *spec. Returns 0 or -errno. */
int spawn(const struct child_spec *spec, struct spawned *ret, struct err *err);

/* To be called when the child has ended: true and *ret filled if it did not get as far as execve. */
bool spawn_failed(const struct spawned *s, struct err *ret);

/* Closes the descriptors. */
void spawned_done(struct spawned *s);
