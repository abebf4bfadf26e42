/* pgtetherd: the keeper of one instance. Everything it does is in fence/; this file reads its command line. */
#include <getopt.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/text.h"
#include "config.h"
#include "fence/keeper.h"
#include "fence/watchdog_test.h"

enum { EXIT_USAGE = 64 };

static void print_usage(FILE *out)
{
    (void)fputs(
        "Usage: pgtetherd -c FILE [OPTION]...\n"
        "Keeps PostgreSQL tethered to its lease, and starts pgtether-agent, which does the rest.\n"
        "\n"
        "  -c, --config FILE   configuration file\n"
        "      --user NAME     user of the agent and PostgreSQL, if started as root (default: postgres)\n"
        "      --agent PATH    agent program\n"
        "      --check-config  report every problem of the configuration file and exit\n"
        "      --test-watchdog say what watchdogs there are and whether one can be used; with -c, the configured one\n"
        "      --device PATH   with --test-watchdog: this one\n"
        "      --ttl SECONDS   with --test-watchdog: the lease it has to fit (default: 30)\n"
        "      --really-reset  with --test-watchdog: measure how long it takes, by RESETTING THIS HOST\n"
        "      --yes           do not ask before that\n"
        "      --version       print the version and exit\n"
        "  -h, --help          print this help and exit\n",
        out);
}

static int usage_error(void)
{
    (void)fputs("Try \"pgtetherd --help\" for more information.\n", stderr);
    return EXIT_USAGE;
}

int main(int argc, char *argv[])
{
    enum { OPT_USER = 256, OPT_AGENT, OPT_CHECK, OPT_VERSION, OPT_TEST, OPT_DEVICE, OPT_TTL, OPT_RESET, OPT_YES };
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'},
        {"user", required_argument, NULL, OPT_USER},
        {"agent", required_argument, NULL, OPT_AGENT},
        {"check-config", no_argument, NULL, OPT_CHECK},
        {"test-watchdog", no_argument, NULL, OPT_TEST},
        {"device", required_argument, NULL, OPT_DEVICE},
        {"ttl", required_argument, NULL, OPT_TTL},
        {"really-reset", no_argument, NULL, OPT_RESET},
        {"yes", no_argument, NULL, OPT_YES},
        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct keeper_options options = {0};
    struct watchdog_test test = {.options = &options,
                                 .root = "",
                                 .ttl_us = 30 * USEC_PER_SEC,
                                 .in = stdin,
                                 .out = stdout,
                                 .ops = &watchdog_linux};
    bool tests_watchdog = false;
    uint32_t ttl_s;
    int opt;

    while ((opt = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
        switch (opt) {
        case 'c':
            options.config = optarg;
            break;
        case OPT_USER:
            options.user = optarg;
            break;
        case OPT_AGENT:
            options.agent = optarg;
            break;
        case OPT_CHECK:
            options.check_config = true;
            break;
        case OPT_TEST:
            tests_watchdog = true;
            break;
        case OPT_DEVICE:
            test.device = optarg;
            break;
        case OPT_TTL:
            if (!text_to_u32(optarg, &ttl_s) || ttl_s < 1 || ttl_s > 3600)
                return usage_error();
            test.ttl_us = ttl_s * USEC_PER_SEC;
            break;
        case OPT_RESET:
            test.really_reset = true;
            break;
        case OPT_YES:
            test.yes = true;
            break;
        case OPT_VERSION:
            (void)puts(PACKAGE_STRING);
            return 0;
        case 'h':
            print_usage(stdout);
            return 0;
        default:
            return usage_error();
        }
    }
    /* "pgtetherd --check-config FILE" is what people type. */
    if (!options.config && optind < argc)
        options.config = argv[optind++];
    if (tests_watchdog && optind >= argc)
        return watchdog_test_main(&test);
    if (!options.config || optind < argc) {
        (void)fputs(options.config ? "pgtetherd: too many arguments\n" : "pgtetherd: no configuration file\n", stderr);
        return usage_error();
    }
    return keeper_main(&options, &watchdog_linux, NULL);
}
