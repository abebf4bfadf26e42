#include <errno.h>
#include <stdlib.h>
#include "config.h"
#include "ctl/ctl.h"

struct command {
    const char *name;
    int (*run)(struct ctl *ctl, int argc, char **argv);
    const char *arguments, *summary;
    const char *help; /* options and what else there is to know */
};

static const char list_help[] =
    "Reads the cluster from the store and shows one line per member. CLUSTER is the scope of the configuration unless\n"
    "given; several can be named.\n\n"
    "  -e, --extended     always show pending and scheduled restarts and tags\n"
    "  -t, --timestamp    print the time above the table\n"
    "  -f, --format FMT   pretty (default), tsv, json or yaml\n"
    "  -W                 show again every 2 seconds\n"
    "  -w, --watch SEC    show again every SEC seconds\n";

static const char topology_help[] =
    "Shows the members as a tree: the leader first, below each member what replicates from it.\n\n"
    "  -W                 show again every 2 seconds\n"
    "  -w, --watch SEC    show again every SEC seconds\n";

static const char show_config_help[] = "Prints the dynamic configuration of the cluster as YAML.\n";

static const char history_help[] =
    "Shows when and why the cluster changed its timeline: failovers and switchovers, and who became leader.\n\n"
    "  -f, --format FMT   pretty (default), tsv, json or yaml\n";

static const char dsn_help[] =
    "Prints host and port of a member in the form that psql takes: psql \"$(pgtetherctl dsn) dbname=postgres\"\n\n"
    "  -r, --role ROLE    a member that is leader (default), primary, standby-leader, replica, standby or any\n"
    "  -m, --member NAME  this member\n";

static const char clear_fence_guard_help[] =
    "A node whose host was reset three times within an hour stays out of elections. This lets it compete again, from "
    "its\n"
    "next look on. To be run on that node, by root or the user of PostgreSQL.\n";

static const char version_help[] =
    "Prints the version of pgtetherctl; with a cluster also what its members run, as they say themselves.\n";

static const struct command commands[] = {
    {"list", cmd_list, "[CLUSTER...]", "show the members of a cluster", list_help},
    {"topology", cmd_topology, "[CLUSTER...]", "show who replicates from whom", topology_help},
    {"history", cmd_history, "[CLUSTER]", "show past failovers and switchovers", history_help},
    {"show-config", cmd_show_config, "[CLUSTER]", "print the dynamic configuration", show_config_help},
    {"dsn", cmd_dsn, "[CLUSTER]", "print how to connect to a member", dsn_help},
    {"clear-fence-guard", cmd_clear_fence_guard, "", "let this node lead again", clear_fence_guard_help},
    {"version", cmd_version, "[CLUSTER [MEMBER...]]", "print versions", version_help},
};

/* Known from patronictl or announced, and yet to come: said plainly instead of "unknown command". */
static const char *const later[] = {
    "switchover", "failover", "restart", "reload", "reinit", "pause",          "resume",         "edit-config",
    "remove",     "query",    "flush",   "doctor", "backup", "import-patroni", "demote-cluster", "promote-cluster"};

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int help(void)
{
    printf("Usage: pgtetherctl [-c FILE] COMMAND [ARGUMENT...]\n\n"
           "Shows the state of a PostgreSQL cluster that pgtether (or Patroni) keeps available.\n\nCommands:\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("  %-17s %-20s %s\n", commands[i].name, commands[i].arguments, commands[i].summary);
    printf("\nOptions:\n"
           "  -c, --config-file FILE   configuration of the instance; without it PGTETHERCTL_CONFIG_FILE names it,\n"
           "                           else it is the only *.conf in " PKGSYSCONFDIR "\n"
           "  -V, --version            print the version of pgtetherctl\n"
           "  -h, --help               print this\n\n"
           "\"pgtetherctl COMMAND --help\" tells about a command. Exit codes: 0 done, 1 failed, 2 wrong usage.\n");
    return EXIT_DONE;
}

int ctl_help(const char *command)
{
    const struct command *c = find(command);

    if (c)
        printf("Usage: pgtetherctl [-c FILE] %s [OPTION...] %s\n\n%s", c->name, c->arguments, c->help);
    return EXIT_DONE;
}

int ctl_next_option(int argc, char **argv, const struct ctl_options *o, int *exit_code)
{
    int option = getopt_long(argc, argv, o->shorts, o->longs, NULL);

    *exit_code = -1;
    if (option == 'h') {
        *exit_code = ctl_help(argv[0]);
        return -1;
    }
    if (option == '?' || option == ':') {
        const char *what = optopt && optopt < 128 ? "" : argv[optind - 1];
        char letter[3] = {'-', (char)optopt, '\0'};

        *exit_code = option == ':' ? ctl_usage(argv[0], "option \"%s\" needs a value", *what ? what : letter)
                                   : ctl_usage(argv[0], "there is no option \"%s\"", *what ? what : letter);
        return -1;
    }
    return option;
}

static int run_command(struct ctl *ctl, int argc, char **argv)
{
    const struct command *c = find(argv[0]);

    for (size_t i = 0; !c && i < ARRAY_LEN(later); i++)
        if (strcmp(later[i], argv[0]) == 0)
            return ctl_fail("\"%s\" is not supported by this version", argv[0]);
    if (!c)
        return ctl_usage(NULL, "there is no command \"%s\"", argv[0]);
    optind = 0; /* glibc: start anew, with new arguments */
    opterr = 0;
    return c->run(ctl, argc, argv);
}

int ctl_main(int argc, char **argv)
{
    static const struct option longs[] = {{"config-file", required_argument, NULL, 'c'},
                                          {"version", no_argument, NULL, 'V'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct ctl ctl = {0};
    int option, exit_code;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "+:c:Vh", longs, NULL)) != -1) {
        switch (option) {
        case 'c':
            ctl.config_path = optarg;
            break;
        case 'V':
            printf("pgtetherctl version %s\n", PACKAGE_VERSION);
            return EXIT_DONE;
        case 'h':
            return help();
        case ':':
            return ctl_usage(NULL, "option \"%s\" needs a value", argv[optind - 1]);
        default:
            return ctl_usage(NULL, "there is no option \"%s\"", argv[optind - 1]);
        }
    }
    if (optind >= argc) {
        (void)help();
        return EXIT_USAGE;
    }
    exit_code = run_command(&ctl, argc - optind, argv + optind);
    ctl_done(&ctl);
    return exit_code;
}
