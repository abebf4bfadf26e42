/* Files on a disk: what they include, who may read them, and whether the documentation knows every setting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "config/bindir.h"
#include "config/config.h"
#include "config/dynamic.h"
#include "config/schema.h"
#include "io/file.h"

#define CREDENTIALS "authentication: { replication: { username = \"r\"; }; };"
#define REST                                                                                                           \
    "restapi: { listen = \"10.0.0.1\"; }; etcd3: { host = \"h\"; };\n"                                                 \
    "postgresql: { listen = \"10.0.0.1\"; data_dir = \"/d/x\"; bin_dir = \"/b\"; " CREDENTIALS " };\n"

struct fixture {
    char dir[64];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    (void)text_copy(f->dir, sizeof(f->dir), "/tmp/test_config_files.XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];

    (void)text_print(command, sizeof(command), "rm -rf '%s'", f->dir);
    if (system(command) != 0)
        return -1;
    free(f);
    return 0;
}

static void write_file(const struct fixture *f, const char *name, mode_t mode, const char *content)
{
    char path[PATH_MAX];

    (void)text_print(path, sizeof(path), "%s/%s", f->dir, name);
    assert_int_equal(file_write_atomic(path, content, strlen(content), mode, NULL), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* Loads a file of the fixture; the problems as text with the directory cut out, for the caller to free. */
static char *load(const struct fixture *f, const char *name, int want)
{
    char path[PATH_MAX], prefix[PATH_MAX];
    CLEANUP(config_freep) struct config *c = NULL;
    CLEANUP(freep) char *report = NULL;
    struct config_problems problems;
    struct textbuf short_report = {0};
    struct err err = {0};
    int r;

    (void)text_print(path, sizeof(path), "%s/%s", f->dir, name);
    (void)text_print(prefix, sizeof(prefix), "%s/", f->dir);
    r = config_load(path, &c, &problems, &err);
    report = config_problems_text(&problems);
    config_problems_done(&problems);
    if (r != want)
        fail_msg("config_load() returned %d, not %d: %s\n%s", r, want, err.msg, report);
    for (const char *at = report; *at;) {
        const char *found = strstr(at, prefix);

        textbuf_append(&short_report, at, found ? (size_t)(found - at) : strlen(at));
        at = found ? found + strlen(prefix) : at + strlen(at);
    }
    return textbuf_take(&short_report);
}

static void test_include_of_a_good_file_is_as_if_its_text_were_there(void **state)
{
    CLEANUP(freep) char *report = NULL;

    write_file(*state, "main.conf", 0644, "scope = \"c\";\n@include \"names.conf\"\n" REST);
    write_file(*state, "names.conf", 0644, "name = \"n\"; # no newline at the end: \"");
    report = load(*state, "main.conf", 0);
    assert_string_equal(report, "");
}

static void test_problems_of_an_included_file_have_its_name_and_line(void **state)
{
    CLEANUP(freep) char *report = NULL;

    write_file(*state, "main.conf", 0644,
               "/* @include \"none\" \" */ scope = \"@include \\\"none\\\"\";\n"
               "  @include \"sub.conf\" // the names\n"
               "colour = 1;\n" REST);
    write_file(*state, "sub.conf", 0644, "name = \"n\";\n@include \"deep.conf\"\n\ncolor = 1;\n");
    write_file(*state, "deep.conf", 0644, "\n\ncolours = 1;");
    report = load(*state, "main.conf", -EINVAL);
    assert_string_equal(report, "main.conf:3: colour: unknown setting \"colour\"\n"
                                "deep.conf:3: colours: unknown setting \"colours\"\n"
                                "sub.conf:4: color: unknown setting \"color\"\n"
                                "");
}

static void test_first_line_of_a_file_included_in_midline_is_its_own(void **state)
{
    CLEANUP(freep) char *report = NULL;

    write_file(*state, "main.conf", 0644, "scope = \"c\";\nname = \"n\"; @include \"sub.conf\" color = 1;\n" REST);
    write_file(*state, "sub.conf", 0644, "colour = 1;");
    report = load(*state, "main.conf", -EINVAL);
    assert_string_equal(report, "main.conf:2: color: unknown setting \"color\"\n"
                                "sub.conf:1: colour: unknown setting \"colour\"\n");
}

static void test_include_inside_a_string_or_comment_is_text(void **state)
{
    CLEANUP(freep) char *report = NULL;

    write_file(
        *state, "main.conf", 0644,
        "scope = \"c \\\" @include \\\"none\\\" # \"; /* \" @include \"none\" */ name = \"n\"; # @include \"none\"\n"
        "// @include \"none\" \"\n" REST);
    report = load(*state, "main.conf", 0);
    assert_string_equal(report, "");
}

static void test_syntax_error_in_an_included_file_has_its_name_and_line(void **state)
{
    CLEANUP(freep) char *report = NULL;

    write_file(*state, "main.conf", 0644, "scope = \"c\";\n\n@include \"sub.conf\"\n" REST);
    write_file(*state, "sub.conf", 0644, "# one\nname == \"n\";\n");
    report = load(*state, "main.conf", -EINVAL);
    assert_string_equal(report, "sub.conf:2: syntax error\n");
}

static void test_include_by_absolute_name_works(void **state)
{
    const struct fixture *f = *state;
    CLEANUP(freep) char *report = NULL;
    char content[2048];

    (void)text_print(content, sizeof(content), "scope = \"c\";\n@include \"%s/names.conf\"\n" REST, f->dir);
    write_file(f, "main.conf", 0644, content);
    write_file(f, "names.conf", 0644, "name = \"n\";");
    report = load(f, "main.conf", 0);
    assert_string_equal(report, "");
}

static void test_include_of_what_cannot_be_read_says_why(void **state)
{
    CLEANUP(freep) char *report = NULL;

    write_file(*state, "main.conf", 0644,
               "scope = \"c\"; name = \"n\";\n@include \"none.conf\"\n@include \".\"\n" REST);
    report = load(*state, "main.conf", -EINVAL);
    assert_string_equal(report,
                        "main.conf:2: cannot include: could not open file \"none.conf\": No such file or directory\n"
                        "main.conf:3: cannot include: cannot read \".\": Is a directory\n");
}

static void test_include_ten_deep_works_and_eleven_deep_does_not(void **state)
{
    CLEANUP(freep) char *ten = NULL, *eleven = NULL;
    char name[32], content[64];

    for (int i = 0; i <= 10; i++) {
        (void)text_print(name, sizeof(name), "%d.conf", i);
        (void)text_print(content, sizeof(content), "@include \"%d.conf\"\n", i + 1);
        write_file(*state, name, 0644, content);
    }
    write_file(*state, "11.conf", 0644, "scope = \"c\"; name = \"n\";\n" REST);
    ten = load(*state, "1.conf", 0);
    assert_string_equal(ten, "");
    eleven = load(*state, "0.conf", -EINVAL);
    assert_non_null(strstr(eleven, "10.conf:1: cannot include \"11.conf\": more than 10 files inside each other\n"));
}

static void test_include_of_itself_ends(void **state)
{
    CLEANUP(freep) char *report = NULL;

    write_file(*state, "main.conf", 0644, "@include \"main.conf\"\n");
    report = load(*state, "main.conf", -EINVAL);
    assert_non_null(strstr(report, "more than 10 files inside each other"));
}

static void test_unclosed_string_of_an_included_file_does_not_swallow_the_rest(void **state)
{
    CLEANUP(freep) char *report = NULL;

    write_file(*state, "main.conf", 0644, "@include \"sub.conf\"\nscope = \"c\"; @include \"/\"\n" REST);
    write_file(*state, "sub.conf", 0644, "name = \"n;\n");
    report = load(*state, "main.conf", -EINVAL);
    assert_string_equal(report, "main.conf:2: cannot include: cannot read \"/\": Is a directory\n"
                                "sub.conf:1: string that begins here has no end\n");
}

static void test_config_load_of_what_is_no_file_is_an_errno(void **state)
{
    const struct fixture *f = *state;
    struct config_problems problems;
    struct config *c = NULL;
    struct err err = {0};

    assert_int_equal(config_load("/nonexistent/x.conf", &c, &problems, &err), -ENOENT);
    assert_string_equal(err.msg, "could not open file \"/nonexistent/x.conf\": No such file or directory");
    config_problems_done(&problems);
    assert_int_equal(config_load(f->dir, &c, &problems, &err), -EISDIR);
    config_problems_done(&problems);
    assert_null(c);
}

static void test_file_with_a_password_that_others_can_read_is_warned_of_once(void **state)
{
    static const struct {
        mode_t mode;
        bool warned;
    } rows[] = {{0600, false}, {0400, false}, {0640, true}, {0604, true}, {0644, true}, {0620, false}};

    write_file(*state, "main.conf", 0644, "scope = \"c\"; name = \"n\"; @include \"secrets.conf\"\n" REST);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(freep) char *report = NULL;
        char want[256];

        write_file(*state, "secrets.conf", rows[i].mode, "tags: { };\n");
        write_file(*state, "main.conf", 0644,
                   "scope = \"c\"; name = \"n\"; restapi: { listen = \"10.0.0.1\"; authentication: {\n"
                   "@include \"secrets.conf\"\n}; };\n"
                   "etcd3: { host = \"h\"; }; postgresql: { listen = \"10.0.0.1\"; data_dir = \"/d/x\";\n"
                   "bin_dir = \"/b\"; " CREDENTIALS " };\n");
        write_file(*state, "secrets.conf", rows[i].mode, "username = \"u\";\npassword = \"p\";\n");
        (void)text_print(
            want, sizeof(want),
            "secrets.conf: warning: the file has passwords and permissions %04o: others than its owner can "
            "read it\nHINT:  Use chmod 600, or keep the passwords in a file of their own and @include it.\n",
            (unsigned)rows[i].mode);
        report = load(*state, "main.conf", 0);
        assert_string_equal(report, rows[i].warned ? want : "");
    }
}

static void test_integers_of_more_than_32_bits_are_not_cut(void **state)
{
    const struct fixture *f = *state;
    CLEANUP(config_freep) struct config *c = NULL;
    struct config_problems problems;
    char path[PATH_MAX];

    write_file(
        f, "main.conf", 0600,
        "scope = \"c\"; name = \"n-4294967296\"; tags: { a = 2147483647; b = 2147483648; c = -2147483649;\n"
        "d = 0x80000000; e = 9223372036854775807; f = 4294967296L; t4294967296 = 1.5; g = 42949672960.5; };\n" REST);
    (void)text_print(path, sizeof(path), "%s/main.conf", f->dir);
    assert_int_equal(config_load(path, &c, &problems, NULL), 0);
    assert_string_equal(c->name, "n-4294967296");
    assert_string_equal(c->tags_json, "{\"a\":2147483647,\"b\":2147483648,\"c\":-2147483649,\"d\":2147483648,"
                                      "\"e\":9223372036854775807,\"f\":4294967296,\"t4294967296\":1.5,"
                                      "\"g\":42949672960.5}");
    config_problems_done(&problems);
}

static void make_program(const struct fixture *f, const char *dir, mode_t mode)
{
    char path[PATH_MAX], name[PATH_MAX];

    (void)text_print(path, sizeof(path), "%s/%s", f->dir, dir);
    assert_int_equal(dir_make(path, 0755, NULL), 0);
    (void)text_print(name, sizeof(name), "%s/postgres", dir);
    write_file(f, name, mode, "");
}

static void test_bindir_find_takes_the_version_of_the_data_directory_or_the_newest(void **state)
{
    const struct fixture *f = *state;
    char found[PATH_MAX], data_dir[PATH_MAX];

    assert_false(bindir_find_below(f->dir, NULL, found, sizeof(found)));
    make_program(f, "usr/lib/postgresql/9.6/bin", 0755);
    make_program(f, "usr/lib/postgresql/15/bin", 0755);
    make_program(f, "usr/lib/postgresql/18/bin", 0644); /* not a program */
    make_program(f, "usr/pgsql-16/bin", 0755);
    assert_true(bindir_find_below(f->dir, "/nonexistent", found, sizeof(found)));
    assert_string_equal(found + strlen(f->dir), "/usr/pgsql-16/bin");
    write_file(f, "PG_VERSION", 0600, "15\n");
    (void)text_copy(data_dir, sizeof(data_dir), f->dir);
    assert_true(bindir_find_below(f->dir, data_dir, found, sizeof(found)));
    assert_string_equal(found + strlen(f->dir), "/usr/lib/postgresql/15/bin");
    write_file(f, "PG_VERSION", 0600, "17\n");
    assert_false(bindir_find_below(f->dir, data_dir, found, sizeof(found)));
}

/* The name as a word of its own: "log.mode" is not found in "log.model". */
static bool has_word(const char *text, const char *word)
{
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word)) {
        char after = at[strlen(word)], before = at > text ? at[-1] : ' ';

        if (isspace((unsigned char)before) && isspace((unsigned char)after))
            return true;
    }
    return false;
}

/* The manual describes the three roles at once, as USER. */
static void manual_name(const char *path, char *buf, size_t size)
{
    static const char prefix[] = "postgresql.authentication.";
    const char *key = text_starts_with(path, prefix) ? strchr(path + strlen(prefix), '.') : NULL;

    (void)text_print(buf, size, "%s%s%s", key ? prefix : "", key ? "USER" : "", key ? key : path);
}

static void test_manual_names_every_setting(void **state)
{
    CLEANUP(freep) char *manual = NULL;
    const struct schema_entry *settings;
    const struct dynamic_entry *dynamic;
    size_t n;
    char name[256];

    (void)state;
    assert_int_equal(file_read(SRCDIR "/doc/pgtether.conf.5", 1 << 20, &manual, NULL, NULL), 0);
    settings = schema_entries(&n);
    for (size_t i = 0; i < n; i++) {
        manual_name(settings[i].path, name, sizeof(name));
        if (settings[i].type != SETTING_GROUP && !has_word(manual, name))
            fail_msg("pgtether.conf(5) does not have \"%s\"", name);
    }
    dynamic = dynamic_entries(&n);
    for (size_t i = 0; i < n; i++) {
        if (dynamic[i].type != DYNAMIC_GROUP && !has_word(manual, dynamic[i].path))
            fail_msg("pgtether.conf(5) does not have \"%s\"", dynamic[i].path);
        if (dynamic[i].alias && !has_word(manual, dynamic[i].alias))
            fail_msg("pgtether.conf(5) does not have \"%s\"", dynamic[i].alias);
    }
}

/* And the other way round: nothing is promised that the program does not know. */
static void test_manual_names_nothing_that_is_unknown(void **state)
{
    CLEANUP(freep) char *manual = NULL;

    (void)state;
    assert_int_equal(file_read(SRCDIR "/doc/pgtether.conf.5", 1 << 20, &manual, NULL, NULL), 0);
    for (const char *item = strstr(manual, ".It Ic "); item; item = strstr(item + 1, ".It Ic ")) {
        char name[256], *user;

        (void)text_print(name, sizeof(name), "%.*s", (int)strcspn(item + 7, " \n"), item + 7);
        if (text_starts_with(name, "tags.") || text_starts_with(name, "standby_cluster.") ||
            strcmp(name, "postgresql.custom_parameters") == 0)
            continue;
        user = strstr(name, "USER");
        if (user) {
            char rest[256];

            (void)text_copy(rest, sizeof(rest), user + 4);
            (void)text_print(user, sizeof(name) - (size_t)(user - name), "rewind%s", rest);
        }
        if (!schema_find(name) && !dynamic_find(name))
            fail_msg("pgtether.conf(5) describes \"%s\", which is unknown", name);
    }
}

/* Takes the "# " off every commented setting, "# name = value;" and "# name: { ... };". */
static char *uncommented(const char *text)
{
    struct textbuf b = {0};

    while (*text) {
        size_t len = strcspn(text, "\n"), blanks = strspn(text, " ");
        const char *name = text + blanks + 2;
        size_t name_len = strspn(name, "abcdefghijklmnopqrstuvwxyz_");
        bool is_setting = strncmp(text + blanks, "# ", 2) == 0 && name_len > 0 &&
                          (name[name_len] == ':' || strncmp(name + name_len, " =", 2) == 0) && memchr(text, ';', len);

        textbuf_append(&b, is_setting ? name : text, is_setting ? len - blanks - 2 : len);
        textbuf_puts(&b, "\n");
        text += len + (text[len] == '\n');
    }
    return textbuf_take(&b);
}

static void test_example_loads_without_a_problem_as_it_is_and_with_all_its_comments_taken_off(void **state)
{
    const struct fixture *f = *state;
    CLEANUP(freep) char *example = NULL, *report = NULL, *whole = NULL, *whole_report = NULL;

    assert_int_equal(file_read(SRCDIR "/data/pgtether.conf.example", 1 << 20, &example, NULL, NULL), 0);
    write_file(f, "example.conf", 0600, example);
    report = load(f, "example.conf", 0);
    assert_string_equal(report, "");
    whole = uncommented(example);
    assert_non_null(strstr(whole, "\nkeyfile_password = "));
    write_file(f, "whole.conf", 0600, whole);
    whole_report = load(f, "whole.conf", 0);
    assert_string_equal(whole_report, "");
}

int main(void)
{
#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_DIR(test_include_of_a_good_file_is_as_if_its_text_were_there),
        WITH_DIR(test_problems_of_an_included_file_have_its_name_and_line),
        WITH_DIR(test_first_line_of_a_file_included_in_midline_is_its_own),
        WITH_DIR(test_include_inside_a_string_or_comment_is_text),
        WITH_DIR(test_syntax_error_in_an_included_file_has_its_name_and_line),
        WITH_DIR(test_include_by_absolute_name_works),
        WITH_DIR(test_include_of_what_cannot_be_read_says_why),
        WITH_DIR(test_include_ten_deep_works_and_eleven_deep_does_not),
        WITH_DIR(test_include_of_itself_ends),
        WITH_DIR(test_unclosed_string_of_an_included_file_does_not_swallow_the_rest),
        WITH_DIR(test_config_load_of_what_is_no_file_is_an_errno),
        WITH_DIR(test_file_with_a_password_that_others_can_read_is_warned_of_once),
        WITH_DIR(test_integers_of_more_than_32_bits_are_not_cut),
        WITH_DIR(test_bindir_find_takes_the_version_of_the_data_directory_or_the_newest),
        cmocka_unit_test(test_manual_names_every_setting),
        cmocka_unit_test(test_manual_names_nothing_that_is_unknown),
        WITH_DIR(test_example_loads_without_a_problem_as_it_is_and_with_all_its_comments_taken_off),
    };

    return cmocka_run_group_tests_name("config_files", tests, NULL, NULL);
}
