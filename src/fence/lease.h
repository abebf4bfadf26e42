/*
 * What the keeper does about a lease: a state machine without I/O, clock or memory of its own (S3, S4).
 *
 *   DISARMED --ARM--> ARMED --not renewed by fence_at--> FENCING --not proven by deadline - R--> STARVING
 *      ^                |  DISARM ------------------------>  |                                      |
 *      +----------------+------------- proven dead ----------+--------------------------------------+
 *
 * The driver (the keeper, a test, the simulator) tells what happened with lease_step() and does what lease_decide()
 * says until it says something else: kill, prove, pet, stop the watchdog. Killing and proving may take any number of
 * rounds. Instants and durations are microseconds (_us) of CLOCK_BOOTTIME, which also counts while the host is
 * suspended. R is the time from the last pet to the reset, 0 without a watchdog.
 *
 * The ladder of one lease, for a ttl of 30 s and R = 5 s:
 *
 *   armed or renewed                     fence_at           deadline - R          deadline
 *   |---- agent may demote by itself ----|--- kill budget ---|--------- R ---------|
 *   0                                    22                  25                    30
 *   pet                                  pet, kill, prove    kill, pet no more     the host has been reset
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "fence/protocol.h"

/* Limits of the kill budget, which is a sixth of what is left of the lease when it is armed or renewed. */
#define LEASE_KILL_BUDGET_MIN_US UINT64_C(500000)
#define LEASE_KILL_BUDGET_MAX_US UINT64_C(3000000)
/* A lease that would be fenced sooner than this after ARM or RENEW is refused as too late. */
#define LEASE_MARGIN_US UINT64_C(200000)
/* No lease is longer: a deadline further away is a confused agent (a wrong unit, an overflow), not a long ttl. */
#define LEASE_MAX_US UINT64_C(3600000000)

struct lease {
    enum keeper_state state;
    enum fence_rung rung;       /* the last one reached */
    bool watchdog_required;     /* setting: without a ticking watchdog nothing is armed */
    bool armed;                 /* a primary may be running under this lease; ends only with the proof of its death */
    bool unfenced;              /* the required watchdog has failed under this lease: it ends, renewed or not */
    bool whole_node;            /* FENCING: everything dies, the agent too, not only the primary */
    uint64_t lease_id;          /* of the armed lease, else of the last one */
    uint64_t deadline_us;       /* the lease ends (S1); 0 while nothing is armed */
    uint64_t fence_at_us;       /* the kill begins unless it was renewed before; 0 while nothing is armed */
    uint64_t reset_us;          /* R */
    uint64_t fenced_at_us;      /* when a death was last proven; 0 = never */
    enum keeper_serve serve;    /* whom clients find here */
    uint64_t serve_until_us;    /* a standby, with addresses or without: until then */
    uint64_t promised_until_us; /* the gate was allowed to be open until then, at the most, since the start */
    const char *reason;         /* why it is in this state; static text */
};

enum lease_event_type {
    LEASE_EVENT_TICK, /* nothing but the time has changed */
    LEASE_EVENT_ARM,
    LEASE_EVENT_RENEW,
    LEASE_EVENT_DISARM,      /* give up: kill the primary and prove it, whatever is armed */
    LEASE_EVENT_PROVEN_DEAD, /* nothing is left of what lease_decide() named in `kill` */
    LEASE_EVENT_SERVE,
    LEASE_EVENT_WATCHDOG_FAILED, /* a pet was refused by the device; where it is required the lease is renewed no more,
                                    and the agent has R / 2 to hand leadership over: half of what a device that counts
                                    on leaves us, at least, and then everything is killed */
};

struct lease_event {
    enum lease_event_type type;
    uint64_t lease_id;       /* ARM, RENEW, SERVE PRIMARY */
    uint64_t deadline_us;    /* ARM, RENEW, SERVE of a standby */
    uint64_t reset_us;       /* ARM: R of the watchdog that is ticking now, 0 if none is */
    enum keeper_serve serve; /* SERVE */
};

enum lease_kill {
    LEASE_KILL_NOTHING,
    LEASE_KILL_PRIMARY, /* PostgreSQL of this node, not the agent */
    LEASE_KILL_NODE,    /* PostgreSQL and the agent with everything it started */
};

/*
 * What the kernel may let through, and until when it is to stop that by itself (the kernel leases); 0 = nothing. The
 * order is S2's and S3's: the gate of a primary is never open beyond its lease, and everything is shut before the kill.
 */
struct lease_reach {
    uint64_t gate_until_us;    /* PostgreSQL's port */
    uint64_t primary_until_us; /* the addresses for the primary */
    uint64_t replica_until_us; /* the addresses for replicas */
};

struct lease_decision {
    enum lease_kill kill;   /* kill it, and report PROVEN_DEAD once nothing of it is left */
    bool may_pet;           /* S4; asked anew, with the clock read anew, before each pet */
    bool may_stop_watchdog; /* S4: disarming the device is allowed */
    uint64_t next_at_us;    /* step TICK at this instant; UINT64_MAX: only an event changes anything */
    const char *reason;     /* static text for the log and STATUS */
};

/* Nothing armed. */
void lease_init(struct lease *l, bool watchdog_required);

/*
 * A successor takes over the lease that its dead predecessor had armed (fence/will.h). It is armed however late it is:
 * the next TICK then fences.
 */
void lease_resume(struct lease *l, uint64_t lease_id, uint64_t deadline_us, uint64_t reset_us, uint64_t now_us);

/*
 * The same for what clients find here; after lease_resume() if there is a lease, and only then as a primary. What a
 * damaged record says beyond that is nothing.
 */
void lease_resume_serve(struct lease *l, uint64_t serve, uint64_t serve_until_us, uint64_t promised_until_us);

/*
 * What ARM would be answered, changing nothing: the driver asks before it opens a watchdog, since opening starts it,
 * with the R it hopes for. Then it opens and steps with the R it got.
 */
enum keeper_result lease_arm_result(const struct lease *l, const struct lease_event *event, uint64_t now_us);

/*
 * Takes one event. The result is the answer to ARM, RENEW, DISARM and SERVE, KEEPER_OK for the others; after a refusal
 * nothing has changed except what the time changes. A RENEW that was sent in time but is read late still counts as long
 * as no kill has begun and its deadline leaves room: the store has confirmed it, only this process was slow.
 */
enum keeper_result lease_step(struct lease *l, const struct lease_event *event, uint64_t now_us);

struct lease_decision lease_decide(const struct lease *l, uint64_t now_us);
struct lease_reach lease_reach(const struct lease *l);
