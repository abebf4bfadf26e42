/*
 * Every rule about who has the addresses for replicas, as a row: a healthy standby with or without the key, what is
 * changed in it, what must be decided. The clock is 100 s, the ttl 30 s.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/text.h"
#include "ha/ha.h"

#define S UINT64_C(1000000)
enum { MEMBER_LEASE = 7 };

static struct scene {
    struct ha_view v;
    struct cluster c;
    struct leader_key key;
} s;

static void take_away(void)
{
    s.key.exists = false;
}

static void name_another(void)
{
    (void)text_copy(s.key.name, sizeof(s.key.name), "n2");
}

static void other_lease(void)
{
    s.key.session = MEMBER_LEASE + 1;
}

static void no_member_lease(void)
{
    s.v.member = (struct member_lease){0};
}

static void stopping(void)
{
    s.v.stopping = true;
}

static void keeper_gone(void)
{
    s.v.keeper.connected = false;
}

static void elected(void)
{
    s.v.lease.held = true;
}

static void armed(void)
{
    s.v.keeper.armed = true;
}

static void down(void)
{
    s.v.pg.running = false;
}

static void primary(void)
{
    s.v.pg.in_recovery = false;
}

static void silent(void)
{
    s.v.pg.accepting = false;
}

static void hung(void)
{
    s.v.pg.hung = true;
}

static void rewinding(void)
{
    s.v.op = OP_REWIND;
}

static void following(void)
{
    s.v.op = OP_FOLLOW;
}

static void asking_peers(void)
{
    s.v.op = OP_ASK_PEERS;
}

static void comparing(void)
{
    s.v.op = OP_CHECK_REWIND;
}

static void acquiring(void)
{
    s.v.op = OP_ACQUIRE;
}

static void tagged(void)
{
    s.v.tags.noloadbalance = true;
}

static void bad_disk(void)
{
    s.v.storage.failed = true;
}

static void just_within_the_lag(void)
{
    s.c.status_lsn = s.v.pg.replay_lsn + s.v.policy.maximum_lag_on_failover_bytes;
}

static void beyond_the_lag(void)
{
    s.c.status_lsn = s.v.pg.replay_lsn + s.v.policy.maximum_lag_on_failover_bytes + 1;
}

static void store_unreadable(void)
{
    s.v.cluster = NULL;
}

static void not_streaming(void)
{
    s.v.pg.streaming = false;
    s.v.memory.not_streaming_since_us = 100 * S - 30 * S + 1;
}

static void not_streaming_for_a_ttl(void)
{
    s.v.pg.streaming = false;
    s.v.memory.not_streaming_since_us = 100 * S - 30 * S;
}

static void frozen(void)
{
    s.v.was_frozen = true;
}

static void new_ttl(void)
{
    s.v.policy.ttl_us = 20 * S;
}

static const struct {
    const char *name;
    void (*change)(void);
    enum replica_address_step ours, nobodys; /* with the key, and while nobody has it */
} rows[] = {
    {"healthy", NULL, REPLICA_ADDRESS_HOLD, REPLICA_ADDRESS_TAKE},
    {"no member key yet", no_member_lease, REPLICA_ADDRESS_LEAVE, REPLICA_ADDRESS_LEAVE},
    {"stopping", stopping, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"keeper gone", keeper_gone, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"elected", elected, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"armed", armed, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"server down", down, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"a primary", primary, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"no answer", silent, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"hung", hung, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"rewinding", rewinding, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"following", following, REPLICA_ADDRESS_HOLD, REPLICA_ADDRESS_TAKE},
    {"asking peers", asking_peers, REPLICA_ADDRESS_HOLD, REPLICA_ADDRESS_TAKE},
    {"comparing timelines", comparing, REPLICA_ADDRESS_HOLD, REPLICA_ADDRESS_TAKE},
    {"asking for the leader key", acquiring, REPLICA_ADDRESS_HOLD, REPLICA_ADDRESS_TAKE},
    {"noloadbalance", tagged, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"disk failed", bad_disk, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"last byte of the lag", just_within_the_lag, REPLICA_ADDRESS_HOLD, REPLICA_ADDRESS_TAKE},
    {"too far behind", beyond_the_lag, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"store out of reach", store_unreadable, REPLICA_ADDRESS_HOLD, REPLICA_ADDRESS_LEAVE},
    {"no leader to stream from", not_streaming, REPLICA_ADDRESS_HOLD, REPLICA_ADDRESS_LEAVE},
    {"cut off for a ttl", not_streaming_for_a_ttl, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"frozen", frozen, REPLICA_ADDRESS_HOLD, REPLICA_ADDRESS_LEAVE},
    {"another ttl", new_ttl, REPLICA_ADDRESS_GIVE_UP, REPLICA_ADDRESS_LEAVE},
    {"key of another lease", other_lease, REPLICA_ADDRESS_LEAVE, REPLICA_ADDRESS_TAKE},
    {"key of another node", name_another, REPLICA_ADDRESS_LEAVE, REPLICA_ADDRESS_TAKE},
};

static void scene(void)
{
    memset(&s, 0, sizeof(s));
    s.v = (struct ha_view){.now_us = 100 * S,
                           .name = "n1",
                           .tags = TAGS_DEFAULT,
                           .policy = POLICY_DEFAULT,
                           .cluster = &s.c,
                           .member = {MEMBER_LEASE, 30 * S, 30 * S, 95 * S},
                           .keeper = {.connected = true, .dead_proven = true}};
    s.v.pg.running = s.v.pg.accepting = s.v.pg.in_recovery = s.v.pg.streaming = true;
    s.v.pg.replay_lsn = s.c.status_lsn = 1000;
    s.key = (struct leader_key){.exists = true, .name = "n1", .session = MEMBER_LEASE, .revision = 3};
}

static void expect(const char *name, bool has_key, enum replica_address_step want)
{
    struct replica_address got = ha_replica_address(&s.v, &s.key);

    if (got.step != want)
        fail_msg("%s, %s: decided %d (%s), wanted %d", name, has_key ? "with the key" : "nobody has it", (int)got.step,
                 got.reason, (int)want);
    assert_true(got.reason[0]);
    assert_int_equal(got.until_us != 0, want == REPLICA_ADDRESS_HOLD);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        scene();
        if (rows[i].change)
            rows[i].change();
        expect(rows[i].name, true, rows[i].ours);
        take_away();
        expect(rows[i].name, false, rows[i].nobodys);
    }
}

/* S1: from before the request that confirmed the member lease, less the drift of two clocks. */
static void test_held_until_the_member_lease_ends(void **state)
{
    (void)state;
    scene();
    assert_int_equal(ha_replica_address(&s.v, &s.key).until_us, 95 * S + 30 * S - 30 * S / 1000);
    s.v.member.granted_us = 10 * S;
    assert_int_equal(ha_replica_address(&s.v, &s.key).until_us, 95 * S + 10 * S - 10 * S / 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_held_until_the_member_lease_ends),
    };

    return cmocka_run_group_tests_name("ha_replica_address", tests, NULL, NULL);
}
