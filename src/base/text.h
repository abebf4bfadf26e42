/* Strings with visible bounds: copying, formatting, parsing, and a growing buffer. */
#pragma once
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include "base/core.h"

/* Copies with termination; false when `src` did not fit (the copy is then cut). */
bool text_copy(char *dst, size_t size, const char *src);

/* snprintf with the same answer: false when the text was cut. */
bool text_print(char *dst, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

bool text_equal(const char *a, const char *b); /* both may be NULL; NULL equals NULL only */
bool text_starts_with(const char *s, const char *prefix);

/* Whole-string decimal numbers; false and *ret untouched on anything else (sign, blanks, overflow, empty). */
bool text_to_u64(const char *s, uint64_t *ret);
bool text_to_u32(const char *s, uint32_t *ret);

/* LSN in PostgreSQL's text form "16/B374D848". Parsing accepts only that; printing needs TEXT_LSN_SIZE bytes. */
enum { TEXT_LSN_SIZE = 20 };
bool text_to_lsn(const char *s, uint64_t *ret_lsn);
const char *text_print_lsn(uint64_t lsn, char *buf, size_t size);

/*
 * A growing string. Zero-initialise, free with textbuf_done(). An allocation failure is remembered in `failed`, all
 * later appends do nothing, and textbuf_take() then returns NULL: callers check once, at the end.
 */
struct textbuf {
    char *data; /* terminated, or NULL while empty */
    size_t len, cap;
    bool failed;
};
void textbuf_append(struct textbuf *b, const char *s, size_t len);
void textbuf_puts(struct textbuf *b, const char *s);
void textbuf_printf(struct textbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void textbuf_vprintf(struct textbuf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Hands the string ("" when nothing was appended) to the caller, who frees it; NULL when memory ran out. */
char *textbuf_take(struct textbuf *b);
void textbuf_done(struct textbuf *b);
