#include "io/spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/text.h"

/* Everything the child needs, made before the fork: threads (curl's resolver) may hold the locks of malloc then. */
struct plan {
    const struct child_spec *spec;
    char program[PATH_MAX];
    char **env; /* the strings are borrowed */
    int input;  /* -1: /dev/null */
    int output; /* -1: spec->output_path */
    int error;
};

static void plan_done(struct plan *p)
{
    free(p->env);
    closep(&p->input);
    closep(&p->output);
    closep(&p->error);
}

void spawned_done(struct spawned *s)
{
    closep(&s->pidfd);
    closep(&s->error_fd);
    closep(&s->output_fd);
}

/* --- environment and program ------------------------------------------------------------------------------------ */

/* Whether the entry "NAME=value" has the name `name`, which may end in "=…" or be "PREFIX_*". */
static bool entry_has_name(const char *entry, const char *name)
{
    size_t entry_len = strcspn(entry, "="), len = strcspn(name, "=");

    if (len > 0 && name[len - 1] == '*')
        return entry_len >= len - 1 && strncmp(entry, name, len - 1) == 0;
    return entry_len == len && strncmp(entry, name, len) == 0;
}

static bool list_names(const char *const *list, const char *entry)
{
    for (; list && *list; list++) {
        if (entry_has_name(entry, *list))
            return true;
    }
    return false;
}

static size_t list_length(const char *const *list)
{
    size_t n = 0;

    while (list && list[n])
        n++;
    return n;
}

static char **environment_of(const struct child_spec *spec)
{
    char **env = calloc(list_length((const char *const *)environ) + list_length(spec->env) + 1, sizeof(*env));
    size_t n = 0;

    if (!env)
        return NULL;
    for (char **e = environ; e && *e; e++) {
        if (!list_names(spec->env_unset, *e) && !list_names(spec->env, *e))
            env[n++] = *e;
    }
    for (const char *const *e = spec->env; e && *e; e++)
        env[n++] = (char *)*e;
    return env;
}

static int check_program(const char *path)
{
    struct stat st;

    if (access(path, X_OK) < 0)
        return -errno;
    if (stat(path, &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) ? 0 : -EACCES;
}

/* As execvp(3): the first match counts; a file that may not be executed is reported only if there is no better one. */
static int search_path(const char *name, char *const *env, char *buf, size_t size)
{
    const char *path = "/usr/local/bin:/usr/bin:/bin";
    int worst = -ENOENT;

    for (; *env; env++) {
        if (text_starts_with(*env, "PATH="))
            path = *env + strlen("PATH=");
    }
    for (;;) {
        size_t len = strcspn(path, ":");
        int r = -ENOENT;

        if (text_print(buf, size, "%.*s%s%s", (int)len, path, len ? "/" : "", name))
            r = check_program(buf);
        if (r == 0)
            return 0;
        if (r == -EACCES)
            worst = r;
        if (!path[len])
            return worst;
        path += len + 1;
    }
}

static int find_program(struct plan *p, struct err *err)
{
    const char *name = p->spec->argv[0];
    int r;

    if (!strchr(name, '/'))
        r = *name ? search_path(name, p->env, p->program, sizeof(p->program)) : -ENOENT;
    else if (!text_copy(p->program, sizeof(p->program), name))
        r = -ENAMETOOLONG;
    else if (*name != '/' && p->spec->cwd)
        r = 0; /* relative to a directory we are not in: execve will tell */
    else
        r = check_program(name);
    return r < 0 ? err_sys(err, r, "could not execute \"%s\"", name) : 0;
}

/* --- descriptors ------------------------------------------------------------------------------------------------ */

/* The text in memory: unlike a pipe it needs nobody to feed it, and unlike a temporary file no disk. */
static int input_of(const char *text, int *ret_fd, struct err *err)
{
    CLEANUP(closep) int fd = memfd_create("stdin", MFD_CLOEXEC);
    size_t len = strlen(text);

    if (fd < 0)
        return err_sys(err, -errno, "could not create standard input of a child");
    while (len > 0) {
        ssize_t n = write(fd, text, len);

        if (n < 0)
            return err_sys(err, -errno, "could not write standard input of a child");
        text += n;
        len -= (size_t)n;
    }
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(err, -errno, "could not rewind standard input of a child");
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static int pipe_of(int *ret_read, int *ret_write, struct err *err)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "could not create a pipe");
    *ret_read = fds[0];
    *ret_write = fds[1];
    /* Only our end: the two ends have separate flags, and programs do not expect a stdout that says EAGAIN. */
    if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
        return err_sys(err, -errno, "could not set up a pipe");
    return 0;
}

static int plan_make(struct plan *p, struct spawned *s, struct err *err)
{
    int r;

    p->env = environment_of(p->spec);
    if (!p->env)
        return err_set(err, -ENOMEM, "out of memory");
    r = find_program(p, err);
    if (r < 0)
        return r;
    if (p->spec->input) {
        r = input_of(p->spec->input, &p->input, err);
        if (r < 0)
            return r;
    }
    if (!p->spec->output_path) {
        r = pipe_of(&s->output_fd, &p->output, err);
        if (r < 0)
            return r;
    }
    return pipe_of(&s->error_fd, &p->error, err);
}

/* --- in the child ----------------------------------------------------------------------------------------------- */

/* Only calls that are safe after fork from here on. err_sys() is: formatting %s neither allocates nor locks. */

static void reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    /* execve resets handlers but keeps SIG_IGN, which the program may not expect (SIGPIPE). */
    for (int sig = 1; sig < NSIG; sig++)
        (void)sigaction(sig, &action, NULL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int enter_cgroup(const char *path, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "0", 1) != 1)
        return err_sys(err, -errno, "could not move a child into the control group of \"%s\"", path);
    (void)close(fd);
    return 0;
}

static void close_from(int first)
{
    struct rlimit limit;

#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0U, 0) == 0)
        return;
#endif
    /* Before Linux 5.9. */
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    for (int fd = first; (rlim_t)fd < limit.rlim_cur; fd++)
        (void)close(fd);
}

/* Opens what is not open yet and moves it out of the way of the numbers that dup2 is going to overwrite. */
static int open_high(int fd, const char *path, int flags, struct err *err)
{
    int high;

    if (fd < 0)
        fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0)
        return err_sys(err, -errno, "could not open \"%s\"", path);
    high = fcntl(fd, F_DUPFD_CLOEXEC, 4);
    if (high < 0)
        return err_sys(err, -errno, "could not duplicate a descriptor");
    return high;
}

/* 0, 1 and 2 for the program, 3 for our report, nothing else. */
static int arrange_descriptors(struct plan *p, struct err *err)
{
    int error, input, output;

    error = open_high(p->error, "", 0, err);
    if (error < 0)
        return error;
    input = open_high(p->input, "/dev/null", O_RDONLY, err);
    if (input < 0)
        return input;
    output = open_high(p->output, p->spec->output_path, O_WRONLY | O_APPEND | O_CREAT, err);
    if (output < 0)
        return output;
    if (dup3(error, 3, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "could not duplicate a descriptor");
    p->error = 3;
    if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        return err_sys(err, -errno, "could not duplicate a descriptor");
    close_from(4);
    return 0;
}

static int prepare(struct plan *p, struct err *err)
{
    const struct child_spec *spec = p->spec;
    int r;

    if ((spec->new_session ? setsid() : setpgid(0, 0)) < 0)
        return err_sys(err, -errno, "could not create a process group");
    reset_signals();
    if (spec->cgroup_procs) {
        r = enter_cgroup(spec->cgroup_procs, err);
        if (r < 0)
            return r;
    }
    r = arrange_descriptors(p, err);
    if (r < 0)
        return r;
    if (spec->cwd && chdir(spec->cwd) < 0)
        return err_sys(err, -errno, "could not change to directory \"%s\"", spec->cwd);
    return 0;
}

static _Noreturn void run(struct plan *p)
{
    struct err err = {0};

    if (prepare(p, &err) == 0) {
        (void)execve(p->program, (char *const *)p->spec->argv, p->env);
        (void)err_sys(&err, -errno, "could not execute \"%s\"", p->program);
    }
    (void)!write(p->error, &err, sizeof(err));
    _exit(127);
}

/* --- in the parent ---------------------------------------------------------------------------------------------- */

static int fork_and_run(struct plan *p, pid_t *ret_pid, struct err *err)
{
    sigset_t all, old;
    pid_t pid;
    int r;

    /* Until the child has reset them, no handler of ours may run in it. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    pid = fork();
    r = pid < 0 ? -errno : 0;
    if (pid == 0)
        run(p);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r < 0)
        return err_sys(err, r, "could not fork");
    /* By both, so that the group exists for whoever comes first. Fails harmlessly once the child has called execve. */
    if (!p->spec->new_session)
        (void)setpgid(pid, pid);
    *ret_pid = pid;
    return 0;
}

int spawn(const struct child_spec *spec, struct spawned *ret, struct err *err)
{
    CLEANUP(plan_done) struct plan p = {.spec = spec, .input = -1, .output = -1, .error = -1};
    CLEANUP(spawned_done) struct spawned s = {.pidfd = -1, .error_fd = -1, .output_fd = -1};
    int r;

    r = plan_make(&p, &s, err);
    if (r < 0)
        return r;
    r = fork_and_run(&p, &s.pid, err);
    if (r < 0)
        return r;
    s.pidfd = (int)syscall(SYS_pidfd_open, s.pid, 0);
    if (s.pidfd < 0) {
        r = err_sys(err, -errno, "could not open a pidfd");
        /* A child we cannot watch must not run. It stays a zombie: reaping it here would mean to wait. */
        (void)kill(s.pid, SIGKILL);
        return r;
    }
    *ret = s;
    s = (struct spawned){.pidfd = -1, .error_fd = -1, .output_fd = -1};
    return 0;
}

bool spawn_failed(const struct spawned *s, struct err *ret)
{
    struct err report;

    if (read(s->error_fd, &report, sizeof(report)) != (ssize_t)sizeof(report))
        return false;
    report.msg[sizeof(report.msg) - 1] = '\0';
    *ret = report;
    return true;
}
