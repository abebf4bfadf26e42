/*
 * Writing the JSON texts. By hand instead of with jansson, because the bytes are to be the reference's: its order of
 * fields, compact separators, and Python's escapes (lower-case \u, everything beyond ASCII escaped).
 */
#include "dcs/codec.h"
#include <inttypes.h>
#include <string.h>
#include "base/text.h"

/* Decodes one character of UTF-8 and moves *s behind it; what is no UTF-8 becomes U+FFFD, a byte at a time. */
static uint32_t next_char(const char **s)
{
    const unsigned char *p = (const unsigned char *)*s;
    static const uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};
    unsigned more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : p[0] >= 0xc0 ? 1 : 0;
    uint32_t c = p[0];

    (*s)++;
    if (p[0] < 0x80)
        return c;
    if (more == 0 || p[0] >= 0xf8)
        return 0xfffd;
    c = p[0] & (0x3fu >> more);
    for (unsigned i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0xfffd;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < smallest[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0xfffd;
    *s += more;
    return c;
}

static void put_escaped(struct textbuf *b, uint32_t c)
{
    if (c >= 0x10000) {
        c -= 0x10000;
        textbuf_printf(b, "\\u%04x\\u%04x", 0xd800 + (c >> 10), 0xdc00 + (c & 0x3ff));
    } else {
        textbuf_printf(b, "\\u%04x", c);
    }
}

static void put_string(struct textbuf *b, const char *s)
{
    static const char plain[] = "\"\\\n\r\t\b\f", escaped[] = "\"\\nrtbf";

    textbuf_puts(b, "\"");
    while (*s) {
        uint32_t c = next_char(&s);
        const char *special = c < 0x80 ? strchr(plain, (int)c) : NULL;
        char ascii = (char)c;

        if (special)
            textbuf_printf(b, "\\%c", escaped[special - plain]);
        else if (c >= 0x20 && c < 0x7f)
            textbuf_append(b, &ascii, 1);
        else
            put_escaped(b, c);
    }
    textbuf_puts(b, "\"");
}

/* JSON that is ready but for its characters beyond ASCII, which in JSON only occur inside strings. */
static void put_json(struct textbuf *b, const char *json)
{
    while (*json) {
        uint32_t c = next_char(&json);
        char ascii = (char)c;

        if (c < 0x7f)
            textbuf_append(b, &ascii, 1);
        else
            put_escaped(b, c);
    }
}

/* The key of the next field, with a comma unless it is the first. */
static void put_key(struct textbuf *b, const char *key)
{
    if (b->len && b->data[b->len - 1] != '{')
        textbuf_puts(b, ",");
    put_string(b, key);
    textbuf_puts(b, ":");
}

static void put_text_field(struct textbuf *b, const char *key, const char *value)
{
    if (!value)
        return;
    put_key(b, key);
    put_string(b, value);
}

static void put_json_field(struct textbuf *b, const char *key, const char *json)
{
    if (!json)
        return;
    put_key(b, key);
    put_json(b, json);
}

static void put_number_field(struct textbuf *b, const char *key, uint64_t value)
{
    if (!value)
        return;
    put_key(b, key);
    textbuf_printf(b, "%" PRIu64, value);
}

static void put_positions(struct textbuf *b, const struct member_report *r)
{
    uint64_t standby_lsn = r->receive_lsn > r->replay_lsn ? r->receive_lsn : r->replay_lsn;

    if (r->is_primary) {
        put_number_field(b, "xlog_location", r->xlog_lsn);
    } else {
        put_number_field(b, "xlog_location", standby_lsn ? standby_lsn : r->xlog_lsn);
        put_number_field(b, "replay_lsn", r->replay_lsn);
        put_number_field(b, "receive_lsn", r->receive_lsn);
        put_text_field(b, "replication_state", r->replication_state);
    }
    put_number_field(b, "timeline", r->timeline);
}

char *codec_print_member(const struct member_report *r)
{
    struct textbuf b = {0};
    char at[24];

    textbuf_puts(&b, "{");
    put_text_field(&b, "conn_url", r->conn_url);
    put_text_field(&b, "api_url", r->api_url);
    put_text_field(&b, "state", pg_state_text(r->state));
    put_text_field(&b, "role", pg_role_text(r->role));
    put_text_field(&b, "version", r->version);
    if (r->checkpoint_pending)
        put_json_field(&b, "checkpoint_after_promote", "false");
    if (r->tags_json && strcmp(r->tags_json, "{}") != 0)
        put_json_field(&b, "tags", r->tags_json);
    if (r->pending_restart) {
        put_json_field(&b, "pending_restart", "true");
        put_json_field(&b, "pending_restart_reason", r->pending_restart_reason_json);
    }
    if (r->positions_known)
        put_positions(&b, r);
    put_json_field(&b, "scheduled_restart", r->scheduled_restart_json);
    if (r->pause)
        put_json_field(&b, "pause", "true");
    if (r->fence_at_s) {
        (void)text_print(at, sizeof(at), "%lld", (long long)r->fence_at_s);
        put_json_field(&b, "pgtether_fence_at", at);
        put_text_field(&b, "pgtether_fence", r->fence_note);
    }
    if (r->note && r->note[0])
        put_text_field(&b, "pgtether_note", r->note);
    if (r->node && r->node[0])
        put_text_field(&b, "pgtether_node", r->node);
    textbuf_puts(&b, "}");
    return textbuf_take(&b);
}

char *codec_print_status(uint64_t optime_lsn, const char *const *slot_names, const uint64_t *slot_lsns, size_t n_slots,
                         const char *const *retain, size_t n_retain)
{
    struct textbuf b = {0};

    textbuf_printf(&b, "{\"optime\":%" PRIu64, optime_lsn);
    if (n_slots) {
        textbuf_puts(&b, ",\"slots\":{");
        for (size_t i = 0; i < n_slots; i++) {
            put_key(&b, slot_names[i]);
            textbuf_printf(&b, "%" PRIu64, slot_lsns[i]);
        }
        textbuf_puts(&b, "}");
    }
    for (size_t i = 0; i < n_retain; i++) {
        textbuf_puts(&b, i == 0 ? ",\"retain_slots\":[" : ",");
        put_string(&b, retain[i]);
    }
    textbuf_puts(&b, n_retain ? "]}" : "}");
    return textbuf_take(&b);
}

char *codec_print_history(const struct history_line *lines, size_t n)
{
    struct textbuf b = {0};

    textbuf_puts(&b, "[");
    for (size_t i = 0; i < n; i++) {
        textbuf_printf(&b, "%s[%" PRIu32 ",%" PRIu64 ",", i ? "," : "", lines[i].timeline, lines[i].switch_lsn);
        put_string(&b, lines[i].reason);
        if (*lines[i].timestamp) {
            textbuf_puts(&b, ",");
            put_string(&b, lines[i].timestamp);
            if (*lines[i].new_leader) {
                textbuf_puts(&b, ",");
                put_string(&b, lines[i].new_leader);
            }
        }
        textbuf_puts(&b, "]");
    }
    textbuf_puts(&b, "]");
    return textbuf_take(&b);
}

static void put_text_or_null(struct textbuf *b, const char *key, const char *value)
{
    if (value && *value)
        put_text_field(b, key, value);
    else
        put_json_field(b, key, "null");
}

char *codec_print_sync(const char *leader, unsigned quorum, const char *standbys)
{
    struct textbuf b = {0};

    textbuf_puts(&b, "{");
    put_text_or_null(&b, "leader", leader);
    put_key(&b, "quorum");
    textbuf_printf(&b, "%u", quorum);
    put_text_or_null(&b, "sync_standby", standbys);
    textbuf_puts(&b, "}");
    return textbuf_take(&b);
}

char *codec_print_failover(const char *leader, const char *candidate, const char *scheduled_at)
{
    struct textbuf b = {0};

    textbuf_puts(&b, "{");
    put_text_field(&b, "leader", leader && *leader ? leader : NULL);
    put_text_field(&b, "member", candidate && *candidate ? candidate : NULL);
    put_text_field(&b, "scheduled_at", scheduled_at && *scheduled_at ? scheduled_at : NULL);
    textbuf_puts(&b, "}");
    return textbuf_take(&b);
}
