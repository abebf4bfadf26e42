#include "ctl/handover.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "ctl/rest.h"
#include "dcs/codec.h"

enum { POLLS_MIN = 10, ANSWER_SLACK_S = 30 };

void handover_result_done(struct handover_result *r)
{
    free(r->text);
    *r = (struct handover_result){0};
}

static void set(struct handover_result *r, enum handover_outcome outcome, struct textbuf *text)
{
    free(r->text);
    r->outcome = outcome;
    r->text = textbuf_take(text);
    if (!r->text)
        r->text = strdup("out of memory");
}

/* As long as the reference waits for a switchover it was asked for: twice as many seconds as its cycle is long. */
static unsigned patience_s(const struct ctl_view *v)
{
    return 2 * (v->loop_wait_s > POLLS_MIN ? v->loop_wait_s : POLLS_MIN);
}

/* --- by REST --------------------------------------------------------------------------------------------------------
 */

static json_t *body_of(const struct handover *h)
{
    json_t *body = json_object();

    (void)json_object_set_new(body, "candidate", h->candidate ? json_string(h->candidate) : json_null());
    if (h->is_switchover)
        (void)json_object_set_new(body, "leader", json_string(h->leader));
    if (h->scheduled_at)
        (void)json_object_set_new(body, "scheduled_at", json_string(h->scheduled_at));
    return body;
}

/* Who is asked: the leader, or without one the candidate. NULL if it has no member key. */
static const struct member *whom_to_ask(const struct cluster *c, const struct handover *h)
{
    if (c->leader.exists)
        return cluster_leader_member(c);
    return h->candidate ? cluster_member(c, h->candidate) : NULL;
}

/* Returns 0 when a REST API answered, and *ret is then filled; else -errno. */
static int ask(struct ctl *ctl, const struct ctl_view *v, const struct handover *h, struct handover_result *ret,
               struct err *err)
{
    const struct member *m = whom_to_ask(v->cluster, h);
    struct rest_call call = {.method = "POST",
                             .path = h->is_switchover ? "/switchover" : "/failover",
                             .timeout_us = (patience_s(v) + ANSWER_SLACK_S) * USEC_PER_SEC};
    struct rest_answer a = {0};
    struct textbuf text = {0};
    int r;

    if (!m)
        return err_set(err, -1, "%s has no member key", v->cluster->leader.name);
    call.body = body_of(h);
    r = rest_ask(ctl, m, &call, &a, err);
    /* Patroni before 1.5 knew only one of the two. */
    if (r == 0 && a.status == 501 && h->is_switchover && strstr(a.body, "Server does not support this operation")) {
        rest_answer_done(&a);
        call.path = "/failover";
        call.body = body_of(h);
        r = rest_ask(ctl, m, &call, &a, err);
    }
    if (r == 0) {
        textbuf_puts(&text, a.body);
        ret->status = a.status;
        set(ret, a.status == 200 || a.status == 202 ? HANDOVER_DONE : HANDOVER_REFUSED, &text);
    }
    rest_answer_done(&a);
    return r;
}

/* --- by the store ---------------------------------------------------------------------------------------------------
 */

/* Has it come about, or come to nothing? Returns false while there is still hope. */
static bool is_decided(const struct cluster *now, const struct ctl_view *before, const struct handover *h,
                       struct handover_result *ret)
{
    const char *old = before->cluster->leader.exists ? before->cluster->leader.name : "";
    const char *action = h->is_switchover ? "switched" : "failed";
    struct textbuf text = {0};

    if (now->leader.exists && strcmp(now->leader.name, old) != 0) {
        if (h->candidate && strcmp(h->candidate, now->leader.name) != 0)
            textbuf_printf(&text, "%c%s over to \"%s\" instead of \"%s\"", action[0] - 'a' + 'A', action + 1,
                           now->leader.name, h->candidate);
        else
            textbuf_printf(&text, "Successfully %s over to \"%s\"", action, now->leader.name);
        set(ret, HANDOVER_DONE, &text);
        return true;
    }
    if (!now->failover.exists && now->leader.exists) {
        textbuf_printf(&text, "%s gave the request up; its log says why", now->leader.name);
        set(ret, HANDOVER_FAILED, &text);
        return true;
    }
    return false;
}

static void wait_for_it(struct ctl *ctl, const struct ctl_view *before, const struct handover *h,
                        struct handover_result *ret)
{
    unsigned patience = patience_s(before);
    struct textbuf text = {0};

    printf("Waiting up to %u seconds until the cluster acts on it\n", patience);
    (void)fflush(stdout);
    for (unsigned i = 0; i < patience; i++) {
        struct ctl_view now = {0};
        struct err err = {0};
        bool decided;

        ctl_sleep_us(USEC_PER_SEC);
        decided = ctl_read_cluster(ctl, h->scope, &now, &err) == 0 && is_decided(now.cluster, before, h, ret);
        ctl_view_done(&now);
        if (decided)
            return;
    }
    textbuf_printf(&text,
                   "nobody acted on the request within %u seconds; it stays in the store: "
                   "remove it with \"pgtetherctl flush %s switchover\", or see why the agents do not run",
                   patience, h->scope);
    set(ret, HANDOVER_FAILED, &text);
}

static bool text_is(const char *a, const char *b)
{
    return strcmp(a, b ? b : "") == 0;
}

/* The key has changed since *before was read: is what is there, or what came of it, our own request? */
static bool is_ours(struct ctl *ctl, const struct handover *h, struct handover_result *ret)
{
    struct ctl_view now = {0};
    struct textbuf text = {0};
    struct err err = {0};
    bool ours = true;

    if (ctl_read_cluster(ctl, h->scope, &now, &err) == 0 && now.cluster->failover.exists) {
        const struct failover_key *f = &now.cluster->failover;

        ours = text_is(f->leader, h->is_switchover ? h->leader : NULL) && text_is(f->candidate, h->candidate) &&
               text_is(f->scheduled_at, h->scheduled_at);
        if (!ours) {
            textbuf_printf(&text,
                           "another request has come first: from \"%s\" to \"%s\"%s%s; \"pgtetherctl flush %s "
                           "switchover\" removes it if it is scheduled",
                           f->leader, f->candidate, f->scheduled_at[0] ? " at " : "", f->scheduled_at, h->scope);
            set(ret, HANDOVER_FAILED, &text);
        }
    }
    ctl_view_done(&now);
    return ours;
}

/*
 * With a compare, unlike the reference: if the request that got no answer had been carried out after all, or somebody
 * else made one, the key has changed, and a second request would move the leader once more.
 */
static void write_request(struct ctl *ctl, const struct ctl_view *v, const struct handover *h,
                          struct handover_result *ret)
{
    CLEANUP(freep)
    char *value = codec_print_failover(h->is_switchover ? h->leader : NULL, h->candidate, h->scheduled_at);
    struct err err = {0};
    struct textbuf text = {0};

    switch (value ? ctl_write_key(ctl, h->scope, "failover", value, v->cluster->failover.revision, &err)
                  : CTL_UNKNOWN) {
    case CTL_WRITTEN:
        break;
    case CTL_REFUSED:
        if (!is_ours(ctl, h, ret))
            return;
        printf("The request is in the store already\n");
        break;
    case CTL_UNKNOWN:
        textbuf_printf(&text,
                       "it is not known whether the request is in the store, \"pgtetherctl list %s\" shows it: %s",
                       h->scope, value ? err.msg : "out of memory");
        set(ret, HANDOVER_FAILED, &text);
        return;
    }
    if (!h->scheduled_at) {
        wait_for_it(ctl, v, h, ret);
        return;
    }
    textbuf_puts(&text, "Switchover scheduled");
    set(ret, HANDOVER_DONE, &text);
}

void handover_run(struct ctl *ctl, const struct ctl_view *v, const struct handover *h, struct handover_result *ret)
{
    char now[CTL_TIMESTAMP_SIZE];
    struct err err = {0};

    *ret = (struct handover_result){0};
    (void)fflush(stdout);
    if (ask(ctl, v, h, ret, &err) == 0)
        return;
    ctl_warn("%s", err.msg);
    ctl_timestamp(now, sizeof(now), 5);
    printf("%s Could not %s using REST API, falling back to the store\n", now,
           h->is_switchover ? "switchover" : "failover");
    write_request(ctl, v, h, ret);
}
