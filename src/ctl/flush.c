/* flush: takes back what is scheduled, restarts of members or a switchover. */
#include <string.h>
#include "base/clock.h"
#include "ctl/pick.h"
#include "ctl/rest.h"

static const struct option longs[] = {
    {"role", required_argument, NULL, 'r'}, {"force", no_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {0}};

static int flush_restarts(struct ctl *ctl, const struct ctl_view *v, const struct pick *pick)
{
    struct picked picked;
    int exit_code = pick_members(v, pick, &picked);

    if (exit_code < 0)
        exit_code = pick_confirm(&picked, pick->action, pick->force);
    if (exit_code >= 0)
        return exit_code;
    exit_code = EXIT_DONE;
    for (size_t i = 0; i < picked.n; i++) {
        const struct member *m = picked.members[i];
        json_t *data = pick_data(m);

        if (!json_object_size(json_object_get(data, "scheduled_restart")))
            printf("No scheduled restart for member %s\n", m->name);
        else if (rest_tell(ctl, m, "DELETE", "/restart", NULL, "flush scheduled restart", false) != EXIT_DONE)
            exit_code = EXIT_FAILED;
        json_decref(data);
    }
    return exit_code;
}

/* Returns -1 when the member cannot tell, or an exit code. */
static int flush_switchover_at(struct ctl *ctl, const struct member *m)
{
    struct rest_call call = {.method = "DELETE", .path = "/switchover", .timeout_us = REST_PATIENCE_US};
    struct rest_answer a = {0};
    struct err err = {0};
    int exit_code = -1;

    if (rest_ask(ctl, m, &call, &a, &err) < 0) {
        ctl_warn("%s", err.msg);
    } else if (a.status == 200 || a.status == 404) {
        printf("%s: %s\n", a.status == 200 ? "Success" : "Failed", a.body);
        exit_code = EXIT_DONE;
    } else {
        printf("Failed: member=%s, status_code=%d, (%s)\n", m->name, a.status, a.body);
    }
    rest_answer_done(&a);
    return exit_code;
}

/* The key as it was read, and no other: meanwhile it may have become somebody else's request. */
static int flush_switchover_in_store(struct ctl *ctl, const struct ctl_view *v, const char *scope)
{
    char now[CTL_TIMESTAMP_SIZE];
    struct err err = {0};

    ctl_timestamp(now, sizeof(now), 5);
    printf("%s Could not find any accessible member of cluster %s\n", now, scope);
    switch (ctl_write_key(ctl, scope, "failover", "{}", v->cluster->failover.revision, &err)) {
    case CTL_WRITTEN:
        printf("Success: scheduled switchover deleted\n");
        return EXIT_DONE;
    case CTL_REFUSED:
        return ctl_fail("the request in the store has changed meanwhile; look at it and try again");
    case CTL_UNKNOWN:
        return ctl_fail("could not remove the request from the store: %s", err.msg);
    }
    return EXIT_FAILED;
}

static int flush_switchover(struct ctl *ctl, const struct ctl_view *v, const char *scope)
{
    struct picked all;
    int exit_code = -1;

    if (!v->cluster->failover.exists || !v->cluster->failover.scheduled_at[0]) {
        printf("No pending scheduled switchover\n");
        return EXIT_DONE;
    }
    pick_leader_first(v->cluster, &all);
    for (size_t i = 0; i < all.n && exit_code < 0; i++)
        exit_code = flush_switchover_at(ctl, all.members[i]);
    return exit_code < 0 ? flush_switchover_in_store(ctl, v, scope) : exit_code;
}

/* The last argument is what to flush. Returns -1 or an exit code. */
static int take_target(int *argc, char **argv, const char **ret)
{
    if (*argc - optind < 2)
        return ctl_usage(argv[0], "the names of the cluster and of what to flush are needed");
    *ret = argv[*argc - 1];
    if (strcmp(*ret, "restart") != 0 && strcmp(*ret, "switchover") != 0)
        return ctl_usage(argv[0], "\"%s\" cannot be flushed; expected \"restart\" or \"switchover\"", *ret);
    argv[--*argc] = NULL;
    return -1;
}

int cmd_flush(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":r:h", longs};
    struct pick pick = {.action = "flush", .role_text = "any", .role = PICK_ANY};
    struct ctl_view view = {0};
    const char *target = "";
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
        exit_code = take_target(&argc, argv, &target);
    if (exit_code < 0)
        exit_code = ctl_read_with_members(ctl, argc, argv, &view, &pick.cluster_name, &pick.names);
    if (exit_code < 0 && strcmp(target, "restart") == 0)
        exit_code = flush_restarts(ctl, &view, &pick);
    else if (exit_code < 0)
        exit_code = flush_switchover(ctl, &view, pick.cluster_name);
    ctl_view_done(&view);
    return exit_code;
}
