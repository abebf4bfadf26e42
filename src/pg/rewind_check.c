/* Compares the local position with the leader's history: needs nothing but its answers. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "base/text.h"
#include "pg/leader.h"
#include "pg/rewind.h"

struct rewind_check {
    struct pg_leader *leader;
    struct rewind_position local;
    uint64_t sysid; /* ours; 0 = not known */
    char leader_name[MEMBER_NAME_SIZE];
    rewind_check_fn done;
    void *userdata;
};

static enum rewind_need compare(const struct rewind_check *c, const struct pg_leader_facts *f, struct err *err)
{
    enum rewind_need need;

    if (f->in_recovery) {
        (void)err_set(err, -EAGAIN, "\"%s\" is not a primary", c->leader_name);
        return REWIND_UNKNOWN;
    }
    if (c->sysid && f->sysid != c->sysid) {
        (void)err_set(err, -EXDEV,
                      "\"%s\" belongs to another cluster: its system identifier is %" PRIu64 ", ours %" PRIu64,
                      c->leader_name, f->sysid, c->sysid);
        return REWIND_UNKNOWN;
    }
    need = rewind_decide(c->local.timeline, c->local.lsn, c->local.in_recovery, c->local.shutdown_checkpoint_end_lsn,
                         f->timeline, f->history, f->n_history);
    if (c->local.is_alone)
        need = REWIND_NEEDED;
    /* pg_rewind reads the leader's control file: before the checkpoint it would still find our timeline there and do
     * nothing (facts sheet 6.4). */
    if (need == REWIND_NEEDED && f->control_timeline != f->timeline) {
        (void)err_set(err, -EAGAIN, "waiting for the checkpoint of timeline %" PRIu32 " on \"%s\"", f->timeline,
                      c->leader_name);
        return REWIND_UNKNOWN;
    }
    if (need == REWIND_UNKNOWN)
        (void)err_set(err, -EAGAIN, "the positions are not known yet");
    return need;
}

static void on_leader(void *userdata, int outcome, const struct pg_leader_facts *facts, const struct err *leader_err)
{
    struct rewind_check *c = userdata;
    struct err err = *leader_err;
    enum rewind_need need = outcome == 0 ? compare(c, facts, &err) : REWIND_UNKNOWN;

    c->done(c->userdata, need, outcome == 0 ? facts->timeline : 0, &err);
}

int rewind_check_start(sd_event *loop, const struct config *config, const struct pg_upstream *leader,
                       const struct local_pg *local, uint64_t timeout_us, rewind_check_fn done, void *userdata,
                       struct rewind_check **ret, struct err *err)
{
    CLEANUP(freep) struct rewind_check *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return err_set(err, -ENOMEM, "out of memory");
    c->done = done;
    c->userdata = userdata;
    c->sysid = local->control_known ? local->sysid : 0;
    (void)text_copy(c->leader_name, sizeof(c->leader_name), leader->member ? leader->member : leader->host);
    r = rewind_local_position(local, &c->local, err);
    if (r >= 0)
        r = pg_leader_ask(loop, config, leader, timeout_us, on_leader, c, &c->leader, err);
    if (r < 0)
        return r;
    *ret = STEAL(c);
    return 0;
}

struct rewind_check *rewind_check_free(struct rewind_check *c)
{
    if (!c)
        return NULL;
    (void)pg_leader_free(c->leader);
    free(c);
    return NULL;
}
