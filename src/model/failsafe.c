#include "model/failsafe.h"
#include <string.h>
#include "base/text.h"

const struct failsafe_member *failsafe_list_find(const struct failsafe_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i].name, name) == 0)
            return &l->items[i];
    return NULL;
}

static struct failsafe_member *slot_for(struct failsafe_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i].name, name) == 0)
            return &l->items[i];
    if (l->n == FAILSAFE_MEMBERS_MAX)
        return NULL;
    l->items[l->n] = (struct failsafe_member){0};
    return &l->items[l->n];
}

bool failsafe_list_add(struct failsafe_list *l, const char *name, const char *api_url)
{
    struct failsafe_member *m = slot_for(l, name), before;

    if (!m || !text_copy(m->name, sizeof(m->name), name)) {
        l->overflow = true;
        return false;
    }
    before = *m;
    /* Half a URL would be that of another host. */
    if (!text_copy(m->api_url, sizeof(m->api_url), api_url))
        m->api_url[0] = '\0';
    if (m == &l->items[l->n]) {
        l->n++;
        return true;
    }
    return strcmp(before.api_url, m->api_url) != 0;
}

bool failsafe_list_equal(const struct failsafe_list *a, const struct failsafe_list *b)
{
    if (a->n != b->n || a->overflow != b->overflow)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct failsafe_member *m = failsafe_list_find(b, a->items[i].name);

        if (!m || strcmp(m->api_url, a->items[i].api_url) != 0)
            return false;
    }
    return true;
}
