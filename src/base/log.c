#include "base/log.h"
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "base/core.h"

enum { LOG_LINE_MAX = 2048, JOURNAL_FIELDS_MAX = 512 };

static struct {
    int fd;
    enum log_format format;
    enum log_level max_level;
    unsigned lost;
} sink = {STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_INFO, 0};

static struct {
    int fd;
    char fields[JOURNAL_FIELDS_MAX]; /* the same in every entry */
    size_t fields_len;
} journal = {.fd = -1};

void log_open(int fd, enum log_format format, enum log_level max_level)
{
    sink.fd = fd;
    sink.format = format;
    sink.max_level = max_level;
}

void log_set_level(enum log_level max_level)
{
    sink.max_level = max_level;
}

enum log_format log_format_of_stderr(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long dev, ino;
    struct stat st;

    if (!stream || sscanf(stream, "%lu:%lu", &dev, &ino) != 2 || fstat(STDERR_FILENO, &st) < 0)
        return LOG_FORMAT_TEXT;
    return st.st_dev == dev && st.st_ino == ino ? LOG_FORMAT_SYSLOG : LOG_FORMAT_TEXT;
}

int log_open_journal(const char *socket_path, const char *identifier, const char *scope, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char fields[JOURNAL_FIELDS_MAX];
    int n, fd;

    n = snprintf(fields, sizeof(fields), "SYSLOG_IDENTIFIER=%s\nPGTETHER_SCOPE=%s\nPGTETHER_NAME=%s\n", identifier,
                 scope, name);
    if (n < 0 || (size_t)n >= sizeof(fields) || strlen(socket_path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    if (strchr(identifier, '\n') || strchr(scope, '\n') || strchr(name, '\n'))
        return -EINVAL; /* it would begin a field of its own */
    memcpy(address.sun_path, socket_path, strlen(socket_path));
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int r = -errno;

        (void)close(fd);
        return r;
    }
    if (journal.fd >= 0)
        (void)close(journal.fd);
    journal.fd = fd;
    memcpy(journal.fields, fields, sizeof(fields));
    journal.fields_len = (size_t)n;
    return 0;
}

/* One datagram is one entry. The message has a length instead of an end: it may have lines (JOURNAL_NATIVE_PROTOCOL).
 */
static bool write_journal(enum log_level level, const char *text, size_t len)
{
    char priority[] = "PRIORITY=0\nMESSAGE\n";
    uint64_t size = htole64(len);
    struct iovec parts[] = {{journal.fields, journal.fields_len},
                            {priority, sizeof(priority) - 1},
                            {&size, sizeof(size)},
                            {(void *)(uintptr_t)text, len},
                            {(void *)(uintptr_t) "\n", 1}};
    struct msghdr entry = {.msg_iov = parts, .msg_iovlen = ARRAY_LEN(parts)};

    if (journal.fd < 0)
        return false;
    priority[strlen("PRIORITY=")] = (char)('0' + (int)level);
    return sendmsg(journal.fd, &entry, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static const struct {
    const char *name;
    const char *label;
    enum log_level level;
} levels[] = {
    {"error", "ERROR", LOG_LEVEL_ERROR},
    {"warning", "WARNING", LOG_LEVEL_WARNING},
    {"info", "INFO", LOG_LEVEL_INFO},
    {"debug", "DEBUG", LOG_LEVEL_DEBUG},
};

int log_level_from_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (strcasecmp(levels[i].name, name) == 0)
            return (int)levels[i].level;
    return -1;
}

static const char *level_label(enum log_level level)
{
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (levels[i].level == level)
            return levels[i].label;
    return "LOG";
}

/* "2026-07-24 14:05:07.123 " in UTC: local time would read the zone file, which the keeper must not. */
static size_t print_time(char *buf, size_t size)
{
    struct timespec ts;
    struct tm tm;
    int n;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    if (!gmtime_r(&ts.tv_sec, &tm))
        return 0;
    n = snprintf(buf, size, "%04d-%02d-%02d %02d:%02d:%02d.%03ldZ ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                 tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000);
    return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

void log_vwrite(enum log_level level, const char *fmt, va_list ap)
{
    char line[LOG_LINE_MAX];
    size_t len = 0, prefix_len;
    int n;

    if (level > sink.max_level)
        return;
    if (sink.format == LOG_FORMAT_SYSLOG) {
        n = snprintf(line, sizeof(line), "<%d>", (int)level);
    } else {
        len = print_time(line, sizeof(line));
        n = snprintf(line + len, sizeof(line) - len, "%s: ", level_label(level));
    }
    len += (size_t)n;
    prefix_len = len;
    n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
    if (n > 0)
        len += (size_t)n < sizeof(line) - len - 1 ? (size_t)n : sizeof(line) - len - 2;
    if (write_journal(level, line + prefix_len, len - prefix_len))
        return;
    line[len++] = '\n';
    if (write(sink.fd, line, len) < 0)
        sink.lost++;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_vwrite(level, fmt, ap);
    va_end(ap);
}

unsigned log_lost(void)
{
    return sink.lost;
}
