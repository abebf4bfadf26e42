/* The keeper's dealings with its agent: starting it, ending it, and answering what it asks. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "fence/keeper_private.h"

#define BACKOFF_MIN_US (100 * USEC_PER_MSEC)
#define BACKOFF_MAX_US (5 * USEC_PER_SEC)
#define BACKOFF_FORGET_US (60 * USEC_PER_SEC)
/* From the end of its connection to the end of its process: a moment, unless it is stuck. */
#define HANGUP_US (2 * USEC_PER_SEC)

/* No agent can keep the loop busy: the rest of its messages waits for the next turn. */
enum { REQUESTS_PER_TURN = 8 };

/* --- its life -------------------------------------------------------------------------------------------------------
 */

static int connect_and_spawn(struct keeper *k, struct err *err)
{
    CLEANUP(closep) int agent_end = -1;
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return err_sys(err, -errno, "could not create a socket for the agent");
    agent_end = pair[1];
    pid = spawn_agent(&k->spawn, agent_end, err);
    if (pid < 0) {
        (void)close(pair[0]);
        return pid;
    }
    k->agent.fd = pair[0];
    k->agent.pid = k->killer.agent = pid;
    return 0;
}

static void plan_restart(struct keeper *k, uint64_t now_us)
{
    struct keeper_agent *a = &k->agent;

    if (a->backoff_us == 0 || clock_rest_us(a->started_us, now_us) >= BACKOFF_FORGET_US)
        a->backoff_us = BACKOFF_MIN_US;
    a->restart_at_us = now_us + a->backoff_us;
    a->backoff_us = a->backoff_us * 2 > BACKOFF_MAX_US ? BACKOFF_MAX_US : a->backoff_us * 2;
}

void keeper_start_agent_if_due(struct keeper *k)
{
    uint64_t now_us = clock_now_us();
    struct err err = {0};

    if (k->agent.pid != 0 || k->stopping || now_us < k->agent.restart_at_us)
        return;
    if (lease_decide(&k->lease, now_us).kill != LEASE_KILL_NOTHING)
        return; /* what it would start would be killed, or be taken for what is left */
    k->agent.restart_at_us = k->agent.kill_at_us = UINT64_MAX;
    k->agent.started_us = now_us;
    k->agent.starts++;
    if (connect_and_spawn(k, &err) < 0) {
        log_error("%s", err.msg);
        plan_restart(k, now_us);
        return;
    }
    log_info("started the agent as process %d", (int)k->agent.pid);
}

static void hang_up(struct keeper *k)
{
    closep(&k->agent.fd);
    k->agent.kill_at_us = clock_now_us() + HANGUP_US;
}

void keeper_drop_agent(struct keeper *k)
{
    closep(&k->agent.fd);
    k->agent.kill_at_us = UINT64_MAX;
    if (k->agent.pid)
        (void)kill(k->agent.pid, SIGKILL); /* our child, not yet reaped: the pid is its own */
}

static const char *describe_exit(int wait_status, char *dst, size_t size)
{
    if (WIFSIGNALED(wait_status))
        (void)text_print(dst, size, "was terminated by signal %d", WTERMSIG(wait_status));
    else
        (void)text_print(dst, size, "exited with status %d", WEXITSTATUS(wait_status));
    return dst;
}

/* Nothing will be started again; PostgreSQL is proven dead before we go, unless it is to stay. */
static void begin_end(struct keeper *k, int exit_status)
{
    const struct lease_event disarm = {.type = LEASE_EVENT_DISARM};

    if (!k->stopping)
        notify_send(&k->notify, "STOPPING=1");
    k->stopping = true;
    k->exit_status = exit_status;
    if (!k->spare_postgres)
        (void)keeper_step(k, &disarm);
    k->finished = true;
}

void keeper_agent_exited(struct keeper *k, int wait_status)
{
    int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
    uint64_t now_us = clock_now_us();
    char how[64];

    closep(&k->agent.fd);
    k->agent.pid = k->killer.agent = 0;
    k->agent.kill_at_us = UINT64_MAX;
    (void)describe_exit(wait_status, how, sizeof(how));
    switch (status) {
    case AGENT_EXIT_LEAVE_POSTGRES:
        /* S4: an armed lease ends only with the proof. Sparing PostgreSQL would leave a primary nobody can fence. */
        k->spare_postgres = k->lease.state == KEEPER_DISARMED;
        if (!k->spare_postgres)
            log_warning("the agent wants to leave PostgreSQL running, but its lease is armed: it is stopped");
        begin_end(k, 0);
        return;
    case 0:
        log_info("the agent has finished");
        begin_end(k, 0);
        return;
    case AGENT_EXIT_USAGE:
    case AGENT_EXIT_CONFIG:
        log_error("the agent %s: it cannot run with this configuration, and is not started again", how);
        begin_end(k, 1);
        return;
    default:
        break;
    }
    log_warning("the agent %s", how);
    if (k->stopping)
        begin_end(k, 1);
    else
        plan_restart(k, now_us);
}

void keeper_stop(struct keeper *k)
{
    if (k->stopping)
        return;
    k->stopping = true;
    notify_send(&k->notify, "STOPPING=1");
    log_info("stopping");
    if (k->agent.pid)
        (void)kill(k->agent.pid, SIGTERM);
    else
        begin_end(k, 0);
}

/* --- its requests ---------------------------------------------------------------------------------------------------
 */

static enum keeper_result handle_arm(struct keeper *k, const struct keeper_request *r)
{
    struct lease_event arm = {.type = LEASE_EVENT_ARM, .lease_id = r->lease_id, .deadline_us = r->deadline_us};
    uint64_t now_us = clock_now_us(), timeout_us;
    enum keeper_result result;
    struct err err = {0};

    if (k->settings.gate_required && keeper_net_gate(k) == KEEPER_GATE_FAILED)
        return KEEPER_REFUSED_GATE;
    if (k->lease.state == KEEPER_DISARMED && k->watchdog.settings.mode != WATCHDOG_MODE_OFF) {
        timeout_us = watchdog_timeout_for(&k->watchdog, clock_rest_us(now_us, r->deadline_us));
        arm.reset_us = watchdog_reset_for(&k->watchdog, timeout_us);
        result = lease_arm_result(&k->lease, &arm, now_us);
        if (result != KEEPER_OK)
            return keeper_arm_unfit(k, &arm, result, now_us);
        if (watchdog_start(&k->watchdog, timeout_us, &err) < 0) {
            log_error("%s", err.msg);
            (void)watchdog_stop(&k->watchdog, NULL); /* nothing is armed yet */
        }
        arm.reset_us = watchdog_reset_us(&k->watchdog);
        now_us = clock_now_us();
        result = lease_arm_result(&k->lease, &arm, now_us);
        if (result == KEEPER_REFUSED_LATE)
            return keeper_arm_unfit(k, &arm, result, now_us);
    }
    return keeper_step(k, &arm);
}

/* The pid behind a pidfd: 0 if that process is gone, -1 if it is no pidfd. */
static pid_t pid_of_pidfd(int fd)
{
    CLEANUP(closep) int info = -1;
    char text[512];
    uint32_t pid;
    char *line;
    ssize_t n;

    (void)text_print(text, sizeof(text), "/proc/self/fdinfo/%d", fd);
    info = open(text, O_RDONLY | O_CLOEXEC);
    n = info < 0 ? -1 : read(info, text, sizeof(text) - 1);
    if (n < 0)
        return -1;
    text[n] = '\0';
    line = strstr(text, "\nPid:\t");
    if (!line)
        return -1;
    line += strlen("\nPid:\t");
    line[strcspn(line, "\n")] = '\0';
    if (text_equal(line, "-1"))
        return 0;
    return text_to_u32(line, &pid) ? (pid_t)pid : -1;
}

/* Whoever is registered will be killed with all its descendants: only what belongs to the node anyway is believed. */
static bool may_be_postmaster(struct keeper *k, pid_t pid)
{
    const struct tree_scope node = {
        .keeper = k->killer.keeper,
        .spared = {k->killer.pump, k->killer.net, k->killer.scribe},
        .data_dir = k->settings.data_dir,
    };

    if (pid == k->agent.pid)
        return false;
    (void)tree_scan(&k->killer.tree, &node, NULL);
    return tree_has(&k->killer.tree, pid);
}

static int handle_postmaster(struct keeper *k, pid_t pid, int *pidfd, struct err *err)
{
    pid_t found = pid == 0 ? 0 : pid_of_pidfd(*pidfd);

    if (found != 0 && (found != pid || !may_be_postmaster(k, pid)))
        return err_set(err, -EBADMSG, "the agent calls process %d the postmaster, which it cannot be", (int)pid);
    closep(&k->postmaster_fd);
    k->killer.postmaster = found; /* 0 also if it has died meanwhile */
    if (found == 0)
        return 0;
    k->postmaster_fd = *pidfd;
    *pidfd = -1;
    return 0;
}

static void say_ready(struct keeper *k)
{
    if (k->ready)
        return;
    k->ready = true;
    notify_send(&k->notify, "READY=1\nMAINPID=%d", (int)k->killer.keeper);
    keeper_say_status(k);
}

static void fill_answer(const struct keeper *k, const struct keeper_request *r, enum keeper_result result,
                        struct keeper_answer *ret)
{
    *ret = (struct keeper_answer){
        .version = KEEPER_PROTOCOL,
        .op = r->op,
        .seq = r->seq,
        .result = (uint16_t)result,
        .state = (uint16_t)k->lease.state,
        .watchdog = (uint16_t)k->watchdog.status,
        .rung = (uint16_t)k->lease.rung,
        .lease_id = k->lease.lease_id,
        .deadline_us = k->lease.deadline_us,
        .fence_at_us = k->lease.fence_at_us,
        .watchdog_timeout_us = k->watchdog.timeout_us,
        .last_pet_us = k->watchdog.last_pet_us,
        .fenced_at_us = k->lease.fenced_at_us,
        .postmaster_pid = (uint32_t)k->killer.postmaster,
        .agent_starts = k->agent.starts,
        .serve = (uint16_t)k->lease.serve,
        .gate = (uint16_t)keeper_net_gate(k),
        .addresses = k->net.report.addresses,
        .addresses_held = k->net.report.addresses_held,
        .address_conflicts = k->net.report.address_conflicts,
        .addresses_settled = keeper_net_is_settled(k),
        .net_restarts = k->net.restarts,
        .watchdog_reset_us = watchdog_reset_us(&k->watchdog),
        .longest_pet_gap_us = k->pets.longest_gap_us,
        .late_pets = k->pets.late,
        .watchdog_reset_last = k->was_reset,
        .watchdog_error = (uint32_t)k->watchdog.error,
    };
    memcpy(ret->watchdog_identity, k->watchdog.identity, sizeof(ret->watchdog_identity));
}

void keeper_tell_agent(struct keeper *k)
{
    const struct keeper_request status = {.op = KEEPER_STATUS};
    struct keeper_answer news;

    if (k->agent.fd < 0)
        return;
    fill_answer(k, &status, KEEPER_OK, &news);
    (void)keeper_answer(k->agent.fd, &news, NULL); /* an agent that does not read learns it from its next question */
}

int keeper_handle_request(struct keeper *k, const struct keeper_request *r, int pidfd, struct keeper_answer *ret_answer,
                          struct err *err)
{
    struct lease_event event = {.lease_id = r->lease_id, .deadline_us = r->deadline_us};
    enum keeper_result result = KEEPER_OK;
    CLEANUP(closep) int owned_fd = pidfd;
    int code = 0;

    switch ((enum keeper_op)r->op) {
    case KEEPER_ARM:
        result = handle_arm(k, r);
        break;
    case KEEPER_RENEW:
        event.type = LEASE_EVENT_RENEW;
        result = keeper_step(k, &event);
        break;
    case KEEPER_POSTMASTER:
        code = handle_postmaster(k, (pid_t)r->pid, &owned_fd, err);
        break;
    case KEEPER_DISARM:
        event.type = LEASE_EVENT_DISARM;
        result = keeper_step(k, &event);
        keeper_kill_and_prove(k); /* after a clean stop there is nothing to wait for */
        break;
    case KEEPER_STATUS:
        say_ready(k);
        break;
    case KEEPER_SERVE:
        event.type = LEASE_EVENT_SERVE;
        event.serve = (enum keeper_serve)r->serve;
        result = keeper_step(k, &event);
        break;
    }
    if (code == 0)
        fill_answer(k, r, result, ret_answer);
    return code;
}

static int read_one(struct keeper *k, struct err *err)
{
    struct keeper_request request;
    struct keeper_answer answer;
    int pidfd = -1, r;

    r = keeper_recv(k->agent.fd, &request, &pidfd, err);
    if (r == 0)
        r = keeper_handle_request(k, &request, pidfd, &answer, err);
    if (r < 0)
        return r;
    if (k->agent.fd < 0)
        return -EAGAIN; /* it was killed with the node meanwhile */
    r = keeper_answer(k->agent.fd, &answer, err);
    return r == -EAGAIN ? err_set(err, -EBADMSG, "the agent does not read its answers") : r;
}

void keeper_read_requests(struct keeper *k)
{
    for (int i = 0; i < REQUESTS_PER_TURN && k->agent.fd >= 0; i++) {
        struct err err = {0};
        int r = read_one(k, &err);

        if (r == -EAGAIN)
            return;
        if (r == -ECONNRESET) {
            hang_up(k); /* most likely it is exiting; its status will tell */
            return;
        }
        if (r < 0) {
            log_error("%s: the agent is broken, killing it", err.msg);
            keeper_drop_agent(k);
            return;
        }
    }
}
