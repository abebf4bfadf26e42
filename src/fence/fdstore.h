/*
 * The service manager's store of descriptors (systemd, "File Descriptor Store"): what is in it outlives this process
 * and is handed to its successor. The watchdog is put there, so that a successor pets on what a second open would be
 * refused (EBUSY), and a device without magic close is not stopped by a crash.
 *
 * As long as the store has a copy, closing ours closes nothing: the device would tick on unpetted. So it is taken out
 * first, and ours is closed only when the manager has confirmed that (BARRIER=1). Nothing here waits or allocates.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "fence/notify.h"

#define FDSTORE_WATCHDOG "watchdog"

struct fdstore {
    const struct notify *notify;
    bool stored;     /* the manager may have a copy */
    bool taken_out;  /* it was told to drop it */
    int barrier_fd;  /* readable (hung up) when the manager has read that; -1 = not asked */
    int inherited;   /* what a predecessor has left under our name; the owner takes it; -1 = nothing */
    unsigned others; /* how many more there were */
};

/*
 * Before anything else opens a descriptor: takes what the manager passed on (LISTEN_FDS, LISTEN_FDNAMES, if LISTEN_PID
 * is us) under our name, and closes the rest. `stale` is called for every further one of that name, and closes it.
 */
void fdstore_open(struct fdstore *s, const struct notify *notify, void (*stale)(void *ctx, int kept, int fd),
                  void *ctx);

/* Has the store keep a copy of fd; call it again and again, it sends what was not sent yet. */
void fdstore_keep(struct fdstore *s, int fd);
/* Has the store drop it. Returns true when it is known to have none; until then ask again. */
bool fdstore_drop(struct fdstore *s);
void fdstore_close(struct fdstore *s);
