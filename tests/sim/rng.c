/* Chance: one splitmix64 stream per concern, all from one seed. */
#include "sim.h"

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void rng_init(struct rng *r, uint64_t seed)
{
    uint64_t state = seed;

    for (int i = 0; i < RNG_STREAMS; i++)
        r->state[i] = splitmix(&state);
}

uint64_t rng_next(struct rng *r, enum stream s)
{
    return splitmix(&r->state[s]);
}

uint64_t rng_between(struct rng *r, enum stream s, uint64_t from, uint64_t to)
{
    return from + rng_next(r, s) % (to - from + 1);
}

bool rng_chance(struct rng *r, enum stream s, unsigned percent)
{
    return rng_next(r, s) % 100 < percent;
}
