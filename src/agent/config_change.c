/*
 * PATCH and PUT /config: the change is made to what the store has now, checked, and written only if nobody was faster
 * (the key's revision is compared); otherwise all of it again. A lost answer is settled by the next read: it shows
 * whether the change is there.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "config/change.h"
#include "config/dynamic.h"

enum { ATTEMPTS_MAX = 10, WAITING_MAX = 64 };

struct config_change {
    struct agent *agent;
    struct command *command;
    bool replaces; /* PUT */
    json_t *request, *after;
    char note[64]; /* the first thing worth a word that did not stop it */
    uint64_t deadline_us;
    unsigned attempts;
    struct config_change *next;
};

static void change_free(struct config_change *c)
{
    struct config_change **at = &c->agent->config_changes;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    json_decref(c->request);
    json_decref(c->after);
    free(c);
}

static void refuse(struct config_change *c, unsigned status, const char *why)
{
    command_answer_text(c->command, status, "%s", why);
    change_free(c);
}

static char *print(const json_t *json, size_t flags)
{
    return json_dumps(json, flags | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));
}

static void accept(struct config_change *c)
{
    struct command_answer answer = {.status = 200, .content_type = "application/json", .body = print(c->after, 0)};
    struct agent *a = c->agent;

    if (!answer.body)
        answer = (struct command_answer){.status = 500};
    if (c->note[0]) {
        answer.header = "Pgtether-Note";
        (void)text_copy(answer.header_value, sizeof(answer.header_value), c->note);
    }
    c->command->answer(c->command, &answer);
    change_free(c);
    gather_store(a); /* what changed is applied here at once; the others see it by their watch */
}

/* --- checking ----------------------------------------------------------------------------------------------------- */

/* The parameters among them, as the local server judges them; only what the change brings. */
static void judge_parameters(const struct agent *a, json_t *before, json_t *after, struct textbuf *errors,
                             struct textbuf *notes)
{
    json_t *old = json_object_get(json_object_get(before, "postgresql"), "parameters");
    json_t *new = json_object_get(json_object_get(after, "postgresql"), "parameters");
    const char *name;
    json_t *value;

    json_object_foreach(new, name, value)
    {
        char number[64], why[640];
        const char *text;

        /* change_check() has its word about what is no text. */
        if (json_equal(value, json_object_get(old, name)) || !dynamic_value_text(value, number, sizeof(number), &text))
            continue;
        switch (guc_object(a->parameters.catalog, name, text, why, sizeof(why))) {
        case GUC_NO_OBJECTION:
            break;
        case GUC_UNKNOWN:
            textbuf_printf(notes, "postgresql.parameters.%s: %s\n", name, why);
            break;
        case GUC_REFUSED:
            textbuf_printf(errors, "%spostgresql.parameters.%s: %s", errors->len ? "\n" : "", name, why);
            break;
        }
    }
}

static void print_problems(const struct config_problems *p, struct textbuf *errors, struct textbuf *notes)
{
    for (size_t i = 0; i < p->n; i++) {
        struct textbuf *b = p->items[i].warning ? notes : errors;

        textbuf_printf(b, "%s%s%s%s", errors == b && b->len ? "\n" : "", p->items[i].path,
                       p->items[i].path[0] ? ": " : "", p->items[i].message);
        if (b == notes)
            textbuf_puts(notes, "\n");
    }
}

/* True if it may be written; else it was answered. */
static bool check(struct config_change *c, json_t *before)
{
    struct agent *a = c->agent;
    struct config_problems problems;
    struct textbuf errors = {0}, notes = {0};
    struct err err = {0};
    int r = change_check(before, c->after, a->config, &problems, &err);

    print_problems(&problems, &errors, &notes);
    config_problems_done(&problems);
    if (r == 0 || r == -EINVAL)
        judge_parameters(a, before, c->after, &errors, &notes);
    if (notes.len)
        (void)text_print(c->note, sizeof(c->note), "%.*s", (int)strcspn(notes.data, "\n"), notes.data);
    textbuf_done(&notes);
    if (errors.len)
        refuse(c, 400, errors.data);
    else if (r < 0)
        refuse(c, 500, err.msg);
    r = errors.len || r < 0;
    textbuf_done(&errors);
    return !r;
}

/* --- reading and writing ------------------------------------------------------------------------------------------ */

static void attempt(struct config_change *c);

static void on_written(void *userdata, struct dcs_answer *answer)
{
    struct config_change *c = userdata;

    if (answer->outcome == DCS_DONE) {
        log_info("the dynamic configuration was changed over the REST API");
        accept(c);
    } else if (c->attempts < ATTEMPTS_MAX && clock_now_us() < c->deadline_us) {
        attempt(c);
    } else if (answer->outcome == DCS_REFUSED) {
        refuse(c, 409, "the configuration was changed by others at the same time");
    } else {
        refuse(c, 502, answer->err.msg);
    }
}

static void write_after(struct config_change *c, const struct text_key *key)
{
    struct agent *a = c->agent;
    CLEANUP(freep) char *text = print(c->after, JSON_COMPACT);

    if (!text) {
        refuse(c, 500, "out of memory");
        return;
    }
    a->dcs->ops->put(a->dcs, "config", text, key->exists ? DCS_REVISION : DCS_ABSENT, key->revision, c->deadline_us,
                     on_written, c);
}

/* What the store would have with it: 1 if that is something else than it has, 0 if not, or -errno. */
static int make_after(struct config_change *c, json_t *before)
{
    json_decref(c->after);
    c->after = json_deep_copy(c->replaces ? c->request : before);
    if (!c->after)
        return -ENOMEM;
    return c->replaces ? !json_equal(before, c->after) : change_merge(c->after, c->request);
}

static void change_key(struct config_change *c, const struct text_key *key)
{
    json_t *before = key->exists ? json_loads(key->text, 0, NULL) : NULL;
    int r;

    if (!c->replaces && !json_is_object(before)) {
        json_decref(before);
        refuse(c, 503, "the cluster has no dynamic configuration");
        return;
    }
    r = make_after(c, before);
    if (r < 0)
        refuse(c, r == -ENOMEM ? 500 : 400, r == -ENOMEM ? "out of memory" : "groups are nested too deeply");
    else if (r == 0)
        accept(c);
    else if (check(c, before))
        write_after(c, key);
    json_decref(before);
}

static void on_read(void *userdata, struct dcs_answer *answer)
{
    struct config_change *c = userdata;
    struct cluster *cluster = STEAL(answer->cluster);

    if (answer->outcome == DCS_DONE)
        change_key(c, &cluster->config);
    else
        refuse(c, 503, answer->err.msg);
    (void)cluster_free(cluster);
}

static void attempt(struct config_change *c)
{
    struct agent *a = c->agent;

    c->attempts++;
    a->dcs->ops->get_cluster(a->dcs, true, c->deadline_us, on_read, c);
}

void config_change(struct agent *a, struct command *command)
{
    struct config_change *c = calloc(1, sizeof(*c));
    unsigned waiting = 0;

    for (const struct config_change *other = a->config_changes; other; other = other->next)
        waiting++;
    if (!c || waiting >= WAITING_MAX) {
        free(c);
        command_answer_text(command, 503, "too many changes of the configuration at the same time");
        return;
    }
    *c = (struct config_change){.agent = a,
                                .command = command,
                                .replaces = command->kind == COMMAND_PUT_CONFIG,
                                .request = json_loads(command->body, 0, NULL),
                                .deadline_us = clock_now_us() + a->dynamic->policy.retry_timeout_us,
                                .next = a->config_changes};
    a->config_changes = c;
    if (json_object_size(c->request))
        attempt(c);
    else
        refuse(c, 400, "the body must be a JSON object that is not empty");
}

void config_change_done(struct agent *a)
{
    while (a->config_changes)
        refuse(a->config_changes, 503, "this node is stopping");
}
