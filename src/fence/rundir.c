#include "fence/rundir.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"

enum { AGENT_END_MS = 10000, KEEPER_END_MS = 3000 };

/* Returns 0 or -errno, -EWOULDBLOCK after that long. */
static int wait_for_lock(int fd, uint64_t ms)
{
    uint64_t until_us = clock_now_us() + ms * USEC_PER_MSEC;

    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK || clock_now_us() > until_us)
            return -errno;
        (void)poll(NULL, 0, 10);
    }
    return 0;
}

/* A slash in a name would name another directory. */
bool rundir_instance_name(const struct keeper_settings *s, char *dst, size_t size)
{
    if (!text_print(dst, size, "%s-%s", s->scope, s->name))
        return false;
    for (char *c = dst; *c; c++)
        if (*c == '/')
            *c = '_';
    return true;
}

static bool instance_path(char *dst, size_t size, const struct keeper_settings *s)
{
    char instance[2 * SETTINGS_NAME_SIZE];

    if (!rundir_instance_name(s, instance, sizeof(instance)))
        return false;
    return text_print(dst, size, "%s/%s", s->run_dir, instance);
}

static int make_directory(struct rundir *r, const struct keeper_settings *s, const struct spawn_user *user,
                          struct err *err)
{
    if (mkdir(s->run_dir, 0755) < 0 && errno != EEXIST)
        return err_sys(err, -errno, "could not create directory \"%s\"", s->run_dir);
    if (mkdir(r->path, 0750) < 0 && errno != EEXIST)
        return err_sys(err, -errno, "could not create directory \"%s\"", r->path);
    r->dir_fd = open(r->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (r->dir_fd < 0)
        return err_sys(err, -errno, "could not open directory \"%s\"", r->path);
    if (user->change && fchown(r->dir_fd, user->uid, user->gid) < 0)
        return err_sys(err, -errno, "could not give directory \"%s\" to user \"%s\"", r->path, user->name);
    return 0;
}

int rundir_open(struct rundir *r, const struct keeper_settings *s, const struct spawn_user *user, struct err *err)
{
    int code;

    *r = (struct rundir){.dir_fd = -1, .lock_fd = -1};
    if (!instance_path(r->path, sizeof(r->path), s))
        return err_set(err, -ENAMETOOLONG, "the path of the run-time directory is too long");
    code = make_directory(r, s, user, err);
    if (code < 0) {
        rundir_close(r);
        return code;
    }
    r->lock_fd = openat(r->dir_fd, "keeper.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    /* A child that a killed predecessor had just forked holds the lock until it closes what it has inherited. */
    code = r->lock_fd < 0 ? -errno : wait_for_lock(r->lock_fd, KEEPER_END_MS);
    if (code == 0)
        return 0;
    code = code == -EWOULDBLOCK
               ? err_set(err, -EBUSY, "another pgtetherd runs this instance: it holds \"%s/keeper.lock\"", r->path)
               : err_sys(err, code, "could not lock \"%s/keeper.lock\"", r->path);
    rundir_close(r);
    return code;
}

void rundir_close(struct rundir *r)
{
    closep(&r->lock_fd);
    closep(&r->dir_fd);
}

static bool runs_program(pid_t pid, const char *program)
{
    char link[32], exe[PATH_MAX];
    const char *name = strrchr(program, '/'), *running;
    size_t len;
    ssize_t n;

    (void)text_print(link, sizeof(link), "/proc/%d/exe", (int)pid);
    n = readlink(link, exe, sizeof(exe) - 1);
    if (n < 0)
        return false;
    exe[n] = '\0';
    running = strrchr(exe, '/');
    name = name ? name + 1 : program;
    len = strlen(name);
    /* After an upgrade the running file is shown as "pgtether-agent (deleted)". */
    return running && strncmp(running + 1, name, len) == 0 && (running[1 + len] == '\0' || running[1 + len] == ' ');
}

static int read_pid(int fd, pid_t *ret)
{
    char text[16];
    uint32_t pid;
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    if (n <= 0)
        return -EBUSY;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (!text_to_u32(text, &pid) || pid <= 1)
        return -EBUSY;
    *ret = (pid_t)pid;
    return 0;
}

int rundir_remove_agent(const struct rundir *r, const char *program, pid_t *ret_pid, struct err *err)
{
    CLEANUP(closep) int fd = openat(r->dir_fd, "agent.lock", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    CLEANUP(closep) int pidfd = -1;
    pid_t pid;

    *ret_pid = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(err, -errno, "could not open \"%s/agent.lock\"", r->path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0; /* closing unlocks it for the agent to come */
    if (read_pid(fd, &pid) < 0)
        return err_set(err, -EBUSY, "\"%s/agent.lock\" is locked but names no process", r->path);
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    /* The descriptor is the process; what is checked after it was opened is checked of the process it will kill. */
    if (pidfd < 0 || !runs_program(pid, program)) {
        /* One that is just dying has no program any more, and its lock until it is gone. */
        if (wait_for_lock(fd, KEEPER_END_MS) == 0)
            return 0;
        return err_set(err, -EBUSY, "\"%s/agent.lock\" is locked but process %d is no agent", r->path, (int)pid);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0)
        return err_sys(err, -errno, "could not kill process %d, the agent of an earlier pgtetherd", (int)pid);
    if (wait_for_lock(fd, AGENT_END_MS) < 0)
        return err_set(err, -ETIMEDOUT, "process %d, the agent of an earlier pgtetherd, does not die", (int)pid);
    *ret_pid = pid;
    return 0;
}
