/*
 * What etcd's JSON gateway answers, as pure functions over bytes: which answers are certain, which are not (S1).
 * Rules: etcd, api/v3rpc/rpctypes/error.go (texts and gRPC codes); grpc-gateway, runtime/errors.go (how they are
 * wrapped). 64-bit numbers are strings in answers.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/core.h"

enum etcd3_kind {
    ETCD3_OK,           /* executed */
    ETCD3_NO_LEASE,     /* certainly not executed: the lease it named does not exist */
    ETCD3_LEASE_EXISTS, /* certainly not executed: the lease to be granted is there already */
    ETCD3_AUTH_NEEDED,  /* certainly not executed: a new token may help */
    ETCD3_AUTH_OFF,     /* the store knows no users */
    ETCD3_AUTH_WRONG,   /* wrong user or password */
    ETCD3_WRONG_PATH,   /* certainly not executed: the gateway of this version lives elsewhere */
    ETCD3_FAILED,       /* no telling */
};

struct etcd3_header {
    uint64_t cluster_id, revision, raft_term; /* 0 = not there */
};

/*
 * Sorts an HTTP answer into the kinds. On ETCD3_OK *ret is the caller's object, with the {"result":…} around answers of
 * streams taken off; on all else *err says what the store said.
 */
enum etcd3_kind etcd3_decode(int http_status, const char *body, size_t len, json_t **ret, struct err *err);

void etcd3_read_header(const json_t *answer, struct etcd3_header *ret);

/* "/v3" or "/v3beta" from the answer to GET /version; -EPROTONOSUPPORT when it is too old, -EAGAIN while undecided. */
int etcd3_read_version(const json_t *answer, const char **ret_prefix, struct err *err);

struct etcd3_kv {
    char *key, *value; /* terminated, owned */
    size_t key_len, value_len;
    uint64_t revision, lease;
};
void etcd3_kv_done(struct etcd3_kv *kv);
/* One element of "kvs". Returns 0, -EBADMSG or -ENOMEM. */
int etcd3_read_kv(const json_t *json, struct etcd3_kv *ret);

/* The only key of a range answer: 1 and *ret filled, 0 if the key does not exist, -EBADMSG or -ENOMEM. */
int etcd3_read_single(const json_t *range, struct etcd3_kv *ret);

/* The range in the failure branch of a transaction's answer. */
const json_t *etcd3_failure_range(const json_t *txn);
