/* A process and all that descends from it, as /proc shows it: to end a program that has started others. */
#pragma once
#include <sys/types.h>

/*
 * SIGKILL to every living descendant of `root`, then to `root` itself, whatever groups and sessions they have made for
 * themselves. `root` must be a child of ours that has not been reaped, so that its number cannot be anybody else's. It
 * is stopped first: what it would start meanwhile is found. A descendant whose parent has ended already is nobody's
 * descendant and is missed. Reads procfs only; returns how many signals were sent.
 */
unsigned family_kill(pid_t root);
