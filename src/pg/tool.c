#include "pg/tool.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"

const char *const tool_env_unset[] = {
    "PGDATA",        "PGHOST",    "PGHOSTADDR", "PGPORT",    "PGDATABASE",        "PGUSER",
    "PGPASSWORD",    "PGSERVICE", "PGOPTIONS",  "PGAPPNAME", "PGCONNECT_TIMEOUT", "PGTARGETSESSIONATTRS",
    "PGREQUIREAUTH", NULL,
};

static void push(struct tool_args *a, char *item)
{
    size_t cap = a->cap ? a->cap * 2 : 16;
    char **items;

    if (!item)
        a->failed = true;
    /* One place is kept for the terminating NULL. */
    if (!a->failed && a->n + 1 >= a->cap) {
        items = realloc(a->items, cap * sizeof(*items));
        if (items) {
            a->items = items;
            a->cap = cap;
        } else {
            a->failed = true;
        }
    }
    if (a->failed) {
        free(item);
        return;
    }
    a->items[a->n++] = item;
    a->items[a->n] = NULL;
}

void tool_args_add(struct tool_args *a, const char *fmt, ...)
{
    struct textbuf text = {0};
    va_list ap;

    va_start(ap, fmt);
    textbuf_vprintf(&text, fmt, ap);
    va_end(ap);
    push(a, textbuf_take(&text));
}

void tool_args_program(struct tool_args *a, const struct config *config, const char *name)
{
    const char *dir = config->postgresql.bin_dir;

    if (dir && *dir)
        tool_args_add(a, "%s/%s", dir, name);
    else
        tool_args_add(a, "%s", name);
}

const char *const *tool_args_list(const struct tool_args *a)
{
    return a->failed ? NULL : (const char *const *)a->items;
}

void tool_args_done(struct tool_args *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->items[i]);
    free(a->items);
    *a = (struct tool_args){0};
}

/* Where the text of a message starts in "pg_basebackup: error: text" or "2026-07-24 … FATAL:  text"; NULL: no message.
 */
static const char *message_text(const char *line)
{
    static const char *const marks[] = {"error: ", "fatal: ", "FATAL:  ", "PANIC:  ", "ERROR:  "};

    for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
        const char *at = strstr(line, marks[i]);

        if (at)
            return at + strlen(marks[i]);
    }
    return NULL;
}

/* The last line that is a message of an error, else the last line that says anything. */
static void last_words(const char *output, char *buf, size_t size)
{
    bool have_message = false;

    buf[0] = '\0';
    while (output && *output) {
        size_t len = strcspn(output, "\r\n");
        char line[1024];
        const char *text;

        (void)text_print(line, sizeof(line), "%.*s", (int)(len < sizeof(line) ? len : sizeof(line) - 1), output);
        output += len + (output[len] ? 1 : 0);
        text = message_text(line);
        if (text)
            have_message = true;
        else if (have_message || !line[strspn(line, " \t")])
            continue;
        (void)text_copy(buf, size, text ? text : line);
    }
}

static const char *hint_for(const char *words)
{
    if (strstr(words, "no pg_hba.conf entry"))
        return "\nHINT:  allow this host in postgresql.pg_hba";
    if (strstr(words, "password authentication failed"))
        return "\nHINT:  compare postgresql.authentication on all nodes";
    if (strstr(words, "No space left on device"))
        return "\nHINT:  free space or use a larger file system";
    return "";
}

int tool_failure(const char *name, const struct child_result *result, struct err *err)
{
    char how[80], words[200];
    int code = result->timed_out ? -ETIMEDOUT : -EIO;

    last_words(result->output, words, sizeof(words));
    (void)child_result_text(result, how, sizeof(how));
    if (!words[0])
        return err_set(err, code, "%s failed (%s)", name, how);
    /* The hint must fit into what struct err holds: the words are cut, not the hint. */
    return err_set(err, code, "%s failed (%s): %.*s%s", name, how, *hint_for(words) ? 140 : 199, words,
                   hint_for(words));
}

static bool take_kb(const char **s, uint64_t *ret_bytes)
{
    size_t len = strspn(*s, "0123456789");
    char digits[24];
    uint64_t kb;

    if (!text_print(digits, sizeof(digits), "%.*s", (int)(len < sizeof(digits) ? len : sizeof(digits)), *s) ||
        !text_to_u64(digits, &kb) || kb > UINT64_MAX / 1024)
        return false;
    *s += len;
    *ret_bytes = kb * 1024;
    return true;
}

bool tool_parse_progress(const char *line, uint64_t *ret_done_bytes, uint64_t *ret_total_bytes)
{
    uint64_t done_bytes, total_bytes;

    line += strspn(line, " ");
    if (!take_kb(&line, &done_bytes) || *line++ != '/' || !take_kb(&line, &total_bytes) ||
        !text_starts_with(line, " kB"))
        return false;
    *ret_done_bytes = done_bytes;
    *ret_total_bytes = total_bytes;
    return true;
}

static void add_keyword(struct textbuf *b, const char *keyword, const char *value)
{
    if (!value)
        return;
    textbuf_printf(b, "%s%s=", b->len ? " " : "", keyword);
    if (!*value)
        textbuf_puts(b, "''");
    for (; *value; value++) {
        if (strchr(" '\\", *value))
            textbuf_puts(b, "\\");
        textbuf_append(b, value, 1);
    }
}

static const char *or_default(const char *value, const char *fallback)
{
    return value && *value ? value : fallback;
}

static const char *if_given(const char *value)
{
    return or_default(value, NULL);
}

int tool_dsn(const struct config *config, const struct credentials *who, const char *host, uint16_t port,
             const char *application_name, const char *passfile, char *buf, size_t size, struct err *err)
{
    struct textbuf b = {0};
    char port_text[8];
    int r = 0;

    (void)text_print(port_text, sizeof(port_text), "%u", (unsigned)port);
    add_keyword(&b, "dbname", or_default(config->postgresql.database, "postgres"));
    add_keyword(&b, "user", if_given(who->username));
    add_keyword(&b, "passfile", who->password ? if_given(passfile) : NULL);
    add_keyword(&b, "host", if_given(host));
    add_keyword(&b, "port", port_text);
    add_keyword(&b, "sslmode", or_default(who->sslmode, "prefer"));
    add_keyword(&b, "sslcert", if_given(who->sslcert));
    add_keyword(&b, "sslkey", if_given(who->sslkey));
    add_keyword(&b, "sslpassword", if_given(who->sslpassword));
    add_keyword(&b, "sslrootcert", if_given(who->sslrootcert));
    add_keyword(&b, "sslcrl", if_given(who->sslcrl));
    add_keyword(&b, "sslcrldir", if_given(who->sslcrldir));
    add_keyword(&b, "application_name", if_given(application_name));
    add_keyword(&b, "gssencmode", or_default(who->gssencmode, "prefer"));
    add_keyword(&b, "channel_binding", or_default(who->channel_binding, "prefer"));
    if (host && strchr(host, ','))
        add_keyword(&b, "target_session_attrs", "read-write");
    if (b.failed)
        r = err_set(err, -ENOMEM, "out of memory");
    else if (!text_copy(buf, size, b.data))
        r = err_set(err, -ENAMETOOLONG, "cannot use a connection string of %zu characters", b.len);
    textbuf_done(&b);
    return r;
}

const struct credentials *tool_rewind_credentials(const struct config *config)
{
    const struct credentials *rewind = &config->postgresql.rewind;

    return rewind->username && *rewind->username ? rewind : &config->postgresql.superuser;
}

/* One entry of a comma-separated list, without blanks and quotes; returns what follows it, NULL at the end. */
static const char *list_entry(const char *list, char *buf, size_t size)
{
    size_t len = strcspn(list, ",");
    const char *from = list + strspn(list, " \t'\""), *to = list + len;

    while (to > from && strchr(" \t'\"", to[-1]))
        to--;
    (void)text_print(buf, size, "%.*s", (int)(to > from ? to - from : 0), from);
    return list[len] ? list + len + 1 : NULL;
}

void tool_local_host(const struct config *config, char *buf, size_t size)
{
    static const char *const loopbacks[] = {"*", "0.0.0.0", "127.0.0.1", "localhost", "::", "::1"};
    const char *rest = config->postgresql.listen_addresses;
    char entry[HOST_SIZE];

    (void)text_copy(buf, size, "localhost");
    for (bool first = true; rest && *rest; first = false) {
        rest = list_entry(rest, entry, sizeof(entry));
        if (first && *entry)
            (void)text_copy(buf, size, entry);
        for (size_t i = 0; i < ARRAY_LEN(loopbacks); i++)
            if (text_equal(entry, loopbacks[i])) {
                (void)text_copy(buf, size, "localhost");
                return;
            }
    }
}

bool tool_socket_dir(const struct config *config, char *buf, size_t size)
{
    const struct settings *parameters = &config->postgresql.parameters;
    const char *rest = NULL;

    for (size_t i = 0; i < parameters->n; i++)
        if (text_equal(parameters->items[i].name, "unix_socket_directories"))
            rest = parameters->items[i].value;
    while (rest && *rest) {
        rest = list_entry(rest, buf, size);
        if (buf[0] == '/')
            return true;
    }
    return false;
}

static void own_host(const struct config *config, bool by_socket, char *buf, size_t size)
{
    const char *listen = config->postgresql.listen_addresses;

    if (by_socket && tool_socket_dir(config, buf, size))
        return;
    (void)list_entry(listen, buf, size);
    if (!*buf || text_equal(buf, "*") || text_equal(buf, "0.0.0.0") || text_equal(buf, "localhost"))
        (void)text_copy(buf, size, "127.0.0.1");
}

void tool_own_host(const struct config *config, char *buf, size_t size)
{
    own_host(config, config->postgresql.use_unix_socket, buf, size);
}

void tool_own_replication_host(const struct config *config, char *buf, size_t size)
{
    own_host(config, config->postgresql.use_unix_socket_repl, buf, size);
}
