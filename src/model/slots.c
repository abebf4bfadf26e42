#include "model/slots.h"
#include <string.h>
#include "base/text.h"

/* Decodes one character of UTF-8; bytes that are none count as Latin-1, so that every name has a slot name. */
static uint32_t next_code_point(const unsigned char **s)
{
    const unsigned char *p = *s;
    int more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : p[0] >= 0xc2 ? 1 : 0;
    uint32_t code = more == 3 ? p[0] & 0x07u : more == 2 ? p[0] & 0x0fu : more == 1 ? p[0] & 0x1fu : p[0];

    for (int i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            *s = p + 1;
            return p[0];
        }
        code = code << 6 | (p[i] & 0x3fu);
    }
    *s = p + 1 + more;
    return code;
}

void slot_name_of_member(const char *member_name, char *buf, size_t size)
{
    const unsigned char *s = (const unsigned char *)member_name;
    char all[SLOT_NAME_SIZE + sizeof("u1114111")];
    size_t len = 0, max = SLOT_NAME_SIZE - 1;

    while (*s && len < max) {
        uint32_t c = next_code_point(&s);

        if (c >= 'A' && c <= 'Z')
            c += 'a' - 'A';
        if (c == '-' || c == '.')
            c = '_';
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_') {
            all[len++] = (char)c;
        } else {
            (void)text_print(all + len, sizeof(all) - len, "u%04u", (unsigned)c);
            len += strlen(all + len);
        }
    }
    all[len < max ? len : max] = '\0';
    (void)text_copy(buf, size, all);
}

bool slot_name_is_valid(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return len > 0 && len < SLOT_NAME_SIZE && name[len] == '\0';
}

bool slot_is_lost(const struct slot *s)
{
    return s->conflicting || strcmp(s->wal_status, "lost") == 0;
}
