#include "base/clock.h"
#include <assert.h>
#include <time.h>

uint64_t clock_now_us(void)
{
    struct timespec ts;
    int rc = clock_gettime(CLOCK_BOOTTIME, &ts);

    assert(rc == 0);
    (void)rc;
    return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t clock_rest_us(uint64_t now_us, uint64_t deadline_us)
{
    return deadline_us > now_us ? deadline_us - now_us : 0;
}
