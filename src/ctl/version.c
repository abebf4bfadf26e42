#include <jansson.h>
#include <stdlib.h>
#include "base/clock.h"
#include "config.h"
#include "ctl/rest.h"
#include "io/http.h"

enum { MEMBER_PATIENCE_S = 5 };

/* What one member was asked and said. */
struct question {
    const struct member *member;
    char base_url[URL_SIZE];
    char answer[256];
    unsigned *open; /* questions without an answer */
};

/* 150020 is 15.20, 90603 is 9.6.3. */
static void print_pg_version(json_int_t version, char *buf, size_t size)
{
    if (version <= 0)
        buf[0] = '\0';
    else if (version < 100000)
        (void)text_print(buf, size, " PostgreSQL %d.%d.%d", (int)(version / 10000), (int)(version / 100 % 100),
                         (int)(version % 100));
    else
        (void)text_print(buf, size, " PostgreSQL %d.%d", (int)(version / 10000), (int)(version % 10000));
}

static void on_answer(void *userdata, const struct http_answer *a)
{
    struct question *q = userdata;
    json_t *body = a->error ? NULL : json_loads(a->body, 0, NULL);
    const char *version = json_string_value(json_object_get(json_object_get(body, "patroni"), "version"));
    char pg_version[48];

    print_pg_version(json_integer_value(json_object_get(body, "server_version")), pg_version, sizeof(pg_version));
    if (a->error)
        (void)text_print(q->answer, sizeof(q->answer), "failed to get version: %s", a->message);
    else if (!version)
        (void)text_print(q->answer, sizeof(q->answer), "failed to get version: unexpected answer, status %d",
                         a->status);
    else
        (void)text_print(q->answer, sizeof(q->answer), "Patroni %s%s", version, pg_version);
    json_decref(body);
    (*q->open)--;
}

static void ask(struct http *http, struct question *q)
{
    const char *const endpoints[] = {q->base_url, NULL};
    struct http_call call = {.method = "GET",
                             .endpoints = endpoints,
                             .path = "/patroni",
                             .deadline_us = clock_now_us() + MEMBER_PATIENCE_S * USEC_PER_SEC,
                             .idempotent = true};
    struct err err = {0};

    rest_base_url(q->member->api_url, q->base_url, sizeof(q->base_url));
    if (http_start(http, &call, NULL, on_answer, q, NULL, &err) >= 0)
        (*q->open)++;
    else
        (void)text_print(q->answer, sizeof(q->answer), "failed to get version: %s", err.msg);
}

static bool is_asked(const struct member *m, char **names)
{
    if (!m->api_url[0])
        return false;
    for (char **name = names; *name; name++)
        if (strcmp(*name, m->name) == 0)
            return true;
    return !*names;
}

/* All at once; the answers are printed in the order of the members. */
static int ask_members(struct ctl *ctl, const struct cluster *c, char **names)
{
    CLEANUP(freep) struct question *questions = calloc(c->n_members + 1, sizeof(*questions));
    struct err err = {0};
    struct http *http = rest_client(ctl, &err);
    unsigned open = 0;

    if (!questions)
        return ctl_fail("out of memory");
    if (!http)
        return ctl_fail("%s", err.msg);
    for (size_t i = 0; i < c->n_members; i++) {
        questions[i] = (struct question){.member = &c->members[i], .open = &open};
        if (is_asked(&c->members[i], names))
            ask(http, &questions[i]);
    }
    while (open && sd_event_run(ctl->loop, UINT64_MAX) >= 0)
        ;
    for (size_t i = 0; i < c->n_members; i++)
        if (questions[i].answer[0])
            printf("%s: %s\n", questions[i].member->name, questions[i].answer);
    return EXIT_DONE;
}

int cmd_version(struct ctl *ctl, int argc, char **argv)
{
    static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
    static const struct ctl_options options = {":h", longs};
    struct ctl_view view = {0};
    struct err err = {0};
    int exit_code;

    (void)ctl_next_option(argc, argv, &options, &exit_code);
    if (exit_code >= 0)
        return exit_code;
    printf("pgtetherctl version %s\n", PACKAGE_VERSION);
    if (!argv[optind])
        return EXIT_DONE;
    printf("\n");
    if (ctl_open_config(ctl) < 0)
        return EXIT_FAILED;
    if (ctl_read_cluster(ctl, argv[optind], &view, &err) < 0)
        return ctl_fail("%s", err.msg);
    exit_code = ask_members(ctl, view.cluster, argv + optind + 1);
    ctl_view_done(&view);
    return exit_code;
}
