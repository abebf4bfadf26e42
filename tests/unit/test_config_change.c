/* PATCH and PUT /config with a store made of one variable, which others write to and whose answers get lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/text.h"

enum { CALLS_MAX = 64 };

/* What happens to the n-th write: 'd' done, 'r' somebody was faster, 'l' lost before, 'L' done and the answer lost. */
static const char *script;

static struct {
    char *text; /* NULL = the key does not exist */
    uint64_t revision;
    unsigned writes, reads;
    bool down;
} store;

static struct {
    void (*answer)(void *userdata, struct dcs_answer *answer);
    void *userdata;
    struct dcs_answer what;
} waiting[CALLS_MAX];
static unsigned n_waiting;

static struct fixture {
    struct agent a;
    struct config config;
    struct dynamic dynamic;
    struct dcs dcs;
} f;

static struct command command;
static struct {
    unsigned n, status;
    char *body;
    char note[64];
} said;

static void later(dcs_done_fn done, void *userdata, struct dcs_answer what)
{
    assert_true(n_waiting < CALLS_MAX);
    waiting[n_waiting].answer = done;
    waiting[n_waiting].userdata = userdata;
    waiting[n_waiting++].what = what;
}

static void fake_get_cluster(struct dcs *d, bool linearizable, uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    struct dcs_answer what = {.outcome = store.down ? DCS_UNKNOWN : DCS_DONE};

    (void)d;
    (void)deadline_us;
    assert_true(linearizable);
    store.reads++;
    if (store.down)
        (void)err_set(&what.err, -110, "no answer");
    if (!store.down) {
        what.cluster = cluster_new();
        what.cluster->config.exists = store.text != NULL;
        what.cluster->config.text = store.text ? strdup(store.text) : NULL;
        what.cluster->config.revision = store.revision;
    }
    later(done, userdata, what);
}

static void write_key(const char *value)
{
    free(store.text);
    store.text = strdup(value);
    store.revision++;
}

static void fake_put(struct dcs *d, const char *key, const char *value, enum dcs_compare compare, uint64_t revision,
                     uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    struct dcs_answer what = {.outcome = DCS_DONE};
    char fate = *script ? *script++ : 'd';

    (void)d;
    (void)deadline_us;
    assert_string_equal(key, "config");
    assert_int_equal(compare, store.text ? DCS_REVISION : DCS_ABSENT);
    store.writes++;
    if (fate == 'r')
        write_key("{\"by\":\"another\",\"ttl\":30}");
    if (fate == 'r' || (store.text && revision != store.revision)) {
        what.outcome = DCS_REFUSED;
    } else {
        if (fate != 'l')
            write_key(value);
        if (fate != 'd')
            what.outcome = DCS_UNKNOWN;
    }
    if (what.outcome != DCS_DONE)
        (void)err_set(&what.err, -110, "no answer");
    later(done, userdata, what);
}

static const struct dcs_ops ops = {.name = "fake", .get_cluster = fake_get_cluster, .put = fake_put};

static void take_answer(struct command *c, struct command_answer *answer)
{
    assert_ptr_equal(c, &command);
    said.n++;
    said.status = answer->status;
    free(said.body);
    said.body = answer->body;
    (void)text_copy(said.note, sizeof(said.note), answer->header ? answer->header_value : "");
}

static int set_up(void **state)
{
    (void)state;
    memset(&f, 0, sizeof(f));
    memset(&store, 0, sizeof(store));
    script = "";
    n_waiting = 0;
    said.n = 0;
    f.dcs.ops = &ops;
    f.config.name = (char *)"n1";
    f.dynamic.policy = POLICY_DEFAULT;
    f.a.config = &f.config;
    f.a.dynamic = &f.dynamic;
    f.a.dcs = &f.dcs;
    f.a.store_busy = true; /* its own reading is not looked at here */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    config_change_done(&f.a);
    free(store.text);
    free(said.body);
    said.body = NULL;
    return 0;
}

/* Until nobody waits for the store any more. */
static void run(void)
{
    for (unsigned i = 0; i < n_waiting; i++)
        waiting[i].answer(waiting[i].userdata, &waiting[i].what);
    n_waiting = 0;
}

static void ask(enum command_kind kind, const char *body)
{
    command = (struct command){.kind = kind, .body = body, .answer = take_answer};
    config_change(&f.a, &command);
    run();
    assert_int_equal(said.n, 1);
    assert_null(f.a.config_changes);
    said.n = 0;
}

static void test_a_patch_is_merged_into_what_the_store_has(void **state)
{
    (void)state;
    write_key("{\"ttl\":30,\"postgresql\":{\"parameters\":{\"a.b\":1}}}");
    ask(COMMAND_PATCH_CONFIG,
        "{\"ttl\":20,\"loop_wait\":5,\"retry_timeout\":5,\"postgresql\":{\"parameters\":{\"a.c\":0.1}}}");
    assert_int_equal(said.status, 200);
    assert_string_equal(said.body, "{\"ttl\": 20, \"postgresql\": {\"parameters\": {\"a.b\": 1, \"a.c\": 0.1}}, "
                                   "\"loop_wait\": 5, \"retry_timeout\": 5}");
    assert_string_equal(store.text,
                        "{\"ttl\":20,\"postgresql\":{\"parameters\":{\"a.b\":1,\"a.c\":0.1}},\"loop_wait\":5,"
                        "\"retry_timeout\":5}");
}

static void test_what_changes_nothing_is_not_written(void **state)
{
    (void)state;
    write_key("{\"ttl\":30}");
    ask(COMMAND_PATCH_CONFIG, "{\"ttl\":\"30\",\"pause\":null}");
    assert_int_equal(said.status, 200);
    ask(COMMAND_PUT_CONFIG, "{\"ttl\":30}");
    assert_int_equal(said.status, 200);
    assert_int_equal(store.writes, 0);
}

static void test_a_lost_race_is_run_again_on_what_the_other_wrote(void **state)
{
    (void)state;
    write_key("{\"ttl\":30}");
    script = "rr";
    ask(COMMAND_PATCH_CONFIG, "{\"pause\":true}");
    assert_int_equal(said.status, 200);
    assert_string_equal(store.text, "{\"by\":\"another\",\"ttl\":30,\"pause\":true}");
    assert_int_equal(store.writes, 3);
}

static void test_whoever_always_loses_is_told_so(void **state)
{
    (void)state;
    write_key("{\"ttl\":30}");
    script = "rrrrrrrrrrrrrrrrrrrr";
    ask(COMMAND_PATCH_CONFIG, "{\"pause\":true}");
    assert_int_equal(said.status, 409);
    assert_int_equal(store.writes, 10);
}

static void test_a_lost_answer_is_settled_by_reading(void **state)
{
    (void)state;
    write_key("{\"ttl\":30}");
    script = "L";
    ask(COMMAND_PATCH_CONFIG, "{\"pause\":true}");
    assert_int_equal(said.status, 200);
    assert_int_equal(store.writes, 1);
    script = "ll";
    ask(COMMAND_PATCH_CONFIG, "{\"pause\":null}");
    assert_int_equal(said.status, 200);
    assert_string_equal(store.text, "{\"ttl\":30}");
    script = "llllllllllllllll";
    ask(COMMAND_PATCH_CONFIG, "{\"pause\":true}");
    assert_int_equal(said.status, 502);
}

static void test_without_a_configuration_there_is_nothing_to_patch(void **state)
{
    (void)state;
    ask(COMMAND_PATCH_CONFIG, "{\"pause\":true}");
    assert_int_equal(said.status, 503);
    write_key("[1]");
    ask(COMMAND_PATCH_CONFIG, "{\"pause\":true}");
    assert_int_equal(said.status, 503);
    assert_int_equal(store.writes, 0);
    ask(COMMAND_PUT_CONFIG, "{\"ttl\":30}");
    assert_int_equal(said.status, 200);
    assert_string_equal(store.text, "{\"ttl\":30}");
}

static void test_put_makes_the_key_when_it_is_not_there(void **state)
{
    (void)state;
    ask(COMMAND_PUT_CONFIG, "{\"ttl\":30}");
    assert_int_equal(said.status, 200);
    assert_string_equal(store.text, "{\"ttl\":30}");
}

static void test_a_store_that_does_not_answer_is_named(void **state)
{
    (void)state;
    store.down = true;
    ask(COMMAND_PATCH_CONFIG, "{\"pause\":true}");
    assert_int_equal(said.status, 503);
    assert_string_equal(said.body, "no answer");
}

static void test_mistakes_are_refused_and_oddities_noted(void **state)
{
    (void)state;
    write_key("{\"ttl\":30,\"check_timeline\":\"perhaps\"}");
    ask(COMMAND_PATCH_CONFIG, "{\"ttl\":\"soon\",\"pause\":5}");
    assert_int_equal(said.status, 400);
    assert_string_equal(said.body,
                        "ttl: expected a number of seconds, got \"soon\"\npause: expected true or false, got 5");
    ask(COMMAND_PATCH_CONFIG, "{}");
    assert_int_equal(said.status, 400);
    assert_int_equal(store.writes, 0);
    ask(COMMAND_PATCH_CONFIG, "{\"pausse\":true}");
    assert_int_equal(said.status, 200);
    assert_string_equal(said.note, "pausse: is not known here and has no effect; did you mean \"paus");
}

/* The agent ends while somebody waits. */
static void test_nobody_waits_for_ever(void **state)
{
    (void)state;
    command = (struct command){.kind = COMMAND_PATCH_CONFIG, .body = "{\"a\":1}", .answer = take_answer};
    config_change(&f.a, &command);
    assert_int_equal(said.n, 0);
    config_change_done(&f.a);
    assert_int_equal(said.n, 1);
    assert_int_equal(said.status, 503);
    (void)cluster_free(waiting[0].what.cluster);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_patch_is_merged_into_what_the_store_has),
        TEST(test_what_changes_nothing_is_not_written),
        TEST(test_a_lost_race_is_run_again_on_what_the_other_wrote),
        TEST(test_whoever_always_loses_is_told_so),
        TEST(test_a_lost_answer_is_settled_by_reading),
        TEST(test_without_a_configuration_there_is_nothing_to_patch),
        TEST(test_put_makes_the_key_when_it_is_not_there),
        TEST(test_a_store_that_does_not_answer_is_named),
        TEST(test_mistakes_are_refused_and_oddities_noted),
        TEST(test_nobody_waits_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
