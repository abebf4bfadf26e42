/*
 * What has to outlive a reset of the host, in the state directory: "armed" is written before the keeper is asked to
 * arm, by a child, because the disk may hang; and what is found at the first start after a reset becomes the fence
 * report.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "agent/parts.h"
#include "base/bootid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "io/file.h"

enum { RECORD_WAIT_US = 1000000, RECORD_MAX = 64 * 1024 };

static bool state_path(const char *name, char *dst, size_t size)
{
    const char *dir = getenv("PGTETHER_STATE_DIR");

    return dir && *dir && text_print(dst, size, "%s/%s", dir, name);
}

/* --- "armed" --------------------------------------------------------------------------------------------------------
 */

static void print_record(const struct agent *a, bool is_armed, char *dst, size_t size)
{
    char boot_id[BOOT_ID_SIZE];

    (void)boot_id_read(boot_id, sizeof(boot_id));
    (void)text_print(dst, size,
                     "pgtether-armed 1\nstate=%s\nboot_id=%s\nmember=%s\nlease=%016" PRIx64 "\nttl_s=%" PRIu64
                     "\nat_s=%" PRId64 "\n",
                     is_armed ? "armed" : "ended", boot_id, a->config->name, a->lease.session,
                     a->dynamic->policy.ttl_us / USEC_PER_SEC, (int64_t)time(NULL));
}

/* Only file calls and the end: nothing of the agent's is touched, and none of its descriptors kept. */
__attribute__((noreturn)) static void write_in_child(const char *path, const char *text)
{
    (void)syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
    _exit(file_write_atomic(path, text, strlen(text), 0644, NULL) < 0);
}

static int on_written(sd_event_source *source, const siginfo_t *info, void *userdata);

static void start_writing(struct agent *a)
{
    struct fence_record *r = &a->record;
    char path[512], text[512];
    pid_t pid;

    r->writing = r->wanted;
    r->wanted_session = a->lease.session;
    if (!state_path("armed", path, sizeof(path)))
        return;
    print_record(a, r->wanted == RECORD_ARMED, text, sizeof(text));
    pid = r->pid = fork();
    if (pid == 0)
        write_in_child(path, text);
    if (pid < 0 || sd_event_add_child(a->loop, &r->child, pid, WEXITED, on_written, a) < 0) {
        log_warning("could not start the child that records the lease");
        r->writing = RECORD_NOTHING;
    }
}

static void go_on(struct agent *a)
{
    void (*then)(struct agent * a) = a->record.then;

    a->record.then = NULL;
    a->record.timer = loop_source_free(a->record.timer);
    if (then)
        then(a);
}

static int on_written(sd_event_source *source, const siginfo_t *info, void *userdata)
{
    struct agent *a = userdata;
    struct fence_record *r = &a->record;

    (void)source;
    r->child = loop_source_free(r->child);
    if (info->si_code != CLD_EXITED || info->si_status != 0)
        log_warning("could not record the lease in the state directory: a reset of this host would leave no report");
    else
        r->written = r->writing;
    r->writing = RECORD_NOTHING;
    if (r->wanted != r->written && info->si_code == CLD_EXITED && info->si_status == 0)
        start_writing(a);
    else
        go_on(a);
    return 0;
}

static int on_record_late(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    (void)source;
    (void)planned_us;
    log_warning("the record of the lease is not on the disk yet: arming without it");
    go_on(userdata);
    return 0;
}

void fence_record_arm(struct agent *a, void (*then)(struct agent *a))
{
    struct fence_record *r = &a->record;

    if (r->wanted == RECORD_ARMED && r->written == RECORD_ARMED && r->wanted_session == a->lease.session) {
        then(a);
        return;
    }
    if (r->wanted_session != a->lease.session)
        r->written = RECORD_NOTHING;
    r->wanted = RECORD_ARMED;
    if (!r->child)
        start_writing(a);
    if (!r->child) {
        then(a); /* there is nowhere to write to */
        return;
    }
    /* A report is not worth a failover that hangs on a disk. */
    r->then = then;
    (void)loop_timer_at(a->loop, &r->timer, clock_now_us() + RECORD_WAIT_US, on_record_late, a);
}

void fence_record_end(struct agent *a)
{
    struct fence_record *r = &a->record;

    if (r->wanted != RECORD_ARMED)
        return;
    r->wanted = RECORD_ENDED;
    r->then = NULL;
    if (!r->child)
        start_writing(a);
}

/* --- the report -----------------------------------------------------------------------------------------------------
 */

static char *read_state(const char *name)
{
    char path[512], *text = NULL;

    if (state_path(name, path, sizeof(path)))
        (void)file_read(path, RECORD_MAX, &text, NULL, NULL);
    return text;
}

static void write_state(const char *name, const char *text)
{
    struct err err = {0};
    char path[512];

    if (text && state_path(name, path, sizeof(path)) && file_write_atomic(path, text, strlen(text), 0644, &err) < 0)
        log_warning("%s", err.msg);
}

static void begin_guard(struct agent *a)
{
    write_state(FENCE_GUARD_FILE, "This host was reset three times within an hour; see fence-report.json.\n"
                                  "pgtetherctl clear-fence-guard, or removing this file, lets it lead again.\n");
    fence_record_look_for_guard(a);
    a->fence_guard = true; /* also if it could not be written */
    log_error("this host was reset %d times within an hour: it stays out of elections\n"
              "HINT: Find out why (fence-report.json), then run pgtetherctl clear-fence-guard on this node.",
              FENCE_GUARD_RESETS);
}

void fence_record_look_back(struct agent *a, const struct keeper_answer *answer)
{
    CLEANUP(freep) char *armed = read_state("armed"), *rung = read_state("last-rung");
    CLEANUP(freep) char *past = read_state("fence-report.json"), *json = NULL;
    struct fence_evidence evidence = {.armed = armed, .rung = rung, .driver_says_reset = answer->watchdog_reset_last};
    char boot_id[BOOT_ID_SIZE], text[512];
    struct fence_report report;

    (void)boot_id_read(boot_id, sizeof(boot_id));
    evidence.boot_id = boot_id;
    fence_history_parse(past, &a->fence_history);
    fence_record_look_for_guard(a);
    /* What an earlier agent has armed is ended by us, when it ends. */
    if (armed && strstr(armed, "\nstate=armed\n"))
        a->record.wanted = a->record.written = RECORD_ARMED;
    a->record.wanted_session = a->lease.session;
    if (fence_report_make(&evidence, &report)) {
        fence_history_add(&a->fence_history, &report);
        json = fence_history_print(&a->fence_history);
        write_state("fence-report.json", json);
        fence_report_text(&report, text, sizeof(text));
        log_warning("fence report: %s", text);
        if (fence_history_is_loop(&a->fence_history))
            begin_guard(a);
    }
    if (answer->state == KEEPER_DISARMED)
        fence_record_end(a);
}

/* A guarded node is of no use to an election: to others it looks as if its operator had said so. */
static void make_guard_tags(struct agent *a)
{
    json_t *tags = json_loads(a->config->tags_json, 0, NULL);

    if (!json_is_object(tags)) {
        json_decref(tags);
        tags = json_object();
    }
    (void)json_object_set_new(tags, "nofailover", json_true());
    (void)json_object_del(tags, "failover_priority");
    a->guard_tags_json = json_dumps(tags, JSON_PRESERVE_ORDER);
    json_decref(tags);
}

void fence_record_look_for_guard(struct agent *a)
{
    char path[512];

    a->fence_guard = state_path(FENCE_GUARD_FILE, path, sizeof(path)) && access(path, F_OK) == 0;
    if (a->fence_guard && !a->guard_tags_json)
        make_guard_tags(a);
}

void fence_tags_changed(struct agent *a)
{
    freep(&a->guard_tags_json);
    a->guard_tags_json = NULL;
    if (a->fence_guard)
        make_guard_tags(a);
}

/* Whoever ends in order must not look like a reset after the next boot: an orphan of ours would be killed. */
void fence_record_finish(struct agent *a)
{
    uint64_t until_us = clock_now_us() + RECORD_WAIT_US;

    while (a->record.child && waitpid(a->record.pid, NULL, WNOHANG) == 0 && clock_now_us() < until_us)
        (void)poll(NULL, 0, 5);
    fence_record_done(a);
}

const char *fence_tags_json(const struct agent *a)
{
    return a->fence_guard && a->guard_tags_json ? a->guard_tags_json : a->config->tags_json;
}

void fence_record_done(struct agent *a)
{
    freep(&a->guard_tags_json);
    a->guard_tags_json = NULL;
    a->record.child = loop_source_free(a->record.child);
    a->record.timer = loop_source_free(a->record.timer);
}
