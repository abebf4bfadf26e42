/* From a file to a struct config: the steps in their order. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "config/lists.h"
#include "config/load.h"
#include "config/loader.h"

struct problem_place loader_place(const struct loader *l, const config_setting_t *at)
{
    return source_place(l->source, at ? config_setting_source_line(at) : 0);
}

void loader_problem(struct loader *l, enum problem_severity severity, const config_setting_t *at, const char *path,
                    const char *hint, const char *fmt, ...)
{
    struct problem_place place = loader_place(l, at);
    va_list ap;

    place.path = path;
    va_start(ap, fmt);
    problems_vadd(l->problems, severity, place, hint, fmt, ap);
    va_end(ap);
}

static const config_setting_t *nearest(struct loader *l, const char *path)
{
    char above[SETTING_PATH_SIZE];
    char *dot;

    (void)text_copy(above, sizeof(above), path);
    for (;;) {
        const config_setting_t *s = config_lookup(&l->file, above);

        if (s)
            return s;
        dot = strrchr(above, '.');
        if (!dot)
            return NULL;
        *dot = '\0';
    }
}

void loader_problem_of(struct loader *l, enum problem_severity severity, const char *path, const char *hint,
                       const char *fmt, ...)
{
    struct problem_place place = loader_place(l, nearest(l, path));
    va_list ap;

    place.path = path;
    va_start(ap, fmt);
    problems_vadd(l->problems, severity, place, hint, fmt, ap);
    va_end(ap);
}

bool loader_has(struct loader *l, const char *path)
{
    return config_lookup(&l->file, path) != NULL;
}

void loader_set(struct loader *l, char **field, const char *value)
{
    char *copy = strdup(value);

    if (!copy) {
        l->out_of_memory = true;
        return;
    }
    free(*field);
    *field = copy;
}

/* A dotted parameter name is the mistake that libconfig's "syntax error" explains least. */
static const char *hint_for_line(const char *line)
{
    size_t name;

    if (!line)
        return NULL;
    line += strspn(line, " \t");
    name = strspn(line, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    if (name > 0 && line[name] == '.')
        return "Names with dots go into custom_parameters = ( \"name = value\", ... ).";
    if (strchr(line, '\'') && !strchr(line, '"'))
        return "Strings are written in double quotes.";
    if (line[0] == '-')
        return "Lists are written as ( \"a\", \"b\" ).";
    return NULL;
}

static void complain_of_syntax(struct loader *l)
{
    unsigned line = (unsigned)config_error_line(&l->file);
    const char *text = config_error_text(&l->file);
    CLEANUP(freep) char *content = source_line(l->source, line);

    problems_add(l->problems, PROBLEM_ERROR, source_place(l->source, line), hint_for_line(content), "%s",
                 text ? text : "syntax error");
}

static void read_all(struct loader *l)
{
    /* Strings are shown and compared as they are; a number where a string belongs is a mistake worth reporting. */
    config_set_auto_convert(&l->file, CONFIG_FALSE);
    if (!source_is_complete(l->source))
        return; /* said already; what libconfig makes of an open string is of no use */
    if (!config_read_string(&l->file, source_text(l->source))) {
        complain_of_syntax(l);
        return;
    }
    loader_read_settings(l);
    loader_check_names(l);
    loader_finish_store(l);
    loader_finish_restapi(l);
    loader_finish_postgresql(l);
    loader_finish_rest(l);
    loader_note_places(l);
}

static void draft_done(struct draft *d)
{
    free(d->restapi_listen);
    free(d->restapi_connect);
    free(d->postgresql_listen);
    free(d->postgresql_connect);
    free(d->watchdog_mode);
    free(d->gate_mode);
    free(d->storage_probe_mode);
    free(d->log_type);
    free(d->bootstrap_method);
    free(d->etcd3.host);
    free(d->etcd3.url);
    free(d->etcd3.protocol);
    free(d->etcd3.proxy);
    strings_done(&d->etcd3.hosts);
    config_done(&d->c);
}

static int finish(struct loader *l, struct config **ret, struct err *err)
{
    struct config *c;

    if (l->out_of_memory)
        return err_set(err, -ENOMEM, "out of memory");
    if (l->problems->has_errors)
        return err_set(err, -EINVAL, "configuration file \"%s\" contains errors", l->path);
    c = malloc(sizeof(*c));
    if (!c)
        return err_set(err, -ENOMEM, "out of memory");
    *c = l->draft.c;
    l->draft.c = (struct config){0};
    *ret = c;
    return 0;
}

int config_load_text(const char *path, const char *text, struct config **ret, struct config_problems *problems,
                     struct err *err)
{
    struct loader l = {.path = path, .problems = problems, .draft.c.tags = TAGS_DEFAULT};
    int r;

    *problems = (struct config_problems){0};
    r = source_read(path, text, problems, &l.source, err);
    if (r < 0)
        return r;
    config_init(&l.file);
    loader_set(&l, &l.draft.c.path, path);
    read_all(&l);
    problems_sort(problems, path);
    r = finish(&l, ret, err);
    draft_done(&l.draft);
    config_destroy(&l.file);
    l.source = source_free(l.source);
    return r;
}

int config_load(const char *path, struct config **ret, struct config_problems *problems, struct err *err)
{
    return config_load_text(path, NULL, ret, problems, err);
}
