/* A configured command line as words, split as a shell would, but without a shell: no expansion, no operators. */
#pragma once
#include "base/core.h"

/*
 * Words are separated by blanks; '…' and "…" hold blanks, a backslash takes the next character literally (inside "…"
 * only before " and \). Returns a NULL-terminated array the caller frees with words_free(); NULL if memory ran out or a
 * quote is not closed.
 */
char **words_split(const char *text);
char **words_free(char **words);
DEFINE_CLEANUP(char *, words_free)
