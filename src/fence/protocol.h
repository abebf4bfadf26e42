/*
 * What agent and keeper say to each other: fixed-size datagrams over a SOCK_SEQPACKET pair, one message one datagram.
 *
 * The agent asks, the keeper answers every request once, with the request's seq, which is not 0. What cannot wait to be
 * asked for (the watchdog has failed) the keeper says as an answer to a STATUS with seq 0. The keeper never waits for
 * the agent: answers go out with MSG_DONTWAIT. Instants are microseconds of CLOCK_BOOTTIME, which both processes share.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/core.h"

enum { KEEPER_PROTOCOL = 2, KEEPER_AGENT_FD = 3 /* the agent's end, inherited at this number */ };

enum { KEEPER_IDENTITY_SIZE = 32 };

enum keeper_op {
    /* The lease was just acquired or is current: be ready to fence at its end. ARMED is the permission of S2. */
    KEEPER_ARM = 1,
    /* The lease was renewed: its new deadline. A deadline earlier than the current one is refused. */
    KEEPER_RENEW,
    /* A postmaster was started or adopted; carries a pidfd (SCM_RIGHTS). pid 0 and no descriptor: there is none. */
    KEEPER_POSTMASTER,
    /*
     * We give up being primary. The keeper takes the address away, kills what is left of the primary's process tree
     * (never the agent), proves it dead and only then answers DISARMED; until then it answers FENCING. The leader key
     * must not be released before DISARMED. To stop gracefully the agent stops PostgreSQL first, then disarms.
     */
    KEEPER_DISARM,
    KEEPER_STATUS,
    /*
     * Whom clients may reach here from now on (enum keeper_serve); the addresses and the port gate follow it. NONE
     * comes first in every demotion, before PostgreSQL is stopped. A standby is what SQL has just said to be one, and
     * counts as that until the deadline.
     */
    KEEPER_SERVE,
};

/* What the agent says clients find here. The keeper does not believe more than its own state allows. */
enum keeper_serve {
    KEEPER_SERVE_NONE = 0,
    KEEPER_SERVE_STANDBY,         /* only while disarmed: the gate is open until the deadline */
    KEEPER_SERVE_REPLICA_ADDRESS, /* the same, and the addresses for replicas are here */
    KEEPER_SERVE_PRIMARY,         /* only for the armed lease: the addresses for the primary are here as long as it */
    KEEPER_SERVE_STANDBY_LEADER,  /* a standby that has the addresses for the primary: nobody is one in this cluster */
};

/* What is said of a standby holds until a deadline, and while nothing is armed. */
static inline bool keeper_serve_is_standby(uint64_t serve)
{
    return serve == KEEPER_SERVE_STANDBY || serve == KEEPER_SERVE_REPLICA_ADDRESS ||
           serve == KEEPER_SERVE_STANDBY_LEADER;
}

/* The port gate and the virtual addresses, as the process that keeps them has reported. */
enum keeper_gate {
    KEEPER_GATE_OFF = 0, /* not wanted, or wanted only if it can be and it cannot */
    KEEPER_GATE_CLOSED,
    KEEPER_GATE_OPEN,
    KEEPER_GATE_FAILED, /* wanted, and not in force */
};

enum keeper_state {
    KEEPER_DISARMED = 1, /* nothing armed; every process of a primary is proven dead */
    KEEPER_ARMED,        /* a primary may run until deadline_us */
    KEEPER_FENCING,      /* killing and proving; asks to be asked again */
    KEEPER_STARVING,     /* the kill is not proven: petting has stopped, the host will be reset */
};

enum keeper_result {
    KEEPER_OK = 0,
    KEEPER_REFUSED_LATE,     /* the deadline leaves no room for fencing: do not become primary with it */
    KEEPER_REFUSED_LEASE,    /* another lease is armed, or none, or the deadline would move back */
    KEEPER_REFUSED_WATCHDOG, /* watchdog required and not usable */
    KEEPER_REFUSED_STATE,    /* not allowed in this state */
    KEEPER_REFUSED_GATE,     /* the port gate is required and not in force */
};

enum keeper_watchdog {
    KEEPER_WATCHDOG_OFF = 0,
    KEEPER_WATCHDOG_READY,
    KEEPER_WATCHDOG_TICKING,
    KEEPER_WATCHDOG_FAILED
};

/* How far the keeper had to go when it last fenced, from harmless to last resort. */
enum fence_rung {
    FENCE_RUNG_NONE = 0, /* never yet */
    FENCE_RUNG_DISARM,   /* the agent asked for it: what was left of the primary was killed */
    FENCE_RUNG_KILL,     /* the lease was not renewed in time: everything of the node was killed, the agent too */
    FENCE_RUNG_STARVE,   /* death was not proven in time: petting stopped */
};

struct keeper_request {
    uint16_t version; /* KEEPER_PROTOCOL */
    uint16_t op;      /* enum keeper_op */
    uint32_t seq;     /* echoed in the answer */
    uint64_t lease_id;
    uint64_t deadline_us; /* 0 where the message has none */
    uint32_t pid;         /* POSTMASTER */
    uint32_t serve;       /* SERVE: enum keeper_serve */
};
_Static_assert(sizeof(struct keeper_request) == 32, "the layout is the protocol: no padding, no pointers");

struct keeper_answer {
    uint16_t version;
    uint16_t op; /* of the request */
    uint32_t seq;
    uint16_t result;   /* enum keeper_result */
    uint16_t state;    /* enum keeper_state */
    uint16_t watchdog; /* enum keeper_watchdog */
    uint16_t rung;     /* enum fence_rung: the last one reached */
    uint64_t lease_id;
    uint64_t deadline_us;
    uint64_t fence_at_us;         /* when the keeper will fence if nothing renews; 0 when disarmed */
    uint64_t watchdog_timeout_us; /* granted, 0 without a watchdog */
    uint64_t last_pet_us;
    uint64_t fenced_at_us; /* when a fencing was last proven; 0 = never in this keeper's life */
    uint32_t postmaster_pid;
    uint32_t agent_starts;        /* how often the keeper has started an agent */
    uint64_t watchdog_reset_us;   /* R, from the last pet to the reset; 0 while it does not tick */
    uint64_t longest_pet_gap_us;  /* between two pets, in this keeper's life */
    uint32_t late_pets;           /* pets later than 3/5 of R */
    uint32_t watchdog_error;      /* errno: why it is off or failed; 0 = nothing to say */
    uint32_t watchdog_reset_last; /* 1 = the driver says that the last boot followed a reset by it */
    uint32_t net_restarts;        /* how often the process that keeps addresses and gate had to be started again */
    char watchdog_identity[KEEPER_IDENTITY_SIZE]; /* as the driver names itself; not terminated if it is full */
    uint16_t serve;                               /* enum keeper_serve, as it is in force */
    uint16_t gate;                                /* enum keeper_gate */
    uint16_t addresses, addresses_held;
    uint32_t address_conflicts; /* somebody else was heard to claim one of them, since the start */
    uint32_t addresses_settled; /* 1 = what is not to be open or held now is proven shut, as of the newest order */
};
_Static_assert(sizeof(struct keeper_answer) == 152, "the layout is the protocol: no padding, no pointers");

/*
 * What a request may carry; a field it does not have (-) must be 0, one it has (x) must not, else the
 * keeper takes the agent for broken.
 *
 *   op          lease_id  deadline_us  pid  serve  descriptor
 *   ARM         any       x            -    -      -
 *   RENEW       any       x            -    -      -
 *   POSTMASTER  any       -            x    -      pidfd of that pid; with pid 0 none
 *   DISARM      any       -            -    -      -
 *   STATUS      any       -            -    -      -
 *   SERVE       any       standby: x   -    any    -
 */

/*
 * keeper_recv: the keeper's end. Returns 0 and fills *ret and *ret_pidfd (-1 if the message has none; the caller owns
 * it), -EAGAIN if nothing waits, -ECONNRESET if the agent is gone, -EBADMSG on all else: the connection is then
 * dropped.
 */
int keeper_recv(int fd, struct keeper_request *ret, int *ret_pidfd, struct err *err);
int keeper_answer(int fd, const struct keeper_answer *answer, struct err *err);

/* The agent's end; pidfd -1 sends none. Neither blocks: -EAGAIN when the socket is full or empty, -ECONNRESET when the
 * keeper is gone. */
int keeper_ask(int fd, const struct keeper_request *request, int pidfd, struct err *err);
int keeper_recv_answer(int fd, struct keeper_answer *ret, struct err *err);

const char *keeper_state_text(enum keeper_state state);
const char *keeper_result_text(enum keeper_result result);
const char *keeper_watchdog_text(enum keeper_watchdog watchdog);
const char *keeper_rung_text(enum fence_rung rung);
const char *keeper_serve_text(enum keeper_serve serve);
const char *keeper_gate_text(enum keeper_gate gate);
