#include "model/overview.h"
#include <string.h>
#include <strings.h>

static const struct {
    const char *text, *title;
} roles[] = {
    [OVERVIEW_LEADER] = {"leader", "Leader"},
    [OVERVIEW_STANDBY_LEADER] = {"standby_leader", "Standby Leader"},
    [OVERVIEW_SYNC_STANDBY] = {"sync_standby", "Sync Standby"},
    [OVERVIEW_QUORUM_STANDBY] = {"quorum_standby", "Quorum Standby"},
    [OVERVIEW_REPLICA] = {"replica", "Replica"},
};

const char *overview_role_text(enum overview_role role)
{
    return roles[role].text;
}

const char *overview_role_title(enum overview_role role)
{
    return roles[role].title;
}

bool overview_is_sync_standby(const struct cluster *c, const char *name)
{
    const char *s = c->sync.exists ? c->sync.standbys : NULL;
    size_t name_len = strlen(name);

    while (s && *s) {
        size_t len = strcspn(s, ",");

        /* PostgreSQL matches application_name without case, so does the store's list. */
        if (len == name_len && strncasecmp(s, name, len) == 0)
            return true;
        s += len;
        s += *s == ',';
    }
    return false;
}

static enum overview_role member_role(const struct cluster *c, enum sync_mode sync_mode, const struct member *m,
                                      bool holds_leader_key)
{
    if (holds_leader_key)
        return m->role == PG_ROLE_STANDBY_LEADER ? OVERVIEW_STANDBY_LEADER : OVERVIEW_LEADER;
    if (sync_mode == SYNC_MODE_OFF || !overview_is_sync_standby(c, m->name))
        return OVERVIEW_REPLICA;
    return sync_mode == SYNC_MODE_QUORUM ? OVERVIEW_QUORUM_STANDBY : OVERVIEW_SYNC_STANDBY;
}

static struct overview_lsn behind(uint64_t leader_lsn, uint64_t lsn)
{
    if (!lsn)
        return (struct overview_lsn){0};
    /* The leader publishes once per cycle, so a standby can be ahead of what was published last. */
    return (struct overview_lsn){true, lsn, leader_lsn > lsn ? leader_lsn - lsn : 0};
}

struct overview_row overview_row(const struct cluster *c, enum sync_mode sync_mode, size_t i)
{
    const struct member *m = &c->members[i];
    bool leader = c->leader.exists && strcmp(c->leader.name, m->name) == 0;
    struct overview_row row = {.member = m, .holds_leader_key = leader};

    row.role = member_role(c, sync_mode, m, leader);
    row.state = row.role != OVERVIEW_LEADER && m->replication_state[0] ? m->replication_state : pg_state_text(m->state);
    if (!leader) {
        row.receive = behind(c->status_lsn, m->receive_lsn);
        row.replay = behind(c->status_lsn, m->replay_lsn);
        row.any = behind(c->status_lsn, m->xlog_lsn);
    }
    return row;
}
