#include "fence/statedir.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "fence/rundir.h"

static int open_at(struct statedir *d, const struct spawn_user *user)
{
    CLEANUP(closep) int fd = -1;

    if (mkdir(d->path, 0750) < 0 && errno != EEXIST)
        return -errno;
    /* Its parent may belong to the agent's user: a link there leads nowhere. */
    fd = open(d->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || (user->change && fchown(fd, user->uid, user->gid) < 0))
        return -errno;
    if (faccessat(fd, ".", W_OK, AT_EACCESS) < 0)
        return -errno;
    d->dir_fd = fd;
    fd = -1;
    return 0;
}

int statedir_open(struct statedir *d, const struct keeper_settings *s, const struct spawn_user *user, struct err *err)
{
    char instance[2 * SETTINGS_NAME_SIZE];
    int r = -ENOENT;

    *d = (struct statedir){.dir_fd = -1};
    if (s->state_dir[0] && rundir_instance_name(s, instance, sizeof(instance)) &&
        text_print(d->path, sizeof(d->path), "%s/%s", s->state_dir, instance)) {
        (void)mkdir(s->state_dir, 0755);
        r = open_at(d, user);
    }
    if (r < 0 && text_print(d->path, sizeof(d->path), "%s.pgtether-state", s->data_dir))
        r = open_at(d, user);
    if (r == 0)
        return 0;
    (void)err_sys(err, r, "could not make \"%s\", nor one below state_dir: no fence report will be written", d->path);
    d->path[0] = '\0';
    return r;
}

void statedir_close(struct statedir *d)
{
    closep(&d->dir_fd);
}
