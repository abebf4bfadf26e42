/* The cluster that this one follows, from the dynamic configuration (facts sheet 3.14). */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "config/dynamic.h"
#include "model/slots.h"

enum { PORT_DEFAULT = 5432, TEXT_MAX = 1000 };
#define SECTION "standby_cluster"

struct reading {
    json_t *section;
    enum problem_severity bad_value;
    struct config_problems *problems;
    bool out_of_memory;
};

static void complain(const struct reading *r, const char *name, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void complain(const struct reading *r, const char *name, const char *hint, const char *fmt, ...)
{
    char path[96];
    va_list ap;

    (void)text_print(path, sizeof(path), "%s%s%.60s", SECTION, *name ? "." : "", name);
    va_start(ap, fmt);
    problems_vadd(r->problems, r->bad_value, (struct problem_place){"", 0, path}, hint, fmt, ap);
    va_end(ap);
}

/* A value that is there; the empty text is the reference's way to say that there is none. */
static json_t *value_of(const struct reading *r, const char *name)
{
    json_t *value = json_object_get(r->section, name);
    const char *text = json_string_value(value);

    return json_is_null(value) || (text && !*text) ? NULL : value;
}

static char *copy(struct reading *r, const char *text)
{
    char *result = strdup(text);

    if (!result)
        r->out_of_memory = true;
    return result;
}

static char *read_text(struct reading *r, const char *name)
{
    json_t *value = value_of(r, name);
    const char *text = json_string_value(value);

    if (!value)
        return NULL;
    if (text && strlen(text) <= TEXT_MAX && !strpbrk(text, "\r\n"))
        return copy(r, text);
    complain(r, name, NULL, "expected one line of text, of at most %d bytes", TEXT_MAX);
    return NULL;
}

/* libpq takes blanks for a part of the name. */
static void remove_blanks(char *text)
{
    char *to = text;

    for (const char *from = text; *from; from++)
        if (*from != ' ' && *from != '\t')
            *to++ = *from;
    *to = '\0';
}

static void read_host(struct reading *r, struct standby_cluster *s)
{
    s->host = read_text(r, "host");
    if (!s->host)
        return;
    remove_blanks(s->host);
    if (*s->host && *s->host != ',' && s->host[strlen(s->host) - 1] != ',' && !strstr(s->host, ",,"))
        return;
    complain(r, "host", NULL, "expected a host, or several with commas between them");
    free(s->host);
    s->host = NULL;
}

static void read_port(const struct reading *r, struct standby_cluster *s)
{
    json_t *value = value_of(r, "port");
    uint32_t port = 0;

    s->port = PORT_DEFAULT;
    if (!value)
        return;
    if (json_is_integer(value) && json_integer_value(value) > 0 && json_integer_value(value) <= UINT16_MAX)
        s->port = (uint16_t)json_integer_value(value);
    else if (json_is_string(value) && text_to_u32(json_string_value(value), &port) && port && port <= UINT16_MAX)
        s->port = (uint16_t)port;
    else
        complain(r, "port", NULL, "expected the number of a port%s",
                 r->bad_value == PROBLEM_WARNING ? "; using 5432" : "");
}

static void read_slot(struct reading *r, struct standby_cluster *s)
{
    s->primary_slot_name = read_text(r, "primary_slot_name");
    if (!s->primary_slot_name || slot_name_is_valid(s->primary_slot_name))
        return;
    complain(r, "primary_slot_name", "Names of slots have lower-case letters, digits and \"_\", at most 63 of them.",
             "\"%.80s\" is no name of a slot", s->primary_slot_name);
    free(s->primary_slot_name);
    s->primary_slot_name = NULL;
}

/* PostgreSQL would not start, or not take the whole file, with one that it cannot read. */
static bool is_delay(const char *text)
{
    static const char *const units[] = {"", "us", "ms", "s", "min", "h", "d"};
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    (void)strtod(text, &end);
    end += strspn(end, " ");
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (strcmp(end, units[i]) == 0)
            return true;
    return false;
}

static void read_delay(struct reading *r, struct standby_cluster *s)
{
    const char *name = "recovery_min_apply_delay";
    json_t *value = value_of(r, name);
    char number[64];
    const char *text;

    if (!value)
        return;
    if (!json_is_boolean(value) && dynamic_value_text(value, number, sizeof(number), &text) && strlen(text) < 32 &&
        is_delay(text))
        s->recovery_min_apply_delay = copy(r, text);
    else
        complain(r, name, NULL, "expected a time as PostgreSQL has it (\"5min\", a bare number is milliseconds)");
}

static void check_method(const struct reading *r, const char *method)
{
    if (!text_equal(method, "basebackup"))
        complain(r, "create_replica_methods", NULL,
                 "there is no method \"%.60s\" here, copies are made by \"basebackup\"", method ? method : "");
}

static void check_methods(const struct reading *r)
{
    json_t *value = value_of(r, "create_replica_methods");

    if (json_is_string(value))
        check_method(r, json_string_value(value));
    else if (value && !json_is_array(value))
        complain(r, "create_replica_methods", NULL, "expected a list");
    for (size_t i = 0; i < json_array_size(value); i++)
        check_method(r, json_string_value(json_array_get(value, i)));
}

static void check_names(const struct reading *r)
{
    static const char *const known[] = {
        "host",
        "port",
        "primary_slot_name",
        "restore_command",
        "archive_cleanup_command",
        "recovery_min_apply_delay",
        "create_replica_methods",
    };
    const char *name;
    json_t *value;

    json_object_foreach(r->section, name, value)
    {
        size_t i = 0;

        (void)value;
        while (i < ARRAY_LEN(known) && strcmp(known[i], name) != 0)
            i++;
        if (i == ARRAY_LEN(known))
            complain(r, name, NULL, "is not known here");
    }
}

int dynamic_read_standby_cluster(const json_t *root, enum problem_severity bad_value, struct config_problems *problems,
                                 struct dynamic *d)
{
    struct reading r = {json_object_get(root, SECTION), bad_value, problems, false};
    struct standby_cluster *s = &d->standby_cluster;

    if (!r.section || json_is_null(r.section))
        return 0;
    if (!json_is_object(r.section)) {
        complain(&r, "", NULL, "expected a group");
        return 0;
    }
    /* The reference's rule. It looks at no more than whether they are there. */
    if (!value_of(&r, "host") && !value_of(&r, "port") && !value_of(&r, "restore_command")) {
        complain(&r, "", "Remove it (null) to let the cluster stand for itself.",
                 "needs a host or a restore_command; without them there is nothing to follow");
        return 0;
    }
    check_names(&r);
    read_host(&r, s);
    read_port(&r, s);
    read_slot(&r, s);
    s->restore_command = read_text(&r, "restore_command");
    s->archive_cleanup_command = read_text(&r, "archive_cleanup_command");
    read_delay(&r, s);
    check_methods(&r);
    if (!s->host && !s->restore_command)
        complain(&r, "", NULL, "needs a host to stream from, or a restore_command");
    d->policy.standby_cluster = true;
    d->policy.standby_cluster_streams = s->host != NULL;
    return r.out_of_memory ? -ENOMEM : 0;
}

void standby_cluster_done(struct standby_cluster *s)
{
    free(s->host);
    free(s->primary_slot_name);
    free(s->restore_command);
    free(s->archive_cleanup_command);
    free(s->recovery_min_apply_delay);
    *s = (struct standby_cluster){0};
}
