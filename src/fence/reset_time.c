#include "fence/reset_time.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/bootid.h"
#include "base/clock.h"
#include "base/text.h"

/* Fixed width: each record lies exactly on the last one, within a sector. */
#define RECORD                                                                                                         \
    "pgtether-reset-test 1\nboot_id=%s\ntimeout_us=%020" PRIu64 "\nelapsed_us=%020" PRIu64 "\nwrite_us=%020" PRIu64 "\n"
enum { RECORD_MAX = 512 };

/* The value of "key=" in lines of text; false if it is not there or no number. */
static bool number_of(const char *text, const char *key, uint64_t *ret)
{
    char value[32];
    const char *at = strstr(text, key);
    size_t len;

    if (!at)
        return false;
    at += strlen(key);
    while (*at == '0' && at[1] >= '0' && at[1] <= '9')
        at++;
    len = strcspn(at, "\n");
    return len < sizeof(value) && text_print(value, sizeof(value), "%.*s", (int)len, at) && text_to_u64(value, ret);
}

static int open_dir(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? err_sys(err, -errno, "could not open directory \"%s\"", path) : fd;
}

static int read_text(int dir_fd, const char *name, char *dst, size_t size)
{
    CLEANUP(closep) int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, dst, size - 1);

    if (n < 0)
        return -errno;
    dst[n] = '\0';
    return 0;
}

int reset_test_begin(struct reset_test *t, const char *state_dir, const char *boot_id, uint64_t timeout_us,
                     struct err *err)
{
    *t = (struct reset_test){.fd = -1, .timeout_us = timeout_us};
    t->dir_fd = open_dir(state_dir, err);
    if (t->dir_fd < 0)
        return t->dir_fd;
    if (boot_id)
        (void)text_copy(t->boot_id, sizeof(t->boot_id), boot_id);
    else if (boot_id_read(t->boot_id, sizeof(t->boot_id)) < 0)
        return err_set(err, -EIO, "could not read the boot id");
    t->fd = openat(t->dir_fd, "reset-test", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    return t->fd < 0 ? err_sys(err, -errno, "could not create \"%s/reset-test\"", state_dir) : 0;
}

int reset_test_note(struct reset_test *t, uint64_t elapsed_us, struct err *err)
{
    uint64_t began_us = clock_now_us(), took_us;
    char text[RECORD_MAX];

    (void)text_print(text, sizeof(text), RECORD, t->boot_id, t->timeout_us, elapsed_us, t->longest_write_us);
    /* The directory as well: the first time its entry is new. */
    if (pwrite(t->fd, text, strlen(text), 0) != (ssize_t)strlen(text) || fdatasync(t->fd) < 0 ||
        (t->longest_write_us == 0 && fsync(t->dir_fd) < 0))
        return err_sys(err, -errno, "could not write the record of the test");
    took_us = clock_now_us() - began_us;
    if (took_us > t->longest_write_us)
        t->longest_write_us = took_us;
    return 0;
}

void reset_test_end(struct reset_test *t)
{
    if (t->fd >= 0)
        (void)unlinkat(t->dir_fd, "reset-test", 0);
    closep(&t->fd);
    closep(&t->dir_fd);
}

static int write_measure(int dir_fd, const struct reset_measure *m, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    char text[128];

    (void)text_print(text, sizeof(text), "pgtether-reset-time 1\ntimeout_us=%" PRIu64 "\nreset_us=%" PRIu64 "\n",
                     m->timeout_us, m->reset_us);
    (void)unlinkat(dir_fd, "reset-time.new", 0);
    fd = openat(dir_fd, "reset-time.new", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fsync(fd) < 0 ||
        renameat(dir_fd, "reset-time.new", dir_fd, "reset-time") < 0 || fsync(dir_fd) < 0)
        return err_sys(err, -errno, "could not store the measured reset time");
    return 0;
}

int reset_test_collect(const char *state_dir, const char *boot_id, struct reset_measure *ret, struct err *err)
{
    CLEANUP(closep) int dir_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char text[RECORD_MAX + 1], own[BOOT_ID_SIZE], line[64];
    uint64_t elapsed_us, write_us;
    struct reset_measure m;
    int r;

    if (dir_fd < 0 || read_text(dir_fd, "reset-test", text, sizeof(text)) < 0)
        return 0;
    (void)boot_id_read(own, sizeof(own));
    (void)text_print(line, sizeof(line), "boot_id=%s\n", boot_id ? boot_id : own);
    if (!text_starts_with(text, "pgtether-reset-test 1\n") || !number_of(text, "timeout_us=", &m.timeout_us) ||
        !number_of(text, "elapsed_us=", &elapsed_us) || !number_of(text, "write_us=", &write_us) || m.timeout_us == 0) {
        (void)unlinkat(dir_fd, "reset-test", 0); /* the reset came before the first record was whole */
        return err_set(err, -EBADMSG, "the record of the watchdog test is not whole");
    }
    if (strstr(text, line))
        return 0; /* it runs, or was given up: no reset has ended it */
    m.reset_us = elapsed_us + RESET_TEST_PERIOD_US + write_us + RESET_TEST_MARGIN_US;
    r = write_measure(dir_fd, &m, err);
    if (r < 0)
        return r;
    (void)unlinkat(dir_fd, "reset-test", 0);
    *ret = m;
    return 1;
}

int reset_time_read(const char *state_dir, struct reset_measure *ret)
{
    CLEANUP(closep) int dir_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct reset_measure m;
    char text[256];

    if (dir_fd < 0 || read_text(dir_fd, "reset-time", text, sizeof(text)) < 0 ||
        !text_starts_with(text, "pgtether-reset-time 1\n") || !number_of(text, "timeout_us=", &m.timeout_us) ||
        !number_of(text, "reset_us=", &m.reset_us) || m.timeout_us == 0)
        return -ENOENT;
    *ret = m;
    return 0;
}
