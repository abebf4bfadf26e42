#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/watchdog.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "fence/watchdog_test.h"

struct device {
    int open_result, nowayout, least_s, timeout_s, opens, stops;
    bool magic;
};

static int dev_open(void *ctx, const char *path)
{
    struct device *d = ctx;

    (void)path;
    d->opens += d->open_result == 0;
    return d->open_result < 0 ? d->open_result : 77;
}

static int dev_control(void *ctx, int fd, unsigned long request, void *arg)
{
    struct device *d = ctx;

    (void)fd;
    if (request == WDIOC_GETSUPPORT)
        *(struct watchdog_info *)arg = (struct watchdog_info){.options = WDIOF_MAGICCLOSE, .identity = "pretended"};
    else if (request == WDIOC_SETTIMEOUT)
        d->timeout_s = *(int *)arg > d->least_s ? *(int *)arg : d->least_s;
    else if (request == WDIOC_GETTIMEOUT)
        *(int *)arg = d->timeout_s;
    else if (request != WDIOC_KEEPALIVE)
        return -ENOTTY;
    return 0;
}

static int dev_write(void *ctx, int fd, char byte)
{
    (void)fd;
    ((struct device *)ctx)->magic = byte == 'V';
    return 0;
}

static int dev_close(void *ctx, int fd)
{
    (void)fd;
    ((struct device *)ctx)->stops += ((struct device *)ctx)->magic;
    return 0;
}

static int dev_nowayout(void *ctx, const char *path)
{
    (void)path;
    return ((struct device *)ctx)->nowayout;
}

static const struct watchdog_ops ops = {dev_open, dev_control, dev_write, dev_close, dev_nowayout};

struct place {
    char root[64];
    char *text;
    size_t len;
};

static int begin(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    char command[512];

    (void)text_copy(p->root, sizeof(p->root), "/tmp/fence.XXXXXX");
    if (!mkdtemp(p->root))
        return -1;
    (void)text_print(command, sizeof(command),
                     "cd %s && mkdir -p sys/class/watchdog/watchdog0 proc/123/fd && cd sys/class/watchdog/watchdog0 && "
                     "echo i6300ESB > identity; echo inactive > state; echo 30 > timeout; echo 0 > nowayout; "
                     "echo 32 > bootstatus; echo 0x8180 > options; cd %s/proc/123; echo wd_keepalive > comm; "
                     "ln -s /dev/watchdog0 fd/4",
                     p->root, p->root);
    *state = p;
    return system(command);
}

static int end(void **state)
{
    struct place *p = *state;
    char command[128];
    int r;

    (void)text_print(command, sizeof(command), "rm -rf '%s'", p->root);
    r = system(command);
    free(p->text);
    free(p);
    return r;
}

static int run(struct place *p, struct device *d, uint64_t ttl_s, bool really)
{
    static const struct keeper_options no_file = {0};
    struct watchdog_test t = {.options = &no_file,
                              .device = "/dev/watchdog0",
                              .root = p->root,
                              .ttl_us = ttl_s * USEC_PER_SEC,
                              .really_reset = really,
                              .ops = &ops,
                              .ctx = d};
    int r;

    free(p->text);
    t.in = fopen("/dev/null", "r");
    t.out = open_memstream(&p->text, &p->len);
    r = watchdog_test_main(&t);
    (void)fclose(t.out);
    (void)fclose(t.in);
    return r;
}

static void expect(const struct place *p, const char *text)
{
    if (!strstr(p->text, text))
        fail_msg("no \"%s\" in\n%s", text, p->text);
}

static void test_watchdog_test_says_what_is_there_and_stops_what_it_started(void **state)
{
    struct device d = {0};

    assert_int_equal(run(*state, &d, 30, false), 0);
    expect(*state, "/dev/watchdog0: i6300ESB, inactive\n");
    expect(*state, "timeout      30 s");
    expect(*state, "nowayout     0\n");
    expect(*state, "bootstatus   32 (it has reset this host the last time)");
    expect(*state, "options      settimeout magicclose keepaliveping\n");
    expect(*state, "it is \"pretended\", grants 5 s, and was stopped again\n");
    expect(*state, "R            5.0 s: not measured yet");
    expect(*state, "it fits a ttl of 30 s (8 s at least)");
    assert_true(d.opens == 2 && d.stops == 2);
}

static void test_watchdog_test_fails_when_r_does_not_fit(void **state)
{
    struct device d = {.least_s = 60};

    assert_int_equal(run(*state, &d, 30, false), 1);
    expect(*state, "it does not fit a ttl of 30 s: 65 s at least, or a timeout of 25 s at most");
    assert_int_equal(d.stops, 2);
}

static void test_watchdog_test_names_who_holds_it(void **state)
{
    struct device d = {.open_result = -EBUSY};

    assert_int_equal(run(*state, &d, 30, false), 1);
    expect(*state, "held by process 123 (wd_keepalive)");
}

static void test_watchdog_test_does_not_open_what_nothing_can_stop(void **state)
{
    struct device d = {.nowayout = 1};

    assert_int_equal(run(*state, &d, 30, false), 0);
    expect(*state, "(nowayout): not opened");
    assert_int_equal(d.opens, 0);
}

static void test_watchdog_test_resets_nothing_without_a_word(void **state)
{
    struct device d = {0};

    assert_int_equal(run(*state, &d, 30, true), 1);
    expect(*state, "say --yes to have this host reset");
    assert_int_equal(d.opens, 2);
    assert_int_equal(d.stops, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_watchdog_test_says_what_is_there_and_stops_what_it_started, begin, end),
        cmocka_unit_test_setup_teardown(test_watchdog_test_fails_when_r_does_not_fit, begin, end),
        cmocka_unit_test_setup_teardown(test_watchdog_test_names_who_holds_it, begin, end),
        cmocka_unit_test_setup_teardown(test_watchdog_test_does_not_open_what_nothing_can_stop, begin, end),
        cmocka_unit_test_setup_teardown(test_watchdog_test_resets_nothing_without_a_word, begin, end),
    };

    return cmocka_run_group_tests_name("watchdog_test", tests, NULL, NULL);
}
