/* The parts of the decision core, each a file of its own; only src/ha includes this. */
#pragma once
#include "ha/ha.h"

/* Begins a reason that is about an election; what follows is a sentence of its own. */
#define HA_NO_LEADER "no leader; "
/* A rule that keeps this node out of the election: "no leader; …". */
struct ha_decision ha_bar(enum ha_rule rule, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct ha_decision ha_say(enum ha_action action, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct ha_decision ha_say_target(enum ha_action action, const char *target, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
struct ha_decision ha_say_stop(enum ha_action action, enum ha_urgency urgency, bool release, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The system identifier of the cluster that the store knows; 0 if it knows none, or could not be read. */
uint64_t ha_stored_sysid(const struct ha_view *v);

/* The leader's member key if it is another node whose PostgreSQL runs as a leader's should now, else NULL. */
const struct member *ha_running_leader(const struct ha_view *v);

/* Streaming ended a while ago, and whether our WAL went another way than that of `origin` is not known. */
bool ha_should_check_divergence(const struct ha_view *v, const char *origin);
/* Our WAL went another way than that of `origin`: rewind, or stop for a new copy; false if that is not allowed. */
bool ha_must_repair(const struct ha_view *v, const char *origin, struct ha_decision *ret);

/* When pg_rewind cannot bring a diverged node back: may its data directory be set aside for a new copy? */
bool ha_may_start_over(const struct ha_view *v);

/* It is not started, whatever else could be done: a new copy where that may be made (src/ha/taint.c). */
struct ha_decision ha_decide_tainted(const struct ha_view *v);

/*
 * What /sync says about an election (src/ha/sync_race.c). It speaks only while a synchronous mode is on and a leader
 * has written it.
 */
bool ha_sync_speaks(const struct ha_view *v);
/*
 * And it names all who may lead. One of a store that was restored may name others than those who had a commit last:
 * then whoever has most goes first, as without the mode, but votes are still needed.
 */
bool ha_sync_chooses(const struct ha_view *v);
/*
 * A standby that commits wait for is to stop, or to be restarted, since then: it lets the leader take it out of /sync
 * first, for a while (facts sheet 3.10).
 */
bool ha_sync_must_leave(const struct ha_view *v, const char *what, uint64_t since_us, struct ha_decision *ret);
/* Whether this peer's position matters: one that may not lead cannot be the better choice, whatever it has. */
bool ha_sync_counts(const struct ha_view *v, const struct peer *p);
/* Where positions of several timelines meet, the later timeline has what was acknowledged. */
bool ha_sync_is_ahead(const struct ha_view *v, const struct peer *p);
/* Too few of the voters have answered and are not ahead: this node may lack a commit that one of the others has. */
bool ha_sync_lacks_votes(const struct ha_view *v, struct ha_decision *ret);

/*
 * After an outage of all members (src/ha/cold_start.c). Not in force where /sync chooses, or somebody that was up has
 * seen a leader: that is an ordinary failover.
 */
bool ha_cold_start_is_on(const struct ha_view *v);
/* The order of the candidates then: a later timeline, more WAL, a higher failover_priority. */
bool ha_cold_start_goes_first(const struct ha_view *v, const struct peer *p, struct ha_decision *ret);
/* Somebody who was a member when somebody led last has not said what it has. */
bool ha_cold_start_waits(const struct ha_view *v, struct ha_decision *ret);
/* The limits of lag and timeline (race.c): they count once nobody is missing. */
bool ha_is_behind(const struct ha_view *v, struct ha_decision *ret);

/* Another member is well and near enough to take over (facts sheet 3.7: a start that takes long is given up only then).
 */
bool ha_somebody_could_lead(const struct ha_view *v);

/* A disk under PostgreSQL has failed, and the operator wants that to cost the leader key (storage_probe, "fence"). */
bool ha_disk_is_unfit(const struct ha_view *v);
enum { HA_DISK_TEXT_SIZE = 160 };
/* "the data disk does not answer"; stays the same while nothing changes, so that it is logged once. */
const char *ha_disk_text(const struct ha_view *v, char *buf, size_t size);
/* Swift, and the key is released after the proof; should the kill not be provable, the keeper sees to the rest. */
struct ha_decision ha_disk_demote(const struct ha_view *v);

/* A promise, or a failsafe list without this node, keeps it from leading. Needs a view of the store. */
bool ha_failsafe_bars(const struct ha_view *v, struct ha_decision *ret);

struct ha_decision ha_decide_empty(const struct ha_view *v);        /* no cluster in the data directory */
struct ha_decision ha_decide_down(const struct ha_view *v);         /* there is one, but no server runs */
struct ha_decision ha_decide_reinitialize(const struct ha_view *v); /* the operator wants a new copy; it is down */
struct ha_decision ha_decide_standby(const struct ha_view *v);      /* a server runs in recovery */
struct ha_decision ha_decide_primary(const struct ha_view *v);      /* a server runs as a primary */
/* True if the running primary must stop now, whatever else is under way; *ret says how and why. */
bool ha_primary_must_stop(const struct ha_view *v, struct ha_decision *ret);
struct ha_decision ha_decide_race(const struct ha_view *v); /* a standby without a leader */

/* --- a standby cluster (standby_leader.c) --- */

/*
 * Whose WAL all of this node's must be on: the leader's, or in a standby cluster the other cluster's. NULL: nobody can
 * be asked.
 */
const char *ha_origin(const struct ha_view *v, const struct member *leader);
/* What a decision calls it, for people. */
const char *ha_origin_text(const char *origin);
/* Started now it streams from the cluster that is followed: the standby leader, or anybody while there is none. */
bool ha_follows_remote(const struct ha_view *v);
/* Whether a standby that does not stream is to be compared with the other cluster once more. */
bool ha_should_check_remote(const struct ha_view *v, const char *origin);
/* What it lacks comes from there, whoever leads here. */
bool ha_streams_from_remote(const struct ha_view *v);
/* The leader that has just stepped down may have more: in a standby cluster that is nothing to wait for. */
bool ha_position_is_no_matter(const struct ha_view *v, const struct peer *p);
/* Nobody leads for a while, and this node is not going to: that is no reason to fall behind the other cluster. */
bool ha_may_follow_remote_meanwhile(const struct ha_view *v, const struct ha_decision *race);
/* Nobody else here has a server that runs and may lead: what this node has must not be set aside before there is
 * another copy. */
bool ha_is_last_copy(const struct ha_view *v);
/* A promotion is under way and must not be finished. */
bool ha_standby_cluster_forbids(const struct ha_view *v, struct ha_decision *ret);
/* A primary that is to become the standby leader. */
struct ha_decision ha_decide_demote_cluster(const struct ha_view *v);
struct ha_decision ha_decide_standby_leader(const struct ha_view *v); /* holds the key; a server in recovery */
bool ha_standby_leader_gives_up(const struct ha_view *v, struct ha_decision *ret); /* the same; the server is down */
/* An empty data directory of a known cluster is to be filled from the other cluster, and not from this leader (NULL).
 */
bool ha_should_copy_remote(const struct ha_view *v, const struct member *leader);

/* --- what an operator asks for (manual.c, manual_race.c) --- */

/* The request in the failover key, unless it is empty or for later. The store could be read. */
const struct failover_key *ha_request(const struct ha_view *v);
const char *ha_request_text(const struct failover_key *key); /* "switchover", "failover" */
bool ha_candidate_is(const struct failover_key *key, const char *name);
/* When a request on schedule is due; 0 = there is none, or its time has come. */
uint64_t ha_request_due_us(const struct ha_view *v);

/* The leader, all of whose own rules are satisfied: true if something was asked for and *ret is what to do. */
bool ha_decide_leader_request(const struct ha_view *v, struct ha_decision *ret);
bool ha_decide_standby_request(const struct ha_view *v, struct ha_decision *ret);
/* A checkpoint makes the stop that is to come short: true while it is due or under way. */
bool ha_needs_checkpoint(const struct ha_view *v, const char *what, struct ha_decision *ret);

/* What the request means for this node, now that the leader key is free. */
enum request_rank {
    REQUEST_NONE,
    REQUEST_SWITCHOVER_TO_US,
    REQUEST_FAILOVER_TO_US, /* by an operator who knows what it costs: no limit of lag */
    REQUEST_AWAY_FROM_US,   /* we stepped down for it */
    REQUEST_TO_ANOTHER,     /* or to any member but the one that stepped down */
};
enum request_rank ha_request_rank(const struct ha_view *v);
/* A leader that was shut down and proven dead has left word of the end of its WAL, and nobody was promoted since. */
bool ha_word_stands(const struct ha_view *v);
/* It was the leader before, and this node has all of its WAL. */
bool ha_has_all_wal(const struct ha_view *v);
/* True while the free key is left to somebody who is named and can take it. Peers have been asked. */
bool ha_race_is_for_another(const struct ha_view *v, struct ha_decision *ret);
bool ha_pause_forbids_race(const struct ha_view *v);
