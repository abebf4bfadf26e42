/*
 * One probe of a disk on real file systems: a full one, a read-only one, one without O_DIRECT. They are made in a mount
 * namespace of our own, so those tests need root and are skipped without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "io/diskprobe.h"

static char dir[] = "/var/tmp/pgtether-diskprobe-XXXXXX"; /* the base of it all */
static char disk[128], data[160];                         /* a file system below it, the data directory in that */
static struct diskprobe p;
static struct diskprobe_result r;
static bool in_namespace;
static bool no_direct, wrong_bytes;
static int read_error;

ssize_t __real_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at)
{
    ssize_t got = __real_pread(fd, buf, n, at);

    if (wrong_bytes)
        ((unsigned char *)buf)[n - 1] ^= 1;
    if (read_error) {
        errno = read_error;
        return -1;
    }
    return got;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    if (no_direct && (flags & O_DIRECT)) {
        errno = EINVAL;
        return -1;
    }
    return __real_open(path, flags, 0600);
}

static const char *in(const char *where, const char *name)
{
    static char path[512];

    assert_true(text_print(path, sizeof(path), "%s/%s", where, name));
    return path;
}

static void touch(const char *path)
{
    int fd = __real_open(path, O_WRONLY | O_CREAT, 0600);

    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
}

static void remove_tree(const char *path)
{
    char command[256];

    assert_true(text_print(command, sizeof(command), "rm -rf '%s'", path));
    assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    in_namespace = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount("", "/", "", MS_REC | MS_PRIVATE, NULL) == 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_tree(dir);
    return 0;
}

/* A data directory in a file system of its own: `options` of a tmpfs, NULL = a plain directory. */
static void make_disk(const char *options)
{
    (void)text_print(disk, sizeof(disk), "%s/disk", dir);
    (void)text_print(data, sizeof(data), "%s/main", disk);
    assert_int_equal(mkdir(disk, 0700), 0);
    if (options)
        assert_int_equal(mount("probe", disk, "tmpfs", 0, options), 0);
    assert_int_equal(mkdir(data, 0700), 0);
    assert_int_equal(mkdir(in(data, "pg_wal"), 0700), 0);
    touch(in(data, "PG_VERSION"));
}

static int make_plain(void **state)
{
    (void)state;
    no_direct = wrong_bytes = false;
    read_error = 0;
    make_disk(NULL);
    assert_int_equal(diskprobe_init(&p, data, false, NULL), 0);
    return 0;
}

static int clear(void **state)
{
    (void)state;
    diskprobe_done(&p);
    while (umount2(data, MNT_DETACH) == 0 || umount2(in(data, "pg_wal"), MNT_DETACH) == 0 ||
           umount2(disk, MNT_DETACH) == 0)
        ;
    remove_tree(disk);
    return 0;
}

static void run(enum diskprobe_outcome want)
{
    diskprobe_run(&p, &r);
    if (r.outcome != want)
        fail_msg("outcome %d (%s), wanted %d", (int)r.outcome, r.err.msg, (int)want);
    assert_true((r.err.code != 0) == (want != DISKPROBE_GOOD && want != DISKPROBE_SAME));
}

static void remake_as(const char *options)
{
    if (!in_namespace)
        skip();
    diskprobe_done(&p);
    remove_tree(disk);
    make_disk(options);
    assert_int_equal(diskprobe_init(&p, data, false, NULL), 0);
}

static void says(const char *text)
{
    if (!strstr(r.err.msg, text))
        fail_msg("\"%s\" is not in \"%s\"", text, r.err.msg);
}

/* --- where ----------------------------------------------------------------------------------------------------------
 */

static void test_file_lies_beside_the_directory_and_is_removed(void **state)
{
    struct stat st;

    (void)state;
    run(DISKPROBE_GOOD);
    assert_true(r.latency_us > 0);
    run(DISKPROBE_GOOD);
    assert_int_equal(stat(in(disk, ".pgtether.probe.main"), &st), 0);
    assert_int_equal(st.st_size, p.block_bytes);
    assert_int_equal(st.st_mode & 0777, 0600);
    diskprobe_done(&p);
    assert_int_equal(access(in(disk, ".pgtether.probe.main"), F_OK), -1);
    assert_int_equal(diskprobe_init(&p, data, false, NULL), 0);
}

static void test_file_lies_inside_where_the_directory_is_a_mount(void **state)
{
    (void)state;
    remake_as(NULL);
    assert_int_equal(mount(data, data, NULL, MS_BIND, NULL), 0);
    run(DISKPROBE_GOOD);
    assert_int_equal(access(in(data, "pgsql_tmp.pgtether.probe"), F_OK), 0);
    assert_int_equal(access(in(disk, ".pgtether.probe.main"), F_OK), -1);
}

static void test_directory_without_a_cluster_is_left_empty(void **state)
{
    (void)state;
    assert_int_equal(unlink(in(data, "PG_VERSION")), 0);
    run(DISKPROBE_IMPOSSIBLE);
    assert_int_equal(r.err.code, -ENOENT);
    assert_int_equal(rmdir(in(data, "pg_wal")), 0);
    assert_int_equal(rmdir(data), 0); /* it was empty */
    run(DISKPROBE_IMPOSSIBLE);
    assert_int_equal(r.err.code, -ENOENT);
    assert_int_equal(mkdir(data, 0700), 0);
}

static void test_link_in_the_place_of_the_file_is_not_followed(void **state)
{
    (void)state;
    touch(in(disk, "victim"));
    assert_int_equal(symlink("victim", in(disk, ".pgtether.probe.main")), 0);
    run(DISKPROBE_IMPOSSIBLE);
}

static void test_wal_on_the_disk_of_the_data_is_not_probed(void **state)
{
    (void)state;
    p.wal = true;
    run(DISKPROBE_SAME);
    assert_int_equal(p.path[0], '\0');
}

static void test_wal_on_a_disk_of_its_own_is_probed_there(void **state)
{
    (void)state;
    remake_as(NULL);
    p.wal = true;
    assert_int_equal(mount("wal", in(data, "pg_wal"), "tmpfs", 0, "size=1m"), 0);
    run(DISKPROBE_GOOD);
    assert_int_equal(access(in(data, "pg_wal/pgsql_tmp.pgtether.probe"), F_OK), 0);
}

static void test_wal_behind_a_link_is_probed_beside_its_directory(void **state)
{
    char target[256];

    (void)state;
    remake_as("size=1m");
    p.wal = true;
    assert_int_equal(rmdir(in(data, "pg_wal")), 0);
    assert_int_equal(mkdir(in(dir, "wal"), 0700), 0);
    assert_true(text_copy(target, sizeof(target), in(dir, "wal")));
    assert_int_equal(symlink(target, in(data, "pg_wal")), 0);
    run(DISKPROBE_GOOD);
    assert_int_equal(access(in(dir, ".pgtether.probe.wal"), F_OK), 0);
}

/* --- what may be wrong with the disk --------------------------------------------------------------------------------
 */

static void test_full_disk_is_full(void **state)
{
    char filler[65536] = {1};
    int fd;

    (void)state;
    remake_as("size=256k");
    fd = __real_open(in(disk, "filler"), O_WRONLY | O_CREAT, 0600);
    while (write(fd, filler, sizeof(filler)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(close(fd), 0);
    run(DISKPROBE_NO_SPACE);
    says("No space left on device");
    assert_int_equal(unlink(in(disk, "filler")), 0);
    run(DISKPROBE_GOOD);
}

static void test_limit_of_the_file_size_is_not_the_disks_fault(void **state)
{
    struct rlimit old, none = {0};

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    none.rlim_max = old.rlim_max;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    diskprobe_run(&p, &r);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(r.outcome, DISKPROBE_NO_SPACE);
}

static void test_disk_that_became_read_only_is_bad(void **state)
{
    (void)state;
    remake_as("size=1m");
    run(DISKPROBE_GOOD);
    assert_int_equal(mount("", disk, "", MS_REMOUNT | MS_RDONLY, NULL), 0);
    run(DISKPROBE_BAD);
    says("Read-only file system");
    assert_int_equal(mount("", disk, "", MS_REMOUNT, NULL), 0);
    run(DISKPROBE_GOOD);
}

static void test_mount_of_the_directory_that_is_read_only_is_bad(void **state)
{
    (void)state;
    remake_as(NULL);
    assert_int_equal(mount(data, data, NULL, MS_BIND, NULL), 0);
    assert_int_equal(mount("", data, "", MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
    run(DISKPROBE_BAD);
    says("Read-only file system");
}

static void test_other_bytes_than_were_written_are_bad(void **state)
{
    (void)state;
    wrong_bytes = true;
    run(DISKPROBE_BAD);
    says("other bytes");
}

static void test_read_error_is_bad(void **state)
{
    (void)state;
    read_error = EIO;
    run(DISKPROBE_BAD);
    says("could not read");
    read_error = EMFILE;
    run(DISKPROBE_IMPOSSIBLE);
}

static void test_file_system_without_direct_io_is_probed_through_the_cache(void **state)
{
    (void)state;
    no_direct = true;
    run(DISKPROBE_GOOD);
    assert_true(p.buffered);
    run(DISKPROBE_GOOD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file_lies_beside_the_directory_and_is_removed, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_file_lies_inside_where_the_directory_is_a_mount, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_directory_without_a_cluster_is_left_empty, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_link_in_the_place_of_the_file_is_not_followed, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_wal_on_the_disk_of_the_data_is_not_probed, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_wal_on_a_disk_of_its_own_is_probed_there, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_wal_behind_a_link_is_probed_beside_its_directory, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_full_disk_is_full, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_limit_of_the_file_size_is_not_the_disks_fault, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_disk_that_became_read_only_is_bad, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_mount_of_the_directory_that_is_read_only_is_bad, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_other_bytes_than_were_written_are_bad, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_read_error_is_bad, make_plain, clear),
        cmocka_unit_test_setup_teardown(test_file_system_without_direct_io_is_probed_through_the_cache, make_plain,
                                        clear),
    };

    return cmocka_run_group_tests_name("diskprobe", tests, setup, teardown);
}
