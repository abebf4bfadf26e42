/* What people and the reference write for booleans and numbers, as values. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* on/true/yes/1 and off/false/no/0 in any case; false and *ret untouched on anything else. */
bool value_to_bool(const char *text, bool *ret);

/*
 * What a number counts, and what it counts when it has no unit. Units are PostgreSQL's: B, kB, MB, GB, TB and
 * us, ms, s, min, h, d; their case does not matter.
 */
enum value_unit { VALUE_PLAIN, VALUE_BYTES, VALUE_SECONDS };

/*
 * Decimal, 0x hexadecimal or 0 octal integers, or decimal fractions, with an optional sign and unit; fractions are
 * rounded to the nearest integer after the unit was applied. False and *ret untouched on anything else, also when the
 * result does not fit.
 */
bool value_to_int(const char *text, enum value_unit unit, int64_t *ret);
/* A fraction of which the integer part counts, as above: NaN and what does not fit are refused. */
bool value_round(double number, int64_t *ret);

/* Shortest text that reads back as the same number. */
void value_print_double(double number, char *buf, size_t size);

/* Letters, digits, "_", "$" and dots: what can stand before "=" in postgresql.conf, where names are not quoted. */
bool value_is_parameter_name(const char *name);
