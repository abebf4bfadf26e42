/*
 * pgtether-net itself against the real kernel, told by a test in the keeper's place: what is held and open when it was
 * told, and what becomes of that when it is told nonsense, hangs, or loses its keeper. Skipped without the right to
 * make network namespaces.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/core.h"
#include "base/text.h"
#include "fence/net.h"
#include "netlab.h"

#define MS USEC_PER_MSEC
#define PRIMARY "10.77.0.100"
#define REPLICA "10.77.0.101"

static bool usable;
static char program[PATH_MAX];
static struct {
    pid_t pid;
    int fd;
    uint32_t seq;
    struct net_report report;
} net = {.fd = -1};

static void start_net(const char *gate_mode)
{
    char mode[32];
    char *argv[] = {program,
                    (char *)"scope=main",
                    (char *)"name=node1",
                    mode,
                    (char *)"pg_port=5432",
                    (char *)"vip=primary,near,," PRIMARY "/24",
                    (char *)"vip=replica,near,," REPLICA "/24",
                    NULL};
    int pair[2];

    (void)text_print(mode, sizeof(mode), "gate_mode=%s", gate_mode);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    net.pid = fork();
    if (net.pid == 0) {
        (void)fcntl(pair[1], F_SETFD, 0);
        if (pair[1] != NET_KEEPER_FD)
            (void)dup2(pair[1], NET_KEEPER_FD);
        (void)execv(program, argv);
        _exit(99);
    }
    assert_true(net.pid > 0);
    (void)close(pair[1]);
    net.fd = pair[0];
    net.seq = 0;
    net.report = (struct net_report){0};
}

static int set_up_all(void **state)
{
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 64);

    (void)state;
    assert_true(n > 0);
    program[n] = '\0';
    *strrchr(program, '/') = '\0';
    assert_true(text_print(program + strlen(program), sizeof(program) - strlen(program), "/../../pgtether-net"));
    usable = access(program, X_OK) == 0 && netlab_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    closep(&net.fd);
    if (net.pid) {
        (void)kill(net.pid, SIGKILL);
        (void)waitpid(net.pid, NULL, 0);
    }
    net.pid = 0;
    if (usable)
        (void)netlab_output("exec 2>&1; ip addr del " PRIMARY "/24 dev near; ip addr del " REPLICA "/24 dev near; "
                            "nft flush ruleset");
    return 0;
}

static void order_with(uint16_t flags, uint64_t gate_us, uint64_t primary_us, uint64_t replica_us)
{
    const struct net_order o = {NET_PROTOCOL, flags, ++net.seq, gate_us, primary_us, replica_us};

    assert_int_equal(net_send_order(net.fd, &o, NULL), 0);
}

static void order(uint64_t gate_us, uint64_t primary_us, uint64_t replica_us)
{
    order_with(0, gate_us, primary_us, replica_us);
}

/* Reads reports until the newest is about the last order, with that many addresses held and this said of `shut`. */
static void wait_for_report(unsigned held, unsigned shut)
{
    uint64_t give_up_us = clock_now_us() + NETLAB_PATIENCE_MS * MS;

    while (net.report.seq != net.seq || net.report.addresses_held != held || net.report.shut != shut) {
        if (clock_now_us() > give_up_us)
            fail_msg("report: seq %u of %u, %u held, shut %u: %s", net.report.seq, net.seq, net.report.addresses_held,
                     net.report.shut, net.report.problem);
        (void)netlab_wait(net.fd, POLLIN, 100);
        (void)net_recv_report(net.fd, &net.report, NULL);
    }
}

static bool is_there(const char *address)
{
    return strstr(netlab_output("ip -o addr show dev near"), address) != NULL;
}

static void wait_for_end(void)
{
    uint64_t give_up_us = clock_now_us() + NETLAB_PATIENCE_MS * MS;

    while (waitpid(net.pid, NULL, WNOHANG) == 0) {
        if (clock_now_us() > give_up_us)
            fail_msg("pgtether-net does not end");
        (void)poll(NULL, 0, 5);
    }
    net.pid = 0;
}

/* The kernel takes the address away by itself, before the lease ends. */
static void wait_until_gone(const char *address, uint64_t deadline_us)
{
    while (is_there(address))
        if (clock_now_us() > deadline_us)
            fail_msg("%s is still there", address);
}

#define NEEDS_ROOT                                                                                                     \
    if (!usable)                                                                                                       \
    skip()

static void test_addresses_and_gate_are_as_ordered_and_shut_is_reported(void **state)
{
    uint64_t until_us = clock_now_us() + 20000 * MS;

    (void)state;
    NEEDS_ROOT;
    start_net("nftables");
    order(0, 0, 0);
    wait_for_report(0, 1);
    assert_int_equal(net.report.addresses, 2);
    assert_int_equal(net.report.gate, KEEPER_GATE_CLOSED);
    order(until_us, until_us, 0);
    wait_for_report(1, 1);
    assert_int_equal(net.report.gate, KEEPER_GATE_OPEN);
    assert_true(is_there(PRIMARY) && !is_there(REPLICA));
    order(until_us, 0, until_us);
    wait_for_report(1, 1);
    assert_true(!is_there(PRIMARY) && is_there(REPLICA));
    order(0, 0, 0);
    wait_for_report(0, 1);
    assert_true(!is_there(PRIMARY) && !is_there(REPLICA));
    assert_int_equal(net.report.gate, KEEPER_GATE_CLOSED);
}

/* What is left of such a connection would keep PostgreSQL from ending, and its client cannot be told. */
static void test_connections_to_an_address_that_goes_are_ended_and_no_others(void **state)
{
    uint64_t until_us = clock_now_us() + 20000 * MS;
    int listener, client, server, other_client, other_server;

    (void)state;
    NEEDS_ROOT;
    start_net("off");
    order(0, until_us, 0);
    wait_for_report(1, 1);
    listener = netlab_listen("0.0.0.0", 5432);
    netlab_connect(true, listener, PRIMARY, 5432, &client, &server);
    netlab_connect(true, listener, NETLAB_NEAR4, 5432, &other_client, &other_server);
    order(0, 0, 0);
    assert_true(netlab_wait(server, POLLERR, NETLAB_PATIENCE_MS));
    wait_for_report(0, 1);
    assert_true(netlab_passes(other_client, other_server));
    (void)close(client);
    (void)close(server);
    (void)close(other_client);
    (void)close(other_server);
    (void)close(listener);
}

static void test_message_that_is_none_ends_it_and_the_kernel_ends_what_it_held(void **state)
{
    uint64_t until_us = clock_now_us() + 4000 * MS;

    (void)state;
    NEEDS_ROOT;
    start_net("off");
    order(0, until_us, 0);
    wait_for_report(1, 1);
    assert_true(send(net.fd, "nonsense", 8, 0) > 0);
    wait_for_end();
    assert_true(is_there(PRIMARY));
    wait_until_gone(PRIMARY, until_us);
}

static void test_address_of_a_stopped_process_goes_before_the_lease_ends(void **state)
{
    uint64_t until_us = clock_now_us() + 4000 * MS;

    (void)state;
    NEEDS_ROOT;
    start_net("off");
    order(0, until_us, 0);
    wait_for_report(1, 1);
    assert_int_equal(kill(net.pid, SIGSTOP), 0);
    wait_until_gone(PRIMARY, until_us);
}

static void test_lost_keeper_leaves_all_and_a_successor_goes_on_without_a_gap(void **state)
{
    uint64_t until_us = clock_now_us() + 20000 * MS;

    (void)state;
    NEEDS_ROOT;
    start_net("nftables");
    order(until_us, until_us, 0);
    wait_for_report(1, 1);
    closep(&net.fd);
    wait_for_end();
    assert_true(is_there(PRIMARY));
    assert_non_null(strstr(netlab_output("nft list tables"), "pgtether_main_node1"));
    start_net("nftables");
    order(until_us, until_us, 0);
    wait_for_report(1, 1);
    assert_int_equal(net.report.gate, KEEPER_GATE_OPEN);
    assert_true(is_there(PRIMARY));
}

static void test_end_in_order_takes_all_away(void **state)
{
    uint64_t until_us = clock_now_us() + 20000 * MS;

    (void)state;
    NEEDS_ROOT;
    start_net("nftables");
    order(until_us, until_us, 0);
    wait_for_report(1, 1);
    order_with(NET_END, 0, 0, 0);
    wait_for_end();
    assert_false(is_there(PRIMARY));
    assert_null(strstr(netlab_output("nft list tables"), "pgtether_main_node1"));
}

/* A successor begins with an order: what its predecessor left is not to be dropped first. */
static void test_nothing_is_touched_before_the_first_order(void **state)
{
    (void)state;
    NEEDS_ROOT;
    netlab_run("ip addr add " PRIMARY "/24 dev near");
    start_net("nftables");
    for (uint64_t until_us = clock_now_us() + 300 * MS; clock_now_us() < until_us;)
        assert_true(is_there(PRIMARY));
    order(0, 0, 0);
    wait_for_report(0, 1);
    assert_false(is_there(PRIMARY));
}

#define TEST(f) cmocka_unit_test_teardown(f, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_addresses_and_gate_are_as_ordered_and_shut_is_reported),
        TEST(test_connections_to_an_address_that_goes_are_ended_and_no_others),
        TEST(test_message_that_is_none_ends_it_and_the_kernel_ends_what_it_held),
        TEST(test_address_of_a_stopped_process_goes_before_the_lease_ends),
        TEST(test_lost_keeper_leaves_all_and_a_successor_goes_on_without_a_gap),
        TEST(test_end_in_order_takes_all_away),
        TEST(test_nothing_is_touched_before_the_first_order),
    };

    return cmocka_run_group_tests_name("net", tests, set_up_all, NULL);
}
