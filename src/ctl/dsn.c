/* dsn: how to connect to a member. */
#include "ctl/pick.h"

static const struct option dsn_longs[] = {{"role", required_argument, NULL, 'r'},
                                          {"member", required_argument, NULL, 'm'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};

static int print_dsn(const struct cluster *c, enum pick_role role, const char *name)
{
    const struct member *m = pick_to_connect(c, role, name);

    if (!m)
        return ctl_fail("Can not find a suitable member");
    printf("host=%s port=%u\n", m->host, m->port);
    return EXIT_DONE;
}

int cmd_dsn(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":r:m:h", dsn_longs};
    const char *role_text = NULL, *member = NULL;
    enum pick_role role = PICK_LEADER;
    struct ctl_view view = {0};
    const char *scope;
    int option, exit_code;

    while ((option = ctl_next_option(argc, argv, &options, &exit_code)) != -1) {
        if (option == 'r')
            role_text = optarg;
        else
            member = optarg;
    }
    if (exit_code < 0 && role_text && member)
        exit_code = ctl_fail("--role and --member are mutually exclusive options");
    if (exit_code < 0 && role_text && !pick_role_from_text(role_text, &role))
        exit_code = ctl_usage(argv[0], PICK_ROLE_EXPECTED, role_text);
    if (exit_code < 0)
        exit_code = ctl_read_named(ctl, argc, argv, &view, &scope);
    if (exit_code < 0)
        exit_code = print_dsn(view.cluster, member ? PICK_ANY : role, member);
    ctl_view_done(&view);
    return exit_code;
}
