/*
 * What all ways to fill a data directory have in common, told as data: which directories must be empty, which program
 * runs how often, and what follows. Used by initdb.c and basebackup.c; fill.c carries a plan out.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "backup/fill.h"
#include "pg/tool.h"

struct fill_plan {
    const char *tool; /* name for messages: "initdb" */
    char what[96];    /* for the progress: "pg_basebackup from node1" */
    char *data_dir;   /* must be absent or empty */
    char *wal_dir;    /* option waldir: the same holds; NULL = none */
    struct tool_args args;
    char *env[3];    /* "NAME=value", NULL-terminated */
    char *input;     /* standard input, a password: wiped when the plan is released; NULL = none */
    char *hba_lines; /* appended to pg_hba.conf afterwards; NULL = none */
    char *cgroup_procs;
    unsigned attempts; /* five seconds apart */
    /* Finds progress in a line of output; NULL = there is none. */
    bool (*parse_progress)(const char *line, uint64_t *ret_done_bytes, uint64_t *ret_total_bytes);
};
void fill_plan_done(struct fill_plan *plan);

/* Carries the plan out and takes what it owns, on failure too. */
int fill_start(sd_event *loop, struct fill_plan *plan, fill_done_fn done, void *userdata, struct fill **ret,
               struct err *err);

/*
 * Adds the user's options as "--name=value" or "--name". refused: names the program must not be given, NULL-terminated.
 * Returns 0, or -EINVAL with err naming the first refused one when is_fatal; else refused ones are left out.
 */
int fill_add_options(struct tool_args *args, const struct settings *options, const char *const *refused, bool is_fatal,
                     const char *tool, struct err *err);
/* The value of an option, last one wins; NULL if it is not given or has no value. */
const char *fill_option(const struct settings *options, const char *name);
bool fill_has_option(const struct settings *options, const char *name);

/* Pure, for the tests. */
int basebackup_args(const struct config *config, const char *dsn, struct tool_args *ret, struct err *err);
int initdb_args(const struct config *config, struct tool_args *ret, struct err *err);
