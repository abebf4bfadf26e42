/*
 * Glue for sd-event: timers on CLOCK_BOOTTIME with accuracy 1, and owned sources.
 * A source belongs to the object its callback uses and is released first when that object is freed.
 */
#pragma once
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"

/*
 * Arms a one-shot timer at the instant at_us of CLOCK_BOOTTIME. *source is created on the first call and re-used on
 * later ones, so a timer is moved by calling again. Returns 0 or -errno.
 */
int loop_timer_at(sd_event *loop, sd_event_source **source, uint64_t at_us, sd_event_time_handler_t callback,
                  void *userdata);
/* Switches the timer off; NULL is fine. */
void loop_timer_off(sd_event_source *source);

/* Disables and unrefs; returns NULL, so `s = loop_source_free(s)` leaves no stale pointer behind. */
sd_event_source *loop_source_free(sd_event_source *source);
DEFINE_CLEANUP(sd_event_source, loop_source_free)
