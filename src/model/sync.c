#include "model/sync.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* --- sets -----------------------------------------------------------------------------------------------------------
 */

static size_t find(const struct sync_set *s, const char *name)
{
    size_t i = 0;

    while (i < s->n && strcasecmp(s->names[i], name) != 0)
        i++;
    return i;
}

bool sync_set_has(const struct sync_set *s, const char *name)
{
    return find(s, name) < s->n;
}

void sync_set_add(struct sync_set *s, const char *name)
{
    size_t i = s->n;

    if (s->n == SYNC_SET_MAX || strlen(name) >= MEMBER_NAME_SIZE || sync_set_has(s, name))
        return;
    while (i > 0 && strcmp(s->names[i - 1], name) > 0) {
        memcpy(s->names[i], s->names[i - 1], MEMBER_NAME_SIZE);
        i--;
    }
    memcpy(s->names[i], name, strlen(name) + 1);
    s->n++;
}

void sync_set_remove(struct sync_set *s, const char *name)
{
    size_t i = find(s, name);

    if (i == s->n)
        return;
    memmove(s->names[i], s->names[i + 1], (s->n - i - 1) * MEMBER_NAME_SIZE);
    s->n--;
}

size_t sync_set_common(const struct sync_set *a, const struct sync_set *b)
{
    size_t n = 0;

    for (size_t i = 0; i < a->n; i++)
        n += sync_set_has(b, a->names[i]);
    return n;
}

bool sync_set_equal(const struct sync_set *a, const struct sync_set *b)
{
    return a->n == b->n && sync_set_common(a, b) == a->n;
}

bool sync_set_read(struct sync_set *s, const char *text)
{
    bool whole = true;

    s->n = 0;
    while (text && *text) {
        size_t len = strcspn(text, ",");
        char name[MEMBER_NAME_SIZE];

        if (len >= sizeof(name) || s->n == SYNC_SET_MAX) {
            whole = false;
        } else if (len) {
            memcpy(name, text, len);
            name[len] = '\0';
            sync_set_add(s, name);
        }
        text += len;
        text += *text == ',';
    }
    return whole;
}

/* Appends; false when it does not fit. */
static bool put(char *buf, size_t size, const char *text, size_t len)
{
    size_t used = strlen(buf);

    if (used + len >= size)
        return false;
    memcpy(buf + used, text, len);
    buf[used + len] = '\0';
    return true;
}

bool sync_set_print(const struct sync_set *s, char *buf, size_t size)
{
    bool fits = true;

    buf[0] = '\0';
    for (size_t i = 0; i < s->n; i++)
        fits = fits && (i == 0 || put(buf, size, ",", 1)) && put(buf, size, s->names[i], strlen(s->names[i]));
    return fits;
}

/* --- synchronous_standby_names --------------------------------------------------------------------------------------
 */

bool sync_names_equal(const struct sync_names *a, const struct sync_names *b)
{
    return a->kind == b->kind && a->n == b->n && sync_set_equal(&a->set, &b->set);
}

enum token_kind { TOKEN_END, TOKEN_NAME, TOKEN_QUOTED, TOKEN_NUMBER, TOKEN_SIGN, TOKEN_BAD };

struct token {
    enum token_kind kind;
    char text[MEMBER_NAME_SIZE];
};

static void take_char(struct token *t, size_t *len, char c)
{
    if (*len + 1 < sizeof(t->text))
        t->text[(*len)++] = c;
    else
        t->kind = TOKEN_BAD;
}

/* A quote inside is doubled. */
static const char *next_quoted(const char *s, struct token *t)
{
    size_t len = 0;

    t->kind = TOKEN_QUOTED;
    for (;; s++) {
        if (*s == '"' && s[1] == '"')
            s++;
        else if (*s == '"')
            return s + 1;
        if (!*s)
            break;
        take_char(t, &len, *s);
    }
    t->kind = TOKEN_BAD;
    return s;
}

static const char *next_token(const char *s, struct token *t)
{
    size_t len = 0;

    *t = (struct token){.kind = TOKEN_END};
    s += strspn(s, " \t\r\n\f");
    if (!*s)
        return s;
    if (*s == '"')
        return next_quoted(s + 1, t);
    t->kind = strchr("(),*", *s) ? TOKEN_SIGN : TOKEN_NAME;
    if (t->kind == TOKEN_SIGN) {
        t->text[0] = *s;
        return s + 1;
    }
    for (; *s && !strchr("(),*\" \t\r\n\f", *s); s++)
        take_char(t, &len, *s);
    if (t->kind == TOKEN_NAME && strspn(t->text, "0123456789") == len)
        t->kind = TOKEN_NUMBER;
    return s;
}

static bool is_sign(const struct token *t, char sign)
{
    return t->kind == TOKEN_SIGN && t->text[0] == sign;
}

/* "a, b" from the token on, up to the end or the closing bracket. False for what is no list, or has a "*". */
static bool read_list(const char *s, struct token t, bool in_brackets, struct sync_set *set)
{
    for (;;) {
        if ((t.kind != TOKEN_NAME && t.kind != TOKEN_QUOTED && t.kind != TOKEN_NUMBER) || set->n == SYNC_SET_MAX)
            return false;
        sync_set_add(set, t.text);
        s = next_token(s, &t);
        if (!is_sign(&t, ','))
            break;
        s = next_token(s, &t);
    }
    if (!in_brackets)
        return t.kind == TOKEN_END;
    if (!is_sign(&t, ')'))
        return false;
    (void)next_token(s, &t);
    return t.kind == TOKEN_END;
}

static unsigned to_number(const char *digits)
{
    unsigned n = 0;

    for (; *digits && n < 1000; digits++)
        n = n * 10 + (unsigned)(*digits - '0');
    return n;
}

static bool read_names(struct sync_names *ret, const char *s)
{
    struct token t, after;
    const char *rest;
    bool counted;

    s = next_token(s, &t);
    ret->kind = SYNC_KIND_FIRST;
    rest = next_token(s, &after);
    if (t.kind == TOKEN_NAME && after.kind == TOKEN_NUMBER &&
        (strcasecmp(t.text, "any") == 0 || strcasecmp(t.text, "first") == 0)) {
        if (strcasecmp(t.text, "any") == 0)
            ret->kind = SYNC_KIND_ANY;
        t = after;
        s = rest;
        rest = next_token(s, &after);
    }
    counted = t.kind == TOKEN_NUMBER && is_sign(&after, '(');
    ret->n = counted ? to_number(t.text) : 1;
    if (counted)
        s = next_token(rest, &t);
    return read_list(s, t, counted, &ret->set) && ret->n > 0;
}

void sync_names_read(struct sync_names *ret, const char *text)
{
    *ret = (struct sync_names){.kind = SYNC_KIND_NOBODY};
    if (!text[strspn(text, " \t\r\n\f")])
        return;
    if (!read_names(ret, text)) {
        *ret = (struct sync_names){.kind = SYNC_KIND_UNCLEAR};
        return;
    }
    if (ret->set.n == 1 && sync_set_has(&ret->set, SYNC_PLACEHOLDER)) {
        *ret = (struct sync_names){.kind = SYNC_KIND_BLOCKED};
        return;
    }
    /* More than there are: PostgreSQL waits for ever, and nothing is acknowledged by fewer than all. */
    if (ret->n > ret->set.n)
        ret->n = (unsigned)ret->set.n;
}

static bool is_plain(const char *name)
{
    size_t len = strlen(name);

    return len && !strchr("0123456789$", name[0]) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$") == len &&
           strcasecmp(name, "first") != 0 && strcasecmp(name, "any") != 0;
}

static bool put_name(char *buf, size_t size, const char *name)
{
    bool fits = true;

    if (is_plain(name))
        return put(buf, size, name, strlen(name));
    fits = put(buf, size, "\"", 1);
    for (; *name; name++)
        fits = fits && (*name != '"' || put(buf, size, "\"", 1)) && put(buf, size, name, 1);
    return fits && put(buf, size, "\"", 1);
}

static bool put_names(const struct sync_names *names, char *buf, size_t size)
{
    bool brackets = names->kind == SYNC_KIND_ANY || names->set.n > 1;
    char count[32];
    bool fits = true;

    (void)snprintf(count, sizeof(count), "%s%u (", names->kind == SYNC_KIND_ANY ? "ANY " : "", names->n);
    if (brackets)
        fits = put(buf, size, count, strlen(count));
    for (size_t i = 0; i < names->set.n; i++)
        fits = fits && (i == 0 || put(buf, size, ",", 1)) && put_name(buf, size, names->set.names[i]);
    return fits && (!brackets || put(buf, size, ")", 1));
}

bool sync_names_print(const struct sync_names *names, char *buf, size_t size)
{
    buf[0] = '\0';
    switch (names->kind) {
    case SYNC_KIND_NOBODY:
    case SYNC_KIND_UNCLEAR:
        return true;
    case SYNC_KIND_BLOCKED:
        return put(buf, size, SYNC_PLACEHOLDER, strlen(SYNC_PLACEHOLDER));
    case SYNC_KIND_FIRST:
    case SYNC_KIND_ANY:
        break;
    }
    return put_names(names, buf, size);
}
