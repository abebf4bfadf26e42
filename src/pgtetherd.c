/* pgtetherd: the keeper of one instance. Everything it does is in fence/; this file reads its command line. */
#include <getopt.h>
#include <stdio.h>
#include "config.h"
#include "fence/keeper.h"

enum { EXIT_USAGE = 64 };

static void print_usage(FILE *out)
{
    (void)fputs("Usage: pgtetherd -c FILE [OPTION]...\n"
                "Keeps PostgreSQL tethered to its lease, and starts pgtether-agent, which does the rest.\n"
                "\n"
                "  -c, --config FILE   configuration file\n"
                "      --user NAME     user of the agent and PostgreSQL, if started as root (default: postgres)\n"
                "      --agent PATH    agent program\n"
                "      --check-config  report every problem of the configuration file and exit\n"
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
    enum { OPT_USER = 256, OPT_AGENT, OPT_CHECK, OPT_VERSION };
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'},
        {"user", required_argument, NULL, OPT_USER},
        {"agent", required_argument, NULL, OPT_AGENT},
        {"check-config", no_argument, NULL, OPT_CHECK},
        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct keeper_options options = {0};
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
    if (!options.config || optind < argc) {
        (void)fputs(options.config ? "pgtetherd: too many arguments\n" : "pgtetherd: no configuration file\n", stderr);
        return usage_error();
    }
    return keeper_main(&options, &watchdog_linux, NULL);
}
