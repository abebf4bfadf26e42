#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "fence/will.h"

static const struct will armed = {.armed = true,
                                  .serves_primary = true,
                                  .lease_id = 7,
                                  .deadline_us = 123456789,
                                  .reset_us = 5000000,
                                  .timeout_us = 4000000};

struct place {
    char dir[64];
    int fd;
};

static int make_place(struct place *p, const char *where)
{
    (void)text_print(p->dir, sizeof(p->dir), "%s/fence.XXXXXX", where);
    if (!mkdtemp(p->dir))
        return -1;
    p->fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return p->fd < 0 ? -1 : 0;
}

static void remove_place(struct place *p)
{
    (void)unlinkat(p->fd, "keeper.state", 0);
    (void)rmdir(p->dir);
    closep(&p->fd);
}

static enum will_found open_will(struct will_file *w, const struct place *p, struct will *ret)
{
    enum will_found found;

    assert_int_equal(will_open(w, p->fd, p->dir, &found, ret, NULL), 0);
    return found;
}

static void check_inheritance(const char *where)
{
    struct will_file w;
    struct will got;
    struct place p;

    assert_int_equal(make_place(&p, where), 0);
    assert_int_equal(open_will(&w, &p, &got), WILL_NONE);
    will_close(&w, false); /* died before it had armed anything */
    assert_int_equal(open_will(&w, &p, &got), WILL_NONE);
    will_write(&w, &armed);
    will_close(&w, false);
    assert_int_equal(open_will(&w, &p, &got), WILL_VALID);
    assert_memory_equal(&got.lease_id, &armed.lease_id, 4 * sizeof(uint64_t));
    assert_true(got.armed && got.serves_primary);
    will_write(&w, &(struct will){.armed = true, .lease_id = 7});
    will_close(&w, false);
    assert_int_equal(open_will(&w, &p, &got), WILL_VALID);
    assert_true(got.armed && !got.serves_primary);
    will_write(&w, &(struct will){0});
    will_close(&w, false);
    assert_int_equal(open_will(&w, &p, &got), WILL_VALID);
    assert_false(got.armed);
    will_close(&w, true);
    assert_int_equal(open_will(&w, &p, &got), WILL_NONE);
    will_close(&w, true);
    remove_place(&p);
}

static void test_will_is_inherited_in_memory_and_beside_a_directory_on_disk(void **state)
{
    (void)state;
    check_inheritance("/dev/shm");
    check_inheritance("/var/tmp");
}

/* Overwrites a part of the file as a crash in the middle, or another version, would leave it. */
static enum will_found found_after(const char *bytes, size_t size, off_t at)
{
    struct will_file w;
    enum will_found found;
    struct will got;
    struct place p;
    int fd;

    assert_int_equal(make_place(&p, "/dev/shm"), 0);
    (void)open_will(&w, &p, &got);
    will_write(&w, &armed);
    will_close(&w, false);
    fd = openat(p.fd, "keeper.state", O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, bytes, size, at), (ssize_t)size);
    closep(&fd);
    found = open_will(&w, &p, &got);
    will_close(&w, true);
    remove_place(&p);
    return found;
}

static void test_will_that_was_not_finished_is_unknown(void **state)
{
    static const char other[8] = {2};

    (void)state;
    assert_int_equal(found_after(other, sizeof(other), 48), WILL_UNKNOWN); /* begun a second time */
    assert_int_equal(found_after("pgtwill9", 8, 0), WILL_UNKNOWN);
    assert_int_equal(found_after("0", 1, 8), WILL_NONE); /* of another boot: its processes are gone anyway */
}

static void test_will_takes_no_file_that_another_made(void **state)
{
    struct will_file w;
    enum will_found found;
    struct will got;
    struct place p;

    (void)state;
    assert_int_equal(make_place(&p, "/dev/shm"), 0);
    assert_int_equal(symlinkat("/dev/shm/fence.elsewhere", p.fd, "keeper.state"), 0);
    assert_int_equal(will_open(&w, p.fd, p.dir, &found, &got, NULL), -ELOOP);
    assert_int_equal(found, WILL_UNKNOWN);
    will_write(&w, &armed); /* nothing to write to: does nothing */
    will_close(&w, false);
    assert_int_equal(unlinkat(p.fd, "keeper.state", 0), 0);
    assert_int_equal(mkfifoat(p.fd, "keeper.state", 0600), 0);
    assert_int_equal(will_open(&w, p.fd, p.dir, &found, &got, NULL), -EPERM);
    will_close(&w, false);
    remove_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_will_is_inherited_in_memory_and_beside_a_directory_on_disk),
        cmocka_unit_test(test_will_that_was_not_finished_is_unknown),
        cmocka_unit_test(test_will_takes_no_file_that_another_made),
    };

    return cmocka_run_group_tests_name("will", tests, NULL, NULL);
}
