#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include "base/text.h"
#include "config/lists.h"
#include "config/loader.h"
#include "config/value.h"

const char *scalar_text(const config_setting_t *s, char *buf, size_t size)
{
    const char *text;

    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
        (void)text_print(buf, size, "%d", config_setting_get_int(s));
        return buf;
    case CONFIG_TYPE_INT64:
        (void)text_print(buf, size, "%lld", config_setting_get_int64(s));
        return buf;
    case CONFIG_TYPE_FLOAT:
        value_print_double(config_setting_get_float(s), buf, size);
        return buf;
    case CONFIG_TYPE_BOOL:
        return config_setting_get_bool(s) ? "on" : "off";
    case CONFIG_TYPE_STRING:
        text = config_setting_get_string(s);
        return text ? text : "";
    default:
        return NULL;
    }
}

void describe_value(const config_setting_t *s, bool is_secret, char *buf, size_t size)
{
    const char *kind = config_setting_is_group(s) ? "a group" : config_setting_is_list(s) ? "a list" : "an array";
    char number[64];

    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
    case CONFIG_TYPE_FLOAT:
        (void)text_print(buf, size, "the number %s", is_secret ? "" : scalar_text(s, number, sizeof(number)));
        if (is_secret)
            (void)text_copy(buf, size, "a number");
        break;
    case CONFIG_TYPE_BOOL:
        (void)text_copy(buf, size, config_setting_get_bool(s) ? "true" : "false");
        break;
    case CONFIG_TYPE_STRING:
        if (is_secret)
            (void)text_copy(buf, size, "a string");
        else
            (void)text_print(buf, size, "\"%.80s\"", scalar_text(s, number, sizeof(number)));
        break;
    default:
        (void)text_copy(buf, size, kind);
        break;
    }
}

static void complain_of_item(struct loader *l, const config_setting_t *s, const char *path, const char *wanted)
{
    char got[128];

    describe_value(s, false, got, sizeof(got));
    loader_problem(l, PROBLEM_ERROR, s, path, NULL, "expected %s, got %s", wanted, got);
}

static void add(struct loader *l, struct settings *ret, const char *name, const char *value)
{
    if (!settings_add(ret, name, value))
        l->out_of_memory = true;
}

/* "data-checksums", "max-rate=100M", and with the dashes that a command line would have. */
static void add_option_text(struct loader *l, const char *text, struct settings *ret)
{
    char name[128];
    const char *equals;

    if (text_starts_with(text, "--"))
        text += 2;
    equals = strchr(text, '=');
    if (!equals || (size_t)(equals - text) >= sizeof(name)) {
        add(l, ret, text, NULL);
        return;
    }
    memcpy(name, text, (size_t)(equals - text));
    name[equals - text] = '\0';
    add(l, ret, name, equals + 1);
}

/* { waldir = "/wal"; no-verify-checksums = true; }: a switch that is on is a bare option, one that is off is none. */
static void add_option_group(struct loader *l, const config_setting_t *group, const char *path, struct settings *ret)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *item = config_setting_get_elem(group, (unsigned)i);
        char number[64], item_path[SETTING_PATH_SIZE];
        const char *value = scalar_text(item, number, sizeof(number));

        (void)text_print(item_path, sizeof(item_path), "%s.%s", path, config_setting_name(item));
        if (!value)
            complain_of_item(l, item, item_path, "a single value");
        else if (config_setting_type(item) != CONFIG_TYPE_BOOL)
            add(l, ret, config_setting_name(item), value);
        else if (config_setting_get_bool(item))
            add(l, ret, config_setting_name(item), NULL);
    }
}

void loader_read_options(struct loader *l, const config_setting_t *s, const char *path, struct settings *ret)
{
    if (config_setting_is_group(s)) {
        add_option_group(l, s, path, ret);
        return;
    }
    if (config_setting_type(s) == CONFIG_TYPE_STRING) {
        add_option_text(l, config_setting_get_string(s), ret);
        return;
    }
    if (!config_setting_is_list(s) && !config_setting_is_array(s)) {
        complain_of_item(l, s, path, "a list of options");
        return;
    }
    for (int i = 0; i < config_setting_length(s); i++) {
        const config_setting_t *item = config_setting_get_elem(s, (unsigned)i);
        char item_path[SETTING_PATH_SIZE];

        (void)text_print(item_path, sizeof(item_path), "%s.[%d]", path, i);
        if (config_setting_is_group(item))
            add_option_group(l, item, item_path, ret);
        else if (config_setting_type(item) == CONFIG_TYPE_STRING)
            add_option_text(l, config_setting_get_string(item), ret);
        else
            complain_of_item(l, item, item_path, "\"option\" or { option = \"value\"; }");
    }
}

static void set_once(struct loader *l, const config_setting_t *at, const char *path, const char *name,
                     const char *value, struct settings *ret)
{
    if (settings_find(ret, name))
        loader_problem(l, PROBLEM_ERROR, at, path, NULL, "parameter \"%s\" is set twice", name);
    else
        add(l, ret, name, value);
}

void loader_read_map(struct loader *l, const config_setting_t *s, const char *path, struct settings *ret)
{
    if (!config_setting_is_group(s)) {
        loader_read_assignments(l, s, path, ret);
        return;
    }
    for (int i = 0; i < config_setting_length(s); i++) {
        const config_setting_t *item = config_setting_get_elem(s, (unsigned)i);
        char number[64], item_path[SETTING_PATH_SIZE];
        const char *value = scalar_text(item, number, sizeof(number));

        (void)text_print(item_path, sizeof(item_path), "%s.%s", path, config_setting_name(item));
        if (!value_is_parameter_name(config_setting_name(item)))
            loader_problem(l, PROBLEM_ERROR, item, item_path, NULL, "\"%s\" is no name of a parameter",
                           config_setting_name(item));
        else if (!value)
            complain_of_item(l, item, item_path, "a single value");
        else
            set_once(l, item, item_path, config_setting_name(item), value, ret);
    }
}

/* Without the blanks around it; the caller frees. NULL when memory ran out. */
static char *trimmed(const char *begin, const char *end)
{
    while (begin < end && isspace((unsigned char)*begin))
        begin++;
    while (end > begin && isspace((unsigned char)end[-1]))
        end--;
    return strndup(begin, (size_t)(end - begin));
}

/* Takes the quotes of 'a ''quoted'' value' away, as postgresql.conf has them. */
static void unquote(char *value)
{
    size_t len = strlen(value);
    char *to = value;

    if (len < 2 || value[0] != '\'' || value[len - 1] != '\'')
        return;
    value[len - 1] = '\0';
    for (const char *from = value + 1; *from; from++) {
        *to++ = *from;
        if (from[0] == '\'' && from[1] == '\'')
            from++;
    }
    *to = '\0';
}

static void read_assignment(struct loader *l, const config_setting_t *s, const char *path, struct settings *ret)
{
    const char *text = config_setting_get_string(s);
    const char *equals = text ? strchr(text, '=') : NULL;
    CLEANUP(freep) char *name = equals ? trimmed(text, equals) : NULL;
    CLEANUP(freep) char *value = equals ? trimmed(equals + 1, text + strlen(text)) : NULL;

    if (!equals || (name && !value_is_parameter_name(name))) {
        complain_of_item(l, s, path, "\"name = value\"");
        return;
    }
    if (!name || !value) {
        l->out_of_memory = true;
        return;
    }
    unquote(value);
    set_once(l, s, path, name, value, ret);
}

void loader_read_assignments(struct loader *l, const config_setting_t *s, const char *path, struct settings *ret)
{
    if (config_setting_is_group(s)) {
        loader_read_map(l, s, path, ret);
        return;
    }
    if (config_setting_is_scalar(s)) {
        complain_of_item(l, s, path, "a list of \"name = value\"");
        return;
    }
    for (int i = 0; i < config_setting_length(s); i++) {
        char item_path[SETTING_PATH_SIZE];

        (void)text_print(item_path, sizeof(item_path), "%s.[%d]", path, i);
        read_assignment(l, config_setting_get_elem(s, (unsigned)i), item_path, ret);
    }
}
