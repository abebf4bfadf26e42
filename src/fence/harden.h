/* Makes this process one that memory pressure and CPU hogs stop last (S6). Each part is a wish: what the host refuses
 * is reported and done without. */
#pragma once
#include "base/core.h"

/* Locks all memory, now and later, and touches the stack that is going to be used. */
int harden_memory(struct err *err);
/* The lowest real-time priority: above every normal process, below what an administrator made urgent. */
int harden_scheduling(struct err *err);
/* The last to be killed when memory runs out. */
int harden_oom(struct err *err);
