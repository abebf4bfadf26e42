/*
 * The decision core: all high-availability policy, as pure functions from a view to a decision. No I/O, no clock, no
 * globals, no memory of its own (DESIGN section 3). The rules are the reference's where no safety rule S1-S9 speaks
 * against them; where they differ the comment at the rule says so.
 */
#pragma once
#include "model/pending.h"
#include "model/sync.h"
#include "model/view.h"

/* What to do now. The reason is always set. Never acquires or promotes on a view that was_frozen or not fresh. */
struct ha_decision ha_decide(const struct ha_view *v);

/*
 * The addresses for replicas: whether this node is the standby that has them. `key` is the one in the store as last
 * read, also when the last read failed.
 */
struct replica_address ha_replica_address(const struct ha_view *v, const struct leader_key *key);

/*
 * Synchronous replication on the primary that holds the leader key: the next step towards what the policy wants, one at
 * a time. `v` has a cluster, read after our last write of /sync. See src/ha/sync.c for what always holds.
 */
void ha_sync_step(const struct ha_view *v, const struct sync_view *s, struct sync_step *ret);

/*
 * Before a promotion: what the new leader writes into /sync, comparing with the revision that is in the view, so that
 * nothing its predecessor has sent can come later; and with which names it becomes a primary. False: no synchronous
 * mode, nothing is to be written.
 */
bool ha_sync_seal(const struct ha_view *v, struct sync_promise *ret_promise, struct sync_names *ret_names);

/*
 * With which names a server must become a primary when nobody knows what was promised: with none that could acknowledge
 * anything. Standbys have them all the time, so that one that is promoted by whomever acknowledges nothing.
 */
bool ha_sync_blocks(const struct policy *p);

/* A synchronous mode is on and /sync says who may lead: is it this member? True also while nothing is promised. */
bool ha_sync_may_lead(const struct ha_view *v, const char *name);

/*
 * What this node answers to a leader that cannot reach the store and asks it not to lead (failsafe mode). `wanted_us`
 * is how long, 0 = it did not say. The promise counts from now, and must be kept, and outlive this process, from before
 * the answer is sent.
 */
struct failsafe_answer ha_failsafe_answer(const struct ha_view *v, const char *asker, uint64_t wanted_us);
/* May this leader, whose renewals fail, hold its lease by the promises of the others? */
bool ha_failsafe_asks(const struct ha_view *v);
/*
 * Until when: the earliest of all promises, of which there must be one for each of the n others in the list; those of
 * a single-node cluster are due to nobody, its lease counts from asked_at_us. 0 = not all have promised.
 */
uint64_t ha_failsafe_deadline_us(const struct failsafe_promise *promises, size_t n, uint64_t asked_at_us,
                                 const struct policy *p);

/*
 * When a primary must begin to stop by itself if its lease is not renewed: early enough that a swift stop has had its
 * budget before the keeper kills at fence_at_us. 0 if nothing is armed.
 */
uint64_t ha_demote_at_us(const struct ha_view *v);

/* The budget of a swift stop, from the ttl: a tenth of it, between 0.3 and 3 seconds. */
uint64_t ha_swift_stop_budget_us(const struct policy *p);

/* How often the lease is renewed: a sixth of the ttl, or loop_wait if that is shorter. */
uint64_t ha_renew_interval_us(const struct policy *p);

/* S1: when a lease ends whose confirming request was sent at sent_at_us: ttl later, less 2 x 500 ppm of clock drift. */
uint64_t ha_lease_deadline_us(uint64_t sent_at_us, uint64_t ttl_us);

/* The member a standby should follow; NULL = nobody (no leader, it is us, tag nostream). */
const struct member *ha_upstream(const struct ha_view *v);
/* The same for the node of that name with these tags: on whom its physical slot is in use. */
const struct member *ha_upstream_of(const struct cluster *c, const char *name, const struct tags *tags);

/* Whether a restart of this node for a changed parameter is due, or others come first. */
enum pending_verdict ha_pending(const struct pending_view *v);

/*
 * As far as the synchronous mode is concerned: may this member take over when the operator asks for it? A switchover
 * goes to a synchronous standby; a failover is what the operator says it is.
 */
bool ha_request_allows(const struct policy *p, const struct cluster *c, bool is_switchover, const char *name);

/*
 * After an outage of all members (src/ha/cold_start.c): true while the election waits, or comes to nothing, for want of
 * a member that may have more; *ret says what an operator wants to know. The others have been asked.
 */
bool ha_cold_start(const struct ha_view *v, struct cold_start *ret);

/* The server is down, and somebody else ran it as a primary on a timeline that is also others' (src/ha/taint.c). */
bool ha_is_tainted(const struct ha_view *v);

/*
 * Could this node lead if the leader key were free, and if not, which rule stops it? The answer is ha_decide()'s on a
 * view in which that is so: there is no second set of rules. What others have is not compared where somebody leads, and
 * votes are not counted.
 */
void ha_why(const struct ha_view *v, struct ha_why *ret);
const char *ha_rule_text(enum ha_rule rule); /* "nofailover", "lag" …; "" for RULE_NONE */

/* "promoting", "creating a replica" …; "idle" for OP_NONE. */
const char *ha_op_text(enum op_kind op);
