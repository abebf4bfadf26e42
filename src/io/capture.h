/*
 * What a child wrote: its last CHILD_OUTPUT_MAX bytes as text, and its lines as they come. Private to src/io.
 */
#pragma once
#include <stddef.h>
#include "io/child.h"

struct capture {
    char tail[CHILD_OUTPUT_MAX + 1]; /* terminated */
    size_t tail_len;
    char line[CHILD_LINE_MAX + 1];
    size_t line_len;
};

typedef void (*capture_line_fn)(void *userdata, const char *line);

/* Takes up what was read; on_line is called for every line that is complete now. */
void capture_add(struct capture *c, const char *data, size_t len, capture_line_fn on_line, void *userdata);
/* At the end: delivers a last line that had no newline. */
void capture_end(struct capture *c, capture_line_fn on_line, void *userdata);
