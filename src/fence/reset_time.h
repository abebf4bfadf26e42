/*
 * The real reset time R, measured: pgtetherd --test-watchdog --really-reset writes down how long the last pet is ago
 * until the host is reset; the next start finds the last of these records, and R is a period and a margin more.
 *
 * "reset-test" and "reset-time" are in the state directory of the host. All of this waits for the disk: only before the
 * keeper's loop.
 */
#pragma once
#include <stdint.h>
#include "base/core.h"

#define RESET_TEST_PERIOD_US UINT64_C(100000)
/* What is between the last record and the reset beside the period: scheduling, and the firmware's own moment. */
#define RESET_TEST_MARGIN_US UINT64_C(250000)

struct reset_measure {
    uint64_t timeout_us; /* with this timeout of the device */
    uint64_t reset_us;
};

struct reset_test {
    int fd, dir_fd;
    uint64_t timeout_us, longest_write_us;
    char boot_id[40];
};

/* Opens the record; the test is not running before the first reset_test_note(). boot_id NULL: that of this boot. */
int reset_test_begin(struct reset_test *t, const char *state_dir, const char *boot_id, uint64_t timeout_us,
                     struct err *err);
/* Makes durable that the last pet is so long ago. Waits for the disk. */
int reset_test_note(struct reset_test *t, uint64_t elapsed_us, struct err *err);
/* The device did not reset the host: forgets the record. */
void reset_test_end(struct reset_test *t);

/*
 * What a test of an earlier boot has measured, if there is one: it is kept for reset_time_read(), and the record goes.
 * Returns 1 with *ret, 0 if there was no test, or one that this boot has begun; else -errno.
 */
int reset_test_collect(const char *state_dir, const char *boot_id, struct reset_measure *ret, struct err *err);

/* Returns 0 with the last measured time, or -ENOENT. */
int reset_time_read(const char *state_dir, struct reset_measure *ret);
