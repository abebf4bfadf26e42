/*
 * What a member that claims to lead says about itself: whether it is a primary, its timeline and the history of that,
 * how far its control file is. Asked over two connections: one with the rewind (or superuser) credentials, one for
 * replication. Nothing here waits.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "config/config.h"
#include "model/cluster.h"
#include "pg/files.h"
#include "pg/probe.h"

struct pg_leader_facts {
    bool in_recovery; /* then nothing below is filled */
    uint64_t sysid;
    uint32_t timeline;
    uint32_t control_timeline; /* of its latest checkpoint: behind `timeline` shortly after a promotion */
    const struct history_line *history;
    size_t n_history;
};

/* outcome 0, or -errno with err when one of the questions was not answered. facts: borrowed until it returns. */
typedef void (*pg_leader_fn)(void *userdata, int outcome, const struct pg_leader_facts *facts, const struct err *err);

struct pg_leader;
int pg_leader_ask(sd_event *loop, const struct config *config, const struct pg_upstream *upstream, uint64_t timeout_us,
                  pg_leader_fn done, void *userdata, struct pg_leader **ret, struct err *err);
struct pg_leader *pg_leader_free(struct pg_leader *l); /* cancels; NULL is fine */

/*
 * One SQL command on the leader with the rewind (or superuser) credentials; otherwise as pg_command_start(), with which
 * the callback and pg_command_free() are shared.
 */
int pg_leader_command_start(sd_event *loop, const struct config *config, const struct pg_upstream *leader,
                            const char *sql, uint64_t timeout_us, pg_command_fn done, void *userdata,
                            struct pg_command **ret, struct err *err);

/* TLS settings and the like of credentials for a link. */
struct pg_link;
int pg_leader_set_credentials(struct pg_link *link, const struct credentials *who, struct err *err);
