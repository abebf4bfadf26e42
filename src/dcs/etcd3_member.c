/*
 * The member key of the etcd3 store: kept alive with each touch, written only when it changed. Its lease is not the
 * leader key's, so that losing one is not losing the other.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "dcs/codec_internal.h"
#include "dcs/etcd3_internal.h"

/* How often a lease that vanished between grant and use is granted again. */
enum { GRANT_ROUNDS_MAX = 3 };

static void grant_lease(struct etcd3_op *op);

static struct etcd3_op *op_of(struct etcd3_call *c)
{
    return (struct etcd3_op *)(void *)c;
}

static void forget_written(struct etcd3 *e)
{
    free(e->member.json);
    e->member.json = NULL;
}

/* An older touch may still be under way; what it wrote or writes then is not to be remembered as the latest. */
static bool is_latest(const struct etcd3_op *op)
{
    return op->sequence == op->e->member.sequence;
}

static void on_member_put(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_op *op = op_of(c);
    struct etcd3 *e = op->e;

    if (reply->kind == ETCD3_NO_LEASE && ++op->rounds < GRANT_ROUNDS_MAX) {
        grant_lease(op);
        return;
    }
    if (reply->kind != ETCD3_OK) {
        etcd3_op_answer(op, DCS_UNKNOWN, &reply->err);
        return;
    }
    if (is_latest(op) && op->session == e->member.session) {
        forget_written(e);
        e->member.json = STEAL(op->text);
    }
    /* The key hangs on the new lease now; nothing vanishes with the old one. */
    etcd3_revoke(e, op->old_session, 0);
    op->answer.session = op->session;
    op->answer.revision = reply->header.revision;
    etcd3_op_answer(op, DCS_DONE, NULL);
}

/* Not sent twice: a copy executed late would bring back old data, which no later touch need correct. */
static void put_member(struct etcd3_op *op)
{
    char key[sizeof("members/") + MEMBER_NAME_SIZE];
    struct textbuf body = {0};

    forget_written(op->e);
    (void)text_print(key, sizeof(key), "members/%s", op->name);
    textbuf_puts(&body, "{\"key\":\"");
    etcd3_put_key(&body, op->e, key);
    textbuf_puts(&body, "\",\"value\":\"");
    etcd3_put_base64(&body, op->text);
    textbuf_printf(&body, "\",\"lease\":\"%" PRIu64 "\"}", op->session);
    etcd3_op_call(op, "/kv/put", &body, false, on_member_put);
}

static void on_member_grant(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_op *op = op_of(c);
    struct etcd3 *e = op->e;

    op->answer.sent_at_us = reply->first_sent_at_us;
    op->answer.ttl_us = op->ttl_s * USEC_PER_SEC; /* the store may grant more, which is not used */
    if (reply->kind != ETCD3_OK && reply->kind != ETCD3_LEASE_EXISTS) {
        etcd3_revoke(e, op->session, op->ttl_us);
        etcd3_op_answer(op, DCS_UNKNOWN, &reply->err);
        return;
    }
    e->member.session = op->session;
    e->member.ttl_s = op->ttl_s;
    (void)text_copy(e->member.name, sizeof(e->member.name), op->name);
    put_member(op);
}

static void grant_lease(struct etcd3_op *op)
{
    struct textbuf body = {0};

    op->session = etcd3_random_session();
    etcd3_put_grant(&body, op->ttl_s, op->session);
    etcd3_op_call(op, "/lease/grant", &body, true, on_member_grant);
}

static void on_member_keepalive(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_op *op = op_of(c);
    struct etcd3 *e = op->e;

    if (reply->kind != ETCD3_OK && reply->kind != ETCD3_NO_LEASE) {
        etcd3_op_answer(op, DCS_UNKNOWN, &reply->err);
        return;
    }
    op->answer.sent_at_us = reply->sent_at_us;
    op->answer.ttl_us = reply->json ? etcd3_read_ttl_us(reply->json) : 0;
    if (op->answer.ttl_us == 0) {
        grant_lease(op);
        return;
    }
    if (is_latest(op) && op->session == e->member.session && text_equal(e->member.json, op->text)) {
        op->answer.session = op->session;
        etcd3_op_answer(op, DCS_DONE, NULL);
        return;
    }
    put_member(op);
}

void etcd3_touch_member(struct dcs *d, const char *name, const char *json, uint64_t ttl_us, uint64_t deadline_us,
                        dcs_done_fn done, void *userdata)
{
    struct etcd3_op *op = etcd3_op_new(d, deadline_us, done, userdata);
    struct textbuf body = {0};
    struct etcd3 *e;

    if (!op)
        return;
    e = op->e;
    (void)text_copy(op->name, sizeof(op->name), name);
    op->text = strdup(json);
    op->ttl_us = ttl_us;
    op->ttl_s = ttl_us >= USEC_PER_SEC ? ttl_us / USEC_PER_SEC : 1;
    op->sequence = ++e->member.sequence;
    if (!op->text) {
        /* Fails from the loop, for want of a body. */
        body.failed = true;
        etcd3_op_call(op, "/kv/put", &body, false, on_member_put);
    } else if (e->member.session && e->member.ttl_s == op->ttl_s && strcmp(e->member.name, name) == 0) {
        op->session = e->member.session;
        etcd3_put_session(&body, op->session);
        etcd3_op_call(op, "/lease/keepalive", &body, true, on_member_keepalive);
    } else {
        op->old_session = e->member.session;
        grant_lease(op);
    }
}
