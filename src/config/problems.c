#include "config/problems.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"

enum { PROBLEMS_MAX = 500 };

/* What others wrote is quoted in messages; a line break in it must not look like another line of the log. */
static char *made_printable(char *text)
{
    for (char *at = text; at && *at; at++) {
        if (iscntrl((unsigned char)*at))
            *at = '?';
    }
    return text;
}

static __attribute__((format(printf, 1, 0))) char *print_message(const char *fmt, va_list ap)
{
    struct textbuf b = {0};

    textbuf_vprintf(&b, fmt, ap);
    return made_printable(textbuf_take(&b));
}

static void problem_done(struct config_problem *problem)
{
    free(problem->file);
    free(problem->path);
    free(problem->message);
    free(problem->hint);
}

void problems_vadd(struct config_problems *p, enum problem_severity severity, struct problem_place place,
                   const char *hint, const char *fmt, va_list ap)
{
    struct config_problem *items, new;

    if (!p)
        return;
    if (severity == PROBLEM_ERROR)
        p->has_errors = true;
    if (p->n >= PROBLEMS_MAX)
        return;
    items = reallocarray(p->items, p->n + 1, sizeof(*items));
    if (!items) {
        p->has_errors = true;
        return;
    }
    p->items = items;
    new = (struct config_problem){
        .file = strdup(place.file),
        .line = place.line,
        .path = made_printable(strdup(place.path)),
        .message = print_message(fmt, ap),
        .hint = hint ? strdup(hint) : NULL,
        .warning = severity == PROBLEM_WARNING,
    };
    if (!new.file || !new.path || !new.message || (hint && !new.hint)) {
        problem_done(&new);
        p->has_errors = true;
        return;
    }
    p->items[p->n++] = new;
}

void problems_add(struct config_problems *p, enum problem_severity severity, struct problem_place place,
                  const char *hint, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    problems_vadd(p, severity, place, hint, fmt, ap);
    va_end(ap);
}

static int compare_places(const struct config_problem *a, const struct config_problem *b, const char *first_file)
{
    int files = strcmp(a->file, b->file);

    if (files != 0 && strcmp(a->file, first_file) == 0)
        return -1;
    if (files != 0 && strcmp(b->file, first_file) == 0)
        return 1;
    if (files != 0)
        return files;
    return (a->line > b->line) - (a->line < b->line);
}

/* Insertion: stable, and the list is short and nearly sorted already. */
void problems_sort(struct config_problems *p, const char *first_file)
{
    for (size_t i = 1; i < p->n; i++) {
        struct config_problem moved = p->items[i];
        size_t k = i;

        for (; k > 0 && compare_places(&p->items[k - 1], &moved, first_file) > 0; k--)
            p->items[k] = p->items[k - 1];
        p->items[k] = moved;
    }
}

void config_problems_done(struct config_problems *p)
{
    for (size_t i = 0; i < p->n; i++)
        problem_done(&p->items[i]);
    free(p->items);
    *p = (struct config_problems){0};
}

static void print_problem(struct textbuf *b, const struct config_problem *problem)
{
    if (problem->file[0])
        textbuf_printf(b, "%s:", problem->file);
    if (problem->file[0] && problem->line)
        textbuf_printf(b, "%u:", problem->line);
    if (problem->file[0])
        textbuf_puts(b, " ");
    if (problem->warning)
        textbuf_puts(b, "warning: ");
    if (problem->path[0])
        textbuf_printf(b, "%s: ", problem->path);
    textbuf_printf(b, "%s\n", problem->message);
    if (problem->hint)
        textbuf_printf(b, "HINT:  %s\n", problem->hint);
}

char *config_problems_text(const struct config_problems *p)
{
    struct textbuf b = {0};

    for (size_t i = 0; i < p->n; i++)
        print_problem(&b, &p->items[i]);
    if (p->n == 0 && p->has_errors)
        textbuf_puts(&b, "out of memory\n");
    return textbuf_take(&b);
}
