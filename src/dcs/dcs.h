/*
 * The distributed configuration store: one small asynchronous interface, one file per kind of store behind it.
 *
 * Every call takes an absolute deadline (CLOCK_BOOTTIME) and answers exactly once, from the event loop, never from
 * inside the call. Outcomes are classified by effect, not by message: what is not certainly done or certainly refused
 * is unknown, and an unknown outcome is neither a confirmation nor a loss (S1).
 *
 * Keys are relative to the cluster's base path: "leader", "members/node1", "config" …
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "model/cluster.h"

struct dcs;
struct dcs_config; /* config/config.h */

enum dcs_outcome {
    DCS_DONE,    /* certainly done */
    DCS_REFUSED, /* certainly not done: a compare failed, the key is somebody else's, the lease is gone */
    DCS_UNKNOWN, /* no telling: timeout, odd error, truncated answer; may or may not have happened */
};

struct dcs_answer {
    enum dcs_outcome outcome;
    struct err err;      /* why, unless DCS_DONE */
    uint64_t sent_at_us; /* instant just before the first request of the call left (S1) */
    uint64_t ttl_us;     /* acquire, renew, touch_member: what the store granted, from sent_at_us at the earliest */
    /* acquire: the lease the leader key hangs on; touch_member: that of the member key; renew, whatever the outcome:
     * the one asked for */
    uint64_t session;
    uint64_t store_life;     /* as in struct cluster: which store this is an answer of */
    uint64_t revision;       /* writes: the key's new modification version */
    struct cluster *cluster; /* get_cluster: given to the callback, who frees it; NULL otherwise */
};

typedef void (*dcs_done_fn)(void *userdata, struct dcs_answer *answer);

/* What a conditional write compares with. */
enum dcs_compare {
    DCS_ANY,                 /* unconditional */
    DCS_ABSENT,              /* the key must not exist */
    DCS_ABSENT_WHILE_MEMBER, /* put: the same, and it vanishes with our member key unless it is written again; DONE
                                also when we had put it there already */
    DCS_REVISION,            /* its modification version must be the given one */
};

/* A key that nobody must have written since we read it: its revision then, 0 = it was not there. */
struct dcs_guard {
    const char *key;
    uint64_t revision;
};

struct dcs_ops {
    const char *name; /* "etcd3" */
    struct dcs *(*free)(struct dcs *d);

    /* Reads the whole subtree in one consistent read. `linearizable` false allows a member's own copy (still in order).
     */
    void (*get_cluster)(struct dcs *d, bool linearizable, uint64_t deadline_us, dcs_done_fn done, void *userdata);

    /*
     * Creates the leader key with our name if it does not exist, hanging on a lease of `ttl_us` which is used for
     * nothing else before (a new or freshly confirmed one). DONE: it is ours. REFUSED: somebody holds it, or has held
     * it since we read the store, which the guard tells: a free key may be that of a leader who came and went unseen.
     */
    void (*acquire_leader)(struct dcs *d, const char *name, uint64_t ttl_us, struct dcs_guard guard,
                           uint64_t deadline_us, dcs_done_fn done, void *userdata);
    /*
     * Refreshes the lease `session` and then checks that the leader key exists, has our name and hangs on that lease.
     * DONE only if both are certain. REFUSED: the lease is gone or the key is not ours; its err.code is -ENOENT when
     * there is no leader key at all.
     */
    void (*renew_leader)(struct dcs *d, const char *name, uint64_t session, uint64_t deadline_us, dcs_done_fn done,
                         void *userdata);
    /*
     * For a leader whose key is gone although its lease is provable without it (deleted by hand, or promised by the
     * others): creates the key again, if nobody holds it, on a lease with the id `session`. DONE: it is there, but for
     * how long only a renewal tells. REFUSED: somebody else holds it.
     */
    void (*reclaim_leader)(struct dcs *d, const char *name, uint64_t session, uint64_t ttl_us, uint64_t deadline_us,
                           dcs_done_fn done, void *userdata);
    /*
     * Deletes the leader key if it has our name and hangs on `session`. DONE also when it is gone already; REFUSED:
     * somebody else's.
     */
    void (*release_leader)(struct dcs *d, const char *name, uint64_t session, uint64_t deadline_us, dcs_done_fn done,
                           void *userdata);

    /* Writes members/<name> on a lease of ttl_us of its own, refreshed by each call; skips the write when nothing
     * changed. */
    void (*touch_member)(struct dcs *d, const char *name, const char *json, uint64_t ttl_us, uint64_t deadline_us,
                         dcs_done_fn done, void *userdata);

    /* Writes a permanent key, or with DCS_ABSENT_WHILE_MEMBER one on the lease of the last touch_member(). */
    void (*put)(struct dcs *d, const char *key, const char *value, enum dcs_compare compare, uint64_t revision,
                uint64_t deadline_us, dcs_done_fn done, void *userdata);
    void (*delete)(struct dcs *d, const char *key, enum dcs_compare compare, uint64_t revision, uint64_t deadline_us,
                   dcs_done_fn done, void *userdata);

    /* Deletes all keys of the cluster, leases or not. */
    void (*delete_cluster)(struct dcs *d, uint64_t deadline_us, dcs_done_fn done, void *userdata);

    /*
     * Calls on_change whenever leader, config, failover, sync, initialize, replica_address or a member appears, changes
     * or vanishes
     * (not for status). Reconnects by itself, forever; after a gap it calls on_change once, as anything may have
     * happened: the key is then "". on_change must not free the store.
     */
    int (*watch)(struct dcs *d, void (*on_change)(void *userdata, const char *key), void *userdata, struct err *err);

    /* Adopts a leader lease of an earlier life of this process (agent restart), told by the keeper. */
    void (*adopt_session)(struct dcs *d, uint64_t session, uint64_t ttl_us);
    /*
     * What tells this store from one that replaces it, a line of less than 128 bytes, "" = nothing is known yet; and
     * the same from an earlier life of this process, before anything was asked. Then struct cluster's store_life is 1
     * as long as it is that store.
     */
    void (*identify)(struct dcs *d, char *buf, size_t size);
    void (*recall)(struct dcs *d, const char *identity);
    /* The endpoints in use and whether each answered last, for doctor and status; textual, one line per endpoint. */
    void (*describe)(struct dcs *d, char *buf, size_t size);
};

/*
 * What every kind of store starts with. A freed store calls nobody back; dcs_free() is allowed inside a dcs_done_fn.
 * Should there be no memory to remember a call by, it is answered at once.
 */
struct dcs {
    const struct dcs_ops *ops;
};

/*
 * Opens the store described by the configuration; does not wait for it to be reachable. namespace and scope are from
 * there. Returns 0 and gives *ret to the caller, or -errno.
 */
int dcs_open(sd_event *loop, const struct dcs_config *config, struct dcs **ret, struct err *err);
struct dcs *dcs_free(struct dcs *d);
DEFINE_CLEANUP(struct dcs, dcs_free)

/* The blocking forms for pgtetherctl: runs the loop until the call answered. */
int dcs_get_cluster_sync(struct dcs *d, sd_event *loop, uint64_t timeout_us, struct cluster **ret, struct err *err);

/* Both return what is known of the outcome; err says why unless it is DCS_DONE. */
struct dcs_put {
    const char *key, *value;
    enum dcs_compare compare;
    uint64_t revision;
};
enum dcs_outcome dcs_put_sync(struct dcs *d, sd_event *loop, const struct dcs_put *put, uint64_t timeout_us,
                              struct err *err);
enum dcs_outcome dcs_delete_cluster_sync(struct dcs *d, sd_event *loop, uint64_t timeout_us, struct err *err);
