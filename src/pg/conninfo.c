/* How a standby and our tools reach another member: the connection string and the passfile. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include "base/text.h"
#include "io/file.h"
#include "pg/files.h"

enum { PASSFILE_MAX = 64 * 1024 };

/* Appends " keyword=value", spaces, quotes and backslashes escaped; nothing when there is no value. */
static void put_keyword(struct textbuf *b, const char *keyword, const char *value)
{
    if (!value || !*value)
        return;
    textbuf_printf(b, "%s%s=", b->len ? " " : "", keyword);
    for (; *value; value++) {
        if (strchr("'\\ ", *value))
            textbuf_puts(b, "\\");
        textbuf_append(b, value, 1);
    }
}

static const char *or_default(const char *value, const char *other)
{
    return value && *value ? value : other;
}

int pg_files_conninfo(const struct config *config, const struct pg_upstream *upstream, char *buf, size_t size,
                      struct err *err)
{
    const struct credentials *c = &config->postgresql.replication;
    CLEANUP(freep) char *text = NULL;
    struct textbuf b = {0};
    char port[16];

    (void)text_print(port, sizeof(port), "%u", (unsigned)upstream->port);
    put_keyword(&b, "dbname", or_default(config->postgresql.database, "postgres"));
    put_keyword(&b, "user", c->username);
    put_keyword(&b, "passfile", c->password ? config->postgresql.pgpass : NULL);
    put_keyword(&b, "host", upstream->host);
    put_keyword(&b, "port", port);
    put_keyword(&b, "sslmode", or_default(c->sslmode, "prefer"));
    put_keyword(&b, "sslcert", c->sslcert);
    put_keyword(&b, "sslkey", c->sslkey);
    put_keyword(&b, "sslpassword", c->sslpassword);
    put_keyword(&b, "sslrootcert", c->sslrootcert);
    put_keyword(&b, "sslcrl", c->sslcrl);
    put_keyword(&b, "sslcrldir", c->sslcrldir);
    put_keyword(&b, "application_name", config->name);
    put_keyword(&b, "gssencmode", or_default(c->gssencmode, "prefer"));
    put_keyword(&b, "channel_binding", or_default(c->channel_binding, "prefer"));
    /* Several hosts: of a remote cluster, whose primary is wanted. */
    put_keyword(&b, "target_session_attrs", strchr(upstream->host, ',') ? "read-write" : NULL);

    text = textbuf_take(&b);
    if (!text)
        return err_set(err, -ENOMEM, "out of memory");
    if (!text_copy(buf, size, text))
        return err_set(err, -ENAMETOOLONG, "the connection string for \"%s\" has more than %zu bytes",
                       upstream->member ? upstream->member : upstream->host, size - 1);
    return 0;
}

static void put_passfile_field(struct textbuf *b, const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (value[i] == ':' || value[i] == '\\')
            textbuf_puts(b, "\\");
        textbuf_append(b, value + i, 1);
    }
}

static void put_passfile_line(struct textbuf *b, const char *host, size_t host_len, uint16_t port,
                              const struct credentials *c)
{
    put_passfile_field(b, host, host_len);
    textbuf_printf(b, ":%u:*:", (unsigned)port);
    if (c->username)
        put_passfile_field(b, c->username, strlen(c->username));
    else
        textbuf_puts(b, "*");
    textbuf_puts(b, ":");
    put_passfile_field(b, c->password, strlen(c->password));
    textbuf_puts(b, "\n");
}

/* One line per host; libpq looks a socket directory up under "localhost". */
static void put_passfile_user(struct textbuf *b, const struct pg_upstream *upstream, const struct credentials *c)
{
    const char *host = upstream->host;

    while (*host) {
        size_t len = strcspn(host, ",");

        put_passfile_line(b, host, len, upstream->port, c);
        if (*host == '/')
            put_passfile_line(b, "localhost", strlen("localhost"), upstream->port, c);
        host += len;
        host += strspn(host, ",");
    }
}

static int write_if_different(const char *path, const char *text, struct err *err)
{
    CLEANUP(freep) char *old = NULL;
    struct stat st;

    /* A passfile that others may read is ignored by libpq, so the mode is part of the content. */
    if (stat(path, &st) == 0 && (st.st_mode & 0777) == 0600 && file_read(path, PASSFILE_MAX, &old, NULL, NULL) == 0 &&
        strcmp(old, text) == 0) {
        explicit_bzero(old, strlen(old));
        return 0;
    }
    if (old)
        explicit_bzero(old, strlen(old));
    return file_write_atomic(path, text, strlen(text), 0600, err);
}

int pg_files_passfile(const struct config *config, const struct pg_upstream *upstream, struct err *err)
{
    const struct credentials *users[] = {&config->postgresql.replication, &config->postgresql.rewind,
                                         &config->postgresql.superuser};
    CLEANUP(freep) char *text = NULL;
    struct textbuf b = {0};
    int r;

    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        const struct credentials *c = users[i];

        if (!c->password)
            continue;
        if (strchr(c->password, '\n') || (c->username && strchr(c->username, '\n')) || strchr(upstream->host, '\n')) {
            textbuf_done(&b);
            return err_set(err, -EINVAL, "cannot write a host, user name or password with a line break to a passfile");
        }
        put_passfile_user(&b, upstream, c);
    }
    if (b.len == 0 && !b.failed)
        return 0;
    text = textbuf_take(&b);
    if (!text)
        return err_set(err, -ENOMEM, "out of memory");
    r = config->postgresql.pgpass ? write_if_different(config->postgresql.pgpass, text, err)
                                  : err_set(err, -EINVAL, "cannot write the passfile: no path is configured");
    explicit_bzero(text, strlen(text));
    return r;
}
