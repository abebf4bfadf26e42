/*
 * pgtetherctl: what its commands share. A command gets the arguments from its own name on, prints to stdout and returns
 * the exit code. A failure is one line on stderr that says what to do.
 */
#pragma once
#include <getopt.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "base/text.h"
#include "config/config.h"
#include "ctl/report.h"
#include "model/cluster.h"
#include "model/policy.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct ctl {
    const char *config_path; /* as given, NULL = find it */
    struct config *config;
    sd_event *loop;
};
void ctl_done(struct ctl *ctl);

/* Reads the configuration unless that was done already. Returns 0 or -errno after printing what is wrong. */
int ctl_open_config(struct ctl *ctl);

/*
 * The file to use when none was given: the only *.conf in `directory`. Returns 0 and gives *ret to the caller, -ENOENT
 * if there is none, -ENOTUNIQ if there are several.
 */
int ctl_find_config(const char *directory, char **ret, struct err *err);

/*
 * A cluster as the store has it, with the dynamic settings that change how it is shown. They are read as they stand in
 * the store, even those that this version does not act upon: the cluster may be Patroni's.
 */
struct ctl_view {
    struct cluster *cluster;
    enum sync_mode sync_mode;
    bool paused;
};
void ctl_view_done(struct ctl_view *v);

/* Reads the cluster `scope` from the store; waits at most ten seconds. Returns 0 or -errno. */
int ctl_read_cluster(struct ctl *ctl, const char *scope, struct ctl_view *ret, struct err *err);

/* "pgtetherctl: error: …" on stderr; returns EXIT_FAILED. */
int ctl_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same with where to find help; returns EXIT_USAGE. */
int ctl_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Writes all of it to stdout and releases it; returns an exit code. */
int ctl_print(struct textbuf *out);

/*
 * The next option of a command as getopt_long() has it, with -h/--help answered here: then, and on a usage error,
 * *exit_code is set and -1 returned. -1 with *exit_code still -1 means that the options have ended.
 */
struct ctl_options {
    const char *shorts;
    const struct option *longs;
};
int ctl_next_option(int argc, char **argv, const struct ctl_options *o, int *exit_code);

/* Prints the help of a command; returns EXIT_DONE. */
int ctl_help(const char *command);

int cmd_list(struct ctl *ctl, int argc, char **argv);
int cmd_topology(struct ctl *ctl, int argc, char **argv);
int cmd_show_config(struct ctl *ctl, int argc, char **argv);
int cmd_history(struct ctl *ctl, int argc, char **argv);
int cmd_dsn(struct ctl *ctl, int argc, char **argv);
int cmd_clear_fence_guard(struct ctl *ctl, int argc, char **argv);
int cmd_version(struct ctl *ctl, int argc, char **argv);

/* Finds and runs the command; the whole program but for main(). */
int ctl_main(int argc, char **argv);
