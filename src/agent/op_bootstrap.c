/*
 * Making a new cluster, or the first member of a standby cluster from the one it follows: the winner of the initialize
 * key fills the data directory, takes the leader key, arms, and only then starts it as a primary. A marker file tells
 * an interrupted attempt from a cluster.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
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
    STAGE_UNMARK,
};
enum { PROBE_AGAIN_US = 100000, RACE_AGAIN_US = 1000000, AGAIN_AFTER_US = 10000000, MARK_MAX = 1024 };

static uint64_t dcs_deadline_us(const struct agent *a)
{
    return clock_now_us() + a->dynamic->policy.retry_timeout_us;
}

static void mark_path(const struct agent *a, char *buf, size_t size)
{
    (void)text_print(buf, size, "%s/" BOOTSTRAP_MARKER, a->config->postgresql.data_dir);
}

/* "n1 42 made": whose bootstrap, its mark on the initialize key, and whether only the store's word is missing. */
static int mark_write(struct agent *a, bool made, struct err *err)
{
    char path[512], text[MEMBER_NAME_SIZE + 64];
    int r;

    mark_path(a, path, sizeof(path));
    (void)text_print(text, sizeof(text), "%s %" PRIu64 " %s\n", a->config->name, a->op.initialize_revision,
                     made ? "made" : "begun");
    r = file_write_atomic(path, text, strlen(text), 0600, err);
    if (r < 0)
        return r;
    a->bootstrap_incomplete = true;
    a->bootstrap_made = made;
    a->bootstrap_revision = a->op.initialize_revision;
    return 0;
}

static void mark_parse(struct agent *a, char *text)
{
    char *next = NULL;
    const char *name = strtok_r(text, " \n", &next), *revision = strtok_r(NULL, " \n", &next);
    const char *how = strtok_r(NULL, " \n", &next);

    /* A copy of a node that had just made the cluster has its mark, too: it says nothing about us. */
    if (how && strcmp(name, a->config->name) == 0 && text_to_u64(revision, &a->bootstrap_revision))
        a->bootstrap_made = strcmp(how, "made") == 0;
}

void bootstrap_mark_load(struct agent *a)
{
    struct err err = {0};
    char *text = NULL;
    char path[512];

    mark_path(a, path, sizeof(path));
    a->bootstrap_incomplete = access(path, F_OK) == 0;
    a->bootstrap_made = false;
    a->bootstrap_revision = 0;
    if (!a->bootstrap_incomplete)
        return;
    if (file_read(path, MARK_MAX, &text, NULL, &err) < 0)
        log_warning("could not read the mark of an unfinished bootstrap: %s", err.msg);
    else
        mark_parse(a, text);
    free(text);
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
    char path[512];
    struct err err = {0};
    uint64_t stored;

    if (!a->bootstrap_incomplete || a->op.kind == OP_BOOTSTRAP || !ours || !key || !key->exists ||
        !text_to_u64(key->text, &stored) || stored != ours)
        return;
    mark_path(a, path, sizeof(path));
    if (file_remove(path, &err) < 0)
        log_warning("could not remove the bootstrap marker: %s", err.msg);
    a->bootstrap_incomplete = a->bootstrap_made = false;
    log_info("initialized a new cluster");
}

static void on_roles(void *userdata, int outcome, const struct err *err)
{
    struct agent *a = userdata;
    struct err file_err = {0};

    a->op.post_bootstrap = post_bootstrap_free(a->op.post_bootstrap);
    if (outcome < 0) {
        op_bootstrap_failed(a, err->msg);
        return;
    }
    if (mark_write(a, true, &file_err) < 0) {
        op_bootstrap_failed(a, file_err.msg);
        return;
    }
    /* All that is missing is the store's word, and what a store lacks the leader writes. */
    op_end(a);
    hooks_started(a);
    gather_store(a);
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
    struct err file_err = {0};

    a->op.fill = fill_free(a->op.fill);
    if (outcome < 0) {
        marker_clear(a, "copy"); /* what it had made is removed */
        op_bootstrap_failed(a, err->msg);
        return;
    }
    if (mark_write(a, false, &file_err) < 0) {
        op_bootstrap_failed(a, file_err.msg);
        return;
    }
    marker_clear(a, "copy");
    a->op.stage = STAGE_LEADER;
    /* This process may have stood still in between: without our mark somebody else may have made the cluster. */
    tether_acquire(a, (struct dcs_guard){"initialize", a->op.initialize_revision}, on_leader);
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

/* The very mark of this attempt: any other may be that of a node that bootstraps now. */
static bool mark_is_ours(const struct agent *a, const struct text_key *key)
{
    return key->exists && !cluster_sysid_is_valid(key->text) && a->bootstrap_revision &&
           key->revision == a->bootstrap_revision;
}

/*
 * Our earlier attempt died half-way. Its mark would go by itself, with the lease of that life's member key. But as long
 * as it is there, the identifier which that life may have sent can still come, and nobody would have that cluster then.
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
