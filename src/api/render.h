/*
 * What this node says about itself and its cluster, as text: JSON bodies in Patroni's field order and spelling (with
 * the separators of Python's json.dumps), metrics for Prometheus, and a page for people. Pure functions of the status
 * and the instant of asking. Each returns a string that the caller frees, or NULL when memory ran out.
 */
#pragma once
#include <stdint.h>
#include "model/node.h"

/* Body of GET /patroni and of the health endpoints. */
char *render_status(const struct node_status *n, uint64_t now_us);

/* Body of GET /cluster; the node must have a view of the store. */
char *render_cluster(const struct node_status *n);

/* Body of GET /failsafe: names and URLs; NULL also when there is no list. */
char *render_failsafe(const struct node_status *n);

/* A JSON text of the store with the separators of the API; NULL with errno EINVAL if it is not an object or array. */
char *render_json_text(const char *text);

/* Body of GET /metrics, Prometheus text format 0.0.4. */
char *render_metrics(const struct node_status *n, uint64_t now_us);

/* The status page: HTML that refreshes itself. */
char *render_page(const struct node_status *n, uint64_t now_us);
