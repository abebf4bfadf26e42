/* Collecting what is wrong with a configuration: everything is reported at once, so finding one problem ends nothing.
 */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include "config/config.h"

enum problem_severity { PROBLEM_ERROR, PROBLEM_WARNING };

struct problem_place {
    const char *file; /* "" = not from a file */
    unsigned line;    /* 0 = the whole file */
    const char *path; /* "" = no setting in particular */
};

/*
 * Adds one problem; hint may be NULL. The number of problems is limited: a file that is not a configuration at all
 * would otherwise fill the screen. NULL p is fine. A problem that could not be stored still counts as an error.
 */
void problems_add(struct config_problems *p, enum problem_severity severity, struct problem_place place,
                  const char *hint, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void problems_vadd(struct config_problems *p, enum problem_severity severity, struct problem_place place,
                   const char *hint, const char *fmt, va_list ap) __attribute__((format(printf, 5, 0)));
/* Into the order in which the files are read: first_file first, then by name; within a file by line. */
void problems_sort(struct config_problems *p, const char *first_file);
