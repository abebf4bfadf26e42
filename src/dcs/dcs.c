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

int dcs_get_cluster_sync(struct dcs *d, sd_event *loop, uint64_t timeout_us, struct cluster **ret, struct err *err)
{
    struct waiting *w = calloc(1, sizeof(*w));
    int r = 0;

    if (!w)
        return err_set(err, -ENOMEM, "out of memory");
    d->ops->get_cluster(d, true, clock_now_us() + timeout_us, on_answer, w);
    while (!w->answered && r >= 0)
        r = sd_event_run(loop, UINT64_MAX);
    if (!w->answered) {
        w->abandoned = true;
        return err_sys(err, r, "could not run the event loop");
    }
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
