#include "ha_scene.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

struct scene s;

static void add_member(size_t i, const char *name, enum pg_role role)
{
    struct member *m = &s.members[i];

    *m = (struct member){.state = PG_STATE_RUNNING, .role = role, .tags = TAGS_DEFAULT, .timeline = 1};
    (void)snprintf(m->name, sizeof(m->name), "%s", name);
    (void)snprintf(m->conn_url, sizeof(m->conn_url), "postgres://10.0.0.%zu:5432/postgres", i);
    (void)snprintf(m->api_url, sizeof(m->api_url), "http://10.0.0.%zu:8008/patroni", i);
}

void set_leader(const char *name, uint64_t session)
{
    s.c.leader = (struct leader_key){.exists = name != NULL, .session = session};
    if (name)
        (void)snprintf(s.c.leader.name, sizeof(s.c.leader.name), "%s", name);
}

void scene(void)
{
    memset(&s, 0, sizeof(s));
    add_member(0, "n1", PG_ROLE_REPLICA);
    add_member(1, "n2", PG_ROLE_PRIMARY);
    add_member(2, "n3", PG_ROLE_REPLICA);
    s.c.members = s.members;
    s.c.n_members = 3;
    s.c.initialize = (struct text_key){.exists = true, .text = (char *)SYSID_TEXT, .revision = 1};
    s.c.read_sent_at_us = 99 * S;
    s.v = (struct ha_view){.now_us = 100 * S,
                           .name = "n1",
                           .tags = TAGS_DEFAULT,
                           .policy = POLICY_DEFAULT,
                           .rewind_possible = true,
                           .cluster = &s.c,
                           .cluster_is_fresh = true,
                           .keeper = {.connected = true, .dead_proven = true}};
    s.v.policy.use_pg_rewind = true;
    s.v.pg.data_dir_known = true;
    s.v.peers = s.peers;
}

void standby(void)
{
    scene();
    set_leader("n2", 5);
    s.v.pg.running = s.v.pg.accepting = s.v.pg.in_recovery = s.v.pg.streaming = true;
    s.v.pg.receive_lsn = s.v.pg.replay_lsn = 1000;
    s.v.pg.timeline = 1;
    (void)snprintf(s.v.pg.follows, sizeof(s.v.pg.follows), "n2");
}

void candidate(void)
{
    standby();
    set_leader(NULL, 0);
    s.v.peers_asked_at_us = 99 * S + 1;
    s.v.peers_answered_at_us = 100 * S - 1000;
    s.v.n_peers = 1;
    s.peers[0] = (struct peer){.name = "n3", .answered = true, .lsn = 1000, .timeline = 1, .failover_priority = 1};
}

void hold_lease(void)
{
    set_leader("n1", LEASE_ID);
    s.v.lease =
        (struct leader_lease){.held = true, .session = LEASE_ID, .deadline_us = 120 * S, .confirmed_at_us = 98 * S};
}

void arm(void)
{
    s.v.keeper.armed = true;
    s.v.keeper.dead_proven = false;
    s.v.keeper.fence_at_us = 117 * S;
}

void elected(void)
{
    standby();
    hold_lease();
}

void leader(void)
{
    elected();
    arm();
    s.v.pg.in_recovery = false;
    s.v.pg.current_lsn = 1000;
    s.v.memory.was_primary = true;
}

void crashed(void)
{
    leader();
    s.v.pg.running = s.v.pg.accepting = false;
    s.v.pg.control_known = true;
    s.v.pg.control_state = PG_CONTROL_IN_PRODUCTION;
    s.v.pg.sysid = SYSID;
    s.v.memory.crashed = true;
    s.v.memory.crashed_at_us = 99 * S;
}

void down(void)
{
    scene();
    set_leader("n2", 5);
    s.v.pg.control_known = true;
    s.v.pg.control_state = PG_CONTROL_SHUT_DOWN;
    s.v.pg.sysid = SYSID;
}

void empty(void)
{
    scene();
    s.v.pg.data_dir_empty = true;
}

void virgin(void)
{
    empty();
    s.c.initialize = (struct text_key){0};
}

void divergence(enum divergence what, const char *from)
{
    s.v.memory.divergence = what;
    (void)snprintf(s.v.memory.divergence_from, sizeof(s.v.memory.divergence_from), "%s", from);
}

void check(const char *name, struct want want)
{
    struct ha_decision got = ha_decide(&s.v);

    if (got.action != want.action)
        fail_msg("%s: decided %d (%s), wanted %d", name, (int)got.action, got.reason, (int)want.action);
    if (!got.reason[0])
        fail_msg("%s: no reason given", name);
    if (want.target && strcmp(want.target, got.target) != 0)
        fail_msg("%s: target \"%s\", wanted \"%s\"", name, got.target, want.target);
    if (got.action == HA_DEMOTE && (got.release != (want.release == 1) || got.urgency != want.urgency))
        fail_msg("%s: release %d urgency %d (%s)", name, got.release, (int)got.urgency, got.reason);
}

void says(const char *text)
{
    struct ha_decision got = ha_decide(&s.v);

    if (!strstr(got.reason, text))
        fail_msg("\"%s\" is not said, but: %s", text, got.reason);
}
