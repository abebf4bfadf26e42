/* The state file of a logical slot, as PostgreSQL's slot.c writes it: checked, then put where the server finds it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/file.h"
#include "pg/slots.h"

enum {
    STATE_MAX = 4096,
    MAGIC_OFFSET = 0,
    CHECKSUM_OFFSET = 4,
    CHECKED_OFFSET = 8, /* what the checksum is of: from here to the end */
    LENGTH_OFFSET = 12,
    NAME_OFFSET = 16,
    NAME_END = NAME_OFFSET + SLOT_NAME_SIZE,
};
#define SLOT_MAGIC 0x1051CA1u
#define CRC32C_POLYNOMIAL 0x82f63b78u

static uint32_t crc32c(const unsigned char *data, size_t len)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ CRC32C_POLYNOMIAL : crc >> 1;
    }
    return ~crc;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* -1 if it is no hexadecimal text of at most size bytes. */
static ssize_t decode(const char *hex, unsigned char *buf, size_t size)
{
    size_t n = 0;

    for (; hex[0]; hex += 2) {
        int high = hex_digit(hex[0]), low = hex_digit(hex[1]);

        if (high < 0 || low < 0 || n == size)
            return -1;
        buf[n++] = (unsigned char)(high << 4 | low);
    }
    return (ssize_t)n;
}

static uint32_t number_at(const unsigned char *state, size_t offset)
{
    uint32_t number;

    memcpy(&number, state + offset, sizeof(number));
    return number;
}

/* The server panics at its start over a slot whose state does not fit. */
static bool is_state_of(const unsigned char *state, size_t len, const char *name)
{
    char found[SLOT_NAME_SIZE + 1] = "";

    if (len <= NAME_END)
        return false;
    memcpy(found, state + NAME_OFFSET, SLOT_NAME_SIZE);
    return number_at(state, MAGIC_OFFSET) == SLOT_MAGIC && strcmp(found, name) == 0 &&
           number_at(state, LENGTH_OFFSET) == len - NAME_OFFSET &&
           number_at(state, CHECKSUM_OFFSET) == crc32c(state + CHECKED_OFFSET, len - CHECKED_OFFSET);
}

static int sync_dir(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

    if (fd < 0)
        return err_sys(err, -errno, "could not open directory \"%s\"", path);
    r = fsync(fd) < 0 ? -errno : 0;
    (void)close(fd);
    return r < 0 ? err_sys(err, r, "could not sync directory \"%s\"", path) : 0;
}

/* A slot's directory has plain files only. One that is not there is fine. */
static int remove_dir(const char *path, struct err *err)
{
    DIR *dir = opendir(path);
    struct dirent *entry;

    if (!dir)
        return errno == ENOENT ? 0 : err_sys(err, -errno, "could not open directory \"%s\"", path);
    while ((entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    (void)closedir(dir);
    return rmdir(path) < 0 ? err_sys(err, -errno, "could not remove directory \"%s\"", path) : 0;
}

/* A directory "NAME.tmp" the server removes at its start: a crash in between leaves nothing behind. */
static int put(const char *top, const char *name, const unsigned char *state, size_t len, struct err *err)
{
    char dir[4096], tmp[4096 + 8], file[4096 + 16];
    int r;

    if (!text_print(dir, sizeof(dir), "%s/%s", top, name))
        return err_set(err, -ENAMETOOLONG, "the name of the data directory is too long");
    (void)text_print(tmp, sizeof(tmp), "%s.tmp", dir);
    (void)text_print(file, sizeof(file), "%s/state", tmp);
    r = remove_dir(tmp, err);
    if (r < 0)
        return r;
    if (mkdir(tmp, 0700) < 0)
        return err_sys(err, -errno, "could not create directory \"%s\"", tmp);
    r = file_write_atomic(file, state, len, 0600, err);
    if (r >= 0)
        r = remove_dir(dir, err);
    if (r >= 0 && rename(tmp, dir) < 0)
        r = err_sys(err, -errno, "could not rename \"%s\" to \"%s\"", tmp, dir);
    return r < 0 ? r : sync_dir(top, err);
}

int pg_slot_put(const struct config *config, const char *name, const char *state_hex, struct err *err)
{
    unsigned char state[STATE_MAX];
    ssize_t len = decode(state_hex, state, sizeof(state));
    char top[4096 - SLOT_NAME_SIZE];

    if (len < 0 || !is_state_of(state, (size_t)len, name))
        return err_set(err, -EBADMSG, "what the leader sent is not the state of slot \"%s\"", name);
    if (!text_print(top, sizeof(top), "%s/pg_replslot", config->postgresql.data_dir))
        return err_set(err, -ENAMETOOLONG, "the name of the data directory is too long");
    return put(top, name, state, (size_t)len, err);
}
