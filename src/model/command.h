/*
 * A request that changes something, on its way from the REST server to the agent, and the answer on the way back. Who
 * receives it answers exactly once, at once or later: a switchover takes its time. The client may be gone by then.
 */
#pragma once
#include <stdbool.h>

enum command_kind {
    COMMAND_NONE,
    COMMAND_PATCH_CONFIG,
    COMMAND_PUT_CONFIG,
    COMMAND_RELOAD,
    COMMAND_RESTART,
    COMMAND_CANCEL_RESTART,
    COMMAND_SWITCHOVER,
    COMMAND_CANCEL_SWITCHOVER,
    COMMAND_FAILOVER,
    COMMAND_REINITIALIZE,
    COMMAND_FAILSAFE,
    COMMAND_SIGTERM,
    COMMAND_WHY, /* these two change nothing, but others have to be asked, or the core */
    COMMAND_WHY_SELF,
};

struct command_answer {
    unsigned status;
    const char *content_type; /* static text; NULL = there is no body */
    char *body;               /* owned; NULL = there is no body */
    const char *header;       /* static text: the name of one more header; NULL = none */
    char header_value[64];
};

struct command {
    enum command_kind kind;
    const char *body; /* a JSON object as text; NULL when none was sent and none is needed. Valid until the answer */
    /* Takes over what *answer holds, and ends *c. */
    void (*answer)(struct command *c, struct command_answer *answer);
};

/* A plain sentence without a line feed, under the content type that the reference gives it. */
void command_answer_text(struct command *c, unsigned status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* json is taken over; NULL, when memory ran out, is answered with 500. */
void command_answer_json(struct command *c, unsigned status, char *json);
