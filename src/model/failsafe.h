/*
 * Failsafe mode: while the store cannot be reached, the leader stays leader as long as every member of the list in the
 * store promises, for a stated time, not to lead. The list is the store's key "failsafe"; URLs are those of the
 * members' REST API ("http://host:8008/patroni").
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "model/tags.h"

enum { FAILSAFE_MEMBERS_MAX = 64, FAILSAFE_URL_SIZE = 256 };

struct failsafe_member {
    char name[MEMBER_NAME_SIZE];
    char api_url[FAILSAFE_URL_SIZE]; /* "" = none: such a member cannot be asked, and so cannot agree */
};

struct failsafe_list {
    struct failsafe_member items[FAILSAFE_MEMBERS_MAX];
    size_t n;
    bool overflow; /* there were more: nobody can count on this list */
};

/* What the leader has been promised by one of the others. */
struct failsafe_promise {
    uint64_t until_us; /* on our clock, drift taken off, counted from the instant before we asked; 0 = nothing */
};

/* What the leader knows of it. */
struct failsafe_view {
    bool holds; /* the deadline of the lease is one of promises, not the store's */
    const char
        *obstacle; /* why they are not to be had, static or kept by the agent; NULL = nothing stands against it */
};

/* NULL if there is none of that name. */
const struct failsafe_member *failsafe_list_find(const struct failsafe_list *l, const char *name);
/* Adds a member, or gives it another URL; marks the overflow. Returns whether anything has changed. */
bool failsafe_list_add(struct failsafe_list *l, const char *name, const char *api_url);
/* The same members with the same URLs, in whatever order. */
bool failsafe_list_equal(const struct failsafe_list *a, const struct failsafe_list *b);
