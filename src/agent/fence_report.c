#include "agent/fence_report.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/text.h"

/* The value of a line "key=value"; "" if there is none. */
static void value_of(const char *text, const char *key, char *dst, size_t size)
{
    size_t key_len = strlen(key);

    dst[0] = '\0';
    for (const char *line = text; line && *line; line += *line == '\n') {
        size_t len = strcspn(line, "\n");

        if (len > key_len && strncmp(line, key, key_len) == 0 && line[key_len] == '=') {
            (void)text_print(dst, size, "%.*s", (int)(len - key_len - 1), line + key_len + 1);
            return;
        }
        line += len;
    }
}

static int64_t time_of(const char *text)
{
    char value[24];
    uint64_t at_s;

    value_of(text, "at_s", value, sizeof(value));
    return text_to_u64(value, &at_s) && at_s < INT64_MAX ? (int64_t)at_s : 0;
}

static void judge(const struct fence_evidence *e, bool has_rung, struct fence_report *r)
{
    bool starved = has_rung && strcmp(r->rung, "starve") == 0;

    /* Many drivers never say so: that they say nothing means nothing. */
    (void)text_copy(r->by_watchdog, sizeof(r->by_watchdog), e->driver_says_reset ? "yes" : "unknown");
    (void)text_copy(r->certainty, sizeof(r->certainty),
                    e->driver_says_reset ? "certain"
                    : starved            ? "likely"
                                         : "possible");
}

bool fence_report_make(const struct fence_evidence *e, struct fence_report *ret)
{
    struct fence_report r = {.rung = "none"};
    char state[16], rung_boot[40];
    bool has_rung;

    if (!e->armed)
        return false;
    value_of(e->armed, "state", state, sizeof(state));
    value_of(e->armed, "boot_id", r.boot_id, sizeof(r.boot_id));
    value_of(e->armed, "member", r.member, sizeof(r.member));
    if (strcmp(state, "armed") != 0 || !r.boot_id[0] || strcmp(r.boot_id, e->boot_id) == 0)
        return false;
    r.at_s = time_of(e->armed);
    value_of(e->rung, "boot_id", rung_boot, sizeof(rung_boot));
    /* One of an earlier lease of that boot ended well, or the record of the arming would be older. */
    has_rung = strcmp(rung_boot, r.boot_id) == 0 && time_of(e->rung) >= r.at_s;
    if (has_rung) {
        r.at_s = time_of(e->rung);
        value_of(e->rung, "rung", r.rung, sizeof(r.rung));
        value_of(e->rung, "reason", r.reason, sizeof(r.reason));
    } else {
        (void)text_copy(r.reason, sizeof(r.reason),
                        e->driver_says_reset ? "nothing was recorded: keeper and agent stood still, or the disk did"
                                             : "nothing was recorded: power loss, a crash of the kernel, a reset from "
                                               "outside, or the watchdog after everything stood still");
    }
    judge(e, has_rung, &r);
    *ret = r;
    return true;
}

void fence_history_add(struct fence_history *h, const struct fence_report *r)
{
    size_t keep = h->n < FENCE_REPORTS_MAX ? h->n : FENCE_REPORTS_MAX - 1;

    memmove(&h->reports[1], &h->reports[0], keep * sizeof(h->reports[0]));
    h->reports[0] = *r;
    h->n = keep + 1;
}

bool fence_history_is_loop(const struct fence_history *h)
{
    return h->n >= FENCE_GUARD_RESETS &&
           h->reports[0].at_s - h->reports[FENCE_GUARD_RESETS - 1].at_s <= FENCE_GUARD_SPAN_S;
}

static json_t *to_json(const struct fence_report *r)
{
    return json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:s}", "at", (json_int_t)r->at_s, "member", r->member, "boot_id",
                     r->boot_id, "rung", r->rung, "reason", r->reason, "reset_by_watchdog", r->by_watchdog, "certainty",
                     r->certainty);
}

static char *dump(json_t *value)
{
    char *text = value ? json_dumps(value, JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII) : NULL;

    json_decref(value);
    return text;
}

char *fence_report_print(const struct fence_report *r)
{
    return dump(to_json(r));
}

char *fence_history_print(const struct fence_history *h)
{
    json_t *list = json_array();

    for (size_t i = 0; i < h->n; i++)
        (void)json_array_append_new(list, to_json(&h->reports[i]));
    return dump(list);
}

static void copy_text(const json_t *object, const char *key, char *dst, size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));

    (void)text_copy(dst, size, text ? text : "");
}

void fence_history_parse(const char *json, struct fence_history *ret)
{
    json_t *list = json ? json_loads(json, 0, NULL) : NULL;

    *ret = (struct fence_history){0};
    for (size_t i = 0; i < json_array_size(list) && ret->n < FENCE_REPORTS_MAX; i++) {
        const json_t *o = json_array_get(list, i);
        struct fence_report *r = &ret->reports[ret->n];

        if (!json_is_object(o))
            continue;
        ret->n++;
        r->at_s = json_integer_value(json_object_get(o, "at"));
        copy_text(o, "member", r->member, sizeof(r->member));
        copy_text(o, "boot_id", r->boot_id, sizeof(r->boot_id));
        copy_text(o, "rung", r->rung, sizeof(r->rung));
        copy_text(o, "reason", r->reason, sizeof(r->reason));
        copy_text(o, "reset_by_watchdog", r->by_watchdog, sizeof(r->by_watchdog));
        copy_text(o, "certainty", r->certainty, sizeof(r->certainty));
    }
    json_decref(list);
}

void fence_report_text(const struct fence_report *r, char *dst, size_t size)
{
    time_t at = (time_t)r->at_s;
    char when[32] = "";
    struct tm tm;

    if (gmtime_r(&at, &tm))
        (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%SZ", &tm);
    if (strcmp(r->rung, "none") == 0)
        (void)text_print(dst, size, "host reset after %s while it led (by its watchdog: %s): %s", when, r->by_watchdog,
                         r->reason);
    else
        (void)text_print(dst, size, "host reset at %s (rung %s, by its watchdog: %s, %s): %s", when, r->rung,
                         r->by_watchdog, r->certainty, r->reason);
}
