/*
 * The unprivileged process: gathers what is known, lets the decision core decide, and acts. One thread, one sd-event
 * loop, nothing in it waits. Events (death of the postmaster, the store's watch, an answer, a finished operation, a
 * timer) wake it; loop_wait is only the upper bound between two looks.
 */
#pragma once
#include <systemd/sd-event.h>
#include "base/core.h"
#include "config/config.h"
#include "model/command.h"
#include "model/node.h"

struct agent;

enum agent_exit {
    AGENT_EXIT_OK = 0,     /* stopped in order: PostgreSQL is down, the leader key given back */
    AGENT_EXIT_RETRY = 1,  /* something failed that a restart may mend */
    AGENT_EXIT_CONFIG = 78 /* sysexits(3) EX_CONFIG: a restart cannot help; the keeper stops too */
};

/*
 * keeper_fd is the agent's end of the socket to the keeper. *config is borrowed and must outlive the agent. Adopts a
 * running postmaster and an armed lease. Returns 0 and gives *ret to the caller, or -errno.
 */
int agent_new(sd_event *loop, const struct config *config, int keeper_fd, struct agent **ret, struct err *err);
struct agent *agent_free(struct agent *a);
DEFINE_CLEANUP(struct agent, agent_free)

/* What the node says about itself now; pointers stay valid until control returns to the event loop. */
void agent_status(void *agent, struct node_status *ret);

/* Takes a request that changes something; answers it when it is done, or cannot be done. */
void agent_command(void *agent, struct command *command);

/* Orderly stop: hands over, stops PostgreSQL, then ends the event loop with an enum agent_exit. */
void agent_stop(struct agent *a);
