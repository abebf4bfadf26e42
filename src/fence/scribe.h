/*
 * The keeper's memory beyond a reset: a child that makes durable what it reads from a pipe, so that the keeper never
 * waits for a disk (S6). On a hung disk the child hangs, and the record is lost; the log's child is another one.
 */
#pragma once
#include <stdint.h>
#include <sys/types.h>
#include "base/core.h"
#include "fence/protocol.h"

/* Starts the child, which writes "last-rung" into dir_fd. *ret_fd never blocks. Returns its pid or -errno. */
pid_t scribe_start(int dir_fd, int *ret_fd, struct err *err);

/* Has it written with the time of now. Never waits; what does not fit is lost. */
void scribe_note(int fd, enum fence_rung rung, const char *reason);
