#include "ctl/rolling_wait.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "base/clock.h"
#include "ctl/rest.h"

/* What is known after one look: why the member is not there yet, or that it is. */
struct look {
    bool there, lost; /* lost: somebody else leads, waiting is of no use */
    char text[192];
};

static const char *text_at(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s ? s : "";
}

static uint64_t lsn_at(const json_t *status, const char *key)
{
    json_int_t lsn = json_integer_value(json_object_get(json_object_get(status, "xlog"), key));

    return lsn > 0 ? (uint64_t)lsn : 0;
}

/* Older versions do not say themselves whether they stream, but their leader does. */
static bool streams(const json_t *status, const json_t *leader_status, const char *name)
{
    const json_t *sender, *senders = json_object_get(leader_status, "replication");
    size_t i;

    if (json_object_get(status, "replication_state"))
        return strcmp(text_at(status, "replication_state"), "streaming") == 0;
    json_array_foreach(senders, i, sender)
    {
        if (strcmp(text_at(sender, "application_name"), name) == 0 &&
            strcmp(text_at(sender, "state"), "streaming") == 0)
            return true;
    }
    return false;
}

static void judge_standby(const json_t *status, const json_t *leader_status, const char *name, uint64_t lag_max_bytes,
                          struct look *l)
{
    uint64_t here = lsn_at(status, "replayed_location"), there = lsn_at(leader_status, "location");
    uint64_t lag = there > here ? there - here : 0;
    json_int_t timeline = json_integer_value(json_object_get(status, "timeline"));
    json_int_t wanted = json_integer_value(json_object_get(leader_status, "timeline"));

    if (!streams(status, leader_status, name)) {
        (void)text_copy(l->text, sizeof(l->text), "running, does not stream yet");
    } else if (timeline && wanted && timeline != wanted) {
        (void)text_print(l->text, sizeof(l->text),
                         "streaming timeline %" JSON_INTEGER_FORMAT ", the leader has %" JSON_INTEGER_FORMAT, timeline,
                         wanted);
    } else if (!there || !here) {
        (void)text_copy(l->text, sizeof(l->text), "streaming, positions are not known yet");
    } else if (lag > lag_max_bytes) {
        (void)text_print(l->text, sizeof(l->text), "streaming, %" PRIu64 " MB behind", lag >> 20);
    } else {
        (void)text_print(l->text, sizeof(l->text), "streaming, %" PRIu64 " bytes behind", lag);
        l->there = true;
    }
}

static void judge(struct ctl *ctl, const struct cluster *c, const char *name, uint64_t lag_max_bytes, struct look *l)
{
    const struct member *m = cluster_member(c, name), *leader = cluster_leader_member(c);
    struct err err = {0};
    json_t *status = m ? rest_get(ctl, m, "/patroni", &err) : NULL, *leader_status = NULL;
    const char *state = text_at(status, "state");

    if (!m) {
        (void)text_copy(l->text, sizeof(l->text), "has no member key");
    } else if (!status) {
        (void)text_copy(l->text, sizeof(l->text), err.msg);
    } else if (strcmp(state, "running") != 0 && strcmp(state, "streaming") != 0) {
        (void)text_copy(l->text, sizeof(l->text), *state ? state : "unknown state");
    } else if (m == leader) {
        (void)text_copy(l->text, sizeof(l->text), "running");
        l->there = true;
    } else {
        leader_status = leader ? rest_get(ctl, leader, "/patroni", &err) : NULL;
        if (leader_status)
            judge_standby(status, leader_status, name, lag_max_bytes, l);
        else
            (void)text_copy(l->text, sizeof(l->text), leader ? err.msg : "the leader has no member key");
    }
    json_decref(leader_status);
    json_decref(status);
}

static struct look look(struct ctl *ctl, const char *scope, const char *name, const char *leader,
                        uint64_t lag_max_bytes)
{
    struct ctl_view v = {0};
    struct look l = {0};
    struct err err = {0};

    if (ctl_read_cluster(ctl, scope, &v, &err) < 0) {
        (void)text_copy(l.text, sizeof(l.text), err.msg);
    } else if (!v.cluster->leader.exists) {
        (void)text_copy(l.text, sizeof(l.text), "the cluster has no leader");
    } else if (strcmp(v.cluster->leader.name, leader) != 0) {
        (void)text_print(l.text, sizeof(l.text), "%s leads now, and not %s", v.cluster->leader.name, leader);
        l.lost = true;
    } else {
        judge(ctl, v.cluster, name, lag_max_bytes, &l);
    }
    ctl_view_done(&v);
    return l;
}

int rolling_wait(struct ctl *ctl, const char *scope, const char *name, const char *leader,
                 const struct rolling_limits *limits, struct err *err)
{
    enum { POLL_MS = 500 };
    uint64_t began_us = clock_now_us();
    char said[sizeof((struct look){0}.text)] = "";

    for (;;) {
        struct look l = look(ctl, scope, name, leader, limits->lag_bytes);
        uint64_t took_us = clock_now_us() - began_us;

        if (strcmp(said, l.text) != 0)
            printf("  %s: %s (after %.1f s)\n", name, l.text, (double)took_us / (double)USEC_PER_SEC);
        (void)text_copy(said, sizeof(said), l.text);
        (void)fflush(stdout);
        if (l.there)
            return 0;
        if (l.lost)
            return err_set(err, -ESTALE, "%s", l.text);
        if (took_us > limits->timeout_us)
            return err_set(err, -ETIMEDOUT, "%s is not back after %" PRIu64 " s: %s", name,
                           limits->timeout_us / USEC_PER_SEC, l.text);
        ctl_sleep_us(POLL_MS * USEC_PER_MSEC);
    }
}
