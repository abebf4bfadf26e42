#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "config/config.h"
#include "config/lists.h"

static void test_dynamic_parse_of_an_empty_object_gives_the_defaults(void **state)
{
    CLEANUP(dynamic_freep) struct dynamic *d = NULL;
    struct config_problems problems;
    struct policy defaults = POLICY_DEFAULT;

    (void)state;
    assert_int_equal(dynamic_parse("{}", NULL, &d, &problems, NULL), 0);
    assert_int_equal(problems.n, 0);
    assert_memory_equal(&d->policy, &defaults, sizeof(defaults));
    assert_string_equal(d->json, "{}");
    config_problems_done(&problems);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dynamic_parse_of_an_empty_object_gives_the_defaults),
    };

    return cmocka_run_group_tests_name("dynamic", tests, NULL, NULL);
}
