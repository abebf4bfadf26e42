/* What the keeper does before its loop, where waiting and allocating are still allowed, and after it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "config.h"
#include "fence/capabilities.h"
#include "fence/harden.h"
#include "fence/keeper_private.h"
#include "fence/pump.h"
#include "fence/reset_time.h"
#include "fence/scribe.h"

enum { LOG_FLUSH_MS = 1000, LEFTOVER_END_MS = 3000, DROP_MS = 2000 };

void keeper_init(struct keeper *k, const struct keeper_options *options)
{
    *k = (struct keeper){
        .options = options,
        .rundir = {.dir_fd = -1, .lock_fd = -1},
        .notify.fd = -1,
        .store = {.barrier_fd = -1, .inherited = -1},
        .watchdog.fd = -1,
        .will.dir_fd = -1,
        .killer = {.tree.proc_fd = -1, .keeper = getpid()},
        .kill_round = killer_round,
        .agent = {.fd = -1, .restart_at_us = 0, .kill_at_us = UINT64_MAX},
        .spawn.agent_procs_fd = -1,
        .signal_fd = -1,
        .log_fd = -1,
        .scribe_fd = -1,
        .statedir.dir_fd = -1,
        .timer_fd = -1,
        .postmaster_fd = -1,
    };
    lease_init(&k->lease, false);
    keeper_net_init(k);
}

/* A socket must not become descriptor 0, 1 or 2, and nobody below us shall read our standard input. */
static void tidy_descriptors(void)
{
    int fd;

    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd < 0)
        return;
    (void)dup2(fd, STDIN_FILENO);
    (void)close(fd);
}

/* Returns 0, or the exit status with which to end; what went wrong has been said. */
static int read_settings(struct keeper *k)
{
    char *const argv[] = {(char *)(uintptr_t) "pgtether-agent", (char *)(uintptr_t) "-c",
                          (char *)(uintptr_t)k->options->config, (char *)(uintptr_t) "--print-keeper-config", NULL};
    char text[SETTINGS_TEXT_MAX];
    struct err err = {0};
    size_t len = 0;
    int r;

    r = spawn_capture(&k->spawn, argv, text, sizeof(text), &len, &err);
    if (r > 0)
        return r; /* the agent has explained itself on stderr */
    if (r == 0)
        r = settings_parse(text, len, &k->settings, &err);
    if (r < 0) {
        log_error("%s", err.msg);
        return 1;
    }
    settings_resolve_data_dir(&k->settings);
    return 0;
}

static int check_config(struct keeper *k)
{
    char *const argv[] = {(char *)(uintptr_t) "pgtether-agent", (char *)(uintptr_t) "--check-config",
                          (char *)(uintptr_t)k->options->config, NULL};
    struct err err = {0};

    (void)spawn_exec(&k->spawn, argv, &err);
    log_error("%s", err.msg);
    return 1;
}

static int find_programs(struct keeper *k)
{
    struct err err = {0};
    int r;

    k->spawn.config = k->options->config;
    r = spawn_find_user(k->options->user, &k->spawn.user, &err);
    if (r == 0)
        r = spawn_find_agent(k->options->agent, k->spawn.agent, sizeof(k->spawn.agent), &err);
    if (r < 0)
        log_error("%s", err.msg);
    return r < 0 ? 1 : 0;
}

static int open_signals(struct keeper *k, struct err *err)
{
    sigset_t mask;

    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGTERM);
    (void)sigaddset(&mask, SIGINT);
    (void)sigaddset(&mask, SIGHUP);
    (void)sigaddset(&mask, SIGCHLD);
    (void)sigprocmask(SIG_SETMASK, &mask, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGUSR1, SIG_IGN);
    (void)signal(SIGUSR2, SIG_IGN);
    k->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    k->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (k->signal_fd < 0 || k->timer_fd < 0)
        return err_sys(err, -errno, "could not open the descriptors of the loop");
    return 0;
}

/* Everything whose failure ends the start. */
static int open_all(struct keeper *k, struct err *err)
{
    int r;
    enum log_format format = log_format_of_stderr();

    k->killer.data_dir = k->settings.data_dir;
    r = rundir_open(&k->rundir, &k->settings, &k->spawn.user, err);
    if (r < 0)
        return r;
    k->spawn.run_dir = k->rundir.path;
    r = pump_start(&k->log_fd, err);
    if (r < 0)
        return r;
    k->killer.pump = r;
    log_open(k->log_fd, format, k->settings.log_level);
    /* S6: a datagram that is not taken at once goes to the pump instead. */
    if (format == LOG_FORMAT_SYSLOG)
        (void)log_open_journal(LOG_JOURNAL_SOCKET, "pgtetherd", k->settings.scope, k->settings.name);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return err_sys(err, -errno, "could not become the parent of orphans");
    r = open_signals(k, err);
    if (r == 0)
        r = tree_open(&k->killer.tree, err);
    return r < 0 ? r : notify_open(&k->notify, err);
}

/* Without it everything works but the fence report. */
static void open_state(struct keeper *k)
{
    struct err err = {0};
    pid_t pid;

    if (statedir_open(&k->statedir, &k->settings, &k->spawn.user, &err) < 0) {
        log_warning("%s", err.msg);
        return;
    }
    k->spawn.state_dir = k->statedir.path;
    pid = scribe_start(k->statedir.dir_fd, &k->scribe_fd, &err);
    if (pid < 0)
        log_warning("%s", err.msg);
    k->killer.scribe = pid < 0 ? 0 : pid;
}

static void open_cgroups(struct keeper *k)
{
    static char pg_procs[CGROUP_PATH_SIZE + 32];
    struct cgroups *c = &k->killer.cgroups;
    struct err err = {0};

    if (cgroups_open(c, k->settings.scope, k->settings.name, k->settings.data_dir, k->spawn.user.uid, k->spawn.user.gid,
                     &err) < 0) {
        log_info("killing by process tree, not by control group: %s", err.msg);
        return;
    }
    k->spawn.agent_procs_fd = c->groups[CGROUP_AGENT].procs_fd;
    (void)text_print(pg_procs, sizeof(pg_procs), "%s/pg/cgroup.procs", c->path);
    k->spawn.pg_procs = pg_procs;
}

/* Never two agents: what a dead keeper left of its own goes first, with what that agent had started (not PostgreSQL).
 */
static int remove_old_agent(struct keeper *k, struct err *err)
{
    uint64_t until_us = clock_now_us() + LEFTOVER_END_MS * USEC_PER_MSEC;
    pid_t pid;
    int r;

    r = rundir_remove_agent(&k->rundir, k->spawn.agent, &pid, err);
    if (r < 0)
        return r;
    if (pid)
        log_warning("killed process %d, the agent of an earlier pgtetherd", (int)pid);
    while (cgroups_populated(&k->killer.cgroups, CGROUP_AGENT)) {
        (void)cgroups_kill(&k->killer.cgroups, CGROUP_AGENT, NULL);
        if (clock_now_us() > until_us)
            return err_set(err, -ETIMEDOUT, "processes of an earlier agent do not die");
        (void)poll(NULL, 0, 5);
    }
    return 0;
}

/*
 * More than one watchdog in the store: another copy of the one we take, or another device, which nobody pets. That one
 * is stopped; the first must not see the magic character, since it ticks on.
 */
static void close_stale_watchdog(void *ctx, int kept, int fd)
{
    struct keeper *k = ctx;
    struct stat ours, stale;

    if (fstat(kept, &ours) < 0 || fstat(fd, &stale) < 0 || ours.st_rdev != stale.st_rdev)
        (void)k->watchdog.ops->write(k->watchdog.ctx, fd, 'V');
    (void)k->watchdog.ops->close(k->watchdog.ctx, fd);
}

static void adopt_stored_watchdog(struct keeper *k, const struct will *will)
{
    struct err err = {0};

    if (k->store.inherited < 0)
        return;
    if (watchdog_adopt(&k->watchdog, k->store.inherited, will->timeout_us, &err) < 0) {
        log_warning("%s", err.msg);
        closep(&k->store.inherited);
        return;
    }
    k->store.inherited = -1;
    log_info("took over watchdog \"%s\" from the service manager", k->watchdog.identity);
}

/* The device that a predecessor left ticking is petted on, as long as that is allowed. */
static int resume_watchdog(struct keeper *k, const struct will *will)
{
    struct err err = {0};
    int r;

    if (will->reset_us == 0 || !lease_decide(&k->lease, clock_now_us()).may_pet)
        return 0; /* nothing ticks; or it does, and opening or setting it would be a pet too many */
    /* Exactly what it was set to: R was reckoned for that, and with any longer timeout a pet outlives the lease (S4).
     */
    r = watchdog_start(&k->watchdog, will->timeout_us, &err);
    if (r < 0)
        log_error("%s", err.msg);
    return r;
}

static void resume_lease(struct keeper *k, const struct will *will)
{
    const struct lease_event failed = {.type = LEASE_EVENT_WATCHDOG_FAILED};
    const struct lease_event serve = {
        .type = LEASE_EVENT_SERVE, .serve = KEEPER_SERVE_PRIMARY, .lease_id = will->lease_id};
    uint64_t now_us = clock_now_us();

    log_warning("taking over lease %016" PRIx64 " of an earlier pgtetherd: valid for %" PRIu64 " ms", will->lease_id,
                clock_rest_us(now_us, will->deadline_us) / USEC_PER_MSEC);
    lease_resume(&k->lease, will->lease_id, will->deadline_us, will->reset_us, now_us);
    if (resume_watchdog(k, will) < 0)
        (void)keeper_step(k, &failed);
    else if (watchdog_reset_us(&k->watchdog) > k->lease.reset_us)
        lease_resume(&k->lease, will->lease_id, will->deadline_us, watchdog_reset_us(&k->watchdog), now_us);
    if (will->serves_primary && now_us < k->lease.fence_at_us)
        (void)lease_step(&k->lease, &serve, now_us);
}

/* The real reset time, if a test has measured it: that of this boot's predecessor, or an earlier one. */
static void use_measured_reset_time(struct keeper *k)
{
    struct reset_measure m;
    struct err err = {0};

    if (!k->settings.state_dir[0])
        return;
    if (reset_test_collect(k->settings.state_dir, NULL, &m, &err) < 0)
        log_warning("%s", err.msg);
    if (reset_time_read(k->settings.state_dir, &m) < 0)
        return;
    k->settings.watchdog.measured_timeout_us = m.timeout_us;
    k->settings.watchdog.measured_reset_us = m.reset_us;
    log_info("measured: with a timeout of %" PRIu64 " s the watchdog resets this host %" PRIu64
             " ms after the last pet",
             m.timeout_us / USEC_PER_SEC, m.reset_us / USEC_PER_MSEC);
}

static void find_watchdog(struct keeper *k)
{
    /* The device may still be ticking for a primary that a predecessor left, and probing would stop it. */
    bool was_reset, may_open = k->lease.state == KEEPER_DISARMED && k->watchdog.fd < 0;
    struct err err = {0};

    if (watchdog_probe(&k->watchdog, may_open, &was_reset, &err) < 0) {
        keeper_say_probe_failed(k, &err);
        return;
    }
    k->was_reset = was_reset;
    if (was_reset)
        log_warning("the last boot of this host followed a reset by its watchdog");
    if (k->watchdog.nowayout)
        log_warning("watchdog \"%s\" cannot be stopped once it ticks: after the first lease, stopping pgtether resets "
                    "this host",
                    k->watchdog.settings.device);
    else if (k->watchdog.status == KEEPER_WATCHDOG_READY && may_open && !k->watchdog.magic_close)
        log_warning("watchdog \"%s\" stops when it is closed: it does not fence when pgtetherd crashes",
                    k->watchdog.settings.device);
}

/* What was left running, and what is known about the lease it ran under. */
static void take_over(struct keeper *k)
{
    const struct lease_event disarm = {.type = LEASE_EVENT_DISARM};
    enum will_found found;
    struct err err = {0};
    struct will will;

    if (will_open(&k->will, k->rundir.dir_fd, k->rundir.path, &found, &will, &err) < 0)
        log_warning("%s", err.msg);
    adopt_stored_watchdog(k, &will);
    if (found == WILL_VALID && will.armed) {
        resume_lease(k, &will);
    } else if (found == WILL_VALID) {
        (void)resume_watchdog(k, &will); /* one that nothing can stop; any other is stopped at once */
    } else if (found == WILL_UNKNOWN && killer_primary_lives(&k->killer)) {
        log_warning("PostgreSQL runs, and nothing is known about its lease: killing it");
        (void)keeper_step(k, &disarm);
    }
    find_watchdog(k);
}

static void harden(void)
{
    static int (*const parts[])(struct err * err) = {harden_memory, harden_scheduling, harden_oom};

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct err err = {0};

        if (parts[i](&err) < 0)
            log_warning("%s", err.msg);
    }
}

/* A device that udev gave to somebody else (the reference's manual advises so) is root's to open only by privilege. */
static bool watchdog_has_another_owner(const struct keeper *k)
{
    struct stat st;

    return k->settings.watchdog.mode != WATCHDOG_MODE_OFF && stat(k->settings.watchdog.device, &st) == 0 &&
           (st.st_uid != geteuid() || !(st.st_mode & S_IWUSR));
}

/* Nothing after the start may need more than is kept. */
static void give_up_privileges(struct keeper *k)
{
    struct err err = {0};

    if (capabilities_of_keeper(watchdog_has_another_owner(k), &err) < 0)
        log_warning("%s", err.msg);
}

int keeper_start(struct keeper *k, const struct watchdog_ops *ops, void *ctx)
{
    struct err err = {0};
    int r;

    k->watchdog.ops = ops;
    k->watchdog.ctx = ctx;
    fdstore_open(&k->store, &k->notify, close_stale_watchdog, k);
    tidy_descriptors();
    log_open(STDERR_FILENO, log_format_of_stderr(), LOG_LEVEL_INFO);
    r = find_programs(k);
    if (r == 0 && k->options->check_config)
        return check_config(k);
    if (r == 0)
        r = read_settings(k);
    if (r != 0)
        return r;
    if (open_all(k, &err) < 0) {
        log_error("%s", err.msg);
        return 1;
    }
    log_info("pgtetherd %s starts for \"%s\" of \"%s\"", PACKAGE_VERSION, k->settings.name, k->settings.scope);
    lease_init(&k->lease, k->settings.watchdog.mode == WATCHDOG_MODE_REQUIRED);
    open_state(k);
    use_measured_reset_time(k);
    watchdog_init(&k->watchdog, &k->settings.watchdog, ops, ctx);
    open_cgroups(k);
    harden();
    if (remove_old_agent(k, &err) < 0) {
        log_error("%s", err.msg);
        return 1;
    }
    take_over(k);
    keeper_net_begin(k);
    give_up_privileges(k);
    return 0;
}

/* The last lines shall arrive, but an unread stderr must not keep us. */
static void end_log(struct keeper *k)
{
    unsigned lost = log_lost();

    if (lost)
        log_warning("%u log lines were lost because nobody read them", lost);
    log_open(STDERR_FILENO, log_format_of_stderr(), k->settings.log_level);
    closep(&k->log_fd);
    for (int ms = 0; k->killer.pump && ms < LOG_FLUSH_MS && waitpid(k->killer.pump, NULL, WNOHANG) == 0; ms += 5)
        (void)poll(NULL, 0, 5);
}

/*
 * Nothing is armed, so it may be stopped; but it ticks on while the service manager has a copy. One that does not
 * answer will close it after us, with the magic character already said.
 */
static void wait_for_store(struct keeper *k)
{
    for (int ms = 0; ms < DROP_MS && !fdstore_drop(&k->store); ms += 5)
        (void)poll(NULL, 0, 5);
}

void keeper_end(struct keeper *k)
{
    struct err err = {0};
    bool ticks;

    if (k->watchdog.fd >= 0 && !k->watchdog.nowayout)
        wait_for_store(k);
    ticks = k->watchdog.fd >= 0 && watchdog_stop(&k->watchdog, &err) != 0;
    if (ticks)
        log_error("the watchdog cannot be stopped: it resets this host unless pgtether is started again in time");
    watchdog_abandon(&k->watchdog);
    keeper_net_end(k, k->spare_postgres);
    cgroups_close(&k->killer.cgroups);
    if (k->spawn.user.change)
        (void)setfsuid(k->spawn.user.uid); /* whose directory it is: the privilege to write there was given up */
    will_close(&k->will, !ticks);          /* nothing is armed, or the loop would not have ended */
    log_info("stopped");
    fdstore_close(&k->store);
    closep(&k->scribe_fd); /* with which the scribe ends */
    statedir_close(&k->statedir);
    notify_close(&k->notify);
    rundir_close(&k->rundir);
    tree_close(&k->killer.tree);
    closep(&k->signal_fd);
    closep(&k->timer_fd);
    end_log(k);
}
