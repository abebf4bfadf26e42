#include "config/lists.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool strings_add(struct string_list *l, const char *item)
{
    char *copy = strdup(item);
    char **items = copy ? reallocarray(l->items, l->n + 2, sizeof(*items)) : NULL;

    if (!items) {
        free(copy);
        return false;
    }
    l->items = items;
    l->items[l->n++] = copy;
    l->items[l->n] = NULL;
    return true;
}

void strings_done(struct string_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    *l = (struct string_list){0};
}

bool settings_add(struct settings *l, const char *name, const char *value)
{
    struct setting *items = reallocarray(l->items, l->n + 1, sizeof(*items));
    struct setting new;

    if (!items)
        return false;
    l->items = items;
    new = (struct setting){.name = strdup(name), .value = value ? strdup(value) : NULL};
    if (!new.name || (value && !new.value)) {
        free(new.name);
        free(new.value);
        return false;
    }
    l->items[l->n++] = new;
    return true;
}

const struct setting *settings_find(const struct settings *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++) {
        if (strcasecmp(l->items[i].name, name) == 0)
            return &l->items[i];
    }
    return NULL;
}

bool settings_set(struct settings *l, const char *name, const char *value)
{
    const struct setting *old = settings_find(l, name);
    char *copy;

    if (!old)
        return settings_add(l, name, value);
    copy = value ? strdup(value) : NULL;
    if (value && !copy)
        return false;
    free(l->items[old - l->items].value);
    l->items[old - l->items].value = copy;
    return true;
}

void settings_remove(struct settings *l, const char *name)
{
    size_t kept = 0;

    for (size_t i = 0; i < l->n; i++) {
        if (strcasecmp(l->items[i].name, name) != 0) {
            l->items[kept++] = l->items[i];
            continue;
        }
        free(l->items[i].name);
        free(l->items[i].value);
    }
    l->n = kept;
}

void settings_done(struct settings *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->items[i].name);
        free(l->items[i].value);
    }
    free(l->items);
    *l = (struct settings){0};
}
