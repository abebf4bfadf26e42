#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/core.h"

enum { LOG_LINE_MAX = 2048 };

static struct {
    int fd;
    enum log_format format;
    enum log_level max_level;
    unsigned lost;
} sink = {STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_INFO, 0};

void log_open(int fd, enum log_format format, enum log_level max_level)
{
    sink.fd = fd;
    sink.format = format;
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
    size_t len = 0;
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
    n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
    if (n > 0)
        len += (size_t)n < sizeof(line) - len - 1 ? (size_t)n : sizeof(line) - len - 2;
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
