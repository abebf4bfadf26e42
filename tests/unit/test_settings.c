#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "fence/settings.h"

#define NEEDED "scope=s\nname=n\ndata_dir=/data/\nrun_dir=/run/p\n"

static void test_settings_are_read_as_the_agent_prints_them(void **state)
{
    static const char text[] = "scope=my cluster=1\nname=node1\ndata_dir=/srv/pg\nrun_dir=/run/pgtether\n"
                               "watchdog_mode=required\nwatchdog_device=/dev/watchdog1\nwatchdog_timeout_us=5000000\n"
                               "watchdog_reset_us=9000000\ngate_mode=nftables\npg_port=65535\nlog_level=debug\n"
                               "vip=primary,eth0,eth0:vip,10.0.0.100/24\nvip=replica,eth1,,fd00::1/64\n";
    struct keeper_settings s;

    (void)state;
    assert_int_equal(settings_parse(text, sizeof(text) - 1, &s, NULL), 0);
    assert_string_equal(s.scope, "my cluster=1");
    assert_string_equal(s.name, "node1");
    assert_string_equal(s.data_dir, "/srv/pg");
    assert_string_equal(s.run_dir, "/run/pgtether");
    assert_int_equal(s.watchdog.mode, WATCHDOG_MODE_REQUIRED);
    assert_string_equal(s.watchdog.device, "/dev/watchdog1");
    assert_true(s.watchdog.timeout_us == 5000000 && s.watchdog.reset_us == 9000000);
    assert_true(s.gate_wanted && s.gate_required);
    assert_int_equal(s.n_net_words, 6);
    assert_string_equal(s.net_words[0], "gate_mode=nftables");
    assert_string_equal(s.net_words[1], "pg_port=65535");
    assert_string_equal(s.net_words[2], "vip=primary,eth0,eth0:vip,10.0.0.100/24");
    assert_string_equal(s.net_words[3], "vip=replica,eth1,,fd00::1/64");
    assert_string_equal(s.net_words[4], "scope=my cluster=1");
    assert_string_equal(s.net_words[5], "name=node1");
    assert_int_equal(s.log_level, LOG_LEVEL_DEBUG);
}

static void test_settings_have_defaults_for_what_is_not_needed(void **state)
{
    struct keeper_settings s;

    (void)state;
    assert_int_equal(settings_parse(NEEDED, strlen(NEEDED), &s, NULL), 0);
    assert_string_equal(s.data_dir, "/data");
    assert_string_equal(s.watchdog.device, "/dev/watchdog");
    assert_int_equal(s.watchdog.mode, WATCHDOG_MODE_AUTOMATIC);
    assert_false(s.gate_wanted || s.gate_required);
    assert_int_equal(s.n_net_words, 0); /* an agent that prints none of it, as those of the tests */
    assert_int_equal(s.log_level, LOG_LEVEL_INFO);
    assert_true(s.watchdog.timeout_us == 0 && s.watchdog.reset_us == 0);
}

static void test_settings_take_sixteen_addresses_and_no_more(void **state)
{
    struct keeper_settings s;
    struct textbuf b = {0};
    CLEANUP(freep) char *text = NULL;

    (void)state;
    textbuf_puts(&b, NEEDED);
    for (int i = 0; i < 16; i++)
        textbuf_printf(&b, "vip=primary,abcdefghijklmno,abcdefghijklmno,fd00:1111:2222:3333:4444:5555:6666:%d/128\n",
                       i);
    assert_int_equal(settings_parse(b.data, b.len, &s, NULL), 0);
    assert_int_equal(s.n_net_words, 18);
    textbuf_puts(&b, "vip=primary,eth0,,10.0.0.1/24\n");
    text = textbuf_take(&b);
    assert_int_equal(settings_parse(text, strlen(text), &s, NULL), -EINVAL);
}

static void test_settings_refuse_everything_unexpected(void **state)
{
    static const char *const bad[] = {
        "",
        "name=n\ndata_dir=/d\nrun_dir=/r\n",
        "scope=s\nname=n\nrun_dir=/r\n",
        NEEDED "unknown=1\n",
        NEEDED "scope\n",
        NEEDED "=\n",
        NEEDED "scope=again\n",
        NEEDED "watchdog_mode=Required\n",
        NEEDED "watchdog_device=dev\n",
        NEEDED "watchdog_timeout_us=999999\n",
        NEEDED "watchdog_timeout_us=86400000001\n",
        NEEDED "watchdog_timeout_us=-1\n",
        NEEDED "watchdog_timeout_us=\n",
        NEEDED "watchdog_reset_us=18446744073709551616\n",
        NEEDED "gate_mode=on\n",
        NEEDED "gate_mode=\n",
        NEEDED "log_level=loud\n",
        "scope=\nname=n\ndata_dir=/d\nrun_dir=/r\n",
        "scope=s\nname=n\ndata_dir=/\nrun_dir=/r\n",
        "scope=s\nname=n\ndata_dir=d\nrun_dir=/r\n",
    };
    struct keeper_settings s;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (settings_parse(bad[i], strlen(bad[i]), &s, NULL) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(settings_parse(NEEDED "\0", sizeof(NEEDED), &s, NULL), -EINVAL);
}

static void test_settings_refuse_what_would_be_cut(void **state)
{
    static char text[SETTINGS_TEXT_MAX + 100];
    struct keeper_settings s;
    size_t len;

    (void)state;
    len = (size_t)snprintf(text, sizeof(text), NEEDED "log_level=%0*d\n", SETTINGS_TEXT_MAX, 0);
    assert_int_equal(settings_parse(text, len, &s, NULL), -EINVAL);
    len = (size_t)snprintf(text, sizeof(text), "scope=%0*d\nname=n\ndata_dir=/d\nrun_dir=/r\n", SETTINGS_NAME_SIZE, 0);
    assert_int_equal(settings_parse(text, len, &s, NULL), -EINVAL);
    len = (size_t)snprintf(text, sizeof(text), "scope=%0*d\nname=n\ndata_dir=/d\nrun_dir=/r\n", SETTINGS_NAME_SIZE - 1,
                           0);
    assert_int_equal(settings_parse(text, len, &s, NULL), 0);
}

static void test_settings_resolve_links_also_of_directories_to_come(void **state)
{
    char dir[] = "/tmp/fence.XXXXXX", real[64], link[64];
    struct keeper_settings s;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)text_print(real, sizeof(real), "%s/real", dir);
    (void)text_print(link, sizeof(link), "%s/link", dir);
    assert_int_equal(mkdir(real, 0700), 0);
    assert_int_equal(symlink(real, link), 0);

    (void)text_copy(s.data_dir, sizeof(s.data_dir), link);
    settings_resolve_data_dir(&s);
    assert_string_equal(s.data_dir, real);

    (void)text_print(s.data_dir, sizeof(s.data_dir), "%s/not/yet", link);
    (void)text_print(real, sizeof(real), "%s/real/not/yet", dir);
    settings_resolve_data_dir(&s);
    assert_string_equal(s.data_dir, real);

    (void)text_copy(s.data_dir, sizeof(s.data_dir), "/no-such-directory/x");
    settings_resolve_data_dir(&s);
    assert_string_equal(s.data_dir, "/no-such-directory/x");

    (void)unlink(link);
    (void)text_print(real, sizeof(real), "%s/real", dir);
    (void)rmdir(real);
    (void)rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings_are_read_as_the_agent_prints_them),
        cmocka_unit_test(test_settings_have_defaults_for_what_is_not_needed),
        cmocka_unit_test(test_settings_take_sixteen_addresses_and_no_more),
        cmocka_unit_test(test_settings_refuse_everything_unexpected),
        cmocka_unit_test(test_settings_refuse_what_would_be_cut),
        cmocka_unit_test(test_settings_resolve_links_also_of_directories_to_come),
    };

    return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
