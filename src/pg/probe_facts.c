#include "pg/probe_facts.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"

/*
 * One round trip, one transaction. Functions that only work in recovery, or only outside, stand in a CASE: which branch
 * is taken is decided per row at run time. Needs pg_monitor, not superuser; settings the role may not see stay empty.
 * Times are printed as the reference does (Python's str() of a timestamp with time zone).
 */
#define TIMESTAMP_FORMAT "'YYYY-MM-DD HH24:MI:SS.USTZH:TZM'"
const char probe_sql[] =
    "SELECT r.standby,"
    " CASE WHEN r.standby THEN NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END AS wal_file,"
    " CASE WHEN r.standby THEN NULL ELSE pg_current_wal_flush_lsn() END AS current_lsn,"
    " CASE WHEN r.standby THEN pg_last_wal_receive_lsn() END AS receive_lsn,"
    " w.written_lsn,"
    " CASE WHEN r.standby THEN pg_last_wal_replay_lsn() END AS replay_lsn,"
    " CASE WHEN r.standby THEN to_char(pg_last_xact_replay_timestamp(), " TIMESTAMP_FORMAT ") END AS replayed,"
    " CASE WHEN r.standby THEN pg_is_wal_replay_paused() ELSE false END AS paused,"
    " w.status, w.sender_host, w.latest_end_lsn, w.received_tli,"
    " (pg_control_system()).system_identifier,"
    " (pg_control_checkpoint()).timeline_id AS control_tli,"
    " CASE WHEN r.standby THEN (pg_control_recovery()).min_recovery_end_timeline END AS recovery_tli,"
    " to_char(pg_postmaster_start_time(), " TIMESTAMP_FORMAT ") AS started,"
    " (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS started_epoch,"
    " EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event IN"
    "  ('RecoveryWalStream', 'RecoveryWalAll', 'RecoveryRetrieveRetryInterval')) AS startup_idle,"
    " EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    "  AND wait_event IN ('CheckpointerMain', 'CheckpointWriteDelay')) AS checkpointer_idle"
    " FROM (SELECT pg_is_in_recovery() AS standby) r LEFT JOIN pg_stat_wal_receiver w ON true;"

    "SELECT name, setting, pending_restart,"
    " CASE WHEN pending_restart THEN current_setting(name, true) END AS old_value"
    " FROM pg_settings WHERE pending_restart"
    " OR name IN ('primary_conninfo', 'primary_slot_name', 'restore_command', 'synchronous_standby_names',"
    " 'synchronous_commit', 'wal_level', 'max_slot_wal_keep_size', 'max_wal_size');"

    "SELECT application_name, usename, client_addr, state, sync_state, sync_priority,"
    " sent_lsn, write_lsn, flush_lsn, replay_lsn, pid FROM pg_stat_replication;"

    /* Columns of newer releases by way of JSON: where there is none they are null. */
    "SELECT slot_name, slot_type, database, plugin, active, temporary, restart_lsn, confirmed_flush_lsn, xmin,"
    " catalog_xmin, wal_status, safe_wal_size, to_jsonb(s) ->> 'failover' AS failover, to_jsonb(s) ->> 'synced' AS "
    "synced,"
    " to_jsonb(s) ->> 'conflicting' AS conflicting FROM pg_replication_slots s";

/* Columns by name: their order in the query is nobody's business here. NULL for SQL null and for unknown columns. */
static const char *value_of(const PGresult *res, int row, const char *column)
{
    int n = PQfnumber(res, column);

    return n < 0 || PQgetisnull(res, row, n) ? NULL : PQgetvalue(res, row, n);
}

static void copy_of(const PGresult *res, int row, const char *column, char *buf, size_t size)
{
    const char *value = value_of(res, row, column);

    (void)text_copy(buf, size, value ? value : "");
}

static bool bool_of(const PGresult *res, int row, const char *column)
{
    const char *value = value_of(res, row, column);

    return value && *value == 't';
}

static uint64_t lsn_of(const PGresult *res, int row, const char *column)
{
    const char *value = value_of(res, row, column);
    uint64_t lsn = 0;

    if (value)
        (void)text_to_lsn(value, &lsn);
    return lsn;
}

static uint32_t u32_of(const PGresult *res, int row, const char *column)
{
    const char *value = value_of(res, row, column);
    uint32_t number = 0;

    if (value)
        (void)text_to_u32(value, &number);
    return number;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Python leaves the fraction out when it is zero. */
static void shorten_timestamp(char *text)
{
    char *fraction = strstr(text, ".000000");

    if (fraction)
        memmove(fraction, fraction + 7, strlen(fraction + 7) + 1);
}

/*
 * A primary's timeline is that of the file it writes to. A standby's is the newest one it has received; without a WAL
 * receiver what the control file knows of it, which the probe then asks for more exactly.
 */
static uint32_t timeline_of(const PGresult *res)
{
    const char *file = value_of(res, 0, "wal_file");
    char hex[9];

    if (file) {
        (void)text_print(hex, sizeof(hex), "%.8s", file);
        return (uint32_t)strtoul(hex, NULL, 16);
    }
    return max_u32(u32_of(res, 0, "received_tli"),
                   max_u32(u32_of(res, 0, "control_tli"), u32_of(res, 0, "recovery_tli")));
}

static void read_row(const PGresult *res, struct pg_facts *f)
{
    uint64_t written_lsn = lsn_of(res, 0, "written_lsn");
    const char *sysid = value_of(res, 0, "system_identifier");
    const char *epoch = value_of(res, 0, "started_epoch");

    f->in_recovery = bool_of(res, 0, "standby");
    f->timeline = timeline_of(res);
    f->has_receiver = u32_of(res, 0, "received_tli") != 0;
    f->control_timeline = u32_of(res, 0, "control_tli");
    f->current_lsn = lsn_of(res, 0, "current_lsn");
    f->receive_lsn = lsn_of(res, 0, "receive_lsn");
    if (written_lsn > f->receive_lsn)
        f->receive_lsn = written_lsn;
    f->replay_lsn = lsn_of(res, 0, "replay_lsn");
    f->replay_paused = bool_of(res, 0, "paused");
    /* Streaming begins where the WAL that is there ends. */
    f->replayed_all = f->in_recovery && (f->receive_lsn || bool_of(res, 0, "startup_idle"));
    f->checkpointer_idle = bool_of(res, 0, "checkpointer_idle");
    f->latest_end_lsn = lsn_of(res, 0, "latest_end_lsn");
    copy_of(res, 0, "replayed", f->replayed_timestamp, sizeof(f->replayed_timestamp));
    copy_of(res, 0, "sender_host", f->receiver_host, sizeof(f->receiver_host));
    copy_of(res, 0, "started", f->postmaster_start_time, sizeof(f->postmaster_start_time));
    shorten_timestamp(f->replayed_timestamp);
    shorten_timestamp(f->postmaster_start_time);
    /* SQL has no unsigned numbers: identifiers made after 2038 are printed with a sign. */
    f->system_identifier = sysid ? (uint64_t)strtoll(sysid, NULL, 10) : 0;
    f->postmaster_start_epoch_us = epoch ? strtoll(epoch, NULL, 10) : 0;
}

/* pg_settings shows the sizes of WAL in megabytes; -1 is no limit. */
static int64_t megabytes(const char *setting)
{
    int64_t number = setting ? strtoll(setting, NULL, 10) : -1;

    return number < 0 ? -1 : number * 1024 * 1024;
}

static int read_settings(const PGresult *res, struct pg_facts *f, bool *has_restore_command)
{
    int n = PQntuples(res);

    f->pending = calloc((size_t)n + 1, sizeof(*f->pending));
    if (!f->pending)
        return -ENOMEM;
    for (int i = 0; i < n; i++) {
        const char *name = value_of(res, i, "name");
        const char *setting = value_of(res, i, "setting");

        if (text_equal(name, "primary_conninfo"))
            copy_of(res, i, "setting", f->primary_conninfo, sizeof(f->primary_conninfo));
        else if (text_equal(name, "primary_slot_name"))
            copy_of(res, i, "setting", f->primary_slot_name, sizeof(f->primary_slot_name));
        else if (text_equal(name, "synchronous_standby_names"))
            copy_of(res, i, "setting", f->synchronous_standby_names, sizeof(f->synchronous_standby_names));
        else if (text_equal(name, "synchronous_commit"))
            copy_of(res, i, "setting", f->synchronous_commit, sizeof(f->synchronous_commit));
        else if (text_equal(name, "restore_command"))
            *has_restore_command = setting && *setting;
        else if (text_equal(name, "wal_level"))
            f->wal_level_logical = text_equal(setting, "logical");
        else if (text_equal(name, "max_slot_wal_keep_size"))
            f->max_slot_wal_keep_bytes = megabytes(setting);
        else if (text_equal(name, "max_wal_size"))
            f->max_wal_size_bytes = (uint64_t)megabytes(setting);
        if (!bool_of(res, i, "pending_restart"))
            continue;
        copy_of(res, i, "name", f->pending[f->n_pending].name, sizeof(f->pending->name));
        copy_of(res, i, "old_value", f->pending[f->n_pending].old_value, sizeof(f->pending->old_value));
        f->n_pending++;
    }
    return 0;
}

static int read_walsenders(const PGresult *res, struct pg_facts *f)
{
    int n = PQntuples(res);

    f->walsenders = calloc((size_t)n + 1, sizeof(*f->walsenders));
    if (!f->walsenders)
        return -ENOMEM;
    for (int i = 0; i < n; i++) {
        struct pg_walsender *w = &f->walsenders[f->n_walsenders++];

        copy_of(res, i, "application_name", w->application_name, sizeof(w->application_name));
        copy_of(res, i, "usename", w->usename, sizeof(w->usename));
        copy_of(res, i, "client_addr", w->client_addr, sizeof(w->client_addr));
        copy_of(res, i, "state", w->state, sizeof(w->state));
        copy_of(res, i, "sync_state", w->sync_state, sizeof(w->sync_state));
        w->sync_priority = (int)u32_of(res, i, "sync_priority");
        w->pid = (int)u32_of(res, i, "pid");
        w->sent_lsn = lsn_of(res, i, "sent_lsn");
        w->write_lsn = lsn_of(res, i, "write_lsn");
        w->flush_lsn = lsn_of(res, i, "flush_lsn");
        w->replay_lsn = lsn_of(res, i, "replay_lsn");
    }
    return 0;
}

static void read_slot(const PGresult *res, int i, struct slot *s)
{
    const char *safe = value_of(res, i, "safe_wal_size");

    copy_of(res, i, "slot_name", s->name, sizeof(s->name));
    s->physical = text_equal(value_of(res, i, "slot_type"), "physical");
    copy_of(res, i, "database", s->database, sizeof(s->database));
    copy_of(res, i, "plugin", s->plugin, sizeof(s->plugin));
    s->active = bool_of(res, i, "active");
    s->temporary = bool_of(res, i, "temporary");
    s->restart_lsn = lsn_of(res, i, "restart_lsn");
    s->confirmed_lsn = lsn_of(res, i, "confirmed_flush_lsn");
    s->catalog_xmin = u32_of(res, i, "catalog_xmin");
    s->holds_xmin = s->physical && (value_of(res, i, "xmin") || s->catalog_xmin);
    copy_of(res, i, "wal_status", s->wal_status, sizeof(s->wal_status));
    s->safe_wal_bytes = safe ? strtoll(safe, NULL, 10) : -1;
    s->failover = bool_of(res, i, "failover");
    s->synced = bool_of(res, i, "synced");
    s->conflicting = bool_of(res, i, "conflicting");
}

static int read_slots(const PGresult *res, struct pg_facts *f)
{
    int n = PQntuples(res);

    f->slots = calloc((size_t)n + 1, sizeof(*f->slots));
    if (!f->slots)
        return -ENOMEM;
    for (int i = 0; i < n; i++) {
        read_slot(res, i, &f->slots[f->n_slots++]);
    }
    return 0;
}

int facts_read(PGresult *const *results, size_t n, struct pg_facts *ret, struct err *err)
{
    struct pg_facts f = {.max_slot_wal_keep_bytes = -1};
    bool has_restore_command = false;

    if (n != PROBE_RESULTS || PQntuples(results[0]) != 1)
        return err_set(err, -EBADMSG, "the server's answer is not what was asked for");
    read_row(results[0], &f);
    if (read_settings(results[1], &f, &has_restore_command) < 0 || read_walsenders(results[2], &f) < 0 ||
        read_slots(results[3], &f) < 0) {
        facts_done(&f);
        return err_set(err, -ENOMEM, "out of memory");
    }
    if (f.in_recovery && text_equal(value_of(results[0], 0, "status"), "streaming"))
        (void)text_copy(f.replication_state, sizeof(f.replication_state), "streaming");
    else if (f.in_recovery && has_restore_command)
        (void)text_copy(f.replication_state, sizeof(f.replication_state), "in archive recovery");
    *ret = f;
    return 0;
}

void facts_done(struct pg_facts *f)
{
    free(f->walsenders);
    free(f->slots);
    free(f->pending);
    *f = (struct pg_facts){0};
}
