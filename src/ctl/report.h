/* Rows of values under named columns, printed for people or for programs in the formats of patronictl. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/text.h"

enum report_format { REPORT_PRETTY, REPORT_TOPOLOGY, REPORT_TSV, REPORT_JSON, REPORT_YAML };

/* False if there is no such format; "topology" is no format to choose. */
bool report_format_from_text(const char *text, enum report_format *ret);

struct report_column {
    const char *key;   /* its name for programs: tsv, json, yaml */
    const char *title; /* its name for people; NULL = not shown to them */
    bool right;        /* aligned to the right */
};

/* PostgreSQL gives no more in a result (MaxTupleAttributeNumber). */
enum { REPORT_COLUMNS_MAX = 1664 };

struct report {
    char title[256]; /* of the table; "" = none */
    struct report_column columns[REPORT_COLUMNS_MAX];
    size_t n_columns;
    json_t *rows;          /* array of arrays, one value per column; "" where there is nothing to say. Owned */
    bool omit_empty;       /* json, yaml: leave out what is "" */
    bool without_header;   /* tsv: the rows only */
    const char *delimiter; /* tsv: between the cells; NULL = a tab */
};

void report_add_column(struct report *r, const char *key, const char *title, bool right);
void report_print(struct textbuf *out, const struct report *r, enum report_format format);
void report_done(struct report *r);
