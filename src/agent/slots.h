/* What the agent remembers about replication slots between two cycles; the rules are in ha/slots.h. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "ha/slots.h"
#include "pg/probe.h"

/* Of each more would be far beyond what a cluster has; what does not fit waits until there is room. */
enum { SLOTS_SEEN_MAX = 512, SLOTS_UNSAFE_MAX = 64, SLOTS_TROUBLES_MAX = 32 };

/* What is wrong with a slot: said once, and tried again after a while. */
struct slot_trouble {
    char name[SLOT_NAME_SIZE];
    char text[256];
    uint64_t again_at_us, met_at_us;
};

struct slot_copy { /* a logical slot as the leader has it */
    char name[SLOT_NAME_SIZE];
    char *state_hex; /* owned */
};

struct agent_slots {
    bool led; /* in the last cycle */
    bool looked_for_marker;
    bool need_feedback; /* in the last cycle */
    bool marked;        /* the marker beside the data directory is set */
    struct slot_seen seen[SLOTS_SEEN_MAX];
    size_t n_seen;
    struct slot_name unsafe[SLOTS_UNSAFE_MAX]; /* copied, and not known to be complete */
    uint32_t primary_xmin[SLOTS_UNSAFE_MAX];   /* of the originals when feedback first arrived there; 0 = not yet */
    size_t n_unsafe;
    struct slot_name missing[SLOTS_UNSAFE_MAX]; /* to be copied from the leader */
    size_t n_missing;
    uint64_t missing_since_us;                 /* 0 = none is */
    struct slot_name broken[SLOTS_UNSAFE_MAX]; /* here, but of no use: also to be copied */
    size_t n_broken;
    uint64_t copy_again_at_us, copy_pause_us;
    struct slot_copy copies[SLOTS_UNSAFE_MAX];
    size_t n_copies;
    struct slot_trouble troubles[SLOTS_TROUBLES_MAX];
    size_t n_troubles;

    struct pg_command *command, *advance, *check; /* under way */
    struct slot_step step;                        /* what command does */
    char advancing[SLOT_NAME_SIZE];
    uint64_t looked_at_us;  /* when the members in the store were last looked at */
    uint64_t settled_at_us; /* before that the members in the store may not be all there are */
    uint64_t stepped_at_us; /* when command ended: what was seen before says nothing */
    uint64_t advanced_at_us, checked_at_us, copied_at_us;
};
