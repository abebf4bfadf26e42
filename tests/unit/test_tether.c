/*
 * The agent's hold on the leader key, with a store and a keeper made of arrays: what late answers, lost operations and
 * refusals do to it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/text.h"
#include "io/file.h"

#define S UINT64_C(1000000)
enum { OLD = 71, NEW = 72 };

/* One question to the store that has not been answered yet. */
struct question {
    dcs_done_fn done;
    void *userdata;
    uint64_t session;
};

static struct {
    struct question renew, acquire, reclaim;
    unsigned n_renews, n_acquires, n_reclaims;
    struct dcs_guard guard; /* of the acquisition */
    uint64_t released;      /* the session last given back */
} store;

static struct fixture {
    struct agent a;
    struct config config;
    struct dynamic dynamic;
    struct dcs dcs;
    int keeper_fd;
    unsigned n_armed, n_not_armed;
    uint64_t acquired; /* session handed to the operation */
} f;

static void fake_acquire(struct dcs *d, const char *name, uint64_t ttl_us, struct dcs_guard guard, uint64_t deadline_us,
                         dcs_done_fn done, void *userdata)
{
    (void)d;
    (void)name;
    (void)ttl_us;
    (void)deadline_us;
    store.acquire = (struct question){done, userdata, 0};
    store.guard = guard;
    store.n_acquires++;
}

static void fake_renew(struct dcs *d, const char *name, uint64_t session, uint64_t deadline_us, dcs_done_fn done,
                       void *userdata)
{
    (void)d;
    (void)name;
    (void)deadline_us;
    store.renew = (struct question){done, userdata, session};
    store.n_renews++;
}

static void fake_reclaim(struct dcs *d, const char *name, uint64_t session, uint64_t ttl_us, uint64_t deadline_us,
                         dcs_done_fn done, void *userdata)
{
    (void)d;
    (void)name;
    (void)ttl_us;
    (void)deadline_us;
    store.reclaim = (struct question){done, userdata, session};
    store.n_reclaims++;
}

static void fake_get_cluster(struct dcs *d, bool linearizable, uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    (void)d;
    (void)linearizable;
    (void)deadline_us;
    (void)done;
    (void)userdata;
}

static void fake_release(struct dcs *d, const char *name, uint64_t session, uint64_t deadline_us, dcs_done_fn done,
                         void *userdata)
{
    (void)d;
    (void)name;
    (void)deadline_us;
    (void)done;
    (void)userdata;
    store.released = session;
}

static const struct dcs_ops ops = {
    .name = "fake",
    .get_cluster = fake_get_cluster,
    .acquire_leader = fake_acquire,
    .renew_leader = fake_renew,
    .reclaim_leader = fake_reclaim,
    .release_leader = fake_release,
};

static void answer(const struct question *q, enum dcs_outcome outcome, uint64_t session, uint64_t sent_at_us)
{
    struct dcs_answer a = {.outcome = outcome, .session = session, .sent_at_us = sent_at_us, .ttl_us = 30 * S};

    q->done(q->userdata, &a);
}

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
    f.dynamic.policy = POLICY_DEFAULT;
    f.a.config = &f.config;
    f.a.dynamic = &f.dynamic;
    f.a.dcs = &f.dcs;
    assert_true(sd_event_new(&f.a.loop) >= 0);
    assert_int_equal(keeper_link_new(f.a.loop, pair[0], on_keeper_gone, &f, &f.a.link, NULL), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    op_end(&f.a);
    f.a.renew_timer = sd_event_source_disable_unref(f.a.renew_timer);
    f.a.link = keeper_link_free(f.a.link);
    f.a.loop = sd_event_unref(f.a.loop);
    (void)close(f.keeper_fd);
    return 0;
}

static void run_loop_until(const unsigned *counter, unsigned value)
{
    uint64_t give_up_us = clock_now_us() + 10 * S;

    while (*counter < value && clock_now_us() < give_up_us)
        assert_true(sd_event_run(f.a.loop, 100000) >= 0);
    assert_true(*counter >= value);
}

static void lead(uint64_t session)
{
    struct dcs_answer a = {.outcome = DCS_DONE, .session = session, .sent_at_us = clock_now_us(), .ttl_us = 30 * S};

    tether_keep(&f.a, &a);
}

static void test_renewal_when_answered_after_a_new_lease_then_does_not_touch_it(void **state)
{
    uint64_t deadline_us;
    struct question late;

    (void)state;
    lead(OLD);
    tether_renew_soon(&f.a);
    run_loop_until(&store.n_renews, 1);
    late = store.renew;
    tether_release(&f.a, NULL);
    lead(NEW);
    deadline_us = f.a.lease.deadline_us;

    answer(&late, DCS_DONE, OLD, clock_now_us() + S);
    assert_int_equal(f.a.lease.session, NEW);
    assert_int_equal(f.a.lease.deadline_us, deadline_us);
    answer(&late, DCS_REFUSED, OLD, clock_now_us());
    assert_true(f.a.lease.held);
}

static void test_renewal_when_the_one_before_belongs_to_an_older_lease_then_it_goes_out(void **state)
{
    (void)state;
    lead(OLD);
    tether_renew_soon(&f.a);
    run_loop_until(&store.n_renews, 1);
    tether_release(&f.a, NULL);
    lead(NEW);
    tether_renew_soon(&f.a);
    run_loop_until(&store.n_renews, 2);
    assert_int_equal(store.renew.session, NEW);
}

static void test_renewal_when_released_meanwhile_then_the_lease_stays_given_up(void **state)
{
    (void)state;
    lead(OLD);
    tether_renew_soon(&f.a);
    run_loop_until(&store.n_renews, 1);
    tether_release(&f.a, NULL);
    answer(&store.renew, DCS_DONE, OLD, clock_now_us());
    assert_false(f.a.lease.held);
}

static void test_renewal_when_sent_before_the_last_then_the_deadline_does_not_move_back(void **state)
{
    uint64_t deadline_us;

    (void)state;
    lead(NEW);
    deadline_us = f.a.lease.deadline_us;
    tether_renew_soon(&f.a);
    run_loop_until(&store.n_renews, 1);
    answer(&store.renew, DCS_DONE, NEW, clock_now_us() - 5 * S);
    assert_int_equal(f.a.lease.deadline_us, deadline_us);
}

static void on_acquired(struct agent *a, struct dcs_answer *got)
{
    (void)a;
    f.acquired = got->outcome == DCS_DONE ? got->session : 0;
}

static void test_acquired_key_when_its_operation_has_ended_then_it_is_given_back(void **state)
{
    (void)state;
    op_begin(&f.a, OP_ACQUIRE, NULL);
    tether_acquire(&f.a, (struct dcs_guard){0}, on_acquired);
    op_end(&f.a);
    answer(&store.acquire, DCS_DONE, NEW, clock_now_us());
    assert_int_equal(f.acquired, 0);
    assert_int_equal(store.released, NEW);
    assert_false(f.a.lease.held);
}

static void test_election_asks_for_the_key_only_if_no_timeline_was_reserved_since(void **state)
{
    struct cluster c = {.timeline = {true, 3, 9}};

    (void)state;
    f.a.cluster = &c;
    act(&f.a, &(struct ha_decision){.action = HA_ACQUIRE});
    f.a.cluster = NULL;
    assert_int_equal(store.n_acquires, 1);
    assert_string_equal(store.guard.key, "timeline");
    assert_int_equal(store.guard.revision, 9);
}

static void test_acquired_key_when_another_operation_wants_it_then_one_question_is_enough(void **state)
{
    (void)state;
    op_begin(&f.a, OP_ACQUIRE, NULL);
    tether_acquire(&f.a, (struct dcs_guard){0}, on_acquired);
    op_begin(&f.a, OP_ACQUIRE, NULL);
    tether_acquire(&f.a, (struct dcs_guard){0}, on_acquired);
    assert_int_equal(store.n_acquires, 1);
    answer(&store.acquire, DCS_DONE, NEW, clock_now_us());
    assert_int_equal(f.acquired, NEW);
    assert_int_equal(store.released, 0);
}

static void keeper_says(enum keeper_result result, enum keeper_state state, uint64_t lease_id, uint64_t fence_at_us);
static void begin_arming(void);

/* A primary whose renewal finds no leader key. */
static void lead_without_key(void)
{
    struct dcs_answer gone = {.outcome = DCS_REFUSED, .session = NEW, .err = {.code = -ENOENT}};

    begin_arming();
    keeper_says(KEEPER_OK, KEEPER_ARMED, NEW, clock_now_us() + 20 * S);
    op_end(&f.a);
    tether_renew_soon(&f.a);
    run_loop_until(&store.n_renews, 1);
    store.renew.done(store.renew.userdata, &gone);
}

static void test_key_that_is_gone_when_the_lease_is_provable_then_it_is_written_again_and_renewed(void **state)
{
    uint64_t deadline_us;

    (void)state;
    lead_without_key();
    assert_int_equal(store.n_reclaims, 1);
    assert_int_equal(store.reclaim.session, NEW);
    assert_true(f.a.lease.held);
    deadline_us = f.a.lease.deadline_us;
    answer(&store.reclaim, DCS_DONE, NEW, clock_now_us() + S);
    assert_int_equal(f.a.lease.deadline_us, deadline_us); /* only a renewal says how long it holds */
    run_loop_until(&store.n_renews, 2);
    answer(&store.renew, DCS_DONE, NEW, clock_now_us() + S);
    assert_true(f.a.lease.deadline_us > deadline_us);
}

static void test_key_that_is_gone_when_somebody_was_faster_then_it_is_lost(void **state)
{
    (void)state;
    lead_without_key();
    answer(&store.reclaim, DCS_REFUSED, NEW, clock_now_us());
    assert_false(f.a.lease.held);
}

static void test_key_that_is_gone_when_the_outcome_is_unknown_then_it_is_looked_at_again(void **state)
{
    (void)state;
    lead_without_key();
    answer(&store.reclaim, DCS_UNKNOWN, NEW, clock_now_us());
    assert_true(f.a.lease.held);
    run_loop_until(&store.n_renews, 2);
}

static void test_key_that_is_gone_when_nothing_is_armed_then_it_is_lost(void **state)
{
    struct dcs_answer gone = {.outcome = DCS_REFUSED, .session = NEW, .err = {.code = -ENOENT}};

    (void)state;
    lead(NEW);
    tether_renew_soon(&f.a);
    run_loop_until(&store.n_renews, 1);
    store.renew.done(store.renew.userdata, &gone);
    assert_int_equal(store.n_reclaims, 0);
    assert_false(f.a.lease.held);
}

static void test_key_that_is_gone_when_the_lease_was_given_up_meanwhile_then_the_answer_changes_nothing(void **state)
{
    (void)state;
    lead_without_key();
    tether_release(&f.a, NULL);
    answer(&store.reclaim, DCS_DONE, NEW, clock_now_us());
    assert_false(f.a.lease.held);
}

static void test_lease_when_prolonged_by_promises_then_it_only_grows_and_the_keeper_is_told(void **state)
{
    uint64_t deadline_us;
    struct keeper_request request;
    int pidfd;

    (void)state;
    begin_arming();
    keeper_says(KEEPER_OK, KEEPER_ARMED, NEW, clock_now_us() + 20 * S);
    op_end(&f.a);
    deadline_us = f.a.lease.deadline_us;
    tether_prolong(&f.a, deadline_us);
    assert_int_equal(keeper_recv(f.keeper_fd, &request, &pidfd, NULL), -EAGAIN);
    tether_prolong(&f.a, deadline_us + S);
    assert_int_equal(f.a.lease.deadline_us, deadline_us + S);
    assert_int_equal(keeper_recv(f.keeper_fd, &request, &pidfd, NULL), 0);
    assert_int_equal(request.op, KEEPER_RENEW);
    assert_int_equal(request.deadline_us, deadline_us + S);
    f.a.lease.held = false;
    tether_prolong(&f.a, deadline_us + 2 * S);
    assert_int_equal(f.a.lease.deadline_us, deadline_us + S);
}

/* --- arming --------------------------------------------------------------------------------------------------------
 */

static void on_armed(struct agent *a, bool yes)
{
    (void)a;
    f.n_armed += yes;
    f.n_not_armed += !yes;
}

/* Answers the next request, which must be an ARM, after the loop had its turn. */
static void keeper_says(enum keeper_result result, enum keeper_state state, uint64_t lease_id, uint64_t fence_at_us)
{
    struct keeper_answer a = {.version = KEEPER_PROTOCOL,
                              .op = KEEPER_ARM,
                              .result = (uint16_t)result,
                              .state = (uint16_t)state,
                              .lease_id = lease_id,
                              .deadline_us = fence_at_us ? fence_at_us + S : 0,
                              .fence_at_us = fence_at_us};
    uint64_t give_up_us = clock_now_us() + 10 * S;
    struct keeper_request request;
    int pidfd, r;

    while ((r = keeper_recv(f.keeper_fd, &request, &pidfd, NULL)) == -EAGAIN && clock_now_us() < give_up_us)
        assert_true(sd_event_run(f.a.loop, 10000) >= 0);
    assert_int_equal(r, 0);
    assert_int_equal(request.op, KEEPER_ARM);
    a.seq = request.seq;
    assert_int_equal(keeper_answer(f.keeper_fd, &a, NULL), 0);
    assert_true(sd_event_run(f.a.loop, 0) >= 0);
}

static void begin_arming(void)
{
    lead(NEW);
    op_begin(&f.a, OP_PROMOTE, NULL);
    op_arm(&f.a, on_armed);
}

static void test_arming_when_the_keeper_arms_then_it_is_permitted(void **state)
{
    (void)state;
    begin_arming();
    keeper_says(KEEPER_OK, KEEPER_ARMED, NEW, clock_now_us() + 20 * S);
    assert_int_equal(f.n_armed, 1);
}

static char record_dir[64];

/* Also SIGCHLD, as the agent's main program has it. */
static int set_up_record(void **state)
{
    sigset_t signals;

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    (void)text_copy(record_dir, sizeof(record_dir), "/tmp/fence.XXXXXX");
    if (!mkdtemp(record_dir))
        return -1;
    (void)setenv("PGTETHER_STATE_DIR", record_dir, 1);
    return set_up(state);
}

static int tear_down_record(void **state)
{
    char command[128];
    int r = tear_down(state);

    fence_record_done(&f.a);
    (void)unsetenv("PGTETHER_STATE_DIR");
    (void)text_print(command, sizeof(command), "rm -rf '%s'", record_dir);
    return r < 0 ? r : system(command);
}

static bool record_says(const char *text)
{
    CLEANUP(freep) char *found = NULL;
    char path[96];

    (void)text_print(path, sizeof(path), "%s/armed", record_dir);
    return file_read(path, 4096, &found, NULL, NULL) == 0 && strstr(found, text);
}

static bool keeper_was_asked(void)
{
    struct pollfd p = {.fd = f.keeper_fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

static void test_arming_when_the_lease_is_recorded_then_the_keeper_is_asked_and_the_end_is_recorded(void **state)
{
    (void)state;
    begin_arming();
    assert_false(keeper_was_asked()); /* however fast the child is, its end is news for the loop */
    while (!keeper_was_asked())
        assert_true(sd_event_run(f.a.loop, 10000) >= 0);
    assert_true(record_says("\nstate=armed\n"));
    keeper_says(KEEPER_OK, KEEPER_ARMED, NEW, clock_now_us() + 20 * S);
    assert_int_equal(f.n_armed, 1);
    assert_true(record_says("\nstate=armed\n"));
    assert_true(record_says("\nlease=0000000000000048\n"));

    fence_record_end(&f.a);
    fence_record_finish(&f.a); /* the process ends: not before that is written */
    assert_true(record_says("\nstate=ended\n"));
}

static void test_arming_when_the_disk_hangs_then_the_record_is_not_waited_for(void **state)
{
    uint64_t began_us = clock_now_us();

    (void)state;
    begin_arming();
    assert_true(f.a.record.pid > 0);
    (void)kill(f.a.record.pid, SIGSTOP);
    keeper_says(KEEPER_OK, KEEPER_ARMED, NEW, clock_now_us() + 20 * S);
    assert_int_equal(f.n_armed, 1);
    assert_in_range(clock_now_us() - began_us, 900000, 5 * S);
    assert_false(record_says("armed"));
    (void)kill(f.a.record.pid, SIGKILL);
}

static void test_arming_when_the_operation_ends_before_the_record_then_the_keeper_is_not_asked(void **state)
{
    (void)state;
    begin_arming();
    assert_true(f.a.record.pid > 0);
    (void)kill(f.a.record.pid, SIGSTOP);
    op_end(&f.a);
    (void)kill(f.a.record.pid, SIGCONT);
    while (f.a.record.child)
        assert_true(sd_event_run(f.a.loop, 10000) >= 0);
    assert_false(keeper_was_asked());
}

static void test_arming_when_the_answer_is_older_than_the_fence_point_then_it_permits_nothing(void **state)
{
    (void)state;
    begin_arming();
    keeper_says(KEEPER_OK, KEEPER_ARMED, NEW, clock_now_us() - 1);
    assert_int_equal(f.n_armed, 0);
    keeper_says(KEEPER_REFUSED_STATE, KEEPER_FENCING, NEW, clock_now_us() - 1);
    assert_int_equal(f.n_not_armed, 1);
}

static void test_arming_when_another_lease_is_armed_then_it_permits_nothing(void **state)
{
    (void)state;
    begin_arming();
    keeper_says(KEEPER_OK, KEEPER_ARMED, OLD, clock_now_us() + 20 * S);
    assert_int_equal(f.n_armed, 0);
}

static void test_arming_when_even_a_renewed_lease_is_too_short_then_it_is_given_up(void **state)
{
    (void)state;
    begin_arming();
    keeper_says(KEEPER_REFUSED_LATE, KEEPER_DISARMED, 0, 0);
    assert_int_equal(f.n_not_armed, 0);
    run_loop_until(&store.n_renews, 1);
    answer(&store.renew, DCS_DONE, NEW, clock_now_us());
    keeper_says(KEEPER_REFUSED_LATE, KEEPER_DISARMED, 0, 0);
    assert_int_equal(f.n_not_armed, 1);
    assert_true(f.a.keeper_refused);
}

static void test_arming_when_the_keeper_is_gone_then_it_is_not_permitted(void **state)
{
    (void)state;
    lead(NEW);
    assert_int_equal(shutdown(f.keeper_fd, SHUT_RDWR), 0);
    while (keeper_link_connected(f.a.link))
        assert_true(sd_event_run(f.a.loop, 100000) >= 0);
    op_begin(&f.a, OP_PROMOTE, NULL);
    op_arm(&f.a, on_armed);
    assert_int_equal(f.n_not_armed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_renewal_when_answered_after_a_new_lease_then_does_not_touch_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_renewal_when_the_one_before_belongs_to_an_older_lease_then_it_goes_out,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_renewal_when_released_meanwhile_then_the_lease_stays_given_up, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_renewal_when_sent_before_the_last_then_the_deadline_does_not_move_back,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_acquired_key_when_its_operation_has_ended_then_it_is_given_back, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_election_asks_for_the_key_only_if_no_timeline_was_reserved_since, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_acquired_key_when_another_operation_wants_it_then_one_question_is_enough,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_key_that_is_gone_when_the_lease_is_provable_then_it_is_written_again_and_renewed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_key_that_is_gone_when_somebody_was_faster_then_it_is_lost, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_key_that_is_gone_when_the_outcome_is_unknown_then_it_is_looked_at_again,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_key_that_is_gone_when_nothing_is_armed_then_it_is_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_key_that_is_gone_when_the_lease_was_given_up_meanwhile_then_the_answer_changes_nothing, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(test_lease_when_prolonged_by_promises_then_it_only_grows_and_the_keeper_is_told,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_arming_when_the_keeper_arms_then_it_is_permitted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_arming_when_the_lease_is_recorded_then_the_keeper_is_asked_and_the_end_is_recorded, set_up_record,
            tear_down_record),
        cmocka_unit_test_setup_teardown(test_arming_when_the_disk_hangs_then_the_record_is_not_waited_for,
                                        set_up_record, tear_down_record),
        cmocka_unit_test_setup_teardown(
            test_arming_when_the_operation_ends_before_the_record_then_the_keeper_is_not_asked, set_up_record,
            tear_down_record),
        cmocka_unit_test_setup_teardown(
            test_arming_when_the_answer_is_older_than_the_fence_point_then_it_permits_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_arming_when_another_lease_is_armed_then_it_permits_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_arming_when_even_a_renewed_lease_is_too_short_then_it_is_given_up, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_arming_when_the_keeper_is_gone_then_it_is_not_permitted, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests_name("tether", tests, NULL, NULL);
}
