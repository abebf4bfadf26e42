/*
 * The virtual addresses in a process of their own, for the keeper: adding or removing an address waits for the kernel's
 * rtnl lock, whoever holds it and however long (34 ms were seen while veth pairs came and went; a driver that resets
 * its card holds it for seconds), and the keeper waits for nobody (S6).
 *
 * What the keeper says goes through shared memory: a deadline for each kind of address, the last word counts, and
 * nothing can be lost or pile up. A byte on a socket wakes the worker. Its state can be read at any time, without a
 * guarantee that it belongs together, for display. A worker that is stuck, stopped or dead renews nothing, and the
 * kernel removes the addresses before the deadline.
 */
#pragma once
#include <sys/types.h>
#include "vip/vip.h"

struct vip_worker_memory;

struct vip_worker {
    pid_t pid; /* 0 = none: there are no addresses, or vip_worker_died() */
    int fd;
    struct vip_worker_memory *memory;
};

/*
 * At start only. Does what vip_open() does, in this process, so that a stale address is gone and a failure is known
 * when it returns, then forks. log_fd is what log_open() was given, which the child keeps beside stderr. With n = 0
 * there is no child. Returns 0 or -errno.
 *
 * The child ends when this process does, and leaves the addresses to the kernel and to a successor. It ignores all
 * signals that can be ignored, as a stop of the whole service must not end it before the addresses are dropped. Whoever
 * kills the descendants of the keeper spares it.
 */
int vip_worker_start(struct vip_worker *w, const struct vip_settings *settings, size_t n, uint64_t primary_deadline_us,
                     int log_fd, struct err *err);

/* As vip_hold() and vip_drop(), but done a moment later; neither waits or fails. */
void vip_worker_hold(struct vip_worker *w, enum vip_for who, uint64_t deadline_us);
void vip_worker_drop(struct vip_worker *w, enum vip_for who);
/* The worker knows of the last drop, and none of these addresses is left in the kernel. */
bool vip_worker_has_dropped(const struct vip_worker *w, enum vip_for who);

/* The addresses for display, NULL where there are none. Texts may be read while they change. */
const struct vip *vip_worker_addresses(const struct vip_worker *w, size_t *ret_n);

/* Its process was reaped: the addresses are shown as failed, and what it held goes with its lifetime. */
void vip_worker_died(struct vip_worker *w);
/* Ends it without waiting, and gives the memory back. */
void vip_worker_stop(struct vip_worker *w);
