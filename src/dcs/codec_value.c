/* Scalar values inside the JSON texts of the store. */
#include "dcs/codec_internal.h"
#include <errno.h>
#include <time.h>
#include "base/text.h"
#include "dcs/codec.h"

int codec_json(const char *text, size_t len, json_t **ret)
{
    json_error_t error;
    json_t *json = json_loadb(text, len, JSON_DECODE_ANY, &error);

    if (!json)
        return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
    *ret = json;
    return 0;
}

bool codec_json_u64(const json_t *value, uint64_t *ret)
{
    if (json_is_string(value))
        return text_to_u64(json_string_value(value), ret);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *ret = (uint64_t)json_integer_value(value);
    return true;
}

bool codec_json_timeline(const json_t *value, uint32_t *ret)
{
    uint64_t number;

    if (!codec_json_u64(value, &number) || number >= UINT32_MAX)
        return false;
    *ret = (uint32_t)number;
    return true;
}

bool codec_json_copy(const json_t *object, const char *key, char *buf, size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));

    if (text && text_copy(buf, size, text))
        return true;
    buf[0] = '\0';
    return false;
}

bool codec_is_text(const char *s, size_t len)
{
    json_t *json = json_stringn(s, len); /* NULL when it is no UTF-8 */

    json_decref(json);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    return json != NULL;
}

/* Exactly `digits` digits at *s, which is moved behind them. */
static bool scan_number(const char **s, int digits, int *ret)
{
    int value = 0;

    for (int i = 0; i < digits; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return false;
        value = value * 10 + (**s - '0');
    }
    *ret = value;
    return true;
}

static bool scan_char(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

static bool scan_clock(const char **s, struct tm *tm)
{
    if (!scan_number(s, 2, &tm->tm_hour) || !scan_char(s, ':') || !scan_number(s, 2, &tm->tm_min))
        return false;
    if (scan_char(s, ':') && !scan_number(s, 2, &tm->tm_sec))
        return false;
    if (scan_char(s, '.')) {
        if (**s < '0' || **s > '9')
            return false;
        while (**s >= '0' && **s <= '9')
            (*s)++;
    }
    return tm->tm_hour <= 23 && tm->tm_min <= 59 && tm->tm_sec <= 60;
}

/* "Z", "+02", "+0200", "+02:00" up to the end of the text. */
static bool scan_zone(const char *s, int *ret_offset_s)
{
    int sign, hours, minutes = 0;

    if (*s == 'Z' || *s == 'z') {
        *ret_offset_s = 0;
        return s[1] == '\0';
    }
    if (*s != '+' && *s != '-')
        return false;
    sign = *s++ == '-' ? -1 : 1;
    if (!scan_number(&s, 2, &hours))
        return false;
    (void)scan_char(&s, ':');
    if (*s && !scan_number(&s, 2, &minutes))
        return false;
    if (*s || hours > 23 || minutes > 59)
        return false;
    *ret_offset_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

bool codec_parse_time(const char *text, int64_t *ret_s)
{
    const char *s = text;
    struct tm tm = {0};
    int year, month, day, offset_s;
    time_t t;

    if (!scan_number(&s, 4, &year) || !scan_char(&s, '-') || !scan_number(&s, 2, &month) || !scan_char(&s, '-') ||
        !scan_number(&s, 2, &day))
        return false;
    if (!scan_char(&s, 'T') && !scan_char(&s, ' '))
        return false;
    if (!scan_clock(&s, &tm) || !scan_zone(s, &offset_s))
        return false;

    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    t = timegm(&tm);
    /* timegm() turns the 30th of February into the 2nd of March; a date that moved was no date. */
    if (tm.tm_year != year - 1900 || tm.tm_mon != month - 1 || tm.tm_mday != day)
        return false;
    *ret_s = (int64_t)t - offset_s;
    return true;
}
