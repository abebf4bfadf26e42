#include "ctl/members.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "base/text.h"
#include "model/overview.h"

enum { STANDARD_PORT = 5432, REASON_MAX = 50, FENCE_SHOWN_S = 86400 };

/* Columns that appear when a member has something to say in them, and the member key's field they come from. */
static const struct {
    const char *title, *field;
} optional[] = {
    {"Pending restart", "pending_restart"},
    {"Pending restart reason", "pending_restart_reason"},
    {"Scheduled restart", "scheduled_restart"},
    {"Tags", "tags"},
};

/* What is needed to print one member. */
struct line {
    struct overview_row row;
    json_t *data; /* the member key; NULL if it is broken */
    char name[MEMBER_NAME_SIZE * 2];
    bool listed; /* topology: already in its place */
};

struct listing {
    const struct members_view *view;
    enum report_format format;
    struct line *lines;
    size_t n;
    bool with_port;
    bool with_optional[ARRAY_LEN(optional)];
};

/* --- cells -------------------------------------------------------------------------------------------------------- */

static json_t *text(const char *s)
{
    json_t *value = json_string(s);

    return value ? value : json_string("?");
}

static json_t *host(const struct listing *l, const struct member *m)
{
    char buf[HOST_SIZE + 8];

    if (!m->host[0] || !l->with_port)
        return text(m->host);
    (void)text_print(buf, sizeof(buf), "%s:%u", m->host, m->port);
    return text(buf);
}

static json_t *lsn(const struct overview_lsn *x)
{
    char buf[TEXT_LSN_SIZE];

    return text(x->known ? text_print_lsn(x->lsn, buf, sizeof(buf)) : "unknown");
}

/* Megabytes, rounded to the nearest, halves to the even one, as Python's round() does. */
static json_t *lag(const struct overview_lsn *x)
{
    uint64_t mb = x->lag_bytes >> 20, rest = x->lag_bytes & ((1 << 20) - 1), half = 1 << 19;

    if (!x->known)
        return text("");
    return json_integer((json_int_t)(rest > half || (rest == half && mb % 2) ? mb + 1 : mb));
}

/* Receive and replay positions with their lags: four cells. */
static void add_positions(json_t *cells, const struct overview_row *row)
{
    const struct overview_lsn *receive = &row->receive, *replay = &row->replay;

    if (row->holds_leader_key) {
        for (int i = 0; i < 4; i++)
            (void)json_array_append_new(cells, text(""));
        return;
    }
    /* Older versions publish one position: what it is follows from how the member gets its WAL. */
    if (!receive->known && !replay->known && row->any.known) {
        if (strcmp(row->state, "streaming") == 0)
            receive = &row->any;
        else
            replay = &row->any;
    }
    (void)json_array_append_new(cells, lsn(receive));
    (void)json_array_append_new(cells, lag(receive));
    (void)json_array_append_new(cells, lsn(replay));
    (void)json_array_append_new(cells, lag(replay));
}

static const char *member_text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s ? s : "?";
}

/* One line per parameter that waits for a restart. */
static json_t *restart_reason(const struct listing *l, json_t *reasons)
{
    bool for_people = l->format == REPORT_PRETTY || l->format == REPORT_TOPOLOGY;
    struct textbuf all = {0};
    const char *name;
    json_t *change, *value;

    json_object_foreach(reasons, name, change)
    {
        struct textbuf one = {0};

        textbuf_printf(&one, "%s: %s->%s", name, member_text(change, "old_value"), member_text(change, "new_value"));
        textbuf_puts(&all, all.len ? "\n" : "");
        if (for_people && one.len > REASON_MAX)
            textbuf_printf(&all, "%s: [hidden - too long]", name);
        else
            textbuf_puts(&all, one.data ? one.data : "");
        textbuf_done(&one);
    }
    value = text(all.data ? all.data : "");
    textbuf_done(&all);
    return value;
}

static json_t *scheduled_restart(const json_t *schedule)
{
    const char *version = json_string_value(json_object_get(schedule, "postgres_version"));
    char buf[160];

    (void)text_print(buf, sizeof(buf), "%s%s%s", member_text(schedule, "schedule"), version ? " if version < " : "",
                     version ? version : "");
    return text(buf);
}

static bool is_truthy(const json_t *value)
{
    if (json_is_object(value))
        return json_object_size(value) > 0;
    return value && !json_is_null(value) && !json_is_false(value);
}

static json_t *optional_cell(const struct listing *l, const struct line *line, size_t i)
{
    json_t *value = json_object_get(line->data, optional[i].field);

    if (!is_truthy(value))
        return text("");
    switch (i) {
    case 0:
        return text("*");
    case 1:
        return restart_reason(l, value);
    case 2:
        return scheduled_restart(value);
    default:
        return json_incref(value);
    }
}

static json_t *cells_of(const struct listing *l, const struct line *line)
{
    const struct member *m = line->row.member;
    json_t *cells = json_array();

    (void)json_array_append_new(cells, text(l->view->cluster_name));
    (void)json_array_append_new(cells, text(line->name));
    (void)json_array_append_new(cells, host(l, m));
    (void)json_array_append_new(cells, text(overview_role_title(line->row.role)));
    (void)json_array_append_new(cells, text(line->row.state));
    (void)json_array_append_new(cells, m->timeline ? json_integer(m->timeline) : text(""));
    add_positions(cells, &line->row);
    for (size_t i = 0; i < ARRAY_LEN(optional); i++)
        if (l->with_optional[i])
            (void)json_array_append_new(cells, optional_cell(l, line, i));
    return cells;
}

/* --- order -------------------------------------------------------------------------------------------------------- */

static bool is_leader(const struct line *line)
{
    return line->row.holds_leader_key;
}

/* The member that `line` streams from by its tags: another replica of this cluster, else the leader (NULL). */
static const struct line *parent_of(const struct listing *l, const struct line *line)
{
    const char *from = json_string_value(json_object_get(json_object_get(line->data, "tags"), "replicatefrom"));

    for (size_t i = 0; from && i < l->n; i++) {
        const struct line *other = &l->lines[i];

        if (other != line && !is_leader(other) && strcmp(other->row.member->name, from) == 0)
            return other;
    }
    return NULL;
}

static void add_line(const struct listing *l, struct line *line, size_t level, json_t *rows)
{
    line->listed = true;
    if (level)
        (void)text_print(line->name, sizeof(line->name), "%*s+ %s", (int)(level - 1) * 2, "", line->row.member->name);
    (void)json_array_append_new(rows, cells_of(l, line));
}

/* Below `parent` (NULL: below the leader) what streams from it, and so on. The members are few: no index. */
static void add_branch(const struct listing *l, const struct line *parent, size_t level, json_t *rows)
{
    for (size_t i = 0; i < l->n; i++) {
        struct line *line = &l->lines[i];

        if (line->listed || is_leader(line) || parent_of(l, line) != parent)
            continue;
        add_line(l, line, level, rows);
        add_branch(l, line, level + 1, rows);
    }
}

static void add_topology(const struct listing *l, json_t *rows)
{
    for (size_t i = 0; i < l->n; i++)
        if (is_leader(&l->lines[i]))
            add_line(l, &l->lines[i], 0, rows);
    add_branch(l, NULL, 1, rows);
    /* Members that replicate from each other in a circle have no place in a tree, but must not vanish. */
    for (size_t i = 0; i < l->n; i++)
        if (!l->lines[i].listed)
            add_line(l, &l->lines[i], 1, rows);
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

/* The port is shown on all rows once it tells something. */
static bool port_matters(const struct cluster *c)
{
    for (size_t i = 0; i < c->n_members; i++) {
        if (c->members[i].host[0] && c->members[i].port != STANDARD_PORT)
            return true;
        for (size_t j = 0; c->members[i].host[0] && j < i; j++)
            if (strcmp(c->members[i].host, c->members[j].host) == 0)
                return true;
    }
    return false;
}

static void set_columns(const struct listing *l, struct report *r)
{
    report_add_column(r, "Cluster", NULL, false);
    report_add_column(r, "Member", "Member", false);
    report_add_column(r, "Host", "Host", false);
    report_add_column(r, "Role", "Role", false);
    report_add_column(r, "State", "State", false);
    report_add_column(r, "TL", "TL", true);
    report_add_column(r, "Receive LSN", "Receive LSN", true);
    report_add_column(r, "Receive Lag", "Lag", true);
    report_add_column(r, "Replay LSN", "Replay LSN", true);
    report_add_column(r, "Replay Lag", "Lag", true);
    for (size_t i = 0; i < ARRAY_LEN(optional); i++)
        if (l->with_optional[i])
            report_add_column(r, optional[i].title, optional[i].title, false);
}

static void set_title(const struct members_view *v, struct report *r)
{
    const struct text_key *initialize = &v->cluster->initialize;
    const char *sysid = initialize->text && *initialize->text ? initialize->text : "initializing";

    (void)text_print(r->title, sizeof(r->title), " Cluster: %s (%s) ", v->cluster_name,
                     initialize->exists ? sysid : "uninitialized");
}

static int collect(struct listing *l)
{
    const struct cluster *c = l->view->cluster;

    for (size_t i = 0; i < ARRAY_LEN(optional); i++)
        l->with_optional[i] = l->view->extended;
    l->n = c->n_members;
    l->with_port = port_matters(c);
    l->lines = calloc(l->n + 1, sizeof(*l->lines));
    if (!l->lines)
        return -ENOMEM;
    for (size_t i = 0; i < l->n; i++) {
        struct line *line = &l->lines[i];

        line->row = overview_row(c, l->view->sync_mode, i);
        line->data = line->row.member->data ? json_loads(line->row.member->data, 0, NULL) : NULL;
        (void)text_copy(line->name, sizeof(line->name), line->row.member->name);
        for (size_t j = 0; j < ARRAY_LEN(optional); j++)
            l->with_optional[j] |= is_truthy(json_object_get(line->data, optional[j].field));
    }
    return 0;
}

int members_report(const struct members_view *v, enum report_format format, struct report *ret)
{
    struct listing l = {.view = v, .format = format};
    struct report r = {.rows = json_array(), .omit_empty = true};

    if (!r.rows || collect(&l) < 0) {
        report_done(&r);
        return -ENOMEM;
    }
    set_title(v, &r);
    set_columns(&l, &r);
    if (format == REPORT_TOPOLOGY)
        add_topology(&l, r.rows);
    else
        for (size_t i = 0; i < l.n; i++)
            add_line(&l, &l.lines[i], 0, r.rows);
    for (size_t i = 0; i < l.n; i++)
        json_decref(l.lines[i].data);
    free(l.lines);
    *ret = r;
    return 0;
}

/* Others may write to the store: nothing that a terminal would obey. */
static void put_note(struct textbuf *out, const char *title, const struct member *m, const char *note)
{
    textbuf_printf(out, " %s %s: ", title, m->name);
    for (const char *s = note; *s; s++)
        textbuf_append(out, (unsigned char)*s < ' ' || *s == 0x7f ? "?" : s, 1);
    textbuf_puts(out, "\n");
}

void members_notes(struct textbuf *out, const struct members_view *v)
{
    const struct failover_key *f = &v->cluster->failover;

    if (v->paused)
        textbuf_puts(out, " Maintenance mode: on\n");
    for (size_t i = 0; i < v->cluster->n_members; i++) {
        const struct member *m = &v->cluster->members[i];

        if (m->fence_at_s > 0 && v->now_s - m->fence_at_s < FENCE_SHOWN_S)
            put_note(out, "Fence report of", m, m->fence_note);
        if (m->note[0])
            put_note(out, "Note on", m, m->note);
    }
    if (!f->exists || !f->scheduled_at[0])
        return;
    textbuf_printf(out, " Switchover scheduled at: %s\n", f->scheduled_at);
    if (f->leader[0])
        textbuf_printf(out, "%24s: %s\n", "from", f->leader);
    if (f->candidate[0])
        textbuf_printf(out, "%24s: %s\n", "to", f->candidate);
}
