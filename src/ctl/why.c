/* why: for every member, whether it could lead, which rule stops it else, and what a failover to it would cost. */
#include <stdlib.h>
#include <string.h>
#include "ctl/rest.h"

static json_t *text(const json_t *value)
{
    const char *s = json_string_value(value);

    return json_string(s ? s : "");
}

static json_t *number(const json_t *value)
{
    return json_is_integer(value) ? json_integer(json_integer_value(value)) : json_string("");
}

static json_t *row_of(const json_t *member)
{
    json_t *cells = json_array();

    (void)json_array_append_new(cells, text(json_object_get(member, "name")));
    (void)json_array_append_new(cells, text(json_object_get(member, "verdict")));
    (void)json_array_append_new(cells, text(json_object_get(member, "rule")));
    (void)json_array_append_new(cells, number(json_object_get(member, "bytes_lost")));
    (void)json_array_append_new(cells, number(json_object_get(member, "bytes_to_replay")));
    (void)json_array_append_new(cells, number(json_object_get(member, "failover_seconds")));
    (void)json_array_append_new(cells, text(json_object_get(member, "obstacle")));
    (void)json_array_append_new(cells, text(json_object_get(member, "note")));
    return cells;
}

/* Whoever can be asked asks all others; who leads is most likely to reach them. */
static json_t *ask(struct ctl *ctl, const struct cluster *c, struct err *err)
{
    const struct member *leader = cluster_leader_member(c);
    json_t *answer = leader && leader->api_url[0] ? rest_get(ctl, leader, "/why", err) : NULL;

    for (size_t i = 0; !answer && i < c->n_members; i++)
        if (&c->members[i] != leader && c->members[i].api_url[0])
            answer = rest_get(ctl, &c->members[i], "/why", err);
    if (!json_is_array(json_object_get(answer, "members"))) {
        json_decref(answer);
        return NULL;
    }
    return answer;
}

/* The sentences below the table: they would make it too wide. */
static void print_sentences(struct textbuf *out, const json_t *answer)
{
    const char *source = json_string_value(json_object_get(answer, "leader_position_is"));
    const char *waits_for = json_string_value(json_object_get(answer, "waits_for"));
    const char *command = json_string_value(json_object_get(answer, "command"));
    json_t *member;
    size_t i;

    json_array_foreach(json_object_get(answer, "members"), i, member)
    {
        const char *name = json_string_value(json_object_get(member, "name"));
        const char *obstacle = json_string_value(json_object_get(member, "obstacle"));
        const char *note = json_string_value(json_object_get(member, "note"));

        if (obstacle)
            textbuf_printf(out, " %s: %s\n", name ? name : "?", obstacle);
        if (note)
            textbuf_printf(out, " %s: %s\n", name ? name : "?", note);
    }
    if (source && strcmp(source, "published") == 0)
        textbuf_puts(out, " No leader answers: bytes count from the last position that was published; what was written "
                          "after that is not known\n");
    if (waits_for)
        textbuf_printf(out, " All members were down, and %s may have WAL that nobody else has\n", waits_for);
    if (command)
        textbuf_printf(out, " To go on without: %s\n", command);
}

static void print(struct textbuf *out, const json_t *answer, enum report_format format)
{
    struct report r = {.rows = json_array()};
    const char *scope = json_string_value(json_object_get(answer, "scope"));
    json_t *member;
    size_t i;

    (void)text_print(r.title, sizeof(r.title), " Cluster: %s ", scope ? scope : "?");
    report_add_column(&r, "Member", "Member", false);
    report_add_column(&r, "Verdict", "Verdict", false);
    report_add_column(&r, "Rule", "Rule", false);
    report_add_column(&r, "Bytes lost", "Bytes lost", true);
    report_add_column(&r, "Bytes to replay", "Bytes to replay", true);
    report_add_column(&r, "Failover seconds", "Failover seconds", true);
    report_add_column(&r, "Obstacle", NULL, false);
    report_add_column(&r, "Note", NULL, false);
    json_array_foreach(json_object_get(answer, "members"), i, member)(void)
        json_array_append_new(r.rows, row_of(member));
    report_print(out, &r, format);
    if (format == REPORT_PRETTY)
        print_sentences(out, answer);
    report_done(&r);
}

static int show(struct ctl *ctl, const struct cluster *c, enum report_format format)
{
    struct err err = {0};
    struct textbuf out = {0};
    json_t *answer = ask(ctl, c, &err);

    if (!answer)
        return ctl_fail("no member says why: %s", err.msg[0] ? err.msg : "none of them is there");
    print(&out, answer, format);
    json_decref(answer);
    return ctl_print(&out);
}

int cmd_why(struct ctl *ctl, int argc, char **argv)
{
    static const struct option longs[] = {
        {"format", required_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {0}};
    static const struct ctl_options options = {":f:h", longs};
    enum report_format format = REPORT_PRETTY;
    struct ctl_view view = {0};
    const char *scope;
    int exit_code;

    while (ctl_next_option(argc, argv, &options, &exit_code) == 'f')
        if (!report_format_from_text(optarg, &format))
            return ctl_usage(argv[0], "there is no format \"%s\"", optarg);
    if (exit_code < 0)
        exit_code = ctl_read_named(ctl, argc, argv, &view, &scope);
    if (exit_code < 0)
        exit_code = show(ctl, view.cluster, format);
    ctl_view_done(&view);
    return exit_code;
}
