#include "model/cluster.h"
#include <stdlib.h>
#include <string.h>

struct cluster *cluster_new(void)
{
    return calloc(1, sizeof(struct cluster));
}

void cluster_done(struct cluster *c)
{
    free(c->initialize.text);
    free(c->config.text);
    free(c->history_text.text);
    free(c->failsafe.text);
    free(c->config_history.text);
    free(c->failsafe_list);
    free(c->known_text.text);
    free(c->known_list);
    free(c->status_text.text);
    free(c->sync.standbys);
    free(c->history);
    free(c->status_slots);
    free(c->retain_slots);
    for (size_t i = 0; i < c->n_members; i++)
        free(c->members[i].data);
    free(c->members);
    *c = (struct cluster){0};
}

struct cluster *cluster_free(struct cluster *c)
{
    if (!c)
        return NULL;
    cluster_done(c);
    free(c);
    return NULL;
}

const struct member *cluster_member(const struct cluster *c, const char *name)
{
    for (size_t i = 0; i < c->n_members; i++)
        if (strcmp(c->members[i].name, name) == 0)
            return &c->members[i];
    return NULL;
}

const struct member *cluster_leader_member(const struct cluster *c)
{
    return c->leader.exists ? cluster_member(c, c->leader.name) : NULL;
}

uint64_t cluster_slot_lsn(const struct cluster *c, const char *slot)
{
    for (size_t i = 0; i < c->n_status_slots; i++)
        if (strcmp(c->status_slots[i].name, slot) == 0)
            return c->status_slots[i].lsn;
    return 0;
}

uint32_t cluster_timeline(const struct cluster *c)
{
    if (!c->history_text.exists)
        return 0;
    if (c->n_history)
        return c->history[c->n_history - 1].timeline + 1;
    return c->history_text.text && strcmp(c->history_text.text, "[]") == 0 ? 1 : 0;
}

bool cluster_sysid_is_known(const struct cluster *c)
{
    return c->initialize.exists && cluster_sysid_is_valid(c->initialize.text);
}

bool cluster_sysid_is_valid(const char *text)
{
    size_t digits = strspn(text, "0123456789");

    return digits >= 10 && text[digits] == '\0';
}
