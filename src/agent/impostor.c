/*
 * Things that only somebody else can have done to our PostgreSQL or in our name: each is said in the log, counted, and
 * shown as a note on the node for an hour. What is done about it the decision core says; it needs no suspicion for
 * that, for a primary without a lease is stopped whoever made it one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"

enum { LOOK_SOON_US = 50000, LOOK_TIMES = 100 };
#define SHOWN_US (3600 * USEC_PER_SEC)
#define SAID_AGAIN_US (60 * USEC_PER_SEC)

void impostor_found(struct agent *a, enum impostor what, const char *fmt, ...)
{
    char note[sizeof(a->impostors.note)];
    uint64_t now_us = clock_now_us();
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(note, sizeof(note), fmt, ap);
    va_end(ap);
    if (what != IMPOSTOR_PROMOTED && strcmp(note, a->impostors.note) == 0 &&
        now_us - a->impostors.at_us < SAID_AGAIN_US)
        return; /* it lasts, and is one */
    (void)text_copy(a->impostors.note, sizeof(a->impostors.note), note);
    a->impostors.at_us = now_us;
    a->impostors.n[what]++;
    log_error("%s", note);
}

const char *impostor_note(const struct agent *a)
{
    return a->impostors.at_us && clock_now_us() - a->impostors.at_us < SHOWN_US ? a->impostors.note : "";
}

/* --- a standby that somebody promotes ------------------------------------------------------------------------------
 */

void impostor_note_facts(struct agent *a, const struct pg_facts *now)
{
    bool was_standby = a->pg.valid && a->pg.facts.in_recovery;

    /* In pause that is an operator's right, and the decision core sees to the lease. */
    if (a->dynamic->policy.pause)
        return;
    if (was_standby && !now->in_recovery && a->op.kind != OP_PROMOTE && !a->lease.held &&
        keeper_link_last(a->link)->state == KEEPER_DISARMED)
        impostor_found(a, IMPOSTOR_PROMOTED,
                       "PostgreSQL was promoted to timeline %u by somebody else, without the leader key: stopping it",
                       now->timeline);
}

static int on_look(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    gather_pg(a);
    if (--a->impostors.looks)
        (void)loop_timer_at(a->loop, &a->impostors.timer, clock_now_us() + LOOK_SOON_US, on_look, a);
    return 0;
}

/* pg_promote() and pg_ctl promote leave a file "promote" for the postmaster (PostgreSQL, xlog.h). */
static int on_file(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    if (event->len == 0 || strcmp(event->name, "promote") != 0 || a->op.kind == OP_PROMOTE)
        return 0;
    a->impostors.looks = LOOK_TIMES;
    (void)loop_timer_at(a->loop, &a->impostors.timer, clock_now_us() + LOOK_SOON_US, on_look, a);
    gather_pg(a);
    return 0;
}

/* Without it the next look finds out, some seconds later. */
void impostor_watch(struct agent *a)
{
    int r;

    a->impostors.watch = loop_source_free(a->impostors.watch);
    r = sd_event_add_inotify(a->loop, &a->impostors.watch, a->config->postgresql.data_dir, IN_CREATE | IN_MOVED_TO,
                             on_file, a);
    if (r < 0)
        log_debug("could not watch the data directory: %s", strerror(-r));
}

/* A leader stays one; whose cluster the store is for, only people can say. */
void impostor_check_cluster(struct agent *a)
{
    const struct text_key *key = &a->cluster->initialize;
    uint64_t stored;

    if (!agent_is_primary(a) || !key->exists || !cluster_sysid_is_valid(key->text) || a->bootstrap_incomplete ||
        !text_to_u64(key->text, &stored) || stored == a->pg.facts.system_identifier)
        return;
    impostor_found(a, IMPOSTOR_CLUSTER,
                   "the initialize key in the store is another cluster's, with system identifier %s: is there a second "
                   "cluster of scope \"%s\"?",
                   key->text, a->config->scope);
}

void impostor_done(struct agent *a)
{
    a->impostors.watch = loop_source_free(a->impostors.watch);
    a->impostors.timer = loop_source_free(a->impostors.timer);
}

/* --- a server that somebody else starts -----------------------------------------------------------------------------
 */

void impostor_look_for_server(struct agent *a)
{
    struct err err = {0};
    int r;

    a->foreign_server = false;
    if (a->dynamic->policy.pause || a->op.kind != OP_NONE || pg_server_pid(a->server))
        return;
    r = pg_server_look(a->server, &err);
    if (r == 0)
        return;
    if (r > 0) {
        a->foreign_server = true;
        impostor_found(a, IMPOSTOR_SERVER,
                       "somebody else has started PostgreSQL in our data directory (process %d): stopping it", r);
    } else if (r == -EBUSY) {
        impostor_found(a, IMPOSTOR_SERVER, "%.*s", (int)strcspn(err.msg, "\n"), err.msg);
    }
}
