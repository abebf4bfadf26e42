#include "pg/lockfile.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "io/file.h"

enum { LOCKFILE_MAX = 16 * 1024, START_SLACK_S = 3 };

/* Lines: pid, data directory, start time, port, first socket directory, … (PostgreSQL, src/include/utils/pidfile.h). */
int lockfile_read(const char *path, struct lockfile *ret, struct err *err)
{
    CLEANUP(freep) char *text = NULL;
    struct lockfile f = {0};
    const char *line[5] = {"", "", "", "", ""};
    uint32_t pid = 0, port = 0;
    uint64_t started = 0;
    char *rest;
    int r;

    r = file_read(path, LOCKFILE_MAX, &text, NULL, err);
    if (r < 0)
        return r;
    rest = text;
    for (size_t i = 0; i < ARRAY_LEN(line) && rest; i++)
        line[i] = strsep(&rest, "\n");
    f.single_user = line[0][0] == '-';
    if (*line[0] && !text_to_u32(line[0] + f.single_user, &pid))
        return err_set(
            err, -EBADMSG,
            "cannot read lock file \"%s\": invalid process id\nHINT:  Remove it if no server runs in that directory",
            path);
    (void)text_to_u64(line[2], &started);
    f.pid = (pid_t)pid;
    (void)text_to_u32(line[3], &port);
    f.started_s = (int64_t)started;
    f.port = port <= UINT16_MAX ? (uint16_t)port : 0;
    (void)text_copy(f.data_dir, sizeof(f.data_dir), line[1]);
    (void)text_copy(f.socket_dir, sizeof(f.socket_dir), line[4]);
    *ret = f;
    return 0;
}

enum lockfile_holder lockfile_holder(const struct lockfile *f, struct proc *ret_proc)
{
    char real[PATH_MAX];

    if (f->pid == 0)
        return LOCKFILE_MISTAKEN;
    if (proc_read(f->pid, ret_proc) < 0)
        return LOCKFILE_DEAD;
    if (ret_proc->zombie || !ret_proc->is_postgres)
        return LOCKFILE_MISTAKEN;
    /* Another user's process does not tell its directory; then the time of its start must do. */
    if (!*ret_proc->cwd)
        return llabs(ret_proc->started_s - f->started_s) <= START_SLACK_S ? LOCKFILE_HELD : LOCKFILE_MISTAKEN;
    return proc_is_in(ret_proc, realpath(f->data_dir, real) ? real : f->data_dir) ? LOCKFILE_HELD : LOCKFILE_MISTAKEN;
}

int lockfile_read_pid(const char *data_dir, struct lockfile *ret, struct err *err)
{
    char path[PATH_MAX];
    int r;

    if (!text_print(path, sizeof(path), "%s/postmaster.pid", data_dir))
        return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", data_dir);
    r = lockfile_read(path, ret, err);
    if (r == -ENOENT || r == -ENOTDIR)
        return 0;
    if (r < 0)
        return r;
    /* The name in the file may be an old one, of before the directory was renamed or copied. */
    (void)text_copy(ret->data_dir, sizeof(ret->data_dir), data_dir);
    return 1;
}

static bool note_server_process(void *userdata, const struct proc *p)
{
    pid_t *pid = userdata;

    if (p->is_postgres)
        *pid = p->pid;
    return p->is_postgres;
}

int lockfile_clear_pid(const char *data_dir, char *ret_socket_dir, size_t size, struct err *err)
{
    struct lockfile f = {0};
    struct proc p;
    char path[PATH_MAX];
    pid_t left_over = 0;
    size_t n;
    int r;

    r = lockfile_read_pid(data_dir, &f, err);
    if (r < 0)
        return r;
    (void)text_copy(ret_socket_dir, size, f.socket_dir);
    if (r == 1 && f.pid > 0 && lockfile_holder(&f, &p) == LOCKFILE_HELD)
        return err_set(err, -EBUSY, "another server (process %d) runs in the data directory \"%s\"", (int)f.pid,
                       data_dir);
    n = proc_each_in(data_dir, note_server_process, &left_over);
    if (n > 0)
        return err_set(err, -EBUSY, "%zu process(es) of a former server still run in \"%s\", e.g. process %d", n,
                       data_dir, (int)left_over);
    if (r == 0 || lockfile_holder(&f, &p) != LOCKFILE_MISTAKEN)
        return 0;
    if (!text_print(path, sizeof(path), "%s/postmaster.pid", data_dir))
        return err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", data_dir);
    return file_remove(path, err);
}

int lockfile_clear_socket(const char *dir, uint16_t port, struct err *err)
{
    char path[PATH_MAX], socket_path[PATH_MAX];
    struct lockfile f;
    struct proc p;
    struct stat st;
    int r;

    if (!text_print(path, sizeof(path), "%s/.s.PGSQL.%u.lock", dir, (unsigned)port) ||
        !text_print(socket_path, sizeof(socket_path), "%s/.s.PGSQL.%u", dir, (unsigned)port))
        return 0;
    /* In a public directory a file of another user is neither ours to judge nor to remove. */
    if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid())
        return 0;
    r = lockfile_read(path, &f, err);
    if (r < 0)
        return r == -ENOENT || r == -EBADMSG ? 0 : r;
    if (lockfile_holder(&f, &p) != LOCKFILE_MISTAKEN)
        return 0;
    r = file_remove(socket_path, err);
    return r < 0 ? r : file_remove(path, err);
}
