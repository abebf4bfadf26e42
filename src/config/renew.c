#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "config/config.h"

#define FIXED(field) offsetof(struct config, field), sizeof(((struct config *)NULL)->field)

/*
 * What this process, PostgreSQL's control and the keeper were started with. The paths are beginnings: all below them is
 * meant. Everything else is read where it is used, each time anew.
 */
static const struct {
    const char *path;
    size_t offset, size; /* what of the struct follows from it; size 0 = what another line has already */
} fixed[] = {
    {"scope", FIXED(scope)},
    {"namespace", FIXED(namespace_)},
    {"name", FIXED(name)},
    {"state_dir", FIXED(state_dir)},
    {"restapi.listen", FIXED(restapi.listen_host)},
    {"restapi.listen", FIXED(restapi.listen_port)},
    {"etcd", 0, 0},
    {"etcd3", FIXED(dcs)},
    {"watchdog", FIXED(watchdog)},
    {"gate", FIXED(gate)},
    {"storage_probe", FIXED(storage_probe)},
    {"vip", FIXED(vips)},
    {"vip", FIXED(n_vips)},
    {"postgresql.listen", FIXED(postgresql.listen_addresses)},
    {"postgresql.listen", FIXED(postgresql.listen_port)},
    {"postgresql.data_dir", FIXED(postgresql.data_dir)},
    {"postgresql.config_dir", FIXED(postgresql.config_dir)},
    {"postgresql.bin_dir", FIXED(postgresql.bin_dir)},
    {"postgresql.pgpass", FIXED(postgresql.pgpass)},
    {"postgresql.log_file", FIXED(postgresql.log_file)},
    {"postgresql.run_dir", FIXED(postgresql.run_dir)},
    {"postgresql.config_base_name", FIXED(postgresql.config_base_name)},
    {"postgresql.use_unix_socket", FIXED(postgresql.use_unix_socket)},
    {"postgresql.use_unix_socket_repl", FIXED(postgresql.use_unix_socket_repl)},
};

static void swap_bytes(void *a, void *b, size_t size)
{
    unsigned char *x = a, *y = b;

    for (size_t i = 0; i < size; i++) {
        unsigned char byte = x[i];

        x[i] = y[i];
        y[i] = byte;
    }
}

static bool is_fixed(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        size_t len = strlen(fixed[i].path);

        if (strncmp(path, fixed[i].path, len) == 0 && (path[len] == '\0' || path[len] == '.'))
            return true;
    }
    return false;
}

static void put_side(struct textbuf *out, const struct config_place *p)
{
    if (!p)
        textbuf_puts(out, "(not set)");
    else if (p->text)
        textbuf_printf(out, "%.200s", p->text);
    else
        textbuf_puts(out, "(secret)");
}

/* Whether there is TLS at all is decided when the server is started; other certificates are only read anew. */
static bool switches_tls(const struct config_place *old, const struct config_place *new)
{
    return strcmp((new ? new : old)->path, "restapi.certfile") == 0 && (!old || !new);
}

static void put_difference(const struct config_place *old, const struct config_place *new, struct textbuf *applied,
                           struct textbuf *needs_restart)
{
    const struct config_place *any = new ? new : old;
    struct textbuf *out = is_fixed(any->path) || switches_tls(old, new) ? needs_restart : applied;
    const char *slash = strrchr(any->file, '/');

    textbuf_printf(out, "%s: ", any->path);
    put_side(out, old);
    textbuf_puts(out, " -> ");
    put_side(out, new);
    if (new)
        textbuf_printf(out, " (%s:%u)", slash ? slash + 1 : any->file, any->line);
    textbuf_puts(out, "\n");
}

static void describe(const struct config *old, const struct config *new, struct textbuf *applied,
                     struct textbuf *needs_restart)
{
    for (size_t i = 0; i < new->n_places; i++) {
        const struct config_place *p = config_place_of(old, new->places[i].path);

        if (config_place_of(new, new->places[i].path) == &new->places[i] && (!p || p->digest != new->places[i].digest))
            put_difference(p, &new->places[i], applied, needs_restart);
    }
    for (size_t i = 0; i < old->n_places; i++)
        if (!config_place_of(new, old->places[i].path) && config_place_of(old, old->places[i].path) == &old->places[i])
            put_difference(&old->places[i], NULL, applied, needs_restart);
}

void config_renew(struct config *live, struct config *fresh, struct textbuf *applied, struct textbuf *needs_restart)
{
    describe(live, fresh, applied, needs_restart);
    swap_bytes(live, fresh, sizeof(*live));
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        swap_bytes((char *)live + fixed[i].offset, (char *)fresh + fixed[i].offset, fixed[i].size);
    if (!live->restapi.tls.certfile != !fresh->restapi.tls.certfile)
        swap_bytes(&live->restapi.tls, &fresh->restapi.tls, sizeof(live->restapi.tls));
    (void)config_free(fresh);
}
