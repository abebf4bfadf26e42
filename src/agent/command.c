/* What the REST API was asked to change: each kind goes to the file that does it, and is answered exactly once. */
#include "agent/parts.h"

void agent_command(void *userdata, struct command *command)
{
    struct agent *a = userdata;

    (void)a;
    switch (command->kind) {
    case COMMAND_NONE:
    case COMMAND_PATCH_CONFIG:
    case COMMAND_PUT_CONFIG:
    case COMMAND_RELOAD:
    case COMMAND_RESTART:
    case COMMAND_CANCEL_RESTART:
    case COMMAND_SWITCHOVER:
    case COMMAND_CANCEL_SWITCHOVER:
    case COMMAND_FAILOVER:
    case COMMAND_REINITIALIZE:
    case COMMAND_FAILSAFE:
    case COMMAND_SIGTERM:
        break;
    }
    command_answer_text(command, 501, "not supported by this version");
}
