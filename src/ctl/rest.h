/*
 * The REST API of the members, asked by pgtetherctl and waited for: address from the member key, credentials and TLS
 * from the configuration (ctl, else restapi).
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "ctl/ctl.h"
#include "io/http.h"

/* For what is answered at once. */
#define REST_PATIENCE_US (UINT64_C(30) * 1000000)

struct rest_call {
    const char *method;
    const char *path;    /* "/restart" */
    json_t *body;        /* given to rest_ask(), which releases it; NULL = none */
    uint64_t timeout_us; /* 0: as long as the connection lives */
};

struct rest_answer {
    int status;          /* of HTTP; 0 when nobody answered */
    char *body;          /* owned, never NULL after success */
    bool maybe_executed; /* nobody answered, but the request may have arrived */
};
void rest_answer_done(struct rest_answer *a);

/*
 * Asks one member and waits. Returns 0 when it answered, whatever the status; else -errno, and the message says who
 * could not be reached where. *ret is always initialised; release it with rest_answer_done().
 */
int rest_ask(struct ctl *ctl, const struct member *m, const struct rest_call *call, struct rest_answer *ret,
             struct err *err);

/* GET path as JSON; NULL when the member cannot be reached (err says why), or did not answer with 2xx and JSON. */
json_t *rest_get(struct ctl *ctl, const struct member *m, const char *path, struct err *err);

/* "Success: ACTION for member X" (not if `silent`), or "Failed: …"; true if the status is below 400. */
bool rest_say(const struct rest_answer *a, const struct member *m, const char *action, bool silent);
/* Warns that the member could not be reached; returns EXIT_FAILED. */
int rest_failed(const struct member *m, const char *action, const struct err *err);
/* Asks and says what came of it. Returns EXIT_DONE, as the reference also when the member refused, or EXIT_FAILED. */
int rest_tell(struct ctl *ctl, const struct member *m, const char *method, const char *path, json_t *body,
              const char *action, bool silent);

/* How the REST APIs are verified, and what this side shows. Strings are borrowed from the configuration. */
struct http_tls rest_tls(const struct ctl *ctl);

/* For those who ask several at once. The client belongs to *ctl; NULL with err when there is none. */
struct http *rest_client(struct ctl *ctl, struct err *err);
/* Scheme, host and port of an api_url. */
void rest_base_url(const char *api_url, char *buf, size_t size);
