/* Asks the other members over their REST API what they have: positions for the leader race. All at once, short timeout.
 */
#include <jansson.h>
#include <string.h>
#include <strings.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

enum { PEER_TIMEOUT_MAX_US = 2000000 };

struct question {
    struct agent *agent;
    size_t index;
    uint64_t round; /* op.since_us of the question: a late answer to an older one is dropped */
};

static uint64_t number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_integer(value) && json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
}

/* The reference asks its server while it answers, and says nothing of an age. */
static uint64_t as_of_us(const json_t *root, uint64_t asked_at_us)
{
    const json_t *age = json_object_get(root, "position_age_ms");
    uint64_t age_us = number(root, "position_age_ms") * USEC_PER_MSEC;

    if (!age)
        return asked_at_us;
    return json_is_integer(age) && age_us < asked_at_us ? asked_at_us - age_us : 0;
}

/* The fields of the reference's status JSON that count in the race (facts sheet 9.4). */
void peer_read(struct peer *p, const char *body, size_t len, uint64_t asked_at_us)
{
    json_auto_t *root = json_loadb(body, len, 0, NULL);
    const json_t *xlog = json_object_get(root, "xlog");
    const json_t *tags = json_object_get(root, "tags");
    const json_t *priority = json_object_get(tags, "failover_priority");
    const char *role = json_string_value(json_object_get(root, "role"));
    const char *state = json_string_value(json_object_get(root, "state"));
    uint64_t received, replayed;

    if (!json_is_object(root) || !role)
        return;
    if (!xlog)
        xlog = json_object_get(root, "wal");
    received = number(xlog, "received_location");
    replayed = number(xlog, "replayed_location");
    p->answered = true;
    p->is_primary = number(xlog, "location") > 0 || pg_role_from_text(role) == PG_ROLE_PRIMARY;
    p->lsn = received > replayed ? received : replayed;
    p->is_starting = p->lsn == 0 && pg_state_from_text(state ? state : "") == PG_STATE_STARTING;
    p->has_nothing = p->lsn == 0 && (json_is_true(json_object_get(root, "has_nothing")) ||
                                     pg_role_from_text(role) == PG_ROLE_UNINITIALIZED);
    p->leader_seen = json_is_true(json_object_get(root, "leader_seen"));
    p->timeline = (uint32_t)number(root, "timeline");
    p->as_of_us = as_of_us(root, asked_at_us);
    p->nofailover = json_is_true(json_object_get(tags, "nofailover"));
    p->failover_priority = json_is_integer(priority) ? (int)json_integer_value(priority) : 1;
    p->nofailover = p->nofailover || p->failover_priority <= 0;
    p->failsafe_active = json_is_true(json_object_get(root, "failsafe_mode_is_active"));
    p->watchdog_failed = json_is_true(json_object_get(root, "watchdog_failed"));
}

/*
 * What a standby says of itself is as old as its last look at PostgreSQL. A leader knows better what those have that
 * stream from it, and as of the same instant as its own position.
 */
static void add_walsenders(struct agent *a)
{
    if (!agent_is_primary(a))
        return;
    for (size_t i = 0; i < a->n_peers; i++) {
        struct peer *p = &a->peers[i];

        for (size_t k = 0; k < a->pg.facts.n_walsenders; k++) {
            const struct pg_walsender *s = &a->pg.facts.walsenders[k];

            if (strcasecmp(s->application_name, p->name) != 0 || strcmp(s->state, "streaming") != 0)
                continue;
            p->timeline = a->pg.facts.timeline;
            if (s->flush_lsn > p->lsn)
                p->lsn = s->flush_lsn;
        }
    }
}

static void round_ends(struct agent *a)
{
    a->peers_asked_at_us = a->op.since_us;
    a->peers_answered_at_us = clock_now_us();
    add_walsenders(a);
    op_end(a);
}

static void on_peer(void *userdata, const struct http_answer *answer)
{
    struct question *q = userdata;
    struct agent *a = q->agent;
    bool current = a->op.kind == OP_ASK_PEERS && a->op.since_us == q->round;

    if (current) {
        if (!answer->error)
            peer_read(&a->peers[q->index], answer->body, answer->body_len, q->round);
        if (--a->peers_waiting == 0) {
            round_ends(a);
        }
    }
    free(q);
}

static bool ask(struct agent *a, const char *name, const char *api_url, size_t index, uint64_t timeout_us)
{
    const char *const endpoints[] = {api_url, NULL};
    struct http_call call = {.method = "GET",
                             .endpoints = endpoints,
                             .path = "",
                             .deadline_us = clock_now_us() + timeout_us,
                             .idempotent = true};
    struct question *q = malloc(sizeof(*q));
    struct err err = {0};

    if (!q)
        return false;
    *q = (struct question){.agent = a, .index = index, .round = a->op.since_us};
    if (http_start(a->http, &call, NULL, on_peer, q, NULL, &err) < 0) {
        log_warning("could not ask \"%s\": %s", name, err.msg);
        free(q);
        return false;
    }
    return true;
}

static bool is_asked(const struct agent *a, const char *name)
{
    for (size_t i = 0; i < a->n_peers; i++)
        if (strcmp(a->peers[i].name, name) == 0)
            return true;
    return strcmp(a->config->name, name) == 0;
}

static void add_peer(struct agent *a, const char *name, const char *api_url, uint64_t timeout_us)
{
    struct peer *p = &a->peers[a->n_peers];

    if (a->n_peers == PEERS_MAX || !api_url[0] || is_asked(a, name))
        return;
    *p = (struct peer){.failover_priority = 1};
    (void)text_copy(p->name, sizeof(p->name), name);
    if (ask(a, name, api_url, a->n_peers, timeout_us))
        a->peers_waiting++;
    a->n_peers++;
}

void op_ask_peers(struct agent *a)
{
    uint64_t timeout_us = a->dynamic->policy.ttl_us / 5;
    const struct failsafe_list *failsafe = a->cluster->failsafe_list, *known = cold_start_known(a);

    op_begin(a, OP_ASK_PEERS, NULL);
    gather_pg(a); /* with which the answers are compared */
    a->n_peers = 0;
    a->peers_waiting = 0;
    if (timeout_us > PEER_TIMEOUT_MAX_US)
        timeout_us = PEER_TIMEOUT_MAX_US;
    for (size_t i = 0; i < a->cluster->n_members; i++)
        add_peer(a, a->cluster->members[i].name, a->cluster->members[i].api_url, timeout_us);
    /* A leader that lost the store lost its member key, too, and may be alive (failsafe mode). */
    for (size_t i = 0; failsafe && i < failsafe->n; i++)
        add_peer(a, failsafe->items[i].name, failsafe->items[i].api_url, timeout_us);
    /* Back after an outage, and perhaps not yet in the store; or in none, as that was built anew. */
    for (size_t i = 0; known && i < known->n; i++)
        add_peer(a, known->items[i].name, known->items[i].api_url, timeout_us);
    if (a->peers_waiting == 0) {
        round_ends(a);
    }
}
