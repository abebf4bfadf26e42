/* The parts of the decision core, each a file of its own; only src/ha includes this. */
#pragma once
#include "ha/ha.h"

struct ha_decision ha_say(enum ha_action action, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct ha_decision ha_say_target(enum ha_action action, const char *target, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
struct ha_decision ha_say_stop(enum ha_action action, enum ha_urgency urgency, bool release, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The system identifier of the cluster that the store knows; 0 if it knows none, or could not be read. */
uint64_t ha_stored_sysid(const struct ha_view *v);

/* The leader's member key if it is another node whose PostgreSQL runs as a primary now, else NULL. */
const struct member *ha_running_leader(const struct ha_view *v);

/* When pg_rewind cannot bring a diverged node back: may its data directory be set aside for a new copy? */
bool ha_may_start_over(const struct ha_view *v);

/* A disk under PostgreSQL has failed, and the operator wants that to cost the leader key (storage_probe, "fence"). */
bool ha_disk_is_unfit(const struct ha_view *v);
enum { HA_DISK_TEXT_SIZE = 160 };
/* "the data disk does not answer"; stays the same while nothing changes, so that it is logged once. */
const char *ha_disk_text(const struct ha_view *v, char *buf, size_t size);
/* Swift, and the key is released after the proof; should the kill not be provable, the keeper sees to the rest. */
struct ha_decision ha_disk_demote(const struct ha_view *v);

/* A promise, or a failsafe list without this node, keeps it from leading. Needs a view of the store. */
bool ha_failsafe_bars(const struct ha_view *v, struct ha_decision *ret);

struct ha_decision ha_decide_empty(const struct ha_view *v);   /* no cluster in the data directory */
struct ha_decision ha_decide_down(const struct ha_view *v);    /* there is one, but no server runs */
struct ha_decision ha_decide_standby(const struct ha_view *v); /* a server runs in recovery */
struct ha_decision ha_decide_primary(const struct ha_view *v); /* a server runs as a primary */
struct ha_decision ha_decide_race(const struct ha_view *v);    /* a standby without a leader */
