/*
 * The keeper as a program, with a stand-in for pgtether-net: what it is told and when, and what the keeper believes and
 * waits for while it hangs, dies or cannot do what it is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "fake_net.h"
#include "node.h"

#define MS USEC_PER_MSEC
enum { LEASE = 77 };
#define ADDRESS "vip=primary,eth0,,10.0.0.100/24\n"

static struct fake_net *net;
static char net_path[128];

static int set_up(void **state)
{
    struct node *n;
    int fd;

    if (node_setup(state) < 0)
        return -1;
    n = *state;
    n->settings = "watchdog_mode=off\ngate_mode=nftables\npg_port=5432\n" ADDRESS;
    (void)text_print(net_path, sizeof(net_path), "%s.net", n->run_dir);
    fd = open(net_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, sizeof(*net)), 0);
    net = mmap(NULL, sizeof(*net), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(net != MAP_FAILED);
    closep(&fd);
    net->gate = KEEPER_GATE_CLOSED;
    (void)setenv("FAKE_NET", net_path, 1);
    return 0;
}

static int tear_down(void **state)
{
    if (net->pid)
        (void)kill((pid_t)net->pid, SIGKILL);
    (void)munmap(net, sizeof(*net));
    (void)unlink(net_path);
    (void)unsetenv("FAKE_NET");
    return node_teardown(state);
}

static struct keeper_answer status(struct node *n)
{
    return node_ask(n, KEEPER_STATUS, 0, 0, 0);
}

static struct keeper_answer serve(struct node *n, enum keeper_serve whom, uint64_t deadline_us)
{
    const struct fake_order order = {.command = FAKE_ASK,
                                     .request = {.version = KEEPER_PROTOCOL,
                                                 .op = KEEPER_SERVE,
                                                 .seq = ++n->seq,
                                                 .lease_id = whom == KEEPER_SERVE_PRIMARY ? LEASE : 0,
                                                 .deadline_us = deadline_us,
                                                 .serve = whom}};

    node_order(n, &order);
    return node_answer(n);
}

static struct net_order last_order(void)
{
    return net->n_orders ? net->orders[(net->n_orders - 1) % FAKE_NET_HISTORY] : (struct net_order){0};
}

static uint64_t wanted_gate_us, wanted_primary_us, wanted_replica_us;

static bool is_told(struct node *n)
{
    struct net_order o = last_order();

    (void)n;
    return net->n_orders && o.gate_until_us == wanted_gate_us && o.primary_until_us == wanted_primary_us &&
           o.replica_until_us == wanted_replica_us;
}

static void wait_until_told(struct node *n, uint64_t gate_us, uint64_t primary_us, uint64_t replica_us)
{
    wanted_gate_us = gate_us;
    wanted_primary_us = primary_us;
    wanted_replica_us = replica_us;
    node_wait_until(is_told, n, "order to pgtether-net");
}

static bool gate_is_closed(struct node *n)
{
    return status(n).gate == KEEPER_GATE_CLOSED;
}

static bool gate_failed(struct node *n)
{
    return status(n).gate == KEEPER_GATE_FAILED;
}

static bool is_settled(struct node *n)
{
    return status(n).addresses_settled;
}

static bool is_disarmed(struct node *n)
{
    return status(n).state == KEEPER_DISARMED;
}

/* With an installed pgtether the keeper would find that one's program, not the stand-in. */
static bool start(struct node *n)
{
    node_start(n);
    (void)status(n);
    for (int i = 0; i < 1000 && !net->pid; i++)
        (void)poll(NULL, 0, 5);
    if (!net->pid) {
        n->passed = true;
        return false;
    }
    node_wait_until(gate_is_closed, n, "gate");
    return true;
}

#define START_OR_SKIP(n)                                                                                               \
    if (!start(n))                                                                                                     \
    skip()

static uint64_t arm(struct node *n, uint64_t rest_us)
{
    uint64_t deadline_us = clock_now_us() + rest_us;

    assert_int_equal(node_ask(n, KEEPER_ARM, LEASE, deadline_us, 0).result, KEEPER_OK);
    return deadline_us;
}

static void test_orders_follow_the_lease_and_who_is_served(void **state)
{
    struct node *n = *state;
    uint64_t deadline_us, later_us;

    START_OR_SKIP(n);
    deadline_us = clock_now_us() + 5000 * MS;
    assert_int_equal(serve(n, KEEPER_SERVE_STANDBY, deadline_us).result, KEEPER_OK);
    wait_until_told(n, deadline_us, 0, 0);
    assert_int_equal(serve(n, KEEPER_SERVE_REPLICA_ADDRESS, deadline_us).result, KEEPER_OK);
    wait_until_told(n, deadline_us, 0, deadline_us);
    assert_int_equal(serve(n, KEEPER_SERVE_PRIMARY, 0).result, KEEPER_REFUSED_STATE);
    later_us = arm(n, 20000 * MS);
    wait_until_told(n, later_us, 0, 0);
    assert_int_equal(serve(n, KEEPER_SERVE_PRIMARY, 0).result, KEEPER_OK);
    wait_until_told(n, later_us, later_us, 0);
    later_us += 1000 * MS;
    assert_int_equal(node_ask(n, KEEPER_RENEW, LEASE, later_us, 0).result, KEEPER_OK);
    wait_until_told(n, later_us, later_us, 0);
    assert_int_equal(serve(n, KEEPER_SERVE_NONE, 0).result, KEEPER_OK);
    wait_until_told(n, later_us, 0, 0); /* a primary that stops still talks to its standbys */
    (void)node_ask(n, KEEPER_DISARM, 0, 0, 0);
    wait_until_told(n, 0, 0, 0);
    node_wait_until(is_disarmed, n, "DISARMED");
    n->passed = true;
}

static void test_lease_is_refused_while_the_required_gate_is_not_in_force(void **state)
{
    struct node *n = *state;
    uint64_t deadline_us;

    START_OR_SKIP(n);
    net->gate = KEEPER_GATE_FAILED;
    node_wait_until(gate_failed, n, "failed gate");
    deadline_us = clock_now_us() + 20000 * MS;
    assert_int_equal(node_ask(n, KEEPER_ARM, LEASE, deadline_us, 0).result, KEEPER_REFUSED_GATE);
    assert_int_equal(status(n).state, KEEPER_DISARMED);
    net->gate = KEEPER_GATE_CLOSED;
    node_wait_until(gate_is_closed, n, "gate");
    (void)arm(n, 20000 * MS);
    n->passed = true;
}

static void test_disarmed_waits_until_it_is_confirmed_that_all_is_shut(void **state)
{
    struct node *n = *state;
    uint64_t until_us;

    START_OR_SKIP(n);
    (void)arm(n, 20000 * MS);
    assert_int_equal(serve(n, KEEPER_SERVE_PRIMARY, 0).result, KEEPER_OK);
    node_wait_until(is_settled, n, "confirmation");
    net->not_shut = 1;
    assert_int_equal(node_ask(n, KEEPER_DISARM, 0, 0, 0).state, KEEPER_FENCING);
    until_us = clock_now_us() + 300 * MS;
    while (clock_now_us() < until_us) {
        struct keeper_answer a = status(n);

        assert_int_equal(a.state, KEEPER_FENCING);
        assert_false(a.addresses_settled);
    }
    net->not_shut = 0;
    node_wait_until(is_disarmed, n, "DISARMED");
    n->passed = true;
}

static void test_disarmed_waits_for_the_end_of_the_promise_when_nobody_confirms(void **state)
{
    struct node *n = *state;
    uint64_t deadline_us, asked_us;

    START_OR_SKIP(n);
    deadline_us = arm(n, 2500 * MS);
    assert_int_equal(serve(n, KEEPER_SERVE_PRIMARY, 0).result, KEEPER_OK);
    wait_until_told(n, deadline_us, deadline_us, 0);
    assert_int_equal(kill((pid_t)net->pid, SIGSTOP), 0);
    /* The agent lives as long as the lease leaves time: asked early, the keeper has nothing but the deadline to wait
     * for. */
    assert_int_equal(node_ask(n, KEEPER_DISARM, 0, 0, 0).state, KEEPER_FENCING);
    do {
        asked_us = clock_now_us();
        if (asked_us > deadline_us - 700 * MS)
            break; /* from there on the whole node is fenced, the agent too */
        assert_int_equal(status(n).state, KEEPER_FENCING);
    } while (true);
    node_wait_for_log(n, "fencing: the lease was not renewed in time");
    n->passed = true;
}

/* Nothing is armed: no ladder, only the promise of the standby. */
static void test_proof_for_a_standby_waits_for_its_promise_when_nobody_confirms(void **state)
{
    struct node *n = *state;
    uint64_t until_us = clock_now_us() + 1500 * MS;

    START_OR_SKIP(n);
    until_us = clock_now_us() + 1500 * MS;
    assert_int_equal(serve(n, KEEPER_SERVE_REPLICA_ADDRESS, until_us).result, KEEPER_OK);
    wait_until_told(n, until_us, 0, until_us);
    assert_int_equal(kill((pid_t)net->pid, SIGSTOP), 0);
    (void)node_ask(n, KEEPER_DISARM, 0, 0, 0);
    node_wait_until(is_disarmed, n, "DISARMED");
    assert_true(clock_now_us() >= until_us);
    n->passed = true;
}

static void test_hung_process_is_noticed_and_does_not_hold_the_keeper_up(void **state)
{
    struct node *n = *state;
    uint64_t deadline_us, asked_us;

    START_OR_SKIP(n);
    assert_int_equal(kill((pid_t)net->pid, SIGSTOP), 0);
    deadline_us = arm(n, 30000 * MS);
    /* More orders than a socket holds. */
    for (int i = 0; i < 2000; i++) {
        deadline_us += MS;
        asked_us = clock_now_us();
        assert_int_equal(node_ask(n, KEEPER_RENEW, LEASE, deadline_us, 0).result, KEEPER_OK);
        assert_true(clock_now_us() - asked_us < 1000 * MS);
    }
    node_wait_until(gate_failed, n, "silence");
    assert_int_equal(kill((pid_t)net->pid, SIGCONT), 0);
    node_wait_until(gate_is_closed, n, "an answer");
    wait_until_told(n, deadline_us, 0, 0); /* the newest, although it could not be sent then */
    n->passed = true;
}

static bool started_again(struct node *n)
{
    (void)n;
    return net->starts == 2;
}

static void test_dead_process_is_started_again_with_all_it_must_know(void **state)
{
    struct node *n = *state;
    uint64_t deadline_us;

    START_OR_SKIP(n);
    deadline_us = arm(n, 20000 * MS);
    assert_int_equal(serve(n, KEEPER_SERVE_PRIMARY, 0).result, KEEPER_OK);
    wait_until_told(n, deadline_us, deadline_us, 0);
    net->n_orders = 0;
    assert_int_equal(kill((pid_t)net->pid, SIGKILL), 0);
    node_wait_until(started_again, n, "new pgtether-net");
    wait_until_told(n, deadline_us, deadline_us, 0);
    assert_int_equal(net->n_orders, 1); /* the first order says it all: it neither opens nor closes what it finds */
    node_wait_until(gate_is_closed, n, "gate");
    assert_int_equal(status(n).net_restarts, 1);
    n->passed = true;
}

static void test_process_that_reports_nonsense_is_started_again(void **state)
{
    struct node *n = *state;

    START_OR_SKIP(n);
    net->says_junk = 1;
    node_wait_until(started_again, n, "new pgtether-net");
    node_wait_for_log(n, "unrecognized report from pgtether-net");
    n->passed = true;
}

static void test_status_names_addresses_and_gate(void **state)
{
    struct node *n = *state;

    START_OR_SKIP(n);
    net->gate = KEEPER_GATE_OPEN;
    net->held = 1;
    (void)arm(n, 20000 * MS);
    node_wait_for_notify(n, "1 address held, gate open, watchdog off");
    net->held = 0;
    node_wait_for_notify(n, "0 addresses held, gate open, watchdog off");
    n->passed = true;
}

static bool was_ended(struct node *n)
{
    (void)n;
    return last_order().flags & NET_END;
}

static void test_end_in_order_tells_it_to_take_all_away(void **state)
{
    struct node *n = *state;

    START_OR_SKIP(n);
    (void)kill(n->keeper, SIGTERM);
    (void)node_report(n);
    node_exit_agent(n, 0);
    assert_int_equal(node_wait_for_exit(n), 0);
    n->keeper = 0;
    assert_true(was_ended(n));
    n->passed = true;
}

static bool net_is_gone(struct node *n)
{
    (void)n;
    return kill((pid_t)net->pid, 0) < 0 && errno == ESRCH;
}

static void test_killed_keeper_leaves_all_to_its_successor(void **state)
{
    struct node *n = *state;

    START_OR_SKIP(n);
    (void)kill(n->keeper, SIGKILL);
    node_wait_until(net_is_gone, n, "end of pgtether-net");
    assert_false(was_ended(n));
    n->passed = true;
}

/* The agent will say the same again, but not before SQL has answered it. */
static void test_successor_serves_as_its_predecessor_did(void **state)
{
    struct node *n = *state;
    uint64_t deadline_us;

    START_OR_SKIP(n);
    deadline_us = arm(n, 20000 * MS);
    assert_int_equal(serve(n, KEEPER_SERVE_PRIMARY, 0).result, KEEPER_OK);
    wait_until_told(n, deadline_us, deadline_us, 0);
    net->n_orders = 0;
    (void)kill(n->keeper, SIGKILL);
    (void)node_wait_for_exit(n);
    node_start(n);
    node_wait_until(started_again, n, "new pgtether-net");
    wait_until_told(n, deadline_us, deadline_us, 0);
    assert_int_equal(net->n_orders, 1);
    assert_int_equal(status(n).serve, KEEPER_SERVE_PRIMARY);
    n->passed = true;
}

/* --- the messages ---------------------------------------------------------------------------------------------------
 */

static void test_messages_that_cannot_be_ones_are_refused(void **state)
{
    const struct net_report good = {.version = NET_PROTOCOL, .gate = KEEPER_GATE_OPEN, .addresses = 1, .shut = 1};
    const struct net_order order = {.version = NET_PROTOCOL, .seq = 9, .gate_until_us = 5};
    struct net_report r, bad;
    struct net_order o;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(net_recv_order(pair[1], &o, NULL), -EAGAIN);
    assert_int_equal(net_send_order(pair[0], &order, NULL), 0);
    assert_int_equal(net_recv_order(pair[1], &o, NULL), 0);
    assert_int_equal(o.seq, 9);
    o.version = NET_PROTOCOL + 1;
    assert_int_equal(net_send_order(pair[0], &o, NULL), 0);
    assert_int_equal(net_recv_order(pair[1], &o, NULL), -EBADMSG);
    assert_true(send(pair[0], &order, sizeof(order) - 1, 0) > 0);
    assert_int_equal(net_recv_order(pair[1], &o, NULL), -EBADMSG);
    assert_int_equal(net_send_report(pair[1], &good, NULL), 0);
    assert_int_equal(net_recv_report(pair[0], &r, NULL), 0);
    assert_int_equal(r.gate, KEEPER_GATE_OPEN);
    for (int i = 0; i < 6; i++) {
        bad = good;
        if (i == 0)
            bad.version++;
        if (i == 1)
            bad.gate = KEEPER_GATE_FAILED + 1;
        if (i == 2)
            bad.shut = 2;
        if (i == 3)
            bad.addresses_held = 2;
        if (i == 4)
            memset(bad.problem, 'x', sizeof(bad.problem));
        assert_true(send(pair[1], &bad, sizeof(bad) - (i == 5), 0) > 0);
        assert_int_equal(net_recv_report(pair[0], &r, NULL), -EBADMSG);
    }
    while (net_send_order(pair[0], &order, NULL) == 0)
        ;
    assert_int_equal(net_send_order(pair[0], &order, NULL), -EAGAIN);
    (void)close(pair[1]);
    assert_int_equal(net_send_order(pair[0], &order, NULL), -ECONNRESET);
    assert_int_equal(net_recv_report(pair[0], &r, NULL), -ECONNRESET);
    (void)close(pair[0]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_that_cannot_be_ones_are_refused),
        TEST(test_orders_follow_the_lease_and_who_is_served),
        TEST(test_lease_is_refused_while_the_required_gate_is_not_in_force),
        TEST(test_disarmed_waits_until_it_is_confirmed_that_all_is_shut),
        TEST(test_disarmed_waits_for_the_end_of_the_promise_when_nobody_confirms),
        TEST(test_proof_for_a_standby_waits_for_its_promise_when_nobody_confirms),
        TEST(test_hung_process_is_noticed_and_does_not_hold_the_keeper_up),
        TEST(test_dead_process_is_started_again_with_all_it_must_know),
        TEST(test_process_that_reports_nonsense_is_started_again),
        TEST(test_status_names_addresses_and_gate),
        TEST(test_end_in_order_tells_it_to_take_all_away),
        TEST(test_killed_keeper_leaves_all_to_its_successor),
        TEST(test_successor_serves_as_its_predecessor_did),
    };

    return cmocka_run_group_tests_name("keeper_net", tests, NULL, NULL);
}
