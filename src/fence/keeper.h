/*
 * The keeper: the small privileged process that owns the watchdog and the right to kill (S3 to S6).
 *
 * Everything that may allocate, look up a name or wait for a disk happens before its loop. The loop has one clock
 * (CLOCK_BOOTTIME), one timer and a fixed set of descriptors; it reads what happened, lets fence/lease.h decide, and
 * does that.
 */
#pragma once
#include "base/core.h"
#include "fence/watchdog.h"

struct keeper_options {
    const char *config; /* path of the configuration file, passed on to the agent */
    const char *user;   /* NULL: postgres if we are root */
    const char *agent;  /* NULL: the installed one */
    bool check_config;
};

/* Runs until a signal or the agent ends it. Returns the exit status. */
int keeper_main(const struct keeper_options *options, const struct watchdog_ops *watchdog_ops, void *watchdog_ctx);
