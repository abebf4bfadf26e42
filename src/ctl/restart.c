/* restart: of PostgreSQL on members, now or at a time, all or those that need it. */
#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "ctl/ask.h"
#include "ctl/pick.h"
#include "ctl/restart.h"
#include "ctl/when.h"

enum { OPTION_ANY = 256, OPTION_SCHEDULED, OPTION_VERSION, OPTION_PENDING, OPTION_TIMEOUT, OPTION_FORCE };

static const struct option longs[] = {{"role", required_argument, NULL, 'r'},
                                      {"any", no_argument, NULL, OPTION_ANY},
                                      {"scheduled", required_argument, NULL, OPTION_SCHEDULED},
                                      {"pg-version", required_argument, NULL, OPTION_VERSION},
                                      {"pending", no_argument, NULL, OPTION_PENDING},
                                      {"timeout", required_argument, NULL, OPTION_TIMEOUT},
                                      {"force", no_argument, NULL, OPTION_FORCE},
                                      {"help", no_argument, NULL, 'h'},
                                      {0}};

struct wish {
    bool any, pending, force;
    const char *role_text, *scheduled, *version, *timeout; /* NULL = not said */
    enum pick_role role;
    char scheduled_answer[ASK_SIZE], version_answer[ASK_SIZE];
    char scheduled_at[WHEN_SIZE];
};

/* --- questions; each returns -1 to go on, or an exit code -----------------------------------------------------------
 */

static int ask_when(struct wish *w)
{
    char question[128], next_hour[24];

    if (!w->scheduled && !w->force) {
        when_next_hour(time(NULL), next_hour, sizeof(next_hour));
        (void)text_print(question, sizeof(question), "When should the restart take place (e.g. %s) ", next_hour);
        if (!ask_text(question, "now", w->scheduled_answer, sizeof(w->scheduled_answer)))
            return EXIT_FAILED;
        w->scheduled = w->scheduled_answer;
    }
    if (when_parse(w->scheduled ? w->scheduled : "", time(NULL), w->scheduled_at, sizeof(w->scheduled_at)) < 0)
        return ctl_fail(WHEN_EXPECTED, w->scheduled);
    return -1;
}

/* Of an immediate restart only those that wait for one; who will need a scheduled one is seen when its time has come.
 */
static void keep_pending(struct picked *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->n; i++)
        if (p->members[i]->pending_restart)
            p->members[n++] = p->members[i];
    p->n = n;
}

static void keep_any_one(struct picked *p)
{
    unsigned random = 0;

    if (p->n < 2)
        return;
    (void)!getrandom(&random, sizeof(random), 0);
    *p = (struct picked){{p->members[random % p->n]}, 1};
}

static int confirm(const struct wish *w, const struct picked *p)
{
    char list[1024], when[WHEN_SIZE];
    enum ask_answer answer;

    if (!w->scheduled_at[0])
        return pick_confirm(p, "restart", w->force);
    if (w->force)
        return -1;
    pick_names(p, list, sizeof(list));
    /* Shown with a blank, as the reference does here, though not for a switchover. */
    (void)text_copy(when, sizeof(when), w->scheduled_at);
    when[strcspn(when, "T")] = ' ';
    if (w->pending)
        answer = ask_confirm("The nodes needing a restart will be identified at the scheduled time, and might be "
                             "different from the ones showing pending restart right now. Is this fine?");
    else
        answer = ask_confirm("Are you sure you want to schedule restart of members %s at %s?", list, when);
    switch (answer) {
    case ASK_YES:
        return -1;
    case ASK_NO:
        return ctl_fail("Aborted scheduled restart");
    case ASK_ABORTED:
        return EXIT_FAILED;
    }
    return EXIT_FAILED;
}

/* X.Y from version 10 on, X.Y.Z before. */
static int check_version(const char *version)
{
    unsigned parts = 1;
    const char *s = version;

    for (; *s; s++) {
        if (*s == '.' && s != version && isdigit((unsigned char)s[1]))
            parts++;
        else if (!isdigit((unsigned char)*s))
            return ctl_fail("Invalid PostgreSQL version: %s", version);
    }
    if (parts < 2 || parts > 3 || (parts == 2 && strtol(version, NULL, 10) < 10))
        return ctl_fail("Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: %s", version);
    return -1;
}

static int ask_version(struct wish *w)
{
    if (!w->version && !w->force) {
        if (!ask_text("Restart if the PostgreSQL version is less than provided (e.g. 9.5.2) ", "", w->version_answer,
                      sizeof(w->version_answer)))
            return EXIT_FAILED;
        w->version = w->version_answer;
    }
    return w->version && *w->version ? check_version(w->version) : -1;
}

/* --- the restart ----------------------------------------------------------------------------------------------------
 */

int restart_member(struct ctl *ctl, const struct member *m, json_t *content, uint64_t timeout_us,
                   struct rest_answer *ret, struct err *err)
{
    struct rest_call call = {.method = "POST", .path = "/restart", .body = content, .timeout_us = timeout_us};

    (void)fflush(stdout);
    return rest_ask(ctl, m, &call, ret, err);
}

static bool has_scheduled_restart(const struct member *m)
{
    json_t *data = pick_data(m);
    bool has = json_object_size(json_object_get(data, "scheduled_restart")) > 0;

    json_decref(data);
    return has;
}

static int restart_one(struct ctl *ctl, const struct member *m, const struct wish *w, json_t *content)
{
    struct rest_answer a = {0};
    struct err err = {0};
    int exit_code = EXIT_DONE;

    if (w->scheduled_at[0] && w->force && has_scheduled_restart(m))
        exit_code = rest_tell(ctl, m, "DELETE", "/restart", NULL, "flush scheduled restart", true);
    if (exit_code != EXIT_DONE)
        return exit_code;
    /* Answered when the restart is over: how long that takes is for the server's timeouts to limit. */
    if (restart_member(ctl, m, json_incref(content), 0, &a, &err) < 0)
        exit_code = rest_failed(m, "restart", &err);
    else if (a.status == 200)
        printf("Success: restart on member %s\n", m->name);
    else if (a.status == 202)
        printf("Success: restart scheduled on member %s\n", m->name);
    else if (a.status == 409)
        printf("Failed: another restart is already scheduled on member %s\n", m->name);
    else
        printf("Failed: restart for member %s, status code=%d, (%s)\n", m->name, a.status, a.body);
    rest_answer_done(&a);
    return exit_code;
}

static int restart_all(struct ctl *ctl, const struct wish *w, const struct picked *p)
{
    json_t *content = json_object();
    int exit_code = EXIT_DONE;

    if (w->pending)
        (void)json_object_set_new(content, "restart_pending", json_true());
    if (w->version && *w->version)
        (void)json_object_set_new(content, "postgres_version", json_string(w->version));
    if (w->scheduled_at[0])
        (void)json_object_set_new(content, "schedule", json_string(w->scheduled_at));
    if (w->timeout)
        (void)json_object_set_new(content, "timeout", json_string(w->timeout));
    for (size_t i = 0; i < p->n; i++)
        if (restart_one(ctl, p->members[i], w, content) != EXIT_DONE)
            exit_code = EXIT_FAILED;
    json_decref(content);
    return exit_code;
}

static int restart(struct ctl *ctl, const struct ctl_view *v, const struct pick *pick, struct wish *w)
{
    struct picked picked;
    int exit_code = pick_members(v, pick, &picked);

    if (exit_code < 0)
        exit_code = ask_when(w);
    if (exit_code >= 0)
        return exit_code;
    if (w->pending && !w->scheduled_at[0])
        keep_pending(&picked);
    if (w->any)
        keep_any_one(&picked);
    if (!picked.n) {
        printf("No member waits for a restart\n");
        return EXIT_DONE;
    }
    exit_code = confirm(w, &picked);
    if (exit_code < 0)
        exit_code = ask_version(w);
    if (exit_code < 0 && w->scheduled_at[0] && v->paused)
        exit_code = ctl_fail("Can't schedule restart in the paused state");
    return exit_code < 0 ? restart_all(ctl, w, &picked) : exit_code;
}

static bool take_option(int option, struct wish *w)
{
    switch (option) {
    case 'r':
        w->role_text = optarg;
        return pick_role_from_text(optarg, &w->role);
    case OPTION_ANY:
        w->any = true;
        break;
    case OPTION_SCHEDULED:
        w->scheduled = optarg;
        break;
    case OPTION_VERSION:
        w->version = optarg;
        break;
    case OPTION_PENDING:
        w->pending = true;
        break;
    case OPTION_TIMEOUT:
        w->timeout = optarg;
        break;
    default:
        w->force = true;
    }
    return true;
}

int cmd_restart(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":r:h", longs};
    struct wish w = {.role_text = "any", .role = PICK_ANY};
    struct pick pick = {.action = "restart"};
    struct ctl_view view = {0};
    int option, exit_code;

    while ((option = ctl_next_option(argc, argv, &options, &exit_code)) != -1)
        if (!take_option(option, &w))
            return ctl_usage(argv[0], PICK_ROLE_EXPECTED, optarg);
    if (exit_code < 0)
        exit_code = ctl_read_with_members(ctl, argc, argv, &view, &pick.cluster_name, &pick.names);
    pick.role = w.role;
    pick.role_text = w.role_text;
    pick.force = w.force;
    if (exit_code < 0)
        exit_code = restart(ctl, &view, &pick, &w);
    ctl_view_done(&view);
    return exit_code;
}
