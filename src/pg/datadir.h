/*
 * Looks at a directory without touching the disk from the event loop: find(1) in a child process answers, or its
 * time-out says that the disk does not.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>
#include "base/core.h"

struct datadir_look {
    bool exists;
    bool is_empty;   /* nothing in it at all, as initdb and pg_basebackup want it */
    bool is_unused;  /* nothing in it that PostgreSQL wrote: only dot files and lost+found, or nothing */
    uid_t owner;     /* valid if it exists */
    mode_t mode;     /* permission bits */
    char sample[64]; /* name of one entry for messages; "" if is_empty */
};

/* outcome 0, or -errno with err: -ETIMEDOUT, -ENOTDIR, -EIO with find's words. look is borrowed until it returns. */
typedef void (*datadir_fn)(void *userdata, int outcome, const struct datadir_look *look, const struct err *err);

struct datadir;
int datadir_look_start(sd_event *loop, const char *path, uint64_t timeout_us, datadir_fn done, void *userdata,
                       struct datadir **ret, struct err *err);
struct datadir *datadir_free(struct datadir *d); /* cancels; NULL is fine */
