#include "fence/keeper.h"
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "fence/keeper_private.h"
#include "fence/scribe.h"

#define STATUS_PERIOD_US USEC_PER_SEC

/* --- what the lease demands -----------------------------------------------------------------------------------------
 */

static void log_transition(const struct keeper *k, enum keeper_state old_state, bool old_whole_node)
{
    const struct lease *l = &k->lease;
    uint64_t rest_ms = clock_rest_us(clock_now_us(), l->deadline_us) / USEC_PER_MSEC;

    if (l->state == old_state && l->whole_node == old_whole_node)
        return;
    switch (l->state) {
    case KEEPER_DISARMED:
        log_info("disarmed: no process of the primary is left");
        break;
    case KEEPER_ARMED:
        log_info("armed lease %016" PRIx64 ": valid for %" PRIu64 " ms, fencing begins %" PRIu64
                 " ms before its end, watchdog %s",
                 l->lease_id, rest_ms, clock_rest_us(l->fence_at_us, l->deadline_us) / USEC_PER_MSEC,
                 keeper_watchdog_text(k->watchdog.status));
        break;
    case KEEPER_FENCING:
        if (l->whole_node)
            log_error("fencing: %s: killing PostgreSQL and the agent, %" PRIu64 " ms before the lease ends", l->reason,
                      rest_ms);
        else
            log_info("disarming: killing what is left of PostgreSQL: %s", l->reason);
        break;
    case KEEPER_STARVING:
        log_error("%s: %s", l->reset_us ? "the watchdog is petted no more" : "no watchdog can reset this host",
                  l->reason);
        break;
    }
}

/* What a fence report needs to know, should the host be reset: written by a child, which may or may not manage. */
static void note_rung(const struct keeper *k, enum keeper_state old_state, bool old_whole_node)
{
    const struct lease *l = &k->lease;

    if ((l->whole_node && !old_whole_node) || (l->state == KEEPER_STARVING && old_state != KEEPER_STARVING))
        scribe_note(k->scribe_fd, l->rung, l->reason);
}

static void record(struct keeper *k)
{
    const struct will will = {.armed = k->lease.armed,
                              .serves_primary = k->lease.serve == KEEPER_SERVE_PRIMARY,
                              .lease_id = k->lease.lease_id,
                              .deadline_us = k->lease.deadline_us,
                              .reset_us = watchdog_reset_us(&k->watchdog),
                              .timeout_us = k->watchdog.timeout_us};

    will_write(&k->will, &will);
}

/* The record comes before the answer: what the agent was permitted, a successor will know. */
enum keeper_result keeper_step(struct keeper *k, const struct lease_event *event)
{
    enum keeper_state old_state = k->lease.state;
    bool old_whole_node = k->lease.whole_node;
    enum keeper_result result = lease_step(&k->lease, event, clock_now_us());

    if (event->type != LEASE_EVENT_TICK || k->lease.state != old_state)
        record(k);
    keeper_net_order(k); /* before the answer, too; and the addresses go before anybody is killed */
    note_rung(k, old_state, old_whole_node);
    log_transition(k, old_state, old_whole_node);
    if (k->lease.whole_node && !old_whole_node)
        closep(&k->agent.fd); /* it is being killed: what it still asked for does not count any more */
    if (k->lease.state != old_state) {
        k->next_round_us = 0;
        keeper_say_status(k);
    }
    return result;
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return fd >= 0 && poll(&p, 1, 0) > 0;
}

/* A pid without a process may soon be somebody else's. */
static void forget_dead_postmaster(struct keeper *k)
{
    if (!is_readable(k->postmaster_fd))
        return;
    log_info("the postmaster, process %d, is gone", (int)k->killer.postmaster);
    closep(&k->postmaster_fd);
    k->killer.postmaster = 0;
}

/*
 * After DISARMED somebody else may lead at once, so the addresses must be gone, too. A node that is killed gives up no
 * key: there the kernel ends them with the lease, and a lock that pgtether-net waits for must not reset the host.
 */
static bool is_proven(const struct keeper *k, const struct killer_result *result, enum lease_kill kill)
{
    return result->proven && (kill == LEASE_KILL_NODE || keeper_net_is_shut(k));
}

static void plan_round(struct keeper *k, const struct killer_result *result, uint64_t now_us)
{
    if (k->killing_since_us == 0) {
        k->killing_since_us = now_us;
        if (result->left)
            log_info("killing %d processes", result->left);
        if (result->err.code)
            log_error("%s", result->err.msg);
    }
    k->next_round_us =
        clock_now_us() + (now_us - k->killing_since_us < USEC_PER_SEC ? KILLER_ROUND_US : KILLER_SLOW_ROUND_US);
}

void keeper_kill_and_prove(struct keeper *k)
{
    const struct lease_event proven = {.type = LEASE_EVENT_PROVEN_DEAD};
    uint64_t now_us = clock_now_us();
    enum lease_kill kill = lease_decide(&k->lease, now_us).kill;
    struct killer_result result;

    if (kill == LEASE_KILL_NOTHING || now_us < k->next_round_us)
        return;
    forget_dead_postmaster(k);
    result = k->kill_round(&k->killer, kill);
    if (!is_proven(k, &result, kill)) {
        plan_round(k, &result, now_us);
        return;
    }
    k->killing_since_us = 0;
    k->killer.postmaster = 0;
    closep(&k->postmaster_fd);
    (void)keeper_step(k, &proven);
}

static uint64_t pet_at_us(const struct keeper *k)
{
    /* At least a second: a device that would not say its timeout must not keep the loop busy. */
    uint64_t timeout_us = k->watchdog.timeout_us > USEC_PER_SEC ? k->watchdog.timeout_us : USEC_PER_SEC;

    return k->watchdog.fd < 0 ? UINT64_MAX : k->watchdog.last_pet_us + timeout_us / 3;
}

/*
 * The clock was read, then this process or the whole host stood still, then the pet went through, and now the reset
 * would come after the lease. The shortest timeout is what can be taken back of it.
 */
static void shorten_late_pet(struct keeper *k)
{
    struct err err = {0};

    if (lease_decide(&k->lease, k->watchdog.last_pet_us).may_pet)
        return;
    log_error("the watchdog was petted too late, its timeout becomes 1 s");
    if (watchdog_start(&k->watchdog, USEC_PER_SEC, &err) < 0)
        log_error("%s", err.msg);
}

static void pet(struct keeper *k)
{
    const struct lease_event failed = {.type = LEASE_EVENT_WATCHDOG_FAILED};
    bool was_failed = k->watchdog.status == KEEPER_WATCHDOG_FAILED;
    struct err err = {0};
    uint64_t now_us = clock_now_us();

    if (now_us < pet_at_us(k))
        return;
    if (!lease_decide(&k->lease, now_us).may_pet) {
        k->pets.withheld = true;
        return;
    }
    keeper_note_pet(k, now_us);
    if (watchdog_pet(&k->watchdog, &err) == 0) {
        shorten_late_pet(k);
        return;
    }
    k->watchdog.last_pet_us = now_us; /* try again when the next one is due, not in a circle */
    if (!was_failed)
        log_error("%s: %s", err.msg,
                  k->lease.watchdog_required ? "leadership is to be handed over"
                                             : "this primary goes on without hardware to fence it");
    (void)keeper_step(k, &failed);
}

static void stop_watchdog(struct keeper *k)
{
    struct err err = {0};

    if (k->watchdog.fd < 0 || k->watchdog.nowayout || !lease_decide(&k->lease, clock_now_us()).may_stop_watchdog)
        return;
    /* While the service manager has a copy, closing ours would stop nothing: petted on until it has let go. */
    if (!fdstore_drop(&k->store))
        return;
    if (watchdog_stop(&k->watchdog, &err) < 0)
        log_error("%s: it is petted on, and will reset this host when pgtether stops", err.msg);
    record(k);
}

/* For a successor, as long as the device ticks and is not about to be stopped. */
static void store_watchdog(struct keeper *k)
{
    if (k->watchdog.fd >= 0 && (k->watchdog.nowayout || !lease_decide(&k->lease, clock_now_us()).may_stop_watchdog))
        fdstore_keep(&k->store, k->watchdog.fd);
}

void keeper_act(struct keeper *k)
{
    const struct lease_event tick = {.type = LEASE_EVENT_TICK};

    (void)keeper_step(k, &tick);
    pet(k);
    store_watchdog(k);
    keeper_kill_and_prove(k);
    stop_watchdog(k);
    keeper_watch_watchdog(k);
    if (clock_now_us() >= k->agent.kill_at_us) {
        log_warning("the agent has hung up but does not end: killing it");
        keeper_drop_agent(k);
    }
    keeper_start_agent_if_due(k);
    keeper_net_act(k);
}

/* --- what others see ------------------------------------------------------------------------------------------------
 */

void keeper_say_status(struct keeper *k)
{
    uint64_t now_us = clock_now_us(), rest_ms = clock_rest_us(now_us, k->lease.deadline_us) / USEC_PER_MSEC;
    char watchdog[96], leases[64];

    k->status_sent_us = now_us;
    if (k->watchdog.status == KEEPER_WATCHDOG_TICKING)
        (void)text_print(watchdog, sizeof(watchdog), "watchdog %s %" PRIu64 " s", k->watchdog.identity,
                         k->watchdog.timeout_us / USEC_PER_SEC);
    else
        (void)text_print(watchdog, sizeof(watchdog), "watchdog %s", keeper_watchdog_text(k->watchdog.status));
    keeper_net_describe(k, leases, sizeof(leases));
    if (k->lease.state == KEEPER_ARMED)
        notify_send(&k->notify, "STATUS=primary, lease valid for %" PRIu64 ".%" PRIu64 " s, %s%s", rest_ms / 1000,
                    rest_ms / 100 % 10, leases, watchdog);
    else
        notify_send(&k->notify, "STATUS=%s: %s, %s%s", keeper_state_text(k->lease.state), k->lease.reason, leases,
                    watchdog);
}

/* The service manager's own watchdog learns that the loop turns. */
static void say_alive(struct keeper *k, uint64_t now_us)
{
    if (k->notify.watchdog_us && now_us >= k->alive_sent_us + k->notify.watchdog_us / 2) {
        k->alive_sent_us = now_us;
        notify_send(&k->notify, "WATCHDOG=1");
    }
    if (k->lease.state == KEEPER_ARMED && now_us >= k->status_sent_us + STATUS_PERIOD_US)
        keeper_say_status(k);
}

/* The earliest sign of a host that is too slow to be fenced in time: a reset cannot be logged (as sbd does it). */
static void judge_lateness(struct keeper *k, uint64_t now_us)
{
    uint64_t late_us = clock_rest_us(k->planned_us, now_us), budget_us;

    /* With a watchdog the pets are what is judged. */
    if (!k->lease.armed || k->lease.reset_us)
        return;
    budget_us = clock_rest_us(k->lease.fence_at_us, k->lease.deadline_us);
    if (late_us > budget_us / 5 * 3)
        log_warning("woke up %" PRIu64 " ms late, of %" PRIu64 " ms that fencing can bear", late_us / USEC_PER_MSEC,
                    budget_us / USEC_PER_MSEC);
}

/* --- the loop -------------------------------------------------------------------------------------------------------
 */

static void reap_children(struct keeper *k)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == k->agent.pid)
            keeper_agent_exited(k, status);
        else if (pid == k->net.pid)
            keeper_net_exited(k, status);
        else if (pid == k->killer.scribe)
            k->killer.scribe = 0;
        else if (pid == k->killer.pump)
            k->killer.pump = 0; /* what we have to say is lost from now on; log_lost() counts */
    }
}

static void reload(struct keeper *k)
{
    struct timespec ts = {0};

    /* sd_notify(3) asks for this clock. */
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    notify_send(&k->notify, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000);
    if (k->agent.pid)
        (void)kill(k->agent.pid, SIGHUP);
    if (k->ready)
        notify_send(&k->notify, "READY=1");
}

static void read_signals(struct keeper *k)
{
    struct signalfd_siginfo info;

    while (read(k->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
            keeper_stop(k);
        else if (info.ssi_signo == SIGHUP)
            reload(k);
        else if (info.ssi_signo == SIGCHLD)
            reap_children(k);
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_wake_us(const struct keeper *k, uint64_t now_us)
{
    struct lease_decision d = lease_decide(&k->lease, now_us);
    uint64_t at_us = earlier(earlier(d.next_at_us, k->agent.kill_at_us), keeper_net_next_us(k));

    if (d.may_pet)
        at_us = earlier(at_us, pet_at_us(k));
    if (d.kill != LEASE_KILL_NOTHING)
        at_us = earlier(at_us, k->next_round_us);
    else if (k->agent.pid == 0 && !k->stopping)
        at_us = earlier(at_us, k->agent.restart_at_us);
    at_us = earlier(at_us, keeper_watchdog_wake_us(k));
    if (k->notify.watchdog_us)
        at_us = earlier(at_us, k->alive_sent_us + k->notify.watchdog_us / 2);
    return at_us;
}

static void set_timer(struct keeper *k)
{
    struct itimerspec when = {0};
    uint64_t now_us = clock_now_us(), at_us = next_wake_us(k, now_us);

    k->planned_us = at_us > now_us ? at_us : now_us;
    if (k->planned_us != UINT64_MAX) {
        when.it_value.tv_sec = (time_t)(k->planned_us / USEC_PER_SEC);
        /* 0 would switch the timer off; an instant in the past is due at once. */
        when.it_value.tv_nsec = (long)(k->planned_us % USEC_PER_SEC * 1000) + 1;
    }
    (void)timerfd_settime(k->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void turn(struct keeper *k)
{
    bool kills = lease_decide(&k->lease, clock_now_us()).kill != LEASE_KILL_NOTHING;
    enum cgroup_which group = k->lease.whole_node ? CGROUP_NODE : CGROUP_PG;
    struct pollfd fds[] = {
        {.fd = k->signal_fd, .events = POLLIN},
        {.fd = k->timer_fd, .events = POLLIN},
        {.fd = k->agent.fd, .events = POLLIN},
        {.fd = k->postmaster_fd, .events = POLLIN},
        /* A control group that has run empty: the proof need not wait for the next round. */
        {.fd = kills && k->killer.cgroups.usable ? k->killer.cgroups.groups[group].events_fd : -1, .events = POLLPRI},
        {.fd = k->net.fd, .events = POLLIN},
        {.fd = k->store.barrier_fd, .events = POLLIN}, /* keeper_act() looks at it */
    };
    uint64_t expirations, now_us;

    set_timer(k);
    if (poll(fds, ARRAY_LEN(fds), -1) < 0)
        return;
    now_us = clock_now_us();
    judge_lateness(k, now_us);
    say_alive(k, now_us);
    /* Requests before signals: what a dying agent said last still counts, and a DISARM may be among it. */
    if (fds[2].revents)
        keeper_read_requests(k);
    if (fds[0].revents)
        read_signals(k);
    if (fds[1].revents && read(k->timer_fd, &expirations, sizeof(expirations)) < 0)
        expirations = 0; /* set anew meanwhile */
    if (fds[3].revents)
        forget_dead_postmaster(k);
    if (fds[4].revents & POLLPRI)
        k->next_round_us = 0;
    if (fds[5].revents) {
        keeper_net_read(k);
        k->next_round_us = 0; /* the proof may have waited for it */
    }
    keeper_act(k);
}

static bool may_end(const struct keeper *k)
{
    return k->finished && (k->spare_postgres || k->lease.state == KEEPER_DISARMED);
}

int keeper_main(const struct keeper_options *options, const struct watchdog_ops *watchdog_ops, void *watchdog_ctx)
{
    static struct keeper keeper; /* large, and alone in its process */
    int r;

    keeper_init(&keeper, options);
    r = keeper_start(&keeper, watchdog_ops, watchdog_ctx);
    if (r != 0)
        return r;
    keeper_act(&keeper);
    while (!may_end(&keeper))
        turn(&keeper);
    keeper_end(&keeper);
    return keeper.exit_status;
}
