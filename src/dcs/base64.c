#include "dcs/base64.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_append(struct textbuf *b, const void *data, size_t len)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t bits = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (n > 2 ? p[i + 2] : 0);
        char group[4] = {alphabet[bits >> 18], alphabet[bits >> 12 & 63], n > 1 ? alphabet[bits >> 6 & 63] : '=',
                         n > 2 ? alphabet[bits & 63] : '='};

        textbuf_append(b, group, sizeof(group));
    }
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t len, char **ret, size_t *ret_len)
{
    CLEANUP(freep) char *out = NULL;
    size_t padding = 0, n = 0;

    if (len % 4 != 0)
        return -EBADMSG;
    while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
        padding++;
    out = malloc(len / 4 * 3 + 1);
    if (!out)
        return -ENOMEM;

    for (size_t i = 0; i < len; i += 4) {
        uint32_t bits = 0;

        for (size_t j = i; j < i + 4; j++) {
            int value = j >= len - padding ? 0 : digit_value(text[j]);

            if (value < 0)
                return -EBADMSG;
            bits = bits << 6 | (uint32_t)value;
        }
        out[n++] = (char)(bits >> 16);
        out[n++] = (char)(bits >> 8);
        out[n++] = (char)bits;
    }
    n -= padding;
    out[n] = '\0';
    *ret = STEAL(out);
    *ret_len = n;
    return 0;
}
