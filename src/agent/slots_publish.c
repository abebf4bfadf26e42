/* What is said about replication slots: in the status key as the leader, in the member's note, over REST. */
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "agent/slots.h"
#include "base/text.h"
#include "dcs/codec.h"

static bool is_permanent(const struct slot_want *want, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(want[i].name, name) == 0)
            return want[i].permanent;
    return false;
}

static bool is_wanted(const struct slot_want *want, size_t n, const struct slot *s)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(want[i].name, s->name) == 0)
            return want[i].logical == !s->physical;
    return false;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Where the slots are that others should keep as well (facts sheet 1.6). */
static size_t list_positions(const struct agent *a, const struct slot_want *want, size_t n_want, const char **names,
                             uint64_t *lsns)
{
    const struct pg_facts *f = &a->pg.facts;
    bool members = a->dynamic->policy.member_slots_ttl_us != 0;
    size_t n = 0;

    for (size_t i = 0; i < f->n_slots; i++) {
        const struct slot *s = &f->slots[i];
        uint64_t lsn = s->physical ? s->restart_lsn : s->confirmed_lsn;

        if (!lsn || slot_is_lost(s) || !is_wanted(want, n_want, s) ||
            (!members && !is_permanent(want, n_want, s->name)))
            continue;
        names[n] = s->name;
        lsns[n++] = lsn;
    }
    return n;
}

char *slots_print_status(struct agent *a)
{
    const struct agent_slots *s = a->slots;
    size_t n_seen = s && a->dynamic->policy.member_slots_ttl_us ? s->n_seen : 0, n_want, n;
    const struct pg_facts *f = &a->pg.facts;
    CLEANUP(freep) const char **names = calloc(f->n_slots + 1, sizeof(*names));
    CLEANUP(freep) uint64_t *lsns = calloc(f->n_slots + 1, sizeof(*lsns));
    CLEANUP(freep) const char **retain = calloc(n_seen + 1, sizeof(*retain));
    CLEANUP(freep) struct slot_want *want = NULL;
    char own[SLOT_NAME_SIZE];
    struct slots_view v;

    slots_fill_view(a, true, &v);
    n_want = slots_wanted(&v, &want);
    if (!names || !lsns || !retain || !want)
        return NULL;
    n = list_positions(a, want, n_want, names, lsns);
    if (a->dynamic->policy.member_slots_ttl_us && a->dynamic->policy.use_slots) {
        slot_name_of_member(a->config->name, own, sizeof(own));
        names[n] = own;
        lsns[n++] = agent_position_lsn(a);
    }
    for (size_t i = 0; i < n_seen; i++)
        retain[i] = s->seen[i].name;
    qsort(retain, n_seen, sizeof(*retain), compare_names);
    return codec_print_status(agent_position_lsn(a), names, lsns, n, retain, n_seen);
}

static uint64_t position(const struct agent *a)
{
    return a->pg.facts.in_recovery ? a->pg.facts.replay_lsn : a->pg.facts.current_lsn;
}

static void say_wal(const struct slot *s, enum slot_wal wal, uint64_t position_lsn, char *buf, size_t size)
{
    double gigabytes = (double)ha_slot_retained_bytes(s, position_lsn) / 1e9;

    switch (wal) {
    case SLOT_WAL_OK:
        buf[0] = '\0';
        break;
    case SLOT_WAL_MUCH:
        (void)text_print(buf, size, "slot \"%s\" holds back %.1f GB of WAL%s", s->name, gigabytes,
                         s->active ? "" : ", and nobody uses it");
        break;
    case SLOT_WAL_ENDING:
        (void)text_print(buf, size, "slot \"%s\" will lose its WAL at the next checkpoint: it holds back %.1f GB",
                         s->name, gigabytes);
        break;
    case SLOT_WAL_LOST:
        (void)text_print(buf, size, "slot \"%s\" has lost its WAL: its consumer must begin anew", s->name);
        break;
    }
}

/* The worst of what there is to say. */
const char *slots_note(const struct agent *a)
{
    static char note[NOTE_SIZE]; /* one agent per process; valid until the next call */
    const struct pg_facts *f = &a->pg.facts;
    enum slot_wal worst = SLOT_WAL_OK;

    note[0] = '\0';
    if (!a->pg.valid || !pg_server_pid(a->server))
        return note;
    for (size_t i = 0; i < f->n_slots; i++) {
        enum slot_wal wal = ha_slot_wal(&f->slots[i], position(a), f->max_slot_wal_keep_bytes, f->max_wal_size_bytes);

        if (wal <= worst || f->slots[i].temporary)
            continue;
        worst = wal;
        say_wal(&f->slots[i], wal, position(a), note, sizeof(note));
    }
    if (worst == SLOT_WAL_OK && a->slots && a->slots->n_troubles)
        (void)text_print(note, sizeof(note), "slot \"%s\": %.*s", a->slots->troubles[0].name,
                         (int)strcspn(a->slots->troubles[0].text, "\n"), a->slots->troubles[0].text);
    return note;
}

void slots_status(const struct agent *a, struct node_status *ret)
{
    if (!ret->sql_ok)
        return;
    ret->slots = a->pg.facts.slots;
    ret->n_slots = a->pg.facts.n_slots;
    ret->max_slot_wal_keep_bytes = a->pg.facts.max_slot_wal_keep_bytes;
    ret->slots_position_lsn = position(a);
    ret->slots_note = slots_note(a);
}
