#include "backup/roles.h"
#include <errno.h>
#include "base/text.h"

/* Any byte may be in it; E'' makes this independent of standard_conforming_strings. */
static void put_literal(struct textbuf *b, const char *s)
{
    textbuf_puts(b, "E'");
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\')
            textbuf_append(b, s, 1);
        textbuf_append(b, s, 1);
    }
    textbuf_puts(b, "'");
}

static void put_identifier(struct textbuf *b, const char *s)
{
    textbuf_puts(b, "\"");
    for (; *s; s++) {
        if (*s == '"')
            textbuf_append(b, s, 1);
        textbuf_append(b, s, 1);
    }
    textbuf_puts(b, "\"");
}

static int take(struct textbuf *b, char **ret, struct err *err)
{
    char *text = textbuf_take(b);

    if (!text)
        return err_set(err, -ENOMEM, "out of memory");
    *ret = text;
    return 0;
}

int role_question(const char *name, char **ret, struct err *err)
{
    struct textbuf b = {0};

    textbuf_puts(&b, "SELECT count(*), pg_catalog.current_setting('password_encryption') FROM pg_catalog.pg_roles "
                     "WHERE rolname = ");
    put_literal(&b, name);
    return take(&b, ret, err);
}

static void put_grants(struct textbuf *b, const char *name)
{
    static const char *const functions[] = {
        "pg_ls_dir(text, boolean, boolean)",
        "pg_stat_file(text, boolean)",
        "pg_read_binary_file(text)",
        "pg_read_binary_file(text, bigint, bigint, boolean)",
    };

    for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
        textbuf_printf(b, "; GRANT EXECUTE ON FUNCTION pg_catalog.%s TO ", functions[i]);
        put_identifier(b, name);
    }
}

int role_statement(enum role_kind kind, const char *name, bool exists, const char *verifier, char **ret,
                   struct err *err)
{
    static const char *const attributes[] = {
        [ROLE_SUPERUSER] = "SUPERUSER LOGIN", [ROLE_REPLICATION] = "REPLICATION LOGIN", [ROLE_REWIND] = "LOGIN"};
    struct textbuf b = {0};

    textbuf_printf(&b, "%s ROLE ", exists ? "ALTER" : "CREATE");
    put_identifier(&b, name);
    textbuf_printf(&b, " WITH %s", attributes[kind]);
    if (verifier) {
        textbuf_puts(&b, " PASSWORD ");
        put_literal(&b, verifier);
    }
    if (kind == ROLE_REWIND)
        put_grants(&b, name);
    return take(&b, ret, err);
}
