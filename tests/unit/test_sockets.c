/* What a killed primary leaves in the kernel, with real packets. Skipped without the right to make namespaces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "fence/gate.h"
#include "fence/sockets.h"
#include "netlab.h"

enum { PORT = 5432, OTHER_PORT = 5433, MANY = 300, FAR = true, NEAR = false };

#define TABLE "pgtether_main_node1"
#define LONG_US (60 * USEC_PER_SEC)

/* Counted through the linker option --wrap. */
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

static bool usable;
static char program[PATH_MAX];
static struct gate gate;
static struct sockets sockets;
static int listener = -1, client = -1, server = -1;

static int open_lab(void **state)
{
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

    (void)state;
    assert_true(n > 0);
    program[n] = '\0';
    for (int up = 0; up < 3; up++)
        *strrchr(program, '/') = '\0';
    assert_true(text_print(program + strlen(program), sizeof(program) - strlen(program), "/pgtether-gate"));
    usable = access(program, X_OK) == 0 && netlab_open();
    return 0;
}

static void must(int r, const struct err *err)
{
    if (r != 0)
        fail_msg("%d: %s", r, err->msg);
}

/* A gate that drops, as on a kernel that cannot reset: there every unsent byte is still in its queue later. */
static int begin(void **state)
{
    static const struct gate_settings settings = {.mode = GATE_MODE_NFTABLES, .port = PORT};
    struct err err = {0};

    (void)state;
    if (!usable)
        return 0;
    gate_init(&gate, &settings);
    must(gate_setup(&gate, program, "main", "node1", &err), &err);
    netlab_run("%s setup " TABLE " %d drop", program, PORT);
    must(gate_until(&gate, clock_now_us() + LONG_US, &err), &err);
    must(sockets_open(&sockets, PORT, &err), &err);
    listener = netlab_listen("0.0.0.0", PORT);
    return 0;
}

static int end(void **state)
{
    (void)state;
    counting = false;
    closep(&client);
    closep(&server);
    closep(&listener);
    sockets_close(&sockets);
    if (usable)
        (void)gate_remove(&gate, NULL);
    return 0;
}

#define NEEDS_LAB()                                                                                                    \
    do {                                                                                                               \
        (void)state;                                                                                                   \
        if (!usable)                                                                                                   \
            skip();                                                                                                    \
    } while (0)

/* Returns the number of steps; fails the test after far too many. */
static unsigned sweep(unsigned most_in_a_step)
{
    struct err err = {0};
    unsigned steps = 0, before;
    int r;

    do {
        before = sockets.total;
        r = sockets_sweep(&sockets, &err);
        if (r < 0 || steps++ > 1000)
            fail_msg("step %u: %d: %s", steps, r, err.msg);
        assert_true(sockets.total - before <= most_in_a_step);
    } while (r > 0);
    return steps;
}

static unsigned long blocked(void)
{
    const char *found = strstr(netlab_output("nft list table inet " TABLE), "packets ");

    assert_non_null(found);
    return strtoul(found + strlen("packets "), NULL, 10);
}

/* The primary has written an acknowledgement when the gate was closed already, and is then killed. */
static void leave_a_late_acknowledgement(void)
{
    uint64_t give_up_us = clock_now_us() + NETLAB_PATIENCE_MS * USEC_PER_MSEC;
    struct err err = {0};

    netlab_connect(FAR, listener, NETLAB_NEAR4, PORT, &client, &server);
    must(gate_shut(&gate, &err), &err);
    assert_int_equal(send(server, "ack", 3, MSG_NOSIGNAL), 3);
    closep(&server);
    closep(&listener);
    while (blocked() < 2)
        assert_true(clock_now_us() < give_up_us);
}

static void reopen(void)
{
    struct err err = {0};

    must(gate_until(&gate, clock_now_us() + LONG_US, &err), &err);
}

/* The danger itself. If this ever fails, the sweep is not needed any more. */
static void test_without_a_sweep_a_late_acknowledgement_arrives(void **state)
{
    char text[8];

    NEEDS_LAB();
    leave_a_late_acknowledgement();
    assert_int_equal(netlab_read(client, text, sizeof(text), 0), -EAGAIN);
    reopen();
    assert_int_equal(netlab_read(client, text, sizeof(text), NETLAB_PATIENCE_MS), 3);
    assert_memory_equal(text, "ack", 3);
}

static void test_with_a_sweep_the_client_gets_a_reset_instead(void **state)
{
    char text[8];

    NEEDS_LAB();
    leave_a_late_acknowledgement();
    (void)sweep(1);
    assert_int_equal(sockets.total, 1);
    /* Already through the closed gate, which lets RST pass. */
    assert_int_equal(netlab_read(client, text, sizeof(text), NETLAB_PATIENCE_MS), -ECONNRESET);
    reopen();
    (void)sweep(0);
    assert_string_equal(netlab_output("ss -Htn state all exclude listening exclude time-wait sport = :%d", PORT), "");
}

static void test_a_living_connection_is_destroyed_too(void **state)
{
    NEEDS_LAB();
    netlab_connect(FAR, listener, NETLAB_NEAR4, PORT, &client, &server);
    (void)sweep(1);
    assert_true(netlab_wait(server, POLLERR, NETLAB_PATIENCE_MS));
    assert_true(netlab_wait(client, POLLERR, NETLAB_PATIENCE_MS));
}

static void test_ipv6_and_mapped_ipv4_are_destroyed(void **state)
{
    int client6 = -1, server6 = -1;

    NEEDS_LAB();
    closep(&listener);
    listener = netlab_listen("::", PORT);
    netlab_connect(FAR, listener, NETLAB_NEAR6, PORT, &client6, &server6);
    netlab_connect(FAR, listener, NETLAB_NEAR4, PORT, &client, &server);
    (void)sweep(2);
    assert_int_equal(sockets.total, 2);
    assert_true(netlab_wait(server6, POLLERR, NETLAB_PATIENCE_MS));
    assert_true(netlab_wait(server, POLLERR, NETLAB_PATIENCE_MS));
    closep(&client6);
    closep(&server6);
}

static void test_local_clients_other_ports_and_the_listener_stay(void **state)
{
    static const char *const locals[] = {NETLAB_NEAR4, "127.0.0.1", NETLAB_NEAR6, "::1"};
    int clients[5], servers[5], other;

    NEEDS_LAB();
    closep(&listener);
    listener = netlab_listen("::", PORT);
    other = netlab_listen("0.0.0.0", OTHER_PORT);
    for (size_t i = 0; i < ARRAY_LEN(locals); i++)
        netlab_connect(NEAR, listener, locals[i], PORT, &clients[i], &servers[i]);
    netlab_connect(FAR, other, NETLAB_NEAR4, OTHER_PORT, &clients[4], &servers[4]);
    (void)sweep(0);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        if (!netlab_passes(servers[i], clients[i]))
            fail_msg("connection %zu was destroyed", i);
        closep(&clients[i]);
        closep(&servers[i]);
    }
    closep(&other);
    netlab_connect(FAR, listener, NETLAB_NEAR4, PORT, &client, &server);
}

/* Many clients are many steps: the keeper looks after the rest in between. None of them allocates. */
static void test_many_connections_take_many_bounded_steps(void **state)
{
    int clients[MANY], servers[MANY];
    unsigned steps;

    NEEDS_LAB();
    for (int i = 0; i < MANY; i++)
        netlab_connect(FAR, listener, NETLAB_NEAR4, PORT, &clients[i], &servers[i]);
    allocations = 0;
    counting = true;
    steps = sweep(150);
    counting = false;
    assert_int_equal(allocations, 0);
    assert_int_equal(sockets.total, MANY);
    assert_true(steps >= 3);
    for (int i = 0; i < MANY; i++) {
        closep(&clients[i]);
        closep(&servers[i]);
    }
}

static void test_a_sweep_without_its_sockets_says_so(void **state)
{
    struct sockets none = {.dump_fd = -1, .destroy_fd = -1};

    (void)state;
    assert_int_equal(sockets_sweep(&none, NULL), -EOPNOTSUPP);
    sockets_close(&none);
}

int main(void)
{
#define LAB_TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        LAB_TEST(test_without_a_sweep_a_late_acknowledgement_arrives),
        LAB_TEST(test_with_a_sweep_the_client_gets_a_reset_instead),
        LAB_TEST(test_a_living_connection_is_destroyed_too),
        LAB_TEST(test_ipv6_and_mapped_ipv4_are_destroyed),
        LAB_TEST(test_local_clients_other_ports_and_the_listener_stay),
        LAB_TEST(test_many_connections_take_many_bounded_steps),
        cmocka_unit_test(test_a_sweep_without_its_sockets_says_so),
    };

    return cmocka_run_group_tests_name("sockets", tests, open_lab, NULL);
}
