/*
 * The scene that the tests of the decision core share: a node of some kind, healthy, into which a row changes one thing
 * before it says what must be decided. The node is "n1" of three; the clock is 100 s. Names are short, for they begin
 * every row.
 */
#pragma once
#include "ha/ha.h"

#define S UINT64_C(1000000)
#define SYSID_TEXT "7412345678901234567"
#define SYSID UINT64_C(7412345678901234567)
enum { LEASE_ID = 77 };

/* The scene of one row; pointers in the view point into it. */
extern struct scene {
    struct ha_view v;
    struct cluster c;
    struct member members[3];
    struct peer peers[2];
    struct history_line history[1];
} s;

/* --- nodes: each begins the scene anew --- */

void scene(void);     /* nothing running, nothing held */
void standby(void);   /* it streams from its leader "n2" */
void candidate(void); /* a standby after the leader key vanished; "n3" was asked and has as much */
void elected(void);   /* a standby that holds the leader key */
void leader(void);    /* a primary with a lease until 120 s and the keeper armed until 117 s: it demotes at 114 s */
void crashed(void);   /* the postmaster of the leader has just died */
void down(void);      /* a node with a data directory whose server is down; n2 leads */
void empty(void);     /* a node without a cluster in its data directory; nobody leads */
void virgin(void);    /* the same, and nothing in the store but members */

/* --- changes --- */

void set_leader(const char *name, uint64_t session); /* NULL: nobody */
void hold_lease(void);
void arm(void);
void divergence(enum divergence what, const char *from);

/* --- what must be decided --- */

struct want {
    enum ha_action action;
    const char *target; /* NULL: do not care */
    int release;        /* of a demotion: must be exactly this */
    enum ha_urgency urgency;
};

#define CHECK(name, ...) check(name, (struct want){__VA_ARGS__})

/* Fails the test unless that is decided, with a reason. */
void check(const char *name, struct want want);
/* Fails unless the reason of what is decided has this text in it. */
void says(const char *text);
