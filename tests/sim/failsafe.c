/* Failsafe mode: what holds a lease without the store, and what is promised; as src/agent/failsafe.c and promise.c. */
#include <string.h>
#include "sim.h"

enum { ASK_AGAIN_US = 500000, ASK_TIMEOUT_MIN_US = 2000000 };

static void ask_all(struct world *w, struct node *n);

/* --- the list -------------------------------------------------------------------------------------------------------
 */

void failsafe_adopt(struct node *n)
{
    struct agent *a = &n->agent;

    if (n->run_dir.session != a->lease.session)
        return;
    a->failsafe.list = n->run_dir.list;
    a->failsafe.session = n->run_dir.session;
    a->failsafe.in_store = n->run_dir.in_store;
    a->failsafe.held_until_us = a->lease.deadline_us;
}

static void set_list(struct node *n, uint8_t list, bool in_store)
{
    struct failsafe_model *f = &n->agent.failsafe;

    if (f->list != list || f->session != n->agent.lease.session) {
        memset(f->promises, 0, sizeof(f->promises));
        for (int i = 0; i < NODES; i++) {
            f->peers[i].busy = false;
            f->peers[i].again_at_us = 0;
            f->peers[i].question++;
        }
    }
    f->list = list;
    f->session = n->agent.lease.session;
    f->in_store = in_store;
    n->run_dir.list = list;
    n->run_dir.session = f->session;
    n->run_dir.in_store = in_store;
}

static bool shows_our_key(const struct agent *a)
{
    return a->lease.held && a->cluster_known && a->cluster.leader.exists &&
           a->cluster.leader.session == a->lease.session;
}

static uint8_t stored_list(const struct agent *a)
{
    uint8_t list = 0;

    for (size_t i = 0; i < a->failsafe_list.n; i++)
        list |= (uint8_t)(1U << node_of_name(a->failsafe_list.items[i].name));
    return list;
}

static uint8_t members(const struct agent *a)
{
    uint8_t list = 0;

    for (size_t i = 0; i < a->cluster.n_members; i++)
        list |= (uint8_t)(1U << node_of_name(a->cluster.members[i].name));
    return list;
}

void failsafe_note_cluster(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    struct failsafe_model *f = &a->failsafe;
    uint8_t stored = stored_list(a);

    (void)w;
    if (!shows_our_key(a))
        return;
    if (f->is_pending && !f->write_busy && a->cluster.failsafe.revision != f->pending_over)
        f->is_pending = false;
    set_list(n, (uint8_t)(stored | members(a) | (f->is_pending ? f->pending : 0)), stored & 1U << n->id);
}

static uint8_t keep_missing(struct world *w, struct node *n, uint8_t wanted)
{
    struct failsafe_model *f = &n->agent.failsafe;
    uint8_t missing = (uint8_t)(stored_list(&n->agent) & ~wanted);

    if (!missing || !w->policy.failsafe_mode) {
        f->missing_since_us = 0;
        return wanted;
    }
    if (!f->missing_since_us)
        f->missing_since_us = local_us(w, n);
    return local_us(w, n) - f->missing_since_us >= w->policy.ttl_us ? wanted : (uint8_t)(wanted | missing);
}

static bool promises_still_count(const struct world *w, const struct agent *a)
{
    return ha_lease_deadline_us(a->lease.confirmed_at_us, w->policy.ttl_us) < a->failsafe.held_until_us;
}

void failsafe_publish(struct world *w, struct node *n)
{
    struct agent *a = &n->agent;
    struct failsafe_model *f = &a->failsafe;
    uint8_t wanted = (uint8_t)(w->policy.failsafe_mode ? members(a) | 1U << n->id : 0);
    struct call *c;

    wanted = keep_missing(w, n, wanted);
    if (f->write_busy || a->store_busy || a->store_failed || !shows_our_key(a) || wanted == stored_list(a) ||
        promises_still_count(w, a))
        return;
    f->pending = (uint8_t)(wanted | (f->is_pending ? f->pending : 0));
    f->is_pending = f->write_busy = true;
    f->pending_over = a->cluster.failsafe.revision;
    failsafe_note_cluster(w, n);
    c = store_call(w, n, CALL_FAILSAFE, w->policy.retry_timeout_us);
    c->failsafe = wanted;
    c->revision = f->pending_over;
    store_send(w, c);
}

void failsafe_written(struct world *w, struct node *n, const struct call *c)
{
    struct failsafe_model *f = &n->agent.failsafe;

    f->write_busy = false;
    if (c->outcome == OUTCOME_REFUSED)
        f->is_pending = false;
    if (c->outcome != OUTCOME_UNKNOWN)
        gather_store(w, n);
}

/* --- asking ---------------------------------------------------------------------------------------------------------
 */

static void evaluate(struct world *w, struct node *n, uint64_t asked_at_us)
{
    struct agent *a = &n->agent;
    struct failsafe_promise others[NODES];
    uint64_t deadline_us;
    size_t count = 0;

    for (int i = 0; i < NODES; i++) {
        if (i == n->id || !(a->failsafe.list & 1U << i))
            continue;
        if (w->mutant == MUTANT_PROMISE_ONE_MISSING && count == 1)
            break;
        others[count++] = a->failsafe.promises[i];
    }
    deadline_us = ha_failsafe_deadline_us(others, count, asked_at_us, &w->policy);
    if (deadline_us <= a->lease.deadline_us || deadline_us <= local_us(w, n))
        return;
    if (count == 0)
        check_promised(w, n, NOBODY, asked_at_us);
    if (!a->failsafe.holds)
        TRACE(w, n->id, "agent: holds its lease by promises");
    a->failsafe.holds = true;
    a->failsafe.held_until_us = deadline_us;
    tether_prolong(w, n, deadline_us);
}

static void ask(struct world *w, struct node *n, int id)
{
    struct failsafe_model *f = &n->agent.failsafe;
    struct node *peer = &w->nodes[id];
    uint64_t timeout_us = w->policy.ttl_us / 3;
    uint64_t b = (uint64_t)n->agent.gen << 32 | ++f->peers[id].question;

    if (timeout_us < ASK_TIMEOUT_MIN_US)
        timeout_us = ASK_TIMEOUT_MIN_US;
    f->peers[id].busy = true;
    f->peers[id].sent_at_us = local_us(w, n);
    if (peer->agent.alive && link_open(w, n->id, id))
        push_in(w, peer, EV_AGENT_FAILSAFE_ASKED, message_delay_us(w), peer->agent.gen, n->id, b);
    push_in(w, n, EV_AGENT_FAILSAFE_SILENT, timeout_us, n->agent.gen, (uint64_t)id, b);
}

static void due_at(struct world *w, struct node *n, uint64_t at_us)
{
    uint64_t now_us = local_us(w, n);

    push_in(w, n, EV_AGENT_FAILSAFE_DUE, at_us > now_us ? at_us - now_us : 0, n->agent.gen,
            ++n->agent.failsafe.timer_gen, 0);
}

static void ask_all(struct world *w, struct node *n)
{
    struct failsafe_model *f = &n->agent.failsafe;
    uint64_t now_us = local_us(w, n), next_us = now_us + ha_renew_interval_us(&w->policy);
    struct ha_view v;

    gather_view(w, n, &v);
    if (!ha_failsafe_asks(&v)) {
        f->asking = false;
        f->timer_gen++;
        return;
    }
    if (f->session == n->agent.lease.session && f->in_store) {
        for (int i = 0; i < NODES; i++) {
            if (i == n->id || !(f->list & 1U << i) || f->peers[i].busy)
                continue;
            if (f->peers[i].again_at_us <= now_us)
                ask(w, n, i);
            else if (f->peers[i].again_at_us < next_us)
                next_us = f->peers[i].again_at_us;
        }
        evaluate(w, n, now_us);
    }
    due_at(w, n, next_us);
}

void failsafe_store_is_silent(struct world *w, struct node *n)
{
    if (n->agent.failsafe.asking || !w->policy.failsafe_mode)
        return;
    n->agent.failsafe.asking = true;
    ask_all(w, n);
}

void failsafe_store_answers(struct node *n, uint32_t store_life)
{
    if (n->agent.store_life && store_life != n->agent.store_life)
        n->agent.failsafe.in_store = n->run_dir.in_store = false;
    n->agent.failsafe.asking = n->agent.failsafe.holds = false;
    n->agent.failsafe.timer_gen++;
}

/* b: whose question it is; slot 1: it promises, else it does not, or is silent */
static void answered(struct world *w, struct node *n, const struct event *e)
{
    struct agent *a = &n->agent;
    struct failsafe_model *f = &a->failsafe;
    uint64_t from_us = f->peers[e->a].sent_at_us, until_us;

    if (e->b != ((uint64_t)a->gen << 32 | f->peers[e->a].question) || !f->peers[e->a].busy)
        return;
    if (!a->lease.held || f->session != a->lease.session)
        return;
    f->peers[e->a].busy = false;
    f->peers[e->a].again_at_us = local_us(w, n) + ASK_AGAIN_US;
    if (e->kind == EV_AGENT_FAILSAFE_ANSWERED && e->slot) {
        check_promised(w, n, (int)e->a, from_us);
        f->peers[e->a].again_at_us = from_us + ha_renew_interval_us(&w->policy);
        if (w->mutant == MUTANT_PROMISE_FROM_ANSWER)
            from_us = local_us(w, n);
        until_us = ha_lease_deadline_us(from_us, w->policy.ttl_us);
        if (until_us > f->promises[e->a].until_us)
            f->promises[e->a].until_us = until_us;
    }
    if (f->asking) {
        evaluate(w, n, from_us);
        ask_all(w, n);
    }
}

/* --- promising ------------------------------------------------------------------------------------------------------
 */

void failsafe_boot(struct world *w, struct node *n)
{
    struct memory *m = &n->agent.memory;

    if (w->policy.failsafe_mode)
        n->longest_promise_us = w->policy.ttl_us;
    if (w->mutant == MUTANT_PROMISE_FORGOTTEN)
        return;
    m->promised_until_us = n->run_dir.promised_until_us ? n->run_dir.promised_until_us : n->longest_promise_us;
}

static void asked(struct world *w, struct node *n, const struct event *e)
{
    struct node *asker = &w->nodes[e->a];
    struct failsafe_answer answer;
    struct event back;
    struct ha_view v;
    uint64_t real_us;

    if (!n->agent.started)
        return; /* its REST API answers from then on */
    gather_view(w, n, &v);
    answer = ha_failsafe_answer(&v, node_name(asker->id), w->policy.ttl_us);
    if (answer.word == FAILSAFE_PROMISE) {
        if (answer.until_us > n->agent.memory.promised_until_us) {
            n->agent.memory.promised_until_us = n->run_dir.promised_until_us = answer.until_us;
            memcpy(n->agent.memory.promised_to, node_name(asker->id), 3);
        }
        real_us = real_of_local(n, answer.until_us);
        if (real_us > n->truth_promised_real_us)
            n->truth_promised_real_us = real_us;
    }
    if (asker->agent.gen != e->b >> 32 || !link_open(w, n->id, asker->id))
        return;
    back = (struct event){.at_us = w->now_us + message_delay_us(w),
                          .planned_us = NEVER,
                          .kind = EV_AGENT_FAILSAFE_ANSWERED,
                          .node = asker->id,
                          .gen = asker->agent.gen,
                          .a = n->id,
                          .b = e->b,
                          .slot = answer.word == FAILSAFE_PROMISE};
    queue_push(&w->queue, back);
}

void failsafe_event(struct world *w, struct node *n, const struct event *e)
{
    switch (e->kind) {
    case EV_AGENT_FAILSAFE_DUE:
        if (e->a == n->agent.failsafe.timer_gen) {
            agent_note_lateness(w, n, e->planned_us);
            ask_all(w, n);
        }
        break;
    case EV_AGENT_FAILSAFE_ASKED:
        asked(w, n, e);
        break;
    default:
        answered(w, n, e);
        break;
    }
}
