#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "canned_http.h"
#include "config/config.h"
#include "dcs/dcs.h"
#include "dcs/etcd3_internal.h"

/* --- a store made of canned servers ---------------------------------------------------------------------------------
 */

#define VERSION                                                                                                        \
    {                                                                                                                  \
        .path = "/version", .body = "{\"etcdserver\":\"3.4.23\",\"etcdcluster\":\"3.4.0\"}"                            \
    }
#define HEADER(term)                                                                                                   \
    "{\"header\":{\"cluster_id\":\"14841639068965178418\",\"revision\":\"9\",\"raft_term\":\"" term "\"}"
#define KEEPALIVE(term, ttl)                                                                                           \
    "{\"result\":{\"header\":{\"cluster_id\":\"14841639068965178418\",\"raft_term\":\"" term "\"},\"ID\":\"77\"" ttl   \
    "}}"
/* "bm9kZTE=" is node1, "bm9kZTI=" node2; the key is /service/demo/leader. */
#define LEADER_KV(value, lease)                                                                                        \
    "{\"key\":\"L3NlcnZpY2UvZGVtby9sZWFkZXI=\",\"mod_revision\":\"5\",\"value\":\"" value "\",\"lease\":\"" lease "\"" \
    "}"
#define RANGE(term, kv) HEADER(term) ",\"kvs\":[" kv "],\"count\":\"1\"}"
#define EMPTY_RANGE(term) HEADER(term) "}"

/* What ends in "unknown" uses up its time; the rest has more of it than it needs, also under valgrind. */
enum { SHORT_MS = 300, LONG_MS = 5000 };

struct fixture {
    sd_event *loop;
    struct canned_server *servers[3];
    struct dcs *dcs;
    unsigned answers;
    struct dcs_answer answer;
    unsigned changes;
    char last_change[64];
};

static void on_answer(void *userdata, struct dcs_answer *answer)
{
    struct fixture *f = userdata;

    f->answers++;
    f->answer = *answer;
}

static uint64_t deadline_for(enum dcs_outcome want)
{
    return clock_now_us() + (want == DCS_UNKNOWN ? SHORT_MS : LONG_MS) * USEC_PER_MSEC;
}

static uint64_t soon_us(void)
{
    return deadline_for(DCS_DONE);
}

static void add_server(struct fixture *f, size_t i, const struct canned_rule *rules, size_t n)
{
    if (!f->loop)
        assert_true(sd_event_new(&f->loop) >= 0);
    f->servers[i] = canned_server_new(f->loop, rules, n);
}

static void open_store(struct fixture *f, const char *username, bool discover)
{
    char *urls[4] = {NULL};
    struct dcs_config config = {.kind = DCS_KIND_ETCD3,
                                .namespace_ = (char *)"/service/",
                                .scope = (char *)"demo",
                                .member_name = (char *)"node1",
                                .username = (char *)username,
                                .password = (char *)"secret\"",
                                .hosts = {.items = urls},
                                .discover_members = discover};
    struct err err = {0};

    for (size_t i = 0; i < 3 && f->servers[i]; i++)
        urls[config.hosts.n++] = (char *)canned_server_url(f->servers[i]);
    if (dcs_open(f->loop, &config, &f->dcs, &err) < 0)
        fail_msg("%s", err.msg);
}

static void close_all(struct fixture *f)
{
    f->dcs = dcs_free(f->dcs);
    for (size_t i = 0; i < 3; i++)
        f->servers[i] = canned_server_free(f->servers[i]);
    (void)cluster_free(f->answer.cluster);
    f->loop = sd_event_unref(f->loop);
}

/* Runs the loop until `*count` has reached `want`; the answer must never come from inside of the call. */
static void run_until(struct fixture *f, const unsigned *count, unsigned want)
{
    uint64_t end_us = clock_now_us() + 5 * USEC_PER_SEC;

    while (*count < want) {
        if (clock_now_us() > end_us)
            fail_msg("nothing came within 5 s");
        assert_true(sd_event_run(f->loop, 50 * USEC_PER_MSEC) >= 0);
    }
}

static const struct dcs_answer *wait_answer(struct fixture *f)
{
    assert_int_equal(f->answers, 0);
    run_until(f, &f->answers, 1);
    f->answers = 0;
    return &f->answer;
}

/* Runs the loop until the server was asked `want` times. */
static void wait_count(struct fixture *f, size_t server, const char *path, unsigned want)
{
    unsigned count = canned_server_count(f->servers[server], path);
    uint64_t end_us = clock_now_us() + 5 * USEC_PER_SEC;

    while (count < want) {
        if (clock_now_us() > end_us)
            fail_msg("\"%s\" was asked %u times, expected %u", path, count, want);
        assert_true(sd_event_run(f->loop, 50 * USEC_PER_MSEC) >= 0);
        count = canned_server_count(f->servers[server], path);
    }
}

/* --- renew ----------------------------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    struct canned_rule keepalive, range;
    enum dcs_outcome want;
} renew_rows[] = {
    {"lease refreshed and key ours",
     {.body = KEEPALIVE("2", ",\"TTL\":\"30\"")},
     {.body = RANGE("2", LEADER_KV("bm9kZTE=", "77"))},
     DCS_DONE},
    {"key of another member",
     {.body = KEEPALIVE("2", ",\"TTL\":\"30\"")},
     {.body = RANGE("2", LEADER_KV("bm9kZTI=", "77"))},
     DCS_REFUSED},
    {"key on another lease",
     {.body = KEEPALIVE("2", ",\"TTL\":\"30\"")},
     {.body = RANGE("2", LEADER_KV("bm9kZTE=", "78"))},
     DCS_REFUSED},
    {"key without a lease",
     {.body = KEEPALIVE("2", ",\"TTL\":\"30\"")},
     {.body = RANGE("2", "{\"key\":\"L3g=\",\"value\":\"bm9kZTE=\"}")},
     DCS_REFUSED},
    {"key gone", {.body = KEEPALIVE("2", ",\"TTL\":\"30\"")}, {.body = EMPTY_RANGE("2")}, DCS_REFUSED},
    {"lease and key gone", {.body = KEEPALIVE("2", "")}, {.body = EMPTY_RANGE("2")}, DCS_REFUSED},
    {"lease gone, key of another",
     {.body = KEEPALIVE("2", "")},
     {.body = RANGE("2", LEADER_KV("bm9kZTI=", "5"))},
     DCS_REFUSED},
    {"lease said to be gone, but the key hangs on it",
     {.body = KEEPALIVE("2", "")},
     {.body = RANGE("2", LEADER_KV("bm9kZTE=", "77"))},
     DCS_UNKNOWN},
    {"ttl of zero, but the key hangs on it",
     {.body = KEEPALIVE("2", ",\"TTL\":\"0\"")},
     {.body = RANGE("2", LEADER_KV("bm9kZTE=", "77"))},
     DCS_UNKNOWN},
    {"negative ttl",
     {.body = KEEPALIVE("2", ",\"TTL\":\"-1\"")},
     {.body = RANGE("2", LEADER_KV("bm9kZTE=", "77"))},
     DCS_UNKNOWN},
    {"keepalive of an old leader",
     {.body = KEEPALIVE("2", ",\"TTL\":\"30\"")},
     {.body = RANGE("3", LEADER_KV("bm9kZTE=", "77"))},
     DCS_UNKNOWN},
    {"no raft term at all",
     {.body = "{\"result\":{\"ID\":\"77\",\"TTL\":\"30\"}}"},
     {.body = "{\"kvs\":[" LEADER_KV("bm9kZTE=", "77") "]}"},
     DCS_UNKNOWN},
    {"keepalive of another lease",
     {.body = "{\"result\":{\"ID\":\"78\",\"TTL\":\"30\"}}"},
     {.body = RANGE("2", LEADER_KV("bm9kZTE=", "77"))},
     DCS_UNKNOWN},
    {"keepalive silent", {.how = CANNED_SILENCE}, {.body = EMPTY_RANGE("2")}, DCS_UNKNOWN},
    {"keepalive hangs up", {.how = CANNED_HANG_UP}, {.body = EMPTY_RANGE("2")}, DCS_UNKNOWN},
    {"keepalive cut",
     {.body = KEEPALIVE("2", ",\"TTL\":\"30\""), .how = CANNED_CUT},
     {.body = EMPTY_RANGE("2")},
     DCS_UNKNOWN},
    {"keepalive no JSON", {.body = "OK"}, {.body = EMPTY_RANGE("2")}, DCS_UNKNOWN},
    {"keepalive an array", {.body = "[]"}, {.body = EMPTY_RANGE("2")}, DCS_UNKNOWN},
    {"keepalive empty", {.body = ""}, {.body = EMPTY_RANGE("2")}, DCS_UNKNOWN},
    {"not a primary lessor",
     {.body = "{\"error\":{\"grpc_code\":2,\"http_code\":500,\"message\":\"not a primary lessor\"}}"},
     {.body = EMPTY_RANGE("2")},
     DCS_UNKNOWN},
    {"unavailable",
     {.body = "{\"error\":\"etcdserver: request timed out\",\"code\":14}", .status = 503},
     {.body = EMPTY_RANGE("2")},
     DCS_UNKNOWN},
    {"proxy error page",
     {.body = "<html>502 Bad Gateway</html>", .status = 502},
     {.body = EMPTY_RANGE("2")},
     DCS_UNKNOWN},
    {"permission denied",
     {.body = "{\"error\":\"etcdserver: permission denied\",\"code\":7}", .status = 403},
     {.body = EMPTY_RANGE("2")},
     DCS_UNKNOWN},
    {"lease not found as an error",
     {.body = "{\"error\":\"etcdserver: requested lease not found\",\"code\":5}", .status = 404},
     {.body = EMPTY_RANGE("2")},
     DCS_UNKNOWN},
    {"check silent", {.body = KEEPALIVE("2", ",\"TTL\":\"30\"")}, {.how = CANNED_SILENCE}, DCS_UNKNOWN},
    {"check cut",
     {.body = KEEPALIVE("2", ",\"TTL\":\"30\"")},
     {.body = RANGE("2", LEADER_KV("bm9kZTE=", "77")), .how = CANNED_CUT},
     DCS_UNKNOWN},
    {"check unreadable", {.body = KEEPALIVE("2", ",\"TTL\":\"30\"")}, {.body = RANGE("2", "7")}, DCS_UNKNOWN},
    {"check with two keys", {.body = KEEPALIVE("2", ",\"TTL\":\"30\"")}, {.body = RANGE("2", "{},{}")}, DCS_UNKNOWN},
    {"check with broken base64",
     {.body = KEEPALIVE("2", ",\"TTL\":\"30\"")},
     {.body = RANGE("2", LEADER_KV("bm9kZTE", "77"))},
     DCS_UNKNOWN},
    {"check failed",
     {.body = KEEPALIVE("2", ",\"TTL\":\"30\"")},
     {.body = "{\"error\":\"etcdserver: no leader\",\"code\":14}", .status = 503},
     DCS_UNKNOWN},
};

static void test_etcd3_renew_answers_done_or_refused_only_when_certain(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(renew_rows); i++) {
        struct canned_rule rules[] = {VERSION, renew_rows[i].keepalive, renew_rows[i].range};
        struct fixture f = {0};
        uint64_t begin_us, deadline_us;

        rules[1].path = "/lease/keepalive";
        rules[2].path = "/kv/range";
        add_server(&f, 0, rules, ARRAY_LEN(rules));
        open_store(&f, NULL, false);
        begin_us = clock_now_us();
        deadline_us = deadline_for(renew_rows[i].want);
        f.dcs->ops->renew_leader(f.dcs, "node1", 77, deadline_us, on_answer, &f);
        (void)wait_answer(&f);
        if (f.answer.outcome != renew_rows[i].want)
            fail_msg("%s: got %d (%s)", renew_rows[i].name, (int)f.answer.outcome, f.answer.err.msg);
        if (f.answer.outcome == DCS_DONE) {
            assert_true(f.answer.ttl_us == 30 * USEC_PER_SEC && f.answer.session == 77);
            assert_true(f.answer.sent_at_us >= begin_us && f.answer.sent_at_us <= clock_now_us());
        } else {
            assert_true(*f.answer.err.msg && f.answer.err.code < 0);
        }
        if (clock_now_us() > deadline_us + 200 * USEC_PER_MSEC)
            fail_msg("%s: answered after the deadline", renew_rows[i].name);
        close_all(&f);
    }
}

static void test_etcd3_renew_when_the_term_changed_between_repeats_both(void **state)
{
    static const struct canned_rule rules[] = {
        VERSION,
        {.path = "/lease/keepalive", .body = KEEPALIVE("2", ",\"TTL\":\"30\""), .times = 1},
        {.path = "/lease/keepalive", .body = KEEPALIVE("3", ",\"TTL\":\"30\"")},
        {.path = "/kv/range", .body = RANGE("3", LEADER_KV("bm9kZTE=", "77"))},
    };
    struct fixture f = {0};
    uint64_t first_sent_us;

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, NULL, false);
    f.dcs->ops->adopt_session(f.dcs, 77, 20 * USEC_PER_SEC);
    first_sent_us = clock_now_us();
    f.dcs->ops->renew_leader(f.dcs, "node1", 77, soon_us(), on_answer, &f);
    assert_int_equal(wait_answer(&f)->outcome, DCS_DONE);
    assert_int_equal(canned_server_count(f.servers[0], "/lease/keepalive"), 2);
    assert_true(f.answer.sent_at_us > first_sent_us);
    /* More than was asked for is not used. */
    assert_true(f.answer.ttl_us == 20 * USEC_PER_SEC);
    close_all(&f);
}

static void test_etcd3_renew_when_the_first_endpoint_is_silent_asks_the_second(void **state)
{
    static const struct canned_rule silent[] = {VERSION, {.path = "", .how = CANNED_SILENCE}};
    static const struct canned_rule good[] = {
        VERSION,
        {.path = "/lease/keepalive", .body = KEEPALIVE("2", ",\"TTL\":\"30\"")},
        {.path = "/kv/range", .body = RANGE("2", LEADER_KV("bm9kZTE=", "77"))},
    };
    struct fixture f = {0};

    (void)state;
    add_server(&f, 0, silent, ARRAY_LEN(silent));
    add_server(&f, 1, good, ARRAY_LEN(good));
    open_store(&f, NULL, false);
    f.dcs->ops->renew_leader(f.dcs, "node1", 77, clock_now_us() + 1500 * USEC_PER_MSEC, on_answer, &f);
    assert_int_equal(wait_answer(&f)->outcome, DCS_DONE);
    /* The second one has answered, and is asked first from now on. */
    f.dcs->ops->renew_leader(f.dcs, "node1", 77, clock_now_us() + 1500 * USEC_PER_MSEC, on_answer, &f);
    assert_int_equal(wait_answer(&f)->outcome, DCS_DONE);
    assert_int_equal(canned_server_count(f.servers[0], "/lease/keepalive"), 1);
    assert_int_equal(canned_server_count(f.servers[1], "/lease/keepalive"), 2);
    close_all(&f);
}

/* --- acquire --------------------------------------------------------------------------------------------------------
 */

#define GRANTED(ttl) HEADER("2") ",\"ID\":\"1\",\"TTL\":\"" ttl "\"}"
#define TXN_REFUSED(kv) HEADER("2") ",\"responses\":[{\"response_range\":{\"kvs\":[" kv "]}}]}"

static const struct {
    const char *name;
    struct canned_rule grant, txn;
    enum dcs_outcome want;
    uint64_t want_ttl_s;
    bool revoked;
} acquire_rows[] = {
    {"created", {.body = GRANTED("30")}, {.body = HEADER("2") ",\"succeeded\":true}"}, DCS_DONE, 30, false},
    {"granted less", {.body = GRANTED("5")}, {.body = HEADER("2") ",\"succeeded\":true}"}, DCS_DONE, 5, false},
    {"granted more", {.body = GRANTED("60")}, {.body = HEADER("2") ",\"succeeded\":true}"}, DCS_DONE, 30, false},
    {"grant sent twice",
     {.body = "{\"error\":\"etcdserver: lease already exists\",\"code\":9}", .status = 412},
     {.body = HEADER("2") ",\"succeeded\":true}"},
     DCS_DONE,
     30,
     false},
    {"held by another",
     {.body = GRANTED("30")},
     {.body = TXN_REFUSED(LEADER_KV("bm9kZTI=", "5"))},
     DCS_REFUSED,
     0,
     true},
    {"our name, other lease",
     {.body = GRANTED("30")},
     {.body = TXN_REFUSED(LEADER_KV("bm9kZTE=", "5"))},
     DCS_REFUSED,
     0,
     true},
    {"refused without saying why", {.body = GRANTED("30")}, {.body = HEADER("2") "}"}, DCS_UNKNOWN, 0, true},
    {"the guard was written", {.body = GRANTED("30")}, {.body = TXN_REFUSED("")}, DCS_REFUSED, 0, true},
    {"transaction silent", {.body = GRANTED("30")}, {.how = CANNED_SILENCE}, DCS_UNKNOWN, 0, true},
    {"transaction cut",
     {.body = GRANTED("30")},
     {.body = HEADER("2") ",\"succeeded\":true}", .how = CANNED_CUT},
     DCS_UNKNOWN,
     0,
     true},
    {"lease vanished",
     {.body = GRANTED("30")},
     {.body = "{\"error\":\"etcdserver: requested lease not found\",\"code\":5}", .status = 404},
     DCS_UNKNOWN,
     0,
     true},
    {"grant silent", {.how = CANNED_SILENCE}, {.body = HEADER("2") ",\"succeeded\":true}"}, DCS_UNKNOWN, 0, true},
    {"grant without ttl",
     {.body = HEADER("2") ",\"ID\":\"1\"}"},
     {.body = HEADER("2") ",\"succeeded\":true}"},
     DCS_UNKNOWN,
     0,
     true},
    {"no space",
     {.body = "{\"error\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}", .status = 429},
     {.body = ""},
     DCS_UNKNOWN,
     0,
     true},
};

static void test_etcd3_acquire_leaves_no_lease_behind_unless_done(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(acquire_rows); i++) {
        struct canned_rule rules[] = {
            VERSION, acquire_rows[i].grant, acquire_rows[i].txn, {.path = "/lease/revoke", .body = EMPTY_RANGE("2")}};
        struct fixture f = {0};
        uint64_t begin_us;

        rules[1].path = "/lease/grant";
        rules[2].path = "/kv/txn";
        add_server(&f, 0, rules, ARRAY_LEN(rules));
        open_store(&f, NULL, false);
        begin_us = clock_now_us();
        f.dcs->ops->acquire_leader(f.dcs, "node1", 30 * USEC_PER_SEC, (struct dcs_guard){"timeline", 7},
                                   deadline_for(acquire_rows[i].want), on_answer, &f);
        (void)wait_answer(&f);
        if (f.answer.outcome != acquire_rows[i].want || f.answer.ttl_us != acquire_rows[i].want_ttl_s * USEC_PER_SEC)
            fail_msg("%s: got %d, ttl %" PRIu64 " us (%s)", acquire_rows[i].name, (int)f.answer.outcome,
                     f.answer.ttl_us, f.answer.err.msg);
        assert_true(f.answer.sent_at_us >= begin_us);
        if (acquire_rows[i].revoked)
            wait_count(&f, 0, "/lease/revoke", 1);
        else
            assert_int_equal(canned_server_count(f.servers[0], "/lease/revoke"), 0);
        assert_true((f.answer.session != 0) == (f.answer.outcome == DCS_DONE));
        close_all(&f);
    }
}

static void test_etcd3_acquire_when_its_own_first_copy_won_is_done(void **state)
{
    static const struct canned_rule good[] = {
        VERSION,
        {.path = "/lease/grant", .body = GRANTED("30")},
        {.path = "/kv/txn", .how = CANNED_SILENCE},
    };
    struct canned_rule second[] = {VERSION, {.path = "/kv/txn"}};
    char body[512], session[32];
    const char *begin;
    struct fixture f = {0};

    (void)state;
    add_server(&f, 0, good, ARRAY_LEN(good));
    open_store(&f, NULL, false);
    f.dcs->ops->acquire_leader(f.dcs, "node1", 30 * USEC_PER_SEC, (struct dcs_guard){"timeline", 0},
                               clock_now_us() + 3 * USEC_PER_SEC, on_answer, &f);
    wait_count(&f, 0, "/kv/txn", 1);
    begin = strstr(canned_server_last(f.servers[0], "/kv/txn"), "\"lease\":\"");
    assert_non_null(begin);
    assert_int_equal(sscanf(begin, "\"lease\":\"%31[0-9]", session), 1);
    /* The connection is lost, the retry finds the key that the first copy has created. */
    (void)text_print(
        body, sizeof(body),
        HEADER("2") ",\"responses\":[{\"response_range\":{\"kvs\":[{\"key\":\"L3g=\",\"value\":\"bm9kZTE=\","
                    "\"lease\":\"%s\"}]}}]}",
        session);
    second[1].body = body;
    canned_server_replace(f.servers[0], second, ARRAY_LEN(second));
    canned_server_drop(f.servers[0]);
    assert_int_equal(wait_answer(&f)->outcome, DCS_DONE);
    close_all(&f);
}

/* --- release, plain keys, member ------------------------------------------------------------------------------------
 */

static void test_etcd3_release_revokes_the_lease_whatever_the_outcome(void **state)
{
    static const struct {
        const char *name;
        struct canned_rule txn;
        enum dcs_outcome want;
    } rows[] = {
        {"deleted", {.body = HEADER("2") ",\"succeeded\":true}"}, DCS_DONE},
        {"gone already", {.body = TXN_REFUSED("")}, DCS_DONE},
        {"of another", {.body = TXN_REFUSED(LEADER_KV("bm9kZTI=", "5"))}, DCS_REFUSED},
        {"unreadable", {.body = TXN_REFUSED("1")}, DCS_UNKNOWN},
        {"silent", {.how = CANNED_SILENCE}, DCS_UNKNOWN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct canned_rule rules[] = {VERSION, rows[i].txn, {.path = "/lease/revoke", .body = EMPTY_RANGE("2")}};
        struct fixture f = {0};

        rules[1].path = "/kv/txn";
        add_server(&f, 0, rules, ARRAY_LEN(rules));
        open_store(&f, NULL, false);
        f.dcs->ops->release_leader(f.dcs, "node1", 77, deadline_for(rows[i].want), on_answer, &f);
        if (wait_answer(&f)->outcome != rows[i].want)
            fail_msg("%s: got %d (%s)", rows[i].name, (int)f.answer.outcome, f.answer.err.msg);
        wait_count(&f, 0, "/lease/revoke", 1);
        assert_non_null(strstr(canned_server_last(f.servers[0], "/lease/revoke"), "{\"ID\":\"77\"}"));
        close_all(&f);
    }
}

static void test_etcd3_write_is_never_sent_twice_when_it_may_have_been_executed(void **state)
{
    static const struct {
        struct canned_rule rule;
        enum dcs_outcome want;
    } rows[] = {
        {{.path = "/kv/txn", .body = HEADER("2") ",\"succeeded\":true}"}, DCS_DONE},
        {{.path = "/kv/txn", .body = HEADER("2") "}"}, DCS_REFUSED},
        {{.path = "/kv/txn", .how = CANNED_SILENCE}, DCS_UNKNOWN},
        {{.path = "/kv/txn", .how = CANNED_HANG_UP}, DCS_UNKNOWN},
        {{.path = "/kv/txn", .body = "{", .status = 200}, DCS_UNKNOWN},
        {{.path = "/kv/txn", .body = "{\"error\":\"etcdserver: request timed out\",\"code\":14}", .status = 503},
         DCS_UNKNOWN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct canned_rule rules[] = {VERSION, rows[i].rule};
        struct fixture f = {0};

        add_server(&f, 0, rules, ARRAY_LEN(rules));
        add_server(&f, 1, rules, ARRAY_LEN(rules));
        open_store(&f, NULL, false);
        f.dcs->ops->put(f.dcs, "sync", "{}", DCS_REVISION, 12, deadline_for(rows[i].want), on_answer, &f);
        if (wait_answer(&f)->outcome != rows[i].want)
            fail_msg("row %zu: got %d (%s)", i, (int)f.answer.outcome, f.answer.err.msg);
        assert_int_equal(canned_server_count(f.servers[0], "/kv/txn") + canned_server_count(f.servers[1], "/kv/txn"),
                         1);
        assert_true(f.answer.revision == (rows[i].want == DCS_DONE ? 9 : 0));
        close_all(&f);
    }
}

static void test_etcd3_member_is_written_only_when_something_changed(void **state)
{
    static const struct canned_rule rules[] = {
        VERSION,
        {.path = "/lease/grant", .body = GRANTED("30")},
        {.path = "/kv/put", .body = EMPTY_RANGE("2")},
        {.path = "/kv/range", .body = EMPTY_RANGE("2")},
        {.path = "/lease/revoke", .body = EMPTY_RANGE("2")},
        {.path = "/lease/keepalive", .body = KEEPALIVE("2", ",\"TTL\":\"30\""), .times = 5},
        {.path = "/lease/keepalive", .body = KEEPALIVE("2", "")},
    };
    static const struct {
        const char *name, *json;
        uint64_t ttl_s;
        bool read_before;
        unsigned grants, puts, revokes;
    } steps[] = {
        {"first", "{\"a\":1}", 30, false, 1, 1, 0},
        {"same", "{\"a\":1}", 30, false, 1, 1, 0},
        {"changed", "{\"a\":2}", 30, false, 1, 2, 0},
        {"same again", "{\"a\":2}", 30, false, 1, 2, 0},
        {"removed by somebody", "{\"a\":2}", 30, true, 1, 3, 0},
        {"same once more", "{\"a\":2}", 30, false, 1, 3, 0},
        {"lease lost", "{\"a\":2}", 30, false, 2, 4, 0},
        {"other ttl", "{\"a\":2}", 20, false, 3, 5, 1},
    };
    struct fixture f = {0};

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, NULL, false);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        if (steps[i].read_before) {
            f.dcs->ops->get_cluster(f.dcs, true, soon_us(), on_answer, &f);
            assert_int_equal(wait_answer(&f)->outcome, DCS_DONE);
            f.answer.cluster = cluster_free(f.answer.cluster);
        }
        f.dcs->ops->touch_member(f.dcs, "node1", steps[i].json, steps[i].ttl_s * USEC_PER_SEC, soon_us(), on_answer,
                                 &f);
        if (wait_answer(&f)->outcome != DCS_DONE)
            fail_msg("%s: %s", steps[i].name, f.answer.err.msg);
        wait_count(&f, 0, "/lease/revoke", steps[i].revokes);
        if (canned_server_count(f.servers[0], "/lease/grant") != steps[i].grants ||
            canned_server_count(f.servers[0], "/kv/put") != steps[i].puts)
            fail_msg("%s: %u grants, %u puts", steps[i].name, canned_server_count(f.servers[0], "/lease/grant"),
                     canned_server_count(f.servers[0], "/kv/put"));
    }
    close_all(&f);
}

static void test_etcd3_member_lease_that_vanishes_before_the_write_is_granted_again(void **state)
{
    static const struct canned_rule rules[] = {
        VERSION,
        {.path = "/lease/grant", .body = GRANTED("30")},
        {.path = "/kv/put",
         .body = "{\"error\":\"etcdserver: requested lease not found\",\"code\":5}",
         .status = 404,
         .times = 1},
        {.path = "/kv/put", .body = EMPTY_RANGE("2")},
    };
    struct fixture f = {0};

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, NULL, false);
    f.dcs->ops->touch_member(f.dcs, "node1", "{}", 30 * USEC_PER_SEC, soon_us(), on_answer, &f);
    assert_int_equal(wait_answer(&f)->outcome, DCS_DONE);
    assert_int_equal(canned_server_count(f.servers[0], "/lease/grant"), 2);
    close_all(&f);
}

/* --- reading --------------------------------------------------------------------------------------------------------
 */

static void test_etcd3_get_cluster_reads_what_is_below_the_base_path(void **state)
{
    /* leader of node1, and "/service/demo2/leader", which only begins alike. */
    static const struct canned_rule rules[] = {
        VERSION,
        {.path = "/kv/range",
         .body = HEADER("2") ",\"kvs\":[" LEADER_KV(
             "bm9kZTE=", "77") ","
                               "{\"key\":\"L3NlcnZpY2UvZGVtbzIvbGVhZGVy\",\"value\":\"bm9kZTI=\"}]}"},
    };
    struct fixture f = {0};
    uint64_t begin_us = clock_now_us();

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, NULL, false);
    f.dcs->ops->get_cluster(f.dcs, false, soon_us(), on_answer, &f);
    assert_int_equal(wait_answer(&f)->outcome, DCS_DONE);
    assert_string_equal(f.answer.cluster->leader.name, "node1");
    assert_int_equal(f.answer.cluster->leader.session, 77);
    assert_int_equal(f.answer.cluster->leader.revision, 5);
    assert_int_equal(f.answer.cluster->revision, 9);
    assert_true(f.answer.cluster->read_sent_at_us >= begin_us);
    assert_non_null(strstr(canned_server_last(f.servers[0], "/kv/range"),
                           "{\"key\":\"L3NlcnZpY2UvZGVtby8=\",\"range_end\":\"L3NlcnZpY2UvZGVtbzA=\","
                           "\"serializable\":true}"));
    close_all(&f);
}

static void test_etcd3_get_cluster_is_unknown_when_the_answer_is_damaged(void **state)
{
    static const struct canned_rule rows[] = {
        {.body = RANGE("2", LEADER_KV("bm9kZTE=", "77")), .how = CANNED_CUT},
        {.body = RANGE("2", LEADER_KV("bm9kZTE=", "77")), .how = CANNED_SILENCE},
        {.body = RANGE("2", LEADER_KV("bm9k!TE=", "77"))},
        {.body = HEADER("2") ",\"kvs\":7}"},
        {.body = "{\"kvs\":[]}"},
        {.body = "{}"},
        {.body = ""},
        {.body = EMPTY_RANGE("2"), .status = 500},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct canned_rule rules[] = {VERSION, rows[i]};
        struct fixture f = {0};

        rules[1].path = "/kv/range";
        add_server(&f, 0, rules, ARRAY_LEN(rules));
        open_store(&f, NULL, false);
        f.dcs->ops->get_cluster(f.dcs, true, deadline_for(DCS_UNKNOWN), on_answer, &f);
        if (wait_answer(&f)->outcome != DCS_UNKNOWN || f.answer.cluster || !*f.answer.err.msg)
            fail_msg("row %zu: got %d", i, (int)f.answer.outcome);
        close_all(&f);
    }
}

static void test_etcd3_get_cluster_sync_gives_the_cluster_or_the_reason(void **state)
{
    static const struct canned_rule rules[] = {
        VERSION,
        {.path = "/kv/range", .body = RANGE("2", LEADER_KV("bm9kZTE=", "77")), .times = 1},
        {.path = "/kv/range", .how = CANNED_SILENCE},
    };
    struct cluster *cluster = NULL;
    struct fixture f = {0};
    struct err err = {0};

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, NULL, false);
    assert_int_equal(dcs_get_cluster_sync(f.dcs, f.loop, USEC_PER_SEC, &cluster, &err), 0);
    assert_string_equal(cluster->leader.name, "node1");
    cluster = cluster_free(cluster);
    assert_true(dcs_get_cluster_sync(f.dcs, f.loop, 200 * USEC_PER_MSEC, &cluster, &err) < 0);
    assert_true(*err.msg && !cluster);
    close_all(&f);
}

/* --- versions, users, guard, endpoints ------------------------------------------------------------------------------
 */

static void test_etcd3_token_that_is_refused_is_replaced_and_the_call_repeated(void **state)
{
    static const struct canned_rule rules[] = {
        VERSION,
        {.path = "/auth/authenticate", .body = HEADER("2") ",\"token\":\"first.1\"}", .times = 1},
        {.path = "/auth/authenticate", .body = HEADER("2") ",\"token\":\"second.2\"}"},
        {.path = "/kv/put",
         .body = "{\"error\":\"etcdserver: invalid auth token\",\"code\":16}",
         .status = 401,
         .times = 1},
        {.path = "/kv/put", .body = EMPTY_RANGE("2")},
    };
    struct fixture f = {0};

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, "root", false);
    f.dcs->ops->put(f.dcs, "config", "{}", DCS_ANY, 0, soon_us(), on_answer, &f);
    assert_int_equal(wait_answer(&f)->outcome, DCS_DONE);
    assert_int_equal(canned_server_count(f.servers[0], "/auth/authenticate"), 2);
    assert_int_equal(canned_server_count(f.servers[0], "/kv/put"), 2);
    assert_non_null(strstr(canned_server_last(f.servers[0], "/kv/put"), "Authorization: second.2\r\n"));
    assert_non_null(strstr(canned_server_last(f.servers[0], "/auth/authenticate"),
                           "{\"name\":\"root\",\"password\":\"secret\\\"\"}"));
    close_all(&f);
}

static void test_etcd3_wrong_password_is_told_at_once(void **state)
{
    static const struct canned_rule rules[] = {
        VERSION,
        {.path = "/auth/authenticate",
         .body = "{\"error\":\"etcdserver: authentication failed, invalid user ID or password\",\"code\":3}",
         .status = 400},
    };
    struct fixture f = {0};

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, "root", false);
    f.dcs->ops->get_cluster(f.dcs, true, clock_now_us() + 60 * USEC_PER_SEC, on_answer, &f);
    assert_int_equal(wait_answer(&f)->outcome, DCS_UNKNOWN);
    assert_int_equal(f.answer.err.code, -EACCES);
    assert_null(strstr(f.answer.err.msg, "secret"));
    close_all(&f);
}

static void test_etcd3_endpoint_that_lags_behind_or_is_of_another_cluster_is_not_believed(void **state)
{
    static const struct canned_rule other[] = {
        VERSION,
        {.path = "/kv/range", .body = EMPTY_RANGE("7"), .times = 1},
        {.path = "/kv/range", .body = EMPTY_RANGE("6"), .times = 1},
        {.path = "/kv/range", .body = "{\"header\":{\"cluster_id\":\"5\",\"revision\":\"9\",\"raft_term\":\"8\"}}"},
    };
    static const struct canned_rule good[] = {VERSION,
                                              {.path = "/kv/range", .body = RANGE("7", LEADER_KV("bm9kZTE=", "77"))}};
    struct fixture f = {0};
    char text[1024];

    (void)state;
    add_server(&f, 0, other, ARRAY_LEN(other));
    open_store(&f, NULL, false);
    f.dcs->ops->get_cluster(f.dcs, true, soon_us(), on_answer, &f);
    assert_int_equal(wait_answer(&f)->outcome, DCS_DONE);
    f.answer.cluster = cluster_free(f.answer.cluster);
    /* First an older term, then another cluster: nothing else is there to be asked. */
    f.dcs->ops->get_cluster(f.dcs, true, deadline_for(DCS_UNKNOWN), on_answer, &f);
    assert_int_equal(wait_answer(&f)->outcome, DCS_UNKNOWN);
    assert_int_equal(f.answer.err.code, -EREMCHG);
    f.dcs->ops->describe(f.dcs, text, sizeof(text));
    assert_non_null(strstr(text, "belongs to the etcd cluster 5"));
    f.dcs = dcs_free(f.dcs);

    /* With another one to ask, the answer comes from there. */
    add_server(&f, 1, good, ARRAY_LEN(good));
    open_store(&f, NULL, false);
    etcd3_from(f.dcs)->cluster_id = UINT64_C(14841639068965178418);
    f.dcs->ops->get_cluster(f.dcs, true, soon_us(), on_answer, &f);
    assert_int_equal(wait_answer(&f)->outcome, DCS_DONE);
    assert_string_equal(f.answer.cluster->leader.name, "node1");
    close_all(&f);
}

static enum dcs_outcome read_store(struct fixture *f)
{
    f->answer.cluster = cluster_free(f->answer.cluster);
    f->dcs->ops->get_cluster(f->dcs, true, deadline_for(DCS_UNKNOWN), on_answer, f);
    return wait_answer(f)->outcome;
}

/* For a moment it might be an endpoint gone astray; when nobody is left who belongs to the old one, that is over. */
static void test_etcd3_cluster_that_was_built_anew_is_taken_over_after_a_while(void **state)
{
    static const struct canned_rule rules[] = {
        VERSION,
        {.path = "/kv/range", .body = EMPTY_RANGE("7"), .times = 1},
        {.path = "/kv/range", .body = "{\"header\":{\"cluster_id\":\"5\",\"revision\":\"3\",\"raft_term\":\"2\"}}"},
    };
    struct fixture f = {0};
    uint64_t life, end_us = clock_now_us() + 20 * USEC_PER_SEC, began_us;

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, NULL, false);
    assert_int_equal(read_store(&f), DCS_DONE);
    life = f.answer.cluster->store_life;
    etcd3_from(f.dcs)->member.session = 77;
    began_us = clock_now_us();
    assert_int_equal(read_store(&f), DCS_UNKNOWN);
    assert_int_equal(f.answer.err.code, -EREMCHG);
    while (read_store(&f) != DCS_DONE)
        assert_true(clock_now_us() < end_us);
    assert_true(clock_now_us() - began_us >= USEC_PER_SEC);
    assert_true(f.answer.cluster->store_life != life);
    assert_int_equal(etcd3_from(f.dcs)->member.session, 0); /* its lease was the old one's */
    close_all(&f);
}

static void test_etcd3_minority_of_another_cluster_is_never_taken_over(void **state)
{
    static const struct canned_rule strange[] = {
        VERSION,
        {.path = "/kv/range", .body = "{\"header\":{\"cluster_id\":\"5\",\"revision\":\"3\",\"raft_term\":\"2\"}}"}};
    static const struct canned_rule silent[] = {VERSION, {.path = "/kv/range", .how = CANNED_HANG_UP}};
    uint64_t end_us = clock_now_us() + 2 * USEC_PER_SEC;
    struct fixture f = {0};

    (void)state;
    add_server(&f, 0, strange, ARRAY_LEN(strange));
    add_server(&f, 1, silent, ARRAY_LEN(silent));
    open_store(&f, NULL, false);
    etcd3_from(f.dcs)->cluster_id = UINT64_C(14841639068965178418);
    while (clock_now_us() < end_us)
        assert_int_equal(read_store(&f), DCS_UNKNOWN);
    assert_int_equal(etcd3_from(f.dcs)->life, 1);
    close_all(&f);
}

static void test_etcd3_store_whose_revision_goes_back_was_restored(void **state)
{
    static const struct canned_rule rules[] = {
        VERSION,
        {.path = "/kv/range", .body = EMPTY_RANGE("7"), .times = 1},
        {.path = "/kv/range",
         .body = "{\"header\":{\"cluster_id\":\"14841639068965178418\",\"revision\":\"8\",\"raft_term\":\"7\"}}"},
    };
    struct fixture f = {0};
    uint64_t life;

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, NULL, false);
    assert_int_equal(read_store(&f), DCS_DONE);
    life = f.answer.cluster->store_life;
    assert_int_equal(read_store(&f), DCS_UNKNOWN);
    assert_int_equal(f.answer.err.code, -ESTALE);
    assert_int_equal(read_store(&f), DCS_DONE);
    assert_true(f.answer.cluster->store_life != life);
    close_all(&f);
}

static void test_etcd3_store_is_recognized_by_a_successor(void **state)
{
    static const struct canned_rule first[] = {VERSION, {.path = "/kv/range", .body = EMPTY_RANGE("7")}};
    static const struct canned_rule restored[] = {
        VERSION,
        {.path = "/kv/range",
         .body = "{\"header\":{\"cluster_id\":\"14841639068965178418\",\"revision\":\"8\",\"raft_term\":\"7\"}}"}};
    struct fixture f = {0};
    char identity[128];

    (void)state;
    add_server(&f, 0, first, ARRAY_LEN(first));
    open_store(&f, NULL, false);
    f.dcs->ops->identify(f.dcs, identity, sizeof(identity));
    assert_string_equal(identity, "");
    assert_int_equal(read_store(&f), DCS_DONE);
    assert_int_equal(f.answer.cluster->store_life, 1);
    f.dcs->ops->identify(f.dcs, identity, sizeof(identity));
    f.dcs = dcs_free(f.dcs);

    open_store(&f, NULL, false);
    f.dcs->ops->recall(f.dcs, "nonsense");
    f.dcs->ops->recall(f.dcs, identity);
    assert_int_equal(read_store(&f), DCS_DONE);
    assert_int_equal(f.answer.cluster->store_life, 1);
    f.dcs = dcs_free(f.dcs);

    canned_server_replace(f.servers[0], restored, ARRAY_LEN(restored));
    open_store(&f, NULL, false);
    f.dcs->ops->recall(f.dcs, identity);
    assert_int_equal(read_store(&f), DCS_UNKNOWN);
    assert_int_equal(read_store(&f), DCS_DONE);
    assert_int_equal(f.answer.cluster->store_life, 2);
    close_all(&f);
}

/* A keepalive that the old cluster answered, a check that the new one did. */
static void test_etcd3_renewal_across_a_replacement_is_no_confirmation(void **state)
{
    static const struct canned_rule rules[] = {
        VERSION,
        {.path = "/lease/keepalive", .body = KEEPALIVE("2", ",\"TTL\":\"30\"")},
        {.path = "/kv/range", .body = RANGE("2", LEADER_KV("bm9kZTE=", "77"))},
    };
    struct fixture f = {0};

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, NULL, false);
    f.dcs->ops->renew_leader(f.dcs, "node1", 77, soon_us(), on_answer, &f);
    wait_count(&f, 0, "/lease/keepalive", 1);
    etcd3_replaced(etcd3_from(f.dcs));
    assert_int_equal(wait_answer(&f)->outcome, DCS_UNKNOWN);
    assert_int_equal(f.answer.err.code, -ESTALE);
    close_all(&f);
}

static void test_etcd3_members_are_discovered_and_used_when_the_configured_host_is_gone(void **state)
{
    static const struct canned_rule good[] = {VERSION, {.path = "/kv/range", .body = EMPTY_RANGE("2")}};
    struct canned_rule rules[] = {VERSION, {.path = "/kv/range", .body = EMPTY_RANGE("2")}, {.path = "/member/list"}};
    struct fixture f = {0};
    struct canned_server *second;
    char body[512];

    (void)state;
    assert_true(sd_event_new(&f.loop) >= 0);
    second = canned_server_new(f.loop, good, ARRAY_LEN(good));
    (void)text_print(
        body, sizeof(body),
        HEADER("2") ",\"members\":[{\"name\":\"a\",\"clientURLs\":[\"%s\",\"ftp://x\"]},{\"name\":\"new\"}]}",
        canned_server_url(second));
    rules[2].body = body;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, NULL, true);
    f.dcs->ops->get_cluster(f.dcs, true, soon_us(), on_answer, &f);
    assert_int_equal(wait_answer(&f)->outcome, DCS_DONE);
    f.answer.cluster = cluster_free(f.answer.cluster);
    while (etcd3_from(f.dcs)->endpoints.n < 2)
        assert_true(sd_event_run(f.loop, 50 * USEC_PER_MSEC) >= 0);
    assert_int_equal(etcd3_from(f.dcs)->endpoints.n, 2);

    f.servers[0] = canned_server_free(f.servers[0]);
    f.dcs->ops->get_cluster(f.dcs, true, soon_us(), on_answer, &f);
    assert_int_equal(wait_answer(&f)->outcome, DCS_DONE);
    f.dcs = dcs_free(f.dcs);
    second = canned_server_free(second);
    close_all(&f);
}

static void test_etcd3_open_refuses_what_it_cannot_do(void **state)
{
    char *hosts[] = {(char *)"http://127.0.0.1:1", NULL};
    struct dcs_config config = {.namespace_ = (char *)"service", .scope = (char *)"demo", .srv = (char *)"example.org"};
    struct dcs *d = NULL;
    struct err err = {0};
    sd_event *loop = NULL;

    (void)state;
    assert_true(sd_event_new(&loop) >= 0);
    assert_int_equal(dcs_open(loop, &config, &d, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.msg, "SRV"));
    config.srv = NULL;
    assert_int_equal(dcs_open(loop, &config, &d, &err), -EINVAL);
    config.hosts = (struct string_list){.items = hosts, .n = 1};
    config.scope = (char *)"";
    assert_int_equal(dcs_open(loop, &config, &d, &err), -EINVAL);
    assert_null(d);
    (void)sd_event_unref(loop);
}

static void test_etcd3_freed_with_calls_under_way_calls_nobody_back(void **state)
{
    static const struct canned_rule rules[] = {VERSION, {.path = "", .how = CANNED_SILENCE}};
    struct fixture f = {0};

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, NULL, false);
    f.dcs->ops->get_cluster(f.dcs, true, soon_us(), on_answer, &f);
    f.dcs->ops->acquire_leader(f.dcs, "node1", 30 * USEC_PER_SEC, (struct dcs_guard){"timeline", 0}, soon_us(),
                               on_answer, &f);
    f.dcs->ops->touch_member(f.dcs, "node1", "{}", 30 * USEC_PER_SEC, soon_us(), on_answer, &f);
    wait_count(&f, 0, "/kv/range", 1);
    f.dcs = dcs_free(f.dcs);
    for (int i = 0; i < 10; i++)
        assert_true(sd_event_run(f.loop, 50 * USEC_PER_MSEC) >= 0);
    assert_int_equal(f.answers, 0);
    close_all(&f);
}

static void free_on_answer(void *userdata, struct dcs_answer *answer)
{
    struct fixture *f = userdata;

    (void)cluster_free(answer->cluster);
    f->answers++;
    f->dcs = dcs_free(f->dcs);
}

static void test_etcd3_may_be_freed_from_inside_an_answer(void **state)
{
    static const struct canned_rule rules[] = {
        VERSION, {.path = "/kv/range", .body = EMPTY_RANGE("2"), .times = 1}, {.path = "", .how = CANNED_SILENCE}};
    struct fixture f = {0};

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    for (int silent = 0; silent < 2; silent++) {
        open_store(&f, NULL, true);
        f.dcs->ops->get_cluster(f.dcs, true, soon_us(), on_answer, &f);
        f.dcs->ops->get_cluster(f.dcs, true, deadline_for(silent ? DCS_UNKNOWN : DCS_DONE), free_on_answer, &f);
        run_until(&f, &f.answers, 1);
        f.answers = 0;
        f.dcs = dcs_free(f.dcs);
        f.answer.cluster = cluster_free(f.answer.cluster);
    }
    close_all(&f);
}

/* --- watch ----------------------------------------------------------------------------------------------------------
 */

#define CREATED                                                                                                        \
    "{\"result\":{\"header\":{\"cluster_id\":\"14841639068965178418\",\"raft_term\":\"2\"},\"created\":true}}\n"
#define EVENT(key) "{\"result\":{\"events\":[{\"kv\":{\"key\":\"" key "\",\"mod_revision\":\"9\"}}]}}\n"

static void on_change(void *userdata, const char *key)
{
    struct fixture *f = userdata;

    f->changes++;
    (void)text_copy(f->last_change, sizeof(f->last_change), key);
}

static void test_etcd3_watch_tells_of_changes_and_connects_anew_when_the_stream_ends(void **state)
{
    static const struct canned_rule rules[] = {VERSION, {.path = "/watch", .body = CREATED, .how = CANNED_STREAM}};
    struct fixture f = {0};
    struct err err = {0};

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, NULL, false);
    assert_int_equal(f.dcs->ops->watch(f.dcs, on_change, &f, &err), 0);
    run_until(&f, &f.changes, 1);
    assert_string_equal(f.last_change, "");
    /* In two pieces: status, which is of no interest, and half of the leader. */
    canned_server_push(f.servers[0], EVENT("L3NlcnZpY2UvZGVtby9zdGF0dXM=") "{\"result\":{\"events\":[{\"type\":\"DEL");
    canned_server_push(f.servers[0], "ETE\",\"kv\":{\"key\":\"L3NlcnZpY2UvZGVtby9sZWFkZXI=\"}}]}}\n");
    run_until(&f, &f.changes, 2);
    assert_string_equal(f.last_change, "leader");
    canned_server_drop(f.servers[0]);
    run_until(&f, &f.changes, 3);
    assert_string_equal(f.last_change, "");
    assert_int_equal(canned_server_count(f.servers[0], "/watch"), 2);
    /* The store ends the watch, then garbage comes: the same. */
    canned_server_push(f.servers[0], "{\"result\":{\"canceled\":true,\"compact_revision\":\"9\"}}\n");
    run_until(&f, &f.changes, 4);
    canned_server_push(f.servers[0], "garbage");
    run_until(&f, &f.changes, 5);
    assert_int_equal(canned_server_count(f.servers[0], "/watch"), 4);
    close_all(&f);
}

static void test_etcd3_watch_goes_to_another_endpoint_when_one_is_silent(void **state)
{
    static const struct canned_rule silent[] = {VERSION, {.path = "/watch", .how = CANNED_SILENCE}};
    static const struct canned_rule good[] = {VERSION, {.path = "/watch", .body = CREATED, .how = CANNED_STREAM}};
    struct fixture f = {0};
    struct err err = {0};

    (void)state;
    add_server(&f, 0, silent, ARRAY_LEN(silent));
    add_server(&f, 1, good, ARRAY_LEN(good));
    open_store(&f, NULL, false);
    assert_int_equal(f.dcs->ops->watch(f.dcs, on_change, &f, &err), 0);
    run_until(&f, &f.changes, 1);
    assert_int_equal(canned_server_count(f.servers[0], "/watch"), 1);
    assert_int_equal(canned_server_count(f.servers[1], "/watch"), 1);
    close_all(&f);
}

static void read_again(void *userdata, const char *key)
{
    struct fixture *f = userdata;

    (void)key;
    f->changes++;
    f->dcs->ops->get_cluster(f->dcs, true, deadline_for(DCS_UNKNOWN), on_answer, f);
}

static void test_etcd3_watch_and_reads_that_fail_do_not_drive_each_other_in_a_loop(void **state)
{
    static const struct canned_rule rules[] = {
        VERSION,
        {.path = "/watch", .body = CREATED, .how = CANNED_STREAM},
        {.path = "/kv/range", .body = "{\"error\":\"etcdserver: corrupt cluster\",\"code\":15}", .status = 500}};
    struct fixture f = {0};
    struct err err = {0};
    uint64_t end_us = clock_now_us() + USEC_PER_SEC;

    (void)state;
    add_server(&f, 0, rules, ARRAY_LEN(rules));
    open_store(&f, NULL, false);
    assert_int_equal(f.dcs->ops->watch(f.dcs, read_again, &f, &err), 0);
    run_until(&f, &f.answers, 1);
    while (clock_now_us() < end_us)
        assert_true(sd_event_run(f.loop, 20 * USEC_PER_MSEC) >= 0);
    assert_int_equal(f.changes, 1);
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_etcd3_open_refuses_what_it_cannot_do),
        cmocka_unit_test(test_etcd3_renew_answers_done_or_refused_only_when_certain),
        cmocka_unit_test(test_etcd3_renew_when_the_term_changed_between_repeats_both),
        cmocka_unit_test(test_etcd3_renew_when_the_first_endpoint_is_silent_asks_the_second),
        cmocka_unit_test(test_etcd3_acquire_leaves_no_lease_behind_unless_done),
        cmocka_unit_test(test_etcd3_acquire_when_its_own_first_copy_won_is_done),
        cmocka_unit_test(test_etcd3_release_revokes_the_lease_whatever_the_outcome),
        cmocka_unit_test(test_etcd3_write_is_never_sent_twice_when_it_may_have_been_executed),
        cmocka_unit_test(test_etcd3_member_is_written_only_when_something_changed),
        cmocka_unit_test(test_etcd3_member_lease_that_vanishes_before_the_write_is_granted_again),
        cmocka_unit_test(test_etcd3_get_cluster_reads_what_is_below_the_base_path),
        cmocka_unit_test(test_etcd3_get_cluster_is_unknown_when_the_answer_is_damaged),
        cmocka_unit_test(test_etcd3_get_cluster_sync_gives_the_cluster_or_the_reason),
        cmocka_unit_test(test_etcd3_token_that_is_refused_is_replaced_and_the_call_repeated),
        cmocka_unit_test(test_etcd3_wrong_password_is_told_at_once),
        cmocka_unit_test(test_etcd3_endpoint_that_lags_behind_or_is_of_another_cluster_is_not_believed),
        cmocka_unit_test(test_etcd3_cluster_that_was_built_anew_is_taken_over_after_a_while),
        cmocka_unit_test(test_etcd3_minority_of_another_cluster_is_never_taken_over),
        cmocka_unit_test(test_etcd3_store_whose_revision_goes_back_was_restored),
        cmocka_unit_test(test_etcd3_store_is_recognized_by_a_successor),
        cmocka_unit_test(test_etcd3_renewal_across_a_replacement_is_no_confirmation),
        cmocka_unit_test(test_etcd3_members_are_discovered_and_used_when_the_configured_host_is_gone),
        cmocka_unit_test(test_etcd3_freed_with_calls_under_way_calls_nobody_back),
        cmocka_unit_test(test_etcd3_may_be_freed_from_inside_an_answer),
        cmocka_unit_test(test_etcd3_watch_tells_of_changes_and_connects_anew_when_the_stream_ends),
        cmocka_unit_test(test_etcd3_watch_and_reads_that_fail_do_not_drive_each_other_in_a_loop),
        cmocka_unit_test(test_etcd3_watch_goes_to_another_endpoint_when_one_is_silent),
    };

    return cmocka_run_group_tests_name("etcd3", tests, NULL, NULL);
}
