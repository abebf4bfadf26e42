/*
 * The log: one line per event, to stderr or to a descriptor given instead. Texts follow PostgreSQL's message style.
 *
 * Only main programs, event callbacks and API handlers log; functions below them return a struct err. Nothing here
 * allocates, and one line is one write(), so lines of several processes on one pipe do not mix.
 */
#pragma once
#include <stdarg.h>

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

enum log_format {
    LOG_FORMAT_TEXT,   /* "2026-07-24 14:05:07.123 INFO: text", for people */
    LOG_FORMAT_SYSLOG, /* "<6>text": systemd puts the priority into the journal's PRIORITY field, sd-daemon(3) */
};

/*
 * Sets where lines go from now on. Until called: stderr, text, info. log_format_of_stderr() says SYSLOG when stderr is
 * the journal's stream (JOURNAL_STREAM names its device and inode, systemd.exec(5)), otherwise TEXT.
 */
void log_open(int fd, enum log_format format, enum log_level max_level);
enum log_format log_format_of_stderr(void);
void log_set_level(enum log_level max_level);
#define LOG_JOURNAL_SOCKET "/run/systemd/journal/socket"
/*
 * Lines go to the journal's own socket from now on, with the fields SYSLOG_IDENTIFIER, PGTETHER_SCOPE, PGTETHER_NAME
 * and PRIORITY: "journalctl PGTETHER_SCOPE=main" finds what all its processes said. What the socket does not take at
 * once goes where log_open() said. Returns 0 or -errno: all lines then go there.
 */
int log_open_journal(const char *socket_path, const char *identifier, const char *scope, const char *name);

/* Name of a level ("debug", "info", "warning", "error") to the level; -1 if unknown. */
int log_level_from_name(const char *name);

/* Number of lines that could not be written because the descriptor would block or failed. */
unsigned log_lost(void);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_vwrite(enum log_level level, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
