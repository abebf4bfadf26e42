/* edit-config: what is to become of the configuration, and the ways to say so. Only edit*.c includes this. */
#pragma once
#include <jansson.h>
#include "ctl/ctl.h"

enum { EDIT_PAIRS_MAX = 100, EDIT_TEXT_MAX = 1 << 20 };

struct edit {
    bool quiet, force;
    const char *apply, *replace;
    struct {
        const char *text;
        bool is_parameter;
    } pairs[EDIT_PAIRS_MAX];
    size_t n_pairs;
    const char *scope;
    json_t *before, *after;
    char *kept; /* the edited file, until it was of use */
};

/* As YAML, in the form that patronictl edits; the caller frees. NULL when memory ran out. */
char *edit_as_yaml(const json_t *value);

/*
 * Fills e->after from options, files or an editor. Returns -1, or an exit code after saying what is wrong; e->kept is
 * then the file that was edited.
 */
int edit_make_after(struct edit *e);
