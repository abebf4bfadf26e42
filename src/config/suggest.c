#include "config/suggest.h"
#include <ctype.h>
#include <stdint.h>
#include <string.h>

enum { NAME_MAX_LEN = 63 }; /* longer names are not compared: no setting has one */

static int fold(char c)
{
    return c == '-' ? '_' : tolower((unsigned char)c);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Damerau and Levenshtein's distance, restricted to swaps of neighbours ("optimal string alignment"). */
size_t suggest_distance(const char *a, const char *b)
{
    size_t rows[3][NAME_MAX_LEN + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    size_t a_len = strlen(a), b_len = strlen(b);

    if (a_len > NAME_MAX_LEN || b_len > NAME_MAX_LEN)
        return SIZE_MAX;
    memset(rows, 0, sizeof(rows));
    for (size_t k = 0; k <= b_len; k++)
        above[k] = k;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *spare = before;

        row[0] = i;
        for (size_t k = 1; k <= b_len; k++) {
            size_t differs = fold(a[i - 1]) != fold(b[k - 1]);

            row[k] = least(least(above[k], row[k - 1]) + 1, above[k - 1] + differs);
            if (i > 1 && k > 1 && fold(a[i - 1]) == fold(b[k - 2]) && fold(a[i - 2]) == fold(b[k - 1]))
                row[k] = least(row[k], before[k - 2] + 1);
        }
        before = above;
        above = row;
        row = spare;
    }
    return above[b_len];
}

void suggest_offer(struct suggest *s, const char *known)
{
    size_t distance = suggest_distance(s->typed, known);
    /* One edit in three signs: further away the guess confuses more than it helps. */
    size_t limit = strlen(s->typed) / 3;

    if (limit < 1)
        limit = 1;
    if (limit > 4)
        limit = 4;
    if (distance > limit || (s->best && distance >= s->best_distance))
        return;
    s->best = known;
    s->best_distance = distance;
}
