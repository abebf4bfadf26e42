/*
 * Synchronous replication (facts sheet, section 4). Two things have to agree: which standbys PostgreSQL waits for
 * (synchronous_standby_names) and what /sync promises about them, by which the next leader is chosen. They cannot be
 * changed at once, and the leader may die between the two. What holds at every instant, for the names in effect as well
 * as for those about to be (S7):
 *
 *     every commit that was acknowledged is found by every election that /sync allows            (src/ha/quorum.c)
 *
 * So: PostgreSQL waits for a standby before /sync says that it may lead, and /sync says that it may not before
 * PostgreSQL stops waiting for it. A write of /sync whose outcome is not known may be executed later: before anything
 * else relies on the old content that is written once more, and the revision bars the late one.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "ha/parts.h"
#include "ha/quorum.h"

/* --- who can be a synchronous standby -------------------------------------------------------------------------------
 */

struct candidate {
    const struct member *member;
    const struct sync_standby *standby;
};

struct candidates { /* the best first */
    size_t n;
    struct candidate items[SYNC_SET_MAX];
};

static const struct member *member_of(const struct cluster *c, const char *name)
{
    for (size_t i = 0; i < c->n_members; i++)
        if (strcasecmp(c->members[i].name, name) == 0)
            return &c->members[i];
    return NULL;
}

static bool streams(const struct sync_view *s, const char *name)
{
    for (size_t i = 0; i < s->n_standbys; i++)
        if (strcasecmp(s->standbys[i].name, name) == 0)
            return true;
    return false;
}

/* It belongs below another standby that is connected here, and comes to this node only for a while. */
static bool cascades(const struct sync_view *s, const struct member *m)
{
    return m->tags.replicatefrom[0] && strcasecmp(m->tags.replicatefrom, m->name) != 0 &&
           streams(s, m->tags.replicatefrom);
}

static bool is_candidate(const struct ha_view *v, const struct sync_view *s, const struct member *m,
                         const struct sync_standby *standby)
{
    return m && m->state == PG_STATE_RUNNING && !m->tags.nosync && m->tags.sync_priority > 0 && standby->lsn &&
           strcasecmp(m->name, v->name) != 0 && !cascades(s, m);
}

/* nofailover: it can acknowledge, but never lead with what it has. */
static bool never_leads(const struct member *m)
{
    return m->tags.nofailover || m->tags.failover_priority <= 0;
}

static bool goes_before(const struct candidate *a, const struct candidate *b)
{
    if (never_leads(a->member) != never_leads(b->member))
        return never_leads(b->member);
    if (a->member->tags.sync_priority != b->member->tags.sync_priority)
        return a->member->tags.sync_priority > b->member->tags.sync_priority;
    if (a->standby->rank != b->standby->rank)
        return a->standby->rank > b->standby->rank;
    return a->standby->lsn > b->standby->lsn;
}

static void insert(struct candidates *list, struct candidate c)
{
    size_t i = list->n;

    if (list->n == SYNC_SET_MAX)
        return;
    for (; i > 0 && goes_before(&c, &list->items[i - 1]); i--)
        list->items[i] = list->items[i - 1];
    list->items[i] = c;
    list->n++;
}

static void find_candidates(const struct ha_view *v, const struct sync_view *s, struct candidates *ret)
{
    ret->n = 0;
    for (size_t i = 0; i < s->n_standbys; i++) {
        const struct member *m = member_of(v->cluster, s->standbys[i].name);

        if (is_candidate(v, s, m, &s->standbys[i]))
            insert(ret, (struct candidate){m, &s->standbys[i]});
    }
}

static uint64_t reference_lsn(const struct ha_view *v, const struct candidates *list)
{
    uint64_t lsn = 0;

    for (size_t i = 0; i < list->n; i++)
        if (list->items[i].standby->lsn > lsn)
            lsn = list->items[i].standby->lsn;
    return list->n > 1 ? lsn : v->pg.current_lsn;
}

static bool lags(const struct ha_view *v, const struct candidate *c, uint64_t reference)
{
    uint64_t limit = v->policy.maximum_lag_on_syncnode_bytes;

    return limit && reference > c->standby->lsn && reference - c->standby->lsn > limit;
}

static unsigned wanted_count(const struct ha_view *v)
{
    return v->policy.sync_node_count ? v->policy.sync_node_count : 1;
}

/* --- where to -------------------------------------------------------------------------------------------------------
 */

/* Nobody to wait for. Strict: those who were promised stay what is waited for, they may come back. */
static void want_without_candidates(const struct ha_view *v, const struct sync_promise *now, struct sync_names *ret)
{
    if (!v->policy.sync_strict)
        return;
    ret->kind = SYNC_KIND_BLOCKED;
    if (now->voters.n == 0)
        return;
    ret->kind = v->policy.sync_mode == SYNC_MODE_QUORUM ? SYNC_KIND_ANY : SYNC_KIND_FIRST;
    ret->set = now->voters;
    ret->n = now->quorum < now->voters.n ? (unsigned)now->voters.n - now->quorum : 1;
}

static void want(const struct ha_view *v, const struct candidates *list, const struct sync_promise *now,
                 struct sync_names *ret)
{
    bool quorum = v->policy.sync_mode == SYNC_MODE_QUORUM;
    uint64_t reference = reference_lsn(v, list);

    *ret = (struct sync_names){.kind = SYNC_KIND_NOBODY};
    for (size_t i = 0; i < list->n; i++) {
        bool enough = ret->set.n >= wanted_count(v);

        if (lags(v, &list->items[i], reference) || (enough && (!quorum || never_leads(list->items[i].member))))
            continue;
        sync_set_add(&ret->set, list->items[i].member->name);
    }
    if (ret->set.n == 0) {
        want_without_candidates(v, now, ret);
        return;
    }
    ret->kind = quorum ? SYNC_KIND_ANY : SYNC_KIND_FIRST;
    ret->n = ret->set.n < wanted_count(v) ? (unsigned)ret->set.n : wanted_count(v);
}

static void describe(const struct ha_view *v, const struct sync_view *s, const struct candidates *list,
                     struct quorum_state *q)
{
    memset(q, 0, sizeof(*q));
    q->is_priority = v->policy.sync_mode == SYNC_MODE_PRIORITY;
    (void)sync_set_read(&q->now.voters, v->cluster->sync.standbys);
    q->now.quorum = v->cluster->sync.quorum;
    q->names = s->names;
    for (size_t i = 0; i < list->n; i++) {
        const struct candidate *c = &list->items[i];

        sync_set_add(&q->streaming, c->member->name);
        if (s->settled && c->standby->flush_lsn >= s->since_lsn)
            sync_set_add(&q->has_all, c->member->name);
    }
    want(v, list, &q->now, &q->wanted);
}

/* --- steps ----------------------------------------------------------------------------------------------------------
 */

static void say(struct sync_step *ret, enum sync_action action, const char *reason)
{
    ret->action = action;
    (void)snprintf(ret->reason, sizeof(ret->reason), "%s", reason);
}

/* Texts for people: cut where they do not fit. */
static void say_key(struct sync_step *ret, const struct sync_promise *promise, const char *why)
{
    char names[160];

    ret->action = SYNC_WRITE_KEY;
    ret->promise = *promise;
    (void)sync_set_print(&promise->voters, names, sizeof(names));
    (void)snprintf(ret->reason, sizeof(ret->reason), "%s: /sync := %s%s", why,
                   promise->voters.n ? names : "nobody but the leader", promise->quorum ? " (quorum)" : "");
}

static void say_names(struct sync_step *ret, const struct sync_names *names)
{
    char text[160] = "";

    ret->action = SYNC_SET_NAMES;
    ret->names = *names;
    (void)sync_names_print(names, text, sizeof(text));
    if (names->kind == SYNC_KIND_BLOCKED)
        say(ret, SYNC_SET_NAMES,
            "no standby can be synchronous and synchronous_mode_strict is on: commits wait until one can");
    else if (names->kind == SYNC_KIND_NOBODY)
        say(ret, SYNC_SET_NAMES, "no standby can be synchronous: commits wait for nobody");
    else
        (void)snprintf(ret->reason, sizeof(ret->reason), "commits wait for the standbys: %s", text);
}

static void step_off(const struct ha_view *v, const struct sync_view *s, struct sync_step *ret)
{
    if (v->cluster->sync.revision)
        say(ret, SYNC_DELETE_KEY, "synchronous_mode is off: deleting /sync");
    else if (s->names_are_ours)
        say(ret, SYNC_GIVE_NAMES_BACK, "synchronous_mode is off: synchronous_standby_names is the configured one");
    else
        say(ret, SYNC_WAIT, "synchronous_mode is off");
}

/* After a promotion: standbys that live are about to come. Without them commits would be acknowledged by this node
 * alone, and nobody could take over should it die, too. */
static bool awaits(const struct ha_view *v, const struct sync_view *s, const struct quorum_state *q)
{
    size_t n = 0;

    if (v->now_us >= s->await_until_us)
        return false;
    for (size_t i = 0; i < v->cluster->n_members; i++) {
        const struct member *m = &v->cluster->members[i];

        n += m->state == PG_STATE_RUNNING && !m->tags.nosync && strcmp(m->name, v->name) != 0 &&
             !sync_set_has(&q->streaming, m->name);
    }
    return n > 0 && q->streaming.n < wanted_count(v);
}

/* The names are where they should be: may more be promised by now? */
static void step_promise(const struct sync_view *s, const struct quorum_state *q, struct sync_step *ret)
{
    unsigned best_quorum = (unsigned)q->wanted.set.n - q->wanted.n;
    struct sync_promise p;

    if (!s->settled) {
        say(ret, SYNC_WAIT, "waiting until synchronous_standby_names is in effect in every process");
        ret->is_soon = true;
        return;
    }
    quorum_grow(q, &p);
    if (p.quorum != q->now.quorum || !sync_set_equal(&p.voters, &q->now.voters)) {
        say_key(ret, &p, "these standbys have every acknowledged commit");
    } else if (!sync_set_equal(&p.voters, &q->wanted.set) || p.quorum > best_quorum) {
        say(ret, SYNC_WAIT, "waiting for a synchronous standby to catch up");
        ret->is_soon = true;
    } else {
        say(ret, SYNC_WAIT, "nothing to do");
    }
}

static void step_names(const struct sync_view *s, const struct quorum_state *q, struct sync_step *ret)
{
    struct sync_promise p;
    struct sync_names next;

    if (!quorum_next_names(q, &next)) {
        quorum_reduce(q, &p);
        say_key(ret, &p, "a synchronous standby is no more, or fewer are wanted");
    } else if (sync_names_equal(&next, &q->names)) {
        step_promise(s, q, ret);
    } else if (s->key_in_doubt) {
        say_key(ret, &q->now, "barring what may still be on its way");
    } else {
        say_names(ret, &next);
    }
}

static void step_on(const struct ha_view *v, const struct sync_view *s, struct sync_step *ret)
{
    const struct sync_key *key = &v->cluster->sync;
    const struct sync_promise nobody = {0};
    struct candidates list;
    struct quorum_state q;

    if (!s->names_known) {
        say(ret, SYNC_WAIT, "waiting for PostgreSQL to say whom it waits for");
        return;
    }
    if (!key->exists || strcmp(key->leader, v->name) != 0 || s->key_is_foreign) {
        say_key(ret, &nobody, key->exists ? "it is not this leader's" : "there was none");
        return;
    }
    find_candidates(v, s, &list);
    describe(v, s, &list, &q);
    /* Whoever changed the names or the key by hand: the key must not promise what is not so. */
    if (quorum_needed(&q.now.voters, &q.names) > q.now.quorum) {
        say_key(ret, &nobody, "it promised more than synchronous_standby_names keeps");
        return;
    }
    if (s->names_pending) {
        say(ret, SYNC_WAIT, "waiting for PostgreSQL to read its files");
        ret->is_soon = true;
        return;
    }
    if (awaits(v, s, &q)) {
        say(ret, SYNC_WAIT, "waiting for the synchronous standbys to follow the new leader");
        ret->is_soon = true;
        return;
    }
    step_names(s, &q, ret);
}

void ha_sync_step(const struct ha_view *v, const struct sync_view *s, struct sync_step *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (v->policy.sync_mode == SYNC_MODE_OFF)
        step_off(v, s, ret);
    else
        step_on(v, s, ret);
}

/* --- before a promotion ---------------------------------------------------------------------------------------------
 */

bool ha_sync_blocks(const struct policy *p)
{
    return p->sync_mode != SYNC_MODE_OFF;
}

/*
 * The voters stay, less this node: any quorum + 1 of them find every commit, as before (4.5, 4.7). The old leader is
 * not made one of them, as the reference does: what it had not acknowledged it has still, and the number of the
 * timeline it began may be the one we begin now, so that in an election its WAL would pass for ours. It gets in when it
 * follows. Until somebody does, nothing is acknowledged.
 */
bool ha_sync_seal(const struct ha_view *v, struct sync_promise *ret_promise, struct sync_names *ret_names)
{
    const struct sync_key *key = &v->cluster->sync;

    if (v->policy.sync_mode == SYNC_MODE_OFF)
        return false;
    *ret_promise = (struct sync_promise){0};
    *ret_names = (struct sync_names){.kind = SYNC_KIND_BLOCKED};
    if (!key->exists)
        return true;
    ret_promise->quorum = key->quorum;
    (void)sync_set_read(&ret_promise->voters, key->standbys);
    sync_set_remove(&ret_promise->voters, v->name);
    if (ret_promise->voters.n <= ret_promise->quorum) {
        *ret_promise = (struct sync_promise){0};
        return true;
    }
    ret_names->kind = v->policy.sync_mode == SYNC_MODE_QUORUM ? SYNC_KIND_ANY : SYNC_KIND_FIRST;
    ret_names->set = ret_promise->voters;
    ret_names->n = (unsigned)ret_promise->voters.n - ret_promise->quorum;
    return true;
}
