/*
 * rolling-restart: all members of a cluster, one after the other, each waited for. It stops at the first failure, when
 * one member is affected at most, and says how to go on.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "ctl/ask.h"
#include "ctl/handover.h"
#include "ctl/restart.h"
#include "ctl/rolling_plan.h"
#include "ctl/rolling_wait.h"

enum {
    OPTION_PENDING = 256,
    OPTION_IN_PLACE,
    OPTION_CANDIDATE,
    OPTION_MAX_LAG,
    OPTION_TIMEOUT,
    OPTION_DRY_RUN,
    OPTION_FORCE
};
enum { TIMEOUT_S = 300 };

static const struct option longs[] = {{"pending", no_argument, NULL, OPTION_PENDING},
                                      {"in-place", no_argument, NULL, OPTION_IN_PLACE},
                                      {"candidate", required_argument, NULL, OPTION_CANDIDATE},
                                      {"max-lag", required_argument, NULL, OPTION_MAX_LAG},
                                      {"timeout", required_argument, NULL, OPTION_TIMEOUT},
                                      {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
                                      {"force", no_argument, NULL, OPTION_FORCE},
                                      {"help", no_argument, NULL, 'h'},
                                      {0}};

struct rolling {
    struct ctl *ctl;
    const char *scope;
    struct rolling_wish wish;
    struct rolling_limits limits;
    bool lag_is_set, dry_run, force;
    char leader[MEMBER_NAME_SIZE]; /* who leads while this step is done */
};

/* --- the plan -------------------------------------------------------------------------------------------------------
 */

static void print_plan(const struct rolling *r, const struct rolling_plan *plan)
{
    printf("Plan: restart %zu member%s of cluster %s, one after the other\n", plan->n, plan->n == 1 ? "" : "s",
           r->scope);
    for (size_t i = 0; i < plan->n; i++) {
        const struct rolling_step *s = &plan->steps[i];

        printf("%3zu. %s", i + 1, s->member->name);
        if (s->kind == ROLLING_SWITCHOVER)
            printf(" (leader): switchover to %s, which restarts %s", s->candidate->name, s->member->name);
        else if (strcmp(s->member->name, r->leader) == 0)
            printf(" (leader): restart in place; nobody can write meanwhile");
        else
            printf(" (replica): restart");
        printf("%s\n", s->member->pending_restart ? "; has a pending restart" : "");
    }
    printf("After each step it is waited, at most %" PRIu64 " s, until the member runs, streams and has replayed to "
           "within %" PRIu64 " bytes.\n",
           r->limits.timeout_us / USEC_PER_SEC, r->limits.lag_bytes);
}

/* --- the steps ------------------------------------------------------------------------------------------------------
 */

static int restart(struct rolling *r, const struct member *m, struct err *err)
{
    struct rest_answer a = {0};
    int result = restart_member(r->ctl, m, json_object(), r->limits.timeout_us, &a, err);

    if (result == 0 && a.status != 200)
        result = err_set(err, -EIO, "%s refused to restart: status code=%d, (%.150s)", m->name, a.status, a.body);
    rest_answer_done(&a);
    return result;
}

/* "" if the member does not tell. */
static void ask_start_time(struct ctl *ctl, const struct member *m, char *buf, size_t size)
{
    struct err err = {0};
    json_t *status = rest_get(ctl, m, "/patroni", &err);
    const char *text = json_string_value(json_object_get(status, "postmaster_start_time"));

    (void)text_copy(buf, size, text ? text : "");
    json_decref(status);
}

/*
 * Who takes over is settled now, unless it was named: meanwhile another one may have become the synchronous standby.
 * The store is some seconds behind the member that was just restarted, so it is looked at again and again. Returns 0
 * with the view in which *ret is, or -errno.
 */
static int choose(struct rolling *r, struct ctl_view *v, const struct member **ret, struct err *err)
{
    uint64_t began_us = clock_now_us();
    const char *why;
    int code;

    for (;;) {
        code = ctl_read_cluster(r->ctl, r->scope, v, err);
        if (code < 0)
            return code;
        *ret = r->wish.candidate ? cluster_member(v->cluster, r->wish.candidate) : rolling_candidate(v);
        why = *ret ? rolling_not_yet(v, *ret) : "no member that may lead runs";
        if (!why)
            return 0;
        if (clock_now_us() - began_us > r->limits.timeout_us)
            return err_set(err, -ETIMEDOUT, "%s cannot take over from %s: %s", *ret ? (*ret)->name : "another member",
                           r->leader, why);
        ctl_view_done(v);
        ctl_sleep_us(USEC_PER_SEC / 2);
    }
}

static int hand_over(struct rolling *r, struct err *err)
{
    struct ctl_view v = {0};
    struct handover h = {.scope = r->scope, .is_switchover = true, .leader = r->leader};
    struct handover_result result = {0};
    const struct member *candidate = NULL;
    int code = choose(r, &v, &candidate, err);

    if (code == 0) {
        h.candidate = candidate->name;
        printf("  switchover from %s to %s\n", r->leader, h.candidate);
        handover_run(r->ctl, &v, &h, &result);
        if (result.outcome == HANDOVER_DONE)
            printf("  %s\n", result.text);
        else
            code = err_set(err, -EIO, "switchover from %s to %s failed: %.150s", r->leader, h.candidate, result.text);
    }
    handover_result_done(&result);
    ctl_view_done(&v);
    return code;
}

/* Returns 0 and who leads now. */
static int read_leader(struct rolling *r, struct err *err)
{
    struct ctl_view v = {0};
    int code = ctl_read_cluster(r->ctl, r->scope, &v, err);

    if (code == 0 && !v.cluster->leader.exists)
        code = err_set(err, -ENOENT, "the cluster has no leader");
    if (code == 0)
        (void)text_copy(r->leader, sizeof(r->leader), v.cluster->leader.name);
    ctl_view_done(&v);
    return code;
}

/* A primary becomes a standby by being stopped and started; where that was not so, it is restarted now. */
static int switch_over(struct rolling *r, const struct member *m, struct err *err)
{
    char before[64], after[64];
    int code;

    ask_start_time(r->ctl, m, before, sizeof(before));
    code = hand_over(r, err);
    if (code == 0)
        code = read_leader(r, err);
    if (code == 0)
        code = rolling_wait(r->ctl, r->scope, m->name, r->leader, &r->limits, err);
    if (code < 0)
        return code;
    ask_start_time(r->ctl, m, after, sizeof(after));
    if (!*before || strcmp(before, after) != 0)
        return 0;
    code = restart(r, m, err);
    return code < 0 ? code : rolling_wait(r->ctl, r->scope, m->name, r->leader, &r->limits, err);
}

static int take_step(struct rolling *r, const struct rolling_step *s, struct err *err)
{
    int code;

    switch (s->kind) {
    case ROLLING_RESTART:
        code = restart(r, s->member, err);
        return code < 0 ? code : rolling_wait(r->ctl, r->scope, s->member->name, r->leader, &r->limits, err);
    case ROLLING_SWITCHOVER:
        return switch_over(r, s->member, err);
    }
    return -EINVAL;
}

static int give_up(const struct rolling *r, const struct rolling_plan *plan, size_t at, const struct err *err)
{
    const char *name = plan->steps[at].member->name;

    (void)ctl_fail("stopped at %s, step %zu of %zu: %s", name, at + 1, plan->n, err->msg);
    (void)fprintf(stderr,
                  "HINT:  The members after it were not touched. See the log of %s and \"pgtetherctl list %s\"; when "
                  "it runs, go on with\n       pgtetherctl",
                  name, r->scope);
    if (r->ctl->config_path)
        (void)fprintf(stderr, " -c %s", r->ctl->config_path);
    (void)fprintf(stderr, " rolling-restart%s", r->wish.in_place ? " --in-place" : "");
    if (r->wish.candidate)
        (void)fprintf(stderr, " --candidate %s", r->wish.candidate);
    (void)fprintf(stderr, " %s", r->scope);
    for (; at < plan->n; at++)
        (void)fprintf(stderr, " %s", plan->steps[at].member->name);
    (void)fputs("\n", stderr);
    return EXIT_FAILED;
}

static int carry_out(struct rolling *r, const struct rolling_plan *plan)
{
    uint64_t began_us = clock_now_us();

    for (size_t i = 0; i < plan->n; i++) {
        struct err err = {0};

        printf("[%zu/%zu] %s\n", i + 1, plan->n, plan->steps[i].member->name);
        (void)fflush(stdout);
        if (take_step(r, &plan->steps[i], &err) < 0)
            return give_up(r, plan, i, &err);
    }
    printf("Success: %zu member%s restarted in %.1f s\n", plan->n, plan->n == 1 ? "" : "s",
           (double)(clock_now_us() - began_us) / (double)USEC_PER_SEC);
    return EXIT_DONE;
}

/* --- the command ----------------------------------------------------------------------------------------------------
 */

static int rolling_restart(struct rolling *r, const struct ctl_view *v)
{
    struct rolling_plan plan;
    struct err err = {0};
    int exit_code = ctl_show_members(v, r->scope, REPORT_PRETTY);

    if (exit_code != EXIT_DONE)
        return exit_code;
    if (rolling_plan_make(v, &r->wish, &plan, &err) < 0)
        return ctl_fail("%s", err.msg);
    if (!plan.n) {
        printf("No member waits for a restart\n");
        return EXIT_DONE;
    }
    (void)text_copy(r->leader, sizeof(r->leader), v->cluster->leader.name);
    print_plan(r, &plan);
    if (r->dry_run)
        return EXIT_DONE;
    if (!r->force) {
        switch (ask_confirm("Are you sure you want to restart %zu member%s of cluster %s?", plan.n,
                            plan.n == 1 ? "" : "s", r->scope)) {
        case ASK_YES:
            break;
        case ASK_NO:
            return ctl_fail("Aborted rolling restart");
        case ASK_ABORTED:
            return EXIT_FAILED;
        }
    }
    return carry_out(r, &plan);
}

/* Bytes, with kB, MB or GB behind the number if wanted. */
static bool parse_bytes(const char *text, uint64_t *ret)
{
    static const char *const units[] = {"", "kB", "MB", "GB"};
    char number[24];
    size_t digits = strspn(text, "0123456789");

    if (!digits || digits >= sizeof(number))
        return false;
    (void)text_copy(number, digits + 1, text);
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (strcmp(text + digits, units[i]) == 0)
            return text_to_u64(number, ret) && *ret <= UINT64_MAX >> 30 && (*ret <<= 10 * i, true);
    return false;
}

/* Returns -1, or an exit code. */
static int take_option(const char *command, int option, struct rolling *r)
{
    uint32_t seconds;

    switch (option) {
    case OPTION_PENDING:
        r->wish.pending = true;
        break;
    case OPTION_IN_PLACE:
        r->wish.in_place = true;
        break;
    case OPTION_CANDIDATE:
        r->wish.candidate = optarg;
        break;
    case OPTION_MAX_LAG:
        r->lag_is_set = true;
        if (!parse_bytes(optarg, &r->limits.lag_bytes))
            return ctl_usage(command, "\"%s\" is no number of bytes, kB, MB or GB", optarg);
        break;
    case OPTION_TIMEOUT:
        if (!text_to_u32(optarg, &seconds) || !seconds)
            return ctl_usage(command, "\"%s\" is no number of seconds", optarg);
        r->limits.timeout_us = seconds * USEC_PER_SEC;
        break;
    case OPTION_DRY_RUN:
        r->dry_run = true;
        break;
    default:
        r->force = true;
    }
    return -1;
}

int cmd_rolling_restart(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":h", longs};
    struct rolling r = {.ctl = ctl, .limits.timeout_us = TIMEOUT_S * USEC_PER_SEC};
    struct ctl_view view = {0};
    int option, exit_code;

    while ((option = ctl_next_option(argc, argv, &options, &exit_code)) != -1) {
        exit_code = take_option(argv[0], option, &r);
        if (exit_code >= 0)
            return exit_code;
    }
    if (exit_code < 0 && r.wish.in_place && r.wish.candidate)
        exit_code = ctl_fail("--in-place and --candidate are mutually exclusive options");
    if (exit_code < 0)
        exit_code = ctl_read_with_members(ctl, argc, argv, &view, &r.scope, &r.wish.names);
    if (exit_code < 0) {
        r.limits.lag_bytes = r.lag_is_set ? r.limits.lag_bytes : view.maximum_lag_bytes;
        exit_code = rolling_restart(&r, &view);
    }
    ctl_view_done(&view);
    return exit_code;
}
