#include "ha/ha.h"
#include <string.h>
#include "ha/parts.h"

enum { SWIFT_MIN_US = 300000, SWIFT_MAX_US = 3000000 };

uint64_t ha_swift_stop_budget_us(const struct policy *p)
{
    uint64_t budget_us = p->ttl_us / 10;

    if (budget_us < SWIFT_MIN_US)
        return SWIFT_MIN_US;
    return budget_us > SWIFT_MAX_US ? SWIFT_MAX_US : budget_us;
}

uint64_t ha_renew_interval_us(const struct policy *p)
{
    uint64_t sixth_us = p->ttl_us / 6;

    return sixth_us < p->loop_wait_us ? sixth_us : p->loop_wait_us;
}

uint64_t ha_lease_deadline_us(uint64_t sent_at_us, uint64_t ttl_us)
{
    return sent_at_us + ttl_us - ttl_us / 1000;
}

uint64_t ha_demote_at_us(const struct ha_view *v)
{
    uint64_t budget_us = ha_swift_stop_budget_us(&v->policy);

    if (!v->keeper.armed)
        return 0;
    /* An instant that lies before the budget means "at once"; 0 would mean that nothing is armed. */
    return v->keeper.fence_at_us > budget_us ? v->keeper.fence_at_us - budget_us : 1;
}

const struct member *ha_running_leader(const struct ha_view *v)
{
    const struct member *leader;

    if (!ha_stored_sysid(v))
        return NULL;
    leader = cluster_leader_member(v->cluster);
    if (!leader || strcmp(leader->name, v->name) == 0)
        return NULL;
    return leader->state == PG_STATE_RUNNING &&
                   (leader->role == PG_ROLE_PRIMARY || leader->role == PG_ROLE_STANDBY_LEADER)
               ? leader
               : NULL;
}

uint64_t ha_stored_sysid(const struct ha_view *v)
{
    const char *digit;
    uint64_t sysid = 0;

    if (!v->cluster || !v->cluster->initialize.exists || !cluster_sysid_is_valid(v->cluster->initialize.text))
        return 0;
    for (digit = v->cluster->initialize.text; *digit; digit++)
        sysid = sysid * 10 + (uint64_t)(*digit - '0');
    return sysid;
}

static bool sysid_differs(const struct ha_view *v)
{
    uint64_t stored = ha_stored_sysid(v);

    /* What is left of a bootstrap that never finished was never anybody's cluster: it is set aside, once it is down. */
    if (!stored || v->pg.data_dir_empty || (v->bootstrap_incomplete && !v->pg.running))
        return false;
    /* Of a server that runs SQL says it; until it has answered, the control file it was started with. */
    if (v->pg.running ? !v->pg.sysid : !v->pg.control_known)
        return false;
    return stored != v->pg.sysid;
}

static struct ha_decision decide_other_cluster(const struct ha_view *v)
{
    if (v->pg.running)
        return ha_say_stop(
            HA_STOP, HA_SWIFT, false,
            "the store knows another cluster of this scope, with system identifier %s, not %llu: stopping",
            v->cluster->initialize.text, (unsigned long long)v->pg.sysid);
    return ha_say(HA_EXIT,
                  "the data directory belongs to another cluster: its system identifier is %llu, that of scope and "
                  "store %s",
                  (unsigned long long)v->pg.sysid, v->cluster->initialize.text);
}

/* These may end with PostgreSQL out of recovery, or have it so already: they live and die with the lease (S2, S3). */
static bool op_needs_lease(enum op_kind op)
{
    return op == OP_START_PRIMARY || op == OP_PROMOTE;
}

/* A bootstrap is undone by whoever runs it; what the store answers about the leader key must be known. */
static bool op_outlives_stop(enum op_kind op)
{
    return op == OP_BOOTSTRAP || op == OP_ACQUIRE || op == OP_RELEASE;
}

static struct ha_decision decide_stopping(const struct ha_view *v);

/* A restart of the primary begins under the lease and goes on as OP_START_PRIMARY. */
static bool op_is_bound(const struct ha_view *v)
{
    return op_needs_lease(v->op) || (v->op == OP_RESTART && v->keeper.armed);
}

static struct ha_decision decide_busy(const struct ha_view *v)
{
    uint64_t timeout_us = v->op_timeout_us ? v->op_timeout_us : v->policy.primary_start_timeout_us;
    struct ha_decision d;

    if (v->op == OP_DEMOTE)
        return ha_say(HA_NOTHING, "%s", ha_op_text(v->op));
    /* The members are asked, also by a leader, beside a primary that runs: nothing of its rules waits for that. */
    if (v->op == OP_ASK_PEERS && v->pg.running && !v->pg.in_recovery && ha_primary_must_stop(v, &d) &&
        d.action == HA_DEMOTE)
        return d;
    if (op_is_bound(v) && !v->lease.held)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, false, "lost the leader key while %s", ha_op_text(v->op));
    if (v->keeper.armed && v->now_us >= ha_demote_at_us(v))
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, false, "the lease was not renewed in time while %s",
                           ha_op_text(v->op));
    if (v->stopping && !op_outlives_stop(v->op))
        return decide_stopping(v);
    if (ha_standby_cluster_forbids(v, &d))
        return d;
    /* It was started without the store, and nobody need be able to log in to another cluster. */
    if (v->op == OP_START_STANDBY && v->pg.running && !v->policy.pause && sysid_differs(v))
        return decide_other_cluster(v);
    if (op_needs_lease(v->op) && ha_disk_is_unfit(v))
        return ha_disk_demote(v);
    /* What was adopted frozen never answers, what is promoted may freeze on the way, and what hangs does not stop. */
    if (op_is_bound(v) && v->pg.hung)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "PostgreSQL does not answer any more while %s: giving the leader key up", ha_op_text(v->op));
    if (op_needs_lease(v->op) && timeout_us && v->now_us - v->op_since_us >= timeout_us && !v->op_timeout_us &&
        ha_somebody_could_lead(v))
        return ha_say_stop(HA_DEMOTE, HA_SWIFT, true, "%s took longer than primary_start_timeout", ha_op_text(v->op));
    if (op_needs_lease(v->op) && timeout_us && v->now_us - v->op_since_us >= timeout_us && !v->policy.pause &&
        ha_somebody_could_lead(v))
        return ha_say_stop(HA_DEMOTE, HA_SWIFT, true, "the restart took longer than it was given: failing over");
    d = ha_say(HA_NOTHING, "%s", ha_op_text(v->op));
    d.wake_at_us = ha_demote_at_us(v);
    return d;
}

/* The operator stops this node: a primary hands over, a standby just stops. */
static struct ha_decision decide_stopping(const struct ha_view *v)
{
    struct ha_decision d;

    if (v->pg.running && (!v->pg.in_recovery || v->keeper.armed))
        return ha_say_stop(HA_DEMOTE, HA_GRACEFUL, true, "stopping: handing the leader key over");
    if (v->pg.running && ha_sync_must_leave(v, "stopping", v->stopping_since_us, &d))
        return d;
    if (v->pg.running)
        return ha_say_stop(HA_STOP, HA_GRACEFUL, false, "stopping PostgreSQL");
    if (v->keeper.armed || !v->keeper.dead_proven)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, v->lease.held,
                           "stopping: proving that no process of PostgreSQL is left");
    if (v->lease.held)
        return ha_say(HA_RELEASE, "stopping: giving the leader key up");
    return ha_say(HA_EXIT, "stopped");
}

/*
 * The keeper is gone: nobody would fence us. Nothing is renewed, acquired or promoted (DESIGN section 2); a successor
 * has until the fence point to appear, then the agent kills the tree itself.
 */
static struct ha_decision decide_without_keeper(const struct ha_view *v)
{
    struct ha_decision d;

    if (v->op == OP_DEMOTE)
        return ha_say(HA_NOTHING, "the keeper is gone: stopping PostgreSQL");
    if (!v->pg.running && !v->keeper.armed)
        return ha_say(HA_EXIT, "the keeper is gone and PostgreSQL is down: leaving the rest to a successor");
    if (v->pg.in_recovery && !v->keeper.armed)
        return ha_say(HA_NOTHING, "the keeper is gone: waiting for its successor");
    /* Armed and down: backends of the dead postmaster may still commit, and only we are left to kill them. */
    if (!v->pg.running || !v->keeper.armed)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, false, "the keeper is gone, and PostgreSQL is not to be trusted");
    /* Swift, not at once: the standbys shall have what was acknowledged before the end. */
    if (v->now_us >= ha_demote_at_us(v))
        return ha_say_stop(HA_DEMOTE, HA_SWIFT, false,
                           "the keeper is gone and no successor came before the fence point");
    d = ha_say(HA_NOTHING, "the keeper is gone: waiting for its successor, not renewing the lease");
    d.wake_at_us = ha_demote_at_us(v);
    return d;
}

/* No server runs here. */
static struct ha_decision decide_no_server(const struct ha_view *v)
{
    if (v->pg.foreign_server)
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, true,
                           "somebody else has started PostgreSQL in our data directory: stopping it");
    if (!v->pg.data_dir_known)
        return ha_say(HA_NOTHING, "waiting for the check of the data directory, which has not answered");
    if (v->copy_incomplete && !v->pg.data_dir_empty)
        return ha_say(HA_SET_ASIDE, "an earlier copy into the data directory never finished: setting it aside");
    if (v->request.reinitialize && !v->pg.data_dir_empty && !v->lease.held && ha_running_leader(v))
        return ha_decide_reinitialize(v);
    if (v->pg.data_dir_foreign)
        return ha_say(HA_NOTHING, "the data directory is not empty, but holds no cluster of this user's");
    if (v->pg.data_dir_empty)
        return ha_decide_empty(v);
    return ha_decide_down(v);
}

static struct ha_decision decide(const struct ha_view *v)
{
    if (!v->keeper.connected)
        return decide_without_keeper(v);
    if (v->op != OP_NONE)
        return decide_busy(v);
    if (v->stopping)
        return decide_stopping(v);
    if (v->pg.running && !v->pg.in_recovery)
        return ha_decide_primary(v);
    if (v->keeper.armed && v->now_us >= ha_demote_at_us(v))
        return ha_say_stop(HA_DEMOTE, HA_AT_ONCE, false, "the lease was not renewed in time");
    if (sysid_differs(v) && v->policy.pause)
        return ha_say(HA_NOTHING, "paused: the data directory belongs to another cluster, not to %s",
                      v->cluster->initialize.text);
    if (sysid_differs(v))
        return decide_other_cluster(v);
    return v->pg.running ? ha_decide_standby(v) : decide_no_server(v);
}

/* Whatever the rule that says so, now or in times to come: nothing that ends with the leader key against a promise. */
static bool wants_to_lead(const struct ha_decision *d)
{
    return d->action == HA_ACQUIRE || d->action == HA_BOOTSTRAP;
}

struct ha_decision ha_decide(const struct ha_view *v)
{
    struct ha_decision d = decide(v);

    if (wants_to_lead(&d))
        (void)ha_failsafe_bars(v, &d);
    return d;
}
