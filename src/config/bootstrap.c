/* bootstrap.dcs: the first dynamic configuration, checked as strictly as the rest of the file. */
#include <string.h>
#include "base/text.h"
#include "config/dynamic.h"
#include "config/json.h"
#include "config/lists.h"
#include "config/loader.h"

static const char in_file[] = "bootstrap.dcs.";

static void check_names(struct loader *l, const config_setting_t *group, const char *prefix)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
        const char *name = config_setting_name(s), *meant;
        char path[SETTING_PATH_SIZE];

        if (!text_print(path, sizeof(path), "%s%s%s", in_file, prefix, name))
            (void)text_copy(path, sizeof(path), in_file);
        if (dynamic_find(path + strlen(in_file)) || strcmp(path, "bootstrap.dcs.postgresql.custom_parameters") == 0)
            continue;
        meant = dynamic_suggest(path + strlen(in_file));
        if (meant)
            loader_problem(l, PROBLEM_ERROR, s, path, NULL, "unknown setting \"%s\"; did you mean \"%s\"?", name,
                           meant);
        else
            loader_problem(l, PROBLEM_ERROR, s, path, NULL, "unknown setting \"%s\"", name);
    }
}

/* The names with dots join the others, since only libconfig keeps them apart. */
static void merge_custom_parameters(struct loader *l, const config_setting_t *custom, json_t *postgresql)
{
    json_t *parameters = json_object_get(postgresql, "parameters");
    struct settings list = {0};

    (void)json_object_del(postgresql, "custom_parameters");
    if (parameters && !json_is_object(parameters))
        return; /* reported when the values are checked */
    if (!parameters) {
        parameters = json_object();
        (void)json_object_set_new(postgresql, "parameters", parameters);
    }
    loader_read_assignments(l, custom, "bootstrap.dcs.postgresql.custom_parameters", &list);
    for (size_t i = 0; i < list.n; i++) {
        if (json_object_get(parameters, list.items[i].name))
            loader_problem(l, PROBLEM_ERROR, custom, "bootstrap.dcs.postgresql.custom_parameters", NULL,
                           "parameter \"%s\" is set twice", list.items[i].name);
        else
            (void)json_object_set_new(parameters, list.items[i].name, json_string(list.items[i].value));
    }
    settings_done(&list);
}

/* Problems that the reading of JSON found, with the places that only the file knows. */
static void report(struct loader *l, const struct config_problems *found)
{
    for (size_t i = 0; i < found->n; i++) {
        const struct config_problem *p = &found->items[i];
        char path[SETTING_PATH_SIZE];

        (void)text_print(path, sizeof(path), "%s%s", in_file, p->path);
        loader_problem_of(l, p->warning ? PROBLEM_WARNING : PROBLEM_ERROR, path, p->hint, "%s", p->message);
    }
}

static void check_values(struct loader *l, const json_t *root)
{
    CLEANUP(dynamic_freep) struct dynamic *d = NULL;
    struct config_problems found = {0};

    (void)dynamic_read(root, l->draft.c.bootstrap.dcs_json, NULL, PROBLEM_ERROR, &found, &d, NULL);
    report(l, &found);
    config_problems_done(&found);
}

void loader_read_dynamic(struct loader *l, const config_setting_t *s)
{
    const config_setting_t *postgresql, *custom;
    json_t *root;

    if (!config_setting_is_group(s)) {
        loader_problem(l, PROBLEM_ERROR, s, "bootstrap.dcs", NULL, "expected a group { ... }");
        return;
    }
    root = json_of_setting(l, s, "bootstrap.dcs");
    postgresql = config_setting_get_member(s, "postgresql");
    check_names(l, s, "");
    if (postgresql && config_setting_is_group(postgresql)) {
        check_names(l, postgresql, "postgresql.");
        custom = config_setting_get_member(postgresql, "custom_parameters");
        if (custom)
            merge_custom_parameters(l, custom, json_object_get(root, "postgresql"));
    }
    l->draft.c.bootstrap.dcs_json = json_dumps(root, JSON_COMPACT | JSON_ENSURE_ASCII);
    if (l->draft.c.bootstrap.dcs_json)
        check_values(l, root);
    else
        l->out_of_memory = true;
    json_decref(root);
}
