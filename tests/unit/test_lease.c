#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/clock.h"
#include "fence/lease.h"

/*
 * The lease of all rows unless they say otherwise: number 7, armed at 100 s with R = 5 s until 130 s. The kill budget
 * is 3 s, so it fences from 122 s and starves from 125 s on. Instants are milliseconds here.
 */
#define MS UINT64_C(1000)
enum { T0 = 100000, END = 130000, FENCE = 122000, STARVE = 125000, R5 = 5000 };

struct row_step {
    enum lease_event_type type;
    uint64_t now_ms, lease_id, deadline_ms, reset_ms;
    enum keeper_result want;
    enum keeper_state want_state;
    enum lease_kill want_kill;
    bool want_may_pet;
    enum fence_rung want_rung;
    enum keeper_serve serve;
};

/* clang-format off */
#define TICK(at) LEASE_EVENT_TICK, at, 0, 0, 0, KEEPER_OK
#define ARM(at, id, until, r, want) LEASE_EVENT_ARM, at, id, until, r, want
#define RENEW(at, id, until, want) LEASE_EVENT_RENEW, at, id, until, 0, want
#define DISARM(at) LEASE_EVENT_DISARM, at, 0, 0, 0, KEEPER_OK
#define PROVEN(at) LEASE_EVENT_PROVEN_DEAD, at, 0, 0, 0, KEEPER_OK
#define FAILED(at) LEASE_EVENT_WATCHDOG_FAILED, at, 0, 0, 0, KEEPER_OK
#define IS_DISARMED KEEPER_DISARMED, LEASE_KILL_NOTHING, true
#define IS_ARMED KEEPER_ARMED, LEASE_KILL_NOTHING, true
#define GIVES_UP KEEPER_FENCING, LEASE_KILL_PRIMARY, true, FENCE_RUNG_DISARM
#define FENCES KEEPER_FENCING, LEASE_KILL_NODE, true, FENCE_RUNG_KILL
#define STARVES KEEPER_STARVING, LEASE_KILL_NODE, false, FENCE_RUNG_STARVE
#define ARMED_7 {ARM(T0, 7, END, R5, KEEPER_OK), IS_ARMED, FENCE_RUNG_NONE}

static const struct {
    const char *name;
    bool watchdog_required;
    struct row_step steps[6];
} rows[] = {
    {"nothing happens while nothing is armed", false,
     {{TICK(T0), IS_DISARMED, FENCE_RUNG_NONE}, {TICK(END), IS_DISARMED, FENCE_RUNG_NONE}}},
    {"an unrenewed lease climbs the ladder at its edges", false,
     {ARMED_7,
      {TICK(FENCE - 1), IS_ARMED, FENCE_RUNG_NONE},
      {TICK(FENCE), FENCES},
      {TICK(STARVE - 1), FENCES},
      {TICK(STARVE), STARVES},
      {TICK(END + 1), STARVES}}},
    {"proof in time ends the fencing", false,
     {ARMED_7, {TICK(FENCE), FENCES}, {PROVEN(STARVE - 1), IS_DISARMED, FENCE_RUNG_KILL},
      {ARM(STARVE, 8, 160000, R5, KEEPER_OK), IS_ARMED, FENCE_RUNG_KILL}}},
    {"proof too late but before the reset allows petting again", false,
     {ARMED_7, {TICK(STARVE), STARVES}, {PROVEN(END - 1), IS_DISARMED, FENCE_RUNG_STARVE}}},
    {"a keeper that slept through the fence point starves at once", false,
     {ARMED_7, {TICK(END), STARVES}}},
    {"a renewal moves the ladder", false,
     {ARMED_7,
      {RENEW(110000, 7, 140000, KEEPER_OK), IS_ARMED, FENCE_RUNG_NONE},
      {TICK(131999), IS_ARMED, FENCE_RUNG_NONE},
      {TICK(132000), FENCES}}},
    {"a renewal with the same deadline is fine", false,
     {ARMED_7, {RENEW(T0, 7, END, KEEPER_OK), IS_ARMED, FENCE_RUNG_NONE}}},
    {"a renewal that would move the deadline back is refused", false,
     {ARMED_7, {RENEW(T0, 7, END - 1, KEEPER_REFUSED_LEASE), IS_ARMED, FENCE_RUNG_NONE},
      {TICK(FENCE), FENCES}}},
    {"a renewal of another lease is refused", false,
     {ARMED_7, {RENEW(T0, 8, END + 9000, KEEPER_REFUSED_LEASE), IS_ARMED, FENCE_RUNG_NONE}}},
    {"a renewal of nothing is refused", false,
     {{RENEW(T0, 7, END, KEEPER_REFUSED_LEASE), IS_DISARMED, FENCE_RUNG_NONE}}},
    {"a renewal with an endless deadline is refused", false,
     {ARMED_7, {RENEW(T0, 7, T0 + 3600001, KEEPER_REFUSED_LEASE), IS_ARMED, FENCE_RUNG_NONE},
      {RENEW(T0, 7, T0 + 3600000, KEEPER_OK), IS_ARMED, FENCE_RUNG_NONE}}},
    {"a renewal read late counts while no kill has begun", false,
     {ARMED_7, {RENEW(STARVE + 1000, 7, 150000, KEEPER_OK), IS_ARMED, FENCE_RUNG_NONE}}},
    {"a renewal read late whose deadline leaves no room does not count", false,
     {ARMED_7, {RENEW(FENCE, 7, END, KEEPER_OK), IS_ARMED, FENCE_RUNG_NONE},
      {RENEW(124500, 7, END, KEEPER_REFUSED_LATE), FENCES}}},
    {"a renewal after the kill began is refused", false,
     {ARMED_7, {TICK(FENCE), FENCES}, {RENEW(FENCE + 1, 7, 150000, KEEPER_REFUSED_STATE), FENCES},
      {TICK(STARVE), STARVES}, {RENEW(STARVE, 7, 160000, KEEPER_REFUSED_STATE), STARVES}}},
    {"arming the lease that is armed renews it", false,
     {ARMED_7, {ARM(110000, 7, 140000, 0, KEEPER_OK), IS_ARMED, FENCE_RUNG_NONE}, {TICK(132000), FENCES}}},
    {"arming another lease while one is armed is refused", false,
     {ARMED_7, {ARM(110000, 8, 140000, R5, KEEPER_REFUSED_LEASE), IS_ARMED, FENCE_RUNG_NONE}}},
    {"arming while fencing is refused", false,
     {ARMED_7, {TICK(FENCE), FENCES}, {ARM(FENCE, 8, 160000, R5, KEEPER_REFUSED_STATE), FENCES}}},
    {"arming while starving is refused", false,
     {ARMED_7, {TICK(END), STARVES}, {ARM(END, 8, 160000, R5, KEEPER_REFUSED_STATE), STARVES}}},
    /* R 5.0 + the least budget 0.95 (5.7 / 6) + margin 0.2 */
    {"arming with a deadline one step too near is refused", false,
     {{ARM(T0, 7, T0 + 6239, R5, KEEPER_REFUSED_LATE), IS_DISARMED, FENCE_RUNG_NONE},
      {ARM(T0, 7, T0 + 6240, R5, KEEPER_OK), IS_ARMED, FENCE_RUNG_NONE}}},
    {"arming with less than the reset time left is refused", false,
     {{ARM(T0, 7, T0 + 5000, R5, KEEPER_REFUSED_LATE), IS_DISARMED, FENCE_RUNG_NONE},
      {ARM(T0, 7, T0 + 5700, R5, KEEPER_REFUSED_LATE), IS_DISARMED, FENCE_RUNG_NONE},
      {ARM(T0, 7, T0 - 1, R5, KEEPER_REFUSED_LATE), IS_DISARMED, FENCE_RUNG_NONE}}},
    {"arming without a watchdog sets aside at least half a second", false,
     {{ARM(T0, 7, T0 + 699, 0, KEEPER_REFUSED_LATE), IS_DISARMED, FENCE_RUNG_NONE},
      {ARM(T0, 7, T0 + 700, 0, KEEPER_OK), IS_ARMED, FENCE_RUNG_NONE},
      {TICK(T0 + 199), IS_ARMED, FENCE_RUNG_NONE},
      {TICK(T0 + 200), FENCES}}},
    {"without a watchdog starving begins at the deadline", false,
     {{ARM(T0, 7, END, 0, KEEPER_OK), IS_ARMED, FENCE_RUNG_NONE}, {TICK(126999), IS_ARMED, FENCE_RUNG_NONE},
      {TICK(127000), FENCES}, {TICK(END - 1), FENCES}, {TICK(END), STARVES}}},
    {"arming without the watchdog that is required is refused", true,
     {{ARM(T0, 7, END, 0, KEEPER_REFUSED_WATCHDOG), IS_DISARMED, FENCE_RUNG_NONE}, ARMED_7}},
    {"disarming waits for the proof", false,
     {ARMED_7, {DISARM(101000), GIVES_UP}, {DISARM(102000), GIVES_UP},
      {PROVEN(103000), IS_DISARMED, FENCE_RUNG_DISARM}}},
    {"disarming what is disarmed waits for the proof, too", false,
     {{DISARM(T0), GIVES_UP}, {TICK(END), GIVES_UP}, {ARM(END, 7, 160000, R5, KEEPER_REFUSED_STATE), GIVES_UP},
      {PROVEN(END), IS_DISARMED, FENCE_RUNG_DISARM}}},
    {"a renewal does not lengthen a disarming", false,
     {ARMED_7, {DISARM(101000), GIVES_UP}, {RENEW(102000, 7, 140000, KEEPER_REFUSED_STATE), GIVES_UP}}},
    {"a disarming that takes too long climbs the ladder", false,
     {ARMED_7, {DISARM(101000), GIVES_UP}, {TICK(FENCE - 1), GIVES_UP}, {TICK(FENCE), FENCES},
      {DISARM(FENCE + 1), FENCES}, {TICK(STARVE), STARVES}}},
    {"disarming while starving changes nothing", false,
     {ARMED_7, {TICK(STARVE), STARVES}, {DISARM(STARVE), STARVES}}},
    {"proof that nobody asked for does not end a lease", false,
     {{PROVEN(T0), IS_DISARMED, FENCE_RUNG_NONE}, ARMED_7, {PROVEN(101000), IS_ARMED, FENCE_RUNG_NONE}}},
    {"a failed watchdog that is required ends the lease in half of R, renewed or not", true,
     {ARMED_7, {FAILED(101000), IS_ARMED, FENCE_RUNG_NONE},
      {RENEW(102000, 7, 140000, KEEPER_REFUSED_WATCHDOG), IS_ARMED, FENCE_RUNG_NONE},
      {FAILED(103000), IS_ARMED, FENCE_RUNG_NONE}, {TICK(103499), IS_ARMED, FENCE_RUNG_NONE}, {TICK(103500), FENCES}}},
    {"a failed watchdog leaves the agent time to hand over", true,
     {ARMED_7, {FAILED(101000), IS_ARMED, FENCE_RUNG_NONE}, {DISARM(102000), GIVES_UP},
      {PROVEN(103000), IS_DISARMED, FENCE_RUNG_DISARM}, {ARM(104000, 8, 134000, R5, KEEPER_OK), IS_ARMED, FENCE_RUNG_DISARM},
      {RENEW(105000, 8, 135000, KEEPER_OK), IS_ARMED, FENCE_RUNG_DISARM}}},
    {"a handing over that takes too long is fenced", true,
     {ARMED_7, {FAILED(101000), IS_ARMED, FENCE_RUNG_NONE}, {DISARM(102000), GIVES_UP}, {TICK(103500), FENCES},
      {TICK(STARVE), STARVES}}},
    {"a watchdog that fails near the end of a lease does not move the end", true,
     {ARMED_7, {FAILED(FENCE - 100), IS_ARMED, FENCE_RUNG_NONE}, {TICK(FENCE), FENCES}}},
    {"a failed watchdog is only an event when it is not required", false,
     {ARMED_7, {FAILED(101000), IS_ARMED, FENCE_RUNG_NONE}, {TICK(FENCE), FENCES}}},
    {"a failed watchdog while nothing is armed kills nothing", true,
     {{FAILED(T0), IS_DISARMED, FENCE_RUNG_NONE}}},
};
/* clang-format on */

static void check_step(const char *name, size_t number, struct lease *l, const struct row_step *s)
{
    struct lease_event e = {.type = s->type,
                            .lease_id = s->lease_id,
                            .deadline_us = s->deadline_ms * MS,
                            .reset_us = s->reset_ms * MS,
                            .serve = s->serve};
    enum keeper_result got = lease_step(l, &e, s->now_ms * MS);
    struct lease_decision d = lease_decide(l, s->now_ms * MS);

    if (got != s->want || l->state != s->want_state || d.kill != s->want_kill || d.may_pet != s->want_may_pet ||
        l->rung != s->want_rung)
        fail_msg("%s, step %zu: result %d, state %d, kill %d, may_pet %d, rung %d", name, number, (int)got,
                 (int)l->state, (int)d.kill, d.may_pet, (int)l->rung);
    if (d.may_stop_watchdog != (l->state == KEEPER_DISARMED) || l->armed != (l->deadline_us != 0))
        fail_msg("%s, step %zu: may_stop_watchdog %d, armed %d", name, number, d.may_stop_watchdog, l->armed);
    assert_non_null(d.reason);
}

/* clang-format off */
#define SERVE(at, whom, id, until, result) .type = LEASE_EVENT_SERVE, .now_ms = at, .serve = whom, .lease_id = id, .deadline_ms = until, .want = result
#define STANDBY(at, until, want) SERVE(at, KEEPER_SERVE_STANDBY, 0, until, want)
#define REPLICA(at, until, want) SERVE(at, KEEPER_SERVE_REPLICA_ADDRESS, 0, until, want)
#define LEADER(at, until, want) SERVE(at, KEEPER_SERVE_STANDBY_LEADER, 0, until, want)
#define PRIMARY(at, id, want) SERVE(at, KEEPER_SERVE_PRIMARY, id, 0, want)
#define NOBODY(at) SERVE(at, KEEPER_SERVE_NONE, 0, 0, KEEPER_OK)
#define THEN(t, at, id, until) .type = t, .now_ms = at, .lease_id = id, .deadline_ms = until, .reset_ms = R5
#define THEN_ARM(at, until) THEN(LEASE_EVENT_ARM, at, 7, until)

/* What is open after each step, and until when; times as above. */
static const struct {
    const char *name;
    struct {
        enum lease_event_type type;
        uint64_t now_ms, lease_id, deadline_ms, reset_ms;
        enum keeper_serve serve;
        enum keeper_result want;
        uint64_t gate_ms, primary_ms, replica_ms;
    } steps[6];
} reaches[] = {
    {"nothing is open before anybody says what is here", {{NOBODY(T0)}}},
    {"a standby opens the gate until its deadline",
     {{STANDBY(T0, 110000, KEEPER_OK), .gate_ms = 110000}, {STANDBY(T0 + 1, 111000, KEEPER_OK), .gate_ms = 111000},
      {NOBODY(T0 + 2)}}},
    {"the replica's address comes and goes with what is said",
     {{REPLICA(T0, 110000, KEEPER_OK), .gate_ms = 110000, .replica_ms = 110000},
      {STANDBY(T0 + 1, 111000, KEEPER_OK), .gate_ms = 111000}}},
    {"an endless standby is refused", {{STANDBY(T0, T0 + 3600001, KEEPER_REFUSED_LEASE)}}},
    {"a primary without a lease is refused", {{PRIMARY(T0, 7, KEEPER_REFUSED_STATE)}}},
    {"arming binds the gate to the lease, and the replica's address goes",
     {{REPLICA(T0, 110000, KEEPER_OK), .gate_ms = 110000, .replica_ms = 110000}, {THEN_ARM(T0, END), .gate_ms = END}}},
    {"the leader of a standby cluster has the primary's addresses",
     {{LEADER(T0, 110000, KEEPER_OK), .gate_ms = 110000, .primary_ms = 110000},
      {STANDBY(T0, 110000, KEEPER_OK), .gate_ms = 110000}}},
    {"and gives them up when the cluster is to have a primary",
     {{LEADER(T0, 110000, KEEPER_OK), .gate_ms = 110000, .primary_ms = 110000}, {THEN_ARM(T0, END), .gate_ms = END},
      {LEADER(T0, 110000, KEEPER_REFUSED_STATE), .gate_ms = END}}},
    {"the primary's address comes when it is one, and follows the renewals",
     {{THEN_ARM(T0, END), .gate_ms = END},
      {PRIMARY(T0, 8, KEEPER_REFUSED_STATE), .gate_ms = END},
      {PRIMARY(T0, 7, KEEPER_OK), .gate_ms = END, .primary_ms = END},
      {THEN(LEASE_EVENT_RENEW, T0, 7, 140000), .gate_ms = 140000, .primary_ms = 140000},
      {NOBODY(T0), .gate_ms = 140000}}},
    {"a standby is not believed while a lease is armed",
     {{THEN_ARM(T0, END), .gate_ms = END}, {STANDBY(T0, 110000, KEEPER_REFUSED_STATE), .gate_ms = END}}},
    {"a gate that was promised to stay open beyond the lease forbids to arm",
     {{STANDBY(T0, END + 1, KEEPER_OK), .gate_ms = END + 1},
      {NOBODY(T0)},
      {THEN_ARM(T0, END), .want = KEEPER_REFUSED_LATE},
      {THEN_ARM(T0, END + 1), .gate_ms = END + 1}}},
    {"everything is shut before the kill, and nothing is believed until the proof",
     {{THEN_ARM(T0, END), .gate_ms = END},
      {PRIMARY(T0, 7, KEEPER_OK), .gate_ms = END, .primary_ms = END},
      {THEN(LEASE_EVENT_TICK, FENCE, 0, 0)},
      {PRIMARY(FENCE, 7, KEEPER_REFUSED_STATE)},
      {THEN(LEASE_EVENT_PROVEN_DEAD, FENCE + 1, 0, 0)},
      {STANDBY(FENCE + 1, 125000, KEEPER_OK), .gate_ms = 125000}}},
    {"after the proof of a disarming nothing is promised any more",
     {{THEN_ARM(T0, END), .gate_ms = END},
      {THEN(LEASE_EVENT_DISARM, T0, 0, 0)},
      {THEN(LEASE_EVENT_PROVEN_DEAD, T0, 0, 0)},
      {THEN_ARM(T0, END - 1000), .gate_ms = END - 1000}}},
    {"a fenced node may still have an open gate until its lease ends",
     {{THEN_ARM(T0, END), .gate_ms = END},
      {THEN(LEASE_EVENT_TICK, FENCE, 0, 0)},
      {THEN(LEASE_EVENT_PROVEN_DEAD, FENCE, 0, 0)},
      {THEN_ARM(FENCE, END - 1), .want = KEEPER_REFUSED_LATE}}},
    {"disarming shuts it, too",
     {{STANDBY(T0, 110000, KEEPER_OK), .gate_ms = 110000}, {THEN(LEASE_EVENT_DISARM, T0, 0, 0)}}},
};
/* clang-format on */

static void test_lease_reach_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(reaches); i++) {
        struct lease l;

        lease_init(&l, false);
        for (size_t k = 0; k < ARRAY_LEN(reaches[i].steps) && reaches[i].steps[k].now_ms; k++) {
            uint64_t now_ms = reaches[i].steps[k].now_ms;
            struct lease_event e = {.type = reaches[i].steps[k].type,
                                    .lease_id = reaches[i].steps[k].lease_id,
                                    .deadline_us = reaches[i].steps[k].deadline_ms * MS,
                                    .reset_us = reaches[i].steps[k].reset_ms * MS,
                                    .serve = reaches[i].steps[k].serve};
            struct lease_reach r;
            enum keeper_result got;

            got = lease_step(&l, &e, now_ms * MS);
            r = lease_reach(&l);
            if (got != reaches[i].steps[k].want || r.gate_until_us != reaches[i].steps[k].gate_ms * MS ||
                r.primary_until_us != reaches[i].steps[k].primary_ms * MS ||
                r.replica_until_us != reaches[i].steps[k].replica_ms * MS)
                fail_msg("%s, step %zu: result %d, gate %llu, primary %llu, replica %llu", reaches[i].name, k, (int)got,
                         (unsigned long long)(r.gate_until_us / MS), (unsigned long long)(r.primary_until_us / MS),
                         (unsigned long long)(r.replica_until_us / MS));
        }
    }
}

static void test_lease_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct lease l;

        lease_init(&l, rows[i].watchdog_required);
        for (size_t k = 0; k < ARRAY_LEN(rows[i].steps) && rows[i].steps[k].now_ms; k++)
            check_step(rows[i].name, k, &l, &rows[i].steps[k]);
    }
}

static void test_lease_names_the_next_instant_at_which_time_alone_changes_it(void **state)
{
    struct lease_event arm = {.type = LEASE_EVENT_ARM, .lease_id = 7, .deadline_us = END * MS, .reset_us = R5 * MS};
    struct lease_event tick = {.type = LEASE_EVENT_TICK}, disarm = {.type = LEASE_EVENT_DISARM};
    struct lease l;

    (void)state;
    lease_init(&l, false);
    assert_true(lease_decide(&l, T0 * MS).next_at_us == UINT64_MAX);
    (void)lease_step(&l, &arm, T0 * MS);
    assert_true(lease_decide(&l, T0 * MS).next_at_us == FENCE * MS);
    (void)lease_step(&l, &disarm, T0 * MS);
    assert_true(lease_decide(&l, T0 * MS).next_at_us == FENCE * MS);
    (void)lease_step(&l, &tick, FENCE * MS);
    assert_true(lease_decide(&l, FENCE * MS).next_at_us == STARVE * MS);
    (void)lease_step(&l, &tick, STARVE * MS);
    assert_true(lease_decide(&l, STARVE * MS).next_at_us == UINT64_MAX);
}

static void test_lease_decide_forbids_a_late_pet_even_before_the_tick(void **state)
{
    struct lease_event arm = {.type = LEASE_EVENT_ARM, .lease_id = 7, .deadline_us = END * MS, .reset_us = R5 * MS};
    struct lease l;

    (void)state;
    lease_init(&l, false);
    (void)lease_step(&l, &arm, T0 * MS);
    assert_true(lease_decide(&l, STARVE * MS - 1).may_pet);
    assert_false(lease_decide(&l, STARVE * MS).may_pet);
}

static void test_lease_arm_result_changes_nothing(void **state)
{
    struct lease_event arm = {.type = LEASE_EVENT_ARM, .lease_id = 7, .deadline_us = END * MS, .reset_us = R5 * MS};
    struct lease l;

    (void)state;
    lease_init(&l, false);
    assert_int_equal(lease_arm_result(&l, &arm, T0 * MS), KEEPER_OK);
    assert_int_equal(l.state, KEEPER_DISARMED);
    assert_true(l.lease_id == 0 && l.deadline_us == 0 && l.reset_us == 0);
}

static void test_lease_resumed_by_a_successor_keeps_the_ladder_however_late(void **state)
{
    struct lease_event tick = {.type = LEASE_EVENT_TICK};
    struct lease l;

    (void)state;
    lease_init(&l, true);
    lease_resume(&l, 7, END * MS, R5 * MS, T0 * MS);
    assert_int_equal(l.state, KEEPER_ARMED);
    assert_true(l.fence_at_us == FENCE * MS);

    lease_init(&l, true);
    lease_resume(&l, 7, END * MS, R5 * MS, END * MS);
    (void)lease_step(&l, &tick, END * MS);
    assert_int_equal(l.state, KEEPER_STARVING);

    /* What a damaged record might say must not wrap around. */
    lease_init(&l, true);
    lease_resume(&l, 7, 1, UINT64_MAX, END * MS);
    (void)lease_step(&l, &tick, END * MS);
    assert_int_equal(l.state, KEEPER_STARVING);
}

static void test_lease_resumed_goes_on_with_what_clients_find_here(void **state)
{
    struct lease_event arm = {
        .type = LEASE_EVENT_ARM, .lease_id = 8, .deadline_us = 109 * 1000 * MS, .reset_us = R5 * MS};
    struct lease l;

    (void)state;
    lease_init(&l, false);
    lease_resume(&l, 7, END * MS, R5 * MS, T0 * MS);
    lease_resume_serve(&l, KEEPER_SERVE_PRIMARY, 0, END * MS);
    assert_true(lease_reach(&l).primary_until_us == END * MS);

    lease_init(&l, false);
    lease_resume_serve(&l, KEEPER_SERVE_REPLICA_ADDRESS, 110000 * MS, 110000 * MS);
    assert_true(lease_reach(&l).replica_until_us == 110000 * MS);
    assert_int_equal(lease_step(&l, &arm, T0 * MS), KEEPER_REFUSED_LATE); /* promised beyond that lease */
    lease_init(&l, false);
    lease_resume_serve(&l, KEEPER_SERVE_STANDBY, 110000 * MS, 110000 * MS);
    assert_true(lease_reach(&l).gate_until_us == 110000 * MS);
    lease_init(&l, false);
    lease_resume_serve(&l, KEEPER_SERVE_STANDBY_LEADER, 110000 * MS, 110000 * MS);
    assert_true(lease_reach(&l).primary_until_us == 110000 * MS);

    /* Records that no keeper has written. */
    lease_init(&l, false);
    lease_resume(&l, 7, END * MS, R5 * MS, T0 * MS);
    lease_resume_serve(&l, KEEPER_SERVE_STANDBY, 110000 * MS, 110000 * MS);
    assert_int_equal(l.serve, KEEPER_SERVE_NONE);
    lease_init(&l, false);
    lease_resume_serve(&l, KEEPER_SERVE_PRIMARY, 0, END * MS);
    lease_resume_serve(&l, KEEPER_SERVE_STANDBY, 110000 * MS, 109999 * MS);
    lease_resume_serve(&l, 99, 110000 * MS, 110000 * MS);
    assert_int_equal(l.serve, KEEPER_SERVE_NONE);
}

/* Values that no code writes, as damaged memory might hold them: time goes on, and the watchdog is not stopped. */
static void test_lease_with_a_damaged_value_still_ends_in_time(void **state)
{
    struct lease_event arm = {.type = LEASE_EVENT_ARM, .lease_id = 7, .deadline_us = END * MS, .reset_us = R5 * MS};
    struct lease_event unknown = {.type = (enum lease_event_type)99};
    struct lease_event whom = {.type = LEASE_EVENT_SERVE, .serve = (enum keeper_serve)99};
    struct lease l;

    (void)state;
    lease_init(&l, false);
    (void)lease_step(&l, &whom, T0 * MS);
    assert_int_equal(lease_reach(&l).gate_until_us, 0);
    (void)lease_step(&l, &arm, T0 * MS);
    (void)lease_step(&l, &whom, T0 * MS);
    assert_int_equal(lease_reach(&l).primary_until_us, 0);
    assert_int_equal(lease_step(&l, &unknown, FENCE * MS), KEEPER_OK);
    assert_int_equal(l.state, KEEPER_FENCING);

    l.state = (enum keeper_state)99;
    assert_false(lease_decide(&l, T0 * MS).may_stop_watchdog);
    assert_false(lease_decide(&l, STARVE * MS).may_pet);
}

/*
 * A thousand lives of a node with a clumsy agent: whatever happens, a watchdog petted by the rules resets the host, or
 * the primary is proven dead, by the deadline of the last lease that was accepted (S3, S4).
 */
static void test_lease_never_lets_a_primary_outlive_its_deadline(void **state)
{
    uint32_t seed = 1;

    (void)state;
    for (int life = 0; life < 1000; life++) {
        struct lease l;
        uint64_t now = 1000 * MS, deadline = 0, reset_at = UINT64_MAX;
        uint64_t open_until = 0; /* the latest that the kernel was ever told */
        bool primary_runs = false;

        lease_init(&l, true);
        for (int i = 0; i < 400; i++) {
            struct lease_event e = {.lease_id = 7, .reset_us = R5 * MS};
            struct lease_decision d;
            struct lease_reach reach;

            seed = seed * 1664525 + 1013904223;
            now += (seed >> 8) % 1500 * MS;
            e.type = (enum lease_event_type)((seed >> 20) % 7);
            e.serve = (enum keeper_serve)((seed >> 10) % 4);
            e.deadline_us = now + (seed >> 4) % 30000 * MS;
            if (e.type == LEASE_EVENT_PROVEN_DEAD && lease_decide(&l, now).kill == LEASE_KILL_NOTHING)
                e.type = LEASE_EVENT_TICK; /* nobody proves what nobody asked for */
            if (now >= reset_at)
                break; /* the host is gone, and with it everything else */
            if (lease_step(&l, &e, now) == KEEPER_OK) {
                if (e.type == LEASE_EVENT_ARM || e.type == LEASE_EVENT_RENEW) {
                    primary_runs = true;
                    assert_true(e.deadline_us >= deadline);
                    deadline = e.deadline_us;
                }
                if (e.type == LEASE_EVENT_PROVEN_DEAD) {
                    open_until = l.promised_until_us;
                    primary_runs = false;
                    deadline = 0;
                }
            }
            d = lease_decide(&l, now);
            if (d.may_stop_watchdog)
                reset_at = UINT64_MAX;
            else if (d.may_pet)
                reset_at = now + R5 * MS;
            reach = lease_reach(&l);
            if (open_until < reach.gate_until_us)
                open_until = reach.gate_until_us;
            assert_true(reach.primary_until_us <= reach.gate_until_us && reach.replica_until_us <= reach.gate_until_us);
            assert_true(primary_runs || reach.primary_until_us == 0);
            if (primary_runs) {
                assert_true(reset_at <= deadline);
                assert_false(d.may_stop_watchdog);
                assert_true(open_until <= deadline); /* even if every later order was lost on its way */
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lease_follows_the_table),
        cmocka_unit_test(test_lease_reach_follows_the_table),
        cmocka_unit_test(test_lease_names_the_next_instant_at_which_time_alone_changes_it),
        cmocka_unit_test(test_lease_decide_forbids_a_late_pet_even_before_the_tick),
        cmocka_unit_test(test_lease_arm_result_changes_nothing),
        cmocka_unit_test(test_lease_resumed_by_a_successor_keeps_the_ladder_however_late),
        cmocka_unit_test(test_lease_resumed_goes_on_with_what_clients_find_here),
        cmocka_unit_test(test_lease_with_a_damaged_value_still_ends_in_time),
        cmocka_unit_test(test_lease_never_lets_a_primary_outlive_its_deadline),
    };

    return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
