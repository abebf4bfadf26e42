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
    case COMMAND_NONE:
    case COMMAND_PATCH_CONFIG:
    case COMMAND_PUT_CONFIG:
    case COMMAND_RELOAD:
    case COMMAND_SIGTERM:
        break;
    case COMMAND_FAILSAFE:
        promise_command(a, command);
        return;
    }
    command_answer_text(command, 501, "not supported by this version");
}
