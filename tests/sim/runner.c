#include "runner.h"
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static struct world world; /* large, and only one at a time */

static double seconds_now(void)
{
    struct timespec ts = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

struct tally run_histories(uint64_t from, uint64_t histories, uint64_t seconds, enum mutant mutant, double max_seconds)
{
    struct tally t = {0};
    double start_s = seconds_now();

    world.tracing = world.verbose = false;
    for (uint64_t seed = from; seed < from + histories && !t.rule; seed++) {
        world_run(&world, seed, seconds, mutant);
        t.histories++;
        t.steps += world.steps;
        t.virtual_us += world.now_us;
        t.rule = world.broken;
        t.failed_seed = seed;
        t.seconds = seconds_now() - start_s;
        if (max_seconds > 0 && t.seconds > max_seconds)
            break;
    }
    return t;
}

void replay(uint64_t seed, uint64_t seconds, enum mutant mutant, bool verbose)
{
    world.tracing = true;
    world.verbose = verbose;
    world_run(&world, seed, seconds, mutant);
    if (!verbose)
        world_print_trace(&world);
    if (world.broken)
        (void)printf("seed %" PRIu64 " breaks %s: %s\n", seed, world.broken, world.detail);
}
