#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "ctl/ctl.h"

static char directory[] = "/tmp/pgtether-test-ctl-XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(directory));
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory);
}

static void with_file(const char *name, bool create)
{
    char path[128];
    int fd;

    assert_true(text_print(path, sizeof(path), "%s/%s", directory, name));
    if (!create) {
        assert_int_equal(unlink(path), 0);
        return;
    }
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
}

static void test_configuration_when_there_is_only_one_is_found(void **state)
{
    CLEANUP(freep) char *found = NULL;
    struct err err = {0};
    char want[128];

    (void)state;
    with_file("demo.conf", true);
    with_file("demo.conf.bak", true);
    with_file(".hidden.conf", true);
    with_file(".conf", true);
    assert_int_equal(ctl_find_config(directory, &found, &err), 0);
    assert_true(text_print(want, sizeof(want), "%s/demo.conf", directory));
    assert_string_equal(found, want);
    with_file("demo.conf", false);
    with_file("demo.conf.bak", false);
    with_file(".hidden.conf", false);
    with_file(".conf", false);
}

static void test_configuration_when_there_are_several_is_not_guessed(void **state)
{
    char *found = NULL;
    struct err err = {0};

    (void)state;
    with_file("a.conf", true);
    with_file("b.conf", true);
    assert_int_equal(ctl_find_config(directory, &found, &err), -ENOTUNIQ);
    assert_non_null(strstr(err.msg, "(\"a.conf\", \"b.conf\"); choose one with -c FILE"));
    assert_null(found);
    with_file("a.conf", false);
    with_file("b.conf", false);
}

static void test_configuration_when_there_is_none_says_how_to_name_one(void **state)
{
    char *found = NULL;
    struct err err = {0};

    (void)state;
    assert_int_equal(ctl_find_config(directory, &found, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "-c FILE"));
    assert_int_equal(ctl_find_config("/no/such/directory", &found, &err), -ENOENT);
    assert_null(found);
}

/* Runs pgtetherctl with its output thrown away. */
static int run(char *const *args)
{
    int out = dup(STDOUT_FILENO), errors = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    char *argv[10] = {(char[]){"pgtetherctl"}};
    int argc = 1, exit_code;

    for (; args[argc - 1]; argc++)
        argv[argc] = args[argc - 1];
    (void)fflush(stdout);
    assert_true(dup2(null, STDOUT_FILENO) >= 0 && dup2(null, STDERR_FILENO) >= 0);
    optind = 0;
    exit_code = ctl_main(argc, argv);
    (void)fflush(stdout);
    assert_true(dup2(out, STDOUT_FILENO) >= 0 && dup2(errors, STDERR_FILENO) >= 0);
    assert_int_equal(close(null) | close(out) | close(errors), 0);
    return exit_code;
}

static void test_exit_code_tells_wrong_usage_from_failure(void **state)
{
    static const struct {
        const char *args[6];
        int want;
    } rows[] = {
        {{"--help"}, EXIT_DONE},
        {{"--version"}, EXIT_DONE},
        {{"version"}, EXIT_DONE},
        {{"list", "--help"}, EXIT_DONE},
        {{"topology", "-h"}, EXIT_DONE},
        {{"dsn", "demo", "--help"}, EXIT_DONE},
        {{NULL}, EXIT_USAGE},
        {{"frobnicate"}, EXIT_USAGE},
        {{"-x"}, EXIT_USAGE},
        {{"-c"}, EXIT_USAGE},
        {{"list", "-f", "xml"}, EXIT_USAGE},
        {{"list", "-f"}, EXIT_USAGE},
        {{"list", "--frob"}, EXIT_USAGE},
        {{"list", "-w", "0"}, EXIT_USAGE},
        {{"list", "-w", "2x"}, EXIT_USAGE},
        {{"topology", "-f", "json"}, EXIT_USAGE},
        {{"history", "a", "b"}, EXIT_USAGE},
        {{"show-config", "-q"}, EXIT_USAGE},
        {{"dsn", "-r", "boss"}, EXIT_USAGE},
        {{"dsn", "-r", "any", "-m", "node1"}, EXIT_FAILED},
        {{"backup"}, EXIT_FAILED},
        {{"switchover", "--help"}, EXIT_DONE},
        {{"flush", "demo"}, EXIT_USAGE},
        {{"rolling-restart"}, EXIT_USAGE},
        {{"rolling-restart", "demo", "--max-lag", "16XB"}, EXIT_USAGE},
        {{"query", "demo"}, EXIT_FAILED},
        {{"query", "-c", "SELECT 1", "-f", "-"}, EXIT_FAILED},
        {{"-c", "/no/such/file", "list"}, EXIT_FAILED},
        {{"-c", "/no/such/file", "version", "demo"}, EXIT_FAILED},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *args[ARRAY_LEN(rows[i].args) + 1] = {NULL};
        int got;

        for (size_t j = 0; j < ARRAY_LEN(rows[i].args) && rows[i].args[j]; j++)
            args[j] = strdup(rows[i].args[j]);
        got = run(args);
        if (got != rows[i].want)
            fail_msg("pgtetherctl %s %s: got %d", args[0] ? args[0] : "", args[0] && args[1] ? args[1] : "", got);
        for (size_t j = 0; args[j]; j++)
            free(args[j]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configuration_when_there_is_only_one_is_found),
        cmocka_unit_test(test_configuration_when_there_are_several_is_not_guessed),
        cmocka_unit_test(test_configuration_when_there_is_none_says_how_to_name_one),
        cmocka_unit_test(test_exit_code_tells_wrong_usage_from_failure),
    };

    return cmocka_run_group_tests_name("ctl", tests, make_directory, remove_directory);
}
