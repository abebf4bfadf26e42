#include "fence/protocol.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Which fields a request has; see the table in the header. */
static const struct {
    bool deadline, pid, serve;
} fields[] = {
    [KEEPER_ARM] = {.deadline = true}, [KEEPER_RENEW] = {.deadline = true}, [KEEPER_POSTMASTER] = {.pid = true},
    [KEEPER_DISARM] = {false},         [KEEPER_STATUS] = {false},           [KEEPER_SERVE] = {.serve = true},
};

static bool request_is_valid(const struct keeper_request *r, bool has_fd)
{
    bool deadline;

    if (r->version != KEEPER_PROTOCOL || r->op < KEEPER_ARM || r->op > KEEPER_SERVE)
        return false;
    if (r->serve > (fields[r->op].serve ? (uint32_t)KEEPER_SERVE_STANDBY_LEADER : 0))
        return false;
    deadline = fields[r->op].deadline || keeper_serve_is_standby(r->serve);
    if (deadline != (r->deadline_us != 0))
        return false;
    if (!fields[r->op].pid && r->pid != 0)
        return false;
    return has_fd == (r->pid != 0);
}

/* Closes all descriptors of a message but returns the only one if it is the only one; -1 else. */
static int take_descriptor(struct msghdr *msg, bool *ret_odd)
{
    int fd = -1;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        /* The kernel rounds the room for one descriptor up to room for two. */
        for (size_t i = 0; i < count; i++) {
            int extra;

            memcpy(&extra, CMSG_DATA(c) + i * sizeof(int), sizeof(extra));
            if (fd < 0 && !*ret_odd) {
                fd = extra;
                continue;
            }
            *ret_odd = true;
            closep(&extra);
        }
    }
    if (*ret_odd)
        closep(&fd);
    return fd;
}

int keeper_recv(int fd, struct keeper_request *ret, int *ret_pidfd, struct err *err)
{
    struct keeper_request req = {0};
    struct iovec iov = {.iov_base = &req, .iov_len = sizeof(req)};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    CLEANUP(closep) int pidfd = -1;
    bool odd = false;
    ssize_t n;

    n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return err_sys(err, errno == EPIPE ? -ECONNRESET : -errno, "could not receive from the agent");
    pidfd = take_descriptor(&msg, &odd);
    if (n == 0)
        return err_set(err, -ECONNRESET, "the agent closed its end");
    if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || (size_t)n != sizeof(req) || odd)
        return err_set(err, -EBADMSG, "unrecognized message of %zd bytes from the agent", n);
    if (!request_is_valid(&req, pidfd >= 0))
        return err_set(err, -EBADMSG, "invalid request from the agent: version %u, op %u", (unsigned)req.version,
                       (unsigned)req.op);
    *ret = req;
    *ret_pidfd = pidfd;
    pidfd = -1;
    return 0;
}

static int send_message(int fd, struct msghdr *msg, const char *to, struct err *err)
{
    if (sendmsg(fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return 0;
    return err_sys(err, errno == EPIPE ? -ECONNRESET : -errno, "could not send to the %s", to);
}

int keeper_answer(int fd, const struct keeper_answer *answer, struct err *err)
{
    struct keeper_answer copy = *answer;
    struct iovec iov = {.iov_base = &copy, .iov_len = sizeof(copy)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    return send_message(fd, &msg, "agent", err);
}

int keeper_ask(int fd, const struct keeper_request *request, int pidfd, struct err *err)
{
    struct keeper_request copy = *request;
    struct iovec iov = {.iov_base = &copy, .iov_len = sizeof(copy)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};

    if (pidfd >= 0) {
        struct cmsghdr *c;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &pidfd, sizeof(pidfd));
    }
    return send_message(fd, &msg, "keeper", err);
}

static bool answer_is_valid(const struct keeper_answer *a)
{
    return a->version == KEEPER_PROTOCOL && a->op >= KEEPER_ARM && a->op <= KEEPER_SERVE &&
           a->result <= KEEPER_REFUSED_GATE && a->state >= KEEPER_DISARMED && a->state <= KEEPER_STARVING &&
           a->watchdog <= KEEPER_WATCHDOG_FAILED && a->rung <= FENCE_RUNG_STARVE &&
           a->serve <= KEEPER_SERVE_STANDBY_LEADER && a->gate <= KEEPER_GATE_FAILED;
}

int keeper_recv_answer(int fd, struct keeper_answer *ret, struct err *err)
{
    struct keeper_answer answer;
    ssize_t n = recv(fd, &answer, sizeof(answer), MSG_DONTWAIT | MSG_TRUNC); /* MSG_TRUNC: the true size, if larger */

    if (n < 0)
        return err_sys(err, errno == EPIPE ? -ECONNRESET : -errno, "could not receive from the keeper");
    if (n == 0)
        return err_set(err, -ECONNRESET, "the keeper closed its end");
    if ((size_t)n != sizeof(answer) || !answer_is_valid(&answer))
        return err_set(err, -EBADMSG, "unrecognized answer of %zd bytes from the keeper", n);
    *ret = answer;
    return 0;
}

const char *keeper_state_text(enum keeper_state state)
{
    switch (state) {
    case KEEPER_DISARMED:
        return "disarmed";
    case KEEPER_ARMED:
        return "armed";
    case KEEPER_FENCING:
        return "fencing";
    case KEEPER_STARVING:
        return "starving the watchdog";
    }
    return "unknown";
}

const char *keeper_result_text(enum keeper_result result)
{
    switch (result) {
    case KEEPER_OK:
        return "ok";
    case KEEPER_REFUSED_LATE:
        return "refused: the lease leaves no time for fencing";
    case KEEPER_REFUSED_LEASE:
        return "refused: not the lease that is armed, or an impossible deadline";
    case KEEPER_REFUSED_WATCHDOG:
        return "refused: the required watchdog is not usable";
    case KEEPER_REFUSED_STATE:
        return "refused: not in this state";
    case KEEPER_REFUSED_GATE:
        return "refused: the required port gate is not in force";
    }
    return "unknown";
}

const char *keeper_watchdog_text(enum keeper_watchdog watchdog)
{
    switch (watchdog) {
    case KEEPER_WATCHDOG_OFF:
        return "off";
    case KEEPER_WATCHDOG_READY:
        return "ready";
    case KEEPER_WATCHDOG_TICKING:
        return "ticking";
    case KEEPER_WATCHDOG_FAILED:
        return "failed";
    }
    return "unknown";
}

const char *keeper_rung_text(enum fence_rung rung)
{
    switch (rung) {
    case FENCE_RUNG_NONE:
        return "none";
    case FENCE_RUNG_DISARM:
        return "killed what the agent had left";
    case FENCE_RUNG_KILL:
        return "killed the whole node";
    case FENCE_RUNG_STARVE:
        return "stopped petting the watchdog";
    }
    return "unknown";
}

const char *keeper_serve_text(enum keeper_serve serve)
{
    switch (serve) {
    case KEEPER_SERVE_NONE:
        return "nobody";
    case KEEPER_SERVE_STANDBY:
        return "standby";
    case KEEPER_SERVE_REPLICA_ADDRESS:
        return "standby with the replica address";
    case KEEPER_SERVE_PRIMARY:
        return "primary";
    case KEEPER_SERVE_STANDBY_LEADER:
        return "standby leader";
    }
    return "unknown";
}

const char *keeper_gate_text(enum keeper_gate gate)
{
    switch (gate) {
    case KEEPER_GATE_OFF:
        return "off";
    case KEEPER_GATE_CLOSED:
        return "closed";
    case KEEPER_GATE_OPEN:
        return "open";
    case KEEPER_GATE_FAILED:
        return "failed";
    }
    return "unknown";
}
