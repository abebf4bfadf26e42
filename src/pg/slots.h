/*
 * Replication slots by SQL, and by file where SQL cannot do it: a logical slot is brought to a standby by copying its
 * state from the primary (facts sheet 5.7). What is to be done is decided in src/ha/slots.h.
 */
#pragma once
#include <stddef.h>
#include "base/core.h"
#include "base/text.h"
#include "config/config.h"
#include "model/slots.h"

/*
 * Each appends one statement, which does nothing where somebody else was faster: what is known of slots may be a moment
 * old. Names are valid names of slots.
 */
void pg_slot_create_physical(struct textbuf *sql, const char *name);                    /* reserves WAL at once */
void pg_slot_create_logical(struct textbuf *sql, const char *name, const char *plugin); /* in its database */
void pg_slot_drop(struct textbuf *sql, const char *name);
/* Of one kind; logical ones in their database. */
void pg_slots_advance(struct textbuf *sql, const struct slot_position *to, size_t n);

/*
 * For the primary: SLOT_COPY_COLUMNS columns per slot of these that can be copied: name, database, plugin, major
 * version of the server, its state file in hexadecimal.
 */
enum slot_copy_column {
    SLOT_COPY_NAME,
    SLOT_COPY_DATABASE,
    SLOT_COPY_PLUGIN,
    SLOT_COPY_MAJOR,
    SLOT_COPY_STATE,
    SLOT_COPY_COLUMNS,
};
void pg_slot_copy_question(struct textbuf *sql, const struct slot_name *names, size_t n);
/* For the primary: name and catalog_xmin. */
void pg_slot_xmin_question(struct textbuf *sql, const struct slot_name *names, size_t n);

/*
 * Puts a copied slot into the data directory of a server that is down, durably, in the place of one of that name.
 * -EBADMSG if the state is none of that slot's: the server would not start with it. Else 0 or -errno.
 */
int pg_slot_put(const struct config *config, const char *name, const char *state_hex, struct err *err);
