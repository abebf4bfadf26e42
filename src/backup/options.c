#include "backup/plan.h"
#include <errno.h>
#include <string.h>
#include "base/text.h"

static bool is_listed(const char *const *names, const char *name)
{
    for (; *names; names++)
        if (text_equal(*names, name))
            return true;
    return false;
}

/* A value that still wears the quotes of the file it came from loses them, as in the reference. */
static void add_valued(struct tool_args *args, const char *name, const char *value)
{
    size_t len = strlen(value);

    if (len >= 2 && (*value == '\'' || *value == '"') && value[len - 1] == *value) {
        value++;
        len -= 2;
    }
    tool_args_add(args, "--%s=%.*s", name, (int)len, value);
}

int fill_add_options(struct tool_args *args, const struct settings *options, const char *const *refused, bool is_fatal,
                     const char *tool, struct err *err)
{
    for (size_t i = 0; i < options->n; i++) {
        const struct setting *s = &options->items[i];

        if (is_listed(refused, s->name)) {
            if (is_fatal)
                return err_set(err, -EINVAL, "cannot use option \"%s\" for %s: it is set by the program itself",
                               s->name, tool);
            continue;
        }
        if (s->value)
            add_valued(args, s->name, s->value);
        else
            tool_args_add(args, "--%s", s->name);
    }
    return 0;
}

bool fill_has_option(const struct settings *options, const char *name)
{
    for (size_t i = 0; i < options->n; i++)
        if (text_equal(options->items[i].name, name))
            return true;
    return false;
}

const char *fill_option(const struct settings *options, const char *name)
{
    const char *value = NULL;

    for (size_t i = 0; i < options->n; i++)
        if (text_equal(options->items[i].name, name))
            value = options->items[i].value;
    return value;
}
