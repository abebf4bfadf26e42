#include "io/capture.h"
#include <string.h>

static void tail_add(struct capture *c, const char *data, size_t len)
{
    size_t max = sizeof(c->tail) - 1;
    size_t keep;

    if (len > max) {
        data += len - max;
        len = max;
    }
    keep = c->tail_len < max - len ? c->tail_len : max - len;
    memmove(c->tail, c->tail + c->tail_len - keep, keep);
    for (size_t i = 0; i < len; i++)
        c->tail[keep + i] = data[i] ? data[i] : '?';
    c->tail_len = keep + len;
    c->tail[c->tail_len] = '\0';
}

static void line_flush(struct capture *c, capture_line_fn on_line, void *userdata)
{
    if (c->line_len == 0)
        return;
    c->line[c->line_len] = '\0';
    c->line_len = 0;
    on_line(userdata, c->line);
}

void capture_add(struct capture *c, const char *data, size_t len, capture_line_fn on_line, void *userdata)
{
    tail_add(c, data, len);
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\n' || data[i] == '\r') {
            line_flush(c, on_line, userdata);
            continue;
        }
        if (c->line_len == sizeof(c->line) - 1)
            line_flush(c, on_line, userdata);
        c->line[c->line_len++] = data[i] ? data[i] : '?';
    }
}

void capture_end(struct capture *c, capture_line_fn on_line, void *userdata)
{
    line_flush(c, on_line, userdata);
}
