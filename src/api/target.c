#include "api/target.h"
#include <errno.h>
#include <string.h>

/* "http://host/path" of a request to a proxy names the same path. */
static const char *skip_origin(const char *raw)
{
    const char *end;

    if (raw[0] == '/' || !(end = strstr(raw, "://")))
        return raw;
    end += strlen("://");
    return end + strcspn(end, "/?#");
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decodes in place. "%00" stays as it is: a decoded NUL would cut the text. */
static void decode(char *s)
{
    char *to = s;

    for (; *s; s++) {
        int high = s[0] == '%' ? hex_digit(s[1]) : -1;
        int low = high >= 0 ? hex_digit(s[2]) : -1;

        if (low >= 0 && (high || low)) {
            *to++ = (char)(high << 4 | low);
            s += 2;
        } else {
            *to++ = *s == '+' ? ' ' : *s;
        }
    }
    *to = '\0';
}

static int add_param(struct target *t, char *pair)
{
    char *value = strchr(pair, '=');

    if (!value || !value[1])
        return 0;
    if (t->n_params == TARGET_PARAMS_MAX)
        return -ENAMETOOLONG;
    *value++ = '\0';
    decode(pair);
    decode(value);
    t->params[t->n_params++] = (struct target_param){pair, value};
    return 0;
}

int target_parse(const char *raw, struct target *ret)
{
    const char *path = skip_origin(raw);
    size_t path_len = strcspn(path, "?#");
    const char *query = path[path_len] == '?' ? path + path_len + 1 : "";
    size_t query_len = strcspn(query, "#");
    char *rest = ret->query;

    ret->n_params = 0;
    if (path_len >= sizeof(ret->path) || query_len >= sizeof(ret->query))
        return -ENAMETOOLONG;
    memcpy(ret->path, path, path_len);
    ret->path[path_len] = '\0';
    memcpy(ret->query, query, query_len);
    ret->query[query_len] = '\0';

    while (rest) {
        char *pair = strsep(&rest, "&");
        int r = add_param(ret, pair);

        if (r < 0)
            return r;
    }
    return 0;
}

const char *target_param(const struct target *t, const char *key)
{
    for (size_t i = 0; i < t->n_params; i++)
        if (strcmp(t->params[i].key, key) == 0)
            return t->params[i].value;
    return NULL;
}

bool target_is(const struct target *t, const char *name)
{
    const char *first = t->path + strspn(t->path, "/");
    size_t len = strcspn(first, "/");

    return len == strlen(name) && strncmp(first, name, len) == 0;
}
