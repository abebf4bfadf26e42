#include "pg/startlog.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "io/file.h"

enum { LOG_TAIL_MAX = 64 * 1024 };

static void mark_log(struct log_mark *mark, const char *path)
{
    struct stat st;

    (void)text_copy(mark->path, sizeof(mark->path), path);
    mark->size = stat(path, &st) == 0 ? st.st_size : 0;
}

/* The file the logging collector writes to now, from the first line of current_logfiles ("stderr log/x.log"). */
static bool collected_log(const char *data_dir, char *buf, size_t size)
{
    CLEANUP(freep) char *text = NULL;
    char path[PATH_MAX], *name;

    if (!text_print(path, sizeof(path), "%s/current_logfiles", data_dir) ||
        file_read(path, 4096, &text, NULL, NULL) < 0)
        return false;
    text[strcspn(text, "\n")] = '\0';
    name = strchr(text, ' ');
    if (!name)
        return false;
    name++;
    return *name == '/' ? text_copy(buf, size, name) : text_print(buf, size, "%s/%s", data_dir, name);
}

void startlog_begin(struct startlog *log, const char *log_file, const char *data_dir)
{
    char path[PATH_MAX];

    *log = (struct startlog){0};
    mark_log(&log->own, log_file);
    if (collected_log(data_dir, path, sizeof(path)))
        mark_log(&log->collected, path);
}

/* Appends what was written behind the mark, at most the last LOG_TAIL_MAX bytes. */
static void append_since(struct textbuf *b, const char *path, off_t since)
{
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char chunk[4096];
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    if (st.st_size < since) /* rotated or truncated */
        since = 0;
    if (st.st_size - since > LOG_TAIL_MAX)
        since = st.st_size - LOG_TAIL_MAX;
    if (lseek(fd, since, SEEK_SET) < 0)
        return;
    while (b->len < 2 * (size_t)LOG_TAIL_MAX && (n = read(fd, chunk, sizeof(chunk))) > 0)
        textbuf_append(b, chunk, (size_t)n);
}

/* A NUL in a log would hide what follows it. */
static void replace_nuls(struct textbuf *b)
{
    for (size_t i = 0; i < b->len; i++)
        if (!b->data[i])
            b->data[i] = '?';
}

char *startlog_read(const struct startlog *log, const char *log_file, const char *data_dir)
{
    struct textbuf b = {0};
    char path[PATH_MAX];

    append_since(&b, log_file, text_equal(log->own.path, log_file) ? log->own.size : 0);
    if (collected_log(data_dir, path, sizeof(path)))
        append_since(&b, path, text_equal(log->collected.path, path) ? log->collected.size : 0);
    replace_nuls(&b);
    return textbuf_take(&b);
}
