/* Whether bin_dir has the programs of a PostgreSQL, and of which version. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/text.h"
#include "pg/server.h"

enum { VERSION_TIMEOUT_MS = 5000, OLDEST_MAJOR = 13 };

static int check_program(const char *bin_dir, const char *name, struct err *err)
{
    char path[PATH_MAX];

    if (!text_print(path, sizeof(path), "%s/%s", bin_dir, name))
        return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", bin_dir);
    if (access(path, X_OK) == 0)
        return 0;
    return err_set(err, -errno,
                   "cannot run \"%s\": %s\n"
                   "HINT:  Set postgresql.bin_dir to the directory with the server programs, e.g. "
                   "/usr/lib/postgresql/15/bin",
                   path, strerrordesc_np(errno));
}

/* Reads what comes until the end or the timeout; the output is one line. */
static void read_version(int fd, char *buf, size_t size)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t len = 0;

    while (len < size - 1 && poll(&p, 1, VERSION_TIMEOUT_MS) > 0) {
        ssize_t n = read(fd, buf + len, size - 1 - len);

        if (n <= 0)
            break;
        len += (size_t)n;
    }
    buf[len] = '\0';
}

static int run_version(const char *program, char *buf, size_t size, struct err *err)
{
    char *const argv[] = {(char *)program, (char *)"-V", NULL};
    posix_spawn_file_actions_t actions;
    int fds[2], status, r;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "could not create a pipe");
    r = posix_spawn_file_actions_init(&actions);
    if (r == 0) {
        (void)posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
        r = posix_spawnp(&pid, program, &actions, NULL, argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    (void)close(fds[1]);
    if (r == 0) {
        read_version(fds[0], buf, size);
        /* It has answered and closed its output, or never will. */
        if (waitpid(pid, &status, WNOHANG) == 0) {
            if (!*buf)
                (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
        }
    }
    (void)close(fds[0]);
    return r == 0 ? 0 : err_sys(err, -r, "could not run \"%s\"", program);
}

/* "postgres (PostgreSQL) 15.20 (Debian …)", "postgres (PostgreSQL) 17beta1" */
static int parse_major(const char *text, const char *program, int *ret, struct err *err)
{
    const char *number = strstr(text, "(PostgreSQL) ");
    long major = number ? strtol(number + strlen("(PostgreSQL) "), NULL, 10) : 0;

    if (major <= 0 || major > 1000)
        return err_set(err, -EBADMSG, "cannot tell the version of \"%s\"", program);
    if (major < OLDEST_MAJOR)
        return err_set(err, -ENOTSUP, "cannot run PostgreSQL %ld: %d is the oldest supported version", major,
                       OLDEST_MAJOR);
    *ret = (int)major;
    return 0;
}

int pg_server_check_binaries(const struct config *config, int *ret_major, struct err *err)
{
    static const char *const needed[] = {"postgres", "initdb", "pg_controldata", "pg_basebackup"};
    const char *bin_dir = config->postgresql.bin_dir;
    char program[PATH_MAX], text[256];
    int r;

    /* Without bin_dir the programs are those of PATH. */
    for (size_t i = 0; bin_dir && *bin_dir && i < ARRAY_LEN(needed); i++) {
        r = check_program(bin_dir, needed[i], err);
        if (r < 0)
            return r;
    }
    if (!text_print(program, sizeof(program), "%s%spostgres", bin_dir ? bin_dir : "", bin_dir && *bin_dir ? "/" : ""))
        return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", bin_dir);
    r = run_version(program, text, sizeof(text), err);
    return r < 0 ? r : parse_major(text, program, ret_major, err);
}
