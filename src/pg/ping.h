/*
 * Does the server take new clients in? A new connection, an SSLRequest, one byte of answer: the postmaster must accept
 * and fork for it, but nobody authenticates, which is what makes a real connection expensive for both sides. PostgreSQL
 * documentation, "Message Flow", "SSL Session Encryption".
 */
#pragma once
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"

/* err->code 0: it answered. -ETIMEDOUT, -ECONNREFUSED …: it did not. Called once, from the loop. */
typedef void (*pg_ping_fn)(void *userdata, const struct err *err);
struct pg_ping;

/* host is an IP address or the directory of the server's socket. Returns 0 and gives *ret to the caller, or -errno. */
int pg_ping_start(sd_event *loop, const char *host, uint16_t port, uint64_t timeout_us, pg_ping_fn done, void *userdata,
                  struct pg_ping **ret, struct err *err);
struct pg_ping *pg_ping_free(struct pg_ping *p); /* cancels; NULL is fine */
DEFINE_CLEANUP(struct pg_ping, pg_ping_free)
