/*
 * Failsafe mode, the others' side: a promise to a leader not to lead before an instant. It is kept in the runtime
 * directory before it is given, for an agent that is started before it has ended. A start of the host loses that file,
 * and with it when the promise was made; but it was made before, so it has ended when the host has been up for as long
 * as the longest promise ever was: that number is in the state directory, and written before any promise can be as
 * long.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/bootid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"

enum { FILE_MAX = 4096 };

static bool promise_path(char *buf, size_t size)
{
    const char *dir = getenv("PGTETHER_RUN_DIR");

    return dir && *dir && text_print(buf, size, "%s/promise", dir);
}

static bool longest_path(const struct agent *a, char *buf, size_t size)
{
    const char *dir = getenv("PGTETHER_STATE_DIR");

    if (dir && *dir)
        return text_print(buf, size, "%s/longest-promise", dir);
    return text_print(buf, size, "%s.pgtether-longest-promise", a->config->postgresql.data_dir);
}

/* --- at start -------------------------------------------------------------------------------------------------------
 */

static bool load_promise(struct agent *a)
{
    CLEANUP(freep) char *text = NULL;
    char path[512], boot_id[BOOT_ID_SIZE], written_in[BOOT_ID_SIZE];
    uint64_t until_us;
    int at = 0;

    if (!promise_path(path, sizeof(path)) || file_read(path, FILE_MAX, &text, NULL, NULL) < 0 ||
        boot_id_read(boot_id, sizeof(boot_id)) < 0)
        return false;
    if (sscanf(text, "%39s %" SCNu64 " %n", written_in, &until_us, &at) != 2 || at == 0 ||
        strcmp(written_in, boot_id) != 0)
        return false;
    a->memory.promised_until_us = until_us;
    if (until_us > a->dynamic->policy.ttl_us)
        a->failsafe_heard.at_us = until_us - a->dynamic->policy.ttl_us;
    text[at + (int)strcspn(text + at, "\n")] = '\0';
    (void)text_copy(a->memory.promised_to, sizeof(a->memory.promised_to), text + at);
    return true;
}

void promise_load(struct agent *a)
{
    CLEANUP(freep) char *text = NULL;
    char path[512];

    if (longest_path(a, path, sizeof(path)) && file_read(path, FILE_MAX, &text, NULL, NULL) >= 0) {
        text[strcspn(text, "\n")] = '\0';
        (void)text_to_u64(text, &a->longest_promise_us);
    }
    /* CLOCK_BOOTTIME begins with the host: a promise of an earlier boot has ended when it shows its length. */
    if (!load_promise(a))
        a->memory.promised_until_us = a->longest_promise_us;
    if (a->memory.promised_until_us > clock_now_us())
        log_info("failsafe mode: not leading for another %" PRIu64 " ms, as was promised%s%s",
                 (a->memory.promised_until_us - clock_now_us()) / 1000, a->memory.promised_to[0] ? " to " : "",
                 a->memory.promised_to);
}

/* --- before any can be given ----------------------------------------------------------------------------------------
 */

void promise_prepare(struct agent *a)
{
    uint64_t ttl_us = a->dynamic->policy.ttl_us;
    struct err err = {0};
    char path[512], text[32];

    if (!a->dynamic->policy.failsafe_mode || a->longest_promise_us >= ttl_us)
        return;
    (void)text_print(text, sizeof(text), "%" PRIu64 "\n", ttl_us);
    if (!longest_path(a, path, sizeof(path)) || file_write_atomic(path, text, strlen(text), 0600, &err) < 0)
        log_warning("failsafe mode: this node cannot promise anything, as it could not note for how long: %s", err.msg);
    else
        a->longest_promise_us = ttl_us;
}

/* --- giving one -----------------------------------------------------------------------------------------------------
 */

static int keep_promise(struct agent *a, const char *name, uint64_t until_us, struct err *err)
{
    char path[512], boot_id[BOOT_ID_SIZE], text[BOOT_ID_SIZE + MEMBER_NAME_SIZE + 32];
    int r = boot_id_read(boot_id, sizeof(boot_id));

    if (until_us < a->memory.promised_until_us)
        return 0; /* the longer one holds */
    if (r < 0 || !promise_path(path, sizeof(path)))
        return err_set(err, r < 0 ? r : -ENOENT, "no runtime directory, or no boot id");
    (void)text_print(text, sizeof(text), "%s %" PRIu64 " %s\n", boot_id, until_us, name);
    r = file_write_atomic(path, text, strlen(text), 0600, err);
    if (r < 0)
        return r;
    a->memory.promised_until_us = until_us;
    (void)text_copy(a->memory.promised_to, sizeof(a->memory.promised_to), name);
    return 0;
}

static uint64_t wanted_us(const json_t *question)
{
    json_int_t ms = json_integer_value(json_object_get(question, "promise_ms"));

    return ms > 0 && ms < INT32_MAX ? (uint64_t)ms * USEC_PER_MSEC : 0;
}

/* The reference compares the body with "Accepted" and reads the header; a member of ours said how long it wants. */
static void accept(struct agent *a, struct command *command, const json_t *question, uint64_t duration_us)
{
    struct command_answer answer = {.status = 200, .content_type = "text/html", .header = "lsn"};
    const struct pg_facts *f = &a->pg.facts;
    uint64_t lsn = a->pg.valid ? (f->receive_lsn > f->replay_lsn ? f->receive_lsn : f->replay_lsn) : 0;
    struct textbuf text = {0};

    (void)text_print(answer.header_value, sizeof(answer.header_value), "%" PRIu64, lsn);
    if (!lsn)
        answer.header = NULL;
    if (wanted_us(question)) {
        answer.content_type = "application/json";
        textbuf_printf(&text, "{\"promise_ms\":%" PRIu64 ",\"lsn\":%" PRIu64 "}", duration_us / USEC_PER_MSEC, lsn);
    } else {
        textbuf_puts(&text, "Accepted");
    }
    answer.body = textbuf_take(&text);
    command->answer(command, &answer);
}

/* Slots that do not move while the store is away hold back all WAL that is written meanwhile. */
static void hear_slots(struct agent *a, json_t *slots)
{
    const char *name;
    json_t *lsn;

    free(a->failsafe_heard.slots);
    a->failsafe_heard.slots = calloc(json_object_size(slots) + 1, sizeof(*a->failsafe_heard.slots));
    a->failsafe_heard.n_slots = 0;
    if (!a->failsafe_heard.slots)
        return;
    json_object_foreach(slots, name, lsn)
    {
        struct slot_position *p = &a->failsafe_heard.slots[a->failsafe_heard.n_slots];

        if (json_integer_value(lsn) > 0 && text_copy(p->name, sizeof(p->name), name)) {
            p->lsn = (uint64_t)json_integer_value(lsn);
            a->failsafe_heard.n_slots++;
        }
    }
}

static void note_leader(struct agent *a, const char *name, const json_t *question)
{
    uint64_t now_us = clock_now_us();

    if (!a->failsafe_heard.at_us || now_us - a->failsafe_heard.at_us >= a->dynamic->policy.ttl_us)
        log_info("failsafe mode: \"%s\" cannot reach the store and stays leader, as this node promises not to lead",
                 name);
    a->failsafe_heard.at_us = now_us;
    hear_slots(a, json_object_get(question, "slots"));
}

/* Decides, and makes sure that what is promised outlives this process. */
static struct failsafe_answer decide(struct agent *a, const char *name, uint64_t want_us)
{
    struct failsafe_answer answer;
    struct err err = {0};
    struct ha_view v;

    gather_view(a, &v);
    answer = ha_failsafe_answer(&v, name, want_us);
    if (answer.word != FAILSAFE_PROMISE)
        return answer;
    if (a->longest_promise_us < answer.duration_us)
        return (struct failsafe_answer){.word = FAILSAFE_NOT_NOW, .reason = "how long could not be noted on the disk"};
    if (keep_promise(a, name, answer.until_us, &err) >= 0)
        return answer;
    log_warning("failsafe mode: could not keep a promise across a restart: %s", err.msg);
    return (struct failsafe_answer){.word = FAILSAFE_NOT_NOW, .reason = "a promise would not outlive a restart"};
}

void promise_command(struct agent *a, struct command *command)
{
    json_auto_t *question = json_loads(command->body, 0, NULL);
    const char *name = json_string_value(json_object_get(question, "name"));
    struct failsafe_answer answer;

    if (!name || !*name || strlen(name) >= MEMBER_NAME_SIZE || strchr(name, '\n')) {
        command_answer_text(command, 400, "no member is named");
        return;
    }
    if (!a->begun) { /* it may lead, and may have promised, and does not know yet */
        command_answer_text(command, 503, "this agent has just been started");
        return;
    }
    answer = decide(a, name, wanted_us(question));
    switch (answer.word) {
    case FAILSAFE_PROMISE:
        note_leader(a, name, question);
        accept(a, command, question, answer.duration_us);
        break;
    case FAILSAFE_IS_LEADER:
        command_answer_text(command, 500, "Running as a leader");
        break;
    case FAILSAFE_IS_OFF:
        command_answer_text(command, 502, "%s", answer.reason);
        break;
    case FAILSAFE_NOT_NOW:
        log_info("failsafe mode: not promising \"%s\" anything: %s", name, answer.reason);
        command_answer_text(command, 503, "%s", answer.reason);
        break;
    }
}
