/* What the node says about itself, computed at the moment of asking. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/text.h"
#include "config.h"

void status_progress(struct agent *a, char *buf, size_t size)
{
    struct fill_progress p = {0};

    buf[0] = '\0';
    if (a->op.kind == OP_NONE)
        return;
    if (!a->op.fill) {
        (void)text_copy(buf, size, ha_op_text(a->op.kind));
        return;
    }
    fill_get_progress(a->op.fill, &p);
    if (p.total_bytes)
        (void)text_print(buf, size, "%s %u%%, %.1f of %.1f MB, %s", ha_op_text(a->op.kind),
                         (unsigned)(p.done_bytes * 100 / p.total_bytes), (double)p.done_bytes / 1e6,
                         (double)p.total_bytes / 1e6, p.what);
    else
        (void)text_print(buf, size, "%s, %s", ha_op_text(a->op.kind), p.what);
}

static const char *watchdog_text(uint16_t state)
{
    static const char *const texts[] = {"off", "ready", "ticking", "failed"};

    return state < ARRAY_LEN(texts) ? texts[state] : "unknown";
}

static void why_no_watchdog(const struct keeper_answer *k, char *dst, size_t size)
{
    dst[0] = '\0';
    if (k->watchdog == KEEPER_WATCHDOG_READY || k->watchdog == KEEPER_WATCHDOG_TICKING)
        return;
    switch (k->watchdog_error) {
    case 0:
        (void)text_copy(dst, size, "switched off");
        break;
    case ENOENT:
        (void)text_copy(dst, size, "there is no such device");
        break;
    case EBUSY:
        (void)text_copy(dst, size, "another program holds the device");
        break;
    default:
        (void)text_copy(dst, size, strerror((int)k->watchdog_error));
    }
}

static void status_watchdog(const struct keeper_answer *k, struct node_status *ret)
{
    bool ticks = k->watchdog_reset_us != 0;

    ret->watchdog_timeout_us = k->watchdog_timeout_us;
    (void)text_print(ret->watchdog_identity, sizeof(ret->watchdog_identity), "%.*s", (int)sizeof(k->watchdog_identity),
                     k->watchdog_identity);
    why_no_watchdog(k, ret->watchdog_why, sizeof(ret->watchdog_why));
    ret->watchdog_reset_us = k->watchdog_reset_us;
    ret->watchdog_last_pet_us = k->last_pet_us;
    ret->watchdog_resets_at_us = ticks ? k->last_pet_us + k->watchdog_reset_us : 0;
    ret->watchdog_longest_gap_us = k->longest_pet_gap_us;
    ret->watchdog_late_pets = k->late_pets;
}

int64_t status_fence_news_s(const struct agent *a)
{
    int64_t at_s = a->fence_history.n ? a->fence_history.reports[0].at_s : 0;

    return (int64_t)time(NULL) - at_s < FENCE_NEWS_S ? at_s : 0;
}

static void status_fence(struct agent *a, struct node_status *ret)
{
    static char *json; /* valid until the next call */

    freep(&json);
    json = NULL;
    ret->fence_guard = a->fence_guard;
    if (a->fence_guard)
        ret->tags.nofailover = true;
    ret->fence_reports = (unsigned)a->fence_history.n;
    if (a->fence_history.n == 0)
        return;
    json = fence_report_print(&a->fence_history.reports[0]);
    ret->fence_report_json = json;
    ret->last_fence_s = a->fence_history.reports[0].at_s;
}

static void status_keeper(struct agent *a, struct node_status *ret)
{
    static const char *const modes[] = {"off", "automatic", "required"};
    const struct keeper_answer *k = keeper_link_last(a->link);

    ret->keeper_connected = keeper_link_connected(a->link);
    ret->keeper_state = k->state ? keeper_state_text((enum keeper_state)k->state) : "unknown";
    ret->watchdog_state = watchdog_text(k->watchdog);
    ret->watchdog_failed = k->watchdog == KEEPER_WATCHDOG_FAILED && a->config->watchdog.mode == WATCHDOG_REQUIRED;
    ret->keeper_deadline_us = k->deadline_us;
    ret->keeper_fence_at_us = k->fence_at_us;
    ret->watchdog_mode = modes[a->config->watchdog.mode];
    status_watchdog(k, ret);
}

static void status_sql(struct agent *a, struct node_status *ret)
{
    const struct pg_facts *f = &a->pg.facts;

    ret->sql_ok = a->pg.valid && pg_server_pid(a->server) && !a->pg.failing_since_us;
    if (!ret->sql_ok)
        return;
    (void)text_copy(ret->postmaster_start_time, sizeof(ret->postmaster_start_time), f->postmaster_start_time);
    ret->postmaster_start_epoch_us = f->postmaster_start_epoch_us;
    ret->server_version_num = f->server_version_num;
    ret->current_lsn = f->in_recovery ? 0 : f->current_lsn;
    ret->receive_lsn = f->receive_lsn;
    ret->replay_lsn = f->replay_lsn;
    (void)text_copy(ret->replayed_timestamp, sizeof(ret->replayed_timestamp), f->replayed_timestamp);
    ret->replay_paused = f->replay_paused;
    ret->position_asked_at_us = f->in_recovery && f->replayed_all ? f->asked_at_us : 0;
    (void)text_copy(ret->replication_state, sizeof(ret->replication_state), f->replication_state);
    ret->timeline = f->timeline;
    ret->latest_end_lsn = f->latest_end_lsn;
    ret->walsenders = a->pg.walsenders;
    ret->n_walsenders = f->n_walsenders;
    ret->pending_restart_reason_json = pending_restart_reason(a);
    ret->pending_restart = ret->pending_restart_reason_json != NULL;
    ret->parameters_note = parameters_summary(a);
}

void agent_status(void *agent, struct node_status *ret)
{
    static char progress[192]; /* valid until control returns to the loop, as promised */
    struct agent *a = agent;

    status_progress(a, progress, sizeof(progress));
    *ret = (struct node_status){
        .scope = a->config->scope,
        .name = a->config->name,
        .version = PATRONI_VERSION,
        .own_version = PACKAGE_VERSION,
        .sysid = a->pg.valid ? a->pg.facts.system_identifier : a->control.sysid,
        .tags_json = fence_tags_json(a),
        .tags = a->config->tags,
        /* Without PostgreSQL as a leader's there is no leader to be found here, whatever the key says. */
        .lease_deadline_us =
            a->lease.held && (agent_is_primary(a) || agent_is_standby_leader(a)) ? a->lease.deadline_us : 0,
        .reason = a->decision.reason,
        .progress = progress,
        .scheduled_restart_json = a->requests.schedule_status_json,
        .cluster = a->cluster,
        .config_json = a->dynamic->json,
        .policy = a->dynamic->policy,
        .dcs_last_seen_s = a->dcs_last_seen_s,
        .cluster_valid_until_us = a->cluster ? a->cluster->read_sent_at_us + a->dynamic->policy.ttl_us : 0,
        .loop_ran_at_us = a->loop_ran_at_us,
    };
    ret->failsafe_list = failsafe_known(a);
    ret->failsafe_heard_us =
        failsafe_asked_at_us(a) > a->failsafe_heard.at_us ? failsafe_asked_at_us(a) : a->failsafe_heard.at_us;
    publish_state(a, &ret->state, &ret->role);
    status_sql(a, ret);
    status_keeper(a, ret);
    ret->storage_data = storage_track_of(a->storage, false);
    ret->storage_wal = storage_track_of(a->storage, true);
    ret->storage_fences = a->config->storage_probe.mode == STORAGE_PROBE_FENCE;
    status_fence(a, ret);
    ret->has_nothing =
        !pg_server_pid(a->server) && ((a->bootstrap_incomplete && !a->bootstrap_made) || a->copy_incomplete ||
                                      a->rewind_incomplete || (a->control.data_dir_known && a->control.data_dir_empty));
    ret->leader_seen = a->memory.leader_seen;
    ret->cold_start = a->cold.waits ? &a->cold.now : NULL;
    ret->impostor_note = impostor_note(a);
    memcpy(ret->impostors, a->impostors.n, sizeof(ret->impostors));
    kernel_leases_status(a, ret);
    slots_status(a, ret);
}
