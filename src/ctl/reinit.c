/* reinit: a member that does not lead gives up its data directory and gets a new one. */
#include <string.h>
#include "base/clock.h"
#include "ctl/ask.h"
#include "ctl/pick.h"
#include "ctl/rest.h"

enum { OPTION_FORCE = 256, OPTION_FROM_LEADER, OPTION_WAIT };

enum { POLL_S = 2, SILENCE_MAX_S = 60 };

static const struct option longs[] = {{"force", no_argument, NULL, OPTION_FORCE},
                                      {"from-leader", no_argument, NULL, OPTION_FROM_LEADER},
                                      {"wait", no_argument, NULL, OPTION_WAIT},
                                      {"help", no_argument, NULL, 'h'},
                                      {0}};

struct wish {
    bool force, from_leader, wait;
};

/* --- the request ----------------------------------------------------------------------------------------------------
 */

static bool ends_with(const char *s, const char *end)
{
    size_t len = strlen(s), end_len = strlen(end);

    return len >= end_len && strcmp(s + len - end_len, end) == 0;
}

/* Returns 1 when it has begun, 0 when it was refused because something else is going on, -1 otherwise. */
static int start(struct ctl *ctl, const struct member *m, const struct wish *w, bool force, int *exit_code)
{
    struct rest_call call = {.method = "POST", .path = "/reinitialize", .timeout_us = REST_PATIENCE_US};
    struct rest_answer a = {0};
    struct err err = {0};
    int started = -1;

    call.body = json_pack("{s:b, s:b}", "force", force, "from_leader", w->from_leader);
    if (rest_ask(ctl, m, &call, &a, &err) < 0) {
        *exit_code = rest_failed(m, "reinitialize", &err);
    } else if (rest_say(&a, m, "reinitialize", false)) {
        started = 1;
    } else if (ends_with(a.body, " already in progress")) {
        started = 0;
    }
    rest_answer_done(&a);
    return started;
}

static bool start_or_insist(struct ctl *ctl, const struct member *m, const struct wish *w, int *exit_code)
{
    int started = start(ctl, m, w, w->force, exit_code);

    if (started == 0 && !w->force && ask_confirm("Do you want to cancel it and reinitialize anyway?") == ASK_YES)
        started = start(ctl, m, w, true, exit_code);
    return started > 0;
}

/* --- waiting --------------------------------------------------------------------------------------------------------
 */

struct progress {
    const struct member *member;
    uint64_t heard_at_us;
};

/* Returns 1 when the copy is there, 0 while it is being made, -1 after saying why it will not come. */
static int look(struct ctl *ctl, struct progress *p)
{
    static const char *const under_way[] = {"creating replica", "stopping", "stopped", "starting"};
    struct err err = {0};
    json_t *status = rest_get(ctl, p->member, "/patroni", &err);
    const char *state = json_string_value(json_object_get(status, "state"));
    int done = 1;

    if (!state && clock_now_us() - p->heard_at_us < SILENCE_MAX_S * USEC_PER_SEC) {
        done = 0;
    } else if (!state) {
        (void)ctl_fail("%s", err.msg);
        done = -1;
    } else {
        p->heard_at_us = clock_now_us();
        for (size_t i = 0; i < ARRAY_LEN(under_way); i++)
            if (strcmp(state, under_way[i]) == 0)
                done = 0;
        if (strstr(state, "failed") || strcmp(state, "crashed") == 0) {
            (void)ctl_fail("reinitialize of member %s ended with state \"%s\"; its log says why", p->member->name,
                           state);
            done = -1;
        }
    }
    if (done == 1)
        printf("Reinitialize is completed on: %s\n", p->member->name);
    json_decref(status);
    return done;
}

static int wait_for(struct ctl *ctl, const struct picked *started)
{
    struct progress open[CODEC_MEMBERS_MAX];
    size_t n = started->n, n_said = 0;
    int exit_code = EXIT_DONE;

    for (size_t i = 0; i < n; i++)
        open[i] = (struct progress){started->members[i], clock_now_us()};
    while (n) {
        struct picked rest = {.n = n};
        char names[1024];
        size_t left = 0;

        for (size_t i = 0; i < n; i++)
            rest.members[i] = open[i].member;
        pick_names(&rest, names, sizeof(names));
        if (n != n_said)
            printf("Waiting for reinitialize to complete on: %s\n", names);
        n_said = n;
        (void)fflush(stdout);
        ctl_sleep_us(POLL_S * USEC_PER_SEC);
        for (size_t i = 0; i < n; i++) {
            int done = look(ctl, &open[i]);

            if (done == 0)
                open[left++] = open[i];
            else if (done < 0)
                exit_code = EXIT_FAILED;
        }
        n = left;
    }
    return exit_code;
}

/* --- the command ----------------------------------------------------------------------------------------------------
 */

static int reinit(struct ctl *ctl, const struct ctl_view *v, const struct pick *pick, const struct wish *w)
{
    struct picked picked, started = {.n = 0};
    int exit_code = pick_members(v, pick, &picked);

    if (exit_code < 0)
        exit_code = pick_confirm(&picked, pick->action, pick->force);
    if (exit_code >= 0)
        return exit_code;
    exit_code = EXIT_DONE;
    for (size_t i = 0; i < picked.n; i++)
        if (start_or_insist(ctl, picked.members[i], w, &exit_code))
            started.members[started.n++] = picked.members[i];
    if (w->wait && wait_for(ctl, &started) != EXIT_DONE)
        exit_code = EXIT_FAILED;
    return exit_code;
}

int cmd_reinit(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":h", longs};
    struct pick pick = {.action = "reinitialize", .role_text = "replica", .role = PICK_REPLICA, .ask = true};
    struct wish w = {0};
    struct ctl_view view = {0};
    int option, exit_code;

    while ((option = ctl_next_option(argc, argv, &options, &exit_code)) != -1) {
        if (option == OPTION_FORCE)
            w.force = true;
        else if (option == OPTION_FROM_LEADER)
            w.from_leader = true;
        else
            w.wait = true;
    }
    if (exit_code < 0)
        exit_code = ctl_read_with_members(ctl, argc, argv, &view, &pick.cluster_name, &pick.names);
    pick.force = w.force;
    if (exit_code < 0)
        exit_code = reinit(ctl, &view, &pick, &w);
    ctl_view_done(&view);
    return exit_code;
}
