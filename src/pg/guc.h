/*
 * What PostgreSQL says about its own parameters (pg_settings): kind, unit, limits and context of each. With it a value
 * is judged, compared and printed as the server would do it, before it gets into a file that the server would refuse
 * to start with (facts sheet 7.3). Pure: the rows come from a query that somebody else runs.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/core.h"
#include "base/text.h"
#include "pg/params.h"
#include "pg/probe.h"

enum guc_kind { GUC_BOOL, GUC_INT, GUC_REAL, GUC_ENUM, GUC_STRING };
enum guc_context {
    GUC_CONTEXT_INTERNAL,   /* nobody can set it */
    GUC_CONTEXT_POSTMASTER, /* takes effect with the next start */
    GUC_CONTEXT_RELOAD,     /* takes effect with a reload */
};

struct guc {
    char *name;
    enum guc_kind kind;
    enum guc_context context;
    char *unit;      /* what a number without unit counts: "kB", "8kB", "MB", "ms", "s", "min", "B" or "" */
    char *words;     /* GUC_ENUM: "on,off,try" */
    double min, max; /* GUC_INT, GUC_REAL */
    char *boot;      /* what holds if nobody sets it; "" in a catalog that comes from a file */
    char *setting;   /* in force when the rows were read, in `unit`; "" in a catalog that comes from a file */
};

struct guc_catalog {
    struct guc *items; /* sorted by name, without regard to case */
    size_t n;
    int version_num; /* of the server that said so */
    bool complete;   /* superuser's view: a name that is not here does not exist */
};

/* One statement; the columns are read by guc_catalog_read(). Needs no more than the probe. */
extern const char guc_catalog_sql[];
/* Returns 0 and gives *ret to the caller, -EBADMSG or -ENOMEM. */
int guc_catalog_read(const struct pg_rows *rows, struct guc_catalog **ret, struct err *err);
struct guc_catalog *guc_catalog_free(struct guc_catalog *c);
DEFINE_CLEANUP(struct guc_catalog, guc_catalog_free)

/*
 * As a text for a file in the data directory, without what is in force: copies of the directory have it too, and know
 * their parameters before their first start. guc_catalog_load() returns 0, -EBADMSG or -ENOMEM.
 */
#define GUC_CATALOG_FILE "pgtether.parameters"
char *guc_catalog_print(const struct guc_catalog *c);
int guc_catalog_load(const char *text, struct guc_catalog **ret, struct err *err);

const struct guc *guc_find(const struct guc_catalog *c, const char *name); /* NULL if there is none; NULL c is fine */

enum guc_verdict {
    GUC_GOOD,
    GUC_OUT_OF_RANGE, /* a number; the server would refuse it, the reference uses the limit instead */
    GUC_BAD,
};
/*
 * Whether the server would take this value; strings always pass, as pg_settings knows no more about them. `why` gets
 * what is wrong ("is no integer", "must be from 64 kB to …"), `limit` (may be NULL) for GUC_OUT_OF_RANGE the value to
 * use instead.
 */
enum guc_verdict guc_judge(const struct guc *g, const char *value, char *why, size_t why_size, char *limit,
                           size_t limit_size);

/* Whether both mean the same: "1GB" and "1024MB", "on" and "true". Values that are not valid are compared as text. */
bool guc_equal(const struct guc *g, const char *a, const char *b);
/* The value as people write it, as SHOW does: "128MB" for 16384 of 8kB, "on" for "true". Invalid ones as they are. */
void guc_print(const struct guc *g, const char *value, char *buf, size_t size);

/*
 * What somebody who is about to set this should be told; why is then a sentence about the value or the name.
 * GUC_UNKNOWN: it will be left out, since the server has none of that name. NULL c has nothing to object.
 */
enum guc_objection { GUC_NO_OBJECTION, GUC_UNKNOWN, GUC_REFUSED };
enum guc_objection guc_object(const struct guc_catalog *c, const char *name, const char *value, char *why, size_t size);

/*
 * Removes from server what the server would not accept, and uses the limit for numbers beyond it. One line is added to
 * notes for each. NULL c changes nothing.
 */
void guc_filter(const struct guc_catalog *c, struct params *server, struct textbuf *notes);
