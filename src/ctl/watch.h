/* The options -W and -w of commands that show something again and again. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define WATCH_EXPECTED "\"%s\" is not a number of seconds between 0.1 and 86400"

/* Takes 'W' or 'w' with its value into *interval_us; false if the value is unusable. */
bool watch_option(int option, const char *value, uint64_t *interval_us);
