/* Entries into loading that only tests and src/config/ itself use. */
#pragma once
#include "config/config.h"

/* As config_load(), with text in place of the file's content unless it is NULL; relative includes start at path. */
int config_load_text(const char *path, const char *text, struct config **ret, struct config_problems *problems,
                     struct err *err);

/* Releases what is inside a struct config; passwords are wiped. */
void config_done(struct config *c);
