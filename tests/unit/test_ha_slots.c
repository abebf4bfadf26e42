/*
 * Which slots a node has and what is done about them, as rows: a node of three, what is changed, the steps in words.
 * The node is "n1"; n2 and n3 stream from the leader; its position is 1000, the clock is 100 s.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "ha/slots.h"
#include "ha/ha.h"

#define S UINT64_C(1000000)
enum { HAVE_MAX = 8, TTL_S = 30 };

static struct scene {
    struct slots_view v;
    struct cluster c;
    struct member members[5];
    struct slot have[HAVE_MAX];
    struct slot_spec permanent[4];
    struct slot_matcher ignore[4];
    struct slot_seen seen[8];
    struct slot_position positions[6];
    struct slot_name retain[4], unsafe[2];
} s;

static struct member *add_member(const char *name)
{
    struct member *m = &s.members[s.c.n_members++];

    *m = (struct member){.state = PG_STATE_RUNNING, .role = PG_ROLE_REPLICA, .tags = TAGS_DEFAULT, .xlog_lsn = 900};
    (void)snprintf(m->name, sizeof(m->name), "%s", name);
    (void)snprintf(m->conn_url, sizeof(m->conn_url), "postgres://h:5432/postgres");
    (void)snprintf(m->version, sizeof(m->version), "4.1.4");
    return m;
}

static struct slot *have(const char *name, uint64_t restart_lsn)
{
    struct slot *h = &s.have[s.v.n_have++];

    *h = (struct slot){.physical = true, .restart_lsn = restart_lsn, .wal_status = "reserved", .safe_wal_bytes = -1};
    (void)snprintf(h->name, sizeof(h->name), "%s", name);
    return h;
}

static struct slot *have_logical(const char *name, uint64_t confirmed_lsn)
{
    struct slot *h = have(name, confirmed_lsn);

    h->physical = false;
    h->confirmed_lsn = confirmed_lsn;
    (void)snprintf(h->database, sizeof(h->database), "app");
    (void)snprintf(h->plugin, sizeof(h->plugin), "pgoutput");
    return h;
}

static void publish(const char *name, uint64_t lsn)
{
    struct slot_position *p = &s.positions[s.c.n_status_slots++];

    (void)snprintf(p->name, sizeof(p->name), "%s", name);
    p->lsn = lsn;
}

static struct slot_spec *permanent(const char *name, bool logical)
{
    struct slot_spec *p = &s.permanent[s.v.n_permanent++];

    *p = (struct slot_spec){.logical = logical};
    (void)snprintf(p->name, sizeof(p->name), "%s", name);
    (void)snprintf(p->database, sizeof(p->database), logical ? "app" : "");
    (void)snprintf(p->plugin, sizeof(p->plugin), logical ? "pgoutput" : "");
    return p;
}

static void retain(const char *name)
{
    (void)snprintf(s.retain[s.c.n_retain_slots++].text, SLOT_NAME_SIZE, "%s", name);
}

static void seen(const char *name, uint64_t at_us)
{
    (void)snprintf(s.seen[s.v.n_seen].name, SLOT_NAME_SIZE, "%s", name);
    s.seen[s.v.n_seen++].at_us = at_us;
}

static void led_by(const char *name)
{
    s.c.leader.exists = name != NULL;
    (void)snprintf(s.c.leader.name, sizeof(s.c.leader.name), "%s", name ? name : "");
}

/* A standby of "n2" with nothing there yet. */
static void standby(void)
{
    memset(&s, 0, sizeof(s));
    s.c.members = s.members;
    s.c.status_slots = s.positions;
    s.c.retain_slots = s.retain;
    (void)add_member("n1");
    (void)add_member("n2");
    (void)add_member("n3");
    led_by("n2");
    s.v = (struct slots_view){.name = "n1",
                              .tags = TAGS_DEFAULT,
                              .cluster = &s.c,
                              .use_slots = true,
                              .member_slots_ttl_us = TTL_S * S,
                              .now_us = 100 * S,
                              .position_lsn = 1000,
                              .have = s.have,
                              .permanent = s.permanent,
                              .ignore = s.ignore,
                              .seen = s.seen,
                              .unsafe = s.unsafe};
}

static void leader(void)
{
    standby();
    led_by("n1");
    s.v.leads = true;
}

/* The same with the slots of both other members. */
static void settled(void (*scene)(void))
{
    scene();
    (void)have("n2", 900);
    (void)have("n3", 900);
}

static const char *text_of(const struct slot_step *steps, size_t n)
{
    static const char *const verbs[] = {"create", "drop", "advance", "copy", "complain"};
    static char text[1024];
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        assert_true(steps[i].reason && steps[i].reason[0]);
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s %s", i ? ", " : "", verbs[steps[i].what],
                                 steps[i].name);
        if (steps[i].what == SLOT_ADVANCE)
            used += (size_t)snprintf(text + used, sizeof(text) - used, " to %u", (unsigned)steps[i].lsn);
        if (steps[i].logical)
            used += (size_t)snprintf(text + used, sizeof(text) - used, " in %s", steps[i].database);
    }
    return text;
}

static const char *steps_text(void)
{
    struct slot_want want[16];
    struct slot_step steps[32];
    size_t n_want = ha_slots_wanted(&s.v, want, ARRAY_LEN(want));

    return text_of(steps, ha_slots_steps(&s.v, want, n_want, steps, ARRAY_LEN(steps)));
}

static void check(const char *row, const char *want)
{
    const char *got = steps_text();

    if (strcmp(got, want) != 0)
        fail_msg("%s: got \"%s\" instead of \"%s\"", row, got, want);
}

/* Of the one step there is. */
static void check_reason(const char *row, const char *want)
{
    struct slot_want wanted[16];
    struct slot_step steps[16];
    size_t n = ha_slots_wanted(&s.v, wanted, ARRAY_LEN(wanted));

    assert_int_equal(ha_slots_steps(&s.v, wanted, n, steps, ARRAY_LEN(steps)), 1);
    if (!strstr(steps[0].reason, want))
        fail_msg("%s: %s", row, steps[0].reason);
}

static void test_slots_of_members(void **state)
{
    (void)state;
    leader();
    check("a new leader makes those of all others", "create n2, create n3");
    standby();
    check("a standby as well", "create n2, create n3");
    settled(leader);
    check("all there", "");
    s.have[0].active = true;
    s.have[0].holds_xmin = true;
    check("in use", "");

    settled(leader);
    s.members[2].tags.nostream = true;
    check("one that does not stream", "drop n3");
    seen("n3", 99 * S);
    check("also if it has just streamed", "drop n3");
    settled(standby);
    s.v.use_slots = false;
    (void)have("mine", 900);
    check("without use_slots only members' slots go", "drop n2, drop n3");

    settled(leader);
    s.v.member_slots_ttl_us = 0;
    check("without time to keep: those who stream from the leader", "");
    led_by("n9");
    check("also while its own key is missing", "");
    s.members[1].tags.nostream = true;
    check("but not one that does not stream", "drop n2");
    s.v.members_unsettled = true;
    check("nobody goes while members may be missing", "");
    settled(standby);
    s.v.member_slots_ttl_us = 0;
    check("without time to keep: nobody streams from a standby", "drop n2, drop n3");
    settled(standby);
    s.v.tags.nofailover = true;
    check("nor from one that never leads", "drop n2, drop n3");
    (void)snprintf(s.members[2].tags.replicatefrom, MEMBER_NAME_SIZE, "n1");
    check("unless it is their upstream", "drop n2");
    s.members[0].state = PG_STATE_CRASHED;
    check("even if they had to leave it for now", "drop n2");
    settled(leader);
    s.v.tags.nofailover = true;
    (void)permanent("perm", false);
    (void)have("perm", 900);
    check("a leader that should not be one keeps them", "");
}

static void test_slots_of_members_on_a_standby_follow(void **state)
{
    (void)state;
    settled(standby);
    publish("n2", 950);
    publish("n3", 1200);
    check("as far as the leader says, and as is replayed here", "advance n2 to 950, advance n3 to 1000");
    s.have[1].active = true;
    check("not while in use", "advance n2 to 950");
    s.have[0].restart_lsn = 950;
    check("there already", "");
    settled(standby);
    (void)snprintf(s.members[1].version, sizeof(s.members[1].version), "3.3.2");
    s.members[2].xlog_lsn = 980;
    check("an old leader says nothing: the member's word", "advance n3 to 980");
    s.c.n_members = 1;
    led_by(NULL);
    retain("n3");
    check("without a leader and members nothing moves", "drop n2");

    settled(standby);
    s.have[1].restart_lsn = 0;
    check("one that keeps no WAL is of no use", "drop n3");
    settled(standby);
    s.have[1].holds_xmin = true;
    check("left over from the time as a primary", "drop n3");
    s.have[1].active = true;
    check("unless somebody is connected", "");
    led_by(NULL);
    s.have[1].active = false;
    check("or nobody leads: it may be needed again at once", "");
    settled(leader);
    (void)snprintf(s.have[1].wal_status, sizeof(s.have[1].wal_status), "lost");
    check("lost", "drop n3");
    s.have[1].active = true;
    check("lost, and somebody holds it", "complain n3");
}

static void ignore(const char *name, const char *type, const char *database, const char *plugin)
{
    struct slot_matcher *m = &s.ignore[s.v.n_ignore++];

    (void)snprintf(m->name, sizeof(m->name), "%s", name);
    (void)snprintf(m->type, sizeof(m->type), "%s", type);
    (void)snprintf(m->database, sizeof(m->database), "%s", database);
    (void)snprintf(m->plugin, sizeof(m->plugin), "%s", plugin);
}

static void check_follow(const char *row, const char *want)
{
    static const struct slot_position said[] = {{"n2", 950}, {"n3", 1200}, {"cdc", 960}, {"unknown", 970}};
    struct slot_step steps[HAVE_MAX];
    const char *got = text_of(steps, ha_slots_follow(&s.v, said, ARRAY_LEN(said), steps, ARRAY_LEN(steps)));

    if (strcmp(got, want) != 0)
        fail_msg("%s: got \"%s\" instead of \"%s\"", row, got, want);
}

static void test_positions_that_a_leader_without_store_says(void **state)
{
    struct slot_step steps[2];
    const struct slot_position n2 = {"n2", 950};

    (void)state;
    settled(standby);
    s.v.cluster = NULL;
    check_follow("as far as it says, and as is replayed here", "advance n2 to 950, advance n3 to 1000");
    assert_int_equal(ha_slots_follow(&s.v, &n2, 1, steps, ARRAY_LEN(steps)), 1); /* of the other it says nothing */
    assert_int_equal(ha_slots_follow(&s.v, &n2, 1, steps, 0), 0);
    s.have[1].active = true;
    check_follow("not while in use", "advance n2 to 950");
    s.have[1].active = false;
    s.have[1].holds_xmin = true;
    check_follow("nor one that holds back vacuum", "advance n2 to 950");
    s.have[1].holds_xmin = false;
    s.have[1].restart_lsn = 0;
    check_follow("nor one that keeps no WAL", "advance n2 to 950");
    (void)snprintf(s.have[0].wal_status, sizeof(s.have[0].wal_status), "lost");
    check_follow("nor one that has lost it", "");
    (void)have_logical("cdc", 900);
    check_follow("a logical one as well", "advance cdc to 960 in app");
    s.have[2].failover = true;
    check_follow("but not PostgreSQL's own", "");
    s.have[2].failover = false;
    s.have[2].temporary = true;
    check_follow("nor a session's", "");
    s.have[2].temporary = false;
    ignore("cdc", "", "", "");
    check_follow("nor one that is to be left alone", "");
}

static void test_cascading(void **state)
{
    (void)state;
    settled(leader);
    (void)snprintf(s.members[2].tags.replicatefrom, MEMBER_NAME_SIZE, "n2");
    s.members[2].xlog_lsn = 990;
    check("the spare slot on the leader follows the member", "advance n3 to 990");
    s.have[1].holds_xmin = true;
    check("and holds back no vacuum", "drop n3");
    s.members[1].state = PG_STATE_STOPPED;
    check("its upstream is down: it comes here", "");
    s.members[1].state = PG_STATE_UNKNOWN;
    s.have[1].holds_xmin = false;
    check("a state of the future is no reason", "advance n3 to 990");
    s.members[1].conn_url[0] = '\0';
    check("an upstream without an address", "");

    settled(standby);
    (void)snprintf(s.members[2].tags.replicatefrom, MEMBER_NAME_SIZE, "n1");
    s.have[1].restart_lsn = 0;
    publish("n3", 950);
    check("here it streams", "");
}

static void test_slots_of_absent_members(void **state)
{
    (void)state;
    settled(leader);
    s.c.n_members = 2;
    check("forgotten", "drop n3");
    seen("n3", 99 * S);
    check("remembered", "");
    seen("n1", 99 * S);
    seen("n4", 99 * S);
    check("a new leader makes what the last one kept, but its own", "create n4");
    s.v.member_slots_ttl_us = 0;
    check("none is kept", "drop n3");

    settled(standby);
    s.c.n_members = 2;
    retain("n3");
    retain("n2");
    publish("n3", 950);
    check("on a standby as published", "advance n3 to 950");
    s.have[1].restart_lsn = 0;
    check("and one that keeps no WAL is of no use", "drop n3");
    s.have[1].holds_xmin = true;
    s.have[1].restart_lsn = 900;
    check("whoever may come back for it", "");
    s.v.tags.nofailover = true;
    check("not on one that never leads", "drop n2, drop n3");
    s.v.pause = true;
    check("nothing goes in pause", "");
}

static void test_memory_of_absent_members(void **state)
{
    size_t n;

    (void)state;
    settled(leader);
    (void)have("perm", 900);
    (void)permanent("perm", false);
    (void)permanent("n3", false);
    (void)permanent("n2", true);
    retain("n7");
    n = ha_slots_remember(&s.v, false, s.seen, 0, 8);
    assert_int_equal(n, 1);
    assert_string_equal(s.seen[0].name, "n2");
    assert_true(s.seen[0].at_us == 100 * S);

    n = ha_slots_remember(&s.v, true, s.seen, n, 8);
    assert_int_equal(n, 2);
    assert_string_equal(s.seen[1].name, "n7");

    s.c.n_members = 1;
    s.v.now_us = (100 + TTL_S) * S - 1;
    assert_int_equal(ha_slots_remember(&s.v, false, s.seen, n, 8), 2);
    s.seen[1].at_us++;
    s.v.now_us++;
    n = ha_slots_remember(&s.v, false, s.seen, n, 8);
    assert_int_equal(n, 1);
    assert_string_equal(s.seen[0].name, "n7");

    s.v.now_us += 99 * S;
    s.v.members_unsettled = true;
    assert_int_equal(ha_slots_remember(&s.v, false, s.seen, n, 8), 1);
    assert_true(s.seen[0].at_us == s.v.now_us);

    s.v.member_slots_ttl_us = 0;
    assert_int_equal(ha_slots_remember(&s.v, false, s.seen, n, 8), 0);
    settled(leader);
    s.v.use_slots = false;
    assert_int_equal(ha_slots_remember(&s.v, false, s.seen, 0, 8), 0);
    settled(leader);
    s.members[1].tags.nostream = true;
    (void)have("n1", 900);
    assert_int_equal(ha_slots_remember(&s.v, false, s.seen, 0, 8), 1);
    assert_string_equal(s.seen[0].name, "n3");
    settled(leader);
    s.v.n_have = 0;
    assert_int_equal(ha_slots_remember(&s.v, false, s.seen, 0, 8), 0);
    settled(leader);
    assert_int_equal(ha_slots_remember(&s.v, false, s.seen, 0, 1), 1);
}

static void test_stray_slots(void **state)
{
    (void)state;
    settled(leader);
    (void)have("stray", 900);
    check("nobody's", "drop stray");
    s.have[2].active = true;
    check("nobody's, but in use", "complain stray");
    s.have[2].temporary = true;
    check("of a session", "");
    settled(leader);
    (void)have("stray", 900);
    s.v.pause = true;
    check("in pause", "");

    settled(leader);
    (void)have_logical("cdc", 900);
    check("logical", "drop cdc");
    ignore("cdc", "", "", "wal2json");
    ignore("cdc", "", "other", "");
    ignore("", "physical", "", "");
    ignore("cd", "", "", "");
    check("matchers of which one attribute differs", "drop cdc");
    s.v.n_ignore = 0;
    ignore("", "logical", "app", "pgoutput");
    check("ignored", "");
    s.v.n_ignore = 0;
    memset(s.ignore, 0, sizeof(s.ignore));
    ignore("", "", "", "");
    check("everything is ignored", "");
    (void)have("stray", 900);
    check("also physical", "");
    memset(s.ignore, 0, sizeof(s.ignore));
    s.v.n_ignore = 0;
    ignore("", "physical", "", "");
    check("by type", "drop cdc");

    settled(leader);
    have_logical("native", 900)->failover = true;
    check("kept by PostgreSQL itself", "");
    s.v.leads = false;
    check("in its way", "drop native");
    s.v.pause = true;
    check("in its way, in pause", "");
    s.v.pause = false;
    ignore("native", "", "", "");
    check("in its way, and ignored", "");
    s.v.n_ignore = 0;
    s.have[2].synced = true;
    check("synchronized by PostgreSQL", "");
}

static void test_permanent_physical_slots(void **state)
{
    (void)state;
    settled(leader);
    (void)permanent("perm", false);
    check("missing", "create perm");
    (void)have("perm", 900);
    publish("perm", 950);
    check("there: its consumer moves it", "");
    s.v.leads = false;
    led_by("n2");
    check("on a standby it follows", "advance perm to 950");
    s.v.tags.nofailover = true;
    check("not where nobody will lead", "drop n2, drop n3, drop perm");

    settled(leader);
    permanent("perm", false)->cluster = SLOT_STANDBY_CLUSTER;
    check("of another kind of cluster", "");
    s.v.standby_cluster = true;
    check("of this kind", "create perm");
    s.permanent[0].cluster = SLOT_PRIMARY_CLUSTER;
    check("and the other way round", "");
    settled(leader);
    (void)permanent("n1", false);
    check("its own name", "");
    (void)permanent("n2", false);
    check("a member's name: once is enough", "");
    s.c.n_members = 1;
    check("kept although the member has gone", "drop n3");
    s.c.n_members = 3;
    s.c.n_members--;
    (void)snprintf(s.members[1].tags.replicatefrom, MEMBER_NAME_SIZE, "n9");
    s.members[1].tags.nostream = true;
    publish("n2", 950);
    check("of a member that cascades it is a spare", "advance n2 to 950, drop n3");
    s.members[1].tags.replicatefrom[0] = '\0';
    check("of one that does not stream it is anybody's", "drop n3");

    settled(leader);
    (void)permanent("perm", false);
    have_logical("perm", 900);
    check("another one has its name", "drop perm");
    s.have[2].active = true;
    check("and is in use", "complain perm");
    s.have[2].active = false;
    ignore("perm", "", "", "");
    check("and is to be left alone", "complain perm");
    s.v.n_ignore = 0;
    s.v.pause = true;
    check("or it is pause", "complain perm");
}

static void test_permanent_logical_slots(void **state)
{
    (void)state;
    settled(leader);
    (void)permanent("cdc", true);
    check("missing", "create cdc in app");
    (void)have_logical("cdc", 900);
    publish("cdc", 950);
    check("there", "");
    (void)snprintf(s.have[2].plugin, SLOT_NAME_SIZE, "wal2json");
    check("another plugin", "drop cdc");
    settled(leader);
    (void)permanent("cdc", true);
    (void)snprintf(have_logical("cdc", 900)->database, SLOT_NAME_SIZE, "other");
    check("another database", "drop cdc");
    settled(leader);
    (void)permanent("cdc", true);
    (void)have("cdc", 900);
    check("a physical one has its name", "drop cdc");
    settled(leader);
    (void)permanent("cdc", true);
    (void)snprintf(have_logical("cdc", 900)->wal_status, 16, "lost");
    check("lost: its consumer must know", "complain cdc");
    settled(leader);
    s.v.standby_cluster = true;
    (void)permanent("cdc", true);
    check("none in standby clusters", "");
    settled(leader);
    (void)permanent("n2", true);
    check("a member's name", "complain n2");

    settled(standby);
    (void)permanent("cdc", true);
    check("the leader has none yet", "");
    publish("cdc", 950);
    check("to be copied", "copy cdc in app");
    (void)have_logical("cdc", 900);
    check("to be moved", "advance cdc to 950 in app");
    s.have[2].conflicting = true;
    check("of no use any more", "copy cdc");
    s.have[2].conflicting = false;
    s.v.tags.nostream = true;
    check("no feedback, no logical slot", "drop cdc");
    s.v.tags.nostream = false;
    (void)snprintf(s.v.tags.replicatefrom, MEMBER_NAME_SIZE, "n3");
    check("below one that streams", "advance cdc to 950 in app");
    s.members[2].tags.nostream = true;
    check("below one that does not", "drop n3, drop cdc");

    settled(leader);
    (void)permanent("cdc", true);
    (void)have_logical("cdc", 900);
    (void)snprintf(s.unsafe[0].text, SLOT_NAME_SIZE, "other");
    (void)snprintf(s.unsafe[1].text, SLOT_NAME_SIZE, "cdc");
    s.v.n_unsafe = 1;
    check("a copy that is complete", "");
    s.v.n_unsafe = 2;
    check("one that may not be", "drop cdc");
    s.v.n_have = 2;
    check_reason("it begins anew", "begins anew");
    s.v.n_unsafe = 0;
    check_reason("it is new", "permanent");
    publish("cdc", 950);
    check_reason("it is on the old leader", "begins anew");
}

static void test_names_that_collide_are_told_and_nothing_is_lost(void **state)
{
    struct slot_want want[8];

    (void)state;
    leader();
    (void)add_member("N-3");
    (void)add_member("n_3");
    check("two members, one name", "create n2, create n3, create n_3, complain n_3");
    standby();
    add_member("N-3")->xlog_lsn = 700;
    add_member("n_3")->xlog_lsn = 800;
    (void)snprintf(s.members[1].version, sizeof(s.members[1].version), "3.0.0");
    (void)have("n2", 900);
    (void)have("n3", 900);
    (void)have("n_3", 600);
    check("for the one that is further behind", "advance n_3 to 700, complain n_3");
    (void)snprintf(s.members[4].tags.replicatefrom, MEMBER_NAME_SIZE, "n1");
    check("in use by one of them", "complain n_3");
    (void)snprintf(s.members[3].tags.replicatefrom, MEMBER_NAME_SIZE, "n1");
    check("by both", "complain n_3");
    s.members[4].tags.replicatefrom[0] = '\0';
    check("by the other", "complain n_3");
    s.members[3].xlog_lsn = 800;
    s.members[4].xlog_lsn = 700;
    assert_int_equal(ha_slots_wanted(&s.v, want, ARRAY_LEN(want)), 3);
    assert_true(want[2].lsn == 700 && want[2].shared && want[2].use == SLOT_IN_USE);
}

static void test_results_beyond_the_arrays_are_left_out(void **state)
{
    struct slot_want want[4];
    struct slot_step steps[4];

    (void)state;
    leader();
    (void)permanent("perm", false);
    seen("n4", 99 * S);
    assert_int_equal(ha_slots_wanted(&s.v, want, 1), 1);
    assert_int_equal(ha_slots_wanted(&s.v, want, 2), 2);
    assert_int_equal(ha_slots_wanted(&s.v, want, 3), 3);
    assert_int_equal(ha_slots_wanted(&s.v, want, 4), 4);
    assert_int_equal(ha_slots_steps(&s.v, want, 4, steps, 2), 2);
    want[1].shared = true;
    assert_int_equal(ha_slots_steps(&s.v, want, 4, steps, 2), 2);
    (void)have("x", 1);
    (void)have("y", 1);
    assert_int_equal(ha_slots_steps(&s.v, want, 4, steps, 1), 1);
}

static void test_feedback_is_needed_where_logical_slots_are(void **state)
{
    char slot[SLOT_NAME_SIZE];

    (void)state;
    standby();
    assert_false(ha_slots_need_feedback(&s.v));
    (void)permanent("perm", false);
    assert_false(ha_slots_need_feedback(&s.v));
    (void)permanent("cdc", true);
    assert_true(ha_slots_need_feedback(&s.v));
    s.v.use_slots = false;
    assert_false(ha_slots_need_feedback(&s.v));
    s.v.use_slots = true;
    s.v.standby_cluster = true;
    assert_false(ha_slots_need_feedback(&s.v));
    s.v.standby_cluster = false;
    s.v.cluster = NULL;
    assert_true(ha_slots_need_feedback(&s.v));
    s.v.cluster = &s.c;
    led_by(NULL);
    assert_true(ha_slots_need_feedback(&s.v));
    led_by("n2");

    s.v.tags.nofailover = s.members[0].tags.nofailover = true;
    assert_false(ha_slots_need_feedback(&s.v));
    (void)snprintf(s.members[2].tags.replicatefrom, MEMBER_NAME_SIZE, "n1");
    assert_true(ha_slots_need_feedback(&s.v));
    s.members[2].tags.nofailover = true;
    assert_false(ha_slots_need_feedback(&s.v));
    s.members[2].tags.nofailover = false;
    s.members[2].tags.nostream = true;
    assert_false(ha_slots_need_feedback(&s.v));

    standby();
    (void)permanent("cdc", true);
    s.v.tags.nostream = true;
    assert_false(ha_slots_need_feedback(&s.v));
    (void)snprintf(s.members[2].tags.replicatefrom, MEMBER_NAME_SIZE, "n1");
    assert_true(ha_slots_need_feedback(&s.v));

    standby();
    assert_true(ha_slots_feedback_slot(&s.v, slot, sizeof(slot)));
    assert_string_equal(slot, "n1");
    (void)snprintf(s.v.tags.replicatefrom, MEMBER_NAME_SIZE, "n3");
    assert_true(ha_slots_feedback_slot(&s.v, slot, sizeof(slot)));
    assert_string_equal(slot, "n3");
    s.members[2].tags.nostream = true;
    assert_false(ha_slots_feedback_slot(&s.v, slot, sizeof(slot)));
    led_by(NULL);
    assert_false(ha_slots_feedback_slot(&s.v, slot, sizeof(slot)));
}

static void test_copy_is_safe_when_feedback_holds_what_it_needs(void **state)
{
    static const struct {
        uint32_t primary, feedback, local;
        bool want;
    } rows[] = {
        {700, 700, 700, true},      {700, 699, 700, false},
        {700, 701, 700, false},     {700, 705, 710, true},
        {0, 700, 700, false},       {700, 0, 700, false},
        {700, 700, 0, false},       {4294967290U, 3, 5, true},
        {3, 4294967290U, 5, false}, {1, 2147483648U, 2147483649U, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (ha_slot_copy_is_safe(rows[i].primary, rows[i].feedback, rows[i].local) != rows[i].want)
            fail_msg("%u <= %u <= %u", rows[i].primary, rows[i].feedback, rows[i].local);
}

static void test_wal_that_a_slot_holds_back(void **state)
{
    static const struct {
        const char *status;
        uint64_t restart_lsn;
        int64_t max_keep_bytes;
        uint64_t max_wal_size_bytes;
        enum slot_wal want;
    } rows[] = {
        {"reserved", 900, -1, 0, SLOT_WAL_OK},     {"reserved", 0, -1, 1, SLOT_WAL_OK},
        {"reserved", 2000, -1, 1, SLOT_WAL_OK},    {"extended", 200, -1, 200, SLOT_WAL_OK},
        {"extended", 196, -1, 200, SLOT_WAL_MUCH}, {"reserved", 700, 400, 1, SLOT_WAL_OK},
        {"reserved", 699, 400, 1, SLOT_WAL_MUCH},  {"unreserved", 900, 10, 1, SLOT_WAL_ENDING},
        {"lost", 0, 10, 1, SLOT_WAL_LOST},         {"reserved", 1000, 0, 1, SLOT_WAL_OK},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slot slot = {.restart_lsn = rows[i].restart_lsn};

        (void)snprintf(slot.wal_status, sizeof(slot.wal_status), "%s", rows[i].status);
        if (ha_slot_wal(&slot, 1000, rows[i].max_keep_bytes, rows[i].max_wal_size_bytes) != rows[i].want)
            fail_msg("row %zu", i);
    }
}

/* --- whom to follow --------------------------------------------------------------------------------------------------
 */

static void tag(size_t i, const char *replicatefrom)
{
    (void)snprintf(s.members[i].tags.replicatefrom, MEMBER_NAME_SIZE, "%s", replicatefrom);
}

static void check_upstream(const char *row, size_t i, const char *want)
{
    const struct member *m = ha_upstream_of(&s.c, s.members[i].name, &s.members[i].tags);

    if (strcmp(m ? m->name : "", want) != 0)
        fail_msg("%s: got \"%s\" instead of \"%s\"", row, m ? m->name : "", want);
}

static void test_upstream(void **state)
{
    static const enum pg_state down[] = {
        PG_STATE_INITDB,       PG_STATE_INITDB_FAILED,          PG_STATE_CUSTOM_BOOTSTRAP, PG_STATE_CREATING_REPLICA,
        PG_STATE_START_FAILED, PG_STATE_RESTART_FAILED,         PG_STATE_STOPPED,          PG_STATE_STOP_FAILED,
        PG_STATE_CRASHED,      PG_STATE_CUSTOM_BOOTSTRAP_FAILED};
    static const enum pg_state up[] = {PG_STATE_RUNNING,    PG_STATE_STARTING, PG_STATE_BOOTSTRAP_STARTING,
                                       PG_STATE_RESTARTING, PG_STATE_STOPPING, PG_STATE_UNKNOWN};

    (void)state;
    standby();
    check_upstream("the leader", 0, "n2");
    check_upstream("nobody for the leader", 1, "");
    tag(0, "n3");
    check_upstream("as the tag says", 0, "n3");
    tag(0, "n1");
    check_upstream("not itself", 0, "n2");
    tag(0, "n9");
    check_upstream("a member that is not there", 0, "n2");
    tag(0, "n3");
    for (size_t i = 0; i < ARRAY_LEN(down); i++) {
        s.members[2].state = down[i];
        check_upstream("it is down", 0, "n2");
    }
    for (size_t i = 0; i < ARRAY_LEN(up); i++) {
        s.members[2].state = up[i];
        check_upstream("it is up, or soon", 0, "n3");
    }
    s.members[0].tags.nostream = true;
    check_upstream("nostream", 0, "");
    s.members[0].tags.nostream = false;

    tag(2, "n1");
    check_upstream("a ring of two", 0, "n2");
    check_upstream("also for the other", 2, "n2");
    (void)add_member("n4");
    tag(3, "n1");
    check_upstream("below a ring", 3, "n1");
    tag(2, "n4");
    check_upstream("a ring of three", 0, "n2");
    tag(1, "n1");
    tag(2, "n2");
    check_upstream("the leader's tag makes no ring", 0, "n3");
    led_by(NULL);
    check_upstream("without a leader it does", 0, "");
    tag(1, "");
    check_upstream("without a leader, but with an upstream", 0, "n3");
    tag(0, "");
    check_upstream("nobody", 0, "");
    led_by("n2");
    s.members[1].conn_url[0] = '\0';
    check_upstream("a leader without an address", 0, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_of_members),
        cmocka_unit_test(test_slots_of_members_on_a_standby_follow),
        cmocka_unit_test(test_positions_that_a_leader_without_store_says),
        cmocka_unit_test(test_cascading),
        cmocka_unit_test(test_slots_of_absent_members),
        cmocka_unit_test(test_memory_of_absent_members),
        cmocka_unit_test(test_stray_slots),
        cmocka_unit_test(test_permanent_physical_slots),
        cmocka_unit_test(test_permanent_logical_slots),
        cmocka_unit_test(test_names_that_collide_are_told_and_nothing_is_lost),
        cmocka_unit_test(test_results_beyond_the_arrays_are_left_out),
        cmocka_unit_test(test_feedback_is_needed_where_logical_slots_are),
        cmocka_unit_test(test_copy_is_safe_when_feedback_holds_what_it_needs),
        cmocka_unit_test(test_wal_that_a_slot_holds_back),
        cmocka_unit_test(test_upstream),
    };

    return cmocka_run_group_tests_name("ha_slots", tests, NULL, NULL);
}
