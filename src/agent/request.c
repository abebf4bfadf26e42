/* What the decision core makes of an operator's request: the checkpoint before a stop, and emptying the failover key.
 */
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"

enum { CHECKPOINT_TIMEOUT_US = 600000000 };

static void on_checkpoint(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct agent *a = userdata;

    (void)rows;
    (void)sqlstate;
    /* The stop takes longer without it, and does not become wrong. */
    if (err && err->code)
        log_warning("the checkpoint before the stop failed: %s", err->msg);
    a->stop_checkpoint = pg_command_free(a->stop_checkpoint);
    a->memory.checkpoint_running = false;
    a->memory.checkpoint_at_us = clock_now_us();
    gather_pg(a);
    agent_wake(a);
}

void request_checkpoint(struct agent *a)
{
    struct err err = {0};

    if (a->stop_checkpoint)
        return;
    a->memory.checkpoint_running = true;
    if (pg_command_start(a->loop, agent_pg_login(a), "CHECKPOINT", CHECKPOINT_TIMEOUT_US, on_checkpoint, a,
                         &a->stop_checkpoint, &err) < 0)
        on_checkpoint(a, NULL, &err, "");
}

void request_forget_checkpoint(struct agent *a)
{
    a->stop_checkpoint = pg_command_free(a->stop_checkpoint);
    a->memory.checkpoint_running = false;
    a->memory.checkpoint_at_us = 0;
}

void request_note_failover(struct agent *a, const struct cluster *before)
{
    const struct failover_key *now = &a->cluster->failover;

    if (!now->exists)
        a->memory.request_seen_at_us = 0;
    else if (!before || !before->failover.exists || before->failover.revision != now->revision)
        a->memory.request_seen_at_us = clock_now_us();
}

static void on_cleared(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    a->failover_busy = false;
    if (answer->outcome != DCS_DONE)
        log_info("could not empty the failover key: %s", answer->err.msg);
    else
        a->failover_cleared = a->failover_clearing;
    gather_store(a);
}

/* With a compare: what is asked for meanwhile stays. */
void request_clear_failover(struct agent *a)
{
    if (a->failover_busy || a->cluster->failover.revision == a->failover_cleared)
        return;
    a->failover_busy = true;
    a->failover_clearing = a->cluster->failover.revision;
    a->dcs->ops->put(a->dcs, "failover", "{}", DCS_REVISION, a->cluster->failover.revision,
                     clock_now_us() + a->dynamic->policy.retry_timeout_us, on_cleared, a);
}
