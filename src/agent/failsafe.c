/*
 * Failsafe mode, the leader's side: the list of members in the store, and the promises that hold the lease while the
 * store is out of reach. What they are worth says src/ha/failsafe.c; here they are asked for, again and again, from
 * everybody who is in the list, may be in it by a write whose outcome is not known, or was seen as a member.
 *
 * That list is of one leadership: a file in the runtime directory keeps it, with the lease it belongs to, for an agent
 * that is started while the store is away. It is written before the store is asked to take the list, so that it never
 * names fewer than the store does.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "dcs/codec.h"
#include "io/file.h"
#include "pg/slots.h"

enum { ASK_AGAIN_US = 500000, ASK_TIMEOUT_MIN_US = 2000000, LIST_FILE_MAX = 64 * 1024, SAID_SIZE = 160 };

struct peer_state {
    uint64_t again_at_us;
    bool busy;
    char trouble[SAID_SIZE]; /* why the last question brought no promise, "" = it did */
};

struct failsafe {
    struct failsafe_list list; /* whom to ask, ourselves left out when asking */
    uint64_t session;          /* the lease it belongs to; 0 = none */
    bool in_store;             /* the store is known to hold a list with us in it */
    struct failsafe_list pending;
    bool is_pending, write_busy; /* `pending` was sent to the store, and may be there or come to be there */
    uint64_t missing_since_us;   /* somebody in the list has had no member key since then; 0 = all have one */
    uint64_t pending_over;       /* the revision it was to replace: another one in the store, and it is settled */

    bool asking, holds;
    uint64_t held_until_us; /* how far promises have ever held the lease */
    uint64_t generation;    /* of `list`: answers about an older one are dropped */
    struct peer_state peers[FAILSAFE_MEMBERS_MAX];
    struct failsafe_promise promises[FAILSAFE_MEMBERS_MAX];
    uint64_t asked_at_us; /* REST: the mode is active for a ttl after that */
    sd_event_source *timer;
    struct question *asked; /* and not answered yet: a client that is freed calls nobody back */
    char obstacle[SAID_SIZE];
};

struct question {
    struct agent *agent;
    size_t index;
    uint64_t generation, sent_at_us, wanted_us;
    struct question *next; /* in failsafe->asked */
};

static void forget_question(struct failsafe *f, struct question *q)
{
    struct question **at = &f->asked;

    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    free(q);
}

static void ask_all(struct agent *a);

/* --- the list, kept for a successor of this process ------------------------------------------------------------------
 */

static bool list_path(char *buf, size_t size)
{
    const char *dir = getenv("PGTETHER_RUN_DIR");

    return dir && *dir && text_print(buf, size, "%s/failsafe", dir);
}

/* The runtime directory is in memory, so that nothing waits for a disk here. */
static void keep_list(const struct failsafe *f)
{
    CLEANUP(freep) char *json = codec_print_failsafe(&f->list);
    struct textbuf text = {0};
    char path[512];
    struct err err = {0};

    if (!json || !list_path(path, sizeof(path)))
        return;
    textbuf_printf(&text, "%016" PRIx64 " %d %s\n", f->session, f->in_store && !f->list.overflow, json);
    if (text.failed || file_write_atomic(path, text.data, text.len, 0600, &err) < 0)
        log_warning("could not keep the failsafe list: %s", err.msg);
    textbuf_done(&text);
}

/* An agent that was started under a lease of its predecessor. */
void failsafe_adopt(struct agent *a)
{
    CLEANUP(freep) char *text = NULL;
    struct failsafe *f = a->failsafe;
    struct failsafe_list *list = NULL;
    uint64_t session;
    char path[512];
    int in_store, at = 0;

    if (!f || !list_path(path, sizeof(path)) || file_read(path, LIST_FILE_MAX, &text, NULL, NULL) < 0)
        return;
    if (sscanf(text, "%" SCNx64 " %d %n", &session, &in_store, &at) != 2 || at == 0 || session != a->lease.session ||
        codec_parse_failsafe(text + at, &list) < 0)
        return;
    f->list = *list;
    f->session = session;
    f->in_store = in_store;
    f->held_until_us = a->lease.deadline_us; /* by promises, for all that is known */
    free(list);
}

static void set_list(struct agent *a, const struct failsafe_list *list, bool in_store)
{
    struct failsafe *f = a->failsafe;

    if (f->session == a->lease.session && f->in_store == in_store && failsafe_list_equal(&f->list, list))
        return;
    if (!failsafe_list_equal(&f->list, list) || f->session != a->lease.session) {
        /* Indices have another meaning now; what was promised is asked for again. */
        f->generation++;
        memset(f->peers, 0, sizeof(f->peers));
        memset(f->promises, 0, sizeof(f->promises));
    }
    f->list = *list;
    f->session = a->lease.session;
    f->in_store = in_store;
    keep_list(f);
}

static void add_all(struct failsafe_list *to, const struct failsafe_list *from)
{
    for (size_t i = 0; from && i < from->n; i++)
        (void)failsafe_list_add(to, from->items[i].name, from->items[i].api_url);
    to->overflow |= from && from->overflow;
}

static bool shows_our_key(const struct agent *a)
{
    return a->lease.held && a->cluster && a->cluster->leader.exists && a->cluster->leader.session == a->lease.session;
}

void failsafe_note_cluster(struct agent *a)
{
    struct failsafe *f = a->failsafe;
    const struct failsafe_list *stored = a->cluster->failsafe_list;
    static struct failsafe_list all; /* large; one agent per process */

    if (!f || !shows_our_key(a))
        return;
    if (f->is_pending && !f->write_busy && a->cluster->failsafe.revision != f->pending_over)
        f->is_pending = false;
    all = (struct failsafe_list){0};
    for (size_t i = 0; i < a->cluster->n_members; i++)
        (void)failsafe_list_add(&all, a->cluster->members[i].name, a->cluster->members[i].api_url);
    add_all(&all, stored);
    if (f->is_pending)
        add_all(&all, &f->pending);
    set_list(a, &all, stored && !stored->overflow && failsafe_list_find(stored, a->config->name));
}

/* --- the list in the store -------------------------------------------------------------------------------------------
 */

static void on_written(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;
    struct failsafe *f = a->failsafe;

    f->write_busy = false;
    if (answer->outcome == DCS_REFUSED)
        f->is_pending = false;
    if (answer->outcome != DCS_UNKNOWN)
        gather_store(a);
}

/*
 * A member whose key has vanished stays in the list for a ttl: after an outage of the store the keys of all others are
 * gone for a moment, and whoever is not in the list cannot lead.
 */
static void keep_missing(struct agent *a, const struct failsafe_list *stored, struct failsafe_list *wanted)
{
    struct failsafe *f = a->failsafe;
    uint64_t now_us = clock_now_us();
    bool is_missing = false;

    for (size_t i = 0; i < stored->n; i++)
        is_missing |= !failsafe_list_find(wanted, stored->items[i].name);
    if (!is_missing || !a->dynamic->policy.failsafe_mode) {
        f->missing_since_us = 0;
        return;
    }
    if (!f->missing_since_us)
        f->missing_since_us = now_us;
    if (now_us - f->missing_since_us >= a->dynamic->policy.ttl_us)
        return;
    for (size_t i = 0; i < stored->n; i++)
        if (!failsafe_list_find(wanted, stored->items[i].name))
            (void)failsafe_list_add(wanted, stored->items[i].name, stored->items[i].api_url);
}

static void wanted_list(struct agent *a, struct failsafe_list *ret)
{
    char api_url[URL_SIZE];

    *ret = (struct failsafe_list){0};
    if (!a->dynamic->policy.failsafe_mode)
        return;
    agent_api_url(a, api_url, sizeof(api_url));
    (void)failsafe_list_add(ret, a->config->name, api_url);
    for (size_t i = 0; i < a->cluster->n_members; i++) {
        const struct member *m = &a->cluster->members[i];

        if (m->api_url[0] && strcmp(m->name, a->config->name) != 0)
            (void)failsafe_list_add(ret, m->name, m->api_url);
    }
}

/*
 * Whoever comes into the list may lead once the key is gone from the store, and has promised nothing: so nobody may,
 * before a renewal by the store alone holds the lease as long as the promises of the others did.
 */
static bool promises_still_count(const struct agent *a)
{
    return ha_lease_deadline_us(a->lease.confirmed_at_us, a->dynamic->policy.ttl_us) < a->failsafe->held_until_us;
}

void failsafe_publish(struct agent *a)
{
    static const struct failsafe_list nobody;
    struct failsafe *f = a->failsafe;
    const struct text_key *key = &a->cluster->failsafe;
    const struct failsafe_list *stored = a->cluster->failsafe_list ? a->cluster->failsafe_list : &nobody;
    static struct failsafe_list wanted;
    CLEANUP(freep) char *json = NULL;

    if (!f || f->write_busy || a->store_busy || !shows_our_key(a) || promises_still_count(a))
        return;
    wanted_list(a, &wanted);
    keep_missing(a, stored, &wanted);
    /* Emptied when the mode is off, which the reference does not: members that come later could never lead. */
    if (failsafe_list_equal(&wanted, stored) || wanted.overflow)
        return;
    json = codec_print_failsafe(&wanted);
    if (!json)
        return;
    /* An earlier write that nobody has answered for may come to be there, too. */
    if (!f->is_pending)
        f->pending = (struct failsafe_list){0};
    add_all(&f->pending, &wanted);
    f->is_pending = f->write_busy = true;
    f->pending_over = key->revision;
    failsafe_note_cluster(a);
    a->dcs->ops->put(a->dcs, "failsafe", json, key->revision ? DCS_REVISION : DCS_ABSENT, key->revision,
                     clock_now_us() + a->dynamic->policy.retry_timeout_us, on_written, a);
}

const struct failsafe_list *failsafe_known(const struct agent *a)
{
    if (a->failsafe && a->failsafe->list.n && a->lease.held && a->failsafe->session == a->lease.session)
        return &a->failsafe->list;
    return a->cluster ? a->cluster->failsafe_list : NULL;
}

/* --- asking ---------------------------------------------------------------------------------------------------------
 */

static void note_obstacle(struct failsafe *f, const char *text)
{
    if (strcmp(f->obstacle, text) == 0)
        return;
    (void)text_copy(f->obstacle, sizeof(f->obstacle), text);
    if (text[0])
        log_warning("failsafe mode: %s", text);
}

static bool is_self(const struct agent *a, size_t i)
{
    return strcmp(a->failsafe->list.items[i].name, a->config->name) == 0;
}

/* All that counts in one place: who has promised until when, and what that makes of the lease. */
static void evaluate(struct agent *a, uint64_t asked_at_us)
{
    struct failsafe *f = a->failsafe;
    struct failsafe_promise others[FAILSAFE_MEMBERS_MAX];
    const char *trouble = "";
    uint64_t deadline_us;
    size_t n = 0;

    for (size_t i = 0; i < f->list.n; i++) {
        if (is_self(a, i))
            continue;
        if (f->peers[i].trouble[0])
            trouble = f->peers[i].trouble;
        others[n++] = f->promises[i];
    }
    note_obstacle(f, trouble);
    deadline_us = ha_failsafe_deadline_us(others, n, asked_at_us, &a->dynamic->policy);
    if (deadline_us <= a->lease.deadline_us || deadline_us <= clock_now_us())
        return;
    if (!f->holds)
        log_warning("the store cannot be reached: staying leader by the promises of all other members (failsafe_mode)");
    f->holds = true;
    f->held_until_us = deadline_us;
    tether_prolong(a, deadline_us);
}

/* {"promise_ms":30000}; the reference's members answer "Accepted", which says nothing about the time to come. */
static uint64_t read_promise_us(const struct http_answer *answer)
{
    json_auto_t *root = json_loadb(answer->body, answer->body_len, 0, NULL);
    json_int_t ms = json_integer_value(json_object_get(root, "promise_ms"));

    return answer->status == 200 && ms > 0 ? (uint64_t)ms * USEC_PER_MSEC : 0;
}

static void explain(char *dst, size_t size, const char *name, const struct http_answer *answer)
{
    if (answer->error)
        (void)text_print(dst, size, "\"%s\" does not answer", name);
    else if (answer->status == 200)
        (void)text_print(dst, size, "\"%s\" agrees, but promises nothing in time, as the reference does not", name);
    else
        (void)text_print(dst, size, "\"%s\" does not agree: %.60s", name,
                         answer->body_len ? answer->body : "no reason");
}

static void on_answer(void *userdata, const struct http_answer *answer)
{
    struct question *q = userdata;
    struct agent *a = q->agent;
    struct failsafe *f = a->failsafe;
    struct peer_state *p = &f->peers[q->index];
    uint64_t promise_us = answer->error ? 0 : read_promise_us(answer), until_us;

    if (q->generation == f->generation && a->lease.held && f->session == a->lease.session) {
        p->busy = false;
        p->trouble[0] = '\0';
        if (promise_us > q->wanted_us)
            promise_us = q->wanted_us;
        if (promise_us == 0) {
            explain(p->trouble, sizeof(p->trouble), f->list.items[q->index].name, answer);
            p->again_at_us = clock_now_us() + ASK_AGAIN_US;
        } else {
            until_us = ha_lease_deadline_us(q->sent_at_us, promise_us);
            if (until_us > f->promises[q->index].until_us)
                f->promises[q->index].until_us = until_us;
            p->again_at_us = q->sent_at_us + ha_renew_interval_us(&a->dynamic->policy);
        }
        if (f->asking) {
            evaluate(a, q->sent_at_us);
            ask_all(a);
        }
    }
    forget_question(f, q);
}

static json_t *own_slots(const struct agent *a)
{
    json_t *slots = json_object();
    char own[SLOT_NAME_SIZE];

    for (size_t i = 0; slots && i < a->pg.facts.n_slots; i++) {
        const struct slot *s = &a->pg.facts.slots[i];
        uint64_t lsn = s->physical ? s->restart_lsn : s->confirmed_lsn;

        if (lsn && !s->temporary && !slot_is_lost(s))
            (void)json_object_set_new(slots, s->name, json_integer((json_int_t)lsn));
    }
    slot_name_of_member(a->config->name, own, sizeof(own));
    if (slots && a->pg.facts.current_lsn)
        (void)json_object_set_new(slots, own, json_integer((json_int_t)a->pg.facts.current_lsn));
    return slots;
}

/* The reference's body (facts sheet 3.11), and how long a promise is wanted, which it ignores. */
static char *question_body(struct agent *a, uint64_t wanted_us)
{
    const struct config *c = a->config;
    bool v6 = strchr(c->postgresql.connect_host, ':') != NULL;
    char conn_url[URL_SIZE], api_url[URL_SIZE], *text;
    json_t *json;

    (void)text_print(conn_url, sizeof(conn_url), v6 ? "postgres://[%s]:%u/%s" : "postgres://%s:%u/%s",
                     c->postgresql.connect_host, c->postgresql.connect_port, c->postgresql.database);
    agent_api_url(a, api_url, sizeof(api_url));
    json = json_pack("{s:s,s:s,s:s,s:o*,s:I}", "name", c->name, "conn_url", conn_url, "api_url", api_url, "slots",
                     own_slots(a), "promise_ms", (json_int_t)(wanted_us / USEC_PER_MSEC));
    text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return text;
}

static int send_question(struct agent *a, struct question *q, const char *base, struct err *err)
{
    const char *const endpoints[] = {base, NULL};
    const char *const headers[] = {"Content-Type: application/json", NULL};
    const char *user = a->config->restapi.username, *password = a->config->restapi.password;
    CLEANUP(freep) char *body = question_body(a, q->wanted_us);
    uint64_t timeout_us = q->wanted_us / 3;
    char login[512];

    if (timeout_us < ASK_TIMEOUT_MIN_US)
        timeout_us = ASK_TIMEOUT_MIN_US;
    if (!body)
        return err_set(err, -ENOMEM, "out of memory");
    if (user && !text_print(login, sizeof(login), "%s:%s", user, password ? password : ""))
        return err_set(err, -E2BIG, "the password of the REST API is too long");
    q->sent_at_us = clock_now_us();
    return http_start(a->http,
                      &(struct http_call){.method = "POST",
                                          .endpoints = endpoints,
                                          .path = "/failsafe",
                                          .headers = headers,
                                          .user_password = user ? login : NULL,
                                          .body = body,
                                          .body_len = strlen(body),
                                          .deadline_us = q->sent_at_us + timeout_us,
                                          .idempotent = true},
                      NULL, on_answer, q, NULL, err);
}

static void ask(struct agent *a, size_t i)
{
    struct failsafe *f = a->failsafe;
    struct peer_state *p = &f->peers[i];
    struct question *q = malloc(sizeof(*q));
    char base[FAILSAFE_URL_SIZE];
    struct err err = {0};

    p->again_at_us = clock_now_us() + ASK_AGAIN_US;
    if (!q)
        return;
    *q = (struct question){
        .agent = a, .index = i, .generation = f->generation, .wanted_us = a->dynamic->policy.ttl_us, .next = f->asked};
    f->asked = q;
    if (!agent_base_url(f->list.items[i].api_url, base, sizeof(base)))
        (void)err_set(&err, -EINVAL, "it has no usable api_url");
    else
        (void)send_question(a, q, base, &err);
    if (!err.code) {
        p->busy = true;
        return;
    }
    (void)text_print(p->trouble, sizeof(p->trouble), "could not ask \"%s\": %.60s", f->list.items[i].name, err.msg);
    forget_question(f, q);
}

/* Why nothing can be asked for; NULL = it can. */
static const char *cannot_ask(const struct agent *a)
{
    const struct failsafe *f = a->failsafe;

    if (f->session != a->lease.session || !f->in_store)
        return "the store had no list with this node in it when it was last seen";
    if (f->list.overflow)
        return "there are more members than can be asked";
    return NULL;
}

static int on_timer(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    (void)source;
    agent_note_lateness(userdata, planned_us);
    ask_all(userdata);
    return 0;
}

static void stop_asking(struct failsafe *f)
{
    f->asking = false;
    loop_timer_off(f->timer);
}

static void ask_all(struct agent *a)
{
    struct failsafe *f = a->failsafe;
    uint64_t now_us = clock_now_us(), next_us = now_us + ha_renew_interval_us(&a->dynamic->policy);
    struct ha_view v;

    gather_view(a, &v);
    if (!ha_failsafe_asks(&v)) {
        stop_asking(f);
        return;
    }
    if (cannot_ask(a)) {
        note_obstacle(f, cannot_ask(a));
    } else {
        f->asked_at_us = now_us;
        for (size_t i = 0; i < f->list.n; i++) {
            if (is_self(a, i) || f->peers[i].busy)
                continue;
            if (f->peers[i].again_at_us <= now_us)
                ask(a, i);
            if (!f->peers[i].busy && f->peers[i].again_at_us < next_us)
                next_us = f->peers[i].again_at_us;
        }
        evaluate(a, now_us);
    }
    if (loop_timer_at(a->loop, &f->timer, next_us, on_timer, a) >= 0)
        (void)sd_event_source_set_priority(f->timer, SD_EVENT_PRIORITY_IMPORTANT);
}

void failsafe_store_is_silent(struct agent *a)
{
    if (!a->failsafe || a->failsafe->asking || !a->dynamic->policy.failsafe_mode)
        return;
    a->failsafe->asking = true;
    ask_all(a);
}

void failsafe_store_answers(struct agent *a, uint64_t store_life)
{
    struct failsafe *f = a->failsafe;

    if (!f)
        return;
    /* A store that was replaced may have another list, with somebody in it who has promised nothing: to be read first.
     */
    if (f->in_store && a->store_life && store_life != a->store_life) {
        f->in_store = false;
        keep_list(f);
    }
    if (f->holds)
        log_info("the store holds the lease again: the promises of the others are needed no more");
    stop_asking(f);
    f->holds = false;
    f->obstacle[0] = '\0';
}

void failsafe_view(const struct agent *a, struct failsafe_view *ret)
{
    *ret = (struct failsafe_view){0};
    if (!a->failsafe)
        return;
    ret->holds = a->failsafe->holds && a->lease.held;
    ret->obstacle = a->failsafe->asking && a->failsafe->obstacle[0] ? a->failsafe->obstacle : NULL;
}

uint64_t failsafe_asked_at_us(const struct agent *a)
{
    return a->failsafe ? a->failsafe->asked_at_us : 0;
}

int failsafe_new(struct agent *a, struct err *err)
{
    a->failsafe = calloc(1, sizeof(*a->failsafe));
    return a->failsafe ? 0 : err_set(err, -ENOMEM, "out of memory");
}

void failsafe_free(struct agent *a)
{
    if (!a->failsafe)
        return;
    a->failsafe->timer = loop_source_free(a->failsafe->timer);
    while (a->failsafe->asked)
        forget_question(a->failsafe, a->failsafe->asked);
    free(a->failsafe);
    a->failsafe = NULL;
}
