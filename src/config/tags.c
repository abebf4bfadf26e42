/* Tags: what a member may be used for, as a struct for us and as JSON for everybody else (facts 1.5, 11.4). */
#include <jansson.h>
#include <limits.h>
#include <string.h>
#include "base/text.h"
#include "config/json.h"
#include "config/loader.h"
#include "config/value.h"

static bool *bool_tag(struct tags *t, const char *name)
{
    if (strcmp(name, "nofailover") == 0)
        return &t->nofailover;
    if (strcmp(name, "noloadbalance") == 0)
        return &t->noloadbalance;
    if (strcmp(name, "clonefrom") == 0)
        return &t->clonefrom;
    if (strcmp(name, "nosync") == 0)
        return &t->nosync;
    if (strcmp(name, "nostream") == 0)
        return &t->nostream;
    return NULL;
}

static int *priority_tag(struct tags *t, const char *name)
{
    if (strcmp(name, "failover_priority") == 0)
        return &t->failover_priority;
    if (strcmp(name, "sync_priority") == 0)
        return &t->sync_priority;
    return NULL;
}

/* The tag that says the same as a number, whose presence makes a false one worth publishing. */
static const char *counterpart(const char *name)
{
    if (strcmp(name, "nofailover") == 0)
        return "failover_priority";
    if (strcmp(name, "nosync") == 0)
        return "sync_priority";
    return NULL;
}

static void publish(struct loader *l, json_t *published, const char *name, json_t *value)
{
    if (json_object_set_new(published, name, value) < 0)
        l->out_of_memory = true;
}

static void read_bool_tag(struct loader *l, const config_setting_t *tags, const config_setting_t *s, const char *path,
                          bool *field, json_t *published)
{
    const char *name = config_setting_name(s);
    const char *other = counterpart(name);
    char number[64], got[128];
    const char *text = scalar_text(s, number, sizeof(number));

    if (!text || !value_to_bool(text, field)) {
        describe_value(s, false, got, sizeof(got));
        loader_problem(l, PROBLEM_ERROR, s, path, NULL, "expected true or false, got %s", got);
        return;
    }
    if (*field || (other && config_setting_get_member(tags, other)))
        publish(l, published, name, json_boolean(*field));
}

static void read_priority_tag(struct loader *l, const config_setting_t *s, const char *path, int *field,
                              json_t *published)
{
    char number[64], got[128];
    const char *text = scalar_text(s, number, sizeof(number));
    int64_t value;

    if (!text || !value_to_int(text, VALUE_PLAIN, &value) || value < INT_MIN || value > INT_MAX) {
        describe_value(s, false, got, sizeof(got));
        loader_problem(l, PROBLEM_ERROR, s, path, NULL, "expected a number, got %s", got);
        return;
    }
    *field = (int)value;
    publish(l, published, config_setting_name(s), json_integer(value));
}

static void read_other_tag(struct loader *l, const config_setting_t *s, const char *path, json_t *published)
{
    const char *name = config_setting_name(s);
    json_t *value = config_setting_is_scalar(s) ? json_of_setting(l, s, path) : NULL;

    if (!config_setting_is_scalar(s))
        loader_problem(l, PROBLEM_ERROR, s, path, NULL, "expected a single value");
    if (!value)
        return;
    if (strcmp(name, "replicatefrom") == 0 &&
        (!json_is_string(value) ||
         !text_copy(l->draft.c.tags.replicatefrom, MEMBER_NAME_SIZE, json_string_value(value))))
        loader_problem(l, PROBLEM_ERROR, s, path, NULL, "expected the name of a member");
    publish(l, published, name, value);
}

/* Where both forms are given the yes-or-no form wins, as in the reference; saying opposite things is worth a word. */
static void settle_pair(struct loader *l, const config_setting_t *tags, const char *name, bool flag, int *priority)
{
    char path[SETTING_PATH_SIZE];

    if (!config_setting_get_member(tags, name) || !config_setting_get_member(tags, counterpart(name)))
        return;
    if (flag == (*priority <= 0))
        return;
    (void)text_print(path, sizeof(path), "tags.%s", name);
    loader_problem_of(l, PROBLEM_WARNING, path, NULL, "contradicts \"%s\" and wins over it", counterpart(name));
    if (!flag)
        *priority = 1;
}

void loader_read_tags(struct loader *l, const config_setting_t *s)
{
    struct tags *tags = &l->draft.c.tags;
    json_t *published = json_object();

    for (int i = 0; config_setting_is_group(s) && i < config_setting_length(s); i++) {
        const config_setting_t *item = config_setting_get_elem(s, (unsigned)i);
        const char *name = config_setting_name(item);
        char path[SETTING_PATH_SIZE];

        (void)text_print(path, sizeof(path), "tags.%s", name);
        if (bool_tag(tags, name))
            read_bool_tag(l, s, item, path, bool_tag(tags, name), published);
        else if (priority_tag(tags, name))
            read_priority_tag(l, item, path, priority_tag(tags, name), published);
        else
            read_other_tag(l, item, path, published);
    }
    if (!config_setting_is_group(s))
        loader_problem(l, PROBLEM_ERROR, s, "tags", NULL, "expected a group { ... }");
    settle_pair(l, s, "nofailover", tags->nofailover, &tags->failover_priority);
    settle_pair(l, s, "nosync", tags->nosync, &tags->sync_priority);
    l->draft.c.tags_json = json_dumps(published, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(published);
}
