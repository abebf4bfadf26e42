#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "fence/watchdog.h"

/* A device that remembers what was done to it. */
struct device {
    int opens, closes, magics, pets, writes;
    int timeout_s, least_s;
    int open_result, support_result, set_result, get_result, pet_result, write_result, nowayout, boot_status;
    int pretimeout_s, pretimeout_result;
    uint32_t options;
    bool magic_last;
    bool forgets_to_write_back;
};

static int dev_open(void *ctx, const char *path)
{
    struct device *d = ctx;

    assert_string_equal(path, "/dev/pretended");
    if (d->open_result < 0)
        return d->open_result;
    d->opens++;
    return 77;
}

static int dev_control(void *ctx, int fd, unsigned long request, void *arg)
{
    struct device *d = ctx;
    int asked;

    assert_int_equal(fd, 77);
    switch (request) {
    case WDIOC_GETSUPPORT:
        /* All 32 bytes used, as a driver may. */
        *(struct watchdog_info *)arg = (struct watchdog_info){.options = d->options};
        memset(((struct watchdog_info *)arg)->identity, 'x', sizeof(((struct watchdog_info *)arg)->identity));
        return d->support_result;
    case WDIOC_GETBOOTSTATUS:
        *(int *)arg = d->boot_status;
        return 0;
    case WDIOC_SETTIMEOUT:
        if (d->set_result < 0)
            return d->set_result;
        asked = *(int *)arg;
        d->timeout_s = asked < d->least_s ? d->least_s : asked;
        if (!d->forgets_to_write_back)
            *(int *)arg = d->timeout_s;
        return 0;
    case WDIOC_GETTIMEOUT:
        if (d->get_result == 0)
            *(int *)arg = d->timeout_s;
        return d->get_result;
    case WDIOC_SETPRETIMEOUT:
        d->pretimeout_s = *(int *)arg;
        return d->pretimeout_result;
    case WDIOC_KEEPALIVE:
        d->pets += d->pet_result == 0;
        return d->pet_result;
    default:
        fail_msg("unexpected request %lu", request);
    }
    return -ENOTTY;
}

static int dev_write(void *ctx, int fd, char byte)
{
    struct device *d = ctx;

    assert_int_equal(fd, 77);
    if (d->write_result < 0)
        return d->write_result;
    d->writes++;
    d->magic_last = byte == 'V';
    return 0;
}

static int dev_close(void *ctx, int fd)
{
    struct device *d = ctx;

    assert_int_equal(fd, 77);
    d->closes++;
    d->magics += d->magic_last;
    return 0;
}

static int dev_nowayout(void *ctx, const char *path)
{
    (void)path;
    return ((struct device *)ctx)->nowayout;
}

static const struct watchdog_ops ops = {dev_open, dev_control, dev_write, dev_close, dev_nowayout};
static const struct watchdog_settings required = {.mode = WATCHDOG_MODE_REQUIRED, .device = "/dev/pretended"};

static struct watchdog with_device(struct device *d, const struct watchdog_settings *s)
{
    struct watchdog w;

    watchdog_init(&w, s, &ops, d);
    return w;
}

static void test_watchdog_probe_leaves_the_device_stopped(void **state)
{
    struct device d = {.options = WDIOF_MAGICCLOSE, .boot_status = WDIOF_CARDRESET};
    struct watchdog w = with_device(&d, &required);
    bool was_reset = false;

    (void)state;
    assert_int_equal(watchdog_probe(&w, true, &was_reset, NULL), 0);
    assert_true(was_reset);
    assert_true(d.opens == 1 && d.closes == 1 && d.magics == 1);
    assert_true(w.magic_close);
    assert_int_equal(strlen(w.identity), 32);
    assert_int_equal(w.status, KEEPER_WATCHDOG_READY);
    assert_true(watchdog_reset_us(&w) == 0);
}

static void test_watchdog_probe_does_not_open_what_it_could_not_stop(void **state)
{
    static const int answers[] = {1, -ENODATA};
    bool was_reset;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct device d = {.nowayout = answers[i]};
        struct watchdog w = with_device(&d, &required);

        assert_int_equal(watchdog_probe(&w, true, &was_reset, NULL), 0);
        assert_true(w.nowayout);
        assert_int_equal(d.opens, 0);
    }
    {
        struct device d = {0};
        struct watchdog w = with_device(&d, &required);

        assert_int_equal(watchdog_probe(&w, false, &was_reset, NULL), 0);
        assert_int_equal(d.opens, 0);
        assert_int_equal(w.status, KEEPER_WATCHDOG_READY);
    }
}

static void test_watchdog_probe_says_why_there_is_none(void **state)
{
    struct watchdog_settings s = required;
    struct device d = {.nowayout = -ENOENT};
    struct watchdog w = with_device(&d, &s);
    struct err err = {0};
    bool was_reset;

    (void)state;
    assert_int_equal(watchdog_probe(&w, true, &was_reset, &err), -ENOENT);
    assert_int_equal(w.status, KEEPER_WATCHDOG_FAILED);
    s.mode = WATCHDOG_MODE_AUTOMATIC;
    w = with_device(&d, &s);
    assert_int_equal(watchdog_probe(&w, true, &was_reset, &err), -ENOENT);
    assert_int_equal(w.status, KEEPER_WATCHDOG_OFF);
    d = (struct device){.open_result = -EBUSY};
    assert_int_equal(watchdog_probe(&w, true, &was_reset, &err), -EBUSY);
    assert_non_null(strstr(err.msg, "HINT"));
    assert_int_equal(w.status, KEEPER_WATCHDOG_FAILED);
    s.mode = WATCHDOG_MODE_OFF;
    w = with_device(&d, &s);
    assert_int_equal(watchdog_probe(&w, true, &was_reset, &err), 0);
    assert_int_equal(watchdog_start(&w, USEC_PER_SEC, &err), -ENODEV);
    assert_int_equal(w.status, KEEPER_WATCHDOG_OFF);
}

static void test_watchdog_reckons_with_what_the_driver_grants(void **state)
{
    struct device d = {.least_s = 4};
    struct watchdog w = with_device(&d, &required);

    (void)state;
    assert_int_equal(watchdog_start(&w, 2 * USEC_PER_SEC, NULL), 0);
    assert_true(watchdog_reset_us(&w) == 4 * USEC_PER_SEC);
    assert_int_equal(d.pets, 1);
    assert_int_equal(w.status, KEEPER_WATCHDOG_TICKING);
    /* Ticking already: only the timeout changes. */
    assert_int_equal(watchdog_start(&w, 6 * USEC_PER_SEC, NULL), 0);
    assert_int_equal(d.opens, 1);
    assert_true(watchdog_reset_us(&w) == 6 * USEC_PER_SEC);
    assert_int_equal(watchdog_stop(&w, NULL), 0);
    assert_true(watchdog_reset_us(&w) == 0);

    /* A driver that rounds without saying so in the request's own variable. */
    d = (struct device){.least_s = 4, .forgets_to_write_back = true};
    assert_int_equal(watchdog_start(&w, 2 * USEC_PER_SEC, NULL), 0);
    assert_true(watchdog_reset_us(&w) == 4 * USEC_PER_SEC);
}

static void test_watchdog_with_a_fixed_timeout_is_used_with_that(void **state)
{
    struct device d = {.set_result = -EOPNOTSUPP, .timeout_s = 30};
    struct watchdog w = with_device(&d, &required);

    (void)state;
    assert_int_equal(watchdog_start(&w, 2 * USEC_PER_SEC, NULL), 0);
    assert_true(watchdog_reset_us(&w) == 30 * USEC_PER_SEC);
}

static void test_watchdog_measured_reset_time_counts_only_if_it_is_longer(void **state)
{
    struct watchdog_settings s = required;
    struct device d = {0};
    struct watchdog w;

    (void)state;
    s.reset_us = 9 * USEC_PER_SEC;
    w = with_device(&d, &s);
    assert_int_equal(watchdog_start(&w, 5 * USEC_PER_SEC, NULL), 0);
    assert_true(watchdog_reset_us(&w) == 9 * USEC_PER_SEC);
    w.settings.reset_us = 3 * USEC_PER_SEC;
    assert_true(watchdog_reset_us(&w) == 5 * USEC_PER_SEC);
}

static void test_watchdog_pretimeout_is_set_where_it_is_offered_and_never_fatal(void **state)
{
    static const struct {
        uint32_t options;
        uint64_t timeout_s;
        int result, want_s;
    } rows[] = {{WDIOF_PRETIMEOUT, 4, 0, 1}, {WDIOF_PRETIMEOUT, 3, 0, 0}, {0, 4, 0, 0}, {WDIOF_PRETIMEOUT, 5, -EIO, 1}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct device d = {.options = rows[i].options, .pretimeout_result = rows[i].result};
        struct watchdog w = with_device(&d, &required);

        assert_int_equal(watchdog_start(&w, rows[i].timeout_s * USEC_PER_SEC, NULL), 0);
        assert_int_equal(d.pretimeout_s, rows[i].want_s);
        assert_true(watchdog_reset_us(&w) == rows[i].timeout_s * USEC_PER_SEC);
    }
}

static void test_watchdog_says_what_would_do(void **state)
{
    (void)state;
    assert_true(watchdog_least_ttl_s(4 * USEC_PER_SEC) == 7);
    assert_true(watchdog_least_ttl_s(60 * USEC_PER_SEC) == 65);
    assert_true(watchdog_longest_timeout_s(30 * USEC_PER_SEC) == 25);
    assert_true(watchdog_longest_timeout_s(5 * USEC_PER_SEC) == 3);
    assert_true(watchdog_longest_timeout_s(2 * USEC_PER_SEC) == 0);
    assert_true(watchdog_longest_timeout_s(0) == 0);
}

static void test_watchdog_measured_by_a_reset_counts_for_other_timeouts_too(void **state)
{
    struct watchdog_settings s = required;
    struct device d = {0};
    struct watchdog w;

    (void)state;
    s.measured_timeout_us = 4 * USEC_PER_SEC;
    s.measured_reset_us = 7 * USEC_PER_SEC;
    w = with_device(&d, &s);
    assert_true(watchdog_reset_for(&w, 4 * USEC_PER_SEC) >= 7 * USEC_PER_SEC);
    assert_true(watchdog_reset_for(&w, 4 * USEC_PER_SEC) <= 7 * USEC_PER_SEC + 1);
    assert_true(watchdog_reset_for(&w, 2 * USEC_PER_SEC) == 5 * USEC_PER_SEC);  /* a fixed time more */
    assert_true(watchdog_reset_for(&w, 8 * USEC_PER_SEC) >= 14 * USEC_PER_SEC); /* a share more */
    w.settings.reset_us = 20 * USEC_PER_SEC;
    assert_true(watchdog_reset_for(&w, 4 * USEC_PER_SEC) == 20 * USEC_PER_SEC);
    w.settings.reset_us = 0;
    w.settings.measured_reset_us = 3 * USEC_PER_SEC; /* sooner than it was set to: not believed */
    assert_true(watchdog_reset_for(&w, 4 * USEC_PER_SEC) == 4 * USEC_PER_SEC);
}

static void test_watchdog_that_cannot_be_started_is_stopped_by_nobody_but_the_caller(void **state)
{
    static const struct device broken[] = {
        {.set_result = -EINVAL, .get_result = -EINVAL}, /* no timeout to be had */
        {.set_result = -EINVAL, .timeout_s = 0},        /* a senseless one */
        {.set_result = -EINVAL, .timeout_s = -1},
        {.pet_result = -EIO},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        struct device d = broken[i];
        struct watchdog w = with_device(&d, &required);

        assert_true(watchdog_start(&w, 2 * USEC_PER_SEC, NULL) < 0);
        assert_int_equal(w.status, KEEPER_WATCHDOG_FAILED);
        assert_int_equal(d.closes, 0); /* S4: a primary may be running */
        assert_int_equal(watchdog_stop(&w, NULL), 0);
        assert_int_equal(w.status, KEEPER_WATCHDOG_FAILED);
        assert_true(d.closes == 1 && d.magics == 1);
        assert_true(watchdog_reset_us(&w) == 0);
    }
    {
        struct device d = {0};
        struct watchdog w = with_device(&d, &required);

        assert_int_equal(watchdog_start(&w, USEC_PER_SEC - 1, NULL), -ERANGE);
        assert_int_equal(d.opens, 0);
    }
}

static void test_watchdog_is_petted_the_older_way_if_the_driver_knows_no_other(void **state)
{
    struct device d = {.pet_result = -ENOTTY};
    struct watchdog w = with_device(&d, &required);
    uint64_t before_us = clock_now_us();

    (void)state;
    assert_int_equal(watchdog_start(&w, USEC_PER_SEC, NULL), 0);
    assert_int_equal(d.writes, 1);
    assert_false(d.magic_last);
    assert_true(w.last_pet_us >= before_us);
}

static void test_watchdog_failed_pet_is_told_and_can_recover(void **state)
{
    struct device d = {0};
    struct watchdog w = with_device(&d, &required);

    (void)state;
    assert_int_equal(watchdog_pet(&w, NULL), -ENODEV);
    assert_int_equal(watchdog_start(&w, USEC_PER_SEC, NULL), 0);
    d.pet_result = -EIO;
    assert_int_equal(watchdog_pet(&w, NULL), -EIO);
    assert_int_equal(w.status, KEEPER_WATCHDOG_FAILED);
    assert_true(watchdog_reset_us(&w) == USEC_PER_SEC); /* it may still be counting */
    d.pet_result = 0;
    assert_int_equal(watchdog_pet(&w, NULL), 0);
    assert_int_equal(w.status, KEEPER_WATCHDOG_TICKING);
}

static void test_watchdog_that_cannot_be_stopped_stays_open(void **state)
{
    struct device d = {.nowayout = 1};
    struct watchdog w = with_device(&d, &required);
    bool was_reset;

    (void)state;
    assert_int_equal(watchdog_probe(&w, true, &was_reset, NULL), 0);
    assert_int_equal(watchdog_start(&w, USEC_PER_SEC, NULL), 0);
    assert_int_equal(watchdog_stop(&w, NULL), 1);
    assert_int_equal(d.closes, 0);
    assert_int_equal(watchdog_pet(&w, NULL), 0);

    /* One that refuses the magic character is of the same kind from then on. */
    d = (struct device){.write_result = -EIO};
    w = with_device(&d, &required);
    assert_int_equal(watchdog_start(&w, USEC_PER_SEC, NULL), 0);
    assert_int_equal(watchdog_stop(&w, NULL), -EIO);
    assert_true(w.nowayout);
    assert_int_equal(watchdog_stop(&w, NULL), 1);
    assert_int_equal(d.closes, 0);
    watchdog_abandon(&w);
    assert_true(d.closes == 1 && d.magics == 0);
    watchdog_abandon(&w);
    assert_int_equal(d.closes, 1);
}

static void test_watchdog_timeout_is_a_quarter_of_the_lease_within_limits(void **state)
{
    static const struct {
        uint64_t rest_ms, want_s;
    } rows[] = {{0, 1},     {3000, 1},  {5999, 1},  {6000, 2},  {7900, 2},  {9999, 2},   {10000, 3},
                {14900, 4}, {17999, 4}, {18000, 5}, {29900, 5}, {30000, 5}, {3600000, 5}};
    struct watchdog_settings s = required;
    struct device d = {0};
    struct watchdog w = with_device(&d, &s);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_true(watchdog_timeout_for(&w, rows[i].rest_ms * USEC_PER_MSEC) == rows[i].want_s * USEC_PER_SEC);
    w.settings.timeout_us = 10 * USEC_PER_SEC;
    assert_true(watchdog_timeout_for(&w, 8 * USEC_PER_SEC) == 10 * USEC_PER_SEC);
}

static void test_watchdog_last_pet_has_the_longest_timeout_that_fits_the_lease(void **state)
{
    struct watchdog_settings s = required;
    struct device d = {0};
    struct watchdog w = with_device(&d, &s);

    (void)state;
    assert_int_equal(watchdog_start(&w, 2 * USEC_PER_SEC, NULL), 0);
    assert_int_equal(watchdog_pet_long(&w, 6900 * USEC_PER_MSEC, NULL), 0);
    assert_true(w.timeout_us == 6 * USEC_PER_SEC);

    assert_int_equal(watchdog_start(&w, 2 * USEC_PER_SEC, NULL), 0);
    assert_int_equal(watchdog_pet_long(&w, 2500 * USEC_PER_MSEC, NULL), 0);
    assert_true(w.timeout_us == 2 * USEC_PER_SEC);

    assert_int_equal(watchdog_pet_long(&w, 3600 * USEC_PER_SEC, NULL), 0);
    assert_true(w.timeout_us == 30 * USEC_PER_SEC);

    /* The real reset takes half as long again. */
    w.settings.measured_timeout_us = 4 * USEC_PER_SEC;
    w.settings.measured_reset_us = 6 * USEC_PER_SEC;
    assert_int_equal(watchdog_start(&w, 2 * USEC_PER_SEC, NULL), 0);
    assert_int_equal(watchdog_pet_long(&w, 8 * USEC_PER_SEC, NULL), 0);
    assert_true(w.timeout_us == 5 * USEC_PER_SEC);
}

static void test_watchdog_modes_have_names(void **state)
{
    enum watchdog_mode mode;

    (void)state;
    for (int i = WATCHDOG_MODE_OFF; i <= WATCHDOG_MODE_REQUIRED; i++) {
        assert_true(watchdog_mode_from_text(watchdog_mode_text((enum watchdog_mode)i), &mode));
        assert_int_equal(mode, i);
    }
    assert_false(watchdog_mode_from_text("on", &mode));
}

/* --- the system calls of watchdog_linux -----------------------------------------------------------------------------
 */

static unsigned long last_request;
static int ioctl_errno;

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    (void)fd;
    last_request = request;
    errno = ioctl_errno;
    return ioctl_errno ? -1 : 0;
}

static void test_watchdog_linux_translates_failures_of_the_kernel(void **state)
{
    char path[] = "/tmp/fence.XXXXXX";
    int fd = mkstemp(path), dev;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(watchdog_linux.open(NULL, "/tmp/fence.no-such-device"), -ENOENT);
    assert_int_equal(watchdog_linux.nowayout(NULL, "/tmp/fence.no-such-device"), -ENOENT);
    assert_int_equal(watchdog_linux.nowayout(NULL, path), -ENODEV);         /* a file is no device */
    assert_int_equal(watchdog_linux.nowayout(NULL, "/dev/null"), -ENODATA); /* a device without the attribute */
    dev = watchdog_linux.open(NULL, path);
    assert_true(dev >= 0 && (fcntl(dev, F_GETFD) & FD_CLOEXEC));
    assert_int_equal(watchdog_linux.write(NULL, dev, 'V'), 0);
    assert_int_equal(lseek(dev, 0, SEEK_CUR), 1);
    assert_int_equal(watchdog_linux.control(NULL, dev, WDIOC_KEEPALIVE, NULL), 0);
    assert_true(last_request == WDIOC_KEEPALIVE);
    ioctl_errno = EIO;
    assert_int_equal(watchdog_linux.control(NULL, dev, WDIOC_KEEPALIVE, NULL), -EIO);
    assert_int_equal(watchdog_linux.close(NULL, dev), 0);
    assert_int_equal(watchdog_linux.close(NULL, dev), -EBADF);
    assert_int_equal(watchdog_linux.write(NULL, dev, 'V'), -EBADF);
    closep(&fd);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_watchdog_probe_leaves_the_device_stopped),
        cmocka_unit_test(test_watchdog_probe_does_not_open_what_it_could_not_stop),
        cmocka_unit_test(test_watchdog_probe_says_why_there_is_none),
        cmocka_unit_test(test_watchdog_reckons_with_what_the_driver_grants),
        cmocka_unit_test(test_watchdog_with_a_fixed_timeout_is_used_with_that),
        cmocka_unit_test(test_watchdog_measured_reset_time_counts_only_if_it_is_longer),
        cmocka_unit_test(test_watchdog_pretimeout_is_set_where_it_is_offered_and_never_fatal),
        cmocka_unit_test(test_watchdog_says_what_would_do),
        cmocka_unit_test(test_watchdog_measured_by_a_reset_counts_for_other_timeouts_too),
        cmocka_unit_test(test_watchdog_that_cannot_be_started_is_stopped_by_nobody_but_the_caller),
        cmocka_unit_test(test_watchdog_is_petted_the_older_way_if_the_driver_knows_no_other),
        cmocka_unit_test(test_watchdog_failed_pet_is_told_and_can_recover),
        cmocka_unit_test(test_watchdog_that_cannot_be_stopped_stays_open),
        cmocka_unit_test(test_watchdog_timeout_is_a_quarter_of_the_lease_within_limits),
        cmocka_unit_test(test_watchdog_last_pet_has_the_longest_timeout_that_fits_the_lease),
        cmocka_unit_test(test_watchdog_modes_have_names),
        cmocka_unit_test(test_watchdog_linux_translates_failures_of_the_kernel),
    };

    return cmocka_run_group_tests_name("watchdog", tests, NULL, NULL);
}
