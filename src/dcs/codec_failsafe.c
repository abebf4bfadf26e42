/* The key "failsafe": which members a leader without store must ask (facts sheet 1.10). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "dcs/codec.h"
#include "dcs/codec_internal.h"

int codec_parse_failsafe(const char *text, struct failsafe_list **ret)
{
    struct failsafe_list *list = calloc(1, sizeof(*list));
    json_t *json = NULL, *value;
    const char *name;
    int r = list ? codec_json(text, strlen(text), &json) : -ENOMEM;

    if (r == 0 && !json_is_object(json))
        r = -EBADMSG;
    if (r < 0) {
        json_decref(json);
        free(list);
        return r;
    }
    json_object_foreach(json, name, value)(void)
        failsafe_list_add(list, name, json_is_string(value) ? json_string_value(value) : "");
    json_decref(json);
    free(*ret);
    *ret = list;
    return 0;
}

char *codec_print_failsafe(const struct failsafe_list *l)
{
    json_t *json = json_object();
    char *text = NULL;
    bool ok = json != NULL;

    for (size_t i = 0; ok && i < l->n; i++)
        ok = json_object_set_new(json, l->items[i].name, json_string(l->items[i].api_url)) == 0;
    if (ok)
        text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(json);
    return text;
}
