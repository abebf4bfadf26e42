/*
 * Adding to and releasing the lists that configurations are made of. Every function that allocates returns false when
 * memory ran out and leaves the list as it was.
 */
#pragma once
#include <stdbool.h>
#include "config/config.h"

bool strings_add(struct string_list *l, const char *item);
void strings_done(struct string_list *l);

/* Appends; value may be NULL. Names may repeat, as command-line options do. */
bool settings_add(struct settings *l, const char *name, const char *value);
/* NULL if there is none of that name; names compare without regard to case, as PostgreSQL's parameters do. */
const struct setting *settings_find(const struct settings *l, const char *name);
/* Replaces the value of a name or appends it. */
bool settings_set(struct settings *l, const char *name, const char *value);
void settings_remove(struct settings *l, const char *name);
void settings_done(struct settings *l);
