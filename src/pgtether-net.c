/*
 * pgtether-net: keeps the kernel leases of one node, the virtual addresses and the port gate, as the keeper orders
 * (fence/net.h). Started by pgtetherd, with its settings as words "key=value" and its end of the socket inherited.
 *
 * It may wait for locks of the kernel, which the keeper may not. What the kernel has been told ends by itself, so a
 * process that hangs here, or is gone, lets nothing live on.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "fence/capabilities.h"
#include "fence/gate.h"
#include "fence/net.h"
#include "fence/sockets.h"
#include "fence/spawn.h"
#include "vip/vip.h"

#define SETUP_AGAIN_US (5 * USEC_PER_SEC)
#define FIRST_ORDER_MS 10000

enum { EXIT_USAGE = 64, NAME_SIZE = 128, POLL_FDS = VIP_FDS + 3 };

struct net {
    char scope[NAME_SIZE], name[NAME_SIZE], gate_program[PATH_MAX];
    struct gate_settings gate_settings;
    struct vip_settings vip_settings[VIP_MAX];
    size_t n_vips;
    struct vips vips;
    struct gate gate;
    struct sockets sockets, strays; /* of a dead primary; and to addresses that have gone */
    bool gate_is_up, can_sweep, can_end_strays;
    bool was_here[VIP_MAX];
    uint64_t setup_at_us; /* the next attempt to set the gate up; UINT64_MAX = none */
    char gate_problem[NET_PROBLEM_SIZE], vip_problem[NET_PROBLEM_SIZE];
    struct net_order order;
    struct net_report reported;
    int signal_fd;
};

/* --- settings -------------------------------------------------------------------------------------------------------
 */

static bool add_vip(struct net *n, const char *value)
{
    if (n->n_vips == VIP_MAX || !address_parse(value, &n->vip_settings[n->n_vips]))
        return false;
    n->n_vips++;
    return true;
}

static bool set_port(struct net *n, const char *value)
{
    uint32_t port;

    if (!text_to_u32(value, &port) || port == 0 || port > UINT16_MAX)
        return false;
    n->gate_settings.port = (uint16_t)port;
    return true;
}

static bool read_word(struct net *n, const char *word)
{
    const char *value = strchr(word, '=');

    if (!value++)
        return false;
    if (text_starts_with(word, "scope="))
        return text_copy(n->scope, sizeof(n->scope), value);
    if (text_starts_with(word, "name="))
        return text_copy(n->name, sizeof(n->name), value);
    if (text_starts_with(word, "gate_mode="))
        return gate_mode_from_text(value, &n->gate_settings.mode);
    if (text_starts_with(word, "pg_port="))
        return set_port(n, value);
    return text_starts_with(word, "vip=") && add_vip(n, value);
}

/* --- the gate -------------------------------------------------------------------------------------------------------
 */

static void set_problem(char *dst, const struct err *err)
{
    (void)text_copy(dst, NET_PROBLEM_SIZE, err->msg);
    dst[strcspn(dst, "\n")] = '\0'; /* not the hint */
}

static void set_up_gate(struct net *n)
{
    struct err err = {0};

    n->setup_at_us = UINT64_MAX;
    gate_init(&n->gate, &n->gate_settings);
    /* Looked for each time: what was missing may have been installed meanwhile. */
    if (spawn_find_gate(n->gate_program, sizeof(n->gate_program), &err) < 0 ||
        gate_setup(&n->gate, n->gate_program, n->scope, n->name, &err) < 0) {
        set_problem(n->gate_problem, &err);
        n->setup_at_us = clock_now_us() + SETUP_AGAIN_US;
        return;
    }
    n->gate_problem[0] = '\0';
    n->gate_is_up = n->gate_settings.mode != GATE_MODE_OFF;
    if (!n->gate_is_up)
        return;
    if (sockets_open(&n->sockets, n->gate_settings.port, &err) < 0)
        log_warning("connections that a dead primary leaves behind cannot be ended: %s", err.msg);
    else
        n->can_sweep = true;
}

/*
 * What the kernel still holds of the last primary's answers must not leave with the next opening. The keeper says that
 * the gate may open only after it has proven that primary dead, so no process can hold a socket's lock.
 */
static void sweep(struct net *n)
{
    struct err err = {0};
    int r = 1;

    for (int i = 0; n->can_sweep && r > 0 && i < 10000; i++)
        r = sockets_sweep(&n->sockets, &err);
    if (r < 0)
        log_warning("could not end the connections that a dead primary left behind: %s", err.msg);
}

static void note_gate(struct net *n, int r, const struct err *err)
{
    if (r == 0) {
        n->gate_problem[0] = '\0';
        return;
    }
    set_problem(n->gate_problem, err);
    if (r == -ENOENT && gate_repair(&n->gate, NULL) < 0)
        log_error("could not bring the table of the port gate back");
}

static void obey_gate(struct net *n)
{
    uint64_t now_us = clock_now_us();
    struct err err = {0};

    if (!n->gate_is_up)
        return;
    if (n->order.gate_until_us <= now_us) {
        note_gate(n, gate_shut(&n->gate, &err), &err);
        return;
    }
    if (gate_state(&n->gate, now_us) != GATE_OPEN)
        sweep(n);
    note_gate(n, gate_until(&n->gate, n->order.gate_until_us, &err), &err);
}

/* --- connections to an address that has gone ---------------------------------------------------------------------
 *
 * Nothing their clients send arrives any more. One that had just connected keeps PostgreSQL from ending: the child that
 * is to tell it of the shutdown waits a minute for its first packet, and the shutdown for the child.
 */

static void end_strays(struct net *n, const struct vip_settings *to)
{
    struct err err = {0};
    int r = 1;

    n->strays.only_family = to->family;
    memcpy(n->strays.only, to->address, sizeof(n->strays.only));
    for (int i = 0; r > 0 && i < 10000; i++)
        r = sockets_sweep(&n->strays, &err);
    if (r < 0)
        log_warning("could not end the connections to an address that has gone: %s", err.msg);
}

static void look_for_strays(struct net *n)
{
    for (size_t i = 0; i < n->vips.n; i++) {
        const struct vip *v = &n->vips.vips[i];

        if (n->can_end_strays && n->was_here[i] && !v->in_kernel && v->state == VIP_ABSENT)
            end_strays(n, &v->settings);
        if (v->in_kernel || v->state == VIP_ABSENT)
            n->was_here[i] = v->in_kernel;
    }
}

/* --- the addresses --------------------------------------------------------------------------------------------------
 */

static void obey_address(struct net *n, enum vip_for who, uint64_t until_us)
{
    if (until_us)
        vip_hold(&n->vips, who, until_us);
    else
        vip_drop(&n->vips, who);
}

static void open_addresses(struct net *n)
{
    struct err err = {0};

    if (vip_open(&n->vips, n->vip_settings, n->n_vips, n->order.primary_until_us, &err) < 0)
        set_problem(n->vip_problem, &err);
    n->can_end_strays =
        n->n_vips > 0 && n->gate_settings.port && sockets_open(&n->strays, n->gate_settings.port, &err) >= 0;
}

/* Addresses first when something is taken away: clients shall look elsewhere before they are cut off. */
static void obey(struct net *n)
{
    obey_address(n, VIP_FOR_PRIMARY, n->order.primary_until_us);
    obey_address(n, VIP_FOR_REPLICA, n->order.replica_until_us);
    obey_gate(n);
}

/* --- reports --------------------------------------------------------------------------------------------------------
 */

static enum keeper_gate report_gate(const struct net *n, uint64_t now_us)
{
    switch (gate_state(&n->gate, now_us)) {
    case GATE_OFF:
        break;
    case GATE_CLOSED:
        return KEEPER_GATE_CLOSED;
    case GATE_OPEN:
        return KEEPER_GATE_OPEN;
    case GATE_FAILED:
        return KEEPER_GATE_FAILED;
    }
    return n->gate_settings.mode == GATE_MODE_NFTABLES ? KEEPER_GATE_FAILED : KEEPER_GATE_OFF;
}

/* Of what was to be shut nothing is open. A gate that is not up never was, or a predecessor's ends by itself. */
static bool is_shut(const struct net *n, uint64_t now_us)
{
    if (n->order.primary_until_us == 0 && !vip_has_dropped(&n->vips, VIP_FOR_PRIMARY))
        return false;
    if (n->order.replica_until_us == 0 && !vip_has_dropped(&n->vips, VIP_FOR_REPLICA))
        return false;
    return n->order.gate_until_us || !n->gate_is_up || gate_state(&n->gate, now_us) == GATE_CLOSED;
}

static void report_addresses(const struct net *n, struct net_report *r)
{
    r->addresses = (uint16_t)n->n_vips;
    for (size_t i = 0; i < n->vips.n; i++) {
        const struct vip *v = &n->vips.vips[i];

        r->addresses_held = (uint16_t)(r->addresses_held + (v->state == VIP_HELD));
        r->address_conflicts += v->counters.foreign;
        if ((v->state == VIP_CONFLICT || v->state == VIP_FAILED) && !r->problem[0])
            (void)text_print(r->problem, sizeof(r->problem), "address %s: %s", v->text, v->error);
    }
}

static void report(struct net *n)
{
    uint64_t now_us = clock_now_us();
    struct net_report r = {.version = NET_PROTOCOL, .seq = n->order.seq};

    r.gate = (uint16_t)(n->gate_is_up                                 ? report_gate(n, now_us)
                        : n->gate_settings.mode == GATE_MODE_NFTABLES ? KEEPER_GATE_FAILED
                                                                      : KEEPER_GATE_OFF);
    report_addresses(n, &r);
    r.shut = is_shut(n, now_us);
    if (!r.problem[0] && n->vip_problem[0])
        (void)text_copy(r.problem, sizeof(r.problem), n->vip_problem);
    if (!r.problem[0] && n->gate_problem[0])
        (void)text_print(r.problem, sizeof(r.problem), "port gate: %.*s", NET_PROBLEM_SIZE - 16, n->gate_problem);
    if (memcmp(&r, &n->reported, sizeof(r)) == 0)
        return;
    if (net_send_report(NET_KEEPER_FD, &r, NULL) == 0)
        n->reported = r;
}

/* --- the loop -------------------------------------------------------------------------------------------------------
 */

/* The newest order counts. Returns 0, or -ECONNRESET when the keeper is gone. */
static int read_orders(struct net *n, bool *ret_some)
{
    struct err err = {0};
    int r;

    while ((r = net_recv_order(NET_KEEPER_FD, &n->order, &err)) == 0)
        *ret_some = true;
    if (r != -EAGAIN && r != -ECONNRESET)
        log_error("%s", err.msg);
    return r == -EAGAIN ? 0 : r;
}

static void reap(struct net *n)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    while (read(n->signal_fd, &info, sizeof(info)) == sizeof(info))
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (gate_reaped(&n->gate, pid, status))
            obey_gate(n);
}

static int rest_ms(uint64_t at_us)
{
    uint64_t rest_us = clock_rest_us(clock_now_us(), at_us);

    /* Rounded up, so that it does not come too early, and bounded for poll(). */
    return rest_us > 60 * USEC_PER_SEC ? 60000 : (int)((rest_us + USEC_PER_MSEC - 1) / USEC_PER_MSEC);
}

static void wait_for_something(const struct net *n, struct pollfd fds[POLL_FDS])
{
    uint64_t vip_at_us = vip_next_us(&n->vips);
    int vip_fd_numbers[VIP_FDS];

    vip_fds(&n->vips, vip_fd_numbers);
    for (int i = 0; i < VIP_FDS; i++)
        fds[i] = (struct pollfd){.fd = vip_fd_numbers[i], .events = POLLIN};
    fds[VIP_FDS] = (struct pollfd){.fd = NET_KEEPER_FD, .events = POLLIN};
    fds[VIP_FDS + 1] = (struct pollfd){.fd = n->signal_fd, .events = POLLIN};
    fds[VIP_FDS + 2] = (struct pollfd){.fd = n->gate_is_up ? gate_fd(&n->gate) : -1, .events = POLLIN};
    (void)poll(fds, POLL_FDS, rest_ms(vip_at_us < n->setup_at_us ? vip_at_us : n->setup_at_us));
}

/* Returns false when there is nothing more to do. */
static bool turn(struct net *n)
{
    struct pollfd fds[POLL_FDS];
    bool is_told = false;
    struct err err = {0};

    wait_for_something(n, fds);
    if (read_orders(n, &is_told) < 0 || (n->order.flags & NET_END))
        return false;
    if (fds[VIP_FDS + 1].revents)
        reap(n);
    if (fds[VIP_FDS + 2].revents)
        note_gate(n, gate_on_event(&n->gate, &err), &err);
    if (clock_now_us() >= n->setup_at_us) {
        set_up_gate(n);
        is_told = is_told || n->gate_is_up;
    }
    if (is_told)
        obey(n);
    vip_work(&n->vips);
    look_for_strays(n);
    report(n);
    return true;
}

/* --- begin and end --------------------------------------------------------------------------------------------------
 */

static int open_signals(struct net *n)
{
    sigset_t mask;

    /* Whoever stops the service tells the keeper, and that tells us. */
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, sig == SIGCHLD ? SIG_DFL : SIG_IGN);
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGCHLD);
    (void)sigprocmask(SIG_SETMASK, &mask, NULL);
    n->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return n->signal_fd < 0 ? -errno : 0;
}

/* Before anything is opened: whether what a predecessor left stays or goes is in it. */
static bool wait_for_order(struct net *n)
{
    struct pollfd p = {.fd = NET_KEEPER_FD, .events = POLLIN};
    bool is_told = false;

    (void)poll(&p, 1, FIRST_ORDER_MS);
    return read_orders(n, &is_told) == 0 && is_told;
}

static void end(struct net *n)
{
    struct err err = {0};

    if (n->order.flags & NET_END) {
        vip_drop(&n->vips, VIP_FOR_PRIMARY);
        vip_drop(&n->vips, VIP_FOR_REPLICA);
        if (n->gate_is_up && gate_remove(&n->gate, &err) < 0)
            log_error("could not remove the port gate: %s", err.msg);
    } else if (n->gate_is_up) {
        gate_abandon(&n->gate);
    }
    if (n->can_sweep)
        sockets_close(&n->sockets);
    if (n->can_end_strays)
        sockets_close(&n->strays);
    vip_close(&n->vips);
}

int main(int argc, char *argv[])
{
    static struct net net; /* large, and alone in its process */
    struct net *n = &net;
    struct err err = {0};

    log_open(STDERR_FILENO, log_format_of_stderr(), LOG_LEVEL_INFO);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (capabilities_of_net(&err) < 0)
        log_warning("%s", err.msg);
    for (int i = 1; i < argc; i++) {
        if (!read_word(n, argv[i])) {
            log_error("cannot understand \"%s\": pgtether-net is started by pgtetherd", argv[i]);
            return EXIT_USAGE;
        }
    }
    if (open_signals(n) < 0 || !wait_for_order(n))
        return EXIT_USAGE;
    set_up_gate(n);
    if (n->gate_settings.mode == GATE_MODE_OFF && n->n_vips == 0)
        return 0;
    open_addresses(n);
    obey(n);
    report(n);
    while (turn(n))
        ;
    end(n);
    return 0;
}
