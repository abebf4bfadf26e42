/*
 * <run_dir>/<scope>-<name>/, where keeper and agent of one instance find each other's traces:
 *
 *   keeper.lock   locked by the keeper: one keeper per instance
 *   keeper.state  the keeper's record of the lease, fence/will.h
 *   agent.lock    locked by the agent, with its pid inside: one agent per instance
 *
 * The directory belongs to the agent's user, so nothing in it is trusted further than that user is.
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>
#include "base/core.h"
#include "fence/settings.h"
#include "fence/spawn.h"

struct rundir {
    char path[SETTINGS_DIR_SIZE + 2 * SETTINGS_NAME_SIZE];
    int dir_fd, lock_fd;
};

/* "scope-name" as a file name. */
bool rundir_instance_name(const struct keeper_settings *s, char *dst, size_t size);

/* Makes the directory and takes the keeper's lock: -EBUSY if another keeper has it. All may wait for the disk. */
int rundir_open(struct rundir *r, const struct keeper_settings *s, const struct spawn_user *user, struct err *err);
void rundir_close(struct rundir *r);

/*
 * Kills an agent that a dead predecessor left behind, and waits until it is gone, for 10 s at most. `program` is its
 * path: who holds the lock but runs something else is not killed (-EBUSY after 3 s, in which one that was dying anyway
 * would be gone). *ret_pid is the killed pid, 0 if there was no agent, or none was left to kill.
 */
int rundir_remove_agent(const struct rundir *r, const char *program, pid_t *ret_pid, struct err *err);
