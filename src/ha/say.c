#include <stdarg.h>
#include <stdio.h>
#include "ha/parts.h"

struct ha_decision ha_say(enum ha_action action, const char *fmt, ...)
{
    struct ha_decision d = {.action = action};
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(d.reason, sizeof(d.reason), fmt, ap);
    va_end(ap);
    return d;
}

struct ha_decision ha_bar(enum ha_rule rule, const char *fmt, ...)
{
    struct ha_decision d = {.action = HA_NOTHING, .rule = rule, .reason = HA_NO_LEADER};
    size_t len = sizeof(HA_NO_LEADER) - 1;
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(d.reason + len, sizeof(d.reason) - len, fmt, ap);
    va_end(ap);
    return d;
}

struct ha_decision ha_say_target(enum ha_action action, const char *target, const char *fmt, ...)
{
    struct ha_decision d = {.action = action};
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(d.reason, sizeof(d.reason), fmt, ap);
    va_end(ap);
    (void)snprintf(d.target, sizeof(d.target), "%s", target);
    return d;
}

struct ha_decision ha_say_stop(enum ha_action action, enum ha_urgency urgency, bool release, const char *fmt, ...)
{
    struct ha_decision d = {.action = action, .urgency = urgency, .release = release};
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(d.reason, sizeof(d.reason), fmt, ap);
    va_end(ap);
    return d;
}

const char *ha_op_text(enum op_kind op)
{
    static const char *const texts[] = {
        [OP_NONE] = "idle",
        [OP_BOOTSTRAP] = "bootstrapping a new cluster",
        [OP_CLONE] = "creating a replica",
        [OP_START_STANDBY] = "starting as a standby",
        [OP_START_PRIMARY] = "starting the primary after a crash",
        [OP_PROMOTE] = "promoting",
        [OP_DEMOTE] = "demoting",
        [OP_FOLLOW] = "changing the upstream",
        [OP_CHECK_REWIND] = "comparing timelines with the leader",
        [OP_REWIND] = "running pg_rewind",
        [OP_COPY_SLOTS] = "copying logical slots from the leader",
        [OP_SET_ASIDE] = "setting the data directory aside",
        [OP_ACQUIRE] = "asking for the leader key",
        [OP_RELEASE] = "releasing the leader key",
        [OP_ASK_PEERS] = "asking the other members",
        [OP_RESTART] = "restarting",
    };

    return texts[op];
}
