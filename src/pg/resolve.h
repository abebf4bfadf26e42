/*
 * Looking up host names in a child process ("getent ahosts"): libpq would do it in the loop, and a name server that
 * does not answer holds it up for half a minute.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"

/* Whether one of these hosts (with commas between them) would have to be looked up. */
bool resolve_is_needed(const char *hosts);

/*
 * For libpq: `hosts` and `addresses` are lists of the same length, each host as often as it has addresses; what is no
 * name stays as it is. Borrowed until the callback returns; err->code 0, or -errno when none of them has an address.
 */
typedef void (*resolve_fn)(void *userdata, const char *hosts, const char *addresses, const struct err *err);
struct resolve;
int resolve_start(sd_event *loop, const char *hosts, uint64_t timeout_us, resolve_fn done, void *userdata,
                  struct resolve **ret, struct err *err);
struct resolve *resolve_free(struct resolve *r); /* no callback; NULL is fine */
