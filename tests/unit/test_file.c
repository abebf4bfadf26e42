#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "io/file.h"

/* System calls fail on demand (linker option --wrap): the n-th call from now on, 0 is never. */
static int fail_write, fail_fsync, fail_rename, short_writes;

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
ssize_t __real_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);

static bool must_fail(int *countdown)
{
    return *countdown > 0 && --*countdown == 0;
}

int __wrap_fsync(int fd)
{
    if (must_fail(&fail_fsync)) {
        errno = EIO;
        return -1;
    }
    return __real_fsync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
    if (must_fail(&fail_rename)) {
        errno = EACCES;
        return -1;
    }
    return __real_rename(from, to);
}

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    if (must_fail(&fail_write)) {
        errno = ENOSPC;
        return -1;
    }
    if (short_writes && len > 3)
        len = 3;
    return __real_write(fd, data, len);
}

static char dir[] = "/tmp/pgtether-test-file-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[PATH_MAX];

    assert_true(text_print(path, sizeof(path), "%s/%s", dir, name));
    return path;
}

static void put(const char *name, const char *text)
{
    struct err err = {0};

    if (file_write_atomic(in_dir(name), text, strlen(text), 0600, &err) < 0)
        fail_msg("%s", err.msg);
}

static void assert_content(const char *name, const char *want)
{
    CLEANUP(freep) char *got = NULL;
    size_t len = 0;

    assert_int_equal(file_read(in_dir(name), 4096, &got, &len, NULL), 0);
    assert_string_equal(got, want);
    assert_int_equal(len, strlen(want));
}

static int entries(void)
{
    DIR *d = opendir(dir);
    int n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    (void)closedir(d);
    return n - 2;
}

static void test_file_read_accepts_exactly_max_bytes_and_refuses_one_more(void **state)
{
    CLEANUP(freep) char *got = NULL;
    size_t len = 0;
    struct err err = {0};

    (void)state;
    put("five", "12345");
    assert_int_equal(file_read(in_dir("five"), 4, &got, &len, &err), -EFBIG);
    assert_null(got);
    assert_int_equal(err.code, -EFBIG);
    assert_int_equal(file_read(in_dir("five"), 5, &got, &len, &err), 0);
    assert_string_equal(got, "12345");
    assert_int_equal(len, 5);
}

static void test_file_read_when_empty_gives_an_empty_string(void **state)
{
    CLEANUP(freep) char *got = NULL;
    size_t len = 7;

    (void)state;
    put("empty", "");
    assert_int_equal(file_read(in_dir("empty"), 0, &got, &len, NULL), 0);
    assert_string_equal(got, "");
    assert_int_equal(len, 0);
}

static void test_file_read_grows_when_the_size_is_not_known(void **state)
{
    CLEANUP(freep) char *got = NULL;
    CLEANUP(freep) char *limited = NULL;
    size_t len = 0;

    (void)state;
    /* Files of /proc have size 0; this one has a few kB. */
    assert_int_equal(file_read("/proc/self/smaps", 1 << 24, &got, &len, NULL), 0);
    assert_true(len > 4096);
    assert_int_equal(strlen(got), len);
    assert_int_equal(file_read("/proc/self/smaps", 5000, &limited, &len, NULL), -EFBIG);
    assert_null(limited);
}

static void test_file_read_keeps_nul_bytes(void **state)
{
    CLEANUP(freep) char *got = NULL;
    size_t len = 0;

    (void)state;
    assert_int_equal(file_write_atomic(in_dir("nul"), "a\0b", 3, 0600, NULL), 0);
    assert_int_equal(file_read(in_dir("nul"), 10, &got, &len, NULL), 0);
    assert_int_equal(len, 3);
    assert_memory_equal(got, "a\0b", 4);
}

static void test_file_read_says_what_is_wrong_when_it_is_no_file(void **state)
{
    CLEANUP(freep) char *got = NULL;
    struct err err = {0};

    (void)state;
    assert_int_equal(file_read(in_dir("missing"), 10, &got, NULL, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "missing\": No such file"));
    assert_int_equal(file_read(dir, 10, &got, NULL, &err), -EISDIR);
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    /* Would hang here if it waited for a writer. */
    assert_int_equal(file_read(in_dir("fifo"), 10, &got, NULL, &err), -EINVAL);
    assert_null(got);
    assert_int_equal(file_remove(in_dir("fifo"), NULL), 0);
}

static void test_file_write_atomic_replaces_content_and_mode_despite_the_umask(void **state)
{
    mode_t old_umask = umask(077);
    struct stat st;

    (void)state;
    put("replaced", "old and longer");
    assert_int_equal(file_write_atomic(in_dir("replaced"), "new", 3, 0644, NULL), 0);
    (void)umask(old_umask);
    assert_content("replaced", "new");
    assert_int_equal(stat(in_dir("replaced"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
}

static void test_file_write_atomic_goes_on_after_short_writes(void **state)
{
    (void)state;
    short_writes = 1;
    put("short", "0123456789");
    short_writes = 0;
    assert_content("short", "0123456789");
}

static void test_file_write_atomic_replaces_a_symlink_and_not_its_target(void **state)
{
    (void)state;
    put("target", "target");
    assert_int_equal(symlink("target", in_dir("link")), 0);
    put("link", "new");
    assert_content("target", "target");
    assert_content("link", "new");
}

static void test_file_write_atomic_works_with_a_bare_file_name(void **state)
{
    CLEANUP(closep) int cwd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)state;
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(file_write_atomic("bare", "x", 1, 0600, NULL), 0);
    assert_int_equal(fchdir(cwd), 0);
    assert_content("bare", "x");
}

static void test_file_write_atomic_when_a_step_fails_leaves_the_old_content_and_no_temporary(void **state)
{
    static const struct {
        const char *name;
        int *step;
        int want;
    } rows[] = {
        {"write", &fail_write, -ENOSPC},
        {"fsync", &fail_fsync, -EIO},
        {"rename", &fail_rename, -EACCES},
    };
    int before;

    (void)state;
    put("kept", "old");
    before = entries();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        int r;

        *rows[i].step = 1;
        r = file_write_atomic(in_dir("kept"), "new", 3, 0600, &err);
        *rows[i].step = 0;
        if (r != rows[i].want || err.code != r || entries() != before)
            fail_msg("%s: returned %d (%s), %d entries", rows[i].name, r, err.msg, entries());
        assert_content("kept", "old");
    }
}

static void test_file_write_atomic_when_the_directory_cannot_be_synced_reports_it(void **state)
{
    struct err err = {0};

    (void)state;
    fail_fsync = 2;
    assert_int_equal(file_write_atomic(in_dir("dirsync"), "x", 1, 0600, &err), -EIO);
    assert_int_equal(fail_fsync, 0);
    assert_non_null(strstr(err.msg, "could not fsync directory"));
    assert_content("dirsync", "x");
}

static void test_file_write_atomic_into_a_missing_directory_fails(void **state)
{
    (void)state;
    assert_int_equal(file_write_atomic(in_dir("no/such"), "x", 1, 0600, NULL), -ENOENT);
}

static void test_file_write_atomic_refuses_a_path_that_does_not_fit(void **state)
{
    char path[PATH_MAX];

    (void)state;
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(file_write_atomic(path, "x", 1, 0600, NULL), -ENAMETOOLONG);
}

static void test_file_remove_is_durable_and_repeatable(void **state)
{
    struct err err = {0};

    (void)state;
    put("gone", "x");
    fail_fsync = 1; /* proves that the directory is synced */
    assert_int_equal(file_remove(in_dir("gone"), &err), -EIO);
    assert_int_equal(access(in_dir("gone"), F_OK), -1);
    assert_int_equal(file_remove(in_dir("gone"), &err), 0);
    assert_int_equal(file_remove(dir, &err), -EISDIR);
}

static void test_dir_is_empty_ignores_what_postgres_ignores(void **state)
{
    char sub[PATH_MAX];
    struct err err = {0};

    (void)state;
    assert_true(text_copy(sub, sizeof(sub), in_dir("sub")));
    assert_int_equal(dir_is_empty(sub, &err), -ENOENT);
    assert_int_equal(dir_make(sub, 0700, NULL), 0);
    assert_int_equal(dir_is_empty(sub, &err), 1);
    put("sub/.hidden", "");
    assert_int_equal(dir_make(in_dir("sub/lost+found"), 0700, NULL), 0);
    assert_int_equal(dir_is_empty(sub, &err), 1);
    put("sub/PG_VERSION", "15\n");
    assert_int_equal(dir_is_empty(sub, &err), 0);
    assert_int_equal(dir_is_empty(in_dir("sub/PG_VERSION"), &err), -ENOTDIR);
}

static void test_dir_make_makes_the_whole_path_and_leaves_what_exists(void **state)
{
    struct stat st;

    (void)state;
    assert_int_equal(dir_make(in_dir("a/b//c/"), 0700, NULL), 0);
    assert_int_equal(stat(in_dir("a/b/c"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(in_dir("a/b"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(dir_make(in_dir("a/b/c"), 0750, NULL), 0);
    assert_int_equal(stat(in_dir("a/b/c"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void test_dir_make_when_a_file_is_in_the_way_says_so(void **state)
{
    struct err err = {0};

    (void)state;
    put("file", "");
    assert_int_equal(dir_make(in_dir("file"), 0700, &err), -ENOTDIR);
    assert_int_equal(dir_make(in_dir("file/below"), 0700, &err), -ENOTDIR);
    assert_int_equal(dir_make("", 0700, &err), -ENOENT);
    assert_int_equal(dir_make("/", 0700, &err), 0);
}

static int make_directory(void **state)
{
    (void)state;
    (void)umask(022);
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_directory(void **state)
{
    char command[sizeof(dir) + 16];

    (void)state;
    assert_true(text_print(command, sizeof(command), "rm -rf %s", dir));
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_read_accepts_exactly_max_bytes_and_refuses_one_more),
        cmocka_unit_test(test_file_read_when_empty_gives_an_empty_string),
        cmocka_unit_test(test_file_read_grows_when_the_size_is_not_known),
        cmocka_unit_test(test_file_read_keeps_nul_bytes),
        cmocka_unit_test(test_file_read_says_what_is_wrong_when_it_is_no_file),
        cmocka_unit_test(test_file_write_atomic_replaces_content_and_mode_despite_the_umask),
        cmocka_unit_test(test_file_write_atomic_goes_on_after_short_writes),
        cmocka_unit_test(test_file_write_atomic_replaces_a_symlink_and_not_its_target),
        cmocka_unit_test(test_file_write_atomic_works_with_a_bare_file_name),
        cmocka_unit_test(test_file_write_atomic_when_a_step_fails_leaves_the_old_content_and_no_temporary),
        cmocka_unit_test(test_file_write_atomic_when_the_directory_cannot_be_synced_reports_it),
        cmocka_unit_test(test_file_write_atomic_into_a_missing_directory_fails),
        cmocka_unit_test(test_file_write_atomic_refuses_a_path_that_does_not_fit),
        cmocka_unit_test(test_file_remove_is_durable_and_repeatable),
        cmocka_unit_test(test_dir_is_empty_ignores_what_postgres_ignores),
        cmocka_unit_test(test_dir_make_makes_the_whole_path_and_leaves_what_exists),
        cmocka_unit_test(test_dir_make_when_a_file_is_in_the_way_says_so),
    };

    return cmocka_run_group_tests_name("file", tests, make_directory, remove_directory);
}
