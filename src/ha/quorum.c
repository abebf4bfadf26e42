/*
 * Why it is safe. A commit is acknowledged when some n of the names have it. It is found by every election among
 * quorum + 1 voters exactly if no more than `quorum` voters can be without it:
 *
 *     |voters| - max(0, n - |names that are no voters|) <= quorum                      (quorum_needed)
 *
 * A change of names may be under way while commits are acknowledged, under the old or the new ones: so names are only
 * set if the promise in the store holds under them too. What was acknowledged before them is covered by the old
 * promise; a promise that claims more is only written when the names are in effect everywhere and its voters, but for
 * `quorum`, have every commit from before (has_all).
 */
#include "ha/quorum.h"

static unsigned max_of(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

static unsigned size_of(const struct sync_set *s)
{
    return (unsigned)s->n;
}

/* How many of a are not in b. */
static unsigned outside(const struct sync_set *a, const struct sync_set *b)
{
    return (unsigned)(a->n - sync_set_common(a, b));
}

unsigned quorum_needed(const struct sync_set *voters, const struct sync_names *names)
{
    unsigned others = outside(&names->set, voters);

    if (names->kind == SYNC_KIND_BLOCKED)
        return 0; /* nothing is acknowledged that anybody could lack */
    return names->n > others ? size_of(voters) - (names->n - others) : size_of(voters);
}

/* How many of these voters may lack what was acknowledged before the names in effect. */
static unsigned missing(const struct quorum_state *q, const struct sync_set *voters)
{
    unsigned by_position = outside(voters, &q->has_all), by_promise = size_of(voters);

    /* Any quorum + 1 of fewer voters are also so many of the old ones. */
    if (outside(voters, &q->now.voters) == 0 && q->now.quorum < by_promise)
        by_promise = q->now.quorum;
    return by_position < by_promise ? by_position : by_promise;
}

static unsigned least_quorum(const struct quorum_state *q, const struct sync_set *voters)
{
    return max_of(missing(q, voters), quorum_needed(voters, &q->names));
}

bool quorum_next_names(const struct quorum_state *q, struct sync_names *ret)
{
    const struct sync_promise *now = &q->now;
    unsigned n;

    *ret = q->wanted;
    if (quorum_needed(&now->voters, &q->wanted) <= now->quorum)
        return true;
    /* Voters that still stream go along until the promise does not need them any more. */
    for (size_t i = 0; i < now->voters.n; i++)
        if (sync_set_has(&q->streaming, now->voters.names[i]))
            sync_set_add(&ret->set, now->voters.names[i]);
    n = size_of(&now->voters) - now->quorum + outside(&ret->set, &now->voters);
    ret->kind = q->is_priority ? SYNC_KIND_FIRST : SYNC_KIND_ANY;
    ret->n = q->is_priority ? size_of(&ret->set) : n;
    return n <= ret->set.n && q->wanted.set.n > 0;
}

void quorum_reduce(const struct quorum_state *q, struct sync_promise *ret)
{
    struct sync_promise p = q->now;

    p.quorum = max_of(least_quorum(q, &p.voters), quorum_needed(&p.voters, &q->wanted));
    if (q->is_priority || p.quorum >= p.voters.n) {
        for (size_t i = 0; i < q->now.voters.n; i++)
            if (!sync_set_has(&q->wanted.set, q->now.voters.names[i]))
                sync_set_remove(&p.voters, q->now.voters.names[i]);
        p.quorum = max_of(least_quorum(q, &p.voters), quorum_needed(&p.voters, &q->wanted));
    }
    *ret = (struct sync_promise){0};
    if (p.quorum < p.voters.n && !(q->is_priority && p.quorum))
        *ret = p;
}

/* Quorum 0: each voter has all, so each is examined by itself. */
static void grow_priority(const struct quorum_state *q, struct sync_promise *ret)
{
    struct sync_promise p = {0};

    for (size_t i = 0; i < q->names.set.n; i++) {
        const char *name = q->names.set.names[i];

        if (sync_set_has(&q->has_all, name) || (q->now.quorum == 0 && sync_set_has(&q->now.voters, name)))
            sync_set_add(&p.voters, name);
    }
    if (quorum_needed(&p.voters, &q->names) || (p.voters.n == 0 && q->names.set.n))
        return;
    *ret = p;
    /* All who are wanted are in: the others, whom PostgreSQL still waits for, can go. */
    if (sync_set_common(&q->wanted.set, &p.voters) == q->wanted.set.n)
        ret->voters = q->wanted.set;
}

void quorum_grow(const struct quorum_state *q, struct sync_promise *ret)
{
    struct sync_promise p = {.voters = q->wanted.set};

    *ret = q->now;
    if (q->names.kind == SYNC_KIND_BLOCKED)
        return;
    if (q->is_priority) {
        grow_priority(q, ret);
        return;
    }
    p.quorum = max_of(least_quorum(q, &p.voters), quorum_needed(&p.voters, &q->wanted));
    if (p.quorum < p.voters.n || p.voters.n == 0)
        *ret = p;
}
