/* Which setting of the file stands where: for people who ask where a value comes from, and to see what has changed. */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "config/loader.h"

static bool is_secret(const char *path)
{
    const struct schema_entry *e = schema_find(path);
    const char *name = strrchr(path, '.');

    return (e && e->type == SETTING_SECRET) || strcmp(name ? name + 1 : path, "password") == 0;
}

/* FNV-1a: told apart is what matters, and nobody can read a password from it. */
static uint64_t digest_of(const char *text)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return h;
}

static void add_place(struct loader *l, const config_setting_t *at, const char *path, const char *text)
{
    struct config *c = &l->draft.c;
    struct config_place *places = reallocarray(c->places, c->n_places + 1, sizeof(*places)), *new;
    struct problem_place place = loader_place(l, at);
    bool secret = is_secret(path);

    if (!places) {
        l->out_of_memory = true;
        return;
    }
    c->places = places;
    new = &places[c->n_places++];
    *new = (struct config_place){.path = strdup(path),
                                 .file = strdup(place.file),
                                 .line = place.line,
                                 .text = secret ? NULL : strdup(text),
                                 .digest = digest_of(text)};
    if (!new->path || !new->file || (!secret && !new->text))
        l->out_of_memory = true;
}

static void put_value(struct textbuf *b, const config_setting_t *s)
{
    char number[64];
    const char *text = scalar_text(s, number, sizeof(number));

    if (text) {
        textbuf_puts(b, text);
        return;
    }
    for (int i = 0; i < config_setting_length(s); i++) {
        const config_setting_t *item = config_setting_get_elem(s, (unsigned)i);
        const char *name = config_setting_name(item);

        textbuf_printf(b, "%s%s%s", i ? ", " : "", name ? name : "", name ? " = " : "");
        put_value(b, item);
    }
}

static void note_value(struct loader *l, const config_setting_t *s, const char *path)
{
    struct textbuf b = {0};
    char *text;

    put_value(&b, s);
    text = textbuf_take(&b);
    if (!text) {
        l->out_of_memory = true;
        return;
    }
    add_place(l, s, path, text);
    explicit_bzero(text, strlen(text));
    free(text);
}

/* ( "pg_stat_statements.track = all", … ) */
static void note_assignments(struct loader *l, const config_setting_t *list, const char *group)
{
    for (int i = 0; i < config_setting_length(list); i++) {
        const config_setting_t *item = config_setting_get_elem(list, (unsigned)i);
        const char *text = config_setting_type(item) == CONFIG_TYPE_STRING ? config_setting_get_string(item) : NULL;
        char path[SETTING_PATH_SIZE];
        size_t name;

        if (!text)
            continue;
        text += strspn(text, " \t");
        name = strcspn(text, " \t=");
        (void)text_print(path, sizeof(path), "%s.parameters.%.*s", group, (int)name, text);
        text += name;
        add_place(l, item, path, text + strspn(text, " \t="));
    }
}

static void note_group(struct loader *l, const config_setting_t *group, const char *prefix)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
        char path[SETTING_PATH_SIZE];

        if (!text_print(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", config_setting_name(s)))
            continue;
        if (config_setting_is_group(s))
            note_group(l, s, path);
        else if (strcmp(config_setting_name(s), "custom_parameters") == 0)
            note_assignments(l, s, prefix);
        else
            note_value(l, s, path);
    }
}

void loader_note_places(struct loader *l)
{
    note_group(l, config_root_setting(&l->file), "");
}

const struct config_place *config_place_of(const struct config *c, const char *path)
{
    for (size_t i = c->n_places; i > 0; i--)
        if (strcmp(c->places[i - 1].path, path) == 0)
            return &c->places[i - 1];
    return NULL;
}
