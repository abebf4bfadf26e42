/*
 * The server parameters of one node: merged from built-in defaults, the store's configuration and the local one, with
 * the protected ones taken from the store only (facts sheet 7.1, 7.2). Pure: no file is read or written here.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/core.h"
#include "config/config.h"
#include "pg/files.h"

/* Names are unique and sorted, both without regard to case, as PostgreSQL reads them. Zero-initialise. */
struct params {
    struct setting *items; /* owned, with their strings */
    size_t n, cap;
    bool failed; /* an allocation failed: checked once, at the end */
};
void params_done(struct params *p);
/* Adds or replaces; value NULL removes. */
void params_set(struct params *p, const char *name, const char *value);
const char *params_get(const struct params *p, const char *name); /* NULL if not set */

/*
 * Fills *ret_server with what belongs into the main part of postgresql.conf and *ret_recovery with the recovery
 * parameters (without primary_conninfo and primary_slot_name, which depend on whom we follow). Both must be zeroed; the
 * caller frees them with params_done(), also after a failure. Returns 0 or -ENOMEM.
 */
int params_merge(const struct pg_files_spec *spec, struct params *ret_server, struct params *ret_recovery,
                 struct err *err);

/* The names of the command line in the reference's order; NULL past the end. */
const char *params_protected_name(size_t i);
/* Whether recovery settings own this name: it never appears in the main part, nor in postgresql.auto.conf. */
bool params_is_recovery_name(const char *name);
