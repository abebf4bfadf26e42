/* Timeline history files: which timelines ended where, as PostgreSQL wrote it down in pg_wal. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include "base/text.h"
#include "io/file.h"
#include "pg/files.h"

enum { HISTORY_FILE_MAX = 1024 * 1024 };

/* "5\t0/3000148\tno recovery target specified": 1; 0 for comments and blank lines, -1 for what cannot be read. */
static int parse_line(char *line, struct history_line *ret)
{
    struct history_line parsed = {0};
    char *lsn, *reason;

    line += strspn(line, " \t");
    if (!*line || *line == '#')
        return 0;
    lsn = line + strcspn(line, " \t");
    if (*lsn)
        *lsn++ = '\0';
    lsn += strspn(lsn, " \t");
    reason = lsn + strcspn(lsn, " \t");
    if (*reason)
        *reason++ = '\0';
    reason += strspn(reason, " \t");
    if (!text_to_u32(line, &parsed.timeline) || !text_to_lsn(lsn, &parsed.switch_lsn))
        return -1;
    (void)text_copy(parsed.reason, sizeof(parsed.reason), reason);
    *ret = parsed;
    return 1;
}

int pg_history_parse(char *text, const char *path, struct history_line **ret, size_t *ret_n, struct err *err)
{
    CLEANUP(freep) struct history_line *lines = NULL;
    size_t n = 0;
    char *rest = text, *line;

    while ((line = strsep(&rest, "\n"))) {
        struct history_line parsed, *more;
        int r = parse_line(line, &parsed);

        if (r == 0)
            continue;
        if (r < 0 || (n > 0 && parsed.timeline <= lines[n - 1].timeline))
            return err_set(err, -EBADMSG, "cannot read history file \"%s\": invalid line %zu", path, n + 1);
        more = reallocarray(lines, n + 1, sizeof(*lines));
        if (!more)
            return err_set(err, -ENOMEM, "out of memory");
        lines = more;
        lines[n++] = parsed;
    }
    *ret = STEAL(lines);
    *ret_n = n;
    return 0;
}

/* "2026-07-24T14:05:07.123456+00:00" in the local zone, as the reference writes the moment of the switch. */
static void print_timestamp(const struct timespec *ts, char *buf, size_t size)
{
    char day[32], zone[16];
    struct tm tm;

    (void)localtime_r(&ts->tv_sec, &tm);
    if (strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm) == 0 || strftime(zone, sizeof(zone), "%z", &tm) != 5) {
        buf[0] = '\0';
        return;
    }
    (void)text_print(buf, size, "%s.%06ld%.3s:%s", day, ts->tv_nsec / 1000, zone, zone + 3);
}

int pg_files_read_history(const struct config *config, uint32_t timeline, struct history_line **ret, size_t *ret_n,
                          struct err *err)
{
    CLEANUP(freep) char *text = NULL;
    char path[PATH_MAX];
    struct history_line *lines = NULL;
    struct stat st;
    size_t n = 0;
    int r;

    if (timeline <= 1) { /* the first timeline has no file */
        *ret = NULL;
        *ret_n = 0;
        return 0;
    }
    if (!text_print(path, sizeof(path), "%s/pg_wal/%08" PRIX32 ".history", config->postgresql.data_dir, timeline))
        return err_set(err, -ENAMETOOLONG, "data directory name is too long");
    r = file_read(path, HISTORY_FILE_MAX, &text, NULL, err);
    if (r < 0)
        return r;
    r = pg_history_parse(text, path, &lines, &n, err);
    if (r < 0)
        return r;
    if (n > 0 && stat(path, &st) == 0)
        print_timestamp(&st.st_mtim, lines[n - 1].timestamp, sizeof(lines[n - 1].timestamp));
    *ret = lines;
    *ret_n = n;
    return 0;
}
