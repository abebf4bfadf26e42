/*
 * Replication slots: as PostgreSQL has them, as the configuration wants them, as the leader publishes them. LSNs are
 * byte positions (0 = unknown).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NAMEDATALEN, with the terminating NUL: names of slots, databases and plugins. */
enum { SLOT_NAME_SIZE = 64 };

struct slot { /* a row of pg_replication_slots */
    char name[SLOT_NAME_SIZE];
    bool physical, active, temporary;
    bool holds_xmin;       /* physical: feedback of a standby holds back vacuum */
    bool failover, synced; /* PostgreSQL 17: the server itself keeps it on standbys; it was made by that */
    bool conflicting;      /* PostgreSQL 16: invalidated on a standby */
    char database[SLOT_NAME_SIZE], plugin[SLOT_NAME_SIZE]; /* logical */
    uint64_t restart_lsn, confirmed_lsn;                   /* confirmed_flush_lsn: logical */
    uint32_t catalog_xmin;                                 /* 0 = none */
    char wal_status[16];                                   /* reserved, extended, unreserved, lost; "" = unknown */
    int64_t safe_wal_bytes; /* what can still be written before its WAL may go; -1 = no limit or unknown */
};

/* For which kind of cluster a permanent physical slot is. */
enum slot_cluster { SLOT_ANY_CLUSTER, SLOT_PRIMARY_CLUSTER, SLOT_STANDBY_CLUSTER };

struct slot_spec { /* a permanent slot of the dynamic configuration */
    char name[SLOT_NAME_SIZE];
    bool logical;
    char database[SLOT_NAME_SIZE], plugin[SLOT_NAME_SIZE]; /* logical */
    enum slot_cluster cluster;                             /* physical */
};

/* A slot is left alone if every attribute that is given equals its own. "" = not given. */
struct slot_matcher {
    char name[SLOT_NAME_SIZE], type[16], database[SLOT_NAME_SIZE], plugin[SLOT_NAME_SIZE];
};

struct slot_position { /* an entry of status.slots */
    char name[SLOT_NAME_SIZE];
    uint64_t lsn;
};

struct slot_name { /* an entry of status.retain_slots */
    char text[SLOT_NAME_SIZE];
};

/* [a-z0-9_], 1 to 63 of them: what PostgreSQL accepts. */
bool slot_name_is_valid(const char *name);
/* Name of a member's physical slot (facts sheet 5.1); buf of at least SLOT_NAME_SIZE bytes. */
void slot_name_of_member(const char *member_name, char *buf, size_t size);
/* Its consumer can go on no more: WAL it needs was removed, or the server has invalidated it. */
bool slot_is_lost(const struct slot *s);
