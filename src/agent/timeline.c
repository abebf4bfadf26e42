/*
 * Which number the next timeline gets. PostgreSQL takes the next one it has no history file of, so two standbys that
 * are promoted one after the other, the second without having heard of the first, would take the same one. Nothing
 * tells their WAL apart then: pg_rewind sees equal timelines and does nothing, and a server that was promoted for a
 * moment would follow its successor with other data in its files.
 *
 * So a number is reserved in the store, key "timeline", before a promotion. Where somebody reserved one before us, a
 * history file of that number makes PostgreSQL take the next one. The file says of no timeline that it leads to that
 * number (it ends timeline 1 at its first byte), so that no standby ever follows it. It is written once our own number
 * is in the store: a promotion that an agent which has died since had ordered may take any number that has no file.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"

enum { SKIP_MAX = 64, SQL_TIMEOUT_US = 5000000 };

static uint64_t store_deadline_us(const struct agent *a)
{
    return clock_now_us() + a->dynamic->policy.retry_timeout_us;
}

/* What the store once said stays true when it has lost it. */
void timeline_note(struct agent *a)
{
    if (a->cluster->timeline.timeline > a->timeline.seen)
        a->timeline.seen = a->cluster->timeline.timeline;
}

/* The highest number that was ever reserved, as far as it is known and can be believed; 0 = none. */
static uint32_t taken(const struct agent *a)
{
    uint32_t seen = a->timeline.seen;

    if (seen <= a->pg.facts.timeline)
        return 0;
    if (seen - a->pg.facts.timeline > SKIP_MAX) {
        log_warning("the timeline key in the store says %" PRIu32 ", far beyond our timeline %" PRIu32 ": not believed",
                    seen, a->pg.facts.timeline);
        return 0;
    }
    return seen;
}

static void write_number(struct agent *a, uint32_t timeline, dcs_done_fn done)
{
    const struct timeline_key *key = &a->cluster->timeline;
    char text[16];

    (void)text_print(text, sizeof(text), "%" PRIu32, timeline);
    a->timeline.busy = true;
    a->timeline.asked = timeline;
    a->timeline.asked_session = a->lease.session;
    /* By its revision: a late order of a former leader must not take a number back. */
    a->dcs->ops->put(a->dcs, "timeline", text, key->revision ? DCS_REVISION : DCS_ABSENT, key->revision,
                     store_deadline_us(a), done, a);
}

static void finish(struct agent *a, bool reserved)
{
    void (*done)(struct agent * a, bool reserved) = a->op.on_reserved;

    a->op.on_reserved = NULL;
    if (done)
        done(a, reserved && a->timeline.session == a->lease.session);
}

static void on_skipped(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct agent *a = userdata;

    (void)rows;
    (void)sqlstate;
    a->op.command = pg_command_free(a->op.command);
    if (err && err->code)
        log_warning("could not keep PostgreSQL from using a timeline that another leader has used: %s", err->msg);
    finish(a, true);
}

#define SKIP_LINE "1\t0/1\treserved by another leader\n"

static bool history_path(const struct agent *a, uint32_t timeline, char *buf, size_t size)
{
    return text_print(buf, size, "%s/pg_wal/%08" PRIX32 ".history", a->config->postgresql.data_dir, timeline);
}

/* It is one of ours: not the history of a timeline that somebody was on. */
static bool is_skip_file(const char *path)
{
    CLEANUP(freep) char *text = NULL;

    return file_read(path, 4096, &text, NULL, NULL) >= 0 && strcmp(text, SKIP_LINE) == 0;
}

/*
 * By SQL: COPY TO a file works in recovery. Never over a file that is there: what SQL said of our timeline may be a
 * second old, and the number may be that of our own past by now; PostgreSQL skips it for a real file just as well.
 */
static void print_skip(struct agent *a, uint32_t from, uint32_t to, struct textbuf *sql)
{
    char path[512];

    a->timeline.skipped_from = from;
    a->timeline.skipped_to = to;
    for (uint32_t timeline = from; timeline <= to; timeline++) {
        if (!history_path(a, timeline, path, sizeof(path)) || access(path, F_OK) == 0)
            continue;
        textbuf_puts(sql, "COPY (SELECT 1, '0/1', 'reserved by another leader') TO '");
        for (const char *c = path; *c; c++)
            textbuf_append(sql, *c == '\'' ? "''" : c, *c == '\'' ? 2 : 1);
        textbuf_puts(sql, "';");
    }
}

/*
 * A promotion that skipped numbers has come to nothing: whoever follows a timeline of such a number needs its real
 * history, which PostgreSQL does not fetch while there is a file. Those below a timeline that was begun stay: others
 * fetch them from here.
 */
static void take_back(const struct agent *a, uint32_t from, uint32_t to)
{
    char path[512];

    for (uint32_t timeline = to; timeline >= from; timeline--) {
        if (!history_path(a, timeline, path, sizeof(path)) || access(path, F_OK) < 0)
            continue;
        if (!is_skip_file(path))
            return;
        log_info("taking back that timeline %" PRIu32 " was to be skipped", timeline);
        (void)unlink(path);
    }
}

void timeline_promotion_ended(struct agent *a)
{
    if (a->timeline.skipped_to && !agent_is_primary(a))
        take_back(a, a->timeline.skipped_from, a->timeline.skipped_to + 1);
    a->timeline.skipped_to = 0;
}

/* An earlier agent may have ended in the middle of a promotion. */
void timeline_before_standby(struct agent *a)
{
    if (a->control.control_known && a->control.control_timeline)
        take_back(a, a->control.control_timeline + 1, a->control.control_timeline + SKIP_MAX);
}

/* With our own number reserved: PostgreSQL is to take it, and none below. */
static void skip(struct agent *a)
{
    uint32_t last = a->timeline.reserved - 1;
    struct textbuf sql = {0};
    struct err err = {0};

    if (last <= a->pg.facts.timeline) {
        finish(a, true);
        return;
    }
    log_info("timelines up to %" PRIu32 " were used by earlier leaders: skipping them", last);
    print_skip(a, a->pg.facts.timeline + 1, last, &sql);
    if (!sql.failed && !sql.len) { /* all are there already */
        finish(a, true);
    } else if (sql.failed || pg_command_start(a->loop, agent_pg_login(a), sql.data, SQL_TIMEOUT_US, on_skipped, a,
                                              &a->op.command, &err) < 0) {
        log_warning("could not keep PostgreSQL from using a timeline that another leader has used: %s", err.msg);
        finish(a, true);
    }
    textbuf_done(&sql);
}

static void on_reserved(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    a->timeline.busy = false;
    if (answer->outcome == DCS_DONE) {
        a->timeline.reserved = a->timeline.asked;
        a->timeline.session = a->timeline.asked_session;
    } else {
        log_info("could not reserve timeline %" PRIu32 ": %s", a->timeline.asked, answer->err.msg);
    }
    if (!a->op.on_reserved) /* of an operation that has ended */
        return;
    if (answer->outcome == DCS_DONE)
        skip(a);
    else
        finish(a, false);
}

void timeline_reserve(struct agent *a, void (*done)(struct agent *a, bool reserved))
{
    uint32_t last, ours = a->pg.facts.timeline;

    a->op.on_reserved = done;
    if (a->timeline.busy) /* of an operation that has ended; its answer will do */
        return;
    if (!a->cluster) {
        finish(a, false);
    } else if (a->timeline.session == a->lease.session && a->timeline.reserved > ours) {
        skip(a);
    } else {
        last = taken(a);
        write_number(a, (last > ours ? last : ours) + 1, on_reserved);
    }
}

static void on_published(void *userdata, struct dcs_answer *answer)
{
    struct agent *a = userdata;

    a->timeline.busy = false;
    if (answer->outcome != DCS_DONE)
        log_debug("could not write the timeline key: %s", answer->err.msg);
}

/* What a bootstrap, a predecessor of another program, or PostgreSQL by itself has made of it. */
void timeline_publish(struct agent *a)
{
    bool is_ours = a->timeline.session == a->lease.session && a->timeline.reserved >= a->pg.facts.timeline;

    if (!is_ours && !a->timeline.busy && a->cluster && !a->store_failed &&
        a->cluster->timeline.timeline < a->pg.facts.timeline)
        write_number(a, a->pg.facts.timeline, on_published);
}
