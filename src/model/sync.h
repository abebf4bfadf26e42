/*
 * Synchronous replication as nouns: sets of standbys, the setting synchronous_standby_names, the promise that /sync
 * makes. Names compare without case, as PostgreSQL compares application_name. No allocation anywhere.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "model/tags.h"

/* More synchronous standbys than this are not made; the setting and /sync of others are cut to it. */
enum { SYNC_SET_MAX = 32, SYNC_NAMES_TEXT_SIZE = SYNC_SET_MAX * (2 * MEMBER_NAME_SIZE + 3) + 32 };

/* What a primary is given that must acknowledge nothing yet: no standby has this name (the reference's word, 4.6). */
#define SYNC_PLACEHOLDER "__patroni_strict_sync_replica_placeholder__"

struct sync_set { /* sorted by name, no name twice */
    size_t n;
    char names[SYNC_SET_MAX][MEMBER_NAME_SIZE];
};

bool sync_set_has(const struct sync_set *s, const char *name);
void sync_set_add(struct sync_set *s, const char *name); /* nothing when it is there, or the set is full */
void sync_set_remove(struct sync_set *s, const char *name);
bool sync_set_equal(const struct sync_set *a, const struct sync_set *b);
size_t sync_set_common(const struct sync_set *a, const struct sync_set *b); /* how many are in both */
/* "node1,node2", as /sync has it; NULL reads as empty. False when the text was cut or had too many. */
bool sync_set_read(struct sync_set *s, const char *text);
bool sync_set_print(const struct sync_set *s, char *buf, size_t size);

enum sync_kind {
    SYNC_KIND_NOBODY,  /* empty: a commit waits for no standby */
    SYNC_KIND_FIRST,   /* n (…), or one name */
    SYNC_KIND_ANY,     /* ANY n (…) */
    SYNC_KIND_BLOCKED, /* the placeholder: a commit waits for somebody who cannot come */
    SYNC_KIND_UNCLEAR, /* "*", or nothing we can read: somebody may have what was acknowledged, no telling who */
};

struct sync_names { /* synchronous_standby_names */
    enum sync_kind kind;
    unsigned n; /* how many of the set acknowledge each commit; 0 unless FIRST or ANY */
    struct sync_set set;
};

bool sync_names_equal(const struct sync_names *a, const struct sync_names *b);
/* As PostgreSQL reads its setting. The order of FIRST does not matter here: what is promised is n of the set. */
void sync_names_read(struct sync_names *ret, const char *text);
/* In the reference's syntax (4.2): node1 | 2 (node1,node2) | ANY 1 (node1,node2). UNCLEAR prints as empty. */
bool sync_names_print(const struct sync_names *names, char *buf, size_t size);

/* What /sync says: any quorum + 1 of the voters have, together, every acknowledged commit. In the priority mode quorum
 * is 0: each of them has. */
struct sync_promise {
    struct sync_set voters;
    unsigned quorum;
};

/* --- what src/ha/sync.c is shown and what it answers ----------------------------------------------------------------
 */

/* How PostgreSQL counts a walsender, in the order of its text ("sync" > "quorum" > "potential" > "async"). */
enum sync_rank { SYNC_RANK_ASYNC, SYNC_RANK_POTENTIAL, SYNC_RANK_QUORUM, SYNC_RANK_SYNC };

struct sync_standby { /* a row of pg_stat_replication in state "streaming" */
    char name[MEMBER_NAME_SIZE];
    enum sync_rank rank;
    uint64_t lsn;       /* of the column that synchronous_commit waits for */
    uint64_t flush_lsn; /* what it will still have after a crash */
};

/* All of it from one answer of SQL, asked under the names that the files have. */
struct sync_view {
    bool names_known;        /* SQL has said what is in effect */
    struct sync_names names; /* in effect */
    bool names_pending;      /* our files say something else: PostgreSQL is about to read them */
    bool settled;            /* in effect in every process, for each commit that is behind since_lsn */
    uint64_t since_lsn;
    bool names_are_ours;     /* and not the user's own */
    bool key_is_foreign;     /* of a store that was restored: it may promise what is long untrue */
    bool key_in_doubt;       /* a write of /sync that we do not know the outcome of may still be executed */
    uint64_t await_until_us; /* after a promotion: how long standbys that live may take to come */
    const struct sync_standby *standbys;
    size_t n_standbys;
};

enum sync_action {
    SYNC_WAIT,            /* nothing to do, or nothing that can be done now */
    SYNC_WRITE_KEY,       /* /sync := our name with `promise`; compare with the revision that was read */
    SYNC_DELETE_KEY,      /* likewise */
    SYNC_SET_NAMES,       /* synchronous_standby_names := `names`, reload */
    SYNC_GIVE_NAMES_BACK, /* synchronous_standby_names is the user's own again */
};

struct sync_step {
    enum sync_action action;
    struct sync_promise promise;
    struct sync_names names;
    bool is_soon; /* WAIT: something is under way, look again soon */
    char reason[256];
};
