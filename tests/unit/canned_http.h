/*
 * An HTTP server inside of a test, on the test's own event loop: answers from a table, remembers what was asked.
 * It can also be silent, cut an answer short or hang up.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

enum canned_how {
    CANNED_ANSWER,
    CANNED_CUT,     /* announces more than it sends, then hangs up */
    CANNED_SILENCE, /* reads the request and never answers */
    CANNED_HANG_UP, /* reads the request and closes the connection */
    CANNED_STREAM,  /* sends the body as a first piece and keeps the connection open */
};

struct canned_rule {
    const char *path; /* the request's path ends with this */
    const char *body;
    int status; /* 0 = 200 */
    enum canned_how how;
    unsigned times; /* how often the rule is used before the next one for the path; 0 = for ever */
};

struct canned_server;

struct canned_server *canned_server_new(sd_event *loop, const struct canned_rule *rules, size_t n_rules);
struct canned_server *canned_server_free(struct canned_server *s);
/* Other rules from now on; connections stay. */
void canned_server_replace(struct canned_server *s, const struct canned_rule *rules, size_t n_rules);
/* "http://127.0.0.1:PORT", valid as long as the server. */
const char *canned_server_url(const struct canned_server *s);
/* How many requests came whose path ends with `path`, and the last one's body and headers ("" if none). */
unsigned canned_server_count(const struct canned_server *s, const char *path);
const char *canned_server_last(const struct canned_server *s, const char *path);
/* Sends another piece on every stream. */
void canned_server_push(struct canned_server *s, const char *data);
/* Closes every connection. */
void canned_server_drop(struct canned_server *s);
