/*
 * The keeper's last will: a record of the lease it has armed, for a successor if it dies.
 *
 * A page of a file that lives in memory (tmpfs) is mapped, so writing is a plain store: it cannot wait and needs no
 * disk (S6). On any other file system a dirty page may have to wait for the disk; then nothing is recorded, and a
 * successor that finds PostgreSQL running can only kill it.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/core.h"

struct will {
    uint64_t lease_id, deadline_us;
    uint64_t reset_us;   /* R of the watchdog that was left ticking, 0 = none */
    uint64_t timeout_us; /* what it was set to; R may be longer, and holds for this timeout only */
    bool armed;
    bool serves_primary; /* clients find the primary here: its addresses need not go for the change of keepers */
};

struct will_file {
    struct will_record *map; /* NULL: nothing is recorded */
    int dir_fd;
    char name[64];
};

enum will_found {
    WILL_NONE,    /* no keeper of this boot has left a record: nothing was ever armed */
    WILL_VALID,   /* what the predecessor knew */
    WILL_UNKNOWN, /* a predecessor may have armed a lease, but what it wrote cannot be used */
};

/*
 * Opens "keeper.state" in the directory (dir_fd, whose path is `dir`), or a file in /dev/shm if the directory is on a
 * disk, and says what a predecessor has left there. The file keeps that content until will_write(). Returns 0, or
 * -errno with WILL_UNKNOWN: nothing will be recorded.
 */
int will_open(struct will_file *w, int dir_fd, const char *dir, enum will_found *ret_found, struct will *ret,
              struct err *err);
void will_write(struct will_file *w, const struct will *will);
/* `forget` removes the file: there is nothing to inherit. */
void will_close(struct will_file *w, bool forget);
