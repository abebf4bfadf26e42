/*
 * Kill and verify (S3): one round looks, kills what it finds, and says whether death is proven.
 *
 * Proven means: two scans of /proc in a row found nobody in scope, and no control group of it is populated. A round
 * never waits for anybody to die; the keeper comes back after KILLER_ROUND_US.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "fence/cgroup.h"
#include "fence/lease.h"
#include "fence/tree.h"

/* From one round to the next; the second value once a fencing has lasted for a second. */
#define KILLER_ROUND_US UINT64_C(10000)
#define KILLER_SLOW_ROUND_US UINT64_C(100000)

struct killer {
    struct tree tree;
    struct cgroups cgroups;
    pid_t keeper;
    pid_t pump;       /* the log's child: always spared */
    pid_t net;        /* pgtether-net: spared as well; 0 = none */
    pid_t scribe;     /* the child that remembers: the same */
    pid_t agent;      /* 0 = none; spared while only the primary dies */
    pid_t postmaster; /* 0 = not known */
    const char *data_dir;
};

struct killer_result {
    bool proven;
    int left;       /* living processes in scope at the first look, -1 if that is not known */
    struct err err; /* code 0 unless something could not be read or killed */
};

struct killer_result killer_round(struct killer *k, enum lease_kill what);

/* Looks only: is anything of the primary alive? What cannot be read counts as yes. */
bool killer_primary_lives(struct killer *k);
