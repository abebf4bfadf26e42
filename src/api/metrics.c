#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "api/health.h"
#include "api/render.h"
#include "base/clock.h"
#include "base/text.h"

/* What all metrics of one answer share. */
struct metrics {
    struct textbuf out;
    char *labels; /* scope="demo",name="node1" */
};

/* Values of labels escape backslash, quote and line feed (Prometheus, "Exposition formats"). */
static void put_escaped(struct textbuf *b, const char *s)
{
    for (; *s; s++) {
        if (*s == '\n')
            textbuf_puts(b, "\\n");
        else if (*s == '"' || *s == '\\')
            textbuf_printf(b, "\\%c", *s);
        else
            textbuf_append(b, s, 1);
    }
}

static void put_label(struct textbuf *b, const char *name, const char *value)
{
    textbuf_printf(b, "%s%s=\"", b->len ? "," : "", name);
    put_escaped(b, value ? value : "");
    textbuf_puts(b, "\"");
}

/* Everything before the value. The comment is an extra line between HELP and TYPE, NULL for none. */
static void begin(struct metrics *m, const char *name, const char *type, const char *help, const char *comment)
{
    textbuf_printf(&m->out, "# HELP %s %s\n", name, help);
    if (comment)
        textbuf_printf(&m->out, "# %s\n", comment);
    textbuf_printf(&m->out, "# TYPE %s %s\n%s{%s} ", name, type, name, m->labels);
}

static void gauge(struct metrics *m, const char *name, const char *help, int64_t value)
{
    begin(m, name, "gauge", help, NULL);
    textbuf_printf(&m->out, "%" PRId64 "\n", value);
}

static void counter(struct metrics *m, const char *name, const char *help, uint64_t value)
{
    begin(m, name, "counter", help, NULL);
    textbuf_printf(&m->out, "%" PRIu64 "\n", value);
}

static void seconds(struct metrics *m, const char *name, const char *help, uint64_t value_us)
{
    begin(m, name, "gauge", help, NULL);
    if (value_us)
        textbuf_printf(&m->out, "%" PRIu64 ".%06" PRIu64 "\n", value_us / USEC_PER_SEC, value_us % USEC_PER_SEC);
    else
        textbuf_puts(&m->out, "0\n");
}

/* A word as a metric: the value is always 1 and the word is a label. */
static void word(struct metrics *m, const char *name, const char *help, const char *label, const char *value)
{
    struct textbuf more = {0};

    textbuf_puts(&more, m->labels);
    put_label(&more, label, value && *value ? value : "unknown");
    if (more.data)
        textbuf_printf(&m->out, "# HELP %s %s\n# TYPE %s gauge\n%s{%s} 1\n", name, help, name, name, more.data);
    m->out.failed |= more.failed;
    textbuf_done(&more);
}

/* "4.1.4" as 040104: each part with two digits at least. */
static void version(struct metrics *m, const char *text)
{
    begin(m, "patroni_version", "gauge", "Version of Patroni that this node is compatible with, without the dots.",
          NULL);
    while (*text) {
        size_t len = strcspn(text, ".");

        if (len == 1)
            textbuf_puts(&m->out, "0");
        textbuf_append(&m->out, text, len);
        text += len + (text[len] == '.');
    }
    textbuf_puts(&m->out, "\n");
}

/* "2026-07-24 14:05:07.123456+00:00" to microseconds since 1970; 0 if it is not that. */
static uint64_t epoch_us(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%d %H:%M:%S", &tm);
    uint64_t fraction_us = 0, unit_us = USEC_PER_SEC / 10;
    int hours = 0, minutes = 0;
    int64_t offset_s, at_s;

    if (!rest)
        return 0;
    if (*rest == '.')
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit_us /= 10)
            fraction_us += (uint64_t)(*rest - '0') * unit_us;
    if (*rest && sscanf(rest + 1, "%2d:%2d", &hours, &minutes) < 1)
        return 0;
    offset_s = (int64_t)hours * 3600 + (int64_t)minutes * 60;
    at_s = (int64_t)timegm(&tm) - (*rest == '-' ? -offset_s : offset_s);
    return at_s > 0 ? (uint64_t)at_s * USEC_PER_SEC + fraction_us : 0;
}

static bool is_failsafe_member(const struct node_status *n)
{
    return n->failsafe_list && failsafe_list_find(n->failsafe_list, n->name);
}

static void put_postgres(struct metrics *m, const struct node_status *n, uint64_t now_us)
{
    bool sql = health_sql_ok(n, now_us);
    enum pg_role role = health_role(n, now_us);
    bool primary = role == PG_ROLE_PRIMARY || role == PG_ROLE_PROMOTED;
    bool standby = sql && !primary;
    bool listed = health_is_sync_standby(n, now_us);
    bool quorum = n->policy.sync_mode == SYNC_MODE_QUORUM;
    uint64_t received_lsn = n->receive_lsn ? n->receive_lsn : n->replay_lsn;
    uint64_t started_us = sql && n->postmaster_start_epoch_us > 0 ? (uint64_t)n->postmaster_start_epoch_us : 0;

    gauge(m, "patroni_postgres_running", "1 if PostgreSQL is running and answers.",
          health_state(n, now_us) == PG_STATE_RUNNING);
    seconds(m, "patroni_postmaster_start_time", "When PostgreSQL was started, seconds since 1970.", started_us);
    gauge(m, "patroni_primary", "1 if this node is the primary.", primary);
    counter(m, "patroni_xlog_location", "Position in the WAL in bytes, 0 if this node is not the primary.",
            sql && primary ? n->current_lsn : 0);
    gauge(m, "patroni_standby_leader", "1 if this node leads a standby cluster.", role == PG_ROLE_STANDBY_LEADER);
    gauge(m, "patroni_replica", "1 if this node is a replica.", role == PG_ROLE_REPLICA);
    gauge(m, "patroni_sync_standby", "1 if this node is a synchronous standby.", listed && !quorum);
    gauge(m, "patroni_quorum_standby", "1 if this node votes in the quorum.", listed && quorum);
    counter(m, "patroni_xlog_received_location", "Received WAL in bytes, 0 if this node is not a replica.",
            standby ? received_lsn : 0);
    counter(m, "patroni_xlog_replayed_location", "Replayed WAL in bytes, 0 if this node is not a replica.",
            standby ? n->replay_lsn : 0);
    seconds(m, "patroni_xlog_replayed_timestamp", "Time of the last replayed transaction, seconds since 1970.",
            standby ? epoch_us(n->replayed_timestamp) : 0);
    gauge(m, "patroni_xlog_paused", "1 if the replay of WAL is paused.", standby && n->replay_paused);
    if (sql && n->server_version_num >= 90600) {
        gauge(m, "patroni_postgres_streaming", "1 if PostgreSQL streams from another node.",
              strcmp(n->replication_state, "streaming") == 0);
        gauge(m, "patroni_postgres_in_archive_recovery", "1 if PostgreSQL replays from the archive.",
              strcmp(n->replication_state, "in archive recovery") == 0);
    }
    gauge(m, "patroni_postgres_server_version", "Version of PostgreSQL as a number, 0 if it does not run.",
          sql ? n->server_version_num : 0);
}

static void put_state(struct metrics *m, enum pg_state state)
{
    struct textbuf values = {0};

    textbuf_puts(&values, "Values:");
    for (int i = 0; i < PG_STATE_UNKNOWN; i++)
        textbuf_printf(&values, "%s %d=%s", i ? "," : "", i, pg_state_metric_name((enum pg_state)i));
    begin(m, "patroni_postgres_state", "gauge", "State of PostgreSQL as a number.", values.data);
    textbuf_printf(&m->out, "%d\n", state == PG_STATE_UNKNOWN ? -1 : (int)state);
    m->out.failed |= values.failed;
    textbuf_done(&values);
}

static void put_cluster(struct metrics *m, const struct node_status *n, uint64_t now_us)
{
    bool unlocked = !health_view_is_valid(n, now_us) || !n->cluster->leader.exists;

    gauge(m, "patroni_cluster_unlocked", "1 if nobody holds the leader key.", unlocked);
    gauge(m, "patroni_failsafe_mode_is_active", "1 if the failsafe mode keeps the primary running.",
          node_failsafe_is_active(n, now_us));
    gauge(m, "patroni_failsafe_mode_enabled", "1 if the failsafe mode is configured.", n->policy.failsafe_mode);
    gauge(m, "patroni_failsafe_member", "1 if this node takes part in the failsafe mode.", is_failsafe_member(n));
    gauge(m, "patroni_postgres_timeline", "Timeline of this node, 0 if it does not run.",
          health_sql_ok(n, now_us) ? n->timeline : 0);
    gauge(m, "patroni_dcs_last_seen", "When the store last answered, seconds since 1970.", n->dcs_last_seen_s);
    gauge(m, "patroni_pending_restart", "1 if PostgreSQL must be restarted for settings to take effect.",
          n->pending_restart);
    gauge(m, "patroni_is_paused", "1 if the cluster is in maintenance mode.", n->policy.pause);
    put_state(m, health_state(n, now_us));
    gauge(m, "patroni_failover_priority", "Priority of this node in a failover, 0 if it must not become primary.",
          n->tags.nofailover || n->tags.failover_priority < 0 ? 0 : n->tags.failover_priority);
}

/* One kind of sample of one disk, after its name and labels. */
struct disk_sample {
    struct metrics *m;
    const char *name, *filesystem;
    const struct storage_track *track;
    uint64_t now_us;
};

static void begin_sample(const struct disk_sample *s, const char *suffix, const char *le)
{
    textbuf_printf(&s->m->out, "%s%s{%s,filesystem=\"%s\"", s->name, suffix, s->m->labels, s->filesystem);
    if (le)
        textbuf_printf(&s->m->out, ",le=\"%s\"", le);
    textbuf_puts(&s->m->out, "} ");
}

static void end_count(const struct disk_sample *s, uint64_t value)
{
    textbuf_printf(&s->m->out, "%" PRIu64 "\n", value);
}

static void end_seconds(const struct disk_sample *s, uint64_t value_us)
{
    textbuf_printf(&s->m->out, "%" PRIu64 ".%06" PRIu64 "\n", value_us / USEC_PER_SEC, value_us % USEC_PER_SEC);
}

static void put_latencies(const struct disk_sample *s)
{
    uint64_t bound_us = STORAGE_BUCKET_MIN_US, sum = 0;
    char le[24];

    for (size_t i = 0; i < STORAGE_BUCKETS; i++, bound_us *= 2) {
        sum += s->track->buckets[i];
        (void)text_print(le, sizeof(le), "%g", (double)bound_us / 1e6);
        begin_sample(s, "_bucket", le);
        end_count(s, sum);
    }
    begin_sample(s, "_bucket", "+Inf");
    end_count(s, s->track->answers);
    begin_sample(s, "_sum", NULL);
    end_seconds(s, s->track->latency_sum_us);
    begin_sample(s, "_count", NULL);
    end_count(s, s->track->answers);
}

static void put_failures(const struct disk_sample *s)
{
    begin_sample(s, "", NULL);
    end_count(s, s->track->failures);
}

static void put_disk_state(const struct disk_sample *s)
{
    begin_sample(s, "", NULL);
    end_count(s, (uint64_t)s->track->state);
}

static void put_answer_age(const struct disk_sample *s)
{
    begin_sample(s, "", NULL);
    end_seconds(s, clock_rest_us(s->track->answered_at_us, s->now_us));
}

static void put_storage(struct metrics *m, const struct node_status *n, uint64_t now_us)
{
    static const struct {
        const char *name, *type, *help;
        void (*put)(const struct disk_sample *s);
    } kinds[] = {
        {"pgtether_storage_probe_seconds", "histogram", "How long writing and reading back one block takes.",
         put_latencies},
        {"pgtether_storage_probe_failures_total", "counter", "Probes that failed or were not answered.", put_failures},
        {"pgtether_storage_state", "gauge", "The disk: 0=unknown, 1=ok, 2=slow, 3=full, 4=failed, 5=expired.",
         put_disk_state},
        {"pgtether_storage_answer_age_seconds", "gauge", "Seconds since the disk has answered.", put_answer_age},
    };
    struct disk_sample data = {.m = m, .filesystem = "data", .track = n->storage_data, .now_us = now_us};
    struct disk_sample wal = {.m = m, .filesystem = "wal", .track = n->storage_wal, .now_us = now_us};

    if (!data.track && !wal.track)
        return;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        data.name = wal.name = kinds[i].name;
        textbuf_printf(&m->out, "# HELP %s %s\n# TYPE %s %s\n", kinds[i].name, kinds[i].help, kinds[i].name,
                       kinds[i].type);
        if (data.track)
            kinds[i].put(&data);
        if (wal.track)
            kinds[i].put(&wal);
    }
}

static void put_own(struct metrics *m, const struct node_status *n, uint64_t now_us)
{
    word(m, "pgtether_info", "Version of pgtether.", "version", n->own_version);
    seconds(m, "pgtether_lease_seconds_left", "Seconds until the lease of this node ends, 0 if it holds none.",
            clock_rest_us(now_us, n->lease_deadline_us));
    gauge(m, "pgtether_keeper_connected", "1 if the keeper answers.", n->keeper_connected);
    word(m, "pgtether_keeper_state", "What the keeper is doing.", "state", n->keeper_state);
    seconds(m, "pgtether_keeper_deadline_seconds_left", "Seconds until the lease that the keeper knows ends.",
            clock_rest_us(now_us, n->keeper_deadline_us));
    seconds(m, "pgtether_fence_seconds_left", "Seconds until the keeper kills the primary unless the lease is renewed.",
            clock_rest_us(now_us, n->keeper_fence_at_us));
    word(m, "pgtether_watchdog_state", "What the watchdog is doing.", "state", n->watchdog_state);
    gauge(m, "pgtether_watchdog_failed", "1 if a watchdog is required but cannot be used.", n->watchdog_failed);
    seconds(m, "pgtether_watchdog_timeout_seconds", "Seconds from the last pet to the reset, 0 without a watchdog.",
            n->watchdog_timeout_us);
    word(m, "pgtether_watchdog_driver", "What the watchdog's driver calls itself.", "driver", n->watchdog_identity);
    seconds(m, "pgtether_watchdog_reset_seconds", "Seconds from the last pet until the host is down, 0 if it is off.",
            n->watchdog_reset_us);
    seconds(m, "pgtether_watchdog_seconds_left", "Seconds until the reset if nobody pets any more, 0 if it is off.",
            clock_rest_us(now_us, n->watchdog_resets_at_us));
    seconds(m, "pgtether_watchdog_longest_pet_gap_seconds", "Longest time between two pets since the keeper started.",
            n->watchdog_longest_gap_us);
    counter(m, "pgtether_watchdog_late_pets_total", "Pets later than 3/5 of the reset time.", n->watchdog_late_pets);
    counter(m, "pgtether_fence_reports_total", "Resets of this host under a lease that are on record.",
            n->fence_reports);
    gauge(m, "pgtether_last_fence_timestamp_seconds", "When the last of them was, seconds since 1970, 0 if never.",
          n->last_fence_s);
    gauge(m, "pgtether_fence_guard", "1 if this node stays out of elections after three resets within an hour.",
          n->fence_guard);
    gauge(m, "pgtether_cold_start_missing_members", "Members that an election waits for after an outage of all.",
          n->cold_start ? n->cold_start->n_missing : 0);
    word(m, "pgtether_serves", "Whom clients find on this node.", "role", n->serves);
    word(m, "pgtether_gate_state", "The gate in front of PostgreSQL's port.", "state", n->gate_state);
    gauge(m, "pgtether_addresses", "Virtual addresses that are configured.", n->addresses);
    gauge(m, "pgtether_addresses_held", "Those of them that this node has.", n->addresses_held);
    counter(m, "pgtether_address_conflicts_total", "How often another host was heard to claim one of them.",
            n->address_conflicts);
    counter(m, "pgtether_net_restarts_total", "How often the process that keeps gate and addresses was started again.",
            n->net_restarts);
    seconds(m, "pgtether_cycle_age_seconds", "Seconds since the last cycle of the HA loop ended.",
            n->loop_ran_at_us ? clock_rest_us(n->loop_ran_at_us, now_us) : 0);
}

/* One counter for each thing that somebody else may have done. */
static void put_impostors(struct metrics *m, const struct node_status *n)
{
    static const char name[] = "pgtether_impostors_total";
    static const char *const kinds[IMPOSTORS] = {
        [IMPOSTOR_PROMOTED] = "promoted", [IMPOSTOR_SERVER] = "server",   [IMPOSTOR_PORT] = "port",
        [IMPOSTOR_NAME] = "name",         [IMPOSTOR_CLUSTER] = "cluster",
    };

    textbuf_printf(&m->out, "# HELP %s How often somebody else was seen to act as this node.\n# TYPE %s counter\n",
                   name, name);
    for (int i = 0; i < IMPOSTORS; i++)
        textbuf_printf(&m->out, "%s{%s,kind=\"%s\"} %u\n", name, m->labels, kinds[i], n->impostors[i]);
}

static void slot_labels(struct metrics *m, const char *name, const struct slot *s)
{
    struct textbuf labels = {0};

    textbuf_puts(&labels, m->labels);
    put_label(&labels, "slot_name", s->name);
    put_label(&labels, "slot_type", s->physical ? "physical" : "logical");
    if (labels.data)
        textbuf_printf(&m->out, "%s{%s} ", name, labels.data);
    m->out.failed |= labels.failed;
    textbuf_done(&labels);
}

static int64_t slot_retained(const struct node_status *n, const struct slot *s)
{
    return s->restart_lsn
               ? (int64_t)(n->slots_position_lsn > s->restart_lsn ? n->slots_position_lsn - s->restart_lsn : 0)
               : 0;
}

static int64_t slot_active(const struct node_status *n, const struct slot *s)
{
    (void)n;
    return s->active;
}

static int64_t slot_lost(const struct node_status *n, const struct slot *s)
{
    (void)n;
    return slot_is_lost(s);
}

static int64_t slot_safe(const struct node_status *n, const struct slot *s)
{
    (void)n;
    return s->safe_wal_bytes;
}

static void put_slots(struct metrics *m, const struct node_status *n, uint64_t now_us)
{
    static const struct {
        const char *name, *help;
        int64_t (*value)(const struct node_status *n, const struct slot *s);
    } kinds[] = {
        {"pgtether_slot_retained_bytes", "WAL in bytes that a replication slot holds back.", slot_retained},
        {"pgtether_slot_active", "1 if somebody is connected to the replication slot.", slot_active},
        {"pgtether_slot_lost", "1 if WAL that the replication slot needs was removed.", slot_lost},
        {"pgtether_slot_safe_bytes", "WAL in bytes that can be written before the slot is lost, -1 without a limit.",
         slot_safe},
    };

    if (!health_sql_ok(n, now_us) || !n->n_slots)
        return;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        textbuf_printf(&m->out, "# HELP %s %s\n# TYPE %s gauge\n", kinds[i].name, kinds[i].help, kinds[i].name);
        for (size_t k = 0; k < n->n_slots; k++) {
            slot_labels(m, kinds[i].name, &n->slots[k]);
            textbuf_printf(&m->out, "%" PRId64 "\n", kinds[i].value(n, &n->slots[k]));
        }
    }
}

char *render_metrics(const struct node_status *n, uint64_t now_us)
{
    struct textbuf labels = {0};
    struct metrics m = {0};

    put_label(&labels, "scope", n->scope);
    put_label(&labels, "name", n->name);
    m.labels = textbuf_take(&labels);
    if (!m.labels)
        return NULL;
    version(&m, n->version);
    put_postgres(&m, n, now_us);
    put_cluster(&m, n, now_us);
    put_own(&m, n, now_us);
    put_impostors(&m, n);
    put_storage(&m, n, now_us);
    put_slots(&m, n, now_us);
    free(m.labels);
    return textbuf_take(&m.out);
}
