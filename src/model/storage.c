#include "model/storage.h"
#include <string.h>

static uint64_t between(uint64_t value, uint64_t min, uint64_t max)
{
    if (value < min)
        return min;
    return value > max ? max : value;
}

struct storage_times storage_times_for(uint64_t interval_us, uint64_t timeout_us, uint64_t loop_wait_us,
                                       uint64_t ttl_us)
{
    struct storage_times t = {.interval_us = interval_us, .timeout_us = timeout_us};

    if (!t.interval_us)
        t.interval_us = between(loop_wait_us / 2, STORAGE_INTERVAL_MIN_US, STORAGE_INTERVAL_MAX_US);
    /* The disk has as long as the network has: what lasts shorter than a lease is no reason to move. */
    if (!t.timeout_us)
        t.timeout_us = ttl_us;
    if (t.timeout_us < 2 * t.interval_us)
        t.timeout_us = 2 * t.interval_us;
    return t;
}

static bool enter(struct storage_track *t, enum storage_state state, uint64_t now_us)
{
    if (t->state == state)
        return false;
    t->state = state;
    t->since_us = now_us;
    t->good = t->slow = 0; /* what ends this state is counted from here */
    return true;
}

void storage_await(struct storage_track *t, uint64_t now_us)
{
    t->answered_at_us = now_us;
}

static void count_latency(struct storage_track *t, uint64_t latency_us)
{
    uint64_t bound_us = STORAGE_BUCKET_MIN_US;

    t->answers++;
    t->latency_sum_us += latency_us;
    for (int i = 0; i < STORAGE_BUCKETS; i++, bound_us *= 2) {
        if (latency_us <= bound_us) {
            t->buckets[i]++;
            return;
        }
    }
}

static bool good(struct storage_track *t, uint64_t now_us)
{
    bool is_slow = t->last.latency_us >= STORAGE_SLOW_US;

    t->bad = 0;
    t->good++;
    t->slow = is_slow ? t->slow + 1 : 0;
    switch (t->state) {
    case STORAGE_UNKNOWN:
        return enter(t, STORAGE_OK, now_us);
    case STORAGE_OK:
        return t->slow >= STORAGE_BAD_IN_A_ROW && enter(t, STORAGE_SLOW, now_us);
    case STORAGE_SLOW:
        if (is_slow)
            t->good = 0; /* here the fast ones are counted */
        break;
    case STORAGE_FULL:
    case STORAGE_FAILED:
    case STORAGE_EXPIRED:
        break;
    }
    return t->good >= STORAGE_GOOD_IN_A_ROW && enter(t, is_slow ? STORAGE_SLOW : STORAGE_OK, now_us);
}

bool storage_answer(struct storage_track *t, const struct storage_answer *answer, uint64_t now_us)
{
    t->last = *answer;
    t->answered_at_us = now_us;
    switch (answer->outcome) {
    case STORAGE_NOT_PROBED:
        t->good = t->slow = t->bad = 0;
        return enter(t, STORAGE_UNKNOWN, now_us);
    case STORAGE_GOOD:
        count_latency(t, answer->latency_us);
        return good(t, now_us);
    case STORAGE_NO_SPACE:
    case STORAGE_BAD:
        break;
    }
    memcpy(t->error, answer->error, sizeof(t->error));
    t->failures++;
    t->good = t->slow = 0;
    t->bad++;
    if (t->bad < STORAGE_BAD_IN_A_ROW)
        return false;
    return enter(t, answer->outcome == STORAGE_BAD ? STORAGE_FAILED : STORAGE_FULL, now_us);
}

/* A missing answer counts like a bad one: the first when the last one expires, the next an interval later. */
static uint64_t missed_enough_us(const struct storage_track *t, const struct storage_times *times)
{
    return t->bad ? times->timeout_us : times->timeout_us + times->interval_us;
}

bool storage_expire(struct storage_track *t, const struct storage_times *times, uint64_t now_us)
{
    if (!t->answered_at_us || now_us < t->answered_at_us + missed_enough_us(t, times))
        return false;
    t->good = t->slow = 0;
    t->bad = STORAGE_BAD_IN_A_ROW;
    if (!enter(t, STORAGE_EXPIRED, now_us))
        return false;
    t->failures++;
    memcpy(t->error, "did not answer in time", sizeof("did not answer in time"));
    return true;
}

uint64_t storage_expires_at_us(const struct storage_track *t, const struct storage_times *times)
{
    if (!t->answered_at_us || t->state == STORAGE_EXPIRED)
        return UINT64_MAX;
    return t->answered_at_us + missed_enough_us(t, times);
}

bool storage_has_failed(const struct storage_track *t)
{
    return t->state == STORAGE_FAILED || t->state == STORAGE_EXPIRED;
}

const char *storage_state_text(enum storage_state s)
{
    switch (s) {
    case STORAGE_UNKNOWN:
        break;
    case STORAGE_OK:
        return "ok";
    case STORAGE_SLOW:
        return "slow";
    case STORAGE_FULL:
        return "full";
    case STORAGE_FAILED:
        return "failed";
    case STORAGE_EXPIRED:
        return "expired";
    }
    return "unknown";
}

void storage_view_of(const struct storage_track *data, const struct storage_track *wal, bool fence,
                     struct storage_view *ret)
{
    const struct storage_track *worse = data;

    *ret = (struct storage_view){.fence = fence};
    if (wal && storage_has_failed(wal) && !storage_has_failed(data))
        worse = wal;
    if (!storage_has_failed(worse))
        return;
    ret->failed = true;
    ret->is_wal = worse == wal;
    /* Once it answers again it stays failed for a few answers more, but not silent. */
    if (worse->state == STORAGE_EXPIRED && worse->good == 0)
        ret->silent_since_us = worse->answered_at_us;
    memcpy(ret->error, worse->error, sizeof(ret->error));
}
