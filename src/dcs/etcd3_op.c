/* What all operations of the etcd3 store are made of. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/clock.h"
#include "dcs/base64.h"
#include "dcs/codec_internal.h"
#include "dcs/etcd3_internal.h"

/* How long a revocation that nobody waits for is tried at most. */
#define REVOKE_TIMEOUT_US (UINT64_C(60) * USEC_PER_SEC)

struct etcd3_op *etcd3_op_new(struct dcs *d, uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    struct etcd3 *e = etcd3_from(d);
    struct etcd3_op *op = calloc(1, sizeof(*op));

    if (!op) {
        struct dcs_answer answer = {.outcome = DCS_UNKNOWN};

        (void)err_set(&answer.err, -ENOMEM, "out of memory");
        if (done)
            done(userdata, &answer);
        return NULL;
    }
    op->e = e;
    op->life = e->life;
    op->deadline_us = deadline_us;
    op->done = done;
    op->userdata = userdata;
    op->next = e->ops;
    if (op->next)
        op->next->prev = op;
    e->ops = op;
    return op;
}

void etcd3_op_call(struct etcd3_op *op, const char *method, struct textbuf *body, bool idempotent, etcd3_reply_fn next)
{
    etcd3_call_done(&op->call);
    op->call = (struct etcd3_call){.e = op->e,
                                   .method = method,
                                   .body = textbuf_take(body),
                                   .idempotent = idempotent,
                                   .deadline_us = op->deadline_us,
                                   .life = op->life,
                                   .done = next};
    etcd3_call_start(&op->call);
}

struct etcd3_op *etcd3_op_free(struct etcd3_op *op)
{
    etcd3_call_done(&op->call);
    if (op->next)
        op->next->prev = op->prev;
    if (op->prev)
        op->prev->next = op->next;
    else
        op->e->ops = op->next;
    (void)cluster_free(op->answer.cluster);
    free(op->text);
    free(op);
    return NULL;
}

void etcd3_op_answer(struct etcd3_op *op, enum dcs_outcome outcome, const struct err *err)
{
    struct dcs_answer answer = op->answer;
    dcs_done_fn done = op->done;
    void *userdata = op->userdata;

    answer.outcome = outcome;
    if (err && outcome != DCS_DONE)
        answer.err = *err;
    op->answer.cluster = NULL;
    (void)etcd3_op_free(op);
    if (done)
        done(userdata, &answer);
    else
        (void)cluster_free(answer.cluster);
}

void etcd3_put_base64(struct textbuf *b, const char *text)
{
    base64_append(b, text, strlen(text));
}

void etcd3_put_key(struct textbuf *b, const struct etcd3 *e, const char *key)
{
    char path[ETCD3_PATH_SIZE + MEMBER_NAME_SIZE];

    /* A key that does not fit must not become another one: the call then fails for want of a body. */
    if (text_print(path, sizeof(path), "%s%s", e->base_path, key))
        etcd3_put_base64(b, path);
    else
        b->failed = true;
}

void etcd3_put_grant(struct textbuf *b, uint64_t ttl_s, uint64_t session)
{
    textbuf_printf(b, "{\"TTL\":\"%" PRIu64 "\",\"ID\":\"%" PRIu64 "\"}", ttl_s, session);
}

void etcd3_put_session(struct textbuf *b, uint64_t session)
{
    textbuf_printf(b, "{\"ID\":\"%" PRIu64 "\"}", session);
}

uint64_t etcd3_random_session(void)
{
    uint64_t id = 0;

    /* Up to 256 bytes come whole and without waiting once the kernel's generator is seeded, getrandom(2). */
    while (id == 0) {
        ssize_t n = getrandom(&id, sizeof(id), 0);

        assert(n == (ssize_t)sizeof(id));
        (void)n;
        id &= INT64_MAX;
    }
    return id;
}

static void on_revoked(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    /* If it failed to the end, the lease has run out or will. */
    (void)reply;
    etcd3_op_answer((struct etcd3_op *)(void *)c, DCS_DONE, NULL);
}

void etcd3_revoke(struct etcd3 *e, uint64_t session, uint64_t ttl_us)
{
    struct textbuf body = {0};
    struct etcd3_op *op;

    if (!session)
        return;
    if (ttl_us == 0 || ttl_us > REVOKE_TIMEOUT_US)
        ttl_us = REVOKE_TIMEOUT_US;
    op = etcd3_op_new(&e->dcs, clock_now_us() + ttl_us, NULL, NULL);
    if (!op)
        return;
    etcd3_put_session(&body, session);
    etcd3_op_call(op, "/lease/revoke", &body, true, on_revoked);
}

uint64_t etcd3_read_ttl_us(const json_t *json)
{
    uint64_t ttl_s;

    if (!codec_json_u64(json_object_get(json, "TTL"), &ttl_s) || ttl_s > UINT32_MAX)
        return 0;
    return ttl_s * USEC_PER_SEC;
}
