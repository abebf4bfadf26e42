/*
 * One libpq connection driven by the event loop: connects, runs one query string at a time, never waits. Used by the
 * probe (kept connection) and by single commands.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <libpq-fe.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "pg/probe.h"

struct pg_link;

enum { LINK_RESULTS_MAX = 16 };

struct link_answer {
    int error;               /* 0, -ETIMEDOUT, or -errno of what went wrong, see err */
    bool connected;          /* the failure came after the connection was accepted */
    char sqlstate[6];        /* of a failure, "" if the server said none */
    const struct err *err;   /* with error */
    PGresult *const *result; /* results in order, borrowed until the callback returns */
    size_t n_results;
    uint64_t asked_at_us; /* instant before the query was sent */
    int server_version;
};
/* Called once per link_run(), from the loop, never from inside it. May free the link. */
typedef void (*link_done_fn)(void *userdata, const struct link_answer *answer);

/* Copies the settings. Host names other than "localhost" are resolved by libpq, which waits: give addresses. */
int link_new(sd_event *loop, const struct pg_probe_settings *settings, const char *application_name,
             const char *options, struct pg_link **ret, struct err *err);
struct pg_link *link_free(struct pg_link *l); /* no callback */
DEFINE_CLEANUP(struct pg_link, link_free)
/*
 * One more keyword of the connection string (TLS settings, "replication"), before the first link_run(). It wins over
 * what the settings say; value NULL or "" is left out. At most LINK_KEYWORDS_MAX.
 */
enum { LINK_KEYWORDS_MAX = 16 };
int link_set_keyword(struct pg_link *l, const char *keyword, const char *value, struct err *err);
/* For functions of libpq that need a connection; borrowed, NULL while there is none. */
PGconn *link_connection(const struct pg_link *l);

/*
 * Connects if necessary and runs the query string; several statements give several results. A kept connection that
 * turns out to be broken is re-made once. -EBUSY while one is under way.
 */
int link_run(struct pg_link *l, const char *sql, uint64_t timeout_us, link_done_fn done, void *userdata,
             struct err *err);
/* Closes the connection; a query under way fails with -ECONNABORTED from the loop. */
void link_disconnect(struct pg_link *l);

/*
 * Pure: SQLSTATE and first line out of libpq's message for a connection that failed, which it gives with verbosity
 * "verbose" only as text: '… failed: FATAL:  57P03: the database system is starting up'. The severity may be in any
 * language.
 */
void link_parse_message(const char *message, char *sqlstate, char *buf, size_t size);
