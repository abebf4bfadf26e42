/* doctor: looks for the mistakes that everyone makes once, and says how to mend each. */
#pragma once
#include "ctl/ctl.h"

struct doctor {
    struct ctl *ctl;
    struct ctl_view view;   /* cluster is NULL when the store does not answer */
    unsigned bad, doubtful; /* findings so far */
};

/* One line each; hint says what to do, NULL where the finding says it. */
void doctor_topic(const char *topic);
void doctor_good(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void doctor_doubt(struct doctor *d, const char *hint, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void doctor_bad(struct doctor *d, const char *hint, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* doctor_cluster.c: the store, what it holds, the members as they are reached from here. */
void doctor_look_at_store(struct doctor *d);
void doctor_look_at_settings(struct doctor *d);
void doctor_look_at_members(struct doctor *d);

/* doctor_host.c: this host, if it is a member's. */
void doctor_look_at_host(struct doctor *d);
