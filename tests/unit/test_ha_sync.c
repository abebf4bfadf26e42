/*
 * Every rule of synchronous replication as a row: the leader "n1" with three members, of which some stream; what /sync
 * and synchronous_standby_names say, what is changed, which step follows. Then what is written before a promotion, and
 * who may be elected. That no sequence of steps loses a commit shows test_ha_sync_model.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "ha/ha.h"
#include "ha/quorum.h"

#define S UINT64_C(1000000)
enum { MEMBERS = 4, POSITION = 5000 };

static struct scene {
    struct ha_view v;
    struct cluster c;
    struct member members[MEMBERS];
    struct sync_view s;
    struct sync_standby standbys[MEMBERS];
    struct peer peers[3];
    char list[128];
} s;

static void copy(char *to, const char *from)
{
    (void)text_copy(to, MEMBER_NAME_SIZE, from);
}

static void key(const char *leader, const char *standbys, unsigned quorum)
{
    copy(s.list, standbys);
    s.c.sync = (struct sync_key){.exists = true, .standbys = s.list, .quorum = quorum, .revision = 10};
    copy(s.c.sync.leader, leader);
}

/* What PostgreSQL waits for, in effect since POSITION. */
static void names(const char *text)
{
    sync_names_read(&s.s.names, text);
}

/* "n2,n3": they stream, and have all. */
static void stream(const char *list)
{
    struct sync_set set;

    assert_true(sync_set_read(&set, list));
    s.s.n_standbys = set.n;
    for (size_t i = 0; i < set.n; i++) {
        s.standbys[i] = (struct sync_standby){.lsn = POSITION, .flush_lsn = POSITION};
        copy(s.standbys[i].name, set.names[i]);
    }
}

static void leader(enum sync_mode mode)
{
    memset(&s, 0, sizeof(s));
    s.v = (struct ha_view){.now_us = 100 * S,
                           .name = "n1",
                           .tags = TAGS_DEFAULT,
                           .policy = POLICY_DEFAULT,
                           .cluster = &s.c,
                           .cluster_is_fresh = true,
                           .peers = s.peers,
                           .keeper = {.connected = true}};
    s.v.policy.sync_mode = mode;
    s.v.pg.current_lsn = POSITION;
    s.c.members = s.members;
    s.c.n_members = MEMBERS;
    for (int i = 0; i < MEMBERS; i++) {
        s.members[i] = (struct member){.state = PG_STATE_RUNNING, .tags = TAGS_DEFAULT};
        (void)snprintf(s.members[i].name, MEMBER_NAME_SIZE, "n%d", i + 1);
    }
    s.s = (struct sync_view){.names_known = true, .settled = true, .since_lsn = POSITION, .standbys = s.standbys};
    key("n1", "", 0);
    names("");
    stream("n2,n3");
}

static void check(const char *row, enum sync_action action, const char *want)
{
    char text[512] = "";
    struct sync_step d;

    ha_sync_step(&s.v, &s.s, &d);
    if (d.action == SYNC_WRITE_KEY) {
        (void)sync_set_print(&d.promise.voters, text, sizeof(text));
        (void)snprintf(text + strlen(text), 16, "/%u", d.promise.quorum);
    } else if (d.action == SYNC_SET_NAMES) {
        (void)sync_names_print(&d.names, text, sizeof(text));
    } else if (d.is_soon) {
        (void)snprintf(text, sizeof(text), "soon");
    }
    if (d.action != action || strcmp(text, want) != 0 || !d.reason[0])
        fail_msg("%s: got %d \"%s\" (%s)", row, (int)d.action, text, d.reason);
}

static void test_step_of_a_mode_that_is_off(void **state)
{
    (void)state;
    leader(SYNC_MODE_OFF);
    check("the key goes first", SYNC_DELETE_KEY, "");
    s.c.sync = (struct sync_key){0};
    check("nothing is left", SYNC_WAIT, "");
    s.s.names_are_ours = true;
    check("then the names", SYNC_GIVE_NAMES_BACK, "");
}

static void test_step_needs_a_key_of_this_leader(void **state)
{
    (void)state;
    leader(SYNC_MODE_PRIORITY);
    s.s.names_known = false;
    check("SQL has not said", SYNC_WAIT, "");
    s.s.names_known = true;
    s.c.sync = (struct sync_key){0};
    check("no key", SYNC_WRITE_KEY, "/0");
    key("n2", "n1", 0);
    check("of another leader", SYNC_WRITE_KEY, "/0");
    key("n1", "n2", 0);
    names("n2");
    s.s.key_is_foreign = true;
    check("of a store that was restored", SYNC_WRITE_KEY, "/0");
    s.s.key_is_foreign = false;
    key("n1", "n2,n3", 0);
    check("more than the names keep", SYNC_WRITE_KEY, "/0");
    names("*");
    check("nobody knows who acknowledged", SYNC_WRITE_KEY, "/0");
    key("n1", "", 0);
    s.s.names_pending = true;
    check("about to be read", SYNC_WAIT, "soon");
}

static void test_step_of_the_priority_mode(void **state)
{
    (void)state;
    leader(SYNC_MODE_PRIORITY);
    check("the first standby", SYNC_SET_NAMES, "n2");
    s.s.key_in_doubt = true;
    check("a late write is barred first", SYNC_WRITE_KEY, "/0");
    leader(SYNC_MODE_PRIORITY);
    names("n2");
    s.s.settled = false;
    check("not in effect everywhere", SYNC_WAIT, "soon");
    s.s.settled = true;
    s.standbys[0].flush_lsn = POSITION - 1;
    check("one byte is missing", SYNC_WAIT, "soon");
    s.standbys[0].flush_lsn = POSITION;
    check("it has all", SYNC_WRITE_KEY, "n2/0");
    key("n1", "n2", 0);
    check("settled", SYNC_WAIT, "");
    stream("n3");
    check("lost: the key first", SYNC_WRITE_KEY, "/0");
    key("n1", "", 0);
    check("then the names", SYNC_SET_NAMES, "n3");
    leader(SYNC_MODE_PRIORITY);
    key("n1", "n2,n3", 0);
    names("2 (n2,n3)");
    s.v.policy.sync_node_count = 2;
    check("two", SYNC_WAIT, "");
    stream("n3");
    check("one of two is lost", SYNC_WRITE_KEY, "n3/0");
    s.v.policy.sync_node_count = 1;
    stream("n2,n3");
    check("one too many", SYNC_WRITE_KEY, "n2/0");
    key("n1", "n2", 0);
    check("and PostgreSQL follows", SYNC_SET_NAMES, "n2");
    s.v.policy.sync_node_count = 0;
    check("none at all is not to be had", SYNC_SET_NAMES, "n2");
}

static void test_step_to_a_better_standby_leaves_no_gap(void **state)
{
    (void)state;
    leader(SYNC_MODE_PRIORITY);
    key("n1", "n2", 0);
    names("n2");
    s.members[2].tags.sync_priority = 2;
    check("both for a while", SYNC_SET_NAMES, "2 (n2,n3)");
    names("2 (n2,n3)");
    s.standbys[1].flush_lsn = POSITION - 1;
    check("until it has all", SYNC_WAIT, "soon");
    s.standbys[1].flush_lsn = POSITION;
    check("then the better one", SYNC_WRITE_KEY, "n3/0");
    key("n1", "n3", 0);
    check("alone", SYNC_SET_NAMES, "n3");
}

static void test_step_of_the_quorum_mode(void **state)
{
    (void)state;
    leader(SYNC_MODE_QUORUM);
    check("any of them", SYNC_SET_NAMES, "ANY 1 (n2,n3)");
    names("ANY 1 (n2,n3)");
    check("one may lack it", SYNC_WRITE_KEY, "n2,n3/1");
    key("n1", "n2,n3", 1);
    check("settled", SYNC_WAIT, "");
    stream("n2,n3,n4");
    check("one more: more acknowledge for a while", SYNC_SET_NAMES, "ANY 2 (n2,n3,n4)");
    names("ANY 2 (n2,n3,n4)");
    check("then two may lack it", SYNC_WRITE_KEY, "n2,n3,n4/2");
    key("n1", "n2,n3,n4", 2);
    check("and one is enough", SYNC_SET_NAMES, "ANY 1 (n2,n3,n4)");
    names("ANY 1 (n2,n3,n4)");
    stream("n2,n3");
    check("one is lost: the names first", SYNC_SET_NAMES, "ANY 1 (n2,n3)");
    leader(SYNC_MODE_QUORUM);
    s.v.policy.sync_node_count = 2;
    key("n1", "n2,n3,n4", 1);
    names("ANY 2 (n2,n3,n4)");
    stream("n4");
    check("two of three are lost: more may lack it", SYNC_WRITE_KEY, "n2,n3,n4/2");
    stream("");
    check("all are lost", SYNC_WRITE_KEY, "/0");
    key("n1", "", 0);
    check("nobody is waited for", SYNC_SET_NAMES, "");
    names("");
    check("alone", SYNC_WAIT, "");
    leader(SYNC_MODE_QUORUM);
    key("n1", "n2,n3", 1);
    s.v.policy.sync_node_count = 2;
    check("two are wanted", SYNC_WRITE_KEY, "/0"); /* the names are still empty: a hand has been at them */
    names("ANY 1 (n2,n3)");
    check("PostgreSQL waits for two", SYNC_SET_NAMES, "ANY 2 (n2,n3)");
    names("ANY 2 (n2,n3)");
    check("then both have all", SYNC_WRITE_KEY, "n2,n3/0");
    s.standbys[0].flush_lsn = POSITION - 1;
    check("one does not yet", SYNC_WAIT, "soon");
    leader(SYNC_MODE_QUORUM);
    names("ANY 1 (n2)");
    stream("n2");
    s.standbys[0].flush_lsn = POSITION - 1;
    check("a single one that is behind", SYNC_WAIT, "soon");
}

static void test_step_between_the_modes(void **state)
{
    (void)state;
    leader(SYNC_MODE_PRIORITY);
    key("n1", "n2,n3", 1);
    names("ANY 1 (n2,n3)");
    check("from quorum to one", SYNC_SET_NAMES, "n2");
    names("n2");
    s.standbys[0].flush_lsn = POSITION - 1;
    check("which is behind", SYNC_WAIT, "soon");
    s.standbys[0].flush_lsn = POSITION;
    check("which has all", SYNC_WRITE_KEY, "n2/0");
    leader(SYNC_MODE_QUORUM);
    key("n1", "n2", 0);
    names("n2");
    check("from one to quorum", SYNC_SET_NAMES, "ANY 2 (n2,n3)");
    leader(SYNC_MODE_PRIORITY);
    key("n1", "n2,n3", 1);
    names("ANY 1 (n2,n3)");
    stream("n4");
    check("from quorum to one when all are lost", SYNC_WRITE_KEY, "/0");
    stream("n3,n4");
    s.members[3].tags.sync_priority = 2;
    check("from quorum to another", SYNC_SET_NAMES, "2 (n3,n4)");
    names("2 (n3,n4)");
    check("which then has all", SYNC_WRITE_KEY, "n4/0");
}

static void test_step_of_a_strict_mode_without_a_standby(void **state)
{
    (void)state;
    leader(SYNC_MODE_PRIORITY);
    s.v.policy.sync_strict = true;
    stream("");
    check("nobody ever", SYNC_SET_NAMES, SYNC_PLACEHOLDER);
    names(SYNC_PLACEHOLDER);
    check("blocked", SYNC_WAIT, "");
    key("n1", "n2", 0);
    names("n2");
    check("lost: it may come back", SYNC_WAIT, "");
    names("");
    check("whoever took it out", SYNC_WRITE_KEY, "/0");
    names(SYNC_PLACEHOLDER);
    check("promised before a crash", SYNC_SET_NAMES, "n2");
    leader(SYNC_MODE_QUORUM);
    s.v.policy.sync_strict = true;
    stream("");
    key("n1", "n2,n3", 1);
    names("ANY 1 (n2,n3)");
    check("quorum, lost", SYNC_WAIT, "");
    key("n1", "n2,n3", 2);
    check("a quorum that nobody can reach", SYNC_WAIT, "soon");
}

static void test_step_after_a_promotion_waits_for_the_standbys(void **state)
{
    (void)state;
    leader(SYNC_MODE_QUORUM);
    key("n1", "n2,n3", 1);
    names("ANY 1 (n2,n3)");
    stream("");
    s.members[3].tags.nosync = true;
    s.s.await_until_us = s.v.now_us + 1;
    check("they live", SYNC_WAIT, "soon");
    s.members[1].state = PG_STATE_STOPPED;
    s.members[2].tags.nosync = true;
    check("they do not", SYNC_WRITE_KEY, "/0");
    s.members[1].state = PG_STATE_RUNNING;
    stream("n3");
    check("one is not to be", SYNC_WAIT, "soon");
    stream("n2");
    s.members[2].tags.nosync = false;
    check("one is enough", SYNC_SET_NAMES, "ANY 1 (n2)");
    stream("");
    s.s.await_until_us = s.v.now_us;
    check("they had their time", SYNC_WRITE_KEY, "/0");
}

static void test_candidates_are_those_who_may_and_the_best_first(void **state)
{
    (void)state;
    leader(SYNC_MODE_PRIORITY);
    s.members[1].tags.nosync = true;
    check("nosync", SYNC_SET_NAMES, "n3");
    leader(SYNC_MODE_PRIORITY);
    s.members[1].tags.sync_priority = 0;
    check("priority 0", SYNC_SET_NAMES, "n3");
    leader(SYNC_MODE_PRIORITY);
    s.members[1].state = PG_STATE_STARTING;
    check("not running", SYNC_SET_NAMES, "n3");
    leader(SYNC_MODE_PRIORITY);
    s.standbys[0].lsn = 0;
    check("no position", SYNC_SET_NAMES, "n3");
    leader(SYNC_MODE_PRIORITY);
    copy(s.standbys[0].name, "pg_receivewal");
    check("no member", SYNC_SET_NAMES, "n3");
    copy(s.standbys[0].name, "N1");
    check("of our own name", SYNC_SET_NAMES, "n3");
    copy(s.standbys[0].name, "N2");
    check("case does not matter", SYNC_SET_NAMES, "n2");
    leader(SYNC_MODE_PRIORITY);
    copy(s.members[1].tags.replicatefrom, "n3");
    check("belongs below another", SYNC_SET_NAMES, "n3");
    copy(s.members[1].tags.replicatefrom, "n4");
    check("which is not here", SYNC_SET_NAMES, "n2");
    copy(s.members[1].tags.replicatefrom, "n2");
    check("or is itself", SYNC_SET_NAMES, "n2");
    leader(SYNC_MODE_PRIORITY);
    s.members[1].tags.nofailover = true;
    check("nofailover comes last", SYNC_SET_NAMES, "n3");
    leader(SYNC_MODE_PRIORITY);
    s.members[1].tags.failover_priority = 0;
    s.members[1].tags.sync_priority = 9;
    check("so does failover_priority 0", SYNC_SET_NAMES, "n3");
    leader(SYNC_MODE_PRIORITY);
    s.standbys[1].rank = SYNC_RANK_POTENTIAL;
    check("who is waited for stays", SYNC_SET_NAMES, "n3");
    leader(SYNC_MODE_PRIORITY);
    s.standbys[1].lsn++;
    check("the one ahead", SYNC_SET_NAMES, "n3");
    leader(SYNC_MODE_QUORUM);
    s.members[1].tags.nofailover = true;
    check("quorum, enough without nofailover", SYNC_SET_NAMES, "ANY 1 (n3)");
    s.v.policy.sync_node_count = 2;
    check("quorum, not enough", SYNC_SET_NAMES, "ANY 2 (n2,n3)");
}

static void test_standby_that_lags_is_no_candidate(void **state)
{
    (void)state;
    leader(SYNC_MODE_PRIORITY);
    s.v.policy.maximum_lag_on_syncnode_bytes = 100;
    s.members[1].tags.sync_priority = 2;
    s.standbys[0].lsn = POSITION - 100;
    check("just allowed", SYNC_SET_NAMES, "n2");
    s.standbys[0].lsn--;
    check("one byte too much", SYNC_SET_NAMES, "n3");
    stream("n2");
    s.standbys[0].lsn = POSITION - 100;
    check("alone it is compared with the leader", SYNC_SET_NAMES, "n2");
    s.v.pg.current_lsn++;
    check("which is too far ahead", SYNC_WAIT, "");
    key("n1", "n2", 0);
    names("n2");
    check("it was synchronous", SYNC_WRITE_KEY, "/0");
    key("n1", "n2,n3", 1);
    names("1 (n2,n3)");
    stream("n2,n3");
    s.standbys[0].lsn = s.standbys[1].lsn = POSITION - 1000;
    s.standbys[0].flush_lsn = s.standbys[1].flush_lsn = POSITION - 1000;
    s.c.n_members = 2; /* one candidate, too far behind; strict, so that its names stay */
    s.v.policy.sync_strict = true;
    check("one of two may lack a commit", SYNC_WAIT, "");
    s.s.since_lsn = 1;
    s.c.n_members = MEMBERS;
    s.v.policy.maximum_lag_on_syncnode_bytes = 1;
    s.standbys[0].lsn = 2;
    s.standbys[1].lsn = POSITION;
    s.members[2].tags.nosync = true;
    check("however much they have", SYNC_WAIT, "");
}

static void test_more_standbys_than_a_set_can_have(void **state)
{
    static struct member many[SYNC_SET_MAX + 3];
    static struct sync_standby rows[SYNC_SET_MAX + 3];
    struct sync_step d;

    (void)state;
    leader(SYNC_MODE_QUORUM);
    for (int i = 0; i < SYNC_SET_MAX + 3; i++) {
        many[i] = s.members[1];
        (void)snprintf(many[i].name, MEMBER_NAME_SIZE, "m%02d", i);
        rows[i] = (struct sync_standby){.lsn = POSITION, .flush_lsn = POSITION};
        copy(rows[i].name, many[i].name);
    }
    s.c.members = many;
    s.c.n_members = SYNC_SET_MAX + 3;
    s.s.standbys = rows;
    s.s.n_standbys = SYNC_SET_MAX + 3;
    ha_sync_step(&s.v, &s.s, &d);
    assert_int_equal(d.names.set.n, SYNC_SET_MAX);
}

/* --- before a promotion ---------------------------------------------------------------------------------------------
 */

static void check_seal(const char *row, const char *want_key, const char *want_names)
{
    struct sync_promise p;
    struct sync_names n;
    char text[256], names_text[256];

    assert_true(ha_sync_seal(&s.v, &p, &n));
    (void)sync_set_print(&p.voters, text, sizeof(text));
    (void)snprintf(text + strlen(text), 16, "/%u", p.quorum);
    (void)sync_names_print(&n, names_text, sizeof(names_text));
    if (strcmp(text, want_key) != 0 || strcmp(names_text, want_names) != 0)
        fail_msg("%s: %s, \"%s\"", row, text, names_text);
    assert_true(quorum_needed(&p.voters, &n) <= p.quorum);
}

static void test_promotion_is_sealed_by_those_who_have_all(void **state)
{
    struct sync_promise p;
    struct sync_names n;

    (void)state;
    leader(SYNC_MODE_OFF);
    assert_false(ha_sync_seal(&s.v, &p, &n));
    assert_false(ha_sync_blocks(&s.v.policy));
    leader(SYNC_MODE_PRIORITY);
    assert_true(ha_sync_blocks(&s.v.policy));
    s.c.sync = (struct sync_key){0};
    check_seal("nothing was promised", "/0", SYNC_PLACEHOLDER);
    key("n2", "n1", 0);
    check_seal("the old leader has to follow first", "/0", SYNC_PLACEHOLDER);
    key("n2", "n1,n3", 0);
    check_seal("the others stay", "n3/0", "n3");
    key("n1", "n2", 0);
    check_seal("we were it", "n2/0", "n2");
    key("n1", "", 0);
    check_seal("alone", "/0", SYNC_PLACEHOLDER);
    leader(SYNC_MODE_QUORUM);
    key("n2", "n1,n3", 1);
    check_seal("nobody could be elected", "/0", SYNC_PLACEHOLDER);
    key("n2", "n1,n3,n4", 1);
    check_seal("quorum", "n3,n4/1", "ANY 1 (n3,n4)");
    key("n2", "n3,n4", 1);
    check_seal("overruled by the operator", "n3,n4/1", "ANY 1 (n3,n4)");
}

/* --- elections ------------------------------------------------------------------------------------------------------
 */

/* "n1" is a standby of "n2", which is gone; the others have answered and have as much. */
static void candidate(enum sync_mode mode, const char *voters, unsigned quorum)
{
    leader(mode);
    key("n2", voters, quorum);
    s.v.keeper.dead_proven = true;
    s.v.pg = (struct local_pg){.data_dir_known = true,
                               .running = true,
                               .accepting = true,
                               .in_recovery = true,
                               .receive_lsn = POSITION,
                               .timeline = 1};
    s.c.read_sent_at_us = 99 * S;
    s.v.memory.leaderless_since_us = 98 * S;
    s.v.peers_asked_at_us = s.v.peers_answered_at_us = 100 * S - 1000;
    s.v.n_peers = 3;
    for (int i = 0; i < 3; i++) {
        s.peers[i] =
            (struct peer){.answered = true, .lsn = POSITION, .timeline = 1, .failover_priority = 1, .as_of_us = 98 * S};
        (void)snprintf(s.peers[i].name, MEMBER_NAME_SIZE, "n%d", i + 2);
    }
}

static void check_race(const char *row, enum ha_action want)
{
    struct ha_decision d = ha_decide(&s.v);

    if (d.action != want)
        fail_msg("%s: %d (%s)", row, (int)d.action, d.reason);
}

static void test_election_is_among_those_in_the_key(void **state)
{
    (void)state;
    candidate(SYNC_MODE_PRIORITY, "n1", 0);
    check_race("the synchronous standby", HA_ACQUIRE);
    candidate(SYNC_MODE_PRIORITY, "n3", 0);
    check_race("another is it", HA_NOTHING);
    s.v.policy.sync_mode = SYNC_MODE_OFF;
    check_race("the mode is off", HA_ACQUIRE);
    candidate(SYNC_MODE_PRIORITY, "n3", 0);
    s.c.sync = (struct sync_key){0};
    check_race("nothing was promised yet", HA_ACQUIRE);
    candidate(SYNC_MODE_PRIORITY, "n3", 0);
    copy(s.c.sync.leader, "N1");
    check_race("the leader of the key", HA_ACQUIRE);
    candidate(SYNC_MODE_PRIORITY, "", 0);
    check_race("nobody but the old leader", HA_NOTHING);
}

static void test_election_looks_only_at_those_in_the_key(void **state)
{
    (void)state;
    candidate(SYNC_MODE_PRIORITY, "n1,n3", 0);
    s.peers[2].lsn++;
    check_race("an asynchronous one is ahead", HA_ACQUIRE);
    s.peers[0].lsn++;
    check_race("the old leader is ahead", HA_ACQUIRE);
    s.peers[2].is_primary = true;
    check_race("an asynchronous one runs as a primary", HA_NOTHING);
    candidate(SYNC_MODE_PRIORITY, "n1,n3", 0);
    s.peers[1].lsn++;
    check_race("another of the key is ahead", HA_NOTHING);
    s.peers[1].nofailover = true;
    check_race("but may not lead", HA_ACQUIRE);
    candidate(SYNC_MODE_PRIORITY, "n1,n3", 0);
    s.peers[1].failover_priority = 2;
    check_race("another of the key is preferred", HA_NOTHING);
    candidate(SYNC_MODE_PRIORITY, "n1,n3", 0);
    s.peers[1].is_starting = true;
    s.peers[1].lsn = 0;
    s.v.memory.leaderless_since_us = 100 * S - 200000;
    s.v.peers_asked_at_us = 100 * S;
    check_race("nobody is waited for", HA_ACQUIRE);
    candidate(SYNC_MODE_PRIORITY, "n1,n3", 0);
    s.peers[1].timeline = 2;
    s.peers[1].lsn = 1;
    check_race("a later timeline is ahead", HA_NOTHING);
    s.v.pg.timeline = 3;
    check_race("an older one is not", HA_ACQUIRE);
    s.peers[1].lsn = POSITION + 1;
    check_race("however far it goes", HA_ACQUIRE);
    s.peers[1].timeline = 0;
    check_race("a timeline that is not known", HA_NOTHING);
    s.v.pg.timeline = 0;
    s.peers[1].timeline = 1;
    check_race("ours is not known", HA_NOTHING);
}

static void test_election_needs_the_votes_of_the_quorum(void **state)
{
    (void)state;
    candidate(SYNC_MODE_QUORUM, "n1,n3,n4", 2);
    check_race("two votes", HA_ACQUIRE);
    s.c.sync.quorum = 3;
    check_race("two of three; the old leader has none", HA_NOTHING);
    copy(s.c.sync.leader, "n1");
    check_race("who was the leader needs none", HA_ACQUIRE);
    candidate(SYNC_MODE_QUORUM, "n1,n3,n4", 2);
    s.peers[1].answered = false;
    check_race("no answer", HA_NOTHING);
    s.v.peers_asked_at_us = 100 * S - 150000;
    s.c.read_sent_at_us = 100 * S - 200000;
    check_race("asked again after a while", HA_ASK_PEERS);
    candidate(SYNC_MODE_QUORUM, "n1,n3,n4", 2);
    s.peers[1].lsn = 0;
    check_race("no position", HA_NOTHING);
    candidate(SYNC_MODE_QUORUM, "n1,n3,n4", 2);
    s.peers[1].timeline = 0;
    check_race("no timeline", HA_NOTHING);
    candidate(SYNC_MODE_QUORUM, "n1,n3,n4", 2);
    s.peers[1].as_of_us = 0;
    s.v.memory.leaderless_since_us = 0;
    check_race("an age that is not known", HA_NOTHING);
    candidate(SYNC_MODE_QUORUM, "n1,n3,n4", 2);
    s.peers[1].as_of_us--;
    check_race("from before the leader's end", HA_NOTHING);
    candidate(SYNC_MODE_QUORUM, "n1,n3,n4", 2);
    s.v.memory.promised_until_us = s.peers[1].as_of_us;
    check_race("from the end of our promise", HA_ACQUIRE);
    s.v.memory.promised_until_us++;
    check_race("from before it: the leader may have gone on without its key, in failsafe mode", HA_NOTHING);
    candidate(SYNC_MODE_QUORUM, "n1,n3,n4", 2);
    copy(s.peers[1].name, "n1");
    check_race("our own answer", HA_NOTHING);
    candidate(SYNC_MODE_QUORUM, "n1,n3,n4", 2);
    s.peers[1].lsn++;
    s.peers[1].nofailover = true;
    check_race("ahead, and may not lead: no vote", HA_NOTHING);
    s.peers[1].lsn = 1;
    check_race("may not lead, but knows", HA_ACQUIRE);
    s.v.policy.sync_mode = SYNC_MODE_PRIORITY;
    s.peers[1].answered = false;
    check_race("the key counts, whatever the mode is by now", HA_NOTHING);
}

static void test_election_asks_nobody_where_all_is_known(void **state)
{
    (void)state;
    candidate(SYNC_MODE_QUORUM, "n1,n3,n4", 2);
    s.v.n_peers = 0;
    check_race("no votes", HA_NOTHING);
    s.c.shutdown_lsn = POSITION - 1;
    s.c.shutdown_session = s.v.memory.last_leader_session = 5;
    check_race("but the old leader has left word, and this node has all", HA_ACQUIRE);
    s.c.shutdown_lsn = POSITION;
    check_race("all but the last record", HA_NOTHING);
    candidate(SYNC_MODE_QUORUM, "n3,n4", 1);
    s.v.n_peers = 0;
    s.c.failover = (struct failover_key){.exists = true, .candidate = "n1"};
    check_race("an operator wants it, whatever is lost", HA_ACQUIRE);
    copy(s.c.failover.leader, "n2");
    check_race("a switchover loses nothing", HA_NOTHING);
}

static void test_key_of_a_restored_store_names_no_candidates_but_wants_its_votes(void **state)
{
    (void)state;
    candidate(SYNC_MODE_PRIORITY, "n3", 0);
    s.v.sync_is_foreign = true;
    check_race("not named, but nobody has more", HA_ACQUIRE);
    s.peers[2].lsn++;
    check_race("who has more goes first, named or not", HA_NOTHING);
    candidate(SYNC_MODE_QUORUM, "n3,n4", 3);
    s.v.sync_is_foreign = true;
    copy(s.c.sync.leader, "n1");
    check_race("also who was the leader needs the votes", HA_NOTHING);
    s.c.sync.quorum = 2;
    check_race("and has them", HA_ACQUIRE);
}

static void test_elected_node_looks_at_the_key_again(void **state)
{
    (void)state;
    candidate(SYNC_MODE_PRIORITY, "n1", 0);
    s.c.leader = (struct leader_key){.exists = true, .name = "n1", .session = 7};
    s.v.lease = (struct leader_lease){.held = true, .session = 7, .deadline_us = 120 * S};
    check_race("still named", HA_PROMOTE);
    key("n2", "n3", 0);
    check_race("another is named now", HA_DEMOTE);
    s.v.memory.sync_seen_revision = s.c.sync.revision;
    check_race("by a key that was known at the election: somebody has overruled it", HA_PROMOTE);
}

static void test_standby_that_stops_leaves_first(void **state)
{
    (void)state;
    candidate(SYNC_MODE_PRIORITY, "n1", 0);
    s.c.leader = (struct leader_key){.exists = true, .name = "n2", .session = 7};
    s.v.stopping = true;
    s.v.stopping_since_us = 99 * S;
    check_race("commits wait for it", HA_NOTHING);
    s.v.stopping_since_us = 100 * S - 2 * s.v.policy.loop_wait_us;
    check_race("for long enough", HA_STOP);
    s.v.stopping_since_us = 99 * S;
    s.c.leader.exists = false;
    check_race("nobody could take it out", HA_STOP);
    s.c.leader.exists = true;
    key("n2", "n3", 0);
    check_race("nobody waits for it", HA_STOP);
    key("n2", "n1", 0);
    s.v.policy.sync_mode = SYNC_MODE_OFF;
    check_race("the mode is off", HA_STOP);
    s.v.policy.sync_mode = SYNC_MODE_QUORUM;
    s.v.cluster = NULL;
    check_race("the store cannot be read", HA_STOP);
}

static void test_standby_that_is_restarted_leaves_first(void **state)
{
    (void)state;
    candidate(SYNC_MODE_PRIORITY, "n1", 0);
    s.c.leader = (struct leader_key){.exists = true, .name = "n2", .session = 7};
    s.v.request = (struct request){.restart = true, .restart_since_us = 99 * S};
    check_race("commits wait for it", HA_NOTHING);
    s.v.request.restart_since_us = 100 * S - 2 * s.v.policy.loop_wait_us;
    check_race("for long enough", HA_CHECKPOINT);
    s.v.request.restart_since_us = 99 * S;
    key("n2", "n3", 0);
    check_race("nobody waits for it", HA_CHECKPOINT);
    key("n2", "n1", 0);
    s.v.request.restart = false;
    s.v.pg.starved_since_us = 99 * S;
    check_race("it is restarted for its parameters, and commits wait for it", HA_NOTHING);
    key("n2", "", 0);
    check_race("they do not", HA_RESTART);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_of_a_mode_that_is_off),
        cmocka_unit_test(test_step_needs_a_key_of_this_leader),
        cmocka_unit_test(test_step_of_the_priority_mode),
        cmocka_unit_test(test_step_to_a_better_standby_leaves_no_gap),
        cmocka_unit_test(test_step_of_the_quorum_mode),
        cmocka_unit_test(test_step_between_the_modes),
        cmocka_unit_test(test_step_of_a_strict_mode_without_a_standby),
        cmocka_unit_test(test_step_after_a_promotion_waits_for_the_standbys),
        cmocka_unit_test(test_candidates_are_those_who_may_and_the_best_first),
        cmocka_unit_test(test_standby_that_lags_is_no_candidate),
        cmocka_unit_test(test_more_standbys_than_a_set_can_have),
        cmocka_unit_test(test_promotion_is_sealed_by_those_who_have_all),
        cmocka_unit_test(test_election_is_among_those_in_the_key),
        cmocka_unit_test(test_election_looks_only_at_those_in_the_key),
        cmocka_unit_test(test_election_needs_the_votes_of_the_quorum),
        cmocka_unit_test(test_election_asks_nobody_where_all_is_known),
        cmocka_unit_test(test_key_of_a_restored_store_names_no_candidates_but_wants_its_votes),
        cmocka_unit_test(test_elected_node_looks_at_the_key_again),
        cmocka_unit_test(test_standby_that_stops_leaves_first),
        cmocka_unit_test(test_standby_that_is_restarted_leaves_first),
    };

    return cmocka_run_group_tests_name("ha_sync", tests, NULL, NULL);
}
