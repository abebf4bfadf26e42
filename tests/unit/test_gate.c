/* The port gate against the real kernel: two namespaces, real packets. Skipped without the right to make them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "fence/gate.h"
#include "fence/netlink.h"
#include "netlab.h"

enum { PORT = 5432, OTHER_PORT = 5433, FAR = true, NEAR = false };

#define TABLE "pgtether_main_node1"
#define LONG_US (60 * USEC_PER_SEC)

/* --- seams (linker option --wrap) -----------------------------------------------------------------------------------
 */

static volatile bool counting; /* the compiler believes that malloc() changes nothing of ours */
static volatile unsigned allocations;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);

void *__wrap_calloc(size_t n, size_t size)
{
    allocations += counting;
    return __real_calloc(n, size);
}

void *__wrap_malloc(size_t size)
{
    allocations += counting;
    return __real_malloc(size);
}

void *__wrap_realloc(void *p, size_t size)
{
    allocations += counting;
    return __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
    allocations += counting;
    return __real_strdup(s);
}

/* This process stands still for `stall_us` after each of the next readings of the clock. */
static unsigned stalls;
static uint64_t stall_us, stalled_us;

uint64_t __real_clock_now_us(void);
uint64_t __wrap_clock_now_us(void);

uint64_t __wrap_clock_now_us(void)
{
    uint64_t now_us = __real_clock_now_us() + stalled_us;

    if (stalls) {
        stalls--;
        stalled_us += stall_us;
    }
    return now_us;
}

/* --- the lab --------------------------------------------------------------------------------------------------------
 */

static bool usable;
static char program[PATH_MAX];
static struct gate gate;
static int listener = -1, client = -1, server = -1;

static void find_program(void)
{
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

    assert_true(n > 0);
    program[n] = '\0';
    for (int up = 0; up < 3; up++)
        *strrchr(program, '/') = '\0';
    assert_true(text_print(program + strlen(program), sizeof(program) - strlen(program), "/pgtether-gate"));
}

static int open_lab(void **state)
{
    (void)state;
    find_program();
    usable = access(program, X_OK) == 0 && netlab_open();
    return 0;
}

static void must(int r, const struct err *err)
{
    if (r != 0)
        fail_msg("%d: %s", r, err->msg);
}

static void set_up(struct gate *g, uint16_t port, const char *name)
{
    const struct gate_settings settings = {.mode = GATE_MODE_NFTABLES, .port = port};
    struct err err = {0};

    gate_init(g, &settings);
    must(gate_setup(g, program, "main", name, &err), &err);
}

static void until(uint64_t deadline_us)
{
    struct err err = {0};

    must(gate_until(&gate, deadline_us, &err), &err);
}

static void shut(void)
{
    struct err err = {0};

    must(gate_shut(&gate, &err), &err);
}

static enum gate_state state_now(void)
{
    return gate_state(&gate, clock_now_us());
}

static int begin(void **state)
{
    (void)state;
    if (!usable)
        return 0;
    set_up(&gate, PORT, "node1");
    listener = netlab_listen("0.0.0.0", PORT);
    return 0;
}

static int end(void **state)
{
    (void)state;
    closep(&client);
    closep(&server);
    closep(&listener);
    counting = false;
    stalled_us = stalls = 0;
    if (usable)
        (void)gate_remove(&gate, NULL);
    return 0;
}

static void dial(bool from)
{
    closep(&client);
    closep(&server);
    netlab_connect(from, listener, NETLAB_NEAR4, PORT, &client, &server);
}

/* Packets that the gate did not let out. */
static unsigned long blocked(const char *table)
{
    const char *found = strstr(netlab_output("nft list table inet %s", table), "packets ");

    if (!found)
        fail_msg("no counter in table %s", table);
    return strtoul(found + strlen("packets "), NULL, 10);
}

static void wait_for_blocked(const char *table, unsigned long least)
{
    uint64_t give_up_us = clock_now_us() + NETLAB_PATIENCE_MS * USEC_PER_MSEC;

    while (blocked(table) < least)
        if (clock_now_us() > give_up_us)
            fail_msg("the gate has not blocked %lu packets", least);
}

static void wait_until(uint64_t at_us)
{
    for (uint64_t now_us; (now_us = clock_now_us()) < at_us;)
        (void)poll(NULL, 0, (int)((at_us - now_us) / USEC_PER_MSEC) + 1);
}

#define NEEDS_LAB()                                                                                                    \
    do {                                                                                                               \
        (void)state;                                                                                                   \
        if (!usable)                                                                                                   \
            skip();                                                                                                    \
    } while (0)

/* --- what it lets through -------------------------------------------------------------------------------------------
 */

static void test_a_new_gate_is_closed(void **state)
{
    NEEDS_LAB();
    assert_int_equal(state_now(), GATE_CLOSED);
    client = netlab_dial(FAR, NETLAB_NEAR4, PORT);
    wait_for_blocked(TABLE, 1);
    assert_false(netlab_wait(client, POLLOUT, 0));
}

static void test_an_open_gate_lets_packets_out(void **state)
{
    NEEDS_LAB();
    until(clock_now_us() + LONG_US);
    assert_int_equal(state_now(), GATE_OPEN);
    dial(FAR);
    assert_true(netlab_passes(client, server));
    assert_true(netlab_passes(server, client));
    assert_int_equal(blocked(TABLE), 0);
}

static void test_ipv6_is_gated_too(void **state)
{
    NEEDS_LAB();
    closep(&listener);
    listener = netlab_listen("::", PORT);
    client = netlab_dial(FAR, NETLAB_NEAR6, PORT);
    wait_for_blocked(TABLE, 1);
    assert_false(netlab_wait(client, POLLOUT, 0));
    closep(&client);
    until(clock_now_us() + LONG_US);
    netlab_connect(FAR, listener, NETLAB_NEAR6, PORT, &client, &server);
    assert_true(netlab_passes(server, client));
}

static void test_shutting_works_at_once_and_resets_the_sender(void **state)
{
    char byte;

    NEEDS_LAB();
    until(clock_now_us() + LONG_US);
    dial(FAR);
    assert_true(netlab_passes(server, client));
    shut();
    assert_int_equal(state_now(), GATE_CLOSED);
    assert_int_equal(send(server, "x", 1, MSG_NOSIGNAL), 1);
    assert_true(netlab_wait(server, POLLERR, NETLAB_PATIENCE_MS));
    assert_int_equal(blocked(TABLE), 1);
    /* The byte is gone for good: also an open gate has nothing to let out. */
    until(clock_now_us() + LONG_US);
    assert_true(netlab_passes(client, server) == false);
    assert_int_equal(netlab_read(client, &byte, 1, NETLAB_PATIENCE_MS), -ECONNRESET);
}

/*
 * A sender that never stops and a keeper that does nothing: the last byte arrives before the deadline, none after it.
 * The lower bound tells a timeout from a gate that never opened.
 */
static void test_the_kernel_closes_the_gate_at_the_deadline_by_itself(void **state)
{
    uint64_t deadline_us, last_us = 0;
    char byte;

    NEEDS_LAB();
    until(clock_now_us() + LONG_US);
    dial(FAR);
    deadline_us = clock_now_us() + 700 * USEC_PER_MSEC;
    until(deadline_us);
    while (send(server, "x", 1, MSG_NOSIGNAL) == 1 && clock_now_us() < deadline_us + 3 * USEC_PER_SEC)
        if (netlab_read(client, &byte, 1, 2) == 1)
            last_us = clock_now_us();
    assert_true(last_us > deadline_us - 400 * USEC_PER_MSEC);
    assert_true(last_us < deadline_us);
    assert_true(clock_now_us() < deadline_us + 2 * USEC_PER_SEC); /* the sender was reset */
    assert_int_equal(netlab_read(client, &byte, 1, 0), -EAGAIN);
    wait_until(deadline_us);
    assert_int_equal(state_now(), GATE_CLOSED);
}

static void test_what_is_dropped_does_not_arrive_while_the_gate_is_closed(void **state)
{
    uint64_t deadline_us;
    char byte;

    NEEDS_LAB();
    netlab_run("%s setup " TABLE " %d drop", program, PORT);
    until(clock_now_us() + LONG_US);
    dial(FAR);
    deadline_us = clock_now_us() + 100 * USEC_PER_MSEC;
    until(deadline_us);
    wait_until(deadline_us);
    assert_int_equal(send(server, "x", 1, MSG_NOSIGNAL), 1);
    wait_for_blocked(TABLE, 3); /* it and two retransmissions */
    assert_int_equal(netlab_read(client, &byte, 1, 0), -EAGAIN);
}

static void test_renewing_extends(void **state)
{
    uint64_t first_us;

    NEEDS_LAB();
    first_us = clock_now_us() + 150 * USEC_PER_MSEC;
    until(first_us);
    dial(FAR);
    until(clock_now_us() + LONG_US);
    wait_until(first_us + 50 * USEC_PER_MSEC);
    assert_true(netlab_passes(server, client));
}

/* Kernels before 6.12 leave an element that is there as it is, so it must go first. Newer ones do not show it. */
static void test_the_element_is_replaced_not_changed(void **state)
{
    static const uint16_t want[] = {NFNL_MSG_BATCH_BEGIN, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELSETELEM,
                                    NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM, NFNL_MSG_BATCH_END};
    const struct nlmsghdr *h = (const void *)gate.open.data;
    int left = (int)gate.open.len;

    NEEDS_LAB();
    for (size_t i = 0; i < ARRAY_LEN(want); i++, h = NLMSG_NEXT(h, left)) {
        assert_true(netlink_ok(h, left));
        assert_int_equal(h->nlmsg_type, want[i]);
    }
    assert_int_equal(left, 0);
}

static void test_a_shorter_deadline_shortens(void **state)
{
    uint64_t deadline_us;

    NEEDS_LAB();
    until(clock_now_us() + LONG_US);
    dial(FAR);
    deadline_us = clock_now_us() + 100 * USEC_PER_MSEC;
    until(deadline_us);
    wait_until(deadline_us);
    assert_int_equal(send(server, "x", 1, MSG_NOSIGNAL), 1);
    assert_true(netlab_wait(server, POLLERR, NETLAB_PATIENCE_MS));
}

static void test_loopback_and_other_ports_are_not_gated(void **state)
{
    int other;

    NEEDS_LAB();
    dial(NEAR); /* through lo, although the address is the cable's */
    assert_true(netlab_passes(server, client));
    closep(&client);
    closep(&server);
    other = netlab_listen("0.0.0.0", OTHER_PORT);
    netlab_connect(FAR, other, NETLAB_NEAR4, OTHER_PORT, &client, &server);
    assert_true(netlab_passes(server, client));
    closep(&other);
    assert_int_equal(blocked(TABLE), 0);
}

static void test_a_closed_port_behind_a_closed_gate_is_refused_at_once(void **state)
{
    int failure = 0;
    socklen_t len = sizeof(failure);

    NEEDS_LAB();
    closep(&listener);
    client = netlab_dial(FAR, NETLAB_NEAR4, PORT);
    assert_true(netlab_wait(client, POLLOUT, NETLAB_PATIENCE_MS));
    assert_int_equal(getsockopt(client, SOL_SOCKET, SO_ERROR, &failure, &len), 0);
    assert_int_equal(failure, ECONNREFUSED);
}

/* --- deadlines ------------------------------------------------------------------------------------------------------
 */

static bool has_element(void)
{
    return strstr(netlab_output("nft list table inet " TABLE), "elements") != NULL;
}

static void test_a_deadline_that_is_past_or_near_shuts(void **state)
{
    static const uint64_t rests_ms[] = {0, 1, GATE_MARGIN_MS, GATE_MARGIN_MS + GATE_LEAST_MS - 1};

    NEEDS_LAB();
    for (size_t i = 0; i < ARRAY_LEN(rests_ms); i++) {
        until(clock_now_us() + LONG_US);
        assert_true(has_element());
        until(clock_now_us() + rests_ms[i] * USEC_PER_MSEC);
        assert_false(has_element());
        assert_int_equal(state_now(), GATE_CLOSED);
    }
    until(clock_now_us() + LONG_US);
    until(1);
    assert_false(has_element());
}

/* A timeout below a jiffy would be none at all. */
static void test_the_shortest_timeout_is_one(void **state)
{
    uint64_t give_up_us = clock_now_us() + NETLAB_PATIENCE_MS * USEC_PER_MSEC;

    NEEDS_LAB();
    until(clock_now_us() + (GATE_MARGIN_MS + GATE_LEAST_MS + 1) * USEC_PER_MSEC);
    while (has_element())
        assert_true(clock_now_us() < give_up_us);
}

static void test_a_keeper_that_stood_still_does_not_open_beyond_the_deadline(void **state)
{
    uint64_t deadline_us;

    NEEDS_LAB();
    deadline_us = clock_now_us() + 2 * USEC_PER_SEC;
    stalls = 1;
    stall_us = USEC_PER_SEC;
    until(deadline_us);
    assert_int_equal(state_now(), GATE_OPEN);
    assert_true(gate.open_until_us <= deadline_us);
    assert_null(strstr(netlab_output("nft list table inet " TABLE), "timeout 1s")); /* less than that is left */
}

static void test_a_keeper_that_is_always_late_shuts(void **state)
{
    NEEDS_LAB();
    stalls = 100;
    stall_us = 50 * USEC_PER_MSEC;
    until(clock_now_us() + LONG_US);
    stalls = 0;
    assert_int_equal(state_now(), GATE_CLOSED);
    assert_false(has_element());
}

/* --- tables ---------------------------------------------------------------------------------------------------------
 */

static void test_a_restarted_keeper_finds_the_gate_as_it_was(void **state)
{
    uint64_t deadline_us, known_us;

    NEEDS_LAB();
    gate_abandon(&gate);
    set_up(&gate, PORT, "node1");
    assert_int_equal(state_now(), GATE_CLOSED);

    until(clock_now_us() + LONG_US);
    dial(FAR);
    deadline_us = clock_now_us() + USEC_PER_SEC;
    until(deadline_us);
    known_us = gate.open_until_us;
    gate_abandon(&gate);
    set_up(&gate, PORT, "node1");
    assert_int_equal(state_now(), GATE_OPEN);
    assert_true(gate.open_until_us < known_us + 50 * USEC_PER_MSEC);
    assert_true(gate.open_until_us + 50 * USEC_PER_MSEC > known_us);
    assert_true(netlab_passes(server, client));
    wait_until(deadline_us);
    assert_int_equal(state_now(), GATE_CLOSED);
    assert_int_equal(send(server, "x", 1, MSG_NOSIGNAL), 1);
    assert_true(netlab_wait(server, POLLERR, NETLAB_PATIENCE_MS));
}

static void test_setting_up_twice_leaves_one_rule(void **state)
{
    const char *rule;

    NEEDS_LAB();
    gate_abandon(&gate);
    set_up(&gate, PORT, "node1");
    rule = strstr(netlab_output("nft list table inet " TABLE), "counter");
    assert_non_null(rule);
    assert_null(strstr(rule + 1, "counter"));
}

static void test_rules_of_others_stay_and_nothing_of_ours_is_left(void **state)
{
    static char before[8192];

    NEEDS_LAB();
    (void)gate_remove(&gate, NULL);
    netlab_run("nft add table inet filter && "
               "nft add chain inet filter output '{ type filter hook output priority 0; policy accept; }' && "
               "nft add rule inet filter output tcp sport 1 drop && "
               "nft add table inet pgtether_main_node10 && nft add set inet pgtether_main_node10 open "
               "'{ type inet_service; flags timeout; elements = { 5432 timeout 1000s }; }'");
    assert_true(text_copy(before, sizeof(before), netlab_output("nft -s list ruleset")));
    set_up(&gate, PORT, "node1");
    until(clock_now_us() + LONG_US);
    shut();
    assert_string_not_equal(netlab_output("nft -s list ruleset"), before);
    assert_int_equal(gate_remove(&gate, NULL), 0);
    assert_string_equal(netlab_output("nft -s list ruleset"), before);
    assert_int_equal(state_now(), GATE_OFF);
    assert_int_equal(gate_remove(&gate, NULL), 0);
    netlab_run("nft delete table inet filter && nft delete table inet pgtether_main_node10");
}

static void test_two_instances_do_not_meddle(void **state)
{
    int listener2 = -1, client2 = -1, server2 = -1;
    struct err err = {0};
    struct gate second;

    NEEDS_LAB();
    set_up(&second, OTHER_PORT, "node2");
    listener2 = netlab_listen("0.0.0.0", OTHER_PORT);
    until(clock_now_us() + LONG_US);
    must(gate_until(&second, clock_now_us() + LONG_US, &err), &err);
    dial(FAR);
    netlab_connect(FAR, listener2, NETLAB_NEAR4, OTHER_PORT, &client2, &server2);
    must(gate_shut(&second, &err), &err);
    assert_true(netlab_passes(server, client));
    assert_int_equal(send(server2, "x", 1, MSG_NOSIGNAL), 1);
    assert_true(netlab_wait(server2, POLLERR, NETLAB_PATIENCE_MS));
    must(gate_remove(&second, &err), &err);
    assert_true(has_element());
    closep(&client2);
    closep(&server2);
    closep(&listener2);
}

static void test_a_table_that_somebody_removed_is_noticed_and_brought_back(void **state)
{
    struct err err = {0};
    int status;
    pid_t pid;

    NEEDS_LAB();
    until(clock_now_us() + LONG_US);
    netlab_run("nft flush ruleset");
    assert_int_equal(gate_until(&gate, clock_now_us() + LONG_US, &err), -ENOENT);
    assert_int_equal(err.code, -ENOENT);
    assert_int_equal(state_now(), GATE_FAILED);
    assert_string_equal(gate_failure(&gate), err.msg);
    assert_int_equal(gate_shut(&gate, &err), -ENOENT);

    must(gate_repair(&gate, &err), &err);
    pid = gate.repair;
    assert_true(pid > 0);
    must(gate_repair(&gate, &err), &err); /* one is enough */
    assert_int_equal(gate.repair, pid);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_false(gate_reaped(&gate, pid + 1, status));
    assert_true(gate_reaped(&gate, pid, status));
    assert_int_equal(state_now(), GATE_CLOSED);
    until(clock_now_us() + LONG_US);
    assert_int_equal(state_now(), GATE_OPEN);
}

/* --- failing, and what needs no kernel ------------------------------------------------------------------------------
 */

static void test_a_program_that_fails_is_a_failed_gate(void **state)
{
    static const struct gate_settings settings = {.mode = GATE_MODE_AUTOMATIC, .port = PORT};
    struct err err = {0};
    struct gate g;

    NEEDS_LAB();
    gate_init(&g, &settings);
    assert_int_equal(gate_setup(&g, "/bin/false", "main", "n", &err), -EIO);
    assert_int_equal(gate_state(&g, 0), GATE_FAILED);
    assert_string_equal(err.msg, "could not set up the port gate: \"/bin/false\" failed with status 1");
    assert_int_equal(gate_until(&g, LONG_US, &err), 0);
    assert_int_equal(gate_shut(&g, &err), 0);
    assert_int_equal(gate_repair(&g, &err), 0);
    assert_int_equal(gate_fd(&g), -1);
    assert_int_equal(gate_remove(&g, &err), 0);
}

static void test_a_program_that_did_nothing_is_noticed(void **state)
{
    static const struct gate_settings settings = {.mode = GATE_MODE_AUTOMATIC, .port = PORT};
    struct err err = {0};
    struct gate g;

    NEEDS_LAB();
    gate_init(&g, &settings);
    assert_int_equal(gate_setup(&g, "/bin/true", "main", "unknown", &err), -ENOENT);
    assert_int_equal(gate_state(&g, 0), GATE_FAILED);
}

static void test_without_the_right_the_program_is_not_even_started(void **state)
{
    static const struct gate_settings settings = {.mode = GATE_MODE_AUTOMATIC, .port = PORT};
    int status;
    pid_t pid;

    NEEDS_LAB();
    pid = fork();
    if (pid == 0) {
        struct gate g;

        gate_init(&g, &settings);
        /* A program that fails would be -EIO. */
        _exit(setuid(65534) == 0 && gate_setup(&g, "/bin/false", "main", "node1", NULL) == -EPERM ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_mode_off_does_nothing(void **state)
{
    static const struct gate_settings settings = {.mode = GATE_MODE_OFF, .port = PORT};
    struct err err = {0};
    struct gate g;

    (void)state;
    gate_init(&g, &settings);
    assert_int_equal(gate_setup(&g, "/nonexistent", "main", "n", &err), 0);
    assert_int_equal(gate_state(&g, 0), GATE_OFF);
    assert_int_equal(gate_until(&g, LONG_US, &err), 0);
    assert_int_equal(gate_state(&g, 0), GATE_OFF);
}

static void test_mode_off_removes_what_a_predecessor_left(void **state)
{
    static const struct gate_settings settings = {.mode = GATE_MODE_OFF, .port = PORT};
    struct err err = {0};

    NEEDS_LAB();
    gate_abandon(&gate);
    gate_init(&gate, &settings);
    must(gate_setup(&gate, program, "main", "node1", &err), &err);
    assert_int_equal(state_now(), GATE_OFF);
    assert_string_equal(netlab_output("nft list ruleset"), "");
}

static void test_the_program_refuses_tables_that_are_not_ours(void **state)
{
    static const char *const bad[] = {
        "setup filter 5432",  "setup pgtether_a\\;b 5432", "setup 'pgtether_ x' 5432",
        "setup pgtether_a 0", "setup pgtether_a 65536",    "setup pgtether_a",
        "remove filter",      "setup pgtether_a 1 reject", "flush pgtether_a 5432",
    };

    NEEDS_LAB();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        netlab_run("%s %s 2>/dev/null; test $? = 64", program, bad[i]);
}

static void test_nothing_allocates_after_the_setup(void **state)
{
    struct err err = {0};
    void *probe;

    NEEDS_LAB();
    counting = true;
    allocations = 0;
    probe = malloc(1);
    assert_int_equal(allocations, 1); /* the seam works */
    free(probe);
    allocations = 0;
    for (int i = 0; i < 100; i++) {
        until(clock_now_us() + LONG_US);
        must(gate_on_event(&gate, &err), &err);
        shut();
    }
    counting = false;
    assert_int_equal(allocations, 0);
}

static void test_table_names_are_valid_and_never_the_same(void **state)
{
    static const char *const names[][3] = {
        {"main", "node1", "pgtether_main_node1"}, {"main", "node-1.example.com", "pgtether_main_node-1.example.com"},
        {"a_b", "c", "pgtether_a_b_c_"},          {"a", "b_c", "pgtether_a_b_c_"},
        {"a b", "c", "pgtether_a_b_c_"},          {"", "", "pgtether__"},
    };
    static char many[200];
    char got[ARRAY_LEN(names) + 2][GATE_TABLE_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        gate_table_name(got[i], sizeof(got[i]), names[i][0], names[i][1]);
        if (!text_starts_with(got[i], names[i][2]))
            fail_msg("%s", got[i]);
    }
    assert_string_equal(got[0], names[0][2]);
    assert_string_equal(got[1], names[1][2]);
    memset(many, 'x', sizeof(many) - 1);
    gate_table_name(got[6], sizeof(got[6]), many, many);
    many[100] = 'y';
    gate_table_name(got[7], sizeof(got[7]), many, many);
    for (size_t i = 0; i < ARRAY_LEN(got); i++)
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(got[i], got[j]);
}

int main(void)
{
#define LAB_TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        LAB_TEST(test_a_new_gate_is_closed),
        LAB_TEST(test_an_open_gate_lets_packets_out),
        LAB_TEST(test_ipv6_is_gated_too),
        LAB_TEST(test_shutting_works_at_once_and_resets_the_sender),
        LAB_TEST(test_the_kernel_closes_the_gate_at_the_deadline_by_itself),
        LAB_TEST(test_what_is_dropped_does_not_arrive_while_the_gate_is_closed),
        LAB_TEST(test_renewing_extends),
        LAB_TEST(test_the_element_is_replaced_not_changed),
        LAB_TEST(test_a_shorter_deadline_shortens),
        LAB_TEST(test_loopback_and_other_ports_are_not_gated),
        LAB_TEST(test_a_closed_port_behind_a_closed_gate_is_refused_at_once),
        LAB_TEST(test_a_deadline_that_is_past_or_near_shuts),
        LAB_TEST(test_the_shortest_timeout_is_one),
        LAB_TEST(test_a_keeper_that_stood_still_does_not_open_beyond_the_deadline),
        LAB_TEST(test_a_keeper_that_is_always_late_shuts),
        LAB_TEST(test_a_restarted_keeper_finds_the_gate_as_it_was),
        LAB_TEST(test_setting_up_twice_leaves_one_rule),
        LAB_TEST(test_rules_of_others_stay_and_nothing_of_ours_is_left),
        LAB_TEST(test_two_instances_do_not_meddle),
        LAB_TEST(test_a_table_that_somebody_removed_is_noticed_and_brought_back),
        LAB_TEST(test_a_program_that_fails_is_a_failed_gate),
        LAB_TEST(test_a_program_that_did_nothing_is_noticed),
        LAB_TEST(test_without_the_right_the_program_is_not_even_started),
        LAB_TEST(test_mode_off_removes_what_a_predecessor_left),
        LAB_TEST(test_the_program_refuses_tables_that_are_not_ours),
        LAB_TEST(test_nothing_allocates_after_the_setup),
        cmocka_unit_test(test_mode_off_does_nothing),
        cmocka_unit_test(test_table_names_are_valid_and_never_the_same),
    };

    return cmocka_run_group_tests_name("gate", tests, open_lab, NULL);
}
