/* When something shall happen, as an operator writes it. Pure but for the local time zone. */
#pragma once
#include <stddef.h>
#include <time.h>

enum { WHEN_SIZE = 48 };

/*
 * Reads ISO 8601: "2026-08-01T12:00", also with a blank for the T, seconds, their fractions, and a zone (Z, +02:00,
 * +0200, +2); a date alone is its beginning, a time alone is today's, a missing zone is the local one. *ret becomes
 * "2026-08-01T12:00:00+02:00", or "" for "now" and "". Returns 0, or -EINVAL with *ret untouched.
 */
int when_parse(const char *text, time_t now, char *ret, size_t size);

/* For messages about a text that when_parse() did not accept. */
#define WHEN_EXPECTED "Unable to parse scheduled timestamp (%s). It should be in an unambiguous format (e.g. ISO 8601)"

/* An example to show: in an hour, "2026-08-01T13:00". */
void when_next_hour(time_t now, char *buf, size_t size);
