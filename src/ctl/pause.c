/* pause and resume: whether the agents may change who leads. */
#include <string.h>
#include "base/clock.h"
#include "ctl/pick.h"
#include "ctl/rest.h"

static const struct option longs[] = {{"wait", no_argument, NULL, 'w'}, {"help", no_argument, NULL, 'h'}, {0}};

/* Those of the members that were there before whose key does not show it yet. */
static void find_others(const struct cluster *before, const struct cluster *now, bool paused, struct picked *ret)
{
    ret->n = 0;
    for (size_t i = 0; i < now->n_members && ret->n < CODEC_MEMBERS_MAX; i++) {
        const struct member *was = cluster_member(before, now->members[i].name);

        if (was && was->api_url[0] && now->members[i].pause != paused)
            ret->members[ret->n++] = &now->members[i];
    }
}

/* Returns true when all have seen it, or with the last attempt after saying who has not. */
static bool has_been_seen(struct ctl *ctl, const char *scope, const struct ctl_view *before, bool paused, bool is_last)
{
    struct ctl_view now = {0};
    struct picked others;
    struct err err = {0};
    char names[1024];
    bool seen = false;

    if (ctl_read_cluster(ctl, scope, &now, &err) == 0) {
        find_others(before->cluster, now.cluster, paused, &others);
        seen = !others.n;
        pick_names(&others, names, sizeof(names));
        if (!seen && is_last)
            printf("%s members didn't recognized pause state after %u seconds\n", names, before->loop_wait_s);
    } else if (is_last) {
        (void)ctl_fail("%s", err.msg);
    }
    ctl_view_done(&now);
    return seen;
}

static void say_done(bool paused)
{
    printf("Success: cluster management is %s\n", paused ? "paused" : "resumed");
}

static void wait_until_seen(struct ctl *ctl, const char *scope, const struct ctl_view *before, bool paused)
{
    printf("'%s' request sent, waiting until it is recognized by all nodes\n", paused ? "pause" : "resume");
    (void)fflush(stdout);
    for (unsigned i = 0; i <= before->loop_wait_s + 1; i++) {
        if (i > 0)
            ctl_sleep_us(USEC_PER_SEC);
        if (has_been_seen(ctl, scope, before, paused, i > before->loop_wait_s)) {
            say_done(paused);
            return;
        }
    }
}

/* Returns -1 when the member cannot be reached, or an exit code. */
static int tell(struct ctl *ctl, const struct member *m, bool paused, bool *ret_done)
{
    struct rest_call call = {.method = "PATCH", .path = "/config", .timeout_us = REST_PATIENCE_US};
    struct rest_answer a = {0};
    struct err err = {0};
    int exit_code = EXIT_DONE;

    call.body = json_pack("{s:o}", "pause", paused ? json_true() : json_null());
    if (rest_ask(ctl, m, &call, &a, &err) < 0) {
        ctl_warn("%s", err.msg);
        exit_code = -1;
    } else if (a.status == 200) {
        *ret_done = true;
    } else {
        printf("Failed: %s cluster management status code=%d, (%s)\n", paused ? "pause" : "resume", a.status, a.body);
    }
    rest_answer_done(&a);
    return exit_code;
}

static int toggle(struct ctl *ctl, const char *scope, const struct ctl_view *v, bool paused, bool wait)
{
    struct picked all;
    bool done = false;
    int exit_code = -1;

    if (v->paused == paused)
        return ctl_fail("Cluster is %s paused", paused ? "already" : "not");
    pick_leader_first(v->cluster, &all);
    for (size_t i = 0; i < all.n && exit_code < 0; i++)
        exit_code = tell(ctl, all.members[i], paused, &done);
    if (exit_code < 0)
        return ctl_fail("Can not find accessible cluster member");
    if (done && wait)
        wait_until_seen(ctl, scope, v, paused);
    else if (done)
        say_done(paused);
    return exit_code;
}

static int run(struct ctl *ctl, int argc, char **argv, bool paused)
{
    static const struct ctl_options options = {":h", longs};
    struct ctl_view view = {0};
    const char *scope;
    bool wait = false;
    int exit_code;

    while (ctl_next_option(argc, argv, &options, &exit_code) != -1)
        wait = true;
    if (exit_code < 0)
        exit_code = ctl_read_named(ctl, argc, argv, &view, &scope);
    if (exit_code < 0)
        exit_code = toggle(ctl, scope, &view, paused, wait);
    ctl_view_done(&view);
    return exit_code;
}

int cmd_pause(struct ctl *ctl, int argc, char **argv)
{
    return run(ctl, argc, argv, true);
}

int cmd_resume(struct ctl *ctl, int argc, char **argv)
{
    return run(ctl, argc, argv, false);
}
