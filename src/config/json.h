/* libconfig values as JSON: groups become objects, lists and arrays become arrays. Internal to src/config/. */
#pragma once
#include <jansson.h>
#include "config/loader.h"

/* NULL after a problem was added (nesting, text that is not UTF-8) or memory ran out. The caller owns the result. */
json_t *json_of_setting(struct loader *l, const config_setting_t *s, const char *path);
