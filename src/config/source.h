/*
 * The text of a configuration file with everything it includes, as one string that knows where each line came from.
 *
 * Why not libconfig's own @include: an absolute name does not work once an include directory is set, a directory as
 * the name ends the whole process inside the scanner, and it cannot say which names failed. While copying, integers too
 * large for 32 bits get the suffix "L", without which libconfig before 1.7 cuts them silently.
 */
#pragma once
#include "config/config.h"
#include "config/problems.h"

struct source;

enum {
    SOURCE_BYTES_MAX = 1024 * 1024, /* all files together */
    SOURCE_DEPTH_MAX = 10,          /* files that include files */
};

/*
 * Reads path, or takes text as its content when text is not NULL. Returns 0 and gives *ret to the caller, also when
 * problems were added: what could be read can still be checked. -errno if the file itself could not be read.
 */
int source_read(const char *path, const char *text, struct config_problems *problems, struct source **ret,
                struct err *err);
struct source *source_free(struct source *s);
DEFINE_CLEANUP(struct source, source_free)

const char *source_text(const struct source *s);
/* False when a file ends inside a string or comment, or has a directive nobody knows: not to be parsed then. */
bool source_is_complete(const struct source *s);
/* File and line that a line of the text (counted from 1) came from; pointers live as long as s. */
struct problem_place source_place(const struct source *s, unsigned text_line);
/* The line itself as one string, for hints; the caller frees. NULL if there is none. */
char *source_line(const struct source *s, unsigned text_line);
