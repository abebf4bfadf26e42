/* demote-cluster and promote-cluster: whether the cluster follows another one, or stands for itself. */
#include <string.h>
#include "base/clock.h"
#include "ctl/ask.h"
#include "ctl/rest.h"

enum { OPTION_HOST = 256, OPTION_PORT, OPTION_RESTORE, OPTION_SLOT, OPTION_FORCE };
enum { PATIENCE_S = 300 };

static const struct option demote_longs[] = {{"host", required_argument, NULL, OPTION_HOST},
                                             {"port", required_argument, NULL, OPTION_PORT},
                                             {"restore-command", required_argument, NULL, OPTION_RESTORE},
                                             {"primary-slot-name", required_argument, NULL, OPTION_SLOT},
                                             {"force", no_argument, NULL, OPTION_FORCE},
                                             {"help", no_argument, NULL, 'h'},
                                             {0}};
static const struct option promote_longs[] = {
    {"force", no_argument, NULL, OPTION_FORCE}, {"help", no_argument, NULL, 'h'}, {0}};

struct wish {
    bool demote, force;
    const char *host, *restore_command, *slot; /* NULL = not said */
    uint32_t port;                             /* 0 = not said */
};

static const char *verb(const struct wish *w)
{
    return w->demote ? "demote" : "promote";
}

static json_t *standby_cluster(const struct wish *w)
{
    json_t *settings;

    if (!w->demote)
        return json_null();
    settings = json_object();
    if (w->host)
        (void)json_object_set_new(settings, "host", json_string(w->host));
    if (w->port)
        (void)json_object_set_new(settings, "port", json_integer(w->port));
    if (w->slot)
        (void)json_object_set_new(settings, "primary_slot_name", json_string(w->slot));
    if (w->restore_command)
        (void)json_object_set_new(settings, "restore_command", json_string(w->restore_command));
    return settings;
}

static bool has_role(const struct member *m, bool standby_leader)
{
    return m->role == (standby_leader ? PG_ROLE_STANDBY_LEADER : PG_ROLE_PRIMARY);
}

/* Returns -1, or an exit code. */
static int confirm(const struct ctl_view *v, const char *scope, const struct wish *w)
{
    const struct member *leader = cluster_leader_member(v->cluster);
    int exit_code;

    if (!leader)
        return ctl_fail("Cluster has no leader, %s is not possible", w->demote ? "demotion" : "promotion");
    if (has_role(leader, w->demote))
        return ctl_fail("Cluster is already in the required state");
    printf("Current cluster topology\n");
    exit_code = ctl_show_members(v, scope, REPORT_PRETTY);
    if (exit_code != EXIT_DONE || w->force)
        return exit_code == EXIT_DONE ? -1 : exit_code;
    switch (ask_confirm("Are you sure you want to %s %s cluster?", verb(w), scope)) {
    case ASK_YES:
        return -1;
    case ASK_NO:
        return ctl_fail("Aborted cluster %s", w->demote ? "demotion" : "promotion");
    case ASK_ABORTED:
        return EXIT_FAILED;
    }
    return EXIT_FAILED;
}

/* Returns -1, or an exit code. */
static int tell(struct ctl *ctl, const struct ctl_view *v, const char *scope, const struct wish *w)
{
    struct rest_call call = {.method = "PATCH", .path = "/config", .timeout_us = REST_PATIENCE_US};
    struct rest_answer a = {0};
    struct err err = {0};
    int exit_code = -1;

    call.body = json_pack("{s:o}", "standby_cluster", standby_cluster(w));
    if (rest_ask(ctl, cluster_leader_member(v->cluster), &call, &a, &err) < 0)
        exit_code = ctl_fail("Failed to %s %s cluster: %s", verb(w), scope, err.msg);
    else if (a.status != 200)
        exit_code =
            ctl_fail("Failed to %s %s cluster: /config PATCH status code=%d, (%s)", verb(w), scope, a.status, a.body);
    rest_answer_done(&a);
    return exit_code;
}

/* True when it is done; else *text is how far it is. The old leader must be back, too, when the cluster is demoted. */
static bool is_done(const struct cluster *c, const char *old_leader, const struct wish *w, char *text, size_t size)
{
    const struct member *leader = cluster_leader_member(c), *old = cluster_member(c, old_leader);

    (void)text_print(text, size, "cluster is unlocked: %s, leader role: %s, leader state: %s%s%s",
                     c->leader.exists ? "False" : "True", leader ? pg_role_text(leader->role) : "None",
                     leader ? pg_state_text(leader->state) : "None",
                     w->demote && old && old != leader ? ", previous leader state: " : "",
                     w->demote && old && old != leader ? pg_state_text(old->state) : "");
    return leader && has_role(leader, w->demote) && leader->state == PG_STATE_RUNNING &&
           (!w->demote || (old && old->state == PG_STATE_RUNNING));
}

/* The view becomes what it was when it was done. Returns an exit code. */
static int wait_until_done(struct ctl *ctl, struct ctl_view *v, const char *scope, const struct wish *w)
{
    uint64_t began_us = clock_now_us();
    char old_leader[MEMBER_NAME_SIZE], text[256] = "", said[256] = "", now[CTL_TIMESTAMP_SIZE];
    bool done = false;

    (void)text_copy(old_leader, sizeof(old_leader), v->cluster->leader.name);
    while (!done && clock_now_us() - began_us < PATIENCE_S * USEC_PER_SEC) {
        struct err err = {0};

        ctl_view_done(v);
        if (ctl_read_cluster(ctl, scope, v, &err) == 0)
            done = is_done(v->cluster, old_leader, w, text, sizeof(text));
        else
            (void)text_copy(text, sizeof(text), err.msg);
        ctl_timestamp(now, sizeof(now), 0);
        if (!done && strcmp(text, said) != 0)
            printf("%s %s\n", now, text);
        (void)text_copy(said, sizeof(said), text);
        (void)fflush(stdout);
        if (!done)
            ctl_sleep_us(USEC_PER_SEC);
    }
    if (!done)
        return ctl_fail("the cluster is not %sd after %d s: %s; the leader's log says what it waits for", verb(w),
                        PATIENCE_S, text);
    printf("%s cluster is successfully %sd\n", now, verb(w));
    return ctl_show_members(v, scope, REPORT_PRETTY);
}

static int run(struct ctl *ctl, int argc, char **argv, const struct ctl_options *options, struct wish *w)
{
    struct ctl_view view = {0};
    const char *scope;
    int option, exit_code;

    while ((option = ctl_next_option(argc, argv, options, &exit_code)) != -1) {
        if (option == OPTION_HOST)
            w->host = optarg;
        else if (option == OPTION_RESTORE)
            w->restore_command = optarg;
        else if (option == OPTION_SLOT)
            w->slot = optarg;
        else if (option == OPTION_FORCE)
            w->force = true;
        else if (!text_to_u32(optarg, &w->port) || !w->port || w->port > UINT16_MAX)
            return ctl_usage(argv[0], "\"%s\" is no port", optarg);
    }
    if (exit_code < 0 && w->demote && !w->host && !w->port && !w->restore_command)
        exit_code = ctl_fail("At least --host, --port or --restore-command should be specified");
    if (exit_code < 0)
        exit_code = ctl_read_named(ctl, argc, argv, &view, &scope);
    if (exit_code < 0)
        exit_code = confirm(&view, scope, w);
    if (exit_code < 0)
        exit_code = tell(ctl, &view, scope, w);
    if (exit_code < 0)
        exit_code = wait_until_done(ctl, &view, scope, w);
    ctl_view_done(&view);
    return exit_code;
}

int cmd_demote_cluster(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":h", demote_longs};
    struct wish w = {.demote = true};

    return run(ctl, argc, argv, &options, &w);
}

int cmd_promote_cluster(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":h", promote_longs};
    struct wish w = {.demote = false};

    return run(ctl, argc, argv, &options, &w);
}
