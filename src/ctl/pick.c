#include "ctl/pick.h"
#include <string.h>
#include "ctl/ask.h"

static const struct {
    const char *text;
    enum pick_role role;
} roles[] = {
    {"leader", PICK_LEADER},   {"primary", PICK_PRIMARY}, {"standby-leader", PICK_STANDBY_LEADER},
    {"replica", PICK_REPLICA}, {"standby", PICK_REPLICA}, {"any", PICK_ANY},
};

bool pick_role_from_text(const char *text, enum pick_role *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        if (strcmp(roles[i].text, text) == 0) {
            *ret = roles[i].role;
            return true;
        }
    }
    return false;
}

bool pick_has_role(const struct cluster *c, const struct member *m, enum pick_role role)
{
    bool leader = c->leader.exists && strcmp(c->leader.name, m->name) == 0;

    switch (role) {
    case PICK_LEADER:
        return leader;
    case PICK_PRIMARY:
        return leader && m->role != PG_ROLE_STANDBY_LEADER;
    case PICK_STANDBY_LEADER:
        return leader && m->role != PG_ROLE_PRIMARY;
    case PICK_REPLICA:
        return !leader;
    case PICK_ANY:
        return true;
    }
    return false;
}

const struct member *pick_to_connect(const struct cluster *c, enum pick_role role, const char *name)
{
    for (size_t i = 0; i < c->n_members; i++) {
        const struct member *m = &c->members[i];

        if (m->host[0] && pick_has_role(c, m, role) && (!name || strcmp(name, m->name) == 0))
            return m;
    }
    return NULL;
}

void pick_names(const struct picked *p, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < p->n && text_print(buf + len, size - len, "%s%s", i ? ", " : "", p->members[i]->name); i++)
        len += strlen(buf + len);
}

static bool is_in(char **names, const char *name)
{
    for (; *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

/* Without names one is asked for. Returns -1 or an exit code. */
static int ask_for_one(const struct pick *p, struct picked *candidates)
{
    char list[1024], question[1200], answer[ASK_SIZE];

    pick_names(candidates, list, sizeof(list));
    (void)text_print(question, sizeof(question), "Which member do you want to %s [%s]?", p->action, list);
    if (!ask_text(question, "", answer, sizeof(answer)))
        return EXIT_FAILED;
    for (size_t i = 0; i < candidates->n; i++) {
        if (strcmp(candidates->members[i]->name, answer) == 0) {
            *candidates = (struct picked){{candidates->members[i]}, 1};
            return -1;
        }
    }
    return ctl_fail("%s is not a member of cluster", answer);
}

int pick_members(const struct ctl_view *v, const struct pick *p, struct picked *ret)
{
    const struct cluster *c = v->cluster;
    struct picked found = {.n = 0};
    bool any = false;
    int exit_code;

    for (char **name = p->names; *name; name++)
        if (!cluster_member(c, *name))
            return ctl_fail("%s is not a member of cluster", *name);
    for (size_t i = 0; i < c->n_members && i < CODEC_MEMBERS_MAX; i++) {
        if (!pick_has_role(c, &c->members[i], p->role))
            continue;
        any = true;
        if (!*p->names || is_in(p->names, c->members[i].name))
            found.members[found.n++] = &c->members[i];
    }
    if (!*p->names && !any)
        return ctl_fail("%s cluster doesn't have any members", p->cluster_name);
    exit_code = ctl_show_members(v, p->cluster_name, REPORT_PRETTY);
    if (exit_code != EXIT_DONE)
        return exit_code;
    if (!found.n)
        return ctl_fail("No %s among provided members", p->role_text);
    if (p->ask && !*p->names) {
        if (p->force)
            return ctl_fail("name the members to %s; with --force nothing is asked", p->action);
        exit_code = ask_for_one(p, &found);
        if (exit_code >= 0)
            return exit_code;
    }
    *ret = found;
    return -1;
}

int pick_confirm(const struct picked *p, const char *action, bool force)
{
    char list[1024];

    if (force)
        return -1;
    pick_names(p, list, sizeof(list));
    switch (ask_confirm("Are you sure you want to %s members %s?", action, list)) {
    case ASK_YES:
        return -1;
    case ASK_NO:
        return ctl_fail("Aborted %s", action);
    case ASK_ABORTED:
        return EXIT_FAILED;
    }
    return EXIT_FAILED;
}

json_t *pick_data(const struct member *m)
{
    json_t *data = m->data ? json_loads(m->data, 0, NULL) : NULL;

    return data ? data : json_object();
}

void pick_leader_first(const struct cluster *c, struct picked *ret)
{
    const struct member *leader = cluster_leader_member(c);

    ret->n = 0;
    if (leader && leader->api_url[0])
        ret->members[ret->n++] = leader;
    for (size_t i = 0; i < c->n_members && ret->n < CODEC_MEMBERS_MAX; i++)
        if (&c->members[i] != leader && c->members[i].api_url[0])
            ret->members[ret->n++] = &c->members[i];
}
