/*
 * The steps of synchronous replication against a model of PostgreSQL and of elections: standbys come and go, catch up
 * or not, the policy changes, commits are acknowledged under the old or the new names while they change, writes of
 * /sync are executed late or not at all. After every single event each election that /sync allows must find every
 * acknowledged commit; and when nothing happens any more, the steps must come to their end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "ha/ha.h"

enum { STANDBYS = 4, HISTORIES = 4000, EVENTS = 150, QUIET_STEPS = 60 };
static const char *const names[STANDBYS] = {"a", "b", "c", "d"};

static struct model {
    uint64_t random;
    struct ha_view v;
    struct cluster c;
    struct member members[STANDBYS + 1];
    char standbys_text[256];
    bool streams[STANDBYS];
    unsigned position[STANDBYS]; /* how many of the commits it has: WAL has an order */
    unsigned acknowledged, written;
    struct sync_names effective, file;
    bool settled;
    unsigned since;
    uint64_t sure_revision;
    bool late_exists; /* a write whose outcome was not known, under way */
    struct sync_promise late;
    uint64_t late_revision;
    char did[2048];
} m;

static unsigned roll(unsigned n)
{
    m.random = m.random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(m.random >> 33) % n;
}

static void note(const char *what)
{
    size_t used = strlen(m.did);

    if (used > 1500) {
        memmove(m.did, m.did + 700, used - 700 + 1);
        used -= 700;
    }
    (void)snprintf(m.did + used, sizeof(m.did) - used, "%s; ", what);
}

static void put_key(const struct sync_promise *p)
{
    (void)sync_set_print(&p->voters, m.standbys_text, sizeof(m.standbys_text));
    m.c.sync.exists = true;
    (void)snprintf(m.c.sync.leader, sizeof(m.c.sync.leader), "me");
    m.c.sync.standbys = p->voters.n ? m.standbys_text : NULL;
    m.c.sync.quorum = p->quorum;
    m.c.sync.revision++;
}

static void begin(uint64_t seed)
{
    memset(&m, 0, sizeof(m));
    m.random = seed * 7919 + 1;
    m.v = (struct ha_view){.now_us = 1000, .name = "me", .policy = POLICY_DEFAULT, .cluster = &m.c};
    m.c.members = m.members;
    m.c.n_members = STANDBYS + 1;
    for (int i = 0; i <= STANDBYS; i++) {
        m.members[i] = (struct member){.state = PG_STATE_RUNNING, .tags = TAGS_DEFAULT};
        (void)snprintf(m.members[i].name, sizeof(m.members[i].name), "%s", i < STANDBYS ? names[i] : "me");
    }
    m.c.sync.revision = 1;
    m.v.policy.sync_mode = roll(2) ? SYNC_MODE_PRIORITY : SYNC_MODE_QUORUM;
    m.v.policy.sync_node_count = 1 + roll(3);
    m.v.policy.sync_strict = roll(2);
    m.settled = true;
    for (int i = 0; i < STANDBYS; i++)
        m.streams[i] = roll(2);
}

/* --- commits and elections ------------------------------------------------------------------------------------------
 */

/* A commit is acknowledged when so many of the names have it; which ones is chance. */
static void commit_under(const struct sync_names *n)
{
    unsigned left = n->n, able = 0;

    if (n->kind == SYNC_KIND_BLOCKED)
        return;
    for (int i = 0; i < STANDBYS; i++)
        able += m.streams[i] && sync_set_has(&n->set, names[i]);
    if (able < left)
        return; /* it waits */
    m.written++;
    m.acknowledged = m.written;
    while (left) {
        unsigned i = roll(STANDBYS);

        if (m.streams[i] && m.position[i] < m.written && sync_set_has(&n->set, names[i])) {
            m.position[i] = m.written;
            left--;
        }
    }
}

/* The voters that lack the newest acknowledged commit: an election among quorum + 1 of these would lose it. */
static bool loses(void)
{
    struct sync_set voters;
    unsigned lacking = 0;

    (void)sync_set_read(&voters, m.c.sync.exists ? m.c.sync.standbys : NULL);
    for (int i = 0; i < STANDBYS; i++)
        lacking += sync_set_has(&voters, names[i]) && m.position[i] < m.acknowledged;
    return lacking > m.c.sync.quorum;
}

/* --- steps ----------------------------------------------------------------------------------------------------------
 */

static void view(struct sync_view *s, struct sync_standby *rows)
{
    *s = (struct sync_view){.names_known = true,
                            .names = m.effective,
                            .names_pending = !sync_names_equal(&m.effective, &m.file),
                            .settled = m.settled,
                            .since_lsn = m.since + 1,
                            .key_in_doubt = m.c.sync.revision != m.sure_revision,
                            .names_are_ours = true,
                            .standbys = rows};
    for (int i = 0; i < STANDBYS; i++) {
        struct sync_standby *row = &rows[s->n_standbys];

        if (!m.streams[i])
            continue;
        *row = (struct sync_standby){.lsn = m.position[i] + 1, .flush_lsn = m.position[i] + 1};
        (void)snprintf(row->name, sizeof(row->name), "%s", names[i]);
        row->rank = sync_set_has(&m.effective.set, names[i]) ? SYNC_RANK_SYNC : SYNC_RANK_ASYNC;
        s->n_standbys++;
    }
}

static enum sync_action step(bool may_fail)
{
    struct sync_standby rows[STANDBYS];
    struct sync_view s;
    struct sync_step d;

    view(&s, rows);
    ha_sync_step(&m.v, &s, &d);
    if (d.action != SYNC_WAIT)
        note(d.reason);
    if (d.action == SYNC_WRITE_KEY && may_fail && roll(4) == 0) {
        note("(outcome not known)");
        m.late_exists = true;
        m.late = d.promise;
        m.late_revision = m.c.sync.revision;
        m.sure_revision = 0;
    } else if (d.action == SYNC_WRITE_KEY) {
        put_key(&d.promise);
        m.sure_revision = m.c.sync.revision;
    } else if (d.action == SYNC_SET_NAMES) {
        assert_false(s.names_pending);
        m.file = d.names;
        m.settled = false;
    }
    return d.action;
}

static void reload(void)
{
    m.effective = m.file;
}

static void settle(void)
{
    if (m.settled || !sync_names_equal(&m.effective, &m.file))
        return;
    m.settled = true;
    m.since = m.written;
}

static void happen(void)
{
    unsigned i = roll(STANDBYS);

    switch (roll(14)) {
    case 0:
        m.streams[i] = !m.streams[i];
        note(m.streams[i] ? "one comes" : "one goes");
        break;
    case 1:
        if (roll(6) == 0) {
            m.v.policy.sync_mode = roll(2) ? SYNC_MODE_PRIORITY : SYNC_MODE_QUORUM;
            m.v.policy.sync_node_count = 1 + roll(3);
            m.v.policy.sync_strict = roll(2);
            m.members[i].tags.sync_priority = (int)roll(3);
            m.members[i].tags.nofailover = roll(2);
            note("another policy");
        }
        break;
    case 2:
    case 3:
    case 4:
        commit_under(&m.effective);
        break;
    case 5:
        commit_under(&m.file); /* a walsender that has read it already */
        break;
    case 6:
    case 7:
        if (m.streams[i])
            m.position[i] = m.written;
        break;
    case 8:
        reload();
        break;
    case 9:
        settle();
        break;
    case 10:
        if (m.late_exists && m.c.sync.revision == m.late_revision) {
            note("the late write is executed");
            put_key(&m.late);
        }
        m.late_exists = false;
        break;
    default:
        (void)step(true);
        break;
    }
}

static void become_quiet(uint64_t seed)
{
    enum sync_action last = SYNC_WRITE_KEY;

    m.late_exists = false;
    for (int k = 0; k < QUIET_STEPS; k++) {
        for (int i = 0; i < STANDBYS; i++)
            if (m.streams[i])
                m.position[i] = m.written;
        reload();
        settle();
        last = step(false);
        if (loses())
            fail_msg("history %llu, at rest: %s", (unsigned long long)seed, m.did);
    }
    if (last != SYNC_WAIT)
        fail_msg("history %llu does not come to rest: %s", (unsigned long long)seed, m.did);
}

static void check_rest(uint64_t seed)
{
    struct sync_set voters;
    unsigned able = 0, wanted = m.v.policy.sync_node_count;

    (void)sync_set_read(&voters, m.c.sync.standbys);
    for (int i = 0; i < STANDBYS; i++)
        able += m.streams[i] && m.members[i].tags.sync_priority > 0;
    if (able < wanted)
        wanted = able;
    /* As many as are wanted acknowledge each commit, and /sync knows as much of them as it can. */
    if (wanted && m.effective.n != wanted)
        fail_msg("history %llu waits for %u of %u: %s", (unsigned long long)seed, m.effective.n, wanted, m.did);
    if (wanted && !sync_set_equal(&voters, &m.effective.set))
        fail_msg("history %llu: /sync has others: %s", (unsigned long long)seed, m.did);
    if (wanted && m.c.sync.quorum != voters.n - m.effective.n)
        fail_msg("history %llu: quorum %u of %zu: %s", (unsigned long long)seed, m.c.sync.quorum, voters.n, m.did);
    if (!wanted && !m.v.policy.sync_strict && (voters.n || m.effective.kind != SYNC_KIND_NOBODY))
        fail_msg("history %llu waits for nobody who is there: %s", (unsigned long long)seed, m.did);
    if (!wanted && m.v.policy.sync_strict && m.effective.kind == SYNC_KIND_NOBODY)
        fail_msg("history %llu is not strict: %s", (unsigned long long)seed, m.did);
}

static void test_no_election_loses_a_commit_whatever_happens(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        begin(seed);
        for (int i = 0; i < EVENTS; i++) {
            happen();
            if (loses())
                fail_msg("history %llu loses a commit: %s", (unsigned long long)seed, m.did);
        }
        become_quiet(seed);
        check_rest(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_election_loses_a_commit_whatever_happens)};

    return cmocka_run_group_tests_name("ha_sync_model", tests, NULL, NULL);
}
