/* When a slot holds back so much WAL that somebody should look: a full disk stops the primary. */
#include <string.h>
#include "ha/slots.h"

/* Without max_slot_wal_keep_size: what a checkpoint keeps anyway is of this order. */
enum { MUCH_TIMES = 4 };

uint64_t ha_slot_retained_bytes(const struct slot *s, uint64_t position_lsn)
{
    return s->restart_lsn && position_lsn > s->restart_lsn ? position_lsn - s->restart_lsn : 0;
}

enum slot_wal ha_slot_wal(const struct slot *s, uint64_t position_lsn, int64_t max_keep_bytes,
                          uint64_t max_wal_size_bytes)
{
    uint64_t retained_bytes = ha_slot_retained_bytes(s, position_lsn), limit_bytes = (uint64_t)max_keep_bytes;

    if (slot_is_lost(s))
        return SLOT_WAL_LOST;
    if (strcmp(s->wal_status, "unreserved") == 0)
        return SLOT_WAL_ENDING;
    if (max_keep_bytes >= 0)
        return retained_bytes > limit_bytes - limit_bytes / 4 ? SLOT_WAL_MUCH : SLOT_WAL_OK;
    return max_wal_size_bytes && retained_bytes / MUCH_TIMES > max_wal_size_bytes ? SLOT_WAL_MUCH : SLOT_WAL_OK;
}
