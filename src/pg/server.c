#include "pg/server.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/loop.h"
#include "base/text.h"
#include "io/child.h"
#include "io/file.h"
#include "pg/diagnose.h"
#include "pg/lockfile.h"
#include "pg/proc.h"
#include "pg/startlog.h"

enum { KILL_ROUNDS = 3 };

struct pg_server {
    sd_event *loop;
    const struct config *config;
    char *cgroup_procs;
    pg_server_exit_fn on_exit;
    void *userdata;
    char data_dir[PATH_MAX]; /* resolved, as /proc shows it */

    struct child *child; /* started by us; NULL while adopted or none */
    pid_t pid;           /* 0 = none runs */
    int pidfd;
    sd_event_source *source; /* adopted: the pidfd */

    struct startlog log;    /* where the last start begins */
    struct err start_error; /* of the last start, if there was no postgres to write a log */
};

/* Where the data directory really is; before it exists that cannot be known. */
static void resolve_data_dir(struct pg_server *s)
{
    if (!realpath(s->config->postgresql.data_dir, s->data_dir))
        (void)text_copy(s->data_dir, sizeof(s->data_dir), s->config->postgresql.data_dir);
}

int pg_server_new(sd_event *loop, const struct config *config, const char *cgroup_procs, pg_server_exit_fn on_exit,
                  void *userdata, struct pg_server **ret, struct err *err)
{
    CLEANUP(pg_server_freep) struct pg_server *s = calloc(1, sizeof(*s));

    if (!s)
        return err_set(err, -ENOMEM, "out of memory");
    s->pidfd = -1;
    s->loop = sd_event_ref(loop);
    s->config = config;
    s->on_exit = on_exit;
    s->userdata = userdata;
    if (cgroup_procs) {
        s->cgroup_procs = strdup(cgroup_procs);
        if (!s->cgroup_procs)
            return err_set(err, -ENOMEM, "out of memory");
    }
    resolve_data_dir(s);
    *ret = STEAL(s);
    return 0;
}

static void forget(struct pg_server *s)
{
    s->source = loop_source_free(s->source);
    s->child = child_detach(s->child);
    closep(&s->pidfd);
    s->pid = 0;
}

struct pg_server *pg_server_free(struct pg_server *s)
{
    if (!s)
        return NULL;
    forget(s);
    free(s->cgroup_procs);
    (void)sd_event_unref(s->loop);
    free(s);
    return NULL;
}

pid_t pg_server_pid(const struct pg_server *s)
{
    return s->pid;
}

int pg_server_pidfd(const struct pg_server *s)
{
    return s->pidfd;
}

/* --- finding one that runs --- */

static int on_adopted_exit(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct pg_server *s = userdata;

    (void)source;
    (void)fd;
    (void)events;
    forget(s);
    s->on_exit(s->userdata, -1);
    return 0;
}

/* A program beside PostgreSQL in the same cgroup: whoever manages the server there. */
static bool cgroup_has_manager(const char *cgroup, const char *data_dir)
{
    CLEANUP(freep) char *text = NULL;
    char path[PATH_MAX], *rest, *line;

    if (!text_print(path, sizeof(path), "/sys/fs/cgroup%s/cgroup.procs", cgroup) ||
        file_read(path, 1 << 20, &text, NULL, NULL) < 0)
        return false;
    rest = text;
    while ((line = strsep(&rest, "\n"))) {
        struct proc p;
        uint32_t pid;

        if (text_to_u32(line, &pid) && proc_read((pid_t)pid, &p) == 0 && !p.zombie && !p.is_postgres &&
            !proc_is_in(&p, data_dir))
            return true;
    }
    return false;
}

/*
 * A postmaster in another service's cgroup belongs to that service if it is PostgreSQL's own, or if a manager still
 * runs in it. One that a stopped manager left behind (Patroni in pause) is free to be taken over.
 */
static int check_service(const struct pg_server *s, pid_t pid, struct err *err)
{
    char cgroup[PATH_MAX], service[256], own[256];

    if (!s->cgroup_procs)
        return 0;
    proc_cgroup(getpid(), cgroup, sizeof(cgroup));
    proc_service_of(cgroup, own, sizeof(own));
    proc_cgroup(pid, cgroup, sizeof(cgroup));
    proc_service_of(cgroup, service, sizeof(service));
    if (!*service || text_equal(service, own))
        return 0;
    if (!text_starts_with(service, "postgresql") && !cgroup_has_manager(cgroup, s->data_dir))
        return 0;
    return err_set(err, -EBUSY,
                   "the server in the data directory (process %d) belongs to the service \"%s\"\n"
                   "HINT:  systemctl disable --now %s",
                   (int)pid, service, service);
}

static int check_adoptable(const struct pg_server *s, const struct lockfile *f, const struct proc *p, struct err *err)
{
    if (p->uid != geteuid())
        return err_set(err, -EBUSY,
                       "the server in the data directory \"%s\" (process %d) runs as another user (uid %u)\n"
                       "HINT:  Stop it, or run the agent as its user",
                       s->data_dir, (int)p->pid, (unsigned)p->uid);
    if (f->single_user)
        return err_set(err, -EBUSY, "a single-user server (process %d) works in the data directory \"%s\"", (int)p->pid,
                       s->data_dir);
    return check_service(s, p->pid, err);
}

static int watch_adopted(struct pg_server *s, pid_t pid, int *pidfd, struct err *err)
{
    int r = sd_event_add_io(s->loop, &s->source, *pidfd, EPOLLIN, on_adopted_exit, s);

    if (r < 0)
        return err_sys(err, r, "could not watch the postmaster");
    s->pid = pid;
    s->pidfd = *pidfd;
    *pidfd = -1;
    return 1;
}

int pg_server_adopt(struct pg_server *s, struct err *err)
{
    CLEANUP(closep) int pidfd = -1;
    struct lockfile f;
    struct proc p;
    int r;

    if (s->pid)
        return 1;
    resolve_data_dir(s);
    r = lockfile_read_pid(s->data_dir, &f, err);
    if (r <= 0)
        return r == -EBADMSG ? 0 : r;
    if (f.pid == 0)
        return 0;
    /* First the descriptor, then the look: what we see is the process we hold, even if numbers are re-used. */
    pidfd = pidfd_open(f.pid, 0);
    if (pidfd < 0)
        return errno == ESRCH || errno == EINVAL ? 0 : err_sys(err, -errno, "could not watch process %d", (int)f.pid);
    if (lockfile_holder(&f, &p) != LOCKFILE_HELD)
        return 0;
    if (f.port && f.port != s->config->postgresql.listen_port)
        return 0;
    r = check_adoptable(s, &f, &p, err);
    return r < 0 ? r : watch_adopted(s, f.pid, &pidfd, err);
}

int pg_server_look(struct pg_server *s, struct err *err)
{
    struct lockfile f;
    struct proc p;
    int r;

    if (s->pid)
        return 0;
    r = lockfile_read_pid(s->data_dir, &f, err);
    if (r <= 0)
        return r == -EBADMSG ? 0 : r;
    if (f.pid == 0 || lockfile_holder(&f, &p) != LOCKFILE_HELD)
        return 0;
    r = check_adoptable(s, &f, &p, err);
    return r < 0 ? r : (int)f.pid;
}

/* --- starting --- */

static int clear_sockets_in(const struct pg_server *s, const char *dirs, struct err *err)
{
    CLEANUP(freep) char *copy = strdup(dirs);
    char *rest = copy, *dir;

    if (!copy)
        return err_set(err, -ENOMEM, "out of memory");
    while ((dir = strsep(&rest, ","))) {
        int r;

        dir += strspn(dir, " ");
        r = *dir == '/' ? lockfile_clear_socket(dir, s->config->postgresql.listen_port, err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* The socket's lock file can be in any directory the server was or will be told to use. */
static int clear_sockets(const struct pg_server *s, const char *former_dir, const char *const *extra_args,
                         struct err *err)
{
    static const char option[] = "--unix_socket_directories=";
    const struct settings *parameters = &s->config->postgresql.parameters;
    int r;

    r = clear_sockets_in(s, "/tmp,/var/run/postgresql", err);
    if (r == 0)
        r = clear_sockets_in(s, former_dir, err);
    for (size_t i = 0; r == 0 && i < parameters->n; i++)
        if (text_equal(parameters->items[i].name, "unix_socket_directories") && parameters->items[i].value)
            r = clear_sockets_in(s, parameters->items[i].value, err);
    for (; r == 0 && extra_args && *extra_args; extra_args++)
        if (text_starts_with(*extra_args, option))
            r = clear_sockets_in(s, *extra_args + strlen(option), err);
    return r;
}

/* wait_status as waitpid() has it. */
static void on_child_exit(void *userdata, const struct child_result *result)
{
    struct pg_server *s = userdata;
    int status = result->signal ? result->signal : (result->exit_code & 0xff) << 8;

    if (result->start_error)
        (void)err_set(&s->start_error, result->start_error, "%s", result->output);
    s->child = child_free(s->child);
    forget(s);
    s->on_exit(s->userdata, status);
}

static int spawn_postmaster(struct pg_server *s, const char *const *argv, struct err *err)
{
    /*
     * The postmaster is nobody's notifier and watches no dog. C messages concern only what it says before it has read
     * its configuration (diagnose.h). Its children may be killed by the kernel even where we are exempt.
     */
    static const char *const unset[] = {"NOTIFY_SOCKET",  "LISTEN_*",           "WATCHDOG_*",
                                        "JOURNAL_STREAM", "PGTETHER_*",         "PATRONI_*",
                                        "KUBERNETES_*",   "PG_GRANDPARENT_PID", NULL};
    const char *env[] = {"LC_MESSAGES=C", "PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj", "PG_OOM_ADJUST_VALUE=0", NULL,
                         NULL};
    const char *arena_max = getenv("PG_MALLOC_ARENA_MAX");
    struct child_spec spec = {
        .argv = argv,
        .env = env,
        .env_unset = unset,
        .cgroup_procs = s->cgroup_procs,
        .output_path = s->config->postgresql.log_file,
        .new_session = true,
    };
    char arena[64];
    int r;

    if (arena_max && text_print(arena, sizeof(arena), "MALLOC_ARENA_MAX=%s", arena_max))
        env[3] = arena;
    r = child_start(s->loop, &spec, on_child_exit, s, &s->child, err);
    if (r < 0)
        return r;
    s->pid = child_pid(s->child);
    s->pidfd = pidfd_open(s->pid, 0); /* it cannot be reaped yet, so it is the one */
    if (s->pidfd < 0) {
        r = err_sys(err, -errno, "could not watch the postmaster");
        s->child = child_free(s->child);
        s->pid = 0;
    }
    return r;
}

int pg_server_start(struct pg_server *s, const char *const *extra_args, struct err *err)
{
    const char *config_dir =
        s->config->postgresql.config_dir ? s->config->postgresql.config_dir : s->config->postgresql.data_dir;
    const char *base = s->config->postgresql.config_base_name ? s->config->postgresql.config_base_name : "postgresql";
    const char *bin_dir = s->config->postgresql.bin_dir ? s->config->postgresql.bin_dir : "";
    char program[PATH_MAX], config_file[PATH_MAX], socket_dir[PATH_MAX];
    CLEANUP(freep) const char **argv = NULL;
    size_t n = 0, n_extra = 0;
    int r;

    if (s->pid)
        return err_set(err, -EBUSY, "the server runs already (process %d)", (int)s->pid);
    if (!s->config->postgresql.log_file)
        return err_set(err, -EINVAL, "cannot start the server: no log_file is configured");
    if (!text_print(program, sizeof(program), "%s%spostgres", bin_dir, *bin_dir ? "/" : "") ||
        !text_print(config_file, sizeof(config_file), "--config-file=%s/%s.conf", config_dir, base))
        return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", config_dir);
    resolve_data_dir(s);
    r = lockfile_clear_pid(s->data_dir, socket_dir, sizeof(socket_dir), err);
    if (r == 0)
        r = clear_sockets(s, socket_dir, extra_args, err);
    if (r < 0)
        return r;

    while (extra_args && extra_args[n_extra])
        n_extra++;
    argv = calloc(n_extra + 5, sizeof(*argv));
    if (!argv)
        return err_set(err, -ENOMEM, "out of memory");
    argv[n++] = program;
    argv[n++] = "-D";
    argv[n++] = s->config->postgresql.data_dir;
    argv[n++] = config_file;
    for (size_t i = 0; i < n_extra; i++)
        argv[n++] = extra_args[i];
    startlog_begin(&s->log, s->config->postgresql.log_file, s->data_dir);
    s->start_error = (struct err){0};
    return spawn_postmaster(s, argv, err);
}

/* --- signals --- */

static int send_signal(struct pg_server *s, int sig)
{
    if (!s->pid)
        return -ESRCH;
    return pidfd_send_signal(s->pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

int pg_server_stop(struct pg_server *s, enum pg_stop_mode mode)
{
    switch (mode) {
    case PG_STOP_SMART:
        return send_signal(s, SIGTERM);
    case PG_STOP_FAST:
        return send_signal(s, SIGINT);
    case PG_STOP_IMMEDIATE:
        return send_signal(s, SIGQUIT);
    }
    return -EINVAL;
}

int pg_server_reload(struct pg_server *s)
{
    return send_signal(s, SIGHUP);
}

/*
 * Backends, and what they started (archive_command): everything of our user in the data directory. Not the shell of
 * somebody who happens to stand there.
 */
static bool kill_one(void *userdata, const struct proc *p)
{
    (void)userdata;
    if (p->uid != geteuid() || p->pid == getpid() || (p->has_terminal && !p->is_postgres))
        return false;
    return kill(p->pid, SIGKILL) == 0;
}

void pg_server_kill(struct pg_server *s)
{
    /* The postmaster first: it forks no more. What it forked while we looked is found in the next round. */
    (void)send_signal(s, SIGKILL);
    for (int i = 0; i < KILL_ROUNDS; i++)
        if (proc_each_in(s->data_dir, kill_one, NULL) == 0)
            return;
}

size_t pg_server_end_backends(struct pg_server *s, const pid_t *pids, size_t n)
{
    size_t told = 0;

    for (size_t i = 0; i < n; i++) {
        struct proc p;

        if (proc_read(pids[i], &p) == 0 && !p.zombie && p.is_postgres && proc_is_in(&p, s->data_dir) &&
            pids[i] != pg_server_pid(s) && kill(pids[i], SIGTERM) == 0)
            told++;
    }
    return told;
}

/* --- what went wrong --- */

void pg_server_diagnose(struct pg_server *s, char *buf, size_t size)
{
    CLEANUP(freep) char *text = NULL;
    const char *log_file = s->config->postgresql.log_file ? s->config->postgresql.log_file : "";

    if (s->start_error.code) {
        (void)text_print(buf, size, "the server could not be started: %s", s->start_error.msg);
        return;
    }
    text = startlog_read(&s->log, log_file, s->data_dir);
    diagnose_log(text ? text : "", log_file, buf, size);
}
