/* Which members a command is for: by role, by name, or asked for. */
#pragma once
#include <stdbool.h>
#include <jansson.h>
#include <stddef.h>
#include "ctl/ctl.h"
#include "dcs/codec.h"

enum pick_role { PICK_LEADER, PICK_PRIMARY, PICK_STANDBY_LEADER, PICK_REPLICA, PICK_ANY };

/* "leader", "primary", "standby-leader", "replica", "standby" (the same), "any"; false for all else. */
bool pick_role_from_text(const char *text, enum pick_role *ret);
#define PICK_ROLE_EXPECTED "there is no role \"%s\"; expected leader, primary, standby-leader, replica, standby or any"

/* Who leads is known by the leader key alone; what kind of leader it is, by its member key. */
bool pick_has_role(const struct cluster *c, const struct member *m, enum pick_role role);

/* The first member with that role, of that name (NULL: any), that has published where its PostgreSQL is; NULL if none.
 */
const struct member *pick_to_connect(const struct cluster *c, enum pick_role role, const char *name);

/* Members are borrowed from the cluster, in its order. */
struct picked {
    const struct member *members[CODEC_MEMBERS_MAX];
    size_t n;
};

struct pick {
    const char *cluster_name;
    const char *action;    /* "restart": for the questions */
    const char *role_text; /* as given */
    enum pick_role role;
    char **names; /* NULL-terminated; empty: all of that role, or asked for */
    bool ask;     /* without names one member is asked for, not all taken */
    bool force;   /* nothing is asked */
};

/* Shows the members and picks. Returns -1, or an exit code after saying why there is nothing to do. */
int pick_members(const struct ctl_view *v, const struct pick *p, struct picked *ret);

/* "a, b" */
void pick_names(const struct picked *p, char *buf, size_t size);

/* "Are you sure you want to ACTION members a, b?" Returns -1, or an exit code. With force nothing is asked. */
int pick_confirm(const struct picked *p, const char *action, bool force);

/* The member key as JSON, or an empty object. The caller releases. */
json_t *pick_data(const struct member *m);

/* The leader first, then all others, those with a REST API only. */
void pick_leader_first(const struct cluster *c, struct picked *ret);
