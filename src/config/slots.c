/* Permanent slots and slots to leave alone, from the dynamic configuration (facts sheet 5.5, 5.6). */
#include "model/slots.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "config/dynamic.h"

enum { ENTRIES_MAX = 1000 };

struct reading {
    enum problem_severity bad_value;
    struct config_problems *problems;
    struct dynamic *d;
};

static void complain(const struct reading *r, enum problem_severity severity, const char *path, const char *hint,
                     const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void complain(const struct reading *r, enum problem_severity severity, const char *path, const char *hint,
                     const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    problems_vadd(r->problems, severity, (struct problem_place){"", 0, path}, hint, fmt, ap);
    va_end(ap);
}

/* True with "" if it is not there; false, and said, if it is no text or too long to be what it should. */
static bool read_text(const struct reading *r, const json_t *entry, const char *path, const char *key, char *buf,
                      size_t size)
{
    const json_t *value = json_object_get(entry, key);
    const char *text = json_string_value(value);

    buf[0] = '\0';
    if (!value || json_is_null(value) || (text && text_copy(buf, size, text)))
        return true;
    complain(r, r->bad_value, path, NULL, "expected \"%s\" to be a text of at most %zu bytes", key, size - 1);
    return false;
}

static void check_keys(const struct reading *r, json_t *entry, const char *path, const char *const *known, size_t n)
{
    const char *key;
    json_t *value;

    json_object_foreach(entry, key, value)
    {
        size_t i = 0;

        while (i < n && strcmp(key, known[i]) != 0)
            i++;
        if (i == n)
            complain(r, r->bad_value, path, "Known are type, database, plugin, and for slots cluster_type.",
                     "unknown setting \"%.60s\"", key);
    }
}

static bool read_cluster(const struct reading *r, const char *path, const char *word, struct slot_spec *s)
{
    if (!*word)
        return true;
    if (strcmp(word, "primary") != 0 && strcmp(word, "standby") != 0) {
        complain(r, r->bad_value, path, NULL, "expected cluster_type \"primary\" or \"standby\", got \"%s\"", word);
        return false;
    }
    if (s->logical)
        complain(r, PROBLEM_WARNING, path, NULL, "cluster_type is for physical slots only and is ignored");
    else
        s->cluster = strcmp(word, "primary") == 0 ? SLOT_PRIMARY_CLUSTER : SLOT_STANDBY_CLUSTER;
    return true;
}

static bool read_spec(const struct reading *r, json_t *entry, const char *path, struct slot_spec *s)
{
    static const char *const known[] = {"type", "database", "plugin", "cluster_type"};
    char type[16], cluster[16];

    if (json_is_null(entry))
        return true;
    if (!json_is_object(entry)) {
        complain(r, r->bad_value, path, "A physical slot is \"name: null\" or \"name: {type: physical}\".",
                 "expected the settings of a slot");
        return false;
    }
    check_keys(r, entry, path, known, ARRAY_LEN(known));
    if (!read_text(r, entry, path, "type", type, sizeof(type)) ||
        !read_text(r, entry, path, "cluster_type", cluster, sizeof(cluster)) ||
        !read_text(r, entry, path, "database", s->database, sizeof(s->database)) ||
        !read_text(r, entry, path, "plugin", s->plugin, sizeof(s->plugin)))
        return false;
    if (*type && strcmp(type, "physical") != 0 && strcmp(type, "logical") != 0) {
        complain(r, r->bad_value, path, NULL, "expected type \"physical\" or \"logical\", got \"%s\"", type);
        return false;
    }
    s->logical = *type ? strcmp(type, "logical") == 0 : s->database[0] && s->plugin[0];
    if (s->logical && (!s->database[0] || !s->plugin[0])) {
        complain(r, r->bad_value, path, NULL, "a logical slot needs a database and a plugin");
        return false;
    }
    if (!s->logical && (s->database[0] || s->plugin[0]))
        complain(r, PROBLEM_WARNING, path, "Set type to \"logical\", or give both database and plugin.",
                 "database and plugin mean nothing for a physical slot");
    return read_cluster(r, path, cluster, s);
}

/* An entry that cannot be used must not have its slot dropped as one that nobody wants. */
static void leave_alone(struct dynamic *d, const char *name)
{
    struct slot_matcher *m = &d->ignore_slots[d->n_ignore_slots++];

    *m = (struct slot_matcher){0};
    (void)text_copy(m->name, sizeof(m->name), name);
}

static void read_slot(const struct reading *r, const char *path, const char *name, json_t *entry)
{
    struct slot_spec *s = &r->d->slots[r->d->n_slots];
    char where[128];

    if (!slot_name_is_valid(name)) {
        complain(r, r->bad_value, path, "Names of slots have lower-case letters, digits and \"_\", at most 63 of them.",
                 "\"%.80s\" is no name of a slot", name);
        return;
    }
    (void)text_print(where, sizeof(where), "%s.%s", path, name);
    *s = (struct slot_spec){0};
    (void)text_copy(s->name, sizeof(s->name), name);
    if (read_spec(r, entry, where, s))
        r->d->n_slots++;
    else
        leave_alone(r->d, name);
}

static void read_matcher(const struct reading *r, size_t i, json_t *entry)
{
    static const char *const known[] = {"name", "type", "database", "plugin"};
    struct slot_matcher m = {0};
    char where[64];

    (void)text_print(where, sizeof(where), "ignore_slots[%zu]", i);
    if (!json_is_object(entry)) {
        complain(r, r->bad_value, where, NULL, "expected a group with name, type, database or plugin");
        return;
    }
    check_keys(r, entry, where, known, ARRAY_LEN(known));
    if (!read_text(r, entry, where, "name", m.name, sizeof(m.name)) ||
        !read_text(r, entry, where, "type", m.type, sizeof(m.type)) ||
        !read_text(r, entry, where, "database", m.database, sizeof(m.database)) ||
        !read_text(r, entry, where, "plugin", m.plugin, sizeof(m.plugin)))
        return;
    if (!m.name[0] && !m.type[0] && !m.database[0] && !m.plugin[0])
        complain(r, PROBLEM_WARNING, where, NULL, "matches every slot: none that is not needed is ever dropped");
    r->d->ignore_slots[r->d->n_ignore_slots++] = m;
}

/* The reference's order: of the three names the first that is there and not empty counts. */
static const char *find_slots(const struct reading *r, const json_t *root, json_t **ret)
{
    static const char *const names[] = {"permanent_replication_slots", "permanent_slots", "slots"};
    const char *found = NULL;

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        json_t *value = json_object_get(root, names[i]);

        if (!value || json_is_null(value) || (json_is_object(value) && json_object_size(value) == 0))
            continue;
        if (!json_is_object(value) || json_object_size(value) > ENTRIES_MAX) {
            complain(r, r->bad_value, names[i], NULL, "expected a group of at most %d slots", ENTRIES_MAX);
        } else if (found) {
            complain(r, PROBLEM_WARNING, names[i], NULL, "is ignored, since \"%s\" is set, too", found);
        } else {
            found = names[i];
            *ret = value;
        }
    }
    return found;
}

int dynamic_read_slots(const json_t *root, enum problem_severity bad_value, struct config_problems *problems,
                       struct dynamic *d)
{
    struct reading r = {bad_value, problems, d};
    json_t *ignore = json_object_get(root, "ignore_slots"), *slots = NULL, *entry;
    const char *path = find_slots(&r, root, &slots), *name;

    if (ignore && !json_is_null(ignore) && (!json_is_array(ignore) || json_array_size(ignore) > ENTRIES_MAX)) {
        complain(&r, bad_value, "ignore_slots", NULL, "expected a list of at most %d groups", ENTRIES_MAX);
        ignore = NULL;
    }
    d->slots = calloc(json_object_size(slots) + 1, sizeof(*d->slots));
    d->ignore_slots = calloc(json_object_size(slots) + json_array_size(ignore) + 1, sizeof(*d->ignore_slots));
    if (!d->slots || !d->ignore_slots)
        return -ENOMEM;
    json_object_foreach(slots, name, entry) read_slot(&r, path, name, entry);
    for (size_t i = 0; i < json_array_size(ignore); i++)
        read_matcher(&r, i, json_array_get(ignore, i));
    return 0;
}
