/* A watchdog device that a test can look into: it lives in a file which both map (FAKE_WATCHDOG names it). */
#pragma once
#include <stdint.h>

struct fake_watchdog {
    /* what the test wants */
    int32_t absent, nowayout, pets_fail, opens_fail;
    int32_t least_s; /* it rounds up to this timeout */
    int32_t next_pet_takes_ms;
    /* what has happened */
    int32_t in_store; /* of the test's service manager: closing the keeper's copy releases nothing */
    uint32_t closed_while_stored;
    int32_t is_open, ticks, timeout_s;
    uint32_t opens, pets, stops;
    uint64_t last_pet_us;
    int32_t magic; /* the last byte written was the magic one */
};
