#include "config/change_history.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"

enum { CHANGES_BYTES = 2000 };

static json_t *read_history(const char *text)
{
    json_t *history = text ? json_loads(text, 0, NULL) : NULL;

    if (json_is_array(history))
        return history;
    json_decref(history);
    return json_array();
}

static bool has_been_noted(json_t *history, uint64_t revision)
{
    const json_t *last = json_array_get(history, json_array_size(history) - 1);

    return json_array_size(history) && (uint64_t)json_integer_value(json_array_get(last, 0)) >= revision;
}

/* Not in the middle of a character: UTF-8 continues with bytes 10xxxxxx. */
static char *cut(const char *text)
{
    size_t len = strlen(text);
    struct textbuf b = {0};

    if (len <= CHANGES_BYTES)
        return strdup(text);
    for (len = CHANGES_BYTES; len && ((unsigned char)text[len] & 0xc0) == 0x80;)
        len--;
    textbuf_append(&b, text, len);
    textbuf_puts(&b, "…");
    return textbuf_take(&b);
}

char *change_history_add(const char *history, uint64_t revision, const char *time, const char *member,
                         const char *changes)
{
    CLEANUP(freep) char *shown = cut(changes);
    json_t *list = read_history(history), *entry;
    char *text = NULL;

    entry = shown && !has_been_noted(list, revision) ? json_pack("[I,s,s,s]", (json_int_t)revision, time, member, shown)
                                                     : NULL;
    if (entry && json_array_append_new(list, entry) == 0) {
        while (json_array_size(list) > CHANGE_HISTORY_ENTRIES)
            (void)json_array_remove(list, 0);
        text = json_dumps(list, JSON_COMPACT | JSON_ENSURE_ASCII);
        while (text && strlen(text) > CHANGE_HISTORY_BYTES && json_array_size(list) > 1) {
            free(text);
            (void)json_array_remove(list, 0);
            text = json_dumps(list, JSON_COMPACT | JSON_ENSURE_ASCII);
        }
    }
    json_decref(list);
    return text;
}
