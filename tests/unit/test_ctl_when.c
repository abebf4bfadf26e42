#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "ctl/when.h"

/* In Berlin, on 2026-03-29 at 02:00 clocks go to 03:00; now is 2026-11-24 18:30:00 UTC. */
static const time_t now = 1795545000;

static const struct {
    const char *text, *want; /* NULL = refused */
} rows[] = {
    {"", ""},
    {"now", ""},
    {"2026-08-01T12:00", "2026-08-01T12:00:00+02:00"},
    {"2026-12-01T12:00", "2026-12-01T12:00:00+01:00"},
    {"2026-08-01 12:00", "2026-08-01T12:00:00+02:00"},
    {"2026-08-01T12:00:59", "2026-08-01T12:00:59+02:00"},
    {"2026-08-01T12:00:59.5", "2026-08-01T12:00:59.500000+02:00"},
    {"2026-08-01T12:00:59.1234567", "2026-08-01T12:00:59.123456+02:00"},
    {"2026-08-01T12:00Z", "2026-08-01T12:00:00+00:00"},
    {"2026-08-01T12:00 UTC", "2026-08-01T12:00:00+00:00"},
    {"2026-08-01T12:00+00:00", "2026-08-01T12:00:00+00:00"},
    {"2026-08-01T12:00-03:30", "2026-08-01T12:00:00-03:30"},
    {"2026-08-01T12:00-0330", "2026-08-01T12:00:00-03:30"},
    {"2026-08-01T12:00:00-3", "2026-08-01T12:00:00-03:00"},
    {"2026-08-01", "2026-08-01T00:00:00+02:00"},
    {"23:15", "2026-11-24T23:15:00+01:00"},
    {"23:15Z", "2026-11-24T23:15:00+00:00"},
    {"2028-02-29T00:00", "2028-02-29T00:00:00+01:00"},
    {"2026-02-29T00:00", NULL},
    {"2026-02-29T00:00Z", NULL},
    {"2026-13-01T00:00", NULL},
    {"2026-00-01T00:00", NULL},
    {"2026-08-32T00:00", NULL},
    {"2026-08-01T24:00", NULL},
    {"2026-08-01T12:60", NULL},
    {"2026-08-01T12:00:60", NULL},
    {"2026-08-01T12", NULL},
    {"2026-08-01T12:00:", NULL},
    {"2026-08-01T12:00:00.", NULL},
    {"2026-08-01T12:00+", NULL},
    {"2026-08-01T12:00+24:00", NULL},
    {"2026-08-01T12:00+02:60", NULL},
    {"2026-08-01T12:00+02:0", NULL},
    {"2026-08-01T12:00Zulu", NULL},
    {"2026-08-01T", NULL},
    {"08/01/2026 12:00", NULL},
    {"tomorrow", NULL},
    {"12", NULL},
};

static void test_when_parse_follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char got[WHEN_SIZE] = "untouched";
        int r = when_parse(rows[i].text, now, got, sizeof(got));

        if (r != (rows[i].want ? 0 : -EINVAL) || strcmp(got, rows[i].want ? rows[i].want : "untouched") != 0)
            fail_msg("\"%s\": got %d, \"%s\"", rows[i].text, r, got);
    }
}

static void test_when_next_hour_is_local(void **state)
{
    char text[24];

    (void)state;
    when_next_hour(now, text, sizeof(text));
    assert_string_equal(text, "2026-11-24T20:30");
}

static int live_in_berlin(void **state)
{
    (void)state;
    /* As a rule, since the machine may have no zone files. */
    return setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_when_parse_follows_the_table),
        cmocka_unit_test(test_when_next_hour_is_local),
    };

    return cmocka_run_group_tests_name("ctl when", tests, live_in_berlin, NULL);
}
