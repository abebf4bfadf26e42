/* JSON values as YAML 1.1 text, in the form that patronictl prints: keys sorted, strings plain where they may be. */
#pragma once
#include <jansson.h>
#include "base/text.h"

enum yaml_style {
    YAML_BLOCK, /* one line per value */
    YAML_FLOW,  /* all in one line: {zone: b} */
};

/* Appends the value and, in block style, a line feed. */
void yaml_print(struct textbuf *out, const json_t *value, enum yaml_style style);
