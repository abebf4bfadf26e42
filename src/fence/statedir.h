/*
 * <state_dir>/<scope>-<name>/, which survives a reset of the host:
 *
 *   last-rung          how far the keeper last had to go, and why; written by its scribe (fence/scribe.h)
 *   armed              the agent's: a lease was armed, or has ended in order
 *   fence-report.json  the agent's: what both made of it after a reset
 *   fence-guard        the agent's: this node was reset too often and stays out of elections
 *
 * Where state_dir cannot be made (not root), the directory is <data_dir>.pgtether-state. It belongs to the agent's
 * user.
 */
#pragma once
#include "base/core.h"
#include "fence/settings.h"
#include "fence/spawn.h"

struct statedir {
    char path[SETTINGS_DIR_SIZE + 2 * SETTINGS_NAME_SIZE + 32];
    int dir_fd; /* -1 = there is none */
};

/* Waits for the disk. Returns 0 or -errno: nothing will be remembered. */
int statedir_open(struct statedir *d, const struct keeper_settings *s, const struct spawn_user *user, struct err *err);
void statedir_close(struct statedir *d);
