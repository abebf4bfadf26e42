#include "pg/probe.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "pg/leader.h"
#include "pg/link.h"
#include "pg/probe_facts.h"

/*
 * The server ends a query of its own accord after this long: when we have given up on it and closed the connection, it
 * does not know that before it wants to answer.
 */
#define PROBE_OPTIONS "-c statement_timeout=2000 -c search_path=pg_catalog"

/* For the question that follows the others, so that it cannot use up the time of the whole probe. */
enum { TIMELINE_TIMEOUT_US = 1000000 };

struct pg_probe {
    sd_event *loop;
    struct pg_link *link;
    struct pg_link *replication; /* NULL: nobody may be asked */
    pg_probe_fn done;
    pg_probe_promoted_fn promoted;
    void *userdata;
    struct pg_facts facts; /* what was answered, while the timeline is being asked for */
    /* The newest timeline received under the running postmaster, for the time when no WAL receiver is there to ask. */
    uint32_t received_timeline;
    bool replayed_all;            /* under it, at some time */
    int64_t received_by_epoch_us; /* start of that postmaster */
};

int pg_probe_new(sd_event *loop, const struct pg_probe_settings *settings, struct pg_probe **ret, struct err *err)
{
    CLEANUP(pg_probe_freep) struct pg_probe *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return err_set(err, -ENOMEM, "out of memory");
    p->loop = loop;
    r = link_new(loop, settings, "pgtether heartbeat", PROBE_OPTIONS, &p->link, err);
    if (r < 0)
        return r;
    *ret = STEAL(p);
    return 0;
}

int pg_probe_set_replication(struct pg_probe *p, const struct pg_probe_settings *settings,
                             const struct credentials *tls, struct err *err)
{
    CLEANUP(link_freep) struct pg_link *link = NULL;
    int r = link_new(p->loop, settings, "pgtether timeline", NULL, &link, err);

    if (r >= 0)
        r = pg_leader_set_credentials(link, tls, err);
    if (r >= 0)
        r = link_set_keyword(link, "replication", "true", err);
    if (r < 0)
        return r;
    p->replication = STEAL(link);
    return 0;
}

struct pg_probe *pg_probe_free(struct pg_probe *p)
{
    if (!p)
        return NULL;
    p->link = link_free(p->link);
    p->replication = link_free(p->replication);
    facts_done(&p->facts);
    free(p);
    return NULL;
}

static enum pg_probe_outcome outcome_of(const struct link_answer *a)
{
    if (a->error == -ETIMEDOUT || text_equal(a->sqlstate, "57014")) /* query_canceled: the statement timeout */
        return PG_PROBE_TIMEOUT;
    /* cannot_connect_now, and the last words of a server that shuts down or recovers from a crash */
    if (text_equal(a->sqlstate, "57P01") || text_equal(a->sqlstate, "57P02") || text_equal(a->sqlstate, "57P03"))
        return PG_PROBE_STARTING;
    return PG_PROBE_REFUSED;
}

static void remember(struct pg_probe *p, struct pg_facts *f)
{
    if (!f->in_recovery || p->received_by_epoch_us != f->postmaster_start_epoch_us) {
        p->received_timeline = 0;
        p->replayed_all = false;
    }
    p->replayed_all = f->replayed_all = f->replayed_all || p->replayed_all;
    p->received_by_epoch_us = f->postmaster_start_epoch_us;
    if (f->in_recovery && f->timeline < p->received_timeline)
        f->timeline = p->received_timeline;
    p->received_timeline = f->timeline;
}

static void answer(struct pg_probe *p)
{
    pg_probe_fn done = STEAL(p->done);
    struct pg_facts facts = p->facts;
    struct err err = {0};

    p->facts = (struct pg_facts){0};
    done(p->userdata, PG_PROBE_OK, &facts, &err); /* may free p */
    facts_done(&facts);
}

/* The position belongs to a timeline that is not known: it must not be compared with anybody's. */
static void doubt_timeline(struct pg_facts *f, const char *why)
{
    f->replayed_all = false;
    (void)text_print(f->timeline_doubt, sizeof(f->timeline_doubt), "%s", why);
}

static void refuse(struct pg_probe *p, enum pg_probe_outcome outcome, const struct err *err)
{
    pg_probe_fn done = STEAL(p->done);

    facts_done(&p->facts);
    done(p->userdata, outcome, NULL, err); /* may free p */
}

static void on_timeline(void *userdata, const struct link_answer *a)
{
    struct pg_probe *p = userdata;
    uint32_t timeline = 0;

    if (a->error == -ECONNABORTED) { /* by pg_probe_disconnect() */
        refuse(p, PG_PROBE_REFUSED, a->err);
        return;
    }
    if (a->error)
        doubt_timeline(&p->facts, a->err->msg);
    else if (a->n_results != 1 || PQntuples(a->result[0]) != 1 || PQnfields(a->result[0]) < 2 ||
             !text_to_u32(PQgetvalue(a->result[0], 0, 1), &timeline))
        doubt_timeline(&p->facts, "unrecognized answer to IDENTIFY_SYSTEM");
    else if (timeline > p->facts.timeline)
        p->facts.timeline = p->received_timeline = timeline;
    /* Kept, its walsender would take a place from standbys for nothing. */
    link_disconnect(p->replication);
    answer(p);
}

/* False: nobody needs to be asked, or nobody can be. */
static bool ask_timeline(struct pg_probe *p)
{
    struct pg_facts *f = &p->facts;
    struct err err = {0};

    if (!f->in_recovery || f->has_receiver || !f->replayed_all || !p->replication)
        return false;
    if (link_run(p->replication, "IDENTIFY_SYSTEM", TIMELINE_TIMEOUT_US, on_timeline, p, &err) >= 0)
        return true;
    doubt_timeline(f, err.msg);
    return false;
}

static void on_answer(void *userdata, const struct link_answer *a)
{
    struct pg_probe *p = userdata;
    struct err err = {0};

    if (a->error) {
        refuse(p, outcome_of(a), a->err);
        return;
    }
    if (facts_read(a->result, a->n_results, &p->facts, &err) < 0) {
        refuse(p, PG_PROBE_REFUSED, &err);
        return;
    }
    p->facts.asked_at_us = a->asked_at_us;
    p->facts.server_version_num = a->server_version;
    remember(p, &p->facts);
    if (!ask_timeline(p))
        answer(p);
}

int pg_probe_start(struct pg_probe *p, uint64_t timeout_us, pg_probe_fn done, void *userdata, struct err *err)
{
    int r;

    if (p->done || p->promoted)
        return err_set(err, -EBUSY, "a probe is under way");
    r = link_run(p->link, probe_sql, timeout_us, on_answer, p, err);
    if (r < 0)
        return r;
    p->done = done;
    p->userdata = userdata;
    return 0;
}

static void on_promoted(void *userdata, const struct link_answer *a)
{
    struct pg_probe *p = userdata;
    pg_probe_promoted_fn promoted = STEAL(p->promoted);
    struct err err = {0};

    if (a->error)
        err = *a->err;
    promoted(p->userdata, &err); /* may free p */
}

int pg_probe_promote(struct pg_probe *p, uint64_t timeout_us, pg_probe_promoted_fn done, void *userdata,
                     struct err *err)
{
    int r;

    if (p->done || p->promoted)
        return err_set(err, -EBUSY, "a probe is under way");
    r = link_run(p->link, "SELECT pg_catalog.pg_promote(false)", timeout_us, on_promoted, p, err);
    if (r < 0)
        return r;
    p->promoted = done;
    p->userdata = userdata;
    return 0;
}

void pg_probe_disconnect(struct pg_probe *p)
{
    link_disconnect(p->link);
    if (p->replication)
        link_disconnect(p->replication);
}
