/*
 * The client's path: a new connection to PostgreSQL, now and then. The kept connection of the probe is served by a
 * backend of its own and answers even when the postmaster is stopped or wedged and no client can get in any more.
 */
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"

enum { CHECK_EVERY_US = 5000000, CHECK_TIMEOUT_US = 3000000 };

static void on_connected(void *userdata, const struct pg_rows *rows, const struct err *err, const char *sqlstate)
{
    struct agent *a = userdata;

    (void)rows;
    /* A refusal that has an SQLSTATE (too many connections, wrong password) was said by a server that is alive. */
    if (!err || !err->code || (sqlstate && sqlstate[0])) {
        a->connect_failing_since_us = 0;
    } else if (!a->connect_failing_since_us) {
        a->connect_failing_since_us = clock_now_us();
        log_warning("PostgreSQL accepts no new connection: %s", err->msg);
    }
    a->connect_check = pg_command_free(a->connect_check);
}

void connect_check(struct agent *a)
{
    uint64_t now_us = clock_now_us();
    struct err err = {0};

    if (a->connect_check || !a->pg.valid || a->op.kind != OP_NONE || now_us - a->connect_checked_at_us < CHECK_EVERY_US)
        return;
    a->connect_checked_at_us = now_us;
    if (pg_command_start(a->loop, agent_pg_login(a), "SELECT 1", CHECK_TIMEOUT_US, on_connected, a, &a->connect_check,
                         &err) < 0)
        log_warning("could not try a new connection to PostgreSQL: %s", err.msg);
}

void connect_check_forget(struct agent *a)
{
    a->connect_check = pg_command_free(a->connect_check);
    a->connect_failing_since_us = 0;
}
