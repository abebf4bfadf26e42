/* One keeper with a stand-in agent, a pretended watchdog and a data directory of its own, for test_keeper*.c. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "fake_agent.h"
#include "fake_watchdog.h"

struct node {
    char dir[64], data_dir[96], run_dir[96], log[96];
    const char *settings;   /* lines for the configuration file, beside the names and directories */
    const char *user;       /* the agent's, if we are root and it shall be another one */
    const char *wrapper[8]; /* a command to run the keeper under */
    int listen_fd, notify_fd, agent_fd;
    int store_fd; /* what the keeper has put into the store of its service manager; -1 = nothing */
    pid_t keeper, agent;
    uint32_t seq;
    struct fake_watchdog *watchdog;
    bool passed; /* set as the last thing of a test; else the teardown shows the log */
};

int node_setup(void **state);
int node_teardown(void **state);

void node_start(struct node *n);        /* and waits for the agent's hello */
void node_start_keeper(struct node *n); /* does not wait */
void node_wait_for_agent(struct node *n);
int node_wait_for_exit(struct node *n); /* of the keeper: its exit status, 128 + signal */
bool node_log_says(const struct node *n, const char *text);
void node_wait_for_log(struct node *n, const char *text); /* its way through the pump takes a moment */
/*
 * The tests are the service manager, whenever they wait for something: store_fd is passed on to the next keeper.
 * Waits until a message of the keeper to the service manager contains the text.
 */
void node_wait_for_notify(struct node *n, const char *text);

void node_read_notify(struct node *n);

void node_order(struct node *n, const struct fake_order *order);
struct fake_report node_report(struct node *n); /* the next one; fails after 20 s */
struct keeper_answer node_answer(struct node *n);
struct keeper_answer node_ask(struct node *n, enum keeper_op op, uint64_t lease_id, uint64_t deadline_us, pid_t pid);
pid_t node_start_postgres(struct node *n); /* and registers it */
void node_exit_agent(struct node *n, uint32_t status);
void node_wait_until(bool (*condition)(struct node *n), struct node *n, const char *what);

/*
 * Gives this process the keeper's own priority while it checks that something happens in time: on a busy host a witness
 * of normal priority looks hundreds of milliseconds late. Ends with the test at the latest.
 */
void node_watch_closely(bool closely);

/* Living processes whose working directory is the data directory. */
int node_count_postgres(const struct node *n);
bool node_process_lives(pid_t pid);
