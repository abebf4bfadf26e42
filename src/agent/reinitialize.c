/* POST /reinitialize: a new copy of the data directory, because the operator does not trust the one that is there. */
#include <jansson.h>
#include <string.h>
#include "agent/parts.h"
#include "base/log.h"

/* What a forced request may cut short: everything that a new copy makes needless. */
static bool may_be_cut_short(enum op_kind op)
{
    return op == OP_CLONE || op == OP_REWIND || op == OP_CHECK_REWIND || op == OP_START_STANDBY || op == OP_FOLLOW ||
           op == OP_ASK_PEERS || op == OP_RESTART;
}

static bool is_over_in_a_moment(enum op_kind op)
{
    return op == OP_NONE || op == OP_CHECK_REWIND || op == OP_FOLLOW || op == OP_ASK_PEERS;
}

void reinitialize_command(struct agent *a, struct command *command)
{
    json_auto_t *body = command->body ? json_loads(command->body, 0, NULL) : NULL;
    bool is_forced = json_is_true(json_object_get(body, "force"));
    const struct leader_key *leader = a->cluster ? &a->cluster->leader : NULL;

    if (!leader || !leader->exists) {
        command_answer_text(command, 503, "Cluster has no leader, can not reinitialize");
        return;
    }
    if (a->lease.held || strcmp(leader->name, a->config->name) == 0) {
        command_answer_text(command, 503, "I am the leader, can not reinitialize");
        return;
    }
    if (a->requests.of_node.reinitialize && !is_forced) {
        command_answer_text(command, 503, "reinitialize already in progress");
        return;
    }
    if (!is_over_in_a_moment(a->op.kind) && !(is_forced && may_be_cut_short(a->op.kind))) {
        command_answer_text(command, 503, "%s already in progress", ha_op_text(a->op.kind));
        return;
    }
    if (a->op.kind != OP_NONE && may_be_cut_short(a->op.kind))
        op_end(a);
    request_restarted(a, false);
    a->requests.of_node.reinitialize = true;
    a->requests.of_node.from_leader = json_is_true(json_object_get(body, "from_leader"));
    a->memory.retry_start_at_us = a->memory.retry_clone_at_us = 0;
    log_info("this member is to be reinitialized%s", a->requests.of_node.from_leader ? " from the leader" : "");
    command_answer_text(command, 200, "reinitialize started");
    agent_wake(a);
}

void reinitialize_finished(struct agent *a)
{
    a->requests.of_node.reinitialize = a->requests.of_node.from_leader = false;
}
