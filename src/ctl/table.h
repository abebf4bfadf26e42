/*
 * Tables of text with a frame, as patronictl prints them: a title in the upper edge, columns as wide as their widest
 * line, lines between the rows as soon as one cell has several lines.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/text.h"

struct table_column {
    const char *title;
    bool right; /* aligned to the right; the title, too */
};

/*
 * Cells row by row, n_rows * n_columns of them; a line feed in a cell begins a new line there. The title may be NULL.
 */
void table_print(struct textbuf *out, const char *title, const struct table_column *columns, size_t n_columns,
                 const char *const *cells, size_t n_rows);
