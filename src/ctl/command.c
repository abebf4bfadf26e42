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

static const char show_config_help[] =
    "Prints the dynamic configuration of the cluster as YAML.\n\n"
    "  -o, --origin       instead show every setting as it holds on this node, where it comes from (the dynamic\n"
    "                     configuration, file and line, a default, or forced), and what PostgreSQL has instead\n"
    "  -H, --history      instead show what was changed and when the leader noticed, the last 50 times\n"
    "  -f, --format FMT   of these: pretty (default), tsv, json or yaml\n";

static const char edit_config_help[] =
    "Changes the dynamic configuration of the cluster: with the options below, else in an editor. Shows what changes\n"
    "and asks before it is written; what the members would not accept is refused.\n\n"
    "  -s, --set PATH=VALUE   set a value, written in YAML; null removes it\n"
    "  -p, --pg NAME=VALUE    the same for a parameter of PostgreSQL\n"
    "      --apply FILE       change what the file (YAML; - is the standard input) has, null removes\n"
    "      --replace FILE     make the file the whole configuration\n"
    "  -q, --quiet            do not show what changes\n"
    "      --force            do not ask\n";

static const char history_help[] =
    "Shows when and why the cluster changed its timeline: failovers and switchovers, and who became leader.\n\n"
    "  -f, --format FMT   pretty (default), tsv, json or yaml\n";

static const char dsn_help[] =
    "Prints host and port of a member in the form that psql takes: psql \"$(pgtetherctl dsn) dbname=postgres\"\n\n"
    "  -r, --role ROLE    a member that is leader (default), primary, standby-leader, replica, standby or any\n"
    "  -m, --member NAME  this member\n";

static const char switchover_help[] =
    "Lets another member lead, while both are alive: the leader writes out what it has, stops, and the candidate goes "
    "on\n"
    "where it ended. Asks for what is not given.\n\n"
    "      --leader NAME      who leads now (also --primary): a precaution\n"
    "      --candidate NAME   who shall lead; anybody if not given\n"
    "      --scheduled TIME   when, e.g. 2026-08-01T12:00+02:00; local time without a zone; now\n"
    "      --force            ask nothing\n";

static const char failover_help[] = "Lets the candidate lead although the cluster has no leader, or an unhealthy one. "
                                    "What the candidate has not received\n"
                                    "is lost. Asks for what is not given.\n\n"
                                    "      --candidate NAME   who shall lead\n"
                                    "      --force            ask nothing\n";

#define ROLE_HELP                                                                                                      \
    "  -r, --role ROLE        only members that are leader, primary, standby-leader, replica, standby or any "         \
    "(default)\n"

static const char restart_help[] =
    "Restarts PostgreSQL on the members, one after the other; all unless some are named. It does not wait until a\n"
    "replica has caught up before the next is restarted: rolling-restart does.\n\n" ROLE_HELP
    "      --any              only one of them, chosen by chance\n"
    "      --pending          only those that wait for a restart\n"
    "      --pg-version V     only where PostgreSQL is older than this\n"
    "      --scheduled TIME   when, e.g. 2026-08-01T12:00+02:00; local time without a zone; now\n"
    "      --timeout TIME     fail, and fail over, when a restart takes longer than this, e.g. 30 or 1min\n"
    "      --force            ask nothing; replaces a restart that is scheduled\n";

static const char rolling_restart_help[] =
    "Restarts the members one after the other, replicas first, and waits for each until it runs, streams and has\n"
    "replayed. The leader comes last: it hands over to the best candidate. Shows its plan, asks, and stops at the "
    "first\n"
    "failure.\n\n"
    "      --dry-run          show the plan only\n"
    "      --pending          only members that wait for a restart\n"
    "      --in-place         restart the leader where it is, without a switchover\n"
    "      --candidate NAME   who takes over from the leader\n"
    "      --max-lag BYTES    how much a replica may lack to count as back, e.g. 16MB; default is the cluster's\n"
    "                         maximum_lag_on_failover\n"
    "      --timeout SEC      how long to wait for each member, default 300\n"
    "      --force            ask nothing\n";

static const char reload_help[] =
    "Lets the members read their configuration again; all unless some are named.\n\n" ROLE_HELP
    "      --force            ask nothing\n";

static const char reinit_help[] = "Lets replicas give up their data directory and get a new copy.\n\n"
                                  "      --from-leader      copy from the leader, not from a replica\n"
                                  "      --wait             wait until the copy is there\n"
                                  "      --force            ask nothing; cancels what the member is doing\n";

static const char pause_help[] = "Takes the agents' hands off: no failover happens by itself until \"resume\".\n\n"
                                 "      --wait             wait until all members have seen it\n";

static const char resume_help[] = "Ends a pause.\n\n"
                                  "      --wait             wait until all members have seen it\n";

static const char flush_help[] = "Takes back what is scheduled. WHAT is \"restart\": of members, all unless some are "
                                 "named; or \"switchover\".\n\n" ROLE_HELP "      --force            ask nothing\n";

static const char remove_help[] =
    "Removes all that the store holds about a cluster, after three questions. The nodes are not touched: stop them "
    "first,\n"
    "or they write it again.\n\n"
    "  -f, --format FMT       of the list shown before: pretty (default), tsv, json or yaml\n";

static const char query_help[] =
    "Runs SQL on a member. User and password come from libpq (PGUSER, PGPASSWORD, .pgpass) unless given. An error is\n"
    "printed as a row.\n\n"
    "  -c, --command SQL      what to run\n"
    "  -f, --file FILE        the same from a file, - for the standard input\n"
    "  -r, --role ROLE        where: leader (default), primary, standby-leader, replica, standby or any\n"
    "  -m, --member NAME      on this member\n"
    "  -U, --username NAME    database user\n"
    "      --password         ask for the password\n"
    "  -d, --dbname NAME      database\n"
    "      --format FMT       tsv (default), pretty, json or yaml\n"
    "      --delimiter TEXT   between the columns of tsv\n"
    "  -W                     again every 2 seconds\n"
    "  -w, --watch SEC        again every SEC seconds\n";

static const char demote_cluster_help[] =
    "Makes the cluster a standby cluster, which follows another one, and waits until it is.\n\n"
    "      --host HOST               where the other cluster is\n"
    "      --port PORT               its port\n"
    "      --restore-command CMD     how to fetch its WAL from an archive\n"
    "      --primary-slot-name NAME  replication slot to use there\n"
    "      --force                   ask nothing\n";

static const char promote_cluster_help[] = "Lets a standby cluster stand for itself, and waits until it has a primary. "
                                           "Make sure that the other cluster has none\n"
                                           "any more: nothing here can know that.\n\n"
                                           "      --force                   ask nothing\n";

static const char doctor_help[] =
    "Looks for what goes wrong most often, and says what to do about it: is every endpoint of the store reached, do "
    "the\n"
    "settings hold, are REST API and PostgreSQL of each member reached from here, do the clocks agree; and on a "
    "member's\n"
    "host, as root or the user of PostgreSQL: programs, data directory, a stale postmaster.pid, another service that\n"
    "started PostgreSQL, the watchdog, the address in the store. Changes nothing. Exit code 1 if something is BAD.\n";

static const char clear_fence_guard_help[] =
    "A node whose host was reset three times within an hour stays out of elections. This lets it compete again, from "
    "its\n"
    "next look on. To be run on that node, by root or the user of PostgreSQL.\n";

static const char why_help[] =
    "Shows for every member whether it could lead if the leader's host died now; if not, which rule stops it; and what "
    "a\n"
    "failover to it would cost: WAL that it lacks, and for how many seconds at most nobody would accept writes (the "
    "rest\n"
    "of the leader's lease and an election; replaying what was received comes on top). The members say it "
    "themselves.\n\n"
    "  -f, --format FMT   pretty (default), tsv, json or yaml\n";

static const char version_help[] =
    "Prints the version of pgtetherctl; with a cluster also what its members run, as they say themselves.\n";

static const struct command commands[] = {
    {"list", cmd_list, "[CLUSTER...]", "show the members of a cluster", list_help},
    {"topology", cmd_topology, "[CLUSTER...]", "show who replicates from whom", topology_help},
    {"history", cmd_history, "[CLUSTER]", "show past failovers and switchovers", history_help},
    {"show-config", cmd_show_config, "[CLUSTER]", "print the dynamic configuration", show_config_help},
    {"edit-config", cmd_edit_config, "[CLUSTER]", "change the dynamic configuration", edit_config_help},
    {"dsn", cmd_dsn, "[CLUSTER]", "print how to connect to a member", dsn_help},
    {"query", cmd_query, "[CLUSTER]", "run SQL on a member", query_help},
    {"switchover", cmd_switchover, "[CLUSTER]", "let another member lead", switchover_help},
    {"failover", cmd_failover, "[CLUSTER]", "let a member lead, whatever the leader does", failover_help},
    {"restart", cmd_restart, "CLUSTER [MEMBER...]", "restart PostgreSQL on members", restart_help},
    {"rolling-restart", cmd_rolling_restart, "CLUSTER [MEMBER...]", "restart one after the other, leader last",
     rolling_restart_help},
    {"reload", cmd_reload, "CLUSTER [MEMBER...]", "let members read their configuration again", reload_help},
    {"reinit", cmd_reinit, "CLUSTER [MEMBER...]", "make replicas anew", reinit_help},
    {"pause", cmd_pause, "[CLUSTER]", "switch failover off", pause_help},
    {"resume", cmd_resume, "[CLUSTER]", "switch failover on again", resume_help},
    {"flush", cmd_flush, "CLUSTER [MEMBER...] WHAT", "take back what is scheduled", flush_help},
    {"remove", cmd_remove, "CLUSTER", "remove a cluster from the store", remove_help},
    {"demote-cluster", cmd_demote_cluster, "[CLUSTER]", "let the cluster follow another one", demote_cluster_help},
    {"promote-cluster", cmd_promote_cluster, "[CLUSTER]", "let it stand for itself again", promote_cluster_help},
    {"why", cmd_why, "[CLUSTER]", "show who could lead, and what stops the others", why_help},
    {"doctor", cmd_doctor, "", "look for mistakes, and how to mend them", doctor_help},
    {"clear-fence-guard", cmd_clear_fence_guard, "", "let this node lead again", clear_fence_guard_help},
    {"version", cmd_version, "[CLUSTER [MEMBER...]]", "print versions", version_help},
};

/* Known from patronictl or announced, and yet to come: said plainly instead of "unknown command". */
static const char *const later[] = {"backup", "import-patroni"};

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int help(void)
{
    printf("Usage: pgtetherctl [-c FILE] [-k] COMMAND [ARGUMENT...]\n\n"
           "Shows and changes the state of a PostgreSQL cluster that pgtether (or Patroni) keeps available.\n\n"
           "Commands:\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("  %-17s %-24s %s\n", commands[i].name, commands[i].arguments, commands[i].summary);
    printf("\nOptions:\n"
           "  -c, --config-file FILE   configuration of the instance; without it PGTETHERCTL_CONFIG_FILE names it,\n"
           "                           else it is the only *.conf in " PKGSYSCONFDIR "\n"
           "  -k, --insecure           do not verify the certificates of REST APIs\n"
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
                                          {"insecure", no_argument, NULL, 'k'},
                                          {"version", no_argument, NULL, 'V'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct ctl ctl = {0};
    int option, exit_code;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "+:c:kVh", longs, NULL)) != -1) {
        switch (option) {
        case 'c':
            ctl.config_path = optarg;
            break;
        case 'k':
            ctl.insecure = true;
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
