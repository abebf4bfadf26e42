/* reload: members read their configuration again. */
#include "base/clock.h"
#include "ctl/pick.h"
#include "ctl/rest.h"

static const struct option longs[] = {
    {"role", required_argument, NULL, 'r'}, {"force", no_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {0}};

static int reload_one(struct ctl *ctl, const struct member *m, unsigned loop_wait_s)
{
    struct rest_call call = {.method = "POST", .path = "/reload", .timeout_us = REST_PATIENCE_US};
    struct rest_answer a = {0};
    struct err err = {0};
    int exit_code = EXIT_DONE;

    if (rest_ask(ctl, m, &call, &a, &err) < 0)
        exit_code = rest_failed(m, "reload", &err);
    else if (a.status == 200)
        printf("No changes to apply on member %s\n", m->name);
    else if (a.status == 202)
        printf("Reload request received for member %s and will be processed within %u seconds\n", m->name, loop_wait_s);
    else
        printf("Failed: reload for member %s, status code=%d, (%s)\n", m->name, a.status, a.body);
    rest_answer_done(&a);
    return exit_code;
}

static int reload(struct ctl *ctl, const struct ctl_view *v, const struct pick *pick)
{
    struct picked picked;
    int exit_code = pick_members(v, pick, &picked);

    if (exit_code < 0)
        exit_code = pick_confirm(&picked, pick->action, pick->force);
    if (exit_code >= 0)
        return exit_code;
    exit_code = EXIT_DONE;
    for (size_t i = 0; i < picked.n; i++)
        if (reload_one(ctl, picked.members[i], v->loop_wait_s) != EXIT_DONE)
            exit_code = EXIT_FAILED;
    return exit_code;
}

int cmd_reload(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":r:h", longs};
    struct pick pick = {.action = "reload", .role_text = "any", .role = PICK_ANY};
    struct ctl_view view = {0};
    int option, exit_code;

    while ((option = ctl_next_option(argc, argv, &options, &exit_code)) != -1) {
        if (option == 'f')
            pick.force = true;
        else if (pick_role_from_text(optarg, &pick.role))
            pick.role_text = optarg;
        else
            return ctl_usage(argv[0], PICK_ROLE_EXPECTED, optarg);
    }
    if (exit_code < 0)
        exit_code = ctl_read_with_members(ctl, argc, argv, &view, &pick.cluster_name, &pick.names);
    if (exit_code < 0)
        exit_code = reload(ctl, &view, &pick);
    ctl_view_done(&view);
    return exit_code;
}
