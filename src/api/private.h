/* The REST server's parts and what they share; only src/api includes this. */
#pragma once
#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "api/access.h"
#include "api/api.h"
#include "api/tls.h"

struct client {
    struct MHD_Connection *connection;
    uint64_t ends_at_us;
    bool ended; /* its socket is shut, libmicrohttpd will report it closed */
    bool waits; /* for us: its time does not run */
    struct client *next;
};

struct call;

struct api {
    sd_event *loop;
    const struct config *config;
    struct api_hooks hooks;
    struct access_rules *access;
    struct MHD_Daemon *daemon;
    struct tls_files tls_files;
    int listen_fd;
    uint16_t port;
    uint64_t started_at_us;
    sd_event_source *io_source;
    sd_event_source *timeout_source;  /* when libmicrohttpd wants to be called next */
    sd_event_source *lifetime_source; /* when the oldest connection ends */
    struct client *oldest, **newest;  /* in the order of their ends */
    struct call *waiting;             /* commands that are not answered yet */
};

/* server.c: has libmicrohttpd called from the loop as soon as it can be. */
void api_run_soon(struct api *a);
/* server.c: the time of this connection runs, or stands still while it waits for us. */
void api_client_waits(struct api *a, struct MHD_Connection *connection, bool waits);

/* request.c: callbacks of libmicrohttpd, cls is the struct api. */
void *request_begin(void *cls, const char *uri, struct MHD_Connection *connection);
void request_end(void *cls, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode code);
enum MHD_Result request_more(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                             const char *version, const char *body, size_t *body_len, void **context);
/* Before the server ends: nobody waits any longer, answers that are still to come are dropped. */
void request_let_all_go(struct api *a);
