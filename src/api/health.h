/*
 * The codes of the health endpoints, as pure functions of what this node knows and the instant of asking. What depends
 * on holding the leader key is computed from the lease's deadline, never from a remembered role (S5). Rules: Patroni's,
 * see the endpoint table of its REST API documentation.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "api/target.h"
#include "model/node.h"

/* True while the last view of the store is recent enough to be relied on. */
bool health_view_is_valid(const struct node_status *n, uint64_t now_us);

/*
 * The role to show. A primary whose lease has run out is "demoted": by then the keeper has killed it (S3), so that what
 * we remember of it is history. In pause a primary may go on without a lease, shown only on fresh evidence.
 */
enum pg_role health_role(const struct node_status *n, uint64_t now_us);

/* True if what SQL told may be shown: the probe is fresh, the server up, and its role not history. */
bool health_sql_ok(const struct node_status *n, uint64_t now_us);

/* PG_STATE_UNKNOWN for a server that should be running but does not answer. */
enum pg_state health_state(const struct node_status *n, uint64_t now_us);

/* True if this node is a replica that /sync lists, while a synchronous mode is on. */
bool health_is_sync_standby(const struct node_status *n, uint64_t now_us);

/* 200 or 503 for the paths of the health table; 503 for any other. */
int health_code(const struct node_status *n, uint64_t now_us, const struct target *t);
/* 200 while the HA loop makes progress. */
int health_liveness_code(const struct node_status *n, uint64_t now_us);
/* 200 for a leader and for a replica that streams and is not too far behind. */
int health_readiness_code(const struct node_status *n, uint64_t now_us, const struct target *t);

/* "16MB", "10kB", "1.5 GB", "1048576" to bytes; false on anything else. */
bool health_parse_bytes(const char *s, uint64_t *ret);
