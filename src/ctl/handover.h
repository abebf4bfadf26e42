/* A switchover or failover that is decided: sent to a REST API, else written into the store, and waited for. */
#pragma once
#include "ctl/ctl.h"
#include "model/overview.h"

struct handover {
    const char *scope;
    bool is_switchover;
    const char *leader;       /* of a switchover: the member that leads */
    const char *candidate;    /* NULL: any, of a switchover */
    const char *scheduled_at; /* ISO 8601, NULL: now */
};

enum handover_outcome {
    HANDOVER_DONE,    /* carried out, or scheduled */
    HANDOVER_REFUSED, /* by the REST API, or not completed there */
    HANDOVER_FAILED,  /* no REST API, and it did not come about through the store either */
};

struct handover_result {
    enum handover_outcome outcome;
    int status; /* of HTTP; 0 when no REST API answered */
    char *text; /* what was answered, or what went wrong; owned */
};
void handover_result_done(struct handover_result *r);

/* *v is the cluster as it was when the operator decided: what has changed since then makes it fail. */
void handover_run(struct ctl *ctl, const struct ctl_view *v, const struct handover *h, struct handover_result *ret);
