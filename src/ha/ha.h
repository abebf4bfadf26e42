/*
 * The decision core: all high-availability policy, as pure functions from a view to a decision. No I/O, no clock, no
 * globals, no memory of its own (DESIGN section 3). The rules are the reference's where no safety rule S1-S9 speaks
 * against them; where they differ the comment at the rule says so.
 */
#pragma once
#include "model/view.h"

/* What to do now. The reason is always set. Never acquires or promotes on a view that was_frozen or not fresh. */
struct ha_decision ha_decide(const struct ha_view *v);

/*
 * The addresses for replicas: whether this node is the standby that has them. `key` is the one in the store as last
 * read, also when the last read failed.
 */
struct replica_address ha_replica_address(const struct ha_view *v, const struct leader_key *key);

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

/* "promoting", "creating a replica" …; "idle" for OP_NONE. */
const char *ha_op_text(enum op_kind op);
