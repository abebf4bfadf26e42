/*
 * Changing the dynamic configuration: merging as the reference does it (facts sheet 9.6), saying in words what a change
 * is, and refusing beforehand what the members would refuse or replace by a default. Pure.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "base/text.h"
#include "config/config.h"

/*
 * Merges patch, an object, into config: an object into an object, null deletes, anything else replaces. What reads the
 * same as text is no change, as with the reference (100 and "100", not true and 1). An object that replaces a value of
 * another kind, or that comes anew, is taken as it is, nulls inside included. patch is not changed. Returns 1 if
 * something changed, 0 if not, -ENOMEM, or -EINVAL when groups are nested too deeply.
 */
int change_merge(json_t *config, json_t *patch);

/*
 * One line for each value that differs: "ttl: 30 -> 20", "postgresql.parameters.work_mem: 4MB -> (not set)". Lists are
 * values; strings are quoted only where they would look like something else.
 */
void change_describe(json_t *before, json_t *after, struct textbuf *out);

/*
 * What is wrong with `after` that was not wrong with `before` already (NULL = nothing was there): a member that cannot
 * use the configuration in the store keeps its old one for ever, and one that replaces a value by a default does not do
 * what was asked for. Both are errors; warnings are names that mean nothing here and values below a limit. What others
 * wrote into the store before is not this writer's fault. local may be NULL. *problems is always initialised. Returns 0
 * if `after` may be written, -EINVAL if problems has errors, or -ENOMEM.
 */
int change_check(json_t *before, json_t *after, const struct config *local, struct config_problems *problems,
                 struct err *err);
