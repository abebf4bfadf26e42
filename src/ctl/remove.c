/* remove: forgets a cluster, that is, all that the store holds about it. Nothing on the nodes is touched. */
#include <string.h>
#include "ctl/ask.h"
#include "ctl/ctl.h"

static const struct option longs[] = {{"format", required_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {0}};

/* Returns -1 when all three answers are right, or an exit code. */
static int ask(const struct cluster *c, const char *scope)
{
    static const char aware[] = "Yes I am aware";
    char answer[ASK_SIZE], question[512];

    if (!ask_text("Please confirm the cluster name to remove", NULL, answer, sizeof(answer)))
        return EXIT_FAILED;
    if (strcmp(answer, scope) != 0)
        return ctl_fail("Cluster names specified do not match");
    (void)text_print(question, sizeof(question),
                     "You are about to remove all information in DCS for %s, please type: \"%s\"", scope, aware);
    if (!ask_text(question, NULL, answer, sizeof(answer)))
        return EXIT_FAILED;
    if (strcmp(answer, aware) != 0)
        return ctl_fail("You did not exactly type \"%s\"", aware);
    if (!c->leader.exists)
        return -1;
    if (!ask_text("This cluster currently is healthy. Please specify the leader name to continue", NULL, answer,
                  sizeof(answer)))
        return EXIT_FAILED;
    if (strcmp(answer, c->leader.name) != 0)
        return ctl_fail("You did not specify the current leader of the cluster");
    return -1;
}

static int remove_it(struct ctl *ctl, const char *scope)
{
    struct err err = {0};

    switch (ctl_remove_cluster(ctl, scope, &err)) {
    case CTL_WRITTEN:
        return EXIT_DONE;
    case CTL_REFUSED:
        return ctl_fail("the store refused to remove cluster \"%s\": %s", scope, err.msg);
    case CTL_UNKNOWN:
        return ctl_fail("it is not known whether cluster \"%s\" was removed: %s", scope, err.msg);
    }
    return EXIT_FAILED;
}

int cmd_remove(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":f:h", longs};
    enum report_format format = REPORT_PRETTY;
    struct ctl_view view = {0};
    const char *scope;
    int exit_code;

    while (ctl_next_option(argc, argv, &options, &exit_code) != -1)
        if (!report_format_from_text(optarg, &format))
            return ctl_usage(argv[0], "there is no format \"%s\"", optarg);
    /* Not the cluster of the configuration unless it is named: this is not to happen by leaving something out. */
    if (exit_code < 0 && optind == argc)
        exit_code = ctl_usage(argv[0], "the name of the cluster is missing");
    if (exit_code < 0)
        exit_code = ctl_read_named(ctl, argc, argv, &view, &scope);
    if (exit_code < 0) {
        exit_code = ctl_show_members(&view, scope, format);
        exit_code = exit_code == EXIT_DONE ? ask(view.cluster, scope) : exit_code;
    }
    if (exit_code < 0)
        exit_code = remove_it(ctl, scope);
    ctl_view_done(&view);
    return exit_code;
}
