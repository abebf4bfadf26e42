/* Reads a data directory while its server is down: pg_controldata in a child, never by touching the disk ourselves. */
#pragma once
#include <stdbool.h>
#include <systemd/sd-event.h>
#include "config/config.h"
#include "model/local.h"

/*
 * Fills only the data_dir_* and control_* fields of the struct given to the callback. outcome 0, or -errno with err
 * when the check itself failed (timeout: frozen disk). At most timeout_us.
 */
typedef void (*pg_controldata_fn)(void *userdata, int outcome, const struct local_pg *found, const struct err *err);
struct pg_controldata;
int pg_controldata_start(sd_event *loop, const struct config *config, uint64_t timeout_us, pg_controldata_fn done,
                         void *userdata, struct pg_controldata **ret, struct err *err);
struct pg_controldata *pg_controldata_free(struct pg_controldata *c); /* cancels; NULL is fine */

/* Pure: parses pg_controldata's output (LC_ALL=C) into the control_* fields. -EBADMSG if essential lines are missing.
 */
int pg_controldata_parse(const char *output, struct local_pg *ret, struct err *err);
