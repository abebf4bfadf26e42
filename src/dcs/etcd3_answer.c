#include "dcs/etcd3_answer.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "dcs/base64.h"
#include "dcs/codec_internal.h"

/* Only texts that etcd gives before or instead of executing a request may stand here. */
static const struct {
    const char *text;
    enum etcd3_kind kind;
    int code;
} certain[] = {
    {"etcdserver: requested lease not found", ETCD3_NO_LEASE, -ENOENT},
    {"etcdserver: lease already exists", ETCD3_LEASE_EXISTS, -EEXIST},
    {"etcdserver: invalid auth token", ETCD3_AUTH_NEEDED, -EACCES},
    {"etcdserver: user name is empty", ETCD3_AUTH_NEEDED, -EACCES},
    {"etcdserver: permission denied", ETCD3_AUTH_NEEDED, -EACCES},
    {"etcdserver: revision of auth store is old", ETCD3_AUTH_NEEDED, -EACCES},
    {"etcdserver: authentication is not enabled", ETCD3_AUTH_OFF, -EOPNOTSUPP},
    {"etcdserver: authentication failed, invalid user ID or password", ETCD3_AUTH_WRONG, -EACCES},
};

static enum etcd3_kind sort_error(const char *text, int http_status, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(certain); i++)
        if (strcmp(text, certain[i].text) == 0) {
            (void)err_set(err, certain[i].code, "the store answered \"%s\"", text);
            return certain[i].kind;
        }
    (void)err_set(err, -EIO, "the store answered \"%.120s\" (HTTP status %d)", text, http_status);
    return ETCD3_FAILED;
}

/*
 * The text of an error object: {"error":"…","code":5,"message":"…"}, without "error" since etcd 3.6, or within a
 * stream {"error":{"grpc_code":5,"message":"…"}}. NULL if it is none.
 */
static const char *error_text(const json_t *json)
{
    const json_t *error = json_object_get(json, "error");

    if (json_is_object(error)) {
        const char *text = json_string_value(json_object_get(error, "message"));

        return text ? text : "unexplained error";
    }
    if (error)
        return json_is_string(error) ? json_string_value(error) : "unexplained error";
    if (json_object_get(json, "code") && json_object_get(json, "message"))
        return json_string_value(json_object_get(json, "message"));
    return NULL;
}

static enum etcd3_kind decode_object(int http_status, const json_t *json, json_t **ret, struct err *err)
{
    json_t *result = json_object_get(json, "result");
    const char *text = error_text(json);

    if (text)
        return sort_error(text, http_status, err);
    if (http_status != 200) {
        (void)err_set(err, -EIO, "the store answered with HTTP status %d", http_status);
        return ETCD3_FAILED;
    }
    *ret = json_incref(json_is_object(result) ? result : (json_t *)json);
    return ETCD3_OK;
}

enum etcd3_kind etcd3_decode(int http_status, const char *body, size_t len, json_t **ret, struct err *err)
{
    json_t *json = NULL;
    enum etcd3_kind kind;
    int r = codec_json(body, len, &json);

    if (r == 0 && json_is_object(json)) {
        kind = decode_object(http_status, json, ret, err);
    } else if (r != -ENOMEM && http_status == 404) {
        /* Not the gateway's own 404, which is JSON. */
        (void)err_set(err, -ENOENT, "no etcd v3 gateway answers there (HTTP status 404)");
        kind = ETCD3_WRONG_PATH;
    } else {
        (void)err_set(err, r == -ENOMEM ? r : -EBADMSG, "the answer of %zu bytes with HTTP status %d is no JSON object",
                      len, http_status);
        kind = ETCD3_FAILED;
    }
    json_decref(json);
    return kind;
}

static uint64_t number_or_zero(const json_t *object, const char *key)
{
    uint64_t number;

    return codec_json_u64(json_object_get(object, key), &number) ? number : 0;
}

void etcd3_read_header(const json_t *answer, struct etcd3_header *ret)
{
    const json_t *header = json_object_get(answer, "header");

    *ret = (struct etcd3_header){.cluster_id = number_or_zero(header, "cluster_id"),
                                 .revision = number_or_zero(header, "revision"),
                                 .raft_term = number_or_zero(header, "raft_term")};
}

int etcd3_read_version(const json_t *answer, const char **ret_prefix, struct err *err)
{
    const char *text = json_string_value(json_object_get(answer, "etcdcluster"));
    unsigned major, minor;

    if (!text || sscanf(text, "%3u.%3u", &major, &minor) != 2)
        return err_set(err, -EAGAIN, "the store has not decided on its cluster version");
    /* Comparing leases in a transaction, and users, came with 3.3. */
    if (major < 3 || (major == 3 && minor < 3))
        return err_set(err, -EPROTONOSUPPORT, "cannot use etcd with cluster version %u.%u: 3.3 is needed", major,
                       minor);
    *ret_prefix = major == 3 && minor == 3 ? "/v3beta" : "/v3";
    return 0;
}

void etcd3_kv_done(struct etcd3_kv *kv)
{
    free(kv->key);
    free(kv->value);
    *kv = (struct etcd3_kv){0};
}

static int read_bytes(const json_t *object, const char *name, char **ret, size_t *ret_len)
{
    const json_t *value = json_object_get(object, name);

    /* The gateway leaves empty fields out. */
    if (!value)
        return base64_decode("", 0, ret, ret_len);
    if (!json_is_string(value))
        return -EBADMSG;
    return base64_decode(json_string_value(value), json_string_length(value), ret, ret_len);
}

int etcd3_read_kv(const json_t *json, struct etcd3_kv *ret)
{
    struct etcd3_kv kv = {0};
    int r;

    if (!json_is_object(json))
        return -EBADMSG;
    r = read_bytes(json, "key", &kv.key, &kv.key_len);
    if (r == 0)
        r = read_bytes(json, "value", &kv.value, &kv.value_len);
    if (r < 0) {
        etcd3_kv_done(&kv);
        return r;
    }
    kv.revision = number_or_zero(json, "mod_revision");
    kv.lease = number_or_zero(json, "lease");
    *ret = kv;
    return 0;
}

int etcd3_read_single(const json_t *range, struct etcd3_kv *ret)
{
    const json_t *kvs = json_object_get(range, "kvs");
    int r;

    if (!json_is_object(range) || (kvs && !json_is_array(kvs)) || json_array_size(kvs) > 1)
        return -EBADMSG;
    if (json_array_size(kvs) == 0)
        return 0;
    r = etcd3_read_kv(json_array_get(kvs, 0), ret);
    return r < 0 ? r : 1;
}

const json_t *etcd3_failure_range(const json_t *txn)
{
    return json_object_get(json_array_get(json_object_get(txn, "responses"), 0), "response_range");
}
