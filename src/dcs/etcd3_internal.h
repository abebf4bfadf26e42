/*
 * What the files of the etcd3 store share; not for other folders.
 *
 * Three layers: endpoints (whom to ask), calls (one request of the JSON gateway, with everything it takes to get a
 * usable answer: API prefix, token, retries, guard), operations (the functions of dcs.h, made of calls).
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "base/text.h"
#include "dcs/dcs.h"
#include "dcs/etcd3_answer.h"
#include "io/http.h"

enum { ETCD3_ENDPOINTS_MAX = 32, ETCD3_PATH_SIZE = 512 };

/* --- endpoints ------------------------------------------------------------------------------------------------------
 */

struct etcd3_endpoint {
    char *url;
    bool configured;         /* stays, whatever the members say */
    uint64_t answered_at_us; /* 0 = never */
    uint64_t failed_at_us;   /* 0 = not since it last answered */
    char failure[160];
    bool is_strange; /* its last answer was that of another cluster, or of an earlier term */
};

struct etcd3_endpoints {
    struct etcd3_endpoint items[ETCD3_ENDPOINTS_MAX];
    size_t n;
    size_t preferred; /* who answered last: the next call begins there */
};

/* Adds a base URL; a known one is left alone. Returns 0, -ENOSPC or -ENOMEM. */
int etcd3_endpoints_add(struct etcd3_endpoints *l, const char *url, bool configured);
void etcd3_endpoints_done(struct etcd3_endpoints *l);
void etcd3_endpoints_answered(struct etcd3_endpoints *l, const char *url, uint64_t now_us);
void etcd3_endpoints_failed(struct etcd3_endpoints *l, const char *url, const char *why, uint64_t now_us);
/* The order to ask in: the preferred one, the others, last those that failed lately. Borrowed URLs, NULL-terminated. */
void etcd3_endpoints_order(const struct etcd3_endpoints *l, uint64_t now_us, const char *ret[ETCD3_ENDPOINTS_MAX + 1]);
/*
 * Takes over what /cluster/member/list says. Left out are addresses that can only be meant for the member's own host,
 * and plain text where the configured endpoints are encrypted.
 */
void etcd3_endpoints_discovered(struct etcd3_endpoints *l, const json_t *members);
void etcd3_endpoints_describe(const struct etcd3_endpoints *l, uint64_t now_us, char *buf, size_t size);

/* --- calls ----------------------------------------------------------------------------------------------------------
 */

struct etcd3;
struct etcd3_call;

/* Borrowed until the callback returns. */
struct etcd3_reply {
    enum etcd3_kind kind; /* ETCD3_OK, _NO_LEASE, _LEASE_EXISTS or _FAILED: all else is dealt with below */
    struct err err;       /* unless ETCD3_OK */
    const json_t *json;   /* on ETCD3_OK */
    struct etcd3_header header;
    uint64_t sent_at_us;       /* instant before the attempt that was answered */
    uint64_t first_sent_at_us; /* instant before the first attempt */
};

typedef void (*etcd3_reply_fn)(struct etcd3_call *c, const struct etcd3_reply *reply);

struct etcd3_call {
    /* Filled by the caller. */
    struct etcd3 *e;
    const char *method; /* "/kv/range", static */
    char *body;         /* JSON, owned; NULL = memory ran out, the call then fails from the loop */
    bool idempotent;    /* may be executed twice: hedged, and retried whatever became of the last attempt */
    uint64_t deadline_us;
    etcd3_reply_fn done;
    http_data_fn on_data; /* the answer is an endless stream: no deadline once it is sent, done() only at its end */
    uint64_t life;        /* of the store it is for, struct etcd3; 0 = whichever there is */
    const char *endpoint; /* ask only this one, borrowed; NULL = all */

    /* Its own. */
    enum etcd3_step { ETCD3_STEP_VERSION, ETCD3_STEP_TOKEN, ETCD3_STEP_REQUEST } step;
    struct http_request *request;
    sd_event_source *timer;
    unsigned failures, pauses, auth_rounds;
    uint64_t token_generation; /* of the token that was sent */
    uint64_t sent_at_us, first_sent_at_us;
    struct err err;
    bool giving_up;
};

/* Answers exactly once through c->done, from the loop; the callback may free or restart the call. */
void etcd3_call_start(struct etcd3_call *c);
/* etcd3_guard.c: 0, or -EREMCHG or -ESTALE when this answer is not to be believed. */
int etcd3_guard(struct etcd3 *e, const json_t *json, const char *url, struct err *err);
/* What is there now is not what was there: begins a new life. */
void etcd3_replaced(struct etcd3 *e);
/* The token is of no use any more: the next call fetches a new one. */
void etcd3_forget_token(struct etcd3 *e);
/* Stops a call that has not answered (no callback) and releases what it owns. */
void etcd3_call_done(struct etcd3_call *c);

/* --- the store ------------------------------------------------------------------------------------------------------
 */

struct etcd3_watch;
struct etcd3_op;

struct etcd3 {
    struct dcs dcs; /* first: dcs.h hands out its address */
    sd_event *loop;
    struct http *http;
    char base_path[ETCD3_PATH_SIZE]; /* "/service/demo/" */
    char *username, *password;       /* NULL = no authentication */

    struct etcd3_endpoints endpoints;
    bool discover;
    bool discovery_wanted; /* something failed: the list may be out of date */
    uint64_t discovered_at_us;
    struct etcd3_call discovery;

    const char *prefix; /* "/v3", NULL = not known yet */
    char *token;        /* NULL = none */
    uint64_t token_generation;
    const struct etcd3_call *token_call;   /* it is asking for a token; NULL = none is */
    uint64_t auth_refused_at_us;           /* when user or password were last refused; 0 = never */
    bool auth_off;                         /* the store said that it knows no users */
    uint64_t cluster_id;                   /* 0 = not seen yet */
    uint64_t raft_term;                    /* highest seen */
    uint64_t revision;                     /* likewise */
    uint64_t life;                         /* from 1 on; another one when the store was replaced */
    uint64_t strange_id, strange_since_us; /* endpoints that do not fit in: their cluster, and since when; 0 = none */

    uint64_t leader_session, leader_ttl_us; /* what was asked for: the store may grant more, which we do not use */

    struct { /* the member key's own lease */
        char name[MEMBER_NAME_SIZE];
        uint64_t session; /* 0 = none */
        uint64_t ttl_s;   /* asked for */
        char *json;       /* as last written under this session, NULL = to be written */
        uint64_t sequence;
    } member;

    struct etcd3_op *ops;
    struct etcd3_watch *watch;
};

static inline struct etcd3 *etcd3_from(struct dcs *d)
{
    return (struct etcd3 *)(void *)d;
}

/* One operation under way: a chain of calls, one at a time. */
struct etcd3_op {
    struct etcd3_call call; /* first: callbacks of calls get its address */
    struct etcd3 *e;
    struct etcd3_op *prev, *next;
    dcs_done_fn done; /* NULL: nobody waits for it */
    void *userdata;
    uint64_t deadline_us;
    struct dcs_answer answer; /* collected on the way */

    char name[MEMBER_NAME_SIZE];
    char *text;                     /* member JSON, owned */
    struct dcs_guard guard;         /* acquire; no key: none */
    uint64_t session, old_session;  /* old_session: to be revoked once it is of no use */
    uint64_t ttl_s, ttl_us;         /* asked for */
    uint64_t raft_term, sequence;   /* of the keepalive; of the touch */
    uint64_t life;                  /* of the store, when it began */
    uint64_t revision_before;       /* read: the highest revision that was known when it began */
    bool granted_anew, lease_is_in; /* touch; keepalive had a TTL */
    unsigned rounds;
};

/*
 * NULL when there is no memory to remember the call by; only then done() has been called from inside, there being
 * no other way to answer.
 */
struct etcd3_op *etcd3_op_new(struct dcs *d, uint64_t deadline_us, dcs_done_fn done, void *userdata);
/* Starts the next call of the operation; takes the text out of *body. */
void etcd3_op_call(struct etcd3_op *op, const char *method, struct textbuf *body, bool idempotent, etcd3_reply_fn next);
/* The last act of an operation: frees it and answers. `err` may be NULL with DCS_DONE. */
void etcd3_op_answer(struct etcd3_op *op, enum dcs_outcome outcome, const struct err *err);
struct etcd3_op *etcd3_op_free(struct etcd3_op *op);

/* Appends base64 of a key below the base path, and of a text. */
void etcd3_put_key(struct textbuf *b, const struct etcd3 *e, const char *key);
void etcd3_put_base64(struct textbuf *b, const char *text);
/* {"TTL":…,"ID":…}, {"ID":…} */
void etcd3_put_grant(struct textbuf *b, uint64_t ttl_s, uint64_t session);
void etcd3_put_session(struct textbuf *b, uint64_t session);
/* A new lease id, so that we know it even if the answer to its grant is lost. */
uint64_t etcd3_random_session(void);
/* Revokes in the background until it is done or the lease has ended by itself; 0 is fine. */
void etcd3_revoke(struct etcd3 *e, uint64_t session, uint64_t ttl_us);
/* TTL of a grant or keepalive in microseconds, 0 = none. */
uint64_t etcd3_read_ttl_us(const json_t *json);

void etcd3_acquire_leader(struct dcs *d, const char *name, uint64_t ttl_us, struct dcs_guard guard,
                          uint64_t deadline_us, dcs_done_fn done, void *userdata);
void etcd3_renew_leader(struct dcs *d, const char *name, uint64_t session, uint64_t deadline_us, dcs_done_fn done,
                        void *userdata);
void etcd3_reclaim_leader(struct dcs *d, const char *name, uint64_t session, uint64_t ttl_us, uint64_t deadline_us,
                          dcs_done_fn done, void *userdata);
void etcd3_release_leader(struct dcs *d, const char *name, uint64_t session, uint64_t deadline_us, dcs_done_fn done,
                          void *userdata);
void etcd3_touch_member(struct dcs *d, const char *name, const char *json, uint64_t ttl_us, uint64_t deadline_us,
                        dcs_done_fn done, void *userdata);

int etcd3_watch_start(struct dcs *d, void (*on_change)(void *userdata, const char *key), void *userdata,
                      struct err *err);
struct etcd3_watch *etcd3_watch_free(struct etcd3_watch *w);
/* Tells the watch that the endpoint it may be connected to does not answer. */
void etcd3_watch_endpoint_failed(struct etcd3_watch *w, const char *url);

/* dcs.c */
int etcd3_open(sd_event *loop, const struct dcs_config *config, struct dcs **ret, struct err *err);
