#include <jansson.h>
#include "api/render.h"
#include "base/text.h"
#include "model/overview.h"

static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value);
}

/* What the API hands on exactly as the member published it. */
static void copy_published(json_t *o, const struct member *m)
{
    static const char *const keys[] = {"timeline", "pending_restart", "pending_restart_reason", "scheduled_restart",
                                       "tags"};
    json_t *data = m->data ? json_loads(m->data, 0, NULL) : NULL;

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        json_t *value = json_object_get(data, keys[i]);

        if (value)
            (void)json_object_set(o, keys[i], value);
    }
    json_decref(data);
}

/* The order of the pair differs between the two cases, as the reference's does. */
static void set_lsn(json_t *o, const char *lsn_key, const char *lag_key, const struct overview_lsn *x)
{
    char lsn[TEXT_LSN_SIZE];

    if (!x->known) {
        set(o, lsn_key, json_string("unknown"));
        set(o, lag_key, json_string("unknown"));
        return;
    }
    set(o, lag_key, json_integer((json_int_t)x->lag_bytes));
    set(o, lsn_key, json_string(text_print_lsn(x->lsn, lsn, sizeof(lsn))));
}

static json_t *member(const struct overview_row *row)
{
    json_t *o = json_object();

    set(o, "name", json_string(row->member->name));
    set(o, "role", json_string(overview_role_text(row->role)));
    set(o, "state", json_string(row->state));
    set(o, "api_url", json_string(row->member->api_url));
    if (row->member->host[0]) {
        set(o, "host", json_string(row->member->host));
        set(o, "port", json_integer(row->member->port));
    }
    copy_published(o, row->member);
    if (!row->holds_leader_key) {
        set_lsn(o, "receive_lsn", "receive_lag", &row->receive);
        set_lsn(o, "replay_lsn", "replay_lag", &row->replay);
        set_lsn(o, "lsn", "lag", &row->any);
    }
    return o;
}

static json_t *scheduled_switchover(const struct failover_key *f)
{
    json_t *o = json_object();

    set(o, "at", json_string(f->scheduled_at));
    if (f->leader[0])
        set(o, "from", json_string(f->leader));
    if (f->candidate[0])
        set(o, "to", json_string(f->candidate));
    return o;
}

char *render_cluster(const struct node_status *n)
{
    const struct cluster *c = n->cluster;
    json_t *o = json_object(), *members = json_array();
    char *text;

    for (size_t i = 0; i < c->n_members; i++) {
        struct overview_row row = overview_row(c, n->policy.sync_mode, i);

        (void)json_array_append_new(members, member(&row));
    }
    set(o, "members", members);
    if (n->policy.pause)
        set(o, "pause", json_true());
    if (c->failover.exists && c->failover.scheduled_at[0])
        set(o, "scheduled_switchover", scheduled_switchover(&c->failover));
    set(o, "scope", json_string(n->scope));
    text = json_dumps(o, JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII);
    json_decref(o);
    return text;
}
