#include "base/text.h"
#include "model/view.h"

void cold_start_command(const struct cold_start *s, const char *scope, char *buf, size_t size)
{
    buf[0] = '\0';
    if (s->candidate[0])
        (void)text_print(buf, size, "pgtetherctl failover %s --candidate %s --force", scope, s->candidate);
}
