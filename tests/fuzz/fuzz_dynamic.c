/* The dynamic configuration as any client of the store may have written it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

/* The limits that leases rest on, whatever was asked for. */
static void check_policy(const struct policy *p)
{
    require(p->ttl_us >= 5 * USEC_PER_SEC && p->loop_wait_us >= USEC_PER_SEC && p->retry_timeout_us >= USEC_PER_SEC);
    require(p->loop_wait_us + 2 * p->retry_timeout_us <= p->ttl_us);
    require(p->sync_mode == SYNC_MODE_OFF);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(dynamic_freep) struct dynamic *d = NULL;
    struct config_problems problems;
    char *text = strndup((const char *)data, size);
    char *report;
    int r = dynamic_parse(text, NULL, &d, &problems, NULL);

    require((r == 0) == (d != NULL));
    require((r == 0) == !problems.has_errors);
    report = config_problems_text(&problems);
    require(report != NULL);
    if (d)
        check_policy(&d->policy);
    free(report);
    config_problems_done(&problems);
    free(text);
    return 0;
}
