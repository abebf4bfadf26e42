/*
 * switchover and failover: hand the leader key to another member. The request goes to the leader's REST API; when
 * nobody listens there it is written into the store, where the leader finds it.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "ctl/handover.h"
#include "ctl/ask.h"
#include "ctl/when.h"

static const struct option switchover_longs[] = {{"leader", required_argument, NULL, 'l'},
                                                 {"primary", required_argument, NULL, 'l'},
                                                 {"candidate", required_argument, NULL, 'C'},
                                                 {"scheduled", required_argument, NULL, 's'},
                                                 {"force", no_argument, NULL, 'f'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {0}};
static const struct option failover_longs[] = {{"candidate", required_argument, NULL, 'C'},
                                               {"force", no_argument, NULL, 'f'},
                                               {"help", no_argument, NULL, 'h'},
                                               {0}};

/* What the operator wants, as far as said. */
struct wish {
    bool is_switchover, force;
    const char *leader, *candidate, *scheduled; /* NULL = not said; may point into the buffers below */
    char leader_answer[ASK_SIZE], candidate_answer[ASK_SIZE], scheduled_answer[ASK_SIZE];
    char scheduled_at[WHEN_SIZE];
};

/* --- questions and checks; each returns -1 to go on, or an exit code ------------------------------------------------
 */

static int check_leader(const struct ctl_view *v, const char *scope, struct wish *w)
{
    const struct leader_key *leader = &v->cluster->leader;

    if (!leader->exists)
        return ctl_fail("This cluster has no leader");
    if (!w->leader && w->force)
        w->leader = leader->name;
    if (!w->leader) {
        if (!ask_text(v->standby_cluster ? "Standby Leader" : "Primary", leader->name, w->leader_answer,
                      sizeof(w->leader_answer)))
            return EXIT_FAILED;
        w->leader = w->leader_answer;
    }
    if (strcmp(leader->name, w->leader) != 0)
        return ctl_fail("Member %s is not the leader of cluster %s", w->leader, scope);
    return -1;
}

static bool is_candidate(const struct cluster *c, const struct member *m)
{
    bool leads = c->leader.exists && strcmp(c->leader.name, m->name) == 0;

    return !leads && !m->tags.nofailover && m->tags.failover_priority > 0;
}

/* "Candidate ['node1', 'node2']"; returns how many there are. */
static size_t name_candidates(const struct cluster *c, char *buf, size_t size)
{
    size_t n = 0, len;

    (void)text_copy(buf, size, "Candidate [");
    for (size_t i = 0; i < c->n_members; i++) {
        if (!is_candidate(c, &c->members[i]))
            continue;
        len = strlen(buf);
        (void)text_print(buf + len, size - len, "%s'%s'", n++ ? ", " : "", c->members[i].name);
    }
    len = strlen(buf);
    (void)text_copy(buf + len, size - len, "]");
    return n;
}

static int check_candidate(const struct ctl_view *v, const char *scope, struct wish *w)
{
    const char *action = w->is_switchover ? "switchover" : "failover";
    const struct member *m;
    char question[1024];

    if (!name_candidates(v->cluster, question, sizeof(question)))
        return ctl_fail("No candidates found to %s to", action);
    if (!w->candidate && !w->force) {
        if (!ask_text(question, "", w->candidate_answer, sizeof(w->candidate_answer)))
            return EXIT_FAILED;
        w->candidate = w->candidate_answer;
    }
    if (!w->candidate || !*w->candidate) {
        w->candidate = NULL;
        return w->is_switchover ? -1 : ctl_fail("Failover could be performed only to a specific candidate");
    }
    m = cluster_member(v->cluster, w->candidate);
    if (v->cluster->leader.exists && strcmp(w->candidate, v->cluster->leader.name) == 0)
        return ctl_fail("Member %s is already the leader of cluster %s", w->candidate, scope);
    if (!m || !is_candidate(v->cluster, m))
        return ctl_fail("Member %s does not exist in cluster %s or is tagged as nofailover", w->candidate, scope);
    return -1;
}

/* A failover past the synchronous standbys may lose commits that were acknowledged. */
static int check_synchronous(const struct ctl_view *v, const struct wish *w)
{
    const struct sync_key *sync = &v->cluster->sync;

    if (w->is_switchover || w->force || v->sync_mode == SYNC_MODE_OFF || !sync->exists ||
        overview_is_sync_standby(v->cluster, w->candidate) || strcasecmp(sync->leader, w->candidate) == 0)
        return -1;
    switch (ask_confirm("Are you sure you want to failover to the asynchronous node %s?", w->candidate)) {
    case ASK_YES:
        return -1;
    case ASK_NO:
        return ctl_fail("Aborting failover");
    case ASK_ABORTED:
        return EXIT_FAILED;
    }
    return EXIT_FAILED;
}

static int check_schedule(const struct ctl_view *v, struct wish *w)
{
    char question[128], next_hour[24];

    if (!w->is_switchover)
        return -1;
    if (!w->scheduled && !w->force) {
        when_next_hour(time(NULL), next_hour, sizeof(next_hour));
        (void)text_print(question, sizeof(question), "When should the switchover take place (e.g. %s ) ", next_hour);
        if (!ask_text(question, "now", w->scheduled_answer, sizeof(w->scheduled_answer)))
            return EXIT_FAILED;
        w->scheduled = w->scheduled_answer;
    }
    if (when_parse(w->scheduled ? w->scheduled : "", time(NULL), w->scheduled_at, sizeof(w->scheduled_at)) < 0)
        return ctl_fail(WHEN_EXPECTED, w->scheduled);
    if (w->scheduled_at[0] && v->paused)
        return ctl_fail("Can't schedule switchover in the paused state");
    return -1;
}

static int confirm(const struct ctl_view *v, const char *scope, const struct wish *w)
{
    const char *leader = v->cluster->leader.exists ? v->cluster->leader.name : "";
    const char *demoting = *leader ? ", demoting current leader " : "";
    const char *action = w->is_switchover ? "switchover" : "failover";
    enum ask_answer answer;

    if (w->force)
        return -1;
    if (w->scheduled_at[0])
        answer = ask_confirm("Are you sure you want to schedule switchover of cluster %s at %s%s%s?", scope,
                             w->scheduled_at, demoting, leader);
    else
        answer = ask_confirm("Are you sure you want to %s cluster %s%s%s?", action, scope, demoting, leader);
    switch (answer) {
    case ASK_YES:
        return -1;
    case ASK_NO:
        return ctl_fail("Aborting %s%s", w->scheduled_at[0] ? "scheduled " : "", action);
    case ASK_ABORTED:
        return EXIT_FAILED;
    }
    return EXIT_FAILED;
}

/* --- the commands ---------------------------------------------------------------------------------------------------
 */

static int show_again(struct ctl *ctl, const char *scope)
{
    struct ctl_view after = {0};
    struct err err = {0};
    int exit_code;

    if (ctl_read_cluster(ctl, scope, &after, &err) < 0)
        return ctl_fail("%s", err.msg);
    exit_code = ctl_show_members(&after, scope, REPORT_PRETTY);
    ctl_view_done(&after);
    return exit_code;
}

/* Reports as the reference does, which ends with 0 also when the request was refused. */
static int report(struct ctl *ctl, const char *scope, const struct handover *h, const struct handover_result *result)
{
    const char *action = h->is_switchover ? "Switchover" : "Failover";
    char now[CTL_TIMESTAMP_SIZE];

    ctl_timestamp(now, sizeof(now), 5);
    switch (result->outcome) {
    case HANDOVER_DONE:
        printf("%s %s\n", now, result->text);
        return show_again(ctl, scope);
    case HANDOVER_REFUSED:
        printf("%s %s, details: %d, %s\n", action,
               strcasestr(result->text, "status unknown") ? "result unknown" : "failed", result->status, result->text);
        return EXIT_DONE;
    case HANDOVER_FAILED:
        (void)ctl_fail("%s", result->text);
        (void)show_again(ctl, scope);
        return EXIT_FAILED;
    }
    return EXIT_FAILED;
}

static int hand_over(struct ctl *ctl, const struct ctl_view *v, const char *scope, struct wish *w)
{
    struct handover h = {.scope = scope, .is_switchover = w->is_switchover};
    struct handover_result result;
    int exit_code;

    printf("Current cluster topology\n");
    exit_code = ctl_show_members(v, scope, REPORT_PRETTY);
    if (exit_code != EXIT_DONE)
        return exit_code;
    exit_code = w->is_switchover ? check_leader(v, scope, w) : -1;
    if (exit_code < 0)
        exit_code = check_candidate(v, scope, w);
    if (exit_code < 0)
        exit_code = check_synchronous(v, w);
    if (exit_code < 0)
        exit_code = check_schedule(v, w);
    if (exit_code < 0)
        exit_code = confirm(v, scope, w);
    if (exit_code >= 0)
        return exit_code;
    h.leader = w->leader;
    h.candidate = w->candidate;
    h.scheduled_at = w->scheduled_at[0] ? w->scheduled_at : NULL;
    handover_run(ctl, v, &h, &result);
    exit_code = report(ctl, scope, &h, &result);
    handover_result_done(&result);
    return exit_code;
}

static int run(struct ctl *ctl, int argc, char **argv, const struct ctl_options *options, struct wish *w)
{
    struct ctl_view view = {0};
    const char *scope;
    int option, exit_code;

    while ((option = ctl_next_option(argc, argv, options, &exit_code)) != -1) {
        switch (option) {
        case 'l':
            w->leader = optarg;
            break;
        case 'C':
            w->candidate = optarg;
            break;
        case 's':
            w->scheduled = optarg;
            break;
        default:
            w->force = true;
        }
    }
    if (exit_code < 0)
        exit_code = ctl_read_named(ctl, argc, argv, &view, &scope);
    if (exit_code < 0)
        exit_code = hand_over(ctl, &view, scope, w);
    ctl_view_done(&view);
    return exit_code;
}

int cmd_switchover(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":h", switchover_longs};
    struct wish w = {.is_switchover = true};

    return run(ctl, argc, argv, &options, &w);
}

int cmd_failover(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":h", failover_longs};
    struct wish w = {.is_switchover = false};

    return run(ctl, argc, argv, &options, &w);
}
