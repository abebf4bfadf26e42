/*
 * Commands of pgtetherctl run inside of a test: on a canned store that holds the keys given, with canned REST APIs, fed
 * answers on stdin, their output taken.
 */
#pragma once
#include "canned_http.h"
#include "ctl/ctl.h"

enum { CTL_LAB_OUTPUT = 16384 };

struct ctl_lab_key {
    const char *key;   /* "leader" */
    const char *value; /* "@" in it becomes the address of the REST server */
    unsigned revision;
};

struct ctl_lab {
    struct ctl ctl;
    struct canned_server *store, *rest;
    char *ranges[4];
    int exit_code;
    char out[CTL_LAB_OUTPUT], errors[CTL_LAB_OUTPUT];
};

/*
 * config: lines added to the configuration, may be NULL. The store holds `keys`; ctl_lab_then() appends what it holds
 * from the second (third …) read on.
 */
void ctl_lab_open(struct ctl_lab *lab, const char *config, const struct canned_rule *rest, size_t n_rest,
                  const struct ctl_lab_key *keys, size_t n_keys);
void ctl_lab_then(struct ctl_lab *lab, const struct ctl_lab_key *keys, size_t n_keys);
/* What the store answers to writes: {"succeeded":true} unless it is told to refuse. */
void ctl_lab_refuse_writes(struct ctl_lab *lab);
void ctl_lab_close(struct ctl_lab *lab);

typedef int (*ctl_command_fn)(struct ctl *ctl, int argc, char **argv);

/* Runs a command, `line` split at blanks; fills exit_code, out and errors. */
void ctl_lab_run(struct ctl_lab *lab, ctl_command_fn command, const char *line, const char *answers);

/* Fails unless the text is in there. */
void ctl_lab_expect(const struct ctl_lab *lab, int exit_code, const char *out);
