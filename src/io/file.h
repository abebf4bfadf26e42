/*
 * Whole files, read with a limit and written so that a crash leaves the old or the new content, never a mix.
 * These calls touch the disk: the keeper does not use them, the agent only at moments when waiting does no harm or from
 * a child of its own.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "base/core.h"

/*
 * Reads a file of at most `max` bytes. Returns 0 and gives *ret (terminated by an extra NUL) to the caller, *ret_len
 * may be NULL; -EFBIG if it is larger, else -errno.
 */
int file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err);

/*
 * Replaces the file's content durably: temporary file in the same directory, fsync, rename, fsync of the directory.
 * Returns 0 or -errno; on failure the old content is untouched and no temporary file is left.
 */
int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode, struct err *err);

/* Removes a file and makes that durable; a file that is not there is fine. */
int file_remove(const char *path, struct err *err);

/* 1 if the directory has no entries that matter to PostgreSQL (names starting with "." and "lost+found" do not), 0 if
 * it has some, -ENOENT if it does not exist, else -errno. */
int dir_is_empty(const char *path, struct err *err);

/* mkdir -p; existing directories are left as they are. */
int dir_make(const char *path, mode_t mode, struct err *err);
