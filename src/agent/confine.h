/*
 * A system call filter for the agent, which everything it starts inherits: PostgreSQL, pg_basebackup, archive commands,
 * an operator's scripts. So it does not list what the agent needs, which would be wrong with the next release of any of
 * them, but what none of them ever needs: loading code into the kernel, mounting, namespaces, reading other processes,
 * setting the clock, rebooting. Such a call fails with EPERM.
 *
 * Kept although none of it is for everyday use: keyctl and its kin (Kerberos tickets may lie in the kernel's keyring),
 * io_uring (PostgreSQL 18), move_pages (its NUMA views).
 */
#pragma once
#include "base/core.h"

/* Returns 0, or -errno: -ENOTSUP if this processor or kernel has no such filter; nothing is filtered then. */
int confine(struct err *err);
