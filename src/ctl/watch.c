#include "ctl/watch.h"
#include <stdlib.h>
#include "base/clock.h"

bool watch_option(int option, const char *value, uint64_t *interval_us)
{
    char *end;
    double seconds;

    if (option == 'W') {
        *interval_us = *interval_us ? *interval_us : 2 * USEC_PER_SEC;
        return true;
    }
    seconds = strtod(value, &end);
    if (end == value || *end || !(seconds >= 0.1 && seconds <= 86400))
        return false;
    *interval_us = (uint64_t)(seconds * (double)USEC_PER_SEC);
    return true;
}
