/* Which known name a mistyped one was meant to be. */
#pragma once
#include <stddef.h>

/*
 * Offers one known name after the other; suggest.best is the nearest so far, or NULL while none is near enough to be
 * worth showing. Names must outlive the struct.
 */
struct suggest {
    const char *typed;
    const char *best;
    size_t best_distance;
};

#define SUGGEST_FOR(name) ((struct suggest){.typed = (name)})
void suggest_offer(struct suggest *s, const char *known);

/* Edits (insert, delete, replace, swap neighbours) between two names without regard to case, "_" and "-" being the same
 * sign. */
size_t suggest_distance(const char *a, const char *b);
