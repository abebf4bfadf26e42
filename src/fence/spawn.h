/*
 * Starting the agent: another program, another user, nothing of the keeper's but one end of a socket.
 *
 * A plain fork and execve: with vfork or posix_spawn the keeper would stand still while the kernel reads the program
 * from a disk that may hang. What the child does before execve concerns nobody else.
 */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>
#include "base/core.h"

enum { SPAWN_GROUPS_MAX = 64, SPAWN_USER_SIZE = 64 };

/* Resolved at start, because names are looked up in files and over the network. */
struct spawn_user {
    bool change; /* we are root: become this user; else stay who we are */
    char name[SPAWN_USER_SIZE];
    char home[PATH_MAX];
    uid_t uid;
    gid_t gid;
    gid_t groups[SPAWN_GROUPS_MAX];
    int group_count;
};

struct spawn {
    struct spawn_user user;
    char agent[PATH_MAX];  /* program */
    char net[PATH_MAX];    /* program of the kernel leases */
    const char *config;    /* path of the configuration file */
    const char *run_dir;   /* PGTETHER_RUN_DIR; NULL = not set */
    const char *state_dir; /* PGTETHER_STATE_DIR; NULL = not set */
    const char *pg_procs;  /* PGTETHER_CGROUP_PROCS; NULL = not set */
    int agent_procs_fd;    /* cgroup.procs of the agent's group, -1 = none */
};

/* `name` NULL: "postgres" if we are root. Returns 0 or -errno. */
int spawn_find_user(const char *name, struct spawn_user *ret, struct err *err);

/* `path` NULL: the installed agent, else the one beside this program, else in ../libexec/pgtether seen from it. */
int spawn_find_agent(const char *path, char *dst, size_t size, struct err *err);

/* pgtether-net and pgtether-gate, in the same places. */
int spawn_find_net(char *dst, size_t size, struct err *err);
int spawn_find_gate(char *dst, size_t size, struct err *err);

/*
 * Runs `agent OPTION... ` to its end as the user and reads what it prints; waits. Only before the loop. Returns its
 * exit status (128 + signal if one ended it), or -errno. stderr is ours.
 */
int spawn_capture(const struct spawn *s, char *const argv[], char *dst, size_t size, size_t *ret_len, struct err *err);

/* Replaces this process. Returns only on failure, with -errno. */
int spawn_exec(const struct spawn *s, char *const argv[], struct err *err);

/*
 * Starts the agent with `agent_end` as descriptor KEEPER_AGENT_FD. Never waits. Returns its pid or -errno.
 * A child that cannot execute says why on stderr and exits with 127.
 */
pid_t spawn_agent(const struct spawn *s, int agent_end, struct err *err);

/* The same for pgtether-net, which stays root and gives up by itself what it does not need, and NET_KEEPER_FD. */
pid_t spawn_net(const struct spawn *s, char *const argv[], int its_end, struct err *err);
/*
 * Starts a helper that keeps our user and capabilities; its stdout and stderr are ours, it explains a failure there.
 * Never waits. Returns its pid or -errno.
 */
pid_t spawn_helper(const char *program, char *const argv[], struct err *err);

/* Waits for a helper's end, so only before the loop and after it. Returns 0 if it succeeded, else -errno. */
int spawn_wait(pid_t pid, const char *program, struct err *err);
