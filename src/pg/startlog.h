/* What a server wrote since it was last started: to our log file and, once it has taken over, to its log collector's.
 */
#pragma once
#include <limits.h>
#include <sys/types.h>

struct log_mark { /* a place in a file: what stands behind it was written later */
    char path[PATH_MAX];
    off_t size;
};

struct startlog {
    struct log_mark own, collected;
};

/* Remembers where the logs end now. */
void startlog_begin(struct startlog *log, const char *log_file, const char *data_dir);
/* What was written since, at most the last 64 kB of each; the caller frees. NULL if memory ran out. */
char *startlog_read(const struct startlog *log, const char *log_file, const char *data_dir);
