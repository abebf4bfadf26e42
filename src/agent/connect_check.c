/*
 * The client's path: a new connection to PostgreSQL, now and then. The kept connection of the probe is served by a
 * backend of its own and answers even when the postmaster is stopped or wedged and no client can get in any more.
 */
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"

enum { CHECK_EVERY_US = 5000000, CHECK_TIMEOUT_US = 3000000 };

static void judge(struct agent *a, const struct err *err)
{
    if (!err->code) {
        a->connect_failing_since_us = 0;
    } else if (!a->connect_failing_since_us) {
        a->connect_failing_since_us = clock_now_us();
        log_warning("PostgreSQL takes no new connection: %s", err->msg);
    }
}

static void on_answered(void *userdata, const struct err *err)
{
    struct agent *a = userdata;

    judge(a, err);
    a->ping = pg_ping_free(a->ping);
}

void connect_check(struct agent *a)
{
    const struct pg_probe_settings *login = agent_pg_login(a);
    uint64_t now_us = clock_now_us();
    struct err err = {0};

    if (a->ping || !a->pg.valid || a->op.kind != OP_NONE || now_us - a->pinged_at_us < CHECK_EVERY_US)
        return;
    a->pinged_at_us = now_us;
    if (pg_ping_start(a->loop, login->host, login->port, CHECK_TIMEOUT_US, on_answered, a, &a->ping, &err) < 0)
        judge(a, &err);
}

void connect_check_forget(struct agent *a)
{
    a->ping = pg_ping_free(a->ping);
    a->connect_failing_since_us = 0;
}
