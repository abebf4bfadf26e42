/*
 * Hardware watchdog: the timer that resets this host once petting stops.
 *
 * Only the keeper opens it. An open watchdog is ticking: from then on the host survives only while it is petted in
 * time, whatever becomes of this process. When petting and stopping are allowed is said by fence/lease.h; this file
 * only does it. Nothing here allocates. Rules: Linux kernel, Documentation/watchdog/watchdog-api.rst.
 *
 * The system calls go through a table, so that tests and the simulator put a pretended device in their place.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/core.h"
#include "fence/protocol.h"

enum watchdog_mode {
    WATCHDOG_MODE_OFF,
    WATCHDOG_MODE_AUTOMATIC, /* used if it works; without it a primary runs unfenced by hardware, which is shown */
    WATCHDOG_MODE_REQUIRED,  /* no primary without it */
};

/* All return 0 (open: a descriptor; nowayout: 0 or 1) or -errno. */
struct watchdog_ops {
    int (*open)(void *ctx, const char *path);
    int (*control)(void *ctx, int fd, unsigned long request, void *arg);
    int (*write)(void *ctx, int fd, char byte);
    int (*close)(void *ctx, int fd);
    /* Can nothing stop the device once it ticks? Asked without opening it, since opening starts it. */
    int (*nowayout)(void *ctx, const char *path);
};
extern const struct watchdog_ops watchdog_linux;

enum { WATCHDOG_PATH_SIZE = 108, WATCHDOG_IDENTITY_SIZE = 33 };

struct watchdog_settings {
    enum watchdog_mode mode;
    char device[WATCHDOG_PATH_SIZE];
    uint64_t timeout_us; /* 0: from the ttl, watchdog_timeout_for() */
    uint64_t reset_us;   /* measured real reset time; 0: what the driver says. The larger of both counts. */
    uint64_t measured_timeout_us, measured_reset_us; /* by --really-reset; 0 = never */
};

struct watchdog {
    const struct watchdog_ops *ops;
    void *ctx;
    struct watchdog_settings settings;
    enum keeper_watchdog status;
    int fd;
    bool nowayout;    /* or unknown: stopping it would be a gamble with the host */
    bool magic_close; /* without it any close stops the device, also that of a crash */
    char identity[WATCHDOG_IDENTITY_SIZE];
    bool pretimeout;      /* the driver can warn before it resets */
    int error;            /* errno of the last failure, 0 while it works */
    uint64_t timeout_us;  /* what the driver granted; 0 while not ticking */
    uint64_t last_pet_us; /* read after the pet: the reset is not sooner than this + timeout */
};

void watchdog_init(struct watchdog *w, const struct watchdog_settings *settings, const struct watchdog_ops *ops,
                   void *ctx);

/*
 * Once at start: finds out whether the device can be stopped, and if it can and may_open is set (nothing is armed),
 * opens it, learns what it is and stops it again. *ret_was_reset says that the last boot was this watchdog's doing, as
 * far as the driver knows. Returns 0 also with mode off, and -errno when no watchdog is usable.
 */
int watchdog_probe(struct watchdog *w, bool may_open, bool *ret_was_reset, struct err *err);

/* The timeout to ask for when a lease has this long to live: a quarter to the nearest second, from 1 to 5 s. */
uint64_t watchdog_timeout_for(const struct watchdog *w, uint64_t rest_us);

/*
 * Opens, thereby starts, and sets the timeout; on a device that is ticking already it only sets the timeout. Drivers
 * round: calculate with watchdog_reset_us(). Returns 0, or -errno with status FAILED: the device may then be ticking,
 * and is stopped with watchdog_stop() by a caller who may do that (S4). With mode off -ENODEV.
 */
int watchdog_start(struct watchdog *w, uint64_t timeout_us, struct err *err);
/*
 * Takes over a device that a predecessor has opened and left ticking; fd is ours from then on. Neither pets nor sets
 * anything: whether that is allowed is another question. timeout_us is what it was set to, 0 = ask the driver.
 * Returns 0, or -ENOTTY if fd is no watchdog: it then still belongs to the caller.
 */
int watchdog_adopt(struct watchdog *w, int fd, uint64_t timeout_us, struct err *err);
int watchdog_pet(struct watchdog *w, struct err *err);
/*
 * The last pet of a keeper that is going to be replaced: with the longest timeout that the rest of the lease has room
 * for, so that its successor has time to start. It must not pet again. A successor sets the timeout that the will
 * names.
 */
int watchdog_pet_long(struct watchdog *w, uint64_t rest_us, struct err *err);

/*
 * Disarms and closes. Returns 0, or 1 if nothing can stop this device, or -errno if that was just found out: it then
 * stays open and must be petted on.
 * watchdog_abandon() closes without disarming, at the exit of the keeper: the host will be reset unless a successor
 * opens the device in time.
 */
int watchdog_stop(struct watchdog *w, struct err *err);
void watchdog_abandon(struct watchdog *w);

/* R with a timeout of this length. */
uint64_t watchdog_reset_for(const struct watchdog *w, uint64_t timeout_us);
/* From the last pet to the reset (R); 0 while it does not tick. */
uint64_t watchdog_reset_us(const struct watchdog *w);

/*
 * What would do when R and lease do not fit together (keeper_watchdog.c): the least ttl for this R; the longest timeout
 * for this ttl, 0 = none.
 */
uint64_t watchdog_least_ttl_s(uint64_t reset_us);
uint64_t watchdog_longest_timeout_s(uint64_t ttl_us);

const char *watchdog_mode_text(enum watchdog_mode mode);
bool watchdog_mode_from_text(const char *text, enum watchdog_mode *ret);
