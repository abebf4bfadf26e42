/*
 * pgtetherd --test-watchdog: what watchdogs there are, which one the configuration names, what R would be; and with
 * --really-reset the measurement of R by a reset of this host. No keeper runs here: it prints, and it waits.
 */
#pragma once
#include <stdbool.h>
#include <stdio.h>
#include "fence/keeper.h"
#include "fence/watchdog.h"

struct watchdog_test {
    const struct keeper_options *options; /* config NULL: everything as if there were no file */
    const char *device;                   /* overrides the configuration; NULL = does not */
    const char *root;                     /* before /sys and /proc; "" but in tests */
    uint64_t ttl_us;                      /* that R has to fit */
    bool really_reset, yes;
    FILE *in, *out;
    const struct watchdog_ops *ops;
    void *ctx;
};

/* Returns the exit status: 0 if the device can be used and R fits the ttl, else 1. */
int watchdog_test_main(const struct watchdog_test *t);
