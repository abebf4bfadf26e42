#include "fence/spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/text.h"
#include "fence/net.h"
#include "fence/capabilities.h"
#include "fence/protocol.h"

int spawn_find_user(const char *name, struct spawn_user *ret, struct err *err)
{
    struct spawn_user u = {.uid = geteuid(), .gid = getegid()};
    struct passwd *pw;

    u.change = geteuid() == 0;
    errno = 0;
    pw = u.change ? getpwnam(name ? name : "postgres") : getpwuid(u.uid);
    if (!pw && !u.change) {
        *ret = u; /* a user without a name, as in some containers */
        return 0;
    }
    if (!pw)
        return err_set(err, -ENOENT, "cannot find user \"%s\"\nHINT: Name the owner of the data directory with --user.",
                       name ? name : "postgres");
    if (name && !u.change && !text_equal(name, pw->pw_name))
        return err_set(err, -EPERM, "only root can run the agent as another user");
    if (!text_copy(u.name, sizeof(u.name), pw->pw_name) || !text_copy(u.home, sizeof(u.home), pw->pw_dir))
        return err_set(err, -ENAMETOOLONG, "the names of user \"%.64s\" are too long", pw->pw_name);
    u.uid = pw->pw_uid;
    u.gid = pw->pw_gid;
    u.group_count = SPAWN_GROUPS_MAX;
    if (u.change && getgrouplist(u.name, u.gid, u.groups, &u.group_count) < 0)
        return err_set(err, -E2BIG, "user \"%s\" is in more than %d groups", u.name, SPAWN_GROUPS_MAX);
    *ret = u;
    return 0;
}

static int find_program(const char *name, char *dst, size_t size, struct err *err)
{
    static const char *const beside[] = {"", "../libexec/pgtether/"};
    char self[PATH_MAX];
    char *slash;
    ssize_t n;

    if (text_print(dst, size, "%s/%s", PKGLIBEXECDIR, name) && access(dst, X_OK) == 0)
        return 0;
    n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0)
        return err_sys(err, -errno, "could not find out where this program is");
    self[n] = '\0';
    slash = strrchr(self, '/');
    if (slash)
        slash[1] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(beside); i++)
        if (text_print(dst, size, "%s%s%s", self, beside[i], name) && access(dst, X_OK) == 0)
            return 0;
    return err_set(err, -ENOENT, "cannot find program \"%s/%s\"", PKGLIBEXECDIR, name);
}

int spawn_find_agent(const char *path, char *dst, size_t size, struct err *err)
{
    if (!path)
        return find_program("pgtether-agent", dst, size, err);
    return text_copy(dst, size, path) ? 0 : err_set(err, -ENAMETOOLONG, "the path of the agent is too long");
}

int spawn_find_gate(char *dst, size_t size, struct err *err)
{
    return find_program("pgtether-gate", dst, size, err);
}

int spawn_find_net(char *dst, size_t size, struct err *err)
{
    return find_program("pgtether-net", dst, size, err);
}

/* --- in the child ---------------------------------------------------------------------------------------------------
 */

__attribute__((noreturn, format(printf, 1, 2))) static void give_up(const char *fmt, ...)
{
    va_list ap;

    log_open(STDERR_FILENO, log_format_of_stderr(), LOG_LEVEL_INFO); /* the keeper's pipe is not ours */
    va_start(ap, fmt);
    log_vwrite(LOG_LEVEL_ERROR, fmt, ap);
    va_end(ap);
    _exit(127);
}

static void write_setting(const char *path, const char *value)
{
    CLEANUP(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, value, strlen(value)) < 0)
        return; /* a wish only */
}

static void reset_signals(void)
{
    sigset_t none;

    (void)sigemptyset(&none);
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What makes the keeper special must not make PostgreSQL special. Locked memory is not inherited by fork. */
static void reset_privileges(const struct spawn *s)
{
    struct sched_param normal = {.sched_priority = 0};

    reset_signals();
    (void)sched_setscheduler(0, SCHED_OTHER, &normal);
    write_setting("/proc/self/oom_score_adj", "0");
    (void)setsid();
    if (s->agent_procs_fd >= 0 && write(s->agent_procs_fd, "0", 1) < 0)
        give_up("could not move into the agent's control group: %s", strerrordesc_np(errno));
}

static void become_user(const struct spawn_user *u)
{
    struct err err = {0};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        give_up("could not give up privileges: %s", strerrordesc_np(errno));
    capabilities_unbound();
    if (u->change && (setgroups((size_t)u->group_count, u->groups) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
                      setresuid(u->uid, u->uid, u->uid) < 0))
        give_up("could not become user \"%s\": %s", u->name, strerrordesc_np(errno));
    if (capabilities_drop(&err) < 0)
        give_up("%s", err.msg);
    if (!u->change)
        return;
    (void)setenv("USER", u->name, 1);
    (void)setenv("LOGNAME", u->name, 1);
    (void)setenv("HOME", u->home, 1);
}

static void set_or_unset(const char *name, const char *value)
{
    if (value)
        (void)setenv(name, value, 1);
    else
        (void)unsetenv(name);
}

static void set_environment(const struct spawn *s)
{
    /* The service manager talks with the keeper only. */
    static const char *const ours[] = {
        "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "FDSTORE",
    };

    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        (void)unsetenv(ours[i]);
    set_or_unset("PGTETHER_RUN_DIR", s->run_dir);
    set_or_unset("PGTETHER_STATE_DIR", s->state_dir);
    set_or_unset("PGTETHER_CGROUP_PROCS", s->pg_procs);
}

/* Puts fd at the number `at`, without CLOEXEC, and closes everything from `at` + 1 on. */
static void keep_descriptor(int fd, int at)
{
    if (fd == at ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, at) < 0)
        give_up("could not pass descriptor %d on: %s", fd, strerrordesc_np(errno));
}

static void close_from(int first)
{
    if (syscall(SYS_close_range, first, ~0U, 0) == 0)
        return;
    for (int fd = first; fd < 1024; fd++) /* before Linux 5.9; the keeper opens a few dozen */
        (void)close(fd);
}

__attribute__((noreturn)) static void execute(const struct spawn *s, char *const argv[])
{
    become_user(&s->user);
    (void)execv(s->agent, argv);
    give_up("could not execute \"%s\": %s", s->agent, strerrordesc_np(errno));
}

/* --- in the keeper --------------------------------------------------------------------------------------------------
 */

static int read_to_end(int fd, char *dst, size_t size, size_t *ret_len, struct err *err)
{
    size_t len = 0;
    ssize_t n;

    while (len < size && (n = read(fd, dst + len, size - len)) != 0) {
        if (n < 0 && errno != EINTR)
            return err_sys(err, -errno, "could not read what the agent prints");
        if (n > 0)
            len += (size_t)n;
    }
    if (len == size)
        return err_set(err, -E2BIG, "the agent prints too much");
    *ret_len = len;
    return 0;
}

int spawn_capture(const struct spawn *s, char *const argv[], char *dst, size_t size, size_t *ret_len, struct err *err)
{
    CLEANUP(closep) int out = -1;
    int pair[2], status, r;
    pid_t pid;

    if (pipe2(pair, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "could not create a pipe");
    out = pair[0];
    pid = fork();
    if (pid == 0) {
        reset_signals();
        keep_descriptor(pair[1], STDOUT_FILENO);
        close_from(STDERR_FILENO + 1);
        set_environment(s);
        execute(s, argv);
    }
    (void)close(pair[1]);
    if (pid < 0)
        return err_sys(err, -errno, "could not start \"%s\"", s->agent);
    r = read_to_end(out, dst, size, ret_len, err);
    closep(&out); /* who still writes gets SIGPIPE */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (r < 0)
        return r;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int spawn_exec(const struct spawn *s, char *const argv[], struct err *err)
{
    if (s->user.change)
        become_user(&s->user);
    (void)execv(s->agent, argv);
    return err_sys(err, -errno, "could not execute \"%s\"", s->agent);
}

pid_t spawn_agent(const struct spawn *s, int agent_end, struct err *err)
{
    char *const argv[] = {(char *)(uintptr_t) "pgtether-agent", (char *)(uintptr_t) "-c", (char *)(uintptr_t)s->config,
                          NULL};
    pid_t pid = fork();

    if (pid < 0)
        return err_sys(err, -errno, "could not start the agent");
    if (pid > 0)
        return pid;
    reset_privileges(s);
    keep_descriptor(agent_end, KEEPER_AGENT_FD);
    close_from(KEEPER_AGENT_FD + 1);
    set_environment(s);
    execute(s, argv);
}

pid_t spawn_net(const struct spawn *s, char *const argv[], int its_end, struct err *err)
{
    pid_t pid = fork();

    if (pid < 0)
        return err_sys(err, -errno, "could not start pgtether-net");
    if (pid > 0)
        return pid;
    reset_signals();
    keep_descriptor(its_end, NET_KEEPER_FD);
    close_from(NET_KEEPER_FD + 1);
    set_environment(s);
    (void)execv(s->net, argv);
    give_up("could not execute \"%s\": %s", s->net, strerrordesc_np(errno));
}

pid_t spawn_helper(const char *program, char *const argv[], struct err *err)
{
    const struct sched_param normal = {.sched_priority = 0};
    pid_t pid = fork();

    if (pid < 0)
        return err_sys(err, -errno, "could not start \"%s\"", program);
    if (pid > 0)
        return pid;
    reset_signals();
    (void)sched_setscheduler(0, SCHED_OTHER, &normal);
    write_setting("/proc/self/oom_score_adj", "0");
    close_from(STDERR_FILENO + 1);
    (void)execv(program, argv);
    give_up("could not execute \"%s\": %s", program, strerrordesc_np(errno));
}

int spawn_wait(pid_t pid, const char *program, struct err *err)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_sys(err, -errno, "could not wait for \"%s\"", program);
    if (WIFSIGNALED(status))
        return err_set(err, -EIO, "\"%s\" was ended by signal %d", program, WTERMSIG(status));
    if (WEXITSTATUS(status))
        return err_set(err, -EIO, "\"%s\" failed with status %d", program, WEXITSTATUS(status));
    return 0;
}
