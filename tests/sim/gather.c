/* What the agent knows: the store, SQL, the data directory, each with its age, as src/agent/gather.c and publish.c. */
#include <stdio.h>
#include <string.h>
#include "sim.h"

enum { PROBE_TIMEOUT_US = 3000000, PROBE_STALE_US = 15000000, FRESH_US = 3000000 };

/* --- the store ------------------------------------------------------------------------------------------------------
 */

void gather_store(struct world *w, struct node *n)
{
    struct call *c;

    if (n->agent.store_busy) {
        n->agent.store_again = true;
        return;
    }
    n->agent.store_busy = true;
    c = store_call(w, n, CALL_READ, w->policy.retry_timeout_us);
    store_send(w, c);
}

static void fill_member(struct member *m, int id, const struct stored_member *from)
{
    if (strcmp(m->name, node_name(id)) != 0) {
        *m = (struct member){.tags = TAGS_DEFAULT, .conn_url = "postgres://h:1/p", .host = "h", .api_url = "http://h"};
        (void)snprintf(m->name, sizeof(m->name), "%s", node_name(id));
    }
    m->state = from->state;
    m->role = from->role;
    m->timeline = from->timeline;
    m->xlog_lsn = from->lsn;
    m->streaming = from->streaming;
}

static void fill_sync(struct agent *a, const struct stored *s)
{
    struct sync_set voters = {0};

    for (int i = 0; i < NODES; i++)
        if (s->sync_voters & 1U << i)
            sync_set_add(&voters, node_name(i));
    (void)sync_set_print(&voters, a->sync_standbys, sizeof(a->sync_standbys));
    a->cluster.sync = (struct sync_key){
        .exists = s->sync_exists, .standbys = a->sync_standbys, .quorum = s->sync_quorum, .revision = s->sync_revision};
    if (s->sync_exists)
        memcpy(a->cluster.sync.leader, node_name(s->sync_leader), 3);
}

static void fill_cluster(const struct world *w, struct agent *a, const struct stored *s)
{
    struct cluster *c = &a->cluster;
    a->initialize[0] = '\0';
    if (!s->initialize_empty)
        (void)snprintf(a->initialize, sizeof(a->initialize), "%llu", (unsigned long long)s->sysid);
    c->revision = s->revision;
    c->initialize = (struct text_key){s->initialize_exists, a->initialize, s->initialize_revision,
                                      s->initialize_empty ? mark_session(s->initialize_owner, s->initialize_agent) : 0};
    c->leader.exists = s->leader != NOBODY;
    memcpy(c->leader.name, node_name(s->leader), 3);
    c->leader.session = s->leader_session;
    c->leader.revision = s->leader_revision;
    c->status_lsn = s->status_lsn;
    c->timeline = (struct timeline_key){s->timeline_revision != 0, s->timeline, s->timeline_revision};
    fill_sync(a, s);
    slots_fill_cluster(a, s);
    c->shutdown_lsn = s->shutdown_lsn;
    c->shutdown_session = s->shutdown_session;
    c->shutdown_timeline = s->shutdown_timeline;
    c->failover = (struct failover_key){
        .exists = s->failover.exists, .scheduled_at_s = s->failover.scheduled_s, .revision = s->failover.revision};
    memcpy(c->failover.leader, node_name(s->failover.leader), 3);
    memcpy(c->failover.candidate, node_name(s->failover.candidate), 3);
    a->paused = s->paused;
    if (a->standby_cluster != s->standby_cluster) {
        a->memory.divergence = DIVERGENCE_UNKNOWN;
        a->memory.rewind_failed = false;
        a->memory.retry_check_at_us = 0;
    }
    a->standby_cluster = s->standby_cluster;
    c->failsafe.revision = s->failsafe_revision;
    a->failsafe_list.n = 0;
    for (int i = 0; i < NODES; i++)
        if (s->failsafe & 1U << i)
            (void)failsafe_list_add(&a->failsafe_list, node_name(i), "http://h");
    c->failsafe_list = w->mutant == MUTANT_STRANGER_LEADS ? NULL : &a->failsafe_list;
    c->members = a->members;
    c->n_members = 0;
    for (int i = 0; i < NODES; i++)
        if (s->members[i].exists)
            fill_member(&a->members[c->n_members++], i, &s->members[i]);
}

static void note_leader(struct world *w, struct node *n, const struct leader_key *before, uint64_t sync_before,
                        uint64_t timeline_before)
{
    struct memory *m = &n->agent.memory;
    bool unseen =
        sync_before != n->agent.cluster.sync.revision || timeline_before != n->agent.cluster.timeline.revision;

    if (n->agent.cluster.leader.exists)
        m->last_leader_session = n->agent.cluster.leader.session;
    if (w->mutant == MUTANT_TRUST_ANY_STATUS) {
        n->agent.cluster.shutdown_lsn = n->agent.cluster.status_lsn;
        n->agent.cluster.shutdown_session = m->last_leader_session;
    }
    if (n->agent.cluster.leader.exists)
        m->leaderless_since_us = 0;
    else if (!m->leaderless_since_us || unseen)
        m->leaderless_since_us = local_us(w, n);
    if (strcmp(m->divergence_from, REMOTE_CLUSTER) == 0)
        return;
    if (n->agent.cluster_known && (strcmp(before->name, n->agent.cluster.leader.name) != 0 ||
                                   before->session != n->agent.cluster.leader.session)) {
        m->divergence = DIVERGENCE_UNKNOWN;
        m->rewind_failed = false;
        m->retry_check_at_us = 0;
    }
}

/* As src/agent/store_change.c; how a store is told from another is not modelled. */
static void note_store_change(struct world *w, struct node *n, uint32_t life)
{
    struct memory *m = &n->agent.memory;
    uint64_t until_us = local_us(w, n) + w->policy.ttl_us;
    uint32_t before = n->agent.store_life ? n->agent.store_life : n->store_life;

    n->agent.store_life = life;
    if (before && life != before)
        n->agent.store_settles_at_us = until_us;
    if (local_us(w, n) >= n->agent.store_settles_at_us)
        n->store_life = life;
    if (!before || life == before || w->mutant == MUTANT_NEW_STORE_AT_ONCE)
        return;
    TRACE(w, n->id, "agent: the store is another one");
    n->agent.sync.restored = true;
    n->agent.sync.foreign_revision = n->agent.cluster.sync.revision;
    m->foreign_word_session = n->agent.cluster.shutdown_session;
    if (m->no_race_until_us < until_us)
        m->no_race_until_us = until_us;
}

static void retake(struct world *w, struct node *n, const struct call *c)
{
    if (w->mutant != MUTANT_RETAKE_BY_NAME || c->view.leader != n->id || n->agent.lease.held)
        return;
    n->agent.lease = (struct leader_lease){.held = true,
                                           .session = c->view.leader_session,
                                           .deadline_us = ha_lease_deadline_us(c->sent_at_us, w->policy.ttl_us),
                                           .confirmed_at_us = c->sent_at_us};
    tether_renew_soon(w, n);
}

void gather_read(struct world *w, struct node *n, struct call *c)
{
    struct agent *a = &n->agent;
    struct leader_key before;
    uint64_t sync_before, timeline_before;
    struct failover_key asked_before;
    bool followed;

    a->store_busy = false;
    a->store_failed = c->outcome != OUTCOME_DONE;
    if (!a->store_failed) {
        before = a->cluster.leader;
        sync_before = a->cluster.sync.revision;
        timeline_before = a->cluster.timeline.revision;
        asked_before = a->cluster.failover;
        followed = a->standby_cluster;
        fill_cluster(w, a, &c->view);
        if (followed && !a->standby_cluster)
            a->memory.left_remote_at_us = local_us(w, n);
        a->cluster.read_sent_at_us = c->sent_at_us;
        note_leader(w, n, &before, sync_before, timeline_before);
        note_store_change(w, n, c->view.life);
        cold_start_fill_cluster(n, &c->view);
        timeline_note(a);
        a->memory.seen_initialized |= c->view.initialize_exists && !c->view.initialize_empty;
        manual_note_failover(w, n, &asked_before);
        config_read(w, n);
        /* As src/agent/config.c settles it: nobody is left to follow. */
        if (!a->standby_cluster && a->follows == REMOTE)
            n->pg.follows = a->follows = NOBODY;
        a->cluster_known = true;
        cold_start_look(w, n);
        failsafe_note_cluster(w, n);
        retake(w, n, c);
    }
    if (a->store_again) {
        a->store_again = false;
        gather_store(w, n);
    }
    agent_wake(w, n);
}

/* --- SQL ------------------------------------------------------------------------------------------------------------
 */

void gather_pg(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    bool hangs = n->pg.hung_until_us > w->now_us;

    if (a->probe_busy || !a->server_up)
        return;
    a->probe_busy = true;
    push_in(w, n, EV_AGENT_PROBED, hangs ? PROBE_TIMEOUT_US : rng_between(&w->rng, RNG_PG, MS, 15 * MS), a->gen,
            ++a->probe_gen, 0);
}

static void note_streaming(struct agent *a, uint64_t now_us)
{
    if (!a->pg.in_recovery || a->pg.streaming || a->follows == NOBODY)
        a->memory.not_streaming_since_us = 0;
    else if (!a->memory.not_streaming_since_us)
        a->memory.not_streaming_since_us = now_us;
}

/* Before it is at the end of its WAL a standby knows no more than its control file does. */
static void probe_recovery(const struct world *w, struct node *n)
{
    struct probe *p = &n->agent.pg;

    if (!p->in_recovery)
        return;
    p->replaying = n->pg.replaying_until_us > w->now_us;
    if (p->replaying)
        p->lsn = n->pg.control_lsn;
    if (p->replaying || (w->mutant == MUTANT_CONTROL_TIMELINE && !p->streaming))
        p->timeline = w->timelines[n->pg.control_way].number;
}

void gather_probed(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    uint64_t now_us = local_us(w, n);
    bool hangs = n->pg.hung_until_us > w->now_us;

    a->probe_busy = false;
    if (!a->server_up)
        return;
    if (n->pg.phase >= PG_STANDBY && !hangs) {
        a->pg = (struct probe){.valid = true,
                               .in_recovery = n->pg.phase != PG_PRIMARY,
                               .streaming = pg_streams(w, n),
                               .answered_at_us = now_us,
                               .lsn = n->pg.lsn,
                               .timeline = w->timelines[n->pg.way].number};
        probe_recovery(w, n);
        note_streaming(a, now_us);
        sync_probe(w, n);
        sync_note_pg(w, n);
        if (!a->pg.in_recovery) {
            a->memory.was_primary = true;
            a->memory.may_have_said_end = false;
            a->memory.divergence = DIVERGENCE_UNKNOWN;
        }
    } else if (!hangs) {
        a->pg.silent_since_us = 0;
        if (!a->pg.rejecting_since_us)
            a->pg.rejecting_since_us = now_us;
    } else if (!a->pg.silent_since_us && a->pg.valid) {
        a->pg.silent_since_us = now_us;
    }
    op_pg_changed(w, n);
    agent_wake(w, n);
}

void gather_forget_pg(struct node *n)
{
    struct agent *a = &n->agent;

    a->probe_gen++;
    a->probe_busy = false;
    a->pg = (struct probe){0};
    sync_forget_pg(n);
    a->control.control_known = false;
    a->control.data_dir_known = false;
    a->memory.not_streaming_since_us = 0;
    manual_forget_checkpoint(n);
}

/* --- the data directory ---------------------------------------------------------------------------------------------
 */

void gather_control(struct world *w, struct node *n)
{
    if (n->agent.control_busy)
        return;
    n->agent.control_busy = true;
    push_in(w, n, EV_AGENT_CONTROL, rng_between(&w->rng, RNG_PG, 5 * MS, 40 * MS), n->agent.gen, 0, 0);
}

void gather_controlled(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;

    a->control_busy = false;
    a->control_at_us = local_us(w, n);
    a->control.data_dir_known = true;
    a->control.data_dir_empty = !n->pg.dir_there && !n->pg.half_copy;
    a->control.data_dir_foreign = n->pg.half_copy;
    a->control.control_known = n->pg.dir_there;
    a->control.sysid = pg_sysid(w, n);
    a->control.control_state = n->pg.control;
    a->control.control_timeline = w->timelines[n->pg.way].number;
    agent_wake(w, n);
}

/* --- the disk -------------------------------------------------------------------------------------------------------
 */

/* The probe, once a tick; what follows from its answers and its silence is the product's. */
void gather_disk(struct world *w, struct node *n, bool stood_still)
{
    struct storage_times times = storage_times_for(0, 0, w->policy.loop_wait_us, w->policy.ttl_us);
    struct storage_answer answer = {.outcome = STORAGE_GOOD, .latency_us = MS};
    struct storage_track *t = &n->agent.disk;
    enum storage_state before = t->state;
    uint64_t now_us = local_us(w, n);

    if (!t->answered_at_us || stood_still)
        storage_await(t, now_us);
    if (n->pg.disk_bad_until_us > w->now_us)
        answer.outcome = STORAGE_BAD;
    if (n->pg.disk_frozen_until_us > w->now_us)
        (void)storage_expire(t, &times, now_us);
    else
        (void)storage_answer(t, &answer, now_us);
    if (t->state != before)
        TRACE(w, n->id, "agent: the disk is %s", storage_state_text(t->state));
}

/* --- the view -------------------------------------------------------------------------------------------------------
 */

static void view_keeper(const struct world *w, const struct agent *a, struct keeper_view *k)
{
    enum keeper_state s = a->last.state;

    k->connected = a->connected;
    k->armed = s != KEEPER_DISARMED && a->last.deadline_us;
    k->dead_proven = s == KEEPER_DISARMED;
    k->refused = a->keeper_refused;
    k->watchdog_unusable = a->last.watchdog == KEEPER_WATCHDOG_FAILED && w->watchdog_mode == WATCHDOG_MODE_REQUIRED;
    k->fence_at_us = a->last.fence_at_us;
}

static void view_pg(const struct world *w, const struct agent *a, uint64_t now_us, struct local_pg *pg)
{
    uint64_t hung_after_us = w->policy.ttl_us / 2;

    if (hung_after_us < PROBE_STALE_US)
        hung_after_us = PROBE_STALE_US;
    *pg = a->control;
    pg->running = a->server_up;
    if (!pg->running)
        return;
    pg->running_since_us = pg->starting_since_us = a->pg_started_at_us;
    (void)snprintf(pg->follows, sizeof(pg->follows), "%s", node_name(a->follows));
    pg->in_recovery = a->pg.valid ? a->pg.in_recovery : a->was_standby_started;
    pg->accepting = a->pg.valid && now_us - a->pg.answered_at_us < PROBE_STALE_US;
    pg->answered_at_us = a->pg.answered_at_us;
    pg->hung = a->pg.silent_since_us && now_us - a->pg.silent_since_us > hung_after_us;
    pg->rejecting_since_us = a->pg.rejecting_since_us;
    if (!a->pg.valid)
        return;
    pg->timeline = a->pg.timeline;
    if (a->pg.in_recovery)
        pg->receive_lsn = pg->replay_lsn = a->pg.lsn;
    else
        pg->current_lsn = a->pg.lsn;
    pg->streaming = a->pg.streaming;
    pg->replaying = a->pg.replaying;
}

void gather_view(struct world *w, struct node *n, struct ha_view *ret)
{
    struct agent *a = &n->agent;
    uint64_t now_us = local_us(w, n), read_us = a->cluster_known ? a->cluster.read_sent_at_us : 0;

    *ret = (struct ha_view){
        .now_us = now_us,
        .was_frozen = read_us < a->frozen_at_us,
        .stopping = a->stopping,
        .name = node_name(n->id),
        .tags = TAGS_DEFAULT,
        .policy = w->policy,
        .bootstrap_incomplete = a->bootstrap_incomplete,
        .bootstrap_made = a->bootstrap_made,
        .copy_incomplete = a->copy_incomplete,
        .rewind_incomplete = a->rewind_incomplete,
        .rewind_possible = true,
        .slots_to_copy = a->slots_to_copy && now_us >= a->copy_again_at_us,
        .cluster = a->store_failed || !a->cluster_known ? NULL : &a->cluster,
        .store_unread = !a->cluster_known && !a->store_failed,
        .cluster_is_fresh = !a->store_failed && read_us && now_us - read_us < FRESH_US && !a->store_busy,
        .lease = a->lease,
        .op = a->op.kind,
        .op_since_us = a->op.since_us,
        .realtime_us = manual_realtime_us(w),
        .request = a->request,
        .peers = a->peers,
        .n_peers = a->n_peers,
        .peers_asked_at_us = a->peers_asked_at_us,
        .peers_answered_at_us = a->peers_answered_at_us,
        .known = w->mutant == MUTANT_LEAD_WHO_IS_THERE ? NULL : &a->known_list,
        .sync_is_foreign = sync_is_foreign(a),
        .acquiring = a->acquiring,
        .member.session = mark_session(n->id, a->gen),
        .failsafe = {.holds = a->failsafe.holds},
        .memory = a->memory,
    };
    if (w->mutant == MUTANT_THAWED_ACTS && read_us && read_us < a->stood_still_until_us)
        ret->cluster_is_fresh = !a->store_failed;
    ret->policy.pause = a->paused;
    ret->policy.standby_cluster = ret->policy.standby_cluster_streams =
        a->standby_cluster && w->mutant != MUTANT_STANDBY_PROMOTES;
    view_keeper(w, a, &ret->keeper);
    view_pg(w, a, now_us, &ret->pg);
    storage_view_of(&a->disk, NULL, true, &ret->storage);
}

/* --- what it publishes ----------------------------------------------------------------------------------------------
 */

static enum pg_state published_state(const struct agent *a)
{
    if (a->op.kind == OP_BOOTSTRAP)
        return PG_STATE_INITDB;
    if (a->op.kind == OP_CLONE)
        return PG_STATE_CREATING_REPLICA;
    if (a->op.kind == OP_START_STANDBY || a->op.kind == OP_START_PRIMARY)
        return PG_STATE_STARTING;
    if (a->op.kind == OP_COPY_SLOTS)
        return PG_STATE_RESTARTING;
    if (a->op.kind == OP_DEMOTE)
        return a->server_up ? PG_STATE_STOPPING : PG_STATE_STOPPED;
    if (a->server_up)
        return a->pg.valid ? PG_STATE_RUNNING : PG_STATE_STARTING;
    return a->memory.crashed ? PG_STATE_CRASHED : PG_STATE_STOPPED;
}

/* The initialize key is missing while somebody leads. */
static void repair(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    const struct text_key *key = &a->cluster.initialize;
    struct call *c;

    if (a->repair_busy || a->store_busy || a->store_failed || !a->cluster_known || a->op.kind != OP_NONE ||
        a->cluster.leader.session != a->lease.session || (key->exists && cluster_sysid_is_valid(key->text)) ||
        (a->bootstrap_incomplete && !a->bootstrap_made))
        return;
    a->repair_busy = true;
    c = store_call(w, n, CALL_REPAIR, w->policy.retry_timeout_us);
    c->sysid_number = pg_sysid(w, n);
    c->revision = key->exists ? key->revision : 0;
    store_send(w, c);
}

void publish(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    uint64_t now_us = local_us(w, n);
    bool leads = a->lease.held && a->lease.deadline_us > now_us && a->server_up && a->pg.valid &&
                 (!a->pg.in_recovery || a->standby_cluster);
    struct stored_member m = {.state = published_state(a),
                              .role = !leads              ? PG_ROLE_REPLICA
                                      : a->pg.in_recovery ? PG_ROLE_STANDBY_LEADER
                                                          : PG_ROLE_PRIMARY,
                              .timeline = a->pg.timeline,
                              .streaming = a->pg.streaming,
                              .lsn = a->pg.lsn};
    uint32_t face = 1 + m.state + m.role * 32U + m.streaming * 512U + m.timeline * 1024U;
    struct call *c;

    if (a->op.kind == OP_NONE && a->pg.valid && a->server_up)
        slots_maintain(w, n, leads);
    if (leads) {
        failsafe_publish(w, n);
        repair(w, n);
    }
    if (a->member_busy || (face == a->member_face && now_us - a->member_written_at_us < w->policy.loop_wait_us))
        return;
    a->member_face = face;
    a->member_written_at_us = now_us;
    a->member_busy = true;
    c = store_call(w, n, CALL_TOUCH, w->policy.retry_timeout_us);
    c->member = m;
    c->ttl_us = w->policy.ttl_us;
    c->status_lsn = leads ? a->pg.lsn : 0;
    if (leads && a->cluster.leader.session == a->lease.session && !a->store_busy) {
        c->known = cold_start_members(w, n);
        c->known_revision = a->cluster.known_text.revision + 1;
    }
    c->status_retain = slots_retained(a);
    c->status_logical = n->pg.logical;
    store_send(w, c);
}
