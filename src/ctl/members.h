/* The table of members of a cluster, as `list` and `topology` show it. Pure. */
#pragma once
#include <stdbool.h>
#include "ctl/report.h"
#include "model/cluster.h"
#include "model/policy.h"

struct members_view {
    const struct cluster *cluster;
    const char *cluster_name;
    enum sync_mode sync_mode;
    bool paused;
    bool extended; /* the columns that are shown only when they have content, always */
    int64_t now_s; /* Unix time: fence reports younger than a day are noted */
};

/* Fills *ret, to be released with report_done(). Returns 0 or -ENOMEM. */
int members_report(const struct members_view *v, enum report_format format, struct report *ret);

/* What stands below the table for people: maintenance mode, fence reports, notes of members, a scheduled switchover. */
void members_notes(struct textbuf *out, const struct members_view *v);
