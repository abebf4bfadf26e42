/*
 * The one clock of pgtether: CLOCK_BOOTTIME, which never jumps and also counts while the host is suspended.
 * Instants and durations are microseconds (_us).
 */
#pragma once
#include <stdint.h>

#define USEC_PER_SEC UINT64_C(1000000)
#define USEC_PER_MSEC UINT64_C(1000)

/* Microseconds since boot. Cannot fail on a kernel that has the clock (Linux 2.6.39); allocates nothing. */
uint64_t clock_now_us(void);

/* Later minus earlier, 0 when `later` is not later: the rest of a deadline never becomes an enormous number. */
uint64_t clock_rest_us(uint64_t now_us, uint64_t deadline_us);
