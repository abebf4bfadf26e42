#include "dcs/dcs.h"
#include <errno.h>
#include "base/clock.h"
#include "config/config.h"
#include "dcs/etcd3_internal.h"

int dcs_open(sd_event *loop, const struct dcs_config *config, struct dcs **ret, struct err *err)
{
    switch (config->kind) {
    case DCS_KIND_ETCD3:
        return etcd3_open(loop, config, ret, err);
    }
    return err_set(err, -EINVAL, "unknown kind of store");
}

struct dcs *dcs_free(struct dcs *d)
{
    return d ? d->ops->free(d) : NULL;
}

/* On the heap, because the answer may come when nobody waits for it any more. */
struct waiting {
    bool answered, abandoned;
    struct dcs_answer answer;
};

static void on_answer(void *userdata, struct dcs_answer *answer)
{
    struct waiting *w = userdata;

    if (w->abandoned) {
        (void)cluster_free(answer->cluster);
        free(w);
        return;
    }
    w->answered = true;
    w->answer = *answer;
}

/*
 * Runs the loop until the call that was started with on_answer() and *w answered. Returns 0, with w->answer filled and
 * w still the caller's; else -errno, and w is no longer.
 */
static int wait_for(struct waiting *w, sd_event *loop, struct err *err)
{
    int r = 0;

    while (!w->answered && r >= 0)
        r = sd_event_run(loop, UINT64_MAX);
    if (w->answered)
        return 0;
    w->abandoned = true;
    return err_sys(err, r, "could not run the event loop");
}

static struct waiting *waiting_new(struct err *err)
{
    struct waiting *w = calloc(1, sizeof(*w));

    if (!w)
        (void)err_set(err, -ENOMEM, "out of memory");
    return w;
}

int dcs_get_cluster_sync(struct dcs *d, sd_event *loop, uint64_t timeout_us, struct cluster **ret, struct err *err)
{
    struct waiting *w = waiting_new(err);
    int r;

    if (!w)
        return -ENOMEM;
    d->ops->get_cluster(d, true, clock_now_us() + timeout_us, on_answer, w);
    r = wait_for(w, loop, err);
    if (r < 0)
        return r;
    if (w->answer.outcome == DCS_DONE) {
        *ret = w->answer.cluster;
        r = 0;
    } else {
        r = w->answer.err.code ? w->answer.err.code : -EIO;
        (void)err_set(err, r, "%s", w->answer.err.msg);
    }
    free(w);
    return r;
}

/* Of a write that was started with on_answer() and *w. */
static enum dcs_outcome outcome_of(struct waiting *w, sd_event *loop, struct err *err)
{
    enum dcs_outcome outcome;

    if (wait_for(w, loop, err) < 0)
        return DCS_UNKNOWN;
    outcome = w->answer.outcome;
    if (outcome != DCS_DONE)
        *err = w->answer.err;
    free(w);
    return outcome;
}

enum dcs_outcome dcs_put_sync(struct dcs *d, sd_event *loop, const struct dcs_put *put, uint64_t timeout_us,
                              struct err *err)
{
    struct waiting *w = waiting_new(err);

    if (!w)
        return DCS_REFUSED;
    d->ops->put(d, put->key, put->value, put->compare, put->revision, clock_now_us() + timeout_us, on_answer, w);
    return outcome_of(w, loop, err);
}

enum dcs_outcome dcs_delete_cluster_sync(struct dcs *d, sd_event *loop, uint64_t timeout_us, struct err *err)
{
    struct waiting *w = waiting_new(err);

    if (!w)
        return DCS_REFUSED;
    d->ops->delete_cluster(d, clock_now_us() + timeout_us, on_answer, w);
    return outcome_of(w, loop, err);
}
