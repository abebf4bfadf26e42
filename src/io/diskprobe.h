/*
 * One probe of the disk under a data directory, or under its WAL: a block is written past the page cache, made durable
 * and read back (O_DIRECT, O_DSYNC). Everything here may hang for as long as the disk does, so it runs in a process of
 * its own (pgtether-probe), which nobody waits for.
 *
 * The block lies beside the directory, in a hidden file, if what is above the directory is on the same device and may
 * be written; else inside, under a name that begins with "pgsql_tmp": such files pg_basebackup and pgBackRest leave
 * out, pg_checksums does not look there, and what pg_rewind copies of them (one block) does no harm. A directory that
 * holds no cluster (yet) is never written to: initdb and pg_basebackup want it empty.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/core.h"

enum diskprobe_outcome {
    DISKPROBE_GOOD,
    DISKPROBE_NO_SPACE,   /* the file system, or our quota of it, is full */
    DISKPROBE_BAD,        /* an error that the disk or its file system made, or other bytes than were written */
    DISKPROBE_IMPOSSIBLE, /* no answer about the disk: no directory, no permission */
    DISKPROBE_SAME,       /* the WAL is on the disk of the data: nothing to do */
};

struct diskprobe {
    const char *data_dir; /* borrowed */
    bool wal;             /* its pg_wal, if that is elsewhere */
    bool buffered;        /* found out: the file system has no O_DIRECT; the cache is dropped instead */
    size_t block_bytes;
    unsigned char *block; /* owned */
    uint64_t count;
    char path[4096]; /* of the file, "" before the first probe and after it was removed */
};

struct diskprobe_result {
    enum diskprobe_outcome outcome;
    uint64_t latency_us; /* of write and read */
    struct err err;      /* set unless good or same */
};

int diskprobe_init(struct diskprobe *p, const char *data_dir, bool wal, struct err *err);
void diskprobe_run(struct diskprobe *p, struct diskprobe_result *ret);
void diskprobe_done(struct diskprobe *p); /* removes the file */
