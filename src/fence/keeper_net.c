/* The keeper and the process that keeps its kernel leases: starting it, telling it, and believing what it reports. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "fence/keeper_private.h"

#define BACKOFF_MIN_US (100 * USEC_PER_MSEC)
#define BACKOFF_MAX_US (5 * USEC_PER_SEC)
#define BACKOFF_FORGET_US (60 * USEC_PER_SEC)
/* An order is carried out in microseconds unless somebody holds a lock of the kernel. */
#define HUNG_US (5 * USEC_PER_SEC)

enum { REPORTS_PER_TURN = 8, END_MS = 2000 };

void keeper_net_init(struct keeper *k)
{
    k->net = (struct keeper_net){.fd = -1, .restart_at_us = UINT64_MAX};
}

/* Without addresses and gate it is started once, to remove what a predecessor with other settings has left. */
static bool is_wanted(const struct keeper *k)
{
    return k->settings.gate_wanted || k->settings.n_addresses > 0;
}

void keeper_net_begin(struct keeper *k)
{
    struct err err = {0};

    if (k->settings.n_net_words == 0)
        return;
    if (spawn_find_net(k->spawn.net, sizeof(k->spawn.net), &err) < 0) {
        log_error("%s", err.msg); /* without it nothing is claimed, and a required gate refuses every lease */
        return;
    }
    k->net.told_until_us = k->lease.promised_until_us; /* by a predecessor */
    for (size_t i = 0; i < k->settings.n_net_words; i++)
        k->net.argv[i + 1] = k->settings.net_words[i];
    k->net.argv[0] = k->spawn.net;
    k->net.restart_at_us = 0;
    keeper_net_start_if_due(k);
}

/* --- orders ---------------------------------------------------------------------------------------------------------
 */

static bool is_same(const struct lease_reach *a, const struct lease_reach *b)
{
    return a->gate_until_us == b->gate_until_us && a->primary_until_us == b->primary_until_us &&
           a->replica_until_us == b->replica_until_us;
}

static uint64_t latest(uint64_t until_us, const struct lease_reach *r)
{
    const uint64_t all[] = {r->gate_until_us, r->primary_until_us, r->replica_until_us};

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        until_us = all[i] > until_us ? all[i] : until_us;
    return until_us;
}

static int send_order(struct keeper *k, const struct lease_reach *reach, enum net_flag flags)
{
    const struct net_order order = {.version = NET_PROTOCOL,
                                    .flags = (uint16_t)flags,
                                    .seq = k->net.seq + 1,
                                    .gate_until_us = reach->gate_until_us,
                                    .primary_until_us = reach->primary_until_us,
                                    .replica_until_us = reach->replica_until_us};
    int r = net_send_order(k->net.fd, &order, NULL);

    if (r < 0)
        return r; /* full: it does not read. Gone: its end will be noticed. What it told the kernel ends by itself. */
    k->net.seq++;
    k->net.told_until_us = latest(k->net.told_until_us, reach);
    if (!k->net.waiting_since_us)
        k->net.waiting_since_us = clock_now_us();
    return 0;
}

void keeper_net_order(struct keeper *k)
{
    struct lease_reach reach = lease_reach(&k->lease);

    if (k->net.fd < 0 || (k->net.ordered && is_same(&reach, &k->net.sent)))
        return;
    k->net.ordered = send_order(k, &reach, 0) == 0;
    if (k->net.ordered)
        k->net.sent = reach;
}

bool keeper_net_is_settled(const struct keeper *k)
{
    const struct keeper_net *n = &k->net;

    return !is_wanted(k) || (n->ordered && n->reported && n->report.seq == n->seq && n->report.shut);
}

bool keeper_net_is_shut(const struct keeper *k)
{
    return clock_now_us() >= k->net.told_until_us;
}

enum keeper_gate keeper_net_gate(const struct keeper *k)
{
    if (!k->settings.gate_wanted)
        return KEEPER_GATE_OFF;
    return k->net.fd < 0 || !k->net.reported || k->net.is_hung ? KEEPER_GATE_FAILED : k->net.report.gate;
}

void keeper_net_describe(const struct keeper *k, char *dst, size_t size)
{
    unsigned held = k->net.report.addresses_held;
    char addresses[40] = "", gate[24] = "";

    if (k->settings.n_addresses > 0)
        (void)text_print(addresses, sizeof(addresses), "%u address%s held, ", held, held == 1 ? "" : "es");
    if (k->settings.gate_wanted)
        (void)text_print(gate, sizeof(gate), "gate %s, ", keeper_gate_text(keeper_net_gate(k)));
    (void)text_print(dst, size, "%s%s", addresses, gate);
}

/* --- its life -------------------------------------------------------------------------------------------------------
 */

static int connect_and_spawn(struct keeper *k, struct err *err)
{
    CLEANUP(closep) int its_end = -1;
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return err_sys(err, -errno, "could not create a socket for pgtether-net");
    its_end = pair[1];
    pid = spawn_net(&k->spawn, k->net.argv, its_end, err);
    if (pid < 0) {
        (void)close(pair[0]);
        return pid;
    }
    k->net.fd = pair[0];
    k->net.pid = k->killer.net = pid;
    return 0;
}

static void plan_restart(struct keeper *k, uint64_t now_us)
{
    struct keeper_net *n = &k->net;

    if (n->backoff_us == 0 || clock_rest_us(n->started_us, now_us) >= BACKOFF_FORGET_US)
        n->backoff_us = BACKOFF_MIN_US;
    n->restart_at_us = now_us + n->backoff_us;
    n->backoff_us = n->backoff_us * 2 > BACKOFF_MAX_US ? BACKOFF_MAX_US : n->backoff_us * 2;
}

void keeper_net_start_if_due(struct keeper *k)
{
    uint64_t now_us = clock_now_us();
    struct err err = {0};

    if (k->net.pid != 0 || now_us < k->net.restart_at_us)
        return;
    k->net.restart_at_us = UINT64_MAX;
    k->net.started_us = now_us;
    k->net.waiting_since_us = 0;
    k->net.ordered = k->net.reported = k->net.is_hung = false;
    if (connect_and_spawn(k, &err) < 0) {
        log_error("%s", err.msg);
        plan_restart(k, now_us);
        return;
    }
    keeper_net_order(k); /* what it begins with, so that it neither opens nor closes what it finds */
}

void keeper_net_exited(struct keeper *k, int wait_status)
{
    closep(&k->net.fd);
    k->net.pid = k->killer.net = 0;
    k->net.waiting_since_us = 0;
    if (!is_wanted(k))
        return;
    k->net.restarts++;
    log_warning("pgtether-net ended (wait status %d): addresses and port gate end with the lease, starting it again",
                wait_status);
    plan_restart(k, clock_now_us());
}

/* --- reports --------------------------------------------------------------------------------------------------------
 */

static void note_report(struct keeper *k, const struct net_report *report)
{
    bool is_new = strcmp(report->problem, k->net.reported ? k->net.report.problem : "") != 0;
    bool is_shown = k->net.report.gate != report->gate || k->net.report.addresses_held != report->addresses_held;

    if (is_new && report->problem[0])
        log_warning("pgtether-net: %s", report->problem);
    else if (is_new)
        log_info("pgtether-net: all is well again");
    k->net.report = *report;
    k->net.reported = true;
    if (is_shown)
        keeper_say_status(k);
    if (report->seq != k->net.seq)
        return;
    if (k->net.ordered && report->shut && latest(0, &k->net.sent) == 0)
        k->net.told_until_us = 0;
    if (k->net.is_hung)
        log_info("pgtether-net answers again");
    k->net.waiting_since_us = 0;
    k->net.is_hung = false;
}

void keeper_net_read(struct keeper *k)
{
    for (int i = 0; i < REPORTS_PER_TURN && k->net.fd >= 0; i++) {
        struct net_report report;
        struct err err = {0};
        int r = net_recv_report(k->net.fd, &report, &err);

        if (r == -EAGAIN)
            return;
        if (r == 0) {
            note_report(k, &report);
            continue;
        }
        if (r != -ECONNRESET)
            log_error("%s", err.msg);
        closep(&k->net.fd);
        (void)kill(k->net.pid, SIGKILL); /* our child, not yet reaped: the pid is its own */
    }
}

uint64_t keeper_net_next_us(const struct keeper *k)
{
    if (k->net.pid == 0)
        return k->net.restart_at_us;
    return k->net.waiting_since_us && !k->net.is_hung ? k->net.waiting_since_us + HUNG_US : UINT64_MAX;
}

void keeper_net_act(struct keeper *k)
{
    keeper_net_start_if_due(k);
    keeper_net_order(k); /* again, if the last one could not be sent */
    if (k->net.is_hung || !k->net.waiting_since_us || clock_now_us() < k->net.waiting_since_us + HUNG_US)
        return;
    k->net.is_hung = true;
    log_error("pgtether-net does not answer: addresses and port gate end with the lease they were last given");
}

void keeper_net_end(struct keeper *k)
{
    const struct lease_reach nothing = {0};

    if (k->net.pid == 0)
        return;
    if (send_order(k, &nothing, NET_END) < 0)
        closep(&k->net.fd);
    for (int ms = 0; ms < END_MS; ms += 5) {
        if (waitpid(k->net.pid, NULL, WNOHANG) == k->net.pid)
            break;
        (void)poll(NULL, 0, 5);
    }
    closep(&k->net.fd);
    k->net.pid = k->killer.net = 0;
}
