/*
 * Child processes beside the event loop. A child is started with execve in a process group of its own, inherits no
 * descriptor but its standard ones and no signal settings, and its end is reported by a callback. Nothing here waits.
 *
 * What can hang on a disk (opening output_path, chdir, reading the program) happens in the child. So a failure between
 * fork and execve is not known when child_start() returns: the child then ends with exit code 127, `start_error` says
 * why, and `output` has the text. child_start() itself only checks that the program is there and executable.
 *
 * Children are watched with pidfds (Linux 5.4) and reaped one by one: SIGCHLD needs neither to be blocked nor handled,
 * but it must not be ignored, and nobody may reap with wait(-1).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>
#include "base/core.h"

struct child;

/* Lines longer than this are delivered in pieces; the end of the output that is kept. */
enum { CHILD_LINE_MAX = 4096, CHILD_OUTPUT_MAX = 8192 };

struct child_spec {
    const char *const *argv; /* argv[0] is the path of the program or a name looked up in PATH (as in `env` below) */
    const char *const
        *env; /* "NAME=value" entries added to or replacing those inherited; NULL-terminated; may be NULL */
    const char *const *env_unset; /* names or "PREFIX_*" removed from the inherited environment; may be NULL */
    const char *cwd;              /* NULL: unchanged */
    const char *cgroup_procs;     /* path of a cgroup.procs file the child moves itself into before exec; NULL: none */
    const char *input;            /* text for standard input; NULL: /dev/null */
    const char *output_path; /* stdout and stderr appended to this file (created 0640) instead of being captured; NULL:
                                captured */
    bool new_session;        /* setsid() as well: the child outlives us and our terminal (postmaster) */
    uint64_t timeout_us;     /* SIGKILL to its group after this long; 0: none */
    /*
     * Called for every line of stdout or stderr while captured, without its newline; also split at '\r'. Empty lines
     * are left out. May be NULL. May free or detach the child.
     */
    void (*on_line)(void *userdata, const char *line);
};

struct child_result {
    int exit_code;       /* -1 if ended by a signal, 127 if the program could not be started */
    int signal;          /* 0 if it exited by itself */
    bool timed_out;      /* we killed it because timeout_us was over */
    int start_error;     /* negative errno if the program could not be started, else 0 */
    uint64_t timeout_us; /* as in the spec */
    const char *output;  /* the last 8 kB of what it wrote (stdout and stderr), NULs as '?', borrowed until the callback
                            returns; why it could not be started, if so */
};

/*
 * Called once, from the loop, after the child was reaped and its captured output read to the end. When a process the
 * child left behind keeps the pipe open, we wait for that end no longer than 200 ms. May free the child.
 */
typedef void (*child_done_fn)(void *userdata, const struct child_result *result);

/*
 * The strings of *spec are needed during the call only; `done` may be NULL. Returns 0 and gives *ret to the caller, who
 * frees it after `done` (or in it), or -errno: -ENOENT or -EACCES when there is no such program.
 */
int child_start(sd_event *loop, const struct child_spec *spec, child_done_fn done, void *userdata, struct child **ret,
                struct err *err);

pid_t child_pid(const struct child *c);

/* Signals the child's whole process group. Does nothing once `done` was called. */
void child_signal(struct child *c, int sig);

/*
 * Forgets the child without ending it: no callback any more, no timeout; it is still reaped if we live to see its end.
 * What it writes is still read (and dropped), so that it does not stop or die over it. NULL is fine, returns NULL.
 */
struct child *child_detach(struct child *c);

/* Ends (SIGKILL to the group) and frees; no callback follows. It is reaped later, by the loop. NULL is fine. */
struct child *child_free(struct child *c);
DEFINE_CLEANUP(struct child, child_free)

/* "exit code 1", "signal 9 (Killed)", "timed out after 30 s", "could not be started" for messages. */
const char *child_result_text(const struct child_result *r, char *buf, size_t size);
