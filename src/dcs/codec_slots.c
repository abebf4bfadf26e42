/* The slots in the status key: where the leader's are, and which are kept although their members may have vanished. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "dcs/codec_internal.h"
#include "model/cluster.h"

/* More than any max_replication_slots that works; what is beyond is foreign and left out. */
enum { STATUS_SLOTS_MAX = 4096 };

/* Where values may only be texts (Kubernetes) the object or list is one, too. */
static json_t *unwrap(const json_t *status, const char *key)
{
    json_t *value = json_object_get(status, key), *inner = NULL;
    const char *text = json_string_value(value);

    if (!text)
        return json_incref(value);
    return codec_json(text, strlen(text), &inner) == 0 ? inner : NULL;
}

static int load_positions(struct cluster *c, json_t *slots)
{
    const char *name;
    json_t *value;
    size_t n = json_object_size(slots);

    if (n == 0 || n > STATUS_SLOTS_MAX)
        return 0;
    c->status_slots = calloc(n, sizeof(*c->status_slots));
    if (!c->status_slots)
        return -ENOMEM;
    json_object_foreach(slots, name, value)
    {
        struct slot_position *p = &c->status_slots[c->n_status_slots];

        if (slot_name_is_valid(name) && codec_json_u64(value, &p->lsn) && text_copy(p->name, sizeof(p->name), name))
            c->n_status_slots++;
    }
    return 0;
}

static int load_retained(struct cluster *c, const json_t *names)
{
    size_t n = json_array_size(names);

    if (n == 0 || n > STATUS_SLOTS_MAX)
        return 0;
    c->retain_slots = calloc(n, sizeof(*c->retain_slots));
    if (!c->retain_slots)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(names, i));

        if (name && slot_name_is_valid(name))
            (void)text_copy(c->retain_slots[c->n_retain_slots++].text, SLOT_NAME_SIZE, name);
    }
    return 0;
}

int codec_load_status_slots(struct cluster *c, const json_t *status)
{
    json_t *slots = unwrap(status, "slots"), *names = unwrap(status, "retain_slots");
    int r;

    free(c->status_slots);
    free(c->retain_slots);
    c->status_slots = NULL;
    c->retain_slots = NULL;
    c->n_status_slots = c->n_retain_slots = 0;
    r = load_positions(c, slots);
    if (r == 0)
        r = load_retained(c, names);
    json_decref(slots);
    json_decref(names);
    return r;
}
