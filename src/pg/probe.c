#include "pg/probe.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "pg/link.h"
#include "pg/probe_facts.h"

/*
 * The server ends a query of its own accord after this long: when we have given up on it and closed the connection, it
 * does not know that before it wants to answer.
 */
#define PROBE_OPTIONS "-c statement_timeout=2000 -c search_path=pg_catalog"

struct pg_probe {
    struct pg_link *link;
    pg_probe_fn done;
    pg_probe_promoted_fn promoted;
    void *userdata;
    /* The newest timeline received under the running postmaster, for the time when no WAL receiver is there to ask. */
    uint32_t received_timeline;
    int64_t received_by_epoch_us; /* start of that postmaster */
};

int pg_probe_new(sd_event *loop, const struct pg_probe_settings *settings, struct pg_probe **ret, struct err *err)
{
    CLEANUP(pg_probe_freep) struct pg_probe *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return err_set(err, -ENOMEM, "out of memory");
    r = link_new(loop, settings, "pgtether heartbeat", PROBE_OPTIONS, &p->link, err);
    if (r < 0)
        return r;
    *ret = STEAL(p);
    return 0;
}

struct pg_probe *pg_probe_free(struct pg_probe *p)
{
    if (!p)
        return NULL;
    p->link = link_free(p->link);
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

static void remember_timeline(struct pg_probe *p, struct pg_facts *f)
{
    if (!f->in_recovery || p->received_by_epoch_us != f->postmaster_start_epoch_us)
        p->received_timeline = 0;
    p->received_by_epoch_us = f->postmaster_start_epoch_us;
    if (f->in_recovery && f->timeline < p->received_timeline)
        f->timeline = p->received_timeline;
    p->received_timeline = f->timeline;
}

static void on_answer(void *userdata, const struct link_answer *a)
{
    struct pg_probe *p = userdata;
    pg_probe_fn done = STEAL(p->done);
    struct pg_facts facts = {0};
    struct err err = {0};

    if (a->error) {
        done(p->userdata, outcome_of(a), NULL, a->err);
        return;
    }
    if (facts_read(a->result, a->n_results, &facts, &err) < 0) {
        done(p->userdata, PG_PROBE_REFUSED, NULL, &err);
        return;
    }
    facts.asked_at_us = a->asked_at_us;
    facts.server_version_num = a->server_version;
    remember_timeline(p, &facts);
    done(p->userdata, PG_PROBE_OK, &facts, &err); /* may free p */
    facts_done(&facts);
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
}
