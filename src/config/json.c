#include "config/json.h"
#include <string.h>
#include "base/text.h"

enum { NESTING_MAX = 16 };

static json_t *convert(struct loader *l, const config_setting_t *s, const char *path, int depth);

static json_t *convert_scalar(struct loader *l, const config_setting_t *s, const char *path)
{
    const char *text;
    json_t *value = NULL;

    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
        return json_integer(config_setting_get_int(s));
    case CONFIG_TYPE_INT64:
        return json_integer(config_setting_get_int64(s));
    case CONFIG_TYPE_BOOL:
        return json_boolean(config_setting_get_bool(s));
    case CONFIG_TYPE_FLOAT:
        value = json_real(config_setting_get_float(s)); /* NULL for infinity */
        if (!value)
            loader_problem(l, PROBLEM_ERROR, s, path, NULL, "number is too large");
        return value;
    case CONFIG_TYPE_STRING:
        text = config_setting_get_string(s);
        value = json_string(text ? text : "");
        if (!value)
            loader_problem(l, PROBLEM_ERROR, s, path, NULL, "text is not valid UTF-8");
        return value;
    default:
        return NULL;
    }
}

static json_t *convert_group(struct loader *l, const config_setting_t *s, const char *path, int depth)
{
    json_t *object = json_object();

    for (int i = 0; i < config_setting_length(s); i++) {
        const config_setting_t *item = config_setting_get_elem(s, (unsigned)i);
        char item_path[SETTING_PATH_SIZE];
        json_t *value;

        (void)text_print(item_path, sizeof(item_path), "%s.%s", path, config_setting_name(item));
        value = convert(l, item, item_path, depth + 1);
        if (value)
            (void)json_object_set_new(object, config_setting_name(item), value);
    }
    return object;
}

static json_t *convert_list(struct loader *l, const config_setting_t *s, const char *path, int depth)
{
    json_t *array = json_array();

    for (int i = 0; i < config_setting_length(s); i++) {
        const config_setting_t *item = config_setting_get_elem(s, (unsigned)i);
        char item_path[SETTING_PATH_SIZE];
        json_t *value;

        (void)text_print(item_path, sizeof(item_path), "%s.[%d]", path, i);
        value = convert(l, item, item_path, depth + 1);
        if (value)
            (void)json_array_append_new(array, value);
    }
    return array;
}

static json_t *convert(struct loader *l, const config_setting_t *s, const char *path, int depth)
{
    if (depth > NESTING_MAX) {
        loader_problem(l, PROBLEM_ERROR, s, path, NULL, "groups are nested too deeply");
        return NULL;
    }
    if (config_setting_is_group(s))
        return convert_group(l, s, path, depth);
    if (config_setting_is_aggregate(s))
        return convert_list(l, s, path, depth);
    return convert_scalar(l, s, path);
}

json_t *json_of_setting(struct loader *l, const config_setting_t *s, const char *path)
{
    return convert(l, s, path, 0);
}
