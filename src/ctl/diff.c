#include "ctl/diff.h"
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 3, LINES_MAX = 5000 };

struct lines {
    char *copy;
    const char **items;
    size_t n;
};

static bool split(const char *text, struct lines *ret)
{
    size_t len = strlen(text), n = 1;
    char *rest, *line;

    while (len && text[len - 1] == '\n')
        len--;
    for (size_t i = 0; i < len; i++)
        n += text[i] == '\n';
    *ret = (struct lines){.copy = strndup(text, len), .items = calloc(n, sizeof(char *))};
    if (!ret->copy || !ret->items || n > LINES_MAX)
        return false;
    rest = ret->copy;
    while ((line = strsep(&rest, "\n")))
        ret->items[ret->n++] = line;
    return true;
}

static void lines_done(struct lines *l)
{
    free(l->copy);
    free(l->items);
}

/* What becomes of the lines, in the order of the output. */
enum edit { EDIT_KEEP = ' ', EDIT_REMOVE = '-', EDIT_ADD = '+' };
struct step {
    enum edit edit;
    size_t a, b; /* where both texts stand before it */
};

/* Longest common subsequence: common[i][k] of the rests from line i and line k. */
static uint16_t *table_of(const struct lines *a, const struct lines *b)
{
    size_t width = b->n + 1;
    uint16_t *common = calloc((a->n + 1) * width, sizeof(*common));

    for (size_t i = a->n; common && i > 0; i--) {
        for (size_t k = b->n; k > 0; k--) {
            uint16_t right = common[(i - 1) * width + k], down = common[i * width + k - 1];

            if (strcmp(a->items[i - 1], b->items[k - 1]) == 0)
                common[(i - 1) * width + k - 1] = (uint16_t)(common[i * width + k] + 1);
            else
                common[(i - 1) * width + k - 1] = right > down ? right : down;
        }
    }
    return common;
}

static size_t steps_of(const struct lines *a, const struct lines *b, const uint16_t *common, struct step *ret)
{
    size_t i = 0, k = 0, n = 0, width = b->n + 1;

    while (i < a->n || k < b->n) {
        ret[n] = (struct step){EDIT_KEEP, i, k};
        if (i < a->n && k < b->n && strcmp(a->items[i], b->items[k]) == 0) {
            i++;
            k++;
        } else if (i < a->n && (k == b->n || common[(i + 1) * width + k] >= common[i * width + k + 1])) {
            ret[n].edit = EDIT_REMOVE;
            i++;
        } else {
            ret[n].edit = EDIT_ADD;
            k++;
        }
        n++;
    }
    return n;
}

/* "3", "3,2", and "2,0" for nothing after line 2. */
static void put_range(struct textbuf *out, size_t begin, size_t n)
{
    if (n == 1)
        textbuf_printf(out, "%zu", begin + 1);
    else
        textbuf_printf(out, "%zu,%zu", n ? begin + 1 : begin, n);
}

static void put_line(struct textbuf *out, const char *sign, const char *line, bool colors)
{
    const char *color = *sign == '+' ? "\033[32m" : *sign == '-' ? "\033[31m" : *sign == '@' ? "\033[36m" : "";

    textbuf_printf(out, "%s%s%s%s\n", colors ? color : "", sign, line, colors && *color ? "\033[0m" : "");
}

static void put_hunk(struct textbuf *out, const struct lines *a, const struct lines *b, const struct step *steps,
                     size_t n, bool colors)
{
    struct textbuf head = {0};
    size_t of_a = 0, of_b = 0;

    for (size_t i = 0; i < n; i++) {
        of_a += steps[i].edit != EDIT_ADD;
        of_b += steps[i].edit != EDIT_REMOVE;
    }
    textbuf_puts(&head, " -");
    put_range(&head, steps[0].a, of_a);
    textbuf_puts(&head, " +");
    put_range(&head, steps[0].b, of_b);
    textbuf_puts(&head, " @@");
    put_line(out, "@@", head.data ? head.data : "", colors);
    textbuf_done(&head);
    for (size_t i = 0; i < n; i++) {
        const char sign[2] = {(char)steps[i].edit, '\0'};

        put_line(out, sign, steps[i].edit == EDIT_ADD ? b->items[steps[i].b] : a->items[steps[i].a], colors);
    }
}

/* The end of the hunk that begins at or before `at`: where more lines than two contexts are the same. */
static size_t hunk_end(const struct step *steps, size_t n, size_t at)
{
    size_t same = 0;

    for (; at < n && same <= 2 * CONTEXT; at++)
        same = steps[at].edit == EDIT_KEEP ? same + 1 : 0;
    return same > CONTEXT ? at - same + CONTEXT : at;
}

static void put_hunks(struct textbuf *out, const struct lines *a, const struct lines *b, const struct step *steps,
                      size_t n, bool colors)
{
    bool any = false;

    for (size_t at = 0; at < n; at++) {
        size_t begin = at > CONTEXT ? at - CONTEXT : 0, end;

        if (steps[at].edit == EDIT_KEEP)
            continue;
        if (!any) {
            put_line(out, "--- ", "", colors);
            put_line(out, "+++ ", "", colors);
        }
        any = true;
        end = hunk_end(steps, n, at);
        put_hunk(out, a, b, steps + begin, end - begin, colors);
        at = end;
    }
}

void diff_print(struct textbuf *out, const char *before, const char *after, bool colors)
{
    struct lines a = {0}, b = {0};
    CLEANUP(freep) uint16_t *common = NULL;
    CLEANUP(freep) struct step *steps = NULL;

    if (split(before, &a) && split(after, &b)) {
        common = table_of(&a, &b);
        steps = calloc(a.n + b.n + 1, sizeof(*steps));
    }
    if (common && steps)
        put_hunks(out, &a, &b, steps, steps_of(&a, &b, common, steps), colors);
    else
        out->failed = true;
    lines_done(&a);
    lines_done(&b);
}
