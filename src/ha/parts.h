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

/*
 * What /sync says about an election (src/ha/sync_race.c). It speaks only while a synchronous mode is on and a leader
 * has written it.
 */
bool ha_sync_speaks(const struct ha_view *v);
/* A standby that is to stop, and that commits wait for: it lets the leader take it out of /sync first (3.10). */
bool ha_sync_must_leave(const struct ha_view *v, struct ha_decision *ret);
/* Whether this peer's position matters: one that may not lead cannot be the better choice, whatever it has. */
bool ha_sync_counts(const struct ha_view *v, const struct peer *p);
/* Where positions of several timelines meet, the later timeline has what was acknowledged. */
bool ha_sync_is_ahead(const struct ha_view *v, const struct peer *p);
/* Too few of the voters have answered and are not ahead: this node may lack a commit that one of the others has. */
bool ha_sync_lacks_votes(const struct ha_view *v, struct ha_decision *ret);

/* A disk under PostgreSQL has failed, and the operator wants that to cost the leader key (storage_probe, "fence"). */
bool ha_disk_is_unfit(const struct ha_view *v);
enum { HA_DISK_TEXT_SIZE = 160 };
/* "the data disk does not answer"; stays the same while nothing changes, so that it is logged once. */
const char *ha_disk_text(const struct ha_view *v, char *buf, size_t size);
/* Swift, and the key is released after the proof; should the kill not be provable, the keeper sees to the rest. */
struct ha_decision ha_disk_demote(const struct ha_view *v);

struct ha_decision ha_decide_empty(const struct ha_view *v);   /* no cluster in the data directory */
struct ha_decision ha_decide_down(const struct ha_view *v);    /* there is one, but no server runs */
struct ha_decision ha_decide_standby(const struct ha_view *v); /* a server runs in recovery */
struct ha_decision ha_decide_primary(const struct ha_view *v); /* a server runs as a primary */
struct ha_decision ha_decide_race(const struct ha_view *v);    /* a standby without a leader */
