#include <string.h>
#include "ha/parts.h"

/* By what it published; whoever gives the key up for nobody would only have to take it again. */
static bool could_lead(const struct ha_view *v, const struct member *m)
{
    uint64_t lag_bytes = v->cluster->status_lsn > m->xlog_lsn ? v->cluster->status_lsn - m->xlog_lsn : 0;

    if (strcmp(m->name, v->name) == 0 || m->state != PG_STATE_RUNNING)
        return false;
    if (m->tags.nofailover || m->tags.failover_priority <= 0)
        return false;
    return lag_bytes <= v->policy.maximum_lag_on_failover_bytes;
}

bool ha_somebody_could_lead(const struct ha_view *v)
{
    if (!v->cluster)
        return false;
    for (size_t i = 0; i < v->cluster->n_members; i++)
        if (could_lead(v, &v->cluster->members[i]))
            return true;
    return false;
}
