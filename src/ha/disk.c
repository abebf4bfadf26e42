/* What a failed disk means: whoever works on it must not lead, for its PostgreSQL can keep no promise. */
#include <stdio.h>
#include "ha/parts.h"

bool ha_disk_is_unfit(const struct ha_view *v)
{
    return v->storage.fence && v->storage.failed;
}

static const char *disk_name(const struct ha_view *v)
{
    return v->storage.is_wal ? "WAL" : "data";
}

const char *ha_disk_text(const struct ha_view *v, char *buf, size_t size)
{
    if (v->storage.silent_since_us)
        (void)snprintf(buf, size, "the %s disk does not answer", disk_name(v));
    else
        (void)snprintf(buf, size, "the %s disk fails (%s)", disk_name(v), v->storage.error);
    return buf;
}

struct ha_decision ha_disk_demote(const struct ha_view *v)
{
    char text[HA_DISK_TEXT_SIZE];

    if (v->storage.silent_since_us)
        return ha_say_stop(HA_DEMOTE, HA_SWIFT, true,
                           "the %s disk has not answered for %llu s: giving the leader key up", disk_name(v),
                           (unsigned long long)(v->now_us - v->storage.silent_since_us) / 1000000);
    return ha_say_stop(HA_DEMOTE, HA_SWIFT, true, "%s: giving the leader key up", ha_disk_text(v, text, sizeof(text)));
}
