/*
 * Logical slots on a standby that were copied from the primary: copying them, for which the server must be down, and
 * then finding out when they can be used after a promotion (facts sheet 5.7).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "agent/slots.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "pg/leader.h"
#include "pg/slots.h"

/* Beside the data directory while a copy in it is not known to be complete. */
#define MARKER "slot-copy"
enum { STAGE_ASK = 1, STAGE_STOP, STAGE_STOP_AT_ONCE, STAGE_PROVE };
enum { ASK_TIMEOUT_US = 5000000, STOP_BUDGET_US = 30000000, STOP_AT_ONCE_BUDGET_US = 5000000 };
/*
 * Each copy restarts the server: where one does not help, since WAL it needs is not here, the next must not follow at
 * once. A leader that has not got the slot yet is asked again soon.
 */
enum { ASK_AGAIN_US = 5000000, PAUSE_MIN_US = 30000000, PAUSE_MAX_US = 960000000 };
enum { FEEDBACK_BUDGET_US = 15000000 };

/* --- is it complete? -------------------------------------------------------------------------------------------------
 */

static const struct slot *find_slot(const struct agent *a, const char *name)
{
    for (size_t i = 0; i < a->pg.facts.n_slots; i++)
        if (strcmp(a->pg.facts.slots[i].name, name) == 0)
            return &a->pg.facts.slots[i];
    return NULL;
}

static const struct slot_spec *find_spec(const struct agent *a, const char *name)
{
    for (size_t i = 0; i < a->dynamic->n_slots; i++)
        if (text_equal(a->dynamic->slots[i].name, name))
            return &a->dynamic->slots[i];
    return NULL;
}

static void note_unsafe(struct agent_slots *s, const char *name)
{
    size_t i = 0;

    while (i < s->n_unsafe && strcmp(s->unsafe[i].text, name) != 0)
        i++;
    if (i == SLOTS_UNSAFE_MAX)
        return;
    if (i == s->n_unsafe)
        (void)text_copy(s->unsafe[s->n_unsafe++].text, SLOT_NAME_SIZE, name);
    s->primary_xmin[i] = 0;
}

static void note_safe(struct agent_slots *s, size_t i)
{
    s->n_unsafe--;
    s->unsafe[i] = s->unsafe[s->n_unsafe];
    s->primary_xmin[i] = s->primary_xmin[s->n_unsafe];
}

void slot_copies_note_new(struct agent_slots *s, const char *name)
{
    for (size_t i = s->n_unsafe; i > 0; i--)
        if (strcmp(s->unsafe[i - 1].text, name) == 0)
            note_safe(s, i - 1);
}

/* An agent that was started anew knows from the marker that some copy may not be complete, but not which. */
static void look_for_marker(struct agent *a)
{
    struct agent_slots *s = a->slots;

    if (s->looked_for_marker)
        return;
    s->looked_for_marker = true;
    s->marked = marker_is_set(a, MARKER);
    for (size_t i = 0; i < a->pg.facts.n_slots && s->marked; i++)
        if (!a->pg.facts.slots[i].physical && !a->pg.facts.slots[i].temporary)
            note_unsafe(s, a->pg.facts.slots[i].name);
}

static uint32_t xmin_in(const struct pg_rows *rows, const char *name)
{
    uint32_t xmin = 0;

    for (size_t i = 0; i < rows->n_rows; i++)
        if (text_equal(rows->values[i * rows->n_columns], name) && rows->values[i * rows->n_columns + 1])
            (void)text_to_u32(rows->values[i * rows->n_columns + 1], &xmin);
    return xmin;
}

static void compare(struct agent *a, const struct pg_rows *rows, const char *feedback_slot)
{
    struct agent_slots *s = a->slots;
    uint32_t feedback_xmin = xmin_in(rows, feedback_slot);

    if (!feedback_xmin) {
        if (clock_now_us() - s->copied_at_us > FEEDBACK_BUDGET_US)
            slots_complain(
                s, feedback_slot,
                "on the primary it gets no hot_standby_feedback for catalogs: logical slots copied to this node "
                "cannot be used after a failover yet");
        return;
    }
    for (size_t i = s->n_unsafe; i > 0; i--) {
        const struct slot *local = find_slot(a, s->unsafe[i - 1].text);

        if (!s->primary_xmin[i - 1])
            s->primary_xmin[i - 1] = xmin_in(rows, s->unsafe[i - 1].text);
        if (!local || !ha_slot_copy_is_safe(s->primary_xmin[i - 1], feedback_xmin, local->catalog_xmin))
            continue;
        log_info("replication slot \"%s\": this copy can be used after a failover", s->unsafe[i - 1].text);
        note_safe(s, i - 1);
    }
}

static void on_checked(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct agent *a = userdata;
    struct agent_slots *s = a->slots;
    struct slots_view v;
    char slot[SLOT_NAME_SIZE];

    (void)sqlstate;
    s->check = pg_command_free(s->check);
    slots_fill_view(a, false, &v);
    if (err && err->code)
        log_debug("could not ask the leader about its slots: %s", err->msg);
    else if (v.cluster && ha_slots_feedback_slot(&v, slot, sizeof(slot)))
        compare(a, rows, slot);
}

static bool leader_upstream(const struct agent *a, struct pg_upstream *ret)
{
    return a->cluster && a->cluster->leader.exists && strcmp(a->cluster->leader.name, a->config->name) != 0 &&
           fill_upstream(a, a->cluster->leader.name, ret);
}

static void check(struct agent *a)
{
    struct agent_slots *s = a->slots;
    struct slot_name names[SLOTS_UNSAFE_MAX + 1];
    uint64_t now_us = clock_now_us();
    CLEANUP(freep) char *text = NULL;
    struct pg_upstream leader;
    struct textbuf sql = {0};
    struct slots_view v;
    struct err err = {0};

    slots_fill_view(a, false, &v);
    if (s->check || now_us - s->checked_at_us < USEC_PER_SEC || !leader_upstream(a, &leader) ||
        !ha_slots_feedback_slot(&v, names[0].text, SLOT_NAME_SIZE))
        return;
    s->checked_at_us = now_us;
    memcpy(&names[1], s->unsafe, s->n_unsafe * sizeof(names[0]));
    pg_slot_xmin_question(&sql, names, s->n_unsafe + 1);
    text = textbuf_take(&sql);
    if (text &&
        pg_leader_command_start(a->loop, a->config, &leader, text, ASK_TIMEOUT_US, on_checked, a, &s->check, &err) < 0)
        log_debug("could not ask the leader about its slots: %s", err.msg);
}

void slot_copies_review(struct agent *a, bool leads)
{
    struct agent_slots *s = a->slots;

    look_for_marker(a);
    /* What is gone; but the leader remembers what it has dropped until it is made anew, to tell why. */
    for (size_t i = s->n_unsafe; i > 0; i--)
        if (!find_slot(a, s->unsafe[i - 1].text) && !(leads && find_spec(a, s->unsafe[i - 1].text)))
            note_safe(s, i - 1);
    if (s->n_unsafe && !leads)
        check(a);
    if (!s->n_unsafe && s->marked)
        marker_clear(a, MARKER);
    s->marked = s->n_unsafe > 0;
}

/* --- the operation ---------------------------------------------------------------------------------------------------
 */

/* One standby after the other: if all restarted at once, synchronous commits would have nobody to wait for. */
static uint64_t turn_us(const struct agent *a)
{
    uint64_t before = 0;

    for (size_t i = 0; i < a->cluster->n_members; i++)
        before += strcmp(a->cluster->members[i].name, a->config->name) < 0 &&
                  strcmp(a->cluster->members[i].name, a->cluster->leader.name) != 0;
    return before * 2 * a->dynamic->policy.loop_wait_us;
}

bool slots_to_copy(const struct agent *a)
{
    const struct agent_slots *s = a->slots;
    uint64_t now_us = clock_now_us();

    return s && s->n_missing && a->cluster && a->pg.facts.wal_level_logical && now_us >= s->copy_again_at_us &&
           now_us - s->missing_since_us >= turn_us(a);
}

void slot_copies_forget(struct agent_slots *s)
{
    for (size_t i = 0; i < s->n_copies; i++)
        free(s->copies[i].state_hex);
    s->n_copies = 0;
}

static uint64_t next_pause_us(struct agent_slots *s, uint64_t now_us)
{
    bool long_ago = now_us - s->copied_at_us > 2 * (uint64_t)PAUSE_MAX_US;

    s->copy_pause_us = long_ago || !s->copy_pause_us ? PAUSE_MIN_US : 2 * s->copy_pause_us;
    if (s->copy_pause_us > PAUSE_MAX_US)
        s->copy_pause_us = PAUSE_MAX_US;
    return s->copy_pause_us;
}

static void finish(struct agent *a)
{
    struct agent_slots *s = a->slots;
    uint64_t now_us = clock_now_us();

    s->copy_again_at_us = now_us + (s->n_copies ? next_pause_us(s, now_us) : ASK_AGAIN_US);
    s->copied_at_us = s->n_copies ? now_us : s->copied_at_us;
    s->n_missing = s->n_broken = 0;
    slot_copies_forget(s);
    op_end(a);
    if (!pg_server_pid(a->server))
        gather_control(a);
}

static void put_copies(struct agent *a)
{
    struct agent_slots *s = a->slots;
    struct err err = {0};

    s->marked = true;
    marker_set(a, MARKER);
    for (size_t i = 0; i < s->n_copies; i++) {
        if (pg_slot_put(a->config, s->copies[i].name, s->copies[i].state_hex, &err) < 0) {
            slots_complain(s, s->copies[i].name, err.msg);
            continue;
        }
        log_info("replication slot \"%s\": copied from \"%s\"", s->copies[i].name, a->op.target);
        note_unsafe(s, s->copies[i].name);
    }
    finish(a);
}

static void prove(struct agent *a)
{
    a->op.stage = STAGE_PROVE;
    op_prove_dead(a, put_copies);
}

static int on_stop_budget(sd_event_source *source, uint64_t planned_us, void *userdata);

static void stop_by(struct agent *a, enum pg_stop_mode mode, unsigned stage, uint64_t budget_us)
{
    a->op.stage = stage;
    (void)pg_server_stop(a->server, mode);
    (void)loop_timer_at(a->loop, &a->op.timer, clock_now_us() + budget_us, on_stop_budget, a);
}

static int on_stop_budget(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    if (a->op.stage == STAGE_STOP) {
        log_warning("PostgreSQL did not stop in time for copying slots: immediate shutdown");
        stop_by(a, PG_STOP_IMMEDIATE, STAGE_STOP_AT_ONCE, STOP_AT_ONCE_BUDGET_US);
        return 0;
    }
    log_warning("PostgreSQL did not stop: killing its processes");
    pg_server_kill(a->server);
    prove(a);
    return 0;
}

void op_copy_slots_server_exited(struct agent *a)
{
    if (a->op.stage == STAGE_ASK) {
        op_end(a);
        gather_control(a);
    } else if (a->op.stage < STAGE_PROVE) {
        prove(a);
    }
}

/* One row of the leader's answer. What is not as configured there will be, when the leader has made it anew. */
static void take_copy(struct agent *a, const char *const *row)
{
    struct agent_slots *s = a->slots;
    const struct slot_spec *spec = find_spec(a, row[SLOT_COPY_NAME]);
    struct slot_copy *copy = &s->copies[s->n_copies];
    uint32_t major = 0;

    if (!spec || !spec->logical || !text_equal(spec->database, row[SLOT_COPY_DATABASE]) ||
        !text_equal(spec->plugin, row[SLOT_COPY_PLUGIN]) || !row[SLOT_COPY_STATE] || !row[SLOT_COPY_MAJOR] ||
        s->n_copies == SLOTS_UNSAFE_MAX)
        return;
    if (!text_to_u32(row[SLOT_COPY_MAJOR], &major) || major != (uint32_t)a->server_major) {
        slots_complain(s, spec->name, "it cannot be copied from a server of another major version");
        return;
    }
    (void)text_copy(copy->name, sizeof(copy->name), spec->name);
    copy->state_hex = strdup(row[SLOT_COPY_STATE]);
    if (copy->state_hex)
        s->n_copies++;
}

static void on_fetched(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct agent *a = userdata;
    struct agent_slots *s = a->slots;

    (void)sqlstate;
    if (err && err->code)
        slots_complain(s, s->missing[0].text, err->msg);
    for (size_t i = 0; !(err && err->code) && i < rows->n_rows && rows->n_columns == SLOT_COPY_COLUMNS; i++)
        take_copy(a, &rows->values[i * rows->n_columns]);
    a->op.command = pg_command_free(a->op.command);
    if (!s->n_copies) {
        finish(a);
        return;
    }
    log_info("restarting PostgreSQL to put %zu logical slot%s of \"%s\" in place", s->n_copies,
             s->n_copies == 1 ? "" : "s", a->op.target);
    pg_probe_disconnect(a->probe);
    stop_by(a, PG_STOP_FAST, STAGE_STOP, STOP_BUDGET_US);
}

void op_copy_slots(struct agent *a, const struct ha_decision *d)
{
    struct agent_slots *s = a->slots;
    CLEANUP(freep) char *text = NULL;
    struct pg_upstream leader;
    struct textbuf sql = {0};
    struct err err = {0};

    op_begin(a, OP_COPY_SLOTS, d);
    a->op.stage = STAGE_ASK;
    slot_copies_forget(s);
    pg_slot_copy_question(&sql, s->missing, s->n_missing);
    text = textbuf_take(&sql);
    if (text && leader_upstream(a, &leader) &&
        pg_leader_command_start(a->loop, a->config, &leader, text, ASK_TIMEOUT_US, on_fetched, a, &a->op.command,
                                &err) >= 0)
        return;
    if (err.code)
        slots_complain(s, s->missing[0].text, err.msg);
    finish(a);
}
