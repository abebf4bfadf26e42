/* The simulator as a program: sim [--seed N] [--histories N] [--seconds N] [--mutant NAME] [--verbose] */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runner.h"

static int usage(void)
{
    (void)fprintf(stderr, "usage: sim [--seed N] [--histories N] [--seconds N] [--mutant NAME] [--verbose]\nmutants:");
    for (int i = 1; i < MUTANTS; i++)
        (void)fprintf(stderr, " %s", mutant_names[i]);
    (void)fprintf(stderr, "\n");
    return 64;
}

static enum mutant find_mutant(const char *name)
{
    for (int i = 0; i < MUTANTS; i++)
        if (strcmp(mutant_names[i], name) == 0)
            return (enum mutant)i;
    return MUTANTS;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},    {"histories", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 't'}, {"mutant", required_argument, NULL, 'm'},
        {"verbose", no_argument, NULL, 'v'},       {NULL, 0, NULL, 0}};
    uint64_t seed = 1, histories = 1000, seconds = 60;
    enum mutant mutant = MUTANT_NONE;
    bool verbose = false;
    struct tally t;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 's')
            seed = strtoull(optarg, NULL, 10);
        else if (c == 'n')
            histories = strtoull(optarg, NULL, 10);
        else if (c == 't')
            seconds = strtoull(optarg, NULL, 10);
        else if (c == 'm')
            mutant = find_mutant(optarg);
        else if (c == 'v')
            verbose = true;
        else
            return usage();
    }
    if (mutant == MUTANTS || seconds < 10 || optind < argc)
        return usage();
    if (verbose) {
        replay(seed, seconds, mutant, true);
        return 0;
    }
    t = run_histories(seed, histories, seconds, mutant, 0);
    (void)printf("%" PRIu64 " histories, %" PRIu64 " steps, %.1f virtual hours, %.0f histories per minute\n",
                 t.histories, t.steps, (double)t.virtual_us / 3.6e9,
                 t.seconds > 0 ? (double)t.histories * 60 / t.seconds : 0.0);
    if (!t.rule)
        return 0;
    (void)printf("VIOLATION of %s in seed %" PRIu64 ", the last events:\n", t.rule, t.failed_seed);
    replay(t.failed_seed, seconds, mutant, false);
    return 1;
}
