#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "ctl/doctor.h"
#include "ctl/rest.h"
#include "io/http.h"

enum { ENDPOINT_PATIENCE_S = 3, SKEW_MAX_S = 2 };

/* --- the store ------------------------------------------------------------------------------------------------------
 */

struct asked {
    bool answered;
    int error, status;
    char text[160];
};

static void on_version(void *userdata, const struct http_answer *a)
{
    struct asked *q = userdata;
    json_t *body = a->error ? NULL : json_loads(a->body, 0, NULL);
    const char *version = json_string_value(json_object_get(body, "etcdserver"));

    q->answered = true;
    q->error = a->error;
    q->status = a->status;
    (void)text_copy(q->text, sizeof(q->text), a->error ? a->message : version ? version : "");
    json_decref(body);
}

static void look_at_endpoint(struct doctor *d, struct http *http, const char *url)
{
    const char *const endpoints[] = {url, NULL};
    const struct http_call call = {.method = "GET",
                                   .endpoints = endpoints,
                                   .path = "/version",
                                   .deadline_us = clock_now_us() + ENDPOINT_PATIENCE_S * USEC_PER_SEC};
    struct asked q = {0};
    struct err err = {0};
    uint64_t began_us = clock_now_us();

    if (http_start(http, &call, NULL, on_version, &q, NULL, &err) < 0) {
        doctor_bad(d, NULL, "%s: %s", url, err.msg);
        return;
    }
    while (!q.answered && sd_event_run(d->ctl->loop, UINT64_MAX) >= 0)
        ;
    if (q.error == -EPROTO)
        doctor_bad(d,
                   "Compare \"protocol\", \"cacert\", \"cert\" and \"key\" of section etcd3 with how etcd was started.",
                   "%s", q.text);
    else if (q.error)
        doctor_bad(d, "Is etcd running there, and does a firewall let its client port through?", "%s", q.text);
    else if (q.status != 200 || !*q.text)
        doctor_bad(d, "Is that etcd's client port (2379)?", "%s answers, but not as etcd does (status %d)", url,
                   q.status);
    else
        doctor_good("%s is etcd %s, answered in %" PRIu64 " ms", url, q.text,
                    (clock_now_us() - began_us) / USEC_PER_MSEC);
}

/* What was left by an earlier cluster of that name keeps a new one from being made. */
static void look_at_keys(struct doctor *d)
{
    const struct cluster *c = d->view.cluster;
    const char *initialize = c->initialize.exists ? c->initialize.text : NULL;

    if (!initialize && !c->n_members)
        doctor_doubt(d, "Start the members; the first one makes it.", "cluster \"%s\" does not exist yet",
                     d->ctl->config->scope);
    else if (initialize && !*initialize)
        doctor_doubt(d, "If nobody is making it, \"pgtetherctl remove\" lets the members begin again.",
                     "cluster \"%s\" is being made", d->ctl->config->scope);
    else if (initialize && !c->leader.exists && !c->n_members)
        doctor_bad(
            d,
            "If this is what an earlier cluster of that name left, \"pgtetherctl remove\" it; else start the members.",
            "the store knows cluster \"%s\" (%s), but no member runs", d->ctl->config->scope, initialize);
    else if (!c->leader.exists)
        doctor_bad(d, "The log of each member says which rule keeps it from leading.", "the cluster has no leader");
    else
        doctor_good("cluster \"%s\" is led by %s", d->ctl->config->scope, c->leader.name);
    if (d->view.paused)
        doctor_doubt(d, "\"pgtetherctl resume\" when the work is done.", "the cluster is paused: nobody fails over");
}

void doctor_look_at_store(struct doctor *d)
{
    const struct dcs_config *dcs = &d->ctl->config->dcs;
    const struct http_tls tls = {dcs->cacert, dcs->cert, dcs->key, dcs->key_password, false};
    CLEANUP(http_freep) struct http *http = NULL;
    struct err err = {0};

    if (http_new(d->ctl->loop, &tls, &http, &err) < 0)
        doctor_bad(d, NULL, "%s", err.msg);
    for (size_t i = 0; http && i < dcs->hosts.n; i++)
        look_at_endpoint(d, http, dcs->hosts.items[i]);
    if (!dcs->srv && dcs->hosts.n && dcs->hosts.n < 3 && dcs->discover_members)
        doctor_doubt(d, "Name all endpoints of an etcd cluster of three or five.",
                     "%zu endpoint%s: the store is lost with %s", dcs->hosts.n, dcs->hosts.n > 1 ? "s" : "",
                     dcs->hosts.n > 1 ? "any of them" : "it");
    if (ctl_read_cluster(d->ctl, d->ctl->config->scope, &d->view, &err) < 0)
        doctor_bad(d, "A majority of etcd's members must run, and user and password must be right.", "%s", err.msg);
    else
        look_at_keys(d);
}

/* --- settings -------------------------------------------------------------------------------------------------------
 */

/* The watchdog must be able to reset the host within a lease that is still being renewed. */
static void look_at_watchdog_time(struct doctor *d, const struct policy *p)
{
    uint64_t reset_us = d->ctl->config->watchdog.reset_time_us;

    reset_us = reset_us ? reset_us : d->ctl->config->watchdog.timeout_us;
    if (d->ctl->config->watchdog.mode == WATCHDOG_OFF || !reset_us)
        return;
    if (reset_us + p->loop_wait_us >= p->ttl_us)
        doctor_bad(d, "Lower watchdog.timeout, or raise ttl.",
                   "the watchdog resets after %" PRIu64 " s, and a lease of %" PRIu64 " s leaves no time to renew it "
                   "every %" PRIu64 " s",
                   reset_us / USEC_PER_SEC, p->ttl_us / USEC_PER_SEC, p->loop_wait_us / USEC_PER_SEC);
    else
        doctor_good("the watchdog's %" PRIu64 " s fit into the lease", reset_us / USEC_PER_SEC);
}

void doctor_look_at_settings(struct doctor *d)
{
    bool stored = d->view.cluster && d->view.cluster->config.exists;
    const char *json = stored ? d->view.cluster->config.text : d->ctl->config->bootstrap.dcs_json;
    const char *where = stored ? "in the store" : "of bootstrap.dcs";
    struct config_problems problems = {0};
    CLEANUP(dynamic_freep) struct dynamic *dynamic = NULL;
    struct err err = {0};
    int r = dynamic_parse(json, d->ctl->config, &dynamic, &problems, &err);

    if (r < 0)
        doctor_bad(d, "\"pgtetherctl edit-config\"; until then the members keep what they had.",
                   "the dynamic configuration %s cannot be used%s%s", where, err.msg[0] ? ": " : "", err.msg);
    for (size_t i = 0; i < problems.n; i++)
        doctor_doubt(d, problems.items[i].hint, "%s%s%s", problems.items[i].path, *problems.items[i].path ? ": " : "",
                     problems.items[i].message);
    if (r >= 0 && !problems.n)
        doctor_good("ttl %" PRIu64 ", loop_wait %" PRIu64 ", retry_timeout %" PRIu64 " %s",
                    dynamic->policy.ttl_us / USEC_PER_SEC, dynamic->policy.loop_wait_us / USEC_PER_SEC,
                    dynamic->policy.retry_timeout_us / USEC_PER_SEC, where);
    if (r >= 0)
        look_at_watchdog_time(d, &dynamic->policy);
    config_problems_done(&problems);
}

/* --- members --------------------------------------------------------------------------------------------------------
 */

/* A member has read the store within its last cycle; its clock says when that was. */
static void look_at_clock(struct doctor *d, const struct member *m, const json_t *status)
{
    json_int_t seen_s = json_integer_value(json_object_get(status, "dcs_last_seen"));
    int64_t off_s = seen_s - (int64_t)time(NULL);

    if (seen_s <= 0)
        return;
    if (off_s > SKEW_MAX_S)
        doctor_doubt(d, "Leases do not depend on it, but logs and scheduled times do: synchronize the clocks.",
                     "%s: its clock is %" PRId64 " s ahead of this host's", m->name, off_s);
    else if (-off_s > (int64_t)d->view.loop_wait_s + SKEW_MAX_S)
        doctor_doubt(d, "Its log says which; \"timedatectl\" tells about the clock.",
                     "%s: last read the store %" PRId64 " s ago, or its clock is behind this host's", m->name, -off_s);
}

static void look_at_rest(struct doctor *d, const struct member *m)
{
    struct err err = {0};
    json_t *status = rest_get(d->ctl, m, "/patroni", &err);
    const char *state = json_string_value(json_object_get(status, "state"));

    if (!status)
        doctor_bad(d,
                   "Members ask each other there before one of them leads: let the port through. With https, compare "
                   "ctl.cacert with the certificate.",
                   "%s", err.msg);
    else
        doctor_good("%s: the REST API answers, PostgreSQL is %s", m->name, state ? state : "in no known state");
    if (status && json_is_true(json_object_get(status, "watchdog_failed")))
        doctor_bad(d, "Its log says why; it cannot lead.", "%s: the watchdog it requires does not work", m->name);
    if (status && json_is_true(json_object_get(status, "pending_restart")))
        doctor_doubt(d, "\"pgtetherctl rolling-restart --pending\".", "%s: settings wait for a restart", m->name);
    look_at_clock(d, m, status);
    json_decref(status);
}

static void look_at_postgresql(struct doctor *d, const struct member *m)
{
    const char *names[] = {"host", "port", "connect_timeout", NULL};
    char port[8];
    const char *values[] = {m->host, port, "3", NULL};

    (void)text_print(port, sizeof(port), "%u", m->port);
    switch (PQpingParams(names, values, 0)) {
    case PQPING_OK:
        doctor_good("%s: PostgreSQL takes connections at %s:%u", m->name, m->host, m->port);
        break;
    case PQPING_REJECT:
        doctor_doubt(d, "It is starting, stopping or recovering; its log says how far it is.",
                     "%s: PostgreSQL takes no connections at %s:%u yet", m->name, m->host, m->port);
        break;
    case PQPING_NO_RESPONSE:
    case PQPING_NO_ATTEMPT:
        doctor_bad(d,
                   "Standbys stream through that port: let it through, and see postgresql.listen and connect_address.",
                   "%s: nobody answers as PostgreSQL at %s:%u", m->name, m->host, m->port);
        break;
    }
}

/* The tell-tale of WAL that was removed before the member came for it. */
static void look_at_replication(struct doctor *d, const struct member *m)
{
    const struct member *leader = cluster_leader_member(d->view.cluster);
    uint64_t lag_bytes = d->view.cluster->status_lsn > m->replay_lsn ? d->view.cluster->status_lsn - m->replay_lsn : 0;

    if (!leader || m == leader || m->state != PG_STATE_RUNNING || m->tags.nostream)
        return;
    if (m->replication_state[0] && !m->streaming)
        doctor_doubt(
            d,
            "Its PostgreSQL's log says why. If WAL is missing: \"pgtetherctl reinit\", and look at use_slots and "
            "wal_keep_size.",
            "%s: does not stream (%s)", m->name, m->replication_state);
    else if (m->replay_lsn && lag_bytes > d->view.maximum_lag_bytes)
        doctor_doubt(d, "A failover to it would lose that.", "%s: lacks %" PRIu64 " MB of the leader's WAL", m->name,
                     lag_bytes >> 20);
}

void doctor_look_at_members(struct doctor *d)
{
    const struct cluster *c = d->view.cluster;

    for (size_t i = 0; i < c->n_members; i++) {
        look_at_rest(d, &c->members[i]);
        look_at_postgresql(d, &c->members[i]);
        look_at_replication(d, &c->members[i]);
    }
    if (c->leader.exists && !cluster_leader_member(c))
        doctor_bad(d, "Its agent holds the leader key but does not publish itself; see its log.",
                   "%s leads but has no member key", c->leader.name);
    if (c->n_members == 1)
        doctor_doubt(d, "Add a second member.", "nobody can take over from %s", c->members[0].name);
}
