/*
 * GET /why: for every member, whether it could lead if the leader key were free, which rule stops it else, and what a
 * failover to it would cost. Each member judges itself (GET /why?self=1), since only it knows what its rules look at;
 * the one that is asked collects that and compares the positions.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/text.h"

enum { ASK_TIMEOUT_US = 2000000, ROUNDS_MAX = 8 };

struct question;

struct why_round {
    struct agent *agent;
    struct command *command;
    json_t *members; /* of objects, in the order of the store; null where nobody has answered yet */
    struct question *open;
    struct why_round *next; /* in agent->whys */
};

struct question {
    struct why_round *round;
    size_t index;
    char name[MEMBER_NAME_SIZE];
    struct question *next; /* in round->open: a client that is freed calls nobody back */
};

/* --- one member
 * -------------------------------------------------------------------------------------------------------
 */

static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value);
}

static json_t *text_or_null(const char *s)
{
    json_t *text = s[0] ? json_string(s) : NULL;

    return text ? text : json_null();
}

static json_t *self(struct agent *a)
{
    json_t *o = json_object();
    struct ha_view view;
    struct ha_why why;

    gather_view(a, &view);
    ha_why(&view, &why);
    set(o, "name", json_string(a->config->name));
    set(o, "verdict", json_string(why.leads ? "leads" : why.could_lead ? "could lead" : "cannot lead"));
    set(o, "rule", text_or_null(ha_rule_text(why.rule)));
    set(o, "obstacle", text_or_null(why.obstacle));
    set(o, "note", text_or_null(why.note));
    set(o, "timeline", json_integer((json_int_t)why.timeline));
    set(o, "position", json_integer((json_int_t)why.lsn));
    if (!why.leads)
        set(o, "bytes_to_replay", json_integer((json_int_t)(why.lsn > why.replay_lsn ? why.lsn - why.replay_lsn : 0)));
    set(o, "failover_seconds",
        why.could_lead ? json_integer((json_int_t)((why.failover_us + USEC_PER_SEC - 1) / USEC_PER_SEC)) : json_null());
    return o;
}

static json_t *silent_member(const char *name, const char *rule, const char *obstacle)
{
    json_t *o = json_object();

    set(o, "name", json_string(name));
    set(o, "verdict", json_string("cannot lead"));
    set(o, "rule", json_string(rule));
    set(o, "obstacle", text_or_null(obstacle));
    return o;
}

/* --- all of them
 * ------------------------------------------------------------------------------------------------------
 */

static bool leads(const json_t *member)
{
    const char *verdict = json_string_value(json_object_get(member, "verdict"));

    return verdict && strcmp(verdict, "leads") == 0;
}

/* What it lacks, from the leader's position. Of a leader that does not answer the last one that it has published. */
static void set_costs(const struct agent *a, json_t *answer, json_t *members)
{
    uint64_t leader_lsn = a->cluster ? a->cluster->status_lsn : 0;
    const char *source = leader_lsn ? "published" : NULL;
    json_t *m;
    size_t i;

    json_array_foreach(members, i, m)
    {
        json_int_t lsn = json_integer_value(json_object_get(m, "position"));

        if (leads(m) && lsn > 0) {
            leader_lsn = (uint64_t)lsn;
            source = "now";
        }
    }
    set(answer, "leader_position", source ? json_integer((json_int_t)leader_lsn) : json_null());
    set(answer, "leader_position_is", source ? json_string(source) : json_null());
    json_array_foreach(members, i, m)
    {
        uint64_t lsn = (uint64_t)json_integer_value(json_object_get(m, "position"));

        if (!leads(m))
            set(m, "bytes_lost",
                source && lsn ? json_integer((json_int_t)(leader_lsn > lsn ? leader_lsn - lsn : 0)) : json_null());
    }
}

static void set_cold_start(const struct agent *a, json_t *answer)
{
    char command[COLD_START_COMMAND_SIZE];

    if (!a->cold.waits)
        return;
    cold_start_command(&a->cold.now, a->config->scope, command, sizeof(command));
    set(answer, "waits_for", text_or_null(a->cold.now.missing));
    set(answer, "command", text_or_null(command));
}

static void forget_round(struct why_round *gone)
{
    struct why_round **at = &gone->agent->whys;

    while (*at != gone)
        at = &(*at)->next;
    *at = gone->next;
    while (gone->open) {
        struct question *q = gone->open;

        gone->open = q->next;
        free(q);
    }
    json_decref(gone->members);
    free(gone);
}

static void close_question(struct question *q)
{
    struct question **at = &q->round->open;

    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    free(q);
}

static void finish(struct why_round *r)
{
    const struct cluster *c = r->agent->cluster;
    json_t *answer = json_object();

    set(answer, "scope", json_string(r->agent->config->scope));
    set(answer, "asked", json_string(r->agent->config->name));
    set(answer, "leader", text_or_null(c && c->leader.exists ? c->leader.name : ""));
    set_costs(r->agent, answer, r->members);
    set_cold_start(r->agent, answer);
    set(answer, "members", json_incref(r->members));
    command_answer_json(r->command, 200, json_dumps(answer, JSON_PRESERVE_ORDER));
    json_decref(answer);
    forget_round(r);
}

static json_t *read_member(const struct question *q, const struct http_answer *answer)
{
    json_t *member = answer->error ? NULL : json_loadb(answer->body, answer->body_len, 0, NULL);
    const char *name = json_string_value(json_object_get(member, "name"));

    if (name && json_is_string(json_object_get(member, "verdict")) && strcmp(name, q->name) == 0)
        return member;
    json_decref(member);
    if (answer->error)
        return silent_member(q->name, "unreachable", answer->message);
    return silent_member(q->name, "unknown", "it answers, but does not say: another agent, or another version of it");
}

static void on_member(void *userdata, const struct http_answer *answer)
{
    struct question *q = userdata;
    struct why_round *r = q->round;

    (void)json_array_set_new(r->members, q->index, read_member(q, answer));
    close_question(q);
    if (!r->open)
        finish(r);
}

static void ask(struct why_round *r, const char *name, const char *api_url)
{
    char base[URL_SIZE];
    const char *const endpoints[] = {base, NULL};
    struct http_call call = {.method = "GET",
                             .endpoints = endpoints,
                             .path = "/why?self=1",
                             .deadline_us = clock_now_us() + ASK_TIMEOUT_US,
                             .idempotent = true};
    struct question *q = calloc(1, sizeof(*q));
    struct err err = {0};

    (void)json_array_append_new(r->members, json_null());
    if (q && agent_base_url(api_url, base, sizeof(base))) {
        *q = (struct question){.round = r, .index = json_array_size(r->members) - 1, .next = r->open};
        (void)text_copy(q->name, sizeof(q->name), name);
        if (http_start(r->agent->http, &call, NULL, on_member, q, NULL, &err) >= 0) {
            r->open = q;
            return;
        }
    }
    free(q);
    (void)json_array_set_new(r->members, json_array_size(r->members) - 1,
                             silent_member(name, "unreachable", err.msg[0] ? err.msg : "it has no address"));
}

static void ask_all(struct why_round *r)
{
    struct agent *a = r->agent;
    const struct failsafe_list *known = cold_start_known(a);
    bool self_done = false;

    for (size_t i = 0; a->cluster && i < a->cluster->n_members; i++) {
        const struct member *m = &a->cluster->members[i];
        bool is_self = strcmp(m->name, a->config->name) == 0;

        self_done |= is_self;
        if (is_self)
            (void)json_array_append_new(r->members, self(a));
        else
            ask(r, m->name, m->api_url);
    }
    if (!self_done)
        (void)json_array_append_new(r->members, self(a));
    for (size_t i = 0; a->cluster && known && i < known->n; i++)
        if (!cluster_member(a->cluster, known->items[i].name) && strcmp(known->items[i].name, a->config->name) != 0)
            ask(r, known->items[i].name, known->items[i].api_url);
}

void why_command(struct agent *a, struct command *command)
{
    struct why_round *r;
    size_t rounds = 0;
    json_t *one;

    if (command->kind == COMMAND_WHY_SELF) {
        one = self(a);
        command_answer_json(command, 200, json_dumps(one, JSON_PRESERVE_ORDER));
        json_decref(one);
        return;
    }
    for (r = a->whys; r; r = r->next)
        rounds++;
    /* Anybody may ask, and each question is one to every member. */
    r = rounds < ROUNDS_MAX ? calloc(1, sizeof(*r)) : NULL;
    if (!r) {
        command_answer_text(command, 503, "too many questions at once");
        return;
    }
    *r = (struct why_round){.agent = a, .command = command, .members = json_array(), .next = a->whys};
    a->whys = r;
    ask_all(r);
    if (!r->open)
        finish(r);
}

/* After the client of the others is gone: nobody comes back. */
void why_done(struct agent *a)
{
    while (a->whys) {
        command_answer_text(a->whys->command, 503, "this agent ends");
        forget_round(a->whys);
    }
}
