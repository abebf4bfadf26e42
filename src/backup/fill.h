/*
 * Ways to fill an empty data directory: initdb for a new cluster, a copy of a running member for a replica. Each is an
 * operation beside the loop, with progress, that can be cancelled; what a failed or cancelled one leaves is removed (it
 * created it itself; a directory that was not empty before is never touched).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "config/config.h"
#include "pg/files.h"

struct fill;

struct fill_progress {
    uint64_t done_bytes, total_bytes; /* total 0 = not known (yet) */
    char what[96];                    /* "pg_basebackup from node1" */
};

/* outcome 0: the directory is filled; -ECANCELED never comes (fill_free() calls nothing); else -errno with err. */
typedef void (*fill_done_fn)(void *userdata, int outcome, const struct err *err);

/* initdb with the configured options, superuser and password file. */
int fill_initdb(sd_event *loop, const struct config *config, const char *cgroup_procs, fill_done_fn done,
                void *userdata, struct fill **ret, struct err *err);

/*
 * Copies from a running member by the configured methods in order ("basebackup" here), two attempts five seconds apart
 * each, rate limit and options from the configuration.
 */
int fill_replica(sd_event *loop, const struct config *config, const struct pg_upstream *source,
                 const char *cgroup_procs, fill_done_fn done, void *userdata, struct fill **ret, struct err *err);

void fill_get_progress(const struct fill *f, struct fill_progress *ret);
/* Cancels if still running (children killed, partial directory removed in a child), frees. NULL is fine. */
struct fill *fill_free(struct fill *f);
DEFINE_CLEANUP(struct fill, fill_free)

/*
 * After the first start of a new cluster: creates or alters superuser, replication and rewind roles, then runs the
 * post_bootstrap script with the connection string. done as above.
 */
struct post_bootstrap;
int post_bootstrap_start(sd_event *loop, const struct config *config, const char *cgroup_procs, fill_done_fn done,
                         void *userdata, struct post_bootstrap **ret, struct err *err);
struct post_bootstrap *post_bootstrap_free(struct post_bootstrap *p);
