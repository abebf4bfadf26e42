/* Many histories in a row, for the program and for the tests. */
#pragma once
#include "sim.h"

struct tally {
    uint64_t histories, steps, virtual_us;
    uint64_t failed_seed; /* of the first violation, if `rule` is set */
    const char *rule;
    double seconds;
};

/* Seeds from..from + histories - 1, until the first violation or until max_seconds have passed (0 = no limit). */
struct tally run_histories(uint64_t from, uint64_t histories, uint64_t seconds, enum mutant mutant, double max_seconds);
/* Once more, with its events: the last ones are printed, or with `verbose` all of them. */
void replay(uint64_t seed, uint64_t seconds, enum mutant mutant, bool verbose);
