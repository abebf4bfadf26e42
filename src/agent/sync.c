/*
 * Synchronous replication on the leader: ha_sync_step() decides, here is done what it says, one step at a time: /sync
 * in the store, synchronous_standby_names in PostgreSQL's files. And what it must know: whether a change of the names
 * has arrived in every process of the server.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "dcs/codec.h"

/*
 * A walsender releases commits by the names that it has read, so what SQL shows in another session is not enough. The
 * postmaster signals all its children in one go; a walsender reads its configuration before it looks at the next answer
 * of its standby. This long after the signal each of them has been told, and what is written from then on waits as it
 * should.
 */
#define SETTLE_US (100 * USEC_PER_MSEC)
#define LOOK_AGAIN_US (150 * USEC_PER_MSEC)
#define LOOK_US USEC_PER_SEC /* a standby that is lost holds up every commit */
#define RETRY_US (300 * USEC_PER_MSEC)
#define OVERRULED_US (5 * USEC_PER_SEC)
#define AWAIT_US (2 * USEC_PER_SEC)

/* --- what is known --------------------------------------------------------------------------------------------------
 */

static bool leads(const struct agent *a)
{
    return a->lease.held && a->lease.deadline_us > clock_now_us() && agent_is_primary(a);
}

bool sync_is_on(const struct agent *a)
{
    return a->dynamic->policy.sync_mode != SYNC_MODE_OFF;
}

/* The names the files have are in the answer of SQL, which was asked for long enough after the reload. */
static bool is_shown(const struct agent *a)
{
    return a->pg.valid && strcmp(a->pg.facts.synchronous_standby_names, a->sync.names) == 0 &&
           a->pg.facts.asked_at_us >= a->sync.written_at_us + SETTLE_US;
}

/*
 * Whether commits wait at all the checkpointer decides, which may be busy writing when the names are no longer empty.
 * While they stay so it has nothing to decide again.
 */
static void note_checkpointer(struct agent *a)
{
    const struct pg_facts *f = &a->pg.facts;

    if (!f->synchronous_standby_names[0]) {
        a->sync.waits = false;
        a->sync.nonempty_since_us = 0;
        return;
    }
    if (!a->sync.nonempty_since_us)
        a->sync.nonempty_since_us = f->asked_at_us;
    if (f->checkpointer_idle && f->asked_at_us >= a->sync.nonempty_since_us + SETTLE_US)
        a->sync.waits = true;
}

void sync_note_pg(struct agent *a)
{
    const struct pg_facts *f = &a->pg.facts;

    note_checkpointer(a);
    if (!a->sync.names_known && !f->in_recovery && sync_is_on(a)) {
        /* Of an earlier agent, or from before the mode was switched on. */
        (void)text_copy(a->sync.names, sizeof(a->sync.names), f->synchronous_standby_names);
        a->sync.names_known = true;
        a->sync.written_at_us = clock_now_us();
        a->sync.settled = false;
        a->sync.files_failed = true; /* it may have died between writing them and having them read */
    }
    if (!is_shown(a) || a->sync.files_failed) {
        a->sync.settled = false;
    } else if (!a->sync.settled && (a->sync.waits || !a->sync.names[0])) {
        a->sync.settled = true;
        a->sync.since_lsn = f->current_lsn;
    }
}

void sync_forget(struct agent *a)
{
    a->sync.names_known = a->sync.settled = false;
    a->sync.sure_revision = 0;
    a->sync.await_until_us = 0;
}

void sync_forget_pg(struct agent *a)
{
    a->sync.settled = a->sync.waits = false;
    a->sync.nonempty_since_us = 0;
}

const char *sync_names_for_files(const struct agent *a)
{
    if (a->sync.names_known)
        return a->sync.names;
    return ha_sync_blocks(&a->dynamic->policy) ? SYNC_PLACEHOLDER : NULL;
}

/* --- the view -------------------------------------------------------------------------------------------------------
 */

static enum sync_rank rank_of(const char *state)
{
    static const char *const texts[] = {"async", "potential", "quorum", "sync"};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (strcmp(state, texts[i]) == 0)
            return (enum sync_rank)i;
    return SYNC_RANK_ASYNC;
}

uint64_t sync_waited_for_lsn(const struct pg_facts *f, const struct pg_walsender *w)
{
    if (strcmp(f->synchronous_commit, "remote_apply") == 0)
        return w->replay_lsn;
    return strcmp(f->synchronous_commit, "remote_write") == 0 ? w->write_lsn : w->flush_lsn;
}

static size_t find_standbys(const struct pg_facts *f, struct sync_standby *ret, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n_walsenders && n < max; i++) {
        const struct pg_walsender *w = &f->walsenders[i];

        if (strcmp(w->state, "streaming") != 0)
            continue;
        ret[n] = (struct sync_standby){
            .rank = rank_of(w->sync_state), .lsn = sync_waited_for_lsn(f, w), .flush_lsn = w->flush_lsn};
        (void)text_copy(ret[n++].name, sizeof(ret->name), w->application_name);
    }
    return n;
}

bool sync_is_foreign(const struct agent *a)
{
    return a->sync.restored && a->cluster && a->cluster->sync.revision == a->sync.foreign_revision;
}

static void look(const struct agent *a, struct sync_view *ret)
{
    const char *shown = a->pg.facts.synchronous_standby_names;

    ret->names_known = a->sync.names_known;
    sync_names_read(&ret->names, shown);
    ret->names_pending =
        strcmp(shown, a->sync.names) != 0 || a->pg.facts.asked_at_us < a->sync.written_at_us || a->sync.files_failed;
    ret->settled = a->sync.settled;
    ret->since_lsn = a->sync.since_lsn;
    ret->names_are_ours = a->sync.names_known;
    ret->key_is_foreign = sync_is_foreign(a);
    ret->key_in_doubt = a->cluster->sync.revision != a->sync.sure_revision;
    ret->await_until_us = a->sync.await_until_us;
}

/* --- doing ----------------------------------------------------------------------------------------------------------
 */

static void on_key(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    a->sync.busy = false;
    a->sync.asked_at_us = clock_now_us();
    if (answer->outcome == DCS_DONE) {
        a->sync.sure_revision = answer->revision;
        a->sync.restored = false;
    } else {
        log_warning("could not write /sync: %s", answer->err.msg);
        a->sync.again_at_us = clock_now_us() + RETRY_US;
    }
    gather_store(a);
}

void sync_write_key(struct agent *a, const struct sync_promise *promise, dcs_done_fn done)
{
    uint64_t revision = a->cluster->sync.revision;
    char names[SYNC_NAMES_TEXT_SIZE];
    char *json;

    (void)sync_set_print(&promise->voters, names, sizeof(names));
    json = codec_print_sync(a->config->name, promise->quorum, names);
    if (!json)
        return;
    a->sync.busy = true;
    a->sync.sure_revision = 0; /* from now until the answer nobody knows what is there */
    a->dcs->ops->put(a->dcs, "sync", json, revision ? DCS_REVISION : DCS_ABSENT, revision,
                     clock_now_us() + a->dynamic->policy.retry_timeout_us, done, a);
    free(json);
}

static void delete_key(struct agent *a)
{
    a->sync.busy = true;
    a->sync.sure_revision = 0;
    a->dcs->ops->delete (a->dcs, "sync", DCS_REVISION, a->cluster->sync.revision,
                         clock_now_us() + a->dynamic->policy.retry_timeout_us, on_key, a);
}

static int write_known_names(struct agent *a, bool standby)
{
    struct err err = {0};

    a->sync.names_known = true;
    a->sync.settled = false;
    a->sync.files_failed = write_files(a, standby, standby ? a->follows : "", NULL, &err) < 0;
    a->sync.written_at_us = clock_now_us();
    if (a->sync.files_failed) {
        /* What is in the file now nobody knows; it is written again before anything relies on it. */
        log_error("could not write synchronous_standby_names: %s", err.msg);
        a->sync.again_at_us = clock_now_us() + RETRY_US;
        return err.code ? err.code : -1;
    }
    (void)pg_server_reload(a->server);
    return 0;
}

int sync_write_names(struct agent *a, bool standby, const struct sync_names *names)
{
    (void)sync_names_print(names, a->sync.names, sizeof(a->sync.names));
    return write_known_names(a, standby);
}

static void give_names_back(struct agent *a)
{
    struct err err = {0};

    a->sync.names_known = false;
    if (write_files(a, false, "", NULL, &err) < 0) {
        log_error("could not write synchronous_standby_names: %s", err.msg);
        a->sync.names_known = true;
        a->sync.again_at_us = clock_now_us() + RETRY_US;
        return;
    }
    (void)pg_server_reload(a->server);
}

/* What was to be written last time is tried again; and ALTER SYSTEM wins over our file. */
static void mind_pending(struct agent *a)
{
    uint64_t now_us = clock_now_us();

    if (a->sync.files_failed) {
        (void)write_known_names(a, false);
    } else if (now_us - a->sync.written_at_us >= OVERRULED_US && a->pg.facts.asked_at_us > a->sync.written_at_us &&
               now_us >= a->sync.again_at_us) {
        log_warning("synchronous_standby_names is \"%.200s\" and not \"%.200s\" as written into its configuration\n"
                    "HINT:  ALTER SYSTEM RESET synchronous_standby_names",
                    a->pg.facts.synchronous_standby_names, a->sync.names);
        (void)pg_server_reload(a->server);
        a->sync.again_at_us = now_us + 10 * OVERRULED_US;
    }
}

static void do_step(struct agent *a, const struct sync_step *d, const struct sync_view *s)
{
    uint64_t now_us = clock_now_us();

    if (d->action != SYNC_WAIT)
        log_info("synchronous replication: %s", d->reason);
    else if (d->is_soon)
        log_debug("synchronous replication: %s", d->reason);
    switch (d->action) {
    case SYNC_WAIT:
        if (s->names_pending && sync_is_on(a))
            mind_pending(a);
        if (sync_is_on(a))
            agent_wake_at(a, now_us + (d->is_soon ? LOOK_AGAIN_US : LOOK_US));
        break;
    case SYNC_WRITE_KEY:
        sync_write_key(a, &d->promise, on_key);
        break;
    case SYNC_DELETE_KEY:
        delete_key(a);
        break;
    case SYNC_SET_NAMES:
        (void)sync_write_names(a, false, &d->names);
        agent_wake_at(a, now_us + LOOK_AGAIN_US);
        break;
    case SYNC_GIVE_NAMES_BACK:
        give_names_back(a);
        break;
    }
}

/* Others count what we have only if it is from after the leader's end. */
static void mind_election(struct agent *a, const struct ha_view *v)
{
    uint64_t now_us = clock_now_us();

    if (!sync_is_on(a) || !v->cluster || v->cluster->leader.exists || !v->pg.running || !v->pg.in_recovery)
        return;
    if (!a->pg.valid || a->pg.facts.asked_at_us + LOOK_AGAIN_US <= now_us)
        gather_pg(a);
    agent_wake_at(a, now_us + LOOK_AGAIN_US);
}

void sync_update(struct agent *a, const struct ha_view *v)
{
    struct sync_standby standbys[SYNC_SET_MAX];
    struct sync_view s = {.standbys = standbys};
    struct sync_step step;
    uint64_t now_us = clock_now_us();

    if (a->pg.valid && pg_server_pid(a->server))
        sync_note_pg(a);
    mind_election(a, v);
    if (a->op.kind != OP_NONE || a->leaving || a->stopping || !leads(a) || !v->cluster)
        return;
    /* A view older than our last write says nothing about it; nor does one in which this node does not lead yet. */
    if (a->sync.busy || a->store_busy || v->cluster->read_sent_at_us < a->sync.asked_at_us ||
        v->cluster->leader.session != a->lease.session)
        return;
    if (now_us < a->sync.again_at_us) {
        agent_wake_at(a, a->sync.again_at_us);
        return;
    }
    look(a, &s);
    s.n_standbys = find_standbys(&a->pg.facts, standbys, ARRAY_LEN(standbys));
    ha_sync_step(v, &s, &step);
    do_step(a, &step, &s);
}

bool sync_is_leaving(const struct agent *a)
{
    if (!sync_is_on(a) || a->lease.held || agent_is_primary(a))
        return false;
    return a->stopping || a->requests.of_node.restart || a->requests.restart_runs || a->parameters.starved_since_us;
}

const char *sync_tags_json(struct agent *a)
{
    json_t *tags;

    if (!sync_is_leaving(a)) {
        freep(&a->sync.leaving_tags_json);
        a->sync.leaving_tags_json = NULL;
        return fence_tags_json(a);
    }
    if (!a->sync.leaving_tags_json) {
        tags = json_loads(fence_tags_json(a), 0, NULL);
        if (!json_is_object(tags)) {
            json_decref(tags);
            tags = json_object();
        }
        (void)json_object_set_new(tags, "nosync", json_true());
        (void)json_object_set_new(tags, "sync_priority", json_integer(0));
        a->sync.leaving_tags_json = json_dumps(tags, JSON_COMPACT | JSON_PRESERVE_ORDER);
        json_decref(tags);
    }
    return a->sync.leaving_tags_json ? a->sync.leaving_tags_json : fence_tags_json(a);
}

void sync_begin_reign(struct agent *a)
{
    if (sync_is_on(a))
        a->sync.await_until_us = clock_now_us() + AWAIT_US;
}
