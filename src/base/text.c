#include "base/text.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool text_copy(char *dst, size_t size, const char *src)
{
    size_t len = strlen(src);
    bool fits = len < size;

    if (!fits)
        len = size - 1;
    memcpy(dst, src, len);
    dst[len] = '\0';
    return fits;
}

bool text_print(char *dst, size_t size, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(dst, size, fmt, ap);
    va_end(ap);
    return n >= 0 && (size_t)n < size;
}

bool text_equal(const char *a, const char *b)
{
    if (!a || !b)
        return a == b;
    return strcmp(a, b) == 0;
}

bool text_starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool text_to_u64(const char *s, uint64_t *ret)
{
    uint64_t value = 0;

    if (!*s)
        return false;
    for (; *s; s++) {
        unsigned digit = (unsigned)(*s - '0');

        if (*s < '0' || *s > '9' || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret = value;
    return true;
}

bool text_to_u32(const char *s, uint32_t *ret)
{
    uint64_t value;

    if (!text_to_u64(s, &value) || value > UINT32_MAX)
        return false;
    *ret = (uint32_t)value;
    return true;
}

/* 1 to 8 hexadecimal digits; returns what follows them, or NULL. */
static const char *hex_word(const char *s, uint32_t *ret)
{
    uint32_t value = 0;
    int digits = 0;

    for (; digits < 9; s++, digits++) {
        if (*s >= '0' && *s <= '9')
            value = value << 4 | (uint32_t)(*s - '0');
        else if (*s >= 'A' && *s <= 'F')
            value = value << 4 | (uint32_t)(*s - 'A' + 10);
        else if (*s >= 'a' && *s <= 'f')
            value = value << 4 | (uint32_t)(*s - 'a' + 10);
        else
            break;
    }
    if (digits == 0 || digits > 8)
        return NULL;
    *ret = value;
    return s;
}

bool text_to_lsn(const char *s, uint64_t *ret_lsn)
{
    uint32_t high, low;

    s = hex_word(s, &high);
    if (!s || *s++ != '/')
        return false;
    s = hex_word(s, &low);
    if (!s || *s)
        return false;
    *ret_lsn = (uint64_t)high << 32 | low;
    return true;
}

const char *text_print_lsn(uint64_t lsn, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
    return buf;
}

static bool textbuf_reserve(struct textbuf *b, size_t more)
{
    size_t cap = b->cap ? b->cap : 64;
    char *data;

    if (b->failed)
        return false;
    if (b->len + more + 1 <= b->cap)
        return true;
    while (cap < b->len + more + 1)
        cap *= 2;
    data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void textbuf_append(struct textbuf *b, const char *s, size_t len)
{
    if (!textbuf_reserve(b, len))
        return;
    if (len)
        memcpy(b->data + b->len, s, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void textbuf_puts(struct textbuf *b, const char *s)
{
    textbuf_append(b, s, strlen(s));
}

void textbuf_vprintf(struct textbuf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0 || !textbuf_reserve(b, (size_t)n))
        return;
    (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    b->len += (size_t)n;
}

void textbuf_printf(struct textbuf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    textbuf_vprintf(b, fmt, ap);
    va_end(ap);
}

char *textbuf_take(struct textbuf *b)
{
    char *data;

    if (!b->data && !b->failed)
        (void)textbuf_reserve(b, 0);
    if (b->failed) {
        textbuf_done(b);
        return NULL;
    }
    if (b->len == 0)
        b->data[0] = '\0';
    data = b->data;
    *b = (struct textbuf){0};
    return data;
}

void textbuf_done(struct textbuf *b)
{
    free(b->data);
    *b = (struct textbuf){0};
}
