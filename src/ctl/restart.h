/* POST /restart, for the commands that restart members. */
#pragma once
#include "ctl/rest.h"

/* Waits until the restart is over, at most timeout_us (0: as long as it takes). content is given away; else as
 * rest_ask().
 */
int restart_member(struct ctl *ctl, const struct member *m, json_t *content, uint64_t timeout_us,
                   struct rest_answer *ret, struct err *err);
