/*
 * Which replication slots a node has, and what to do next to bring them into line: pure, as all of src/ha. The rules
 * are the facts sheet's, section 5; where they differ the comment at the rule says so. Results are written to arrays of
 * the caller's.
 */
#pragma once
#include "model/cluster.h"
#include "model/slots.h"
#include "model/tags.h"

struct slot_seen { /* a member's slot, and when this node last saw that member */
    char name[SLOT_NAME_SIZE];
    uint64_t at_us;
};

struct slots_view {
    const char *name; /* this node */
    struct tags tags;
    const struct cluster *cluster;
    bool leads;           /* holds the leader key and is ready to */
    bool standby_cluster; /* the leader is a standby, too */
    bool use_slots, pause;
    bool members_unsettled; /* the store has lost keys of members: who is not there may write its key any moment */
    uint64_t member_slots_ttl_us, now_us;
    uint64_t position_lsn; /* how far a slot can be here: replayed, or on a primary flushed */
    const struct slot *have;
    size_t n_have;
    const struct slot_spec *permanent;
    size_t n_permanent;
    const struct slot_matcher *ignore;
    size_t n_ignore;
    const struct slot_seen *seen; /* what is remembered, see ha_slots_remember() */
    size_t n_seen;
    const struct slot_name *unsafe; /* logical copies not known to be complete, also when just dropped for that */
    size_t n_unsafe;
};

enum slot_purpose { SLOT_OF_MEMBER, SLOT_OF_ABSENT_MEMBER, SLOT_PERMANENT };
/* Whether somebody should be connected to it here; of those that are kept for an absent member nobody can say. */
enum slot_use { SLOT_IDLE, SLOT_IN_USE, SLOT_USE_UNKNOWN };

struct slot_want {
    char name[SLOT_NAME_SIZE];
    bool logical;
    char database[SLOT_NAME_SIZE], plugin[SLOT_NAME_SIZE];
    enum slot_purpose purpose;
    enum slot_use use;
    uint64_t lsn;     /* nobody needs what is before that; 0 = not known */
    bool shared;      /* two members' names make the same slot name */
    bool conflicting; /* a permanent logical slot has the name of a member's slot */
    bool permanent;   /* also where it is a member's */
};

enum slot_what { SLOT_CREATE, SLOT_DROP, SLOT_ADVANCE, SLOT_COPY, SLOT_COMPLAIN };

struct slot_step {
    enum slot_what what;
    char name[SLOT_NAME_SIZE];
    bool logical;
    char database[SLOT_NAME_SIZE], plugin[SLOT_NAME_SIZE];
    uint64_t lsn;       /* SLOT_ADVANCE */
    bool in_use;        /* SLOT_COMPLAIN: it would be dropped, but somebody is connected to it */
    const char *reason; /* static text for a DBA */
};

/* At most members + retained + permanent ones. Returns how many it wrote; the rest is left out when max is too small.
 */
size_t ha_slots_wanted(const struct slots_view *v, struct slot_want *ret, size_t max);
/*
 * At most one step for each slot that is there and two for each that is wanted, in the order in which they should be
 * taken.
 */
size_t ha_slots_steps(const struct slots_view *v, const struct slot_want *want, size_t n_want, struct slot_step *ret,
                      size_t max);
/*
 * Without the store, when a leader that goes on without it has said where its slots are (failsafe mode): what is here
 * follows, or WAL would pile up. Nothing is made or dropped. At most one step for each slot that is there.
 */
size_t ha_slots_follow(const struct slots_view *v, const struct slot_position *said, size_t n_said,
                       struct slot_step *ret, size_t max);
/*
 * The memory of members' slots: those whose member is there are seen now, those not seen for member_slots_ttl are
 * forgotten. At the begin of a leader's term it also takes what the last one kept, as seen now (facts sheet 5.3). Works
 * in place on n entries in an array of max, returns the new number.
 */
size_t ha_slots_remember(const struct slots_view *v, bool begins_term, struct slot_seen *seen, size_t n, size_t max);

/*
 * hot_standby_feedback must be on: this node or one that streams through it keeps logical slots. v->cluster may be
 * NULL here: not known.
 */
bool ha_slots_need_feedback(const struct slots_view *v);
/* The physical slot on the primary through which this node's feedback arrives; false if there is none. */
bool ha_slots_feedback_slot(const struct slots_view *v, char *buf, size_t size);
/*
 * Whether a logical slot copied from the primary can be used after a promotion (facts sheet 5.7): the rows of the
 * catalogs it needs are still there. primary_xmin: what the original held back when feedback arrived for the first
 * time; feedback_xmin: what the physical slot holds back; local_xmin: what the copy needs. 0 = unknown.
 */
bool ha_slot_copy_is_safe(uint32_t primary_xmin, uint32_t feedback_xmin, uint32_t local_xmin);
/* Left alone by ignore_slots. */
bool ha_slot_is_ignored(const struct slots_view *v, const struct slot *s);

/* How much WAL a slot holds back where the node is at position_lsn. */
uint64_t ha_slot_retained_bytes(const struct slot *s, uint64_t position_lsn);

enum slot_wal {
    SLOT_WAL_OK,
    SLOT_WAL_MUCH,   /* most of what max_slot_wal_keep_size allows, or without that many times max_wal_size */
    SLOT_WAL_ENDING, /* beyond it: the next checkpoint may remove what it needs */
    SLOT_WAL_LOST,
};
/* max_keep_bytes: max_slot_wal_keep_size, -1 = no limit; max_wal_size_bytes 0 = unknown. */
enum slot_wal ha_slot_wal(const struct slot *s, uint64_t position_lsn, int64_t max_keep_bytes,
                          uint64_t max_wal_size_bytes);
