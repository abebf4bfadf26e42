#include "base/loop.h"
#include <time.h>

int loop_timer_at(sd_event *loop, sd_event_source **source, uint64_t at_us, sd_event_time_handler_t callback,
                  void *userdata)
{
    int r;

    if (!*source)
        return sd_event_add_time(loop, source, CLOCK_BOOTTIME, at_us, 1, callback, userdata);
    r = sd_event_source_set_time(*source, at_us);
    if (r < 0)
        return r;
    return sd_event_source_set_enabled(*source, SD_EVENT_ONESHOT);
}

void loop_timer_off(sd_event_source *source)
{
    if (source)
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

sd_event_source *loop_source_free(sd_event_source *source)
{
    return sd_event_source_disable_unref(source);
}
