#include "pg/rewind.h"
#include <errno.h>

static const struct history_line *line_of(uint32_t timeline, const struct history_line *history, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (history[i].timeline == timeline)
            return &history[i];
    return NULL;
}

enum rewind_need rewind_decide(uint32_t local_timeline, uint64_t local_lsn, bool in_recovery,
                               uint64_t shutdown_checkpoint_end_lsn, uint32_t leader_timeline,
                               const struct history_line *history, size_t n_history)
{
    const struct history_line *line;

    if (!local_timeline || !leader_timeline || !local_lsn)
        return REWIND_UNKNOWN;
    if (local_timeline > leader_timeline)
        return REWIND_NEEDED;
    if (local_timeline == leader_timeline)
        return REWIND_NOT_NEEDED;
    line = line_of(local_timeline, history, n_history);
    if (!line)
        return REWIND_NEEDED;
    /* A standby only has what was replayed or will be: up to the switch it is on the leader's way. */
    if (in_recovery)
        return local_lsn > line->switch_lsn ? REWIND_NEEDED : REWIND_NOT_NEEDED;
    /* A primary's last record is its shutdown checkpoint: on the leader's way only if the switch came right behind it.
     */
    if (local_lsn < line->switch_lsn && shutdown_checkpoint_end_lsn == line->switch_lsn)
        return REWIND_NOT_NEEDED;
    return REWIND_NEEDED;
}

static struct rewind_position of_checkpoint(const struct local_pg *local)
{
    return (struct rewind_position){
        .timeline = local->control_timeline,
        .lsn = local->control_checkpoint_lsn,
        .shutdown_checkpoint_end_lsn = local->control_checkpoint_end_lsn,
    };
}

uint32_t rewind_local_timeline(const struct local_pg *local)
{
    return local->control_min_recovery_timeline > local->control_timeline ? local->control_min_recovery_timeline
                                                                          : local->control_timeline;
}

int rewind_local_position(const struct local_pg *local, struct rewind_position *ret, struct err *err)
{
    if (local->running) {
        if (!local->accepting || !local->in_recovery || !local->timeline || !local->replay_lsn)
            return err_set(err, -EAGAIN, "the local server cannot tell its position now");
        *ret = (struct rewind_position){local->timeline, local->replay_lsn, true, 0, false};
        return 0;
    }
    if (!local->control_known)
        return err_set(err, -EAGAIN, "the local control file has not been read");
    switch (local->control_state) {
    case PG_CONTROL_SHUT_DOWN_IN_RECOVERY:
    case PG_CONTROL_IN_ARCHIVE_RECOVERY:
        if (!local->control_min_recovery_lsn || !local->control_min_recovery_timeline)
            *ret = of_checkpoint(local);
        else
            *ret = (struct rewind_position){local->control_min_recovery_timeline, local->control_min_recovery_lsn, true,
                                            0, false};
        return 0;
    case PG_CONTROL_SHUT_DOWN:
        *ret = of_checkpoint(local);
        return 0;
    case PG_CONTROL_STARTING_UP:
    case PG_CONTROL_SHUTTING_DOWN:
    case PG_CONTROL_IN_CRASH_RECOVERY:
    case PG_CONTROL_IN_PRODUCTION:
        /* Killed as a primary: the control file does not say how far its WAL goes, so a leader of another timeline is
         * taken to have left it earlier. pg_rewind looks closely and does nothing where that is wrong. */
        *ret = (struct rewind_position){rewind_local_timeline(local), UINT64_MAX, false, 0,
                                        rewind_local_timeline(local) > local->control_timeline};
        return 0;
    case PG_CONTROL_UNKNOWN:
        break;
    }
    return err_set(err, -EAGAIN, "the local control file has an unknown state");
}

/* Entry i of a history, the current timeline included as the last one, which has not ended. */
static struct rewind_span entry(uint32_t current, const struct history_line *history, size_t n, size_t i)
{
    return (struct rewind_span){
        .timeline = i < n ? history[i].timeline : current,
        .start_lsn = i > 0 ? history[i - 1].switch_lsn : 0,
        .end_lsn = i < n ? history[i].switch_lsn : UINT64_MAX,
    };
}

size_t rewind_lost_spans(uint32_t local_timeline, const struct history_line *local_history, size_t n_local,
                         uint32_t leader_timeline, const struct history_line *leader_history, size_t n_leader,
                         struct rewind_span *ret)
{
    uint64_t fork_lsn = 0;
    size_t common = 0, n = 0;

    for (; common <= n_local && common <= n_leader; common++) {
        struct rewind_span ours = entry(local_timeline, local_history, n_local, common);
        struct rewind_span theirs = entry(leader_timeline, leader_history, n_leader, common);

        if (ours.timeline != theirs.timeline || ours.start_lsn != theirs.start_lsn)
            break;
        fork_lsn = ours.end_lsn < theirs.end_lsn ? ours.end_lsn : theirs.end_lsn;
    }
    if (common == 0 || fork_lsn == UINT64_MAX)
        return 0;
    for (size_t i = common - 1; i <= n_local; i++) {
        struct rewind_span ours = entry(local_timeline, local_history, n_local, i);

        if (ours.start_lsn < fork_lsn)
            ours.start_lsn = fork_lsn;
        if (ours.start_lsn >= ours.end_lsn)
            continue;
        if (ours.end_lsn == UINT64_MAX)
            ours.end_lsn = 0;
        ret[n++] = ours;
    }
    return n;
}
