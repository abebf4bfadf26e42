#include "ctl/table.h"
#include <stdlib.h>
#include <string.h>

static bool continues_character(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* Columns on a terminal, one per character; bytes that continue an UTF-8 character take none. */
static size_t width_of(const char *s, size_t len)
{
    size_t width = 0;

    for (size_t i = 0; i < len; i++)
        width += !continues_character(s[i]);
    return width;
}

/* Line number `line` of a cell; NULL when it has fewer. */
static const char *line_of(const char *s, size_t line, size_t *len)
{
    for (; line; line--) {
        s = strchr(s, '\n');
        if (!s)
            return NULL;
        s++;
    }
    *len = strcspn(s, "\n");
    return s;
}

static size_t widest_line(const char *s)
{
    size_t widest = 0, len;
    const char *text;

    for (size_t line = 0; (text = line_of(s, line, &len)); line++)
        if (width_of(text, len) > widest)
            widest = width_of(text, len);
    return widest;
}

static void put_rule(struct textbuf *out, const size_t *widths, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        textbuf_puts(out, "+-");
        for (size_t j = 0; j < widths[i]; j++)
            textbuf_puts(out, "-");
        textbuf_puts(out, "-");
    }
    textbuf_puts(out, "+\n");
}

/* The upper edge: the title lies over the line; what does not fit between the corners is cut. */
static void put_title(struct textbuf *out, const char *title, const size_t *widths, size_t n)
{
    struct textbuf rule = {0};
    size_t len = 0, width = 0;

    put_rule(&rule, widths, n);
    out->failed |= rule.failed;
    if (rule.data) {
        size_t room = rule.len - strlen("++\n");

        for (; title[len] && (width < room || continues_character(title[len])); len++)
            width += !continues_character(title[len]);
        textbuf_puts(out, "+");
        textbuf_append(out, title, len);
        textbuf_puts(out, rule.data + 1 + width);
    }
    textbuf_done(&rule);
}

static void put_row(struct textbuf *out, const struct table_column *columns, const size_t *widths, size_t n,
                    const char *const *cells)
{
    bool more = true;

    for (size_t line = 0; more; line++) {
        more = false;
        for (size_t i = 0; i < n; i++) {
            size_t len = 0, next_len;
            const char *text = line_of(cells[i], line, &len);
            int pad = (int)(widths[i] - (text ? width_of(text, len) : 0));

            textbuf_printf(out, "| %*s", columns[i].right ? pad : 0, "");
            textbuf_append(out, text ? text : "", len);
            textbuf_printf(out, "%*s ", columns[i].right ? 0 : pad, "");
            more |= line_of(cells[i], line + 1, &next_len) != NULL;
        }
        textbuf_puts(out, "|\n");
    }
}

void table_print(struct textbuf *out, const char *title, const struct table_column *columns, size_t n_columns,
                 const char *const *cells, size_t n_rows)
{
    CLEANUP(freep) size_t *widths = calloc(n_columns + 1, sizeof(*widths));
    CLEANUP(freep) const char **titles = calloc(n_columns + 1, sizeof(*titles));
    bool separate_rows = false;

    if (!widths || !titles) {
        out->failed = true;
        return;
    }
    for (size_t i = 0; i < n_columns; i++) {
        titles[i] = columns[i].title;
        widths[i] = widest_line(titles[i]);
    }
    for (size_t i = 0; i < n_rows * n_columns; i++) {
        size_t width = widest_line(cells[i]);

        separate_rows |= strchr(cells[i], '\n') != NULL;
        if (width > widths[i % n_columns])
            widths[i % n_columns] = width;
    }

    put_title(out, title ? title : "", widths, n_columns);
    put_row(out, columns, widths, n_columns, titles);
    put_rule(out, widths, n_columns);
    for (size_t i = 0; i < n_rows; i++) {
        put_row(out, columns, widths, n_columns, cells + i * n_columns);
        if (separate_rows && i + 1 < n_rows)
            put_rule(out, widths, n_columns);
    }
    put_rule(out, widths, n_columns);
}
