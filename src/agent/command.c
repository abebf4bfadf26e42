/* What the REST API was asked to change: each kind goes to the file that does it, and is answered exactly once. */
#include "agent/parts.h"

void agent_command(void *userdata, struct command *command)
{
    struct agent *a = userdata;

    switch (command->kind) {
    case COMMAND_RESTART:
        restart_command(a, command);
        return;
    case COMMAND_CANCEL_RESTART:
        restart_cancel_command(a, command);
        return;
    case COMMAND_SWITCHOVER:
    case COMMAND_FAILOVER:
        switchover_command(a, command);
        return;
    case COMMAND_CANCEL_SWITCHOVER:
        switchover_cancel_command(a, command);
        return;
    case COMMAND_REINITIALIZE:
        reinitialize_command(a, command);
        return;
    case COMMAND_PATCH_CONFIG:
    case COMMAND_PUT_CONFIG:
        config_change(a, command);
        return;
    case COMMAND_RELOAD:
        agent_reload(a, "the REST API");
        command_answer_text(command, 202, "reload scheduled");
        return;
    case COMMAND_NONE:
    case COMMAND_SIGTERM:
        break;
    case COMMAND_WHY:
    case COMMAND_WHY_SELF:
        why_command(a, command);
        return;
    case COMMAND_FAILSAFE:
        promise_command(a, command);
        return;
    }
    command_answer_text(command, 501, "not supported by this version");
}
