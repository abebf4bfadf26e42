/*
 * Brings the replication slots of the running server into line with what ha/slots.h says: one step at a time, each on a
 * connection of its own, and what fails is said once and tried again later.
 */
#include "agent/slots.h"
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "pg/slots.h"

enum { STEP_TIMEOUT_US = 5000000, ADVANCE_TIMEOUT_US = 600000000, AGAIN_US = 10000000, TROUBLE_OVER_US = 15000000 };
/* To move a logical slot its WAL is decoded: in pieces, so that a promotion need not wait for long. */
#define LOGICAL_ADVANCE_MAX_BYTES (UINT64_C(128) << 20)

static struct agent_slots *state(struct agent *a)
{
    if (!a->slots)
        a->slots = calloc(1, sizeof(*a->slots));
    return a->slots;
}

void slots_fill_view(const struct agent *a, bool leads, struct slots_view *ret)
{
    const struct pg_facts *f = &a->pg.facts;
    const struct agent_slots *s = a->slots;

    *ret = (struct slots_view){
        .name = a->config->name,
        .tags = a->config->tags,
        .cluster = a->cluster,
        .leads = leads,
        .standby_cluster = a->dynamic->policy.standby_cluster,
        .use_slots = a->dynamic->policy.use_slots,
        .pause = a->dynamic->policy.pause,
        .member_slots_ttl_us = a->dynamic->policy.member_slots_ttl_us,
        .now_us = clock_now_us(),
        .position_lsn = f->in_recovery ? f->replay_lsn : f->current_lsn,
        .have = f->slots,
        .n_have = f->n_slots,
        .permanent = a->dynamic->slots,
        .n_permanent = a->dynamic->n_slots,
        .ignore = a->dynamic->ignore_slots,
        .n_ignore = a->dynamic->n_ignore_slots,
    };
    if (!s)
        return;
    ret->members_unsettled = ret->now_us < s->settled_at_us;
    ret->seen = s->seen;
    ret->n_seen = s->n_seen;
    ret->unsafe = s->unsafe;
    ret->n_unsafe = s->n_unsafe;
}

size_t slots_wanted(const struct slots_view *v, struct slot_want **ret)
{
    size_t max = v->cluster->n_members + v->cluster->n_retain_slots + v->n_seen + v->n_permanent;

    *ret = calloc(max + 1, sizeof(**ret));
    return *ret ? ha_slots_wanted(v, *ret, max) : 0;
}

/* --- what is wrong -------------------------------------------------------------------------------------------------
 */

static struct slot_trouble *find_trouble(struct agent_slots *s, const char *name)
{
    for (size_t i = 0; i < s->n_troubles; i++)
        if (strcmp(s->troubles[i].name, name) == 0)
            return &s->troubles[i];
    return NULL;
}

static void forget_trouble(struct agent_slots *s, struct slot_trouble *t)
{
    if (t)
        *t = s->troubles[--s->n_troubles];
}

void slots_complain(struct agent_slots *s, const char *name, const char *text)
{
    struct slot_trouble *t = find_trouble(s, name);

    if (t && strcmp(t->text, text) == 0) {
        t->met_at_us = clock_now_us();
        return;
    }
    log_warning("replication slot \"%s\": %s", name, text);
    if (!t && s->n_troubles == SLOTS_TROUBLES_MAX)
        return;
    if (!t)
        t = &s->troubles[s->n_troubles++];
    *t = (struct slot_trouble){.met_at_us = clock_now_us()};
    (void)text_copy(t->name, sizeof(t->name), name);
    (void)text_copy(t->text, sizeof(t->text), text);
}

static void note_failure(struct agent_slots *s, const char *name, const char *what, const struct err *err)
{
    char text[sizeof(s->troubles->text)];
    struct slot_trouble *t;

    (void)text_print(text, sizeof(text), "could not %s it: %s", what, err->msg);
    slots_complain(s, name, text);
    t = find_trouble(s, name);
    if (t)
        t->again_at_us = clock_now_us() + AGAIN_US;
}

static bool may_try(struct agent_slots *s, const char *name)
{
    struct slot_trouble *t = find_trouble(s, name);

    if (!t || t->again_at_us <= clock_now_us())
        return true;
    t->met_at_us = clock_now_us();
    return false;
}

/* --- steps -----------------------------------------------------------------------------------------------------------
 */

static const char *verb(enum slot_what what)
{
    return what == SLOT_CREATE ? "create" : what == SLOT_DROP ? "drop" : "advance";
}

static void on_step(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct agent *a = userdata;
    struct agent_slots *s = a->slots;
    bool failed = err && err->code;

    (void)rows;
    (void)sqlstate;
    s->command = pg_command_free(s->command);
    s->stepped_at_us = clock_now_us();
    if (!failed)
        forget_trouble(s, find_trouble(s, s->step.name));
    else if (a->op.kind == OP_NONE) /* else it was most likely us who stopped the server */
        note_failure(s, s->step.name, verb(s->step.what), err);
    if (!failed && s->step.what == SLOT_CREATE && s->step.logical)
        slot_copies_note_new(s, s->step.name);
    gather_pg(a); /* what is to be done next shows when the server was looked at again */
}

static int run(struct agent *a, const char *database, struct textbuf *sql, uint64_t timeout_us, pg_command_fn done,
               struct pg_command **ret, struct err *err)
{
    struct pg_probe_settings login = *agent_pg_login(a);
    CLEANUP(freep) char *text = textbuf_take(sql);

    if (!text)
        return err_set(err, -12, "out of memory");
    if (database[0])
        login.database = database;
    return pg_command_start(a->loop, &login, text, timeout_us, done, a, ret, err);
}

static void begin_step(struct agent *a, const struct slot_step *step)
{
    struct agent_slots *s = a->slots;
    struct textbuf sql = {0};
    struct err err = {0};

    if (step->what == SLOT_DROP)
        pg_slot_drop(&sql, step->name);
    else if (step->logical)
        pg_slot_create_logical(&sql, step->name, step->plugin);
    else
        pg_slot_create_physical(&sql, step->name);
    if (!find_trouble(s, step->name))
        log_info("replication slot \"%s\": %s it, %s", step->name, step->what == SLOT_DROP ? "dropping" : "creating",
                 step->reason);
    s->step = *step;
    if (run(a, step->what == SLOT_CREATE ? step->database : "", &sql, STEP_TIMEOUT_US, on_step, &s->command, &err) < 0)
        note_failure(s, step->name, verb(step->what), &err);
}

/* All physical ones at once, as often as the leader publishes where they are. */
static void advance_physical(struct agent *a, const struct slot_step *steps, size_t n)
{
    struct agent_slots *s = a->slots;
    CLEANUP(freep) struct slot_position *to = calloc(n + 1, sizeof(*to));
    uint64_t now_us = clock_now_us();
    struct textbuf sql = {0};
    struct err err = {0};
    size_t n_to = 0;

    if (!to || s->command || now_us - s->advanced_at_us < a->dynamic->policy.loop_wait_us)
        return;
    for (size_t i = 0; i < n; i++) {
        if (steps[i].what != SLOT_ADVANCE || steps[i].logical || !may_try(s, steps[i].name))
            continue;
        (void)text_copy(to[n_to].name, sizeof(to[n_to].name), steps[i].name);
        to[n_to++].lsn = steps[i].lsn;
        s->step = steps[i];
    }
    if (n_to == 0)
        return;
    s->advanced_at_us = now_us;
    pg_slots_advance(&sql, to, n_to);
    if (run(a, "", &sql, STEP_TIMEOUT_US, on_step, &s->command, &err) < 0)
        note_failure(s, s->step.name, "advance", &err);
}

static void add_name(struct slot_name *names, size_t *n, const char *name)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp(names[i].text, name) == 0)
            return;
    if (*n < SLOTS_UNSAFE_MAX)
        (void)text_copy(names[(*n)++].text, SLOT_NAME_SIZE, name);
}

static void on_advanced(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct agent *a = userdata;
    struct agent_slots *s = a->slots;

    (void)rows;
    s->advance = pg_command_free(s->advance);
    if (!err || !err->code) {
        forget_trouble(s, find_trouble(s, s->advancing));
        gather_pg(a);
        return;
    }
    if (a->op.kind != OP_NONE)
        return;
    note_failure(s, s->advancing, "advance", err);
    /* undefined_file, object_not_in_prerequisite_state: what it needs is not here any more (facts sheet 5.7). */
    if (sqlstate && (strcmp(sqlstate, "58P01") == 0 || strcmp(sqlstate, "55000") == 0))
        add_name(s->broken, &s->n_broken, s->advancing);
}

static void advance_logical(struct agent *a, const struct slot_step *step)
{
    struct agent_slots *s = a->slots;
    struct slot_position to = {.lsn = step->lsn};
    struct textbuf sql = {0};
    struct err err = {0};

    for (size_t i = 0; i < a->pg.facts.n_slots; i++) {
        const struct slot *have = &a->pg.facts.slots[i];

        if (strcmp(have->name, step->name) == 0 && step->lsn - have->confirmed_lsn > LOGICAL_ADVANCE_MAX_BYTES)
            to.lsn = have->confirmed_lsn + LOGICAL_ADVANCE_MAX_BYTES;
    }
    (void)text_copy(to.name, sizeof(to.name), step->name);
    (void)text_copy(s->advancing, sizeof(s->advancing), step->name);
    pg_slots_advance(&sql, &to, 1);
    if (run(a, step->database, &sql, ADVANCE_TIMEOUT_US, on_advanced, &s->advance, &err) < 0)
        note_failure(s, step->name, "advance", &err);
}

static void complain_of_step(struct agent_slots *s, const struct slot_step *step)
{
    char text[sizeof(s->troubles->text)];

    (void)text_print(text, sizeof(text), "%s%s", step->in_use ? "not dropped, since it is in use: " : "", step->reason);
    slots_complain(s, step->name, text);
}

static void take_steps(struct agent *a, const struct slot_step *steps, size_t n)
{
    struct agent_slots *s = a->slots;

    for (size_t i = 0; i < n; i++) {
        const struct slot_step *step = &steps[i];

        switch (step->what) {
        case SLOT_CREATE:
        case SLOT_DROP:
            if (!s->command && may_try(s, step->name))
                begin_step(a, step);
            break;
        case SLOT_ADVANCE:
            if (step->logical && !s->advance && may_try(s, step->name))
                advance_logical(a, step);
            break;
        case SLOT_COPY:
            add_name(s->missing, &s->n_missing, step->name);
            break;
        case SLOT_COMPLAIN:
            complain_of_step(s, step);
            break;
        }
    }
    advance_physical(a, steps, n);
}

/* --- a cycle ---------------------------------------------------------------------------------------------------------
 */

/*
 * A view without our own key, which we write all the time: keys have run out in an outage, or the store was replaced.
 * The other members will write theirs as soon as they can. And who has not looked for a while knows less than there was
 * to be seen.
 */
static void note_lost_keys(struct agent *a)
{
    const struct policy *p = &a->dynamic->policy;
    uint64_t now_us = clock_now_us(), settle_us = 2 * p->loop_wait_us + 2 * p->retry_timeout_us;

    if (!cluster_member(a->cluster, a->config->name) || now_us - a->slots->looked_at_us > settle_us)
        a->slots->settled_at_us = now_us + settle_us;
    a->slots->looked_at_us = now_us;
}

static bool view_is_of_our_term(const struct agent *a)
{
    return a->cluster->leader.exists && strcmp(a->cluster->leader.name, a->config->name) == 0;
}

static void remember(struct agent *a, bool leads)
{
    struct agent_slots *s = a->slots;
    struct slots_view v;

    slots_fill_view(a, leads, &v);
    s->n_seen = ha_slots_remember(&v, leads && !s->led, s->seen, s->n_seen, SLOTS_SEEN_MAX);
    s->led = leads;
}

static void update_feedback(struct agent *a, const struct slots_view *v)
{
    struct agent_slots *s = a->slots;
    bool need = ha_slots_need_feedback(v);

    /* At the first look the files are written anyway. */
    if (need == s->need_feedback)
        return;
    s->need_feedback = need;
    a->config_unsettled = true;
    if (need)
        log_info("logical slots are kept on standbys: hot_standby_feedback is switched on");
}

static void forget_old_troubles(struct agent_slots *s)
{
    uint64_t now_us = clock_now_us();

    for (size_t i = s->n_troubles; i > 0; i--)
        if (now_us - s->troubles[i - 1].met_at_us > TROUBLE_OVER_US)
            forget_trouble(s, &s->troubles[i - 1]);
}

static void take_stock(struct agent *a, bool leads)
{
    CLEANUP(freep) struct slot_want *want = NULL;
    CLEANUP(freep) struct slot_step *steps = NULL;
    struct slots_view v;
    size_t n_want, max;

    slots_fill_view(a, leads, &v);
    update_feedback(a, &v);
    n_want = slots_wanted(&v, &want);
    max = v.n_have + 2 * n_want;
    steps = calloc(max + 1, sizeof(*steps));
    if (!want || !steps)
        return;
    a->slots->n_missing = 0;
    for (size_t i = 0; i < a->slots->n_broken; i++)
        add_name(a->slots->missing, &a->slots->n_missing, a->slots->broken[i].text);
    take_steps(a, steps, ha_slots_steps(&v, want, n_want, steps, max));
    if (!a->slots->n_missing)
        a->slots->missing_since_us = 0;
    else if (!a->slots->missing_since_us)
        a->slots->missing_since_us = v.now_us;
}

/* Failsafe mode: without the store nobody else says where slots are that others need less of by now. */
static void follow_leader_without_store(struct agent *a)
{
    CLEANUP(freep) struct slot_step *steps = calloc(a->pg.facts.n_slots + 1, sizeof(*steps));
    struct slots_view v;

    if (!steps || !a->pg.facts.in_recovery || !a->failsafe_heard.n_slots ||
        clock_now_us() - a->failsafe_heard.at_us >= a->dynamic->policy.ttl_us ||
        a->pg.facts.asked_at_us < a->slots->stepped_at_us)
        return;
    slots_fill_view(a, false, &v);
    take_steps(a, steps, ha_slots_follow(&v, a->failsafe_heard.slots, a->failsafe_heard.n_slots, steps, v.n_have));
}

void slots_maintain(struct agent *a, bool leads)
{
    if (state(a) && a->store_failed)
        follow_leader_without_store(a);
    if (!state(a) || !a->cluster || a->store_failed || !a->cluster->config.exists ||
        a->cluster->read_sent_at_us < a->frozen_at_us || a->pg.facts.asked_at_us < a->slots->stepped_at_us)
        return;
    /* A primary without the leader key is about to be stopped. */
    if (leads ? !view_is_of_our_term(a) : !a->pg.facts.in_recovery)
        return;
    note_lost_keys(a);
    remember(a, leads);
    slot_copies_review(a, leads);
    take_stock(a, leads);
    forget_old_troubles(a->slots);
}

bool slots_need_feedback(const struct agent *a)
{
    struct slots_view v;

    slots_fill_view(a, false, &v);
    return ha_slots_need_feedback(&v);
}

void slots_done(struct agent *a)
{
    struct agent_slots *s = a->slots;

    if (!s)
        return;
    s->command = pg_command_free(s->command);
    s->advance = pg_command_free(s->advance);
    s->check = pg_command_free(s->check);
    slot_copies_forget(s);
    free(s);
    a->slots = NULL;
}
