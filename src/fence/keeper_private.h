/* The keeper's inside, shared by keeper.c (loop and decisions), keeper_agent.c (the agent and its requests) and
 * keeper_start.c (what happens before the loop). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "fence/fdstore.h"
#include "fence/keeper.h"
#include "fence/killer.h"
#include "fence/lease.h"
#include "fence/net.h"
#include "fence/notify.h"
#include "fence/protocol.h"
#include "fence/rundir.h"
#include "fence/settings.h"
#include "fence/spawn.h"
#include "fence/statedir.h"
#include "fence/watchdog.h"
#include "fence/will.h"

/* Exit codes of the agent that mean more than "start me again". */
enum { AGENT_EXIT_LEAVE_POSTGRES = 3, AGENT_EXIT_USAGE = 64, AGENT_EXIT_CONFIG = 78 };

struct keeper_agent {
    pid_t pid; /* 0 = not running */
    int fd;    /* our end of its socket; -1 = no connection */
    uint32_t starts;
    uint64_t started_us;
    uint64_t restart_at_us; /* when to start it again; UINT64_MAX = not planned */
    uint64_t backoff_us;
    uint64_t kill_at_us; /* it has hung up: if it still lives then, it is killed; UINT64_MAX = not planned */
};

struct keeper_net {
    pid_t pid; /* 0 = not running */
    int fd;    /* our end of its socket; -1 = no connection */
    char *argv[SETTINGS_NET_WORDS_MAX + 2];
    uint32_t seq, restarts;
    uint64_t started_us, restart_at_us, backoff_us; /* as of the agent */
    uint64_t waiting_since_us;                      /* an order has not been answered; 0 = all have */
    bool ordered;                                   /* `sent` is what it was told last */
    bool reported, is_hung;
    struct lease_reach sent;
    uint64_t told_until_us; /* the latest that it, or a predecessor's, may have told the kernel; 0 = all is shut */
    struct net_report report;
};

struct keeper {
    const struct keeper_options *options;
    struct keeper_settings settings;
    struct spawn spawn;
    struct rundir rundir;
    struct statedir statedir;
    struct will_file will;
    struct notify notify;
    struct fdstore store; /* of the service manager, with the watchdog in it */
    struct lease lease;
    struct watchdog watchdog;
    struct killer killer;
    struct killer_result (*kill_round)(struct killer *k, enum lease_kill what); /* tests put their own here */
    struct keeper_agent agent;
    struct keeper_net net;
    int signal_fd, timer_fd, postmaster_fd, log_fd, scribe_fd;
    struct {
        uint64_t at_us, wait_us; /* the next look at a watchdog that did not work, and how long we waited for it */
        char said[sizeof(((struct err *)0)->msg)]; /* what was wrong last time */
    } probe;
    struct {
        uint64_t longest_gap_us;
        uint32_t late;
        bool withheld; /* the next one is late because it was not allowed earlier */
    } pets;
    uint64_t unfit_deadline_us;         /* of the last ARM in which R had no room */
    uint64_t unfit_said_us;             /* the R about which that was said; 0 = nothing was said */
    uint64_t remind_at_us;              /* the next warning about a primary without a watchdog; 0 = none is due */
    enum keeper_watchdog told_watchdog; /* what the agent knows of it */
    uint64_t next_round_us;             /* the next look at what is to be killed */
    uint64_t killing_since_us;          /* 0 = nothing is being killed */
    uint64_t planned_us;                /* when the loop wanted to wake up */
    uint64_t status_sent_us, alive_sent_us;
    bool was_reset;      /* the last boot followed a reset by the watchdog, as far as its driver knows */
    bool ready;          /* an agent has said STATUS: the service has started */
    bool stopping;       /* the agent was told to stop, or has stopped for good */
    bool spare_postgres; /* PostgreSQL stays up when we go */
    bool finished;
    int exit_status;
};

/* keeper_start.c */
void keeper_init(struct keeper *k, const struct keeper_options *options);
int keeper_start(struct keeper *k, const struct watchdog_ops *ops, void *ctx);
void keeper_end(struct keeper *k);

/* keeper.c */
enum keeper_result keeper_step(struct keeper *k, const struct lease_event *event);
void keeper_kill_and_prove(struct keeper *k);
void keeper_act(struct keeper *k); /* does what the lease demands now; the body of the loop */
void keeper_say_status(struct keeper *k);

/* keeper_net.c: nothing here waits, but for keeper_net_end() */
void keeper_net_init(struct keeper *k);
void keeper_net_begin(struct keeper *k);
void keeper_net_start_if_due(struct keeper *k);
void keeper_net_order(struct keeper *k); /* tells it what lease_reach() says, unless it was told already */
void keeper_net_read(struct keeper *k);
void keeper_net_exited(struct keeper *k, int wait_status);
void keeper_net_act(struct keeper *k);
uint64_t keeper_net_next_us(const struct keeper *k);
void keeper_net_end(struct keeper *k); /* also when PostgreSQL stays: without us nobody would open its port again */
/* It has confirmed that addresses and gate are closed, or the kernel must have done it by itself by now. */
bool keeper_net_is_shut(const struct keeper *k);
bool keeper_net_is_settled(const struct keeper *k); /* the same of what the newest order takes away */
enum keeper_gate keeper_net_gate(const struct keeper *k);
/* "1 address held, gate open, "; "" without any of them. */
void keeper_net_describe(const struct keeper *k, char *dst, size_t size);
/* keeper_watchdog.c */
/* An ARM whose rest does not hold R was answered with `result`: says what would do, or arms without the watchdog where
 * it is not required and waiting does not help. Returns the answer. */
enum keeper_result keeper_arm_unfit(struct keeper *k, const struct lease_event *arm, enum keeper_result result,
                                    uint64_t now_us);
void keeper_note_pet(struct keeper *k, uint64_t now_us); /* before each pet that was allowed */
void keeper_watch_watchdog(struct keeper *k);            /* each turn */
uint64_t keeper_watchdog_wake_us(const struct keeper *k);
void keeper_say_probe_failed(struct keeper *k, const struct err *err);

/* keeper_agent.c */
void keeper_tell_agent(struct keeper *k); /* what a STATUS would be answered, unasked: seq 0 */
void keeper_start_agent_if_due(struct keeper *k);
void keeper_drop_agent(struct keeper *k); /* kills it; it will be reaped and started again */
void keeper_agent_exited(struct keeper *k, int wait_status);
void keeper_read_requests(struct keeper *k);
/* Answers one valid request; takes the descriptor. Returns 0, or -EBADMSG: the agent is confused. */
int keeper_handle_request(struct keeper *k, const struct keeper_request *request, int pidfd,
                          struct keeper_answer *ret_answer, struct err *err);
void keeper_stop(struct keeper *k); /* on SIGTERM */
