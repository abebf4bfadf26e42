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

struct http;

struct ctl {
    const char *config_path; /* as given, NULL = find it */
    bool insecure;           /* certificates of REST APIs are not verified */
    struct config *config;
    sd_event *loop;
    struct http *http; /* to the REST APIs; rest.h makes it */
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
    bool paused, standby_cluster;
    unsigned loop_wait_s;
    uint64_t maximum_lag_bytes; /* maximum_lag_on_failover */
};
void ctl_view_done(struct ctl_view *v);

/* Reads the cluster `scope` from the store; waits at most ten seconds. Returns 0 or -errno. */
int ctl_read_cluster(struct ctl *ctl, const char *scope, struct ctl_view *ret, struct err *err);

/* What can be done in the store itself. Each waits as ctl_read_cluster() does, and says what is known of the outcome.
 */
enum ctl_written {
    CTL_WRITTEN,
    CTL_REFUSED, /* somebody else changed the key since `revision` */
    CTL_UNKNOWN, /* no telling; err says why */
};
/* revision 0: the key must not exist. */
enum ctl_written ctl_write_key(struct ctl *ctl, const char *scope, const char *key, const char *value,
                               uint64_t revision, struct err *err);
/* Removes everything that the store holds about the cluster. */
enum ctl_written ctl_remove_cluster(struct ctl *ctl, const char *scope, struct err *err);

/*
 * Reads the one cluster that the arguments name, else that of the configuration, whose name *scope becomes. Returns -1,
 * or an exit code after saying what went wrong.
 */
int ctl_read_named(struct ctl *ctl, int argc, char **argv, struct ctl_view *view, const char **scope);
/* The same with members after the cluster's name, which is then needed; *names are they. */
int ctl_read_with_members(struct ctl *ctl, int argc, char **argv, struct ctl_view *view, const char **scope,
                          char ***names);

/* Prints the members of a cluster as `list` does; returns an exit code. */
int ctl_show_members(const struct ctl_view *v, const char *scope, enum report_format format);

/* "2026-08-01 12:00:00" in local time, with so many digits of its fraction (0 to 6). */
enum { CTL_TIMESTAMP_SIZE = 40 };
void ctl_timestamp(char *buf, size_t size, unsigned digits);
void ctl_sleep_us(uint64_t us);

/* "pgtetherctl: warning: …" on stderr. */
void ctl_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
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
int cmd_edit_config(struct ctl *ctl, int argc, char **argv);
int cmd_history(struct ctl *ctl, int argc, char **argv);
int cmd_dsn(struct ctl *ctl, int argc, char **argv);
int cmd_clear_fence_guard(struct ctl *ctl, int argc, char **argv);
int cmd_switchover(struct ctl *ctl, int argc, char **argv);
int cmd_failover(struct ctl *ctl, int argc, char **argv);
int cmd_restart(struct ctl *ctl, int argc, char **argv);
int cmd_rolling_restart(struct ctl *ctl, int argc, char **argv);
int cmd_reload(struct ctl *ctl, int argc, char **argv);
int cmd_reinit(struct ctl *ctl, int argc, char **argv);
int cmd_pause(struct ctl *ctl, int argc, char **argv);
int cmd_resume(struct ctl *ctl, int argc, char **argv);
int cmd_flush(struct ctl *ctl, int argc, char **argv);
int cmd_remove(struct ctl *ctl, int argc, char **argv);
int cmd_query(struct ctl *ctl, int argc, char **argv);
int cmd_demote_cluster(struct ctl *ctl, int argc, char **argv);
int cmd_promote_cluster(struct ctl *ctl, int argc, char **argv);
int cmd_why(struct ctl *ctl, int argc, char **argv);
int cmd_doctor(struct ctl *ctl, int argc, char **argv);
int cmd_version(struct ctl *ctl, int argc, char **argv);

/* Finds and runs the command; the whole program but for main(). */
int ctl_main(int argc, char **argv);
