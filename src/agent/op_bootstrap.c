/*
 * Making a new cluster, or the first member of a standby cluster from the one it follows: the winner of the initialize
 * key fills the data directory, takes the leader key, arms, and only then starts it as a primary. A marker file tells
 * an interrupted attempt from a cluster.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "io/file.h"

enum {
    STAGE_RACE = 1,
    STAGE_INITDB,
    STAGE_GIVE_UP,
    STAGE_LEADER,
    STAGE_ARM,
    STAGE_START,
    STAGE_ROLES,
    STAGE_PUBLISH_CONFIG,
    STAGE_PUBLISH_SYSID,
    STAGE_UNMARK,
};
enum { PROBE_AGAIN_US = 100000, RACE_AGAIN_US = 1000000, AGAIN_AFTER_US = 10000000 };

static uint64_t dcs_deadline_us(const struct agent *a)
{
    return clock_now_us() + a->dynamic->policy.retry_timeout_us;
}

static void on_given_up(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    a->memory.mark_may_be_ours = answer->outcome == DCS_UNKNOWN;
    if (a->op.kind != OP_BOOTSTRAP || a->op.stage != STAGE_GIVE_UP)
        return;
    if (answer->outcome != DCS_DONE)
        log_warning("could not remove our mark from the initialize key: %s", answer->err.msg);
    op_end(a);
}

void op_bootstrap_failed(struct agent *a, const char *why)
{
    struct ha_decision d = {.action = HA_DEMOTE, .urgency = HA_AT_ONCE, .release = true};

    log_error("could not bootstrap the cluster: %s", why);
    a->memory.no_race_until_us = clock_now_us() + AGAIN_AFTER_US;
    if (a->op.stage <= STAGE_INITDB && a->op.initialize_revision) {
        /* Waited for: a process that ended before would leave all nodes waiting for a bootstrap that is over. */
        a->op.stage = STAGE_GIVE_UP;
        a->op.fill = fill_free(a->op.fill);
        a->dcs->ops->delete (a->dcs, "initialize", DCS_REVISION, a->op.initialize_revision, dcs_deadline_us(a),
                             on_given_up, a);
        return;
    }
    /* The marker is there: the next decision sets the directory aside and takes our mark off the initialize key. */
    op_demote(a, &d);
}

void op_bootstrap_stop(struct agent *a)
{
    /* Whether the initialize key is ours is not known yet: its answer decides. */
    if (a->op.stage != STAGE_RACE && a->op.stage != STAGE_GIVE_UP)
        op_bootstrap_failed(a, "this node stops");
}

void bootstrap_note_finished(struct agent *a)
{
    const struct text_key *key = a->cluster ? &a->cluster->initialize : NULL;
    uint64_t ours = a->pg.valid ? a->pg.facts.system_identifier : a->control.control_known ? a->control.sysid : 0;
    char marker[512];
    struct err err = {0};
    uint64_t stored;

    if (!a->bootstrap_incomplete || a->op.kind == OP_BOOTSTRAP || !ours || !key || !key->exists ||
        !text_to_u64(key->text, &stored) || stored != ours)
        return;
    (void)text_print(marker, sizeof(marker), "%s/" BOOTSTRAP_MARKER, a->config->postgresql.data_dir);
    if (file_remove(marker, &err) < 0)
        log_warning("could not remove the bootstrap marker: %s", err.msg);
    a->bootstrap_incomplete = false;
    log_info("initialized a new cluster");
}

static void on_sysid_written(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    if (a->op.kind != OP_BOOTSTRAP || a->op.stage != STAGE_PUBLISH_SYSID)
        return;
    if (answer->outcome == DCS_REFUSED) {
        op_bootstrap_failed(a, answer->err.msg);
        return;
    }
    /* Not known is no failure: the identifier may be in the store. The next read of it decides. */
    if (answer->outcome == DCS_UNKNOWN)
        log_warning("not known whether the store has the system identifier: %s", answer->err.msg);
    op_end(a);
    hooks_started(a);
    gather_store(a);
}

static void on_config_written(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;
    char sysid[24];

    if (a->op.kind != OP_BOOTSTRAP || a->op.stage != STAGE_PUBLISH_CONFIG)
        return;
    /* REFUSED: somebody has put a configuration there already; it is used. */
    if (answer->outcome == DCS_UNKNOWN) {
        op_bootstrap_failed(a, answer->err.msg);
        return;
    }
    a->op.stage = STAGE_PUBLISH_SYSID;
    (void)text_print(sysid, sizeof(sysid), "%" PRIu64, a->pg.facts.system_identifier);
    a->dcs->ops->put(a->dcs, "initialize", sysid, DCS_REVISION, a->op.initialize_revision, dcs_deadline_us(a),
                     on_sysid_written, a);
}

static void on_roles(void *userdata, int outcome, const struct err *err)
{
    struct agent *a = userdata;

    a->op.post_bootstrap = post_bootstrap_free(a->op.post_bootstrap);
    if (outcome < 0) {
        op_bootstrap_failed(a, err->msg);
        return;
    }
    a->op.stage = STAGE_PUBLISH_CONFIG;
    a->dcs->ops->put(a->dcs, "config", a->dynamic->json, DCS_ABSENT, 0, dcs_deadline_us(a), on_config_written, a);
}

static int on_probe_again(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    gather_pg(a);
    return 0;
}

void op_bootstrap_pg_changed(struct agent *a)
{
    struct err err = {0};

    if (a->op.stage != STAGE_START)
        return;
    if (!a->pg.valid) {
        (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + PROBE_AGAIN_US, on_probe_again, a);
        return;
    }
    a->op.stage = STAGE_ROLES;
    if (post_bootstrap_start(a->loop, a->config, a->cgroup_procs[0] ? a->cgroup_procs : NULL, on_roles, a,
                             &a->op.post_bootstrap, &err) < 0)
        op_bootstrap_failed(a, err.msg);
}

static void start_when_armed(struct agent *a, bool armed)
{
    struct err err = {0};

    if (!armed) {
        op_bootstrap_failed(a, "the keeper does not arm");
        return;
    }
    a->op.stage = STAGE_START;
    if (start_server(a, false, "", &err) < 0)
        op_bootstrap_failed(a, err.msg);
    else
        (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + PROBE_AGAIN_US, on_probe_again, a);
}

static void on_leader(struct agent *a, struct dcs_answer *answer)
{
    if (answer->outcome != DCS_DONE) {
        op_bootstrap_failed(a, answer->err.msg);
        return;
    }
    tether_keep(a, answer);
    a->op.stage = STAGE_ARM;
    op_arm(a, start_when_armed);
}

static void on_initdb(void *userdata, int outcome, const struct err *err)
{
    struct agent *a = userdata;
    char marker[512];
    struct err file_err = {0};

    a->op.fill = fill_free(a->op.fill);
    if (outcome < 0) {
        marker_clear(a, "copy"); /* what it had made is removed */
        op_bootstrap_failed(a, err->msg);
        return;
    }
    (void)text_print(marker, sizeof(marker), "%s/" BOOTSTRAP_MARKER, a->config->postgresql.data_dir);
    if (file_write_atomic(marker, "", 0, 0600, &file_err) < 0) {
        op_bootstrap_failed(a, file_err.msg);
        return;
    }
    marker_clear(a, "copy");
    a->bootstrap_incomplete = true;
    a->op.stage = STAGE_LEADER;
    tether_acquire(a, on_leader);
}

/*
 * The copy of a standby cluster's first member is a whole cluster: it is started, elected and published as any other,
 * and the leader writes the system identifier over our mark. Should this node die before, the mark goes with it, and
 * whoever makes the next copy makes the same cluster.
 */
static void on_copied(void *userdata, int outcome, const struct err *err)
{
    struct agent *a = userdata;

    a->op.fill = fill_free(a->op.fill);
    marker_clear(a, "copy");
    if (outcome < 0) {
        op_bootstrap_failed(a, err->msg);
        return;
    }
    log_info("the copy of the cluster that is followed is complete");
    a->memory.divergence = DIVERGENCE_UNKNOWN;
    a->memory.is_new_copy = true;
    a->memory.stopped_here = true;
    a->config_unsettled = true; /* what the other cluster had kept of its configuration was copied, too */
    a->control = (struct local_pg){0};
    op_end(a);
    gather_control(a);
}

static int copy_remote(struct agent *a, struct err *err)
{
    struct pg_upstream remote;

    if (!fill_upstream(a, REMOTE_CLUSTER, &remote))
        return err_set(err, -EDESTADDRREQ, "standby_cluster has no host to copy from");
    return fill_replica(a->loop, a->config, &remote, a->cgroup_procs[0] ? a->cgroup_procs : NULL, on_copied, a,
                        &a->op.fill, err);
}

static int fill_data_directory(struct agent *a, struct err *err)
{
    if (a->dynamic->policy.standby_cluster)
        return copy_remote(a, err);
    return fill_initdb(a->loop, a->config, a->cgroup_procs[0] ? a->cgroup_procs : NULL, on_initdb, a, &a->op.fill, err);
}

static void on_race(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;
    struct err err = {0};

    a->memory.mark_may_be_ours = answer->outcome != DCS_REFUSED;
    if (a->op.kind != OP_BOOTSTRAP || a->op.stage != STAGE_RACE)
        return;
    if (answer->outcome != DCS_DONE) {
        log_info("did not get the initialize key: %s", answer->err.msg);
        /* Without a member key it fails at once: not again as fast as the store answers. */
        if (answer->outcome == DCS_UNKNOWN)
            a->memory.no_race_until_us = clock_now_us() + RACE_AGAIN_US;
        op_end(a);
        gather_store(a);
        return;
    }
    a->op.initialize_revision = answer->revision;
    a->op.stage = STAGE_INITDB;
    if (a->stopping) {
        op_bootstrap_stop(a);
        return;
    }
    /* The bootstrap marker lies inside the directory, which initdb wants empty. */
    marker_set(a, "copy");
    if (fill_data_directory(a, &err) < 0)
        op_bootstrap_failed(a, err.msg);
}

void op_bootstrap(struct agent *a, const struct ha_decision *d)
{
    op_begin(a, OP_BOOTSTRAP, d);
    a->op.stage = STAGE_RACE;
    /* On the member's lease: the mark of a node that dies inside initdb goes away by itself. */
    a->dcs->ops->put(a->dcs, "initialize", "", DCS_ABSENT_WHILE_MEMBER, 0, dcs_deadline_us(a), on_race, a);
}

static void on_mark_removed(void *userdata, struct dcs_answer *answer)
{
    const struct ha_decision d = {.action = HA_ABANDON_BOOTSTRAP};
    struct agent *a = userdata;

    if (a->op.kind != OP_SET_ASIDE || a->op.stage != STAGE_UNMARK)
        return;
    if (answer->outcome == DCS_DONE) {
        a->memory.mark_may_be_ours = false;
        op_set_aside(a, &d);
        return;
    }
    /* The identifier may have come in late: then the bootstrap has finished after all. */
    log_info("our mark could not be taken off the initialize key, reading it again: %s", answer->err.msg);
    op_end(a);
    gather_store(a);
}

/* The very mark that this process has made: the one of another node, or of an earlier life, hangs on another lease. */
static bool mark_is_ours(const struct agent *a, const struct text_key *key)
{
    return key->exists && !cluster_sysid_is_valid(key->text) && key->session && key->session == a->member.session;
}

/*
 * Our earlier attempt died half-way. The mark of an earlier life of this node goes by itself, with the lease of that
 * life's member key. Any other may be that of a node that bootstraps now.
 */
void op_abandon_bootstrap(struct agent *a, const struct ha_decision *d)
{
    const struct text_key *key = a->cluster ? &a->cluster->initialize : NULL;

    if (!key || !mark_is_ours(a, key)) {
        op_set_aside(a, d);
        return;
    }
    op_begin(a, OP_SET_ASIDE, d);
    a->op.stage = STAGE_UNMARK;
    a->dcs->ops->delete (a->dcs, "initialize", DCS_REVISION, key->revision, dcs_deadline_us(a), on_mark_removed, a);
}
