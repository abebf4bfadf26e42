#include "config/value.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/core.h"
#include "base/text.h"

bool value_to_bool(const char *text, bool *ret)
{
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes", "0", "1"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *ret = i % 2 == 1;
            return true;
        }
    }
    return false;
}

bool value_round(double number, int64_t *ret)
{
    double rounded = round(number);

    /* 2^63 is the first double that is too large; NaN fails both comparisons. */
    if (!(rounded >= -0x1p63 && rounded < 0x1p63))
        return false;
    *ret = (int64_t)rounded;
    return true;
}

struct unit {
    const char *name;
    enum value_unit unit;
    double factor;
};

static const struct unit units[] = {
    {"B", VALUE_BYTES, 1},
    {"kB", VALUE_BYTES, 1024.0},
    {"MB", VALUE_BYTES, 1048576.0},
    {"GB", VALUE_BYTES, 1073741824.0},
    {"TB", VALUE_BYTES, 1099511627776.0},
    {"us", VALUE_SECONDS, 1e-6},
    {"ms", VALUE_SECONDS, 1e-3},
    {"s", VALUE_SECONDS, 1},
    {"min", VALUE_SECONDS, 60},
    {"h", VALUE_SECONDS, 3600},
    {"d", VALUE_SECONDS, 86400},
};

static bool find_unit(const char *name, enum value_unit unit, double *ret_factor)
{
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (units[i].unit == unit && strcasecmp(units[i].name, name) == 0) {
            *ret_factor = units[i].factor;
            return true;
        }
    }
    return false;
}

/* Only digits, a point and an exponent: strtod() would also read "inf", "nan" and hexadecimal fractions. */
static bool looks_like_a_fraction(const char *text)
{
    text += strspn(text, "+-");
    return isdigit((unsigned char)text[0]) || (text[0] == '.' && isdigit((unsigned char)text[1]));
}

bool value_to_int(const char *text, enum value_unit unit, int64_t *ret)
{
    char *int_end, *end;
    long long integer;
    bool overflow;
    double fraction, factor;

    text += strspn(text, " \t");
    if (!looks_like_a_fraction(text))
        return false;
    errno = 0;
    integer = strtoll(text, &int_end, 0);
    overflow = errno == ERANGE;
    end = int_end;
    fraction = (double)integer;
    if (*int_end == '.' || *int_end == 'e' || *int_end == 'E' || int_end == text)
        fraction = strtod(text, &end);
    if (overflow && end == int_end)
        return false;
    end += strspn(end, " \t");
    if (*end == '\0' && end == int_end) {
        *ret = integer;
        return true;
    }
    factor = 1;
    if (*end != '\0' && !find_unit(end, unit, &factor))
        return false;
    return value_round(fraction * factor, ret);
}

void value_print_double(double number, char *buf, size_t size)
{
    (void)text_print(buf, size, "%.15g", number);
    if (strtod(buf, NULL) != number)
        (void)text_print(buf, size, "%.17g", number);
}

bool value_is_parameter_name(const char *name)
{
    if (!isalpha((unsigned char)*name) && *name != '_')
        return false;
    for (; *name; name++) {
        if (!isalnum((unsigned char)*name) && !strchr("_$.", *name))
            return false;
    }
    return true;
}
