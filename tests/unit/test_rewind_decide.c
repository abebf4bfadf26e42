#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "pg/rewind.h"

/* The leader went from timeline 1 at 100 to 2, and from 2 at 200 to 4; 3 was somebody else's. */
static const struct history_line history[] = {{.timeline = 1, .switch_lsn = 100}, {.timeline = 2, .switch_lsn = 200}};

static const struct {
    const char *name;
    struct rewind_position local;
    uint32_t leader_timeline;
    enum rewind_need want;
} rows[] = {
    {"same timeline", {4, 250, true, 0}, 4, REWIND_NOT_NEEDED},
    {"same timeline, shut down as a primary", {4, 250, false, 260}, 4, REWIND_NOT_NEEDED},
    {"first timeline on both sides", {1, 50, false, 60}, 1, REWIND_NOT_NEEDED},
    {"ahead of the leader's timeline", {5, 10, true, 0}, 4, REWIND_NEEDED},
    {"ahead of a leader on the first timeline", {2, 10, false, 20}, 1, REWIND_NEEDED},
    {"standby before the switch", {1, 99, true, 0}, 4, REWIND_NOT_NEEDED},
    {"standby exactly at the switch", {1, 100, true, 0}, 4, REWIND_NOT_NEEDED},
    {"standby just past the switch", {1, 101, true, 0}, 4, REWIND_NEEDED},
    {"standby on the second timeline, past only the first switch", {2, 199, true, 0}, 4, REWIND_NOT_NEEDED},
    {"standby on the second timeline, at its switch", {2, 200, true, 0}, 4, REWIND_NOT_NEEDED},
    {"standby on the second timeline, past its switch", {2, 201, true, 0}, 4, REWIND_NEEDED},
    {"standby on a timeline that is not the leader's", {3, 10, true, 0}, 4, REWIND_NEEDED},
    {"primary whose checkpoint ends at the switch", {1, 90, false, 100}, 4, REWIND_NOT_NEEDED},
    {"primary whose checkpoint ends before the switch", {1, 90, false, 99}, 4, REWIND_NEEDED},
    {"primary whose checkpoint ends past the switch", {1, 90, false, 101}, 4, REWIND_NEEDED},
    {"primary whose checkpoint's end is unknown", {1, 90, false, 0}, 4, REWIND_NEEDED},
    {"primary whose checkpoint is at the switch", {1, 100, false, 100}, 4, REWIND_NEEDED},
    {"primary whose checkpoint is past the switch", {1, 101, false, 110}, 4, REWIND_NEEDED},
    {"primary on a timeline that is not the leader's", {3, 10, false, 200}, 4, REWIND_NEEDED},
    {"primary that was killed", {1, UINT64_MAX, false, 0}, 4, REWIND_NEEDED},
    {"primary that was killed, same timeline", {4, UINT64_MAX, false, 0}, 4, REWIND_NOT_NEEDED},
    {"local timeline unknown", {0, 10, true, 0}, 4, REWIND_UNKNOWN},
    {"local position unknown", {1, 0, true, 0}, 4, REWIND_UNKNOWN},
    {"leader's timeline unknown", {1, 10, true, 0}, 0, REWIND_UNKNOWN},
};

static void test_rewind_decide_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct rewind_position *p = &rows[i].local;
        enum rewind_need got = rewind_decide(p->timeline, p->lsn, p->in_recovery, p->shutdown_checkpoint_end_lsn,
                                             rows[i].leader_timeline, history, ARRAY_LEN(history));

        if (got != rows[i].want)
            fail_msg("%s: got %d", rows[i].name, (int)got);
    }
    assert_int_equal(rewind_decide(1, 10, true, 0, 2, NULL, 0), REWIND_NEEDED);
}

#define CONTROL(state)                                                                                                 \
    .control_known = true, .control_state = (state), .control_timeline = 3, .control_checkpoint_lsn = 30,              \
    .control_checkpoint_end_lsn = 31

static const struct {
    const char *name;
    struct local_pg local;
    int want_code;
    struct rewind_position want;
} positions[] = {
    {"clean primary", {CONTROL(PG_CONTROL_SHUT_DOWN)}, 0, {3, 30, false, 31, false}},
    {"clean primary that was a standby long ago",
     {CONTROL(PG_CONTROL_SHUT_DOWN), .control_min_recovery_lsn = 20, .control_min_recovery_timeline = 2},
     0,
     {3, 30, false, 31, false}},
    {"clean standby",
     {CONTROL(PG_CONTROL_SHUT_DOWN_IN_RECOVERY), .control_min_recovery_lsn = 40, .control_min_recovery_timeline = 4},
     0,
     {4, 40, true, 0, false}},
    {"killed standby",
     {CONTROL(PG_CONTROL_IN_ARCHIVE_RECOVERY), .control_min_recovery_lsn = 40, .control_min_recovery_timeline = 4},
     0,
     {4, 40, true, 0, false}},
    {"standby without a position counts as a primary",
     {CONTROL(PG_CONTROL_SHUT_DOWN_IN_RECOVERY), .control_min_recovery_timeline = 4},
     0,
     {3, 30, false, 31, false}},
    {"standby without a timeline counts as a primary",
     {CONTROL(PG_CONTROL_IN_ARCHIVE_RECOVERY), .control_min_recovery_lsn = 40},
     0,
     {3, 30, false, 31, false}},
    {"killed primary", {CONTROL(PG_CONTROL_IN_PRODUCTION)}, 0, {3, UINT64_MAX, false, 0, false}},
    {"primary killed while stopping", {CONTROL(PG_CONTROL_SHUTTING_DOWN)}, 0, {3, UINT64_MAX, false, 0, false}},
    {"primary killed while recovering", {CONTROL(PG_CONTROL_IN_CRASH_RECOVERY)}, 0, {3, UINT64_MAX, false, 0, false}},
    {"primary killed long after it was a standby",
     {CONTROL(PG_CONTROL_IN_PRODUCTION), .control_min_recovery_lsn = 20, .control_min_recovery_timeline = 3},
     0,
     {3, UINT64_MAX, false, 0, false}},
    {"primary killed right after its promotion",
     {CONTROL(PG_CONTROL_IN_PRODUCTION), .control_min_recovery_lsn = 40, .control_min_recovery_timeline = 4},
     0,
     {4, UINT64_MAX, false, 0, true}},
    {"unknown state", {CONTROL(PG_CONTROL_UNKNOWN)}, -EAGAIN, {0}},
    {"control file not read", {.control_state = PG_CONTROL_SHUT_DOWN}, -EAGAIN, {0}},
    {"running standby",
     {CONTROL(PG_CONTROL_SHUT_DOWN), .running = true, .accepting = true, .in_recovery = true, .timeline = 5,
      .replay_lsn = 50, .receive_lsn = 55},
     0,
     {5, 50, true, 0, false}},
    {"running standby that does not answer",
     {CONTROL(PG_CONTROL_SHUT_DOWN), .running = true, .in_recovery = true, .timeline = 5, .replay_lsn = 50},
     -EAGAIN,
     {0}},
    {"running primary",
     {CONTROL(PG_CONTROL_SHUT_DOWN), .running = true, .accepting = true, .timeline = 5, .current_lsn = 50},
     -EAGAIN,
     {0}},
};

static void test_rewind_local_position_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(positions); i++) {
        const struct rewind_position *want = &positions[i].want;
        struct rewind_position got = {0};
        struct err err = {0};

        if (rewind_local_position(&positions[i].local, &got, &err) != positions[i].want_code ||
            got.timeline != want->timeline || got.lsn != want->lsn || got.in_recovery != want->in_recovery ||
            got.shutdown_checkpoint_end_lsn != want->shutdown_checkpoint_end_lsn || got.is_alone != want->is_alone)
            fail_msg("%s: wrong", positions[i].name);
        if ((positions[i].want_code != 0) != (err.msg[0] != '\0'))
            fail_msg("%s: wrong message", positions[i].name);
    }
}

static const struct {
    const char *name;
    uint32_t local_timeline;
    struct history_line local[3];
    size_t n_local;
    uint32_t leader_timeline;
    struct history_line leader[3];
    size_t n_leader;
    struct rewind_span want[4];
    size_t n_want;
} forks[] = {
    {"same timeline", 1, {{0}}, 0, 1, {{0}}, 0, {{0}}, 0},
    {"the leader left our timeline", 1, {{0}}, 0, 2, {{1, 100}}, 1, {{1, 100, 0}}, 1},
    {"the leader left it two timelines ago", 1, {{0}}, 0, 3, {{1, 100}, {2, 200}}, 2, {{1, 100, 0}}, 1},
    {"we left the leader's", 2, {{1, 100}}, 1, 1, {{0}}, 0, {{2, 100, 0}}, 1},
    {"both left it, the leader first", 2, {{1, 150}}, 1, 3, {{1, 100}}, 1, {{1, 100, 150}, {2, 150, 0}}, 2},
    {"both left it, we first", 2, {{1, 80}}, 1, 3, {{1, 100}}, 1, {{2, 80, 0}}, 1},
    {"both left it at the same place", 2, {{1, 100}}, 1, 3, {{1, 100}}, 1, {{2, 100, 0}}, 1},
    {"the same number at another place is another timeline", 2, {{1, 90}}, 1, 2, {{1, 100}}, 1, {{2, 90, 0}}, 1},
    {"common past, then three of our own",
     5,
     {{1, 100}, {3, 200}, {4, 300}},
     3,
     6,
     {{1, 100}, {3, 150}},
     2,
     {{3, 150, 200}, {4, 200, 300}, {5, 300, 0}},
     3},
    {"nothing in common", 3, {{2, 100}}, 1, 1, {{0}}, 0, {{0}}, 0},
};

static void test_rewind_lost_spans_follow_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forks); i++) {
        struct rewind_span got[4];
        size_t n = rewind_lost_spans(forks[i].local_timeline, forks[i].local, forks[i].n_local,
                                     forks[i].leader_timeline, forks[i].leader, forks[i].n_leader, got);

        if (n != forks[i].n_want)
            fail_msg("%s: got %zu spans", forks[i].name, n);
        for (size_t k = 0; k < n; k++)
            if (got[k].timeline != forks[i].want[k].timeline || got[k].start_lsn != forks[i].want[k].start_lsn ||
                got[k].end_lsn != forks[i].want[k].end_lsn)
                fail_msg("%s: span %zu is wrong", forks[i].name, k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rewind_decide_follows_the_table),
        cmocka_unit_test(test_rewind_local_position_follows_the_table),
        cmocka_unit_test(test_rewind_lost_spans_follow_the_table),
    };

    return cmocka_run_group_tests_name("rewind", tests, NULL, NULL);
}
