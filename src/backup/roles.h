/* The roles of a new cluster as SQL text. Pure: quoting is done here, passwords arrive as verifiers. */
#pragma once
#include <stdbool.h>
#include "base/core.h"

enum role_kind {
    ROLE_SUPERUSER,   /* what the agent itself logs in as */
    ROLE_REPLICATION, /* standbys and copies */
    ROLE_REWIND,      /* pg_rewind: may read files of the server through four functions, nothing else */
};

/*
 * Whether the role exists ("1" or "0") and how the server wants passwords hashed, as one row. The caller frees *ret.
 */
int role_question(const char *name, char **ret, struct err *err);

/* CREATE or ALTER ROLE, and what the role may do. verifier: a hashed password, NULL = none is set. */
int role_statement(enum role_kind kind, const char *name, bool exists, const char *verifier, char **ret,
                   struct err *err);
