/*
 * One view of a cluster as the store had it: the keys of patroni-compatible layout, parsed.
 * LSNs are byte positions (0 = unknown), timelines 0 = unknown. Revisions are the store's modification versions of a
 * key, 0 when the key does not exist.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/core.h"
#include "model/failsafe.h"
#include "model/pgstate.h"
#include "model/slots.h"
#include "model/tags.h"

enum { URL_SIZE = 256, HOST_SIZE = 128, FENCE_NOTE_SIZE = 320, NODE_ID_SIZE = 72, NOTE_SIZE = 320 };

struct member {
    char name[MEMBER_NAME_SIZE];
    char conn_url[URL_SIZE]; /* postgres://host:port/database */
    char host[HOST_SIZE];    /* from conn_url; brackets of IPv6 removed */
    uint16_t port;           /* from conn_url, 5432 if it has none */
    char api_url[URL_SIZE];  /* http://host:8008/patroni */
    enum pg_state state;
    enum pg_role role;
    char version[32]; /* the Patroni version it emulates */
    struct tags tags;
    uint64_t xlog_lsn;    /* xlog_location */
    uint64_t receive_lsn; /* 0 if not published */
    uint64_t replay_lsn;
    uint32_t timeline;
    bool streaming; /* replication_state is "streaming" */
    char replication_state[32];
    bool pause;
    bool pending_restart;
    bool checkpoint_pending; /* checkpoint_after_promote:false was published */
    int64_t fence_at_s;      /* pgtether's own: when its host was last reset under a lease; 0 = not lately */
    char fence_note[FENCE_NOTE_SIZE];
    char note[NOTE_SIZE];    /* pgtether's own: what an operator should see to, "" = nothing */
    char node[NODE_ID_SIZE]; /* pgtether's own: which node, and which life of it, has written this; "" = not said */
    uint64_t session;        /* the lease the key hangs on; 0 = none */
    char *data;              /* the JSON text as stored, owned; NULL in simulation */
};

struct leader_key {
    bool exists;
    char name[MEMBER_NAME_SIZE];
    uint64_t session; /* lease id */
    uint64_t revision;
};

struct sync_key { /* /sync; exists == false also when its leader is null */
    bool exists;
    char leader[MEMBER_NAME_SIZE];
    char *standbys; /* comma-joined names, owned; NULL = none */
    unsigned quorum;
    uint64_t revision;
};

struct failover_key {
    bool exists;                      /* a request is there: not {} */
    char leader[MEMBER_NAME_SIZE];    /* "" = manual failover */
    char candidate[MEMBER_NAME_SIZE]; /* "" = any */
    char scheduled_at[64];            /* ISO 8601 text, "" = now */
    int64_t scheduled_at_s;           /* Unix time, 0 = now */
    uint64_t revision;
};

struct history_line {
    uint32_t timeline; /* that ended */
    uint64_t switch_lsn;
    char reason[128];
    char timestamp[40];
    char new_leader[MEMBER_NAME_SIZE];
};

struct text_key { /* a key kept as text: initialize, config, failsafe, history */
    bool exists;
    char *text; /* owned, NULL when the key does not exist */
    uint64_t revision;
    uint64_t session; /* initialize: the lease it hangs on; 0 = none */
};

struct timeline_key { /* pgtether's own: the highest timeline that a leader has reserved for itself */
    bool exists;
    uint32_t timeline; /* 0 if it is not a number */
    uint64_t revision;
};

struct cluster {
    uint64_t read_sent_at_us; /* instant just before the read was sent: nothing here is older than that */
    uint64_t revision;        /* of the whole read, to start a watch from */
    uint64_t store_life; /* from 1 on; another number: the store was replaced or restored, and whoever leads may not be
                            in it */
    struct text_key initialize;
    struct text_key config;
    struct text_key history_text;
    struct text_key failsafe;
    struct text_key config_history;      /* pgtether's own: config/change_history.h */
    struct failsafe_list *failsafe_list; /* the members in it; owned, NULL = none */
    struct text_key known_text;          /* pgtether's own: who was a member when somebody led last */
    struct failsafe_list *known_list;    /* owned, NULL = none */
    struct text_key status_text;
    struct leader_key leader;
    struct timeline_key timeline;
    struct leader_key replica_address; /* pgtether's own: which standby has the addresses for replicas */
    struct sync_key sync;
    struct failover_key failover;
    uint64_t status_lsn;                /* status.optime: the leader's last known position */
    uint64_t shutdown_lsn;              /* the last record of a leader that was shut down begins there; 0 = unknown */
    uint32_t shutdown_timeline;         /* it is on that timeline; 0 = not said */
    uint64_t shutdown_session;          /* the lease under which it had led */
    struct slot_position *status_slots; /* status.slots, owned: how far slots are that others should keep */
    size_t n_status_slots;
    struct slot_name *retain_slots; /* status.retain_slots, owned: slots of members that may have vanished */
    size_t n_retain_slots;
    struct history_line *history; /* owned */
    size_t n_history;
    struct member *members; /* owned, sorted by name */
    size_t n_members;
};

struct cluster *cluster_new(void);
/* Releases what is inside, for embedded clusters; leaves it zeroed. */
void cluster_done(struct cluster *c);
struct cluster *cluster_free(struct cluster *c);
DEFINE_CLEANUP(struct cluster, cluster_free)

/* NULL if there is none of that name. */
const struct member *cluster_member(const struct cluster *c, const char *name);
/* The leader's member key; NULL if the cluster has no leader key or its member key is missing. */
const struct member *cluster_leader_member(const struct cluster *c);
/* What the leader published as the position of a slot; 0 if nothing. */
uint64_t cluster_slot_lsn(const struct cluster *c, const char *slot);
/* Last entry of the history + 1; 1 if the history is exactly []; 0 (unknown) when absent. */
uint32_t cluster_timeline(const struct cluster *c);
/* The store knows the cluster's system identifier. */
bool cluster_sysid_is_known(const struct cluster *c);
/* Valid system identifier: at least 10 decimal digits. */
bool cluster_sysid_is_valid(const char *text);
