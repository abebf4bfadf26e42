/*
 * The programs of an operator, as real processes: what they are told, that a newer callback ends an older one with its
 * family, and that what is waited for has a limit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "agent/hook_run.h"
#include "base/clock.h"
#include "base/text.h"
#include "io/child.h"
#include "io/family.h"
#include "io/file.h"

static struct fixture {
    sd_event *loop;
    struct config config;
    struct hook_runs *hooks;
    char dir[64], script[128], out[128];
    char command[256];
    unsigned n_done;
    bool good;
} f;

static int setup(void **state)
{
    (void)state;
    memset(&f, 0, sizeof(f));
    (void)snprintf(f.dir, sizeof(f.dir), "/tmp/test-hook-XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    (void)snprintf(f.script, sizeof(f.script), "%s/hook", f.dir);
    (void)snprintf(f.out, sizeof(f.out), "%s/out", f.dir);
    f.config.scope = (char *)"demo cluster";
    assert_int_equal(sd_event_new(&f.loop), 0);
    assert_int_equal(hook_runs_new(f.loop, &f.config, &f.hooks, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    f.hooks = hook_runs_free(f.hooks);
    f.loop = sd_event_unref(f.loop);
    (void)snprintf(command, sizeof(command), "rm -rf %s", f.dir);
    assert_int_equal(system(command), 0);
    return 0;
}

static void write_script(const char *body)
{
    char text[1024];

    assert_true(text_print(text, sizeof(text), "#!/bin/sh\nout=%s\n%s\n", f.out, body));
    assert_int_equal(file_write_atomic(f.script, text, strlen(text), 0700, NULL), 0);
}

static const char *out(void)
{
    static char text[4096];
    char *read = NULL;

    text[0] = '\0';
    if (file_read(f.out, sizeof(text) - 1, &read, NULL, NULL) >= 0)
        (void)text_copy(text, sizeof(text), read);
    free(read);
    return text;
}

/* Turns the loop until the condition holds; false after 10 s. */
static bool turn_until(bool (*condition)(const void *arg), const void *arg)
{
    uint64_t end_us = clock_now_us() + 10 * USEC_PER_SEC;

    while (!condition(arg)) {
        if (clock_now_us() > end_us)
            return false;
        assert_true(sd_event_run(f.loop, 20000) >= 0);
    }
    return true;
}

static bool out_has(const void *arg)
{
    return strstr(out(), arg) != NULL;
}

static bool is_silent(const void *arg)
{
    (void)arg;
    return !hook_is_telling(f.hooks);
}

static bool was_answered(const void *arg)
{
    (void)arg;
    return f.n_done > 0;
}

static void on_done(void *userdata, bool good)
{
    assert_ptr_equal(userdata, &f);
    f.n_done++;
    f.good = good;
}

static bool lives(pid_t pid)
{
    return kill(pid, 0) == 0;
}

static bool is_dead(const void *arg)
{
    /* As subreaper we inherit what a killed script leaves. */
    while (waitpid(*(const pid_t *)arg, NULL, WNOHANG) > 0)
        ;
    return !lives(*(const pid_t *)arg);
}

static void test_callback_gets_its_words_then_action_role_and_scope(void **state)
{
    (void)state;
    write_script("for a in \"$@\"; do echo \"[$a]\" >> $out; done; echo \"end $NOTIFY_SOCKET$HOOK_INHERITED\" >> $out");
    (void)snprintf(f.command, sizeof(f.command), "%s 'two words' -x", f.script);
    f.config.postgresql.callbacks.on_role_change = f.command;
    assert_int_equal(setenv("NOTIFY_SOCKET", "/run/secret", 1), 0);
    assert_int_equal(setenv("HOOK_INHERITED", "inherited", 1), 0);
    hook_tell(f.hooks, HOOK_ON_ROLE_CHANGE, "primary");
    assert_true(turn_until(out_has, "end"));
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    assert_string_equal(out(), "[two words]\n[-x]\n[on_role_change]\n[primary]\n[demo cluster]\nend inherited\n");
    assert_true(turn_until(is_silent, NULL));
}

static void test_callback_that_is_not_configured_is_not_run_and_ends_nobody(void **state)
{
    (void)state;
    write_script("echo begin >> $out; sleep 30");
    f.config.postgresql.callbacks.on_start = f.script;
    hook_tell(f.hooks, HOOK_ON_START, "replica");
    assert_true(turn_until(out_has, "begin"));
    assert_false(hook_is_configured(f.hooks, HOOK_ON_STOP));
    hook_tell(f.hooks, HOOK_ON_STOP, "replica");
    assert_true(hook_is_telling(f.hooks));
    hook_tell(f.hooks, HOOK_ON_START, "replica"); /* which ends it */
}

/* A child in a session of its own, that no signal to the group of the script reaches. */
static void test_newer_callback_ends_the_older_one_and_all_it_has_started(void **state)
{
    char told[512];
    int first, second;
    pid_t pid[2];

    (void)state;
    write_script("echo $1 $$ >> $out; setsid sh -c 'echo family $$ >> '$out'; sleep 60' & sleep 60");
    f.config.postgresql.callbacks.on_start = f.script;
    f.config.postgresql.callbacks.on_stop = (char *)"/bin/true";
    hook_tell(f.hooks, HOOK_ON_START, "replica");
    assert_true(turn_until(out_has, "family"));
    assert_true(text_copy(told, sizeof(told), out()));
    assert_int_equal(sscanf(told, "on_start %d family %d", &first, &second), 2);
    pid[0] = first;
    pid[1] = second;
    assert_true(lives(pid[0]) && lives(pid[1]));
    hook_tell(f.hooks, HOOK_ON_STOP, "replica");
    assert_true(turn_until(is_dead, &pid[1]));
    assert_true(turn_until(is_dead, &pid[0]));
}

static void test_on_reload_is_apart_from_the_others(void **state)
{
    (void)state;
    write_script("echo $1 >> $out; sleep 60");
    f.config.postgresql.callbacks.on_start = f.script;
    f.config.postgresql.callbacks.on_reload = f.script;
    hook_tell(f.hooks, HOOK_ON_START, "replica");
    assert_true(turn_until(out_has, "on_start"));
    hook_tell(f.hooks, HOOK_ON_RELOAD, "replica");
    assert_true(turn_until(out_has, "on_reload"));
    assert_true(hook_is_telling(f.hooks));
    hook_tell(f.hooks, HOOK_ON_RELOAD, "replica");
    assert_true(turn_until(out_has, "on_reload\non_reload"));
    f.config.postgresql.callbacks.on_start = f.config.postgresql.callbacks.on_reload = (char *)"/bin/true";
    hook_tell(f.hooks, HOOK_ON_RELOAD, "replica"); /* and none of them is left behind */
    hook_tell(f.hooks, HOOK_ON_START, "replica");
}

static void test_what_is_waited_for_answers_by_its_exit_code(void **state)
{
    (void)state;
    assert_false(hook_wait(f.hooks, HOOK_PRE_PROMOTE, USEC_PER_SEC, on_done, &f));
    write_script("test $# = 0");
    f.config.postgresql.pre_promote = f.script;
    assert_true(hook_wait(f.hooks, HOOK_PRE_PROMOTE, 10 * USEC_PER_SEC, on_done, &f));
    assert_true(turn_until(was_answered, NULL));
    assert_true(f.good);
    write_script("exit 3");
    f.n_done = 0;
    assert_true(hook_wait(f.hooks, HOOK_PRE_PROMOTE, 10 * USEC_PER_SEC, on_done, &f));
    assert_true(turn_until(was_answered, NULL));
    assert_false(f.good);
    f.config.postgresql.pre_promote = (char *)"/does/not/exist";
    f.n_done = 0;
    assert_true(hook_wait(f.hooks, HOOK_PRE_PROMOTE, 10 * USEC_PER_SEC, on_done, &f));
    assert_int_equal(f.n_done, 0);
    assert_true(turn_until(was_answered, NULL));
    assert_false(f.good);
    assert_int_equal(f.n_done, 1);
}

static void test_what_is_waited_for_is_ended_at_its_limit(void **state)
{
    int first, second;
    pid_t pid[2];

    (void)state;
    write_script("echo me $$ >> $out; sh -c 'echo family $$ >> '$out'; sleep 60' & sleep 60");
    f.config.postgresql.before_stop = f.script;
    assert_true(hook_wait(f.hooks, HOOK_BEFORE_STOP, USEC_PER_SEC, on_done, &f));
    assert_true(turn_until(was_answered, NULL));
    assert_false(f.good);
    assert_int_equal(sscanf(out(), "me %d family %d", &first, &second), 2);
    pid[0] = first;
    pid[1] = second;
    assert_true(turn_until(is_dead, &pid[0]) && turn_until(is_dead, &pid[1]));
    assert_int_equal(f.n_done, 1);
}

static void test_what_is_waited_for_no_more_does_not_answer(void **state)
{
    (void)state;
    write_script("echo begin >> $out; sleep 60");
    f.config.postgresql.before_stop = f.script;
    assert_true(hook_wait(f.hooks, HOOK_BEFORE_STOP, USEC_PER_SEC, on_done, &f));
    assert_true(turn_until(out_has, "begin"));
    hook_wait_no_more(f.hooks);
    for (int i = 0; i < 75; i++)
        assert_true(sd_event_run(f.loop, 20000) >= 0);
    assert_int_equal(f.n_done, 0);
    hook_wait_no_more(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_callback_gets_its_words_then_action_role_and_scope),
        TEST(test_callback_that_is_not_configured_is_not_run_and_ends_nobody),
        TEST(test_newer_callback_ends_the_older_one_and_all_it_has_started),
        TEST(test_on_reload_is_apart_from_the_others),
        TEST(test_what_is_waited_for_answers_by_its_exit_code),
        TEST(test_what_is_waited_for_is_ended_at_its_limit),
        TEST(test_what_is_waited_for_no_more_does_not_answer),
    };

    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    return cmocka_run_group_tests_name("hook_run", tests, NULL, NULL);
}
