#include <inttypes.h>
#include <stdlib.h>
#include "api/health.h"
#include "api/render.h"
#include "base/clock.h"
#include "base/text.h"
#include "model/overview.h"

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"2\">"
    "<meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">"
    "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3em .8em;border-bottom:1px solid #8886}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}tr.me td{font-weight:600}"
    "dt{float:left;clear:left;width:11em;opacity:.7}dd{margin-left:12em}"
    ".bad{color:#c33}.good{color:#283}</style>";

/* Names and reasons come from configuration, store and PostgreSQL: all of it is text, none of it markup. */
static void put(struct textbuf *b, const char *s)
{
    for (; *s; s++) {
        switch (*s) {
        case '<':
            textbuf_puts(b, "&lt;");
            break;
        case '>':
            textbuf_puts(b, "&gt;");
            break;
        case '&':
            textbuf_puts(b, "&amp;");
            break;
        case '"':
            textbuf_puts(b, "&quot;");
            break;
        default:
            textbuf_append(b, s, 1);
        }
    }
}

static void put_fact(struct textbuf *b, const char *name, const char *value)
{
    textbuf_printf(b, "<dt>%s</dt><dd>", name);
    put(b, value && *value ? value : "–");
    textbuf_puts(b, "</dd>\n");
}

static void put_seconds(struct textbuf *b, const char *name, uint64_t rest_us, const char *otherwise)
{
    char text[32];

    (void)text_print(text, sizeof(text), "%" PRIu64 ".%" PRIu64 " s", rest_us / USEC_PER_SEC,
                     rest_us % USEC_PER_SEC / (USEC_PER_SEC / 10));
    put_fact(b, name, rest_us ? text : otherwise);
}

static void put_lag(struct textbuf *b, const struct overview_lsn *x)
{
    if (!x->known)
        textbuf_puts(b, "<td class=\"n\">–</td>");
    else if (x->lag_bytes < 1024)
        textbuf_printf(b, "<td class=\"n\">%" PRIu64 " B</td>", x->lag_bytes);
    else
        textbuf_printf(b, "<td class=\"n\">%.1f MB</td>", (double)x->lag_bytes / 1048576);
}

static void put_member(struct textbuf *b, const struct node_status *n, const struct overview_row *row)
{
    const struct member *m = row->member;

    textbuf_puts(b, text_equal(m->name, n->name) ? "<tr class=\"me\"><td>" : "<tr><td>");
    put(b, m->name);
    textbuf_puts(b, "</td><td>");
    put(b, m->host);
    textbuf_printf(b, ":%u</td><td>%s</td><td>", m->port, overview_role_title(row->role));
    put(b, row->state);
    textbuf_printf(b, "%s</td><td class=\"n\">%u</td>", m->pending_restart ? " (restart pending)" : "", m->timeline);
    put_lag(b, row->receive.known ? &row->receive : &row->any);
    put_lag(b, &row->replay);
    textbuf_puts(b, "</tr>\n");
}

static void put_members(struct textbuf *b, const struct node_status *n)
{
    const struct cluster *c = n->cluster;

    textbuf_puts(b, "<table><tr><th>Member</th><th>Host</th><th>Role</th><th>State</th><th class=\"n\">Timeline</th>"
                    "<th class=\"n\">Receive lag</th><th class=\"n\">Replay lag</th></tr>\n");
    for (size_t i = 0; i < c->n_members; i++) {
        struct overview_row row = overview_row(c, n->policy.sync_mode, i);

        put_member(b, n, &row);
    }
    textbuf_puts(b, "</table>\n");
    if (!c->leader.exists)
        textbuf_puts(b, "<p class=\"bad\">This cluster has no leader.</p>\n");
}

static void put_node(struct textbuf *b, const struct node_status *n, uint64_t now_us)
{
    textbuf_puts(b, "<dl>\n");
    put_fact(b, "Role", pg_role_text(health_role(n, now_us)));
    put_fact(b, "State", pg_state_text(health_state(n, now_us)));
    put_fact(b, "Last decision", n->reason);
    put_fact(b, "Under way", n->progress);
    put_seconds(b, "Lease left", clock_rest_us(now_us, n->lease_deadline_us), "no lease held");
    put_seconds(b, "Fencing in", clock_rest_us(now_us, n->keeper_fence_at_us), "nothing to fence");
    put_fact(b, "Keeper", n->keeper_connected ? n->keeper_state : "not connected");
    put_fact(b, "Watchdog", n->watchdog_failed ? "required, but cannot be used" : n->watchdog_state);
    textbuf_puts(b, "</dl>\n");
}

char *render_page(const struct node_status *n, uint64_t now_us)
{
    struct textbuf b = {0};
    bool valid = health_view_is_valid(n, now_us);

    textbuf_puts(&b, head);
    textbuf_puts(&b, "<title>");
    put(&b, n->name);
    textbuf_puts(&b, " – ");
    put(&b, n->scope);
    textbuf_puts(&b, "</title></head><body>\n<h1>");
    put(&b, n->scope);
    textbuf_puts(&b, "</h1>\n");
    if (n->policy.pause)
        textbuf_puts(&b, "<p>Maintenance mode: on</p>\n");
    if (!valid)
        textbuf_puts(&b, "<p class=\"bad\">The store has not answered lately; what it said last may be out of date."
                         "</p>\n");
    if (n->cluster)
        put_members(&b, n);
    textbuf_puts(&b, "<h2>");
    put(&b, n->name);
    textbuf_puts(&b, "</h2>\n");
    put_node(&b, n, now_us);
    textbuf_puts(&b, "<p><small>pgtether ");
    put(&b, n->own_version ? n->own_version : "");
    textbuf_puts(&b, "</small></p></body></html>\n");
    return textbuf_take(&b);
}
