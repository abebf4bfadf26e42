/* The times that operators give for later: read, and refused in the reference's words (facts sheet 9.6). */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "agent/parts.h"
#include "base/text.h"
#include "dcs/codec.h"

unsigned schedule_read(const char *text, const char *action, int64_t *ret_s, char *why, size_t size)
{
    char with_zone[80];

    if (text && codec_parse_time(text, ret_s)) {
        if (*ret_s >= (int64_t)time(NULL))
            return 0;
        (void)text_print(why, size, "Cannot schedule %s in the past", action);
        return 422;
    }
    if (text && text_print(with_zone, sizeof(with_zone), "%sZ", text) && codec_parse_time(with_zone, ret_s)) {
        (void)text_print(why, size, "Timezone information is mandatory for the scheduled %s", action);
        return 400;
    }
    (void)text_print(why, size,
                     "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601");
    return 422;
}
