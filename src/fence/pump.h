/*
 * The log's way out: a child that copies lines from a pipe to stderr, so that a full pipe, a stopped journal or a hung
 * disk stops the child and not the keeper, who loses lines instead (log_lost()).
 */
#pragma once
#include <sys/types.h>
#include "base/core.h"

/*
 * Starts the child. *ret_fd is the keeper's end and never blocks. The child ends when that end is closed everywhere,
 * after writing what is left; no signal but SIGKILL makes it go earlier. Returns its pid or -errno.
 */
pid_t pump_start(int *ret_fd, struct err *err);
