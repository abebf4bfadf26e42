#include "pg/slots.h"

#define IF_THERE " FROM pg_catalog.pg_replication_slots WHERE NOT active AND slot_name = '%s'; "

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

static void put_if_absent(struct textbuf *sql, const char *name)
{
    textbuf_printf(sql, " WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = '%s'); ",
                   name);
}

void pg_slot_create_physical(struct textbuf *sql, const char *name)
{
    textbuf_printf(sql, "SELECT pg_catalog.pg_create_physical_replication_slot('%s', true)", name);
    put_if_absent(sql, name);
}

void pg_slot_create_logical(struct textbuf *sql, const char *name, const char *plugin)
{
    textbuf_printf(sql, "SELECT pg_catalog.pg_create_logical_replication_slot('%s', ", name);
    put_literal(sql, plugin);
    textbuf_puts(sql, ")");
    put_if_absent(sql, name);
}

void pg_slot_drop(struct textbuf *sql, const char *name)
{
    textbuf_printf(sql, "SELECT pg_catalog.pg_drop_replication_slot(slot_name)" IF_THERE, name);
}

void pg_slots_advance(struct textbuf *sql, const struct slot_position *to, size_t n)
{
    char lsn[TEXT_LSN_SIZE];

    textbuf_puts(sql, "SELECT pg_catalog.pg_replication_slot_advance(s.slot_name, v.lsn) FROM (VALUES ");
    for (size_t i = 0; i < n; i++)
        textbuf_printf(sql, "%s('%s', '%s'::pg_catalog.pg_lsn)", i ? ", " : "", to[i].name,
                       text_print_lsn(to[i].lsn, lsn, sizeof(lsn)));
    textbuf_puts(sql, ") v (name, lsn) JOIN pg_catalog.pg_replication_slots s ON s.slot_name = v.name "
                      "WHERE NOT s.active AND coalesce(s.confirmed_flush_lsn, s.restart_lsn) < v.lsn; ");
}

static void put_names(struct textbuf *sql, const struct slot_name *names, size_t n)
{
    textbuf_puts(sql, "slot_name IN (");
    for (size_t i = 0; i < n; i++)
        textbuf_printf(sql, "%s'%s'", i ? ", " : "", names[i].text);
    textbuf_puts(sql, ")");
}

/* Slots with failover = true, since version 17, come to a standby by PostgreSQL's own synchronization or not at all. */
void pg_slot_copy_question(struct textbuf *sql, const struct slot_name *names, size_t n)
{
    textbuf_puts(sql,
                 "SELECT slot_name, database, plugin, pg_catalog.current_setting('server_version_num')::int / 10000, "
                 "pg_catalog.encode(pg_catalog.pg_read_binary_file('pg_replslot/' || slot_name || '/state'), 'hex') "
                 "FROM pg_catalog.pg_replication_slots s WHERE NOT pg_catalog.pg_is_in_recovery() "
                 "AND slot_type = 'logical' AND wal_status IS DISTINCT FROM 'lost' AND NOT temporary "
                 "AND pg_catalog.to_jsonb(s) ->> 'failover' IS DISTINCT FROM 'true' AND ");
    put_names(sql, names, n);
}

void pg_slot_xmin_question(struct textbuf *sql, const struct slot_name *names, size_t n)
{
    textbuf_puts(sql, "SELECT slot_name, catalog_xmin FROM pg_catalog.pg_replication_slots "
                      "WHERE NOT pg_catalog.pg_is_in_recovery() AND ");
    put_names(sql, names, n);
}
