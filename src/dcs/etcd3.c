/*
 * The etcd v3 store, spoken to through its JSON gateway: opening it, reading the cluster, plain keys.
 * Facts about the gateway: etcd documentation, dev-guide/api_grpc_gateway and api_reference_v3.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "config/config.h"
#include "dcs/codec.h"
#include "dcs/etcd3_internal.h"

static struct etcd3_op *op_of(struct etcd3_call *c)
{
    return (struct etcd3_op *)(void *)c;
}

/* --- reading --------------------------------------------------------------------------------------------------------
 */

static int load_kvs(const struct etcd3 *e, const json_t *kvs, struct cluster *cluster, struct err *err)
{
    size_t base_len = strlen(e->base_path);

    if (kvs && !json_is_array(kvs))
        return err_set(err, -EBADMSG, "the list of keys is unreadable");
    for (size_t i = 0; i < json_array_size(kvs); i++) {
        struct etcd3_kv kv;
        int r = etcd3_read_kv(json_array_get(kvs, i), &kv);

        if (r < 0)
            return err_set(err, r, "a key of the cluster is unreadable");
        if (kv.key_len > base_len && strlen(kv.key) == kv.key_len && text_starts_with(kv.key, e->base_path))
            r = codec_load_key(cluster, kv.key + base_len, kv.value, kv.value_len, kv.revision, kv.lease, err);
        etcd3_kv_done(&kv);
        if (r < 0)
            return r;
    }
    codec_load_finish(cluster);
    return 0;
}

/*
 * touch_member() does not write what it has written before, so it must learn when somebody else removed the key while
 * its lease goes on (`etcdctl del`, pgtetherctl remove).
 */
static void check_own_member(struct etcd3 *e, const struct cluster *cluster)
{
    const struct member *m;

    if (!e->member.session)
        return;
    m = cluster_member(cluster, e->member.name);
    if (m && m->session == e->member.session)
        return;
    free(e->member.json);
    e->member.json = NULL;
}

static void on_range(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    CLEANUP(cluster_freep) struct cluster *cluster = NULL;
    struct etcd3_op *op = op_of(c);
    struct err err = reply->err;

    if (reply->kind == ETCD3_OK && reply->header.revision && reply->header.revision < op->revision_before) {
        /* Of one cluster a linearizable read sees everything that was answered before it was sent. */
        etcd3_replaced(op->e);
        (void)err_set(&err, -ESTALE, "the store was restored: its revision went back");
    } else if (reply->kind == ETCD3_OK && !reply->header.revision) {
        (void)err_set(&err, -EBADMSG, "the answer has no revision");
    } else if (reply->kind == ETCD3_OK) {
        cluster = cluster_new();
        if (!cluster)
            (void)err_set(&err, -ENOMEM, "out of memory");
        else if (load_kvs(op->e, json_object_get(reply->json, "kvs"), cluster, &err) < 0)
            cluster = cluster_free(cluster);
    }
    if (!cluster) {
        etcd3_op_answer(op, DCS_UNKNOWN, &err);
        return;
    }
    cluster->read_sent_at_us = reply->sent_at_us;
    cluster->revision = reply->header.revision;
    cluster->store_life = op->e->life;
    check_own_member(op->e, cluster);
    op->answer.sent_at_us = reply->sent_at_us;
    op->answer.revision = reply->header.revision;
    op->answer.cluster = STEAL(cluster);
    etcd3_op_answer(op, DCS_DONE, NULL);
}

static void etcd3_get_cluster(struct dcs *d, bool linearizable, uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    struct etcd3_op *op = etcd3_op_new(d, deadline_us, done, userdata);
    struct textbuf body = {0};
    char end[ETCD3_PATH_SIZE];

    if (!op)
        return;
    op->revision_before = linearizable ? op->e->revision : 0;
    /* The path ends with '/', and '0' is the byte after it: the range is the whole subtree. */
    (void)text_copy(end, sizeof(end), op->e->base_path);
    end[strlen(end) - 1] = '0';
    textbuf_puts(&body, "{\"key\":\"");
    etcd3_put_key(&body, op->e, "");
    textbuf_puts(&body, "\",\"range_end\":\"");
    etcd3_put_base64(&body, end);
    textbuf_printf(&body, "\",\"serializable\":%s}", linearizable ? "false" : "true");
    etcd3_op_call(op, "/kv/range", &body, true, on_range);
}

/* --- permanent keys -------------------------------------------------------------------------------------------------
 */

static void on_written(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_op *op = op_of(c);

    op->answer.sent_at_us = reply->first_sent_at_us;
    if (reply->kind != ETCD3_OK) {
        etcd3_op_answer(op, DCS_UNKNOWN, &reply->err);
        return;
    }
    /* Each write is a revision of its own, so that of the answer is that of the key. */
    op->answer.revision = reply->header.revision;
    etcd3_op_answer(op, DCS_DONE, NULL);
}

static void on_compared(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct err err;

    if (reply->kind != ETCD3_OK || json_is_true(json_object_get(reply->json, "succeeded"))) {
        on_written(c, reply);
        return;
    }
    (void)err_set(&err, -EEXIST, "the key is not as it was expected to be any more");
    etcd3_op_answer(op_of(c), DCS_REFUSED, &err);
}

/* What is there may be ours: the lease belongs to this process, and an earlier answer may have been lost. */
static void on_marked(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_op *op = op_of(c);
    bool is_ours = false;
    struct etcd3_kv kv;
    int r = 0;

    if (reply->kind == ETCD3_OK && !json_is_true(json_object_get(reply->json, "succeeded")))
        r = etcd3_read_single(etcd3_failure_range(reply->json), &kv);
    if (r > 0) {
        is_ours = kv.lease == op->session;
        op->answer.revision = kv.revision;
        etcd3_kv_done(&kv);
    }
    if (!is_ours) {
        on_compared(c, reply);
        return;
    }
    op->answer.sent_at_us = reply->first_sent_at_us;
    etcd3_op_answer(op, DCS_DONE, NULL);
}

/*
 * {"compare":[…],"success":[{"<request>":<fields>}]}; `fields` is taken over. With DCS_ABSENT_WHILE_MEMBER the answer
 * of a failed comparison has the key that is there.
 */
static void put_transaction(struct textbuf *b, const struct etcd3 *e, const char *key, enum dcs_compare compare,
                            uint64_t revision, const char *request, struct textbuf *fields)
{
    char *text = textbuf_take(fields);

    textbuf_puts(b, "{\"compare\":[{\"key\":\"");
    etcd3_put_key(b, e, key);
    if (compare == DCS_ABSENT || compare == DCS_ABSENT_WHILE_MEMBER)
        textbuf_puts(b, "\",\"target\":\"CREATE\",\"create_revision\":\"0\"}]");
    else
        textbuf_printf(b, "\",\"target\":\"MOD\",\"mod_revision\":\"%" PRIu64 "\"}]", revision);
    textbuf_printf(b, ",\"success\":[{\"%s\":%s}]", request, text ? text : "");
    if (compare == DCS_ABSENT_WHILE_MEMBER) {
        textbuf_puts(b, ",\"failure\":[{\"request_range\":{\"key\":\"");
        etcd3_put_key(b, e, key);
        textbuf_puts(b, "\"}}]");
    }
    textbuf_puts(b, "}");
    b->failed |= !text;
    free(text);
}

/*
 * Not sent twice: a copy that is held up somewhere and executed late would undo what was written after it, and of a
 * compare that failed nobody could tell whether it was our own first copy that made it fail.
 */
static void write_key(struct etcd3_op *op, const char *key, enum dcs_compare compare, uint64_t revision,
                      const char *method, const char *request, struct textbuf *fields)
{
    struct textbuf body = {0};

    if (compare == DCS_ANY) {
        etcd3_op_call(op, method, fields, false, on_written);
        return;
    }
    put_transaction(&body, op->e, key, compare, revision, request, fields);
    etcd3_op_call(op, "/kv/txn", &body, false, compare == DCS_ABSENT_WHILE_MEMBER ? on_marked : on_compared);
}

static void etcd3_put(struct dcs *d, const char *key, const char *value, enum dcs_compare compare, uint64_t revision,
                      uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    struct etcd3_op *op = etcd3_op_new(d, deadline_us, done, userdata);
    struct textbuf fields = {0};

    if (!op)
        return;
    textbuf_puts(&fields, "{\"key\":\"");
    etcd3_put_key(&fields, op->e, key);
    textbuf_puts(&fields, "\",\"value\":\"");
    etcd3_put_base64(&fields, value);
    textbuf_puts(&fields, "\"");
    if (compare == DCS_ABSENT_WHILE_MEMBER) {
        op->session = op->e->member.session;
        textbuf_printf(&fields, ",\"lease\":\"%" PRIu64 "\"", op->session);
        fields.failed |= op->session == 0; /* lease 0 would be for ever: the call fails for want of a body */
    }
    textbuf_puts(&fields, "}");
    write_key(op, key, compare, revision, "/kv/put", "request_put", &fields);
}

static void etcd3_delete(struct dcs *d, const char *key, enum dcs_compare compare, uint64_t revision,
                         uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    struct etcd3_op *op = etcd3_op_new(d, deadline_us, done, userdata);
    struct textbuf fields = {0};

    if (!op)
        return;
    textbuf_puts(&fields, "{\"key\":\"");
    etcd3_put_key(&fields, op->e, key);
    textbuf_puts(&fields, "\"}");
    write_key(op, key, compare, revision, "/kv/deleterange", "request_delete_range", &fields);
}

/* --- the rest of the interface --------------------------------------------------------------------------------------
 */

static void etcd3_adopt_session(struct dcs *d, uint64_t session, uint64_t ttl_us)
{
    struct etcd3 *e = etcd3_from(d);

    e->leader_session = session;
    e->leader_ttl_us = ttl_us;
}

static void etcd3_describe(struct dcs *d, char *buf, size_t size)
{
    etcd3_endpoints_describe(&etcd3_from(d)->endpoints, clock_now_us(), buf, size);
}

static struct dcs *etcd3_free(struct dcs *d)
{
    struct etcd3 *e;

    if (!d)
        return NULL;
    e = etcd3_from(d);
    e->watch = etcd3_watch_free(e->watch);
    etcd3_call_done(&e->discovery);
    for (struct etcd3_op *op = e->ops, *next; op; op = next) {
        next = op->next;
        (void)etcd3_op_free(op);
    }
    e->http = http_free(e->http);
    etcd3_endpoints_done(&e->endpoints);
    etcd3_forget_token(e);
    if (e->password)
        explicit_bzero(e->password, strlen(e->password));
    free(e->username);
    free(e->password);
    free(e->member.json);
    e->loop = sd_event_unref(e->loop);
    free(e);
    return NULL;
}

static const struct dcs_ops etcd3_ops = {
    .name = "etcd3",
    .free = etcd3_free,
    .get_cluster = etcd3_get_cluster,
    .acquire_leader = etcd3_acquire_leader,
    .renew_leader = etcd3_renew_leader,
    .reclaim_leader = etcd3_reclaim_leader,
    .release_leader = etcd3_release_leader,
    .touch_member = etcd3_touch_member,
    .put = etcd3_put,
    .delete = etcd3_delete,
    .watch = etcd3_watch_start,
    .adopt_session = etcd3_adopt_session,
    .describe = etcd3_describe,
};

static int copy_credentials(struct etcd3 *e, const struct dcs_config *config, struct err *err)
{
    if (!config->username)
        return 0;
    e->username = strdup(config->username);
    e->password = strdup(config->password ? config->password : "");
    return e->username && e->password ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int add_hosts(struct etcd3 *e, const struct dcs_config *config, struct err *err)
{
    /* Resolving SRV records would block the loop (res_query), and nothing else here needs a resolver. */
    if (config->srv)
        return err_set(err, -EOPNOTSUPP,
                       "cannot find the etcd cluster by DNS SRV records yet\nHINT:  List its members in hosts.");
    for (size_t i = 0; i < config->hosts.n; i++) {
        int r = etcd3_endpoints_add(&e->endpoints, config->hosts.items[i], true);

        if (r < 0)
            return err_set(err, r, r == -ENOSPC ? "more than %d hosts of the store" : "out of memory",
                           ETCD3_ENDPOINTS_MAX);
    }
    if (e->endpoints.n == 0)
        return err_set(err, -EINVAL, "no host of the store is configured");
    return 0;
}

int etcd3_open(sd_event *loop, const struct dcs_config *config, struct dcs **ret, struct err *err)
{
    struct http_tls tls = {.ca_file = config->cacert,
                           .cert_file = config->cert,
                           .key_file = config->key,
                           .key_password = config->key_password};
    CLEANUP(dcs_freep) struct dcs *d = NULL;
    struct etcd3 *e = calloc(1, sizeof(*e));
    int r;

    if (!e)
        return err_set(err, -ENOMEM, "out of memory");
    e->dcs.ops = &etcd3_ops;
    d = &e->dcs;
    e->loop = sd_event_ref(loop);
    e->life = 1;
    e->discover = config->discover_members;
    r = codec_base_path(config->namespace_, config->scope, e->base_path, sizeof(e->base_path), err);
    if (r == 0)
        r = add_hosts(e, config, err);
    if (r == 0)
        r = copy_credentials(e, config, err);
    if (r == 0)
        r = http_new(loop, &tls, &e->http, err);
    if (r < 0)
        return r;
    *ret = STEAL(d);
    return 0;
}
