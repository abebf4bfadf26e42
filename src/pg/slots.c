#include "pg/slots.h"
#include <string.h>
#include "base/text.h"
#include "pg/files.h"

static const struct pg_slot *find_slot(const struct pg_facts *facts, const char *name)
{
    for (size_t i = 0; i < facts->n_slots; i++)
        if (strcmp(facts->slots[i].name, name) == 0)
            return &facts->slots[i];
    return NULL;
}

/* How far the slot of a member may move here: no further than the member, nor than what this node has replayed. */
static uint64_t advance_target(const struct pg_facts *facts, const struct member *m)
{
    uint64_t lsn = m->replay_lsn ? m->replay_lsn : m->xlog_lsn;

    return lsn < facts->replay_lsn ? lsn : facts->replay_lsn;
}

char *pg_slots_sql(const struct pg_facts *facts, const struct cluster *cluster, const char *own_name)
{
    struct textbuf sql = {0};
    char name[64], lsn[TEXT_LSN_SIZE];

    for (size_t i = 0; i < cluster->n_members; i++) {
        const struct member *m = &cluster->members[i];
        const struct pg_slot *slot;

        if (strcmp(m->name, own_name) == 0 || m->tags.nostream)
            continue;
        pg_slot_name(m->name, name, sizeof(name));
        slot = find_slot(facts, name);
        if (!slot) {
            /* What we know of the slots may be a moment old. */
            textbuf_printf(&sql,
                           "SELECT pg_catalog.pg_create_physical_replication_slot('%s', true) WHERE NOT EXISTS "
                           "(SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = '%s');",
                           name, name);
            continue;
        }
        if (facts->in_recovery && slot->physical && !slot->active && slot->restart_lsn < advance_target(facts, m))
            textbuf_printf(&sql, "SELECT pg_catalog.pg_replication_slot_advance('%s', '%s');", name,
                           text_print_lsn(advance_target(facts, m), lsn, sizeof(lsn)));
    }
    return textbuf_take(&sql);
}
