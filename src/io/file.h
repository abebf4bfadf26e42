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
 * may be NULL; -EFBIG if it is larger, -EISDIR or -EINVAL if it is no regular file (a FIFO could make us wait), else
 * -errno. Files of /proc and /sys are fine, although their size says 0.
 */
int file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err);

/*
 * Replaces the file's content durably: temporary file in the same directory, fsync, rename, fsync of the directory.
 * The new file has exactly `mode` (the umask does not count) and our owner; a symbolic link at `path` is replaced, not
 * followed. Returns 0 or -errno; on failure the old content is untouched and no temporary file is left. The one
 * exception: if only the last step, the fsync of the directory, fails, the new content is already in place.
 */
int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode, struct err *err);

/* Removes a file and makes that durable; a file that is not there is fine. */
int file_remove(const char *path, struct err *err);

/* 1 if the directory has no entries that matter to PostgreSQL (names starting with "." and "lost+found" do not), 0 if
 * it has some, -ENOENT if it does not exist, else -errno. */
int dir_is_empty(const char *path, struct err *err);

/* mkdir -p; existing directories are left as they are. The last one gets exactly `mode`, those on the way 0755 less
 * the umask. -ENOTDIR if something else is in the way. */
int dir_make(const char *path, mode_t mode, struct err *err);
