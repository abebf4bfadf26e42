/*
 * POST /switchover and /failover, DELETE /switchover. Any member takes them: it checks what was asked against a fresh
 * read of the store, asks the candidates, writes the failover key, and then watches what the leader makes of it. The
 * order of the checks and the sentences are the reference's (facts sheet 9.6).
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "dcs/codec.h"

enum { ASK_TIMEOUT_US = 2000000, POLLS_MIN_S = 10 };

struct switchover {
    struct agent *agent;
    struct command *command; /* NULL: answered */
    bool is_switchover;
    char leader[MEMBER_NAME_SIZE], candidate[MEMBER_NAME_SIZE], scheduled_at[64];
    char leader_before[MEMBER_NAME_SIZE];
    unsigned asked, good; /* candidates without an answer; with a good one */
    unsigned refs;        /* calls under way that will come back */
    unsigned waits_s;
    uint64_t written_at_us; /* the key is there; 0 = not yet */
    sd_event_source *timer;
    struct switchover *next; /* in agent->switchovers while it waits for the leader */
};

static const char *action(const struct switchover *s)
{
    return s->is_switchover ? "switchover" : "failover";
}

static void unref(struct switchover *s)
{
    if (--s->refs > 0)
        return;
    s->timer = loop_source_free(s->timer);
    free(s);
}

static void answer(struct switchover *s, unsigned status, const char *text)
{
    struct command *c = s->command;

    s->command = NULL;
    if (!c)
        return;
    log_info("%s: %u %s", action(s), status, text);
    command_answer_text(c, status, "%s", text);
}

/* --- what was asked ------------------------------------------------------------------------------------------------
 */

static bool copy_field(const json_t *body, const char *key, char *dst, size_t size)
{
    const json_t *value = json_object_get(body, key);
    const char *text = json_string_value(value);

    if (!value || json_is_null(value))
        return true;
    return text && text_copy(dst, size, text);
}

static bool read_body(struct switchover *s, const char *text)
{
    json_auto_t *body = json_loads(text ? text : "{}", 0, NULL);
    const char *candidate = json_object_get(body, "candidate") ? "candidate" : "member";

    return copy_field(body, "leader", s->leader, sizeof(s->leader)) &&
           copy_field(body, candidate, s->candidate, sizeof(s->candidate)) &&
           copy_field(body, "scheduled_at", s->scheduled_at, sizeof(s->scheduled_at));
}

/* The checks that need nobody else. 0, or the status with the sentence. */
static unsigned check_words(struct switchover *s, bool pause, char *why, size_t size)
{
    const char *text = NULL;
    int64_t at_s;

    if (!s->is_switchover && !s->candidate[0])
        text = "Failover could be performed only to a specific candidate";
    else if (s->is_switchover && !s->leader[0])
        text = "Switchover could be performed only from a specific leader";
    else if (s->scheduled_at[0] && !s->is_switchover)
        text = "Failover can't be scheduled";
    else if (s->scheduled_at[0] && pause)
        text = "Can't schedule switchover in the paused state";
    if (!text && s->scheduled_at[0]) {
        unsigned status = schedule_read(s->scheduled_at, "switchover", &at_s, why, size);

        if (status)
            return status;
    }
    if (!text && pause && !s->candidate[0])
        text = "Switchover is possible only to a specific candidate in a paused state";
    s->is_switchover = s->is_switchover || s->leader[0];
    if (!text && s->leader[0] && strcmp(s->leader, s->candidate) == 0)
        text = "Switchover target and source are the same";
    (void)text_copy(why, size, text ? text : "");
    return text ? 400 : 0;
}

/* --- the candidates ------------------------------------------------------------------------------------------------
 */

/* Only priority mode names single standbys; in quorum mode the voters may change until the leader stops. */
static bool is_allowed(const struct switchover *s, const struct cluster *c, const char *name)
{
    const struct policy *p = &s->agent->dynamic->policy;

    return p->sync_mode != SYNC_MODE_PRIORITY || ha_request_allows(p, c, s->is_switchover, name);
}

static bool is_candidate(const struct switchover *s, const struct cluster *c, const struct member *m)
{
    if (s->candidate[0])
        return strcmp(m->name, s->candidate) == 0;
    return strcmp(m->name, c->leader.name) != 0 && is_allowed(s, c, m->name);
}

static const char *check_cluster(const struct switchover *s, const struct cluster *c)
{
    if (s->leader[0] && (!c->leader.exists || strcmp(c->leader.name, s->leader) != 0))
        return "leader name does not match";
    if (s->candidate[0] && !is_allowed(s, c, s->candidate))
        return "candidate name does not match with sync_standby";
    for (size_t i = 0; i < c->n_members; i++)
        if (is_candidate(s, c, &c->members[i]))
            return NULL;
    if (s->candidate[0])
        return "candidate does not exists";
    return s->agent->dynamic->policy.sync_mode == SYNC_MODE_PRIORITY && c->sync.exists
               ? "switchover is not possible: can not find sync_standby"
               : "switchover is not possible: cluster does not have members except leader";
}

static void write_key(struct switchover *s);

static void asked_all(struct switchover *s)
{
    char why[96];

    if (s->good) {
        write_key(s);
        return;
    }
    (void)text_print(why, sizeof(why), "%s is not possible: no good candidates have been found", action(s));
    answer(s, 412, why);
}

static void on_candidate(void *userdata, const struct http_answer *http)
{
    struct switchover *s = userdata;
    struct peer p = {.failover_priority = 1};

    if (!http->error)
        peer_read(&p, http->body, http->body_len);
    if (p.answered && !p.nofailover && !p.watchdog_failed)
        s->good++;
    if (--s->asked == 0)
        asked_all(s);
    unref(s);
}

static void ask_candidates(struct switchover *s, const struct cluster *c)
{
    s->asked = 1; /* ourselves, until all are on their way */
    for (size_t i = 0; i < c->n_members; i++) {
        const char *const endpoints[] = {c->members[i].api_url, NULL};
        struct http_call call = {.method = "GET",
                                 .endpoints = endpoints,
                                 .path = "",
                                 .deadline_us = clock_now_us() + ASK_TIMEOUT_US,
                                 .idempotent = true};

        if (!c->members[i].api_url[0] || !is_candidate(s, c, &c->members[i]))
            continue;
        if (http_start(s->agent->http, &call, NULL, on_candidate, s, NULL, NULL) < 0)
            continue;
        s->asked++;
        s->refs++;
    }
    if (--s->asked == 0)
        asked_all(s);
}

/* --- the key, and what becomes of it --------------------------------------------------------------------------------
 */

static void stop_waiting(struct switchover *s)
{
    struct switchover **at = &s->agent->switchovers;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    unref(s);
}

static int on_patience_ends(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct switchover *s = userdata;
    char text[120];

    (void)source;
    (void)planned_us;
    (void)text_print(text, sizeof(text), "%s status unknown after %u seconds; operation may still be in progress",
                     s->is_switchover ? "Switchover" : "Failover", s->waits_s);
    answer(s, 503, text);
    stop_waiting(s);
    return 0;
}

static void wait_for_leader(struct switchover *s)
{
    unsigned loop_wait_s = (unsigned)(s->agent->dynamic->policy.loop_wait_us / USEC_PER_SEC);

    s->waits_s = 2 * (loop_wait_s > POLLS_MIN_S ? loop_wait_s : POLLS_MIN_S);
    s->written_at_us = clock_now_us();
    s->next = s->agent->switchovers;
    s->agent->switchovers = s;
    s->refs++;
    (void)loop_timer_at(s->agent->loop, &s->timer, s->written_at_us + s->waits_s * USEC_PER_SEC, on_patience_ends, s);
    gather_store(s->agent);
}

static void on_key_written(void *userdata, struct dcs_answer *store)
{
    struct switchover *s = userdata;

    if (store->outcome != DCS_DONE)
        answer(s, 503, "failed to write failover key into DCS");
    else if (s->scheduled_at[0])
        answer(s, 202, "Switchover scheduled");
    else
        wait_for_leader(s);
    unref(s);
}

static void write_key(struct switchover *s)
{
    struct agent *a = s->agent;
    char *json = codec_print_failover(s->leader, s->candidate, s->scheduled_at);

    if (!json) {
        answer(s, 503, "failed to write failover key into DCS");
        return;
    }
    s->refs++;
    a->dcs->ops->put(a->dcs, "failover", json, DCS_ANY, 0, clock_now_us() + a->dynamic->policy.retry_timeout_us,
                     on_key_written, s);
    free(json);
}

static void tell_outcome(struct switchover *s, const char *now)
{
    const char *did = s->is_switchover ? "switched" : "failed";
    char text[2 * MEMBER_NAME_SIZE + 64];

    if (!s->candidate[0] || strcmp(s->candidate, now) == 0)
        (void)text_print(text, sizeof(text), "Successfully %s over to \"%s\"", did, now);
    else
        (void)text_print(text, sizeof(text), "%s over to \"%s\" instead of \"%s\"",
                         s->is_switchover ? "Switched" : "Failed", now, s->candidate);
    answer(s, 200, text);
}

static bool has_ended(struct switchover *s, const struct cluster *c)
{
    if (c->read_sent_at_us < s->written_at_us)
        return false;
    if (c->leader.exists && strcmp(c->leader.name, s->leader_before) != 0)
        tell_outcome(s, c->leader.name);
    else if (!c->failover.exists && strcmp(c->leader.exists ? c->leader.name : "", s->leader_before) == 0)
        answer(s, 503, s->is_switchover ? "Switchover failed" : "Failover failed");
    else
        return false;
    return true;
}

void switchover_look(struct agent *a)
{
    struct switchover *s = a->switchovers, *next;

    for (; s; s = next) {
        next = s->next;
        if (has_ended(s, a->cluster))
            stop_waiting(s);
    }
}

/* --- requests -------------------------------------------------------------------------------------------------------
 */

static void on_store_read(void *userdata, struct dcs_answer *store)
{
    struct switchover *s = userdata;
    const char *why;

    if (store->outcome != DCS_DONE) {
        answer(s, 503, "the store cannot be read");
        unref(s);
        return;
    }
    (void)text_copy(s->leader_before, sizeof(s->leader_before),
                    store->cluster->leader.exists ? store->cluster->leader.name : "");
    why = s->scheduled_at[0] ? NULL : check_cluster(s, store->cluster);
    if (why)
        answer(s, 412, why);
    else if (s->scheduled_at[0])
        write_key(s);
    else
        ask_candidates(s, store->cluster);
    cluster_free(store->cluster);
    unref(s);
}

void switchover_command(struct agent *a, struct command *command)
{
    struct switchover *s = calloc(1, sizeof(*s));
    char why[160];
    unsigned status;

    if (!s) {
        command_answer_text(command, 500, "out of memory");
        return;
    }
    *s = (struct switchover){.agent = a, .command = command, .refs = 1};
    s->is_switchover = command->kind == COMMAND_SWITCHOVER;
    if (!read_body(s, command->body)) {
        answer(s, 400, "leader, candidate and scheduled_at have to be texts");
        unref(s);
        return;
    }
    status = check_words(s, a->dynamic->policy.pause, why, sizeof(why));
    if (status) {
        answer(s, status, why);
        unref(s);
        return;
    }
    a->dcs->ops->get_cluster(a->dcs, true, clock_now_us() + a->dynamic->policy.retry_timeout_us, on_store_read, s);
}

/* --- taking a scheduled one back ------------------------------------------------------------------------------------
 */

static void on_key_emptied(void *userdata, struct dcs_answer *store)
{
    struct switchover *s = userdata;

    if (store->outcome == DCS_DONE)
        answer(s, 200, "scheduled switchover deleted");
    else
        answer(s, 409, "the failover key has been changed meanwhile");
    gather_store(s->agent);
    unref(s);
}

static void on_read_to_cancel(void *userdata, struct dcs_answer *store)
{
    struct switchover *s = userdata;
    struct agent *a = s->agent;

    if (store->outcome != DCS_DONE) {
        answer(s, 503, "the store cannot be read");
    } else if (!store->cluster->failover.exists || !store->cluster->failover.scheduled_at[0]) {
        answer(s, 404, "no switchover is scheduled");
    } else {
        s->refs++;
        a->dcs->ops->put(a->dcs, "failover", "{}", DCS_REVISION, store->cluster->failover.revision,
                         clock_now_us() + a->dynamic->policy.retry_timeout_us, on_key_emptied, s);
    }
    if (store->outcome == DCS_DONE)
        cluster_free(store->cluster);
    unref(s);
}

void switchover_cancel_command(struct agent *a, struct command *command)
{
    struct switchover *s = calloc(1, sizeof(*s));

    if (!s) {
        command_answer_text(command, 500, "out of memory");
        return;
    }
    *s = (struct switchover){.agent = a, .command = command, .refs = 1, .is_switchover = true};
    a->dcs->ops->get_cluster(a->dcs, true, clock_now_us() + a->dynamic->policy.retry_timeout_us, on_read_to_cancel, s);
}

/* The REST server has gone before: nobody waits for an answer any more. */
void switchover_done(struct agent *a)
{
    struct switchover *s = a->switchovers, *next;

    for (; s; s = next) {
        next = s->next;
        s->command = NULL;
        stop_waiting(s);
    }
}
