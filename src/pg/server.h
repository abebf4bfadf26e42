/*
 * The local PostgreSQL server as a process: start, adopt, stop, signal, and what can be said about why it does not
 * start. The postmaster is our direct child where we started it, and watched through a pidfd where we adopted it. Its
 * death is known at once, by event, not by polling.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "config/config.h"
#include "model/local.h"

struct pg_server;

/* Called from the loop when the postmaster ended, however it was started. wait_status is -1 when it was adopted. */
typedef void (*pg_server_exit_fn)(void *userdata, int wait_status);

int pg_server_new(sd_event *loop, const struct config *config, const char *cgroup_procs, pg_server_exit_fn on_exit,
                  void *userdata, struct pg_server **ret, struct err *err);
/* Forgets the postmaster without ending it. */
struct pg_server *pg_server_free(struct pg_server *s);
DEFINE_CLEANUP(struct pg_server, pg_server_free)

/*
 * Looks for a postmaster that runs in our data directory (postmaster.pid, start time, cwd). Returns 1 and watches it, 0
 * if there is none, or one on another port, which we did not start and could not ask; -EBUSY if one runs that is not
 * ours to adopt (other user, other service's cgroup), else -errno.
 */
int pg_server_adopt(struct pg_server *s, struct err *err);

/*
 * Whether somebody else's postmaster runs in our data directory while ours does not: its process, 0 if there is none,
 * -EBUSY if one runs that is another user's or service's, else -errno. Reads postmaster.pid.
 */
int pg_server_look(struct pg_server *s, struct err *err);

/*
 * Starts "postgres -D … --config-file=… <protected parameters>" with output appended to the log file. A stale
 * postmaster.pid (its process is proven gone or is not a postmaster) is removed first. Returns 0 at once; readiness is
 * found by the probe, failure by on_exit. extra_args: the "--name=value" texts of pg_files_command_line() and more,
 * NULL-terminated, may be NULL. -EBUSY when a server, or a backend that outlived one, works in the data directory:
 * starting another would destroy it. The environment gets LC_MESSAGES=C, which lasts until the server has read its
 * configuration.
 */
int pg_server_start(struct pg_server *s, const char *const *extra_args, struct err *err);

enum pg_stop_mode { PG_STOP_SMART, PG_STOP_FAST, PG_STOP_IMMEDIATE }; /* SIGTERM, SIGINT, SIGQUIT */
/* Sends the signal; the end is reported by on_exit. 0, or -ESRCH when nothing runs. */
int pg_server_stop(struct pg_server *s, enum pg_stop_mode mode);
/* SIGHUP: re-read the configuration files. */
int pg_server_reload(struct pg_server *s);
/*
 * SIGKILL to the postmaster and every process of our user with the data directory as working directory (but no shells
 * of people). Proof is the keeper's.
 */
void pg_server_kill(struct pg_server *s);

/*
 * SIGTERM to those of these processes that are still backends of our data directory. Returns how many were told.
 */
size_t pg_server_end_backends(struct pg_server *s, const pid_t *pids, size_t n);

pid_t pg_server_pid(const struct pg_server *s); /* 0 = none runs */
int pg_server_pidfd(const struct pg_server *s); /* -1 = none; borrowed */

/*
 * After a failed start: one sentence for the operator from the log written since the start ("the port 5432 is in use
 * …", "parameter \"work_mem\" is invalid: …"), with a HINT line where there is something to do.
 */
void pg_server_diagnose(struct pg_server *s, char *buf, size_t size);

/* Checks bin_dir: programs there and executable, version (15). Runs "postgres -V" and waits for it: only at start-up.
 */
int pg_server_check_binaries(const struct config *config, int *ret_major, struct err *err);
