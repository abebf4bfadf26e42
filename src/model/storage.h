/*
 * What the probes of a disk have found, and what follows from it: a state with hysteresis and a histogram of latencies.
 * Pure: the agent brings the answers and the time, instants are CLOCK_BOOTTIME. An answer expires: a disk that says
 * nothing is a disk that does not work, and nobody has to wait for it to find that out.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
    STORAGE_BUCKETS = 18,        /* upper bounds 0.25 ms, 0.5 ms ... 32.768 s */
    STORAGE_BUCKET_MIN_US = 250, /* the first of them */
    STORAGE_BAD_IN_A_ROW = 2,    /* failed after so many failures or missing answers */
    STORAGE_GOOD_IN_A_ROW = 3,   /* well again after so many good answers */
    STORAGE_SLOW_US = 1000000,   /* an answer that took longer is good, but slow */
    STORAGE_INTERVAL_MIN_US = 1000000,
    STORAGE_INTERVAL_MAX_US = 10000000,
    STORAGE_ERROR_SIZE = 96,
};

enum storage_state {
    STORAGE_UNKNOWN, /* not probed: no data directory, or the probe is not possible */
    STORAGE_OK,
    STORAGE_SLOW,
    STORAGE_FULL,    /* no room for the one block; says nothing against the disk, so it never fences */
    STORAGE_FAILED,  /* answers with errors */
    STORAGE_EXPIRED, /* does not answer */
};

enum storage_outcome { STORAGE_NOT_PROBED, STORAGE_GOOD, STORAGE_NO_SPACE, STORAGE_BAD };

struct storage_answer {
    enum storage_outcome outcome;
    uint64_t latency_us;
    char error[STORAGE_ERROR_SIZE]; /* "could not write: Input/output error"; "" if good */
};

struct storage_times {
    uint64_t interval_us; /* between two probes */
    uint64_t timeout_us;  /* an answer is good for so long */
};

/* One disk. All zero before the first probe. */
struct storage_track {
    enum storage_state state;
    uint64_t since_us;       /* in this state */
    uint64_t answered_at_us; /* the last answer, or when waiting for the first began; 0 = nothing is awaited */
    struct storage_answer last;
    char error[STORAGE_ERROR_SIZE]; /* of the last answer that was none of a well disk; "" = there was none */
    unsigned good, slow, bad;       /* answers of that kind in a row */
    uint64_t answers, failures, latency_sum_us;
    uint64_t buckets[STORAGE_BUCKETS]; /* good answers by latency, each in one bucket */
};

/* What the decision core is shown: the worse of the disks. */
struct storage_view {
    bool fence;  /* the operator wants a failed disk to cost the leader key */
    bool failed; /* a disk answers with errors, or not at all */
    bool is_wal;
    uint64_t silent_since_us;       /* its last answer; 0 = it answers */
    char error[STORAGE_ERROR_SIZE]; /* "could not write: Input/output error" */
};

/* From the operator's wishes (0 = none) and the cluster's times: half of loop_wait, 1 to 10 s; and ttl. */
struct storage_times storage_times_for(uint64_t interval_us, uint64_t timeout_us, uint64_t loop_wait_us,
                                       uint64_t ttl_us);

/* From now on an answer is awaited. Also after the observer stood still itself: then silence is no evidence. */
void storage_await(struct storage_track *t, uint64_t now_us);

/* Both return true if the state has changed. */
bool storage_answer(struct storage_track *t, const struct storage_answer *answer, uint64_t now_us);
bool storage_expire(struct storage_track *t, const struct storage_times *times, uint64_t now_us);

/* When storage_expire() has something to say next, should no answer come; UINT64_MAX = never. */
uint64_t storage_expires_at_us(const struct storage_track *t, const struct storage_times *times);

bool storage_has_failed(const struct storage_track *t);
const char *storage_state_text(enum storage_state s); /* "ok", "slow" ... */

/* wal may be NULL: it is on the disk of the data. */
void storage_view_of(const struct storage_track *data, const struct storage_track *wal, bool fence,
                     struct storage_view *ret);
