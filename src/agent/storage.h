/*
 * The probes of the disks under PostgreSQL: one child per file system (pgtether-probe), whose lines become a state with
 * hysteresis (model/storage.h). Nothing here waits for a disk: an answer that does not come expires, a child that hangs
 * in the kernel is left alone, and no second one is started beside it.
 *
 * Only what a probe says, or its silence, counts against a disk. That the probe cannot be started, or is not allowed to
 * write, is logged and no evidence.
 */
#pragma once
#include <stdbool.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "model/storage.h"

struct storage;

struct storage_settings {
    const char *program;  /* NULL: beside the agent's own */
    const char *data_dir; /* borrowed for as long as the object lives */
    struct storage_times times;
};

/* changed is called from the loop when the state of a disk has changed. */
int storage_new(sd_event *loop, const struct storage_settings *settings, void (*changed)(void *userdata),
                void *userdata, struct storage **ret, struct err *err);

/* Another interval restarts the children as soon as they answer. */
void storage_set_times(struct storage *s, const struct storage_times *times);

/* NULL if there is nothing to say: the WAL is on the disk of the data, or s is NULL. */
const struct storage_track *storage_track_of(const struct storage *s, bool wal);

/* NULL is fine, returns NULL. The children end by themselves, as soon as their disk lets them, and remove their file.
 */
struct storage *storage_free(struct storage *s);
DEFINE_CLEANUP(struct storage, storage_free)
