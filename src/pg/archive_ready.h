/*
 * WAL that was complete but not archived when a primary ended. Its successor had the same WAL as a standby and does not
 * archive it, and pg_rewind removes it: unless it is archived before, the archive has a hole for ever. So the server's
 * archive_command is run for each such file, as the archiver would.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "config/config.h"

struct archive_report {
    size_t n_archived, n_left;
    char problem[160]; /* why some are left; "" = none is */
};

typedef void (*archive_ready_fn)(void *userdata, const struct archive_report *report);

struct archive_ready;
/* The server must be down. `done` may free it; it is not called when this fails. */
int archive_ready_start(sd_event *loop, const struct config *config, const char *cgroup_procs, archive_ready_fn done,
                        void *userdata, struct archive_ready **ret, struct err *err);
struct archive_ready *archive_ready_free(struct archive_ready *a); /* cancels; NULL is fine */

/* Pure: the command with %p, %f and %% replaced; false if it does not fit. */
bool archive_command_for(const char *command, const char *file, char *buf, size_t size);
/* Pure: "000000010000000000000003.ready" names the file in front of it; false for any other name. */
bool archive_ready_name(const char *entry, char *buf, size_t size);
