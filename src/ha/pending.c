/*
 * In which order members are restarted for a parameter that WAL is bound to (facts sheet 7.2). Raised: the standbys
 * first, since a primary with more makes those stop replaying that have less, and then they cannot be promoted either.
 * Lowered: the primary first, since a standby starts with what its WAL was written with and would be restarted in
 * vain. The reference offers all restarts at once.
 */
#include "ha/ha.h"

enum pending_verdict ha_pending(const struct pending_view *v)
{
    if (!v->differs)
        return PENDING_NONE;
    if (!v->must_not_fall)
        return PENDING_RESTART;
    if (v->wanted > v->running)
        return !v->is_standby && v->members_below ? PENDING_LATER : PENDING_RESTART;
    return v->is_standby && (v->wal == 0 || v->wal > v->wanted) ? PENDING_LATER : PENDING_RESTART;
}
