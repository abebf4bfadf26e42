/*
 * Giving up capabilities, capabilities(7). The agent and all it starts hold none and can get none back; the keeper
 * keeps what it needs to the end (ARCHITECTURE.md has the list with its reasons). Raw system calls: no library, no
 * memory.
 */
#pragma once
#include <stdbool.h>
#include "base/core.h"

/*
 * For the keeper, at the end of its start: keeps of what it has only what it needs, in the bounding set too, and
 * forbids to gain more. `other_owner`: the watchdog device belongs to another user, so that CAP_DAC_OVERRIDE is needed
 * to open it. Without privileges there is nothing to give up, which is fine. Returns 0, or -errno: -EPERM if root lacks
 * what finding and killing processes of another user takes.
 */
int capabilities_of_keeper(bool other_owner, struct err *err);

/* For pgtether-net: keeps what netlink and raw packets need. Returns 0 or -errno. */
int capabilities_of_net(struct err *err);

/* Empties the bounding set, where that is allowed: before a change of the user. */
void capabilities_unbound(void);

/* Gives up everything that is left: after a change of the user, or for a child that needs none. Returns 0 or -errno. */
int capabilities_drop(struct err *err);
