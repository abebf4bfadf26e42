#include "base/bootid.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/core.h"

int boot_id_read(char *dst, size_t size)
{
    CLEANUP(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, dst, size - 1);
    int code = -errno;

    dst[n < 0 ? 0 : n] = '\0';
    dst[strcspn(dst, "\n")] = '\0';
    return n < 0 ? code : 0;
}
