/* What every file uses: failure context and scope-bound ownership. Nothing here allocates. */
#pragma once
#include <stddef.h>
/* Included before the names below are poisoned, since they declare them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct err {
    int code; /* negative errno, 0 while nothing failed */
    char msg[256];
};

/* Both return `code`, so that failing is one statement; err_sys() appends the text of the errno. NULL err is fine. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_sys(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "what: " before the message of a failure that a lower function described; returns err->code. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* CLEANUP() frees on every way out of the scope, STEAL() hands over to an owner who outlives it. */
/* clang-format off */
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define STEAL(p) (__extension__({ __typeof__(p) stolen_ = (p); (p) = NULL; stolen_; }))
#define DEFINE_CLEANUP(type, fn) static inline void fn##p(type **p) { *p = fn(*p); }
/* clang-format on */
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* CLEANUP(freep) for memory of malloc(), CLEANUP(closep) for a descriptor (-1 means none). */
void freep(void *p);
void closep(int *fd);

/* Unbounded or silently truncating; base/text.h has what to use instead. (With clang, fortified sprintf is a macro.) */
#undef sprintf
#pragma GCC poison sprintf strcpy strcat strncpy atoi
