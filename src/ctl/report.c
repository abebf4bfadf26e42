#include "ctl/report.h"
#include <assert.h>
#include <stdlib.h>
#include "ctl/table.h"
#include "ctl/yaml.h"

static const struct {
    const char *text;
    enum report_format format;
} formats[] = {
    {"pretty", REPORT_PRETTY}, {"tsv", REPORT_TSV}, {"json", REPORT_JSON}, {"yaml", REPORT_YAML}, {"yml", REPORT_YAML},
};

bool report_format_from_text(const char *text, enum report_format *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        if (strcmp(formats[i].text, text) == 0) {
            *ret = formats[i].format;
            return true;
        }
    }
    return false;
}

void report_add_column(struct report *r, const char *key, const char *title, bool right)
{
    assert(r->n_columns < REPORT_COLUMNS_MAX);
    r->columns[r->n_columns++] = (struct report_column){key, title, right};
}

void report_done(struct report *r)
{
    json_decref(r->rows);
    *r = (struct report){0};
}

/* The caller frees; NULL when memory ran out. */
static char *cell_text(const json_t *value, enum report_format format)
{
    struct textbuf text = {0};

    if (json_is_string(value))
        textbuf_puts(&text, json_string_value(value));
    else if (json_is_object(value) || json_is_array(value))
        yaml_print(&text, value, format == REPORT_PRETTY ? YAML_BLOCK : YAML_FLOW);
    else if (json_is_integer(value))
        textbuf_printf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        yaml_print(&text, value, YAML_FLOW);
    while (text.len && text.data[text.len - 1] == '\n')
        text.data[--text.len] = '\0';
    return textbuf_take(&text);
}

static void free_cells(char **cells, size_t n)
{
    for (size_t i = 0; cells && i < n; i++)
        free(cells[i]);
    free(cells);
}

static void print_table(struct textbuf *out, const struct report *r, enum report_format format)
{
    struct table_column columns[REPORT_COLUMNS_MAX];
    size_t n_columns = 0, n_rows = json_array_size(r->rows), n = 0;
    char **cells = calloc(n_rows * r->n_columns + 1, sizeof(*cells));

    for (size_t i = 0; i < r->n_columns; i++)
        if (r->columns[i].title)
            columns[n_columns++] = (struct table_column){r->columns[i].title, r->columns[i].right};
    out->failed |= !cells;
    for (size_t row = 0; cells && row < n_rows; row++) {
        for (size_t i = 0; i < r->n_columns; i++) {
            if (!r->columns[i].title)
                continue;
            cells[n] = cell_text(json_array_get(json_array_get(r->rows, row), i), format);
            out->failed |= !cells[n];
            n++;
        }
    }
    if (!out->failed)
        table_print(out, r->title[0] ? r->title : NULL, columns, n_columns, (const char *const *)cells, n_rows);
    free_cells(cells, n);
}

static void print_tsv(struct textbuf *out, const struct report *r)
{
    const char *delimiter = r->delimiter ? r->delimiter : "\t";

    for (size_t i = 0; !r->without_header && i < r->n_columns; i++)
        textbuf_printf(out, "%s%s", i ? delimiter : "", r->columns[i].key);
    textbuf_puts(out, r->without_header ? "" : "\n");
    for (size_t row = 0; row < json_array_size(r->rows); row++) {
        for (size_t i = 0; i < r->n_columns; i++) {
            char *text = cell_text(json_array_get(json_array_get(r->rows, row), i), REPORT_TSV);

            out->failed |= !text;
            textbuf_printf(out, "%s%s", i ? delimiter : "", text ? text : "");
            free(text);
        }
        textbuf_puts(out, "\n");
    }
}

/* An array of objects for programs. */
static json_t *as_objects(const struct report *r)
{
    json_t *list = json_array();

    for (size_t row = 0; row < json_array_size(r->rows); row++) {
        json_t *object = json_object();

        for (size_t i = 0; i < r->n_columns; i++) {
            json_t *value = json_array_get(json_array_get(r->rows, row), i);
            const char *text = json_string_value(value);

            if (!(r->omit_empty && text && !*text))
                (void)json_object_set(object, r->columns[i].key, value);
        }
        (void)json_array_append_new(list, object);
    }
    return list;
}

static void print_objects(struct textbuf *out, const struct report *r, enum report_format format)
{
    json_t *list = as_objects(r);

    if (format == REPORT_YAML) {
        yaml_print(out, list, YAML_BLOCK);
    } else {
        char *text = json_dumps(list, JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII);

        out->failed |= !text;
        textbuf_puts(out, text ? text : "");
        free(text);
    }
    /* The reference prints the text of the YAML document, which ends with a line feed, as a line. */
    textbuf_puts(out, "\n");
    json_decref(list);
}

void report_print(struct textbuf *out, const struct report *r, enum report_format format)
{
    switch (format) {
    case REPORT_PRETTY:
    case REPORT_TOPOLOGY:
        print_table(out, r, format);
        break;
    case REPORT_TSV:
        print_tsv(out, r);
        break;
    case REPORT_JSON:
    case REPORT_YAML:
        print_objects(out, r, format);
        break;
    }
}
