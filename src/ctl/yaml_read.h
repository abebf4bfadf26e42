/*
 * YAML 1.1 text as JSON, with the types that the reference's parser (PyYAML's safe_load) finds: yes is true, 0x10 is
 * 16, 1e3 is text. Foreign input: nesting and the number of values are limited.
 */
#pragma once
#include <jansson.h>
#include "base/core.h"

/*
 * The value of a document, which the caller owns; JSON null for an empty text. NULL with err: a syntax error with its
 * line, more than one document, a key that is no scalar, or what JSON does not have (infinity, YAML's merge key).
 */
json_t *yaml_read(const char *text, struct err *err);
