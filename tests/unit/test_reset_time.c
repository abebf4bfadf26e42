#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/text.h"
#include "fence/reset_time.h"

static char dir[64];

static int begin(void **state)
{
    (void)state;
    (void)text_copy(dir, sizeof(dir), "/tmp/fence.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int end(void **state)
{
    char command[128];

    (void)state;
    (void)text_print(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command);
}

static void test_reset_time_is_what_the_last_record_before_the_reset_says(void **state)
{
    struct reset_measure m = {0};
    struct reset_test t;

    (void)state;
    assert_int_equal(reset_time_read(dir, &m), -ENOENT);
    assert_int_equal(reset_test_collect(dir, "boot-1", &m, NULL), 0);
    assert_int_equal(reset_test_begin(&t, dir, "boot-1", 5000000, NULL), 0);
    for (uint64_t us = 0; us <= 7300000; us += RESET_TEST_PERIOD_US)
        assert_int_equal(reset_test_note(&t, us, NULL), 0);
    /* Not reset yet: another start of the same boot learns nothing, and leaves the record. */
    assert_int_equal(reset_test_collect(dir, "boot-1", &m, NULL), 0);
    closep(&t.fd);
    closep(&t.dir_fd);
    assert_int_equal(reset_test_collect(dir, "boot-2", &m, NULL), 1);
    assert_true(m.timeout_us == 5000000);
    assert_in_range(m.reset_us, 7300000 + RESET_TEST_PERIOD_US + RESET_TEST_MARGIN_US, 9000000);
    assert_int_equal(reset_test_collect(dir, "boot-2", &m, NULL), 0); /* once */
    m = (struct reset_measure){0};
    assert_int_equal(reset_time_read(dir, &m), 0);
    assert_true(m.timeout_us == 5000000 && m.reset_us >= 7650000);
}

static void test_reset_test_that_came_to_nothing_leaves_nothing(void **state)
{
    struct reset_measure m;
    struct reset_test t;

    (void)state;
    assert_int_equal(reset_test_begin(&t, dir, "boot-1", 5000000, NULL), 0);
    assert_int_equal(reset_test_note(&t, 100000, NULL), 0);
    reset_test_end(&t);
    assert_int_equal(reset_test_collect(dir, "boot-2", &m, NULL), 0);
    assert_int_equal(reset_test_begin(&t, "/no/such/directory", NULL, 5000000, NULL), -ENOENT);
    reset_test_end(&t);
}

static void put(const char *name, const char *text)
{
    char path[96];
    int fd;

    (void)text_print(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    closep(&fd);
}

static void test_reset_time_believes_no_broken_file(void **state)
{
    static const char *const records[] = {
        "", "pgtether-reset-test 2\n", "pgtether-reset-test 1\nboot_id=x\ntimeout_us=00\n",
        "pgtether-reset-test 1\nboot_id=x\ntimeout_us=0\nelapsed_us=5\nwrite_us=1\n",
        "pgtether-reset-test 1\nboot_id=x\ntimeout_us=5\nelapsed_us=-5\nwrite_us=1\n"};
    static const char *const times[] = {"", "pgtether-reset-time 1\ntimeout_us=1\n",
                                        "pgtether-reset-time 1\ntimeout_us=0\nreset_us=7\n"};
    struct reset_measure m;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        put("reset-test", records[i]);
        assert_int_equal(reset_test_collect(dir, "boot-2", &m, NULL), -EBADMSG);
        assert_int_equal(reset_test_collect(dir, "boot-2", &m, NULL), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        put("reset-time", times[i]);
        assert_int_equal(reset_time_read(dir, &m), -ENOENT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reset_time_is_what_the_last_record_before_the_reset_says, begin, end),
        cmocka_unit_test_setup_teardown(test_reset_test_that_came_to_nothing_leaves_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_reset_time_believes_no_broken_file, begin, end),
    };

    return cmocka_run_group_tests_name("reset_time", tests, NULL, NULL);
}
