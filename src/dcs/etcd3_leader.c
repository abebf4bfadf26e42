/*
 * The leader key of the etcd3 store: acquire, renew, release. S1 rests on this file.
 *
 * The leader key hangs on a lease of its own, with an id that we choose: then the answer to the grant may be lost
 * without the lease being lost, a grant may be sent twice (the second copy says that the lease exists), and a key that
 * hangs on the lease can only have come from this very acquisition.
 *
 * How long does a renewal hold? etcd's lessor keeps expiry times only on the raft leader ("primary"), refreshes them
 * there without going through raft (lease/lessor.go, Renew), and writes them anew, ttl + election timeout from then on,
 * when a member becomes the primary (Promote, called when the first entry of its own term is applied:
 * etcdserver/server.go, applyEntryNormal). So a keepalive sent at S and answered by P with a ttl means:
 *  - if P is the primary until the lease ends: it ends at S + ttl at the earliest;
 *  - if another member Q is promoted after S: at promotion + ttl, which is later;
 *  - if Q had been promoted before S, that is, P is an old leader which does not know it yet (it was stopped, or is cut
 *    off), then Q never heard of this keepalive and may end the lease at any time. The leader key still being there
 *    when we look at it afterwards does not exclude that.
 * The third case is told from the others by the raft terms in the answers' headers. They are the term of the last entry
 * the answering member had applied. Q's promotion needs an applied, hence committed, entry of Q's term; a linearizable
 * read sent after S sees at least that entry, so its header has a term of Q's or higher. The header of the keepalive is
 * filled before the renewal, and an entry of a higher term is applied only after the member has demoted its lessor, so
 * its term is at most that of P's own leadership, which is lower than Q's. (If the keepalive was forwarded, by a
 * follower F to the leader it knows, then the header has F's term, which is at most that leader's.) Hence: equal terms
 * in both headers exclude the third case; with unequal terms the keepalive is repeated.
 *
 * What is left: etcd before 3.4.31 and 3.5.13 may let an old leader revoke leases through the new one
 * (etcd-io/etcd#15247); with leases of more than five minutes and lease checkpoints on, a promotion continues from the
 * last checkpoint instead of a full ttl; a gRPC proxy coalesces keepalives of several clients.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "base/clock.h"
#include "dcs/codec_internal.h"
#include "dcs/etcd3_internal.h"

/* An election takes about a second; until it is over, keepalive and check may disagree. */
enum { RENEW_ROUNDS_MAX = 10 };

static struct etcd3_op *op_of(struct etcd3_call *c)
{
    return (struct etcd3_op *)(void *)c;
}

static struct etcd3_op *leader_op_new(struct dcs *d, const char *name, uint64_t deadline_us, dcs_done_fn done,
                                      void *userdata)
{
    struct etcd3_op *op = etcd3_op_new(d, deadline_us, done, userdata);

    if (op)
        (void)text_copy(op->name, sizeof(op->name), name);
    return op;
}

/* Is the leader key, as a range request found it, ours under this session? 1, 0 (then *err says whose), or -errno. */
static int is_ours(const struct etcd3_op *op, const json_t *range, struct err *err)
{
    struct etcd3_kv kv;
    int r = etcd3_read_single(range, &kv);

    if (r == 0) {
        (void)err_set(err, -ENOENT, "the leader key is gone");
        return 0;
    }
    if (r < 0)
        return err_set(err, r, "the leader key is unreadable");
    r = kv.value_len == strlen(op->name) && memcmp(kv.value, op->name, kv.value_len) == 0 && kv.lease == op->session;
    if (r == 0 && strcmp(kv.value, op->name) == 0)
        (void)err_set(err, -EPERM, "the leader key has our name, but hangs on another lease");
    else if (r == 0)
        (void)err_set(err, -EPERM, "the leader key belongs to \"%.64s\"", kv.value);
    etcd3_kv_done(&kv);
    return r;
}

/* --- acquire --------------------------------------------------------------------------------------------------------
 */

static void acquired(struct etcd3_op *op)
{
    op->e->leader_session = op->session;
    op->e->leader_ttl_us = op->ttl_us;
    op->answer.session = op->session;
    etcd3_op_answer(op, DCS_DONE, NULL);
}

/*
 * The lease is revoked whenever the key is not ours for certain: a request that is still on its way then cannot create
 * a leader key that nobody knows to hold, and one that was executed is undone.
 */
static void not_acquired(struct etcd3_op *op, enum dcs_outcome outcome, const struct err *err)
{
    etcd3_revoke(op->e, op->session, op->ttl_us);
    op->answer.ttl_us = 0;
    etcd3_op_answer(op, outcome, err);
}

static void on_acquire_txn(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_op *op = op_of(c);
    struct err err = reply->err;
    int r;

    if (reply->kind != ETCD3_OK) {
        not_acquired(op, DCS_UNKNOWN, &err);
        return;
    }
    if (json_is_true(json_object_get(reply->json, "succeeded"))) {
        op->answer.revision = reply->header.revision;
        acquired(op);
        return;
    }
    /* Sent twice, the first copy may be what made the second one fail. */
    r = is_ours(op, etcd3_failure_range(reply->json), &err);
    if (r > 0) {
        acquired(op);
        return;
    }
    if (r == 0 && err.code == -ENOENT)
        (void)err_set(&err, -ESTALE, "the key \"%s\" was written since the store was read", op->guard.key);
    not_acquired(op, r == 0 ? DCS_REFUSED : DCS_UNKNOWN, &err);
}

static void create_leader_key(struct etcd3_op *op, etcd3_reply_fn next)
{
    struct textbuf body = {0};

    textbuf_puts(&body, "{\"compare\":[{\"target\":\"CREATE\",\"create_revision\":\"0\",\"key\":\"");
    etcd3_put_key(&body, op->e, "leader");
    textbuf_puts(&body, "\"}");
    if (op->guard.key) {
        textbuf_printf(&body, ",{\"target\":\"MOD\",\"mod_revision\":\"%" PRIu64 "\",\"key\":\"", op->guard.revision);
        etcd3_put_key(&body, op->e, op->guard.key);
        textbuf_puts(&body, "\"}");
    }
    textbuf_puts(&body, "],\"success\":[{\"request_put\":{\"key\":\"");
    etcd3_put_key(&body, op->e, "leader");
    textbuf_puts(&body, "\",\"value\":\"");
    etcd3_put_base64(&body, op->name);
    textbuf_printf(&body, "\",\"lease\":\"%" PRIu64 "\"}}],\"failure\":[{\"request_range\":{\"key\":\"", op->session);
    etcd3_put_key(&body, op->e, "leader");
    textbuf_puts(&body, "\"}}]}");
    etcd3_op_call(op, "/kv/txn", &body, true, next);
}

static void on_leader_grant(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_op *op = op_of(c);
    uint64_t granted_us = op->ttl_us;

    /* "Exists": an earlier copy of this request was executed. The lease then counts from the first attempt. */
    op->answer.sent_at_us = reply->kind == ETCD3_OK ? reply->sent_at_us : reply->first_sent_at_us;
    if (reply->kind == ETCD3_OK)
        granted_us = etcd3_read_ttl_us(reply->json);
    if ((reply->kind != ETCD3_OK && reply->kind != ETCD3_LEASE_EXISTS) || granted_us == 0) {
        struct err err = reply->err;

        if (!err.code)
            (void)err_set(&err, -EBADMSG, "the store granted a lease without a ttl");
        not_acquired(op, DCS_UNKNOWN, &err);
        return;
    }
    op->answer.ttl_us = granted_us < op->ttl_us ? granted_us : op->ttl_us;
    create_leader_key(op, on_acquire_txn);
}

void etcd3_acquire_leader(struct dcs *d, const char *name, uint64_t ttl_us, struct dcs_guard guard,
                          uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    struct etcd3_op *op = leader_op_new(d, name, deadline_us, done, userdata);
    struct textbuf body = {0};
    uint64_t ttl_s = ttl_us / USEC_PER_SEC;

    if (!op)
        return;
    op->session = etcd3_random_session();
    op->ttl_us = ttl_us;
    op->guard = guard;
    op->answer.sent_at_us = clock_now_us();
    etcd3_put_grant(&body, ttl_s ? ttl_s : 1, op->session);
    etcd3_op_call(op, "/lease/grant", &body, true, on_leader_grant);
}

/* --- reclaim --------------------------------------------------------------------------------------------------------
 *
 * The key is gone although nobody else could have led: created again, on a lease of the same id, since that is what the
 * keeper is armed for. Nothing is said about how long it holds, the renewal that follows does that. Nor is anything
 * revoked when it fails: another try uses the same lease, and a revocation that comes late would take its key away.
 */

static void on_reclaim_txn(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_op *op = op_of(c);
    struct err err = reply->err;
    int r = -EAGAIN;

    if (reply->kind == ETCD3_OK && json_is_true(json_object_get(reply->json, "succeeded")))
        r = 1;
    else if (reply->kind == ETCD3_OK) /* by an earlier copy of this request, perhaps */
        r = is_ours(op, etcd3_failure_range(reply->json), &err);
    if (r > 0) {
        op->e->leader_session = op->session;
        op->e->leader_ttl_us = op->ttl_us;
        etcd3_op_answer(op, DCS_DONE, NULL);
    } else {
        etcd3_op_answer(op, r == 0 && err.code != -ENOENT ? DCS_REFUSED : DCS_UNKNOWN, &err);
    }
}

static void on_reclaim_grant(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_op *op = op_of(c);

    /* "Exists": only the key had gone. */
    if (reply->kind == ETCD3_OK || reply->kind == ETCD3_LEASE_EXISTS)
        create_leader_key(op, on_reclaim_txn);
    else
        etcd3_op_answer(op, DCS_UNKNOWN, &reply->err);
}

void etcd3_reclaim_leader(struct dcs *d, const char *name, uint64_t session, uint64_t ttl_us, uint64_t deadline_us,
                          dcs_done_fn done, void *userdata)
{
    struct etcd3_op *op = leader_op_new(d, name, deadline_us, done, userdata);
    struct textbuf body = {0};
    uint64_t ttl_s = ttl_us / USEC_PER_SEC;

    if (!op)
        return;
    op->session = op->answer.session = session;
    op->ttl_us = ttl_us;
    op->answer.sent_at_us = clock_now_us();
    etcd3_put_grant(&body, ttl_s ? ttl_s : 1, session);
    etcd3_op_call(op, "/lease/grant", &body, true, on_reclaim_grant);
}

/* --- renew ----------------------------------------------------------------------------------------------------------
 */

static void send_keepalive(struct etcd3_op *op);

static void renewed(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;

    if (e->leader_session == op->session && e->leader_ttl_us && op->answer.ttl_us > e->leader_ttl_us)
        op->answer.ttl_us = e->leader_ttl_us;
    etcd3_op_answer(op, DCS_DONE, NULL);
}

/* Keepalive and check contradict each other, as they may around an election: both again. */
static void renew_again(struct etcd3_op *op, const char *why)
{
    struct err err;

    if (++op->rounds < RENEW_ROUNDS_MAX && clock_now_us() < op->deadline_us) {
        send_keepalive(op);
        return;
    }
    (void)err_set(&err, -EAGAIN, "%s", why);
    etcd3_op_answer(op, DCS_UNKNOWN, &err);
}

static void on_renew_check(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_op *op = op_of(c);
    struct err err = reply->err;
    int r;

    if (reply->kind != ETCD3_OK) {
        etcd3_op_answer(op, DCS_UNKNOWN, &err);
        return;
    }
    r = is_ours(op, reply->json, &err);
    if (r < 0)
        etcd3_op_answer(op, DCS_UNKNOWN, &err);
    else if (r == 0)
        etcd3_op_answer(op, DCS_REFUSED, &err);
    else if (!op->lease_is_in)
        /* Whoever said that the lease is gone was out of date: the key still hangs on it. */
        renew_again(op, "the store says that the lease is gone, but the leader key still hangs on it");
    else if (op->raft_term == 0 || op->raft_term != reply->header.raft_term)
        renew_again(op, "the etcd leader changed while the lease was renewed");
    else
        renewed(op);
}

static void check_leader_key(struct etcd3_op *op)
{
    struct textbuf body = {0};

    textbuf_puts(&body, "{\"key\":\"");
    etcd3_put_key(&body, op->e, "leader");
    textbuf_puts(&body, "\",\"serializable\":false}");
    etcd3_op_call(op, "/kv/range", &body, true, on_renew_check);
}

static void on_leader_keepalive(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_op *op = op_of(c);
    struct err err = reply->err;
    uint64_t id = 0;

    if (reply->kind == ETCD3_OK && (!codec_json_u64(json_object_get(reply->json, "ID"), &id) || id != op->session))
        (void)err_set(&err, -EBADMSG, "the store answered for another lease than asked");
    if (err.code) {
        etcd3_op_answer(op, DCS_UNKNOWN, &err);
        return;
    }
    op->answer.sent_at_us = reply->sent_at_us;
    op->answer.ttl_us = etcd3_read_ttl_us(reply->json);
    op->lease_is_in = op->answer.ttl_us > 0;
    op->raft_term = reply->header.raft_term;
    check_leader_key(op);
}

static void send_keepalive(struct etcd3_op *op)
{
    struct textbuf body = {0};

    etcd3_put_session(&body, op->session);
    etcd3_op_call(op, "/lease/keepalive", &body, true, on_leader_keepalive);
}

void etcd3_renew_leader(struct dcs *d, const char *name, uint64_t session, uint64_t deadline_us, dcs_done_fn done,
                        void *userdata)
{
    struct etcd3_op *op = leader_op_new(d, name, deadline_us, done, userdata);

    if (!op)
        return;
    op->session = op->answer.session = session;
    op->answer.sent_at_us = clock_now_us();
    send_keepalive(op);
}

/* --- release --------------------------------------------------------------------------------------------------------
 */

static void on_release_txn(struct etcd3_call *c, const struct etcd3_reply *reply)
{
    struct etcd3_op *op = op_of(c);
    struct err err = reply->err;
    enum dcs_outcome outcome = DCS_UNKNOWN;

    if (reply->kind == ETCD3_OK) {
        bool deleted = json_is_true(json_object_get(reply->json, "succeeded"));
        int r = deleted ? 1 : is_ours(op, etcd3_failure_range(reply->json), &err);

        /* Gone already: what was asked for, be it by the first copy of this request or by the lease's end. */
        if (deleted || (r == 0 && err.code == -ENOENT))
            outcome = DCS_DONE;
        else if (r == 0)
            outcome = DCS_REFUSED;
        op->answer.revision = deleted ? reply->header.revision : 0;
    }
    /* Nothing else hangs on this lease; after a lost answer this does what the transaction may not have done. */
    etcd3_revoke(op->e, op->session, op->e->leader_session == op->session ? op->e->leader_ttl_us : 0);
    etcd3_op_answer(op, outcome, &err);
}

void etcd3_release_leader(struct dcs *d, const char *name, uint64_t session, uint64_t deadline_us, dcs_done_fn done,
                          void *userdata)
{
    struct etcd3_op *op = leader_op_new(d, name, deadline_us, done, userdata);
    struct textbuf body = {0};

    if (!op)
        return;
    op->session = session;
    op->answer.sent_at_us = clock_now_us();
    textbuf_puts(&body, "{\"compare\":[{\"target\":\"VALUE\",\"key\":\"");
    etcd3_put_key(&body, op->e, "leader");
    textbuf_puts(&body, "\",\"value\":\"");
    etcd3_put_base64(&body, name);
    textbuf_puts(&body, "\"},{\"target\":\"LEASE\",\"key\":\"");
    etcd3_put_key(&body, op->e, "leader");
    textbuf_printf(&body, "\",\"lease\":\"%" PRIu64 "\"}],\"success\":[{\"request_delete_range\":{\"key\":\"", session);
    etcd3_put_key(&body, op->e, "leader");
    textbuf_puts(&body, "\"}}],\"failure\":[{\"request_range\":{\"key\":\"");
    etcd3_put_key(&body, op->e, "leader");
    textbuf_puts(&body, "\"}}]}");
    etcd3_op_call(op, "/kv/txn", &body, true, on_release_txn);
}
