/* What the probe asks, and how the answer is read. The reading is apart from the connection, so that it can be tested.
 */
#pragma once
#include <libpq-fe.h>
#include "base/core.h"
#include "pg/probe.h"

/* Four results, in this order: one row of facts, settings, pg_stat_replication, pg_replication_slots. */
extern const char probe_sql[];
enum { PROBE_RESULTS = 4 };

/*
 * Returns 0 and fills *ret (free with facts_done()), -EBADMSG if the answer is not what was asked for, -ENOMEM. Does
 * not set asked_at_us and server_version_num.
 */
int facts_read(PGresult *const *results, size_t n, struct pg_facts *ret, struct err *err);
void facts_done(struct pg_facts *f);
