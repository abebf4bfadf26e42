#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <malloc.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "vip/packet.h"
#include "vip/vip.h"

/*
 * Against the real kernel: this program moves into a network namespace of its own, "vip0" is its end of a veth pair and
 * "peer0" the other end, in a second namespace where a packet socket sees what is on the wire.
 */
#define V4 "10.9.0.100"
#define V6 "fd09::100"

/* Counts what our own code allocates (linker option --wrap). */
static unsigned allocations;
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
    allocations++;
    return __real_calloc(n, size);
}

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_realloc(void *p, size_t size)
{
    allocations++;
    return __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
    allocations++;
    return __real_strdup(s);
}

/* --- the two namespaces ---------------------------------------------------------------------------------------------
 */

static int our_net = -1, peer_net = -1, peer_fd = -1;
static uint8_t peer_mac[6];
static struct vips v;

/* What the peer has seen. */
static struct {
    unsigned probes, requests, replies, solicitations, advertisements;
    uint64_t first_announcement_us;
} wire;

static int shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int shell(const char *fmt, ...)
{
    char command[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    return system(command);
}

/* ip(8) on the peer's side. */
static int peer_ip(const char *arguments)
{
    return shell("nsenter --net=/proc/%d/fd/%d ip %s", (int)getpid(), peer_net, arguments);
}

static void open_peer(void)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    struct ifreq name = {.ifr_name = "peer0"};

    assert_int_equal(setns(peer_net, CLONE_NEWNET), 0);
    peer_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
    assert_true(peer_fd >= 0);
    assert_int_equal(ioctl(peer_fd, SIOCGIFHWADDR, &name), 0);
    memcpy(peer_mac, name.ifr_hwaddr.sa_data, sizeof(peer_mac));
    assert_int_equal(ioctl(peer_fd, SIOCGIFINDEX, &name), 0);
    to.sll_ifindex = name.ifr_ifindex;
    assert_int_equal(bind(peer_fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(setns(our_net, CLONE_NEWNET), 0);
}

static void add_link(void)
{
    assert_int_equal(shell("ip link add vip0 type veth peer name peer0"), 0);
    assert_int_equal(shell("ip link set peer0 netns /proc/%d/fd/%d", (int)getpid(), peer_net), 0);
    assert_int_equal(peer_ip("link set peer0 up"), 0);
    assert_int_equal(shell("ip link set vip0 up"), 0);
    open_peer();
}

static int enter_namespaces(void **state)
{
    (void)state;
    log_open(STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
    if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
        return 0;                                   /* the tests are skipped */
    peer_net = open("/proc/self/ns/net", O_RDONLY); /* inherited by nsenter */
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    our_net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    if (our_net < 0)
        return 0;
    add_link();
    wire = (__typeof__(wire)){0};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (our_net < 0)
        return 0;
    vip_close(&v);
    closep(&peer_fd);
    (void)shell("ip link del vip0 2>/dev/null || ip link del vip1 2>/dev/null");
    return 0;
}

#define NEEDS_ROOT()                                                                                                   \
    do {                                                                                                               \
        if (our_net < 0)                                                                                               \
            skip();                                                                                                    \
    } while (0)

/* --- the wire, read by hand: not with the code under test -----------------------------------------------------------
 */

static void note_announcement(void)
{
    if (!wire.first_announcement_us)
        wire.first_announcement_us = clock_now_us();
}

static void see_arp(const uint8_t *f)
{
    struct in_addr address;
    bool is_request = f[21] == 1;

    inet_pton(AF_INET, V4, &address);
    if (memcmp(f + 38, &address, 4) != 0)
        return;
    if (is_request && memcmp(f + 28, "\0\0\0\0", 4) == 0) {
        wire.probes++;
    } else if (memcmp(f + 28, &address, 4) == 0 && memcmp(f, "\xff\xff\xff\xff\xff\xff", 6) == 0) {
        wire.requests += is_request;
        wire.replies += f[21] == 2;
        note_announcement();
    }
}

static unsigned sum16(const uint8_t *at, size_t len)
{
    unsigned sum = 0;

    for (size_t i = 0; i < len; i += 2)
        sum += (unsigned)at[i] << 8 | at[i + 1];
    return sum;
}

static void see_nd(const uint8_t *f, size_t len)
{
    struct in6_addr address;
    unsigned sum = sum16(f + 22, 32) + (unsigned)(len - 54) + 58 + sum16(f + 54, len - 54);

    inet_pton(AF_INET6, V6, &address);
    if (memcmp(f + 62, &address, 16) != 0 || f[20] != 58)
        return;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    assert_int_equal(sum, 0xffff);
    assert_int_equal(f[21], 255);
    wire.solicitations += f[54] == 135;
    if (f[54] != 136)
        return;
    assert_int_equal(f[58] & 0xe0, 0x20); /* override, not solicited, no router */
    assert_memory_equal(f, "\x33\x33\0\0\0\x01", 6);
    assert_memory_equal(f + 80, f + 6, 6);
    wire.advertisements++;
    note_announcement();
}

static void look_at_wire(void)
{
    struct sockaddr_ll from;
    socklen_t size = sizeof(from);
    uint8_t f[2048];
    ssize_t n;

    while ((n = recvfrom(peer_fd, f, sizeof(f), 0, (struct sockaddr *)&from, &size)) > 0) {
        size = sizeof(from);
        if (from.sll_pkttype == PACKET_OUTGOING)
            continue;
        if (n >= 42 && f[12] == 0x08 && f[13] == 0x06)
            see_arp(f);
        if (n >= 78 && f[12] == 0x86 && f[13] == 0xdd)
            see_nd(f, (size_t)n);
    }
}

/* The peer says that the address is his. */
static void claim_as_peer(const struct vip_settings *s)
{
    struct packet packets[PACKET_ANNOUNCE_MAX];

    assert_true(packet_announce(packets, s, peer_mac) > 0);
    assert_int_equal(send(peer_fd, packets[0].bytes, packets[0].len, 0), (ssize_t)packets[0].len);
}

/* --- what the kernel has --------------------------------------------------------------------------------------------
 */

enum { NOT_THERE = -1, FOR_EVER = 1 << 30 };

/* Seconds left of an address "a.b.c.d/n", as ip(8) sees it. */
static int kernel_lifetime(const char *address)
{
    char line[512], wanted[80];
    FILE *f = popen("ip -o addr show", "r");
    int found = NOT_THERE;

    (void)text_print(wanted, sizeof(wanted), " %s ", address);
    while (f && fgets(line, sizeof(line), f)) {
        const char *valid = strstr(line, "valid_lft ");

        if (strstr(line, wanted) && valid)
            found = text_starts_with(valid, "valid_lft forever") ? FOR_EVER : (int)strtol(valid + 10, NULL, 10);
    }
    assert_non_null(f);
    (void)pclose(f);
    return found;
}

static const char *want_address;
static bool is_there(void)
{
    return kernel_lifetime(want_address) != NOT_THERE;
}
static bool is_absent(void)
{
    return !is_there();
}

/* --- running it as the keeper does ----------------------------------------------------------------------------------
 */

static void one_turn(uint64_t until_us)
{
    struct pollfd p[VIP_FDS + 1] = {0};
    int fds[VIP_FDS];
    uint64_t next_us = vip_next_us(&v), now_us = clock_now_us();

    vip_fds(&v, fds);
    for (int i = 0; i < VIP_FDS; i++)
        p[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    p[VIP_FDS] = (struct pollfd){.fd = peer_fd, .events = POLLIN};
    if (next_us > until_us)
        next_us = until_us;
    (void)poll(p, VIP_FDS + 1, (int)((clock_rest_us(now_us, next_us) + 999) / 1000));
    vip_work(&v);
    look_at_wire();
}

/* Until the condition holds; false when it did not within the time. */
static bool run_until(bool (*condition)(void), unsigned timeout_ms)
{
    uint64_t until_us = clock_now_us() + timeout_ms * USEC_PER_MSEC;

    while (!condition()) {
        if (clock_now_us() >= until_us)
            return false;
        one_turn(until_us < clock_now_us() + 20 * USEC_PER_MSEC ? until_us : clock_now_us() + 20 * USEC_PER_MSEC);
    }
    return true;
}

static bool is_held(void)
{
    return v.vips[0].state == VIP_HELD;
}
static bool is_conflict(void)
{
    return v.vips[0].state == VIP_CONFLICT;
}
static bool is_failed(void)
{
    return v.vips[0].state == VIP_FAILED;
}
static bool is_announced(void)
{
    return (wire.requests && wire.replies) || wire.advertisements;
}
/* Since then. */
static unsigned old_counter, old_on_wire;
static unsigned on_wire(void)
{
    return wire.requests < wire.replies ? wire.requests : wire.replies + wire.advertisements;
}
static void remember_announcements(void)
{
    look_at_wire();
    old_counter = v.vips[0].counters.announcements;
    old_on_wire = on_wire();
}
static bool is_announced_again(void)
{
    return v.vips[0].counters.announcements > old_counter && on_wire() > old_on_wire;
}
static bool is_seen_again(void)
{
    return on_wire() > old_on_wire;
}
static unsigned want_put_back;
static bool was_put_back(void)
{
    return v.vips[0].counters.put_back >= want_put_back;
}
static bool has_heard_foreign(void)
{
    return v.vips[0].counters.foreign > 0;
}

static struct vip_settings settings(const char *text)
{
    struct vip_settings s;

    assert_true(address_parse(text, &s));
    return s;
}
#define SETTINGS4 settings("primary,vip0,vip0:pg," V4 "/24")
#define SETTINGS6 settings("primary,vip0,," V6 "/64")

static void open_one(struct vip_settings s)
{
    struct err err = {0};

    if (vip_open(&v, &s, 1, 0, &err) < 0)
        fail_msg("%s", err.msg);
}

static uint64_t in_ms(unsigned ms)
{
    return clock_now_us() + ms * USEC_PER_MSEC;
}

static void open_and_hold(struct vip_settings s, unsigned ms)
{
    open_one(s);
    vip_hold(&v, s.who, in_ms(ms));
    assert_true(run_until(is_held, 1000));
    assert_true(run_until(is_announced, 1000));
}

/* --- tests ----------------------------------------------------------------------------------------------------------
 */

static void test_settings_are_read_as_the_agent_prints_them(void **state)
{
    static const char *const bad[] = {
        "",
        "primary,eth0,,10.0.0.1",
        "primary,eth0,,10.0.0.1/",
        "primary,eth0,,10.0.0.1/0",
        "primary,eth0,,10.0.0.1/33",
        "primary,eth0,,fd00::1/129",
        "primary,eth0,,10.0.0/24",
        "leader,eth0,,10.0.0.1/24",
        "primary,,,10.0.0.1/24",
        "primary,eth0,eth1:x,10.0.0.1/24",
        "primary,an-interface-xyz,,10.0.0.1/24",
        "primary,eth0,,10.0.0.1/24,",
        "primary,eth0,,10.0.0.1/24,x",
        "primary,eth0,10.0.0.1/24",
    };
    struct vip_settings s;
    char text[ADDRESS_TEXT_SIZE];

    (void)state;
    s = settings("replica,eth0,eth0:ro,10.0.0.1/24");
    assert_int_equal(s.who, VIP_FOR_REPLICA);
    assert_string_equal(s.interface, "eth0");
    assert_string_equal(s.label, "eth0:ro");
    assert_int_equal(s.family, AF_INET);
    assert_memory_equal(s.address, "\x0a\0\0\x01", 4);
    s = settings("primary,eth0,,fd00:0::1/64");
    address_print(&s, text, sizeof(text));
    assert_string_equal(text, "fd00::1/64");
    assert_string_equal(s.label, "");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (address_parse(bad[i], &s))
            fail_msg("accepted \"%s\"", bad[i]);
}

static void claims(struct vip_settings s, const char *text)
{
    open_one(s);
    assert_int_equal(kernel_lifetime(text), NOT_THERE);
    vip_hold(&v, VIP_FOR_PRIMARY, in_ms(23700)); /* (23.7 - 0.3) * 63/71 = 20.8, also 100 ms later */
    assert_int_equal(v.vips[0].state, VIP_CLAIMING);
    assert_true(run_until(is_held, 1000));
    assert_true(run_until(is_announced, 1000));
    assert_in_range(kernel_lifetime(text), 19, 20);
    assert_int_equal(v.vips[0].lifetime_s, 20);
    assert_int_equal(v.vips[0].counters.claims, 1);

    vip_hold(&v, VIP_FOR_PRIMARY, in_ms(46000));
    assert_in_range(kernel_lifetime(text), 39, 40);
    vip_hold(&v, VIP_FOR_PRIMARY, in_ms(12300));
    assert_in_range(kernel_lifetime(text), 9, 10);
    assert_int_equal(v.vips[0].counters.claims, 1);

    vip_drop(&v, VIP_FOR_PRIMARY);
    assert_int_equal(kernel_lifetime(text), NOT_THERE);
    assert_int_equal(v.vips[0].state, VIP_ABSENT);
    assert_int_equal(v.vips[0].counters.put_back, 0);
}

/* The best of some, since this host has other things to do. */
static void is_announced_within_100_ms(struct vip_settings s, const char *text)
{
    uint64_t best_us = UINT64_MAX;

    open_one(s);
    for (int i = 0; i < 10 && best_us > 100 * USEC_PER_MSEC; i++) {
        uint64_t began_us;

        look_at_wire();
        wire = (__typeof__(wire)){0};
        began_us = clock_now_us();
        vip_hold(&v, VIP_FOR_PRIMARY, in_ms(20000));
        assert_true(run_until(is_announced, 2000));
        if (wire.first_announcement_us - began_us < best_us)
            best_us = wire.first_announcement_us - began_us;
        vip_drop(&v, VIP_FOR_PRIMARY);
    }
    print_message("%s: announced %" PRIu64 " us after it was claimed\n", text, best_us);
    assert_in_range(best_us, 26 * USEC_PER_MSEC, 100 * USEC_PER_MSEC);
}

static void test_address_answers_within_100_ms(void **state)
{
    (void)state;
    NEEDS_ROOT();
    is_announced_within_100_ms(SETTINGS4, V4 "/24");
    vip_close(&v);
    is_announced_within_100_ms(SETTINGS6, V6 "/64");
}

static void test_ipv4_is_asked_for_claimed_renewed_and_dropped(void **state)
{
    (void)state;
    NEEDS_ROOT();
    claims(SETTINGS4, V4 "/24");
    assert_int_equal(wire.probes, 3);
    assert_int_equal(shell("ip -o addr show label vip0:pg | grep -q . && exit 1 || exit 0"), 0);
}

static void test_ipv6_is_asked_for_claimed_renewed_and_dropped(void **state)
{
    (void)state;
    NEEDS_ROOT();
    claims(SETTINGS6, V6 "/64");
    assert_int_equal(wire.solicitations, 3);
}

static void test_label_and_broadcast_are_those_of_the_network(void **state)
{
    (void)state;
    NEEDS_ROOT();
    open_and_hold(SETTINGS4, 20000);
    assert_int_equal(shell("ip -o addr show label vip0:pg | grep -q 'brd 10.9.0.255 .*vip0:pg'"), 0);
}

static void test_ipv6_is_never_tentative(void **state)
{
    (void)state;
    NEEDS_ROOT();
    open_and_hold(SETTINGS6, 20000);
    assert_int_equal(shell("ip -6 -o addr show dev vip0 | grep " V6 " | grep -q nodad"), 0);
    assert_int_equal(shell("ip -6 -o addr show dev vip0 tentative | grep -q " V6) != 0, 1);
}

/* Nobody calls vip_work() any more: the keeper is frozen. */
static void is_removed_by_the_kernel(struct vip_settings s, const char *text)
{
    uint64_t deadline_us, gone_us;

    open_and_hold(s, 20000);
    /* The least of slack: just enough for a lifetime of 2 s. */
    deadline_us = clock_now_us() + 2554 * USEC_PER_MSEC + 500;
    vip_hold(&v, VIP_FOR_PRIMARY, deadline_us);
    assert_int_equal(v.vips[0].lifetime_s, 2);
    want_address = text;
    assert_true(is_there());
    while (is_there() && clock_now_us() < deadline_us + 5 * USEC_PER_SEC)
        (void)poll(NULL, 0, 2);
    gone_us = clock_now_us();
    print_message("%s: gone %" PRId64 " us before the deadline\n", text, (int64_t)(deadline_us - gone_us));
    assert_true(gone_us <= deadline_us);

    /* Thawed: nothing is put back, since the lease is over. */
    vip_work(&v);
    assert_false(is_there());
    assert_int_equal(v.vips[0].state, VIP_ABSENT);
    assert_int_equal(v.vips[0].counters.put_back, 0);
}

static void test_ipv4_is_removed_by_the_kernel_when_we_are_frozen(void **state)
{
    (void)state;
    NEEDS_ROOT();
    is_removed_by_the_kernel(SETTINGS4, V4 "/24");
}

static void test_ipv6_is_removed_by_the_kernel_when_we_are_frozen(void **state)
{
    (void)state;
    NEEDS_ROOT();
    is_removed_by_the_kernel(SETTINGS6, V6 "/64");
}

static void test_lifetime_is_what_the_kernel_keeps_within_the_rest(void **state)
{
    static const struct {
        uint64_t rest_us;
        uint32_t want;
    } rows[] = {
        {0, 0},       {300000, 0},  {1426983, 0}, {1426985, 1},   {2553968, 1},   {2553969, 2},
        {8000000, 6}, {9315873, 7}, {9315874, 8}, {30000000, 26}, {30000001, 26}, {86400000000, 76664},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint32_t got = vip_lifetime_s(rows[i].rest_us);

        if (got != rows[i].want)
            fail_msg("of %" PRIu64 " us: %" PRIu32 " s instead of %" PRIu32, rows[i].rest_us, got, rows[i].want);
    }
}

static bool is_nearly_over(void)
{
    return clock_rest_us(clock_now_us(), v.vips[0].deadline_us) < 1600 * USEC_PER_MSEC;
}

/* A lifetime that was asked for long before the deadline ends long before it. */
static void test_a_lease_that_is_not_renewed_is_held_nearly_to_its_end(void **state)
{
    (void)state;
    NEEDS_ROOT();
    open_and_hold(SETTINGS4, 6400);
    assert_int_equal(v.vips[0].lifetime_s, 5);
    assert_true(run_until(is_nearly_over, 5000));
    assert_int_equal(v.vips[0].lifetime_s, 1);
    assert_int_not_equal(kernel_lifetime(V4 "/24"), NOT_THERE);
    assert_int_equal(v.vips[0].counters.put_back, 0);
    assert_int_equal(v.vips[0].counters.claims, 1);
}

static void test_less_than_a_second_left_means_removed(void **state)
{
    (void)state;
    NEEDS_ROOT();
    open_and_hold(SETTINGS4, 20000);
    vip_hold(&v, VIP_FOR_PRIMARY, in_ms(1420)); /* a second, and the kernel's tolerance, are not left */
    assert_int_equal(kernel_lifetime(V4 "/24"), NOT_THERE);
    assert_int_equal(v.vips[0].state, VIP_ABSENT);

    vip_hold(&v, VIP_FOR_PRIMARY, in_ms(1700));
    assert_true(run_until(is_held, 250));
    assert_in_range(kernel_lifetime(V4 "/24"), 0, 1);
    want_address = V4 "/24";
    assert_true(run_until(is_absent, 500)); /* by us, long before the kernel would */
    assert_int_equal(v.vips[0].state, VIP_ABSENT);
    assert_true(vip_next_us(&v) > clock_now_us() + USEC_PER_SEC);
}

static void test_what_is_left_of_a_predecessor_is_removed_at_start(void **state)
{
    struct vip_settings s[2] = {SETTINGS4, SETTINGS6};
    struct err err = {0};

    (void)state;
    NEEDS_ROOT();
    assert_int_equal(
        shell("ip addr add " V4 "/24 dev vip0; ip addr add " V4 "/32 dev vip0; ip addr add 10.9.0.1/24 dev vip0"), 0);
    assert_int_equal(shell("ip addr add " V6 "/128 dev vip0 nodad; ip addr add fd09::1/64 dev vip0 nodad"), 0);
    assert_int_equal(vip_open(&v, s, 2, 0, &err), 0);
    assert_int_equal(kernel_lifetime(V4 "/24"), NOT_THERE);
    assert_int_equal(kernel_lifetime(V4 "/32"), NOT_THERE);
    assert_int_equal(kernel_lifetime(V6 "/128"), NOT_THERE);
    assert_int_equal(kernel_lifetime("10.9.0.1/24"), FOR_EVER);
    assert_int_equal(kernel_lifetime("fd09::1/64"), FOR_EVER);
}

static void test_addresses_of_a_lease_that_goes_on_stay_at_start(void **state)
{
    struct vip_settings s[2] = {SETTINGS4, settings("replica,vip0,,10.9.0.101/24")};
    struct err err = {0};

    (void)state;
    NEEDS_ROOT();
    assert_int_equal(shell("ip addr add " V4 "/24 dev vip0 valid_lft 5 preferred_lft 5"), 0);
    assert_int_equal(shell("ip addr add 10.9.0.101/24 dev vip0"), 0);
    assert_int_equal(vip_open(&v, s, 2, in_ms(10900), &err), 0);
    assert_int_equal(v.vips[0].state, VIP_HELD);
    assert_in_range(kernel_lifetime(V4 "/24"), 8, 9);
    assert_int_equal(kernel_lifetime("10.9.0.101/24"), NOT_THERE);
}

static void test_removed_by_hand_is_put_back_at_once(void **state)
{
    (void)state;
    NEEDS_ROOT();
    open_and_hold(SETTINGS4, 23700);
    remember_announcements();
    want_put_back = 1;
    want_address = V4 "/24";
    assert_int_equal(shell("ip addr del " V4 "/24 dev vip0"), 0);
    assert_true(run_until(was_put_back, 200));
    assert_true(run_until(is_there, 200));
    assert_in_range(kernel_lifetime(V4 "/24"), 18, 20);
    assert_true(run_until(is_announced_again, 200));
    assert_int_equal(v.vips[0].counters.claims, 1);
    /* Whoever insists is answered, but not in a circle. */
    want_put_back = 2;
    assert_int_equal(shell("ip addr del " V4 "/24 dev vip0"), 0);
    assert_true(run_until(was_put_back, 500));
    assert_true(run_until(is_there, 500));
}

static void test_made_permanent_by_hand_becomes_a_lease_again(void **state)
{
    (void)state;
    NEEDS_ROOT();
    open_and_hold(SETTINGS6, 23700);
    want_put_back = 1;
    assert_int_equal(shell("ip addr change " V6 "/64 dev vip0 valid_lft forever preferred_lft forever"), 0);
    assert_true(run_until(was_put_back, 200));
    assert_in_range(kernel_lifetime(V6 "/64"), 18, 20);
}

static void test_added_by_hand_without_a_lease_is_removed(void **state)
{
    (void)state;
    NEEDS_ROOT();
    open_one(SETTINGS4);
    want_address = V4 "/24";
    assert_int_equal(shell("ip addr add " V4 "/24 dev vip0"), 0);
    assert_true(run_until(is_absent, 200));
    want_address = V4 "/16"; /* the same address to everybody else */
    assert_int_equal(shell("ip addr add " V4 "/16 dev vip0"), 0);
    assert_true(run_until(is_absent, 200));
}

/* The kernel of the other side has the address and answers. */
static void is_not_taken_while_another_has_it(struct vip_settings s, const char *text)
{
    char command[128];

    (void)text_print(command, sizeof(command), "addr add %s dev peer0 %s", text, s.family == AF_INET6 ? "nodad" : "");
    assert_int_equal(peer_ip(command), 0);
    open_one(s);
    vip_hold(&v, VIP_FOR_PRIMARY, in_ms(20000));
    assert_true(run_until(is_conflict, 1000));
    assert_int_equal(kernel_lifetime(text), NOT_THERE);
    assert_true(v.vips[0].counters.foreign > 0);
    assert_non_null(strstr(v.vips[0].error, "has it, so it is not taken"));
    assert_false(run_until(is_held, 1300)); /* asked again, still there */
    assert_true(v.vips[0].counters.foreign > 1);
    assert_int_equal(kernel_lifetime(text), NOT_THERE);

    (void)text_print(command, sizeof(command), "addr del %s dev peer0", text);
    assert_int_equal(peer_ip(command), 0);
    assert_true(run_until(is_held, 2000));
    assert_int_not_equal(kernel_lifetime(text), NOT_THERE);
}

static void test_ipv4_is_not_taken_while_another_has_it(void **state)
{
    (void)state;
    NEEDS_ROOT();
    is_not_taken_while_another_has_it(SETTINGS4, V4 "/24");
}

static void test_ipv6_is_not_taken_while_another_has_it(void **state)
{
    (void)state;
    NEEDS_ROOT();
    is_not_taken_while_another_has_it(SETTINGS6, V6 "/64");
}

static void test_a_foreign_probe_while_asking_is_a_conflict(void **state)
{
    struct vip_settings s = SETTINGS4;
    struct packet packet;

    (void)state;
    NEEDS_ROOT();
    open_one(s);
    vip_hold(&v, VIP_FOR_PRIMARY, in_ms(20000));
    packet_probe(&packet, &s, peer_mac);
    assert_int_equal(send(peer_fd, packet.bytes, packet.len, 0), (ssize_t)packet.len);
    assert_true(run_until(is_conflict, 500));
    assert_int_equal(kernel_lifetime(V4 "/24"), NOT_THERE);
    assert_true(run_until(is_held, 2000));
}

/* The next announcement, unless something happens, is the one after 1 s. */
static bool burst_has_paused(void)
{
    return v.vips[0].counters.announcements == 3;
}

static void is_defended(struct vip_settings s, const char *text)
{
    struct packet probe;

    open_and_hold(s, 20000);
    /* A probe is no claim: the kernel answers it, if it is IPv6 with an advertisement to all. */
    remember_announcements();
    packet_probe(&probe, &s, peer_mac);
    assert_int_equal(send(peer_fd, probe.bytes, probe.len, 0), (ssize_t)probe.len);
    assert_true(run_until(is_seen_again, 500));
    assert_int_equal(v.vips[0].counters.foreign, 0);
    assert_true(run_until(burst_has_paused, 1000));
    remember_announcements();
    claim_as_peer(&s);
    assert_true(run_until(has_heard_foreign, 500));
    assert_int_equal(v.vips[0].counters.foreign, 1);
    assert_int_equal(v.vips[0].state, VIP_HELD);
    assert_true(run_until(is_announced_again, 500)); /* sooner than the next of the burst */
    assert_int_not_equal(kernel_lifetime(text), NOT_THERE);
}

static void test_ipv4_held_is_defended_against_a_foreign_claim(void **state)
{
    (void)state;
    NEEDS_ROOT();
    is_defended(SETTINGS4, V4 "/24");
}

static void test_ipv6_held_is_defended_against_a_foreign_claim(void **state)
{
    (void)state;
    NEEDS_ROOT();
    is_defended(SETTINGS6, V6 "/64");
}

static bool is_link_up(void)
{
    return v.vips[0].link.up;
}
static bool is_link_down(void)
{
    return !v.vips[0].link.up;
}

static bool burst_is_over(void)
{
    return v.vips[0].counters.announcements >= 5;
}

static void test_the_burst_takes_five_seconds_and_then_it_is_refreshed(void **state)
{
    uint64_t rest_us;

    (void)state;
    NEEDS_ROOT();
    open_and_hold(SETTINGS4, 120000);
    assert_true(run_until(burst_is_over, 7000));
    look_at_wire();
    assert_int_equal(wire.requests, 5);
    assert_int_equal(wire.replies, 5);
    assert_in_range(clock_now_us() - wire.first_announcement_us, 4900000, 6500000);
    rest_us = clock_rest_us(clock_now_us(), v.vips[0].announce_at_us);
    assert_in_range(rest_us, 59 * USEC_PER_SEC, 100 * USEC_PER_SEC);
}

static void test_carrier_that_comes_back_announces_again(void **state)
{
    (void)state;
    NEEDS_ROOT();
    open_and_hold(SETTINGS4, 120000);
    assert_true(run_until(burst_is_over, 7000));
    assert_int_equal(peer_ip("link set peer0 down"), 0);
    assert_true(run_until(is_link_down, 1000));
    assert_int_equal(v.vips[0].state, VIP_HELD);
    remember_announcements();
    assert_int_equal(peer_ip("link set peer0 up"), 0);
    assert_true(run_until(is_link_up, 2000));
    assert_true(run_until(is_announced_again, 500));
}

static void test_ipv6_is_claimed_again_after_the_interface_was_switched_off(void **state)
{
    (void)state;
    NEEDS_ROOT();
    open_and_hold(SETTINGS6, 20000);
    assert_int_equal(shell("ip link set vip0 down"), 0);
    assert_true(run_until(is_failed, 1000));
    assert_int_equal(shell("ip link set vip0 up"), 0);
    assert_true(run_until(is_held, 2000));
    assert_int_not_equal(kernel_lifetime(V6 "/64"), NOT_THERE);
    assert_int_equal(v.vips[0].counters.claims, 2);
}

static void test_an_interface_is_waited_for_and_found_again(void **state)
{
    struct vip_settings s = settings("primary,vip1,," V4 "/24");

    (void)state;
    NEEDS_ROOT();
    open_one(s);
    vip_hold(&v, VIP_FOR_PRIMARY, in_ms(60000));
    assert_int_equal(v.vips[0].state, VIP_FAILED);
    assert_string_equal(v.vips[0].error, "there is no such interface");
    assert_int_equal(shell("ip link set vip0 down; ip link set vip0 name vip1; ip link set vip1 up"), 0);
    assert_true(run_until(is_held, 2000));
    assert_int_not_equal(kernel_lifetime(V4 "/24"), NOT_THERE);

    /* Renamed: the address does not stay on what is another interface now. */
    want_address = V4 "/24";
    assert_int_equal(shell("ip link set vip1 down; ip link set vip1 name vip0; ip link set vip0 up"), 0);
    assert_true(run_until(is_failed, 1000));
    assert_true(run_until(is_absent, 1000));

    /* Made anew under the right name. */
    closep(&peer_fd);
    assert_int_equal(
        shell(
            "ip link del vip0; ip link add vip1 type veth peer name peer1; ip link set peer1 up; ip link set vip1 up"),
        0);
    assert_true(run_until(is_held, 2000));
    assert_true(run_until(is_there, 1000));
    assert_int_equal(v.vips[0].counters.put_back, 0);
}

static void test_lost_events_are_made_up_for(void **state)
{
    int size = 1;

    (void)state;
    NEEDS_ROOT();
    open_and_hold(SETTINGS4, 60000);
    assert_int_equal(setsockopt(v.event_fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
    assert_int_equal(shell("for i in 1 2 3 4 5 6; do ip link set vip0 mtu 140$i; done; ip addr del " V4 "/24 dev vip0"),
                     0);
    assert_int_equal(kernel_lifetime(V4 "/24"), NOT_THERE);
    want_address = V4 "/24";
    want_put_back = 1;
    assert_true(run_until(is_there, 1000));
    assert_true(run_until(was_put_back, 1000));
}

static void test_nothing_is_allocated_after_open(void **state)
{
    struct vip_settings s[2] = {SETTINGS4, SETTINGS6};
    struct err err = {0};
    size_t used;

    (void)state;
    NEEDS_ROOT();
    assert_int_equal(vip_open(&v, s, 2, 0, &err), 0);
    used = mallinfo2().uordblks;
    allocations = 0;
    vip_hold(&v, VIP_FOR_PRIMARY, in_ms(20000));
    for (uint64_t end_us = clock_now_us() + 400 * USEC_PER_MSEC; clock_now_us() < end_us;)
        one_turn(end_us);
    claim_as_peer(&s[0]);
    assert_true(run_until(has_heard_foreign, 500));
    vip_hold(&v, VIP_FOR_PRIMARY, in_ms(30000));
    v.lost = true;
    vip_work(&v);
    vip_drop(&v, VIP_FOR_PRIMARY);
    assert_int_equal(allocations, 0);
    assert_true(mallinfo2().uordblks == used);
    assert_int_equal(v.vips[1].counters.claims, 1);
}

static void test_sixteen_addresses_are_held_by_their_roles(void **state)
{
    struct vip_settings s[VIP_MAX];
    struct err err = {0};
    char text[64];

    (void)state;
    NEEDS_ROOT();
    for (unsigned i = 0; i < VIP_MAX; i++) {
        (void)text_print(text, sizeof(text), "%s,vip0,,%s%u/%s", i % 2 ? "replica" : "primary",
                         i % 4 < 2 ? "10.9.1." : "fd09::", i + 1, i % 4 < 2 ? "24" : "64");
        s[i] = settings(text);
    }
    assert_int_equal(vip_open(&v, s, VIP_MAX, 0, &err), 0);
    vip_hold(&v, VIP_FOR_REPLICA, in_ms(20000));
    for (uint64_t end_us = clock_now_us() + 100 * USEC_PER_MSEC; clock_now_us() < end_us;)
        one_turn(end_us);
    for (unsigned i = 0; i < VIP_MAX; i++)
        assert_int_equal(v.vips[i].state, i % 2 ? VIP_HELD : VIP_ABSENT);
    vip_drop(&v, VIP_FOR_PRIMARY);
    assert_int_equal(v.vips[1].state, VIP_HELD);
    assert_int_not_equal(kernel_lifetime("10.9.1.2/24"), NOT_THERE);
    assert_false(vip_has_dropped(&v, VIP_FOR_REPLICA));
    vip_drop(&v, VIP_FOR_REPLICA);
    assert_true(vip_has_dropped(&v, VIP_FOR_REPLICA));
    assert_int_equal(kernel_lifetime("10.9.1.2/24"), NOT_THERE);
    assert_int_equal(kernel_lifetime("fd09::4/64"), NOT_THERE);
}

/* --- nothing to hold ---------------------------------------------------------------------------------------------
 */

static void test_without_addresses_nothing_is_opened(void **state)
{
    int fds[VIP_FDS];

    (void)state;
    assert_int_equal(vip_open(&v, NULL, 0, 0, NULL), 0);
    vip_fds(&v, fds);
    for (int i = 0; i < VIP_FDS; i++)
        assert_int_equal(fds[i], -1);
    vip_hold(&v, VIP_FOR_PRIMARY, in_ms(5000));
    vip_work(&v);
    assert_true(vip_next_us(&v) == UINT64_MAX);
    vip_close(&v);
}

#define ON_LINK(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings_are_read_as_the_agent_prints_them),
        cmocka_unit_test(test_without_addresses_nothing_is_opened),
        ON_LINK(test_ipv4_is_asked_for_claimed_renewed_and_dropped),
        ON_LINK(test_ipv6_is_asked_for_claimed_renewed_and_dropped),
        ON_LINK(test_address_answers_within_100_ms),
        ON_LINK(test_label_and_broadcast_are_those_of_the_network),
        ON_LINK(test_ipv6_is_never_tentative),
        ON_LINK(test_ipv4_is_removed_by_the_kernel_when_we_are_frozen),
        ON_LINK(test_ipv6_is_removed_by_the_kernel_when_we_are_frozen),
        cmocka_unit_test(test_lifetime_is_what_the_kernel_keeps_within_the_rest),
        ON_LINK(test_a_lease_that_is_not_renewed_is_held_nearly_to_its_end),
        ON_LINK(test_less_than_a_second_left_means_removed),
        ON_LINK(test_what_is_left_of_a_predecessor_is_removed_at_start),
        ON_LINK(test_addresses_of_a_lease_that_goes_on_stay_at_start),
        ON_LINK(test_removed_by_hand_is_put_back_at_once),
        ON_LINK(test_made_permanent_by_hand_becomes_a_lease_again),
        ON_LINK(test_added_by_hand_without_a_lease_is_removed),
        ON_LINK(test_ipv4_is_not_taken_while_another_has_it),
        ON_LINK(test_ipv6_is_not_taken_while_another_has_it),
        ON_LINK(test_a_foreign_probe_while_asking_is_a_conflict),
        ON_LINK(test_ipv4_held_is_defended_against_a_foreign_claim),
        ON_LINK(test_ipv6_held_is_defended_against_a_foreign_claim),
        ON_LINK(test_the_burst_takes_five_seconds_and_then_it_is_refreshed),
        ON_LINK(test_carrier_that_comes_back_announces_again),
        ON_LINK(test_ipv6_is_claimed_again_after_the_interface_was_switched_off),
        ON_LINK(test_an_interface_is_waited_for_and_found_again),
        ON_LINK(test_lost_events_are_made_up_for),
        ON_LINK(test_nothing_is_allocated_after_open),
        ON_LINK(test_sixteen_addresses_are_held_by_their_roles),
    };

    return cmocka_run_group_tests_name("vip", tests, enter_namespaces, NULL);
}
