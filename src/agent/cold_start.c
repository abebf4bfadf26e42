/*
 * After an outage of all members: what src/ha/cold_start.c needs to know.
 *
 * Who the known members are is what the leader writes into the store, key "known_members": the members that may lead,
 * each until a ttl after its key has gone, and longer if it still streams. Their own keys are leases, and gone after an
 * outage. Each node keeps a copy on its disk, should the store have lost it.
 *
 * Whether somebody has led while this node was up: that there is a leader key does not show it, since a store that
 * comes back gives the key of a dead leader its whole ttl again, and whoever takes it may not come to be a primary. It
 * is shown by a primary that has the key, where that was taken or has been kept for longer than that since this agent
 * came up, or says over its REST API that it is one; for a standby that has just come up while all is well must not
 * make a failover wait that is needed soon after. That we stream from it would not do, since it may be a standby itself
 * by now. A note in the runtime directory hands it on to the next agent, if PostgreSQL has been up all the while.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "agent/parts.h"
#include "base/bootid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "dcs/codec.h"
#include "io/file.h"

enum { FILE_MAX = 64 * 1024, SAY_AFTER_US = 3000000, SAY_AGAIN_US = 60000000, ASK_US = 1000000 };

/* --- kept ------------------------------------------------------------------------------------------------------------
 */

static bool known_path(const struct agent *a, char *buf, size_t size)
{
    const char *dir = getenv("PGTETHER_STATE_DIR");

    if (dir && *dir)
        return text_print(buf, size, "%s/known-members", dir);
    return text_print(buf, size, "%s.pgtether-known-members", a->config->postgresql.data_dir);
}

static void keep_known(struct agent *a, const struct failsafe_list *list)
{
    CLEANUP(freep) char *json = NULL;
    struct err err = {0};
    char path[512];

    if (failsafe_list_equal(list, &a->cold.kept))
        return;
    a->cold.kept = *list;
    json = codec_print_failsafe(list);
    if (!json || !known_path(a, path, sizeof(path)) || file_write_atomic(path, json, strlen(json), 0600, &err) < 0)
        log_warning("could not note who the members are: %s", err.msg);
}

static bool seen_path(char *buf, size_t size)
{
    const char *dir = getenv("PGTETHER_RUN_DIR");

    return dir && *dir && text_print(buf, size, "%s/leader-seen", dir);
}

static void keep_seen(struct agent *a)
{
    char path[512], boot_id[BOOT_ID_SIZE], text[BOOT_ID_SIZE + 32];
    pid_t pid = pg_server_pid(a->server);

    if (!pid || pid == a->cold.seen_by || !seen_path(path, sizeof(path)) || boot_id_read(boot_id, sizeof(boot_id)) < 0)
        return;
    (void)text_print(text, sizeof(text), "%s %d\n", boot_id, (int)pid);
    if (file_write_atomic(path, text, strlen(text), 0600, NULL) >= 0)
        a->cold.seen_by = pid;
}

static void load_seen(struct agent *a)
{
    char path[512], boot_id[BOOT_ID_SIZE], want[BOOT_ID_SIZE + 32];
    CLEANUP(freep) char *text = NULL;
    pid_t pid = pg_server_pid(a->server);

    if (!pid || !seen_path(path, sizeof(path)) || file_read(path, FILE_MAX, &text, NULL, NULL) < 0 ||
        boot_id_read(boot_id, sizeof(boot_id)) < 0)
        return;
    (void)text_print(want, sizeof(want), "%s %d\n", boot_id, (int)pid);
    a->memory.leader_seen = strcmp(text, want) == 0;
    a->cold.seen_by = a->memory.leader_seen ? pid : 0;
}

void cold_start_open(struct agent *a)
{
    CLEANUP(freep) char *text = NULL;
    struct failsafe_list *list = NULL;
    char path[512];

    load_seen(a);
    if (!known_path(a, path, sizeof(path)) || file_read(path, FILE_MAX, &text, NULL, NULL) < 0 ||
        codec_parse_failsafe(text, &list) < 0)
        return;
    a->cold.kept = *list;
    free(list);
}

const struct failsafe_list *cold_start_known(const struct agent *a)
{
    if (a->cluster && a->cluster->known_list)
        return a->cluster->known_list;
    return a->cold.kept.n ? &a->cold.kept : NULL;
}

/* --- has somebody led?
 * ------------------------------------------------------------------------------------------------
 */

/*
 * Not the key that was there when we came up, or read again after longer than a store without its leader would keep it.
 */
static bool key_is_alive(const struct agent *a)
{
    const struct leader_key *leader = &a->cluster->leader;

    return leader->session != a->cold.first_session ||
           a->cluster->read_sent_at_us > a->cold.first_look_at_us + 2 * a->dynamic->policy.ttl_us;
}

/* In a standby cluster the WAL comes from elsewhere: what was before it is over with its first leader. */
static bool somebody_leads(const struct agent *a)
{
    const struct member *leader = cluster_leader_member(a->cluster);

    if (a->lease.held && a->pg.valid && (agent_is_primary(a) || a->dynamic->policy.standby_cluster))
        return true;
    return leader && (leader->role == PG_ROLE_PRIMARY || leader->role == PG_ROLE_STANDBY_LEADER) && key_is_alive(a);
}

static void on_leader_answer(void *userdata, const struct http_answer *answer)
{
    struct agent *a = userdata;
    struct peer p = {0};

    a->cold.asking = false;
    if (answer->error)
        return;
    peer_read(&p, answer->body, answer->body_len, clock_now_us());
    if (!p.is_primary)
        return;
    a->memory.leader_seen = true;
    keep_seen(a);
}

static void ask_leader(struct agent *a)
{
    const struct member *leader = cluster_leader_member(a->cluster);
    uint64_t now_us = clock_now_us();
    const char *const endpoints[] = {leader ? leader->api_url : "", NULL};
    struct http_call call = {
        .method = "GET", .endpoints = endpoints, .path = "", .deadline_us = now_us + ASK_US, .idempotent = true};

    if (!leader || !leader->api_url[0] || strcmp(leader->name, a->config->name) == 0 || a->cold.asking ||
        now_us - a->cold.asked_at_us < ASK_US)
        return;
    a->cold.asked_at_us = now_us;
    a->cold.asking = http_start(a->http, &call, NULL, on_leader_answer, a, NULL, NULL) >= 0;
}

static void look_for_leader(struct agent *a)
{
    a->memory.leader_seen |= somebody_leads(a);
    if (a->memory.leader_seen)
        keep_seen(a);
    else
        ask_leader(a);
}

void cold_start_note_cluster(struct agent *a)
{
    const struct leader_key *leader = &a->cluster->leader;

    if (!a->cold.has_looked) {
        a->cold.has_looked = true;
        a->cold.first_session = leader->session;
        a->cold.first_look_at_us = clock_now_us();
    }
    look_for_leader(a);
    if (a->cluster->known_list)
        keep_known(a, a->cluster->known_list);
}

/* --- as the leader
 * ----------------------------------------------------------------------------------------------------
 */

static bool may_lead(const struct tags *t)
{
    return !t->nofailover && t->failover_priority > 0;
}

static bool streams_from_us(const struct agent *a, const char *name)
{
    for (size_t i = 0; i < a->pg.facts.n_walsenders; i++)
        if (strcasecmp(a->pg.facts.walsenders[i].application_name, name) == 0)
            return true;
    return false;
}

/* Since when it has had no key; 0 = it has one. */
static uint64_t missing_since_us(struct agent *a, const char *name)
{
    size_t i = 0;

    while (i < a->cold.n_missing && strcmp(a->cold.missing[i].name, name) != 0)
        i++;
    if (cluster_member(a->cluster, name)) {
        if (i < a->cold.n_missing)
            a->cold.missing[i] = a->cold.missing[--a->cold.n_missing];
        return 0;
    }
    if (i == FAILSAFE_MEMBERS_MAX)
        return 1; /* long ago */
    if (i == a->cold.n_missing) {
        (void)text_copy(a->cold.missing[i].name, MEMBER_NAME_SIZE, name);
        a->cold.missing[i].since_us = clock_now_us();
        a->cold.n_missing++;
    }
    return a->cold.missing[i].since_us;
}

static void add_members(const struct agent *a, struct failsafe_list *ret)
{
    for (size_t i = 0; i < a->cluster->n_members; i++) {
        const struct member *m = &a->cluster->members[i];
        bool was_known = a->cluster->known_list && failsafe_list_find(a->cluster->known_list, m->name);

        /* One that is being copied has nothing yet. */
        if (strcmp(m->name, a->config->name) != 0 && may_lead(&m->tags) && (m->xlog_lsn || was_known))
            (void)failsafe_list_add(ret, m->name, m->api_url);
    }
}

static void add_missing(struct agent *a, struct failsafe_list *ret)
{
    const struct failsafe_list *known = a->cluster->known_list;
    uint64_t now_us = clock_now_us();

    for (size_t i = 0; known && i < known->n; i++) {
        const struct failsafe_member *m = &known->items[i];
        uint64_t since_us = missing_since_us(a, m->name);

        if (since_us && strcmp(m->name, a->config->name) != 0 &&
            (now_us - since_us < a->dynamic->policy.ttl_us || streams_from_us(a, m->name)))
            (void)failsafe_list_add(ret, m->name, m->api_url);
    }
}

static void on_written(void *userdata, struct dcs_answer *answer)
{
    (void)answer;
    ((struct agent *)userdata)->cold.busy = false;
}

void cold_start_publish(struct agent *a)
{
    const struct text_key *key = &a->cluster->known_text;
    CLEANUP(freep) char *json = NULL;
    struct failsafe_list list = {0};
    char api_url[URL_SIZE];

    /* Only on a view from our own time as the leader, and after the last write. */
    if (a->cold.busy || a->store_busy || a->cluster->leader.session != a->lease.session)
        return;
    agent_api_url(a, api_url, sizeof(api_url));
    if (may_lead(&a->config->tags))
        (void)failsafe_list_add(&list, a->config->name, api_url);
    add_members(a, &list);
    add_missing(a, &list);
    if (a->cluster->known_list && failsafe_list_equal(&list, a->cluster->known_list))
        return;
    json = codec_print_failsafe(&list);
    if (!json)
        return;
    a->cold.busy = true;
    a->dcs->ops->put(a->dcs, "known_members", json, key->revision ? DCS_REVISION : DCS_ABSENT, key->revision,
                     clock_now_us() + a->dynamic->policy.retry_timeout_us, on_written, a);
}

/* --- what is said
 * -----------------------------------------------------------------------------------------------------
 */

static void print_cost(const struct cold_start *s, char *buf, size_t size)
{
    if (s->cost_known)
        (void)text_print(buf, size, "%" PRIu64 " bytes behind the last position that the leader published",
                         s->cost_bytes);
    else
        (void)text_copy(buf, size, "behind by nobody knows how much");
}

static void print_note(const struct agent *a, char *buf, size_t size)
{
    const struct cold_start *s = &a->cold.now;
    char command[COLD_START_COMMAND_SIZE], cost[96];

    print_cost(s, cost, sizeof(cost));
    cold_start_command(s, a->config->scope, command, sizeof(command));
    if (s->n_missing)
        (void)text_print(buf, size, "no leader since all were down: waiting for %s", s->missing);
    else
        (void)text_copy(buf, size, "no leader since all were down: nobody has enough WAL to lead");
    if (command[0])
        (void)text_print(buf + strlen(buf), size - strlen(buf), "; or \"%s\" (%s)", command, cost);
}

/* Once a minute: an outage that waits for somebody must not be silent. */
static void say(struct agent *a)
{
    const struct cold_start *s = &a->cold.now;
    char command[COLD_START_COMMAND_SIZE], cost[96];
    uint64_t now_us = clock_now_us();

    if (now_us - s->since_us < SAY_AFTER_US)
        return; /* hosts that come back together */
    if (strcmp(a->cold.said, a->cold.note) == 0 && now_us - a->cold.said_at_us < SAY_AGAIN_US)
        return;
    (void)text_copy(a->cold.said, sizeof(a->cold.said), a->cold.note);
    a->cold.said_at_us = now_us;
    print_cost(s, cost, sizeof(cost));
    cold_start_command(s, a->config->scope, command, sizeof(command));
    if (s->n_missing)
        log_warning("all members were down, and for %" PRIu64 " s nobody leads: waiting for %s, which may have WAL "
                    "that nobody else has",
                    (now_us - s->since_us) / USEC_PER_SEC, s->missing);
    else
        log_warning("all members were down, and for %" PRIu64 " s nobody leads: no member has enough WAL",
                    (now_us - s->since_us) / USEC_PER_SEC);
    if (command[0])
        log_warning(
            "HINT: If they are lost for ever, \"%s\" goes on without them. \"%s\" is %s; what was written after "
            "that is not known.",
            command, s->candidate, cost);
}

const char *cold_start_note(const struct agent *a)
{
    return a->cold.waits ? a->cold.note : "";
}

void cold_start_update(struct agent *a, const struct ha_view *v)
{
    if (a->cluster)
        look_for_leader(a);
    /* While the others are being asked, what they said before still holds. */
    if (v->op == OP_ASK_PEERS || a->op.kind == OP_ASK_PEERS)
        return;
    a->cold.waits = ha_cold_start(v, &a->cold.now);
    if (!a->cold.waits)
        return;
    print_note(a, a->cold.note, sizeof(a->cold.note));
    say(a);
}
