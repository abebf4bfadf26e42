/*
 * S8, S9: "the server of this directory was last seen as a standby, on timeline N", noted beside the data directory.
 *
 * Who starts a standby's directory as a primary by hand, without standby.signal, stays on the leader's timeline and
 * writes WAL of its own there. Nothing but the state in its control file tells it apart afterwards, and only for
 * whoever knows that nobody here made it a primary. The agent may be down meanwhile, so the note is durable.
 *
 * Our own promotion ends the note. It may outlive one that was cut short: a promotion raises the timeline, and the rule
 * (src/ha/taint.c) is about the timelines that a standby can have been on.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent/parts.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"

enum { MARK_MAX = 256 };

static bool beside(const struct agent *a, const char *what, char *buf, size_t size)
{
    return text_print(buf, size, "%s%s", a->config->postgresql.data_dir, what);
}

/* Not the path: another copy may be under it by now. An inode alone is soon used again. */
static bool identity_of_directory(const struct agent *a, char *buf, size_t size)
{
    struct statx st;
    char path[512];

    if (!beside(a, "/global", path, sizeof(path)) || statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &st) < 0)
        return false;
    return text_print(buf, size, "pgtether-standby 1\n%" PRIu64 " %" PRId64 ".%09" PRIu32 "\n", (uint64_t)st.stx_ino,
                      st.stx_mask & STATX_BTIME ? (int64_t)st.stx_btime.tv_sec : 0,
                      st.stx_mask & STATX_BTIME ? st.stx_btime.tv_nsec : 0);
}

uint32_t standby_mark_read(const struct agent *a)
{
    CLEANUP(freep) char *text = NULL;
    char path[512], whose[MARK_MAX];
    size_t len;

    if (!beside(a, ".pgtether-standby", path, sizeof(path)) || file_read(path, MARK_MAX, &text, NULL, NULL) < 0 ||
        !identity_of_directory(a, whose, sizeof(whose)))
        return 0;
    len = strlen(whose);
    if (strncmp(text, whose, len) != 0)
        return 0;
    /* A copy that somebody put there and that never ran: its control file speaks of the source. */
    if (!beside(a, "/backup_label", path, sizeof(path)) || access(path, F_OK) == 0)
        return 0;
    return (uint32_t)strtoul(text + len, NULL, 10);
}

static void set(struct agent *a, uint32_t timeline)
{
    char path[512], content[MARK_MAX + 16], whose[MARK_MAX];
    struct err err = {0};

    if (standby_mark_read(a) != timeline) {
        if (!beside(a, ".pgtether-standby", path, sizeof(path)) || !identity_of_directory(a, whose, sizeof(whose)) ||
            !text_print(content, sizeof(content), "%s%" PRIu32 "\n", whose, timeline))
            return;
        if (file_write_atomic(path, content, strlen(content), 0600, &err) < 0) {
            if (!a->standby_mark.failed)
                log_warning("could not note beside the data directory that this is a standby: %s", err.msg);
            a->standby_mark.failed = true;
            return;
        }
    }
    a->standby_mark.failed = false;
    a->standby_mark.timeline = timeline;
}

void standby_mark_clear(struct agent *a)
{
    char path[512];

    a->standby_mark.timeline = 0;
    if (beside(a, ".pgtether-standby", path, sizeof(path)))
        (void)unlink(path); /* waits for no disk: what comes back after a crash does no harm */
}

/*
 * A later timeline only of one that streams: without a WAL receiver the timeline is asked for on its own, and may be
 * the answer of a server that has left recovery meanwhile.
 */
void standby_mark_note(struct agent *a, const struct pg_facts *now)
{
    bool is_streaming = strcmp(now->replication_state, "streaming") == 0;

    if (now->in_recovery && now->timeline && now->timeline != a->standby_mark.timeline &&
        (is_streaming || !a->standby_mark.timeline))
        set(a, now->timeline);
    if (!now->in_recovery && a->lease.held && !a->standby_mark.is_primary)
        standby_mark_clear(a);
    a->standby_mark.is_primary = !now->in_recovery && a->lease.held;
}

/* Once: the decision says the rest. Whoever was caught in the act has been counted already. */
void standby_mark_report(struct agent *a, const struct ha_view *v)
{
    bool is_tainted = ha_is_tainted(v);

    if (is_tainted && !a->standby_mark.is_tainted) {
        if (!a->impostors.n[IMPOSTOR_SERVER])
            impostor_found(a, IMPOSTOR_SERVER,
                           "somebody else has run PostgreSQL in our data directory as a primary, on timeline %u",
                           v->pg.control_timeline);
        log_error("HINT: It has WAL of its own that nothing tells from the leader's, so it is not started. If it was "
                  "no primary, or is to be the cluster's, remove \"%s.pgtether-standby\"; else let it make a new copy "
                  "of the data (pgtetherctl reinit)",
                  a->config->postgresql.data_dir);
    }
    a->standby_mark.is_tainted = is_tainted;
}
