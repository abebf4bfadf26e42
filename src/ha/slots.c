#include "ha/slots.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ha/ha.h"

static void copy_name(char *dst, const char *src)
{
    (void)snprintf(dst, SLOT_NAME_SIZE, "%s", src);
}

static struct slot_want *find_want(struct slot_want *want, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(want[i].name, name) == 0)
            return &want[i];
    return NULL;
}

static const struct slot *find_have(const struct slots_view *v, const char *name)
{
    for (size_t i = 0; i < v->n_have; i++)
        if (strcmp(v->have[i].name, name) == 0)
            return &v->have[i];
    return NULL;
}

/* --- which slots ---------------------------------------------------------------------------------------------------
 */

static bool is_leader(const struct cluster *c, const struct member *m)
{
    return c->leader.exists && strcmp(m->name, c->leader.name) == 0;
}

/* As seen by a leader its followers are there also while its own member key is missing. */
static bool streams_from_here(const struct slots_view *v, const struct member *m)
{
    const struct member *upstream = ha_upstream_of(v->cluster, m->name, &m->tags);

    return upstream ? strcmp(upstream->name, v->name) == 0 : v->leads && !m->tags.nostream;
}

/*
 * Of a member that streams from somebody else the leader's slot stands still, and leaders before 4.0.0 do not publish
 * where members' slots are: then its own word counts.
 */
static uint64_t member_lsn(const struct slots_view *v, const struct member *m, const char *slot)
{
    const struct member *up = ha_upstream_of(v->cluster, m->name, &m->tags);
    uint64_t lsn = cluster_slot_lsn(v->cluster, slot);

    if (up && is_leader(v->cluster, up) && strtoul(up->version, NULL, 10) >= 4)
        return lsn;
    return m->xlog_lsn > lsn ? m->xlog_lsn : lsn;
}

/*
 * A member of which this node keeps a slot: so that nobody finds its WAL removed, whoever leads next. Without time to
 * keep them (member_slots_ttl 0), and on a node that can never lead, only those who stream from here.
 */
static bool keeps_slot_for(const struct slots_view *v, const struct member *m, bool in_use)
{
    if (strcmp(m->name, v->name) == 0 || m->tags.nostream)
        return false;
    if (!v->member_slots_ttl_us)
        return in_use;
    return v->leads || !v->tags.nofailover || in_use || strcmp(m->tags.replicatefrom, v->name) == 0;
}

static size_t want_members(const struct slots_view *v, struct slot_want *ret, size_t max)
{
    char name[SLOT_NAME_SIZE];
    size_t n = 0;

    for (size_t i = 0; i < v->cluster->n_members; i++) {
        const struct member *m = &v->cluster->members[i];
        bool in_use = streams_from_here(v, m);
        struct slot_want *w;
        uint64_t lsn;

        if (!keeps_slot_for(v, m, in_use))
            continue;
        slot_name_of_member(m->name, name, sizeof(name));
        lsn = member_lsn(v, m, name);
        w = find_want(ret, n, name);
        if (w) {
            /* For the one that is further behind. */
            w->shared = true;
            w->use = w->use == SLOT_IN_USE || in_use ? SLOT_IN_USE : SLOT_IDLE;
            w->lsn = w->lsn < lsn ? w->lsn : lsn;
        } else if (n < max) {
            ret[n] = (struct slot_want){.purpose = SLOT_OF_MEMBER, .use = in_use ? SLOT_IN_USE : SLOT_IDLE, .lsn = lsn};
            copy_name(ret[n++].name, name);
        }
    }
    return n;
}

static bool is_named_after_member(const struct slots_view *v, const char *slot)
{
    char name[SLOT_NAME_SIZE];

    for (size_t i = 0; i < v->cluster->n_members; i++) {
        slot_name_of_member(v->cluster->members[i].name, name, sizeof(name));
        if (strcmp(name, slot) == 0)
            return true;
    }
    return false;
}

/* One whose member is there, but gets none, is not kept either: with nostream it needs none (the reference waits). */
static size_t want_retained(const struct slots_view *v, struct slot_want *ret, size_t n, size_t max, const char *name)
{
    char own[SLOT_NAME_SIZE];

    slot_name_of_member(v->name, own, sizeof(own));
    if (strcmp(name, own) == 0 || n >= max || find_want(ret, n, name) || is_named_after_member(v, name))
        return n;
    ret[n] = (struct slot_want){
        .purpose = SLOT_OF_ABSENT_MEMBER, .use = SLOT_USE_UNKNOWN, .lsn = cluster_slot_lsn(v->cluster, name)};
    copy_name(ret[n].name, name);
    return n + 1;
}

/*
 * Of members that have vanished. Every node remembers itself (the reference: only the leader does), so that the slot is
 * still there on the next leader if the last one vanished together with the member; the others also keep what the
 * leader has published.
 */
static size_t want_absent(const struct slots_view *v, struct slot_want *ret, size_t n, size_t max)
{
    if (!v->member_slots_ttl_us)
        return n;
    if (v->tags.nofailover && !v->leads)
        return n;
    for (size_t i = 0; i < v->n_seen; i++)
        n = want_retained(v, ret, n, max, v->seen[i].name);
    for (size_t i = 0; !v->leads && i < v->cluster->n_retain_slots; i++)
        n = want_retained(v, ret, n, max, v->cluster->retain_slots[i].text);
    return n;
}

/* The way from a node up to the leader. */
struct way {
    const char *last; /* who streams from the leader itself */
    bool arrives;     /* there is a leader at its end */
    bool streams;     /* nobody on it has the tag nostream: feedback gets through */
};

static struct way way_up(const struct cluster *c, const char *name, const struct tags *tags)
{
    const struct member *up = ha_upstream_of(c, name, tags);
    struct way way = {.last = name, .streams = !tags->nostream};

    for (size_t i = 0; i < c->n_members; i++) {
        if (!up || is_leader(c, up))
            continue; /* at its end */
        way.last = up->name;
        way.streams = !up->tags.nostream; /* one that has the tag has nobody above it */
        up = ha_upstream_of(c, up->name, &up->tags);
    }
    way.arrives = up != NULL;
    return way;
}

/*
 * A node that can never lead needs no permanent slots; but should it lead nevertheless, they stay (the reference would
 * drop them then).
 */
static bool keeps_permanent(const struct slots_view *v, const struct slot_spec *s)
{
    if (v->tags.nofailover && !v->leads)
        return false;
    if (!s->logical)
        return s->cluster == SLOT_ANY_CLUSTER || (s->cluster == SLOT_STANDBY_CLUSTER) == v->standby_cluster;
    return !v->standby_cluster && (v->leads || way_up(v->cluster, v->name, &v->tags).streams);
}

/* The member has another upstream than this node, and its slot here is a spare. */
static bool is_of_cascading_member(const struct slots_view *v, const char *slot)
{
    char name[SLOT_NAME_SIZE];

    for (size_t i = 0; i < v->cluster->n_members; i++) {
        const struct member *m = &v->cluster->members[i];

        slot_name_of_member(m->name, name, sizeof(name));
        if (strcmp(name, slot) == 0 && m->tags.replicatefrom[0])
            return true;
    }
    return false;
}

static size_t want_permanent(const struct slots_view *v, const struct slot_spec *s, struct slot_want *ret, size_t n,
                             size_t max)
{
    struct slot_want *w = find_want(ret, n, s->name);
    char own[SLOT_NAME_SIZE];

    if (!keeps_permanent(v, s))
        return n;
    if (w) {
        w->permanent = !s->logical;
        w->conflicting = s->logical;
        return n;
    }
    slot_name_of_member(v->name, own, sizeof(own));
    if (n >= max || (!s->logical && strcmp(s->name, own) == 0))
        return n;
    w = &ret[n];
    *w = (struct slot_want){.logical = s->logical,
                            .purpose = SLOT_PERMANENT,
                            .permanent = true,
                            .use = v->leads && !is_of_cascading_member(v, s->name) ? SLOT_IN_USE : SLOT_IDLE,
                            .lsn = cluster_slot_lsn(v->cluster, s->name)};
    copy_name(w->name, s->name);
    copy_name(w->database, s->database);
    copy_name(w->plugin, s->plugin);
    return n + 1;
}

size_t ha_slots_wanted(const struct slots_view *v, struct slot_want *ret, size_t max)
{
    size_t n;

    if (!v->use_slots)
        return 0;
    n = want_members(v, ret, max);
    n = want_absent(v, ret, n, max);
    for (size_t i = 0; i < v->n_permanent; i++)
        n = want_permanent(v, &v->permanent[i], ret, n, max);
    return n;
}

/* --- memory of absent members ----------------------------------------------------------------------------------------
 */

static bool is_permanent_physical(const struct slots_view *v, const char *name)
{
    for (size_t i = 0; i < v->n_permanent; i++)
        if (!v->permanent[i].logical && strcmp(v->permanent[i].name, name) == 0)
            return true;
    return false;
}

static size_t see(struct slot_seen *seen, size_t n, size_t max, const char *name, uint64_t now_us)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(seen[i].name, name) == 0) {
            seen[i].at_us = now_us;
            return n;
        }
    if (n >= max)
        return n;
    copy_name(seen[n].name, name);
    seen[n].at_us = now_us;
    return n + 1;
}

size_t ha_slots_remember(const struct slots_view *v, bool begins_term, struct slot_seen *seen, size_t n, size_t max)
{
    char name[SLOT_NAME_SIZE];
    size_t kept = 0;

    if (!v->member_slots_ttl_us || !v->use_slots)
        return 0;
    for (size_t i = 0; begins_term && i < v->cluster->n_retain_slots; i++)
        n = see(seen, n, max, v->cluster->retain_slots[i].text, v->now_us);
    for (size_t i = 0; i < v->cluster->n_members; i++) {
        const struct member *m = &v->cluster->members[i];

        slot_name_of_member(m->name, name, sizeof(name));
        if (strcmp(m->name, v->name) != 0 && !m->tags.nostream && find_have(v, name) && !is_permanent_physical(v, name))
            n = see(seen, n, max, name, v->now_us);
    }
    for (size_t i = 0; i < n; i++) {
        if (v->members_unsettled)
            seen[i].at_us = v->now_us; /* nobody could have been seen: the time begins anew */
        if (v->now_us - seen[i].at_us < v->member_slots_ttl_us)
            seen[kept++] = seen[i];
    }
    return kept;
}

/* --- what to do ------------------------------------------------------------------------------------------------------
 */

bool ha_slot_is_ignored(const struct slots_view *v, const struct slot *s)
{
    for (size_t i = 0; i < v->n_ignore; i++) {
        const struct slot_matcher *m = &v->ignore[i];

        if ((!m->name[0] || strcmp(m->name, s->name) == 0) &&
            (!m->type[0] || strcmp(m->type, s->physical ? "physical" : "logical") == 0) &&
            (!m->database[0] || strcmp(m->database, s->database) == 0) &&
            (!m->plugin[0] || strcmp(m->plugin, s->plugin) == 0))
            return true;
    }
    return false;
}

static struct slot_step step(enum slot_what what, const char *name, const char *reason)
{
    struct slot_step s = {.what = what, .reason = reason};

    copy_name(s.name, name);
    return s;
}

/* A slot in use is never dropped: whoever is connected would lose its place. */
static bool drop(const struct slot *s, const char *reason, struct slot_step *ret)
{
    *ret = step(s->active ? SLOT_COMPLAIN : SLOT_DROP, s->name, reason);
    ret->in_use = s->active;
    return true;
}

/*
 * Without use_slots the reference drops every slot. Here only those go that were made for members: the rest is
 * the operator's, who then looks after slots himself.
 */
static bool drop_unwanted(const struct slots_view *v, const struct slot *s, struct slot_step *ret)
{
    if (v->pause || v->members_unsettled || ha_slot_is_ignored(v, s) ||
        (!v->use_slots && !is_named_after_member(v, s->name)))
        return false;
    return drop(s,
                "it is neither for a present member nor permanent nor in ignore_slots (an absent member's is kept for "
                "member_slots_ttl)",
                ret);
}

/*
 * PostgreSQL 17 keeps slots with failover = true on standbys itself. One that was not made by that, as it is left
 * behind on a former primary, is in its way.
 */
static bool fix_failover_slot(const struct slots_view *v, const struct slot *s, struct slot_step *ret)
{
    if (v->leads || s->synced || v->pause || ha_slot_is_ignored(v, s))
        return false;
    return drop(s, "it is in the way of PostgreSQL's own synchronization of failover slots", ret);
}

static bool is_unsafe(const struct slots_view *v, const char *name)
{
    for (size_t i = 0; i < v->n_unsafe; i++)
        if (strcmp(v->unsafe[i].text, name) == 0)
            return true;
    return false;
}

static bool is_another(const struct slot *s, const struct slot_want *w)
{
    return s->physical == w->logical ||
           (w->logical && (strcmp(s->database, w->database) != 0 || strcmp(s->plugin, w->plugin) != 0));
}

static bool advance(const struct slots_view *v, const struct slot *s, uint64_t at_lsn, const struct slot_want *w,
                    struct slot_step *ret)
{
    uint64_t lsn = w->lsn < v->position_lsn ? w->lsn : v->position_lsn;

    if (s->active || lsn <= at_lsn)
        return false;
    *ret = step(SLOT_ADVANCE, s->name, "what is before that nobody needs");
    ret->logical = w->logical;
    copy_name(ret->database, w->database);
    ret->lsn = lsn;
    return true;
}

static bool fix_physical(const struct slots_view *v, const struct slot *s, const struct slot_want *w,
                         struct slot_step *ret)
{
    bool other_leads = v->cluster->leader.exists && strcmp(v->cluster->leader.name, v->name) != 0;

    if (slot_is_lost(s))
        return drop(s, "WAL that it should have kept was removed: making it anew", ret);
    if (w->use == SLOT_IDLE && s->holds_xmin && !s->active && (v->leads || other_leads))
        return drop(s, "nobody streams with it here, but it holds back vacuum: making it anew", ret);
    if (w->use != SLOT_IN_USE && !s->restart_lsn)
        return drop(s, "it keeps no WAL: making it anew", ret);
    if (w->use == SLOT_IN_USE || s->holds_xmin)
        return false;
    return advance(v, s, s->restart_lsn, w, ret);
}

/*
 * On the primary consumers advance it, and one that has lost its WAL stays as it is: made anew, its consumer would go
 * on behind a gap without a word.
 */
static bool fix_logical(const struct slots_view *v, const struct slot *s, const struct slot_want *w,
                        struct slot_step *ret)
{
    if (v->leads && is_unsafe(v, s->name))
        return drop(s, "it was copied from the old primary and is not known to be complete", ret);
    if (v->leads && slot_is_lost(s)) {
        *ret =
            step(SLOT_COMPLAIN, s->name,
                 "WAL that its consumer needs was removed: the consumer must begin anew. HINT: Drop the slot, and it "
                 "is made again");
        return true;
    }
    if (v->leads)
        return false;
    if (slot_is_lost(s)) {
        *ret = step(SLOT_COPY, s->name, "WAL that it needs was removed");
        return true;
    }
    return advance(v, s, s->confirmed_lsn, w, ret);
}

static bool fix(const struct slots_view *v, const struct slot *s, const struct slot_want *w, struct slot_step *ret)
{
    if (s->temporary)
        return false;
    if (!s->physical && s->failover)
        return fix_failover_slot(v, s, ret);
    if (!w)
        return drop_unwanted(v, s, ret);
    if (is_another(s, w) && (v->pause || ha_slot_is_ignored(v, s))) {
        *ret = step(SLOT_COMPLAIN, s->name, "another slot is wanted here, but this one is to be left alone");
        return true;
    }
    if (is_another(s, w))
        return drop(s, "a slot of this name, but of another type, database or plugin is wanted here", ret);
    return w->logical ? fix_logical(v, s, w, ret) : fix_physical(v, s, w, ret);
}

/* A logical slot on a standby is copied from the primary, as soon as that has one. */
static bool make(const struct slots_view *v, const struct slot_want *w, struct slot_step *ret)
{
    bool was_there = w->logical && (w->lsn || is_unsafe(v, w->name));

    if (w->logical && !v->leads && !w->lsn)
        return false;
    if (w->logical && !v->leads)
        *ret = step(SLOT_COPY, w->name, "it is on the primary and not yet here");
    else
        *ret = step(SLOT_CREATE, w->name,
                    was_there ? "it is lost and begins anew: changes before now are not in it, its consumers must copy "
                                "their tables again"
                    : w->purpose == SLOT_PERMANENT ? "it is permanent"
                                                   : "for a member");
    ret->logical = w->logical;
    copy_name(ret->database, w->database);
    copy_name(ret->plugin, w->plugin);
    return true;
}

static const char *collision(const struct slot_want *w)
{
    if (w->conflicting)
        return "a permanent logical slot has the name of a member's physical slot: there is no such slot";
    return w->shared ? "two members' names make the same slot name: they cannot both stream from one node" : NULL;
}

static uint64_t said_lsn(const struct slot_position *said, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(said[i].name, name) == 0)
            return said[i].lsn;
    return 0;
}

size_t ha_slots_follow(const struct slots_view *v, const struct slot_position *said, size_t n_said,
                       struct slot_step *ret, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < v->n_have && n < max; i++) {
        const struct slot *s = &v->have[i];
        struct slot_want w = {.logical = !s->physical, .lsn = said_lsn(said, n_said, s->name)};
        uint64_t at_lsn = s->physical ? s->restart_lsn : s->confirmed_lsn;

        if (!at_lsn || s->temporary || s->failover || slot_is_lost(s) || (s->physical && s->holds_xmin) ||
            ha_slot_is_ignored(v, s))
            continue;
        copy_name(w.database, s->database);
        n += advance(v, s, at_lsn, &w, &ret[n]);
    }
    return n;
}

size_t ha_slots_steps(const struct slots_view *v, const struct slot_want *want, size_t n_want, struct slot_step *ret,
                      size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < v->n_have && n < max; i++) {
        const struct slot *s = &v->have[i];

        n += fix(v, s, find_want((struct slot_want *)want, n_want, s->name), &ret[n]);
    }
    for (size_t i = 0; i < n_want && n < max; i++) {
        if (!find_have(v, want[i].name))
            n += make(v, &want[i], &ret[n]);
        if (collision(&want[i]) && n < max)
            ret[n++] = step(SLOT_COMPLAIN, want[i].name, collision(&want[i]));
    }
    return n;
}

/* --- feedback of standbys --------------------------------------------------------------------------------------------
 */

/* Whether the node streams from this one, directly or by way of others. */
static bool streams_through(const struct slots_view *v, const struct member *m)
{
    bool through = false;

    for (size_t i = 0; i < v->cluster->n_members; i++) {
        m = m ? ha_upstream_of(v->cluster, m->name, &m->tags) : NULL;
        through = through || (m && strcmp(m->name, v->name) == 0);
    }
    return through;
}

static bool has_permanent_logical(const struct slots_view *v)
{
    for (size_t i = 0; i < v->n_permanent; i++)
        if (v->permanent[i].logical)
            return true;
    return false;
}

bool ha_slots_need_feedback(const struct slots_view *v)
{
    if (!v->use_slots || v->standby_cluster || !has_permanent_logical(v))
        return false;
    /* Before the store was read: switched off for a moment, what the primary holds back for us would be gone. */
    if (!v->cluster)
        return true;
    if (!v->tags.nofailover && way_up(v->cluster, v->name, &v->tags).streams)
        return true;
    for (size_t i = 0; i < v->cluster->n_members; i++) {
        const struct member *m = &v->cluster->members[i];

        if (!m->tags.nofailover && streams_through(v, m))
            return true;
    }
    return false;
}

bool ha_slots_feedback_slot(const struct slots_view *v, char *buf, size_t size)
{
    struct way way = way_up(v->cluster, v->name, &v->tags);

    slot_name_of_member(way.last, buf, size);
    return way.arrives;
}

/* Transaction ids go round: of two the later one is less than half the circle ahead. */
static bool xid_is_at_most(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) <= 0;
}

bool ha_slot_copy_is_safe(uint32_t primary_xmin, uint32_t feedback_xmin, uint32_t local_xmin)
{
    return primary_xmin && feedback_xmin && local_xmin && xid_is_at_most(primary_xmin, feedback_xmin) &&
           xid_is_at_most(feedback_xmin, local_xmin);
}
