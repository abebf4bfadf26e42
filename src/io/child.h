/*
 * Child processes beside the event loop. A child is started with execve in a process group of its own, inherits no
 * descriptor but its standard ones, and its end is reported by a callback. Nothing here waits.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>
#include "base/core.h"

struct child;

struct child_spec {
    const char *const *argv; /* argv[0] is the path of the program or a name looked up in PATH */
    const char *const
        *env; /* "NAME=value" entries added to or replacing those inherited; NULL-terminated; may be NULL */
    const char *const *env_unset; /* names or "PREFIX_*" removed from the inherited environment; may be NULL */
    const char *cwd;              /* NULL: unchanged */
    const char *cgroup_procs;     /* path of a cgroup.procs file the child moves itself into before exec; NULL: none */
    const char *input;            /* text for standard input; NULL: /dev/null */
    const char *output_path; /* stdout and stderr appended to this file instead of being captured; NULL: captured */
    bool new_session;        /* setsid() as well: the child outlives us and our terminal (postmaster) */
    uint64_t timeout_us;     /* SIGKILL to its group after this long; 0: none */
    /* Called for every line of stdout or stderr while captured, without its newline; also split at '\r'. May be NULL.
     */
    void (*on_line)(void *userdata, const char *line);
};

struct child_result {
    int exit_code;      /* -1 if ended by a signal */
    int signal;         /* 0 if it exited by itself */
    bool timed_out;     /* we killed it because timeout_us was over */
    const char *output; /* the last 8 kB of what it wrote (stdout and stderr), borrowed until the callback returns */
};

/* Called once, from the loop, after the child was reaped and its captured output read to the end. May free the child.
 */
typedef void (*child_done_fn)(void *userdata, const struct child_result *result);

/* Returns 0 and gives *ret to the caller, or -errno (also when execve fails: -ENOENT, -EACCES …). */
int child_start(sd_event *loop, const struct child_spec *spec, child_done_fn done, void *userdata, struct child **ret,
                struct err *err);

pid_t child_pid(const struct child *c);

/* Signals the child's whole process group. */
void child_signal(struct child *c, int sig);

/* Forgets the child without ending it: no callback any more; it is still reaped if we live to see its end. */
struct child *child_detach(struct child *c);

/* Ends (SIGKILL to the group) and frees; no callback follows. NULL is fine. */
struct child *child_free(struct child *c);
DEFINE_CLEANUP(struct child, child_free)

/* "exit code 1", "signal 9 (Killed)", "timed out after 30 s" for messages. */
const char *child_result_text(const struct child_result *r, char *buf, size_t size);
