#include "agent/storage.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "io/child.h"

enum {
    EXIT_SAME_DISK = 3,       /* of pgtether-probe: the WAL is on the disk of the data */
    LOOK_AGAIN_US = 60000000, /* which may change while the server is down */
    LATE_US = 500000,         /* as agent_note_lateness(): we stood still, so silence is no evidence */
};

struct disk {
    struct storage *storage;
    bool wal;
    struct storage_track track;
    struct child *child;
    sd_event_source *start_timer;
    char complaint[STORAGE_ERROR_SIZE]; /* last logged reason why it cannot be probed */
};

struct storage {
    sd_event *loop;
    char program[PATH_MAX];
    const char *data_dir;
    struct storage_times times;
    void (*changed)(void *userdata);
    void *userdata;
    struct disk disks[2]; /* data, WAL */
    sd_event_source *expiry;
};

static const char *name_of(const struct disk *d)
{
    return d->wal ? "WAL" : "data";
}

/* --- what was found -------------------------------------------------------------------------------------------------
 */

static void log_state(const struct disk *d, enum storage_state before)
{
    const struct storage_track *t = &d->track;

    switch (t->state) {
    case STORAGE_UNKNOWN:
        break;
    case STORAGE_OK:
        if (before != STORAGE_UNKNOWN)
            log_info("the %s disk is well again", name_of(d));
        break;
    case STORAGE_SLOW:
        log_warning("the %s disk is slow: a write and a read of one block took %" PRIu64 " ms", name_of(d),
                    t->last.latency_us / USEC_PER_MSEC);
        break;
    case STORAGE_FULL:
        log_error("the %s disk is full: %s", name_of(d), t->error);
        break;
    case STORAGE_FAILED:
        log_error("the %s disk fails: %s", name_of(d), t->error);
        break;
    case STORAGE_EXPIRED:
        log_error("the %s disk has not answered for %" PRIu64 " s", name_of(d),
                  (t->since_us - t->answered_at_us) / USEC_PER_SEC);
        break;
    }
}

static void note(struct disk *d, enum storage_state before, bool changed)
{
    if (!changed)
        return;
    log_state(d, before);
    d->storage->changed(d->storage->userdata);
}

static void take_answer(struct disk *d, enum storage_outcome outcome, uint64_t latency_us, const char *text)
{
    struct storage_answer answer = {.outcome = outcome, .latency_us = latency_us};
    enum storage_state before = d->track.state;

    (void)text_copy(answer.error, sizeof(answer.error), text);
    note(d, before, storage_answer(&d->track, &answer, clock_now_us()));
}

static void complain(struct disk *d, const char *text)
{
    char cut[STORAGE_ERROR_SIZE];

    (void)text_copy(cut, sizeof(cut), text);
    if (strcmp(cut, d->complaint) == 0)
        return;
    memcpy(d->complaint, cut, sizeof(cut));
    log_warning("cannot probe the %s disk: %s", name_of(d), text);
}

static void on_line(void *userdata, const char *line)
{
    struct disk *d = userdata;
    const char *blank = strchr(line, ' '), *rest = blank ? blank + 1 : "";
    uint64_t latency_us;

    if (text_starts_with(line, "good ") && text_to_u64(rest, &latency_us)) {
        d->complaint[0] = '\0';
        take_answer(d, STORAGE_GOOD, latency_us, "");
    } else if (text_starts_with(line, "full ")) {
        take_answer(d, STORAGE_NO_SPACE, 0, rest);
    } else if (text_starts_with(line, "bad ")) {
        take_answer(d, STORAGE_BAD, 0, rest);
    } else if (text_starts_with(line, "absent ")) {
        take_answer(d, STORAGE_NOT_PROBED, 0, rest);
    } else if (text_starts_with(line, "impossible ")) {
        complain(d, rest);
        take_answer(d, STORAGE_NOT_PROBED, 0, rest);
    } else if (strcmp(line, "buffered") == 0) {
        log_info("the file system of the %s has no direct I/O: it is probed through the cache", name_of(d));
    } else {
        complain(d, line);
    }
}

/* --- silence --------------------------------------------------------------------------------------------------------
 */

static int on_expiry(sd_event_source *source, uint64_t planned_us, void *userdata);

static void plan_expiry(struct storage *s)
{
    uint64_t at_us = clock_now_us() + s->times.timeout_us;

    /* Answers move it all the time; that is found out when it is due. */
    for (size_t i = 0; i < ARRAY_LEN(s->disks); i++) {
        uint64_t expires_at_us = storage_expires_at_us(&s->disks[i].track, &s->times);

        if (expires_at_us < at_us)
            at_us = expires_at_us;
    }
    (void)loop_timer_at(s->loop, &s->expiry, at_us, on_expiry, s);
}

static int on_expiry(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct storage *s = userdata;
    uint64_t now_us = clock_now_us();

    (void)source;
    for (size_t i = 0; i < ARRAY_LEN(s->disks); i++) {
        struct disk *d = &s->disks[i];
        enum storage_state before = d->track.state;

        /* Answers may wait in the pipe. */
        if (now_us >= planned_us + LATE_US && d->track.answered_at_us && before != STORAGE_EXPIRED)
            storage_await(&d->track, now_us);
        note(d, before, storage_expire(&d->track, &s->times, now_us));
    }
    plan_expiry(s);
    return 0;
}

/* --- the children ---------------------------------------------------------------------------------------------------
 */

static int on_start(sd_event_source *source, uint64_t planned_us, void *userdata);

static void start_in(struct disk *d, uint64_t in_us)
{
    (void)loop_timer_at(d->storage->loop, &d->start_timer, clock_now_us() + in_us, on_start, d);
}

static void on_done(void *userdata, const struct child_result *r)
{
    struct disk *d = userdata;
    enum storage_state before = d->track.state;
    char text[128];

    d->child = child_free(d->child);
    if (r->exit_code == 0) {
        start_in(d, 0); /* it was told to, for another interval */
        return;
    }
    if (d->wal && r->exit_code == EXIT_SAME_DISK) {
        d->track = (struct storage_track){0};
        note(d, before, before != STORAGE_UNKNOWN);
        start_in(d, LOOK_AGAIN_US);
        return;
    }
    complain(d, r->start_error ? r->output : child_result_text(r, text, sizeof(text)));
    if (r->start_error == -EIO || r->signal == SIGBUS)
        take_answer(d, STORAGE_BAD, 0, "could not read the probe's program: Input/output error");
    else if (d->track.state != STORAGE_EXPIRED)
        storage_await(&d->track, clock_now_us());
    start_in(d, d->storage->times.interval_us);
}

static void start(struct disk *d)
{
    struct storage *s = d->storage;
    char interval[24];
    const char *const argv[] = {s->program, d->wal ? "wal" : "data", s->data_dir, interval, NULL};
    struct child_spec spec = {.argv = argv, .on_line = on_line};
    struct err err = {0};

    (void)text_print(interval, sizeof(interval), "%" PRIu64, s->times.interval_us);
    if (!d->track.answered_at_us)
        storage_await(&d->track, clock_now_us());
    if (child_start(s->loop, &spec, on_done, d, &d->child, &err) == 0)
        return;
    complain(d, err.msg);
    storage_await(&d->track, clock_now_us());
    start_in(d, s->times.interval_us);
}

static int on_start(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    (void)source;
    (void)planned_us;
    start(userdata);
    return 0;
}

/* --- the object -----------------------------------------------------------------------------------------------------
 */

static int find_program(struct storage *s, const char *given, struct err *err)
{
    static const char name[] = "pgtether-probe";
    char self[PATH_MAX];
    char *slash;
    ssize_t n;

    if (given && !text_copy(s->program, sizeof(s->program), given))
        return err_set(err, -ENAMETOOLONG, "the path of %s is too long", name);
    if (!given) {
        n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        if (n < 0)
            return err_sys(err, -errno, "could not find out where this program is");
        self[n] = '\0';
        slash = strrchr(self, '/');
        if (!slash || !text_print(s->program, sizeof(s->program), "%.*s/%s", (int)(slash - self), self, name))
            return err_set(err, -ENAMETOOLONG, "the path of %s is too long", name);
    }
    if (access(s->program, X_OK) < 0)
        return err_sys(err, -errno, "could not execute \"%s\"", s->program);
    return 0;
}

int storage_new(sd_event *loop, const struct storage_settings *settings, void (*changed)(void *userdata),
                void *userdata, struct storage **ret, struct err *err)
{
    CLEANUP(storage_freep) struct storage *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return err_set(err, -ENOMEM, "out of memory");
    s->loop = sd_event_ref(loop);
    s->data_dir = settings->data_dir;
    s->times = settings->times;
    s->changed = changed;
    s->userdata = userdata;
    r = find_program(s, settings->program, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_LEN(s->disks); i++) {
        s->disks[i].storage = s;
        s->disks[i].wal = i > 0;
        start(&s->disks[i]);
    }
    plan_expiry(s);
    *ret = STEAL(s);
    return 0;
}

void storage_set_times(struct storage *s, const struct storage_times *times)
{
    bool again;

    if (!s || (times->interval_us == s->times.interval_us && times->timeout_us == s->times.timeout_us))
        return;
    again = times->interval_us != s->times.interval_us;
    s->times = *times;
    for (size_t i = 0; again && i < ARRAY_LEN(s->disks); i++)
        if (s->disks[i].child)
            child_signal(s->disks[i].child, SIGTERM);
    plan_expiry(s);
}

const struct storage_track *storage_track_of(const struct storage *s, bool wal)
{
    return s && s->disks[wal].track.answered_at_us ? &s->disks[wal].track : NULL;
}

struct storage *storage_free(struct storage *s)
{
    if (!s)
        return NULL;
    s->expiry = loop_source_free(s->expiry);
    for (size_t i = 0; i < ARRAY_LEN(s->disks); i++) {
        struct disk *d = &s->disks[i];

        d->start_timer = loop_source_free(d->start_timer);
        if (d->child)
            child_signal(d->child, SIGTERM);
        d->child = child_detach(d->child);
    }
    s->loop = sd_event_unref(s->loop);
    free(s);
    return NULL;
}
