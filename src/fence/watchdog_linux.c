/* The watchdog of this host: fence/watchdog.h's table filled with system calls. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "base/text.h"
#include "fence/watchdog.h"

static int dev_open(void *ctx, const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);

    (void)ctx;
    return fd < 0 ? -errno : fd;
}

static int dev_control(void *ctx, int fd, unsigned long request, void *arg)
{
    (void)ctx;
    return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

static int dev_write(void *ctx, int fd, char byte)
{
    ssize_t n = write(fd, &byte, 1);

    (void)ctx;
    if (n == 1)
        return 0;
    return n < 0 ? -errno : -EIO;
}

static int dev_close(void *ctx, int fd)
{
    (void)ctx;
    return close(fd) < 0 ? -errno : 0;
}

/*
 * The attribute exists with CONFIG_WATCHDOG_SYSFS. /dev/watchdog is a misc device (10:130) that stands for watchdog0
 * and has no attributes of its own.
 */
static int dev_nowayout(void *ctx, const char *path)
{
    CLEANUP(closep) int fd = -1;
    char name[80], value = '\0';
    struct stat st;

    (void)ctx;
    if (stat(path, &st) < 0)
        return -errno;
    if (!S_ISCHR(st.st_mode))
        return -ENODEV;
    if (access(path, W_OK) < 0)
        return -errno;
    if (st.st_rdev == makedev(10, 130))
        (void)text_copy(name, sizeof(name), "/sys/class/watchdog/watchdog0/nowayout");
    else
        (void)text_print(name, sizeof(name), "/sys/dev/char/%u:%u/nowayout", major(st.st_rdev), minor(st.st_rdev));
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &value, 1) != 1)
        return -ENODATA; /* the device is there, but nothing can be said about it */
    return value != '0';
}

const struct watchdog_ops watchdog_linux = {
    .open = dev_open,
    .control = dev_control,
    .write = dev_write,
    .close = dev_close,
    .nowayout = dev_nowayout,
};
