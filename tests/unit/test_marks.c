/*
 * Marks of what was begun: whose mark of a bootstrap may be taken off the initialize key, and what a pg_rewind that
 * never wrote leaves behind. Real directories, a store that only notes what it is asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent/parts.h"
#include "base/text.h"

enum { OTHER_LEASE = 72, REVISION = 5 };

static struct fixture {
    struct agent a;
    struct config config;
    struct dynamic dynamic;
    struct dcs dcs;
    struct cluster cluster;
    char dir[64], data_dir[80];
    unsigned n_deleted;
    uint64_t deleted_revision;
} f;

static void fake_delete(struct dcs *d, const char *key, enum dcs_compare compare, uint64_t revision,
                        uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    (void)d;
    (void)deadline_us;
    (void)done;
    (void)userdata;
    assert_string_equal(key, "initialize");
    assert_int_equal(compare, DCS_REVISION);
    f.n_deleted++;
    f.deleted_revision = revision;
}

static const struct dcs_ops ops = {.name = "fake", .delete = fake_delete};

static int set_up(void **state)
{
    (void)state;
    memset(&f, 0, sizeof(f));
    (void)snprintf(f.dir, sizeof(f.dir), "/tmp/test-marks-XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    (void)snprintf(f.data_dir, sizeof(f.data_dir), "%s/data", f.dir);
    assert_int_equal(mkdir(f.data_dir, 0700), 0);
    f.config.name = (char *)"n1";
    f.config.postgresql.data_dir = f.data_dir;
    f.config.postgresql.bin_dir = (char *)"/does/not/exist";
    f.dynamic.policy = POLICY_DEFAULT;
    f.dcs.ops = &ops;
    f.cluster.initialize = (struct text_key){.exists = true, .text = (char *)"", .revision = REVISION};
    f.a.config = &f.config;
    f.a.dynamic = &f.dynamic;
    f.a.dcs = &f.dcs;
    f.a.cluster = &f.cluster;
    f.a.bootstrap_incomplete = true;
    assert_true(sd_event_new(&f.a.loop) >= 0);
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    op_end(&f.a);
    f.a.control_run = pg_controldata_free(f.a.control_run);
    f.a.loop = sd_event_unref(f.a.loop);
    (void)snprintf(command, sizeof(command), "rm -rf %s", f.dir);
    assert_int_equal(system(command), 0);
    return 0;
}

static void abandon(void)
{
    const struct ha_decision d = {.action = HA_ABANDON_BOOTSTRAP};

    op_abandon_bootstrap(&f.a, &d);
}

static bool was_set_aside(void)
{
    return access(f.data_dir, F_OK) < 0 && !f.a.bootstrap_incomplete;
}

static void test_mark_of_this_process_is_taken_off_first(void **state)
{
    (void)state;
    f.a.bootstrap_revision = REVISION;
    abandon();
    assert_int_equal(f.n_deleted, 1);
    assert_int_equal(f.deleted_revision, REVISION);
    assert_false(was_set_aside());
}

static void test_mark_of_anybody_else_stays(void **state)
{
    static const struct {
        const char *name;
        struct text_key key;
        uint64_t ours;
    } rows[] = {
        {"another node's, which bootstraps now", {true, (char *)"", REVISION, OTHER_LEASE}, REVISION - 1},
        {"which is ours is not known", {true, (char *)"", REVISION, 0}, 0},
        {"of a store that counts from 0", {true, (char *)"", 0, 0}, 0},
        {"a cluster's identifier", {true, (char *)"7412345678901234567", REVISION, 0}, REVISION},
        {"none", {false, NULL, REVISION, 0}, REVISION},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char command[160];

        f.cluster.initialize = rows[i].key;
        f.a.bootstrap_revision = rows[i].ours;
        f.a.bootstrap_incomplete = true;
        (void)mkdir(f.data_dir, 0700);
        abandon();
        if (f.n_deleted || !was_set_aside())
            fail_msg("%s: %u deleted, set aside: %d", rows[i].name, f.n_deleted, was_set_aside());
        (void)snprintf(command, sizeof(command), "rm -rf %s.unfinished.*", f.data_dir);
        assert_int_equal(system(command), 0);
    }
}

static void check_mark(const char *text, bool made, uint64_t revision)
{
    char path[256];
    FILE *file;

    (void)mkdir(f.data_dir, 0700);
    (void)snprintf(path, sizeof(path), "%s/" BOOTSTRAP_MARKER, f.data_dir);
    file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
    bootstrap_mark_load(&f.a);
    if (!f.a.bootstrap_incomplete || f.a.bootstrap_made != made || f.a.bootstrap_revision != revision)
        fail_msg("\"%s\": incomplete %d, made %d, revision %lu", text, f.a.bootstrap_incomplete, f.a.bootstrap_made,
                 (unsigned long)f.a.bootstrap_revision);
}

static void test_mark_says_how_far_the_bootstrap_came(void **state)
{
    (void)state;
    check_mark("n1 42 begun\n", false, 42);
    check_mark("n1 42 made\n", true, 42);
    check_mark("n2 42 made\n", false, 0); /* copied with the data of that node */
    check_mark("n1 x made\n", false, 0);
    check_mark("n1 42", false, 0);
    check_mark("\n", false, 0);
    check_mark("", false, 0);
    f.config.postgresql.data_dir = (char *)"/does/not/exist";
    bootstrap_mark_load(&f.a);
    assert_false(f.a.bootstrap_incomplete || f.a.bootstrap_made);
}

static void test_rewind_that_never_began_leaves_no_mark(void **state)
{
    struct member leader = {.name = "n2", .host = "192.0.2.1", .port = 5432};

    (void)state;
    f.cluster.members = &leader;
    f.cluster.n_members = 1;
    f.a.op.kind = OP_REWIND;
    (void)text_copy(f.a.op.target, sizeof(f.a.op.target), "n2");
    f.config.scope = (char *)"demo";
    f.config.postgresql.pgpass = (char *)"/does/not/exist/pgpass";
    op_rewind_run(&f.a);
    for (int i = 0; i < 500 && f.a.op.kind == OP_REWIND; i++)
        assert_true(sd_event_run(f.a.loop, 20000) >= 0);
    assert_false(marker_is_set(&f.a, "rewind"));
    assert_false(f.a.rewind_incomplete);
    assert_true(f.a.memory.rewind_failed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_mark_of_this_process_is_taken_off_first),
        TEST(test_mark_of_anybody_else_stays),
        TEST(test_mark_says_how_far_the_bootstrap_came),
        TEST(test_rewind_that_never_began_leaves_no_mark),
    };

    return cmocka_run_group_tests_name("marks", tests, NULL, NULL);
}
