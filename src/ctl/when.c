#include "ctl/when.h"
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "base/text.h"

struct when {
    struct tm tm;
    int micros;
    bool has_zone;
    long offset_s;
};

/* At least `min`, at most `max` digits. */
static bool number(const char **s, int min, int max, int *ret)
{
    int n = 0, value = 0;

    for (; n < max && isdigit((unsigned char)**s); n++)
        value = value * 10 + *(*s)++ - '0';
    *ret = value;
    return n >= min;
}

static bool skip(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

static bool read_date(const char **s, struct when *w)
{
    int year, month, day;

    if (!number(s, 4, 4, &year) || !skip(s, '-') || !number(s, 2, 2, &month) || !skip(s, '-') ||
        !number(s, 2, 2, &day) || month < 1 || month > 12 || day < 1 || day > 31)
        return false;
    w->tm.tm_year = year - 1900;
    w->tm.tm_mon = month - 1;
    w->tm.tm_mday = day;
    return true;
}

/* Six digits count, as in Python's datetime. */
static bool read_fraction(const char **s, int *micros)
{
    int digits = 0;

    for (; isdigit((unsigned char)**s); (*s)++)
        if (digits < 6) {
            *micros = *micros * 10 + **s - '0';
            digits++;
        }
    for (int i = digits; i < 6; i++)
        *micros *= 10;
    return digits > 0;
}

static bool read_clock(const char **s, struct when *w)
{
    if (!number(s, 1, 2, &w->tm.tm_hour) || !skip(s, ':') || !number(s, 2, 2, &w->tm.tm_min))
        return false;
    if (skip(s, ':') && !number(s, 2, 2, &w->tm.tm_sec))
        return false;
    if (skip(s, '.') && !read_fraction(s, &w->micros))
        return false;
    return w->tm.tm_hour < 24 && w->tm.tm_min < 60 && w->tm.tm_sec < 60;
}

static bool read_zone(const char **s, struct when *w)
{
    static const char *const greenwich[] = {"Z", "z", "UTC", "GMT"};
    int hours, minutes = 0, sign;

    while (skip(s, ' '))
        ;
    if (!**s)
        return true;
    w->has_zone = true;
    for (size_t i = 0; i < ARRAY_LEN(greenwich); i++) {
        if (strcmp(*s, greenwich[i]) == 0) {
            *s += strlen(*s);
            return true;
        }
    }
    sign = **s == '-' ? -1 : 1;
    if ((!skip(s, '+') && !skip(s, '-')) || !number(s, 1, 2, &hours))
        return false;
    (void)skip(s, ':');
    if (**s && !number(s, 2, 2, &minutes))
        return false;
    w->offset_s = sign * (hours * 3600L + minutes * 60L);
    return hours < 24 && minutes < 60;
}

static bool read_all(const char *s, time_t now, struct when *w)
{
    const char *start = s;
    struct tm today;

    (void)localtime_r(&now, &today);
    while (skip(&s, ' '))
        ;
    if (!read_date(&s, w)) {
        s = start;
        *w = (struct when){.tm = {.tm_year = today.tm_year, .tm_mon = today.tm_mon, .tm_mday = today.tm_mday}};
        if (!read_clock(&s, w))
            return false;
    } else if ((skip(&s, 'T') || skip(&s, 't') || skip(&s, ' ')) && !read_clock(&s, w)) {
        return false;
    }
    return read_zone(&s, w) && !*s;
}

/* Completes the zone; false for days that no month has, which mktime() moves. */
static bool settle(struct when *w)
{
    struct tm moved = w->tm;

    moved.tm_isdst = -1;
    if ((w->has_zone ? timegm(&moved) : mktime(&moved)) == (time_t)-1 || moved.tm_mday != w->tm.tm_mday)
        return false;
    if (!w->has_zone)
        w->offset_s = moved.tm_gmtoff;
    return true;
}

int when_parse(const char *text, time_t now, char *ret, size_t size)
{
    struct when w = {0};
    char fraction[12] = "";
    long minutes;

    if (!*text || strcmp(text, "now") == 0) {
        (void)text_copy(ret, size, "");
        return 0;
    }
    if (!read_all(text, now, &w) || !settle(&w))
        return -EINVAL;
    if (w.micros)
        (void)text_print(fraction, sizeof(fraction), ".%06d", w.micros);
    minutes = (w.offset_s < 0 ? -w.offset_s : w.offset_s) / 60;
    if (!text_print(ret, size, "%04d-%02d-%02dT%02d:%02d:%02d%s%c%02ld:%02ld", w.tm.tm_year + 1900, w.tm.tm_mon + 1,
                    w.tm.tm_mday, w.tm.tm_hour, w.tm.tm_min, w.tm.tm_sec, fraction, w.offset_s < 0 ? '-' : '+',
                    minutes / 60, minutes % 60))
        return -EINVAL;
    return 0;
}

void when_next_hour(time_t now, char *buf, size_t size)
{
    struct tm tm;

    now += 3600;
    (void)localtime_r(&now, &tm);
    if (!strftime(buf, size, "%Y-%m-%dT%H:%M", &tm))
        (void)text_copy(buf, size, "");
}
