/*
 * The agent and the key for the replica address, with a store and a keeper made of arrays: the key is deleted only when
 * the addresses are gone, and what was given up is never held again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/text.h"

#define S UINT64_C(1000000)
enum { MEMBER_LEASE = 7, REVISION = 30 };

static struct {
    unsigned n_puts, n_deletes, n_reads;
    uint64_t revision;
    enum dcs_compare compare;
    char value[64];
    dcs_done_fn done;
    void *userdata;
} store;

static struct fixture {
    struct agent a;
    struct config config;
    struct dynamic dynamic;
    struct dcs dcs;
    struct cluster cluster;
    struct ha_view v;
    int keeper_fd;
} f;

static void fake_put(struct dcs *d, const char *key, const char *value, enum dcs_compare compare, uint64_t revision,
                     uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    (void)d;
    (void)revision;
    (void)deadline_us;
    assert_string_equal(key, "replica_address");
    (void)text_copy(store.value, sizeof(store.value), value);
    store.compare = compare;
    store.done = done;
    store.userdata = userdata;
    store.n_puts++;
}

static void fake_delete(struct dcs *d, const char *key, enum dcs_compare compare, uint64_t revision,
                        uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    (void)d;
    (void)deadline_us;
    assert_string_equal(key, "replica_address");
    store.compare = compare;
    store.revision = revision;
    store.done = done;
    store.userdata = userdata;
    store.n_deletes++;
}

static void fake_get_cluster(struct dcs *d, bool linearizable, uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    (void)d;
    (void)linearizable;
    (void)deadline_us;
    (void)done;
    (void)userdata;
    store.n_reads++;
}

static const struct dcs_ops ops = {
    .name = "fake", .put = fake_put, .delete = fake_delete, .get_cluster = fake_get_cluster};

static void on_keeper_gone(void *userdata)
{
    (void)userdata;
}

static int set_up(void **state)
{
    int pair[2];

    (void)state;
    memset(&f, 0, sizeof(f));
    memset(&store, 0, sizeof(store));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    f.keeper_fd = pair[1];
    f.dcs.ops = &ops;
    f.config.name = (char *)"n1";
    f.config.n_vips = 1;
    f.config.vips[0].for_replica = true;
    f.dynamic.policy = POLICY_DEFAULT;
    f.cluster.read_sent_at_us = clock_now_us();
    f.a.config = &f.config;
    f.a.dynamic = &f.dynamic;
    f.a.dcs = &f.dcs;
    f.a.cluster = &f.cluster;
    f.a.member = (struct member_lease){MEMBER_LEASE, 30 * S, 30 * S, clock_now_us()};
    assert_true(sd_event_new(&f.a.loop) >= 0);
    assert_int_equal(keeper_link_new(f.a.loop, pair[0], on_keeper_gone, &f, &f.a.link, NULL), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    f.a.tick = sd_event_source_disable_unref(f.a.tick);
    f.a.link = keeper_link_free(f.a.link);
    f.a.loop = sd_event_unref(f.a.loop);
    (void)close(f.keeper_fd);
    return 0;
}

/* A healthy standby looks at what it knows. */
static void update(void)
{
    f.v = (struct ha_view){.now_us = clock_now_us(),
                           .name = "n1",
                           .stopping = f.a.stopping,
                           .tags = TAGS_DEFAULT,
                           .policy = f.dynamic.policy,
                           .cluster = &f.cluster,
                           .member = f.a.member,
                           .keeper = {.connected = true}};
    f.v.pg.running = f.v.pg.accepting = f.v.pg.in_recovery = f.v.pg.streaming = true;
    replica_address_update(&f.a, &f.v);
}

static void store_has(uint64_t revision)
{
    f.cluster.replica_address =
        (struct leader_key){.exists = revision != 0, .name = "n1", .session = MEMBER_LEASE, .revision = revision};
    f.cluster.read_sent_at_us = clock_now_us();
}

static void answer(enum dcs_outcome outcome)
{
    struct dcs_answer a = {.outcome = outcome};

    f.a.store_busy = false;
    store.done(store.userdata, &a);
}

/* Answers all that was asked, as a keeper that serves and has settled so. */
static void keeper_says(enum keeper_serve serve, bool settled)
{
    struct keeper_answer a = {.version = KEEPER_PROTOCOL,
                              .state = KEEPER_DISARMED,
                              .serve = (uint16_t)serve,
                              .addresses = 1,
                              .addresses_settled = settled};
    struct keeper_request request;
    int pidfd;

    while (keeper_recv(f.keeper_fd, &request, &pidfd, NULL) == 0) {
        a.op = request.op;
        a.seq = request.seq;
        assert_int_equal(keeper_answer(f.keeper_fd, &a, NULL), 0);
        assert_true(sd_event_run(f.a.loop, 1000000) >= 0);
    }
}

/* As serve.c remembers it. */
static void told_to_hold(void)
{
    f.a.serve.told = true;
    f.a.serve.whom = KEEPER_SERVE_REPLICA_ADDRESS;
    f.a.replica.told_until_us = clock_now_us() + 20 * S;
}

static void test_key_is_created_once_and_held_when_it_was_read(void **state)
{
    (void)state;
    update();
    update();
    assert_int_equal(store.n_puts, 1);
    assert_int_equal(store.compare, DCS_ABSENT_WHILE_MEMBER);
    assert_string_equal(store.value, "n1");
    answer(DCS_DONE);
    assert_int_equal(store.n_reads, 1);
    update();
    assert_int_equal(store.n_puts, 1); /* the view is older than the answer */
    assert_int_equal(f.a.replica.until_us, 0);
    store_has(REVISION);
    update();
    assert_true(f.a.replica.until_us > clock_now_us() + 25 * S);
}

static void test_key_is_not_touched_without_such_an_address(void **state)
{
    (void)state;
    f.config.vips[0].for_replica = false;
    update();
    assert_int_equal(store.n_puts, 0);
}

static void test_key_is_deleted_only_after_the_addresses_are_gone(void **state)
{
    (void)state;
    store_has(REVISION);
    update();
    told_to_hold();
    f.a.stopping = true;
    update();
    assert_int_equal(f.a.replica.until_us, 0);
    assert_int_equal(store.n_deletes, 0);
    keeper_says(KEEPER_SERVE_REPLICA_ADDRESS, true); /* it has not been told yet */
    update();
    assert_int_equal(store.n_deletes, 0);
    f.a.serve.whom = KEEPER_SERVE_NONE;
    keeper_says(KEEPER_SERVE_NONE, false); /* told, but not done */
    update();
    assert_int_equal(store.n_deletes, 0);
    keeper_says(KEEPER_SERVE_NONE, true);
    update();
    assert_int_equal(store.n_deletes, 1);
    assert_int_equal(store.compare, DCS_REVISION);
    assert_int_equal(store.revision, REVISION);
}

static void test_key_is_deleted_when_the_kernel_must_have_ended_the_addresses(void **state)
{
    (void)state;
    store_has(REVISION);
    told_to_hold();
    f.a.stopping = true;
    f.a.replica.told_until_us = clock_now_us() - 1;
    update();
    assert_int_equal(store.n_deletes, 1);
}

/* Its deletion may be carried out at any time: somebody else would have the addresses then, too. */
static void test_process_lingers_until_the_key_is_deleted_but_not_for_long(void **state)
{
    (void)state;
    assert_false(replica_address_lingers(&f.a));
    store_has(REVISION);
    assert_true(replica_address_lingers(&f.a));
    f.a.stopping = true;
    update();
    assert_int_equal(store.n_deletes, 1);
    store_has(0);
    assert_true(replica_address_lingers(&f.a)); /* not answered yet */
    answer(DCS_DONE);
    assert_false(replica_address_lingers(&f.a));
    store_has(REVISION);
    f.a.replica.linger_until_us = clock_now_us();
    assert_false(replica_address_lingers(&f.a));
}

static void test_key_that_was_given_up_is_never_held_again(void **state)
{
    (void)state;
    store_has(REVISION);
    f.a.stopping = true;
    update();
    assert_int_equal(store.n_deletes, 1);
    f.a.stopping = false; /* well again */
    answer(DCS_UNKNOWN);
    store_has(REVISION);
    update();
    assert_int_equal(f.a.replica.until_us, 0);
    f.a.replica.again_at_us = 0;
    update();
    assert_int_equal(store.n_deletes, 2);
    answer(DCS_DONE);
    store_has(REVISION + 1);
    update();
    assert_true(f.a.replica.until_us > 0);
}

static void test_member_key_keeps_its_lease_while_the_address_hangs_on_it(void **state)
{
    (void)state;
    f.dynamic.policy.ttl_us = 20 * S;
    assert_int_equal(replica_address_member_ttl_us(&f.a), 20 * S);
    store_has(REVISION);
    assert_int_equal(replica_address_member_ttl_us(&f.a), 30 * S);
    told_to_hold();
    update();
    assert_int_equal(f.a.replica.until_us, 0);
    assert_int_equal(store.n_deletes, 0);
    f.a.replica.told_until_us = 0;
    update();
    assert_int_equal(store.n_deletes, 1);
    answer(DCS_DONE);
    store_has(0);
    assert_int_equal(replica_address_member_ttl_us(&f.a), 20 * S);
    update();
    assert_int_equal(store.n_puts, 0); /* not before the member key has moved */
}

static void test_key_is_not_created_while_the_member_key_moves_to_another_lease(void **state)
{
    (void)state;
    f.a.member_busy = true;
    f.a.member_ttl_us = 20 * S;
    update();
    assert_int_equal(store.n_puts, 0);
    f.a.member_busy = false;
    update();
    assert_int_equal(store.n_puts, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_key_is_created_once_and_held_when_it_was_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_key_is_not_touched_without_such_an_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_key_is_deleted_only_after_the_addresses_are_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_key_is_deleted_when_the_kernel_must_have_ended_the_addresses, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_process_lingers_until_the_key_is_deleted_but_not_for_long, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_key_that_was_given_up_is_never_held_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_member_key_keeps_its_lease_while_the_address_hangs_on_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_key_is_not_created_while_the_member_key_moves_to_another_lease, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests_name("replica_address", tests, NULL, NULL);
}
